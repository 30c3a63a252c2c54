"""F3: memory and CPU of proxies against their limits, and CPU time that the kernel withholds.

Use is what cAdvisor measures (the kubelet's metrics), limits are what kube-state-metrics tells: 2.x in one metric by
``resource``, 1.x in one for each resource. A proxy without a limit has no series. A container may be reported more than
once (by several scrapes of a kubelet, or before and after it restarted): the largest holds.
"""

from __future__ import annotations

from decimal import Decimal

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import RecordedQueries, in_namespaces, raw_signal, selected, signal
from sloctl.guardrails.shared.workloads import BY_WORKLOAD, CONTAINER, WORKLOAD, named, series
from sloctl.model import Guardrail, Matcher, SloSet
from sloctl.model.durations import duration, number

WINDOW = 300
LIMIT = "resource_limits"
OLD_LIMITS = {"memory": "resource_limits_memory_bytes", "cpu": "resource_limits_cpu_cores"}
THROTTLED = "0.25"
"""The share of its scheduling periods in which a proxy may be held back: above it, latency suffers."""
FOR = 900
BY_POD = (naming.NAMESPACE, WORKLOAD, "pod")
_POD = "namespace, pod"


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdicts and alerts of the guardrail ``sidecar-resources``."""

    def cadvisor(metric: str) -> str:
        where = (Matcher("container", "=", CONTAINER), *in_namespaces(guardrail))
        return selected(slo_set, f"container_{metric}", *where)

    def rate(metric: str) -> str:
        return f"sum without (cpu) (rate({cadvisor(metric)}[{duration(WINDOW)}]))"

    def of_limit(used: str, resource: str) -> str:
        limits = " or ".join(
            (
                *series(slo_set, guardrail, LIMIT, Matcher("resource", "=", resource)),
                *series(slo_set, guardrail, OLD_LIMITS[resource]),
            )
        )
        return per_pod(f"max by ({_POD}) ({used})\n/\n(max by ({_POD}) ({limits}) > 0)\n< Inf")

    def per_pod(expr: str) -> str:
        return f"max by ({', '.join(BY_POD)}) (\n{promql.indent(named(expr))}\n)"

    periods = f"({rate('cpu_cfs_periods_total')} > 0)"
    held = f"max by ({_POD}) (\n  {rate('cpu_cfs_throttled_periods_total')}\n  / {periods}\n)"
    memory = raw_signal("pod:sidecar_memory:ratio", of_limit(cadvisor("memory_working_set_bytes"), "memory"))
    cpu = raw_signal("pod:sidecar_cpu:ratio5m", of_limit(rate("cpu_usage_seconds_total"), "cpu"))
    throttled = raw_signal("pod:sidecar_throttled:ratio5m", per_pod(held))

    def worst(record: str, of: Signal) -> Signal:
        by = ", ".join(BY_WORKLOAD)
        return signal(slo_set, record, lambda q: f"max by ({by}) ({q.read(of)})")

    def used(record: str, expr: str) -> Signal:
        """What all proxies of a workload use together."""
        each = named(f"max by ({_POD}) ({expr} < Inf)")
        return raw_signal(record, f"sum by ({', '.join(BY_WORKLOAD)}) (\n{promql.indent(each)}\n)")

    cores = used("workload:sidecar_cpu_cores:rate5m", rate("cpu_usage_seconds_total"))
    held_bytes = used("workload:sidecar_memory_bytes:sum", cadvisor("memory_working_set_bytes"))
    worst_memory = worst("workload:sidecar_memory:max_ratio", memory)
    worst_cpu = worst("workload:sidecar_cpu:max_ratio5m", cpu)
    assert guardrail.limit is not None
    share = (guardrail.limit / 100).normalize()
    percent = number(guardrail.limit)
    above = round(float(share) + 0.05, 3)

    def alert(name: str, of: Signal, limit: str, summary: str, description: str, proof: Proof) -> HealthAlert:
        return HealthAlert(
            name=name,
            expr=f"{RecordedQueries(slo_set).read(of)} > {limit}",
            for_=FOR,
            keep_firing_for=600,
            severity="ticket",
            summary=summary,
            description=description,
            telemetry="kubernetes",
            failure_mode="F3",
            proof=proof,
        )

    namespace = samples.namespace(guardrail)
    place = "The proxy of {label:pod} ({label:workload} in {label:namespace})"
    alerts = (
        alert(
            "SidecarMemoryNearLimit",
            memory,
            number(share),
            "{label:pod}: its proxy uses {percent} of its memory limit",
            f"{place} has used more than {percent} % of its memory limit for 15 minutes; at the limit it is killed.",
            _proof(namespace, _memory(namespace, above), _memory(namespace, float(share) / 2), above, 0),
        ),
        alert(
            "SidecarCpuNearLimit",
            cpu,
            number(share),
            "{label:pod}: its proxy uses {percent} of its CPU limit",
            f"{place} has used more than {percent} % of its CPU limit for 15 minutes; requests wait in it.",
            _proof(namespace, _cpu(namespace, above), _cpu(namespace, float(share) / 2), above, _SETTLED),
        ),
        alert(
            "SidecarThrottled",
            throttled,
            THROTTLED,
            "{label:pod}: its proxy is throttled in {percent} of its periods",
            f"{place} has been held back by its CPU limit in more than a quarter of its scheduling periods for 15 "
            "minutes: requests wait in it, even if its mean use of CPU is low.",
            _proof(namespace, _periods(namespace, 300), _periods(namespace, 60), 0.5, 1),
        ),
    )
    verdicts = (
        Verdict("sidecar-memory", worst_memory, float(share), "max", "ratio", BY_WORKLOAD),
        Verdict("sidecar-cpu", worst_cpu, float(share), "max", "ratio", BY_WORKLOAD),
    )
    signals = (memory, cpu, throttled, worst_memory, worst_cpu, cores, held_bytes)
    return Plan("sidecar-resources", signals, verdicts, alerts)


_MEBIBYTES = 2**20
_LENGTH = 40
_SETTLED = 6
_POD_NAME = "checkout-5d8f7c9b6d-xx2xb"


def _proof(namespace: str, inputs: dict[str, str], calm: dict[str, str], value: float, first: int) -> Proof:
    """``first`` is the first minute at which the condition holds."""
    fires = first + FOR // 60
    labels = {naming.NAMESPACE: namespace, WORKLOAD: "checkout", "pod": _POD_NAME}
    return Proof(inputs, fires, labels, calm, (fires, _LENGTH), value)


def _sample(namespace: str, metric: str, values: str, **labels: str) -> dict[str, str]:
    return {samples.series(metric, container=CONTAINER, namespace=namespace, pod=_POD_NAME, **labels): values}


def _memory(place: str, share: float) -> dict[str, str]:
    used = Decimal(str(round(share * 1000))) * _MEBIBYTES
    return _sample(
        place, "container_memory_working_set_bytes", f"{used}x{_LENGTH}", image="istio/proxyv2"
    ) | _sample(
        place,
        "kube_pod_container_resource_limits",
        f"{1000 * _MEBIBYTES}x{_LENGTH}",
        resource="memory",
        unit="byte",
    )


def _cpu(place: str, share: float) -> dict[str, str]:
    """A limit of 1000 cores, for whole numbers; it is known once the rate of the first minutes is exact."""
    used = _sample(
        place, "container_cpu_usage_seconds_total", f"0+{round(share * 1000) * 60}x{_LENGTH}", cpu="total"
    )
    limit = f"_x{_SETTLED} 1000x{_LENGTH - _SETTLED}"
    return used | _sample(place, "kube_pod_container_resource_limits", limit, resource="cpu", unit="core")


def _periods(place: str, throttled: int) -> dict[str, str]:
    return _sample(place, "container_cpu_cfs_periods_total", samples.rising(600, _LENGTH)) | _sample(
        place, "container_cpu_cfs_throttled_periods_total", samples.rising(throttled, _LENGTH)
    )
