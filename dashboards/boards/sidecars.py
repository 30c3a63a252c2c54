"""The sidecars dashboard: restarts of proxies, what they use of their limits, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dashboards.grafana import Dashboard, Variable
from dashboards.parts import annotation, variables
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.links import runbook
from dashboards.parts.panels import BAD, GOOD, SHARE, WARN, Column, Steps, graph, stat, steps, table
from dashboards.parts.series import ANY_NAMESPACE, Subject, foremost
from sloctl import naming
from sloctl.model import Matcher
from sloctl.model.dashboards import SIDECAR_GUARDRAILS

WORKLOAD = "workload"
BY = (naming.NAMESPACE, WORKLOAD)
NAME = "{{namespace}}/{{workload}}"
RESTARTS = "workload:sidecar_restarts:increase1m"
PER_DAY = "workload:sidecar_restarts_per_pod_day:ratio1d"
MESH_PER_DAY = "mesh:sidecar_restarts_per_pod_day:ratio1d"
PODS = "workload:sidecar_pods:count"
CORES, BYTES = "workload:sidecar_cpu_cores:rate5m", "workload:sidecar_memory_bytes:sum"
MEMORY, CPU = "workload:sidecar_memory:max_ratio", "workload:sidecar_cpu:max_ratio5m"
THROTTLED = "pod:sidecar_throttled:ratio5m"
GIB = 2**30
WHERE = (ANY_NAMESPACE,)
NO_KSM = "no proxies known: kube-state-metrics is not scraped, or keeps its own labels (honor_labels)"
NO_CADVISOR = "no use of proxies known: the kubelets' /metrics/cadvisor are not scraped"


def wanted(subject: Subject) -> bool:
    """Whether the file watches proxies."""
    return bool(SIDECAR_GUARDRAILS & set(subject.guardrails))


def build(subject: Subject) -> Dashboard:
    """The dashboard; variables ``namespace``, and the prices ``core_hour`` and ``gib_hour``."""
    used = [metric for metric in (PODS, CORES) if subject.records(metric)]
    names = [*variables.sources(subject, traces=False), variables.namespaces(subject, used)]
    if subject.records(CORES):
        names += list(_prices(subject))
    return dashboard(
        subject.slo_set,
        "sidecars",
        f"{subject.slo_set.name} / Sidecars",
        "Proxies (sidecars, gateways, waypoints, ztunnel): do they restart, do they reach their limits, what do they "
        "cost.",
        [
            Section("Do they restart?", list(_restarts(subject))),
            Section("Do they reach their limits?", list(_limits(subject, WHERE))),
            Section("What do they use and cost?", list(_costs(subject))),
        ],
        variables=names,
        annotations=[annotation.told()],
        since="now-24h",
        refresh="5m",
    )


def summary(subject: Subject, where: Sequence[Matcher]) -> list[Any]:
    """What the person on call needs of it."""
    found: list[Any] = []
    if subject.records(RESTARTS):
        found.append(_by_reason(subject, where, span=8))
    return [*found, *_limits(subject, where)]


def _prices(subject: Subject) -> Iterator[Variable]:
    costs = subject.slo_set.dashboards.costs
    for name, label, price in (
        ("core_hour", "Price of a core-hour", costs.core_hour),
        ("gib_hour", "Price of a GiB-hour", costs.gib_hour),
    ):
        yield Variable(
            name=name, label=f"{label} ({costs.currency})", type="textbox", query="", default=str(price)
        )


def _by_reason(subject: Subject, where: Sequence[Matcher], span: int = 12) -> Any:
    labels = (*BY, "reason")
    return graph(
        "Restarts by reason",
        "Restarts of each step by workload and the reason of the last end: OOMKilled is a memory limit that is too "
        "low. Proxies that do not restart have no bar.",
        [(f"{NAME} {{{{reason}}}}", subject.summed(RESTARTS, where, labels))],
        unit="none",
        places=0,
        style="bars",
        least="5m",
        nothing="no proxy restarted in the time shown",
        span=span,
        links=runbook(subject.slo_set, "SidecarCrashLooping", "SidecarOutOfMemory"),
    )


def _restarts(subject: Subject) -> Iterator[Any]:
    if "sidecar-restarts" not in subject.guardrails:
        return
    limit = subject.limit("sidecar-restarts")
    yield stat(
        "Restarts per pod and day",
        f"Of all proxies, over the last day. The limit is {limit:g}.",
        subject.series(MESH_PER_DAY),
        unit="none",
        places=4,
        colors=steps(limit),
        nothing=NO_KSM,
        span=4,
        height=4,
        links=runbook(subject.slo_set, "SidecarRestartRateHigh"),
    )
    yield stat(
        "Pods with a proxy",
        "Pods that kube-state-metrics knows a proxy of.",
        f"sum({subject.series(PODS, *WHERE)})",
        unit="none",
        places=0,
        nothing=NO_KSM,
    )
    yield stat(
        "Restarts in the last day",
        "Of all proxies, whatever the namespace.",
        f"sum(sum_over_time({subject.series('mesh:sidecar_restarts:increase1m')}[1d]))",
        unit="none",
        places=0,
        colors=[(None, GOOD), (1, WARN)],
        nothing=NO_KSM,
    )
    yield _by_reason(subject, WHERE)
    by = f"by ({', '.join(BY)})"
    yield table(
        "Workloads whose proxies restart most",
        "Restarts per pod and day, over the last day, and the pods behind it.",
        [
            Column(
                "restarts per pod and day",
                f"topk(20, max {by} ({subject.series(PER_DAY, *WHERE)}))",
                "none",
                3,
                steps(limit),
            ),
            Column("pods", f"max {by} ({subject.series(PODS, *WHERE)})", "none", 0),
        ],
        labels=BY,
        sort=("restarts per pod and day", True),
        nothing=NO_KSM,
        span=12,
    )


def _limits(subject: Subject, where: Sequence[Matcher]) -> Iterator[Any]:
    if not subject.records(MEMORY, CPU, THROTTLED):
        return
    limit = subject.limit("sidecar-resources") / 100
    lines: Steps = [(None, GOOD), (limit, BAD)]
    for title, what, metric, alert in (
        ("Memory of the limit", "memory: at 100 % it is killed", MEMORY, "SidecarMemoryNearLimit"),
        ("CPU of the limit", "CPU time: at 100 % requests wait in it", CPU, "SidecarCpuNearLimit"),
    ):
        yield graph(
            title,
            f"The proxy of each workload that is nearest to its limit of {what}. The ten largest; proxies without a "
            "limit have none.",
            [(NAME, foremost(10, subject.series(metric, *where)))],
            unit=SHARE,
            limits=lines,
            least="5m",
            nothing=f"{NO_CADVISOR}; or no proxy has a limit",
            span=8,
            links=runbook(subject.slo_set, alert),
        )
    yield graph(
        "Throttled",
        "The share of its scheduling periods in which the kernel held a proxy back: latency suffers although its mean "
        "use is low. The ten largest pods.",
        [("{{namespace}}/{{pod}}", foremost(10, subject.series(THROTTLED, *where)))],
        unit=SHARE,
        limits=[(None, GOOD), (0.25, BAD)],
        least="5m",
        nothing=f"{NO_CADVISOR}; or no proxy has a CPU limit",
        span=8,
        links=runbook(subject.slo_set, "SidecarThrottled"),
    )


def _costs(subject: Subject) -> Iterator[Any]:
    if not subject.records(CORES, BYTES):
        return
    currency = f"currency{subject.slo_set.dashboards.costs.currency}"
    cores, memory = (f"sum by ({', '.join(BY)}) ({subject.series(name, *WHERE)})" for name in (CORES, BYTES))
    cost = f"({cores} * $core_hour\n+ {memory} / {GIB} * $gib_hour) * 730"
    yield graph(
        "CPU by workload",
        "Cores that the proxies of each workload use together. The ten largest.",
        [(NAME, foremost(10, subject.series(CORES, *WHERE)))],
        unit="none",
        style="area",
        least="5m",
        nothing=NO_CADVISOR,
        span=8,
    )
    yield graph(
        "Memory by workload",
        "Memory that the proxies of each workload hold together. The ten largest.",
        [(NAME, foremost(10, subject.series(BYTES, *WHERE)))],
        unit="bytes",
        style="area",
        least="5m",
        nothing=NO_CADVISOR,
        span=8,
    )
    yield stat(
        "A month of all proxies",
        "What their present use costs in a month of 730 hours, at the prices above (change them there). You pay for "
        "what pods request, if that is more.",
        f"sum({cost})",
        unit=currency,
        places=0,
        nothing=NO_CADVISOR,
        span=8,
        height=8,
    )
    yield table(
        "Cost by workload",
        "Present use of the proxies, and what it costs in a month of 730 hours at the prices above.",
        [
            Column("cost of a month", f"topk(50, {cost})", currency, 2),
            Column("cores", cores, "none", 3),
            Column("memory", memory, "bytes", 0),
        ],
        labels=BY,
        sort=("cost of a month", True),
        nothing=NO_CADVISOR,
    )
