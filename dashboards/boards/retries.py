"""The retries dashboard: attempts per request by edge, and what clients see against what servers see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dashboards.boards.service import ERRORS
from dashboards.grafana import Dashboard
from dashboards.parts import annotation, configured, traffic, variables
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.links import field as row
from dashboards.parts.links import runbook, to_board, to_traces
from dashboards.parts.panels import BAD, GOOD, SHARE, WARN, Column, Steps, graph, stat, table
from dashboards.parts.series import ANY_NAMESPACE, ANY_SERVICE, Subject, foremost, top
from sloctl import naming

WHERE = (ANY_NAMESPACE, ANY_SERVICE)
EDGE_RATIO = "edge:retry_amplification:ratio30m"
ENVOY_RATIO = "service:envoy_retry_amplification:ratio30m"
ATTEMPT_ERRORS = "service:attempt_errors:ratio5m"
EDGE = "{{source}} → {{namespace}}/{{service}}"
NO_EDGES = "no requests between services with proxies in the last half hour"
NO_ENVOY = "proxies expose no envoy_cluster_upstream_rq…: they need an inclusion list (docs/metrics.md)"


def two_sided(subject: Subject) -> bool:
    """Whether requests are recorded as both sides report them, with their outcome."""
    return len(traffic.sides(subject)) == 2 and traffic.known(subject, traffic.CODE)


def wanted(subject: Subject) -> bool:
    """Whether the file watches retries, or counts both sides of a service's requests."""
    return "retry-amplification" in subject.guardrails or two_sided(subject)


def build(subject: Subject) -> Dashboard:
    """The dashboard; variables ``namespace`` and ``service``."""
    metrics = [name for name in (naming.EDGE_REQUESTS, naming.TOTAL_GRID) if subject.records(name)]
    return dashboard(
        subject.slo_set,
        "retries",
        f"{subject.slo_set.name} / Retries",
        "Retries hide failures from clients and multiply the load on who fails: how many attempts a request makes, on "
        "which edges, and what they hide.",
        [
            Section("Attempts per request", list(_amplification(subject))),
            Section("As the mesh is configured", list(configured.retries(subject, WHERE))),
            Section("What retries hide", list(_sides(subject))),
            Section("As Envoy counts them", list(_envoy(subject))),
        ],
        variables=[
            *variables.sources(subject, traces=subject.records(EDGE_RATIO)),
            variables.namespaces(subject, metrics),
            variables.services(subject, metrics),
        ],
        annotations=[annotation.told()],
    )


def _colors(subject: Subject) -> Steps:
    limit = subject.limit("retry-amplification")
    return [(None, GOOD), (min(1.05, limit), WARN), (limit, BAD)]


def _amplification(subject: Subject) -> Iterator[Any]:
    if not subject.records(EDGE_RATIO):
        return
    slo_set = subject.slo_set
    requests, attempts = (
        subject.series(name, *WHERE) for name in (naming.EDGE_REQUESTS, naming.EDGE_ATTEMPTS)
    )
    both = f"on ({', '.join(naming.EDGE)})"
    yield stat(
        "Attempts per request",
        "All attempts that servers saw over all requests that clients made, of edges that both report, in the last "
        "half hour. Between 0.96 and 1.04 is the scrapes' imprecision.",
        f"sum({attempts}\n  and {both} {requests})\n/ (sum({requests}\n  and {both} {attempts}) > 0)",
        unit="none",
        places=3,
        colors=_colors(subject),
        nothing=NO_EDGES,
        span=6,
        height=8,
        links=runbook(slo_set, "RetryAmplificationHigh"),
    )
    yield graph(
        "Attempts per request by edge",
        "The ten edges with the most attempts per request over half an hour. 1: no retries. The dashed line is the "
        "file's limit.",
        [(EDGE, foremost(10, subject.series(EDGE_RATIO, *WHERE)))],
        unit="none",
        low=None,
        places=2,
        limits=[(None, GOOD), (subject.limit("retry-amplification"), BAD)],
        nothing=NO_EDGES,
        span=18,
        links=runbook(slo_set, "RetryAmplificationHigh"),
    )
    place = {naming.NAMESPACE: row(naming.NAMESPACE), naming.SERVICE: row(naming.SERVICE)}
    traces = to_traces(slo_set, "Its traces", *reversed(place.values()), failed=False)
    by = f"by ({', '.join(naming.EDGE)})"
    yield table(
        "Edges of the mesh",
        "Who called whom in the last half hour, and how often it took more than one attempt. Click a service for its "
        "dashboard or its traces.",
        [
            Column(
                "attempts per request",
                f"topk(50, max {by} ({subject.series(EDGE_RATIO, *WHERE)}))",
                "none",
                2,
                _colors(subject),
            ),
            Column("requests", f"sum {by} ({requests})", "short", 0),
            Column("attempts", f"sum {by} ({attempts})", "short", 0),
            Column(
                "attempts more than requests",
                f"clamp_min(sum {by} ({attempts})\n- sum {by} ({requests}), 0)",
                "short",
                0,
            ),
        ],
        labels=naming.EDGE,
        links={naming.SERVICE: [*to_board(slo_set, "service", "This service", **place), *traces]},
        sort=("attempts per request", True),
        nothing=NO_EDGES,
        height=10,
    )


def _seen(subject: Subject) -> tuple[str, str]:
    """Success as clients and as servers see it."""
    if subject.records(ERRORS, ATTEMPT_ERRORS):
        failed = [subject.series(metric, *WHERE) for metric in (ERRORS, ATTEMPT_ERRORS)]
    else:
        failed = [traffic.failed_share(subject, side, WHERE) for side in traffic.sides(subject)]
    client, server = (f"1 - {share}" for share in failed)
    return client, server


def _sides(subject: Subject) -> Iterator[Any]:
    if not two_sided(subject):
        return
    client, server = _seen(subject)
    place = "{{namespace}}/{{service}}"
    on = f"on ({', '.join(naming.IDENTITY)})"
    hidden = f"({client})\n- {on}\n({server})"
    nothing = "no service is reported by both its clients' and its own proxies"
    yield graph(
        "Success as clients and servers see it",
        "The ten services where retries hide most: clients count requests after retries, servers every attempt.",
        [
            (f"{place} clients", f"({client})\nand {on}\n{top(10, hidden)}"),
            (f"{place} servers", f"({server})\nand {on}\n{top(10, hidden)}"),
        ],
        unit=SHARE,
        low=None,
        high=1,
        places=2,
        nothing="nothing is hidden: no service fails more often for its servers than for its clients",
    )
    yield table(
        "What retries hide",
        "Success as clients and as servers see it, and the difference, now.",
        [
            Column("hidden", f"topk(20, {hidden})", SHARE, 2, [(None, GOOD), (0.001, WARN), (0.05, BAD)]),
            Column("clients", client, SHARE, 2),
            Column("servers", server, SHARE, 2),
        ],
        labels=naming.IDENTITY,
        links={
            naming.SERVICE: to_board(
                subject.slo_set,
                "service",
                "This service",
                namespace=row(naming.NAMESPACE),
                service=row(naming.SERVICE),
            )
        },
        sort=("hidden", True),
        nothing=nothing,
        span=12,
        height=8,
    )


def _envoy(subject: Subject) -> Iterator[Any]:
    if not subject.records(ENVOY_RATIO):
        return
    place = "{{namespace}}/{{service}}"
    attempts, requests = (subject.series(m, *WHERE) for m in (naming.ENVOY_ATTEMPTS, naming.ENVOY_REQUESTS))
    yield graph(
        "Attempts per request by service",
        "From the clients' Envoys, exactly: attempts sent over requests that were not turned away by a full queue, "
        "over half an hour.",
        [(place, foremost(10, subject.series(ENVOY_RATIO, *WHERE)))],
        unit="none",
        low=None,
        places=2,
        limits=[(None, GOOD), (subject.limit("retry-amplification"), BAD)],
        nothing=NO_ENVOY,
        links=runbook(subject.slo_set, "RetryAmplificationHigh"),
    )
    yield graph(
        "Retries",
        "Attempts less requests, per second: the load that retries add. The ten services that get the most attempts.",
        [(place, f"(({foremost(10, attempts)}) - {requests}) / 1800")],
        unit="reqps",
        nothing=NO_ENVOY,
    )
