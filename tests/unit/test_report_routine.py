"""Periods of routines: complete local days, weeks and months, also where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.model import Job
from sloctl.model.calendar import CalendarPeriod
from sloctl.model.job_names import RoutineKind
from sloctl.report import routine_tables
from sloctl.report.routine import (
    ROUTINE_KINDS,
    CellValue,
    ColumnUnit,
    Routine,
    RoutineColumn,
    RoutineSection,
    last_period,
    of_job,
    of_schedule,
)

ZONES = ("UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe")
START, END = datetime(2015, 1, 1), datetime(2040, 1, 1)  # noqa: DTZ001 - hypothesis wants them so
ODD = (
    "America/Havana",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Beirut",
    "Pacific/Apia",
    "America/Sao_Paulo",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("kind", "zone", "now", "start", "end", "label", "hours"),
    [
        ("daily", "UTC", "2026-03-02T09:00Z", "2026-03-01T00:00Z", "2026-03-02T00:00Z", "2026-03-01", 24),
        ("daily", "UTC", "2026-03-02T00:00Z", "2026-03-01T00:00Z", "2026-03-02T00:00Z", "2026-03-01", 24),
        ("daily", "UTC", "2026-03-01T23:59:59Z", "2026-02-28T00:00Z", "2026-03-01T00:00Z", "2026-02-28", 24),
        # Clocks go forward on 29 March and back on 25 October in Paris, 8 March and 1 November in New York.
        (
            "daily",
            "Europe/Paris",
            "2026-03-30T07:00Z",
            "2026-03-28T23:00Z",
            "2026-03-29T22:00Z",
            "2026-03-29",
            23,
        ),
        (
            "daily",
            "Europe/Paris",
            "2026-10-26T08:00Z",
            "2026-10-24T22:00Z",
            "2026-10-25T23:00Z",
            "2026-10-25",
            25,
        ),
        (
            "weekly",
            "Europe/Paris",
            "2026-03-30T07:00Z",
            "2026-03-22T23:00Z",
            "2026-03-29T22:00Z",
            "2026-W13",
            167,
        ),
        (
            "weekly",
            "Europe/Paris",
            "2026-10-26T08:00Z",
            "2026-10-18T22:00Z",
            "2026-10-25T23:00Z",
            "2026-W43",
            169,
        ),
        (
            "weekly",
            "America/New_York",
            "2026-03-09T13:00Z",
            "2026-03-02T05:00Z",
            "2026-03-09T04:00Z",
            "2026-W10",
            167,
        ),
        (
            "weekly",
            "America/New_York",
            "2026-11-02T14:00Z",
            "2026-10-26T04:00Z",
            "2026-11-02T05:00Z",
            "2026-W44",
            169,
        ),
        (
            "weekly",
            "Asia/Kolkata",
            "2026-03-30T03:30Z",
            "2026-03-22T18:30Z",
            "2026-03-29T18:30Z",
            "2026-W13",
            168,
        ),
        (
            "weekly",
            "Asia/Kolkata",
            "2026-03-29T18:29Z",
            "2026-03-15T18:30Z",
            "2026-03-22T18:30Z",
            "2026-W12",
            168,
        ),
        (
            "monthly",
            "Europe/Paris",
            "2026-04-01T08:00Z",
            "2026-02-28T23:00Z",
            "2026-03-31T22:00Z",
            "2026-03",
            743,
        ),
        (
            "monthly",
            "America/New_York",
            "2026-12-01T14:00Z",
            "2026-11-01T04:00Z",
            "2026-12-01T05:00Z",
            "2026-11",
            721,
        ),
        (
            "monthly",
            "Asia/Kolkata",
            "2026-03-31T19:00Z",
            "2026-02-28T18:30Z",
            "2026-03-31T18:30Z",
            "2026-03",
            744,
        ),
        ("monthly", "UTC", "2026-01-15T00:00Z", "2025-12-01T00:00Z", "2026-01-01T00:00Z", "2025-12", 744),
        # ISO weeks belong to the year of their Thursday.
        ("weekly", "UTC", "2027-01-04T09:00Z", "2026-12-28T00:00Z", "2027-01-04T00:00Z", "2026-W53", 168),
        ("weekly", "UTC", "2025-01-06T09:00Z", "2024-12-30T00:00Z", "2025-01-06T00:00Z", "2025-W01", 168),
        # The clocks go forward at midnight, which does not exist, and back to it, so that it is there twice.
        (
            "daily",
            "America/Havana",
            "2026-03-09T12:00Z",
            "2026-03-08T05:00Z",
            "2026-03-09T04:00Z",
            "2026-03-08",
            23,
        ),
        (
            "daily",
            "America/Havana",
            "2026-11-02T12:00Z",
            "2026-11-01T04:00Z",
            "2026-11-02T05:00Z",
            "2026-11-01",
            25,
        ),
    ],
)
def test_the_last_complete_period(
    kind: RoutineKind, zone: str, now: str, start: str, end: str, label: str, hours: int
) -> None:
    period = last_period(kind, at(now), zone)
    assert (period.start, period.end, period.label) == (at(start), at(end), label)
    assert period.seconds == hours * 3600


@given(
    st.sampled_from(list(ROUTINE_KINDS.values())),
    st.sampled_from((*ZONES, *ODD)),
    st.datetimes(START, END, timezones=st.just(UTC)),
)
def test_periods_follow_each_other(kind: RoutineKind, zone: str, now: datetime) -> None:
    period = last_period(kind, now, zone)
    assert period.end <= now and period.start < period.end
    assert period.before().end == period.start, "without a hole, and without an overlap"
    assert last_period(kind, period.end, zone) == period
    assert last_period(kind, period.end - timedelta(seconds=1), zone) == period.before()
    assert period.end.astimezone(ZoneInfo(zone)).date() > period.last_day >= period.first_day
    longest = {"daily": 25, "weekly": 7 * 24 + 1, "monthly": 31 * 24 + 1}[kind]
    assert period.seconds <= longest * 3600
    for moment in (period.start, period.end):
        assert moment.timestamp() % 900 == 0, "on the budget's grid"


@given(
    st.sampled_from(list(ROUTINE_KINDS.values())),
    st.sampled_from(ZONES),
    st.datetimes(START, END, timezones=st.just(UTC)),
    st.datetimes(START, END, timezones=st.just(UTC)),
)
def test_labels_name_periods(kind: RoutineKind, zone: str, one: datetime, other: datetime) -> None:
    first, second = last_period(kind, one, zone), last_period(kind, other, zone)
    assert (first.label == second.label) is (first == second)


@pytest.mark.parametrize(
    ("cron", "kind"),
    [
        ("0 9 * * *", "daily"),
        ("0 9 * * 1-5", "daily"),
        ("0 9 * * 1", "weekly"),
        ("0 9 * * MON", "weekly"),
        ("0 10 1 * *", "monthly"),
        ("0 10 1 1,7 *", "monthly"),
        ("0 10 1,15 * *", "daily"),
        ("*/5 * * * *", "daily"),
        ("", "daily"),
    ],
)
def test_what_a_schedule_suggests(cron: str, kind: RoutineKind) -> None:
    assert of_schedule(cron) == kind
    assert of_job(Job("report", cron=cron, routine="monthly")) == "monthly"


@pytest.mark.parametrize(
    ("kind", "now", "text"),
    [
        ("daily", "2026-03-02T09:00Z", "1 Mar 2026 (Europe/Paris)"),
        ("weekly", "2026-03-02T09:00Z", "23 Feb – 1 Mar 2026 (Europe/Paris)"),
        ("weekly", "2027-01-05T09:00Z", "28 Dec 2026 – 3 Jan 2027 (Europe/Paris)"),
        ("monthly", "2026-03-02T09:00Z", "Feb 2026 (Europe/Paris)"),
    ],
)
def test_periods_in_words(kind: RoutineKind, now: str, text: str) -> None:
    period = last_period(kind, at(now), "Europe/Paris")
    assert routine_tables.period_text(period) == text
    assert routine_tables.title(Routine(period)) == f"{kind.title()} report, {text}"


def test_cells() -> None:
    given: tuple[tuple[CellValue, ColumnUnit], ...] = (
        (None, "count"),
        (1234.0, "count"),
        (-0.5, "budget"),
        (0.9999999, "ratio"),
        (0.004, "rate"),
        (90.0, "seconds"),
        (5400.0, "seconds"),
        (12.5, "money"),
        (0.0, "bytes"),
        (3.5 * 2**30, "bytes"),
        (0.123456, "cores"),
        ("2026-03-01T12:00:00Z", "time"),
        ("a\x1bb", "text"),
        (float("nan"), "count"),
    )
    shown = [routine_tables.cell(value, RoutineColumn("x", "x", unit), "EUR") for value, unit in given]
    assert shown == [
        *(
            "–",
            "1,234",
            "-50.0 %",
            "99.999 %",
            "<0.01",
            "2m",
            "1h30m",
            "12.50 EUR",
            "0 B",
            "3.5 GiB",
            "0.123",
        ),
        *("2026-03-01 12:00:00", "a\ufffdb", "–"),
    ]


def test_what_is_said_without_rows_is_a_row_of_the_tables() -> None:
    columns = (RoutineColumn("a", "A"), RoutineColumn("b", "B", "count"))
    period = CalendarPeriod("day", at("2026-03-01T00:00Z"), at("2026-03-02T00:00Z"), "UTC", "2026-03-01")
    made = Routine(
        period,
        (
            RoutineSection("x", "X", columns, (), "Nothing."),
            RoutineSection("y", "Y", columns, (("one", 1.0),), "Nothing.", "All of it."),
        ),
    )
    assert routine_tables.tables(made) == [
        ("X, 1 Mar 2026 (UTC)", ["A", "B"], [["Nothing.", ""]]),
        ("Y, 1 Mar 2026 (UTC)", ["A", "B"], [["one", "1"], ["All of it.", ""]]),
    ]
    assert made.section("y") is made.sections[1] and made.section("z") is None
