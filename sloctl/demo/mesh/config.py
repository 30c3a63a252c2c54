"""What a mesh is to be like, how Prometheus scrapes it, and what truly happened in it: data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sloctl.demo.pods import MESH_JOB, pod_name

Tracer = Literal["zipkin", "zipkin-unshared", "opentelemetry", "none"]
"""``zipkin``: a client's and its server's spans share one id. ``zipkin-unshared``: each has its own."""

Spawn = Literal["none", "gateway", "all"]
"""Which proxies make a span of its own for each attempt: Istio's gateways do since 1.28, its sidecars do not."""

RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes,5xx"
"""Istio's default, and every answer of 500 and above."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A deployment of one pod with a sidecar, and the service before it."""

    name: str
    namespace: str = "shop"
    version: str = "v1"

    @property
    def host(self) -> str:
        """The service's name in the cluster's DNS."""
        return f"{self.name}.{self.namespace}.svc.cluster.local"

    @property
    def node(self) -> str:
        """What its proxy calls itself in spans, as Istio's do."""
        return f"{self.name}.{self.namespace}"

    @property
    def cluster(self) -> str:
        """The name of the service's cluster in its clients' proxies."""
        return f"outbound|8080||{self.host}"


GATEWAY = Workload("istio-ingressgateway", "istio-system")


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """How the proxies of a mesh are configured.

    ``services`` is the chain behind the gateway: each calls the next. ``sampling`` is the percentage of requests that
    are traced; with ``attempt_tag``, outbound spans have a tag of this name with the request header
    ``x-envoy-attempt-count``. ``num_retries`` and ``retry_on`` are the retry policy of every edge, with a first
    back-off of ``backoff`` seconds. ``max_retries`` is the circuit breaker's limit on retries at the same time.
    ``per_try_timeout`` is in seconds, 0 for none, ``timeout`` that of a request with all its retries. A host is
    ejected for ``ejection_seconds`` after ``ejection_errors`` errors in a row: by default, so many never come. With
    ``metrics`` a Prometheus scrapes the proxies every ``scrape_interval``.
    """

    services: tuple[str, ...] = ("checkout", "payments")
    namespace: str = "shop"
    tracer: Tracer = "zipkin"
    spawn_upstream_span: Spawn = "none"
    attempt_tag: str = ""
    sampling: float = 100.0
    num_retries: int = 2
    retry_on: str = RETRY_ON
    backoff: float = 0.025
    max_retries: int = 1024
    per_try_timeout: float = 0.0
    timeout: float = 15.0
    ejection_errors: int = 1_000_000
    ejection_seconds: float = 30.0
    metrics: bool = True
    scrape_interval: str = "1s"
    seed: int = 7

    def __post_init__(self) -> None:
        """Refuse (ValueError) a mesh without services, or with one twice."""
        if not self.services or len(set(self.services)) < len(self.services):
            raise ValueError("services must be some names, each once")

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """The gateway and the services, in the order of the chain."""
        return (GATEWAY, *(Workload(name, self.namespace) for name in self.services))


@dataclass(frozen=True, slots=True)
class EdgeTruth:
    """What happened between a workload and the service that it calls.

    ``requests`` are calls that the client made, whatever the proxies did with them, and ``answers`` how many of them
    got which response code in the end (0: none). ``attempts`` are what reached the server's application, ``served``
    how many of them it answered with which code, ``first_attempts`` how many were no retries.
    """

    requests: int = 0
    attempts: int = 0
    first_attempts: int = 0
    answers: Mapping[int, int] = field(default_factory=dict)
    served: Mapping[int, int] = field(default_factory=dict)

    @property
    def amplification(self) -> float:
        """Attempts per request; NaN without requests."""
        return self.attempts / self.requests if self.requests else float("nan")

    def since(self, earlier: EdgeTruth) -> EdgeTruth:
        """What happened after ``earlier``."""
        return EdgeTruth(
            self.requests - earlier.requests,
            self.attempts - earlier.attempts,
            self.first_attempts - earlier.first_attempts,
            _less(self.answers, earlier.answers),
            _less(self.served, earlier.served),
        )


EdgeTruths = Mapping[tuple[str, str], EdgeTruth]
"""The edges of a mesh, by (client, server)."""


def since(truth: EdgeTruths, earlier: EdgeTruths) -> EdgeTruths:
    """What happened between two moments."""
    return {names: edge.since(earlier.get(names, EdgeTruth())) for names, edge in truth.items()}


@dataclass(frozen=True, slots=True)
class Load:
    """A finished run of the load generator: its start and end in Unix seconds, and the codes that its callers got."""

    began: float
    ended: float
    answers: Mapping[int, int]


def _less(counts: Mapping[int, int], earlier: Mapping[int, int]) -> dict[int, int]:
    return {code: n for code, count in sorted(counts.items()) if (n := count - earlier.get(code, 0))}


def scrape_configs(proxies: Sequence[tuple[Workload, int]], interval: str) -> list[Mapping[str, Any]]:
    """The scrape_configs of a prometheus.yml for proxies, each with the port of its admin server."""
    targets = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {
                "instance": f"10.4.{position}.1:15020",
                "namespace": workload.namespace,
                "pod": pod_name(workload.name, 0, 0),
                "app": workload.name,
            },
        }
        for position, (workload, port) in enumerate(proxies)
    ]
    return [
        {
            "job_name": MESH_JOB,
            "metrics_path": "/stats/prometheus",
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "static_configs": targets,
            "metric_relabel_configs": [
                {"source_labels": ["__name__"], "regex": "envoy_(istio_.+)", "target_label": "__name__"}
            ],
        }
    ]
