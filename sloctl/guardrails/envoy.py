"""Circuit breakers, as the clients' Envoys count them: ejected hosts, and what full pools and queues turned away.

``envoy_cluster_*`` of outbound clusters must be in the proxies' inclusion list; requests with the response flag UO
(upstream overflow) are in Istio's own metrics and need none. Ejections are short: the gauge is often back at 0 before
the next scrape, so the counter of enforced ejections is read beside it.
"""

from __future__ import annotations

from collections.abc import Mapping

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import (
    CLUSTER,
    SERVICE_LABELS,
    Queries,
    RecordedQueries,
    cluster_service,
    counted,
    in_namespaces,
    outbound,
    raw_signal,
    selected,
    sides,
    signal,
)
from sloctl.model import Guardrail, Matcher, SloSet

WINDOW = 300
ACTIVE = "envoy_cluster_outlier_detection_ejections_active"
ENFORCED = "envoy_cluster_outlier_detection_ejections_enforced_total"
POOL = "envoy_cluster_upstream_cx_overflow"
QUEUE = "envoy_cluster_upstream_rq_pending_overflow"
FLAGS = "response_flags"
OVERFLOWED = "(.*,)?UO(,.*)?"
CLUSTER_NAME = (
    f"outbound|8080||{samples.NAMES[naming.SERVICE]}.{samples.NAMES[naming.NAMESPACE]}.svc.cluster.local"
)
LABELS: Mapping[str, str] = {name: samples.NAMES[name] for name in SERVICE_LABELS}


def ejections(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdict and alert of the guardrail ``ejections``."""
    active = raw_signal(
        "service:ejected_hosts:max",
        cluster_service(f"{selected(slo_set, ACTIVE, outbound(guardrail.namespaces))} < Inf", operator="max"),
    )
    enforced = _increase(slo_set, guardrail, "service:ejections:increase5m", ENFORCED)
    either = signal(slo_set, "service:ejections:max5m", lambda q: _worst(q, enforced, active))
    gauge, counter = (samples.series(metric, **{CLUSTER: CLUSTER_NAME}) for metric in (ACTIVE, ENFORCED))
    alert = HealthAlert(
        name="CircuitBreakerEjecting",
        expr=f"{RecordedQueries(slo_set).read(either)} > 0",
        for_=60,
        keep_firing_for=600,
        severity="ticket",
        summary="{label:service}: circuit breakers eject hosts ({value} ejections)",
        description=(
            "Clients have taken hosts of {label:service} in {label:namespace} out of their load balancing, within the "
            "last five minutes or still: those hosts fail, and the others carry their load."
        ),
        telemetry="envoy",
        failure_mode="circuit breaker ejecting",
        proof=Proof(
            # Ejected and back between two scrapes.
            inputs={gauge: "0x60", counter: "0x4 1x55"},
            fires=6,
            labels=LABELS,
            calm={gauge: "0x60", counter: "3x60"},
            silent=(1, 6, 60),
            value=1,
            lasts=15,
            resolved=25,
        ),
    )
    verdict = Verdict("ejections", either, 0.0, "max", "hosts", SERVICE_LABELS)
    return Plan("ejections", (active, enforced, either), (verdict,), (alert,))


def overflow(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdict and alerts of the guardrail ``overflow``."""
    reporter = sides(slo_set)[0]
    pool = _increase(slo_set, guardrail, "service:connection_overflow:increase5m", POOL)
    pending = _increase(slo_set, guardrail, "service:pending_overflow:increase5m", QUEUE)
    where = (
        reporter,
        Matcher(FLAGS, "=~", OVERFLOWED),
        *in_namespaces(guardrail),
    )
    flagged = signal(
        slo_set,
        "service:overflowed_requests:increase5m",
        lambda q: q.requests(where, WINDOW, SERVICE_LABELS),
    )
    queue = signal(slo_set, "service:queue_overflow:increase5m", lambda q: _worst(q, pending, flagged))
    either = signal(slo_set, "service:overflow:increase5m", lambda q: _worst(q, pending, flagged, pool))
    alerts = (
        _alert(
            slo_set,
            "ConnectionPoolOverflow",
            pool,
            samples.series(POOL, **{CLUSTER: CLUSTER_NAME}),
            "{label:service}: connection pools were full {value} times in five minutes",
            "Clients of {label:service} in {label:namespace} may open no more connections to it (maxConnections): "
            "requests wait, and are turned away when the queue is full too.",
        ),
        _alert(
            slo_set,
            "PendingQueueOverflow",
            queue,
            samples.requests(slo_set.mesh, response_code="503", response_flags="UO"),
            "{label:service}: {value} requests were turned away in five minutes, for queues are full",
            "Clients of {label:service} in {label:namespace} answer 503 (response flag UO) themselves: the service is "
            "slower than its traffic, or its limits are too low.",
        ),
    )
    verdict = Verdict("overflow", either, 0.0, "max", "events", SERVICE_LABELS)
    base = frozenset({"reporter", FLAGS, *SERVICE_LABELS})
    return Plan("overflow", (pool, pending, flagged, queue, either), (verdict,), alerts, base)


def _increase(slo_set: SloSet, guardrail: Guardrail, record: str, metric: str) -> Signal:
    raw = selected(slo_set, metric, outbound(guardrail.namespaces))
    return raw_signal(record, cluster_service(counted(slo_set, raw, WINDOW)))


def _worst(q: Queries, *signals: Signal) -> str:
    """The highest of some signals, each of which may be missing."""
    each = promql.together({str(number): q.read(one) for number, one in enumerate(signals)})
    return f"max by ({', '.join(SERVICE_LABELS)}) (\n{promql.indent(each)}\n)"


def _alert(
    slo_set: SloSet, name: str, source: Signal, series: str, summary: str, description: str
) -> HealthAlert:
    return HealthAlert(
        name=name,
        expr=f"{RecordedQueries(slo_set).read(source)} > 0",
        for_=60,
        keep_firing_for=600,
        severity="ticket",
        summary=summary,
        description=description,
        telemetry="envoy",
        failure_mode="F7",
        proof=Proof(
            inputs={series: "_x5 8x60"},
            fires=6,
            labels=LABELS,
            calm={series: "9x60"},
            silent=(1, 6, 60),
            value=8,
            lasts=15,
            resolved=30,
        ),
    )
