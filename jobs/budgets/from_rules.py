"""Reads budgets from the series that the rules recorded.

The number of requests grows with the number of distinct windows, not with services: one request covers a
metric and a window for every SLO of the set. Sums over a period are sums over the budget grid, plus the open
bucket since its last instant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite

from jobs.budgets import downtime
from jobs.budgets.collected import (
    Collected,
    burn_windows,
    counts,
    key_of,
    lines,
    numbers,
    period_seconds,
    two_sided,
    wants_peak,
    would_fire_all,
)
from jobs.budgets.lineage import Lineage, changed
from jobs.budgets.open_bucket import open_bucket
from sloctl import naming, promql
from sloctl.backends.answers import Heard, apart
from sloctl.backends.halving import in_halves
from sloctl.backends.protocols import MetricSource, Series
from sloctl.budget import EventCounts
from sloctl.errors import BackendLimit
from sloctl.model import GRID, CounterSli, SeriesKey, Slo, SloSet
from sloctl.report.data import Finding

STALE = 2 * GRID + 60
_SOME = 50
"""Services of which the peaks are asked for at once."""
SMALLEST_PART = 6 * 3600
"""Seconds: sums over no more than this are not asked for in halves."""


def last_instants(source: MetricSource, slo_set: SloSet, at: datetime) -> dict[str, float]:
    """Unix time of the last budget-grid instant of each definition that has one in the last eleven minutes.

    An instant with total events and without bad ones is none: a rule fails.
    """
    found = source.query(promql.last_instant(slo_set.name), at)
    now = at.timestamp()
    instants = {item["metric"].get(naming.SLO_ID, ""): float(item["value"][1]) for item in found}
    ids = {slo.id for slo in slo_set.slos}
    return {slo_id: time for slo_id, time in instants.items() if slo_id in ids and now - STALE <= time <= now}


def evaluations(source: MetricSource, slo_set: SloSet, at: datetime) -> tuple[frozenset[str], dict[str, int]]:
    """The definitions whose rules were evaluated in the last eleven minutes, and how often within the longest window.

    Where a server refuses to count, nothing is known of how often. Raises ``BackendError``.
    """
    recent = _by_definition(source.query(promql.evaluations(slo_set.name, STALE), at))
    try:
        longest = max(period_seconds(slo, at) for slo in slo_set.slos)
        counted = (
            _by_definition(source.query(promql.evaluations(slo_set.name, longest), at)) if recent else {}
        )
    except BackendLimit:
        counted = {}
    ids = {slo.id for slo in slo_set.slos}
    return frozenset(ids & set(recent)), {slo_id: round(value) for slo_id, value in counted.items()}


def _by_definition(series: Sequence[Series]) -> dict[str, float]:
    values = {item["metric"].get(naming.SLO_ID, ""): float(item["value"][1]) for item in series}
    return {slo_id: value for slo_id, value in values.items() if isfinite(value)}


_Sums = dict[str, dict[SeriesKey, float]]
"""By the name of the metric, and by SLO and service."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Metrics by their names, that are read together over a window (seconds)."""

    metrics: Mapping[str, str]
    window: int
    operator: str = "sum"


class _Reader:
    """Sums recorded metrics of one set at one time."""

    def __init__(self, source: MetricSource, slo_set: SloSet, at: datetime) -> None:
        self._source = source
        self._set = slo_set
        self._at = at

    def _query(self, wanted: _Wanted, first: int, last: int) -> str:
        return promql.together(
            {
                name: promql.of_set(
                    metric,
                    self._set.name,
                    last - first,
                    offset=wanted.window - last,
                    operator=wanted.operator,
                )
                for name, metric in wanted.metrics.items()
            }
        )

    def sums(self, wanted: _Wanted) -> _Sums:
        """Sums over the grid are additive, and so are largest values."""

        def ask(first: int, last: int) -> _Sums:
            return self._numbers(wanted, self._source.query(self._query(wanted, first, last), self._at))

        def join(older: _Sums, newer: _Sums) -> _Sums:
            merged = {name: dict(values) for name, values in newer.items()}
            for name, values in older.items():
                into = merged[name]
                for key, value in values.items():
                    there = into.get(key, 0.0)
                    into[key] = max(there, value) if wanted.operator == "max" else there + value
            return merged

        return in_halves(ask, join, 0, wanted.window, unit=GRID, smallest=SMALLEST_PART)

    def steady_peaks(self, services: Sequence[str], seconds: int) -> dict[SeriesKey, float]:
        """The most events of a step without those of a gap, of some services."""

        def ask(first: int, last: int) -> dict[SeriesKey, float]:
            expr = promql.steady_peaks(self._set.name, services, last - first, offset=seconds - last)
            return numbers(self._source.query(expr, self._at))

        def join(older: dict[SeriesKey, float], newer: dict[SeriesKey, float]) -> dict[SeriesKey, float]:
            return {key: max(older.get(key, 0.0), newer.get(key, 0.0)) for key in {*older, *newer}}

        return in_halves(ask, join, 0, seconds, unit=GRID, smallest=SMALLEST_PART)

    def many(self, wanted: Mapping[str, _Wanted]) -> dict[str, _Sums]:
        """Several sums at once, by name."""
        queries = {name: self._query(item, 0, item.window) for name, item in wanted.items()}
        try:
            return {
                name: self._numbers(wanted[name], result)
                for name, result in self._source.query_many(queries, self._at).items()
            }
        except BackendLimit:
            return {name: self.sums(item) for name, item in wanted.items()}

    @staticmethod
    def _numbers(wanted: _Wanted, answer: Sequence[Series]) -> _Sums:
        found = apart(answer, promql.PART)
        return {name: numbers(found.get(name, ())) for name in wanted.metrics}


def sums_of(
    source: MetricSource, slo_set: SloSet, metrics: Mapping[str, str], seconds: int, at: datetime
) -> dict[str, dict[SeriesKey, float]]:
    """Recorded metrics over the ``seconds`` before ``at`` by their names, from one query, in halves where the server
    has a limit.

    Raises ``BackendError``.
    """
    return _Reader(source, slo_set, at).sums(_Wanted(metrics, seconds))


def add_sides(source: MetricSource, slo_set: SloSet, at: datetime, collected: Collected) -> None:
    """Fill in what the other side of the mesh saw, over each SLO's own period. Raises ``BackendError``."""
    queries: dict[str, str] = {}
    users: dict[str, list[Slo]] = {}
    names: dict[tuple[object, ...], str] = {}
    for slo in two_sided(slo_set):
        assert isinstance(slo.sli, CounterSli) and slo.sli.other_side
        side, seconds = slo.sli.other_side, period_seconds(slo, at)
        read = (naming.family(side), side.where, side.bad, side.total, seconds)
        name = names.setdefault(read, f"side {len(names)}")
        queries[name] = promql.together(
            {
                kind: promql.base_of_set(slo_set.name, side, parts, seconds)
                for kind, parts in (("bad", side.bad), ("total", side.total))
                if parts
            }
        )
        users.setdefault(name, []).append(slo)
    other: dict[tuple[str, SeriesKey], float] = {}
    try:
        answers = source.query_many(queries, at)
    except BackendLimit:
        text = "too many samples to compare what clients and servers saw; the budgets are not affected"
        collected.findings.append(Finding("info", "sides-not-compared", text))
        return
    for name, result in answers.items():
        for kind, series in apart(result, promql.PART).items():
            for (scope, namespace, service), value in numbers(series, naming.SCOPE).items():
                for slo in users[name]:
                    if scope == slo.scope:
                        other[kind, (slo.id, namespace, service)] = value
    sides = {slo.id: slo.sli.side for slo in two_sided(slo_set) if isinstance(slo.sli, CounterSli)}
    for key, own in collected.period.items():
        seen = other.get(("total", key))
        if key[0] in sides and seen is not None:
            theirs: EventCounts = (other.get(("bad", key), 0.0), seen)
            collected.sides[key] = (own, theirs) if sides[key[0]] == "client" else (theirs, own)


def _evaluations(
    source: MetricSource, slo_set: SloSet, at: datetime, counted: Mapping[str, int]
) -> list[float]:
    """When Prometheus evaluated the grid's rules (Unix seconds, ascending), within the longest period.

    Those of the definition that has been evaluated most often.
    """
    slo = min(slo_set.slos, key=lambda item: (-counted.get(item.id, 0), item.id))
    seconds = max(period_seconds(item, at) for item in slo_set.slos)
    series = source.query_range(
        promql.recorded(naming.OBJECTIVE, slo), at - timedelta(seconds=seconds), at, timedelta(seconds=GRID)
    )
    return sorted({float(time) for item in series for time, _ in item["values"]})


def _add_evaluation_gaps(
    source: MetricSource, slo_set: SloSet, at: datetime, counted: Mapping[str, int], out: Collected
) -> None:
    """Say when no rules were evaluated; time before the first evaluation is no gap: nothing is recorded of it."""
    times = _evaluations(source, slo_set, at, counted)
    if not times:
        return
    for slo in slo_set.slos:
        number = counted.get(slo.id, len(times))
        younger = number < len(times) - 2
        out.since[slo.id] = at.timestamp() - number * GRID if younger else times[0] - GRID
    downtime.add(slo_set, at, times, out)


def collect(
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    instants: Mapping[str, float],
    counted: Mapping[str, int] | None = None,
) -> Collected:
    """Everything a report needs, from recorded series; ``instants`` as :func:`last_instants` gives them.

    ``counted`` is how often the rules of each definition were evaluated: see :func:`evaluations`.

    Raises ``BackendError``.
    """
    out = Collected(recorded=True)
    heard = source = Heard(source)
    reader = _Reader(source, slo_set, at)
    periods = {slo.id: period_seconds(slo, at) for slo in slo_set.slos}
    windows = _windows(slo_set)
    metrics = {"bad": naming.BAD_GRID, "total": naming.TOTAL_GRID, "gap": naming.GAP_GRID}
    wanted = {f"period {seconds}": _Wanted(metrics, seconds) for seconds in set(periods.values())}
    found = reader.many(wanted | _burn_queries(windows))
    lineage, moved = Lineage(slo_set), set[SeriesKey]()
    for seconds in set(periods.values()):
        read = found[f"period {seconds}"]
        of = {name: lineage.joined(values) for name, values in read.items()}
        for key, value in counts(of["bad"], of["total"]).items():
            if periods.get(key[0]) == seconds:
                out.period[key] = value
                out.gaps[key] = of["gap"].get(key, 0.0)
        moved |= {key for key in lineage.moved(read["total"]) if periods.get(key[0]) == seconds}
    out.findings += changed(moved, slo_set)
    _take_burn(found, windows, lineage, out)
    _add_open_buckets(source, slo_set, at, instants, out)
    add_sides(source, slo_set, at, out)
    # What another definition counted before is no missing time.
    others = {key[0] for key in moved}
    own = {slo_id: number for slo_id, number in (counted or {}).items() if slo_id not in others}
    _add_evaluation_gaps(source, slo_set, at, own, out)
    if any(wants_peak(slo, at, out) for slo in slo_set.slos):
        _add_peaks(reader, max(periods.values()), out)
    add_alerts(source, slo_set, at, out)
    out.doubt(heard.doubts, slo_set.slos)
    return out


def _add_peaks(reader: _Reader, longest: int, out: Collected) -> None:
    """The most events that a step had; of services with gaps, of steps that no gap has added to, if any."""
    services = sorted({key[2] for key, seconds in out.gaps.items() if seconds >= promql.LONG_GAP})
    [all_steps] = reader.many({"peak": _Wanted({"peak": naming.TOTAL_GRID}, longest, "max")}).values()
    out.peak = all_steps["peak"]
    for some in (services[at : at + _SOME] for at in range(0, len(services), _SOME)):
        out.peak |= {key: most for key, most in reader.steady_peaks(some, longest).items() if most > 0}


def _windows(slo_set: SloSet) -> list[int]:
    return sorted({window for slo in slo_set.slos for window in burn_windows(slo)})


def _burn_queries(windows: Sequence[int]) -> dict[str, _Wanted]:
    wanted = {}
    for window in windows:
        bad, total = promql.tile_metrics(window)
        wanted[f"burn {window}"] = _Wanted({"bad": bad, "total": total}, window)
    return wanted


def _take_burn(found: Mapping[str, _Sums], windows: Sequence[int], lineage: Lineage, out: Collected) -> None:
    for window in windows:
        of = {name: lineage.joined(values) for name, values in found[f"burn {window}"].items()}
        out.burn[window] = counts(of["bad"], of["total"])


def add_burn_rates(source: MetricSource, slo_set: SloSet, at: datetime, out: Collected) -> None:
    """Fill in the events of every burn window. Raises ``BackendError``."""
    windows = _windows(slo_set)
    found = _Reader(source, slo_set, at).many(_burn_queries(windows))
    _take_burn(found, windows, Lineage(slo_set), out)


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
        found = sums_of(source, slo_set, {"before": metric}, long - short, before)
        out.seasoned.setdefault((long, short), set()).update(found["before"])


def _add_open_buckets(
    source: MetricSource, slo_set: SloSet, at: datetime, instants: Mapping[str, float], out: Collected
) -> None:
    slos = {slo.id: slo for slo in slo_set.slos if slo.id in instants}
    for key, (bad, total) in open_bucket(source, slo_set, slos, instants, at).items():
        before = out.period.get(key, (0.0, 0.0))
        out.period[key] = (before[0] + bad, before[1] + total)
