"""The section ``ledger``: what is kept for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from sloctl.model import RollingWindow, Slo, Sources
from sloctl.model.durations import duration
from sloctl.model.ledger import LedgerSettings, Silences
from sloctl.spec.fields.shapes import Block, Field, Object, Section
from sloctl.spec.fields.values import Choice, Duration, Reader
from sloctl.spec.sections.common import DAY, YEAR

_LEAST, _MOST = LedgerSettings().keep_buckets, 100 * DAY
"""How long buckets are kept where the file does not say it, at least and at most."""

KEEP = Object(
    "keep",
    model=LedgerSettings,
    doc="How long the ledger keeps what.",
    fields=(
        Field(
            "buckets",
            Duration(2 * DAY, YEAR, 3600, "45d"),
            "Events of five minutes.",
            fills="keep_buckets",
            without=f"a week more than the longest window, at least `{duration(_LEAST)}`, at most `{duration(_MOST)}`",
        ),
        Field("hours", Duration(2 * DAY, 10 * YEAR, DAY, "400d"), "Their sums by hour.", fills="keep_hours"),
        Field("days", Duration(31 * DAY, 10 * YEAR, DAY, "1830d"), "Their sums by day.", fills="keep_days"),
    ),
)
LEDGER = Section(
    "ledger",
    model=LedgerSettings,
    doc="How the ledger is kept. Where it is comes from the environment (`SLOCTL_LEDGER_URL`).",
    fields=(
        Field("keep", KEEP, "How long what is kept."),
        Field(
            "catch_up",
            Duration(3600, YEAR, 300, "15d"),
            "How far back missed buckets are read from Prometheus's history, as far as it has one.",
        ),
        Field(
            "settle",
            Duration(0, 1800, 1, "2m"),
            "How long a bucket waits for samples that come late before it is recorded. Where some were later, the job "
            "waits longer by itself, up to ten minutes.",
        ),
        Field(
            "look_back",
            Duration(0, DAY, 300, "6h"),
            "How old a recorded bucket is when it is read again for the last time, to find what came late; `0s`: "
            "never.",
        ),
        Field(
            "silences",
            Choice(get_args(Silences)),
            "Alertmanager's silences whose time counts in no budget: none, those of `sloctl silence`, or all. Only "
            "those that mute all alerts of an SLO, not some by name.",
        ),
    ),
)


def ledger(block: Block | None, slos: Sequence[Slo], reader: Reader) -> LedgerSettings:
    """How the ledger is kept; what the section does not say is as by default."""
    found = LEDGER.build(block, reader) or LedgerSettings()
    keep: Block | None = block.get("keep") if block is not None else None
    if keep is None or keep.get("buckets") is None:
        rolling = max(
            (slo.window.seconds for slo in slos if isinstance(slo.window, RollingWindow)), default=0
        )
        found = replace(found, keep_buckets=min(max(rolling + 7 * DAY, _LEAST), _MOST))
    if keep is not None:
        longest = max((slo.window.seconds for slo in slos), default=30 * DAY)
        _long_enough(keep, found, longest, reader)
    return found


def warn_of_silences(block: Block | None, found: LedgerSettings, sources: Sources, reader: Reader) -> None:
    """Silences excuse nothing where nobody can be asked for them: each run that records would fail."""
    if block is not None and found.silences != "none" and not sources.alertmanager:
        message = f"'silences: {found.silences}' needs an Alertmanager, and the file gives no address"
        hint = "give 'sources: {alertmanager: {url: …}}', if SLOCTL_ALERTMANAGER_URL does not"
        reader.add(
            block.at("silences"),
            block.child("silences"),
            "no-alertmanager",
            message,
            hint,
            severity="warning",
        )


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
