"""Error-budget arithmetic: properties, and values published by others."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sloctl import budget

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOTALS = st.integers(1, 10**9)
SHARES = st.floats(0, 1)
BUDGETS = st.floats(1e-6, 0.5)


@st.composite
def events(draw: st.DrawFn) -> tuple[int, int]:
    """(good, total), at least one event."""
    total = draw(TOTALS)
    return draw(st.integers(0, total)), total


@given(events())
def test_wilson_interval_holds_the_ratio_and_stays_a_share(counts: tuple[int, int]) -> None:
    good, total = counts
    low, high = budget.wilson_interval(good, total) or (math.nan, math.nan)
    assert 0 <= low <= good / total <= high <= 1
    assert low < high


@given(events(), st.integers(2, 1000))
def test_wilson_interval_narrows_with_more_events(counts: tuple[int, int], times: int) -> None:
    good, total = counts
    few = budget.wilson_interval(good, total)
    many = budget.wilson_interval(good * times, total * times)
    assert few and many
    assert many[1] - many[0] < few[1] - few[0]


@given(events())
def test_wilson_interval_of_failures_mirrors_that_of_successes(counts: tuple[int, int]) -> None:
    good, total = counts
    low, high = budget.wilson_interval(good, total) or (math.nan, math.nan)
    mirrored = budget.wilson_interval(total - good, total)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_wilson_interval_bounds_solve_its_equation() -> None:
    # Wilson (1927): the bounds are the p with (share - p)² = z² p (1 - p) / n.
    for good, total in ((1, 10), (81, 263), (15, 148), (999, 1000)):
        for bound in budget.wilson_interval(good, total) or ():
            assert (good / total - bound) ** 2 == pytest.approx(budget.Z95**2 * bound * (1 - bound) / total)


@pytest.mark.parametrize(
    ("good", "total", "low", "high"),
    [
        # R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17
        # (1998), table I, method 3 (score without continuity correction).
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_as_published(good: int, total: int, low: float, high: float) -> None:
    interval = budget.wilson_interval(good, total)
    assert interval == pytest.approx((low, high), abs=0.00006)


@pytest.mark.parametrize(
    ("good", "total"),
    [(999.9999999999998, 1000), (6.999999999999999, 7), (5.6e-17, 0.5), (4e-15, 1000)],
)
def test_wilson_interval_stays_a_share_where_floats_round_over_its_ends(good: float, total: float) -> None:
    low, high = budget.wilson_interval(good, total) or (math.nan, math.nan)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(("good", "like"), [(10.000001, 10), (12, 10), (-0.000001, 0), (-3, 0)])
def test_wilson_interval_of_more_than_all_or_less_than_none_is_that_of_the_limit(
    good: float, like: float
) -> None:
    assert budget.wilson_interval(good, 10) == budget.wilson_interval(like, 10)


@given(st.floats(1e-6, 0.999999), st.floats(0, 1), BUDGETS)
def test_less_than_one_event_is_data(total: float, part: float, share: float) -> None:
    """Rates of a user's expression, and the events of a moment, are fractions."""
    assert budget.ratio(part * total, total) == pytest.approx(part)
    assert budget.spent(part * total, total, share) == pytest.approx(part / share)
    low, high = budget.wilson_interval(part * total, total) or (math.nan, math.nan)
    assert 0 <= low <= part + 1e-9 and part - 1e-9 <= high <= 1
    assert high - low > 0.79, "less than one event says next to nothing"


@given(st.floats(0, 1e9), BUDGETS)
def test_no_events_are_no_data(part: float, share: float) -> None:
    assert budget.ratio(part, 0) is None
    assert budget.wilson_interval(part, 0) is None
    assert budget.spent(part, 0, share) is None
    assert budget.status(None, alerting=True) == "no_data"


@given(TOTALS, BUDGETS)
def test_the_budget_is_spent_when_its_share_of_events_is_bad(total: int, share: float) -> None:
    assert budget.spent(total * share, total, share) == pytest.approx(1)
    assert budget.spent(0, total, share) == 0
    assert budget.spent(total, total, share) == pytest.approx(1 / share)


@given(events(), events(), BUDGETS)
def test_ratios_are_of_sums(one: tuple[int, int], other: tuple[int, int], share: float) -> None:
    """Two windows together spend what their events say: the mean of their rates weighed by traffic."""
    (bad, total), (more_bad, more_total) = one, other
    both = budget.spent(bad + more_bad, total + more_total, share)
    first, second = budget.spent(bad, total, share), budget.spent(more_bad, more_total, share)
    assert both is not None and first is not None and second is not None
    assert both == pytest.approx((first * total + second * more_total) / (total + more_total))
    assert min(first, second) * (1 - 1e-9) <= both <= max(first, second) * (1 + 1e-9)


def test_an_hour_of_outage_at_night_costs_what_its_events_say() -> None:
    # 30 days at 1,000 events a minute by day; one hour without a success at 20 a minute.
    spent = budget.spent(60 * 20, 30 * 24 * 60 * 1000, 0.001)
    assert spent == pytest.approx(1200 / 43200)


def test_a_burn_rate_of_two_uses_half_a_budget_in_a_quarter_of_the_period() -> None:
    month = 30 * 86400
    assert budget.exhausted_at(NOW, 0.5, 2, month) == NOW + timedelta(days=7.5)
    assert budget.exhausted_at(NOW, 1, 14.4, month) == NOW + timedelta(days=30) / 14.4


@given(st.floats(-10, 1), st.floats(0, 1e6), st.integers(86400, 365 * 86400))
def test_exhaustion_is_ahead_and_within_the_period_or_unknown(left: float, rate: float, period: int) -> None:
    at = budget.exhausted_at(NOW, left, rate, period)
    if left <= 0 or rate == 0:
        assert at is None
    if at is not None:
        assert NOW <= at < NOW + timedelta(seconds=period)
        assert (at - NOW).total_seconds() * rate == pytest.approx(left * period, abs=rate)


@given(st.floats(1e-6, 1), st.floats(0.001, 100), st.floats(1.1, 10))
def test_a_faster_burn_exhausts_earlier(left: float, rate: float, factor: float) -> None:
    slow = budget.exhausted_at(NOW, left, rate, 30 * 86400)
    fast = budget.exhausted_at(NOW, left, rate * factor, 30 * 86400)
    assume(slow is not None)
    assert fast is not None and slow is not None
    assert fast <= slow


def test_a_steady_burn_below_one_never_exhausts_a_rolling_window() -> None:
    assert budget.exhausted_at(NOW, 0.5, 0.5, 30 * 86400) is None


@pytest.mark.parametrize(
    ("remaining", "alerting", "word"),
    [
        (1, False, "ok"),
        (0.1, False, "ok"),
        (0.0999, False, "at_risk"),
        (0.9, True, "at_risk"),
        (1e-9, False, "at_risk"),
        (0, False, "exhausted"),
        (-3, True, "exhausted"),
    ],
)
def test_status(remaining: float, alerting: bool, word: str) -> None:
    assert budget.status(remaining, alerting=alerting) == word
