"""Containers of a service's pods, the application's and its proxy's; and its TCP connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dashboards.grafana import Variable
from dashboards.parts.panels import graph
from dashboards.parts.series import ONE_NAMESPACE, Subject
from sloctl import promql
from sloctl.guardrails.shared import queries, workloads
from sloctl.model import Matcher
from sloctl.promql.presets import REQUESTS

WORKLOAD = "workload"
RATE = "$__rate_interval"
PODS = Matcher("pod", "=~", f"${WORKLOAD}{workloads.PODS}")
NO_KSM = "kube-state-metrics is not scraped, or no pods are known of this service"
NO_CADVISOR = "the kubelets' /metrics/cadvisor are not scraped, or no pods are known of this service"
NO_TCP = "no TCP connections of this service: HTTP and gRPC are counted as requests"
OPENED = "istio_tcp_connections_opened_total"


def workload(subject: Subject, where: Sequence[Matcher]) -> Variable:
    """The workloads that answer a service, as the mesh's telemetry names them."""
    matchers = (*queries.raw_matchers(where), *subject.slo_set.mesh.matchers)
    inner = promql.matched(matchers)
    return Variable(
        name=WORKLOAD,
        label="Workload",
        query=f'label_values({{__name__=~"{REQUESTS}|{OPENED}",{inner}}}, destination_workload)',
        description="Deployments (or the like) that answer the service; their containers are shown.",
        default="All",
        includeAll=True,
        multi=True,
    )


def of_service(subject: Subject) -> Iterator[Any]:
    """CPU, memory and restarts by container, of the pods of the chosen workloads."""
    where = (ONE_NAMESPACE, PODS, Matcher("container", "!~", "POD|"))
    cpu, memory = (
        subject.raw(f"container_{name}", *where)
        for name in ("cpu_usage_seconds_total", "memory_working_set_bytes")
    )
    restarts = " or ".join(
        f"increase({subject.raw(f'{family}_status_restarts_total', *where)}[{RATE}])"
        for family in workloads.FAMILIES
    )
    yield graph(
        "CPU by container",
        "Cores that the containers of all pods of the service use together, the application's and its proxy's.",
        [("{{container}}", f"sum by (container) (rate({cpu}[{RATE}]))")],
        unit="none",
        places=3,
        nothing=NO_CADVISOR,
        span=8,
    )
    yield graph(
        "Memory by container",
        "Memory of the containers of all pods of the service together that cannot be reclaimed.",
        [("{{container}}", f"sum by (container) ({memory})")],
        unit="bytes",
        nothing=NO_CADVISOR,
        span=8,
    )
    yield graph(
        "Restarts by container",
        "Restarts in each step, of all pods of the service.",
        [("{{container}}", f"sum by (container) ({restarts})")],
        unit="none",
        nothing=NO_KSM,
        span=8,
    )


def tcp(subject: Subject, where: Sequence[Matcher]) -> Iterator[Any]:
    """Connections opened, closed and failed, and bytes: as servers see them, without a proxy there as clients do."""
    raw = queries.raw_matchers(where)

    def rate(metric: str) -> str:
        sides = (Matcher("reporter", "=", side) for side in ("destination", "source"))
        return "\nor\n".join(f"sum(rate({subject.raw(metric, side, *raw)}[{RATE}]))" for side in sides)

    yield graph(
        "TCP connections",
        "Connections opened and closed a second, as servers see them; where no proxy is there, as clients do.",
        [(what, rate(f"istio_tcp_connections_{what}_total")) for what in ("opened", "closed")],
        unit="cps",
        nothing=NO_TCP,
        span=8,
    )
    flagged = Matcher("response_flags", "!~", "-|")
    by = "sum by (reporter, response_flags)"
    yield graph(
        "Failed TCP connections",
        "Connections a second that ended with a flag, by who reports it (source: clients): UF no connection, UH no "
        "healthy host, UO full pool; and those that newer ztunnels count as not opened (DENY: a policy).",
        [
            (
                f"{{{{reporter}}}} {{{{response_flags}}}} {what}",
                f"{by} (rate({subject.raw(f'istio_tcp_connections_{what}_total', *matchers, *raw)}[{RATE}]))",
            )
            for what, matchers in (("closed", (flagged,)), ("failed", ()))
        ],
        unit="cps",
        nothing="no TCP connection failed in the time shown",
        span=8,
    )
    yield graph(
        "TCP bytes",
        "Bytes a second that clients sent to the service (received) and that it answered (sent).",
        [(what, rate(f"istio_tcp_{what}_bytes_total")) for what in ("received", "sent")],
        unit="Bps",
        nothing=NO_TCP,
        span=8,
    )
