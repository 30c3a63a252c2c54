"""A first SLO file for the mesh that a Prometheus knows: who has traffic, and what they would have met.

Objectives are the strictest of a ladder that was met in the time that there is; why stands beside each. Names come
from the server: they are quoted, and comments hold no control characters.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf, isfinite
from pathlib import Path

from jobs.budgets import from_counters, targets
from jobs.budgets.collected import recorded_of
from jobs.preflight.survey import Asker
from sloctl import budget, promql, spec
from sloctl.backends.protocols import ObservedSource, Progress, Series, silent
from sloctl.budget import EventCounts
from sloctl.errors import BackendError, UsageError
from sloctl.model import SloSet
from sloctl.model.durations import duration, number
from sloctl.promql.presets import DURATION, DURATION_BUCKET, ENVOY_BUCKETS, REQUESTS
from sloctl.report.numbers import count, percent, plain
from sloctl.spec.sections.common import NAMESPACE, SERVICE_NAME

LADDER = (99.99, 99.95, 99.9, 99.5, 99.0, 98.0, 95.0)
"""Objectives that are proposed, the strictest first; with looser ones, pages of the policy mesh could never fire."""
LEAST_BAD = 10
"""A budget of fewer events than this is spent by chance: an objective that leaves no more is not proposed."""
MOST_OVERRIDES = 20
FAST = 95.0
"""Percent of requests of every service that a proposed latency threshold lets through."""
_WATCHED = {
    "service-errors": REQUESTS,
    "control-plane": "pilot_xds_pushes",
    "certificates": "citadel_server_root_cert_expiry_timestamp",
    "mtls": REQUESTS,
    "sidecar-restarts": "kube_pod_container_status_restarts_total",
    "telemetry-gap": "up",
    "retry-amplification": REQUESTS,
    "policy-denials": REQUESTS,
}
"""Guardrails, and a metric without which each says nothing."""
_PORTS = {"tempo": 3200, "jaeger": 16686, "zipkin": 9411, "alertmanager": 9093, "grafana": 3000}
"""Servers by a part of the name of the job that scrapes them, and where they listen unless somebody changed it."""
_ADDRESS = re.compile(r"https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:\d{1,5})?(/[-A-Za-z0-9._~/]*)?")
Place = tuple[str, str]
Shares = dict[str, dict[float, dict[Place, float]]]
"""By namespace and bound in milliseconds: the share of each service's requests within it."""


@dataclass(slots=True)
class Seen:
    """What a server has: reporters by (namespace, service), names of metrics, bounds of latency by namespace."""

    services: dict[Place, set[str]] = field(default_factory=dict)
    metrics: frozenset[str] = frozenset()
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By namespace: a bound in milliseconds, and the share of the slowest service's requests within it."""
    odd: set[Place] = field(default_factory=set)
    """Services whose names no SLO can have."""
    gateways: list[str] = field(default_factory=list)
    """Workloads that are called gateways."""
    others: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Other servers by what they are: where they may be, and how that is known."""

    @property
    def namespaces(self) -> list[str]:
        """Those of services with requests."""
        return sorted({namespace for namespace, _ in self.services if namespace})

    @property
    def ambient(self) -> bool:
        """Whether only waypoints count requests."""
        return set().union(*self.services.values()) == {"waypoint"}

    @property
    def native(self) -> bool:
        """Whether latency is in native histograms alone."""
        return DURATION in self.metrics and DURATION_BUCKET not in self.metrics

    def reporters(self, namespace: str) -> set[str]:
        """Who counts requests to a namespace's services."""
        return set().union(*(seen for place, seen in self.services.items() if place[0] == namespace))

    def side(self, namespace: str) -> str:
        """Who counts the requests to a namespace's services: their clients, if these have proxies."""
        reporters = self.reporters(namespace)
        return "server" if "source" not in reporters and "destination" in reporters else ""


def propose(
    source: ObservedSource,
    at: datetime,
    *,
    name: str,
    owner: str,
    prometheus: str,
    grafana: str = "",
    progress: Progress = silent,
) -> str:
    """The text of a file that validates. Raises ``BackendError``, and UsageError if there are no requests."""
    progress(-1.0, "looking for services")
    seen = _look(source, at)
    head = _head(seen, name, owner, prometheus, grafana)
    wild = [_slo(seen, namespace, "*", LADDER[-1], ()) for namespace in seen.namespaces]
    slo_set = _loaded("\n".join((*head, "slos:", *(line for lines in wild for line in lines))))
    found = from_counters.collect(source, slo_set, at, progress=progress)
    findings = [*found.findings, *targets.findings(source, slo_set, at)]
    text = [
        "# A proposal from what Prometheus had at "
        f"{at:%Y-%m-%d %H:%M} UTC: change what does not fit. Every objective is the strictest",
        "# that was met, so that no budget is spent on the day on which it begins.",
        *_remarks(seen),
        *(f"# {finding.severity}: {_comment(finding.message)} [{finding.code}]" for finding in findings),
        *head,
        "",
        "slos:",
    ]
    for slo in slo_set.slos:
        events = {
            key[2]: counts for key, counts in found.period.items() if key[0] == slo.id and counts[1] > 0
        }
        recorded = recorded_of(slo, at, found)
        text += _namespace(
            seen,
            slo.namespace,
            events,
            duration(round(recorded / 3600) * 3600 or 3600) if recorded else "30d",
        )
    text += ["", *_guardrails(seen)]
    whole = "\n".join(text) + "\n"
    _loaded(whole)
    return whole


def _look(source: ObservedSource, at: datetime) -> Seen:
    asker = Asker(source, at)
    seen = Seen(metrics=asker.names({*_WATCHED.values(), REQUESTS, DURATION, DURATION_BUCKET}))
    by = "destination_service_namespace, destination_service_name"
    counted = f"sum by ({by}, reporter) (increase({REQUESTS}[1d])) > 0"
    for item in source.query(counted, at):
        labels = item["metric"]
        place = labels.get("destination_service_namespace", ""), labels.get("destination_service_name", "")
        if not promql.is_service(place[1]):
            continue
        if not (re.fullmatch(NAMESPACE.pattern, place[0]) and re.fullmatch(SERVICE_NAME.pattern, place[1])):
            seen.odd.add(place)
        else:
            seen.services.setdefault(place, set()).add(labels.get("reporter", ""))
    if not seen.services:
        raise UsageError(
            f"this Prometheus has no requests to services in {REQUESTS} of the last day",
            hint="is it the mesh's? sloctl init without --prometheus writes a file to begin with",
        )
    gateways = f'count by (source_workload) ({REQUESTS}{{reporter="source", source_workload=~".*gateway.*"}})'
    names = (item["metric"].get("source_workload", "") for item in source.query(gateways, at))
    seen.gateways = sorted(name for name in names if re.fullmatch(NAMESPACE.pattern, name))
    for kind, found in _others(source, at):
        seen.others.setdefault(kind, found)
    if seen.native:
        shares = _shares_of_native(source, at, by, seen.services)
    elif DURATION_BUCKET in seen.metrics:
        buckets = source.query(f"sum by ({by}, le) (increase({DURATION_BUCKET}[1d]))", at)
        shares = _shares(buckets, seen.services)
    else:
        shares = {}
    seen.bounds = {namespace: bound for namespace, found in shares.items() if (bound := _bound(found))}
    return seen


def _by_place(
    series: Sequence[Series], services: Container[Place]
) -> Iterator[tuple[Place, float, Mapping[str, str]]]:
    for item in series:
        labels, value = item["metric"], float(item["value"][1])
        place = labels.get("destination_service_namespace", ""), labels.get("destination_service_name", "")
        if place in services and isfinite(value):
            yield place, value, labels


def _shares(buckets: Sequence[Series], services: Container[Place]) -> Shares:
    """What of each service's requests is within each bound; none of them where it has no such bound."""
    counts: dict[str, dict[float, dict[Place, float]]] = {}
    for place, value, labels in _by_place(buckets, services):
        of = counts.setdefault(place[0], {}).setdefault(float(labels.get("le", "inf")), {})
        of[place] = of.get(place, 0.0) + value
    return {
        namespace: {
            bound: {
                place: of.get(place, 0.0) / total
                for place, total in by_bound.get(inf, {}).items()
                if total > 0
            }
            for bound, of in by_bound.items()
            if isfinite(bound)
        }
        for namespace, by_bound in counts.items()
    }


def _shares_of_native(source: ObservedSource, at: datetime, by: str, services: Container[Place]) -> Shares:
    """The same of native histograms, of the bounds of Envoy's classic ones that each namespace could do with.

    These are bounds of converted histograms too, which tell the exact share there.
    """
    whole = f"sum by ({by}) (increase({DURATION}[1d]))"
    slowest: dict[str, float] = {}
    for place, value, _ in _by_place(
        source.query(f"histogram_quantile({FAST / 100}, {whole})", at), services
    ):
        slowest[place[0]] = max(value, slowest.get(place[0], 0.0))
    wanted = {
        namespace: next((bound for bound in ENVOY_BUCKETS if float(bound) >= value), None)
        for namespace, value in slowest.items()
    }
    found: Shares = {}
    for bound in sorted({bound for bound in wanted.values() if bound is not None}):
        within = source.query(f"histogram_fraction(-Inf, {number(bound)}, {whole})", at)
        for place, share, _ in _by_place(within, services):
            if wanted.get(place[0]) == bound:
                found.setdefault(place[0], {}).setdefault(float(bound), {})[place] = share
    return found


def _others(source: ObservedSource, at: datetime) -> Iterator[tuple[str, tuple[str, str]]]:
    """Servers that Prometheus sends alerts to, or scrapes under a name that says what they are."""
    try:
        found = [url.partition("/api/v")[0] for url in source.alertmanagers()]
    except BackendError:  # what is compatible with Prometheus need not have this
        found = []
    if known := [url for url in found if _ADDRESS.fullmatch(url)]:
        yield "alertmanager", (known[0], "Prometheus sends alerts there")
    names = "|".join(_PORTS)
    for item in source.query(f'group by (job, namespace, service) (up{{job=~"(?i).*({names}).*"}})', at):
        labels = item["metric"]
        job = labels.get("job", "")
        kind = next((name for name in _PORTS if name in job.lower()), "")
        host = ".".join(filter(None, (labels.get("service", ""), labels.get("namespace", "")))) or job
        url = f"http://{host}:{_PORTS.get(kind)}"
        if kind and _ADDRESS.fullmatch(url):
            yield kind, (url, f"the job {job} is scraped; is that its address?")


def _bound(shares: Mapping[float, Mapping[Place, float]]) -> tuple[float, float] | None:
    """The smallest bound that enough requests of every service are within, and the share of the slowest."""
    for bound, of in sorted(shares.items()):
        if of and min(of.values()) * 100 >= FAST:
            return bound, min(of.values())
    return None


def _head(seen: Seen, name: str, owner: str, prometheus: str, grafana: str) -> list[str]:
    shown = f"  grafana: {{url: {_quoted(grafana)}}}"
    if not grafana:
        url = seen.others.get("grafana", ("https://grafana.example.org", ""))[0]
        shown = f"  # grafana: {{url: {_quoted(url)}}}   # as people open it: alerts link to it"
    traced = next((kind for kind in ("tempo", "jaeger", "zipkin") if kind in seen.others), "")
    sources = []
    if traced:
        url, why = seen.others[traced]
        sources.append(f"  # traces: {{backend: {traced}, url: {_quoted(url)}}}   # {_comment(why)}")
    if "alertmanager" in seen.others:
        url, why = seen.others["alertmanager"]
        sources.append(f"  # alertmanager: {{url: {_quoted(url)}}}   # {_comment(why)}")
    if len(sources) < 2:
        left = ", ".join(
            ([] if traced else ["traces"]) + ([] if "alertmanager" in seen.others else ["alertmanager"])
        )
        sources.append(f"  # {left}: see docs/slo-file.md")
    return [
        "apiVersion: sloctl/v1",
        "kind: MeshSLOs",
        f"metadata: {{name: {_quoted(name)}}}",
        f"mesh: {{mode: {'ambient' if seen.ambient else 'sidecar'}{', histograms: native' if seen.native else ''}}}",
        "sources:",
        f"  prometheus: {{url: {_quoted(prometheus)}}}",
        shown,
        *sources,
        f"defaults: {{window: 30d, owner: {_quoted(owner)}}}",
    ]


def _remarks(seen: Seen) -> Iterator[str]:
    """What a reader has to know of what was seen."""
    if seen.odd:
        names = ", ".join(sorted(f"{namespace}/{service}" for namespace, service in seen.odd)[:3])
        said = f"{len(seen.odd)} services are left out, for their names are none of services"
        yield f"# warning: {said}: {_comment(names)}"
    waypoints = [namespace for namespace in seen.namespaces if seen.reporters(namespace) & {"waypoint"}]
    if waypoints and not seen.ambient:
        yield (
            f"# warning: waypoints count requests in {_comment(', '.join(waypoints))}: write these into a file "
            "of their own, with  mesh: {mode: ambient}"
        )


def _slo(seen: Seen, namespace: str, service: str, objective: float, why: Sequence[str]) -> list[str]:
    side = ", side: server" if seen.side(namespace) else ""
    return [
        *(f"  # {_comment(line)}" for line in why),
        "  - name: availability",
        f"    service: {_quoted(service)}",
        f"    namespace: {_quoted(namespace)}",
        f"    objective: {number(objective)}",
        f"    sli: {{preset: availability{side}}}",
    ]


def met(bad: float, total: float) -> float | None:
    """The strictest objective (percent) of the ladder that was met, of those whose budgets are no chance."""
    for objective in LADDER:
        allowed = total * (100 - objective) / 100
        if allowed >= LEAST_BAD and (budget.spent(bad, total, 1 - objective / 100) or 0.0) <= 1:
            return objective
    return None


def _namespace(seen: Seen, namespace: str, events: Mapping[str, EventCounts], reach: str) -> Iterator[str]:
    """The SLO of all services of a namespace, those of the ones that are worse, and latency."""
    found = {service: met(*counts) for service, counts in events.items()}
    known = sorted(objective for objective in found.values() if objective is not None)
    common = known[len(known) // 4] if known else LADDER[3]
    quiet = sum(1 for objective in found.values() if objective is None)
    why = [
        f"{namespace}: {len(events)} services with requests in {reach}; three quarters of them met {number(common)} %"
    ]
    if not known:
        why = [f"{namespace}: too few requests in {reach} to say what is met: {number(common)} % is a guess"]
    elif quiet:
        why.append(f"of {quiet} there are too few requests, or they met none of these objectives")
    yield ""
    yield from _slo(seen, namespace, "*", common, why)
    worse = sorted(
        (
            service
            for service, (bad, total) in events.items()
            if (budget.spent(bad, total, 1 - common / 100) or 0) > 1
        ),
        key=lambda service: (events[service][1] - events[service][0]) / events[service][1],
    )
    for service in worse[:MOST_OVERRIDES]:
        bad, total = events[service]
        objective = found[service] or LADDER[-1]
        said = f"{percent((total - bad) / total, 3)} of {count(total)} requests succeeded in {reach}"
        text = (
            f"met {number(objective)} %" if found[service] else "no objective was met: see what fails first"
        )
        yield from _slo(seen, namespace, service, objective, [f"{service}: {said}; {text}"])
    if len(worse) > MOST_OVERRIDES:
        yield f"  # and {len(worse) - MOST_OVERRIDES} more services that did not meet {number(common)} %"
    if namespace in seen.bounds:
        bound, share = seen.bounds[namespace]
        side = ", side: server" if seen.side(namespace) else ""
        yield (
            f"  # {_comment(namespace)}: of the slowest service's requests {percent(share, 2)} took at most "
            f"{bound:g} ms in the last day"
        )
        yield "  - name: latency"
        yield '    service: "*"'
        yield f"    namespace: {_quoted(namespace)}"
        yield f"    objective: {number(FAST)}"
        yield f"    sli: {{preset: latency, threshold: {bound:g}ms{side}}}"


def _guardrails(seen: Seen) -> Iterator[str]:
    yield "guardrails:"
    for preset, metric in _WATCHED.items():
        there = metric in seen.metrics
        yield f"  - {{preset: {preset}}}" if there else f"  # - {{preset: {preset}}}   # there is no {metric}"
    if seen.gateways:
        yield f"  - {{preset: gateway-errors, gateways: [{', '.join(map(_quoted, seen.gateways))}]}}"
    yield "  - {preset: watchdog}   # always fires: its absence shows that alerting is dead"


def _loaded(text: str) -> SloSet:
    slo_set, problems = spec.check([Path("-")], stdin=io.BytesIO(text.encode("utf-8", "replace")))
    if slo_set is None:
        raise UsageError(f"what was found makes no valid file: {problems[0].message}", hint=problems[0].hint)
    return slo_set


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return plain(" ".join(text.split()))
