"""A synthetic mesh as its proxies, istiod and Kubernetes expose it: what guardrails read, scraped every minute.

Services stand in namespaces of ten, call the next few of them, and have a few pods each; an ingress gateway calls the
first ten. Each metric reaches as far back as a rule or a report looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.history import SCRAPE, Times, constant, times
from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.model.durations import number
from sloctl.promql.presets import DURATION_BUCKET, ENVOY_BUCKETS, REQUESTS

NAMESPACE_SIZE = 10
PODS = 2
CALLS = 2
GATEWAY = "istio-ingressgateway"
HISTOGRAMS = 100
"""Services whose latency is counted: in a mesh of 1,000, the buckets of all would be most of its series."""
RECENT, HALF_HOUR, HOURS = 12 * SCRAPE, 37 * SCRAPE, 130 * SCRAPE
MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload and whom it calls."""

    name: str
    namespace: str
    calls: tuple[int, ...]

    @property
    def pods(self) -> tuple[str, ...]:
        """Names as Kubernetes makes them up for a Deployment."""
        return tuple(f"{self.name}-5d8f7c9b6d-xx2x{letter}" for letter in "bcdfghj"[:PODS])


@dataclass(frozen=True, slots=True)
class Mesh:
    """``size`` services, up to the instant ``end``."""

    size: int
    end: int

    def workloads(self) -> list[Workload]:
        """Services by their number, and the gateway."""
        found = [
            Workload(
                f"service-{number}",
                f"team-{number // NAMESPACE_SIZE}",
                tuple((number + step) % self.size for step in range(1, CALLS + 1)),
            )
            for number in range(self.size)
        ]
        return [*found, Workload(GATEWAY, "istio-system", tuple(range(min(10, self.size))))]

    def series(self) -> Iterator[SampledSeries]:
        """Every series, in no order."""
        rng = np.random.default_rng(1)
        shapes = {span: _shapes(self.end, span, rng) for span in (RECENT, HALF_HOUR, HOURS)}
        known = self.workloads()
        for caller in known:
            for pod in caller.pods:
                yield from _pod(caller, pod, shapes)
                for callee in caller.calls:
                    yield from _calls(caller, pod, known[callee], shapes)
        for caller in known:
            for callee in caller.calls:
                for pod in known[callee].pods:
                    yield from _served(caller, known[callee], pod, shapes)
        yield from _control_plane(shapes)


@dataclass(frozen=True, slots=True)
class Shapes:
    """Series of one length: instants, a counter with many events and one with few."""

    at: Times
    many: Times
    few: Times

    def counter(self, labels: dict[str, str], *, rare: bool = False) -> SampledSeries:
        return SampledSeries(labels, self.at, self.few if rare else self.many)

    def gauge(self, labels: dict[str, str], value: int) -> SampledSeries:
        return constant(labels, self.at, value)


Spans = dict[int, Shapes]


def _shapes(end: int, span: int, rng: np.random.Generator) -> Shapes:
    at = times(end, span, SCRAPE)
    many, few = (np.cumsum(rng.poisson(rate, len(at))).astype(np.int64) for rate in (500, 1))
    return Shapes(at, many, few)


def target_of(workload: Workload, pod: str) -> dict[str, str]:
    """The labels of a proxy's scrape target."""
    return {
        "job": "istio-proxies",
        "instance": f"{workload.namespace}/{pod}:15020",
        "namespace": workload.namespace,
        "pod": pod,
    }


def edge(caller: Workload, callee: Workload, reporter: str, code: str) -> dict[str, str]:
    """The labels of requests, as one side reports them."""
    return {
        "reporter": reporter,
        "request_protocol": "http",
        "response_code": code,
        "response_flags": "-" if code == "200" else "UF",
        "connection_security_policy": "unknown" if reporter == "source" else "mutual_tls",
        "source_workload": caller.name,
        "source_workload_namespace": caller.namespace,
        "destination_service_name": callee.name,
        "destination_service_namespace": callee.namespace,
        "destination_version": "v1",
        "destination_workload": callee.name,
        "destination_workload_namespace": callee.namespace,
    }


def _calls(caller: Workload, pod: str, callee: Workload, spans: Spans) -> Iterator[SampledSeries]:
    """What a client's proxy counts of a service: 503s of every second one, circuit breakers of every tenth."""
    number_ = int(callee.name.rpartition("-")[2])
    target = target_of(caller, pod)
    for code in ("200", "503")[: 1 + number_ % 2]:
        labels = {"__name__": REQUESTS} | edge(caller, callee, "source", code) | target
        yield spans[HOURS].counter(labels, rare=code == "503")
    labels = {"__name__": DURATION_BUCKET} | edge(caller, callee, "source", "200") | target
    for bound in (*map(number, ENVOY_BUCKETS), "+Inf") if number_ < HISTOGRAMS else ():
        slow = bound == "+Inf" or float(bound) >= 50
        yield spans[RECENT].counter(labels | {"le": bound}, rare=not slow)
    cluster = {"cluster_name": f"outbound|8080||{callee.name}.{callee.namespace}.svc.cluster.local"}
    names = ["upstream_rq_total", "upstream_rq_completed"]
    if number_ % 10 == 0:
        names += ["upstream_rq_pending_overflow", "upstream_cx_overflow"]
        names += ["outlier_detection_ejections_enforced_total", "outlier_detection_ejections_active"]
    for name in names:
        yield spans[HALF_HOUR].counter({"__name__": f"envoy_cluster_{name}"} | cluster | target)


def _served(caller: Workload, callee: Workload, pod: str, spans: Spans) -> Iterator[SampledSeries]:
    """What a server's proxy counts of a client."""
    number_ = int(callee.name.rpartition("-")[2])
    for code in ("200", "503")[: 1 + number_ % 2]:
        labels = {"__name__": REQUESTS} | edge(caller, callee, "destination", code) | target_of(callee, pod)
        yield spans[HOURS].counter(labels, rare=code == "503")


def _pod(workload: Workload, pod: str, spans: Spans) -> Iterator[SampledSeries]:
    """A target and its certificate; its proxy's container as kube-state-metrics and cAdvisor see it."""
    target = target_of(workload, pod)
    yield spans[HOURS].gauge({"__name__": "up"} | target, 1)
    yield spans[HOURS].gauge({"__name__": "envoy_server_live"} | target, 1)
    for name in ("default", "ROOTCA"):
        labels = {"__name__": "istio_agent_cert_expiry_seconds", "resource_name": name} | target
        yield spans[RECENT].gauge(labels, 40_000)
    labels = {"__name__": "envoy_server_days_until_first_cert_expiring"} | target
    yield spans[RECENT].gauge(labels, 30 if workload.name == GATEWAY else 0)
    container = {
        "namespace": workload.namespace,
        "pod": pod,
        "uid": f"uid-of-{pod}",
        "container": "istio-proxy",
        "job": "kube-state-metrics",
        "instance": "kube-state-metrics:8080",
    }
    head = "kube_pod_container_"
    restarted = int(workload.name.rpartition("-")[2]) % 20 == 0 if workload.name != GATEWAY else False
    restarts = {"__name__": f"{head}status_restarts_total"} | container
    yield spans[HOURS].counter(restarts) if restarted else spans[HOURS].gauge(restarts, 0)
    if restarted:
        reason = {"__name__": f"{head}status_last_terminated_reason", "reason": "Error"}
        yield spans[HOURS].gauge(reason | container, 1)
    limits = {"__name__": f"{head}resource_limits"} | container
    for resource, unit, value in (("cpu", "core", 2), ("memory", "byte", 1000 * MEGABYTE)):
        yield spans[RECENT].gauge(limits | {"resource": resource, "unit": unit}, value)
    cgroup = {key: value for key, value in container.items() if key != "uid"}
    cgroup |= {"job": "cadvisor", "instance": f"node-{sum(map(ord, pod)) % 50}:10250"}
    yield spans[RECENT].gauge({"__name__": "container_memory_working_set_bytes"} | cgroup, 100 * MEGABYTE)
    for name, rare in (
        ("cpu_usage_seconds_total", True),
        ("cpu_cfs_periods_total", False),
        ("cpu_cfs_throttled_periods_total", True),
    ):
        yield spans[RECENT].counter({"__name__": f"container_{name}"} | cgroup, rare=rare)


def _control_plane(spans: Spans) -> Iterator[SampledSeries]:
    """Three istiods, and a tracing backend."""
    shapes = spans[HOURS]
    for index in range(3):
        pod = f"istiod-5d8f7c9b6d-xx2x{'bcd'[index]}"
        target = {"job": "istiod", "instance": f"{pod}:15014", "namespace": "istio-system", "pod": pod}
        yield shapes.gauge({"__name__": "up"} | target, 1)
        yield shapes.gauge({"__name__": "istio_build", "component": "pilot", "tag": "1.24.0"} | target, 1)
        yield shapes.gauge({"__name__": "pilot_xds", "version": "1.24.0"} | target, 1000)
        yield shapes.gauge({"__name__": "pilot_info", "version": "1.24.0"} | target, 1)
        for kind in ("cds", "eds", "lds", "rds", "nds"):
            yield shapes.counter({"__name__": "pilot_xds_pushes", "type": kind} | target)
        for bound in ("0.1", "0.5", "1", "3", "5", "10", "20", "30", "+Inf"):
            yield shapes.counter({"__name__": "pilot_proxy_convergence_time_bucket", "le": bound} | target)
        for name in (
            "citadel_server_root_cert_expiry_timestamp",
            "citadel_server_cert_chain_expiry_timestamp",
        ):
            yield shapes.gauge({"__name__": name} | target, int(shapes.at[-1] // 1000) + 10**8)
    zipkin = {"job": "zipkin", "instance": "zipkin:9411", "pod": "zipkin-0"}
    yield shapes.gauge({"__name__": "up"} | zipkin, 1)
    yield shapes.counter({"__name__": "zipkin_collector_spans_total", "transport": "http"} | zipkin)
