"""M4: the share of failed requests of any service, and M3: its latency, as the services' clients see them.

A failed request is what the SLI preset ``availability`` counts as bad: 5xx, no response, and gRPC's server errors,
which travel in responses with code 200. Clients' proxies see outcomes after retries. A service that no client with a
proxy calls is judged by its own proxies' reports; in ambient mode waypoints report all requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import KEEP, HealthAlert, Minutes, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import (
    ALL,
    RENAMED,
    REQUEST_FAMILY,
    SERVICE_LABELS,
    SERVICES,
    Queries,
    RecordedQueries,
    enough,
    in_namespaces,
    in_set,
    raw_matchers,
    raw_signal,
    renamed,
    reported,
    selected,
    share,
    sides,
    signal,
)
from sloctl.model import AlertSeverity, CounterSli, Guardrail, Matcher, SloSet
from sloctl.model.durations import duration, number
from sloctl.promql.presets import DURATION, DURATION_BUCKET, ENVOY_BUCKETS, PRESETS, bucket_pattern

LONG, SHORT = 300, 120
LE = "le"
QUANTILE = Decimal("0.99")
CRITICAL = Decimal(20)
"""Percent of failed requests that page, where the file says nothing (a condition of the example incident)."""


def errors(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdict and alerts of the guardrail ``service-errors``."""
    assert guardrail.limit is not None
    limit, scope = guardrail.limit, in_namespaces(guardrail)
    # A page below the ticket's limit would wake somebody for what the file calls fine.
    critical = max(limit, CRITICAL if guardrail.critical is None else guardrail.critical)
    sli = PRESETS["availability"].build({}, slo_set.mesh)
    assert isinstance(sli, CounterSli)
    bad = [tuple(m for m in part.matchers if m.label != "reporter") for part in sli.bad]

    def signals(window: int) -> tuple[Signal, Signal]:
        minutes = duration(window)
        total = signal(
            slo_set,
            f"service:error_traffic:increase{minutes}",
            lambda q: reported(slo_set, q, scope, window),
        )
        ratio = signal(
            slo_set,
            f"service:errors:ratio{minutes}",
            lambda q: share(reported(slo_set, q, scope, window, bad), q.read(total), SERVICE_LABELS),
        )
        return total, ratio

    def alert(
        name: str, found: tuple[Signal, Signal], window: int, percent: Decimal, for_: int
    ) -> HealthAlert:
        total, ratio = found
        q = RecordedQueries(slo_set)
        page = name == "ServiceErrorsCritical"
        severity: AlertSeverity = "page" if page else "ticket"
        return HealthAlert(
            name=name,
            expr=f"{q.read(ratio)} > {number(percent / 100)}{enough(q, total, guardrail, SERVICE_LABELS)}",
            for_=for_,
            keep_firing_for=KEEP[severity],
            severity=severity,
            summary="{label:service}: {percent} of its requests fail",
            description=(
                f"More than {number(percent)} % of the requests to {{label:service}} in {{label:namespace}} failed "
                f"over {window // 60} minutes: 5xx, no response or a cut one, or a gRPC server error, as its clients "
                "see it."
            ),
            telemetry="proxies",
            failure_mode="M4",
            proof=_errors_proof(slo_set, guardrail, percent / 100, window, for_, KEEP[severity]),
        )

    def attempts() -> tuple[Signal, ...]:
        """What servers saw, every attempt of a retried request: dashboards hold it against what clients saw."""
        if slo_set.mesh.mode == "ambient":
            return ()

        def count(q: Queries, parts: Sequence[tuple[Matcher, ...]]) -> str:
            side = Matcher("reporter", "=", "destination")
            every = [(side, *part, SERVICES, *scope) for part in parts]
            return q.counts(REQUEST_FAMILY, every, LONG, SERVICE_LABELS)

        total = signal(slo_set, "service:attempt_traffic:increase5m", lambda q: count(q, ALL))
        ratio = signal(
            slo_set,
            "service:attempt_errors:ratio5m",
            lambda q: share(count(q, bad), q.read(total), SERVICE_LABELS),
        )
        return total, ratio

    long, short = signals(LONG), signals(SHORT)
    alerts = []
    if limit < 100:
        alerts.append(alert("ServiceErrorsHigh", long, LONG, limit, 120))
    if critical < 100:
        alerts.append(alert("ServiceErrorsCritical", short, SHORT, critical, 60))
    verdict = Verdict("service-errors", long[1], float(limit / 100), "max", "ratio", SERVICE_LABELS)
    base = {"reporter", *SERVICE_LABELS, *(m.label for part in bad for m in part)}
    return Plan("service-errors", (*long, *short, *attempts()), (verdict,), tuple(alerts), frozenset(base))


def _errors_proof(
    slo_set: SloSet, guardrail: Guardrail, limit: Decimal, window: int, for_: int, keep: int
) -> Proof:
    labels = {naming.NAMESPACE: samples.namespace(guardrail), naming.SERVICE: "checkout"}
    failed = {"response_code": "503", "response_flags": "UF"}
    return samples.share_above(
        samples.requests(slo_set.mesh, **labels, **failed),
        samples.requests(slo_set.mesh, **labels),
        limit,
        labels,
        window=window,
        for_=for_,
        keep=keep,
        min_events=guardrail.min_events,
        quiet=samples.requests(slo_set.mesh, **labels | {naming.SERVICE: "gift-cards"}, **failed),
    )


def latency(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdict and alert of the guardrail ``service-latency``; quantiles are seconds.

    A limit that is a bound of the histogram is judged by the share within it; between two bounds, by
    ``histogram_quantile``, which presumes that latencies are spread evenly within a bucket. No alert for limits below
    the first bound or above the last: the histogram cannot tell there. Native histograms have a share for every limit.
    """
    assert guardrail.limit is not None
    limit = guardrail.limit * 1000
    bounds = slo_set.mesh.latency_buckets or ENVOY_BUCKETS
    scope = in_namespaces(guardrail)
    reporter = sides(slo_set)[0]
    native = slo_set.mesh.histograms == "native"
    le = () if native else (LE,)
    labels = (*SERVICE_LABELS, *le)

    def raw(*more: Matcher) -> str:
        """Requests by service and bucket.

        A quantile is no budget: extrapolation does it no harm, and exact counts of every bucket of every pod would
        cost more than all other guardrails together.
        """
        where = (
            *raw_matchers((reporter, SERVICES, *scope)),
            *more,
        )
        series = selected(slo_set, DURATION if native else DURATION_BUCKET, *where)
        return renamed(f"increase({series}[{duration(LONG)}])", labels, RENAMED)

    buckets = raw_signal("service:request_duration_buckets:increase5m", raw())

    def requests(q: Queries, *le: Matcher) -> str:
        if not (isinstance(q, RecordedQueries) and slo_set.sources.chained):
            return raw(*le)
        return promql.just_recorded(promql.selector(buckets.record, (*in_set(slo_set), *le)))

    def summed(q: Queries, *le: Matcher) -> str:
        return f"sum by ({', '.join(SERVICE_LABELS)}) (\n{promql.indent(requests(q, *le))}\n)"

    def everything(q: Queries) -> str:
        return f"histogram_count({summed(q)})" if native else summed(q, Matcher(LE, "=", "+Inf"))

    def within_limit(q: Queries) -> str:
        if native:
            return f"histogram_fraction(-Inf, {number(limit)}, {summed(q)}) >= 0"
        fast = summed(q, Matcher(LE, "=~", bucket_pattern(limit)))
        return f"{fast}\n/ {on}\n  ({q.read(total)} > 0)"

    def quantile(text: str) -> Signal:
        # Nothing in any bucket has no quantile: NaN is no number to compare with, and is left out.
        return signal(
            slo_set,
            f"service:latency_p{text[2:]}_seconds:quantile5m",
            lambda q: (
                f"histogram_quantile(\n  {text},\n"
                f"  sum by ({', '.join(labels)}) (\n{promql.indent(requests(q), 4)}\n  )\n) / 1000 >= 0"
            ),
        )

    total = signal(slo_set, "service:latency_traffic:increase5m", everything)
    p95, p99 = quantile("0.95"), quantile("0.99")
    by_namespace = signal(
        slo_set,
        "namespace:request_duration_buckets:increase5m",
        lambda q: f"sum by ({', '.join((naming.NAMESPACE, *le))}) (\n{promql.indent(requests(q))}\n)",
    )
    signals = [buckets, total, p95, p99, by_namespace]
    q = RecordedQueries(slo_set)
    on = f"on ({', '.join(SERVICE_LABELS)})"
    if limit in bounds or native:
        within = signal(slo_set, "service:latency_within_limit:ratio5m", within_limit)
        signals.append(within)
        condition = f"{q.read(p99)}\nand {on}\n  {q.read(within)} < {QUANTILE}"
    else:
        condition = f"{q.read(p99)} > {number(guardrail.limit)}"
    text = number(guardrail.limit)
    alert = HealthAlert(
        name="ServiceLatencyHigh",
        expr=f"{condition}{enough(q, total, guardrail, SERVICE_LABELS)}",
        for_=180,
        keep_firing_for=300,
        severity="ticket",
        summary="{label:service}: the slowest 1 % of its requests take {value} s and more",
        description=(
            f"More than 1 % of the requests to {{label:service}} in {{label:namespace}} took longer than {text} s over "
            "5 minutes. The p99 in the summary is interpolated within a bucket of the histogram."
        ),
        telemetry="proxies",
        failure_mode="F6",
        proof=_latency_proof(slo_set, guardrail, limit, sorted(bounds)),
    )
    verdict = Verdict("service-latency", p99, float(guardrail.limit), "max", "seconds", SERVICE_LABELS)
    told = native or min(bounds) <= limit <= max(bounds)
    return Plan("service-latency", tuple(signals), (verdict,), (alert,) if told else ())


def _latency_proof(slo_set: SloSet, guardrail: Guardrail, limit: Decimal, bounds: list[Decimal]) -> Proof:
    events = max(1000, guardrail.min_events)
    where = {naming.NAMESPACE: samples.namespace(guardrail), naming.SERVICE: "checkout"}
    slower = [bound for bound in bounds if bound > limit]
    faster = [bound for bound in bounds if bound <= limit]
    # All requests in the second bucket above the limit; beyond all bounds, where there is none.
    low, slow = (slower[0], slower[1]) if len(slower) > 1 else (bounds[-1], None)
    p99 = low + QUANTILE * (slow - low) if slow else low

    def histogram(service: str, values: str, reached: Decimal | None) -> Minutes:
        side = sides(slo_set)[0].value
        names = {
            RENAMED[naming.NAMESPACE]: where[naming.NAMESPACE],
            RENAMED[naming.SERVICE]: service,
            "reporter": side,
        }
        if slo_set.mesh.histograms == "native":
            within = bounds.index(reached) if reached in bounds else len(bounds)
            return {samples.series(DURATION, **names): samples.histograms(values, bounds, within)}
        return {
            samples.series(DURATION_BUCKET, **names, le=le): values if there else samples.flat(0)
            for le, there in (
                *((number(bound), reached is not None and bound >= reached) for bound in bounds),
                ("+Inf", True),
            )
        }

    few = samples.once(guardrail.min_events - 1)
    return Proof(
        inputs=histogram("checkout", samples.burst(events, 20), slow),
        fires=4,
        labels=where,
        value=float(p99 / 1000),
        calm={
            **(histogram("checkout", samples.rising(events), faster[-1]) if faster else {}),
            **(histogram("gift-cards", few, slow) if guardrail.min_events > 1 else {}),
        },
        silent=(4, 30),
        lasts=28,  # Prometheus 2 has a sample at a range's left end in it, Prometheus 3 has not: that is a minute
        resolved=30,
    )
