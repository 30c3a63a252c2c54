"""Periods of the calendar in every time zone: they tile time, and their labels name and sort them."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sloctl.model.calendar import (
    UNITS,
    CalendarUnit,
    Weekday,
    containing,
    last_complete,
    midnight,
    periods_to,
)

ZONES = sorted(zoneinfo.available_timezones())
INSTANTS = st.integers(0, 4_102_444_800).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)  # 1970…2099
MOMENT = datetime.resolution


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def day_of(at: datetime, zone: str) -> date:
    return at.astimezone(zoneinfo.ZoneInfo(zone)).date()


@settings(deadline=None)  # a zone is read from its file when it is first asked about
@given(st.sampled_from(UNITS), st.sampled_from(ZONES), INSTANTS)
# A day that Samoa skipped, a midnight that St. John's repeated with an hour of the day before, and half an hour.
@example("day", "Pacific/Apia", utc("2011-12-30T10:00Z"))
@example("day", "Pacific/Apia", utc("2011-12-30T09:59:59Z"))
@example("day", "America/St_Johns", utc("2010-11-07T02:45Z"))
@example("day", "Asia/Pyongyang", utc("2015-08-14T15:15Z"))
def test_periods_tile_time_and_their_labels_sort(unit: CalendarUnit, zone: str, at: datetime) -> None:
    now = containing(unit, zone, at)
    assert now.start <= at < now.end
    for instant in (now.start, now.end - MOMENT):
        assert containing(unit, zone, instant) == now, "whichever instant of it is asked about"
    after = containing(unit, zone, now.end)
    assert after.start == now.end and after.before() == now == last_complete(unit, zone, now.end)
    before = now.before()
    assert before.end == now.start and before.start < before.end
    labels = [before.label, now.label, after.label]
    assert labels == sorted(set(labels))
    assert day_of(now.start - MOMENT, zone) < now.first_day <= now.last_day


@settings(deadline=None)
@given(st.integers(0, 6), st.sampled_from(ZONES), INSTANTS)
def test_weeks_begin_on_the_day_that_is_said_and_tile_time(weekday: int, zone: str, at: datetime) -> None:
    starts: Weekday = get_args(Weekday)[weekday]
    now = containing("week", zone, at, starts)
    assert now.start <= at < now.end
    assert now.first_day.weekday() == weekday or zone == "Pacific/Apia"  # where a day was skipped
    before, after = now.before(), containing("week", zone, now.end, starts)
    assert before.end == now.start and after.start == now.end and after.before() == now
    labels = [before.label, now.label, after.label]
    assert labels == sorted(set(labels))
    if weekday == 0:
        assert now == containing("week", zone, at)


@settings(deadline=None)
@given(st.sampled_from(UNITS), st.sampled_from(ZONES), INSTANTS, st.integers(1, 40))
def test_periods_up_to_now_adjoin(unit: CalendarUnit, zone: str, at: datetime, count: int) -> None:
    found = periods_to(unit, zone, at, count)
    assert len(found) == count and found[-1].end == at and found[-1].start <= at
    assert all(sooner.end == later.start for sooner, later in pairwise(found))
    labels = [period.label for period in found]
    assert labels == sorted(set(labels))


@settings(deadline=None)
@given(st.sampled_from(ZONES), st.dates(date(1970, 1, 2), date(2099, 1, 1)))
def test_a_day_begins_with_its_first_instant(zone: str, day: date) -> None:
    start = midnight(day, zone)
    assert day_of(start, zone) >= day, "later only where the whole day is skipped"
    assert day_of(start - MOMENT, zone) < day
    assert start.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        ("Europe/Paris", "2026-03-29", "2026-03-28T23:00Z"),
        ("America/Havana", "2026-11-01", "2026-11-01T04:00Z"),  # midnight comes twice
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00Z"),  # 00:00 becomes 01:00
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00Z"),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00Z"),  # there was no such day
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30Z"),  # 00:01 became 23:01 of the day before
        ("Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15Z"),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00Z"),
    ],
)
def test_known_midnights(zone: str, day: str, start: str) -> None:
    assert midnight(date.fromisoformat(day), zone) == utc(start)
