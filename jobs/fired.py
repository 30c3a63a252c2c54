"""Alerts that fired in a period: how often, how long, and whether they still do, from ``ALERTS``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sloctl import naming, promql
from sloctl.errors import BackendLimit
from sloctl.model import SloSet
from sloctl.routine import Period
from sloctl.sources import MetricSource

STEPS = {"daily": 60, "weekly": 120, "monthly": 300}
"""Seconds between two looks: a server gives 11,000 of a series. What fires for less than that may be missed."""
BY = ("alertname", "severity", naming.SLO, naming.NAMESPACE, naming.SERVICE, naming.GUARDRAIL)
_SMALLEST = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert in a period: ``times`` it began, ``longest`` and ``total`` seconds, ``firing`` at the end."""

    labels: dict[str, str]
    times: int
    longest: float
    total: float
    firing: bool


def read(source: MetricSource, slo_set: SloSet, period: Period) -> list[Fired]:
    """The alerts of a set that fired, those first that did so longest. Raises BackendError."""
    step = timedelta(seconds=STEPS[period.kind])
    query = f"max by ({', '.join(BY)}) ({promql.firing(slo_set.name)})"
    seen: dict[tuple[tuple[str, str], ...], set[float]] = {}
    _look(source, query, period.start + step, period.end, step, seen)
    found = []
    for labels, times in seen.items():
        spells = _spells(sorted(times), step.total_seconds())
        lengths = [end - start for start, end in spells]
        still = bool(spells) and spells[-1][1] >= period.end.timestamp() - step.total_seconds() / 2
        found.append(Fired(dict(labels), len(spells), max(lengths), sum(lengths), still))
    return sorted(found, key=lambda item: (-item.total, sorted(item.labels.items())))


def _look(
    source: MetricSource,
    query: str,
    start: datetime,
    end: datetime,
    step: timedelta,
    seen: dict[tuple[tuple[str, str], ...], set[float]],
) -> None:
    try:
        series = source.query_range(query, start, end, step)
    except BackendLimit:
        if end - start <= _SMALLEST:
            raise
        middle = start + (end - start) // 2 // step * step
        _look(source, query, start, middle, step, seen)
        _look(source, query, middle + step, end, step, seen)
        return
    for item in series:
        labels = tuple(sorted((name, value) for name, value in item["metric"].items() if value))
        seen.setdefault(labels, set()).update(float(time) for time, _ in item["values"])


def _spells(times: list[float], step: float) -> list[tuple[float, float]]:
    """Unbroken runs of looks, each standing for the step before it."""
    found: list[tuple[float, float]] = []
    for time in times:
        if found and time - found[-1][1] <= step * 1.5:
            found[-1] = (found[-1][0], time)
        else:
            found.append((time - step, time))
    return found
