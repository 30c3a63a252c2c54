"""The first schema: events, their sums and causes, locks, runs, and the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OFTEN_UPDATED = {"fillfactor": 70}


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "buckets",
        sa.Column("time", BIG, autoincrement=False, nullable=False),
        sa.Column("series", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("total", BIG, nullable=False),
        sa.Column("bad", BIG, nullable=False),
        sa.Column("gap", sa.SmallInteger(), nullable=False),
        sa.Column("excluded", sa.SmallInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("time", "series"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cause_buckets",
        sa.Column("time", BIG, autoincrement=False, nullable=False),
        sa.Column("series", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cause", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bad", BIG, nullable=False),
        sa.PrimaryKeyConstraint("time", "series", "cause"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "cause_days",
        sa.Column("time", BIG, autoincrement=False, nullable=False),
        sa.Column("series", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cause", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bad", BIG, nullable=False),
        sa.Column("carry", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("time", "series", "cause"),
        postgresql_with=OFTEN_UPDATED,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "causes",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("labels", name="causes_labels_key"),
    )
    op.create_table(
        "coverage",
        sa.Column("day", BIG, autoincrement=False, nullable=False),
        sa.Column("definition", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("m0", BIG, server_default="0", nullable=False),
        sa.Column("m1", BIG, server_default="0", nullable=False),
        sa.Column("m2", BIG, server_default="0", nullable=False),
        sa.Column("m3", BIG, server_default="0", nullable=False),
        sa.Column("m4", BIG, server_default="0", nullable=False),
        sa.Column("m5", BIG, server_default="0", nullable=False),
        sa.Column("fine", sa.Integer(), server_default="16777215", nullable=False),
        sa.Column("pruned", sa.SmallInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("day", "definition"),
        postgresql_with=OFTEN_UPDATED,
        sqlite_with_rowid=False,
    )
    op.create_index("coverage_definition", "coverage", ["definition", "day"], unique=False)
    op.create_index("coverage_pruned", "coverage", ["pruned", "day"], unique=False)
    op.create_table(
        "days",
        sa.Column("time", BIG, autoincrement=False, nullable=False),
        sa.Column("series", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("total", BIG, nullable=False),
        sa.Column("bad", BIG, nullable=False),
        sa.Column("gap", sa.Integer(), nullable=False),
        sa.Column("excluded", sa.Integer(), nullable=False),
        sa.Column("excluded_total", BIG, nullable=False),
        sa.Column("excluded_bad", BIG, nullable=False),
        sa.Column("carry", BIG, server_default="0", nullable=False),
        sa.Column("peak", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("time", "series"),
        postgresql_with=OFTEN_UPDATED,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "definitions",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("set_name", sa.Text(), nullable=False),
        sa.Column("slo_id", sa.Text(), nullable=False),
        sa.Column("slo", sa.Text(), nullable=False),
        sa.Column("oldest", BIG, nullable=True),
        sa.Column("newest", BIG, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("set_name", "slo_id", name="definitions_set_name_key"),
        postgresql_with=OFTEN_UPDATED,
    )
    op.create_table(
        "exclusions",
        sa.Column("until", BIG, autoincrement=False, nullable=False),
        sa.Column("series", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.PrimaryKeyConstraint("until", "series"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "hours",
        sa.Column("time", BIG, autoincrement=False, nullable=False),
        sa.Column("series", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("total", BIG, nullable=False),
        sa.Column("bad", BIG, nullable=False),
        sa.Column("gap", sa.Integer(), nullable=False),
        sa.Column("excluded", sa.Integer(), nullable=False),
        sa.Column("excluded_total", BIG, nullable=False),
        sa.Column("excluded_bad", BIG, nullable=False),
        sa.Column("carry", BIG, server_default="0", nullable=False),
        sa.Column("peak", BIG, server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("time", "series"),
        postgresql_with=OFTEN_UPDATED,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "locks",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("acquired", sa.Double(), nullable=False),
        sa.Column("renewed", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("set_name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("image", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("progress", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("claimed_by", sa.Text(), server_default="", nullable=False),
        sa.Column("claimed_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("ended", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key", name="outbox_key_key"),
    )
    op.create_index("outbox_state_due", "outbox", ["state", "due"], unique=False)
    op.create_table(
        "runs",
        sa.Column("set_name", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("ended", sa.Double(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("set_name", "job", "outcome"),
    )
    op.create_table(
        "silences",
        sa.Column("set_name", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("since", BIG, nullable=False),
        sa.Column("until", BIG, nullable=False),
        sa.Column("matchers", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("set_name", "ref"),
    )
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("definition", sa.Integer(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["definition"],
            ["definitions.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("definition", "namespace", "service", name="series_definition_key"),
    )
