"""The sections ``ledger`` and ``maintenance``: what is kept for how long, and what counts in no budget."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sloctl.model import RollingWindow, Slo
from sloctl.model.durations import duration
from sloctl.model.ledger import LedgerSettings, Maintenance
from sloctl.spec.fields import checks
from sloctl.spec.fields.containers import Items
from sloctl.spec.fields.quantities import Duration, Moment, WrittenDuration
from sloctl.spec.fields.reader import Reader
from sloctl.spec.fields.scalars import Choice, Text
from sloctl.spec.fields.shapes import Block, Field, Object
from sloctl.spec.merge import Merged
from sloctl.spec.sections.common import DAY, LINE, NAMESPACE, SERVICE_NAME, SLO_NAME, TIMEZONE

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


DAY = 86400


def settings(block: Block | None, slos: list[Slo], reader: Reader) -> LedgerSettings:
    """How the ledger is kept; what the section does not say is as by default."""
    basis = LedgerSettings()
    keep: Block | None = block.get("keep") if block is not None else None

    def seconds(part: Block | None, key: str, otherwise: int) -> int:
        span: WrittenDuration | None = part.get(key) if part is not None else None
        return otherwise if span is None else span.seconds

    longest = max((slo.window.seconds for slo in slos), default=30 * DAY)
    rolling = max((slo.window.seconds for slo in slos if isinstance(slo.window, RollingWindow)), default=0)
    own = min(max(rolling + 7 * DAY, 37 * DAY), 100 * DAY)
    found = LedgerSettings(
        keep_buckets=seconds(keep, "buckets", own),
        keep_hours=seconds(keep, "hours", basis.keep_hours),
        keep_days=seconds(keep, "days", basis.keep_days),
        catch_up=seconds(block, "catch_up", basis.catch_up),
        silences=(block.get("silences") if block is not None else None) or basis.silences,
    )
    if keep is not None:
        _long_enough(keep, found, longest, reader)
    return found


def _long_enough(keep: Block, found: LedgerSettings, longest: int, reader: Reader) -> None:
    """A window cannot be longer than what its sum is made of."""
    for key, have, need, of in (
        ("hours", found.keep_hours, longest, "the longest window"),
        ("hours", found.keep_hours, found.keep_buckets, "'buckets'"),
        ("days", found.keep_days, found.keep_hours, "'hours'"),
    ):
        if have < need and not keep.broken(key):
            message = f"'{key}' keeps {duration(have)}, which is less than {of} ({duration(need)})"
            place = key if keep.has(key) else "buckets"
            where = keep.at(place) if keep.has(place) else keep.node
            reader.add(where, keep.child(key), "ledger-keep", message, f"keep at least {duration(need)}")
            return


def maintenance(merged: Merged, reader: Reader) -> list[Maintenance]:
    """The maintenance of all documents, in their order."""
    found = []
    for _, block in merged.items("maintenance"):
        start, end, lasts = block.get("start"), block.get("end"), block.get("for")
        if block.has("start") != block.has("end") or block.has("cron") != block.has("for"):
            first, second = ("start", "end") if block.has("start") else ("cron", "for")
            if block.has(first):
                message = f"'{first}' goes with '{second}', which is missing"
                reader.add(block.node, block.path, "missing-key", message, f"add '{second}'")
            continue
        if isinstance(start, datetime) and isinstance(end, datetime) and end <= start:
            message = "'end' must be later than 'start'"
            reader.add(block.at("end"), block.child("end"), "maintenance-order", message)
            continue
        found.append(
            Maintenance(
                name=block.get("name") or "",
                start=start,
                end=end,
                cron=" ".join((block.get("cron") or "").split()),
                timezone=block.get("timezone") or "UTC",
                seconds=lasts.seconds if lasts else 0,
                namespace=block.get("namespace") or "",
                services=_texts(block.get("services")),
                slos=_texts(block.get("slos")),
            )
        )
    return found


def _texts(items: Any) -> tuple[str, ...]:
    return tuple(sorted({text for _, text in items or ()}))
