"""Judges the services of the SLOs: does the mesh report them, on the side that is read, with the bound that is read?"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from decimal import Decimal

from jobs.preflight.findings import PreflightFinding, named
from jobs.preflight.needs import Needs, SloSelectors, slo_selectors, text_of
from jobs.preflight.survey import Asker, Survey, other_form
from sloctl import promql
from sloctl.model import CounterSli, Matcher, Mesh, Slo
from sloctl.model.durations import number
from sloctl.promql.parsing import Select
from sloctl.promql.presets import ENVOY_BUCKETS, REPORTERS

MAX_BOUNDS = 10
"""Histograms whose bounds are asked for, one request each."""
Places = Mapping[tuple[str, str], frozenset[str]]


def judge(needs: Needs, survey: Survey, asker: Asker) -> Iterator[PreflightFinding]:
    """Findings about SLOs, each with the id of its SLO."""
    yield from _filters(needs, asker)
    asked = 0
    for item in slo_selectors(needs.slo_set):
        if not all(select.metric in survey.names or not select.metric for select in item.total):
            continue
        if any(not survey.series_of(s.metric) and survey.series_of(other_form(s.metric)) for s in item.total):
            continue  # said of the metric
        slo = item.slo
        if not isinstance(slo.sli, CounterSli):
            yield from _events(item, survey)
            continue
        mesh = promql.selector(item.total[0].metric, needs.slo_set.mesh.matchers)
        if needs.slo_set.mesh.matchers and not survey.counts.get(mesh):
            continue
        if not any(survey.counts.get(text_of(select)) for select in item.total):
            yield _nowhere(slo, slo.sli, survey)
        elif item.good and not any(survey.counts.get(text_of(select)) for select in item.good):
            bounds = _bounds(item.good[0], asker) if asked < MAX_BOUNDS else []
            asked += 1
            yield _bound(slo, item.good[0], bounds)
        elif slo.sli.native and asked < MAX_BOUNDS:
            asked += 1
            yield from _interpolated(slo, slo.sli, needs.slo_set.mesh, asker)


def _filters(needs: Needs, asker: Asker) -> Iterator[PreflightFinding]:
    """Labels that SLOs choose requests by, and no series has: they count nothing or, by ``not``, everything."""
    wanted: dict[tuple[str, str], list[tuple[Slo, bool]]] = {}
    for slo in needs.slo_set.slos:
        if isinstance(slo.sli, CounterSli):
            for matcher in slo.sli.where:
                what = slo.sli.total[0].metric, matcher.label
                wanted.setdefault(what, []).append((slo, matcher.op[0] == "!"))
    some = [Matcher("reporter", "!=", "")]
    found = asker.each(
        [
            f"count({promql.selector(metric, (Matcher(label, '!=', ''), *some, *needs.slo_set.mesh.matchers))})"
            for metric, label in wanted
        ]
    )
    for (metric, label), there in zip(wanted, found, strict=True):
        if there:
            continue
        for slo, negative in wanted[metric, label]:
            counts = "counts all requests" if negative else "counts nothing"
            text = f"{slo.id}: no series of {metric} has the label {label}, so the SLO {counts}"
            hint = "is it spelled as in the metric? Istio adds labels by Telemetry (overrides, tagOverrides)"
            yield PreflightFinding("error", "filter-label", text, hint, about=(slo.id,))


def _events(item: SloSelectors, survey: Survey) -> Iterator[PreflightFinding]:
    empty = [text for select in item.total if not survey.counts.get(text := text_of(select))]
    if empty:
        text = f"{item.slo.id}: nothing matches {named(empty, 2)} now"
        hint = "right if there was no such event yet; else see which labels the series have"
        yield PreflightFinding("warning", "no-events", text, hint, about=(item.slo.id,))


def _nowhere(slo: Slo, sli: CounterSli, survey: Survey) -> PreflightFinding:
    """Why an SLO has no series: another side, another name, another namespace."""
    places: Places = survey.gateways if sli.service_label == "source_workload" else survey.services
    wanted = REPORTERS[sli.side]
    kind = "workload" if sli.service_label == "source_workload" else "service"
    here = {name: reporters for (namespace, name), reporters in places.items() if namespace == slo.namespace}
    seen = frozenset[str]().union(*here.values()) if slo.wildcard else here.get(slo.service, frozenset())
    if seen and wanted not in seen:
        return PreflightFinding(
            "error",
            "wrong-side",
            f'{slo.id}: it reads reporter="{wanted}", and only {named(sorted(seen))} is there',
            _side_hint(seen),
            about=(slo.id,),
        )
    if seen:
        whose = f"services of {slo.namespace} have" if slo.wildcard else f"{slo.service} has"
        text = f"{slo.id}: {whose} requests, but none that this SLO counts"
        hint = (
            f"it counts {{{promql.matched(sli.where)}}} only"
            if sli.where
            else "is its protocol there (gRPC)?"
        )
        return PreflightFinding("error", "no-service", text, hint, about=(slo.id,))
    if here and not slo.wildcard:
        return PreflightFinding(
            "error",
            "no-service",
            f"{slo.id}: no requests to a {kind} called {slo.service} in {slo.namespace}"
            if kind == "service"
            else f"{slo.id}: no requests from a workload called {slo.service} in {slo.namespace}",
            _names_hint(slo, kind, here, places),
            about=(slo.id,),
        )
    known = sorted({namespace for namespace, _ in places if namespace})
    near = difflib.get_close_matches(slo.namespace, known, 3, 0.5) or known
    elsewhere = sorted({namespace for namespace, name in places if name == slo.service and not slo.wildcard})
    hint = f"{slo.service} has requests in {named(elsewhere)}" if elsewhere else f"there are in {named(near)}"
    if not known:
        hint = "no proxy reports requests at all"
    text = f"{slo.id}: no requests of any {kind} in the namespace {slo.namespace}"
    return PreflightFinding("error", "no-namespace", text, hint, about=(slo.id,))


def _side_hint(seen: frozenset[str]) -> str:
    if seen == {"waypoint"}:
        return "the mesh is ambient here: set mesh.mode to ambient"
    if "destination" in seen:
        return "its callers have no proxy: set 'side: server' in the SLI"
    if "source" in seen:
        return "the service has no proxy of its own: read the client's side (no 'side: server', mesh.mode sidecar)"
    return "see presets: which side counts what"


def _names_hint(slo: Slo, kind: str, here: Mapping[str, frozenset[str]], places: Places) -> str:
    elsewhere = sorted({namespace for namespace, name in places if name == slo.service})
    near = difflib.get_close_matches(slo.service, sorted(here), 3, 0.5)
    hints = [f"near: {named(near)}"] if near else [f"there are {named(sorted(here))}"]
    if elsewhere:
        hints.append(f"{slo.service} has requests in {named(elsewhere)}")
    hints.append(
        "the name is the Kubernetes service's, not the deployment's"
        if kind == "service"
        else "the name is the gateway's workload"
    )
    return "; ".join(hints)


def _bounds(good: Select, asker: Asker) -> list[str]:
    rest = tuple(m for m in good.matchers if m.label != "le")
    values = asker.values("le", promql.selector(good.metric, rest))
    return sorted((value for value in values if value != "+Inf"), key=_number)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")


def _bound(slo: Slo, good: Select, bounds: list[str]) -> PreflightFinding:
    wanted = next((m.value for m in good.matchers if m.label == "le"), "").partition("|")[0]
    return PreflightFinding(
        "error",
        "no-bound",
        f"{slo.id}: the histogram has no bound at {wanted} ms",
        f"it has {named(bounds, 20)}: choose one of them, and set mesh.latency_buckets"
        if bounds
        else "ask for label_values(istio_request_duration_milliseconds_bucket, le)",
        about=(slo.id,),
    )


GROWTH = Decimal("1.1")
"""By how much bounds of native histograms differ as Prometheus and its clients keep them, at most."""


def _interpolated(slo: Slo, sli: CounterSli, mesh: Mesh, asker: Asker) -> Iterator[PreflightFinding]:
    """How many requests lie so near a threshold that no bound of a native histogram tells how many were within it."""
    threshold = sli.threshold
    assert threshold is not None
    bounds = (Decimal(0), *(mesh.latency_buckets or ENVOY_BUCKETS), Decimal("Inf"))
    converted = max(b for b in bounds if b <= threshold), min(b for b in bounds if b >= threshold)
    series = promql.full_selector(slo, sli, sli.total[0], mesh)
    around = {"finely": (threshold / GROWTH, threshold * GROWTH), "converted": converted}
    shares = asker.each(
        [
            f"histogram_fraction({low:f}, {'Inf' if high.is_infinite() else f'{high:f}'}, sum(increase({series}[1h])))"
            for low, high in around.values()
            if low < high
        ]
    )
    if not shares[0]:
        return
    fine, *rest = (f"{100 * float(found[0]['value'][1]):.2g} %" for found in shares if found)
    text = f"{slo.id}: how many requests were within {number(threshold)} ms is interpolated"
    text += (
        f"; {fine} of the last hour took between {number(around['finely'][0].quantize(Decimal('0.1')))} and "
    )
    text += f"{number(around['finely'][1].quantize(Decimal('0.1')))} ms"
    text += f", and {rest[0]} between the bounds of a classic histogram beside it" if rest else ""
    hint = "the SLI is off by less: by the first with native histograms, by the second with converted classic ones"
    yield PreflightFinding("info", "interpolated", text, hint, about=(slo.id,))
