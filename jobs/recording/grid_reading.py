"""Reads buckets of the ledger from raw counters: events, gaps and causes of many definitions at once.

The ledger's grid is that of the clock, at whole five minutes, so that its days begin at midnight in every time zone;
Prometheus evaluates rules at other seconds of the same five minutes. Both count every event once. The expressions are
those of the rules; many definitions share a query, so that requests do not grow with services and little with
definitions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite

from jobs.recording.gaps import SHORTEST_GAP
from sloctl import naming, promql
from sloctl.backends.protocols import MetricSource, Series
from sloctl.ledger.protocol import MICRO, MOST_MICRO, Batch, Cause, Event, Labels, Span
from sloctl.model import GRID, CounterSli, SloSet

Place = tuple[str, str, str]
"""(slo_id, namespace, service)."""
_Values = dict[Place, dict[int, float]]


@dataclass(slots=True)
class Reading:
    """What was read of one span; ``implausible`` are the SLOs whose bad events exceed all of them, or overflow."""

    batches: list[Batch] = field(default_factory=list)
    implausible: set[str] = field(default_factory=set)


def read(
    source: MetricSource, slo_set: SloSet, slo_ids: Sequence[str], span: Span, threads: int = 4
) -> Reading:
    """All buckets of a span, of some definitions. Raises ``BackendError``."""
    slos = [slo for slo in slo_set.slos if slo.id in set(slo_ids)]
    named = {slo.id: (slo.namespace, slo.service) for slo in slos if not slo.wildcard}
    texts: dict[str, list[str]] = {}
    for slo in slos:
        exprs = promql.events(slo, slo_set.mesh, GRID, ranged=True)
        exprs["gap"] = promql.gap_rule(slo, slo_set.mesh)
        if by_cause := promql.causes_rule(slo, slo_set.mesh, GRID, ranged=True):
            # They add up to the bad events, which so need no query of their own: raw counters are what costs.
            exprs["cause"] = by_cause
            del exprs["bad"]
        for kind, expr in exprs.items():
            texts.setdefault(kind, []).append(promql.labelled(expr, naming.SLO_ID, slo.id))
    queries = [(kind, query) for kind, exprs in texts.items() for query in promql.union(exprs)]
    first, last = (datetime.fromtimestamp(at, UTC) for at in (span[0] + GRID, span[1]))

    def ask(query: str) -> Sequence[Series]:
        return source.query_range(query, first, last, timedelta(seconds=GRID))

    with ThreadPoolExecutor(threads, "sloctl-grid") as pool:
        futures = [(kind, pool.submit(copy_context().run, ask, query)) for kind, query in queries]
        answers = [(kind, future.result()) for kind, future in futures]
    series: dict[str, list[Series]] = {}
    for kind, found in answers:
        series.setdefault(kind, []).extend(found)
    values = {kind: _numbers(series.get(kind, ()), named) for kind in ("total", "good", "gap")}
    values["bad"] = _numbers((*series.get("bad", ()), *series.get("cause", ())), named)
    causes_of = {slo.id: naming.causes(slo.sli) for slo in slos if isinstance(slo.sli, CounterSli)}
    out = Reading()
    events = _events(values, {slo.id for slo in slos if slo.counts_good}, out.implausible)
    causes = _causes(series.get("cause", ()), named, causes_of, events)
    out.batches = [
        Batch(slo.id, slo.name, span, tuple(events.get(slo.id, {}).values()), tuple(causes.get(slo.id, ())))
        for slo in slos
    ]
    return out


def _place(metric: Mapping[str, str], named: Mapping[str, tuple[str, str]]) -> Place:
    slo_id = metric.get(naming.SLO_ID, "")
    own = named.get(slo_id)
    return (
        slo_id,
        *(own or (metric.get(naming.NAMESPACE, ""), metric.get(naming.SERVICE, ""))),
    )


def _numbers(series: Iterable[Series], named: Mapping[str, tuple[str, str]]) -> _Values:
    """Sums by place and time; of what is no number too."""
    found: _Values = {}
    for item in series:
        place = _place(item["metric"], named)
        if not place[2]:
            continue  # requests that no service can be named for
        into = found.setdefault(place, {})
        for time, text in item["values"]:
            at = round(float(time))
            into[at] = into.get(at, 0.0) + float(text)
    return found


def _events(
    values: Mapping[str, _Values], counts_good: set[str], implausible: set[str]
) -> dict[str, dict[tuple[str, str, int], Event]]:
    """Events by definition, and by service and time."""
    out: dict[str, dict[tuple[str, str, int], Event]] = {}
    for place, totals in values["total"].items():
        slo_id, namespace, service = place
        others = values["good" if slo_id in counts_good else "bad"].get(place, {})
        for time, total in totals.items():
            other = others.get(time)
            if not isfinite(total) or (other is not None and not isfinite(other)):
                continue  # what is no number is no data
            if slo_id in counts_good:
                if other is None:
                    continue  # the histogram lacks the bound: nothing is known
                other = total - other
            bad = other or 0.0
            if not 0 <= total * MICRO < MOST_MICRO or bad > total * (1 + 1e-9) + 1e-6:
                implausible.add(slo_id)
            whole = round(min(max(total, 0.0) * MICRO, MOST_MICRO))
            wrong = min(round(max(bad, 0.0) * MICRO), whole)
            if whole:
                event = Event(namespace, service, time, whole, wrong)
                out.setdefault(slo_id, {})[namespace, service, time] = event
    for (slo_id, namespace, service), gaps in values["gap"].items():
        events = out.setdefault(slo_id, {})
        for time, gap in gaps.items():
            if not gap >= SHORTEST_GAP:
                continue
            known = events.get((namespace, service, time)) or Event(namespace, service, time, 0, 0)
            events[namespace, service, time] = known._replace(gap=min(round(gap), GRID))
    return out


def _causes(
    series: Iterable[Series],
    named: Mapping[str, tuple[str, str]],
    labels: Mapping[str, tuple[str, ...]],
    events: Mapping[str, Mapping[tuple[str, str, int], Event]],
) -> dict[str, list[Cause]]:
    """Causes of buckets that have bad events."""
    sums: dict[tuple[Place, int, Labels], int] = {}
    for item in series:
        place = _place(item["metric"], named)
        metric = item["metric"]
        own = tuple(sorted((name, metric[name]) for name in labels.get(place[0], ()) if metric.get(name)))
        known = events.get(place[0], {})
        for time, text in item["values"]:
            value, at = float(text), round(float(time))
            event = known.get((place[1], place[2], at))
            if isfinite(value) and event is not None and 0 < value * MICRO < MOST_MICRO:
                key = (place, at, own)
                sums[key] = sums.get(key, 0) + round(value * MICRO)
    out: dict[str, list[Cause]] = {}
    for (place, at, own), bad in sums.items():
        out.setdefault(place[0], []).append(Cause(place[1], place[2], at, own, bad))
    return out
