"""A running mesh: starts everything, makes load, waits until all of it is counted everywhere, and ends everything."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sloctl.demo.mesh.applications import Application, Caller, EventLoop, load
from sloctl.demo.mesh.collectors import Jaeger, SpanServer, Zipkin
from sloctl.demo.mesh.config import EdgeTruth, EdgeTruths, Load, MeshConfig, scrape_configs
from sloctl.demo.mesh.envoy import Envoy
from sloctl.demo.mesh.proxy import INBOUND, INBOUND_CLUSTER, OUTBOUND, SPANS_CLUSTER, Proxy, bootstrap
from sloctl.demo.mesh.web import ask, await_true
from sloctl.demo.pods import MESH_JOB
from sloctl.demo.server import PrometheusServer

_PATIENCE = 60.0
_SCRAPE_TOLERANCE = 0.002
"""By how much Prometheus moves a scrape's time so that scrapes are evenly spaced."""


class Mesh:
    """A gateway and a chain of services behind Envoys, a Prometheus and a server for spans, as a context manager.

    ``directory`` receives every configuration and log. ``spans`` is a running server for spans that several meshes
    may use one after another; without it the mesh starts its own, if its tracer is not "none".

    ``envoys`` and ``applications`` are by workload; ``prometheus`` scrapes the proxies with ``scrape_configs``.

    Raises UsageError if a program is missing, BackendUnavailable if one does not start.
    """

    def __init__(
        self, directory: Path, config: MeshConfig | None = None, *, spans: SpanServer | None = None
    ) -> None:
        self.config = config or MeshConfig()
        self.directory = directory
        self.spans = spans
        self.envoys: dict[str, Envoy] = {}
        self.applications: dict[str, Application] = {}
        self.scrape_configs: list[Mapping[str, Any]] = []
        self._prometheus: PrometheusServer | None = None
        self._callers: dict[str, Caller] = {}
        self._stack = ExitStack()
        self._loop = EventLoop()
        self._received_before = 0

    @property
    def prometheus(self) -> PrometheusServer:
        """What scrapes the proxies; raises LookupError in a mesh without metrics."""
        if self._prometheus is None:
            raise LookupError("this mesh has no Prometheus")
        return self._prometheus

    @property
    def zipkin_url(self) -> str | None:
        """The address of its Zipkin, if it has one."""
        return self.spans.url if isinstance(self.spans, Zipkin) else None

    def __enter__(self) -> Mesh:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def set_failure_rate(self, service: str, rate: float, code: int = 503) -> None:
        """Let a share of the requests that reach a service's application fail with ``code``."""
        self.applications[service].failure_rate = rate
        self.applications[service].failure_code = code

    def set_latency(self, service: str, seconds: float) -> None:
        """Let a service's application take that long for each request."""
        self.applications[service].latency = seconds

    def set_ejection(self, errors: int, seconds: float) -> None:
        """Let every proxy eject a host for ``seconds`` after that many errors in a row."""
        for envoy in self.envoys.values():
            envoy.set_runtime("outlier_detection.consecutive_5xx", errors)
            envoy.set_runtime("outlier_detection.base_ejection_time_ms", int(seconds * 1000))

    def set_max_retries(self, retries: int) -> None:
        """Let every proxy have at most that many retries to one service under way at a time."""
        for workload in self.config.workloads[1:]:
            for envoy in self.envoys.values():
                envoy.set_runtime(f"circuit_breakers.{workload.cluster}.default.max_retries", retries)

    def load(self, requests: int, concurrency: int = 4, timeout: float = 300.0) -> Load:
        """Make ``requests`` requests at the gateway, at most ``concurrency`` at a time, and wait for their answers.

        Raises TimeoutError after ``timeout`` seconds.
        """
        caller = self._callers[self.config.workloads[0].name]
        before = Counter(caller.answers)
        began = time.time()
        self._loop.run(load(caller, requests, concurrency, timeout))
        return Load(began, time.time(), caller.answers - before)

    def truth(self) -> EdgeTruths:
        """What happened on every edge since the start, as the applications counted it."""
        workloads = self.config.workloads
        out: dict[tuple[str, str], EdgeTruth] = {}
        for client, server in itertools.pairwise(workloads):
            caller, application = self._callers[client.name], self.applications[server.name]
            out[client.name, server.name] = EdgeTruth(
                caller.requests,
                application.requests,
                application.first_attempts,
                dict(caller.answers),
                dict(application.served),
            )
        return out

    def wait_settled(self, timeout: float = _PATIENCE) -> None:
        """Wait until no request is under way, all proxies counted all of them, and all counters and spans are stored.

        Raises SloctlError with what is missing after ``timeout`` seconds.
        """
        self._await("the proxies have counted every request", self._counted, timeout)
        if self.config.metrics:
            self.wait_scraped(time.time(), timeout)
        if self.spans is not None:
            self._await("all spans have arrived", self._all_spans(), timeout)

    def wait_scraped(self, after: float = 0.0, timeout: float = _PATIENCE) -> None:
        """Wait until Prometheus has scraped every proxy after ``after`` (Unix seconds).

        Raises LookupError in a mesh without metrics, SloctlError with what is missing after ``timeout`` seconds.
        """
        self._await("Prometheus has scraped every proxy", self._scraped(after), timeout)

    def _start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.spans is None and self.config.tracer != "none":
            kind = Jaeger if self.config.tracer == "opentelemetry" else Zipkin
            self.spans = self._stack.enter_context(kind(self.directory))
        self._received_before = self.spans.received() if self.spans else 0
        self._stack.enter_context(self._loop)
        self._start_chain()
        admins = [(workload, self.envoys[workload.name].admin) for workload in self.config.workloads]
        self.scrape_configs = scrape_configs(admins, self.config.scrape_interval)
        if self.config.metrics:
            server = PrometheusServer(self.directory / "prometheus", scrape_configs=self.scrape_configs)
            self._prometheus = self._stack.enter_context(server)

    def _start_chain(self) -> None:
        """From the last service to the gateway: each proxy must know the next one's port."""
        workloads = self.config.workloads
        upstream = 0
        for position in reversed(range(len(workloads))):
            workload = workloads[position]
            client = workloads[position - 1] if position else None
            server = workloads[position + 1] if position + 1 < len(workloads) else None
            if server is not None:
                self._callers[workload.name] = Caller(server.host)
                self._loop.at_end.append(self._callers[workload.name].close)
            application = Application(workload.name, self.config.seed, self._callers.get(workload.name))
            if client is not None:
                self._loop.run(application.listen())
                self._loop.at_end.append(application.close)
                self.applications[workload.name] = application
            spans = self.spans.spans_port if self.spans else 0
            proxy = Proxy(workload, client, server, application.port, upstream, spans)
            envoy = Envoy(workload.name, self.directory, bootstrap(proxy, self.config))
            self.envoys[workload.name] = self._stack.enter_context(envoy)
            if server is not None:
                self._callers[workload.name].port = envoy.ports[OUTBOUND]
            upstream = envoy.ports.get(INBOUND, 0)

    def _await(self, what: str, missing: Callable[[], str], timeout: float) -> None:
        last = [what]

        def done() -> bool:
            last[0] = missing()
            return not last[0]

        await_true(lambda: f"{what} ({last[0]})", done, timeout)

    def _counted(self) -> str:
        """What is still under way or not counted, or ""."""
        for name, envoy in self.envoys.items():
            stats = envoy.stats()
            if busy := _busy(stats):
                return f"{name}: {busy}"
            arrived = _total(stats, "http.", "bound_0.0.0.0_8080;.downstream_rq_total")
            logged = _total(stats, "istio.requests_total.", "")
            if logged != arrived:
                return f"{name}: {logged} of {arrived} requests are logged"
            application = self.applications.get(name)
            sent = stats.get(f"cluster.{INBOUND_CLUSTER}.upstream_rq_total", 0)
            if application is not None and sent != application.requests:
                return f"{name}: {application.requests} of {sent} requests have arrived"
        return ""

    def _scraped(self, after: float) -> Callable[[], str]:
        def missing() -> str:
            up = f'up{{job="{MESH_JOB}"}}'
            last = self._query(f"min(timestamp({up})) and sum({up}) == {len(self.envoys)}")
            if last is None or last <= after + _SCRAPE_TOLERANCE:
                return f"last scrape at {last}, not after {after}"
            counted = self._query("sum(istio_requests_total) or vector(0)")
            timed = self._query("sum(istio_request_duration_milliseconds_count) or vector(0)")
            return "" if counted == timed else f"{timed} of {counted} requests are timed"

        return missing

    def _query(self, expr: str) -> float | None:
        port = int(self.prometheus.url.rpartition(":")[2])
        found = json.loads(ask("prometheus", port, f"/api/v1/query?query={quote(expr)}"))["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    def _all_spans(self) -> Callable[[], str]:
        """A tracer sends what it has at each tick of its timer: after two more ticks nothing older is left."""
        first = {name: _tracing(envoy.stats(), "timer_flushed") for name, envoy in self.envoys.items()}

        def missing() -> str:
            sent = 0
            for name, envoy in self.envoys.items():
                stats = envoy.stats()
                if _tracing(stats, "timer_flushed") < first[name] + 2:
                    return f"{name} may have more to send"
                sent += _tracing(stats, "spans_sent")
            assert self.spans is not None
            received = self.spans.received() - self._received_before
            lost = sum(_tracing(envoy.stats(), "reports_dropped") for envoy in self.envoys.values())
            return "" if received >= sent else f"{received} of {sent} spans, {lost} reports lost"

        return missing


def _busy(stats: Mapping[str, int]) -> list[str]:
    """The gauges of requests that are under way, but for those of the admin server and of spans being sent."""
    own = ("http.admin.", f"cluster.{SPANS_CLUSTER}.")
    return [
        name
        for name, value in stats.items()
        if value
        and name.endswith(("downstream_rq_active", "upstream_rq_active"))
        and not name.startswith(own)
    ]


def _tracing(stats: Mapping[str, int], name: str) -> int:
    return _total(stats, "tracing.", f".{name}")


def _total(stats: Mapping[str, int], start: str, end: str) -> int:
    return sum(value for name, value in stats.items() if name.startswith(start) and name.endswith(end))
