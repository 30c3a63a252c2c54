"""M9 and F7: gateways that fail requests, turn them away, or are gone.

A gateway is a client of the mesh in both modes: its proxy reports with ``reporter="source"``, and its workload is the
source. In the series and alerts here the gateway is the ``service``.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import KEEP, HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import (
    ALL,
    REQUEST_FAMILY,
    SERVICE_LABELS,
    Family,
    Queries,
    RecordedQueries,
    enough,
    flagged,
    one_of,
    outbound,
    raw_signal,
    renamed,
    selected,
    share,
    signal,
    tiles,
)
from sloctl.model import Guardrail, Matcher, SloSet
from sloctl.model.durations import number
from sloctl.promql.presets import SERVER_ERRORS

WINDOW = 300
OVERLOAD = Decimal("0.05")
"""The share of a gateway's requests that are turned away above which somebody is woken."""
OVERFLOW = "envoy_cluster_upstream_rq_pending_overflow"
SENT = "envoy_cluster_upstream_rq_total"
AVAILABLE = "kube_deployment_status_replicas_available"
POD_SUFFIX = "-[a-z0-9]+(?:-[a-z0-9]+)?"
"""What follows a workload's name in the names of its pods: a replica set's hash or none, and the pod's own part."""


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdicts and alerts of the guardrail ``gateway-errors``."""
    assert guardrail.limit is not None
    limit = guardrail.limit / 100

    def count(q: Queries, parts: tuple[tuple[Matcher, ...], ...] = ALL) -> str:
        where = (Matcher("reporter", "=", "source"), *one_of(naming.SOURCE, guardrail.gateways))
        every = [(*where, *part) for part in parts]
        names = {naming.NAMESPACE: naming.SOURCE_NAMESPACE, naming.SERVICE: naming.SOURCE}
        text = q.counts(REQUEST_FAMILY, every, WINDOW, (naming.SOURCE_NAMESPACE, naming.SOURCE))
        return renamed(text, SERVICE_LABELS, names)

    failed = ((Matcher("response_code", "=~", SERVER_ERRORS),),)
    turned_away = (
        (Matcher("response_code", "=", "503"),),
        (Matcher("response_code", "!=", "503"), flagged("UO", "UH", "URX")),
    )
    total = signal(slo_set, "gateway:requests:increase5m", count)
    errors = signal(
        slo_set,
        "gateway:errors:ratio5m",
        lambda q: share(count(q, failed), q.read(total), SERVICE_LABELS),
    )
    overload = signal(
        slo_set,
        "gateway:overload:ratio5m",
        lambda q: share(count(q, turned_away), q.read(total), SERVICE_LABELS),
    )
    overflows, sent = (
        _envoy(guardrail, name, metric) for name, metric in (("overflows", OVERFLOW), ("sent", SENT))
    )

    def tried_upstream(q: Queries) -> str:
        # What overflows is never sent: both together are what the gateway tried to send.
        parts = [q.counts(family, ALL, WINDOW, (naming.SERVICE,)) for family in (overflows, sent)]
        both = f"{promql.labelled(parts[0], 'of', 'overflows')}\nor\n{parts[1]}"
        return f"sum by ({naming.SERVICE}) (\n{promql.indent(both)}\n)"

    tried = signal(slo_set, "gateway:upstream_requests:increase5m", tried_upstream)
    overflow = signal(
        slo_set,
        "gateway:pending_overflow:ratio5m",
        lambda q: share(
            q.counts(overflows, ALL, WINDOW, (naming.SERVICE,)), q.read(tried), (naming.SERVICE,)
        ),
    )
    up = raw_signal("gateway:targets_up:sum", _up(slo_set, guardrail))
    alerts = [
        _overloaded(slo_set, guardrail, (overload, total), (overflow, tried)),
        _down(slo_set, guardrail, up),
    ]
    if limit < 1:
        alerts.append(_failing(slo_set, guardrail, errors, total))
    minutes = (tiles(slo_set, family, (naming.SERVICE,)) for family in (overflows, sent))
    verdict = Verdict("gateway-errors", errors, float(limit), "max", "ratio", SERVICE_LABELS)
    signals = (total, errors, overload, *minutes, tried, overflow, up)
    base = {"reporter", naming.SOURCE_NAMESPACE, naming.SOURCE, "response_code", "response_flags"}
    return Plan("gateway-errors", signals, (verdict,), tuple(alerts), frozenset(base))


def _pods(guardrail: Guardrail) -> str:
    """A regular expression for the gateways' pods, whose first group is the gateway."""
    # The longest first: a pod of gateway-internal is not one of gateway.
    names = sorted(guardrail.gateways, key=lambda name: (-len(name), name))
    return f"({'|'.join(promql.regex_quote(name) for name in names)}){POD_SUFFIX}"


def _by_gateway(guardrail: Guardrail, expr: str) -> str:
    """``expr`` (series of pods) summed by the gateway whose pods they are, as label ``service``."""
    text = f"sum by (pod) (\n{promql.indent(expr)}\n)"
    pattern = promql.quote(_pods(guardrail))
    text = f'label_replace(\n{promql.indent(text)},\n  "{naming.SERVICE}", "$1", "pod", {pattern}\n)'
    return f"sum by ({naming.SERVICE}) (\n{promql.indent(text)}\n)"


def _envoy(guardrail: Guardrail, name: str, metric: str) -> Family:
    """A counter of the gateways' own proxies, for what they send."""
    return Family(
        f"gateway:upstream_{name}:increase1m",
        metric,
        {},
        (Matcher("pod", "=~", _pods(guardrail)), outbound()),
        lambda text, by: _by_gateway(guardrail, text),
    )


def _up(slo_set: SloSet, guardrail: Guardrail) -> str:
    """How many targets of each gateway are up; 0 where there are none."""
    pods = selected(slo_set, "up", Matcher("pod", "=~", _pods(guardrail)))
    none = (promql.labelled("vector(0)", naming.SERVICE, name) for name in guardrail.gateways)
    return "\nor\n".join((_by_gateway(guardrail, pods), *none))


def _failing(slo_set: SloSet, guardrail: Guardrail, errors: Signal, total: Signal) -> HealthAlert:
    assert guardrail.limit is not None
    q = RecordedQueries(slo_set)
    limit = guardrail.limit / 100
    return HealthAlert(
        name="GatewayErrorsHigh",
        expr=f"{q.read(errors)} > {number(limit)}{enough(q, total, guardrail, SERVICE_LABELS)}",
        for_=300,
        keep_firing_for=KEEP["ticket"],
        severity="ticket",
        summary="{label:service}: {percent} of the requests through this gateway fail",
        description=(
            f"More than {number(guardrail.limit)} % of the requests through the gateway {{label:service}} in "
            "{label:namespace} failed over 5 minutes: 5xx, or no response."
        ),
        telemetry="proxies",
        failure_mode="M9",
        proof=_share_proof(slo_set, guardrail, limit, 300, KEEP["ticket"], {"response_code": "502"}),
    )


def _overloaded(
    slo_set: SloSet, guardrail: Guardrail, overload: tuple[Signal, Signal], overflow: tuple[Signal, Signal]
) -> HealthAlert:
    q = RecordedQueries(slo_set)

    def above(found: tuple[Signal, Signal], on: Sequence[str]) -> str:
        ratio, total = found
        text = f"{q.read(ratio)} > {number(OVERLOAD)}{enough(q, total, guardrail, on)}"
        return f"(\n{promql.indent(text)}\n)"

    return HealthAlert(
        name="GatewayOverloaded",
        expr=(
            f"{above(overload, SERVICE_LABELS)}\nor on ({naming.SERVICE})\n{above(overflow, (naming.SERVICE,))}"
        ),
        for_=120,
        keep_firing_for=KEEP["page"],
        severity="page",
        summary="{label:service}: this gateway turns away {percent} of its requests",
        description=(
            f"More than {number(100 * OVERLOAD)} % of the requests through the gateway {{label:service}} were turned "
            "away over 5 minutes: answered with 503, without a healthy host, or by full connection pools and queues."
        ),
        telemetry="proxies",
        failure_mode="F7",
        proof=_share_proof(
            slo_set, guardrail, OVERLOAD, 120, KEEP["page"], {"response_code": "503", "response_flags": "UO"}
        ),
    )


def _share_proof(
    slo_set: SloSet, guardrail: Guardrail, limit: Decimal, for_: int, keep: int, failed: dict[str, str]
) -> Proof:
    where = {
        naming.SOURCE_NAMESPACE: "istio-system",
        naming.SOURCE: guardrail.gateways[0],
        "reporter": "source",
    }
    quiet = where | {naming.SOURCE_NAMESPACE: "istio-quiet"}
    return samples.share_above(
        samples.requests(slo_set.mesh, **where, **failed),
        samples.requests(slo_set.mesh, **where),
        limit,
        {naming.NAMESPACE: "istio-system", naming.SERVICE: guardrail.gateways[0]},
        window=WINDOW,
        for_=for_,
        keep=keep,
        min_events=guardrail.min_events,
        quiet=samples.requests(slo_set.mesh, **quiet, **failed),
    )


def _down(slo_set: SloSet, guardrail: Guardrail, up: Signal) -> HealthAlert:
    q = RecordedQueries(slo_set)
    on = f"on ({naming.SERVICE})"
    deployments = selected(slo_set, AVAILABLE, *one_of("deployment", guardrail.gateways))
    available = renamed(deployments, (naming.SERVICE,), {naming.SERVICE: "deployment"})

    def pods(values: Sequence[str]) -> dict[str, str]:
        return {
            samples.series("up", pod=f"{name}-7d9c5b8f4-x2k4z"): value
            for name, value in zip(guardrail.gateways, values, strict=True)
        }

    others = [samples.flat(1, 70)] * (len(guardrail.gateways) - 1)
    return HealthAlert(
        name=naming.GATEWAY_DOWN,
        # Replicas that Kubernetes calls available, and nobody can scrape, are lost telemetry and not a gateway.
        expr=(
            f"(\n  {q.read(up)} == 0\n  unless {on}\n{promql.indent(available, 4)} > 0\n)\n"
            f"or {on}\n{promql.indent(available)} == 0"
        ),
        for_=120,
        keep_firing_for=300,
        severity="page",
        summary="{label:service}: no pod of this gateway is there",
        description=(
            "Prometheus reaches no pod of the gateway {label:service}, or Kubernetes has no available replica of it. "
            "Nothing from outside reaches the services behind it."
        ),
        telemetry="none",
        failure_mode="F7",
        proof=Proof(
            inputs=pods(["0x10 1x60", *others]),
            fires=2,
            labels={naming.SERVICE: guardrail.gateways[0]},
            calm=pods([samples.flat(1, 70), *others]),
            silent=(2, 30),
            lasts=15,
            resolved=16,
        ),
    )
