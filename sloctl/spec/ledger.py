"""From documents to the model: how the ledger is kept, and maintenance."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sloctl.ledger_settings import LedgerSettings, Maintenance
from sloctl.model import RollingWindow, Slo
from sloctl.naming import duration
from sloctl.spec.merge import Merged
from sloctl.spec.quantities import Span
from sloctl.spec.reader import Reader
from sloctl.spec.shapes import Block

DAY = 86400


def settings(block: Block | None, slos: list[Slo], reader: Reader) -> LedgerSettings:
    """How the ledger is kept; what the section does not say is as by default."""
    basis = LedgerSettings()
    keep: Block | None = block.get("keep") if block is not None else None

    def seconds(part: Block | None, key: str, otherwise: int) -> int:
        span: Span | None = part.get(key) if part is not None else None
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
