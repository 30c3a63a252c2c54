"""Computes budgets from raw counters, for a Prometheus in which the rules are not loaded (yet).

Slower than reading what the rules recorded, for it evaluates their expressions over the whole period; the
numbers are the same, because one place builds the expressions of both. Most of a period is counted in long windows.
Where a counter restarted in one, or a target was not scraped as it should, it is counted again in shorter ones, down to
the budget grid: there alone do windows and their steps count differently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, pairwise, takewhile
from math import inf
from time import monotonic

import pandas as pd

from jobs.budgets import budget_history, downtime, stopped
from jobs.budgets.collected import Collected, burn_windows, lines, period_seconds, would_fire_all
from jobs.budgets.slis import events_frame
from sloctl import naming, promql
from sloctl.backends.answers import Heard, TooMuchTogether, apart, side_by_side
from sloctl.backends.protocols import MetricSource, Series
from sloctl.budget import EventCounts
from sloctl.errors import BackendTimeout
from sloctl.model import GRID, CounterSli, SeriesKey, Slo, SloSet
from sloctl.model.policies import SILENCE
from sloctl.report.history import width_for


def _sums(frame: pd.DataFrame, since: datetime) -> dict[tuple[str, str], tuple[float, float]]:
    recent = frame[frame["time"] > pd.Timestamp(since)]
    sums = recent.groupby(["namespace", "service"], sort=False)[["bad", "total"]].sum()
    return {
        (str(ns), str(svc)): (float(b), float(t))
        for (ns, svc), b, t in zip(sums.index, sums["bad"], sums["total"], strict=True)
    }


def _collect_one(
    source: MetricSource, slo_set: SloSet, slo: Slo, *, at: datetime, history: bool
) -> Collected:
    out = Collected()
    heard = source = Heard(source)
    seconds = period_seconds(slo, at) // GRID * GRID
    width = width_for(period_seconds(slo, at)) if history else 0
    frame, gaps = _read(source, slo_set, slo, at, _edges(slo, seconds, width), _sizes(width))
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
    _add_gaps(slo, gaps, out)
    _add_eventful(source, slo_set, slo, at, out)
    if isinstance(slo.sli, CounterSli) and slo.sli.other_side:
        other, _ = _read(source, slo_set, slo, at, {0, seconds // GRID}, _sizes(0), other_side=True)
        _add_other_side(slo, slo.sli.side, _sums(other, at - timedelta(seconds=seconds)), out)
    out.doubt(heard.doubts, [slo])
    return out


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


def _read(
    source: MetricSource,
    slo_set: SloSet,
    slo: Slo,
    at: datetime,
    edges: set[int],
    sizes: Sequence[int],
    *,
    other_side: bool = False,
) -> tuple[pd.DataFrame, list[Series]]:
    """Events between the edges in windows of any size, as :func:`events_frame` has them, and gaps by grid step."""
    frames: list[pd.DataFrame] = []
    gaps: list[Series] = []
    todo = _windows(edges, sizes)
    for size, smaller in zip(sizes, (*sizes[1:], 0), strict=True):
        exprs = promql.events(slo, slo_set.mesh, size * GRID, other_side=other_side)
        if smaller:
            exprs["unsteady"] = promql.unsteady(slo, slo_set.mesh, size * GRID)
        elif not other_side:
            exprs["gap"] = promql.gap_rule(slo, slo_set.mesh)
        steps = sorted(newest for newest, of in todo if of == size)
        for found in _asked(source, promql.together(exprs), at, steps, size):
            again = {float(time) for item in found.get("unsteady", ()) for time, _ in item["values"]}
            gaps += found.get("gap", ())
            frame = events_frame(slo, found)
            frames.append(frame[~frame["time"].isin([datetime.fromtimestamp(time, UTC) for time in again])])
            for time in again:
                begin = round((at.timestamp() - time) / GRID)
                todo += [(step, smaller) for step in range(begin, begin + size, smaller)]
    return pd.concat(frames, ignore_index=True), gaps


FIRST, MOST, AIM = 8, 200, 3.0
"""Windows that a first query asks for, windows of any query, and how many seconds one should take."""


def _asked(
    source: MetricSource, query: str, at: datetime, steps: Sequence[int], size: int
) -> Iterator[Mapping[str, Sequence[Series]]]:
    """The answers for the windows of one size that begin at some steps, the newest first.

    Servers end queries that take long. As many windows that adjoin are asked for at once as take seconds, judged by
    the query before.
    """
    left, most, limit = list(steps), FIRST, MOST
    while left:
        adjoining = zip(left[:most], count(left[0], size), strict=False)
        chunk = [step for step, _ in takewhile(lambda pair: pair[0] == pair[1], adjoining)]
        first, last = (at - timedelta(seconds=step * GRID) for step in (chunk[-1], chunk[0]))
        begun = monotonic()
        try:
            answer = source.query_range(query, first, last, timedelta(seconds=size * GRID))
        except BackendTimeout:
            if len(chunk) == 1:
                raise
            most = limit = max(1, len(chunk) // 4)
            continue
        most = min(limit, max(1, round(len(chunk) * min(4.0, AIM / max(monotonic() - begun, 1e-3)))))
        left = left[len(chunk) :]
        yield apart(answer, promql.PART)


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
    if not any(gap > 0 for key, gap in out.gaps.items() if key[0] == slo.id):
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


def collect(
    source: MetricSource, slo_set: SloSet, at: datetime, *, history: bool = False, threads: int = 4
) -> Collected:
    """Everything a report needs, from raw counters on a grid that ends at ``at``; with ``history``, in buckets too.

    So many SLOs are read at a time. Raises ``BackendError``.
    """
    out = Collected()
    read = partial(_collect_one, source, slo_set, at=at, history=history)
    large: list[Slo] = []
    with side_by_side(threads), ThreadPoolExecutor(threads, "sloctl-counters") as pool:
        futures = [pool.submit(copy_context().run, read, slo) for slo in slo_set.slos]
        try:
            for slo, future in zip(slo_set.slos, futures, strict=True):
                try:
                    out.add(future.result(), [slo])
                except TooMuchTogether:
                    large.append(slo)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for slo in large:  # one at a time
        out.add(read(slo), [slo])
    downtime.add(slo_set, at, downtime.scraped(source, slo_set, at), out)
    for slo in slo_set.slos:
        _add_peaks(source, slo_set, slo, at, out)
    would_fire_all(slo_set.slos, out)
    return out
