"""The on-call dashboard: what fires, what fails since when, and whether it is the gateway, the mesh or a service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dashboards.boards import control_plane, sidecars
from dashboards.boards.service import ERRORS
from dashboards.grafana import Dashboard
from dashboards.parts import annotation, causes, health, latency, overview, variables
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.links import field, runbook
from dashboards.parts.panels import BAD, GOOD, SHARE, WARN, Column, Steps, graph, states, table
from dashboards.parts.series import ANY_NAMESPACE, Subject, foremost, top
from sloctl import naming

WHERE = (ANY_NAMESPACE,)
TOP = 10
SHARES: Steps = [(None, GOOD), (0.01, WARN), (0.05, BAD)]


def build(subject: Subject) -> Dashboard:
    """The dashboard; variables ``namespace`` and ``owner``."""
    return dashboard(
        subject.slo_set,
        "oncall",
        f"{subject.slo_set.name} / On call",
        "For whoever is paged: what fires, which services fail and since when, and what may be behind it.",
        [
            Section("What fires", list(_alerts(subject))),
            Section("What fails", list(_failures(subject))),
            Section("What is slow", list(_latency(subject))),
            Section("Gateways", list(_gateways(subject))),
            Section("Control plane", control_plane.summary(subject)),
            Section("Proxies", sidecars.summary(subject, WHERE)),
            Section("Can the numbers be trusted?", list(telemetry(subject))),
        ],
        variables=[
            *variables.sources(subject),
            variables.namespaces(subject, [naming.TOTAL_GRID]),
            *variables.owners(subject),
        ],
        annotations=[annotation.told()],
        since="now-3h",
        refresh="30s",
    )


def _alerts(subject: Subject) -> Iterator[Any]:
    yield from overview.counts(subject, WHERE)
    yield overview.alerts_table(subject)
    labels = ("alertname", naming.NAMESPACE, naming.SERVICE)
    series = f"max by ({', '.join(labels)}) ({subject.firing_of_owner(*WHERE)})"
    yield states(
        "When alerts fired",
        "A bar while an alert fired; the longest comes first in most incidents.",
        [("{{alertname}} {{namespace}}/{{service}}", series)],
        meanings={"1": ("firing", "red")},
        nothing="no alert fired in the time shown",
    )


def _failures(subject: Subject) -> Iterator[Any]:
    labels: tuple[str, ...] = naming.IDENTITY
    if subject.records(ERRORS):
        share = subject.series(ERRORS, *WHERE)
        before = f"{share} offset 1h"
        what, legend = "requests of the last five minutes that failed", health.PLACE
        worst = foremost(TOP, share)
    else:
        labels = overview.IDENTITY
        share = subject.bad_share((*WHERE, *subject.owned), labels, "5m", fine=True)
        before = subject.bad_share((*WHERE, *subject.owned), labels, "5m", fine=True, offset="1h")
        worst = f"topk({TOP}, {share})"
        what, legend = "events of the last five minutes that were bad", f"{health.PLACE} {{{{slo}}}}"
    alert = runbook(subject.slo_set, "ServiceErrorsHigh" if subject.records(ERRORS) else "BudgetBurn")
    yield graph(
        f"Top {TOP} by failures",
        f"The share of {what}, of the services where it is largest.",
        [(legend, worst)],
        unit=SHARE,
        nothing="no requests in the time shown",
        links=alert,
    )
    yield table(
        "What rose in the last hour",
        f"The share of {what}, now and an hour ago, where it rose; what failed for the first time rose from 0.",
        [
            Column("risen by", top(TOP, f"({share})\n- (({before}) or 0 * ({share}))"), SHARE, 2, SHARES),
            Column("now", f"({share}) > 0", SHARE, 2, SHARES),
        ],
        labels=labels,
        links=overview.service_links(subject),
        sort=("risen by", True),
        nothing="nothing fails more than it did an hour ago",
        span=12,
        height=8,
    )
    if subject.has_failures:
        yield causes.most_frequent(
            subject,
            "Who fails whom",
            "Bad events of the SLOs in the time shown by client, code, Envoy's response flags and version: the edges "
            "of the mesh that fail most. Click a service for its traces.",
            (*WHERE, *subject.owned, *subject.failed),
            (*naming.IDENTITY, *causes.ENDS, "response_code", "response_flags", *causes.VERSION),
            25,
            links=overview.service_links(subject),
        )
    yield overview.budgets_table(subject, WHERE)


def _latency(subject: Subject) -> Iterator[Any]:
    if not latency.known(subject):
        return
    place = (field(naming.SERVICE), field(naming.NAMESPACE))
    links = {naming.SERVICE: [*overview.to_service(subject), *latency.slow_traces(subject, *place)]}
    yield latency.slowest(subject, WHERE, 2 * TOP, links)
    yield from latency.whose(
        subject, (*WHERE, *subject.owned), (*naming.IDENTITY, *latency.CAUSES), links=links
    )


def _gateways(subject: Subject) -> Iterator[Any]:
    if "gateway-errors" not in subject.guardrails:
        return
    limit = subject.limit("gateway-errors") / 100
    nothing = "no requests through a gateway in the last five minutes"
    yield graph(
        "Failed through gateways",
        "The share of requests that failed, and the share that a gateway turned away itself (503, no healthy host, "
        "full queues), over five minutes.",
        [
            ("{{service}} failed", subject.series("gateway:errors:ratio5m")),
            ("{{service}} turned away", subject.series("gateway:overload:ratio5m")),
        ],
        unit=SHARE,
        limits=[(None, GOOD), (limit, BAD)],
        nothing=nothing,
        span=8,
        links=runbook(subject.slo_set, "GatewayErrorsHigh"),
    )
    yield graph(
        "Requests through gateways",
        "Requests a second; it falls when clients cannot reach the gateway at all.",
        [("{{service}}", f"{subject.series('gateway:requests:increase5m')} / 300")],
        unit="reqps",
        nothing=nothing,
        span=8,
    )
    yield graph(
        "Pods of gateways",
        "How many pods of each gateway Prometheus reaches; at 0 nothing gets in.",
        [("{{service}}", subject.series("gateway:targets_up:sum"))],
        unit="none",
        places=0,
        limits=[(None, BAD), (1, GOOD)],
        nothing="the rules have not been evaluated yet",
        span=8,
        links=runbook(subject.slo_set, "GatewayDown"),
    )


def telemetry(subject: Subject) -> Iterator[Any]:
    """Gaps of metrics and traces, and jobs that are late."""
    if "telemetry-gap" in subject.guardrails:
        limit = subject.limit("telemetry-gap")
        series = [("metrics", subject.series("mesh:telemetry_gap:seconds"))]
        if subject.records("traces:gap:seconds"):
            series.append(("traces", subject.series("traces:gap:seconds")))
        yield graph(
            "Age of the newest telemetry",
            "Seconds since the newest sample of any proxy, and since the newest span that the trace backend took in.",
            series,
            unit="s",
            limits=[(None, GOOD), (limit, BAD)],
            nothing="nothing was scraped yet",
            span=8,
            links=runbook(subject.slo_set, "MeshTelemetryLost"),
        )
        yield graph(
            "Failing scrapes",
            "The share of the proxies' scrapes that fail: what those proxies count is not seen.",
            [("failing", subject.series("mesh:failing_scrapes:ratio"))],
            unit=SHARE,
            high=1,
            nothing="no proxy is scraped",
            span=8,
            links=runbook(subject.slo_set, "ProxyScrapesFailing"),
        )
    if subject.records("sloctl_job:age:seconds"):
        columns = [
            Column("since the last success", f"max by ({naming.JOB}) ({_job(subject, 'age:seconds')})", "s"),
            Column("pause by schedule", f"max by ({naming.JOB}) ({_job(subject, 'interval:seconds')})", "s"),
        ]
        yield table(
            "sloctl's jobs",
            "How long ago each scheduled job last succeeded. It is late after twice its pause.",
            columns,
            labels=(naming.JOB,),
            nothing="no job has told of a success yet",
            span=8,
            height=8,
        )


def _job(subject: Subject, name: str) -> str:
    return subject.series(f"{naming.JOB}:{name}")
