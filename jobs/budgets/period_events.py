"""Events of a complete day, week or month: from the ledger where it has them, else from what the rules recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import TypeVar

from jobs.budgets.collected import key_of
from jobs.budgets.from_ledger import counts
from jobs.budgets.from_rules import SMALLEST_PART, sums_of
from jobs.budgets.lineage import Books, Lineage
from sloctl import naming, promql
from sloctl.backends.halving import in_halves
from sloctl.backends.protocols import MetricSource, Series
from sloctl.budget import EventCounts
from sloctl.errors import BackendError
from sloctl.ledger.protocol import MICRO, CauseLabels, Ledger, touching
from sloctl.model import GRID, SeriesKey, SloSet
from sloctl.model.calendar import CalendarPeriod
from sloctl.report.data import Finding


@dataclass(slots=True)
class PeriodEvents:
    """(bad, total) events and seconds of gaps by SLO and service; ``booked`` are the SLOs that the ledger gave."""

    counts: dict[SeriesKey, EventCounts] = field(default_factory=dict)
    gaps: dict[SeriesKey, float] = field(default_factory=dict)
    booked: frozenset[str] = frozenset()


def read(
    source: MetricSource,
    slo_set: SloSet,
    period: CalendarPeriod,
    ledger: Ledger | None,
    findings: list[Finding],
) -> PeriodEvents:
    """The events of a period. Raises BackendError."""
    books = PeriodEvents()
    if ledger is not None:
        try:
            books = _of_ledger(ledger, slo_set, period)
        except BackendError as error:
            text = f"{period.label}: events are Prometheus's, for the ledger could not be read: {error}"
            findings.append(Finding("warning", "routine-ledger-not-read", text))
    if books.booked == {slo.id for slo in slo_set.slos}:
        return books
    rules = _of_rules(source, slo_set, period)
    known = {key[0] for key in rules.counts}
    # Of an SLO that neither has for the whole period, the ledger is better than nothing.
    booked = books.booked | {key[0] for key in books.counts if key[0] not in known}
    return PeriodEvents(
        _chosen(books.counts, rules.counts, booked),
        _chosen(books.gaps, rules.gaps, booked),
        frozenset(booked),
    )


T = TypeVar("T")


def _chosen(
    books: Mapping[SeriesKey, T], rules: Mapping[SeriesKey, T], booked: Collection[str]
) -> dict[SeriesKey, T]:
    return {key: value for key, value in rules.items() if key[0] not in booked} | {
        key: value for key, value in books.items() if key[0] in booked
    }


def _of_ledger(ledger: Ledger, slo_set: SloSet, period: CalendarPeriod) -> PeriodEvents:
    """What the ledger has; ``booked`` are those of which it has the whole period."""
    start, end = touching(period.start, period.end)
    books = Books(ledger, slo_set)
    newest = books.newest()
    found = PeriodEvents()
    whole = set()
    for slo in slo_set.slos:
        oldest = books.oldest_of(slo)
        if oldest is not None and oldest <= start + GRID and newest.get(slo.id, 0) >= end:
            whole.add(slo.id)
    found.booked = frozenset(whole)
    (sums,) = books.sums([(start, end)])
    ids = {slo.id for slo in slo_set.slos}
    for key, item in sums.items():
        if key[0] in ids:
            if item.total > 0:
                found.counts[key] = counts(item)
            found.gaps[key] = float(item.gap)
    return found


def _of_rules(source: MetricSource, slo_set: SloSet, period: CalendarPeriod) -> PeriodEvents:
    metrics = {"bad": naming.BAD_GRID, "total": naming.TOTAL_GRID, "gap": naming.GAP_GRID}
    found = sums_of(source, slo_set, metrics, period.seconds, period.end)
    lineage = Lineage(slo_set)
    bad, total, gap = (lineage.joined(found[name]) for name in metrics)
    known = {key: value for key, value in total.items() if value > 0 and key in bad}
    events = {key: (min(max(bad[key], 0.0), value), value) for key, value in known.items()}
    return PeriodEvents(events, {key: value for key, value in gap.items() if key in known})


Causes = dict[SeriesKey, dict[CauseLabels, float]]


def causes(
    source: MetricSource,
    slo_set: SloSet,
    period: CalendarPeriod,
    ledger: Ledger | None,
    booked: Collection[str],
) -> Causes:
    """Bad events of a period by SLO, service and cause, from where its events were read. Raises BackendError."""
    found: Causes = {}
    if ledger is not None and booked:
        known = Books(ledger, slo_set).causes(touching(period.start, period.end))
        found = {
            key: {labels: micro / MICRO for labels, micro in each.items()}
            for key, each in known.items()
            if key[0] in booked
        }
    if all(slo.id in booked for slo in slo_set.slos):
        return found
    lineage = Lineage(slo_set)
    for key, each in recorded_causes(source, slo_set.name, period.seconds, period.end).items():
        now = lineage.current(key)
        if now is not None and now[0] not in booked:
            into = found.setdefault(now, {})
            for labels, value in each.items():
                into[labels] = into.get(labels, 0.0) + value
    return found


def recorded_causes(source: MetricSource, name: str, seconds: int, end: datetime) -> Causes:
    """The causes of a set's bad events in the ``seconds`` up to ``end``, as recorded. Raises BackendError."""

    def ask(first: int, last: int) -> Causes:
        expr = promql.causes_of_set(name, last - first)
        return _by_cause(source.query(expr, end - timedelta(seconds=seconds - last)), naming.ALL_CAUSES)

    return in_halves(ask, _added, 0, seconds, unit=GRID, smallest=SMALLEST_PART)


def _added(older: Causes, newer: Causes) -> Causes:
    for key, more in older.items():
        there = newer.setdefault(key, {})
        for cause, value in more.items():
            there[cause] = there.get(cause, 0.0) + value
    return newer


def _by_cause(answer: Sequence[Series], labels: Sequence[str]) -> Causes:
    found: Causes = {}
    for item in answer:
        metric, value = item["metric"], float(item["value"][1])
        if not isfinite(value) or value <= 0:
            continue
        cause = tuple(sorted((label, metric[label]) for label in labels if metric.get(label)))
        found.setdefault(key_of(metric), {})[cause] = value
    return found
