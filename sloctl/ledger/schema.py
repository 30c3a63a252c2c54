"""The tables of the ledger, as of its newest migration.

Times are Unix seconds of the end of a bucket, an hour or a day (UTC). Events are micro-events in 64 bits. Rows of
one time lie side by side, for reports read all services of an interval. The tables of events have no foreign keys: a
look-up for each row would double what a run costs; ``sloctl.ledger.check`` finds what would be left over.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData()
BIG = BigInteger().with_variant(Integer, "sqlite")
MASKS = ("m0", "m1", "m2", "m3", "m4", "m5")
"""Columns with one bit for each bucket of four hours: bit 0 of ``m0`` is the first bucket of the day."""
BITS = 48
ALL_HOURS = (1 << 24) - 1
_OFTEN_UPDATED = {"fillfactor": 70}

definitions = Table(
    "definitions",
    METADATA,
    Column("id", Integer, Identity(), primary_key=True),
    Column("set_name", Text, nullable=False),
    Column("slo_id", Text, nullable=False),
    Column("slo", Text, nullable=False),
    Column("oldest", BIG, nullable=True),
    Column("newest", BIG, nullable=True),
    UniqueConstraint("set_name", "slo_id", name="definitions_set_name_key"),
    postgresql_with=_OFTEN_UPDATED,
)
"""``oldest`` is the beginning of the oldest recorded bucket, ``newest`` the end of the newest one."""
series = Table(
    "series",
    METADATA,
    Column("id", Integer, Identity(), primary_key=True),
    Column("definition", Integer, ForeignKey("definitions.id"), nullable=False),
    Column("namespace", Text, nullable=False),
    Column("service", Text, nullable=False),
    UniqueConstraint("definition", "namespace", "service", name="series_definition_key"),
)
coverage = Table(
    "coverage",
    METADATA,
    Column("day", BIG, primary_key=True, autoincrement=False),
    Column("definition", Integer, primary_key=True, autoincrement=False),
    *(Column(name, BIG, nullable=False, server_default="0") for name in MASKS),
    Column("fine", Integer, nullable=False, server_default=str(ALL_HOURS)),
    Column("pruned", SmallInteger, nullable=False, server_default="0"),
    Index("coverage_pruned", "pruned", "day"),
    Index("coverage_definition", "definition", "day"),
    sqlite_with_rowid=False,
    postgresql_with=_OFTEN_UPDATED,
)
"""Which buckets of a day (``day`` is its end) were recorded, whether they had events or not.

``fine`` has a bit for each hour of which the buckets are kept. ``pruned`` is 1 once buckets were removed as far as
they are to be, and 2 once the sums of hours were removed as well.
"""
exclusions = Table(
    "exclusions",
    METADATA,
    Column("until", BIG, primary_key=True, autoincrement=False),
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("since", BIG, nullable=False),
    sqlite_with_rowid=False,
)
"""The intervals that count in no budget, apart from each other: ``buckets.excluded`` follows from them."""
buckets = Table(
    "buckets",
    METADATA,
    Column("time", BIG, primary_key=True, autoincrement=False),
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("total", BIG, nullable=False),
    Column("bad", BIG, nullable=False),
    Column("gap", SmallInteger, nullable=False),
    Column("excluded", SmallInteger, nullable=False, server_default="0"),
    Column("carried", SmallInteger, nullable=False, server_default="0"),
    Index("buckets_carried", "time", sqlite_where=text("carried > 0"), postgresql_where=text("carried > 0")),
    sqlite_with_rowid=False,
)


def _sums(name: str) -> Table:
    return Table(
        name,
        METADATA,
        Column("time", BIG, primary_key=True, autoincrement=False),
        Column("series", Integer, primary_key=True, autoincrement=False),
        Column("total", BIG, nullable=False),
        Column("bad", BIG, nullable=False),
        Column("gap", Integer, nullable=False),
        Column("excluded", Integer, nullable=False),
        Column("excluded_total", BIG, nullable=False),
        Column("excluded_bad", BIG, nullable=False),
        Column("carry", BIG, nullable=False, server_default="0"),
        Column("peak", BIG, nullable=False, server_default="0"),
        sqlite_with_rowid=False,
        postgresql_with=_OFTEN_UPDATED,
    )


hours = _sums("hours")
days = _sums("days")
"""Sums of hours and days: ``total``, ``bad`` and ``gap`` without what is ``excluded`` (in seconds).

``peak`` is the largest total of a bucket that is not ``carried``. ``carry`` is 0 unless a sum needs more than 61 bits,
which is 2.3 million million events: ``sloctl.ledger.rollup`` has its form.
"""
causes = Table(
    "causes",
    METADATA,
    Column("id", Integer, Identity(), primary_key=True),
    Column("labels", Text, nullable=False),
    UniqueConstraint("labels", name="causes_labels_key"),
)
"""``labels`` is a JSON object with sorted keys and no blanks."""
cause_buckets = Table(
    "cause_buckets",
    METADATA,
    Column("time", BIG, primary_key=True, autoincrement=False),
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("cause", Integer, primary_key=True, autoincrement=False),
    Column("bad", BIG, nullable=False),
    sqlite_with_rowid=False,
)
cause_days = Table(
    "cause_days",
    METADATA,
    Column("time", BIG, primary_key=True, autoincrement=False),
    Column("series", Integer, primary_key=True, autoincrement=False),
    Column("cause", Integer, primary_key=True, autoincrement=False),
    Column("bad", BIG, nullable=False),
    Column("carry", BIG, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
    postgresql_with=_OFTEN_UPDATED,
)
"""Bad events of a day without those that are excluded."""
silences = Table(
    "silences",
    METADATA,
    Column("set_name", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("since", BIG, nullable=False),
    Column("until", BIG, nullable=False),
    Column("matchers", Text, nullable=False),
    Column("comment", Text, nullable=False),
)
annotated = Table(
    "annotations",
    METADATA,
    Column("set_name", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("since", BIG, nullable=False),
    Column("until", BIG, nullable=False),
    Column("what", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("service", Text, nullable=False),
)
"""What people and pipelines said of a time: ``what`` is deploy, incident, note or override (of a gate)."""
locks = Table(
    "locks",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("acquired", Double, nullable=False),
    Column("renewed", Double, nullable=False),
    Column("expires", Double, nullable=False),
)
runs = Table(
    "runs",
    METADATA,
    Column("set_name", Text, primary_key=True),
    Column("job", Text, primary_key=True),
    Column("outcome", Text, primary_key=True),
    Column("started", Double, nullable=False),
    Column("ended", Double, nullable=False),
    Column("message", Text, nullable=False),
)
"""The last run of each job with each outcome."""
repairs = Table(
    "repairs",
    METADATA,
    Column("set_name", Text, primary_key=True),
    Column("slo_id", Text, primary_key=True),
    Column("namespace", Text, primary_key=True),
    Column("service", Text, primary_key=True),
    Column("time", BIG, primary_key=True, autoincrement=False),
    *(
        Column(f"{which}_{name}", BIG, primary_key=True, autoincrement=False)
        for which in ("old", "new")
        for name in ("total", "bad", "gap")
    ),
    Column("outcome", Text, primary_key=True),
    Column("made", Double, nullable=False),
    Column("made_by", Text, nullable=False),
    Index("repairs_made", "set_name", "made"),
)
"""The journal of buckets that were read again and had other numbers: ``outcome`` is repaired or kept."""
outbox = Table(
    "outbox",
    METADATA,
    Column("id", Integer, Identity(), primary_key=True),
    Column("set_name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("image", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False),
    Column("progress", Text, nullable=False, server_default="{}"),
    Column("created", Double, nullable=False),
    Column("due", Double, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text, nullable=False, server_default=""),
    Column("claimed_by", Text, nullable=False, server_default=""),
    Column("claimed_until", Double, nullable=False, server_default="0"),
    Column("ended", Double, nullable=True),
    UniqueConstraint("key", name="outbox_key_key"),
    Index("outbox_state_due", "state", "due"),
)
"""Reports to deliver: ``state`` is pending, sent or dead; ``image`` is base64."""
