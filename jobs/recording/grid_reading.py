"""Reads buckets of the ledger from raw counters: events, gaps and causes of many definitions at once.

The ledger's grid is that of the clock, at whole five minutes, so that its days begin at midnight in every time zone;
Prometheus evaluates rules at other seconds of the same five minutes. Both count every event once. The expressions are
those of the rules; many definitions share a query, so that requests do not grow with services and little with
definitions. All numbers of one definition are in one query: see ``promql.together``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from math import isfinite

from jobs.budgets.questions import Definitions, Question, answers, queries
from jobs.recording.gaps import SHORTEST_GAP
from sloctl import naming, promql
from sloctl.backends.answers import Answer, apart, doubts, remarks
from sloctl.backends.halving import in_halves
from sloctl.backends.protocols import MetricSource, Series
from sloctl.errors import BackendTimeout, BadAnswer
from sloctl.ledger.protocol import MICRO, MOST_MICRO, Batch, Bucket, Cause, CauseLabels, Interval
from sloctl.model import GRID, CounterSli, SeriesKey, Slo, SloSet

HOUR = 3600
SLOW_HALVINGS = 3
"""How often an interval is halved that takes a server too long."""
_Values = dict[SeriesKey, dict[int, float]]
_Buckets = dict[tuple[str, str, int], Bucket]


@dataclass(slots=True)
class Reading:
    """What was read of one interval.

    ``implausible`` are the SLOs whose bad events exceed all of them, or overflow. ``unsure`` are those of which an
    answer was in doubt, with what the server said: they have no batch.
    """

    batches: list[Batch] = field(default_factory=list)
    implausible: set[str] = field(default_factory=set)
    unsure: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read(
    source: MetricSource, slo_set: SloSet, slo_ids: Sequence[str], interval: Interval, threads: int = 4
) -> Reading:
    """All buckets of an interval, of some definitions.

    Raises ``BackendError``, and ``TooMuchTogether`` of it for an interval that has to be read in parts.
    """
    slos = [slo for slo in slo_set.slos if slo.id in set(slo_ids)]
    named = {slo.id: (slo.namespace, slo.service) for slo in slos if not slo.wildcard}
    definitions = Definitions(slos)
    asked = queries(_questions(slo_set, definitions.alike()), slo_set)
    start, end = interval[0] + GRID, interval[1]

    def part(query: str, after: int, until: int) -> Sequence[Series]:
        first, last = (datetime.fromtimestamp(at, UTC) for at in (after + GRID, until))
        return source.query_range(query, first, last, timedelta(seconds=GRID))

    def ask(query: str) -> Sequence[Series]:
        found = in_halves(
            partial(part, query),
            _both,
            *interval,
            unit=GRID,
            smallest=GRID,
            times=SLOW_HALVINGS,
            refusal=BackendTimeout,
        )
        if any(time % GRID or not start <= time <= end for item in found for time, _ in item["values"]):
            raise BadAnswer(
                "Prometheus gave samples at times that were not asked for, which are not recorded",
                backend="prometheus",
                url="",
                hint="is there a cache or a downsampling in front of it? the grid is the clock's whole five minutes",
            )
        return found

    out = Reading()
    series: dict[str, list[Series]] = {}
    for query, found in answers(asked, ask, threads):
        said = doubts(found)
        found, contradicted = _once(found)
        if contradicted:
            said = (*said, "one series has two values at one time")
        if said:
            for owner in (slo_id for question in query for slo_id in definitions.owners(question.slo)):
                out.unsure[owner] = (*out.unsure.get(owner, ()), *said)
            continue
        for kind, items in apart(definitions.series(query, found), promql.PART).items():
            series.setdefault(kind, []).extend(items)
    slos = [slo for slo in slos if slo.id not in out.unsure]
    values = {kind: _numbers(series.get(kind, ()), named) for kind in ("total", "good", "gap", "carried")}
    values["bad"] = _numbers((*series.get("bad", ()), *series.get("cause", ())), named)
    causes_of = {slo.id: naming.causes(slo.sli) for slo in slos if isinstance(slo.sli, CounterSli)}
    buckets = _buckets(values, {slo.id for slo in slos if slo.counts_good}, out.implausible)
    causes = _causes(series.get("cause", ()), named, causes_of, buckets)
    out.batches = [
        Batch(
            slo.id, slo.name, interval, tuple(buckets.get(slo.id, {}).values()), tuple(causes.get(slo.id, ()))
        )
        for slo in slos
    ]
    return out


def _both(older: Sequence[Series], newer: Sequence[Series]) -> Answer:
    """The series of two answers, of which some may be in both."""
    found = (older, newer)
    return Answer(
        (item for answer in found for item in answer),
        (text for answer in found for text in doubts(answer)),
        (text for answer in found for text in remarks(answer)),
    )


def joined(older: Reading, newer: Reading) -> Reading:
    """What was read of an interval in two parts: of the definitions of which both were sure."""
    later = {batch.slo_id: batch for batch in newer.batches}
    batches = [
        Batch(
            batch.slo_id,
            batch.slo,
            (batch.interval[0], after.interval[1]),
            (*batch.buckets, *after.buckets),
            (*batch.causes, *after.causes),
        )
        for batch in older.batches
        if (after := later.get(batch.slo_id)) is not None
    ]
    return Reading(batches, older.implausible | newer.implausible, older.unsure | newer.unsure)


def _once(series: Iterable[Series]) -> tuple[list[Series], bool]:
    """The series of an answer, each sample once; whether one is there with two values, so that nobody knows which."""
    known: dict[tuple[tuple[str, str], ...], dict[int, str]] = {}
    contradicted = False
    for item in series:
        values = known.setdefault(tuple(sorted(item["metric"].items())), {})
        for time, text in item["values"]:
            contradicted |= values.setdefault(round(float(time)), text) != text
    return [{"metric": dict(key), "values": [*values.items()]} for key, values in known.items()], contradicted


def _questions(slo_set: SloSet, slos: Sequence[Slo]) -> Iterator[Question]:
    """What is to be known of definitions: all numbers of one in one question, and what may be of another answer."""
    mesh = slo_set.mesh

    def events(slo: Slo) -> str:
        exprs = promql.events(slo, mesh, GRID)
        exprs["gap"] = promql.gap_rule(slo, mesh)
        # Of a latency SLO they would be no saving, and slow is not told from a bound that is missing.
        if "bad" in exprs and (by_cause := promql.causes_rule(slo, mesh, GRID)):
            # They add up to the bad events, which so need no query of their own: raw counters are what costs.
            exprs["cause"] = by_cause
            del exprs["bad"]
        return promql.together(
            {kind: promql.labelled(expr, naming.SLO_ID, slo.id) for kind, expr in exprs.items()}
        )

    def carried(slo: Slo) -> str:
        # A mark and no number: it need not be of the same answer.
        mark = promql.labelled(promql.carried_rule(slo, mesh), naming.SLO_ID, slo.id)
        return promql.together({"carried": mark})

    for slo in slos:
        yield Question(slo, events)
        if promql.carried_rule(slo, mesh):
            yield Question(slo, carried)


def _key(metric: Mapping[str, str], named: Mapping[str, tuple[str, str]]) -> SeriesKey:
    slo_id = metric.get(naming.SLO_ID, "")
    own = named.get(slo_id)
    return (
        slo_id,
        *(own or (metric.get(naming.NAMESPACE, ""), metric.get(naming.SERVICE, ""))),
    )


def _numbers(series: Iterable[Series], named: Mapping[str, tuple[str, str]]) -> _Values:
    """Sums by series and time; of what is no number too."""
    found: _Values = {}
    for item in series:
        key = _key(item["metric"], named)
        if not key[2]:
            continue  # requests that no service can be named for
        into = found.setdefault(key, {})
        for time, text in item["values"]:
            at = round(float(time))
            into[at] = into.get(at, 0.0) + float(text)
    return found


def _buckets(
    values: Mapping[str, _Values], counts_good: set[str], implausible: set[str]
) -> dict[str, _Buckets]:
    """Buckets by definition, and by service and time."""
    out: dict[str, _Buckets] = {}
    for key, totals in values["total"].items():
        slo_id, namespace, service = key
        others = values["good" if slo_id in counts_good else "bad"].get(key, {})
        for time, total in totals.items():
            bad = _bad(total, others.get(time), slo_id in counts_good)
            if bad is None:
                continue
            if not 0 <= total * MICRO < MOST_MICRO or bad > total * (1 + 1e-9) + 1e-6:
                implausible.add(slo_id)
            whole = round(min(max(total, 0.0) * MICRO, MOST_MICRO))
            wrong = round(min(max(bad, 0.0) * MICRO, whole))
            if whole:
                bucket = Bucket(namespace, service, time, whole, wrong)
                out.setdefault(slo_id, {})[namespace, service, time] = bucket
    _add_gaps(values["gap"], out)
    _add_carried(values["carried"], out)
    return out


def _bad(total: float, other: float | None, counts_good: bool) -> float | None:
    """The bad events of a bucket, by its good or its bad ones; None if nothing is known of it."""
    if not isfinite(total) or (other is not None and not isfinite(other)):
        return None  # what is no number is no data
    if not counts_good:
        return other or 0.0
    # Without good ones the histogram lacks the bound.
    return None if other is None else total - other


def _add_gaps(gaps: _Values, out: dict[str, _Buckets]) -> None:
    for (slo_id, namespace, service), seconds in gaps.items():
        buckets = out.setdefault(slo_id, {})
        for time, gap in seconds.items():
            if gap >= SHORTEST_GAP:
                known = buckets.get((namespace, service, time)) or Bucket(namespace, service, time, 0, 0)
                buckets[namespace, service, time] = known._replace(gap=round(min(gap, GRID)))


def _add_carried(carried: _Values, out: Mapping[str, _Buckets]) -> None:
    for (slo_id, namespace, service), seconds in carried.items():
        buckets = out.get(slo_id, {})
        for time, before in seconds.items():
            known = buckets.get((namespace, service, time))
            if known and known.total and isfinite(before) and before > 0:
                buckets[namespace, service, time] = known._replace(carried=round(min(before, HOUR)))


def _causes(
    series: Iterable[Series],
    named: Mapping[str, tuple[str, str]],
    labels: Mapping[str, tuple[str, ...]],
    buckets: Mapping[str, _Buckets],
) -> dict[str, list[Cause]]:
    """Causes of buckets that have bad events."""
    sums: dict[tuple[SeriesKey, int, CauseLabels], int] = {}
    for item in series:
        key = _key(item["metric"], named)
        metric = item["metric"]
        own = tuple(sorted((name, metric[name]) for name in labels.get(key[0], ()) if metric.get(name)))
        known = buckets.get(key[0], {})
        for time, text in item["values"]:
            value, at = float(text), round(float(time))
            bucket = known.get((key[1], key[2], at))
            if isfinite(value) and bucket is not None and 0 < value * MICRO < MOST_MICRO:
                cause = (key, at, own)
                sums[cause] = sums.get(cause, 0) + round(value * MICRO)
    out: dict[str, list[Cause]] = {}
    for (key, at, own), bad in sums.items():
        out.setdefault(key[0], []).append(Cause(key[1], key[2], at, own, bad))
    return out
