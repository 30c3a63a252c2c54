"""The cascading incident, played fast: a mesh of 24 services whose pods are scraped while inventory gets slow.

Real Prometheus and Alertmanager cannot be given another clock, so every duration is divided by ``SCALE`` instead: the
rules' (:func:`hastened`), the scrape and evaluation intervals, and those of Alertmanager. A minute of the incident
then lasts two seconds, and all that is compared is in minutes of the incident.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from typing import Any

from tests.support.local_server import LocalServer

SCALE = 30
BOUNDS = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)
QUICK = {10.0: 0.5, 25.0: 0.4, 50.0: 0.1}
"""Share of requests by the bucket that they fall in, in milliseconds."""
SLOW = {25.0: 0.2, 2500.0: 0.2, 5000.0: 0.6}
NAMESPACE = "shop"
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = r"(?:[0-9]+(?:ms|[smhdw]))+"


@dataclass(frozen=True)
class Edge:
    """Requests a minute from one workload to a service, and what the incident makes of them.

    ``failing`` is the share of requests that fail for the client, ``attempts`` how many reach the server for each, of
    which the share ``rejected`` fails; ``overflow`` requests a minute are turned away by the client's own proxy.
    """

    source: str
    service: str
    rate: int
    failing: float = 0.0
    attempts: float = 1.0
    rejected: float = 0.0
    slow: bool = False
    overflow: int = 0


@dataclass(frozen=True)
class World:
    """The mesh, and when the incident is (minutes from the start)."""

    edges: tuple[Edge, ...]
    begins: float
    ends: float
    ejected: tuple[str, ...] = ()

    def pods(self) -> list[str]:
        """What is scraped: a pod of each workload, but one for all of those that only answer."""
        return sorted({self._pod(name) for edge in self.edges for name in (edge.source, edge.service)})

    def _pod(self, workload: str) -> str:
        busy = any(edge.source == workload or (edge.service == workload and edge.slow) for edge in self.edges)
        return f"{workload}-1" if busy else "others-1"

    def page(self, pod: str, minute: float) -> str:
        """What a pod exposes."""
        ill = max(0.0, min(minute, self.ends) - self.begins)
        well = minute - ill
        during = self.begins <= minute < self.ends
        out: list[str] = []
        for edge in self.edges:
            if self._pod(edge.source) == pod:
                out += _requests(edge, "source", well, ill, edge.failing, 1.0)
                out += _latency(edge, well, ill)
                out += _envoy(edge, well, ill, ejected=during and edge.service in self.ejected)
            if self._pod(edge.service) == pod:
                out += _requests(edge, "destination", well, ill, edge.rejected, edge.attempts)
        return "\n".join(out) + "\n"


def cascade() -> World:
    """The incident of the source document: a slow inventory takes checkout, payments and shipping with it."""
    others = [f"service-{number:02}" for number in range(1, 17)]
    edges = [
        Edge("istio-ingressgateway", "frontend", 1200, failing=0.01, rejected=0.01),
        Edge("frontend", "checkout", 300, failing=0.3, rejected=0.3),
        *(Edge("frontend", name, 120) for name in ("catalog", "cart", *others)),
        *(Edge("checkout", name, 300, failing=0.3, rejected=0.3) for name in ("payments", "shipping")),
    ]
    for client in ("checkout", "payments", "shipping"):
        edges.append(
            Edge(client, "inventory", 300, failing=0.5, attempts=2.2, rejected=0.7, slow=True, overflow=30)
        )
    return World(tuple(edges), begins=15, ends=35, ejected=("inventory",))


def _labels(**labels: str) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def _requests(
    edge: Edge, reporter: str, well: float, ill: float, failing: float, attempts: float
) -> Iterator[str]:
    common = {
        "reporter": reporter,
        "source_workload": edge.source,
        "source_workload_namespace": "istio-system" if "gateway" in edge.source else NAMESPACE,
        "destination_service_name": edge.service,
        "destination_service_namespace": NAMESPACE,
        "destination_workload": edge.service,
        "destination_version": "v1",
        "request_protocol": "http",
        "connection_security_policy": "mutual_tls" if reporter == "destination" else "unknown",
    }
    bad = int(ill * edge.rate * attempts * failing)
    good = int(well * edge.rate + ill * edge.rate * attempts * (1 - failing))
    yield f"istio_requests_total{{{_labels(**common, response_code='200', response_flags='-')}}} {good}"
    if bad:  # Istio creates a series at its first event
        flags = "URX" if reporter == "source" else "-"
        yield f"istio_requests_total{{{_labels(**common, response_code='503', response_flags=flags)}}} {bad}"


def _latency(edge: Edge, well: float, ill: float) -> Iterator[str]:
    common = {
        "reporter": "source",
        "source_workload": edge.source,
        "destination_service_name": edge.service,
        "destination_service_namespace": NAMESPACE,
        "response_code": "200",
    }
    name = "istio_request_duration_milliseconds_bucket"
    then = SLOW if edge.slow else QUICK
    for bound in BOUNDS:
        before = sum(share for bucket, share in QUICK.items() if bucket <= bound)
        during = sum(share for bucket, share in then.items() if bucket <= bound)
        count = int(edge.rate * (well * before + ill * during))
        yield f"{name}{{{_labels(**common, le=f'{bound:g}')}}} {count}"
    yield f"{name}{{{_labels(**common, le='+Inf')}}} {int(edge.rate * (well + ill))}"


def _envoy(edge: Edge, well: float, ill: float, *, ejected: bool) -> Iterator[str]:
    cluster = _labels(cluster_name=f"outbound|8080||{edge.service}.{NAMESPACE}.svc.cluster.local")
    done = int(edge.rate * (well + ill))
    turned_away = int(edge.overflow * ill)
    retries = int(edge.rate * ill * (edge.attempts - 1))
    yield f"envoy_cluster_upstream_rq_total{{{cluster}}} {done - turned_away + retries}"
    yield f"envoy_cluster_upstream_rq_completed{{{cluster}}} {done}"
    yield f"envoy_cluster_upstream_rq_pending_overflow{{{cluster}}} {turned_away}"
    yield f"envoy_cluster_outlier_detection_ejections_active{{{cluster}}} {int(ejected)}"
    yield f"envoy_cluster_outlier_detection_ejections_enforced_total{{{cluster}}} {int(ejected)}"


def hastened(text: str) -> str:
    """Durations of a rule file or of Alertmanager's configuration, divided by ``SCALE``.

    In PromQL: ranges, subqueries and offsets; in YAML: the values of the keys that are durations.
    """
    text = re.sub(
        rf"\[({_DURATION})(?::({_DURATION})?)?\]",
        lambda m: f"[{_divided(m[1])}{':' + _divided(m[2]) if m[2] else ''}]",
        text,
    )
    text = re.sub(rf"\boffset ({_DURATION})", lambda m: f"offset {_divided(m[1])}", text)
    keys = "interval|for|keep_firing_for|group_wait|group_interval|repeat_interval|resolve_timeout"
    return re.sub(rf'^( *(?:{keys}): "?)({_DURATION})', lambda m: m[1] + _divided(m[2]), text, flags=re.M)


def _divided(duration: str) -> str:
    total = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"([0-9]+)(ms|[smhdw])", duration))
    # A range that is a millisecond short of so many steps stays so.
    return f"{(total + 1) // SCALE - 1}ms" if total % 1000 == 999 else f"{max(total // SCALE, 1)}ms"


@dataclass
class Play:
    """Serves the pods of a world, in its own time, and takes what Alertmanager sends."""

    world: World
    started: float = float("inf")
    received: list[Received] = field(default_factory=list)
    scraped: dict[str, list[float]] = field(default_factory=dict)
    """When each pod was scraped, in minutes of the incident."""
    _server: LocalServer | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def stalled(self, begin: float, end: float) -> float:
        """The minutes that scrapes came late between two others, at worst: what a busy machine adds to everything.

        A pod is scraped every quarter of a minute.
        """
        with self._changed:
            times = [[begin, *(at for at in pod if begin < at < end), end] for pod in self.scraped.values()]
        return max(later - earlier - 0.25 for pod in times for earlier, later in pairwise(pod))

    def minute(self, at: float | None = None) -> float:
        """The minute of the incident at a Unix time; now without one. 0 before it begins."""
        return max(0.0, ((time.time() if at is None else at) - self.started) * SCALE / 60)

    def begin(self) -> None:
        """Let the world's clock run."""
        self.started = time.time()

    @property
    def address(self) -> str:
        assert self._server is not None
        return self._server.address

    def scrape_configs(self) -> list[dict[str, Any]]:
        """A target for each pod."""
        return [
            {
                "job_name": pod,
                "scrape_interval": f"{15000 // SCALE}ms",
                "scrape_timeout": f"{15000 // SCALE}ms",
                "metrics_path": f"/pods/{pod}",
                "static_configs": [
                    {
                        "targets": [self.address],
                        "labels": {"pod": pod, "job": "envoy-stats", "instance": f"{pod}:15020"},
                    }
                ],
            }
            for pod in self.world.pods()
        ]

    def until(self, minute: float) -> None:
        """Wait for a minute of the incident."""
        with self._changed:
            while (left := (minute - self.minute()) * 60 / SCALE) > 0:
                self._changed.wait(left)

    def scrape(self, pod: str) -> str:
        """The page of a pod, now."""
        now = self.minute()
        with self._changed:
            self.scraped.setdefault(pod, []).append(now)
        return self.world.page(pod, now)

    def take(self, receiver: str, body: Mapping[str, Any]) -> None:
        """Keep a notification."""
        with self._changed:
            self.received.append(Received(receiver, self.minute(), dict(body)))
            self._changed.notify_all()

    def __enter__(self) -> Play:
        self._server = LocalServer(_handler(self))
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()


@dataclass(frozen=True)
class Received:
    """A notification: to whom, when (minute of the incident), and Alertmanager's message."""

    receiver: str
    minute: float
    body: dict[str, Any]

    @property
    def group(self) -> str:
        return str(self.body["groupKey"])

    @property
    def firing(self) -> list[dict[str, str]]:
        """The labels of the alerts that fire."""
        return [alert["labels"] for alert in self.body["alerts"] if alert["status"] == "firing"]


def _handler(play: Play) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            pod = self.path.removeprefix("/pods/")
            self._answer(play.scrape(pod).encode())

        def do_POST(self) -> None:
            import json

            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            play.take(self.path.removeprefix("/notify/"), body)
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
