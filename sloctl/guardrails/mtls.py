"""M6: the share of traffic with mutual TLS, by destination.

Sidecars: requests as the server's proxy reports them, for the client's knows no policy. Ambient: connections as
ztunnel reports them, for waypoints sit behind the encrypted tunnel.
"""

from __future__ import annotations

from sloctl import naming
from sloctl.guardrails import samples
from sloctl.guardrails.kinds import HealthAlert, Plan, Proof, Verdict
from sloctl.guardrails.queries import (
    SERVICE_LABELS,
    Queries,
    Recorded,
    counted,
    enough,
    in_namespaces,
    renamed,
    selected,
    share,
    signal,
)
from sloctl.model import Guardrail, Matcher, SloSet
from sloctl.windows import number

WINDOW = 300
CONNECTIONS = "istio_tcp_connections_opened_total"
POLICY = "connection_security_policy"
DROP = "0.95"
"""The share below which something broke, whatever the target (a condition of the example incident)."""


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdict and alerts of the guardrail ``mtls``."""
    ambient = slo_set.mesh.mode == "ambient"
    names = {naming.NAMESPACE: "destination_service_namespace", naming.SERVICE: "destination_service_name"}

    def count(q: Queries, *matchers: Matcher) -> str:
        where = (Matcher("reporter", "=", "destination"), *matchers)
        if not ambient:
            return q.requests((*where, *in_namespaces(guardrail)), WINDOW, SERVICE_LABELS)
        scope = in_namespaces(guardrail, names[naming.NAMESPACE])
        raw = selected(slo_set, CONNECTIONS, *where, *scope)
        return renamed(counted(slo_set, raw, WINDOW), SERVICE_LABELS, names)

    total = signal(slo_set, "service:mtls_traffic:increase5m", count)
    ratio = signal(
        slo_set,
        "service:mtls:ratio5m",
        lambda q: share(count(q, Matcher(POLICY, "=", "mutual_tls")), q.read(total), SERVICE_LABELS),
    )
    assert guardrail.limit is not None
    target = guardrail.limit / 100
    q = Recorded(slo_set)

    def condition(limit: str) -> str:
        return f"{q.read(ratio)} < {limit}{enough(q, total, guardrail, SERVICE_LABELS)}"

    def proof(plain: int, fires: int, minutes: int) -> Proof:
        def traffic(policy: str) -> str:
            if ambient:
                labels = {raw: samples.NAMES[name] for name, raw in names.items()}
                return samples.series(CONNECTIONS, reporter="destination", **{POLICY: policy}, **labels)
            return samples.requests(slo_set.mesh, reporter="destination", **{POLICY: policy})

        good, bad = traffic("mutual_tls"), traffic("none")
        return Proof(
            inputs={good: samples.rising(100_000 - plain, minutes), bad: samples.rising(plain, minutes)},
            fires=fires,
            labels={name: samples.NAMES[name] for name in SERVICE_LABELS},
            value=1 - plain / 100_000,
            calm={good: samples.rising(100_000, minutes)},
            silent=(fires, minutes),
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
                # A hair below the target: rounding up keeps at least one in a hundred thousand in plain text.
                proof=proof(min(100_000, int((1 - target) * 100_000) + 1000), 16, 30),
            )
        )
    if target >= 1 - 0.05:
        alerts.append(
            HealthAlert(
                name="MtlsShareDropped",
                expr=condition(DROP),
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
                proof=proof(10_000, 6, 30),
            )
        )
    verdict = Verdict("mtls", ratio, float(target), "min", "ratio", SERVICE_LABELS)
    base = frozenset() if ambient else frozenset({"reporter", POLICY, *SERVICE_LABELS})
    return Plan("mtls", (total, ratio), (verdict,), tuple(alerts), base)
