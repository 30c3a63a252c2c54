"""Computes budgets from raw counters, for a Prometheus in which the rules are not loaded (yet).

Slower than reading what the rules recorded, for it evaluates their expressions over the whole period; the
numbers are the same, because one place builds the expressions of both. Most of a period is counted in long windows.
Where a counter restarted in one, or a target was not scraped as it should, it is counted again in shorter ones, down to
the budget grid: there alone do windows and their steps count differently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain, count, pairwise, takewhile
from math import inf
from time import monotonic

import pandas as pd

from jobs.budgets import budget_history, downtime, stopped
from jobs.budgets.collected import Collected, burn_windows, lines, period_seconds, wants_peak, would_fire_all
from jobs.budgets.slis import events_frame
from sloctl import naming, promql
from sloctl.backends.answers import Heard, TooMuchTogether, apart, side_by_side
from sloctl.backends.protocols import MetricSource, Progress, Series, silent
from sloctl.budget import EventCounts
from sloctl.errors import (
    BackendError,
    BackendLimit,
    BackendRateLimit,
    BackendTimeout,
    BackendUnavailable,
    BadAnswer,
)
from sloctl.model import GRID, CounterSli, SeriesKey, Slo, SloSet
from sloctl.model.durations import duration
from sloctl.model.policies import SILENCE
from sloctl.report.data import Finding
from sloctl.report.history import width_for


def _sums(frame: pd.DataFrame, since: datetime) -> dict[tuple[str, str], tuple[float, float]]:
    recent = frame[frame["time"] > pd.Timestamp(since)]
    sums = recent.groupby(["namespace", "service"], sort=False)[["bad", "total"]].sum()
    return {
        (str(ns), str(svc)): (float(b), float(t))
        for (ns, svc), b, t in zip(sums.index, sums["bad"], sums["total"], strict=True)
    }


def _collect_one(
    source: MetricSource,
    slo_set: SloSet,
    slo: Slo,
    *,
    at: datetime,
    history: bool,
    told: Callable[[int], object],
) -> tuple[Collected, BackendError | None]:
    """What is known of one SLO, and why no more was asked for."""
    out = Collected()
    heard = source = Heard(source)
    seconds = period_seconds(slo, at) // GRID * GRID
    width = width_for(period_seconds(slo, at)) if history else 0
    read = _read(source, slo_set, slo, at, _edges(slo, seconds, width), _sizes(width), told=told)
    frame = read.frame
    for (namespace, service), value in _sums(frame, at - timedelta(seconds=seconds)).items():
        out.period[slo.id, namespace, service] = value
    for window in burn_windows(slo):
        target = out.burn.setdefault(window, {})
        for (namespace, service), value in _sums(frame, at - timedelta(seconds=window)).items():
            target[slo.id, namespace, service] = value
    for long, short in lines([slo]):
        there = _sums(
            frame[frame["time"] <= pd.Timestamp(at - timedelta(seconds=short))], at - timedelta(seconds=long)
        )
        out.seasoned.setdefault((long, short), set()).update((slo.id, *place) for place in there)
    if history:
        out.buckets |= budget_history.of_events(frame, slo, at)
    _add_gaps(slo, read.gaps, out)
    _add_lost(slo, read, seconds // GRID, at, out)
    if read.broken is None:
        try:
            _add_eventful(source, slo_set, slo, at, out)
            _add_sides(source, slo_set, slo, at, seconds // GRID, out)
        except TooMuchTogether:
            raise
        except FAILING as error:
            read.broken = error
    out.doubt(heard.doubts, [slo])
    return out, read.broken


def _add_sides(
    source: MetricSource, slo_set: SloSet, slo: Slo, at: datetime, steps: int, out: Collected
) -> None:
    """What the other side of the mesh saw, if the SLO has one and all of it can be read."""
    if isinstance(slo.sli, CounterSli) and slo.sli.other_side:
        other = _read(source, slo_set, slo, at, {0, steps}, _sizes(0), other_side=True)
        if other.broken is not None:
            raise other.broken
        _add_other_side(slo, slo.sli.side, _sums(other.frame, at - timedelta(seconds=steps * GRID)), out)


def _add_lost(slo: Slo, read: _Reading, steps: int, at: datetime, out: Collected) -> None:
    """Say what was not read: the oldest part is as if it was not recorded, the rest is a gap."""
    if read.broken is None or not read.lost:
        return
    begins = steps
    gap = 0
    for newest, size in sorted(read.lost, reverse=True):
        if newest + size >= begins:
            begins = min(begins, newest)
        else:
            gap += size
    out.since[slo.id] = at.timestamp() - begins * GRID
    for key in out.period:
        out.gaps[key] = out.gaps.get(key, 0.0) + gap * GRID
    missing = sum(size for _, size in read.lost)
    out.unread[slo.id] = "raw-partly-read"
    text = (
        f"{slo.id}: of {duration(steps * GRID)} {duration((steps - missing) * GRID)} were read, newest first, before "
        f"the server failed: {read.broken}"
    )
    out.findings.append(Finding("warning", "raw-partly-read", text, {naming.SLO_ID: slo.id}))


HOUR = 3600 // GRID
LONGEST = 6 * HOUR
"""Steps of the budget grid in the longest windows in which a period is counted."""
_Window = tuple[int, int]
"""Its newest step, counted back from the report's time (0), and how many steps it has."""


def _edges(slo: Slo, period: int, width: int) -> set[int]:
    """The steps, counted back, at which some sum begins or ends; ``width`` is that of a history's buckets, or 0."""
    lengths = {0, period, *burn_windows(slo), *(short for _, short in lines([slo]))}
    lengths |= set(range(0, period, width)) if width else set()
    return {-(-length // GRID) for length in lengths}


def _sizes(width: int) -> tuple[int, ...]:
    """Steps of the windows in which a period is counted, the longest first; each divides the one before."""
    longest = width // GRID or LONGEST
    return tuple(sorted({longest, HOUR if longest % HOUR == 0 else 1, 1}, reverse=True))


def _windows(edges: set[int], sizes: Sequence[int]) -> list[_Window]:
    """The longest windows that cover everything between the edges and cross none, the newest first."""
    found: list[_Window] = []
    for begin, end in pairwise(sorted(edges)):
        while begin < end:
            size = next(size for size in sizes if size <= end - begin)
            found.append((begin, size))
            begin += size
    return found


@dataclass(slots=True)
class _Reading:
    """Events as :func:`events_frame` has them, and gaps by grid step.

    ``broken`` is why the server was asked no more; ``lost`` are the windows of which nothing is known therefore.
    """

    frames: list[pd.DataFrame] = field(default_factory=list)
    gaps: list[Series] = field(default_factory=list)
    lost: set[_Window] = field(default_factory=set)
    broken: BackendError | None = None

    @property
    def frame(self) -> pd.DataFrame:
        return pd.concat(self.frames, ignore_index=True)


def _read(
    source: MetricSource,
    slo_set: SloSet,
    slo: Slo,
    at: datetime,
    edges: set[int],
    sizes: Sequence[int],
    *,
    other_side: bool = False,
    told: Callable[[int], object] = lambda steps: None,
) -> _Reading:
    """Events between the edges, in windows of any size, the newest first.

    The newest windows are the shortest. Then, from the longest to the shortest, those in which something has to be
    counted again, or that the server cannot evaluate in time. A server that fails half-way leaves what was read;
    ``told`` is how many steps that were.

    Raises ``BackendError`` if nothing was read, or the server rejects the query.
    """
    out = _Reading(lost=set(_windows(edges, sizes)))
    again: dict[int, list[int]] = {size: [] for size in sizes}
    first = [(size, [newest for newest, of in out.lost if of == size]) for size in reversed(sizes)]
    smaller = dict(pairwise(sizes))
    try:
        for size, steps in chain(first, ((size, again[size]) for size in sizes[1:])):
            exprs = promql.events(slo, slo_set.mesh, size * GRID, other_side=other_side)
            if size in smaller:
                exprs["unsteady"] = promql.unsteady(slo, slo_set.mesh, size * GRID)
            elif not other_side:
                exprs["gap"] = promql.gap_rule(slo, slo_set.mesh)
            query = promql.together(exprs)
            for chunk, found in _asked(source, query, at, sorted(steps), size, last=size not in smaller):
                times = [
                    float(time) for item in (found or {}).get("unsteady", ()) for time, _ in item["values"]
                ]
                unsteady = {round((at.timestamp() - time) / GRID) for time in times}
                if found is None:
                    unsteady = set(chunk)
                out.lost -= {(step, size) for step in chunk}
                for step in unsteady:
                    parts = range(step, step + size, smaller[size])
                    again[smaller[size]] += parts
                    out.lost |= {(part, smaller[size]) for part in parts}
                told((len(chunk) - len(unsteady)) * size)
                if found is None:
                    continue
                out.gaps += found.get("gap", ())
                frame = events_frame(slo, found)
                recount = [datetime.fromtimestamp(time, UTC) for time in times]
                out.frames.append(frame[~frame["time"].isin(recount)])
    except FAILING as error:
        if isinstance(error, TooMuchTogether) or not out.frames:
            raise
        out.broken = error
    return out


FIRST, MOST, AIM = 8, 200, 3.0
"""Windows that a first query asks for, windows of any query, and how many seconds one should take."""


def _asked(
    source: MetricSource, query: str, at: datetime, steps: Sequence[int], size: int, *, last: bool
) -> Iterator[tuple[Sequence[int], Mapping[str, Sequence[Series]] | None]]:
    """The windows of one size that begin at some steps, the newest first, with the answers for them.

    Servers end queries that take long. As many windows that adjoin are asked for at once as take seconds, judged by
    the query before. If one alone takes too long, there is no answer for all that are left: they can be had in shorter
    ones. Of the shortest (``last``) that is an error.
    """
    left, most, limit = list(steps), FIRST, MOST
    while left:
        adjoining = zip(left[:most], count(left[0], size), strict=False)
        chunk = [step for step, _ in takewhile(lambda pair: pair[0] == pair[1], adjoining)]
        oldest, newest = (at - timedelta(seconds=step * GRID) for step in (chunk[-1], chunk[0]))
        begun = monotonic()
        try:
            answer = source.query_range(query, oldest, newest, timedelta(seconds=size * GRID))
        except BackendTimeout:
            if len(chunk) == 1 and last:
                raise
            if len(chunk) == 1:
                yield left, None
                return
            most = limit = max(1, len(chunk) // 4)
            continue
        most = min(limit, max(1, round(len(chunk) * min(4.0, AIM / max(monotonic() - begun, 1e-3)))))
        left = left[len(chunk) :]
        yield chunk, apart(answer, promql.PART)


def _add_eventful(source: MetricSource, slo_set: SloSet, slo: Slo, at: datetime, out: Collected) -> None:
    """When there were events lately, of services that have none now."""
    quiet = [key for key in stopped.candidates(slo_set, out) if key[0] == slo.id]
    if not quiet:
        return
    out.eventful |= {key: [] for key in quiet}
    width = timedelta(seconds=stopped.WIDTH)
    total = promql.events(slo, slo_set.mesh, stopped.WIDTH)["total"]
    oldest = at - (SILENCE.memory // stopped.WIDTH - 1) * width
    for item in source.query_range(total, oldest, at, width):
        found = out.eventful.get((slo.id, *_place(slo, item["metric"])))
        if found is not None:
            ages = (at.timestamp() - float(time) for time, count in item["values"] if float(count) > 0)
            found += sorted(round(age) // stopped.WIDTH for age in ages)


def _place(slo: Slo, metric: Mapping[str, str]) -> tuple[str, str]:
    """Namespace and service of a series of an SLO; a named service's series do not say them."""
    if not slo.wildcard:
        return slo.namespace, slo.service
    return metric.get(naming.NAMESPACE, ""), metric.get(naming.SERVICE, "")


def _add_gaps(slo: Slo, series: Sequence[Series], out: Collected) -> None:
    for item in series:
        key: SeriesKey = (slo.id, *_place(slo, item["metric"]))
        seconds = sum(gap for _, text in item["values"] if abs(gap := float(text)) < inf)
        out.gaps[key] = out.gaps.get(key, 0.0) + seconds


def _add_peaks(source: MetricSource, slo_set: SloSet, slo: Slo, at: datetime, out: Collected) -> None:
    """The most events that a step had, by service, where something is not known of it: there may have been as many."""
    if not wants_peak(slo, at, out):
        return
    heard = Heard(source)
    seconds = period_seconds(slo, at)
    day = min(86400, seconds)
    oldest = at - timedelta(seconds=(-(-seconds // day) - 1) * day)
    peaks = heard.query_range(promql.largest_step(slo, slo_set.mesh, day), oldest, at, timedelta(seconds=day))
    for item in peaks:
        found = [peak for _, text in item["values"] if abs(peak := float(text)) < inf]
        out.peak[slo.id, *_place(slo, item["metric"])] = max(found, default=0.0)
    out.doubt(heard.doubts, [slo])


def _add_other_side(
    slo: Slo, side: str, other: Mapping[tuple[str, str], EventCounts], out: Collected
) -> None:
    """What the other side saw of the events that an SLO counts at ``side``, of services that both saw."""
    for (namespace, service), theirs in other.items():
        key: SeriesKey = (slo.id, namespace, service)
        if key in out.period:
            own = out.period[key]
            out.sides[key] = (own, theirs) if side == "client" else (theirs, own)


FAILING = (BackendUnavailable, BackendTimeout, BackendLimit, BackendRateLimit, BadAnswer)
"""What a server may do half-way; what was read until then is reported."""
TIMEOUTS = 3
"""Of so many SLOs reading may take too long before no more are read."""


class _Patience:
    """Whether a server is to be asked about more SLOs, after what it did."""

    def __init__(self) -> None:
        self._timeouts = count(1)
        self.ended: BackendError | None = None

    def note(self, error: BackendError) -> None:
        """A server that is gone, or asked too often, is not asked on; nor is one that is too slow several times."""
        gone = isinstance(error, (BackendUnavailable, BackendRateLimit))
        if gone or (isinstance(error, BackendTimeout) and next(self._timeouts) >= TIMEOUTS):
            self.ended = error


def collect(
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    *,
    history: bool = False,
    threads: int = 4,
    alone: bool = True,
    progress: Progress = silent,
) -> Collected:
    """Everything a report needs, from raw counters on a grid that ends at ``at``; with ``history``, in buckets too.

    So many SLOs are read at a time. Of a server that fails half-way there is what was read, with findings, and the SLOs
    are in doubt. Raises ``BackendError``, if nothing was read only where that is ``alone`` what is known.
    """
    out = Collected()
    patience = _Patience()
    whole = sum(period_seconds(slo, at) // GRID for slo in slo_set.slos)
    steps = 0

    def told(more: int) -> None:
        nonlocal steps
        steps += more
        progress(min(1.0, steps / whole), "reading raw counters")

    def read(slo: Slo) -> tuple[Collected, BackendError | None]:
        if patience.ended is not None:
            raise patience.ended
        try:
            found, broken = _collect_one(source, slo_set, slo, at=at, history=history, told=told)
        except TooMuchTogether:
            raise  # of this side, it says nothing of the server
        except FAILING as error:
            patience.note(error)
            raise
        if broken is not None:
            patience.note(broken)
        return found, broken

    refused = _each(slo_set, read, threads, out)
    if refused:
        _refused(slo_set, refused, out, alone=alone)
    try:
        _add_downtime(source, slo_set, at, out)
    except BackendError as error:
        if not out.unread:
            raise
        text = f"what is not known of raw counters could not be read: {error}"
        out.findings.append(Finding("warning", "prometheus-not-read", text, {naming.SLO_SET: slo_set.name}))
    would_fire_all(slo_set.slos, out)
    return out


def _each(
    slo_set: SloSet,
    read: Callable[[Slo], tuple[Collected, BackendError | None]],
    threads: int,
    out: Collected,
) -> dict[str, BackendError]:
    """Add what is read of each SLO, so many at a time; of which nothing was, and why."""
    refused: dict[str, BackendError] = {}
    large: list[Slo] = []
    with side_by_side(threads), ThreadPoolExecutor(threads, "sloctl-counters") as pool:
        futures = [pool.submit(copy_context().run, read, slo) for slo in slo_set.slos]
        try:
            for slo, future in zip(slo_set.slos, futures, strict=True):
                try:
                    out.add(future.result()[0], [slo])
                except TooMuchTogether:
                    large.append(slo)
                except FAILING as error:
                    refused[slo.id] = error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for slo in large:  # one at a time
        try:
            out.add(read(slo)[0], [slo])
        except FAILING as error:
            refused[slo.id] = error
    return refused


def _refused(slo_set: SloSet, refused: Mapping[str, BackendError], out: Collected, *, alone: bool) -> None:
    """Say of which SLOs nothing was read; raise the first error if that is of all, and there is nothing else."""
    first = next(iter(refused.values()))
    if alone and len(refused) == len(slo_set.slos):
        remedy = "load the rules that sloctl generate writes: reports then read what they record"
        if isinstance(first, (BackendTimeout, BackendLimit)):
            first.hint = "; ".join(filter(None, (first.hint, f"--timeout SECONDS gives it longer; {remedy}")))
        raise first
    out.unread |= dict.fromkeys(refused, "raw-not-read")
    names = list(refused)
    named = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    text = f"{named}: the rules say nothing yet, and the raw counters could not be read: {first}"
    out.findings.append(Finding("warning", "raw-not-read", text, {naming.SLO_SET: slo_set.name}))


def _add_downtime(source: MetricSource, slo_set: SloSet, at: datetime, out: Collected) -> None:
    times = downtime.scraped(source, slo_set, at)
    if times:
        begun = min(times) - GRID
        out.since |= {slo.id: max(begun, out.since.get(slo.id, begun)) for slo in slo_set.slos}
    downtime.add(slo_set, at, times, out)
    for slo in slo_set.slos:
        _add_peaks(source, slo_set, slo, at, out)
