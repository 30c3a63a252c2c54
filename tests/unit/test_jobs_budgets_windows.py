"""When windows begin: calendar windows over changes of the clocks, in the time zone's own days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.budgets.collected import burn_windows, period_end, period_seconds, period_start
from sloctl.model import CalendarWindow, ExprSli, RollingWindow, Slo
from sloctl.model.policies import POLICIES

# Changes of the clocks at midnight (Havana, Beirut, Asunción), by half an hour (Lord Howe), odd offsets.
ZONES = (
    "UTC Europe/Paris America/New_York America/Havana Asia/Beirut America/Asuncion Australia/Lord_Howe Asia/Kathmandu "
    "Pacific/Kiritimati Pacific/Pago_Pago Africa/Cairo"
).split()
TIMES = st.integers(978307200, 2051222400).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)  # 2001…2034
Unit = Literal["week", "month", "quarter"]
UNITS: tuple[Unit, ...] = ("week", "month", "quarter")
LENGTHS = {"week": (7, 7), "month": (28, 31), "quarter": (90, 92)}
ROLLING = Slo("s", "a", "x", "n", Decimal("99.9"), RollingWindow(30 * 86400, "30d"), ExprSli("t", "b"), None)


def calendar(unit: Unit, zone: str) -> Slo:
    return replace(ROLLING, window=CalendarWindow(unit, zone))


def local(time: datetime, zone: str) -> datetime:
    return time.astimezone(ZoneInfo(zone))


@given(TIMES, st.sampled_from(UNITS), st.sampled_from(ZONES))
def test_a_window_begins_with_the_first_moment_of_its_first_day(at: datetime, unit: Unit, zone: str) -> None:
    start = period_start(calendar(unit, zone), at)
    assert start <= at
    first = local(start, zone)
    before = local(start - timedelta(seconds=1), zone)
    assert before.date() < first.date(), "a moment before is the day before"
    assert first.date() == first.date() - timedelta(days=first.weekday() if unit == "week" else first.day - 1)
    if unit == "quarter":
        assert first.month in (1, 4, 7, 10)
    now = local(at, zone)
    same = {"week": 7, "month": 31, "quarter": 92}[unit]
    assert (now.date() - first.date()).days < same


def test_a_week_begins_on_the_day_that_the_file_says() -> None:
    at = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
    weeks = replace(ROLLING, window=CalendarWindow("week", "Europe/Paris", "sunday"))
    assert period_start(weeks, at) == datetime(2026, 2, 28, 23, tzinfo=UTC)
    assert period_end(weeks, at) == datetime(2026, 3, 7, 23, tzinfo=UTC)
    assert weeks.window.text == "week from Sunday (Europe/Paris)"


@given(TIMES, st.sampled_from(UNITS), st.sampled_from(ZONES))
def test_windows_follow_each_other_without_gap_or_overlap(at: datetime, unit: Unit, zone: str) -> None:
    slo = calendar(unit, zone)
    start, end = period_start(slo, at), period_end(slo, at)
    assert end is not None
    assert start <= at < end
    assert period_start(slo, end - timedelta(seconds=1)) == start
    assert period_start(slo, end) == end
    fewest, most = LENGTHS[unit]
    assert fewest <= (local(end, zone).date() - local(start, zone).date()).days <= most
    assert start.utcoffset() == timedelta(0), "in the zone of the time that was asked for"


@given(TIMES, st.sampled_from(UNITS), st.sampled_from(ZONES))
def test_the_length_so_far_is_elapsed_time(at: datetime, unit: Unit, zone: str) -> None:
    slo = calendar(unit, zone)
    elapsed = (at - period_start(slo, at)).total_seconds()
    assert period_seconds(slo, at) == max(300, int(elapsed))


@pytest.mark.parametrize(
    ("unit", "zone", "at", "start"),
    [
        (
            "month",
            "Europe/Paris",
            "2026-03-31T12:00:00Z",
            "2026-02-28T23:00:00Z",
        ),  # summer time since the 29th
        ("month", "Europe/Paris", "2026-10-31T22:59:59Z", "2026-09-30T22:00:00Z"),
        ("month", "Europe/Paris", "2026-10-31T23:00:00Z", "2026-10-31T23:00:00Z"),
        ("week", "America/New_York", "2026-03-08T12:00:00Z", "2026-03-02T05:00:00Z"),
        ("quarter", "Asia/Kathmandu", "2026-05-01T00:00:00Z", "2026-03-31T18:15:00Z"),
        # Midnight comes twice in Havana on 1 November 2026: the window begins with the first one.
        ("month", "America/Havana", "2026-11-01T05:30:00Z", "2026-11-01T04:00:00Z"),
    ],
)
def test_known_beginnings(unit: Unit, zone: str, at: str, start: str) -> None:
    assert period_start(calendar(unit, zone), datetime.fromisoformat(at)) == datetime.fromisoformat(start)


@given(TIMES)
def test_a_rolling_window_has_no_calendar(at: datetime) -> None:
    assert period_start(ROLLING, at) == at - timedelta(days=30)
    assert period_seconds(ROLLING, at) == 30 * 86400
    assert period_end(ROLLING, at) is None


def test_burn_rates_are_reported_over_the_policy_and_the_last_hour() -> None:
    workbook = replace(ROLLING, policy=POLICIES["sre-workbook"])
    assert burn_windows(workbook) == (300, 1800, 3600, 7200, 21600, 86400, 259200)
    assert 3600 in burn_windows(ROLLING)
    line = replace(POLICIES["mesh"].windows[1])
    only_six_hours = replace(ROLLING, policy=replace(POLICIES["mesh"], windows=(line,)))
    assert burn_windows(only_six_hours) == (1800, 3600, 21600)
