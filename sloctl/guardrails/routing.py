"""F5: requests that no route takes, or that reach a version that should get none.

A request without a route never has a service, so that misroutes are shares of what a source sends.
"""

from __future__ import annotations

from collections.abc import Sequence

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import (
    ALL,
    REQUEST_FAMILY,
    SERVICE_LABELS,
    Queries,
    RecordedQueries,
    enough,
    flagged,
    in_namespaces,
    share,
    sides,
    signal,
)
from sloctl.model import Guardrail, Matcher, SloSet
from sloctl.model.durations import number

WINDOW = 300
VERSION = "destination_version"
SENDER = (naming.SOURCE_NAMESPACE, naming.SOURCE)
BLACK_HOLE = "BlackHoleCluster"


def misroutes(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdicts and alerts of the guardrail ``misroutes``."""
    assert guardrail.limit is not None
    limit = guardrail.limit / 100
    ambient = slo_set.mesh.mode == "ambient"
    # Ambient: gateways report what they send, waypoints what they pass on. Nobody's request may count twice.
    by = (*SENDER, "reporter") if ambient else SENDER
    reporter = Matcher("reporter", "=~", "source|waypoint") if ambient else Matcher("reporter", "=", "source")
    scope = (reporter, *in_namespaces(guardrail, naming.SOURCE_NAMESPACE))
    # NR: no route; NC: a route to a cluster that is not there, such as a subset without DestinationRule.
    lost = (
        (Matcher(naming.SERVICE, "=", BLACK_HOLE),),
        (Matcher(naming.SERVICE, "!=", BLACK_HOLE), flagged("NR", "NC")),
    )

    def count(q: Queries, parts: Sequence[tuple[Matcher, ...]] = ALL) -> str:
        return q.counts(REQUEST_FAMILY, [(*scope, *part) for part in parts], WINDOW, by)

    total = signal(slo_set, "source:requests:increase5m", count)
    ratio = signal(slo_set, "source:misroutes:ratio5m", lambda q: share(count(q, lost), q.read(total), by))
    q = RecordedQueries(slo_set)
    sender = {naming.SOURCE_NAMESPACE: samples.namespace(guardrail), naming.SOURCE: "web"}
    labels = sender | ({"reporter": "waypoint"} if ambient else {})
    lost_labels = {naming.SERVICE: "unknown", "response_code": "404", "response_flags": "NR"}
    alerts = []
    if limit < 1:
        alerts.append(
            HealthAlert(
                name="MisroutedRequests",
                expr=f"{q.read(ratio)} > {number(limit)}{enough(q, total, guardrail, by)}",
                for_=300,
                keep_firing_for=600,
                severity="ticket",
                summary="{label:source}: {percent} of what it sends has no route",
                description=(
                    f"More than {number(guardrail.limit)} % of the requests of {{label:source}} in "
                    "{label:source_namespace} had no route or no cluster to go to over 5 minutes (response flags NR "
                    "and NC, or BlackHoleCluster)."
                ),
                telemetry="proxies",
                failure_mode="F5",
                proof=samples.share_above(
                    samples.requests(slo_set.mesh, **sender, **lost_labels),
                    samples.requests(slo_set.mesh, **sender),
                    limit,
                    labels,
                    window=WINDOW,
                    for_=300,
                    keep=600,
                    min_events=guardrail.min_events,
                    quiet=samples.requests(slo_set.mesh, **sender | {naming.SOURCE: "cron"}, **lost_labels),
                ),
            )
        )
    verdict = Verdict("misroutes", ratio, float(limit), "max", "ratio", by)
    base = frozenset({"reporter", *SENDER, naming.SERVICE, "response_flags"})
    if not guardrail.versions:
        return Plan("misroutes", (total, ratio), (verdict,), tuple(alerts), base)
    unexpected = _unexpected(slo_set, guardrail)
    alerts.append(_unexpected_version(slo_set, guardrail, unexpected))
    scope_labels = (*SERVICE_LABELS, VERSION)
    verdicts = (verdict, Verdict("unexpected-versions", unexpected, 0, "max", "requests", scope_labels))
    return Plan("misroutes", (total, ratio, unexpected), verdicts, tuple(alerts), base | {*scope_labels})


def _unexpected(slo_set: SloSet, guardrail: Guardrail) -> Signal:
    """Requests at versions that the file does not list, by version; 0 where there were some and are none now."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for service, versions in guardrail.versions:
        alike.setdefault(versions, []).append(service)
    parts = [
        (
            Matcher(naming.SERVICE, "=~", "|".join(promql.regex_quote(name) for name in services)),
            # A request that reached no pod has no version.
            Matcher(VERSION, "!~", "|".join(("", "unknown", *map(promql.regex_quote, versions)))),
        )
        for versions, services in alike.items()
    ]

    def count(q: Queries, side: Matcher) -> str:
        every = [(side, *part, *in_namespaces(guardrail)) for part in parts]
        return q.counts(REQUEST_FAMILY, every, WINDOW, (*SERVICE_LABELS, VERSION))

    def build(q: Queries) -> str:
        # Servers' proxies also see clients that have none; clients see servers that have none.
        first, *rest = (count(q, side) for side in sides(slo_set))
        return "\nor\n".join((f"({first} > 0)", *rest))

    return signal(slo_set, "service_version:unexpected_requests:increase5m", build)


def _unexpected_version(slo_set: SloSet, guardrail: Guardrail, unexpected: Signal) -> HealthAlert:
    service, versions = guardrail.versions[0]
    other = "canary" if "canary" not in versions else "canary" + max(versions, key=len)
    labels = {naming.NAMESPACE: samples.namespace(guardrail), naming.SERVICE: service}
    wrong = samples.requests(slo_set.mesh, **labels, **{VERSION: other})
    fine = samples.requests(slo_set.mesh, **labels, **{VERSION: versions[0] if versions else "unknown"})
    none = samples.requests(slo_set.mesh, **labels, **{VERSION: "unknown"}, response_code="503")
    return HealthAlert(
        name="UnexpectedVersion",
        expr=f"{RecordedQueries(slo_set).read(unexpected)} > 0",
        for_=120,
        keep_firing_for=600,
        severity="ticket",
        summary="{label:service}: its version {label:destination_version} gets traffic and should get none",
        description=(
            "{value} requests to {label:service} in {label:namespace} reached the version "
            "{label:destination_version} over 5 minutes, which is not among those that the SLO file lists."
        ),
        telemetry="proxies",
        failure_mode="F5",
        proof=Proof(
            inputs={wrong: "0x9 7x60", fine: samples.rising(1000, 70)},
            fires=12,
            labels=labels | {VERSION: other},
            value=7,
            calm={fine: samples.rising(1000, 70), none: samples.rising(1000, 70)},
            silent=(12, 30),
            lasts=24,
            resolved=25,
        ),
    )
