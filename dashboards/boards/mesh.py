"""The mesh dashboard: traffic, failures and latency of all services, and what the mesh does to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dashboards.boards.service import ERRORS, TRAFFIC
from dashboards.grafana import Dashboard
from dashboards.parts import annotation, health, overview, traffic, variables
from dashboards.parts.latency import BUCKETS, P99
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.links import runbook
from dashboards.parts.panels import BAD, GOOD, SHARE, WARN, Column, graph, table
from dashboards.parts.series import ANY_NAMESPACE, ANY_SERVICE, Subject, foremost
from sloctl import naming

WHERE = (ANY_NAMESPACE, ANY_SERVICE)
PRESETS = frozenset(
    {"service-errors", "service-latency", "ejections", "overflow", "mtls", "misroutes", "policy-denials"}
)
P95 = "service:latency_p95_seconds:quantile5m"
NO_TRAFFIC = "no requests in the time shown"
TOP = 20


def wanted(subject: Subject) -> bool:
    """Whether the file watches the mesh's traffic, or has an SLO on it."""
    return bool(PRESETS & set(subject.guardrails)) or traffic.known(subject, traffic.CODE)


def build(subject: Subject) -> Dashboard:
    """The dashboard; variables ``namespace`` and ``service``."""
    metrics = [name for name in (TRAFFIC, naming.TOTAL_GRID) if subject.records(name)]
    return dashboard(
        subject.slo_set,
        "mesh",
        f"{subject.slo_set.name} / Mesh",
        "All services of the mesh: what they get, what fails, how long it takes; and what circuit breakers, mutual "
        "TLS, routes and policies do to it.",
        [
            Section("Requests and failures", list(_requests(subject))),
            Section("Latency", list(_latency(subject))),
            Section("Circuit breakers, mutual TLS, policies", list(health.of_service(subject, WHERE))),
            Section("Routes and versions", list(routes(subject))),
        ],
        variables=[
            *variables.sources(subject),
            variables.namespaces(subject, metrics),
            variables.services(subject, metrics),
        ],
        annotations=[annotation.told()],
        since="now-3h",
    )


def _requests(subject: Subject) -> Iterator[Any]:
    by = f"by ({', '.join(naming.IDENTITY)})"
    columns = []
    if traffic.known(subject, traffic.CODE):
        if subject.records(TRAFFIC):
            rate = f"{subject.series(TRAFFIC, *WHERE)} / 300"
            busiest = f"({foremost(TOP, subject.series(TRAFFIC, *WHERE))}) / 300"
        else:
            rate = traffic.rate(subject, WHERE, naming.IDENTITY)
            busiest = f"topk({TOP}, {rate})"
        yield graph(
            "Requests by service",
            f"Requests a second as clients see them, after retries. The {TOP} busiest services.",
            [(health.PLACE, busiest)],
            unit="reqps",
            nothing=NO_TRAFFIC,
        )
        # A table asks for one moment: there is no step to take a mean of.
        columns.append(Column("requests/s", rate.replace("$__interval", "5m"), "reqps", 1))
        if subject.records(ERRORS):
            failed = foremost(TOP, subject.series(ERRORS, *WHERE))
        else:
            failed = f"topk({TOP}, {traffic.failed_share(subject, traffic.sides(subject)[0], WHERE)})"
        yield graph(
            "Failures by service",
            f"The share of requests that failed on the server's side or got no response, as clients see it. The {TOP} "
            "largest.",
            [(health.PLACE, failed)],
            unit=SHARE,
            nothing=NO_TRAFFIC,
            links=runbook(subject.slo_set, "ServiceErrorsHigh"),
        )
    if subject.records(ERRORS):
        columns.append(
            Column(
                "failed",
                f"max {by} ({subject.series(ERRORS, *WHERE)})",
                SHARE,
                2,
                [(None, GOOD), (0.01, WARN), (subject.limit("service-errors") / 100, BAD)],
            )
        )
    for title, metric in (("p95", P95), ("p99", P99)):
        if subject.records(metric):
            columns.append(Column(title, f"max {by} ({subject.series(metric, *WHERE)})", "s", 3))
    if columns:
        yield table(
            "Services",
            "Every service over the last five minutes. Click one for its dashboard or its traces.",
            columns,
            labels=naming.IDENTITY,
            links=overview.service_links(subject),
            sort=("failed" if subject.records(ERRORS) else columns[-1].title, True),
            nothing=NO_TRAFFIC,
            height=10,
        )


def _latency(subject: Subject) -> Iterator[Any]:
    if not subject.records(BUCKETS, P95, P99):
        return
    buckets = f"sum by ({', '.join(subject.le)}) ({subject.series(BUCKETS, *WHERE)})"
    yield graph(
        "Latency of the chosen services together",
        "Quantiles of all their requests over five minutes, interpolated within a bucket of the histogram.",
        [
            (f"p{percent}", f"histogram_quantile({percent / 100}, {buckets}) / 1000 >= 0")
            for percent in (99, 95, 50)
        ],
        unit="s",
        nothing=NO_TRAFFIC,
        least="5m",
    )
    yield graph(
        "p99 by service",
        f"The slowest 1 % take this long and longer. The {TOP} slowest services; the dashed line is the file's limit.",
        [(health.PLACE, foremost(TOP, subject.series(P99, *WHERE)))],
        unit="s",
        limits=[(None, GOOD), (subject.limit("service-latency"), BAD)],
        nothing=NO_TRAFFIC,
        links=runbook(subject.slo_set, "ServiceLatencyHigh"),
    )


def routes(subject: Subject) -> Iterator[Any]:
    """Requests without a route, and versions that should get none."""
    if "misroutes" not in subject.guardrails:
        return
    yield graph(
        "Requests without a route",
        "The share of what a workload sends that no route or cluster takes (response flags NR and NC, "
        f"BlackHoleCluster), over five minutes. The {TOP} largest.",
        [("{{source_namespace}}/{{source}}", foremost(TOP, subject.series("source:misroutes:ratio5m")))],
        unit=SHARE,
        limits=[(None, GOOD), (subject.limit("misroutes") / 100, BAD)],
        nothing=NO_TRAFFIC,
        links=runbook(subject.slo_set, "MisroutedRequests"),
    )
    unexpected = "service_version:unexpected_requests:increase5m"
    if subject.records(unexpected):
        yield graph(
            "Requests at versions that should get none",
            "Requests in five minutes that reached a version which the file does not list for the service.",
            [(f"{health.PLACE} {{{{destination_version}}}}", subject.series(unexpected, *WHERE))],
            unit="none",
            nothing="no version gets traffic that should get none",
            links=runbook(subject.slo_set, "UnexpectedVersion"),
        )
