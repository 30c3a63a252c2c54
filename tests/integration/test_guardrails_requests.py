"""Guardrails of requests over series that misbehave as real ones do: judged by promtool.

Minutes count from 0. A series stands for itself here; ``fired`` asks for alerts that fire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from alert_rules import manifest
from sloctl import promql
from sloctl.guardrails.plans import plans
from sloctl.guardrails.shared.queries import RecordedQueries
from sloctl.model import Guardrail, Matcher, Mesh, MeshMode, SloSet
from tests.support.promtool import EVERY_LIMIT, Inputs, Samples, evaluate, loaded_rules, run, series

LIMITS = {
    "service-errors": "5",
    "service-latency": "2",
    "gateway-errors": "0.5",
    "retry-amplification": "2",
    "misroutes": "1",
    "policy-denials": "5",
}
MODES: tuple[MeshMode, ...] = ("sidecar", "ambient")
Found = dict[tuple[str, ...], float]
"""Values by some labels' values."""


def watched(
    preset: str,
    limit: str = "",
    *,
    mode: MeshMode = "sidecar",
    mesh: Mesh | None = None,
    critical: str | None = None,
    **fields: object,
) -> SloSet:
    """A set with one guardrail."""
    guardrail = Guardrail(
        preset,
        limit=Decimal(limit or LIMITS[preset]),
        critical=None if critical is None else Decimal(critical),
        **fields,  # type: ignore[arg-type]
    )
    return SloSet("shop", (), mesh=mesh or Mesh(mode=mode), guardrails=(guardrail,))


def ask(
    slo_set: SloSet, raw: Mapping[str, str], queries: Sequence[tuple[str, str]], interval: str = "1m"
) -> list[Samples]:
    return evaluate(loaded_rules(slo_set), [Inputs(raw, queries, interval)])[0]


def recorded(
    slo_set: SloSet,
    raw: Mapping[str, str],
    record: str,
    minute: int,
    by: Sequence[str] = ("namespace", "service"),
    interval: str = "1m",
) -> Found:
    """What is recorded at a minute, by labels."""
    query = f"round(last_over_time({record}[1s]), 1e-6)"
    [samples] = ask(slo_set, raw, [(query, f"{minute}m")], interval)
    found = {tuple(labels.get(label, "") for label in by): value for labels, value in samples}
    assert len(found) == len(samples), samples
    return found


def fired(slo_set: SloSet, raw: Mapping[str, str], minute: int) -> set[tuple[str, str]]:
    """Alerts that fire, and whom they are of."""
    [samples] = ask(slo_set, raw, [('ALERTS{alertstate="firing"}', f"{minute}m")])
    return {(labels["alertname"], labels.get("service") or labels.get("source", "")) for labels, _ in samples}


def pod(number: int = 1, name: str = "web") -> dict[str, str]:
    return {"job": "mesh", "instance": f"10.0.0.{number}:15020", "pod": f"{name}-{number}"}


def up(number: int = 1, name: str = "web") -> str:
    return series("up", **pod(number, name))


def requests(code: str = "200", number: int = 1, /, **labels: str) -> str:
    found = {
        **pod(number),
        "reporter": "source",
        "source_workload": "web",
        "source_workload_namespace": "shop",
        "destination_service_name": "checkout",
        "destination_service_namespace": "shop",
        "destination_version": "v1",
        "request_protocol": "http",
        "response_code": code,
        "response_flags": "-",
    }
    return series("istio_requests_total", **(found | labels))


def grpc(status: str, **labels: str) -> str:
    return requests(**({"request_protocol": "grpc", "grpc_response_status": status} | labels))


CHECKOUT = ("shop", "checkout")
SERVER = {"reporter": "destination"}


class TestServiceErrors:
    @pytest.mark.parametrize(
        ("raw", "share"),
        [
            pytest.param({requests(): "0+90x20", requests("503"): "0+10x20"}, 0.1, id="5xx"),
            pytest.param({requests(): "0+90x20"}, 0, id="no-series-of-failures"),
            pytest.param({requests(): "100x20", requests("503"): "7x20"}, None, id="no-traffic"),
            pytest.param(
                {requests(): "0+90x20", requests("0", response_flags="DC"): "0+10x20"}, 0.1, id="no-response"
            ),
            pytest.param({grpc("0"): "0+90x20", grpc("14"): "0+10x20"}, 0.1, id="grpc"),
            pytest.param(
                {grpc("0"): "0+90x20", grpc("14", response_code="503"): "0+10x20"}, 0.1, id="grpc-and-503"
            ),
            pytest.param({grpc("0"): "0+90x20", grpc("5"): "0+10x20"}, 0, id="grpc-not-found"),
            pytest.param({requests(): "0+90x20", requests("404"): "0+10x20"}, 0, id="4xx"),
            pytest.param({requests(): "0+10x20", requests("503"): "_x8 50x12"}, 0.5, id="first-failures"),
            pytest.param(
                {requests(): "1000+10x7 0+10x12", requests("503"): "500x7 4x12"},
                0.090909,
                id="first-after-restart",
            ),
            pytest.param(
                {requests(): "1000+15x8 15+15x11", requests("503"): "500+5x8 5+5x11"}, 0.25, id="restart"
            ),
            pytest.param(
                {requests(): "1000+10x5 _x2 1080+10x12", requests("503"): "900x5 _x2 900x12"}, 0, id="gap"
            ),
        ],
    )
    def test_share(self, raw: dict[str, str], share: float | None) -> None:
        found = recorded(watched("service-errors"), {up(): "1x20", **raw}, "service:errors:ratio5m", 10)
        assert found == ({} if share is None else {CHECKOUT: share})

    def test_a_service_that_only_its_own_proxies_report(self) -> None:
        raw = {
            up(): "1x20",
            requests(**SERVER): "0+30x20",
            requests("503", **SERVER): "0+10x20",
            requests(destination_service_name="cart"): "0+90x20",
            requests("503", destination_service_name="cart"): "0+10x20",
            requests(destination_service_name="cart", **SERVER): "0+50x20",
            requests("503", destination_service_name="cart", **SERVER): "0+50x20",
            # Its clients with proxies are silent now.
            requests(destination_service_name="mail"): "500x20",
            requests("503", destination_service_name="mail"): "500x20",
            requests(destination_service_name="mail", **SERVER): "0+20x20",
            # Only its clients' reports have no failures: retries hid them.
            requests(destination_service_name="ads"): "0+20x20",
            requests("503", destination_service_name="ads", **SERVER): "0+20x20",
        }
        found = recorded(watched("service-errors"), raw, "service:errors:ratio5m", 10)
        assert found == {CHECKOUT: 0.25, ("shop", "cart"): 0.1, ("shop", "mail"): 0, ("shop", "ads"): 0}

    @pytest.mark.parametrize(
        "name",
        [
            "unknown",
            "BlackHoleCluster",
            "PassthroughCluster",
            "InboundPassthroughCluster",
            "InboundPassthroughClusterIpv4",
            "",
        ],
    )
    def test_what_is_no_service(self, name: str) -> None:
        raw = {up(): "1x20", requests("503", destination_service_name=name): "0+10x20"}
        assert recorded(watched("service-errors"), raw, "service:errors:ratio5m", 10) == {}

    def test_a_wildcard_host_is_a_service(self) -> None:
        raw = {up(): "1x20", requests("503", destination_service_name="*.example.com"): "0+10x20"}
        found = recorded(watched("service-errors"), raw, "service:errors:ratio5m", 10)
        assert found == {("shop", "*.example.com"): 1}

    @pytest.mark.parametrize("name", ['a"b', "a\\b$1", "{{ $value }}", "x{y='z'}", "naïve"])
    def test_any_name(self, name: str) -> None:
        labels = {"destination_service_name": name, "destination_service_namespace": name[::-1]}
        raw = {up(): "1x20", requests("503", **labels): "0+10x20"}
        found = recorded(watched("service-errors"), raw, "service:errors:ratio5m", 10)
        assert found == {(name[::-1], name): 1}

    def test_ambient_reads_waypoints_alone(self) -> None:
        waypoint = {"reporter": "waypoint"}
        raw = {
            up(): "1x20",
            requests(**waypoint): "0+90x20",
            requests("503", **waypoint): "0+10x20",
            requests("503"): "0+90x20",
        }
        found = recorded(watched("service-errors", mode="ambient"), raw, "service:errors:ratio5m", 10)
        assert found == {CHECKOUT: 0.1}

    def test_other_namespaces_are_left_alone(self) -> None:
        raw = {up(): "1x20", requests(): "0+90x20", requests(destination_service_namespace="pay"): "0+90x20"}
        found = recorded(watched("service-errors", namespaces=("pay",)), raw, "service:errors:ratio5m", 10)
        assert found == {("pay", "checkout"): 0}

    def test_ticket_and_page(self) -> None:
        def raw(bad: int) -> dict[str, str]:
            return {up(): "1x20", requests(): f"0+{100 - bad}x20", requests("500"): f"0+{bad}x20"}

        slo_set = watched("service-errors", critical="20")
        assert fired(slo_set, raw(5), 10) == set()
        assert fired(slo_set, raw(6), 10) == {("ServiceErrorsHigh", "checkout")}
        assert fired(slo_set, raw(21), 10) == {
            ("ServiceErrorsHigh", "checkout"),
            ("ServiceErrorsCritical", "checkout"),
        }

    def test_one_failure_at_night_alerts_nobody(self) -> None:
        slo_set = watched("service-errors", critical="20")
        raw = {up(): "1x20", requests(): "0+1x20", requests("500"): "_x5 1x15"}
        assert [fired(slo_set, raw, minute) for minute in (6, 8, 10)] == [set()] * 3
        eager = watched("service-errors", critical="20", min_events=0)
        expected = {("ServiceErrorsHigh", "checkout"), ("ServiceErrorsCritical", "checkout")}
        assert fired(eager, raw, 8) == expected

    def test_a_page_is_never_easier_than_the_ticket(self) -> None:
        slo_set = watched("service-errors", "50", critical="20")
        raw = {up(): "1x20", requests(): "0+60x20", requests("500"): "0+40x20"}
        assert fired(slo_set, raw, 10) == set()
        assert {a.name for p in plans(watched("service-errors", "100")) for a in p.alerts} == set()


BOUNDS = ("250", "500", "1000", "2500", "5000")


def histogram(counts: Sequence[int], *, suffix: str = "", number: int = 1, **labels: str) -> dict[str, str]:
    """A histogram that gains ``counts`` requests a minute in each of its buckets, the last of which is +Inf."""
    found = {
        **pod(number),
        "reporter": "source",
        "destination_service_name": "checkout",
        "destination_service_namespace": "shop",
        **labels,
    }
    bounds = [*(f"{bound}{suffix}" for bound in BOUNDS), "+Inf"]
    return {
        series("istio_request_duration_milliseconds_bucket", **found, le=le): f"0+{sum(counts[: n + 1])}x40"
        for n, le in enumerate(bounds)
    }


class TestServiceLatency:
    P99 = "service:latency_p99_seconds:quantile5m"

    @pytest.mark.parametrize("suffix", ["", ".0"], ids=["prometheus-2", "prometheus-3"])
    @pytest.mark.parametrize(
        ("limit", "counts", "fires"),
        [
            ("2.5", [0, 0, 0, 99, 1, 0], False),
            ("2.5", [0, 0, 0, 98, 2, 0], True),
            ("2", [0, 0, 50, 49, 1, 0], True),
            ("2", [0, 0, 98, 2, 0, 0], False),
            ("5", [0, 0, 0, 0, 98, 2], True),
        ],
    )
    def test_limit(self, limit: str, counts: list[int], fires: bool, suffix: str) -> None:
        mesh = Mesh(latency_buckets=tuple(Decimal(bound) for bound in BOUNDS))
        raw = {up(): "1x40", **histogram(counts, suffix=suffix)}
        found = fired(watched("service-latency", limit, mesh=mesh), raw, 10)
        assert found == ({("ServiceLatencyHigh", "checkout")} if fires else set())

    def test_quantiles_are_seconds_and_never_nan(self) -> None:
        raw = {
            up(): "1x40",
            **histogram([0, 0, 0, 100, 0, 0]),
            **histogram([0] * 6, destination_service_name="idle"),
            **histogram([0, 0, 0, 0, 0, 100], reporter="destination"),
        }
        slo_set = watched("service-latency")
        assert recorded(slo_set, raw, self.P99, 10) == {CHECKOUT: pytest.approx(2.485)}
        p95 = recorded(slo_set, raw, "service:latency_p95_seconds:quantile5m", 10)
        assert p95 == {CHECKOUT: pytest.approx(2.425)}

    def test_pods_of_two_spellings_of_a_bound(self) -> None:
        raw = {
            up(): "1x40",
            up(2): "1x40",
            **histogram([0, 0, 0, 50, 0, 0]),
            **histogram([0, 0, 0, 50, 0, 0], suffix=".0", number=2),
        }
        assert recorded(watched("service-latency"), raw, self.P99, 10) == {CHECKOUT: pytest.approx(2.485)}
        assert fired(watched("service-latency", "2.5"), raw, 10) == set()

    def test_too_few_requests(self) -> None:
        raw = {up(): "1x40", **histogram([0, 0, 0, 0, 3, 0])}
        assert fired(watched("service-latency"), raw, 10) == set()
        assert fired(watched("service-latency", min_events=15), raw, 10) == {
            ("ServiceLatencyHigh", "checkout")
        }

    def test_a_histogram_without_the_limits_bound_says_nothing(self) -> None:
        raw = {up(): "1x40", **histogram([0, 0, 0, 0, 98, 2])}
        slo_set = watched("service-latency", "10")
        assert recorded(slo_set, raw, "service:latency_within_limit:ratio5m", 10) == {}
        assert fired(slo_set, raw, 10) == set()

    def test_limits_that_no_bucket_can_tell(self) -> None:
        mesh = Mesh(latency_buckets=(Decimal(5), Decimal(1000)))
        for limit, told in (("0.001", False), ("0.005", True), ("1", True), ("2", False)):
            [plan] = plans(watched("service-latency", limit, mesh=mesh))
            assert bool(plan.alerts) is told, limit


GATEWAY = {"source_workload": "istio-ingressgateway", "source_workload_namespace": "istio-system"}
INGRESS = ("istio-system", "istio-ingressgateway")


def gateway_up(number: int = 1, name: str = "istio-ingressgateway-7d9c5b8f4") -> str:
    return up(number, name)


class TestGateways:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(
        ("bad", "errors", "overload"),
        [
            (requests("502", **GATEWAY), 0.1, 0),
            (requests("503", **GATEWAY), 0.1, 0.1),
            (requests("503", **GATEWAY, response_flags="UO"), 0.1, 0.1),
            (requests("0", **GATEWAY, response_flags="UF,URX"), 0.1, 0.1),
            (requests("504", **GATEWAY, response_flags="UHX"), 0.1, 0),
            (requests("404", **GATEWAY), 0, 0),
        ],
    )
    def test_shares(self, mode: MeshMode, bad: str, errors: float, overload: float) -> None:
        raw = {up(): "1x20", requests(**GATEWAY): "0+90x20", bad: "0+10x20", requests("503"): "0+10x20"}
        slo_set = watched("gateway-errors", mode=mode)
        assert recorded(slo_set, raw, "gateway:errors:ratio5m", 10) == {INGRESS: errors}
        assert recorded(slo_set, raw, "gateway:overload:ratio5m", 10) == {INGRESS: overload}

    def test_pending_overflow_of_its_proxy(self) -> None:
        labels = {**pod(1, "istio-ingressgateway-7d9c5b8f4"), "namespace": "istio-system"}
        labels |= {"cluster_name": "outbound|8080||checkout.shop.svc.cluster.local"}
        other = labels | pod(2, "web-7d9c5b8f4")
        raw = {
            gateway_up(): "1x20",
            series("envoy_cluster_upstream_rq_pending_overflow", **labels): "_x5 10+10x14",
            series("envoy_cluster_upstream_rq_total", **labels): "0+30x20",
            series("envoy_cluster_upstream_rq_pending_overflow", **other): "0+90x20",
        }
        slo_set = watched("gateway-errors")
        found = recorded(slo_set, raw, "gateway:pending_overflow:ratio5m", 12)
        assert found == {("", "istio-ingressgateway"): 0.25}
        assert fired(slo_set, raw, 12) == {("GatewayOverloaded", "istio-ingressgateway")}
        never_sent = {name: values for name, values in raw.items() if "rq_total" not in name}
        assert fired(slo_set, never_sent, 12) == {("GatewayOverloaded", "istio-ingressgateway")}

    KUBE = series("kube_deployment_status_replicas_available", deployment="istio-ingressgateway")

    @pytest.mark.parametrize(
        ("raw", "down"),
        [
            pytest.param({up(): "1x20"}, True, id="no-target"),
            pytest.param({gateway_up(1): "0x20", gateway_up(2): "0x20"}, True, id="none-up"),
            pytest.param({gateway_up(1): "0x20", gateway_up(2): "1x20"}, False, id="one-up"),
            pytest.param({up(1, "istio-ingressgateway"): "1x20"}, False, id="daemon-or-stateful-set"),
            pytest.param(
                {up(1, "istio-ingressgateway-internal-7d9c5b8f4"): "1x20"}, True, id="other-gateway"
            ),
            pytest.param({gateway_up(): "1x20", KUBE: "0x20"}, True, id="not-available"),
            pytest.param({gateway_up(): "1x20", KUBE: "2x20"}, False, id="available"),
            pytest.param({KUBE: "2x20"}, False, id="available-and-not-scraped"),
            pytest.param({KUBE: "0x20"}, True, id="neither"),
        ],
    )
    def test_down(self, raw: dict[str, str], down: bool) -> None:
        expected = {("GatewayDown", "istio-ingressgateway")} if down else set()
        assert fired(watched("gateway-errors"), raw, 10) == expected

    def test_each_gateway_for_itself(self) -> None:
        slo_set = watched("gateway-errors", gateways=("gateway", "gateway-internal"))
        raw = {up(1, "gateway-internal"): "1x20"}
        assert fired(slo_set, raw, 10) == {("GatewayDown", "gateway")}


def envoy(
    counter: str, cluster: str = "outbound|8080||payments.shop.svc.cluster.local", number: int = 1
) -> str:
    labels = pod(number) | {"namespace": "client-ns", "cluster_name": cluster}
    return series(f"envoy_cluster_upstream_rq_{counter}", **labels)


class TestRetries:
    RATIO = "edge:retry_amplification:ratio30m"
    ENVOY = "service:envoy_retry_amplification:ratio30m"
    EDGE = ("source_namespace", "source", "namespace", "service")

    def test_by_edge(self) -> None:
        raw = {
            up(): "1x60",
            requests(): "0+100x60",
            requests("503", **SERVER): "0+150x60",
            requests(**SERVER): "0+100x60",
            requests(source_workload="cron"): "0+10x60",
        }
        slo_set = watched("retry-amplification")
        found = recorded(slo_set, raw, self.RATIO, 40, self.EDGE)
        assert found == {("shop", "web", "shop", "checkout"): 2.5}
        requested = recorded(slo_set, raw, "edge:requests:increase30m", 40, self.EDGE)
        assert requested == {
            ("shop", "web", "shop", "checkout"): 3000,
            ("shop", "cron", "shop", "checkout"): 300,
        }
        assert fired(slo_set, raw, 40) == {("RetryAmplificationHigh", "checkout")}

    def test_servers_without_a_proxy_have_no_amplification(self) -> None:
        for server in ("_x60", "500x60"):
            raw = {up(): "1x60", requests(): "0+100x60", requests(**SERVER): server}
            assert recorded(watched("retry-amplification"), raw, self.RATIO, 40) == {}

    def test_two_targets_scraped_at_different_moments_are_no_retries(self) -> None:
        """Scrapes every 15 seconds; the server's come half a scrape later, and traffic doubles and halves."""
        client, server, total, late = ["0"], ["0"], 0, 0
        for step in range(4 * 60):
            gain = 40 if step // 20 % 2 else 20
            late = total + gain // 2
            total += gain
            client.append(str(total))
            server.append(str(late))
        raw = {
            up(): "1x240",
            up(2): "1x240",
            requests(): " ".join(client),
            requests("200", 2, **SERVER): " ".join(server),
        }
        slo_set = watched("retry-amplification", "1")
        found = recorded(slo_set, raw, self.RATIO, 45, interval="15s")[CHECKOUT]
        assert 0.96 < found < 1.04
        queries = [('ALERTS{alertstate="firing"}', f"{minute}m") for minute in (30, 45, 55)]
        assert ask(slo_set, raw, queries, "15s") == [[], [], []]

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize(
        "cluster",
        [
            "outbound|8080||payments.shop.svc.cluster.local",
            "outbound|8080|v1|payments.shop.svc.cluster.local;",
            "outbound|8080||payments.shop.svc.mesh.example",
            "inbound-vip|8080|http|payments.shop.svc.cluster.local",
            "inbound-vip|8080|http/v1|payments.shop.svc.cluster.local;",
        ],
    )
    def test_691_attempts_of_which_515_are_retries(self, mode: MeshMode, cluster: str) -> None:
        """Of 991 requests, 815 overflowed and never left: 176 were sent."""
        raw = {
            up(): "1x60",
            envoy("total", cluster): "_x10 691x50",
            envoy("completed", cluster): "_x10 991x50",
            envoy("pending_overflow", cluster): "_x10 815x50",
            envoy("total", "inbound|8080||"): "0+100x60",
            envoy("completed", "inbound|8080||"): "0+10x60",
        }
        found = recorded(watched("retry-amplification", mode=mode), raw, self.ENVOY, 35)
        assert found == {("shop", "payments"): pytest.approx(691 / (691 - 515), abs=1e-6)}

    @pytest.mark.parametrize(
        ("retries", "expected"),
        [({envoy("retry"): "_x10 515x50"}, {("shop", "payments"): 691 / (691 - 515)}), ({}, {})],
        ids=["retries", "neither"],
    )
    def test_without_requests_that_ended_retries_say_how_many_there_were(
        self, retries: dict[str, str], expected: dict[tuple[str, str], float]
    ) -> None:
        raw = {up(): "1x60", envoy("total"): "_x10 691x50", envoy("pending_overflow"): "_x10 815x50"}
        found = recorded(watched("retry-amplification"), raw | retries, self.ENVOY, 35)
        assert found == pytest.approx(expected, abs=1e-6)

    def test_subsets_ports_and_clients_add_up(self) -> None:
        v2 = "outbound|9090|v2|payments.shop.svc.cluster.local"
        raw = {
            up(): "1x60",
            up(2): "1x60",
            envoy("total"): "0+30x60",
            envoy("completed"): "0+10x60",
            envoy("total", v2, 2): "0+10x60",
            envoy("completed", v2, 2): "0+10x60",
        }
        slo_set = watched("retry-amplification", "1.5")
        assert recorded(slo_set, raw, self.ENVOY, 40) == {("shop", "payments"): 2}
        assert fired(slo_set, raw, 40) == {("RetryAmplificationHigh", "payments")}


class TestMisroutes:
    RATIO = "source:misroutes:ratio5m"

    @pytest.mark.parametrize(
        ("labels", "share"),
        [
            ({"response_flags": "NR"}, 0.1),
            ({"response_flags": "URX,NR"}, 0.1),
            ({"response_flags": "NC"}, 0.1),
            ({"response_flags": "NRX"}, 0),
            ({"destination_service_name": "BlackHoleCluster"}, 0.1),
            ({"destination_service_name": "BlackHoleCluster", "response_flags": "NR"}, 0.1),
            ({"destination_service_name": "PassthroughCluster"}, 0),
        ],
    )
    def test_share_of_what_a_source_sends(self, labels: dict[str, str], share: float) -> None:
        raw = {
            up(): "1x20",
            requests(): "0+90x20",
            requests("404", **labels): "0+10x20",
            requests("404", **labels, **SERVER): "0+90x20",
        }
        by = ("source_namespace", "source")
        assert recorded(watched("misroutes"), raw, self.RATIO, 10, by) == {("shop", "web"): share}
        expected = {("MisroutedRequests", "web")} if share else set()
        assert fired(watched("misroutes"), raw, 10) == expected

    def test_ambient_gateways_and_waypoints_apart(self) -> None:
        waypoint = {"reporter": "waypoint"}
        raw = {
            up(): "1x20",
            requests(): "0+50x20",
            requests(**waypoint): "0+75x20",
            requests("404", **waypoint, response_flags="NR"): "0+25x20",
        }
        found = recorded(watched("misroutes", mode="ambient"), raw, self.RATIO, 10, ("source", "reporter"))
        assert found == {("web", "source"): 0, ("web", "waypoint"): 0.25}

    @pytest.mark.parametrize(
        ("labels", "seen"),
        [
            ({"destination_version": "v3"}, {("shop", "checkout", "v3"): 35}),
            ({"destination_version": "v3"} | SERVER, {("shop", "checkout", "v3"): 35}),
            ({"destination_version": "v2"}, {}),
            ({"destination_version": "unknown", "response_code": "503"}, {}),
            ({"destination_version": "v3", "destination_service_name": "cart"}, {}),
            (
                {"destination_version": "v1", "destination_service_namespace": "test"},
                {},
            ),
        ],
    )
    def test_versions_that_should_get_none(
        self, labels: dict[str, str], seen: dict[tuple[str, ...], float]
    ) -> None:
        slo_set = watched("misroutes", versions=(("checkout", ("v1", "v2")), ("web", ("v3",))))
        raw = {up(): "1x20", requests(): "0+90x20", requests(**labels): "0+7x20"}
        by = ("namespace", "service", "destination_version")
        found = recorded(slo_set, raw, "service_version:unexpected_requests:increase5m", 10, by)
        assert found == seen
        assert fired(slo_set, raw, 10) == ({("UnexpectedVersion", "checkout")} if seen else set())


class TestDenials:
    RATIO = "service:denied_requests:ratio5m"

    @pytest.mark.parametrize(
        ("denied", "share"),
        [
            (requests("403"), 0.1),
            (grpc("7"), 0.1),
            (grpc("7", response_code="403"), 0.1),
            (grpc("16"), 0),
            (requests("401"), 0),
        ],
    )
    def test_share(self, denied: str, share: float) -> None:
        raw = {up(): "1x20", requests(): "0+90x20", denied: "0+10x20"}
        assert recorded(watched("policy-denials"), raw, self.RATIO, 10) == {CHECKOUT: share}

    @pytest.mark.parametrize(
        ("before", "now", "fires"),
        [(0, 10, True), (0, 4, False), (10, 10, False), (4, 11, False), (3, 10, True), (100, 100, False)],
    )
    def test_jump(self, before: int, now: int, fires: bool) -> None:
        """Denials a minute of 100 requests, until minute 100 and from then on."""
        raw = {
            up(): "1x140",
            requests(): f"0+{100 - before}x100 {100 * (100 - before) + 100 - now}+{100 - now}x39",
            requests("403"): f"0+{before}x100 {100 * before + now}+{now}x39",
        }
        found = fired(watched("policy-denials"), raw, 112)
        assert found == ({("PolicyDenialsJumped", "checkout")} if fires else set())

    def test_rules_that_were_just_loaded_know_no_jump(self) -> None:
        raw = {up(): "1x140", requests("403"): "0+100x140"}
        slo_set = watched("policy-denials")
        queries = [('ALERTS{alertstate="firing"}', f"{minute}m") for minute in (10, 40, 61, 70, 90)]
        assert ask(slo_set, raw, queries) == [[]] * 5

    def test_a_service_that_is_new_and_denies_all(self) -> None:
        raw = {
            up(): "1x140",
            requests(destination_service_name="old"): "0+100x140",
            requests("403"): "_x100 100+100x40",
        }
        assert fired(watched("policy-denials"), raw, 110) == {("PolicyDenialsJumped", "checkout")}

    def test_ztunnel(self) -> None:
        def connections(what: str, flags: str) -> str:
            labels = {
                **pod(3, "ztunnel"),
                "reporter": "destination",
                "destination_service_name": "checkout",
                "destination_service_namespace": "shop",
                "response_flags": flags,
            }
            return series(f"istio_tcp_connections_{what}_total", **labels)

        raw = {
            up(3, "ztunnel"): "1x140",
            connections("opened", "-"): "0+100x140",
            connections("closed", "-"): "0+80x140",
            connections("closed", "DENY"): "_x100 20+20x40",
            connections("closed", "CONNECT"): "0+90x140",
        }
        slo_set = watched("policy-denials", mode="ambient")
        assert recorded(slo_set, raw, "service:denied_connections:ratio5m", 110) == {CHECKOUT: 0.2}
        assert fired(slo_set, raw, 112) == {("ConnectionsDenied", "checkout")}
        assert fired(watched("policy-denials"), raw, 112) == set()


def busy() -> dict[str, str]:
    """A mesh with something of everything, at a steady pace."""
    raw = {up(): "1x60", gateway_up(): "1x60"}
    for reporter in ("source", "destination", "waypoint"):
        side = {"reporter": reporter}
        raw |= {
            requests(**side): "0+80x60",
            requests("503", **side, response_flags="UF,URX"): "0+5x60",
            requests("403", **side): "0+7x60",
            grpc("14", **side): "0+3x60",
            grpc("7", **side): "0+2x60",
            requests(**side, destination_version="v9"): "0+4x60",
            requests("404", **side, response_flags="NR", destination_service_name="unknown"): "0+6x60",
            requests(**side, **GATEWAY): "0+50x60",
            requests("503", **side, **GATEWAY, response_flags="UO"): "0+9x60",
        }
        raw |= {
            name: values.replace("x40", "x60")
            for name, values in histogram([5, 4, 3, 2, 1, 1], number=1, **side).items()
        }
    raw |= {requests(**SERVER, destination_service_name="cart"): "0+30x60"}
    gateway = {**pod(1, "istio-ingressgateway-7d9c5b8f4"), "cluster_name": "outbound|80||checkout.shop.svc.x"}
    for counter, pace in (("total", 12), ("completed", 9), ("pending_overflow", 2), ("retry", 3)):
        raw[envoy(counter)] = f"0+{pace}x60"
        raw[series(f"envoy_cluster_upstream_rq_{counter}", **gateway)] = f"0+{pace}x60"
    for what, flags in (("opened", "-"), ("closed", "DENY")):
        labels = {"destination_service_name": "checkout", "destination_service_namespace": "shop"}
        labels |= {"reporter": "destination", "response_flags": flags, **pod()}
        raw[series(f"istio_tcp_connections_{what}_total", **labels)] = "0+5x60"
    return raw


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("preset", LIMITS)
def test_what_reports_compute_is_what_rules_record(preset: str, mode: MeshMode) -> None:
    fields: dict[str, Any] = {"versions": (("checkout", ("v1",)),)} if preset == "misroutes" else {}
    limit = "2.5" if preset == "service-latency" else ""
    slo_set = watched(preset, limit, mode=mode, **fields)
    [plan] = plans(slo_set)
    queries = [
        (f"round({text}, 1e-6)", "50m")
        for signal in plan.signals
        for text in (RecordedQueries(slo_set).read(signal), f"(\n{promql.indent(signal.live)}\n)")
    ]
    answers = ask(slo_set, busy(), queries)

    def plain(samples: Samples) -> list[tuple[list[tuple[str, str]], float]]:
        return sorted((sorted((k, v) for k, v in ls.items() if k != "slo_set"), n) for ls, n in samples)

    for signal, rule, live in zip(plan.signals, answers[::2], answers[1::2], strict=True):
        assert plain(rule) == plain(live), signal.record
        assert rule, f"nothing is recorded as {signal.record}"
    for verdict in plan.verdicts:
        assert {
            label for labels, _ in answers[2 * plan.signals.index(verdict.signal)] for label in labels
        } >= {*verdict.scope}


CASES: dict[tuple[str, MeshMode], tuple[str, ...]] = {
    ("service-errors", "sidecar"): ("0", "99.999"),
    ("service-errors", "ambient"): ("100", "60"),
    ("service-latency", "sidecar"): ("0.001", "2.5", "3600"),
    ("service-latency", "ambient"): ("0.3", "3600"),
    ("gateway-errors", "sidecar"): ("100",),
    ("gateway-errors", "ambient"): ("0",),
    ("retry-amplification", "sidecar"): ("1", "1000"),
    ("retry-amplification", "ambient"): ("1",),
    ("misroutes", "sidecar"): ("100",),
    ("misroutes", "ambient"): ("0", "1"),
    ("policy-denials", "sidecar"): ("0", "60"),
    ("policy-denials", "ambient"): ("100", "60"),
}
"""Limits beside those of the golden cases, which are proved there: the last one always, all by make proofs.

Most are tried in one mode, for modes differ in what
is read, not in what it is compared with."""


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "mode"), CASES)
def test_every_alert_proves_itself_at_every_limit(preset: str, mode: MeshMode, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"namespaces": ("pay",)}
    if preset == "gateway-errors":
        fields = {"gateways": ("gateway", "gateway-internal")}
    if preset == "misroutes":
        fields["versions"] = (("cart", ("canary", "v1")), ("checkout", ("v1",)))
    limits = CASES[preset, mode] if EVERY_LIMIT else CASES[preset, mode][-1:]
    gates = (0, 1_000_000_000) if mode == "sidecar" and EVERY_LIMIT else (0,)
    mesh = Mesh(mode=mode, matchers=(Matcher("cluster", "=", "eu1"),))
    tests = []
    for limit in limits:
        for gate in gates if limit == limits[-1] else gates[:1]:
            slo_set = watched(preset, limit, mesh=mesh, critical="20", min_events=gate, **fields)
            for path, text in manifest.generate(slo_set, "prometheus"):
                file = tmp_path / f"{limit}-{gate}" / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
                tests += [file] if path.endswith("_test.yaml") else []
    done = run("test", "rules", *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    alerts = {
        name for test in tests for name in test.read_text("utf-8").split() if name.startswith("alertname")
    }
    assert alerts, "nothing was tested"


DATA = Path(__file__).parents[3] / "shared" / "data" / "scrapes"


def scraped(file: str, metrics: str) -> dict[str, str]:
    """The series of a real scrape, which appear at minute 6."""
    raw = {up(): "1x20"}
    for line in (DATA / file).read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(rf"({metrics})\{{(.*?),?\}} (\S+)", line):
            target = ",".join(f'{name}="{value}"' for name, value in pod().items())
            raw[f"{match[1]}{{{target},{match[2]}}}"] = f"_x6 {float(match[3]):g}x14"
    assert len(raw) > 1
    return raw


@pytest.mark.skipif(not DATA.is_dir(), reason="no real telemetry in ../shared/data")
class TestRealScrapes:
    METRICS = "istio_requests_total|istio_request_duration_milliseconds_bucket"

    def test_a_client_whose_requests_leave_the_mesh(self) -> None:
        raw = scraped("istio-1.5_sidecar_15090.prom", self.METRICS)
        sent = recorded(
            watched("misroutes"), raw, "source:requests:increase5m", 8, ("source_namespace", "source")
        )
        assert sent == {("default", "mongodb-v1"): 67}
        assert recorded(watched("misroutes"), raw, "source:misroutes:ratio5m", 8, ("source",)) == {
            ("mongodb-v1",): 0
        }
        assert recorded(watched("service-errors"), raw, "service:error_traffic:increase5m", 8) == {}
        assert recorded(watched("service-latency"), raw, TestServiceLatency.P99, 8) == {}

    def test_a_server_whose_clients_have_no_proxy(self) -> None:
        raw = scraped("istio-1.6plus_merged_15020.prom", self.METRICS)
        found = recorded(watched("service-errors", min_events=0), raw, "service:errors:ratio5m", 8)
        assert found and set(found.values()) == {0}
        assert not {service for _, service in found} & {"unknown", "PassthroughCluster"}
