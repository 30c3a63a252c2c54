"""What ``sloctl init --prometheus`` proposes, for a mesh whose events are known."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import cast

import pytest

from jobs.preflight import proposal
from sloctl import spec
from sloctl.backends.protocols import ObservedSource, Series
from sloctl.errors import BadAnswer, UsageError
from sloctl.model import SloSet
from sloctl.promql.presets import DURATION, DURATION_BUCKET, REQUESTS
from tests.support.shop_slos import AT, FOR_EVER, LONG_AGO, NOW
from tests.support.simulated import Flow, Simulated

HOSTILE = "evil\nslos: [] #"


@dataclass
class Mesh(Simulated):
    """A Prometheus that also has what a proposal looks at: services by reporter, bounds, workloads, metrics."""

    services: list[tuple[str, str, str]] = field(default_factory=list)
    within: dict[str, float] = field(default_factory=dict)
    """Of 100 requests to each service, how many are within each bound."""
    slowest: Sequence[str] = ()
    """The 95th percentile of each service, in milliseconds, of native histograms."""
    metrics: Sequence[str] = (REQUESTS, DURATION_BUCKET, "up")
    alerting: Sequence[str] | None = None
    """The addresses that alerts are sent to; None for a server that does not say."""
    scraped: Sequence[dict[str, str]] = ()
    """Targets whose job tells what they are."""

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        names = ("destination_service_namespace", "destination_service_name")
        if expr.startswith("sum by (destination_service_namespace, destination_service_name, reporter)"):
            return [
                {"metric": {names[0]: ns, names[1]: service, "reporter": reporter}, "value": (0, "100")}
                for ns, service, reporter in self.services
            ]
        if expr.startswith("sum by (destination_service_namespace, destination_service_name, le)"):
            return [
                {"metric": {names[0]: ns, names[1]: service, "le": le}, "value": (0, str(share))}
                for ns, service, _ in self.services
                for le, share in self.within.items()
            ]
        if expr.startswith("histogram_quantile(0.95,"):
            return [
                {"metric": {names[0]: ns, names[1]: service}, "value": (0, number)}
                for (ns, service, _), number in zip(self.services, self.slowest, strict=True)
            ]
        if found := re.match(
            r"histogram_fraction\(-Inf, ([\d.]+), sum by .* \(increase\((.*)\[1d\]\)\)\)$", expr
        ):
            assert found[2] == DURATION
            return [
                {"metric": {names[0]: ns, names[1]: service}, "value": (0, str(self.within[found[1]] / 100))}
                for ns, service, _ in self.services
            ]
        if expr.startswith("count by (source_workload)"):
            return [{"metric": {"source_workload": "istio-ingressgateway"}, "value": (0, "1")}]
        if expr.startswith("group by (job, namespace, service)"):
            return [{"metric": labels, "value": (0, "1")} for labels in self.scraped]
        return super().query(expr, at)

    def alertmanagers(self) -> Sequence[str]:
        if self.alerting is None:
            raise BadAnswer("404", backend="prometheus", url="http://simulated")
        return self.alerting

    def metric_names(self, match: object = (), start: object = None, end: object = None) -> Sequence[str]:
        del match, start, end
        return self.metrics


def mesh(*failing: float, reporter: str = "source") -> Mesh:
    """A service of the namespace shop for each number: how many of a hundred requests a minute fail."""
    side = ", side: server" if reporter == "destination" else ""
    text = (
        "apiVersion: sloctl/v1\nkind: MeshSLOs\nmetadata: {name: mesh}\ndefaults: {owner: team-platform}\n"
        f"mesh: {{mode: {'ambient' if reporter == 'waypoint' else 'sidecar'}}}\n"
        'slos:\n  - {name: availability, service: "*", namespace: shop, objective: 95, '
        f"sli: {{preset: availability{side}}}}}\n"
    )
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(text.encode()))
    flows = [
        Flow(slo_set.slos[0].id, "shop", f"s{number}", LONG_AGO, FOR_EVER, 100.0, bad)
        for number, bad in enumerate(failing)
    ]
    found = Mesh(slo_set, flows, recorded=(FOR_EVER, FOR_EVER))
    found.services = [("shop", each.service, reporter) for each in flows]
    found.within = {"100": 50.0, "250": 97.0, "500": 100.0, "+Inf": 100.0}
    return found


def proposed(source: Mesh, grafana: str = "") -> tuple[str, SloSet]:
    text = proposal.propose(
        cast("ObservedSource", source),
        AT,
        name="mesh",
        owner="team-platform",
        prometheus="http://prometheus:9090",
        grafana=grafana,
    )
    return text, spec.load([Path("-")], stdin=io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    ("bad", "total", "objective"),
    [
        (0, 1e9, 99.99),
        (0, 1000, 99.0),  # a stricter budget would be less than ten requests
        (0, 50, None),
        (999, 1e6, 99.9),
        (1001, 1e6, 99.5),
        (2e5, 1e6, None),
    ],
)
def test_the_strictest_objective_that_was_met_and_is_no_chance(
    bad: float, total: float, objective: float | None
) -> None:
    assert proposal.met(bad, total) == objective


def test_servers_that_prometheus_knows_are_proposed_in_comments() -> None:
    source = mesh(0.02)
    assert "  # traces, alertmanager: see docs/slo-file.md\n" in proposed(source)[0], (
        "it says nothing of them"
    )
    source.alerting = [f"http://{HOSTILE}:9093/api/v2/alerts", "https://10.1.2.3:9093/alerts/api/v2/alerts"]
    source.scraped = [
        {"job": "tempo", "namespace": "monitoring", "service": "tempo-query"},
        {"job": "Jaeger"},
        {"job": f"grafana{HOSTILE}"},
    ]
    text, slo_set = proposed(source)
    assert slo_set.sources.traces == slo_set.sources.alertmanager == "", "a reader has to agree"
    lines = [line for line in text.splitlines() if line.startswith("  # ")]
    assert '  # traces: {backend: tempo, url: "http://tempo-query.monitoring:3200"}' in lines[1]
    assert lines[2].startswith('  # alertmanager: {url: "https://10.1.2.3:9093/alerts"}')
    assert "see docs/slo-file.md" not in text and "evil" not in text
    agreed = text.replace("  # traces:", "  traces:").replace("  # alertmanager:", "  alertmanager:")
    sources = spec.load([Path("-")], stdin=io.BytesIO(agreed.encode())).sources
    assert (sources.traces_backend, sources.alertmanager) == ("tempo", "https://10.1.2.3:9093/alerts")


def test_a_namespace_and_those_that_are_worse() -> None:
    text, slo_set = proposed(mesh(0.02, 0.02, 0.02, 0.02, 0.02, 0.8, 20.0))
    found = {(slo.name, slo.service): float(slo.objective) for slo in slo_set.slos}
    assert found == {
        ("availability", "*"): 99.95,
        ("availability", "s5"): 99.0,
        ("availability", "s6"): 95.0,
        ("latency", "*"): 95.0,
    }
    assert "# s5: 99.200 % of 4,320,000 requests succeeded in 30d; met 99 %" in text
    assert "# s6: 80.000 % of 4,320,000 requests succeeded in 30d; no objective was met" in text
    assert "threshold: 250ms" in text and "97.00 % took at most 250 ms" in text
    assert 'gateways: ["istio-ingressgateway"]' in text
    assert "# - {preset: control-plane}   # there is no pilot_xds_pushes" in text
    assert slo_set.sources.prometheus == "http://prometheus:9090"


def test_a_day_is_said_to_be_one() -> None:
    source = mesh(0.02)
    source.down = [(LONG_AGO, NOW - 86400)]
    text, _ = proposed(source)
    assert "1 services with requests in 1d" in text


@pytest.mark.parametrize(
    ("reporter", "words"),
    [("destination", "preset: availability, side: server"), ("waypoint", "mesh: {mode: ambient}")],
)
def test_who_counts_is_what_is_read(reporter: str, words: str) -> None:
    source = mesh(0.02, reporter=reporter)
    text, slo_set = proposed(source)
    assert words in text
    assert slo_set.slos


def test_grafana_is_what_was_given() -> None:
    assert proposed(mesh(1))[1].sources.grafana == ""
    assert (
        proposed(mesh(1), "https://grafana.example.org")[1].sources.grafana == "https://grafana.example.org"
    )


def test_names_of_a_server_write_no_yaml() -> None:
    source = mesh(0.02)
    source.services += [("shop", HOSTILE, "source"), (HOSTILE, "a", "source"), ("shop", "unknown", "source")]
    text, slo_set = proposed(source)
    assert {slo.namespace for slo in slo_set.slos} == {"shop"}
    assert "# warning: 2 services are left out" in text
    assert len([line for line in text.splitlines() if line.startswith("slos:")]) == 1


def test_without_requests_there_is_nothing_to_propose() -> None:
    with pytest.raises(UsageError, match="no requests to services"):
        proposed(mesh())


def test_native_histograms_alone_are_said_and_have_a_threshold() -> None:
    source = mesh(0.0, 0.0, 0.0)
    source.metrics, source.slowest = (REQUESTS, DURATION, "up"), ("104.5", "180.25", "NaN")
    text, slo_set = proposed(source)
    assert slo_set.mesh.histograms == "native"
    assert "of the slowest service's requests 97.00 % took at most 250 ms" in text
    [latency] = [slo for slo in slo_set.slos if slo.name == "latency"]
    assert latency.service == "*" and latency.objective == 95
    assert "threshold: 250ms" in text
    source.metrics = (REQUESTS, DURATION, DURATION_BUCKET, "up")
    assert proposed(source)[1].mesh.histograms == "classic"
