"""Reads budgets from the series that the rules recorded.

The number of requests grows with the number of distinct windows, not with services: one request covers a
metric and a window for every SLO of the set. Sums over a period are sums over the budget grid, plus the open
bucket since its last instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from jobs.budgets.collected import (
    Collected,
    burn_windows,
    counts,
    key_of,
    lines,
    numbers,
    period_seconds,
    two_sided,
    would_fire_all,
)
from jobs.budgets.open_bucket import open_bucket
from sloctl import naming, promql
from sloctl.backends.halving import in_halves
from sloctl.backends.protocols import MetricSource
from sloctl.budget import EventCounts
from sloctl.errors import BackendLimit
from sloctl.model import GRID, CounterSli, Selector, SeriesKey, Slo, SloSet
from sloctl.model.durations import duration
from sloctl.report.data import Finding

STALE = 2 * GRID + 60
SMALLEST_PART = 6 * 3600
"""Seconds: sums over no more than this are not asked for in halves."""


def last_instants(source: MetricSource, slo_set: SloSet, at: datetime) -> dict[str, float]:
    """Unix time of the last budget-grid instant of each definition that has one in the last eleven minutes."""
    found = source.query(promql.last_instant(slo_set.name), at)
    now = at.timestamp()
    instants = {item["metric"].get(naming.SLO_ID, ""): float(item["value"][1]) for item in found}
    return {slo_id: time for slo_id, time in instants.items() if slo_id and now - STALE <= time <= now}


class _Reader:
    """Sums recorded metrics of one set at one time."""

    def __init__(self, source: MetricSource, slo_set: SloSet, at: datetime) -> None:
        self._source = source
        self._set = slo_set
        self._at = at

    def sums(self, metric: str, window: int, operator: str = "sum") -> dict[SeriesKey, float]:
        """Sums over the grid are additive, and so are largest values."""

        def ask(first: int, last: int) -> dict[SeriesKey, float]:
            query = promql.of_set(
                metric, self._set.name, last - first, offset=window - last, operator=operator
            )
            return numbers(self._source.query(query, self._at))

        def join(older: dict[SeriesKey, float], newer: dict[SeriesKey, float]) -> dict[SeriesKey, float]:
            merged = dict(newer)
            for key, value in older.items():
                there = merged.get(key, 0.0)
                merged[key] = max(there, value) if operator == "max" else there + value
            return merged

        return in_halves(ask, join, 0, window, unit=GRID, smallest=SMALLEST_PART)

    def many(self, wanted: dict[str, tuple[str, int, str]]) -> dict[str, dict[SeriesKey, float]]:
        """Several sums at once: name → (metric, window, operator)."""
        queries = {
            name: promql.of_set(metric, self._set.name, window, operator=operator)
            for name, (metric, window, operator) in wanted.items()
        }
        try:
            return {
                name: numbers(result) for name, result in self._source.query_many(queries, self._at).items()
            }
        except BackendLimit:
            return {
                name: self.sums(metric, window, operator=operator)
                for name, (metric, window, operator) in wanted.items()
            }


def sums_of(
    source: MetricSource, slo_set: SloSet, metric: str, seconds: int, at: datetime
) -> dict[SeriesKey, float]:
    """A recorded metric over the ``seconds`` before ``at``, in halves where the server has a limit.

    Raises ``BackendError``.
    """
    return _Reader(source, slo_set, at).sums(metric, seconds)


def add_sides(source: MetricSource, slo_set: SloSet, at: datetime, collected: Collected) -> None:
    """Fill in what the other side of the mesh saw, over each SLO's own period. Raises ``BackendError``."""
    queries: dict[str, str] = {}
    users: dict[str, list[tuple[Slo, str]]] = {}
    names: dict[tuple[str, tuple[Selector, ...], int], str] = {}
    for slo in two_sided(slo_set):
        assert isinstance(slo.sli, CounterSli) and slo.sli.other_side
        for kind in ("bad", "total"):
            parts: tuple[Selector, ...] = getattr(slo.sli.other_side, kind)
            identity = (naming.family(slo.sli), parts, period_seconds(slo, at))
            name = names.setdefault(identity, f"side {len(names)}")
            queries[name] = promql.base_of_set(slo_set.name, *identity)
            users.setdefault(name, []).append((slo, kind))
    other: dict[tuple[str, SeriesKey], float] = {}
    try:
        answers = source.query_many(queries, at)
    except BackendLimit:
        text = "too many samples to compare what clients and servers saw; the budgets are not affected"
        collected.findings.append(Finding("info", "sides-not-compared", text))
        return
    for name, result in answers.items():
        values = numbers(result, naming.SCOPE)
        for slo, kind in users[name]:
            for (scope, namespace, service), value in values.items():
                if scope == slo.scope:
                    other[kind, (slo.id, namespace, service)] = value
    sides = {slo.id: slo.sli.side for slo in two_sided(slo_set) if isinstance(slo.sli, CounterSli)}
    for key, own in collected.period.items():
        total = other.get(("total", key))
        if key[0] in sides and total is not None:
            theirs: EventCounts = (other.get(("bad", key), 0.0), total)
            collected.sides[key] = (own, theirs) if sides[key[0]] == "client" else (theirs, own)


def _evaluations(source: MetricSource, slo_set: SloSet, at: datetime) -> list[float]:
    """When Prometheus evaluated the grid's rules (Unix seconds, ascending), within the longest period."""
    slo = min(slo_set.slos, key=lambda item: item.id)
    seconds = max(period_seconds(item, at) for item in slo_set.slos)
    series = source.query_range(
        promql.recorded(naming.OBJECTIVE, slo), at - timedelta(seconds=seconds), at, timedelta(seconds=GRID)
    )
    return sorted({float(time) for item in series for time, _ in item["values"]})


def _add_evaluation_gaps(source: MetricSource, slo_set: SloSet, at: datetime, out: Collected) -> None:
    """Say when no rules were evaluated; time before the first evaluation is no gap, but is said too."""
    times = _evaluations(source, slo_set, at)
    if not times:
        return
    scope = {naming.SLO_SET: slo_set.name}
    periods = {slo.id: period_seconds(slo, at) for slo in slo_set.slos}
    longest = max(periods.values())
    recorded = at.timestamp() - times[0] + GRID
    if recorded < longest - 2 * GRID:
        text = (
            f"the rules have recorded for {duration(round(recorded / 60) * 60)} only, of periods of up to "
            f"{duration(longest)}: budgets are of that time"
        )
        out.findings.append(Finding("warning", "partial-period", text, scope))
    # What follows a gap covers one step of the grid itself.
    gaps = [(a, b - GRID) for a, b in pairwise(times) if b - a > 1.5 * GRID]
    if not gaps:
        return
    lost = duration(round(sum(end - start for start, end in gaps)))
    text = f"Prometheus recorded nothing for {lost}; what happened then is in no budget"
    out.findings.append(Finding("warning", "evaluation-gap", text, scope))
    for key in out.period:
        since = at.timestamp() - periods[key[0]]
        missing = sum(max(0.0, end - max(start, since)) for start, end in gaps)
        out.gaps[key] = out.gaps.get(key, 0.0) + missing


def collect(source: MetricSource, slo_set: SloSet, at: datetime, instants: dict[str, float]) -> Collected:
    """Everything a report needs, from recorded series; ``instants`` as :func:`last_instants` gives them.

    Raises ``BackendError``.
    """
    out = Collected(recorded=True)
    reader = _Reader(source, slo_set, at)
    periods = {slo.id: period_seconds(slo, at) for slo in slo_set.slos}
    windows = _windows(slo_set)
    wanted: dict[str, tuple[str, int, str]] = {}
    for seconds in set(periods.values()):
        wanted[f"bad {seconds}"] = (naming.BAD_GRID, seconds, "sum")
        wanted[f"total {seconds}"] = (naming.TOTAL_GRID, seconds, "sum")
        wanted[f"gap {seconds}"] = (naming.GAP_GRID, seconds, "sum")
    found = reader.many(wanted | _burn_queries(windows))
    for seconds in set(periods.values()):
        for key, value in counts(found[f"bad {seconds}"], found[f"total {seconds}"]).items():
            if periods.get(key[0]) == seconds:
                out.period[key] = value
                out.gaps[key] = found[f"gap {seconds}"].get(key, 0.0)
    _take_burn(found, windows, out)
    _add_open_buckets(source, slo_set, at, instants, out)
    add_sides(source, slo_set, at, out)
    _add_evaluation_gaps(source, slo_set, at, out)
    if any(out.gaps.values()):
        longest = max(periods.values())
        out.peak = reader.many({"peak": (naming.TOTAL_GRID, longest, "max")})["peak"]
    add_alerts(source, slo_set, at, out)
    return out


def _windows(slo_set: SloSet) -> list[int]:
    return sorted({window for slo in slo_set.slos for window in burn_windows(slo)})


def _burn_queries(windows: Sequence[int]) -> dict[str, tuple[str, int, str]]:
    wanted = {}
    for window in windows:
        bad, total = promql.tile_metrics(window)
        wanted[f"burn bad {window}"] = (bad, window, "sum")
        wanted[f"burn total {window}"] = (total, window, "sum")
    return wanted


def _take_burn(found: dict[str, dict[SeriesKey, float]], windows: Sequence[int], out: Collected) -> None:
    for window in windows:
        out.burn[window] = counts(found[f"burn bad {window}"], found[f"burn total {window}"])


def add_burn_rates(source: MetricSource, slo_set: SloSet, at: datetime, out: Collected) -> None:
    """Fill in the events of every burn window. Raises ``BackendError``."""
    windows = _windows(slo_set)
    _take_burn(_Reader(source, slo_set, at).many(_burn_queries(windows)), windows, out)


def add_alerts(source: MetricSource, slo_set: SloSet, at: datetime, out: Collected) -> None:
    """The alerts that fire; where no alert rule was evaluated at ``at``, those whose condition holds."""
    for item in source.query(promql.firing(slo_set.name), at):
        metric = item["metric"]
        out.alerts.setdefault(key_of(metric), []).append(metric.get("alertname", ""))
    policies = [slo for slo in slo_set.slos if slo.policy]
    # Without events no burn rate is recorded, evaluated or not; nor can an alert's condition hold.
    eventful = any(total > 0 for counts in out.burn.values() for _, total in counts.values())
    if out.alerts or not policies or not eventful or source.query(promql.evaluated(policies), at):
        return
    text = "no alert rule was evaluated at this time: the alerts are those whose condition holds"
    out.findings.append(Finding("info", "alerts-computed", text))
    add_seasoned(source, slo_set, at, out)
    would_fire_all(policies, out)


def add_seasoned(source: MetricSource, slo_set: SloSet, at: datetime, out: Collected) -> None:
    """Fill in what was recorded long enough to be judged by. Raises ``BackendError``."""
    for long, short in lines(slo_set.slos):
        metric, before = promql.before_metric(long, short), at - timedelta(seconds=short)
        out.seasoned[long, short] = set(sums_of(source, slo_set, metric, long - short, before))


def _add_open_buckets(
    source: MetricSource, slo_set: SloSet, at: datetime, instants: dict[str, float], out: Collected
) -> None:
    slos = {slo.id: slo for slo in slo_set.slos if slo.id in instants}
    for key, (bad, total) in open_bucket(source, slos, slo_set.mesh, instants, at).items():
        before = out.period.get(key, (0.0, 0.0))
        out.period[key] = (before[0] + bad, before[1] + total)
