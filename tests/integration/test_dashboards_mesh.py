"""Every query of every dashboard on a mesh that exposes everything: all guardrails, Envoy, istiod, Kubernetes.

The mesh is the synthetic one of the benchmarks, two hours of it, and its trouble is made here: it takes seconds, where
the live meshes of other tests play time faster than dashboards can look at it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from benchmarks.history import SCRAPE, times
from benchmarks.mesh import Mesh, edge, target_of
from dashboards.manifest import BUILDERS, boards
from sloctl import spec
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.demo.programs import find_program
from sloctl.demo.server import PrometheusServer
from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS as GUARDRAILS
from sloctl.model import GRID, SloSet
from sloctl.model.durations import number
from sloctl.promql.presets import DURATION_BUCKET, ENVOY_BUCKETS
from tests.support.dashboards_judged import complaints, crowded, kinds, refused, single
from tests.support.grafana import Grafana, Load, View
from tests.support.recorded import record
from tests.support.rule_cases import ONLY_3

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dashboards")]

HOUR = 3600
SERVICES = 24
GOLDEN = Path(__file__).parents[1] / "golden" / "rules" / "guardrails" / "slo.yaml"
FAILING = {"service": "service-1", "namespace": "team-0", "slo": "availability"}
LATENCY = (
    "  - {name: latency, service: service-1, namespace: team-0, sli: {preset: latency, threshold: 25ms}}"
)
GATEWAY = (
    "  - {name: gateway, service: istio-ingressgateway, namespace: istio-system, sli: {preset: gateway}}"
)
EMPTY: dict[tuple[str, str, str], str] = {}
"""Queries that return nothing here, and why."""


def every_guardrail() -> SloSet:
    """The golden file with all guardrails, about the services of this mesh, with alerts on its budgets."""
    text = GOLDEN.read_text(encoding="utf-8")
    for old, new in (
        ("mesh: {matchers: {cluster: eu1}}\n", ""),
        ("service: checkout, namespace: shop", "service: service-1, namespace: team-0"),
        ("namespace: shop", "namespace: team-0"),
        ("versions: {checkout:", "versions: {service-1:"),
        ("alerting: none", "alerting: mesh"),
        ("guardrails:\n", f"{LATENCY}\n{GATEWAY}\nguardrails:\n"),
    ):
        assert old in text
        text = text.replace(old, new)
    found = spec.load([Path("-")], stdin=BytesIO(text.encode()))
    assert {guardrail.preset for guardrail in found.guardrails} == set(GUARDRAILS)
    return found


@dataclass(frozen=True)
class Trouble:
    """What went wrong in the last half hour: service-1 got a new version that fails, and more."""

    mesh: Mesh

    def series(self) -> Iterator[SampledSeries]:
        """What the mesh exposes of it, beside the rest."""
        caller, callee = self.mesh.workloads()[:2]
        client, server = (target_of(one, one.pods[0]) for one in (caller, callee))
        for reporter, target, more in (
            ("source", client, {}),
            ("destination", server, {"response_flags": "-"}),
        ):
            failed = edge(caller, callee, reporter, "503") | {"destination_version": "v2"} | more
            yield self.counter("istio_requests_total", failed | target, 300 if reporter == "source" else 900)
        canary = edge(caller, callee, "destination", "200") | {"destination_version": "canary"}
        yield self.counter("istio_requests_total", canary | server, 10)
        slow = edge(caller, callee, "source", "200") | {"destination_version": "v2"} | client
        for bound in (*(number(bound) for bound in ENVOY_BUCKETS if bound >= 1000), "+Inf"):
            yield self.counter(DURATION_BUCKET, slow | {"le": bound}, 400)
        yield from self.connections(callee.name, server)
        for name in ("container_cpu_usage_seconds_total", "container_memory_working_set_bytes"):
            pod = {"namespace": callee.namespace, "pod": callee.pods[0], "container": "app"}
            yield self.counter(name, pod, 1)
        lost = edge(caller, callee, "source", "404") | {"response_flags": "NR"}
        yield self.counter("istio_requests_total", lost | client, 100)
        cluster = {"cluster_name": "outbound|8080||service-1.team-0.svc.cluster.local"} | client
        for name in ("upstream_rq_pending_overflow", "upstream_cx_overflow"):
            yield self.counter(f"envoy_cluster_{name}", cluster, 20)
        yield self.counter("envoy_cluster_outlier_detection_ejections_enforced_total", cluster, 1)
        yield self.gauge("envoy_cluster_outlier_detection_ejections_active", cluster, 1)
        istiod = {
            "job": "istiod",
            "instance": "istiod-0:15014",
            "namespace": "istio-system",
            "pod": "istiod-0",
        }
        yield self.counter("pilot_k8s_cfg_events", istiod | {"type": "VirtualService", "event": "update"}, 1)
        yield self.counter("galley_validation_failed", istiod | {"reason": "schema"}, 1)
        yield self.gauge("pilot_vservice_dup_domain", istiod, 1)
        collector = {"job": "otel", "instance": "otel-0:8888", "exporter": "otlp"}
        for what, value in (("size", 100), ("capacity", 1000)):
            yield self.gauge(f"otelcol_exporter_queue_{what}", collector, value)
        job = {"job": "sloctl", "instance": "sloctl:9100", "slo_set": "shop", "sloctl_job": "slis"}
        yield self.gauge("sloctl_job_last_success_timestamp_seconds", job, self.mesh.end - 200)

    def connections(self, service: str, server: dict[str, str]) -> Iterator[SampledSeries]:
        """TCP connections, as the service's proxies see them; a policy lets none of some through."""
        labels = {"reporter": "destination", "destination_service_name": service, **server}
        labels |= {"destination_service_namespace": "team-0", "destination_workload": service}
        for name, flags in (("opened", "-"), ("closed", "-"), ("closed", "UF"), ("failed", "DENY")):
            yield self.counter(f"istio_tcp_connections_{name}_total", labels | {"response_flags": flags}, 60)
        for name in ("received", "sent"):
            yield self.counter(f"istio_tcp_{name}_bytes_total", labels, 6000)

    def counter(self, name: str, labels: dict[str, str], rate: int) -> SampledSeries:
        at = times(self.mesh.end, HOUR // 2, SCRAPE)
        return SampledSeries(
            {"__name__": name} | labels, at, rate * np.arange(1, len(at) + 1, dtype=np.int64)
        )

    def gauge(self, name: str, labels: dict[str, str], value: int) -> SampledSeries:
        at = times(self.mesh.end, HOUR // 2, SCRAPE)
        return SampledSeries({"__name__": name} | labels, at, np.full(len(at), value, dtype=np.int64))


@dataclass(frozen=True)
class Opened:
    """The dashboards of the set in front of its Prometheus."""

    grafana: Grafana
    slo_set: SloSet
    end: int

    def bare(self) -> Opened:
        """The same without guardrails."""
        return replace(self, slo_set=replace(self.slo_set, guardrails=()))

    def load(self, kind: str, shown: str = "", **chosen: str) -> Load:
        """A dashboard as it is opened, or over another time, with values of variables that have one."""
        board = dict(boards(self.slo_set))[kind]
        view = View.of(board, self.end)
        return self.grafana.load(board, view.last(shown) if shown else view, single(board, chosen))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    for program in ("prometheus", "promtool"):
        find_program(program, install=True)
    folder = tmp_path_factory.mktemp("mesh")
    slo_set = every_guardrail()
    mesh = Mesh(SERVICES, int(time.time()) // GRID * GRID)
    once = {tuple(sorted(one.labels.items())): one for one in (*mesh.series(), *Trouble(mesh).series())}
    backfill(once.values(), folder / "data")
    record(slo_set, folder / "data", folder / "recording", mesh.end, 2 * HOUR)
    with PrometheusServer(folder / "recorded", data=folder / "data") as server:
        yield Opened(Grafana(server.url), slo_set, mesh.end)


KINDS = kinds(every_guardrail())


def test_a_set_with_all_guardrails_gets_every_dashboard() -> None:
    assert list(BUILDERS) == KINDS
    assert {kind for kind, _, _ in EMPTY} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_query_returns_data(opened: Opened, kind: str) -> None:
    found = complaints(kind, opened.load(kind, **FAILING), EMPTY)
    assert not found, "\n\n".join(found)


def test_an_owner_sees_their_own(opened: Opened) -> None:
    board = dict(boards(opened.slo_set))["oncall"]
    (owner,) = (variable for variable in board["templating"]["list"] if variable["name"] == "owner")
    for name, slos in (
        ("All", {"availability", "latency", "gateway"}),
        ("team-platform", {"latency", "gateway"}),
    ):
        (owner["current"],) = (option for option in owner["options"] if option["text"] == name)
        load = opened.grafana.load(board, View.of(board, opened.end))
        assert {one["metric"]["slo"] for one in load.of("Budgets and burn rates").series} == slos
        assert not refused(load)


def test_containers_of_the_service_and_its_connections(opened: Opened) -> None:
    load = opened.load("service", **FAILING)
    for title in ("CPU by container", "Memory by container"):
        assert {one["metric"]["container"] for one in load.of(title).series} == {"app", "istio-proxy"}
    # Of two pods, 100 MiB each: pods of service-10 and of others are not among them.
    proxy = next(one for one in load.of("Memory by container").series if one["metric"]["container"] != "app")
    assert float(proxy["values"][-1][1]) == 2 * 100 * 2**20
    for ref in "AB":
        assert load.of("TCP connections", ref).values[-1] == pytest.approx([1, 2]["AB".index(ref)], rel=0.1)
    failed = [load.of("Failed TCP connections", ref).series[0]["metric"]["response_flags"] for ref in "AB"]
    assert failed == ["UF", "DENY"]


@pytest.mark.parametrize(("kind", "title"), [("service", "Latency"), ("budget", "Latency of the service")])
def test_latency_without_its_guardrail_is_what_it_would_record(opened: Opened, kind: str, title: str) -> None:
    recorded, raw = (one.load(kind, "15m", **FAILING) for one in (opened, opened.bare()))
    for ref in "ABC":
        now = recorded.of(title, ref).values[-1]
        assert raw.of(title, ref).values[-1] == pytest.approx(now, rel=0.1)


def test_a_gateways_latency_is_that_of_what_it_sends(opened: Opened) -> None:
    gateway = {"service": "istio-ingressgateway", "namespace": "istio-system", "slo": "gateway"}
    for one in (opened, opened.bare()):
        load = one.load("budget", "15m", **gateway)
        assert all(load.of("Latency of the service", ref).values for ref in "ABC")


def test_the_slowest_services_are_the_same_without_a_guardrail(opened: Opened) -> None:
    recorded, raw = (one.load("oncall").of("Slowest services") for one in (opened, opened.bare()))
    own = {one["metric"]["service"]: float(one["value"][1]) for one in recorded.series}
    found = {one["metric"]["service"]: float(one["value"][1]) for one in raw.series}
    assert max(own, key=own.__getitem__) == max(found, key=found.__getitem__) == "service-1"
    shared = own.keys() & found.keys()
    assert len(shared) > 1
    assert {name: found[name] for name in shared} == pytest.approx(
        {name: own[name] for name in shared}, rel=0.1
    )


def test_a_panel_of_one_number_shows_one(opened: Opened) -> None:
    found = {
        (kind, title)
        for kind, board in boards(opened.slo_set)
        for title in crowded(board, opened.load(kind, **FAILING))
    }
    assert found == set()


def test_what_falls_back_on_zero_is_not_zero_where_there_is_something(opened: Opened) -> None:
    for kind in ("oncall", "control-plane"):
        assert opened.load(kind).of("istiods").values[0] == 3
    load = opened.load("service", **FAILING)
    (clients,), (servers,) = (load.of("Failed requests", ref).series for ref in "AB")
    # Three clients of two pods each send 500 requests a minute, beside 300 that fail and 100 without a route.
    shares = [float(one["values"][-1][1]) for one in (clients, servers)]
    assert shares[0] == pytest.approx(300 / 3400, rel=0.05)
    assert shares[1] == pytest.approx(900 / 3910, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shown", ["", "15m", "30d"])
def test_no_query_fails_as_the_dashboard_opens_and_over_other_times(
    opened: Opened, kind: str, shown: str
) -> None:
    found = refused(opened.load(kind, shown))
    assert not found, "\n\n".join(found)


@pytest.mark.parametrize(
    "case", sorted({path.parent.name for path in GOLDEN.parents[1].glob("*/slo.yaml")} - ONLY_3)
)
def test_no_query_of_any_golden_file_fails(opened: Opened, case: str) -> None:
    """Most of them have no data here: this is about PromQL that does not parse or has types that do not fit."""
    slo_set = spec.load([GOLDEN.parents[1] / case / "slo.yaml"])
    for kind, board in boards(slo_set):
        load = opened.grafana.load(board, View.of(board, opened.end))
        found = refused(load)
        assert not found, "\n\n".join([kind, *found])
