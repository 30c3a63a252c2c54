"""Computes budgets from raw counters, for a Prometheus in which the rules are not loaded (yet).

Slower than reading what the rules recorded, for it evaluates their expressions over the whole period; the
numbers are the same, because one place builds the expressions of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import inf

import pandas as pd

from jobs.budgets import budget_history, downtime, stopped
from jobs.budgets.collected import Collected, burn_windows, lines, period_seconds, would_fire_all
from jobs.budgets.slis import grid_events
from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.frames import matrix_frame
from sloctl.backends.protocols import MetricSource
from sloctl.budget import EventCounts
from sloctl.model import GRID, CounterSli, SeriesKey, Slo, SloSet
from sloctl.model.policies import SILENCE


def _sums(frame: pd.DataFrame, since: datetime) -> dict[tuple[str, str], tuple[float, float]]:
    recent = frame[frame["time"] > pd.Timestamp(since)]
    sums = recent.groupby(["namespace", "service"], sort=False)[["bad", "total"]].sum()
    return {
        (str(ns), str(svc)): (float(b), float(t))
        for (ns, svc), b, t in zip(sums.index, sums["bad"], sums["total"], strict=True)
    }


def _collect_one(
    source: MetricSource, slo_set: SloSet, slo: Slo, at: datetime, out: Collected, *, history: bool
) -> None:
    heard = source = Heard(source)
    seconds = period_seconds(slo, at) // GRID * GRID
    first = at - timedelta(seconds=max(seconds, *burn_windows(slo)) - GRID)
    frame = grid_events(source, slo, slo_set.mesh, first, at)
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
    _add_eventful(frame, slo, at, out)
    if history:
        out.buckets |= budget_history.of_events(frame, slo, at)
    peaks = frame.groupby(["namespace", "service"], sort=False)["total"].max()
    for (namespace, service), peak in peaks.items():  # type: ignore[misc]
        out.peak[slo.id, str(namespace), str(service)] = float(peak)
    _add_gaps(source, slo_set, slo, first, at, out)
    if isinstance(slo.sli, CounterSli) and slo.sli.other_side:
        other = grid_events(source, slo, slo_set.mesh, first, at, other_side=True)
        _add_other_side(slo, slo.sli.side, _sums(other, at - timedelta(seconds=seconds)), out)
    out.doubt(heard.doubts, [slo])


def _add_eventful(frame: pd.DataFrame, slo: Slo, at: datetime, out: Collected) -> None:
    recent = frame[
        (frame["total"] > 0) & (frame["time"] > pd.Timestamp(at - timedelta(seconds=SILENCE.memory)))
    ]
    ages = (pd.Timestamp(at) - recent["time"]).dt.total_seconds()
    numbers = (ages // stopped.WIDTH).astype("int64")
    for (namespace, service), found in numbers.groupby([recent["namespace"], recent["service"]], sort=False):
        out.eventful[slo.id, str(namespace), str(service)] = sorted({int(number) for number in found})


def _add_gaps(
    source: MetricSource, slo_set: SloSet, slo: Slo, first: datetime, at: datetime, out: Collected
) -> None:
    series = source.query_range(promql.gap_rule(slo, slo_set.mesh), first, at, timedelta(seconds=GRID))
    gaps = matrix_frame(series, naming.IDENTITY)
    gaps = gaps[gaps["value"].abs() < inf]
    if not slo.wildcard:
        gaps = gaps.assign(namespace=slo.namespace, service=slo.service)
    sums = gaps.groupby(["namespace", "service"])["value"].sum()
    for (namespace, service), gap in zip(sums.index, sums, strict=True):
        out.gaps[slo.id, str(namespace), str(service)] = float(gap)


def _add_other_side(
    slo: Slo, side: str, other: Mapping[tuple[str, str], EventCounts], out: Collected
) -> None:
    """What the other side saw of the events that an SLO counts at ``side``, of services that both saw."""
    for (namespace, service), theirs in other.items():
        key: SeriesKey = (slo.id, namespace, service)
        if key in out.period:
            own = out.period[key]
            out.sides[key] = (own, theirs) if side == "client" else (theirs, own)


def collect(source: MetricSource, slo_set: SloSet, at: datetime, *, history: bool = False) -> Collected:
    """Everything a report needs, from raw counters on a grid that ends at ``at``; with ``history``, in buckets too.

    Raises ``BackendError``.
    """
    out = Collected()
    for slo in slo_set.slos:
        _collect_one(source, slo_set, slo, at, out, history=history)
    downtime.add(slo_set, at, downtime.scraped(source, slo_set, at), out)
    would_fire_all(slo_set.slos, out)
    return out
