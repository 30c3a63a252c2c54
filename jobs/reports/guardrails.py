"""Verdicts of the guardrails now: from what the rules recorded, or from raw series where no rules are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite

from sloctl import naming, promql
from sloctl.backends.answers import doubts
from sloctl.backends.protocols import MetricSource, Series
from sloctl.guardrails.plans import plans
from sloctl.guardrails.shared.kinds import Plan, Signal, Verdict
from sloctl.guardrails.shared.queries import in_set
from sloctl.model import SloSet
from sloctl.report.data import Finding, partial_findings
from sloctl.report.health import EdgeAmplification, GuardrailStatus

FRESH = "3m"
"""How old a recorded value may be: rules of guardrails are evaluated every minute."""
_COUNTED = (naming.EDGE_REQUESTS, naming.EDGE_ATTEMPTS, naming.ENVOY_REQUESTS, naming.ENVOY_ATTEMPTS)


def signal_query(slo_set: SloSet, signal: Signal, *, recorded: bool) -> str:
    """What a report asks for a signal."""
    if not recorded:
        return signal.live
    return f"last_over_time({promql.selector(signal.record, in_set(slo_set))}[{FRESH}])"


def run(
    source: MetricSource, slo_set: SloSet, at: datetime, *, recorded: bool
) -> tuple[list[GuardrailStatus], list[Finding]]:
    """Every verdict at ``at``, violations first; and a finding for each guardrail without any data.

    One request for each verdict, in parallel; with ``recorded``, a second one for those of which nothing is recorded
    (the rules of guardrails may be younger than those of the SLOs). Raises ``BackendError``.
    """
    found: list[GuardrailStatus] = []
    findings: list[Finding] = []
    compiled = plans(slo_set)
    verdicts = {
        f"{plan.preset} {number}": verdict
        for plan in compiled
        for number, verdict in enumerate(plan.verdicts)
    }
    signals = {name: verdict.signal for name, verdict in verdicts.items()}
    answers = _answers(source, slo_set, at, signals, recorded=recorded)
    for plan in compiled:
        items = [
            item
            for number, verdict in enumerate(plan.verdicts)
            for item in _judge(verdict, answers[f"{plan.preset} {number}"])
        ]
        # Of two ways to measure the same, one will do; if neither has data, that is said once.
        found += [item for item in items if item.value is not None]
        known = {item.name for item in items if item.value is not None}
        found += {item.name: item for item in items if item.name not in known}.values()
        said = dict.fromkeys(
            text
            for number in range(len(plan.verdicts))
            for text in doubts(answers[f"{plan.preset} {number}"])
        )
        about = f"guardrail {plan.preset} may miss a violation"
        findings += partial_findings(said, about, {naming.GUARDRAIL: plan.preset})
        if items and all(item.value is None for item in items):
            findings.append(_no_data(slo_set, plan))
    return sorted(found, key=_order), findings


def amplification(
    source: MetricSource, slo_set: SloSet, at: datetime, *, recorded: bool
) -> list[EdgeAmplification]:
    """Requests and attempts of the last half hour by edge, the worst first; none without ``retry-amplification``.

    By Istio's counters at both ends of an edge; of services for which these do not show attempts (their pods have no
    proxy, or the mesh is ambient), by Envoy's own counters at all clients (``*``). Raises ``BackendError``.
    """
    plan = next((plan for plan in plans(slo_set) if plan.preset == "retry-amplification"), None)
    if plan is None:
        return []
    signals = {signal.record: signal for signal in plan.signals if signal.record in _COUNTED}
    answers = _answers(source, slo_set, at, signals, recorded=recorded)
    counts = {record: _counts(answers.get(record, ())) for record in _COUNTED}
    rows = [
        _edge(f"{edge[0]}/{edge[1]}", f"{edge[2]}/{edge[3]}", requests, attempts)
        for edge, requests in counts[naming.EDGE_REQUESTS].items()
        if requests > 0 and (attempts := counts[naming.EDGE_ATTEMPTS].get(edge)) is not None
    ]
    seen = {row.destination for row in rows}
    for edge, requests in counts[naming.ENVOY_REQUESTS].items():
        attempts = counts[naming.ENVOY_ATTEMPTS].get(edge)
        destination = f"{edge[2]}/{edge[3]}"
        if requests > 0 and attempts is not None and destination not in seen:
            rows.append(_edge("*", destination, requests, attempts))
    return sorted(rows, key=lambda row: (-(row.amplification or 0), row.source, row.destination))


def _answers(
    source: MetricSource, slo_set: SloSet, at: datetime, signals: Mapping[str, Signal], *, recorded: bool
) -> dict[str, Sequence[Series]]:
    """The series of some signals: what the rules recorded, and computed where nothing is recorded."""
    answers: dict[str, Sequence[Series]] = {}
    for from_rules in (True, False) if recorded else (False,):
        queries = {
            name: signal_query(slo_set, signal, recorded=from_rules)
            for name, signal in signals.items()
            if not answers.get(name)
        }
        if not slo_set.sources.chained and not from_rules:
            # Refused for its length, one query would take the whole report with it.
            queries = {name: expr for name, expr in queries.items() if len(expr.encode()) <= promql.LONGEST}
        if queries:
            answers |= source.query_many(queries, at)
    return {name: answers.get(name, ()) for name in signals}


def _edge(source: str, destination: str, requests: float, attempts: float) -> EdgeAmplification:
    return EdgeAmplification(source, destination, requests, attempts, attempts / requests, "metrics")


def _counts(series: Sequence[Series]) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for item in series:
        value = float(item["value"][1])
        if isfinite(value):
            found[tuple(item["metric"].get(label, "") for label in naming.EDGE)] = value
    return found


def _no_data(slo_set: SloSet, plan: Plan) -> Finding:
    text = f"guardrail {plan.preset}: no data; 'sloctl validate --prometheus' says what is missing"
    long = any(len(verdict.signal.live.encode()) > promql.LONGEST for verdict in plan.verdicts)
    if long and not slo_set.sources.chained:
        text = f"guardrail {plan.preset}: nothing is recorded, and its raw query is longer than servers take"
    return Finding("warning", "guardrail-no-data", text, {naming.GUARDRAIL: plan.preset})


def _judge(verdict: Verdict, series: Sequence[Series]) -> list[GuardrailStatus]:
    values: dict[tuple[tuple[str, str], ...], float] = {}
    for item in series:
        value = float(item["value"][1])
        scope = tuple((name, item["metric"][name]) for name in verdict.scope if item["metric"].get(name))
        if not isfinite(value):
            continue
        # Replicas of Prometheus that nobody deduplicates give each series more than once: the worse one counts.
        there = values.get(scope, value)
        values[scope] = max(value, there) if verdict.side == "max" else min(value, there)
    return [
        GuardrailStatus(verdict.name, dict(scope), value, verdict.limit, verdict.unit, verdict.side)
        for scope, value in values.items()
    ] or [GuardrailStatus(verdict.name, {}, None, verdict.limit, verdict.unit, verdict.side)]


def _order(item: GuardrailStatus) -> tuple[int, str, list[tuple[str, str]]]:
    return ["violated", "no_data", "ok"].index(item.status), item.name, sorted(item.scope.items())
