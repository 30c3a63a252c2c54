"""Exact budgets on a real Prometheus: 30 days of the simulated shop, whose true events are known.

One build of the demo's history (kept in the user's cache) serves all tests of this file.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs import origins
from jobs.budgets.slis import grid_events
from jobs.reports import slo_report
from sloctl import naming, promql
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.pipeline import Demo
from sloctl.demo.shop import LOST, shop
from sloctl.demo.world import on_day
from sloctl.model import GRID, CounterSli
from sloctl.report.data import Report, SloStatus
from sloctl.settings.variables import environment
from tests.support.demo_truth import BOUND, what

pytestmark = pytest.mark.xdist_group("demo")

PATIENCE = 1800.0
"""Seconds after which a server is taken to be stuck."""

DOC = Path(__file__).parents[2] / "docs" / "exact-budgets.md"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with pipeline.running(shop(), folder, datetime.now(UTC), environment()) as running:
        yield running


@pytest.fixture(scope="module")
def source(demo: Demo) -> Iterator[Prometheus]:
    with pipeline.source(demo.server) as metrics:
        yield metrics


@pytest.fixture(scope="module")
def report(demo: Demo, source: Prometheus) -> Report:
    return slo_report.build(source, demo.slo_set, demo.end, "rules")


def truth(demo: Demo, item: SloStatus) -> tuple[int, int]:
    """(bad, total): true events of the 30 days before the end."""
    service, side, kind = what(item)
    start = demo.history.end - 30 * 86400
    events = demo.history.truth.events
    return (
        events(service, side, kind, start, demo.history.end),
        events(service, side, "total", start, demo.history.end),
    )


def known(demo: Demo, item: SloStatus) -> bool:
    service, side, _ = what(item)
    return demo.history.truth.known(service, side, demo.history.end - 30 * 86400, demo.history.end)


def true_spent(demo: Demo, item: SloStatus) -> float:
    bad, total = truth(demo, item)
    return bad / total / (1 - item.objective / 100)


def test_every_budget_is_exact(demo: Demo, report: Report) -> None:
    services = {item.service for item in report.slos}
    assert len(report.slos) >= 23
    assert len(services) >= 20
    for item in report.slos:
        assert item.spent is not None
        if known(demo, item):
            assert abs(item.spent - true_spent(demo, item)) < BOUND, item.name
            assert item.quality.gaps == 0, item.name


def test_counts_are_the_true_events_to_the_last_one(demo: Demo, report: Report) -> None:
    exact = [item for item in report.slos if known(demo, item)]
    assert {(item.name, item.bad, item.total) for item in exact} == {
        (item.name, *map(float, truth(demo, item))) for item in exact
    }


def test_a_scrape_gap_is_bounded_and_flagged(demo: Demo, report: Report) -> None:
    gapped = [item for item in report.slos if not known(demo, item)]
    assert gapped, "the scenario has a scrape gap"
    for item in gapped:
        true = true_spent(demo, item)
        assert 1200 <= item.quality.gaps <= 1800, item.name
        finding = next(
            f for f in report.findings if f.code == "scrape-gap" and f.scope["service"] == item.service
        )
        found = re.search(r"between ([\d.]+)% and ([\d.]+)%", finding.message)
        assert found
        low, high = (float(text) / 100 for text in found.groups())
        assert low - 0.0006 <= true <= high + 0.0006
        bad, total = truth(demo, item)
        assert item.bad <= bad
        assert item.total <= total


def test_a_service_without_traffic_is_neither_met_nor_missed(report: Report) -> None:
    # "loyalty" has pods and no request: it has no series, so nobody can name it; "gift-cards" was quiet for a week.
    assert "loyalty" not in {item.service for item in report.slos}
    quiet = next(item for item in report.slos if item.service == "gift-cards")
    assert quiet.status == "ok"
    assert quiet.quality.gaps == 0


def test_what_alerts_is_what_burns(report: Report) -> None:
    alerts = {(item.service, item.slo): item.alerts for item in report.slos if item.alerts}
    assert "AvailabilityBudgetBurnPage1h" in alerts["search", "availability"]
    assert alerts["inventory", "availability"] == ("AvailabilityBudgetBurnTicket3d",)
    assert not any(
        "Page" in name for (service, _), names in alerts.items() if service != "search" for name in names
    )


def test_retries_hide_failures_from_clients(demo: Demo, report: Report) -> None:
    item = next(item for item in report.slos if (item.service, item.slo) == ("catalog", "availability"))
    assert item.sides and item.sides.client is not None and item.sides.server is not None
    start = demo.history.end - 30 * 86400
    for side, measured in (("source", item.sides.client), ("destination", item.sides.server)):
        bad = demo.history.truth.events("catalog", side, "bad", start, demo.history.end)  # type: ignore[arg-type]
        total = demo.history.truth.events("catalog", side, "total", start, demo.history.end)  # type: ignore[arg-type]
        assert measured == pytest.approx(1 - bad / total, abs=1e-9)
    assert item.sides.client - item.sides.server > 0.01


def test_rules_and_job_agree_at_every_grid_instant(demo: Demo, source: Prometheus) -> None:
    """Four days with a deploy, two crashes and the scrape gap: recorded series against raw counters."""
    end = demo.end
    start = end - timedelta(days=5)
    for slo in demo.slo_set.slos:
        raw = grid_events(source, slo, demo.slo_set.mesh, start, end)
        compared = 0
        for metric, column in ((naming.TOTAL_GRID, "total"), (naming.BAD_GRID, "bad")):
            found = source.query_range(promql.recorded(metric, slo), start, end, timedelta(seconds=GRID))
            recorded = {
                (item["metric"].get("namespace", ""), item["metric"]["service"], round(float(at))): float(
                    value
                )
                for item in found
                for at, value in item["values"]
            }
            for row in raw.to_dict("records"):
                key = (row["namespace"], row["service"], round(row["time"].timestamp()))
                assert recorded.get(key) == pytest.approx(row[column], abs=1e-6), (slo.id, key, column)
                compared += 1
        assert compared > 1000, slo.id


def test_rules_that_prometheus_evaluates_live_say_what_the_job_says(demo: Demo, source: Prometheus) -> None:
    """The rule groups run on live scrapes now; what they record must be what the job computes at that instant."""
    wildcard = next(slo for slo in demo.slo_set.slos if slo.wildcard)
    deadline = time.monotonic() + PATIENCE
    while True:
        now = datetime.now(UTC)
        fresh = source.query(
            f"timestamp({promql.recorded(naming.TOTAL_TILE, wildcard)}) > {demo.history.end}", now
        )
        if len(fresh) > 10 and all(float(item["value"][1]) > demo.history.end + 120 for item in fresh):
            break
        assert time.monotonic() < deadline, demo.server.log_tail(30)
        time.sleep(0.5)
    at = datetime.fromtimestamp(min(float(item["value"][1]) for item in fresh), UTC)
    for kind, metric in (("total", naming.TOTAL_TILE), ("bad", naming.BAD_TILE)):
        recorded = {
            item["metric"]["service"]: float(item["value"][1])
            for item in source.query(f"last_over_time({promql.recorded(metric, wildcard)}[1s])", at)
        }
        raw = {
            item["metric"]["service"]: float(item["value"][1])
            for item in source.query(promql.events(wildcard, demo.slo_set.mesh, 60)[kind], at)
        }
        assert len(recorded) > 10
        for service, value in recorded.items():
            assert raw.get(service, 0.0) == pytest.approx(value), (service, kind)


def test_the_page_of_the_fresh_outage_fires_live(demo: Demo, source: Prometheus) -> None:
    """At once if the history ended within the hour; if it is kept from before, when five minutes are recorded anew."""
    wildcard = next(slo for slo in demo.slo_set.slos if slo.wildcard)
    tiles = promql.recorded(naming.TOTAL_TILE, wildcard)
    deadline = time.monotonic() + PATIENCE
    while True:
        now = datetime.now(UTC)
        firing = {
            (item["metric"]["service"], item["metric"]["alertname"])
            for item in source.query(promql.firing(demo.slo_set.name), now)
        }
        if ("search", "AvailabilityBudgetBurnPage1h") in firing:
            break
        long = now.timestamp() - 540 > demo.history.end
        assert not (long and source.query(f"last_over_time({tiles}[1m] offset 8m)", now)), firing
        assert time.monotonic() < deadline, demo.server.log_tail(30)
        time.sleep(0.5)
    pages = {service for service, name in firing if "Page" in name}
    assert pages == {"search"}


@pytest.mark.parametrize(
    ("service", "end", "origin"),
    [("payments", LOST[1], "fraud"), ("orders", on_day(17, 9.5), "shipping"), ("search", 0, "search")],
)
def test_explain_finds_where_the_failures_of_the_month_began(
    demo: Demo, source: Prometheus, service: str, end: float, origin: str
) -> None:
    found = origins.run(source, demo.slo_set, demo.end + timedelta(seconds=end), 3600, service=service)
    assert [begins.origin.service for begins in found.begins] == [("shop", origin)]


def average_of_ratios(demo: Demo, source: Prometheus) -> dict[tuple[str, str], float]:
    """What a mean of 5-minute error ratios over 30 days says is spent; its gaps and zero traffic left out."""
    ratio = f"({naming.BAD_GRID} / ({naming.TOTAL_GRID} > 0))"
    found = source.query(f"avg_over_time({ratio}[{promql.milliseconds(30 * 86400)}:5m])", demo.end)
    budgets = {slo.id: float(slo.budget) for slo in demo.slo_set.slos}
    return {
        (item["metric"]["service"], item["metric"]["slo"]): float(item["value"][1])
        / budgets[item["metric"]["slo_id"]]
        for item in found
    }


def test_the_documented_table_is_what_is_measured(demo: Demo, source: Prometheus, report: Report) -> None:
    """Night and peak: a mean of ratios is wrong both ways, by a budget and more; the table in docs says by how much."""
    averages = average_of_ratios(demo, source)
    lines = []
    for item in report.slos:
        true = true_spent(demo, item)
        place = f"{item.service} {item.slo}"
        assert item.spent is not None
        average = averages[item.service, item.slo]
        lines.append(f"| {place} | {item.objective:g} % | {true:.1%} | {item.spent:.1%} | {average:.1%} |")
    by_name = {(item.service, item.slo): item for item in report.slos}
    night, peak = by_name["checkout", "availability"], by_name["payments", "availability"]
    assert averages["checkout", "availability"] > 10 * true_spent(demo, night)
    assert true_spent(demo, peak) > 2 * averages["payments", "availability"]
    text = DOC.read_text(encoding="utf-8")
    missing = [line for line in lines if line not in text]
    assert not missing, "docs/exact-budgets.md should hold:\n" + "\n".join(lines)


def test_a_counter_sli_of_every_kind_is_in_the_demo(demo: Demo) -> None:
    kinds = {slo.sli.preset for slo in demo.slo_set.slos if isinstance(slo.sli, CounterSli)}
    assert kinds >= {"availability", "latency", "gateway"}
    assert any(not isinstance(slo.sli, CounterSli) for slo in demo.slo_set.slos)
