"""Enters into the ledger what is missing there: the newest buckets, and those of missed runs.

A bucket is recorded once it is :data:`SETTLE` seconds old and something that was scraped after its end is there: what
is recorded stays as it is, and backends that are written to from elsewhere lag behind. Whatever is missing within the
time to catch up is read from Prometheus's history, newest first and a day at a time: a run that dies half-way has done
what it has done, and the next one does the rest.

Two times without data look alike and are not. While Prometheus was down, nobody observed anything: a gap, which is
recorded. Before its history begins nothing is known, nor ever will be: this is left open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from jobs import grid_reading, maintenance
from jobs.collected import zones_of
from sloctl import naming, promql
from sloctl.books import MICRO, Batch, Event, Keep, Ledger, MutedSpan, Span
from sloctl.budget import ratio
from sloctl.errors import BackendError, BadAnswer
from sloctl.model import GRID, SloSet
from sloctl.report import Finding, timestamp
from sloctl.silences import SilenceStore
from sloctl.sources import MetricSource

SETTLE = 60
PIECE = 86400
"""Seconds of buckets that are read, and recorded, at once."""
_SEARCH = 3600
"""Step of the search for data from before a time without any."""


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
        observed = _Observed(source, slo_set, (first, last), start, at, out.findings)
        for span, slo_ids in pieces(wanted, observed.begin, observed.end):
            progress(span)
            _record(source, slo_set, ledger, observed, span, slo_ids, out, end - keep_batches)
    out.excluded = maintenance.apply(ledger, slo_set, end, muted)
    keep = slo_set.ledger
    ledger.prune(
        slo_set.name,
        Keep(keep.keep_buckets, keep.keep_hours, keep.keep_days),
        end,
        day_edges(slo_set, at),
    )
    return out


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
    return " to ".join(timestamp(datetime.fromtimestamp(at, UTC)) for at in span)


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
    observed: _Observed,
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
                        "time": timestamp(datetime.fromtimestamp(event.end, UTC)),
                        "good": good,
                        "bad": event.bad / MICRO,
                        "total": total,
                        "sli": ratio(good, total),
                    }
                )
    return sorted(found, key=lambda row: (row["namespace"], row["service"], row["slo"], row["time"]))


class _Observed:
    """When Prometheus scraped anything at all, in a span that is to be read.

    There is something to read from ``begin`` on, and all that was scraped up to ``end`` has arrived. ``horizon`` is how
    far back a history is looked for.
    """

    def __init__(
        self,
        source: MetricSource,
        slo_set: SloSet,
        span: Span,
        horizon: int,
        at: datetime,
        findings: list[Finding],
    ) -> None:
        self._source = source
        self._up = promql.selector("up", slo_set.mesh.matchers)
        self._gaps: dict[int, int] = {}
        self.begin, self.end = span
        times = self._present(span[0], span[1], GRID)
        if times:
            self.end = self._arrived(times[-1], span[1], at)
            if times[0] > span[0] and not self._before(horizon, span[0]):
                self.begin = times[0]
            self._find_gaps(times, (self.begin, self.end))
        elif source.query(f"count({promql.selector('up', ())})", datetime.fromtimestamp(span[1], UTC)):
            text = "no series of 'up' has the labels of 'mesh.matchers': gaps cannot be told from silence"
            findings.append(Finding("warning", "gaps-not-known", text))
        else:
            self.end = self.begin
            text = "Prometheus has no data of the time that is to be recorded"
            findings.append(Finding("warning", "nothing-to-record", text))

    def _arrived(self, newest: int, end: int, at: datetime) -> int:
        """The end of the newest bucket after which something was scraped."""
        if newest < end:
            return newest - GRID
        found = self._source.query(f"max(timestamp({self._up}))", at)
        return end if not found or float(found[0]["value"][1]) >= end else end - GRID

    def gaps(self, span: Span) -> tuple[Event, ...]:
        """The seconds of each bucket in which nothing was scraped, as events that hold for all services."""
        return tuple(
            Event("", "", end, 0, 0, gap)
            for end, gap in sorted(self._gaps.items())
            if span[0] < end <= span[1]
        )

    def _present(self, start: int, end: int, step: int) -> list[int]:
        """The instants from ``start`` to ``end`` within the five minutes before which something was scraped."""
        series = self._source.query_range(
            f"group({self._up})",
            datetime.fromtimestamp(start, UTC),
            datetime.fromtimestamp(end, UTC),
            timedelta(seconds=step),
        )
        return sorted({round(float(time)) for item in series for time, _ in item["values"]})

    def _before(self, horizon: int, start: int) -> bool:
        """Whether there is data between ``horizon`` and ``start``."""
        if horizon >= start:
            return False
        expr = f"group(last_over_time({self._up}[{naming.duration(_SEARCH)}]))"
        first, last = (datetime.fromtimestamp(at, UTC) for at in (horizon, start))
        return bool(self._source.query_range(expr, first, last, timedelta(seconds=_SEARCH)))

    def _find_gaps(self, times: list[int], span: Span) -> None:
        """Whole buckets without a scrape, and what is missing of the buckets at their sides."""
        there = set(times)
        empty = [end for end in range(span[0] + GRID, span[1] + GRID, GRID) if end not in there]
        for end in empty:
            self._gaps[end] = GRID
        for end in empty:
            if end - GRID in there:
                last = self._scrape("max", end - GRID)
                self._add(end - GRID, (end - GRID) - last if last is not None else 0, span)
            if end + GRID in there:
                first = self._scrape("min", end + GRID)
                self._add(end + GRID, first - end if first is not None else 0, span)

    def _add(self, end: int, seconds: float, span: Span) -> None:
        if span[0] < end <= span[1] and seconds >= grid_reading.SHORTEST_GAP:
            self._gaps[end] = min(GRID, self._gaps.get(end, 0) + round(seconds))

    def _scrape(self, which: str, end: int) -> float | None:
        """Unix time of the last (``max``) or first (``min``) scrape in the bucket up to ``end``, to 15 seconds."""
        inner = f"timestamp({self._up})"
        expr = f"{which}({which}_over_time(({inner})[{naming.duration(GRID - 1)}:15s]))"
        found = self._source.query(expr, datetime.fromtimestamp(end, UTC))
        value = float(found[0]["value"][1]) if found else None
        return value if value is not None and end - GRID <= value <= end else None
