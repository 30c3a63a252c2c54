"""Windows of local weeks, months, quarters and years over every change of the clocks, and what is left out of them."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.budgets import maintenance
from jobs.budgets.collected import period_end, period_start
from jobs.budgets.from_ledger import period_interval
from jobs.schedule.triggers import Cron
from sloctl.ledger.protocol import MICRO, Batch, Bucket, Interval, Keep, Pruned, Sums
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import GRID, CalendarWindow, Slo
from sloctl.model.ledger import Maintenance
from sloctl.settings.secret import Secret
from tests.support.clocks import by_the_clock
from tests.support.shop_slos import CHECKOUT, slos

ZONES = ("Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC", "Africa/Cairo")
"""Lord Howe Island changes its clocks by half an hour; in Cairo a day began at one o'clock."""
UNITS = ("week", "month", "quarter", "year")
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2019, 2031))
CHANGES = [
    int(datetime.fromisoformat(text).timestamp())
    for text in (
        *("2025-03-30T01:00:00+00:00", "2025-10-26T01:00:00+00:00"),  # Paris
        *("2025-03-09T07:00:00+00:00", "2025-11-02T06:00:00+00:00"),  # New York
        *("2025-04-05T15:00:00+00:00", "2025-10-04T15:30:00+00:00"),  # Lord Howe
        *("2026-01-01T00:00:00+00:00", "2025-11-01T04:00:00+00:00", "2025-04-24T22:00:00+00:00"),
    )
]
INSTANTS = st.one_of(
    st.integers(FIRST, LAST),
    st.builds(lambda at, by: at + by, st.sampled_from(CHANGES), st.integers(-90000, 90000)),
)
TEMPLATE = slos(CHECKOUT).slos[0]


def slo_of(unit: str, zone: str) -> Slo:
    window = CalendarWindow(unit, zone)  # type: ignore[arg-type]
    return replace(TEMPLATE, window=window)


def when(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def name_of(unit: str, zone: ZoneInfo, at: int) -> tuple[int, ...]:
    """What a calendar on the wall says that an instant is in."""
    local = datetime.fromtimestamp(at, zone)
    if unit == "week":
        return local.isocalendar()[:2]
    number = {"month": local.month, "quarter": (local.month + 2) // 3, "year": 0}[unit]
    return local.year, number


@settings(deadline=None, max_examples=300)
@given(unit=st.sampled_from(UNITS), name=st.sampled_from(ZONES), at=INSTANTS)
@example(unit="month", name="America/New_York", at=CHANGES[3])
def test_a_window_is_all_the_time_of_its_name(unit: str, name: str, at: int) -> None:
    slo, zone = slo_of(unit, name), ZoneInfo(name)
    start = int(period_start(slo, when(at)).timestamp())
    renewed = period_end(slo, when(at))
    assert renewed is not None
    end = int(renewed.timestamp())
    assert start <= at < end
    ours = name_of(unit, zone, at)
    # An instant further and it has another name; nothing in it has.
    assert name_of(unit, zone, start) == ours == name_of(unit, zone, end - 1)
    assert name_of(unit, zone, start - 1) != ours != name_of(unit, zone, end)
    for part in range(1, 40):
        assert name_of(unit, zone, start + (end - start) * part // 40) == ours
    assert period_start(slo, when(end)) == renewed, "the next one begins where it ends"
    assert start % GRID == 0 == end % GRID


@settings(deadline=None, max_examples=200)
@given(unit=st.sampled_from(UNITS), name=st.sampled_from(ZONES), at=INSTANTS, late=st.integers(0, 7200))
def test_its_buckets_are_those_that_end_in_it(unit: str, name: str, at: int, late: int) -> None:
    slo, zone = slo_of(unit, name), ZoneInfo(name)
    newest = (at - late) // GRID * GRID
    start, end = period_interval(slo, when(at), newest)
    assert start % GRID == 0 == end % GRID
    assert start == int(period_start(slo, when(at)).timestamp())
    assert end == max(start, newest)
    for bucket in (start + GRID, end):
        if start < end:
            assert (
                name_of(unit, zone, bucket - GRID)
                == name_of(unit, zone, bucket - 1)
                == name_of(unit, zone, at)
            )


@given(at=INSTANTS, late=st.integers(-600, 7200))
def test_a_rolling_window_has_as_many_buckets_as_it_is_long(at: int, late: int) -> None:
    newest = (at - late) // GRID * GRID
    start, end = period_interval(TEMPLATE, when(at), newest)
    assert (end - start, end) == (30 * 86400, min(newest, at // GRID * GRID))


@pytest.mark.parametrize(
    ("name", "hours"),
    [("Europe/Paris", (743, 745)), ("America/New_York", (743, 721)), ("Asia/Kolkata", (744, 744))],
)
def test_months_with_a_change_have_an_hour_more_or_less(name: str, hours: tuple[int, int]) -> None:
    months = {"America/New_York": ("2025-03-20", "2025-11-20")}.get(name, ("2025-03-20", "2025-10-20"))
    for text, wanted in zip(months, hours, strict=True):
        at = datetime.fromisoformat(f"{text}T12:00:00+00:00")
        end = period_end(slo_of("month", name), at)
        assert end is not None
        assert (end - period_start(slo_of("month", name), at)) / timedelta(hours=1) == wanted


# --- in a real ledger


@pytest.mark.parametrize("name", ["Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
@pytest.mark.parametrize("unit", ["week", "month"])
def test_windows_that_follow_each_other_add_up_to_the_whole(tmp_path: Path, unit: str, name: str) -> None:
    """Each bucket has as many events as its number: a bucket lost, or counted twice, is seen."""
    begin = int(datetime(2025, 9, 1, 9, tzinfo=UTC).timestamp())
    last = begin + 75 * 86400
    ends = range(begin + GRID, last + 1, GRID)
    events = [Bucket("shop", "checkout", end, number * MICRO, 0) for number, end in enumerate(ends)]
    slo = slo_of(unit, name)
    intervals: list[Interval] = []
    at = begin
    while at < last:
        renewed = period_end(slo, when(at))
        assert renewed is not None
        start, end = period_interval(slo, renewed - timedelta(seconds=1), last)
        # A bucket that ends when the window does ends a second too late for that report, but not for the next one.
        intervals.append((max(start, begin), min(end + GRID, int(renewed.timestamp()), last)))
        at = int(renewed.timestamp())
    assert [b for _, b in intervals[:-1]] == [a for a, _ in intervals[1:]]
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        ledger.record("shop", [Batch(slo.id, slo.name, (begin, last), events)])
        parts = ledger.sums("shop", intervals)
        (whole,) = ledger.sums("shop", [(begin, last)])
    added = Sums()
    for part, (start, end) in zip(parts, intervals, strict=True):
        (item,) = part.values()
        numbers = range((start - begin) // GRID, (end - begin) // GRID)
        assert item.total == sum(numbers) * MICRO
        added += item
    assert {added} == set(whole.values())
    assert len(intervals) >= 3


# --- maintenance


def brute(item: Maintenance, start: int, end: int) -> list[Interval]:
    """Every minute that the maintenance may have begun in is looked at, as for jobs."""
    begins = by_the_clock(item.cron, ZoneInfo(item.timezone), when(start - item.seconds), when(end))
    found = [(int(begin.timestamp()), int(begin.timestamp()) + item.seconds) for begin in begins]
    return [(max(a, start), min(b, end)) for a, b in found if a < end and b > start]


@pytest.mark.parametrize("name", ["Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
@pytest.mark.parametrize("month", [3, 4, 10, 11])
def test_nightly_maintenance_takes_place_once_each_night(name: str, month: int) -> None:
    item = Maintenance("nightly", cron="30 2 * * *", timezone=name, seconds=2700)
    start = int(datetime(2025, month, 1, 20, tzinfo=UTC).timestamp())
    end = start + 33 * 86400
    found = maintenance.occurrences(item, start, end)
    nights = {datetime.fromtimestamp(a, ZoneInfo(name)).date() for a, _ in found}
    assert len(found) == len(nights) == 33
    assert all(b - a == 2700 for a, b in found)
    assert found == brute(item, start, end)


@pytest.mark.parametrize(
    ("cron", "start", "begins"),
    [
        pytest.param("30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z"], id="skipped: right after the change"),
        pytest.param("0,30 2 * * *", "2026-03-28T12:00Z", ["2026-03-29T01:00Z"], id="two skipped times: once"),
        pytest.param("30 2 * * *", "2026-10-24T12:00Z", ["2026-10-25T00:30Z"], id="repeated: the first of the two"),
        pytest.param("30 0-3 * * *", "2026-10-24T12:00Z",
                     ["2026-10-24T22:30Z", "2026-10-24T23:30Z", "2026-10-25T00:30Z", "2026-10-25T02:30Z"],
                     id="some hours: once for each local time"),
        pytest.param("30 * * * *", "2026-10-24T23:00Z",
                     [f"2026-10-{day}Z" for day in ("24T23:30", *(f"25T{hour:02}:30" for hour in range(11)))],
                     id="every hour: both hours that are repeated"),
    ],
)  # fmt: skip
def test_a_cron_line_means_for_maintenance_what_it_means_for_jobs(
    cron: str, start: str, begins: list[str]
) -> None:
    item = Maintenance("some", cron=cron, timezone="Europe/Paris", seconds=60)
    first = datetime.fromisoformat(start)
    last = first + timedelta(hours=12 if cron.startswith("30 *") else 24)
    found = maintenance.occurrences(item, int(first.timestamp()), int(last.timestamp()))
    assert [when(a) for a, _ in found] == [datetime.fromisoformat(text) for text in begins]
    trigger, time, due = Cron(cron, "Europe/Paris"), first, []
    while (time := trigger.after(time)) < last:
        due.append(time)
    assert [when(a) for a, _ in found] == due


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(ZONES),
    at=st.builds(lambda at, by: at + 60 * by, st.sampled_from(CHANGES), st.integers(-600, 600)),
    cron=st.sampled_from(["30 2 * * *", "*/45 * * * *", "30 1-3 * * *", "0 0 * * *", "15 * * * *"]),
    seconds=st.sampled_from([60, 900, 7200]),
)
def test_occurrences_are_those_of_a_clock_that_is_read_each_minute(
    name: str, at: int, cron: str, seconds: int
) -> None:
    item = Maintenance("some", cron=cron, timezone=name, seconds=seconds)
    end = at + 12 * 3600
    assert maintenance.occurrences(item, at, end) == brute(item, at, end)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(ZONES),
    at=INSTANTS,
    length=st.integers(0, 5 * 86400),
    cuts=st.lists(st.integers(0, 5 * 86400), max_size=4),
    cron=st.sampled_from(["30 2 * * *", "*/45 * * * *", "0 3 * * sun", "15 1 1 * *", "0 0 * * *"]),
    seconds=st.sampled_from([60, 900, 3600, 90000]),
)
def test_occurrences_do_not_depend_on_how_the_time_is_cut(
    name: str, at: int, length: int, cuts: list[int], cron: str, seconds: int
) -> None:
    item = Maintenance("some", cron=cron, timezone=name, seconds=seconds)
    edges = sorted({at, at + length, *(at + cut for cut in cuts if cut < length)})
    whole = maintenance.merged(maintenance.occurrences(item, at, at + length))
    parts = [interval for a, b in pairwise(edges) for interval in maintenance.occurrences(item, a, b)]
    assert maintenance.merged(parts) == whole


def test_maintenance_on_29_february_takes_place_in_leap_years() -> None:
    item = Maintenance("leap", cron="30 23 29 2 *", timezone="Europe/Paris", seconds=7200)
    found = maintenance.occurrences(
        item, *(int(datetime(y, 3, 2, tzinfo=UTC).timestamp()) for y in (2023, 2032))
    )
    begun = [datetime.fromtimestamp(a, UTC).isoformat() for a, _ in found]
    assert begun == [f"{year}-02-29T22:30:00+00:00" for year in (2024, 2028, 2032)]
    assert {b - a for a, b in found} == {7200}


LABELS = {"service": "checkout", "namespace": "shop", "slo": "availability", "owner": "team-shop"}


@pytest.mark.parametrize(
    ("op", "value", "wanted"),
    [
        ("=", "checkout", True),
        ("=", "cart", False),
        ("!=", "cart", True),
        ("!=", "checkout", False),
        ("=~", "checkout|cart", True),
        ("=~", "^(checkout|cart)$", True),
        ("=~", "check.*", True),
        ("=~", "check.+", True),
        ("=~", "cart|orders", False),
        ("=~", ".*", True),
        ("!~", "cart|orders", True),
        ("!~", "check.*", False),
        # Not of the simple kind: what is not understood excuses nothing, whichever way it is meant.
        ("=~", "c[a-z]+t", False),
        ("!~", "c[a-z]+t", False),
        ("=~", "(?i)CHECKOUT", False),
        ("=~", "check(out", False),
        ("=~", "", False),
    ],
)
def test_a_silence_excuses_what_all_of_it_selects(op: str, value: str, wanted: bool) -> None:
    assert maintenance.mutes([("service", op, value)], LABELS) is wanted
    assert not maintenance.mutes([("service", op, value), ("slo", "=", "latency")], LABELS)
    assert not maintenance.mutes([("service", op, value), ("alertname", "=~", ".*")], LABELS)


HOSTILE = [
    "(a+)+$",
    "(a|a)*b",
    "(.*)*x",
    ".*" * 8 + "x",
    ".+" * 8 + "y",
    ".*.*.*.*.*.*.*.*!",
    "|" * 4000,
    "(" * 2000,
    "a.*|" * 1000,
    "[" * 4096,
    "x" * 100_000,
    "\\" * 4001,
]


@pytest.mark.parametrize("pattern", HOSTILE, ids=lambda pattern: pattern[:16])
def test_no_expression_of_a_server_keeps_us_busy(pattern: str) -> None:
    labels = LABELS | {"service": "a" * 63}  # what Kubernetes lets a name be
    begun = time.process_time()
    for op in ("=~", "!~"):
        maintenance.mutes([("service", op, pattern)], labels)
    assert time.process_time() - begun < 0.05


@settings(deadline=None, max_examples=300)
@given(
    parts=st.lists(st.sampled_from(["a", "b", "-", ".*", ".+", "|", "\\."]), max_size=12),
    text=st.text(alphabet="ab-.", max_size=8),
)
def test_simple_expressions_match_as_alertmanagers_do(parts: list[str], text: str) -> None:
    """By another way than a regular expression: alternatives, each a pattern of parts."""

    def fits(rest: list[str], left: str) -> bool:
        if not rest:
            return not left
        head, tail = rest[0], rest[1:]
        if head in (".*", ".+"):
            return any(fits(tail, left[cut:]) for cut in range(head == ".+", len(left) + 1))
        plain = head[-1]
        return left[:1] == plain and fits(tail, left[1:])

    if sum(part in (".*", ".+") for part in parts) > 4:
        return
    alternatives: list[list[str]] = [[]]
    for part in parts:
        if part == "|":
            alternatives.append([])
        else:
            alternatives[-1].append(part)
    wanted = any(fits(one, text) for one in alternatives)
    found = maintenance.mutes([("service", "=~", "".join(parts))], {"service": text})
    assert found is wanted


# --- what is left out, and what is too old


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_excluded_seconds_are_those_of_buckets_with_events(tmp_path: Path, late: bool) -> None:
    """Of a day of maintenance: one bucket has events, one a gap and events, one a gap alone, the others nothing."""
    day = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    key = ("a", "shop", "checkout")
    events = [
        Bucket("shop", "checkout", day + GRID, 100 * MICRO, MICRO),
        Bucket("shop", "checkout", day + 2 * GRID, 50 * MICRO, 0, 60),
        Bucket("shop", "checkout", day + 3 * GRID, 0, 0, 300),
    ]
    excluded = {key: [(day, day + 86400)]}
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        # The series is known from the day before; what is left out may be known before its buckets come.
        known = Bucket("shop", "checkout", day, MICRO, 0)
        ledger.record("shop", [Batch("a", "a", (day - GRID, day), [known])])
        if late:
            ledger.exclude("shop", excluded, day, day + 86400)
        ledger.record("shop", [Batch("a", "a", (day, day + 86400), events)])
        if not late:
            ledger.exclude("shop", excluded, day, day + 86400)
        of_day = Sums(excluded=600, excluded_total=150 * MICRO, excluded_bad=MICRO)
        for end in (86400, 3600, 3 * GRID):  # a row of the day, of the hour, and those of the buckets
            assert ledger.sums("shop", [(day, day + end)]) == [{key: of_day}]
        assert ledger.sums("shop", [(day + 2 * GRID, day + 86400)]) == [{}]
        ledger.exclude("shop", {}, day, day + 86400)
        counted = Sums(total=150 * MICRO, bad=MICRO, gap=360)
        for end in (86400, 3600, 3 * GRID):
            assert ledger.sums("shop", [(day, day + end)]) == [{key: counted}]


def recorded_until(ledger: DatabaseLedger, end: int) -> None:
    """Another SLO of the set has a bucket that ends then: what is older than it is kept is reckoned from it."""
    ledger.record("shop", [Batch("z", "z", (end - GRID, end))])


@pytest.mark.parametrize("early", [0, 1, GRID])
def test_a_day_is_too_old_from_the_midnight_at_which_its_last_bucket_is(tmp_path: Path, early: int) -> None:
    """The bucket that ends at midnight is of the day before, and goes with it."""
    midnight = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    hour = (midnight - 3600, midnight)
    ends = range(midnight - 2 * 86400 + GRID, midnight + 86400 + 1, GRID)
    events = [Bucket("shop", "checkout", end, MICRO, 0) for end in ends]
    keep = Keep(3 * 86400, 30 * 86400, 300 * 86400)
    edge = (midnight - GRID, midnight + 3600 - GRID)

    def total(ledger: DatabaseLedger, interval: Interval) -> int:
        return sum(item.total for sums in ledger.sums("shop", [interval]) for item in sums.values()) // MICRO

    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        ledger.record("shop", [Batch("a", "a", (ends[0] - GRID, ends[-1]), events)])
        recorded_until(ledger, midnight + keep.days)
        buckets = ledger.prune("shop", keep, midnight + keep.buckets - early)
        assert buckets == Pruned(buckets=288 if early else 2 * 288)
        # The interval's first bucket is the day's last one, which is there as long as the day's buckets are.
        assert total(ledger, edge) == (12 if early else 11)
        assert total(ledger, hour) == 12
        hours = ledger.prune("shop", keep, midnight + keep.hours - early)
        assert hours.hours == (24 if early else 48)
        assert total(ledger, hour) == (12 if early else 0)
        assert total(ledger, (midnight - 86400, midnight)) == 288
        days = ledger.prune("shop", keep, midnight + keep.days - early)
        assert days.days == (1 if early else 2)
        assert ledger.oldest("shop")["a"] == midnight - (86400 if early else 0)
        assert total(ledger, (midnight, midnight + 86400)) == 288


def test_what_is_kept_of_buckets_is_kept_of_hours_and_days_too(tmp_path: Path) -> None:
    day = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    events = [Bucket("shop", "checkout", day + at, MICRO, 0) for at in (GRID, 4 * 86400, 9 * 86400)]
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        ledger.record("shop", [Batch("a", "a", (day, day + 9 * 86400), events)])
        recorded_until(ledger, day + 10 * 86400)
        keep = Keep(buckets=7 * 86400, hours=2 * 86400, days=86400)
        pruned = ledger.prune("shop", keep, day + 10 * 86400)
        assert (pruned.days, ledger.oldest("shop")["a"]) == (1, day + 3 * 86400)
        (sums,) = ledger.sums("shop", [(day + 4 * 86400 - GRID, day + 4 * 86400)])
        assert [item.total for item in sums.values()] == [MICRO]


def test_nothing_is_known_of_before_the_days_that_are_kept_where_recording_paused(tmp_path: Path) -> None:
    """The last day that was removed is a week before the first one that is left."""
    day = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        for begun in (day, day + 20 * 86400):
            event = Bucket("shop", "checkout", begun + GRID, MICRO, 0)
            ledger.record("shop", [Batch("a", "a", (begun, begun + 86400), [event])])
        ledger.prune("shop", Keep(86400, 86400, 86400), day + 11 * 86400)
        assert ledger.oldest("shop") == {"a": day + 10 * 86400}


def test_an_edge_within_an_hour_spares_the_hours_buckets_and_one_at_midnight_spares_none(
    tmp_path: Path,
) -> None:
    day = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    events = [Bucket("shop", "checkout", day + at, MICRO, 0) for at in range(GRID, 86400 + 1, GRID)]
    kolkata = 18 * 3600 + 1800
    for name, edges, left in (("none", [0, 86400], 0), ("half", [0, kolkata], 12)):
        with open_ledger(Secret(f"sqlite:///{tmp_path / name}.db")) as ledger:
            ledger.record("shop", [Batch("a", "a", (day, day + 86400), events)])
            recorded_until(ledger, day + 10 * 86400)
            pruned = ledger.prune(
                "shop", Keep(86400, 90 * 86400, 900 * 86400), day + 10 * 86400 + 1, [*edges]
            )
            assert pruned.buckets == 288 - left
            (sums,) = ledger.sums("shop", [(day, day + kolkata)])
            assert [item.total // MICRO for item in sums.values()] == [18 * 12 + left // 2]
