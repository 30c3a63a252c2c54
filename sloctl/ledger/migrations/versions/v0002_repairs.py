"""What a later reading of a bucket said: repairs, and what was kept against it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table."""
    numbers = ("old_total", "old_bad", "old_gap", "new_total", "new_bad", "new_gap")
    op.create_table(
        "repairs",
        sa.Column("set_name", sa.Text(), nullable=False),
        sa.Column("slo_id", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("time", BIG, autoincrement=False, nullable=False),
        *(sa.Column(name, BIG, autoincrement=False, nullable=False) for name in numbers),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("made", sa.Double(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "set_name", "slo_id", "namespace", "service", "time", *numbers, "outcome", name="repairs_pkey"
        ),
    )
    op.create_index("repairs_made", "repairs", ["set_name", "made"], unique=False)
