"""Budgets of past periods, and what they were spent on, from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.budgets.from_ledger import counts, period_interval
from jobs.budgets.lineage import Books
from jobs.budgets.maintenance import Excused, seconds_within
from sloctl import budget
from sloctl.ledger.protocol import MICRO, CauseLabels, Ledger, Sums, touching
from sloctl.model import SeriesKey, Slo, SloSet
from sloctl.model.calendar import CalendarPeriod
from sloctl.model.durations import rfc3339


@dataclass(frozen=True, slots=True)
class Incident:
    """A time that somebody asks about, whatever the calendar says."""

    start: datetime
    end: datetime
    label: str = ""


Time = CalendarPeriod | Incident


@dataclass(frozen=True, slots=True)
class Attained:
    """What an SLO of a service was in a time.

    Events are counts; ``spent`` is the share of that time's own budget, None without events. ``gaps`` are seconds that
    nobody observed or that are not recorded, ``excluded`` seconds that count in no budget.
    """

    slo: Slo
    key: SeriesKey
    time: Time
    bad: float
    total: float
    spent: float | None
    gaps: int
    excluded: int

    @property
    def sli(self) -> float | None:
        """Good events over all events, 0…1."""
        return budget.ratio(self.total - self.bad, self.total)


def read(ledger: Ledger, slo_set: SloSet, wanted: Sequence[Time]) -> list[Attained]:
    """Every SLO and service in every wanted time, by service, SLO and time. Raises ``BackendError``."""
    slos = {slo.id: slo for slo in slo_set.slos}
    intervals = [touching(time.start, time.end) for time in wanted]
    if not intervals:
        return []
    low, high = min(a for a, _ in intervals), max(b for _, b in intervals)
    excused = Excused(slo_set, ledger.muted(slo_set.name), low, high)
    books = Books(ledger, slo_set)
    newest = books.newest()
    keys = sorted(books.keys)
    missing = ledger.missing(slo_set.name, sorted(slos), low, high)
    of_pairs = {key: books.missing(key, (low, high)) for key in books.paired()}
    found = []
    for time, interval, known in zip(wanted, intervals, books.sums(intervals, keys), strict=True):
        for key in keys:
            slo, item = slos[key[0]], known.get(key, Sums())
            first, last = interval
            oldest = books.oldest(key)
            if oldest is None or oldest >= last:
                continue  # the ledger began later
            open_ = of_pairs.get(key, missing.get(key[0], ()))
            unknown = seconds_within(open_, first, min(last, newest.get(key[0], last)))
            bad, total = counts(item)
            found.append(
                Attained(
                    slo,
                    key,
                    time,
                    bad,
                    total,
                    budget.spent(bad, total, float(slo.budget)),
                    item.gap + unknown,
                    seconds_within(excused.intervals(key), first, last),
                )
            )
    return sorted(found, key=lambda item: (item.key[1], item.key[2], item.slo.name, item.time.start))


def rows(items: Iterable[Attained]) -> list[dict[str, Any]]:
    """Plain rows; numbers as they are, times in UTC."""
    return [
        {
            "namespace": item.key[1],
            "service": item.key[2],
            "slo": item.slo.name,
            "period": item.time.label,
            "from": rfc3339(item.time.start),
            "to": rfc3339(item.time.end),
            "objective": float(item.slo.objective),
            "sli": item.sli,
            "met": None if item.spent is None else item.spent <= 1,
            "good": item.total - item.bad,
            "bad": item.bad,
            "total": item.total,
            "budget_spent": item.spent,
            "gap_seconds": item.gaps,
            "excluded_seconds": item.excluded,
        }
        for item in items
    ]


def costs(ledger: Ledger, slo_set: SloSet, incident: Incident) -> list[dict[str, Any]]:
    """What an incident cost: its events, and the share of the budget of each SLO's window that they used.

    The window is the one that the incident's end lies in; ``budget_spent`` is of the budget that all its events up to
    that end allow. Only SLOs with events in that time have a row, the dearest first. Raises ``BackendError``.
    """
    newest = Books(ledger, slo_set).newest()
    items = [item for item in read(ledger, slo_set, [incident]) if item.total]
    windows = {
        slo.id: period_interval(
            slo, incident.end, newest.get(slo.id, touching(incident.start, incident.end)[1])
        )
        for slo in slo_set.slos
    }
    distinct = sorted(set(windows.values()))
    sums = dict(zip(distinct, Books(ledger, slo_set).sums(distinct), strict=True))
    found = []
    for item in items:
        whole = sums[windows[item.slo.id]].get(item.key, Sums()).total / MICRO
        (row,) = rows([item])
        row |= {"window": item.slo.window.text, "window_total": whole}
        row["budget_spent"] = budget.spent(item.bad, whole, float(item.slo.budget))
        del row["period"], row["met"]
        found.append(row)
    return sorted(found, key=lambda row: -(row["budget_spent"] or 0.0))


def causes(ledger: Ledger, slo_set: SloSet, time: Time) -> list[dict[str, Any]]:
    """What the budgets of a time were spent on: bad events by cause, of each SLO and service the worst first.

    ``share`` is of the bad events, ``budget_spent`` of the budget that all its events allow. Bad events whose
    cause is not known (of latency SLOs, for example) are a row with no cause. Raises ``BackendError``.
    """
    slos = {slo.id: slo for slo in slo_set.slos}
    interval = touching(time.start, time.end)
    books = Books(ledger, slo_set)
    (sums,) = books.sums([interval])
    by_cause = books.causes(interval)
    found = []
    for key, item in sorted(sums.items(), key=lambda pair: (pair[0][1], pair[0][2], pair[0][0])):
        slo = slos.get(key[0])
        if slo is None or not item.bad or not item.total:
            continue
        known = sorted(by_cause.get(key, {}).items(), key=lambda pair: (-pair[1], pair[0]))
        rest = item.bad - sum(bad for _, bad in known)
        nothing: CauseLabels = ()
        for labels, bad in [*known, (nothing, rest)]:
            if bad > 0:
                found.append(
                    {
                        "namespace": key[1],
                        "service": key[2],
                        "slo": slo.name,
                        "cause": dict(labels),
                        "bad": bad / MICRO,
                        "share": bad / item.bad,
                        "budget_spent": bad / item.total / float(slo.budget),
                    }
                )
    return found
