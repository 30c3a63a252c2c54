"""Sloth's series of our SLOs, on demand: boards that read those go on working when Sloth's rules are gone.

The names and labels are Sloth's (its metadata rules and SLI rules); the values are ratios of sums of events. None has a
label of ours, so that nothing of ours reads them.
"""

from __future__ import annotations

from collections.abc import Iterator

from alert_rules.groups import RecordingRule, RuleFile, RuleGroup
from sloctl import naming, promql
from sloctl.errors import Problem
from sloctl.model import TILE, RollingWindow, Slo, SloSet
from sloctl.model.durations import duration, number

_RATIO = "slo:sli_error:ratio_rate"
_WINDOWS = (300, 1800, 3600, 7200, 21600, 86400, 3 * 86400)
"""Seconds of the windows over which Sloth records an error ratio, besides the period."""


def rule_file(slo_set: SloSet) -> tuple[RuleFile, tuple[Problem, ...]]:
    """The rules, and the SLOs that Sloth has no series for."""
    groups: list[RuleGroup] = []
    problems: list[Problem] = []
    seen: dict[tuple[str, str], Slo] = {}
    for slo in slo_set.slos:
        if slo.wildcard:
            text = (
                f"the SLO {slo.name} of {slo.namespace} is of all services, and a series of Sloth is of one"
            )
            problems.append(Problem(slo.position, "error", "export-refused", "slos", text))
            continue
        first = seen.setdefault((slo.service, slo.name), slo)
        if first is not slo:
            text = (
                f"the SLO {slo.name} of {slo.service} in {slo.namespace or 'no namespace'}: a series of Sloth names no "
                f"namespace, and has the SLO of that name in {first.namespace or 'no namespace'}"
            )
            hint = "rename one of them, or export its namespace's files alone"
            problems.append(Problem(slo.position, "error", "export-refused", "slos", text, hint))
            continue
        if not isinstance(slo.window, RollingWindow):
            text = f"the period of {slo.name} of {slo.service}: rules record none of a calendar window"
            problems.append(Problem(slo.position, "warning", "export-left-out", "slos", text))
        name = naming.group(slo, f"sloth-series:{slo.name}")
        groups.append(RuleGroup(name, TILE, tuple(_rules(slo_set, slo))))
    return RuleFile(f"{slo_set.name}-sloth-series", slo_set.slos, tuple(groups)), tuple(problems)


def _rules(slo_set: SloSet, slo: Slo) -> Iterator[RecordingRule]:
    own = {"sloth_id": f"{slo.service}-{slo.name}", "sloth_service": slo.service, "sloth_slo": slo.name}
    labels = dict(slo_set.labels) | dict(slo.labels) | ({"owner": slo.owner} if slo.owner else {}) | own
    budget, objective = number(slo.budget), number(1 - slo.budget)
    for window in _WINDOWS:
        yield _ratio(promql.error_ratio(slo, window), duration(window), labels)
    period = promql.period_error_ratio(slo) if isinstance(slo.window, RollingWindow) else ""
    if period and slo.window.seconds not in _WINDOWS:
        yield _ratio(period, duration(slo.window.seconds), labels)
    constants = {
        "slo:objective:ratio": objective,
        "slo:error_budget:ratio": budget,
        "slo:time_period:days": number(slo.window.seconds / 86400),
    }
    for record, value in constants.items():
        yield RecordingRule(record, f"vector({value})", labels)
    burn = f"{promql.error_ratio(slo, _WINDOWS[0])}\n/ {budget}"
    yield RecordingRule("slo:current_burn_rate:ratio", burn, labels)
    if period:
        yield RecordingRule("slo:period_burn_rate:ratio", f"{period}\n/ {budget}", labels)
        remaining = f"1 - {period}\n/ {budget}"
        yield RecordingRule("slo:period_error_budget_remaining:ratio", remaining, labels)
    more = {
        "sloth_mode": "cli-gen-prom",
        "sloth_objective": number(slo.objective),
        "sloth_spec": "prometheus/v1",
        "sloth_version": "sloctl",
    }
    yield RecordingRule("sloth_slo_info", "vector(1)", labels | more)


def _ratio(expr: str, window: str, labels: dict[str, str]) -> RecordingRule:
    return RecordingRule(f"{_RATIO}{window}", expr, labels | {"sloth_window": window})
