"""The dashboards of all SLO files that tests know, as plain data; and what their series are called and labelled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from alert_rules import manifest
from alert_rules.groups import RecordingRule
from dashboards.lint.queries import read
from dashboards.manifest import boards
from sloctl import naming, promql, spec
from sloctl.model import ExprSli, SampleSli, SloSet
from sloctl.promql import parsing
from sloctl.promql.catalogue import METRICS
from sloctl.promql.parsing import Aggregate, Binary, Call, Expr, Literal, Select, Subquery

ROOT = Path(__file__).parents[2]
RULES = ROOT / "tests" / "golden" / "rules"
FILES = {
    **{file.parent.name: file for file in sorted(RULES.glob("*/slo.yaml"))},
    "folder": RULES / "folder" / "slo",
    "demo": ROOT / "sloctl" / "demo" / "slo.yaml",
}
CASES = sorted(FILES)
Json: TypeAlias = dict[str, Any]
Labels: TypeAlias = frozenset[str] | None
"""Labels that a series may have; None: nobody knows."""
ANY_CAUSE = frozenset({*naming.CALLERS, *naming.CALLED})
"""A set has SLOs of gateways, of services, or of both: panels group by the labels of both."""
ANY_ALERT = frozenset(
    "alertname alertstate severity owner slo_set slo_id slo namespace service guardrail".split()
)
"""Alerts of the set have these between them; a set without one kind of alerts has panels about it all the same."""
parse = cache(parsing.parse)


@cache
def loaded(case: str) -> SloSet:
    """The set of a case as if its file left no dashboard out, and named a Grafana."""
    found = spec.load([FILES[case]])
    sources = replace(found.sources, grafana=found.sources.grafana or "https://grafana.example.org")
    return replace(found, sources=sources, dashboards=replace(found.dashboards, leave_out=()))


@cache
def boards_of(case: str) -> Mapping[str, Json]:
    """Kind and JSON of the dashboards of a case; tests must copy them before they change them."""
    return dict(boards(loaded(case)))


def users_metrics(slo_set: SloSet) -> set[str]:
    """Metrics of a file's own expressions."""
    slis = [slo.sli for slo in slo_set.slos if isinstance(slo.sli, ExprSli)]
    calls = [
        c for sli in slis for text in (sli.total, sli.bad, sli.good) for c in promql.range_calls(text)[0]
    ]
    gauges = [slo.sli.gauge for slo in slo_set.slos if isinstance(slo.sli, SampleSli)]
    selectors = (*(call[1] for call in calls), *gauges)
    return {item.select.metric for selector in selectors for item in read(selector)}


def raw_labels(slo_set: SloSet) -> dict[str, Labels]:
    """Raw metrics that there may be, and the labels that they may have; Kubernetes targets have a namespace."""
    mesh = slo_set.mesh
    target = {*mesh.target_labels, *(matcher.label for matcher in mesh.matchers), naming.NAMESPACE}
    found: dict[str, Labels] = {n: frozenset({*metric.labels, *target}) for n, metric in METRICS.items()}
    return {**found, **dict.fromkeys(users_metrics(slo_set)), "up": frozenset({"job", "instance", *target})}


@cache
def series(case: str) -> Mapping[str, Labels]:
    """Everything that an expression of a case may read, and the labels that it may have."""
    slo_set = loaded(case)
    rules = [rule for file in manifest.rule_files(slo_set) for group in file.groups for rule in group.rules]
    known = raw_labels(slo_set)
    recording = {rule.record for rule in rules if isinstance(rule, RecordingRule)}
    known |= dict.fromkeys(recording, frozenset[str]())
    before: dict[str, Labels] = {}
    while known != before:
        before = dict(known)
        for rule in rules:
            if isinstance(rule, RecordingRule):
                made = union([known[rule.record], labels(parse(rule.expr), known), frozenset(rule.labels)])
                known[rule.record] = made
    if naming.BAD_CAUSES in known:
        known[naming.BAD_CAUSES] = union([known[naming.BAD_CAUSES], ANY_CAUSE])
    alerts = [rule for rule in rules if not isinstance(rule, RecordingRule)]
    fired = [union([frozenset(rule.labels), labels(parse(rule.expr), known)]) for rule in alerts]
    return {**known, "ALERTS": union([ANY_ALERT, *fired])}


def union(parts: Iterable[Labels]) -> Labels:
    found = frozenset[str]()
    for part in parts:
        if part is None:
            return None
        found |= part
    return found


def labels(node: Expr, known: Mapping[str, Labels]) -> Labels:
    """The labels that the result of an expression may have."""
    match node:
        case Select():
            return known[node.metric]
        case Subquery():
            return labels(node.expr, known)
        case Literal():
            return frozenset()
        case Aggregate():
            return _aggregated(node, known)
        case Call():
            return _called(node, known)
        case Binary():
            return _joined(node, known)


def _aggregated(node: Aggregate, known: Mapping[str, Labels]) -> Labels:
    inner, named = labels(node.expr, known), frozenset(node.labels)
    if node.operator in ("topk", "bottomk"):
        return inner
    if inner is None:
        return None if node.without else named
    return inner - named if node.without else inner & named


def _called(node: Call, known: Mapping[str, Labels]) -> Labels:
    parts = [labels(argument, known) for argument in node.args]
    if node.function in ("label_replace", "label_join"):
        target = node.args[1]
        assert isinstance(target, Literal)
        return union([parts[0], frozenset({str(target.value)})])
    if node.function in ("absent", "absent_over_time"):
        asked = node.args[0]
        matchers = asked.matchers if isinstance(asked, Select) else ()
        return frozenset(matcher.label for matcher in matchers if matcher.op == "=")
    found = union(parts)
    return found - {"le"} if found is not None and node.function == "histogram_quantile" else found


def _joined(node: Binary, known: Mapping[str, Labels]) -> Labels:
    left, right = labels(node.left, known), labels(node.right, known)
    if node.operator == "or":
        return union([left, right])
    if node.operator in ("and", "unless") or _is_number(node.right):
        return left
    if _is_number(node.left):
        return right
    if node.group:
        return union([left if node.group == "left" else right, frozenset(node.include)])
    if node.on is not None:
        return frozenset(node.on)
    if left is None or right is None:
        return None
    return left - frozenset(node.ignoring or ())


def _is_number(node: Expr) -> bool:
    """Whether an expression is a number, which has no labels and is not joined."""
    match node:
        case Literal():
            return True
        case Call(function="scalar" | "time" | "pi"):
            return True
        case Binary():
            return _is_number(node.left) and _is_number(node.right)
    return False


def label_problems(node: Expr, known: Mapping[str, Labels]) -> set[str]:
    """Labels by which an expression matches, groups or joins what does not have them."""
    match node:
        case Select():
            has = known[node.metric]
            named = {matcher.label for matcher in node.matchers}
            return set() if has is None else {f"{node.metric} has no {label}" for label in named - has}
        case Aggregate(without=False):
            has = labels(node.expr, known)
            found = set() if has is None else {f"groups by {label}" for label in set(node.labels) - has}
        case Binary(on=tuple(joined)):
            sides = [labels(node.left, known), labels(node.right, known)]
            found = {
                f"joins on {x}" for x in joined if any(side is not None and x not in side for side in sides)
            }
        case _:
            found = set()
    return found.union(*(label_problems(child, known) for child in parsing.children(node)))
