"""The budget report over a simulated Prometheus whose events are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.budgets import slis
from jobs.budgets.choice import BudgetOrigin
from jobs.recording import backfill
from jobs.reports import gauges, slo_report
from jobs.reports import slo_report as burn_rate
from sloctl import naming, promql
from sloctl.backends.protocols import Series
from sloctl.errors import BackendLimit, BackendRateLimit
from sloctl.model import SloSet
from sloctl.promql import targets
from sloctl.report.data import Finding, Report, SloStatus
from tests.support.shop_slos import (
    AT,
    CHECKOUT,
    DAY,
    EVERY,
    FOR_EVER,
    JOBS,
    LATENCY,
    LONG_AGO,
    NOW,
    flow,
    only,
    slos,
)
from tests.support.simulated import Flow, Simulated


def by_name(report: Report) -> dict[str, SloStatus]:
    items = {item.name: item for item in report.slos}
    assert len(items) == len(report.slos), "one row for each SLO and service"
    return items


def found(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


# --- where the numbers come from


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_events_budget_and_burn_are_the_true_ones(origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05)], alert_rules=False)
    steady = only(slo_report.build(source, slo_set, AT, origin))
    total = 100 * 60 * 24 * 30
    assert (steady.total, steady.bad) == pytest.approx((total, total * 0.0005))
    assert steady.good == pytest.approx(steady.total - steady.bad)
    assert steady.sli == pytest.approx(0.9995)
    assert (steady.spent, steady.remaining) == pytest.approx((0.5, 0.5))
    assert steady.burn_rates == {name: pytest.approx(0.5) for name in ("5m", "30m", "1h", "6h", "3d")}
    assert (steady.status, steady.alerts, steady.exhausted_at) == ("ok", (), None)
    assert steady.sli_interval is not None
    assert steady.sli_interval[0] < 0.9995 < steady.sli_interval[1]
    assert (steady.objective, steady.window, steady.owner) == (99.9, "30d", "team-shop")


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_an_outage_costs_its_share_of_events_whenever_it_was(origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT)
    steady = flow(slo_set, 0, "checkout", 10)
    noon = flow(slo_set, 0, "checkout", 990, 990, start=NOW - 20 * DAY, end=NOW - 20 * DAY + 300)
    item = only(slo_report.build(Simulated(slo_set, [steady, noon]), slo_set, AT, origin))
    assert item.bad == pytest.approx(5 * 990)
    assert item.spent == pytest.approx(5 * 990 / (30 * 1440 * 10 + 5 * 990) / 0.001)
    assert (item.status, item.alerts) == ("exhausted", ())
    assert item.burn_rates["3d"] == 0


def raw(source: Simulated) -> list[str]:
    """The queries of raw counters, but for the one that looks how they are scraped."""
    return [q for q in source.asked if "istio_requests_total" in q and targets.POD not in q]


def test_recorded_series_are_read_where_they_are() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)])
    report = slo_report.build(source, slo_set, AT)
    assert report.findings == ()
    assert any(naming.TOTAL_GRID in query for query in source.asked)
    assert not raw(source), "no raw series is read"


def test_without_rules_raw_counters_are_evaluated_and_the_report_says_so() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05)], recorded=(FOR_EVER, FOR_EVER))
    report = slo_report.build(source, slo_set, AT)
    assert only(report).spent == pytest.approx(0.5)
    assert [finding.code for finding in report.findings] == ["rules-not-loaded"]


def sources(report: Report) -> dict[str, tuple[str, int]]:
    return {item.name: (item.source, round(item.total)) for item in report.slos}


MONTH_OF = 100 * 60 * 24 * 30
"""Events of a month at a hundred a minute."""


@pytest.mark.parametrize(
    "rules",
    [
        {"loaded": FOR_EVER},
        {"loaded": NOW - 180},
        {"loaded": NOW - 3000},
        {"failing": NOW - 7200},
        {"failing": 0.0},
        {"failing_bad": NOW - 7200},
    ],
)
@pytest.mark.parametrize("line", [CHECKOUT, EVERY, LATENCY])
def test_rules_that_are_new_or_fail_say_nothing_of_requests(line: str, rules: dict[str, float]) -> None:
    """An outage of the last hour, which such rules do not have; the other SLO is read from its own."""
    slo_set = slos(*(each.replace("objective", "window: 7d, objective") for each in (line, JOBS)))
    mine, other = 0, 1
    steady, outage = (
        flow(slo_set, mine, "checkout", 90),
        flow(slo_set, mine, "checkout", 10, 10, start=NOW - 3600),
    )
    source = Simulated(slo_set, [steady, outage, flow(slo_set, other, "billing", 100)])
    for name, since in rules.items():
        getattr(source, name)[slo_set.slos[mine].id] = since
    report = slo_report.build(source, slo_set, AT)
    items = by_name(report)
    item = items[f"shop/checkout {slo_set.slos[mine].name}"]
    assert item.source == "raw"
    assert (item.total, item.bad) == pytest.approx((90 * 60 * 168 + 600, 600))
    assert item.burn_rates["1h"] == pytest.approx(0.1 / float(slo_set.slos[mine].budget))
    assert sources(report)["billing late"] == ("rules", 7 * 1440 * 100)
    assert found(report, "mixed-sources")
    young = NOW - 3600 < rules.get("loaded", 0) <= NOW
    assert found(report, "rules-young" if young else "not-recorded")
    assert found(report, "no-data") == []


def test_on_the_first_day_raw_counters_are_read_for_all() -> None:
    slo_set = slos(CHECKOUT, EVERY)
    flows = [flow(slo_set, 0, "checkout", 100), flow(slo_set, 1, "cart", 100)]
    source = Simulated(slo_set, flows, recorded=(NOW - 1800, FOR_EVER))
    report = slo_report.build(source, slo_set, AT)
    assert sources(report) == {
        "shop/checkout availability": ("raw", MONTH_OF),
        "shop/cart availability": ("raw", MONTH_OF),
    }
    assert found(report, "mixed-sources") == []


def test_requests_from_before_the_rules_are_no_missing_requests() -> None:
    slo_set = slos(CHECKOUT, JOBS)
    before = flow(slo_set, 0, "checkout", 100, end=NOW - 5 * DAY)
    source = Simulated(
        slo_set, [before, flow(slo_set, 1, "billing", 100)], recorded=(NOW - 3 * DAY, FOR_EVER)
    )
    assert sources(slo_report.build(source, slo_set, AT)) == {
        "shop/checkout availability": ("raw", 25 * 1440 * 100),
        "billing late": ("rules", (3 * 1440 + 5) * 100),
    }


def test_a_service_that_is_quiet_is_not_read_twice() -> None:
    """Its rules are evaluated, and there are no requests now: a month of raw counters would say the same."""
    slo_set = slos(CHECKOUT, JOBS)
    before = flow(slo_set, 0, "checkout", 100, end=NOW - 5 * DAY)
    source = Simulated(
        slo_set, [before, flow(slo_set, 1, "billing", 100)], failing={slo_set.slos[0].id: NOW - 4 * DAY}
    )
    found_in = sources(slo_report.build(source, slo_set, AT))
    assert found_in["shop/checkout availability"] == ("rules", 25 * 1440 * 100)


def test_raw_counters_that_are_refused_leave_the_rest_as_it_is() -> None:
    slo_set = slos(CHECKOUT, JOBS)

    class Small(Simulated):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            if "istio_requests_total" in expr:
                raise BackendLimit("too many samples", backend="prometheus", url="http://simulated")
            return super().query_range(expr, start, end, step)

    flows = [flow(slo_set, 0, "checkout", 100), flow(slo_set, 1, "billing", 100)]
    report = slo_report.build(Small(slo_set, flows, failing={slo_set.slos[0].id: 0.0}), slo_set, AT)
    items = by_name(report)
    assert items["shop/checkout availability"].doubts == ("raw-not-read",)
    assert items["billing late"].total == pytest.approx(MONTH_OF)
    assert found(report, "no-data") == [], "nobody knows that it had no requests"
    assert found(report, "raw-not-read")


def test_a_server_that_limits_requests_is_not_asked_for_the_raw_counters_of_each_slo() -> None:
    slo_set = slos(CHECKOUT, LATENCY, JOBS)
    asked: list[str] = []

    class Busy(Simulated):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            if "istio_request" in expr:
                asked.append(expr)
                raise BackendRateLimit(
                    "too many requests (429)", backend="prometheus", url="http://simulated"
                )
            return super().query_range(expr, start, end, step)

    flows = [
        flow(slo_set, number, service, 100)
        for number, service in enumerate(("checkout", "checkout", "billing"))
    ]
    failing = {slo.id: 0.0 for slo in slo_set.slos[:2]}
    report = slo_report.build(Busy(slo_set, flows, failing=failing), slo_set, AT)
    items = by_name(report)
    assert [items[name].doubts for name in items if "checkout" in name] == [("raw-not-read",)] * 2
    assert items["billing late"].total == pytest.approx(MONTH_OF)
    assert len(asked) == 1
    (finding,) = found(report, "raw-not-read")
    assert "too many requests (429)" in finding.message


def test_an_alert_of_young_rules_is_reported() -> None:
    slo_set = slos(CHECKOUT, JOBS)
    flows = [flow(slo_set, 0, "checkout", 100), flow(slo_set, 1, "billing", 100)]
    young = {slo_set.slos[0].id: NOW - 1800}
    source = Simulated(slo_set, flows, loaded=young, alerts=[(flows[0], "AvailabilityBudgetBurnPage1h")])
    item = by_name(slo_report.build(source, slo_set, AT))["shop/checkout availability"]
    assert (item.source, item.alerts) == ("raw", ("AvailabilityBudgetBurnPage1h",))


def test_rules_of_one_slo_that_are_younger_than_the_others_are_said_to_be() -> None:
    slo_set = slos(CHECKOUT, JOBS)
    flows = [flow(slo_set, 0, "checkout", 100), flow(slo_set, 1, "billing", 100)]
    source = Simulated(slo_set, flows, loaded={slo_set.slos[0].id: NOW - DAY + 300})
    report = slo_report.build(source, slo_set, AT)
    (finding,) = found(report, "partial-period")
    assert finding.message.startswith("of 1 of 2 budgets less than the window is recorded: only 1d of 30d")
    assert {item.name: item.quality.recorded for item in report.slos} == {
        "shop/checkout availability": DAY,
        "billing late": None,
    }


def test_rules_that_stopped_are_said_to_have_stopped() -> None:
    slo_set = slos(CHECKOUT, LATENCY)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)])
    report = slo_report.build(source, slo_set, AT)
    (finding,) = found(report, "not-recorded")
    assert "1 of 2" in finding.message
    assert slo_set.slos[1].id in finding.message
    assert slo_set.slos[0].id not in finding.message


def test_asked_for_rules_it_reads_nothing_else() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], recorded=(FOR_EVER, FOR_EVER))
    report = slo_report.build(source, slo_set, AT, "rules")
    assert only(report).status == "no_data"
    assert [finding.code for finding in report.findings] == ["not-recorded", "no-data"]
    assert not raw(source)


def test_what_rules_recorded_that_stopped_is_in_doubt() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], recorded=(0.0, NOW - DAY))
    item = only(slo_report.build(source, slo_set, AT, "rules"))
    assert item.total > 0
    assert item.doubts == ("not-recorded",)


def test_requests_do_not_grow_with_services() -> None:
    slo_set = slos(EVERY)
    few = Simulated(slo_set, [flow(slo_set, 0, "a", 1)])
    many = Simulated(slo_set, [flow(slo_set, 0, f"s{n}", 1) for n in range(20)])
    slo_report.build(few, slo_set, AT)
    assert len(slo_report.build(many, slo_set, AT).slos) == 20
    assert many.queries == few.queries


# --- which services


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_a_namespace_is_reported_service_by_service(origin: BudgetOrigin) -> None:
    slo_set = slos(EVERY)
    source = Simulated(slo_set, [flow(slo_set, 0, "cart", 10, 0.1), flow(slo_set, 0, "search", 20)])
    items = by_name(slo_report.build(source, slo_set, AT, origin))
    assert set(items) == {"shop/cart availability", "shop/search availability"}
    assert items["shop/cart availability"].spent == pytest.approx(2)
    assert items["shop/cart availability"].status == "exhausted"
    assert items["shop/search availability"].spent == 0


def test_a_service_that_is_overridden_since_yesterday_counts_once() -> None:
    slo_set = slos(EVERY, CHECKOUT)
    assert slo_set.slos[0].overridden == ("checkout",)
    before = flow(slo_set, 0, "checkout", 100, 100, end=NOW - DAY)
    source = Simulated(
        slo_set, [before, flow(slo_set, 1, "checkout", 100, start=NOW - DAY), flow(slo_set, 0, "cart", 1)]
    )
    report = slo_report.build(source, slo_set, AT)
    items = by_name(report)
    assert items["shop/checkout availability"].objective == 99.9
    assert items["shop/checkout availability"].total == pytest.approx(30 * 1440 * 100)
    assert items["shop/checkout availability"].bad == pytest.approx(29 * 1440 * 100), "not lost"
    (finding,) = found(report, "definition-changed")
    assert finding.scope["service"] == "checkout"
    assert found(report, "partial-period") == []
    assert set(items) == {"shop/cart availability", "shop/checkout availability"}


def test_a_removed_slo_is_not_reported_from_what_it_recorded() -> None:
    both, one = slos(CHECKOUT, LATENCY), slos(CHECKOUT)
    source = Simulated(both, [flow(both, 0, "checkout", 100), flow(both, 1, "checkout", 100)])
    source.slo_set = one
    assert only(slo_report.build(source, one, AT)).slo == "availability"


def test_an_slo_off_the_mesh_has_no_namespace() -> None:
    slo_set = slos(JOBS)
    source = Simulated(slo_set, [flow(slo_set, 0, "billing", 10, 0.05)])
    for origin in ("rules", "raw"):
        item = only(slo_report.build(source, slo_set, AT, slo_report.ORIGINS[origin]))
        assert (item.name, item.namespace, item.sides) == ("billing late", "", None)
        assert item.spent == pytest.approx(0.5)


def test_good_events_are_counted_for_latency() -> None:
    slo_set = slos(LATENCY)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 10, 0.05)])
    for origin in ("rules", "raw"):
        item = only(slo_report.build(source, slo_set, AT, slo_report.ORIGINS[origin]))
        assert item.spent == pytest.approx(0.5)


# --- nothing, and little


@pytest.mark.parametrize("origin", ["auto", "raw"])
def test_no_data_is_neither_met_nor_missed(origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT, EVERY)
    report = slo_report.build(Simulated(slo_set), slo_set, AT, origin)
    item = only(report)
    assert (item.status, item.sli, item.spent, item.remaining, item.sli_interval) == ("no_data", *[None] * 4)
    assert set(item.burn_rates.values()) == {None}
    assert {finding.scope.get("service", "*") for finding in found(report, "no-data")} == {"checkout", "*"}


@pytest.mark.parametrize("origin", ["auto", "raw"])
def test_zero_traffic_is_no_data_and_poisons_nothing(origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT, LATENCY)
    idle = flow(slo_set, 0, "checkout", 0)
    source = Simulated(slo_set, [idle, flow(slo_set, 1, "checkout", 100, 0.1)], alert_rules=False)
    items = by_name(slo_report.build(source, slo_set, AT, origin))
    assert items["shop/checkout availability"].status == "no_data"
    assert items["shop/checkout latency"].spent == pytest.approx(0.1)


def test_a_quiet_hour_has_no_burn_rate_but_the_budget_stands() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05, end=NOW - 7200)])
    item = only(slo_report.build(source, slo_set, AT))
    assert item.burn_rates["1h"] is None
    assert item.burn_rates["6h"] == pytest.approx(0.5)
    assert item.status == "ok"


def test_a_silent_night_is_no_reason_to_doubt_the_alert_rules() -> None:
    """Without events no burn rate is recorded, though the rules are evaluated."""
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, end=NOW - 4 * DAY)], alert_rules=False)
    assert found(slo_report.build(source, slo_set, AT), "alerts-computed") == []


@pytest.mark.parametrize("nonsense", ["NaN", "+Inf", "-Inf"])
def test_what_is_no_number_is_no_data(nonsense: str) -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05)])

    def answer(query: str) -> list[Series] | None:
        labels = {naming.SLO_ID: slo_set.slos[0].id, "namespace": "shop", "service": "checkout"}
        spoiled = [{"metric": labels, "value": [NOW, nonsense], "values": [[NOW, nonsense]]}]
        return None if query == promql.last_instant("shop") else spoiled

    source.override = answer
    assert only(slo_report.build(source, slo_set, AT)).status == "no_data"


# --- time


def test_the_open_bucket_is_added() -> None:
    slo_set = slos(CHECKOUT)
    at = AT + timedelta(seconds=132)
    steady, failing = flow(slo_set, 0, "checkout", 60), flow(slo_set, 0, "checkout", 30, 30, start=NOW)
    item = only(slo_report.build(Simulated(slo_set, [steady, failing]), slo_set, at))
    assert item.total == pytest.approx(30 * DAY + 132 + 66)
    assert item.bad == pytest.approx(66), "before any rule has counted them"


def test_the_first_events_of_a_service_are_in_the_open_bucket() -> None:
    slo_set = slos(CHECKOUT)
    first = Simulated(slo_set, [flow(slo_set, 0, "checkout", 60, 30, start=NOW)])
    item = only(slo_report.build(first, slo_set, AT + timedelta(seconds=132)))
    assert (item.total, item.bad) == pytest.approx((132, 66))


def test_a_histogram_without_the_bound_says_nothing_in_the_open_bucket_either() -> None:
    slo_set = slos(LATENCY)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 60, 6)])
    at = AT + timedelta(seconds=132)
    assert only(slo_report.build(source, slo_set, at)).total == pytest.approx(30 * DAY + 132)
    good = promql.events(slo_set.slos[0], slo_set.mesh, 132)["good"]
    good = promql.labelled(good, naming.SLO_ID, slo_set.slos[0].id)
    source.override = lambda query: [] if query == good else None
    item = only(slo_report.build(source, slo_set, at))
    assert good in source.parts
    assert (item.total, item.bad) == pytest.approx((30 * DAY, 3 * DAY))


@pytest.mark.parametrize(("line", "service"), [(JOBS, "billing"), (LATENCY, "checkout")])
def test_less_than_no_bad_event_of_the_open_bucket_gives_no_budget_back(line: str, service: str) -> None:
    """A user's expression may say so, and a histogram whose buckets were not read at one moment."""
    slo_set = slos(line)
    before, odd = flow(slo_set, 0, service, 60, 6, end=NOW), flow(slo_set, 0, service, 60, -30, start=NOW)
    source = Simulated(slo_set, [before, odd])
    item = only(slo_report.build(source, slo_set, AT + timedelta(seconds=132)))
    assert (item.total, item.bad) == pytest.approx((30 * DAY + 132, 3 * DAY))


@pytest.mark.parametrize(
    ("window", "start"),
    [
        ("{calendar: month, timezone: Europe/Paris}", "2026-02-28T23:00:00Z"),
        ("{calendar: week, timezone: Europe/Paris}", "2026-02-22T23:00:00Z"),
        ("{calendar: quarter, timezone: UTC}", "2026-01-01T00:00:00Z"),
        ("7d", "2026-02-22T12:00:00Z"),
    ],
)
@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_a_window_counts_from_its_beginning(window: str, start: str, origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT.replace("objective", f"window: {window}, objective"))
    begins = datetime.fromisoformat(start).timestamp()
    before = flow(slo_set, 0, "checkout", 100, 100, end=begins)
    after = flow(slo_set, 0, "checkout", 10, 0.005, start=begins)
    source = Simulated(slo_set, [before])
    assert only(slo_report.build(source, slo_set, AT, origin)).bad == 0
    source = Simulated(slo_set, [after])
    item = only(slo_report.build(source, slo_set, AT, origin))
    assert item.total == pytest.approx((NOW - begins) / 60 * 10)
    assert item.spent == pytest.approx(0.5)


def test_slos_of_different_windows_are_kept_apart() -> None:
    slo_set = slos(CHECKOUT, LATENCY.replace("objective", "window: 7d, objective"))
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 1), flow(slo_set, 1, "checkout", 1)])
    items = by_name(slo_report.build(source, slo_set, AT))
    assert items["shop/checkout availability"].total == pytest.approx(30 * 1440)
    assert items["shop/checkout latency"].total == pytest.approx(7 * 1440)


def test_a_budget_that_outlasts_its_calendar_window_does_not_run_out() -> None:
    line = CHECKOUT.replace("objective", "window: {calendar: month, timezone: UTC}, objective")
    slo_set = slos(line)
    late = datetime(2026, 3, 30, tzinfo=UTC)
    steady = flow(slo_set, 0, "checkout", 100, 0.08)
    item = only(slo_report.build(Simulated(slo_set, [steady]), slo_set, late))
    assert item.remaining == pytest.approx(0.2)
    assert item.exhausted_at is None, "7.5 days at this rate; the month has two"
    rolling = slos(CHECKOUT)
    item = only(
        slo_report.build(Simulated(rolling, [flow(rolling, 0, "checkout", 100, 0.08)]), rolling, late)
    )
    assert item.exhausted_at == late + timedelta(days=7.5)


# --- what is missing


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_a_scrape_gap_is_stated_with_what_it_may_hide(origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT)
    gap = (NOW - 10 * DAY, NOW - 5 * DAY)
    before = flow(slo_set, 0, "checkout", 100, 0.05, end=gap[0])
    after = flow(slo_set, 0, "checkout", 100, 0.05, start=gap[1])
    source = Simulated(slo_set, [before, after], scrape_gaps={"checkout": gap})
    report = slo_report.build(source, slo_set, AT, origin)
    item = only(report)
    assert item.spent is not None
    assert item.quality.gaps == pytest.approx(5 * DAY)
    (finding,) = found(report, "scrape-gap")
    assert finding.scope == {"slo": "availability", "namespace": "shop", "service": "checkout"}
    match = re.search(
        r"at most ([\d,]+) events are unseen, and between ([\d.]+)% and ([\d.]+)%", finding.message
    )
    assert match
    unseen, low, high = (float(text.replace(",", "")) for text in match.groups())
    # Five days at the peak of 500 events in five minutes: all good at best, all bad at worst.
    assert unseen == pytest.approx(5 * 1440 * 100)
    assert low == pytest.approx(100 * item.bad / (item.total + unseen) / 0.001, abs=0.06)
    assert high == pytest.approx(100 * (item.bad + unseen) / (item.total + unseen) / 0.001, abs=0.06)
    assert low / 100 <= item.spent <= high / 100
    assert (item.status, item.doubts, item.wrong) == ("ok", ("scrape-gap",), ()), "marked, and still gone by"


@pytest.mark.parametrize(("bad", "seconds"), [(0.05, 60), (0.2, DAY)])
def test_a_gap_that_cannot_change_the_state_is_no_doubt(bad: float, seconds: float) -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, bad)])
    source.scrape_gaps = {"checkout": (NOW - DAY, NOW - DAY + seconds)}
    report = slo_report.build(source, slo_set, AT)
    assert found(report, "scrape-gap")
    assert only(report).doubts == ()


def test_a_gap_of_seconds_is_no_finding() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)])
    source.scrape_gaps = {"checkout": (NOW - DAY, NOW - DAY + 59)}
    report = slo_report.build(source, slo_set, AT)
    assert found(report, "scrape-gap") == []
    assert only(report).quality.gaps == pytest.approx(59)


def test_a_pause_of_the_rules_is_stated_and_counts_as_a_gap_of_the_window_that_has_it() -> None:
    slo_set = slos(CHECKOUT, LATENCY.replace("objective", "window: 7d, objective"))
    source = Simulated(
        slo_set,
        [flow(slo_set, 0, "checkout", 100), flow(slo_set, 1, "checkout", 100)],
        pauses=[(NOW - 10 * DAY, NOW - 10 * DAY + 3600)],
    )
    report = slo_report.build(source, slo_set, AT)
    (finding,) = found(report, "evaluation-gap")
    assert "1h" in finding.message
    items = by_name(report)
    assert items["shop/checkout availability"].quality.gaps == 3600
    assert items["shop/checkout availability"].total == pytest.approx(100 * (30 * 1440 - 60))
    assert items["shop/checkout latency"].quality.gaps == 0, "the pause was before its window"


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_a_prometheus_that_was_down_is_stated_wherever_the_numbers_come_from(
    origin: BudgetOrigin,
) -> None:
    slo_set = slos(CHECKOUT, LATENCY.replace("objective", "window: 7d, objective"))
    down = (NOW - 10 * DAY, NOW - 10 * DAY + 4800)
    flows = [
        replace(flow(slo_set, number, "checkout", 100), start=start, end=end)
        for number in (0, 1)
        for start, end in ((NOW - 40 * DAY, down[0]), (down[1], NOW))
    ]
    report = slo_report.build(Simulated(slo_set, flows, down=[down]), slo_set, AT, origin)
    (finding,) = found(report, "evaluation-gap")
    assert finding.message == "Prometheus recorded nothing for 1h20m; what happened then is in no budget"
    assert finding.scope == {naming.SLO_SET: "shop"}
    items = by_name(report)
    item = items["shop/checkout availability"]
    assert item.quality.gaps == 4800
    assert item.total == pytest.approx(100 * (30 * 1440 - 80))
    assert items["shop/checkout latency"].quality.gaps == 0, "it was before its window"
    (known,) = found(report, "scrape-gap")
    assert "at most 8,000 events are unseen" in known.message


def test_rules_that_are_younger_than_the_window_have_no_gap_but_say_so() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], recorded=(NOW - 3 * DAY + 300, FOR_EVER))
    report = slo_report.build(source, slo_set, AT)
    [finding] = report.findings
    assert finding.code == "partial-period"
    assert finding.message.startswith("of 1 of 1 budgets less than the window is recorded: only 3d of 30d; ")
    assert "--source raw" in finding.message
    assert only(report).quality.gaps == 0
    assert only(report).total == pytest.approx(3 * 1440 * 100)


@pytest.mark.parametrize(("lacking", "said"), [(0, False), (2, False), (3, True)])
def test_rules_that_lack_more_than_two_buckets_of_the_window_say_so(lacking: int, said: bool) -> None:
    slo_set = slos(CHECKOUT)
    first = NOW - 30 * DAY + 300 + lacking * 300
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], recorded=(first, FOR_EVER))
    report = slo_report.build(source, slo_set, AT)
    assert [finding.code for finding in report.findings] == ["partial-period"] * said
    assert only(report).total == pytest.approx((30 * 1440 - 5 * lacking) * 100)


# --- windows of which a part is recorded


def fresh(slo_set: SloSet, origin: BudgetOrigin, since: float, *flows: Flow) -> tuple[SloStatus, Report]:
    """A report where rules, or Prometheus itself, are as old as that."""
    began: dict[str, Any] = {"recorded": (since + 300, FOR_EVER)}
    if origin == "raw":
        began = {"recorded": (FOR_EVER, FOR_EVER), "down": [(LONG_AGO, since)]}
    source = Simulated(slo_set, [replace(each, start=max(each.start, since)) for each in flows], **began)
    report = slo_report.build(source, slo_set, AT, origin)
    return only(report), report


@pytest.mark.parametrize("origin", ["rules", "raw"])
@pytest.mark.parametrize("bad", [0.0, 10.0])
def test_ten_minutes_exhaust_no_month(origin: BudgetOrigin, bad: float) -> None:
    slo_set = slos(CHECKOUT)
    item, report = fresh(slo_set, origin, NOW - 600, flow(slo_set, 0, "checkout", 100, bad))
    assert (item.spent, item.remaining, item.exhausted_at) == (None, None, None)
    assert item.partial is not None
    assert item.partial.alike == pytest.approx(bad * 10)
    assert item.partial.good == pytest.approx(bad / 432)
    assert (item.of_window, item.quality.gaps) == ("10m of 30d", 0)
    (finding,) = found(report, "partial-period")
    exhausted = "1 would be exhausted" if bad else "0 would be exhausted"
    assert exhausted in finding.message and "no failure, 0" in finding.message
    firing = item.status == "at_risk"
    assert firing == bool(item.alerts), "an alert that fires is one"
    assert firing or item.status == "partial"
    numbers = {(each.name, each.labels.get("kind")): each.value for each in gauges.of_report(report)}
    assert numbers["sloctl_window_recorded_seconds", None] == 600
    assert not {name for name, _ in numbers if "budget" in name}
    assert numbers["sloctl_window_events", "bad"] == pytest.approx(bad * 10)


@pytest.mark.parametrize("origin", ["rules", "raw"])
@pytest.mark.parametrize(
    ("minutes", "status"),
    [
        (0, "ok"),
        (28, "partial"),  # 97 % of what two days allow
        (60, "partial"),  # 208 % of that, and 14 % of what a month does
        (450, "exhausted"),  # even if all other days are good
    ],
)
def test_two_days_are_judged_by_what_the_rest_can_change(
    origin: BudgetOrigin, minutes: int, status: str
) -> None:
    slo_set = slos(CHECKOUT)
    steady = flow(slo_set, 0, "checkout", 90)
    outage = flow(slo_set, 0, "checkout", 10, 10, start=NOW - DAY, end=NOW - DAY + minutes * 60)
    quiet = flow(slo_set, 0, "checkout", 10, start=NOW - DAY + minutes * 60)
    before = flow(slo_set, 0, "checkout", 10, end=NOW - DAY)
    item, _ = fresh(slo_set, origin, NOW - 2 * DAY, before, steady, *([outage] if minutes else []), quiet)
    assert item.status == status
    assert item.of_window == "2d of 30d"
    assert (item.partial is None) == (status != "partial") == (item.spent is not None)


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_a_gap_of_what_is_recorded_ends_where_that_begins(origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT, JOBS)
    down = (NOW - 10 * DAY, NOW - 10 * DAY + 4800)
    flows = [flow(slo_set, number, name, 100) for number, name in enumerate(("checkout", "billing"))]
    source = Simulated(slo_set, flows, down=[down], loaded={slo_set.slos[0].id: NOW - 5 * DAY})
    item = by_name(slo_report.build(source, slo_set, AT, origin))["shop/checkout availability"]
    assert item.quality.gaps == (0 if origin == "rules" else 4800)


# --- latencies that are not measured any more


@pytest.mark.parametrize("origin", ["rules", "raw"])
@pytest.mark.parametrize("measured", [True, False])
def test_what_is_known_of_a_latency_before_it_went_blind_is_in_doubt(
    origin: BudgetOrigin, *, measured: bool
) -> None:
    slo_set = slos(LATENCY)
    flows = [flow(slo_set, 0, "checkout", 100, end=NOW - 3 * 3600)]
    blind = frozenset() if measured else frozenset({"checkout"})
    report = slo_report.build(Simulated(slo_set, flows, unmeasured=blind), slo_set, AT, origin)
    told = [item for item in report.findings if item.code in ("sli-blind", "traffic-stopped")]
    # Where requests go on, traffic has not stopped.
    assert [item.code for item in told] == ["traffic-stopped" if measured else "sli-blind"]
    assert only(report).doubts == (() if measured else ("sli-blind",))


# --- traffic that stops


def _stopped(source: Simulated, origin: BudgetOrigin = "rules") -> list[str]:
    return [
        item.message
        for item in found(slo_report.build(source, source.slo_set, AT, origin), "traffic-stopped")
    ]


@pytest.mark.parametrize("origin", ["rules", "raw"])
@pytest.mark.parametrize(("minutes", "said"), [(45, False), (180, True)])
def test_traffic_that_stops_is_told_with_its_end(minutes: int, origin: BudgetOrigin, *, said: bool) -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, end=NOW - minutes * 60)])
    since = (AT - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    expected = (
        f"shop/checkout availability: no events since {since}; the longest pause of the week before was 15m. "
        "Is it gone, not called, or not scraped?"
    )
    assert _stopped(source, origin) == [expected] * said


@pytest.mark.parametrize("origin", ["rules", "raw"])
@pytest.mark.parametrize(("hours", "said"), [(9, False), (23, False), (30, True)])
def test_a_service_that_rests_at_night_is_held_against_its_nights(
    hours: int, origin: BudgetOrigin, *, said: bool
) -> None:
    """It rests for eight hours: three times that is a day."""
    slo_set = slos(CHECKOUT)
    last = NOW - hours * 3600
    days = [
        flow(slo_set, 0, "checkout", 100, start=last - day * DAY - 16 * 3600, end=last - day * DAY)
        for day in range(8)
    ]
    assert len(_stopped(Simulated(slo_set, days), origin)) == said


def test_a_service_of_a_few_hours_or_requests_has_no_usual_pause() -> None:
    slo_set = slos(CHECKOUT)
    young = flow(slo_set, 0, "checkout", 100, start=NOW - 20 * 3600, end=NOW - 12 * 3600)
    assert _stopped(Simulated(slo_set, [young])) == []
    rare = [
        flow(slo_set, 0, "checkout", 1, start=NOW - day * 6 * 3600 - 60, end=NOW - day * 6 * 3600)
        for day in range(5, 24)
    ]
    assert _stopped(Simulated(slo_set, rare)) == []


def test_what_stopped_before_all_that_is_remembered_is_told_too() -> None:
    slo_set = slos(CHECKOUT)
    [message] = _stopped(Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, end=NOW - 9 * DAY)]))
    assert message.startswith("shop/checkout availability: no events for more than 7d.")


def test_a_service_that_moved_to_a_waypoint_is_told() -> None:
    slo_set = slos(CHECKOUT)
    moved = flow(slo_set, 0, "checkout", 100, end=NOW - 2 * 3600)
    [message] = _stopped(Simulated(slo_set, [moved], reporters={"checkout": "waypoint"}))
    assert message.endswith(
        "Its requests are counted by the reporter waypoint now, which this SLO does not read "
        "(a waypoint: mesh.mode ambient)"
    )


def test_pauses_that_cannot_be_read_leave_the_budgets() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, end=NOW - 2 * 3600)], most_points=0)
    report = slo_report.build(source, slo_set, AT)
    assert found(report, "pauses-not-read")
    assert only(report).total > 0


# --- alerts


def test_alerts_that_fire_are_those_of_prometheus_each_once() -> None:
    slo_set = slos(CHECKOUT)
    checkout = flow(slo_set, 0, "checkout", 100)
    stranger = Flow("other:x/y/z", "x", "y", 0, 1, 1)
    names = ["AvailabilityBudgetBurnPage1h", "AvailabilityBudgetBurnPage1h", "Other"]
    alerts = [(checkout, name) for name in names] + [(stranger, "Stranger")]
    item = only(slo_report.build(Simulated(slo_set, [checkout], alerts=alerts), slo_set, AT))
    assert item.alerts == ("AvailabilityBudgetBurnPage1h", "Other")
    assert item.status == "at_risk"


def test_no_alert_fires_where_the_rules_say_so() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 50)])
    report = slo_report.build(source, slo_set, AT)
    assert only(report).alerts == ()
    assert found(report, "alerts-computed") == []


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        (0.13, {"Ticket3d"}),
        (0.5, {"Page6h", "Ticket3d"}),
        (1.5, {"Page1h", "Page6h", "Ticket3d"}),
        (0.09, set()),
    ],
)
@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_alerts_are_computed_where_no_alert_rule_is(
    bad: float, names: set[str], origin: BudgetOrigin
) -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, bad)], alert_rules=False)
    report = slo_report.build(source, slo_set, AT, origin)
    assert set(only(report).alerts) == {f"AvailabilityBudgetBurn{name}" for name in names}
    assert len(found(report, "alerts-computed")) == (origin == "rules")


def test_one_failure_pages_nobody_and_a_quiet_outage_pages() -> None:
    slo_set = slos(CHECKOUT)

    def alerts(a_minute: float) -> tuple[str, ...]:
        recent = flow(slo_set, 0, "checkout", a_minute, a_minute, start=NOW - 3600)
        return only(slo_report.build(Simulated(slo_set, [recent], alert_rules=False), slo_set, AT)).alerts

    assert alerts(1 / 60) == ()
    assert alerts(3 / 60) == tuple(f"AvailabilityBudgetBurnPage{window}" for window in ("1h", "6h"))


@pytest.mark.parametrize("origin", ["rules", "raw"])
@pytest.mark.parametrize(
    ("minutes", "names"),
    [
        (3, set()),
        (10, {"Page1h"}),
        (28, {"Page1h"}),
        (35, {"Page1h", "Page6h"}),
        (355, {"Page1h", "Page6h"}),
        (365, {"Page1h", "Page6h", "Ticket3d"}),
    ],
)
def test_a_young_window_says_nothing(minutes: int, names: set[str], origin: BudgetOrigin) -> None:
    slo_set = slos(CHECKOUT)
    recent = flow(slo_set, 0, "checkout", 100, 100, start=NOW - minutes * 60)
    source = Simulated(slo_set, [recent], alert_rules=False)
    found = only(slo_report.build(source, slo_set, AT, origin)).alerts
    assert set(found) == {f"AvailabilityBudgetBurn{name}" for name in names}


def test_errors_that_are_over_page_nobody() -> None:
    slo_set = slos(CHECKOUT)
    over = flow(slo_set, 0, "checkout", 9, 9, start=NOW - 3000, end=NOW - 600)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100), over], alert_rules=False)
    item = only(slo_report.build(source, slo_set, AT))
    assert item.burn_rates["1h"] is not None
    assert item.burn_rates["1h"] > 14
    assert "AvailabilityBudgetBurnPage1h" not in item.alerts, "nothing failed in the last five minutes"


# --- both sides, and what the backend says


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_what_clients_and_servers_saw_is_compared(origin: BudgetOrigin) -> None:
    slo_set = slos(EVERY)
    source = Simulated(
        slo_set,
        [flow(slo_set, 0, "cart", 100), flow(slo_set, 0, "search", 100), flow(slo_set, 0, "ads", 100)],
        sides={"cart": (5, 105), "search": (0.05, 100.05)},
    )
    report = slo_report.build(source, slo_set, AT, origin)
    items = by_name(report)
    sides = items["shop/cart availability"].sides
    assert sides is not None
    assert (sides.client, sides.server) == pytest.approx((1, 100 / 105))
    assert items["shop/ads availability"].sides is None, "its servers are not seen"
    (finding,) = found(report, "retries-hide-failures")
    assert finding.scope["service"] == "cart", "a difference of 0.05 % is not worth a word"


@pytest.mark.parametrize("origin", ["rules", "raw"])
def test_whichever_side_an_slo_counts_clients_are_clients_and_servers_servers(
    origin: BudgetOrigin,
) -> None:
    server = CHECKOUT.replace("preset: availability", "preset: availability, side: server")
    slo_set = slos(server.replace("checkout", "cart"), CHECKOUT)
    flows = [flow(slo_set, n, slo.service, 100, 4) for n, slo in enumerate(slo_set.slos)]
    source = Simulated(slo_set, flows, sides={"cart": (1, 100), "checkout": (10, 100)})
    items = by_name(slo_report.build(source, slo_set, AT, origin))
    seen = {name: item.sides and (item.sides.client, item.sides.server) for name, item in items.items()}
    assert seen == {
        "shop/cart availability": pytest.approx((0.99, 0.96)),
        "shop/checkout availability": pytest.approx((0.96, 0.90)),
    }


@pytest.mark.parametrize("wildcard_last", [False, True])
def test_what_the_other_side_saw_is_that_of_the_slos_own_scope(wildcard_last: bool) -> None:
    """Base events of a namespace hold those of its named services too, and those of before they were named."""
    slo_set = slos(EVERY, CHECKOUT)
    every, exact = slo_set.slos
    bad = {(every.scope, "cart"): 20, (every.scope, "checkout"): 30, (exact.scope, "checkout"): 5}
    places = [*bad, (exact.scope, "cart"), ("shop:other/*", "checkout")]

    def answer(query: str) -> list[Series] | None:
        if not query.startswith("sum by (slo_scope"):
            return None
        return [
            {
                "metric": {naming.SCOPE: scope, "namespace": "shop", "service": service},
                "value": [NOW, str(bad.get((scope, service), 90) if "response_code" in query else 100)],
            }
            for scope, service in (places[::-1] if wildcard_last else places)
        ]

    flows = [flow(slo_set, 0, "cart", 100), flow(slo_set, 1, "checkout", 100)]
    items = by_name(slo_report.build(Simulated(slo_set, flows, override=answer), slo_set, AT))
    servers = {name: item.sides and item.sides.server for name, item in items.items()}
    assert servers == {
        "shop/cart availability": pytest.approx(0.80),
        "shop/checkout availability": pytest.approx(0.95),
    }


def test_remarks_of_the_backend_reach_the_reader() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], warnings=["PromQL info: no counter"])
    report = slo_report.build(source, slo_set, AT)
    (finding,) = found(report, "backend-warning")
    assert finding.message == "Prometheus: PromQL info: no counter"
    assert (only(report).doubts, found(report, "partial-answer")) == ((), [])


def test_budgets_of_partial_answers_are_in_doubt_and_no_gauge() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], warnings=["store-2 did not answer"])
    report = slo_report.build(source, slo_set, AT)
    (finding,) = found(report, "partial-answer")
    assert "store-2 did not answer" in finding.message
    assert finding.scope == {"slo_id": slo_set.slos[0].id}
    assert (only(report).doubts, found(report, "backend-warning")) == (("partial-answer",), [])
    assert list(gauges.of_report(report)) == []
    source.warnings = []
    assert list(gauges.of_report(slo_report.build(source, slo_set, AT)))


def test_from_raw_counters_only_those_of_the_partial_answer_are_in_doubt() -> None:
    slo_set = slos(CHECKOUT, JOBS)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 9), flow(slo_set, 1, "billing", 9)])
    source.warned = lambda query: ["store-2 did not answer"] if "(t[" in query else []
    items = by_name(slo_report.build(source, slo_set, AT, "raw"))
    assert {name: item.doubts for name, item in items.items()} == {
        "billing late": ("partial-answer",),
        "shop/checkout availability": (),
    }


@pytest.mark.parametrize("part", ["time() -", "kube_pod"])
def test_a_verdict_of_a_partial_answer_says_so(part: str) -> None:
    more = "guardrails: [{preset: telemetry-gap}, {preset: sidecar-restarts}]\n"
    slo_set = slos(CHECKOUT, more=more)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)])
    source.warned = lambda query: ["gone"] if part in query else []
    report = slo_report.build(source, slo_set, AT)
    assert found(report, "partial-answer"), source.asked
    assert only(report).doubts == (), "the budgets are of other answers"


def test_a_server_that_limits_samples_is_asked_in_parts() -> None:
    slo_set = slos(CHECKOUT)
    steady = flow(slo_set, 0, "checkout", 100, 0.05)
    source = Simulated(slo_set, [steady], largest_window=2 * DAY, scrape_gaps={"checkout": (NOW - 600, NOW)})
    source.sides = {"checkout": (0.05, 100)}
    report = slo_report.build(source, slo_set, AT)
    item = only(report)
    assert item.total == pytest.approx(30 * 1440 * 100)
    assert item.spent == pytest.approx(0.5)
    assert item.burn_rates["3d"] == pytest.approx(0.5)
    assert item.quality.gaps == pytest.approx(600)
    assert "at most 1,000 events" in found(report, "scrape-gap")[0].message, "the peak is the parts' highest"
    assert found(report, "sides-not-compared"), "the comparison is not worth failing for"


def test_a_server_that_refuses_even_hours_is_an_error() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100)], largest_window=3600)
    with pytest.raises(BackendLimit):
        slo_report.build(source, slo_set, AT)


@pytest.mark.parametrize(("bad", "shown"), [(150, 1.0), (-5, 0.0)])
def test_events_that_cannot_be_are_named_and_kept_within_bounds(bad: float, shown: float) -> None:
    slo_set = slos(JOBS)
    source = Simulated(slo_set, [flow(slo_set, 0, "billing", 100, bad)])
    report = slo_report.build(source, slo_set, AT, "rules")
    item = only(report)
    assert item.doubts == ("implausible-events",), "it opens no gate"
    assert item.sli == pytest.approx(1 - shown)
    assert item.bad == pytest.approx(shown * item.total)
    (finding,) = found(report, "implausible-events")
    assert finding.severity == "error"


# --- the other jobs


def test_job_slis_counts_whole_steps_that_end_with_the_rules_instants() -> None:
    slo_set = slos(CHECKOUT, EVERY)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 60, 3), flow(slo_set, 1, "cart", 12)])
    rows = slis.rows(slis.run(source, slo_set, AT + timedelta(seconds=100), 900))
    assert [(row["service"], row["time"]) for row in rows] == [
        (service, f"2026-03-01T{time}:00Z")
        for service in ("checkout", "cart")
        for time in ("11:50", "11:55", "12:00")
    ]
    assert [(row["good"], row["bad"], row["total"], row["sli"]) for row in rows[:1]] == [(285, 15, 300, 0.95)]


def test_job_slis_without_rules_or_traffic() -> None:
    slo_set = slos(CHECKOUT, LATENCY)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 0)])
    rows = slis.rows(slis.run(source, slo_set, AT + timedelta(seconds=299), 300))
    assert [(row["slo"], row["time"], row["total"], row["sli"]) for row in rows] == [
        ("availability", "2026-03-01T12:00:00Z", 0, None)
    ]


def test_job_burn_rate_has_a_row_for_each_window() -> None:
    slo_set = slos(CHECKOUT)
    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 100, 0.05, end=NOW - 7200)])
    rows = burn_rate.burn_rate_rows(burn_rate.run(source, slo_set, AT))
    assert [(row["window"], row["burn_rate"]) for row in rows] == [
        ("5m", None), ("30m", None), ("1h", None), ("6h", 0.5), ("3d", 0.5),
    ]  # fmt: skip


def test_queries_over_a_range_ask_for_no_timestamps() -> None:
    """Older Prometheus needs ten times as long for them (see ``promql.increments``)."""
    slo_set = slos(CHECKOUT, LATENCY, JOBS)

    asked: list[str] = []

    class Ranges(Simulated):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            asked.append(expr)
            return []

    source = Ranges(slo_set)
    filled = backfill.Backfill(source, slo_set, AT - timedelta(hours=1), AT)
    for read in (
        lambda: slo_report.build(source, slo_set, AT, "raw"),
        lambda: slis.run(source, slo_set, AT, 900),
        lambda: list(filled.base()),
        lambda: list(filled.events()),
    ):
        asked.clear()
        read()
        assert any("[5m]" in expr for expr in asked)
        assert not any("timestamp(" in expr for expr in asked)
