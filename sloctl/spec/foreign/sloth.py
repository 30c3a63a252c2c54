"""SLOs of Sloth: files with ``version: prometheus/v1``, and objects PrometheusServiceLevel.

Their keys are the same but for their case. Sloth's alerts burn 2 %, 5 %, 10 % and 10 % of the budget of any period,
which is the policy ``sre-workbook``.
"""

from __future__ import annotations

from dataclasses import replace

from sloctl.model import BurnWindow
from sloctl.model.durations import duration, parse_duration
from sloctl.model.policies import POLICIES
from sloctl.spec.foreign.drafts import Draft, View, shown
from sloctl.spec.foreign.indicators import count
from sloctl.spec.foreign.queries import NoQuery, split_ratio, windowed

_PLUGIN = "what Sloth's plugins do is known to their Go programs alone"
_REASONS = {
    "interval": "sloctl's rules have steps of one and five minutes",
    "plugins": _PLUGIN,
    "slo_plugins": _PLUGIN,
    "sloPlugins": _PLUGIN,
}
_ALERTS = (("page", "page_alert", "pageAlert"), ("ticket", "ticket_alert", "ticketAlert"))


def drafts(document: View, seconds: int) -> list[Draft]:
    """The SLOs of a document; ``seconds`` is Sloth's period, which no file of it says."""
    spec = document.view("spec") if document.has("spec") else document
    document.skip("version", "apiVersion", "kind", "metadata", "status")
    if spec is None:
        document.wrong(("spec",), "is missing")
        return []
    service, labels = spec.text("service"), spec.mapping("labels")
    if not service:
        spec.wrong(("service",), "is missing", "Sloth needs it too")
    slos = spec.views("slos")
    if not slos:
        spec.wrong(("slos",), "holds no SLO")
    found: list[Draft] = []
    for slo in slos:
        draft = Draft(slo, f"Sloth's {shown(service)}/{shown(slo.text('name'))}")
        draft.window, draft.seconds = duration(seconds), seconds
        draft.label(labels, spec.at("labels"))
        draft.serve(service, spec.at("service"))
        _slo(draft, slo)
        draft.leave_the_rest(slo, _REASONS)
        found.append(draft)
    if found:
        written = next((draft for draft in found if draft.refused is None), found[0])
        for key, node, path in spec.leftovers(inner=False):
            written.leave_out(key, node, path, _REASONS)
    return found


def _slo(draft: Draft, slo: View) -> None:
    if not slo.text("name"):
        slo.wrong(("name",), "is missing")
    draft.call(slo.text("name"), slo.at("name"))
    draft.objective = slo.number("objective")
    if draft.objective is None:
        slo.wrong(("objective",), "is missing")
    draft.describe(slo.text("description"), slo.at("description"))
    draft.label(slo.mapping("labels"), slo.at("labels"))
    sli = slo.view("sli")
    if sli is None:
        slo.wrong(("sli",), "is missing")
    else:
        _sli(draft, sli)
    _alerts(draft, slo.view("alerting"), slo)


def _sli(draft: Draft, sli: View) -> None:
    events, raw = sli.view("events"), sli.view("raw")
    try:
        if events is not None:
            bad, total = events.text("error_query", "errorQuery"), events.text("total_query", "totalQuery")
            if not bad or not total:
                events.wrong((), "needs the queries of errors and of all events")
                return
            count(
                draft,
                {"bad": windowed(bad), "total": windowed(total)},
                events.at("error_query", "errorQuery"),
            )
        elif raw is not None:
            parts = split_ratio(windowed(raw.text("error_ratio_query", "errorRatioQuery")))
            draft.remarks.append("from a ratio; Sloth takes the mean of its values over long windows")
            count(draft, parts, raw.at("error_ratio_query", "errorRatioQuery"))
        else:
            sli.skip(*sli.node.entries)
            kinds = ", ".join(map(shown, sli.node.entries)) or "nothing"
            hint = "'sloth generate' prints the query that becomes of it"
            draft.refuse(sli.at(), f"its SLI is of a plugin ({kinds}); {_PLUGIN}", hint)
    except NoQuery as error:
        draft.refuse(
            sli.at("raw", "events"), str(error), "write its bad (or good) and all events, as counters"
        )


def _alerts(draft: Draft, alerting: View | None, slo: View) -> None:
    lines: list[BurnWindow] = list(POLICIES["sre-workbook"].windows)
    if alerting is not None:
        lines = []
        if name := alerting.text("name"):
            draft.leave(
                alerting.at("name"),
                f"the alert's name '{shown(name)}': sloctl names alerts by SLO, severity and window",
                "change routes and silences that name it",
            )
        draft.label(alerting.mapping("labels"), alerting.at("labels"))
        draft.annotate(alerting.mapping("annotations"), alerting.at("annotations"))
        for severity, *keys in _ALERTS:
            lines += _lines(draft, alerting.view(*keys), severity)
    draft.alert(lines, slo.at("alerting"))


def _lines(draft: Draft, alert: View | None, severity: str) -> list[BurnWindow]:
    lines = [line for line in POLICIES["sre-workbook"].windows if line.severity == severity]
    if alert is None:
        return lines
    disabled = alert.flag("disable")
    labels, said = alert.mapping("labels"), alert.text("for")
    if disabled:
        alert.skip("annotations")
        return []
    for key, value in labels.items():
        if (key, value) != ("severity", severity):
            draft.leave(
                alert.at("labels"),
                f"the label '{shown(key)}' of {severity} alerts: they have severity={severity} and the SLO's labels",
                "route by severity and owner: 'notifications' of an SLO file",
            )
    draft.annotate(alert.mapping("annotations"), alert.at("annotations"))
    if (lasting := parse_duration(said)) is not None:
        lines = [replace(line, for_=lasting) for line in lines]
    elif said:
        alert.wrong(("for",), "is not a duration")
    return lines
