"""Enters into the ledger what is missing there: the newest buckets, and those of missed runs.

A bucket is recorded once it has settled (``ledger.settle``, or longer where samples were late before) and something
that was scraped after its end is there: what is recorded stays as it is, and backends that are written to from
elsewhere lag behind. Whatever is missing within the time to catch up is read from Prometheus's history, newest first
and a day at a time: a run that dies half-way has done what it has done, and the next one does the rest. Nothing is
recorded of an answer that the server itself calls partial, or leaves in doubt; what else there is is recorded, and the
run fails at its end. :mod:`jobs.recording.gaps` says what there is to be recorded, :mod:`jobs.recording.reread` reads
it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from jobs.budgets import maintenance
from jobs.recording import grid_reading
from jobs.recording.gaps import Observed
from jobs.recording.reread import RereadResult, look_back, settle_of
from jobs.recording.reread import findings as reread_findings
from sloctl import naming
from sloctl.backends.answers import Heard, TooMuchTogether, partial_error
from sloctl.backends.halving import in_halves
from sloctl.backends.protocols import MetricSource
from sloctl.backends.silences import SilenceStore
from sloctl.budget import ratio
from sloctl.errors import BackendError, PartialAnswer
from sloctl.ledger.protocol import MICRO, Batch, Interval, Keep, Ledger, MutedInterval
from sloctl.model import GRID, CalendarWindow, SloSet
from sloctl.model.calendar import days_begin
from sloctl.model.durations import duration, rfc3339
from sloctl.report.data import Finding

PIECE = 86400
"""Seconds of buckets that are read, and recorded, at once."""
REFUSALS = 3
"""After so many pieces with partial answers a run reads no more: the next one may find a server that is whole."""


@dataclass(slots=True)
class RecordingResult:
    """What a run did: how many buckets of definitions are new, and what it has to say.

    ``end`` is the end of the newest bucket that could be recorded, ``intervals`` what was read, newest first.
    """

    end: int
    buckets: int = 0
    excluded: int = 0
    batches: list[Batch] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    refused: list[tuple[Interval, Mapping[str, tuple[str, ...]]]] = field(default_factory=list)
    """Of which intervals and definitions nothing was recorded, with what the server said of its answers."""
    findings: list[Finding] = field(default_factory=list)
    settle: int = 0
    """Seconds that buckets waited for late samples."""
    reread: RereadResult = field(default_factory=RereadResult)
    """What looking back at buckets of before found."""


def newest(at: datetime, settle: int) -> int:
    """The end of the newest bucket that may be recorded at ``at``, Unix seconds, if it waits ``settle`` seconds."""
    return (int(at.timestamp()) - settle) // GRID * GRID


def run(
    source: MetricSource,
    slo_set: SloSet,
    ledger: Ledger,
    at: datetime,
    *,
    muted: Sequence[MutedInterval] = (),
    keep_batches: int = 0,
    progress: Callable[[float, Interval], object] = lambda share, interval: None,
) -> RecordingResult:
    """Record what is missing at ``at``, leave out what is excused, and remove what is too old.

    ``progress`` is told the share that is done, and the interval that is read. ``muted`` are Alertmanager's silences.
    The batches of the last ``keep_batches`` seconds are kept in the result.
    Raises ``BackendError``; what was recorded before that stays. Where answers were partial, it is raised at the end.
    """
    settle = settle_of(ledger, slo_set, at)
    end = newest(at, settle)
    out = RecordingResult(end, settle=settle)
    start = end - slo_set.ledger.catch_up // GRID * GRID
    missing = ledger.missing(slo_set.name, [slo.id for slo in slo_set.slos], start, end)
    wanted = {slo_id: intervals for slo_id, intervals in missing.items() if intervals}
    if wanted:
        first = min(intervals[0][0] for intervals in wanted.values())
        last = max(intervals[-1][1] for intervals in wanted.values())
        # What was scraped when is of every definition: in doubt, nothing can be recorded.
        observed = Observed(Heard(source, strict=True), slo_set, (first, last), start, at, out.findings)
        todo = pieces(wanted, observed.begin, observed.end)
        for number, (interval, slo_ids) in enumerate(todo):
            progress(number / len(todo), interval)
            in_halves(
                lambda *part, ids=slo_ids: _record(
                    source, slo_set, ledger, observed, part, ids, out, end - keep_batches
                ),
                lambda _older, _newer: None,
                *interval,
                unit=GRID,
                smallest=GRID,
                refusal=TooMuchTogether,
            )
            if len(out.refused) == REFUSALS:
                break
    out.reread = look_back(source, slo_set, ledger, at, end, out.intervals)
    out.findings += reread_findings(out.reread, slo_set)
    out.excluded = maintenance.apply(ledger, slo_set, end, muted)
    keep = slo_set.ledger
    keeps = Keep(keep.keep_buckets, keep.keep_hours, keep.keep_days)
    ledger.prune(slo_set.name, keeps, end, day_edges(slo_set, at))
    if out.refused:
        raise _refusal(out)
    return out


def _refusal(out: RecordingResult) -> PartialAnswer:
    """The error that says of what nothing was recorded, and why."""
    ids = sorted({slo_id for _, unsure in out.refused for slo_id in unsure})
    texts = dict.fromkeys(text for _, unsure in out.refused for said in unsure.values() for text in said)
    named = ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
    times = " and ".join(shown(interval) for interval, _ in out.refused)
    error = partial_error(list(texts), f"{named} from {times}")
    if out.buckets:
        error.hint += f"; {out.buckets} other buckets were recorded"
    return error


def silences(
    store: SilenceStore | None, slo_set: SloSet, at: datetime
) -> tuple[list[MutedInterval], list[Finding]]:
    """Alertmanager's silences that excuse something; where they cannot be read, a finding says so: they come later."""
    if store is None:
        return [], []
    try:
        return maintenance.muted_intervals(store.silences(), slo_set, at), []
    except BackendError as error:
        text = f"silences could not be read, so that none is left out yet: {error}"
        return [], [Finding("warning", "silences-not-read", text)]


def shown(interval: Interval) -> str:
    """An interval as people read it."""
    return " to ".join(rfc3339(at) for at in interval)


def said(done: RecordingResult) -> str:
    """One line on what was done."""
    if not done.intervals:
        return "nothing new"
    first, last = min(a for a, _ in done.intervals), max(b for _, b in done.intervals)
    more = f", {done.excluded} left out or taken in again" if done.excluded else ""
    if repaired := len(done.reread.repaired):
        more += f", {repaired} of before repaired; buckets wait {duration(done.settle)} for late samples"
    return f"{done.buckets} buckets recorded from {shown((first, last))}{more}"


def pieces(
    missing: Mapping[str, Sequence[Interval]], begin: int, end: int
) -> list[tuple[Interval, tuple[str, ...]]]:
    """What to read at once: intervals of at most a day within (begin, end), newest first, with their definitions."""
    edges = {edge for intervals in missing.values() for interval in intervals for edge in interval}
    low, high = min(edges), max(edges)
    edges |= set(range(low // PIECE * PIECE + PIECE, high, PIECE)) | {begin, end}
    found: list[tuple[Interval, tuple[str, ...]]] = []
    for a, b in pairwise(sorted(edge for edge in edges if begin <= edge <= end)):
        ids = tuple(
            sorted(
                slo_id
                for slo_id, intervals in missing.items()
                if any(s <= a and b <= e for s, e in intervals)
            )
        )
        if ids:
            found.append(((a, b), ids))
    return found[::-1]


def day_edges(slo_set: SloSet, at: datetime) -> list[int]:
    """At which seconds of the UTC day local days begin in the time zones of the set's windows, in any season."""
    zones = {slo.window.timezone for slo in slo_set.slos if isinstance(slo.window, CalendarWindow)}
    zones |= {job.timezone for job in slo_set.jobs}
    return sorted({second // GRID * GRID for zone in zones for second in days_begin(zone, at)})


def _record(
    source: MetricSource,
    slo_set: SloSet,
    ledger: Ledger,
    observed: Observed,
    interval: Interval,
    slo_ids: tuple[str, ...],
    out: RecordingResult,
    keep_since: int,
) -> None:
    reading = grid_reading.read(source, slo_set, slo_ids, interval)
    if reading.unsure:
        out.refused.append((interval, reading.unsure))
    if not reading.batches:
        return
    down = observed.gaps(interval)
    batches = [
        Batch(item.slo_id, item.slo, item.interval, (*item.buckets, *down), item.causes)
        for item in reading.batches
    ]
    out.buckets += ledger.record(slo_set.name, batches)
    out.intervals.append(interval)
    if interval[1] > keep_since:
        out.batches += batches
    for slo_id in sorted(reading.implausible):
        text = f"{slo_id}: more bad events than events, or too many to be true; does the SLI's total count all of them?"
        if not any(found.message == text for found in out.findings):
            out.findings.append(Finding("error", "implausible-events", text, {naming.SLO_ID: slo_id}))


def rows_of(batches: Iterable[Batch], since: datetime) -> list[dict[str, Any]]:
    """What was recorded of the buckets that end after ``since``, as plain rows by SLO, service and time."""
    found = []
    for batch in batches:
        for bucket in batch.buckets:
            if bucket.service and bucket.total and bucket.end > since.timestamp():
                good, total = (bucket.total - bucket.bad) / MICRO, bucket.total / MICRO
                found.append(
                    {
                        "slo": batch.slo,
                        "namespace": bucket.namespace,
                        "service": bucket.service,
                        "time": rfc3339(bucket.end),
                        "good": good,
                        "bad": bucket.bad / MICRO,
                        "total": total,
                        "sli": ratio(good, total),
                    }
                )
    return sorted(found, key=lambda row: (row["namespace"], row["service"], row["slo"], row["time"]))
