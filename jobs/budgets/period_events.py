"""Events of a complete day, week or month: from the ledger where it has them, else from what the rules recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite

from jobs.budgets.collected import key_of
from jobs.budgets.from_ledger import counts
from jobs.budgets.from_rules import SMALLEST_PART, sums_of
from sloctl import naming, promql
from sloctl.backends.halving import in_halves
from sloctl.backends.protocols import MetricSource, Series
from sloctl.budget import EventCounts
from sloctl.errors import BackendError
from sloctl.ledger.protocol import MICRO, CauseLabels, Ledger, by_service, touching
from sloctl.model import GRID, SeriesKey, SloSet
from sloctl.model.calendar import CalendarPeriod
from sloctl.report.data import Finding


@dataclass(slots=True)
class PeriodEvents:
    """(bad, total) events and seconds of gaps by SLO and service; ``found_in`` says where they were read."""

    counts: dict[SeriesKey, EventCounts] = field(default_factory=dict)
    gaps: dict[SeriesKey, float] = field(default_factory=dict)
    found_in: str = "prometheus"


def read(
    source: MetricSource,
    slo_set: SloSet,
    period: CalendarPeriod,
    ledger: Ledger | None,
    findings: list[Finding],
) -> PeriodEvents:
    """The events of a period. Raises BackendError."""
    if ledger is not None:
        try:
            found = _of_ledger(ledger, slo_set, period)
        except BackendError as error:
            text = f"{period.label}: events are Prometheus's, for the ledger could not be read: {error}"
            findings.append(Finding("warning", "routine-ledger-not-read", text))
        else:
            if found is not None:
                return found
    return _of_rules(source, slo_set, period)


def _of_ledger(ledger: Ledger, slo_set: SloSet, period: CalendarPeriod) -> PeriodEvents | None:
    """What the ledger has; None if it does not cover the period: it began later, or has not caught up."""
    start, end = touching(period.start, period.end)
    newest, oldest = ledger.newest(slo_set.name), ledger.oldest(slo_set.name)
    ids = {slo.id for slo in slo_set.slos}
    if not any(oldest.get(slo_id, end) <= start + GRID and newest.get(slo_id, 0) >= end for slo_id in ids):
        return None
    found = PeriodEvents(found_in="ledger")
    (sums,) = ledger.sums(slo_set.name, [(start, end)])
    for key, item in by_service(sums).items():
        if key[0] in ids:
            if item.total > 0:
                found.counts[key] = counts(item)
            found.gaps[key] = float(item.gap)
    return found


def _of_rules(source: MetricSource, slo_set: SloSet, period: CalendarPeriod) -> PeriodEvents:
    bad, total, gap = (
        sums_of(source, slo_set, metric, period.seconds, period.end)
        for metric in (naming.BAD_GRID, naming.TOTAL_GRID, naming.GAP_GRID)
    )
    by_id = {slo.id: slo for slo in slo_set.slos}
    known = {
        key: value
        for key, value in total.items()
        if value > 0 and key in bad and key[0] in by_id and key[2] not in by_id[key[0]].overridden
    }
    events = {key: (min(max(bad[key], 0.0), value), value) for key, value in known.items()}
    return PeriodEvents(events, {key: value for key, value in gap.items() if key in known})


Causes = dict[SeriesKey, dict[CauseLabels, float]]


def causes(
    source: MetricSource, slo_set: SloSet, period: CalendarPeriod, ledger: Ledger | None, found_in: str
) -> Causes:
    """Bad events of a period by SLO, service and cause, from where its events were read. Raises BackendError."""
    if ledger is not None and found_in == "ledger":
        known = ledger.causes(slo_set.name, *touching(period.start, period.end))
        return {
            key: {labels: micro / MICRO for labels, micro in found.items()} for key, found in known.items()
        }
    return _recorded_causes(source, slo_set.name, period.seconds, period.end)


def _recorded_causes(source: MetricSource, name: str, seconds: int, end: datetime) -> Causes:
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
