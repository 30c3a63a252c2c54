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
from sloctl.errors import BackendTimeout, BackendUnavailable, QueryRejected
from sloctl.model import GRID
from tests.support.shop_slos import AT, CHECKOUT, JOBS, LATENCY, NOW, flow, only, slos
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
    with pytest.raises(BackendTimeout) as caught:
        slo_report.build(source, slo_set, AT, "raw")
    assert "--timeout" in caught.value.hint and "sloctl generate" in caught.value.hint


def test_a_server_that_cannot_evaluate_a_long_window_is_asked_for_shorter_ones() -> None:
    slo_set = slos(CHECKOUT.replace("objective", "window: 7d, objective"))
    flows = [flow(slo_set, 0, "checkout", 100, 0.05)]

    class Short(Simulated):
        refused = 0

        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            if step > timedelta(hours=1) and "istio_requests_total" in expr and "max_over" not in expr:
                self.refused += 1
                raise BackendTimeout("no answer in time", backend="prometheus", url="http://simulated")
            return super().query_range(expr, start, end, step)

    source = Short(slo_set, flows)
    whole = only(slo_report.build(Simulated(slo_set, flows), slo_set, AT, "raw"))
    assert only(slo_report.build(source, slo_set, AT, "raw")) == whole
    assert source.refused <= 3, "once per size, not per window"


class Dying(Simulated):
    """Is gone after some range queries of raw counters."""

    left = 4

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        return [] if self.left < 0 else super().query(expr, at)

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        if "istio_requests_total" in expr:
            self.left -= 1
        if self.left < 0:
            raise BackendUnavailable("connection refused", backend="prometheus", url="http://simulated")
        return super().query_range(expr, start, end, step)


def test_of_a_server_that_dies_half_way_there_is_what_was_read_the_newest_first() -> None:
    slo_set = slos(CHECKOUT)
    source = Dying(slo_set, [flow(slo_set, 0, "checkout", 100)])
    report = slo_report.build(source, slo_set, AT, "raw")
    item = only(report)
    assert item.doubts == ("raw-partly-read",)
    assert item.quality.recorded is not None
    assert 0 < item.quality.recorded < 30 * 86400
    assert item.total == pytest.approx(item.quality.recorded / 60 * 100), "all of the newest, nothing made up"
    assert item.burn_rates["5m"] == 0, "the newest"
    [finding] = [each for each in report.findings if each.code == "raw-partly-read"]
    assert "newest first, before the server failed: connection refused" in finding.message
    assert "Prometheus has no counters" not in "".join(each.message for each in report.findings)


def test_slos_after_the_one_that_a_server_died_of_are_not_asked_for() -> None:
    slo_set = slos(*(CHECKOUT.replace("checkout", f"service-{number}") for number in range(40)))
    source = Dying(slo_set, [flow(slo_set, number, f"service-{number}", 100) for number in range(40)])
    report = slo_report.build(source, slo_set, AT, "raw")
    assert -12 < source.left < 0, "a few at a time"
    assert len(report.slos) == 40
    assert all(item.doubts for item in report.slos)
    assert [each.code for each in report.findings if each.code == "raw-not-read"] == ["raw-not-read"]
    assert not [each for each in report.findings if each.code == "no-data"]


def test_a_query_that_is_rejected_is_an_error_whatever_else_was_read() -> None:
    slo_set = slos(CHECKOUT, JOBS)

    class Picky(Simulated):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            if "l[" in expr:
                raise QueryRejected("parse error", backend="prometheus", url="http://simulated")
            return super().query_range(expr, start, end, step)

    with pytest.raises(QueryRejected):
        slo_report.build(Picky(slo_set, [flow(slo_set, 0, "checkout", 100)]), slo_set, AT, "raw")


def test_progress_reaches_the_end_and_never_goes_back() -> None:
    slo_set = slos(CHECKOUT, LATENCY)
    said: list[float] = []
    flows = [flow(slo_set, number, "checkout", 100) for number in (0, 1)]
    gap = (NOW - 40 * 3600.0, NOW - 40 * 3600 + 900.0)
    source = Simulated(slo_set, flows, scrape_gaps={"checkout": gap})
    slo_report.build(source, slo_set, AT, "raw", progress=lambda share, _: said.append(share))
    assert len(said) > 10
    assert said == sorted(said)
    assert said[-1] == pytest.approx(1, abs=0.01)


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
