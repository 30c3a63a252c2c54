"""Judges metrics and labels: is what the rules read there, and under these names?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.budgets import targets
from jobs.preflight.findings import PreflightFinding, named
from jobs.preflight.needs import Needs, SloSelectors, slo_selectors
from jobs.preflight.survey import Asker, Survey, other_form
from sloctl import promql
from sloctl.model import CounterSli
from sloctl.promql.catalogue import METRICS, ORIGINS, Metric, Remedy, remedy
from sloctl.promql.presets import DURATION, DURATION_BUCKET, REQUESTS

MAYBE_MISSING = frozenset({"grpc_response_status", "destination_cluster", "uid"})
"""Labels that a mesh may lack: without gRPC, with one cluster, before a release."""
FAST = 30
"""Seconds between scrapes above which one-minute buckets have one or two samples: a warning."""
SLOW = 60
"""Seconds above which some one-minute buckets have none: an error."""


def judge(needs: Needs, survey: Survey, asker: Asker) -> Iterator[PreflightFinding]:
    """Findings about metrics, labels, matchers, target labels and scrape intervals."""
    slos = slo_selectors(needs.slo_set)
    elsewhere = {
        metric
        for metric in needs.metrics
        if not survey.series_of(metric) and survey.series_of(other_form(metric))
    }
    either = {metric for metric in elsewhere if other_form(metric) in needs.metrics}
    elsewhere -= either
    missing = set(needs.metrics - survey.names) - either
    yield from _histograms(elsewhere, needs, slos)
    missing -= elsewhere
    unmatched = {
        metric
        for metric in needs.metrics - missing
        if _on_request(metric) and _unmatched(metric, needs, survey)
    }
    mute = silent(needs, missing | unmatched | elsewhere)
    absent: list[Absent] = []
    for metric in sorted(missing):
        found = _metric(metric, needs, survey, slos, asker, mute)
        if isinstance(found, PreflightFinding):
            yield found
        else:
            absent.append(found)
    absent += [_absent(METRICS[metric], (), needs.alerts_on(metric), mute) for metric in sorted(unmatched)]
    yield from _grouped(absent)
    for metric in sorted(needs.metrics - missing - elsewhere):
        if survey.series_of(metric):
            yield from _matchers(metric, needs, survey, asker)
            yield from _labels(metric, needs, survey)
    yield from _starts(needs, survey)
    yield from _joins(needs, survey, asker)
    for item in targets.look(asker.source, needs.slo_set, asker.at).twice:
        yield PreflightFinding("error", "scraped-twice", item.text, item.remedy)
    yield from _intervals(needs, survey)


_CLASSIC_TOO = "always_scrape_classic_histograms: true"
_HISTOGRAMS = {
    DURATION_BUCKET: "set mesh.histograms: native; or let Prometheus keep both: "
    f"{_CLASSIC_TOO} in its scrape configuration",
    DURATION: "remove mesh.histograms: native; or let Prometheus have them: scrape_native_histograms or "
    "convert_classic_histograms_to_nhcb in its scrape configuration",
}


def _histograms(
    metrics: Iterable[str], needs: Needs, slos: tuple[SloSelectors, ...]
) -> Iterator[PreflightFinding]:
    """Histograms that are there now, but in the other form."""
    for metric in sorted(metrics):
        of_slos = tuple(s.slo.id for s in slos if any(sel.metric == metric for sel in (*s.total, *s.good)))
        alerts = needs.alerts_on(metric)
        form = "native" if metric.endswith("_bucket") else "classic"
        blind = f"; SLOs without data: {named(of_slos)}" if of_slos else ""
        blind += f"; alerts that see less: {named(alerts, 20)}" if alerts else ""
        yield PreflightFinding(
            "error" if of_slos else "warning",
            "other-histograms",
            f"{metric}: not there now, only the {form} histograms {other_form(metric)} are{blind}",
            _HISTOGRAMS.get(metric, f"{_CLASSIC_TOO} in the scrape configuration"),
            about=(*of_slos, *alerts),
        )


def _starts(needs: Needs, survey: Survey) -> Iterator[PreflightFinding]:
    """Is it known when pods start? Without, the first sample of a new pod shows nothing of what it has counted."""
    wanted = any(read.select.metric in promql.STARTS for rule in needs.rules for read in rule.reads)
    if wanted and not promql.STARTS & survey.names:
        text = "nothing says when pods start: what a new pod counted before its first scrape is not counted"
        hint = f"scrape the agent's own metrics with the proxy's, or kube-state-metrics: {named(sorted(promql.STARTS))}"
        yield PreflightFinding("info", "no-start-time", text, hint)


def _on_request(metric: str) -> bool:
    return metric in METRICS and METRICS[metric].exposed == "on request"


@dataclass(frozen=True, slots=True)
class Absent:
    """A missing metric: the SLOs that need it, the alerts that it keeps silent, and those that see less."""

    entry: Metric
    slos: tuple[str, ...]
    quiet: tuple[str, ...]
    partial: tuple[str, ...]


def _grouped(absent: list[Absent]) -> Iterator[PreflightFinding]:
    """One finding for all that is missing for one cause."""
    groups: dict[tuple[bool, bool, Remedy | None], list[Absent]] = {}
    for item in absent:
        serious = bool(item.slos or item.quiet)
        groups.setdefault((serious, item.entry.exposed == "on request", remedy(item.entry.name)), []).append(
            item
        )
    for (serious, on_request, cure), items in groups.items():
        slos, quiet, partial = (
            tuple(dict.fromkeys(name for names in lists for name in names))
            for lists in ([i.slos for i in items], [i.quiet for i in items], [i.partial for i in items])
        )
        text = f"{named((item.entry.name for item in items), 20)}: "
        text += "not exposed" if on_request else "not there in the last hour"
        text += f"; SLOs without data: {named(slos)}" if slos else ""
        text += f"; alerts that stay silent: {named(quiet, 20)}" if quiet else ""
        partial = tuple(name for name in partial if name not in quiet)
        text += f"; alerts that see less: {named(partial, 20)}" if partial else ""
        text += " (no data is not zero)" if items[0].entry.origin == "kube-state-metrics" else ""
        yield PreflightFinding(
            "error" if serious else "warning",
            "optional-metric" if on_request else "no-metric",
            text,
            cure.text if cure else "",
            cure.snippet if cure else "",
            (*slos, *quiet, *partial),
        )


def silent(needs: Needs, missing: set[str]) -> tuple[str, ...]:
    """The guardrails' alerts of which everything that they read is missing, in every rule of that name."""
    found: dict[str, bool] = {}
    for rule in needs.rules:
        if rule.guardrail and not rule.records:
            read = needs.raw(rule) - {"up"} - promql.STARTS
            nothing = bool(read) and read <= missing and not read <= needs.absences
            nothing = nothing and not needs.watches_targets(rule)
            found[rule.name] = found.get(rule.name, True) and nothing
    return tuple(name for name, nothing in found.items() if nothing)


def _unmatched(metric: str, needs: Needs, survey: Survey) -> bool:
    texts = [text for text, select in needs.selects.items() if select.metric == metric]
    return bool(texts) and not any(survey.counts.get(text) for text in texts)


def _metric(
    metric: str,
    needs: Needs,
    survey: Survey,
    slos: tuple[SloSelectors, ...],
    asker: Asker,
    mute: tuple[str, ...],
) -> PreflightFinding | Absent:
    entry = METRICS.get(metric)
    of_slos = tuple(s.slo.id for s in slos if any(sel.metric == metric for sel in (*s.total, *s.good)))
    alerts = needs.alerts_on(metric)
    about = (*of_slos, *alerts)
    if entry is None:
        near = difflib.get_close_matches(metric, asker.all_names(), 3)
        hint = f"is it called {named(near)}?" if near else "see what exposes it, and whether that is scraped"
        return PreflightFinding(
            "error", "no-metric", f"{metric}: no such metric in the last hour", hint, about=about
        )
    if instead := [other for other in entry.instead if other in survey.names]:
        text = f"{metric}: not there; {named(instead)} is, and stands for it"
        return PreflightFinding("info", "not-yet", text, about=about)
    if not of_slos and entry.exposed == "first event" and _origin_seen(entry, survey):
        text = f"{metric}: not there yet; {ORIGINS[entry.origin].title} expose it with its first event"
        return PreflightFinding(
            "info", "not-yet", text.replace("istiod expose ", "istiod exposes "), about=about
        )
    return _absent(entry, of_slos, alerts, mute)


def _absent(
    entry: Metric, of_slos: tuple[str, ...], alerts: tuple[str, ...], mute: tuple[str, ...]
) -> Absent:
    quiet = tuple(name for name in alerts if name in mute)
    return Absent(entry, of_slos, quiet, tuple(name for name in alerts if name not in mute))


def _origin_seen(entry: Metric, survey: Survey) -> bool:
    return any(other in survey.names for other, item in METRICS.items() if item.origin == entry.origin)


def _matchers(metric: str, needs: Needs, survey: Survey, asker: Asker) -> Iterator[PreflightFinding]:
    """The metric is there: with the mesh's matchers, and for the selectors of the rules?"""
    matchers = needs.slo_set.mesh.matchers
    if matchers and not survey.counts.get(promql.selector(metric, matchers)):
        wanted = promql.matched(matchers)
        seen = [f"{m.label}: {named(asker.values(m.label, metric)) or 'no such label'}" for m in matchers]
        text = f"{metric}: no series has the labels of mesh.matchers ({wanted})"
        yield PreflightFinding("error", "mesh-matchers", text, f"seen are {'; '.join(seen)}")
        return
    entry = METRICS.get(metric)
    if entry is None or not _unmatched(metric, needs, survey):
        return
    alerts = needs.alerts_on(metric)
    if entry.exposed == "always" and alerts and not any(survey.series_of(m) for m in entry.instead):
        texts = [text for text, select in needs.selects.items() if select.metric == metric]
        text = f"{metric} is there, but nothing matches {named(texts, 2)}"
        yield PreflightFinding("warning", "no-match", text, "see which labels its series have", about=alerts)


def _labels(metric: str, needs: Needs, survey: Survey) -> Iterator[PreflightFinding]:
    entry = METRICS.get(metric)
    wanted = sorted(needs.labels.get(metric, ()))
    renamed = [label for label in wanted if survey.labelled.get((metric, f"exported_{label}"))]
    about = needs.alerts_on(metric)
    if renamed:
        cure = remedy(metric) if entry is not None and entry.origin == "kube-state-metrics" else None
        yield PreflightFinding(
            "error",
            "renamed-label",
            f"{metric}: {named(renamed)} of the metric is called {named(f'exported_{x}' for x in renamed)}",
            "the scrape job must have honor_labels: true (ServiceMonitor: honorLabels), for the target has labels of "
            "the same names",
            cure.snippet if cure else "",
            about,
        )
    lost = [
        label
        for label in wanted
        if label not in renamed and label not in MAYBE_MISSING and not survey.labelled.get((metric, label))
    ]
    if lost:
        hint = "does relabelling drop it, or a Telemetry object remove the tag?"
        yield PreflightFinding(
            "warning", "no-label", f"{metric}: no series has the label {named(lost)}", hint, about=about
        )


def _joins(needs: Needs, survey: Survey, asker: Asker) -> Iterator[PreflightFinding]:
    """Do series find the ``up`` of their target? Without, first events are not counted and gaps not seen."""
    mesh = needs.slo_set.mesh
    on = named(mesh.target_labels)
    for metric, join in survey.joins.items():
        if not join.lost:
            continue
        shared = _shared(dict(join.sample), metric, asker)
        share = join.lost / join.series
        text = (
            f"{metric}: {join.lost:.0f} of {join.series:.0f} series find no 'up' by mesh.target_labels ({on})"
        )
        hint = (
            f"'up' and this metric share {named(shared)}: set mesh.target_labels to those that tell targets apart"
            if shared
            else "its targets have no 'up' here: rules must run where both are"
        )
        serious = share > 0.5 and metric.startswith(REQUESTS.split("_", 1)[0])
        yield PreflightFinding("error" if serious else "warning", "target-labels", text, hint)


def _shared(sample: dict[str, str], metric: str, asker: Asker) -> list[str]:
    """The labels that a series and the ``up`` of its target have in common, with the same values."""
    own = {"__name__", "le", *(METRICS[metric].labels if metric in METRICS else ())} - {"pod", "namespace"}
    pairs = {label: value for label, value in sample.items() if label not in own}
    if not pairs:
        return []
    texts = [f"up{{{label}={promql.quote(value)}}}" for label, value in pairs.items()]
    best: set[str] = set()
    for item in asker.source.query(" or ".join(texts), asker.at):
        common = {label for label, value in pairs.items() if item["metric"].get(label) == value}
        best = common if len(common) > len(best) else best
    order = ["job", "instance", "pod", "namespace"]
    return sorted(best, key=lambda label: (order.index(label) if label in order else len(order), label))


def _intervals(needs: Needs, survey: Survey) -> Iterator[PreflightFinding]:
    slow: dict[str, tuple[float, list[str]]] = {}
    tiles = any(isinstance(slo.sli, CounterSli) for slo in needs.slo_set.slos)
    for metric in sorted(needs.metrics - {"up"}):
        if not metric.startswith("istio_") and metric in METRICS:
            continue
        for job in survey.jobs.get(metric, ()):
            if (interval := survey.intervals.get(job, 0.0)) > FAST * 1.1:
                slow.setdefault(job, (interval, []))[1].append(metric)
    for job, (interval, metrics) in sorted(slow.items()):
        error = interval > SLOW * 1.1 and (tiles or needs.slo_set.guardrails)
        yield PreflightFinding(
            "error" if error else "warning",
            "scrape-interval",
            f"job {job!r} is scraped every {interval:.0f}s; rules count in buckets of one minute ({named(metrics)})",
            f"set scrape_interval to {FAST}s or less; alerts of short windows "
            + ("have no data in some buckets" if error else "see events up to a minute late"),
        )
