"""The tables of the ledger and of maintenance: what is kept for how long, and what counts in no budget."""

from __future__ import annotations

from sloctl.spec import checks
from sloctl.spec.containers import Items
from sloctl.spec.quantities import Duration, Moment
from sloctl.spec.scalars import Choice, Text
from sloctl.spec.shapes import Field, Object
from sloctl.spec.tables_common import DAY, LINE, NAMESPACE, SERVICE_NAME, SLO_NAME, TIMEZONE

YEAR = 366 * DAY
KEEP = Object(
    "keep",
    (
        Field(
            "buckets",
            Duration(2 * DAY, YEAR, 3600, "45d"),
            "Events of five minutes.",
            default="a week more than the longest window, at least `37d`, at most `100d`",
        ),
        Field("hours", Duration(2 * DAY, 10 * YEAR, DAY, "400d"), "Their sums by hour.", default="400d"),
        Field("days", Duration(31 * DAY, 10 * YEAR, DAY, "1830d"), "Their sums by day.", default="1830d"),
    ),
    doc="How long the ledger keeps what.",
)
LEDGER = Object(
    "ledger",
    (
        Field("keep", KEEP, "How long what is kept."),
        Field(
            "catch_up",
            Duration(3600, YEAR, 300, "15d"),
            "How far back missed buckets are read from Prometheus's history, as far as it has one.",
            default="31d",
        ),
        Field(
            "silences",
            Choice(("none", "deploys", "all")),
            "Alertmanager's silences whose time counts in no budget: none, those of `sloctl silence`, or all. Only "
            "those that mute all alerts of an SLO, not some by name.",
            default="none",
        ),
    ),
    doc="How the ledger is kept. Where it is comes from the environment (`SLOCTL_LEDGER_URL`).",
)
MAINTENANCE = Object(
    "maintenance",
    (
        Field("name", LINE, "What it is, for reports.", required=True, examples=("database upgrade",)),
        Field("start", Moment(), "When it begins, once.", examples=("2026-03-01T02:00:00Z",)),
        Field("end", Moment(), "When it ends.", examples=("2026-03-01T04:00:00Z",)),
        Field(
            "cron",
            Text("a cron line", max_length=100, checks=(checks.cron,)),
            "When it begins, again and again.",
            examples=("0 3 * * 0",),
        ),
        Field("for", Duration(300, 7 * DAY, 300, "1h"), "How long it lasts each time."),
        Field("timezone", TIMEZONE, "Time zone of `cron`.", default="UTC", examples=("Europe/Paris",)),
        Field("namespace", NAMESPACE, "Only services of this namespace."),
        Field("services", Items(SERVICE_NAME), "Only these services."),
        Field("slos", Items(SLO_NAME), "Only the SLOs of these names."),
    ),
    doc="Time that counts in no budget, by agreement.",
    one_of=(("start", "cron"),),
    needs={"end": "start", "for": "cron", "timezone": "cron"},
)
