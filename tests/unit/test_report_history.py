"""The history of a budget: buckets that add up to the window, from rules, from raw counters, and where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.budgets.choice import BudgetOrigin
from jobs.reports import slo_report
from sloctl import naming, promql
from sloctl.backends.protocols import Series
from sloctl.model import GRID
from sloctl.report.data import Report, SloStatus, to_json
from sloctl.report.history import MOST_BUCKETS, BudgetHistory, bucket_count, history, width_for
from tests.support.reports import kept
from tests.support.shop_slos import AT, CHECKOUT, DAY, EVERY, JOBS, LATENCY, NOW, flow, only, slos
from tests.support.simulated import Simulated

MONTH = (
    "- {name: monthly, service: checkout, namespace: shop, objective: 99.9, "
    "window: {calendar: month, timezone: Europe/Paris}, sli: {preset: availability}}"
)
WEEK = "- {name: weekly, service: checkout, namespace: shop, objective: 99, window: 7d, sli: {preset: availability}}"


def built(source: Simulated, at: datetime = AT, origin: BudgetOrigin = "auto") -> Report:
    return slo_report.build(source, source.slo_set, at, origin, history=True)


def of(item: SloStatus) -> BudgetHistory:
    assert item.history is not None, item.name
    return item.history


def holds(item: SloStatus) -> None:
    """What is true of every history: it is of the whole window, adds up to it, and ends at the budget left."""
    kept = of(item)
    known = [bucket for bucket in kept.buckets if bucket]
    assert sum(bad for bad, _ in known) == pytest.approx(item.bad, rel=1e-9, abs=1e-9)
    assert sum(total for _, total in known) == pytest.approx(item.total, rel=1e-9)
    assert [value for value in kept.left() if value is not None][-1] == item.remaining
    edges = kept.edges()
    assert edges == sorted(edges) and len(edges) == len(kept.buckets) + 1
    assert (edges[0], edges[-1]) == (kept.start, kept.end)
    assert len(kept.buckets) <= MOST_BUCKETS and kept.width % GRID == 0


# --- from a simulated Prometheus


@pytest.mark.parametrize("seconds", [0, 132, 299])
@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_a_steady_burn_is_a_straight_line_to_the_budget_left(origin: BudgetOrigin, seconds: int) -> None:
    at = AT + timedelta(seconds=seconds)
    slo_set = slos(CHECKOUT)
    item = only(built(Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05)]), at, origin))
    kept = of(item)
    holds(item)
    assert (len(kept.buckets), kept.width) == (180, 4 * 3600)
    assert (kept.start, kept.end) == (at - timedelta(days=30), at)
    for number, value in enumerate(kept.left(), 1):
        assert value == pytest.approx(1 - 0.5 * number / 180, abs=1e-4)
    assert kept.success()[5] == pytest.approx(0.9995)


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_an_outage_is_where_it_was(origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT)
    steady = flow(slo_set, 0, "checkout", 10)
    outage = flow(slo_set, 0, "checkout", 990, 990, start=NOW - 20 * DAY, end=NOW - 20 * DAY + 300)
    item = only(built(Simulated(slo_set, [steady, outage]), AT, origin))
    holds(item)
    kept = of(item)
    wrong = [number for number, bucket in enumerate(kept.buckets) if bucket and bucket[0]]
    assert len(wrong) == 1
    start, end = kept.spans()[wrong[0]]
    assert start.timestamp() <= NOW - 20 * DAY < end.timestamp()
    left = kept.left()
    assert left[: wrong[0]] == [1.0] * wrong[0]
    assert item.remaining is not None and item.remaining < 0
    assert left[wrong[0] :] == pytest.approx([item.remaining] * (180 - wrong[0]))


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_time_without_events_is_no_success(origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT)
    first = flow(slo_set, 0, "checkout", 10, 0.01, start=NOW - 20 * DAY, end=NOW - 15 * DAY)
    later = flow(slo_set, 0, "checkout", 10, 0.01, start=NOW - 10 * DAY)
    item = only(built(Simulated(slo_set, [first, later]), AT, origin))
    holds(item)
    kept = of(item)
    assert kept.buckets[:59] == (None,) * 59, "there was no such service"
    assert kept.left()[:59] == [None] * 59
    quiet = kept.buckets[92:119]
    assert set(quiet) == {(0.0, 0.0)}
    assert kept.success()[92:119] == [None] * 27, "no events are not 100 %"
    assert len(set(kept.left()[92:119])) == 1, "and cost nothing"


def test_rules_that_paused_leave_a_gap() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 10)], pauses=[(NOW - 3 * DAY, NOW - 2 * DAY)])
    item = only(built(source))
    holds(item)
    assert of(item).buckets[162:168] == (None,) * 6
    assert of(item).buckets[161] is not None and of(item).buckets[168] is not None


@pytest.mark.slow
def test_each_window_is_asked_for_once_whatever_the_number_of_services() -> None:
    slo_set = slos(EVERY, CHECKOUT, LATENCY, JOBS, WEEK)
    flows = [flow(slo_set, 0, f"s{number}", 1) for number in range(20)]
    flows += [flow(slo_set, index, "checkout", 10, 0.01) for index in (1, 2, 4)]
    plain, source = Simulated(slo_set, flows), Simulated(slo_set, flows)
    without = slo_report.build(plain, slo_set, AT)
    report = built(source)
    # Two windows, bad and total events of each in one query.
    assert source.queries == plain.queries + 2
    assert not any(item.history for item in without.slos)
    assert to_json(report) == to_json(without), "the JSON form has no history"
    for item in report.slos:
        if item.total:
            holds(item)
            assert of(item).width == (3600 if item.slo == "weekly" else 4 * 3600)
        else:
            assert item.history is None


def test_raw_counters_are_not_asked_twice() -> None:
    windows: list[tuple[str, datetime]] = []

    class Noting(Simulated):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            windows.extend((expr, start + number * step) for number in range((end - start) // step + 1))
            return super().query_range(expr, start, end, step)

    slo_set = slos(EVERY, LATENCY)
    flows = [flow(slo_set, 0, "cart", 1), flow(slo_set, 1, "checkout", 10, 0.01)]
    assert all(item.history for item in built(Noting(slo_set, flows), AT, "raw").slos)
    assert len(set(windows)) == len(windows) > 100


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 3, 17, 13, 2, 12, tzinfo=UTC),
        datetime(2026, 3, 1, 12, tzinfo=UTC),
        datetime(2026, 2, 28, 23, 3, tzinfo=UTC),  # three minutes of March, in Paris
        datetime(2026, 3, 30, tzinfo=UTC),  # the clocks changed the day before
    ],
)
@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_a_calendar_window_begins_with_its_period(at: datetime, origin: BudgetOrigin) -> None:
    slo_set = slos(MONTH)
    item = only(built(Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05)]), at, origin))
    holds(item)
    # A period's first minutes count as one step of the grid.
    begun = min(datetime(2026, 2, 28, 23, tzinfo=UTC), at - timedelta(minutes=5))
    assert of(item).start == begun
    assert item.remaining == pytest.approx(0.5)


def test_without_its_history_the_report_still_comes() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05)], most_points=0)
    report = built(source)
    item = only(report)
    assert item.history is None
    assert item.spent == pytest.approx(0.5)
    (finding,) = report.findings
    assert (finding.severity, finding.code) == ("warning", "history-not-read")
    assert "too many samples" in finding.message


def test_a_history_that_is_not_of_these_events_is_none() -> None:
    """Somebody filled the past between two requests: what is drawn would not end at the number beside it."""
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05)])

    def doubled(expr: str) -> list[Series] | None:
        if expr != promql.of_set(naming.TOTAL_GRID, "shop", 30 * DAY):
            return None
        labels = {naming.SLO_ID: slo_set.slos[0].id, "namespace": "shop", "service": "checkout"}
        return [{"metric": labels, "value": [NOW, "1000000"]}]

    source.override = doubled
    assert only(built(source)).history is None


# --- of any numbers


@given(st.integers(300, 400 * DAY))
def test_widths_are_of_the_grid_and_buckets_are_few(seconds: int) -> None:
    width = width_for(seconds)
    assert width % GRID == 0
    assert (bucket_count(seconds) - 1) * width < seconds <= bucket_count(seconds) * width
    assert bucket_count(seconds) <= MOST_BUCKETS
    assert bucket_count(seconds) >= 80 or width == GRID


@given(kept())
def test_a_burn_down_only_falls_and_ends_at_what_is_left(made: tuple[BudgetHistory, float]) -> None:
    item, remaining = made
    left = [value for value in item.left() if value is not None]
    assert left[-1] == item.remaining == pytest.approx(remaining)
    assert all(value <= 1 for value in left)
    assert all(a >= b - 1e-6 * max(1.0, abs(b)) for a, b in pairwise(left))
    assert all(value is None or 0 <= value <= 1 for value in item.success())
    assert [value is None for value in item.left()] == [bucket is None for bucket in item.buckets]


def test_events_since_the_last_instant_of_the_grid_are_the_newest_buckets() -> None:
    made = history({0: (1.0, 10.0), 1: (2.0, 20.0)}, (4.0, 35.0), AT, 600, 0.5)
    assert made is not None
    assert made.buckets == ((2.0, 20.0), (2.0, 15.0))
    assert history({}, (0.0, 0.0), AT, 600, 0.5) is None
    assert history({1: (9.0, 90.0)}, (4.0, 35.0), AT, 600, 0.5) is None
