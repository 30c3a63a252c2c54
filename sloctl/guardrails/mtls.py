"""M6: the share of traffic with mutual TLS, by destination.

Sidecars: requests as the server's proxy reports them, for the client's knows no policy. Ambient: connections as
ztunnel reports them, for waypoints sit behind the encrypted tunnel.
"""

from __future__ import annotations

from decimal import Decimal

from sloctl import naming
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Verdict
from sloctl.guardrails.shared.queries import (
    RENAMED,
    SERVICE_LABELS,
    SERVICES,
    Queries,
    RecordedQueries,
    connections,
    enough,
    in_namespaces,
    share,
    signal,
    tiles,
)
from sloctl.model import Guardrail, Matcher, SloSet
from sloctl.model.durations import number

WINDOW = 300
CONNECTIONS = "istio_tcp_connections_opened_total"
POLICY = "connection_security_policy"
DROP = Decimal("0.95")
"""The share below which something broke, whatever the target (a condition of the example incident)."""


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdict and alerts of the guardrail ``mtls``."""
    ambient = slo_set.mesh.mode == "ambient"
    names = {label: RENAMED[label] for label in SERVICE_LABELS}
    opened = connections(guardrail, "service:mtls_connections:increase1m", CONNECTIONS)

    def count(q: Queries, *matchers: Matcher) -> str:
        if ambient:
            return q.counts(opened, (matchers,), WINDOW, SERVICE_LABELS)
        where = (Matcher("reporter", "=", "destination"), *matchers, SERVICES, *in_namespaces(guardrail))
        return q.requests(where, WINDOW, SERVICE_LABELS)

    total = signal(slo_set, "service:mtls_traffic:increase5m", count)
    ratio = signal(
        slo_set,
        "service:mtls:ratio5m",
        lambda q: share(count(q, Matcher(POLICY, "=", "mutual_tls")), q.read(total), SERVICE_LABELS),
    )
    assert guardrail.limit is not None
    target = guardrail.limit / 100
    q = RecordedQueries(slo_set)

    def condition(limit: str) -> str:
        return f"{q.read(ratio)} < {limit}{enough(q, total, guardrail, SERVICE_LABELS)}"

    def proof(limit: Decimal, fires: int) -> Proof:
        """Half of what is asked for is encrypted; against all of it, beside a service that is too quiet to judge."""
        where = {
            naming.NAMESPACE: samples.namespace(guardrail),
            naming.SERVICE: samples.NAMES[naming.SERVICE],
        }

        def traffic(policy: str, **more: str) -> str:
            labels = where | more
            if ambient:
                own = {names[name]: value for name, value in labels.items()}
                return samples.series(CONNECTIONS, reporter="destination", **{POLICY: policy}, **own)
            return samples.requests(slo_set.mesh, reporter="destination", **{POLICY: policy}, **labels)

        events = max(1_000_000, guardrail.min_events)
        encrypted = int(events * limit / 2)
        quiet = {traffic("none", service="gift-cards"): samples.once(guardrail.min_events - 1)}
        return Proof(
            inputs={
                traffic("mutual_tls"): samples.rising(encrypted),
                traffic("none"): samples.rising(events - encrypted),
            },
            fires=fires,
            labels=where,
            value=encrypted / events,
            calm={traffic("mutual_tls"): samples.rising(events)}
            | (quiet if guardrail.min_events > 1 else {}),
            silent=(fires, 60),
        )

    what = "connections" if ambient else "requests"
    alerts = []
    if target > 0:
        alerts.append(
            HealthAlert(
                name="MtlsBelowTarget",
                expr=condition(number(target)),
                for_=900,
                keep_firing_for=600,
                severity="ticket",
                summary="{label:service}: only {percent} of its " + what + " use mutual TLS",
                description=(
                    f"At least {number(guardrail.limit)} % of the {what} of {{label:service}} in {{label:namespace}} "
                    "should; the rest travels in plain text."
                ),
                telemetry="proxies",
                failure_mode="M6",
                proof=proof(target, 16),
            )
        )
    if target >= DROP:
        alerts.append(
            HealthAlert(
                name="MtlsShareDropped",
                expr=condition(number(DROP)),
                for_=300,
                keep_firing_for=600,
                severity="ticket",
                summary="{label:service}: the share of mutual TLS dropped to {percent}",
                description=(
                    f"Less than 95 % of the {what} of {{label:service}} in {{label:namespace}} use mutual TLS: "
                    "clients without a proxy, a changed PeerAuthentication, or certificates that fail."
                ),
                telemetry="proxies",
                failure_mode="M6",
                proof=proof(DROP, 6),
            )
        )
    verdict = Verdict("mtls", ratio, float(target), "min", "ratio", SERVICE_LABELS)
    base = frozenset() if ambient else frozenset({"reporter", POLICY, *SERVICE_LABELS})
    minutes = (tiles(slo_set, opened, (*SERVICE_LABELS, POLICY)),) if ambient else ()
    return Plan("mtls", (*minutes, total, ratio), (verdict,), tuple(alerts), base)
