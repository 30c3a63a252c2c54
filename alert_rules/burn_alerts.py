"""Multi-window multi-burn-rate alerts of one SLO (SRE workbook, chapter 5), with what a person needs at 3 a.m.

Texts of the SLO file go into annotations, which Prometheus runs as Go templates: :func:`literal` keeps them
from being read as template code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from alert_rules import incident_texts
from alert_rules.groups import BurnAlert
from sloctl import naming, promql
from sloctl.model import BurnWindow, CounterSli, Slo, SloSet, links
from sloctl.model.durations import duration, number
from sloctl.promql import incident
from sloctl.promql.recording import slo_labels

SERVICE_TEMPLATE = "{{ $labels.service }}"
IN_LINK = "{{ $labels.%s | urlquery }}"
"""A label in a link: services of a wildcard are called what a mesh reports."""
VALUE_TEMPLATE = '{{ printf "%.1f" $value }}'


def literal(text: str) -> str:
    """A text that a Go template writes as it is, whatever follows it: a brace at its end would join the next one."""
    text = text.replace("{{", '{{ "{{" }}')
    return f'{text[:-1]}{{{{ "{{" }}}}' if text.endswith("{") else text


def unescaped(text: str) -> str:
    """What a Go template makes of what :func:`literal` gave."""
    return text.replace('{{ "{{" }}', "{{").replace('{{ "{" }}', "{")


def link_of(template: str, slo: Slo, alert: str, began: str = "") -> str:
    """A link of the SLO file with an SLO's names filled in.

    ``began`` is the expression of the milliseconds of Unix time from which on a dashboard shows the incident.
    """
    names = {"slo": slo.name, "namespace": slo.namespace, "alert": alert, "set": slo.set_name}
    names["service"] = IN_LINK % "service" if slo.wildcard else slo.service
    return link(template, **names, **({"from": incident_texts.moment(began)} if began else {}))


def link(template: str, **values: str) -> str:
    """A link of the SLO file with its placeholders filled in."""
    text = literal(template)
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def told_how(alert: str, namespace: str = "", service: str = "") -> str:
    """What somebody does who has no link to a runbook: the command that prints it, with an alert's names."""
    names = (("service", service), ("namespace", namespace))
    given = "".join(f" --{key} {value}" for key, value in names if value)
    return f" What to do: sloctl runbooks {alert}{given}"


def texts(slo_set: SloSet, slo: Slo, window: BurnWindow, factor: Decimal) -> dict[str, str]:
    """Summary, description and links of one alert."""
    alert = naming.alert_name(slo, window)
    service = SERVICE_TEMPLATE if slo.wildcard else slo.service
    place = f"{service} in {slo.namespace}" if slo.namespace else service
    lasts = duration(max(60, int(slo.window.seconds / factor) // 60 * 60))
    spent = number((100 * factor * window.long / slo.window.seconds).quantize(Decimal("0.1")))
    out = {
        "summary": f"{service}: the error budget of SLO {slo.name} burns {VALUE_TEMPLATE} times too fast",
        "description": (
            f"SLO {slo.name} of {place}: objective {number(slo.objective)} % over {slo.window.text}. "
            f"The burn rate is above {number(factor)} over both {duration(window.long)} and "
            f"{duration(window.short)}; {duration(window.long)} at that rate costs {spent} % of the budget, "
            f"and a whole budget lasts {lasts}." + (f" {literal(slo.description)}" if slo.description else "")
        ),
        "now": incident_texts.now(slo, window, factor),
    }
    if cause := incident_texts.cause(slo):
        out["cause"] = cause
    add_runbook(out, slo_set, slo, alert, links.burn_page(slo))
    if where := links.dashboard(slo_set, slo):
        out["dashboard_url"] = link_of(where, slo, alert, incident.began(window.long))
    if traces := incident_texts.traces_link(slo_set.sources, slo, window):
        out["traces_url"] = traces
    if explained := incident_texts.explain_link(slo_set, slo, window):
        out["explain_url"] = explained
    return out


def add_runbook(out: dict[str, str], slo_set: SloSet, slo: Slo, alert: str, page: str) -> None:
    """Add the SLO's own runbook, or sloctl's page, or to the description how to get that page."""
    if address := link_of(slo.runbook, slo, alert) if slo.runbook else links.runbook(slo_set, page):
        out["runbook_url"] = address
    else:
        service = incident_texts.plain_label("service") if slo.wildcard else incident_texts.plain(slo.service)
        out["description"] += told_how(page, slo.namespace, service)


def alert_labels(slo_set: SloSet, slo: Slo, window: BurnWindow) -> dict[str, str]:
    """Labels that the alert adds to those of its series."""
    own: dict[str, str] = {"severity": window.severity}
    own |= {"long_window": duration(window.long), "short_window": duration(window.short)}
    if not slo_set.sources.chained:
        own |= identity_labels(slo_set, slo)
    return labels_of(slo_set, slo, own)


def identity_labels(slo_set: SloSet, slo: Slo) -> dict[str, str]:
    """What says of which SLO an alert is whose expression does not: all but whose service."""
    return {name: value for name, value in slo_labels(slo_set, slo).items() if name not in naming.IDENTITY}


def labels_of(slo_set: SloSet, slo: Slo, own: Mapping[str, str]) -> dict[str, str]:
    """The labels that every alert of an SLO adds to its ``own``."""
    labels = dict(slo_set.labels) | dict(slo.labels) | dict(own)
    if isinstance(slo.sli, CounterSli):
        labels[naming.TELEMETRY] = "proxies"
    return labels | {"owner": slo.owner} if slo.owner else labels


def fired_labels(slo_set: SloSet, slo: Slo, window: BurnWindow, service: str) -> Mapping[str, str]:
    """All labels of the alert once it fires for ``service``, but for its name."""
    labels = slo_labels(slo_set, slo) | {naming.SERVICE: service}
    if slo.namespace:
        labels[naming.NAMESPACE] = slo.namespace
    return labels | alert_labels(slo_set, slo, window)


def rules(slo_set: SloSet, slo: Slo, step: int) -> Iterator[BurnAlert]:
    """The alerts whose long window is summed from the grid of ``step``; they belong in that grid's group."""
    if slo.policy is None:
        return
    for window in slo.policy.windows:
        if promql.step_of(window.long) != step:
            continue
        factor = slo.policy.scaled(window, slo.window.seconds)
        yield BurnAlert(
            alert=naming.alert_name(slo, window),
            expr=promql.alert_rule(
                slo,
                window,
                factor,
                slo.policy.gate(window, slo.window.seconds),
                chained=slo_set.sources.chained,
            ),
            for_=window.for_,
            labels=alert_labels(slo_set, slo, window),
            annotations=texts(slo_set, slo, window, factor),
            slo=slo,
            window=window,
        )
