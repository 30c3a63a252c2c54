"""Which buckets have events from before them, of counters that could not be read meanwhile."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column, and an index of the few buckets that are so."""
    op.add_column("buckets", sa.Column("carried", sa.SmallInteger(), server_default="0", nullable=False))
    some = sa.text("carried > 0")
    op.create_index(
        "buckets_carried", "buckets", ["time"], unique=False, sqlite_where=some, postgresql_where=some
    )
