"""M10: attempts per request.

By edge from Istio's counters: what the server's proxies report is attempts, what the client's proxy reports is
requests. The two are scraped at different moments, so that steady traffic without retries comes out at 0.96 to 1.04
even over many scrapes: what is recorded is not clipped, and the alert leaves that much room.

By service from Envoy's own counters of all clients, where the proxies expose them (``proxyStatsMatcher``): the identity
completed + retries = total + overflow gives attempts = total and requests = completed − overflow, both from the same
scrape. ``total / completed`` would count requests that overflowed, and were never sent, as requests without attempts.
By the same identity requests = total − retries, where proxies expose no ``completed``.
In ambient mode these are the waypoints' counters, and the only ones there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sloctl import naming
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import (
    ALL,
    CLUSTER,
    SERVICE_LABELS,
    SERVICES,
    Family,
    Queries,
    RecordedQueries,
    cluster_service,
    enough,
    in_namespaces,
    outbound,
    signal,
    tiles,
)
from sloctl.model import Guardrail, Matcher, SloSet
from sloctl.model.durations import number

WINDOW = 1800
TOLERANCE = Decimal("1.05")
"""How far above its limit an amplification may be that is read from two targets."""
COUNTERS = {
    "sent": "envoy_cluster_upstream_rq_total",
    "completed": "envoy_cluster_upstream_rq_completed",
    "overflowed": "envoy_cluster_upstream_rq_pending_overflow",
    "retried": "envoy_cluster_upstream_rq_retry",
}


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdicts and alerts of the guardrail ``retry-amplification``."""
    assert guardrail.limit is not None
    limit = float(guardrail.limit)
    found = _envoy(slo_set, guardrail)
    signals, envoy = found, found[-3:]
    verdicts = [
        Verdict("retry-amplification", envoy[-1], limit, "max", "attempts per request", SERVICE_LABELS)
    ]
    alerts = [_alert(slo_set, guardrail, envoy, SERVICE_LABELS)]
    base: frozenset[str] = frozenset()
    if slo_set.mesh.mode != "ambient":
        edges = _edges(slo_set, guardrail)
        signals = (*edges, *signals)
        verdicts.insert(
            0, Verdict("retry-amplification", edges[-1], limit, "max", "attempts per request", naming.EDGE)
        )
        alerts.insert(0, _alert(slo_set, guardrail, edges, naming.EDGE))
        base = frozenset({"reporter", *naming.EDGE})
    return Plan("retry-amplification", signals, tuple(verdicts), tuple(alerts), base)


def _amplification(attempts: str, requests: str, on: Sequence[str]) -> str:
    """No data, rather than 0, where no attempt was seen: the servers have no proxies."""
    return f"({attempts} > 0)\n/ on ({', '.join(on)})\n  ({requests} > 0)"


def _edges(slo_set: SloSet, guardrail: Guardrail) -> tuple[Signal, ...]:
    """Requests, attempts and amplification by edge."""

    def reported(record: str, reporter: str) -> Signal:
        where = (Matcher("reporter", "=", reporter), SERVICES, *in_namespaces(guardrail))
        return signal(slo_set, record, lambda q: q.requests(where, WINDOW, naming.EDGE))

    requests = reported(naming.EDGE_REQUESTS, "source")
    attempts = reported(naming.EDGE_ATTEMPTS, "destination")
    ratio = signal(
        slo_set,
        "edge:retry_amplification:ratio30m",
        lambda q: _amplification(q.read(attempts), q.read(requests), naming.EDGE),
    )
    return requests, attempts, ratio


def _envoy(slo_set: SloSet, guardrail: Guardrail) -> tuple[Signal, ...]:
    """What Envoy's counters gain a minute; requests, attempts and amplification by service."""
    families = {
        name: Family(
            f"service:envoy_{name}:increase1m",
            metric,
            {},
            (outbound(guardrail.namespaces),),
            lambda text, by: cluster_service(text),
        )
        for name, metric in COUNTERS.items()
    }

    def count(q: Queries, name: str) -> str:
        return q.counts(families[name], ALL, WINDOW, SERVICE_LABELS)

    def sent(q: Queries) -> str:
        # A proxy exposes a counter from its first event on: one that is missing has counted nothing.
        on = f"on ({', '.join(SERVICE_LABELS)})"
        completed, overflowed = count(q, "completed"), count(q, "overflowed")
        ended = f"{completed}\n- {on}\n  ({overflowed}\n  or {on}\n  0 * {completed})"
        return f"{ended}\nor {on}\n{count(q, 'sent')}\n- {on}\n  {count(q, 'retried')}"

    attempts = signal(slo_set, naming.ENVOY_ATTEMPTS, lambda q: count(q, "sent"))
    requests = signal(slo_set, naming.ENVOY_REQUESTS, sent)
    ratio = signal(
        slo_set,
        "service:envoy_retry_amplification:ratio30m",
        lambda q: _amplification(q.read(attempts), q.read(requests), SERVICE_LABELS),
    )
    minutes = (tiles(slo_set, family, SERVICE_LABELS) for family in families.values())
    return *minutes, requests, attempts, ratio


def _alert(
    slo_set: SloSet, guardrail: Guardrail, signals: Sequence[Signal], labels: Sequence[str]
) -> HealthAlert:
    assert guardrail.limit is not None
    edge = naming.SOURCE in labels
    requests, _, ratio = signals
    q = RecordedQueries(slo_set)
    limit = number(guardrail.limit * TOLERANCE if edge else guardrail.limit)
    source = "from {label:source} in {label:source_namespace} " if edge else ""
    text = number(guardrail.limit)
    return HealthAlert(
        name="RetryAmplificationHigh",
        expr=f"{q.read(ratio)} > {limit}{enough(q, requests, guardrail, labels)}",
        for_=900,
        keep_firing_for=900,
        severity="ticket",
        summary=f"{{label:service}}: {{value}} attempts for each request {source}".rstrip(),
        description=(
            f"More than {text} attempts for each request {source}to {{label:service}} in {{label:namespace}} over 30 "
            "minutes: retries multiply the load on a service that fails, and along a chain of services."
        ),
        telemetry="proxies" if edge else "envoy",
        failure_mode="M10",
        proof=_proof(slo_set, guardrail, edge),
    )


def _proof(slo_set: SloSet, guardrail: Guardrail, edge: bool) -> Proof:
    assert guardrail.limit is not None
    events = max(1000, guardrail.min_events)
    attempts = int(events * 2 * guardrail.limit * TOLERANCE)
    labels = {naming.NAMESPACE: samples.namespace(guardrail), naming.SERVICE: "checkout"}

    def client(service: str, requests: str, tries: str) -> dict[str, str]:
        if edge:
            names = labels | {naming.SERVICE: service}
            return {
                samples.requests(slo_set.mesh, **names): requests,
                samples.requests(slo_set.mesh, **names, reporter="destination"): tries,
            }
        head = "inbound-vip|8080|http|" if slo_set.mesh.mode == "ambient" else "outbound|8080||"
        names = {CLUSTER: f"{head}{service}.{labels[naming.NAMESPACE]}.svc.cluster.local"}
        return {
            samples.series(COUNTERS["sent"], **names): tries,
            samples.series(COUNTERS["completed"], **names): requests,
        }

    few = client("gift-cards", samples.once(guardrail.min_events - 1), samples.once(attempts))
    steady = samples.rising(events, 90)
    over = 20 + WINDOW // 60
    return Proof(
        inputs=client("checkout", samples.burst(events, 20, 90), samples.burst(attempts, 20, 90)),
        fires=16,
        labels=labels | ({name: samples.NAMES[name] for name in naming.EDGE[:2]} if edge else {}),
        value=attempts / events,
        calm=client("checkout", steady, steady) | (few if guardrail.min_events > 1 else {}),
        silent=(16, 60),
        lasts=over + 14,
        resolved=over + 15,
    )
