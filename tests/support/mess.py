"""A messy mesh: everything of the catalogue, exposed as badly as it happens in real life.

Every page has all metrics of :data:`sloctl.promql.catalogue.METRICS`. What is wrong with it is systematic rather
than drawn:

- *twins*: for each label that some rule reads, joins by or sets itself, two series that differ in that label alone;
- *names*: for each label of each metric, a series for every value of :data:`NAMES` and of what Envoy calls clusters;
- *values*: gauges that are NaN, infinite or negative, and counters that restart, vanish and come late;
- *targets*: one pod scraped by two ports, two replicas of a scraper, two clusters, labels that are empty or missing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import BaseHTTPRequestHandler
from typing import Any
from zlib import crc32

from sloctl.promql.catalogue import METRICS, Metric
from tests.support.local_server import LocalServer

STEP = 0.5
"""Seconds between two scrapes."""
NAMES = (
    "",
    "unknown",
    "*",
    "*.example.org",
    "BlackHoleCluster",
    "PassthroughCluster",
    "a-b-0",
    "web-5d8f7c9b6d-xx2xb",
    ".*",
    "istiod|(.+)",
    "pay.v2",
    "a|b",
    "[",
    'say "hello"',
    "back\\slash\\",
    "$1 ${2} $$",
    "{{ $labels.service }} {{",
    "two\nlines",
    "\n",
    "zürich-中文-🚀",
    "n" * 253,
)
"""Values that any label may have."""
CLUSTERS = (
    "",
    "xds-grpc",
    "BlackHoleCluster",
    "InboundPassthroughClusterIpv4",
    "inbound|8080||",
    "inbound|9080|http|web.shop.svc.cluster.local",
    "outbound|8080||checkout.shop.svc.cluster.local",
    "outbound|8080||checkout.shop.svc.cluster.local;",
    "outbound|8080|v1|checkout.shop.svc.cluster.local",
    "outbound|8443|v1|checkout.shop.svc.cluster.local;",
    "outbound|8080||checkout.shop.svc.other.domain",
    "outbound_.8080_._.checkout.shop.svc.cluster.local",
    "outbound|443||api.example.org",
    "outbound|443||*.example.org",
    "outbound|443||svc",
    "outbound|443||.shop.svc.cluster.local",
    "outbound|443||",
    "outbound||||",
    "outbound|8080||a|b.shop.svc.cluster.local",
    'outbound|8080||say "x".shop.svc.cluster.local',
    "outbound|8080||two\nlines.shop.svc.cluster.local",
    "outbound|8080||zürich.中文.svc.cluster.local",
    "inbound-vip|8080|http|checkout.shop.svc.cluster.local",
    f"outbound|8080||{'n' * 253}.shop.svc.cluster.local",
)
BOUNDS = (
    *("0.1", "1", "1.0", "3", "3.0", "10", "10.0", "30", "100", "250", "250.0", "1000", "2500", "2.5e+03"),
    *("1e+04", "+Inf"),
)
ODD = ("", "none", "-1", "10,0")
"""Bounds that are none."""
TWINS = (
    *("cluster", "replica", "job", "instance", "pod", "namespace", "service", "container", "endpoint", "uid"),
    *("type", "metric", "reason", "workload", "certificate", "version", "revision", "source", "of", "cpu"),
    *("source_namespace", "destination_version", "destination_workload", "exported_namespace", "deployment"),
    *("sloctl_job", "le", "reporter", "resource", "unit", "severity", "slo", "telemetry", "guardrail", "tag"),
)
"""Labels that rules read, join by or set, and those that scrapers like to add."""
NUMBERS = ("NaN", "+Inf", "-1", "0", "1e308", "2147483647")
POD = "web-5d8f7c9b6d-xx2xb"
BASE = {
    "cluster_name": "outbound|8080||checkout.shop.svc.cluster.local",
    "component": "pilot",
    "connection_security_policy": "mutual_tls",
    "container": "istio-proxy",
    "cronjob": "shop-report",
    "deployment": "istio-ingressgateway",
    "destination_service_name": "checkout",
    "destination_service_namespace": "shop",
    "destination_version": "v1",
    "grpc_response_status": "",
    "instance": "10.0.0.1:15020",
    "job": "istio",
    "le": "+Inf",
    "namespace": "shop",
    "pod": POD,
    "reason": "OOMKilled",
    "reporter": "source",
    "request_protocol": "http",
    "resource": "memory",
    "resource_name": "default",
    "response_code": "200",
    "response_flags": "-",
    "sloctl_job": "slis",
    "slo_set": "shop",
    "source_workload": "web",
    "source_workload_namespace": "shop",
    "type": "cds",
    "uid": "d2f1",
}
"""What a tidy series of each metric has."""
SPECIAL: dict[str, tuple[str, ...]] = {
    "cluster_name": CLUSTERS,
    "component": ("proxy", "ztunnel"),
    "connection_security_policy": ("none", "unknown"),
    "cronjob": ("shop-slis", "sidecar-report", "ambient-slis"),
    "deployment": ("istiod", "istiod-1-24", "istiod-1-25", "public-gateway-istio"),
    "destination_version": ("v2", "canary", "1.0"),
    "grpc_response_status": ("0", "7", "14"),
    "le": (*BOUNDS, *ODD),
    "pod": ("istio-ingressgateway-7d9c5b8f4-x2k4z", "istio-ingressgateway-0", "istiod-1-24-6f9c8d7b5-qwxyz"),
    "reason": ("Error", "Completed"),
    "reporter": ("destination", "waypoint"),
    "request_protocol": ("grpc", "tcp"),
    "resource": ("cpu", "nvidia_com_gpu"),
    "resource_name": ("ROOTCA",),
    "response_code": ("0", "403", "404", "500", "503"),
    "response_flags": ("UO", "URX,UF", "NR", "DENY", "DC"),
    "slo_set": ("sidecar", "ambient", "edge"),
    "source_workload": ("istio-ingressgateway",),
    "type": ("cds_senderr", "lds_builderr"),
}
"""Values of a label that mean something to some rule."""

Labels = Mapping[str, str]
Series = tuple[Metric, Labels, str]
"""A metric, labels, and how its value moves: a key of what :func:`value` knows, or a number."""


def _base(metric: Metric, /, **labels: str) -> dict[str, str]:
    return {name: BASE[name] for name in metric.labels if name in BASE} | labels


def tidy() -> Iterator[Series]:
    """One series of each metric, as it should be."""
    for metric in METRICS.values():
        if metric.name != "up":
            yield metric, _base(metric), ""


def everyday() -> Iterator[Series]:
    """What a mesh in trouble looks like: each value that means something, beside the usual ones."""
    yield from tidy()
    for metric in METRICS.values():
        for name in metric.labels:
            for value in SPECIAL.get(name, ()):
                yield metric, _base(metric, **{name: value}), ""
    yield from _failures()
    yield from _denials()
    yield from _slowness()


def _failures() -> Iterator[Series]:
    requests = METRICS["istio_requests_total"]
    for reporter in ("source", "destination", "waypoint"):
        for code, flags in (("503", "UO"), ("404", "NR"), ("403", "-"), ("0", "URX")):
            for source in ("web", "istio-ingressgateway"):
                labels = {"reporter": reporter, "response_code": code, "response_flags": flags}
                labels["connection_security_policy"] = "none"
                yield requests, _base(requests, source_workload=source, **labels), ""


def _denials() -> Iterator[Series]:
    for flags in ("DENY", "-"):
        for name in ("istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total"):
            yield METRICS[name], _base(METRICS[name], reporter="destination", response_flags=flags), ""


def _slowness() -> Iterator[Series]:
    for name in ("istio_request_duration_milliseconds_bucket", "pilot_proxy_convergence_time_bucket"):
        for reporter in ("source", "waypoint"):
            for le in BOUNDS:
                # Nothing below the last bound: the quantile is over every limit.
                yield METRICS[name], _base(METRICS[name], reporter=reporter, le=le, revision="slow"), le


def names() -> Iterator[Series]:
    """Every value in all labels at once; in each label for itself one of them, what means something, and none."""
    for metric in METRICS.values():
        if metric.name == "up":
            continue
        for value in NAMES:
            yield metric, _base(metric) | dict.fromkeys(metric.labels, value), ""
        for number, name in enumerate(metric.labels):
            for value in (NAMES[(7 * number + len(metric.name)) % len(NAMES)], *SPECIAL.get(name, ())):
                yield metric, _base(metric, **{name: value}), ""
            yield metric, {k: v for k, v in _base(metric).items() if k != name}, ""


def twins() -> Iterator[Series]:
    """Series that differ in one label from the tidy one."""
    yield from tidy()
    for metric in METRICS.values():
        for name in TWINS if metric.name != "up" else ():
            yield metric, _base(metric, **{name: "twin"}), ""


def numbers() -> Iterator[Series]:
    """Gauges with every odd value, each in a namespace of its own and all in one."""
    for metric in METRICS.values():
        if metric.type == "gauge" and metric.name != "up":
            for number in NUMBERS:
                yield metric, _base(metric, version=number), number
                if "namespace" in metric.labels or not metric.labels:
                    yield metric, _base(metric, namespace=f"odd{number}"), number


def only(number: str) -> Iterator[Series]:
    """The tidy series, of which all gauges (counters: if it is 0) have one value."""
    for metric, labels, _ in tidy():
        yield metric, labels, number if metric.type == "gauge" or number == "0" else ""


def _value(metric: Metric, labels: Labels, how: str, dice: int, tick: int) -> str:
    """The value at a scrape, of a series that drew ``dice``; "" while there is no such series."""
    if metric.type == "gauge" and how:
        return how
    if how == "0":
        return "0"
    if metric.type == "gauge":
        if metric.name.endswith("_timestamp") or "timestamp_seconds" in metric.name:
            return str(int(time.time()) + (dice % 3 - 1) * 86400)
        if "reason" in labels:
            return str(int(labels["reason"] == BASE["reason"]))
        if labels.get("resource") == "cpu" or metric.name.endswith("cpu_cores"):
            return "10"
        return str((dice % 5) * 1000)
    if dice % 13 == 0 and tick % 9 < 3:
        return ""  # gone for a while
    if dice % 13 == 1 and tick < 12:
        return ""  # comes late
    since = tick % 7 if dice % 13 == 2 else tick  # restarts
    return str(since * (40 if how in ("", "+Inf") else 0) + dice % 50 * (how == ""))


@cache
def _rows(name: str) -> list[tuple[str, Metric, Labels, str, int]]:
    """A page's series: how each is written, what it is, and what it drew."""
    rows = []
    for metric, labels, how in PAGES[name]():
        pairs = sorted(labels.items())
        text = ",".join(f"{label}={_escaped(value)}" for label, value in pairs)
        dice = crc32(repr((metric.name, pairs)).encode())
        rows.append((f"{metric.name}{{{text}}}", metric, labels, how, dice))
    return rows


def page(name: str, tick: int) -> str:
    """What a page exposes at a scrape; of two series alike, the first."""
    found: dict[str, str] = {}
    for text, metric, labels, how, dice in _rows(name):
        number = _value(metric, labels, how, dice, tick)
        if number:
            found.setdefault(text, number)
    return "".join(f"{name} {number}\n" for name, number in found.items())


def _escaped(value: str) -> str:
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


PAGES: dict[str, Callable[[], Iterator[Series]]] = {
    "everyday": everyday,
    "names": names,
    "twins": twins,
    "numbers": numbers,
    "nothing": lambda: iter(()),
    **{f"only{number}": partial(only, number) for number in NUMBERS},
}


@dataclass(frozen=True)
class Target:
    """Something that is scraped. ``honors``: labels of the page win over those of the target."""

    page: str
    labels: Labels
    honors: bool = True


def targets() -> list[Target]:
    """Pods that are scraped twice, by two replicas, in two clusters, with and without labels."""
    pod = {"job": "istio", "instance": "10.0.0.1:15020", "pod": POD, "namespace": "shop"}
    bare = {"job": "istio", "instance": "10.0.0.9:15020"}
    return [
        Target("everyday", pod),
        Target("everyday", pod, honors=False),
        Target("everyday", pod | {"instance": "10.0.0.1:15090"}),
        Target("everyday", pod | {"cluster": "eu1"}),
        Target("everyday", pod | {"replica": "b"}),
        Target(
            "everyday", pod | {"type": "x", "metric": "y", "reason": "z", "workload": "w", "service": "s"}
        ),
        Target("nothing", bare),
        Target("names", {"job": "names", "instance": "10.0.0.2:8080"}),
        Target("twins", {"job": "twins", "instance": "10.0.0.3:8080"}),
        Target("numbers", {"job": "numbers", "instance": "10.0.0.4:8080"}),
        Target("everyday", pod | {"pod": "istio-ingressgateway-7d9c5b8f4-x2k4z"}),
        Target("nothing", pod | {"pod": "istio-ingressgateway-7d9c5b8f4-x2k4z", "cluster": "eu1"}),
        # (The configuration is written as JSON, whose form of characters beyond 16 bits YAML does not know.)
        *(
            Target("nothing", {"job": "istio", "instance": value, "pod": value})
            for value in NAMES
            if value and max(value) <= "\uffff"
        ),
    ]


@dataclass
class Exporter:
    """Serves the pages; every target is down for two scrapes in eleven, one after the other."""

    started: float = field(default_factory=time.monotonic)
    _server: LocalServer | None = None
    _pages: dict[tuple[str, int], str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> str | None:
        """The page of a target's path; None while it is down."""
        _, name, number = path.split("/")
        tick = int((time.monotonic() - self.started) / STEP)
        if (tick + 3 * int(number)) % 17 in (8, 9):
            return None
        with self._lock:
            if (name, tick) not in self._pages:
                self._pages = {key: text for key, text in self._pages.items() if key[1] >= tick - 1}
                self._pages[name, tick] = page(name, tick)
            return self._pages[name, tick]

    def scrape_configs(self, found: list[Target]) -> list[dict[str, Any]]:
        """A job for targets whose labels give way, and one for the others."""
        assert self._server is not None
        return [
            {
                "job_name": f"honors-{honors}",
                "honor_labels": honors,
                "scrape_interval": f"{int(STEP * 1000)}ms",
                "scrape_timeout": f"{int(STEP * 1000)}ms",
                "static_configs": [
                    {
                        "targets": [self._server.address],
                        "labels": {**target.labels, "__metrics_path__": f"/{target.page}/{number}"},
                    }
                    for number, target in enumerate(found)
                    if target.honors is honors
                ],
            }
            for honors in (True, False)
        ]

    def __enter__(self) -> Exporter:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = exporter.answer(self.path)
                body = (found or "").encode()
                self.send_response(500 if found is None else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(LocalServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A scrape that was given up is none of ours."""

        self._server = Server(Handler)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
