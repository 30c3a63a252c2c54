"""Budgets of past periods and what they were spent on, from a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from jobs.budgets import attainment, maintenance, period_events
from sloctl.ledger.protocol import MICRO, Batch, Bucket, Cause
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import CounterSli, RollingWindow, Selector, Slo, SloSet
from sloctl.model.calendar import CalendarUnit, periods_to
from sloctl.model.ledger import Maintenance
from sloctl.report.routine import last_period
from sloctl.settings.secret import Secret
from tests.support.simulated import Simulated

SLI = CounterSli("availability", (Selector("istio_requests_total"),))
SLO = Slo("shop", "availability", "*", "shop", Decimal(99), RollingWindow(30 * 86400, "30d"), SLI, None)
KEY = (SLO.id, "shop", "checkout")
AT = datetime(2026, 4, 3, 12, tzinfo=UTC)


def stamp(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DatabaseLedger]:
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as found:
        yield found


def record(
    ledger: DatabaseLedger, start: int, end: int, *events: Bucket, causes: tuple[Cause, ...] = ()
) -> None:
    ledger.record("shop", [Batch(SLO.id, SLO.name, (start, end), events, causes)])


def event(end: int, total: int, bad: int = 0, gap: int = 0) -> Bucket:
    return Bucket("shop", "checkout", end, total * MICRO, bad * MICRO, gap)


@pytest.mark.parametrize(
    ("unit", "names"),
    [
        ("day", ["2026-04-01", "2026-04-02", "2026-04-03"]),
        ("week", ["2026-W12", "2026-W13", "2026-W14"]),
        ("month", ["2026-02", "2026-03", "2026-04"]),
        ("quarter", ["2025-Q4", "2026-Q1", "2026-Q2"]),
        ("year", ["2024", "2025", "2026"]),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata"])
def test_periods_adjoin_and_are_named_as_people_name_them(
    unit: CalendarUnit, names: list[str], zone: str
) -> None:
    found = periods_to(unit, zone, AT, 3)

    assert [period.label for period in found] == names
    assert found[-1].end == AT
    for sooner, later in pairwise(found):
        assert sooner.end == later.start
        local = later.start.astimezone(ZoneInfo(zone))
        assert (local.hour, local.minute) == (0, 0)


def test_each_month_has_its_own_events_and_budget(ledger: DatabaseLedger) -> None:
    march, april = stamp(2026, 3, 1), stamp(2026, 4, 1)
    record(ledger, march, march + 600, event(march + 300, 1000, 5), event(march + 600, 1000))
    record(ledger, april - 300, april + 600, event(april, 100, 1), event(april + 300, 200, 8))
    found = attainment.read(ledger, SloSet("shop", (SLO,)), periods_to("month", "UTC", AT, 3))

    assert [(item.time.label, item.total, item.bad) for item in found] == [
        ("2026-03", 2100, 6),
        ("2026-04", 200, 8),
    ], "February is from before the ledger"
    assert found[0].spent == pytest.approx(6 / 2100 / 0.01)
    assert [row["met"] for row in attainment.rows(found)] == [True, False]


def test_what_is_not_recorded_is_a_gap_and_what_comes_later_is_none(ledger: DatabaseLedger) -> None:
    start = stamp(2026, 4, 1)
    record(ledger, start, start + 300, event(start + 300, 10))
    record(ledger, start + 900, start + 1500, event(start + 1200, 10, gap=60))
    (found,) = attainment.read(
        ledger, SloSet("shop", (SLO,)), [attainment.Incident(datetime.fromtimestamp(start, UTC), AT)]
    )

    assert found.gaps == 600 + 60


def test_a_gap_of_a_definition_is_one_of_each_of_its_services(ledger: DatabaseLedger) -> None:
    start = stamp(2026, 4, 2)
    record(
        ledger, start, start + 86400, event(start + 300, 10, gap=60), Bucket("", "", start + 900, 0, 0, 300)
    )
    slo_set, day = SloSet("shop", (SLO,)), last_period("daily", AT)
    (found,) = attainment.read(ledger, slo_set, [day])
    routine = period_events.read(Simulated(slo_set), slo_set, day, ledger, [])

    assert found.gaps == 360
    assert (set(routine.booked), routine.gaps) == ({SLO.id}, {KEY: 360})


def test_maintenance_counts_in_no_period_and_is_told(ledger: DatabaseLedger) -> None:
    start = stamp(2026, 4, 1)
    record(
        ledger,
        start,
        start + 900,
        event(start + 300, 10, 10),
        event(start + 600, 10),
        event(start + 900, 10, 1),
    )
    upgrade = Maintenance(
        "upgrade", datetime.fromtimestamp(start + 10, UTC), datetime.fromtimestamp(start + 20, UTC)
    )
    slo_set = SloSet("shop", (SLO,), maintenance=(upgrade,))
    assert maintenance.apply(ledger, slo_set, start + 900) == 1
    (found,) = attainment.read(ledger, slo_set, periods_to("day", "UTC", AT - timedelta(days=2), 1))

    assert (found.bad, found.total, found.excluded) == (1, 20, 300)
    assert maintenance.apply(ledger, SloSet("shop", (SLO,)), start + 900) == 1, "taken in again"
    (found,) = attainment.read(
        ledger, SloSet("shop", (SLO,)), periods_to("day", "UTC", AT - timedelta(days=2), 1)
    )
    assert (found.bad, found.total, found.excluded) == (11, 30, 0)


def test_what_burned_the_budget_adds_up_to_the_bad_events(ledger: DatabaseLedger) -> None:
    start = stamp(2026, 4, 1)
    reset = (("response_code", "0"), ("response_flags", "UF"))
    error = (("response_code", "503"), ("source_workload", "frontend"))
    record(
        ledger,
        start,
        start + 600,
        event(start + 300, 100, 5),
        event(start + 600, 100, 5),
        causes=(
            Cause("shop", "checkout", start + 300, reset, 2 * MICRO),
            Cause("shop", "checkout", start + 300, error, 3 * MICRO),
            Cause("shop", "checkout", start + 600, error, 4 * MICRO),
        ),
    )
    found = attainment.causes(
        ledger, SloSet("shop", (SLO,)), attainment.Incident(datetime.fromtimestamp(start, UTC), AT)
    )

    assert [(row["cause"], row["bad"]) for row in found] == [(dict(error), 7), (dict(reset), 2), ({}, 1)]
    assert sum(row["share"] for row in found) == pytest.approx(1)
    assert sum(row["budget_spent"] for row in found) == pytest.approx(10 / 200 / 0.01)
