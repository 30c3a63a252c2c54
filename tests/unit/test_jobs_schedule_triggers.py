"""When jobs run, held against a clock that is read minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.schedule.triggers import SPREAD, Cron, Every, grace, trigger
from sloctl.model import GRID, Job
from sloctl.model.ledger import SETTLE
from sloctl.spec.fields import checks
from tests.support.clocks import by_the_clock

CHANGES = {
    "Europe/Paris": ("2026-03-29T01:00Z", "2026-10-25T01:00Z"),
    "America/New_York": ("2026-03-08T07:00Z", "2026-11-01T06:00Z"),
    "Australia/Lord_Howe": ("2026-10-03T15:30Z", "2026-04-04T15:00Z"),
    "Asia/Kolkata": ("2026-03-29T01:00Z", "2026-10-25T01:00Z"),
    "America/Havana": ("2026-03-08T05:00Z", "2026-11-01T05:00Z"),
    "America/St_Johns": ("2006-04-02T03:31Z", "2006-10-29T02:31Z"),
    "Pacific/Apia": ("2011-12-30T10:00Z", "2010-04-03T14:00Z"),
}
"""Clocks forward and clocks back, at midnight and over midnight too; Apia left out a whole day."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    single = st.integers(low, high).map(str)
    spans = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda p: f"{min(p)}-{max(p)}")
    steps = st.tuples(st.one_of(st.just("*"), spans), st.integers(1, 30)).map(lambda p: f"{p[0]}/{p[1]}")
    lists = st.lists(st.one_of(single, spans), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), single, steps, lists)


LINES = st.one_of(
    st.tuples(numbers(0, 59), numbers(0, 23), st.just("*"), st.just("*"), numbers(0, 6)),
    st.tuples(numbers(0, 59), numbers(0, 4), st.just("*"), st.just("*"), st.just("*")),
    st.tuples(numbers(0, 59), numbers(0, 23), numbers(1, 31), st.just("*"), st.just("*")),
).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(
    line=LINES,
    zone=st.sampled_from(list(CHANGES)),
    back=st.booleans(),
    hours=st.integers(-10, 2),
    seconds=st.integers(0, 3599),
)
def test_a_cron_line_runs_when_clocks_show_its_times(
    line: str, zone: str, back: bool, hours: int, seconds: int
) -> None:
    assert checks.cron(line) is None
    start = at(CHANGES[zone][back]) + timedelta(hours=hours, seconds=seconds)
    end = start + timedelta(hours=12)
    expected = by_the_clock(line, ZoneInfo(zone), start.replace(second=0), end)
    expected = [time for time in expected if time > start]
    found, time = [], start
    cron = Cron(line, zone)
    while (time := cron.after(time)) < end:
        found.append(time)
    assert found == expected
    for earlier, later in pairwise(found):
        assert cron.latest(later) == later
        assert cron.latest(later - timedelta(microseconds=1)) == earlier
        assert cron.latest(earlier + timedelta(seconds=1)) == earlier


@pytest.mark.parametrize(
    ("line", "zone", "start", "expected"),
    [
        pytest.param("30 2 * * *", "Europe/Paris", "2026-03-28T12:00Z",
                     ["2026-03-29T01:00Z", "2026-03-30T00:30Z"], id="skipped: right after the change"),
        pytest.param("30 2 * * *", "Europe/Paris", "2026-10-24T12:00Z",
                     ["2026-10-25T00:30Z", "2026-10-26T01:30Z"], id="repeated: the first time only"),
        pytest.param("0,30 2 * * *", "Europe/Paris", "2026-03-29T00:00Z",
                     ["2026-03-29T01:00Z", "2026-03-30T00:00Z"], id="two skipped times: one run"),
        pytest.param("0 * * * *", "Europe/Paris", "2026-10-24T23:30Z",
                     ["2026-10-25T00:00Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z"], id="hourly: every hour"),
        pytest.param("15 * * * *", "Australia/Lord_Howe", "2026-10-03T15:00Z",
                     ["2026-10-03T16:15Z", "2026-10-03T17:15Z"], id="hourly: 2:15 was left out"),
        pytest.param("0 0 * * *", "America/Havana", "2026-03-07T12:00Z",
                     ["2026-03-08T05:00Z", "2026-03-09T04:00Z"], id="no midnight"),
        pytest.param("0 9 * * 1", "Europe/Paris", "2026-03-23T12:00Z",
                     ["2026-03-30T07:00Z", "2026-04-06T07:00Z"], id="1 is Monday, and 9 is 9 in summer"),
        pytest.param("0 9 * * 0", "Europe/Paris", "2026-03-23T12:00Z", ["2026-03-29T07:00Z"], id="0 is Sunday"),
        pytest.param("0 0 29 2 *", "UTC", "2096-03-01T00:00Z", ["2104-02-29T00:00Z"], id="over a century"),
        pytest.param("30 5 * jan-mar mon-fri", "Asia/Kolkata", "2026-04-01T00:00Z",
                     ["2027-01-01T00:00Z"], id="names"),
        pytest.param("0 12 30 12 *", "Pacific/Apia", "2011-12-30T00:00Z",
                     ["2011-12-30T10:00Z"], id="a day that never was"),
    ],
)  # fmt: skip
def test_times_that_a_person_can_check(line: str, zone: str, start: str, expected: list[str]) -> None:
    time, cron = at(start), Cron(line, zone)
    for text in expected:
        time = cron.after(time)
        assert time == at(text)


@pytest.mark.parametrize(
    ("line", "dates"),
    [
        ("0 0 29 2 *", ["2024-02-29", "2028-02-29", "2032-02-29"]),
        ("0 0 29-31 feb *", ["2024-02-29", "2028-02-29", "2032-02-29"]),
        ("0 0 30 2,12 *", ["2023-12-30", "2024-12-30"]),
        ("0 0 31 apr,may *", ["2023-05-31", "2024-05-31"]),
        ("0 0 */29 2 *", ["2023-02-01", "2024-02-01"]),
    ],
)
def test_a_date_that_some_years_or_some_months_lack_is_one(line: str, dates: list[str]) -> None:
    assert checks.cron(line) is None
    time, cron = at("2022-12-31T23:59Z"), Cron(line, "UTC")
    for date in dates:
        time = cron.after(time)
        assert time == at(f"{date}T00:00Z")
        assert cron.latest(time + timedelta(days=20)) == time


@pytest.mark.parametrize("line", ["0 0 30 2 *", "0 0 30,31 feb *", "0 0 31 4,6,9,11 *", "0 0 31 2,apr *"])
def test_a_date_that_no_year_has_is_refused(line: str) -> None:
    complaint = checks.cron(line)
    assert complaint and complaint.message == "no such date exists, so the job would never run"


def test_what_apschedulers_own_trigger_does_instead() -> None:
    """The reasons for a trigger of our own; if this fails, it may be time to use APScheduler's."""
    paris = CronTrigger.from_crontab("30 2 * * *", "Europe/Paris")
    skipped = paris.get_next_fire_time(None, at("2026-03-28T12:00Z"))
    assert skipped.astimezone(UTC) == at("2026-03-29T01:30Z")
    monday = CronTrigger.from_crontab("0 9 * * 1", "UTC").get_next_fire_time(None, at("2026-03-23T12:00Z"))
    assert monday.isoweekday() == 2
    first = paris.get_next_fire_time(None, at("2026-10-24T12:00Z"))
    again = paris.get_next_fire_time(first, first)
    assert [time.astimezone(UTC) for time in (first, again)] == [
        at("2026-10-25T00:30Z"),
        at("2026-10-25T01:30Z"),
    ]


TIMES = st.datetimes(datetime(1999, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
EVERY = st.sampled_from([60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400])


@given(time=TIMES, seconds=EVERY, offset=st.integers(0, 100_000))
def test_an_interval_has_the_same_instants_in_every_process(
    time: datetime, seconds: int, offset: int
) -> None:
    every = Every(seconds, offset)
    after, latest = every.after(time), every.latest(time)
    assert latest <= time < after
    assert (after - latest).total_seconds() == seconds
    assert (after.timestamp() - offset) % seconds == 0


@given(
    line=st.one_of(st.none(), LINES), zone=st.sampled_from(list(CHANGES)), seconds=EVERY, time=TIMES,
    asleep=st.timedeltas(timedelta(0), timedelta(days=20)),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_what_was_missed_is_one_run(
    line: str | None, zone: str, seconds: int, time: datetime, asleep: timedelta
) -> None:
    subject = Cron(line, zone) if line else Every(seconds, 70)
    due = subject.get_next_fire_time(None, time)
    assert due >= time
    now, runs = due + asleep, []
    instant = due
    while instant <= now:  # as APScheduler does
        runs.append(instant)
        instant = subject.get_next_fire_time(instant, now)
    assert len(runs) <= 2
    assert runs[-1] == subject.latest(now)
    assert instant == subject.after(now)


@given(name=st.text(), job=st.sampled_from(["slis", "burn_rate", "report"]), every=EVERY)
def test_intervals_are_spread_and_buckets_are_settled_when_they_are_read(
    name: str, job: str, every: int
) -> None:
    found = trigger(name, Job(job, every=every))
    assert isinstance(found, Every)
    again = trigger(name, Job(job, every=every))
    assert isinstance(again, Every) and again.offset == found.offset
    if job == "slis" and every >= GRID:
        assert SETTLE <= found.offset < SETTLE + SPREAD
    elif every >= GRID:
        assert SETTLE + SPREAD <= found.offset < SETTLE + 2 * SPREAD


def test_sets_are_spread() -> None:
    offsets = {
        trigger(f"set-{n}", Job("slis", every=300)).latest(at("2026-01-01T00:00Z")) for n in range(300)
    }
    assert len(offsets) == SPREAD


def test_a_run_may_be_late_by_its_interval_or_by_six_hours() -> None:
    assert grace(Job("slis", every=300)) == 300
    assert grace(Job("report", cron="0 9 * * 1")) == 6 * 3600
    assert str(trigger("shop", Job("slis", every=300))) == "every 5m"
    assert str(trigger("shop", Job("report", cron="0 9 * * 1"))) == "cron 0 9 * * 1 (UTC)"
