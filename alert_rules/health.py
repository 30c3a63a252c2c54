"""Rules and alerts of the guardrails: within a group, each rule reads what the ones before it recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote_plus

from alert_rules.burn_alerts import IN_LINK, link, literal, told_how, unescaped
from alert_rules.groups import AlertRule, HealthRule, RecordingRule, RuleFile, RuleGroup
from alert_rules.incident_texts import moment, plain, plain_label
from sloctl import naming
from sloctl.guardrails.plans import plans, recordings
from sloctl.guardrails.shared.kinds import HealthAlert, Plan
from sloctl.model import TILE, Guardrail, SloSet, links
from sloctl.promql import incident

DASHBOARDS = {
    "certificates": "control-plane",
    "control-plane": "control-plane",
    "ejections": "mesh",
    "gateway-errors": "oncall",
    "jobs": "oncall",
    "misroutes": "mesh",
    "mtls": "mesh",
    "overflow": "mesh",
    "policy-denials": "mesh",
    "retry-amplification": "retries",
    "service-errors": "service",
    "service-latency": "service",
    "sidecar-resources": "sidecars",
    "sidecar-restarts": "sidecars",
    "telemetry-gap": "oncall",
    "watchdog": "oncall",
}
"""Which of the set's dashboards shows more."""
TOGETHER = {"certificates": "control-plane"}
"""Guardrails that share a recorded series with another one, and so its group."""
REQUESTS = "requests"
"""The group of the guardrails that read the mesh's requests."""
VALUE = '{{ printf "%.4g" $value }}'
PERCENT = "{{ $value | humanizePercentage }}"
SHOWN = 3600
"""Half the seconds that a linked dashboard shows."""
EXPLAINED = "service-errors"
"""The guardrail whose alerts tell of failing calls: live pages say where they begin."""


def rule_file(slo_set: SloSet) -> RuleFile | None:
    """The rule file of a set's guardrails; None if it has none.

    What reads the mesh's requests is one group with the rule that records them, so that nothing waits for a minute
    between the two. Every other guardrail is a group of its own: they are evaluated side by side.
    """
    compiled = plans(slo_set)
    if not compiled:
        return None
    groups: dict[str, list[Plan]] = {}
    for plan in sorted(compiled, key=_kind):
        groups.setdefault(_kind(plan), []).append(plan)
    return RuleFile(
        naming.health_file(slo_set.name),
        (),
        tuple(
            _group(slo_set, kind, members, members if kind == REQUESTS else [])
            for kind, members in groups.items()
        ),
    )


def parts(slo_set: SloSet) -> Iterator[RuleFile]:
    """The same rules guardrail by guardrail, each with the recorded requests if it reads them.

    promtool evaluates all rules of a file every minute of every test: apart, that takes a fraction of the time.
    """
    compiled = plans(slo_set)
    requests = [plan for plan in compiled if plan.base]
    for plan in compiled:
        group = _group(slo_set, _kind(plan), [plan], requests if plan.base else [])
        yield RuleFile(f"{naming.health_file(slo_set.name)}-{plan.preset}", (), (group,))


def _kind(plan: Plan) -> str:
    """Which group a guardrail is in."""
    return REQUESTS if plan.base else TOGETHER.get(plan.preset, plan.preset)


def _group(slo_set: SloSet, kind: str, members: Sequence[Plan], requests: Sequence[Plan]) -> RuleGroup:
    """The rules of some guardrails; requests are recorded in the labels that ``requests`` tell apart."""
    rules: list[RecordingRule | AlertRule] = [
        RecordingRule.of(item) for item in recordings(slo_set, members, requests)
    ]
    by_preset = {guardrail.preset: guardrail for guardrail in slo_set.guardrails}
    for plan in members:
        rules += _alerts(slo_set, plan, by_preset[plan.preset])
    return RuleGroup(naming.health_group(slo_set.name, kind), TILE, tuple(rules))


def _alerts(slo_set: SloSet, plan: Plan, guardrail: Guardrail) -> Iterator[HealthRule]:
    for alert in plan.alerts:
        yield HealthRule(
            alert=alert.name,
            expr=alert.expr,
            for_=alert.for_,
            keep_firing_for=alert.keep_firing_for,
            labels=_labels(slo_set, plan.preset, alert, guardrail),
            annotations=_annotations(slo_set, alert, guardrail),
            source=alert,
        )


def _labels(slo_set: SloSet, preset: str, alert: HealthAlert, guardrail: Guardrail) -> dict[str, str]:
    labels = dict(slo_set.labels) | dict(alert.labels)
    labels |= {
        naming.SLO_SET: slo_set.name,
        naming.GUARDRAIL: preset,
        naming.TELEMETRY: alert.telemetry,
        "severity": alert.severity,
    }
    owner = _owner_template(slo_set, guardrail) if naming.SERVICE in alert.proof.labels else guardrail.owner
    return labels | {"owner": owner} if owner else labels


def owner_of(slo_set: SloSet, guardrail: Guardrail, namespace: str, service: str) -> str:
    """Who answers for an alert of a service: its own SLOs' owner, else its namespace's, else the guardrail's."""
    services, namespaces = _owners(slo_set)
    return services.get((namespace, service)) or namespaces.get(namespace) or guardrail.owner


def _owners(slo_set: SloSet) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    services: dict[tuple[str, str], str] = {}
    namespaces: dict[str, str] = {}
    for slo in slo_set.slos:
        if not slo.owner or not slo.namespace or slo.per:
            continue  # values of a label are no services of the mesh
        if slo.wildcard:
            namespaces.setdefault(slo.namespace, slo.owner)
        else:
            services.setdefault((slo.namespace, slo.service), slo.owner)
    return services, namespaces


def _owner_template(slo_set: SloSet, guardrail: Guardrail) -> str:
    """A template of the owner's label, which Prometheus fills in for the service that the alert is of."""
    services, namespaces = _owners(slo_set)
    cases: dict[tuple[str, str], list[str]] = {}
    for (namespace, service), owner in sorted(services.items()):
        if owner != (namespaces.get(namespace) or guardrail.owner):
            cases.setdefault(("$service", owner), []).append(f"{namespace}/{service}")
    for namespace, owner in sorted(namespaces.items()):
        if owner != guardrail.owner:
            cases.setdefault(("$labels.namespace", owner), []).append(namespace)
    if not cases:
        return guardrail.owner
    text = '{{ $service := printf "%s/%s" $labels.namespace $labels.service }}'
    for number, ((what, owner), values) in enumerate(cases.items()):
        quoted = " ".join(f'"{value}"' for value in values)
        text += f"{{{{ {'else if' if number else 'if'} eq {what} {quoted} }}}}{literal(owner)}"
    return f"{text}{{{{ else }}}}{literal(guardrail.owner)}{{{{ end }}}}"


def _annotations(slo_set: SloSet, alert: HealthAlert, guardrail: Guardrail) -> dict[str, str]:
    out = {"summary": _template(alert.summary), "description": _template(alert.description)}
    values = {
        "slo": guardrail.preset,
        "service": IN_LINK % "service",
        "namespace": IN_LINK % "namespace",
        "alert": alert.name,
        "set": slo_set.name,
    }
    if guardrail.runbook:
        out["runbook_url"] = link(guardrail.runbook, **values)
    elif address := links.runbook(slo_set, alert.name):
        out["runbook_url"] = address
    else:
        known = (naming.NAMESPACE, naming.SERVICE)
        given = (plain_label(name) if name in alert.proof.labels else "" for name in known)
        out["description"] += told_how(alert.name, *given)
    if guardrail.dashboard:
        out["dashboard_url"] = link(guardrail.dashboard, **values)
    elif slo_set.sources.grafana and (kind := DASHBOARDS[guardrail.preset]) in slo_set.dashboards.kinds:
        uid = naming.dashboard_uid(slo_set.name, kind)
        place = ""
        if naming.SERVICE in alert.proof.labels and kind != "oncall":
            place = "var-namespace={namespace}&var-service={service}&"
        where = f"{slo_set.sources.grafana}/d/{uid}?{place}{links.TIMES}"
        out["dashboard_url"] = link(where, **values, **{"from": moment(incident.began(SHOWN))})
    if slo_set.sources.pages and guardrail.preset == EXPLAINED:
        namespace, service = values["namespace"], values["service"]
        out["explain_url"] = links.failures(slo_set.sources, namespace, service, "1h", moment("time()"))
    return out


def _template(text: str) -> str:
    """The placeholders of an alert's text as templates of Prometheus."""
    text = literal(text).replace("{value}", VALUE).replace("{percent}", PERCENT)
    return re.sub(r"\{label:([a-z_]+)\}", r"{{ $labels.\1 }}", text)


def filled(text: str, labels: Mapping[str, str], value: float) -> str:
    """A template of this module as Prometheus fills it in."""
    text = text.replace(VALUE, f"{value:.4g}").replace(PERCENT, f"{value * 100:.4g}%")
    text = re.sub(r"\{\{ \$labels\.([a-z_]+) \}\}", lambda match: labels.get(match[1], ""), text)
    in_words = re.escape(plain_label("X")).replace("X", "([a-z_]+)")
    text = re.sub(in_words, lambda match: plain(labels.get(match[1], "")), text)
    in_link = re.escape(IN_LINK % "X").replace("X", "([a-z_]+)")
    text = re.sub(in_link, lambda match: quote_plus(labels.get(match[1], "")), text)
    return unescaped(text)
