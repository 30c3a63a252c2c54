"""The debug dashboard: one incident up close, with traces, codes and flags, routes, pushes and telemetry's lag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dashboards.boards import control_plane, mesh, oncall
from dashboards.grafana import Dashboard, Json, OtherQuery, Table, Traces, Variable
from dashboards.parts import annotation, causes, configured, traffic, variables
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.links import TRACES, runbook
from dashboards.parts.panels import graph, text
from dashboards.parts.series import ANY_NAMESPACE, ANY_SERVICE, Subject
from sloctl import naming

WHERE = (ANY_NAMESPACE, ANY_SERVICE)
TRACE = "trace"
PLACE = "{{namespace}}/{{service}}"
MINUTES = "$__rate_interval"
MANY = 20


def wanted(subject: Subject) -> bool:
    """Whether there is anything of the mesh to look at up close."""
    return (
        traffic.known(subject) or bool(subject.slo_set.sources.traces_shown) or control_plane.wanted(subject)
    )


def build(subject: Subject) -> Dashboard:
    """The dashboard; variables ``namespace``, ``service`` and ``trace`` (the id of a trace)."""
    names: list[Any] = variables.sources(subject)
    metrics = [naming.TOTAL_GRID]
    names += [variables.namespaces(subject, metrics), variables.services(subject, metrics)]
    if subject.slo_set.sources.traces_shown:
        names.append(
            Variable(
                name=TRACE,
                label="Trace id",
                type="textbox",
                query="",
                description="The trace whose waterfall is shown.",
            )
        )
    return dashboard(
        subject.slo_set,
        "debug",
        f"{subject.slo_set.name} / Debug",
        "One incident up close: traces, response codes and flags, routes, what the control plane changed, and how far "
        "telemetry lags.",
        [
            Section("Traces", list(_traces(subject))),
            Section("Codes and flags", list(_codes(subject))),
            Section(
                "Routes and versions",
                [*mesh.routes(subject), *_versions(subject), *configured.versions(subject, WHERE)],
            ),
            Section("Changes and pushes", list(_changes(subject))),
            Section("Lag of telemetry", [*oncall.telemetry(subject), *_queues(subject)]),
        ],
        variables=names,
        annotations=[annotation.told(), annotation.alerts(subject, *WHERE)],
        since="now-1h",
        refresh="30s",
    )


def _traces(subject: Subject) -> Iterator[Any]:
    backend = subject.slo_set.sources.traces_shown
    if not backend:
        return
    source: Json = {"type": backend, "uid": f"${{{TRACES}}}"}
    waterfall: Json = {"query": f"${TRACE}"}
    if backend == "tempo":
        waterfall["queryType"] = "traceql"
    elif backend == "zipkin":
        waterfall["queryType"] = "traceID"
    search: Json | None = None
    if backend == "tempo":
        search = {
            "queryType": "traceql",
            "query": '{ resource.service.name =~ "($service)[.]($namespace)" && status = error }',
            "limit": 20,
            "tableType": "traces",
        }
    if search:
        yield Table(
            title="Failed traces",
            description="The newest traces with an error in the chosen services. Copy an id into the field above.",
            dataSource=source,
            targets=[OtherQuery(refId="A", datasource=source, model=search)],
            noValue="no trace with an error in the time shown",
            unit="none",
            span=24,
            height=8,
        )
    else:
        yield text(
            "How to find a trace",
            f"Open Explore with the data source of {backend}, choose a service (Istio's proxies call themselves "
            "`service.namespace`), and copy a trace's id into the field *Trace id* above.",
        )
    yield Traces(
        title="Waterfall",
        description="The spans of the trace whose id stands in the field above, one below the other.",
        dataSource=source,
        targets=[OtherQuery(refId="A", datasource=source, model=waterfall)],
        noValue="write the id of a trace into the field above",
        span=24,
        height=12,
    )


def _codes(subject: Subject) -> Iterator[Any]:
    if traffic.known(subject, traffic.CODE):
        for side in traffic.sides(subject):
            who = {"source": "clients", "destination": "servers"}.get(side, "waypoints")
            counted = traffic.per_minute(subject, side, WHERE, (traffic.CODE,))
            yield graph(
                f"Requests by code, as {who} see them",
                "Requests a second of the chosen services. Code 0: no response.",
                [(f"{{{{{traffic.CODE}}}}}", f"{counted} / 60")],
                unit="reqps",
                style="area",
                nothing=f"no requests that {who} report",
            )
    if subject.records(naming.BAD_CAUSES):
        yield causes.over_time(
            subject,
            "Bad events by Envoy's flags",
            "UF: no connection, UH: no healthy host, UO: full queue, URX: retries used up, UT: time-out, DC: the "
            "client went away, NR: no route.",
            WHERE,
            ("response_code", "response_flags"),
        )
        yield causes.most_frequent(
            subject,
            "Bad events in full",
            "Bad events in the time shown, by everything that tells their causes apart.",
            WHERE,
            (*naming.IDENTITY, *causes.ENDS, *naming.CAUSE_LABELS),
            100,
        )


def _versions(subject: Subject) -> Iterator[Any]:
    if traffic.VERSION not in subject.mesh_labels or not traffic.known(subject, traffic.VERSION):
        return
    labels = (*naming.IDENTITY, traffic.VERSION)
    yield graph(
        "Requests by version",
        "Requests a second by the version that answered: how far a rollout is, and where a subset gets nothing.",
        [(f"{PLACE} {{{{destination_version}}}}", f"topk({MANY}, {traffic.rate(subject, WHERE, labels)})")],
        unit="reqps",
        nothing="no requests in the time shown",
    )


def _changes(subject: Subject) -> Iterator[Any]:
    if "control-plane" not in subject.guardrails:
        return
    slo_set = subject.slo_set
    yield graph(
        "Changes of configuration",
        "Changes of Istio's resources in Kubernetes that istiod saw, per minute, by kind and what happened.",
        [
            (
                "{{type}} {{event}}",
                f"sum by (type, event) (rate({subject.raw('pilot_k8s_cfg_events')}[{MINUTES}])) * 60",
            )
        ],
        unit="none",
        style="bars",
        nothing="istiod saw no change yet",
    )
    yield graph(
        "Pushes by type",
        "Configuration that istiod sent, per minute: clusters (cds), endpoints (eds), listeners (lds), routes (rds).",
        [("{{type}}", f"sum by (type) (rate({subject.raw('pilot_xds_pushes')}[{MINUTES}])) * 60")],
        unit="none",
        style="area",
        nothing="istiod has pushed nothing yet",
    )
    yield graph(
        "Resources that failed validation",
        "Istio's resources that its webhook refused, per minute: VirtualServices and DestinationRules that do not fit.",
        [("refused", f"sum(rate({subject.raw('galley_validation_failed')}[{MINUTES}])) * 60")],
        unit="none",
        nothing="nothing was refused yet",
        links=runbook(slo_set, "IstiodConfigRejected"),
    )
    yield graph(
        "Virtual services with a domain twice",
        "VirtualServices whose host another one has, too: one of them is not in force.",
        [("duplicates", f"max({subject.raw('pilot_vservice_dup_domain')})")],
        unit="none",
        nothing="no istiod tells: is it scraped (port 15014)?",
    )


def _queues(subject: Subject) -> Iterator[Any]:
    if "telemetry-gap" not in subject.guardrails or not subject.slo_set.sources.traces_backend:
        return
    yield graph(
        "Queues of the trace collectors",
        "How full the exporters' queues of OpenTelemetry collectors are; at 100 % spans are lost.",
        [
            (
                "{{exporter}}",
                f"max by (exporter) ({subject.raw('otelcol_exporter_queue_size')}\n"
                f"/ {subject.raw('otelcol_exporter_queue_capacity')})",
            )
        ],
        unit="percentunit",
        high=1,
        nothing="no OpenTelemetry collector is scraped",
        span=8,
        links=runbook(subject.slo_set, "SpansRefused"),
    )
