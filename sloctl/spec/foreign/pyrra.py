"""SLOs of Pyrra: objects ServiceLevelObjective of pyrra.dev/v1alpha1, of which each is one.

Pyrra's alert windows are shares of the SLO's window, and its factors are meant for that window.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from sloctl.model import AlertSeverity, BurnWindow
from sloctl.model.durations import duration, parse_duration
from sloctl.promql.parsing import Select
from sloctl.spec.fields import expressions
from sloctl.spec.foreign.drafts import Draft, View, burn_window, shown
from sloctl.spec.foreign.indicators import count, per_value
from sloctl.spec.foreign.queries import NoQuery, counted, tree

_WINDOWS: tuple[tuple[AlertSeverity, int, int, int, int], ...] = (
    ("page", 14, 28 * 24, 28 * 24 * 12, 28 * 24 * 30),
    ("page", 7, 28 * 4, 28 * 24 * 2, 28 * 24 * 4),
    ("ticket", 2, 28, 28 * 12, 28 * 24),
    ("ticket", 1, 7, 28 * 4, 28 * 8),
)
"""Factors, and which part of the SLO's window the long and short windows and ``for`` are (Pyrra, ``Windows``)."""
_OWN = "pyrra.dev/"
_REASONS = {
    "performance_over_accuracy": "sloctl sums what it has recorded, which is exact and reads little",
    "partial_response_strategy": "sloctl's rules take no partial answers",
    "absentName": "sloctl names its alerts itself",
}


def drafts(document: View, seconds: int) -> Iterator[Draft]:
    """The SLO of a document, which says its own window; ``seconds`` is for those that have none."""
    document.skip("apiVersion", "kind", "status")
    metadata, spec = document.view("metadata"), document.view("spec")
    if metadata is None or spec is None or not metadata.text("name"):
        document.wrong((), "needs 'metadata.name' and 'spec'")
        return
    name = metadata.text("name")
    draft = Draft(document, f"Pyrra's {shown(name)}")
    draft.call(name, metadata.at("name"))
    metadata.skip("namespace", "annotations", "labels")
    own = {
        key.removeprefix(_OWN): value
        for key, value in metadata.mapping("labels").items()
        if key.startswith(_OWN)
    }
    draft.label(own, metadata.at("labels"))
    draft.describe(spec.text("description"), spec.at("description"))
    annotations = metadata.mapping("annotations")
    draft.annotate(
        {key.removeprefix(_OWN): value for key, value in annotations.items() if key.startswith(_OWN)},
        metadata.at("annotations"),
    )
    draft.objective = spec.number("target")
    if draft.objective is None:
        spec.wrong(("target",), "is missing")
    said = spec.text("window")
    draft.seconds = parse_duration(said) or seconds
    draft.window = duration(draft.seconds)
    if said and parse_duration(said) is None:
        spec.wrong(("window",), "is not a duration", "write it like 28d")
    indicator = spec.view("indicator")
    if indicator is None:
        spec.wrong(("indicator",), "is missing")
    else:
        _indicator(draft, indicator)
    draft.service = draft.service or draft.name
    _alerts(draft, spec.view("alerting"), spec)
    draft.leave_the_rest(document, _REASONS)
    yield draft


def _indicator(draft: Draft, indicator: View) -> None:
    ratio, latency = indicator.view("ratio"), indicator.view("latency")
    if indicator.has("latencyNative"):
        indicator.skip("latencyNative")
        hint = "write counters; of Istio's native histogram: the preset latency, with mesh.histograms: native"
        why = "events of your own are counters, and native histograms are none"
        draft.refuse(indicator.at("latencyNative"), f"latencyNative: {why}", hint)
        return
    gauge = indicator.view("bool_gauge")
    if gauge is not None:
        _samples(draft, gauge)
    elif ratio is not None:
        _events(draft, ratio, "bad", "errors")
    elif latency is not None:
        _events(draft, latency, "good", "success")
    else:
        indicator.skip(*indicator.node.entries)
        draft.refuse(indicator.at(), "its indicator is none that is known", "ratio, latency or bool_gauge")


def _events(draft: Draft, indicator: View, part: str, key: str) -> None:
    texts = {part: _metric(indicator, key), "total": _metric(indicator, "total")}
    grouping = indicator.texts("grouping")
    if not all(texts.values()):
        return
    try:
        _name(draft, texts["total"])
        count(draft, {name: counted(text) for name, text in texts.items()}, indicator.at(key), grouping)
    except NoQuery as error:
        draft.refuse(indicator.at(key), str(error))


def _samples(draft: Draft, gauge: View) -> None:
    """Pyrra takes the sum of a gauge's samples for those that are good; each is 0 or 1."""
    text, grouping = gauge.text("metric"), gauge.texts("grouping")
    if not text:
        gauge.wrong(("metric",), "is missing")
        return
    if grouping:
        draft.refuse(gauge.at("grouping"), *per_value(grouping))
        return
    if (complaint := expressions.gauge(text)) is not None:
        draft.refuse(gauge.at("metric"), f"'metric': {complaint.message}", complaint.hint)
        return
    _name(draft, text)
    draft.sli = {"samples": {"gauge": text, "good": "== 1"}}
    draft.remarks.append("every: at most the scrape interval; it is 10s, and Pyrra does not say what it is")


def _metric(indicator: View, key: str) -> str:
    query = indicator.view(key)
    text = query.text("metric") if query is not None else ""
    if not text:
        indicator.wrong((key,), "needs a 'metric'")
    return text


def _name(draft: Draft, text: str) -> None:
    draft.service = _job(text)
    if draft.service:
        draft.remarks.append("service: from the matcher of job; Pyrra's SLOs have none")


def _job(text: str) -> str:
    """The one job of a selector, as the name of a service."""
    node = tree(text)
    jobs = (
        [m.value for m in node.matchers if (m.label, m.op) == ("job", "=")]
        if isinstance(node, Select)
        else []
    )
    usable = len(jobs) == 1 and jobs[0].replace("-", "").isalnum() and jobs[0].islower() and jobs[0].isascii()
    return jobs[0][:63].strip("-") if usable else ""


def _alerts(draft: Draft, alerting: View | None, spec: View) -> None:
    enabled, absent = True, True
    if alerting is not None:
        enabled = alerting.flag("burnrates", without=True) and not alerting.flag("disabled")
        absent = alerting.flag("absent", without=True) and not alerting.flag("disabled")
        if enabled and (name := alerting.text("name")):
            text = f"the alert's name '{shown(name)}': sloctl names alerts by SLO, severity and window"
            draft.leave(alerting.at("name"), text, "change routes and silences that name it")
        else:
            alerting.skip("name")
        if alerting.text("burnRateType", "burn_rate_type") == "dynamic":
            text = "burnRateType: dynamic; sloctl's alerts have fixed factors, and a gate for little traffic"
            draft.leave(alerting.at("burnRateType", "burn_rate_type"), text)
    if absent:
        draft.leave(
            spec.at("alerting"),
            "Pyrra's alert SLOMetricAbsent, for a metric that is not there",
            "alerting: {…, traffic_stopped: ticket} tells of traffic that stays away",
        )
    lines: list[BurnWindow] = []
    for severity, factor, *parts in _WINDOWS if enabled else ():
        long, short, lasting = (_rounded(draft.seconds, part) for part in parts)
        if short < long:
            lines.append(burn_window(severity, Decimal(factor), long, short, lasting, draft.seconds))
        else:
            draft.leave(
                spec.at("window"), f"the {severity} alert with factor {factor}: its windows are too short"
            )
    draft.alert(lines, spec.at("alerting"))


def _rounded(seconds: int, part: int) -> int:
    """A part of a window in whole minutes, halves upwards; over six hours in our steps of five minutes."""
    minutes = (2 * seconds + 60 * part) // (120 * part)
    step = 5 if minutes > 360 else 1
    return max(1, (minutes + step // 2) // step) * step * 60
