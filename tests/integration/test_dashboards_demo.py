"""Every query of every dashboard, on the demo's Prometheus: none fails, and each returns data.

The demo's history holds a month of what the SLOs' rules record; what else the rules record is computed for its last
hour (see tests/support/recorded.py). Nothing is scraped, and the dashboards are opened at the history's end.
"""

from __future__ import annotations

import json
import re
import textwrap
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

import pytest

from alert_rules import runbooks
from dashboards.manifest import boards
from jobs.reports import slo_report
from sloctl import spec
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.demo.shop import shop
from sloctl.demo.truth import Side, Truth
from sloctl.demo.world import Deploy
from sloctl.model import SloSet
from sloctl.report.data import Report, SloStatus
from sloctl.settings.variables import environment
from tests.support.dashboards_judged import complaints, kinds, refused, single
from tests.support.grafana import Answer, Grafana, Json, Load, View, queries
from tests.support.recorded import record

pytestmark = pytest.mark.xdist_group("demo")

HOUR = 3600
SEARCH = {"service": "search", "namespace": "shop", "slo": "availability"}
"""A service that fails just now."""
NO_ENVOY = "the shop's proxies do not expose Envoy's counters of retries"
NO_REASONS = "the shop has no kube_pod_container_status_last_terminated_reason"
QUIET = "nothing was deployed in the time shown; a test of its own looks at a deploy"
NO_CADVISOR = "the shop has no container_cpu_usage_seconds_total and its like"
NO_TCP = "the shop has HTTP and gRPC alone"
EMPTY = {
    ("service", "CPU by container", "A"): NO_CADVISOR,
    ("service", "Memory by container", "A"): NO_CADVISOR,
    **{
        ("service", title, ref): NO_TCP
        for title in ("TCP connections", "Failed TCP connections", "TCP bytes")
        for ref in "AB"
    },
    ("service", "New versions in traffic", "Anno"): QUIET,
    ("budget", "New versions in traffic", "Anno"): QUIET,
    ("oncall", "Restarts by reason", "A"): NO_REASONS,
    ("sidecars", "Restarts by reason", "A"): NO_REASONS,
    ("retries", "Attempts per request by service", "A"): NO_ENVOY,
    ("retries", "Retries", "A"): NO_ENVOY,
}
"""Queries that return nothing here, and why."""
KINDS = kinds(spec.load([pipeline.SLO_FILE]))


@dataclass(frozen=True)
class Opened:
    """The dashboards of the demo in front of its Prometheus, and its report."""

    grafana: Grafana
    slo_set: SloSet
    end: int
    report: Report
    truth: Truth
    deploys: tuple[Deploy, ...]

    def board(self, kind: str) -> Json:
        return dict(boards(self.slo_set))[kind]

    def load(self, kind: str, **chosen: str) -> Load:
        """A dashboard as it is opened, with values of variables that have one."""
        board = self.board(kind)
        return self.grafana.load(board, View.of(board, self.end), single(board, chosen))

    def month(self, title: str, item: SloStatus) -> Answer:
        """The answer to the first query of a panel of the budget dashboard, which shows an SLO's 30 days.

        A range of Prometheus includes both of its ends: it begins a second late, for the events before it.
        """
        view = View(self.end - 30 * 24 * HOUR + 1, self.end)
        where = {"slo": item.slo, "service": item.service, "namespace": item.namespace}
        return self.panel("budget", title, view, **where)

    def query(self, expr: str) -> list[Json]:
        """What Prometheus answers at the end of the demo's history; an error fails the test."""
        url = f"{self.grafana.url}/api/v1/query?{urlencode({'query': expr, 'time': self.end})}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            result: list[Json] = json.loads(answer.read())["data"]["result"]
        return result

    def panel(self, kind: str, title: str, view: View, **chosen: str) -> Answer:
        """The answer to the first query of one panel."""
        board = self.board(kind)
        nothing = {**board, "panels": [], "annotations": {"list": []}}
        choices = self.grafana.load(nothing, view, single(board, chosen)).choices
        found, _ = queries(board, view, choices)
        (query,) = (one for one in found if (one.title, one.ref) == (title, "A"))
        return self.grafana.ask(query)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("dashboards")
    with pipeline.running(shop(), folder, datetime.now(UTC), environment(), live=False) as demo:
        demo.server.stop()
        data = demo.history.data_dir
        record(demo.slo_set, data, folder / "recording", demo.history.end, HOUR)
        with PrometheusServer(folder / "recorded", data=data) as server:
            with pipeline.source(server) as source:
                report = slo_report.build(source, demo.slo_set, demo.end, "rules")
            events = demo.history.world.events
            deploys = tuple(event for event in events if isinstance(event, Deploy))
            truth = demo.history.truth
            yield Opened(Grafana(server.url), demo.slo_set, demo.history.end, report, truth, deploys)


@pytest.mark.parametrize("kind", KINDS)
def test_every_query_returns_data(opened: Opened, kind: str) -> None:
    found = complaints(kind, opened.load(kind, **SEARCH), EMPTY)
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shown", ["", "15m", "30d"])
def test_no_query_fails_as_the_dashboard_opens_and_over_other_times(
    opened: Opened, kind: str, shown: str
) -> None:
    board = opened.board(kind)
    view = View.of(board, opened.end)
    load = opened.grafana.load(board, view.last(shown) if shown else view)
    assert len(load.answers) > 3
    found = refused(load)
    assert not found, "\n\n".join(found)


def test_a_list_of_what_may_be_empty_is_about_dashboards_that_there_are() -> None:
    assert {kind for kind, _, _ in EMPTY} <= set(KINDS)


def test_what_is_left_of_a_budget_is_what_the_report_says(opened: Opened) -> None:
    assert len(opened.report.slos) >= 23
    for item in opened.report.slos:
        assert opened.month("Budget left", item).values == [pytest.approx(item.remaining, abs=1e-6)], item
        assert opened.month("Objective", item).values == [pytest.approx(item.objective / 100)], item
        assert opened.month("SLI over the period", item).values == [pytest.approx(item.sli, abs=1e-9)], item
        assert opened.month("Bad events in the time shown", item).values == [pytest.approx(item.bad)], item


def test_causes_add_up_to_all_bad_events(opened: Opened) -> None:
    for item in opened.report.slos:
        by_cause = opened.month("What burned the budget in the time shown", item)
        if item.slo == "jobs-on-time":
            assert not by_cause.series  # causes are told apart by labels of requests
        else:
            assert sum(by_cause.values) == pytest.approx(item.bad, abs=1e-6), item


@pytest.mark.parametrize("kind", ["executive", "oncall"])
def test_budgets_and_alerts_are_counted_as_the_report_has_them(opened: Opened, kind: str) -> None:
    left = [item.remaining for item in opened.report.slos if item.remaining is not None]
    firing = [name for item in opened.report.slos for name in item.alerts]
    load = opened.load(kind)
    counted = {
        title: load.of(title).values[0]
        for title in ("Budgets spent", "Budgets at risk", "Pages that fire", "Tickets that fire")
    }
    assert counted["Budgets spent"] == sum(share <= 0 for share in left) > 0
    assert counted["Budgets at risk"] == sum(0 < share < 0.1 for share in left)
    # Those of guardrails come on top.
    assert counted["Pages that fire"] >= sum("Page" in name for name in firing) > 0
    assert counted["Tickets that fire"] >= sum("Ticket" in name for name in firing) > 0


def test_requests_and_failures_are_those_of_the_simulation(opened: Opened) -> None:
    """Of a service whose retries hide failures, over what was recorded; a window shares its ends with the next."""
    begin = opened.end - 50 * 60
    load = opened.load("service", service="catalog", namespace="shop")
    sides: dict[str, Side] = {"A": "source", "B": "destination"}
    for ref, side in sides.items():
        bad, total = (
            opened.truth.events("catalog", side, kind, begin, opened.end) for kind in ("bad", "total")
        )
        failed = mean(load.of("Failed requests", ref), begin)
        assert failed == pytest.approx(bad / total, rel=0.1, abs=1e-4)
        if side == "source":
            rates = load.of("Requests by response code", ref)
            assert mean(rates, begin) * 50 * 60 == pytest.approx(total, rel=0.03)


def mean(answer: Answer, begin: float) -> float:
    """The mean of the sum of all series since an instant."""
    points = [(at, float(value)) for one in answer.series for at, value in one["values"] if at > begin]
    return sum(value for _, value in points) / len({at for at, _ in points})


def test_a_services_table_has_a_row_for_each_of_its_slos(opened: Opened) -> None:
    wanted = {"checkout": {"availability", "latency"}, "catalog": {"availability", "attempts"}}
    for service, slos in wanted.items():
        load = opened.load("service", service=service, namespace="shop")
        columns = [a for a in load.answers if a.query.title == "SLOs of this service"]
        assert len(columns) >= 6
        for column in columns:
            assert {one["metric"]["slo"] for one in column.series} == slos


def test_each_deploy_is_seen_in_the_traffic(opened: Opened) -> None:
    board = {**opened.board("service"), "panels": []}
    assert len(opened.deploys) > 5
    for deploy in opened.deploys:
        at = opened.end + deploy.at
        load = opened.grafana.load(
            board,
            View(at - 3 * HOUR, at + 3 * HOUR),
            single(board, {"service": deploy.service, "namespace": "shop"}),
        )
        (seen,) = (a for a in load.answers if a.query.title == "New versions in traffic")
        versions = {one["metric"]["destination_version"]: one["values"] for one in seen.series}
        assert list(versions) == [deploy.version], deploy
        assert 0 <= versions[deploy.version][0][0] - at <= 300


NOT_HERE = re.compile(
    r"\b(?:envoy_\w+|service:envoy_\w+|citadel_\w+|pilot_k8s_cfg_events|sidecar_injection_\w+|istio_build|istio_agent_\w+"
    r"|prometheus_\w+|scrape_\w+|alertmanager_\w+|otelcol_\w+|tempo_\w+|jaeger_\w+|zipkin_\w+|sloctl_job_\w+"
    r"|container_\w+|kube_\w+|istio_tcp_\w+|pilot_\w+|(?:pod|workload):sidecar_\w+|ALERTS)\b"
)
"""What a query of a runbook reads that the demo's shop does not have, or has only while something is wrong."""
CALM = {
    "gateway-overloaded.md": "the gateway turns nobody away",
    "latency-budget-burn.md": "the service calls no other",
    "mtls-below-target.md": "all requests use mutual TLS",
    "policy-denials-jumped.md": "nothing is denied",
    "misrouted-requests.md": "nothing is misrouted",
    "pending-queue-overflow.md": "no queue is full",
    "mesh-telemetry-lost.md": "every target is up",
    "proxy-scrapes-failing.md": "every target is up",
    "istiod-down.md": "the shop has no istiod's up",
}
"""Pages with a query that returns nothing here, and why."""


def test_every_query_of_every_runbook(opened: Opened) -> None:
    """Prometheus takes each, with an alert's names filled in, and what the shop has is found."""
    empty, asked = set(), 0
    for file in runbooks.names():
        text = runbooks.page(
            file, {"namespace": "shop", "service": "search"} if "gateway" not in file else {}
        )
        for block in re.findall(r"```promql\n(.*?)```", text, re.DOTALL):
            for query in split(block):
                found = opened.query(query)
                asked += 1
                if not found and not NOT_HERE.search(query):
                    empty.add((file, query))
    assert asked > 80
    assert {file for file, _ in empty} <= CALM.keys(), "\n".join(map(str, sorted(empty)))


def split(block: str) -> list[str]:
    """The queries of a block: each begins at its margin, unless a bracket is open."""
    found, depth = [""], 0
    for line in textwrap.dedent(block).splitlines():
        if found[-1] and not depth:
            found.append("")
        found[-1] += f"{line}\n"
        depth += sum(line.count(char) for char in "([{") - sum(line.count(char) for char in ")]}")
    return found
