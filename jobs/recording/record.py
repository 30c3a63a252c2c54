"""Enters into the ledger what is missing there: the newest buckets, and those of missed runs.

A bucket is recorded once it is :data:`SETTLE` seconds old and something that was scraped after its end is there: what
is recorded stays as it is, and backends that are written to from elsewhere lag behind. Whatever is missing within the
time to catch up is read from Prometheus's history, newest first and a day at a time: a run that dies half-way has done
what it has done, and the next one does the rest. :mod:`jobs.observed` says what there is to be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from jobs.budgets import maintenance
from jobs.budgets.collected import zones_of
from jobs.recording import grid_reading
from jobs.recording.gaps import Observed
from sloctl import naming
from sloctl.backends.protocols import MetricSource
from sloctl.backends.silences import SilenceStore
from sloctl.budget import ratio
from sloctl.errors import BackendError, BadAnswer
from sloctl.ledger.protocol import MICRO, Batch, Keep, Ledger, MutedSpan, Span
from sloctl.model import GRID, SloSet
from sloctl.model.durations import rfc3339
from sloctl.report.data import Finding

SETTLE = 60
PIECE = 86400
"""Seconds of buckets that are read, and recorded, at once."""


@dataclass(slots=True)
class Recorded:
    """What a run did: how many buckets of definitions are new, and what it has to say.

    ``end`` is the end of the newest bucket that could be recorded, ``spans`` what was read, newest first.
    """

    end: int
    buckets: int = 0
    excluded: int = 0
    batches: list[Batch] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def newest(at: datetime) -> int:
    """The end of the newest bucket that may be recorded at ``at``, Unix seconds."""
    return (int(at.timestamp()) - SETTLE) // GRID * GRID


def run(
    source: MetricSource,
    slo_set: SloSet,
    ledger: Ledger,
    at: datetime,
    *,
    muted: Sequence[MutedSpan] = (),
    keep_batches: int = 0,
    progress: Callable[[Span], object] = lambda span: None,
) -> Recorded:
    """Record what is missing at ``at``, leave out what is excused, and remove what is too old.

    ``muted`` are Alertmanager's silences. The batches of the last ``keep_batches`` seconds are kept in the result.
    Raises ``BackendError``; what was recorded before that stays.
    """
    end = newest(at)
    out = Recorded(end)
    start = end - slo_set.ledger.catch_up // GRID * GRID
    missing = ledger.missing(slo_set.name, [slo.id for slo in slo_set.slos], start, end)
    wanted = {slo_id: spans for slo_id, spans in missing.items() if spans}
    if wanted:
        first = min(spans[0][0] for spans in wanted.values())
        last = max(spans[-1][1] for spans in wanted.values())
        observed = Observed(source, slo_set, (first, last), start, at, out.findings)
        for span, slo_ids in pieces(wanted, observed.begin, observed.end):
            progress(span)
            _record(source, slo_set, ledger, observed, span, slo_ids, out, end - keep_batches)
    out.excluded = maintenance.apply(ledger, slo_set, end, muted)
    _prune(ledger, slo_set, end, at)
    return out


def _prune(ledger: Ledger, slo_set: SloSet, end: int, at: datetime) -> None:
    """Remove what is too old by the newest bucket: a clock that is years ahead must not empty the ledger."""
    newest_known = max(ledger.newest(slo_set.name).values(), default=end)
    keep = slo_set.ledger
    ledger.prune(
        slo_set.name,
        Keep(keep.keep_buckets, keep.keep_hours, keep.keep_days),
        min(end, newest_known),
        day_edges(slo_set, at),
    )


def silences(
    store: SilenceStore | None, slo_set: SloSet, at: datetime
) -> tuple[list[MutedSpan], list[Finding]]:
    """Alertmanager's silences that excuse something; where they cannot be read, a finding says so: they come later."""
    if store is None:
        return [], []
    try:
        return maintenance.muted_spans(store.silences(), slo_set, at), []
    except BackendError as error:
        text = f"silences could not be read, so that none is left out yet: {error}"
        return [], [Finding("warning", "silences-not-read", text)]


def shown(span: Span) -> str:
    """A span as people read it."""
    return " to ".join(rfc3339(at) for at in span)


def said(done: Recorded) -> str:
    """One line on what was done."""
    if not done.spans:
        return "nothing new"
    first, last = min(a for a, _ in done.spans), max(b for _, b in done.spans)
    more = f", {done.excluded} left out or taken in again" if done.excluded else ""
    return f"{done.buckets} buckets recorded from {shown((first, last))}{more}"


def pieces(missing: Mapping[str, Sequence[Span]], begin: int, end: int) -> list[tuple[Span, tuple[str, ...]]]:
    """What to read at once: spans of at most a day within (begin, end), newest first, with the definitions for each."""
    edges = {edge for spans in missing.values() for span in spans for edge in span}
    low, high = min(edges), max(edges)
    edges |= set(range(low // PIECE * PIECE + PIECE, high, PIECE)) | {begin, end}
    found: list[tuple[Span, tuple[str, ...]]] = []
    for a, b in pairwise(sorted(edge for edge in edges if begin <= edge <= end)):
        ids = tuple(
            sorted(slo_id for slo_id, spans in missing.items() if any(s <= a and b <= e for s, e in spans))
        )
        if ids:
            found.append(((a, b), ids))
    return found[::-1]


def day_edges(slo_set: SloSet, at: datetime) -> list[int]:
    """At which seconds of the UTC day local days begin in the time zones of the set's windows, in any season."""
    edges = set()
    for zone in zones_of(slo_set):
        for days in range(0, 366, 30):
            offset = (at - timedelta(days=days)).astimezone(zone).utcoffset() or timedelta()
            edges.add(int(-offset.total_seconds()) % 86400 // GRID * GRID)
    return sorted(edges)


def _record(
    source: MetricSource,
    slo_set: SloSet,
    ledger: Ledger,
    observed: Observed,
    span: Span,
    slo_ids: tuple[str, ...],
    out: Recorded,
    keep_since: int,
) -> None:
    before = _partial(source)
    reading = grid_reading.read(source, slo_set, slo_ids, span)
    if new := [text for text in _partial(source) if text not in before]:
        raise BadAnswer(
            f"Prometheus gave a partial answer, which is not recorded: {new[0]}",
            backend="prometheus",
            url="",
            hint="the next run reads it again; what is recorded stays as it is",
        )
    down = observed.gaps(span)
    batches = [
        Batch(item.slo_id, item.slo, item.span, (*item.events, *down), item.causes)
        for item in reading.batches
    ]
    out.buckets += ledger.record(slo_set.name, batches)
    out.spans.append(span)
    if span[1] > keep_since:
        out.batches += batches
    for slo_id in sorted(reading.implausible):
        text = f"{slo_id}: more bad events than events, or too many to be true; does the SLI's total count all of them?"
        if not any(found.message == text for found in out.findings):
            out.findings.append(Finding("error", "implausible-events", text, {naming.SLO_ID: slo_id}))


def _partial(source: MetricSource) -> list[str]:
    """What the server warned of that makes an answer incomplete; remarks on a query do not."""
    return [text for text in source.warnings if not text.startswith("PromQL ")]


def rows_of(batches: Iterable[Batch], since: datetime) -> list[dict[str, Any]]:
    """What was recorded of the buckets that end after ``since``, as plain rows by SLO, service and time."""
    found = []
    for batch in batches:
        for event in batch.events:
            if event.service and event.total and event.end > since.timestamp():
                good, total = (event.total - event.bad) / MICRO, event.total / MICRO
                found.append(
                    {
                        "slo": batch.slo,
                        "namespace": event.namespace,
                        "service": event.service,
                        "time": rfc3339(event.end),
                        "good": good,
                        "bad": event.bad / MICRO,
                        "total": total,
                        "sli": ratio(good, total),
                    }
                )
    return sorted(found, key=lambda row: (row["namespace"], row["service"], row["slo"], row["time"]))
