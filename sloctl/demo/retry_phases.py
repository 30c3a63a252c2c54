"""Retries in a real mesh, three ways: what the applications counted, what traces say, and what metrics say.

Each share of failures gets a mesh of its own, so that neither the half hour that metrics are about nor the traces of
one hold anything of another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jobs import retry_amplification
from jobs.reports import guardrails
from sloctl import spec
from sloctl.backends.traces.client import open_traces
from sloctl.demo import pipeline
from sloctl.demo.mesh import Mesh, MeshConfig
from sloctl.demo.mesh.programs import find_envoy, find_java, find_zipkin
from sloctl.demo.programs import find_program
from sloctl.settings.backends import TracesSettings

FAILURES = (0.0, 0.3, 1.0)
"""Shares of payments' answers that are errors."""
_FAILING = "payments"
_CONCURRENCY = 4
_BACKOFF = 0.01
SLO_FILE = """\
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {{name: mesh}}
sources:
  prometheus: {{url: "{prometheus}"}}
  traces: {{backend: zipkin, url: "{zipkin}", sampling: 100}}
defaults: {{owner: team-mesh}}
slos:
  - {{name: availability, service: "*", namespace: shop, objective: 99.5, sli: {{preset: availability}}}}
guardrails:
  - {{preset: retry-amplification, max: 1.1, owner: team-mesh}}
"""
"""The SLO file of the mesh, with the addresses of its ``prometheus`` and its ``zipkin`` to be filled in."""


@dataclass(frozen=True, slots=True)
class EdgeCounts:
    """Requests and attempts of an edge; NaN where nothing is known of it."""

    requests: float = math.nan
    attempts: float = math.nan


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the applications counted on an edge, beside what traces and metrics say.

    ``verdict`` is the job's, of traces against metrics.
    """

    source: str
    destination: str
    truth: EdgeCounts
    traces: EdgeCounts
    metrics: EdgeCounts
    verdict: str

    @property
    def agree(self) -> bool:
        """Whether traces have each request and attempt, and the metrics' ratio is the same as far as scrapes allow."""
        return self.traces == self.truth and self.verdict == "agree"


@dataclass(frozen=True, slots=True)
class Phase:
    """A mesh after its load: what was counted, the job's result, and an SLO file that names its servers."""

    failures: float
    mesh: Mesh
    file: Path
    comparisons: tuple[Comparison, ...]
    found: retry_amplification.RetryFrames


def require_programs() -> None:
    """Look for every program that a phase starts; Prometheus is installed if it may be, Zipkin fetched with Maven.

    Raises UsageError saying how to get what is missing.
    """
    find_envoy()
    find_java()
    find_program("prometheus", install=True)
    find_zipkin()


@contextmanager
def running(directory: Path, failures: float, requests: int) -> Iterator[Phase]:
    """A fresh mesh in which payments fails for that share of requests, after ``requests`` at the gateway.

    Everything is stopped at the end. Raises ``SloctlError``.
    """
    with Mesh(directory, MeshConfig(backoff=_BACKOFF)) as mesh:
        mesh.wait_scraped()  # so that Prometheus knows the counters that come up later to be new
        mesh.set_failure_rate(_FAILING, failures)
        mesh.load(requests, _CONCURRENCY)
        mesh.wait_settled()
        at = datetime.fromtimestamp(math.ceil(time.time()), UTC)
        zipkin = mesh.zipkin_url
        assert zipkin is not None
        file = directory / "slo.yaml"
        text = SLO_FILE.format(prometheus=mesh.prometheus.url, zipkin=zipkin)
        file.write_text(text, encoding="utf-8")
        slo_set = spec.load([file])
        with (
            pipeline.source(mesh.prometheus) as source,
            open_traces(TracesSettings(url=zipkin), "zipkin") as traces,
        ):
            found = retry_amplification.run(source, traces, slo_set, at)
            counted = {
                (row.source, row.destination): EdgeCounts(row.requests, row.attempts)
                for row in guardrails.amplification(source, slo_set, at, recorded=False)
            }
        yield Phase(failures, mesh, file, tuple(_comparisons(mesh, found, counted)), found)


def _comparisons(
    mesh: Mesh, found: retry_amplification.RetryFrames, counted: dict[tuple[str, str], EdgeCounts]
) -> Iterator[Comparison]:
    places = {item.name: f"{item.namespace}/{item.name}" for item in mesh.config.workloads}
    edges = retry_amplification.rows(found)["edges"]
    traced = {(row["source"], row["destination"]): row for row in edges}
    for (client, server), edge in mesh.truth().items():
        names = places[client], places[server]
        row = traced.get(names)
        yield Comparison(
            *names,
            EdgeCounts(edge.requests, edge.attempts),
            EdgeCounts(row["requests"], row["attempts"]) if row else EdgeCounts(),
            counted.get(names, EdgeCounts()),
            row["verdict"] if row else "",
        )
