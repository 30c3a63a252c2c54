"""Raw counters of a period: in which windows they are asked for, and what a server bears."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.budgets import from_counters
from jobs.reports import slo_report
from sloctl import naming
from sloctl.backends.answers import MAX_VALUES, TooMuchTogether, judged, one_question, weigh
from sloctl.backends.protocols import Series
from sloctl.errors import BackendTimeout
from sloctl.model import GRID
from tests.support.shop_slos import AT, CHECKOUT, NOW, flow, only, slos
from tests.support.simulated import Simulated


@given(
    st.sets(st.integers(0, 9000), min_size=2, max_size=12),
    st.sampled_from([from_counters._sizes(width) for width in (0, 300, 1800, 5400, 14400)]),
)
def test_windows_cover_everything_between_the_edges_and_cross_none(
    edges: set[int], sizes: Sequence[int]
) -> None:
    windows = from_counters._windows(edges, sizes)
    steps = [step for newest, size in windows for step in range(newest, newest + size)]
    assert steps == list(range(min(edges), max(edges)))
    assert not any(newest < edge < newest + size for newest, size in windows for edge in edges)
    for longer, shorter in pairwise(sizes):
        assert longer % shorter == 0


class Slow(Simulated):
    """Ends queries for more windows than it can evaluate in time."""

    most = 3

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        if (end - start) // step + 1 > self.most and "istio_requests_total" in expr:
            raise BackendTimeout("no answer in time", backend="prometheus", url="http://simulated")
        return super().query_range(expr, start, end, step)


def test_a_server_that_ends_long_queries_is_asked_for_fewer_windows_at_a_time() -> None:
    slo_set = slos(CHECKOUT.replace("objective", "window: 7d, objective"))
    flows = [flow(slo_set, 0, "checkout", 100, 0.05)]
    whole = only(slo_report.build(Simulated(slo_set, flows), slo_set, AT, "raw"))
    assert only(slo_report.build(Slow(slo_set, flows), slo_set, AT, "raw")) == whole
    assert whole.total == pytest.approx(100 * 7 * 1440)


def test_a_server_that_ends_every_query_is_an_error() -> None:
    slo_set = slos(CHECKOUT)
    source = Slow(slo_set, [flow(slo_set, 0, "checkout", 100)])
    source.most = 0
    with pytest.raises(BackendTimeout):
        slo_report.build(source, slo_set, AT, "raw")


def test_what_a_gap_hides_is_counted_step_by_step() -> None:
    """Long windows of which something is not known are asked for again, down to the steps of the budget grid."""
    slo_set = slos(CHECKOUT.replace("objective", "window: 7d, objective"))
    gap = (NOW - 40 * 3600.0, NOW - 40 * 3600 + 900.0)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], scrape_gaps={"checkout": gap})
    item = only(slo_report.build(source, slo_set, AT, "raw"))
    assert item.quality.gaps == 900
    fine = [expr for expr in source.asked if f"[{GRID // 60}m]" in expr and '"gap"' in expr]
    assert fine and len(fine) < 12, "only where it was, and in the last hour"
    assert naming.GAP_GRID not in fine[0]


def test_the_peak_is_that_of_the_whole_window() -> None:
    """A calendar's window is no whole number of days."""
    slo_set = slos(CHECKOUT.replace("objective", "window: {calendar: month, timezone: UTC}, objective"))
    at = AT + timedelta(days=1)
    busy = replace(flow(slo_set, 0, "checkout", 600), end=NOW - 6 * 3600)
    calm = replace(flow(slo_set, 0, "checkout", 60), start=NOW - 6 * 3600)
    gap = (NOW + 80_000.0 // GRID * GRID, NOW + 80_000.0 // GRID * GRID + 600)
    source = Simulated(slo_set, [busy, calm], scrape_gaps={"checkout": gap})
    report = slo_report.build(source, slo_set, at, "raw")
    [finding] = [item for item in report.findings if item.code == "scrape-gap"]
    assert "at most 6,000 events are unseen" in finding.message


def test_a_peak_of_a_partial_answer_is_in_doubt() -> None:
    slo_set = slos(CHECKOUT)

    class Partial(Simulated):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            found = super().query_range(expr, start, end, step)
            return judged(found, ["a store is down"]) if expr.startswith("max_over_time((") else found

    gap = (NOW - 7200.0, NOW - 6300.0)
    source = Partial(slo_set, [flow(slo_set, 0, "checkout", 100)], scrape_gaps={"checkout": gap})
    assert [item.code for item in slo_report.build(source, slo_set, AT, "raw").findings].count(
        "partial-answer"
    ) == 1


def test_slos_whose_answers_are_too_much_at_a_time_are_read_one_after_another() -> None:
    slo_set = slos(CHECKOUT, CHECKOUT.replace("name: availability", "name: other"))
    flows = [flow(slo_set, number, "checkout", 600, 3) for number in range(2)]

    class Heavy(Simulated):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            with one_question():
                if not weigh(lambda: MAX_VALUES // 2):
                    raise TooMuchTogether("too much", backend="prometheus", url="")
            return super().query_range(expr, start, end, step)

    plain, heavy = (from_counters.collect(kind(slo_set, flows), slo_set, AT) for kind in (Simulated, Heavy))
    assert heavy.period == plain.period and len(plain.period) == 2
