"""promtool unit tests of the guardrails' alerts: each fires at its minute, is silent before, and on a healthy mesh."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from alert_rules import health
from alert_rules.groups import HealthRule, RuleFile
from alert_rules.proofs.slo_proofs import (
    example_labels,
    labelled_series,
    moments_filled,
    silent,
    test_case,
    test_file,
)
from sloctl import naming
from sloctl.artefacts import yaml
from sloctl.guardrails.shared.kinds import Minutes
from sloctl.model import Guardrail, SloSet

_SERIES = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:\\.|[^"\\])*)"')
_LENGTH = re.compile(r"x(\d+)\b")


def render_tests(slo_set: SloSet, file: RuleFile, tested: str) -> str:
    """The promtool test file of the guardrails' rule file, which stands at the relative path ``tested``."""
    mesh = example_labels(slo_set.mesh.matchers)
    rules = [rule for group in file.groups for rule in group.rules if isinstance(rule, HealthRule)]
    if mesh is None:  # a matcher that no value is known for
        return test_file(file, tested, [], [rule.alert for rule in rules])
    by_preset = {guardrail.preset: guardrail for guardrail in slo_set.guardrails}
    tests: list[yaml.YamlValue] = []
    for rule in rules:
        tests += _tests(slo_set, rule, by_preset[rule.labels[naming.GUARDRAIL]], mesh)
    return test_file(file, tested, tests, [])


def _tests(
    slo_set: SloSet, rule: HealthRule, guardrail: Guardrail, mesh: Mapping[str, str]
) -> Iterator[yaml.YamlMapping]:
    proof = rule.source.proof
    checks: list[yaml.YamlValue] = []
    if proof.fires > 0:
        checks.append(silent(rule, proof.fires - 1))
    for minute in (proof.fires, proof.lasts):
        if minute or minute == proof.fires:
            # While it is kept firing, its texts are those of the last minute of its condition.
            told = minute if minute == proof.fires else minute - rule.keep_firing_for // 60
            expected = _expected(slo_set, rule, guardrail, told)
            checks.append({"eval_time": f"{minute}m", "alertname": rule.alert, "exp_alerts": [expected]})
    if proof.resolved:
        checks.append(silent(rule, proof.resolved))
    inputs = _inputs(slo_set, proof.inputs, mesh)
    yield test_case(f"{rule.alert}: fires at minute {proof.fires}", inputs, checks)
    if proof.calm or proof.silent:
        calm: list[yaml.YamlValue] = [silent(rule, minute) for minute in proof.silent]
        yield test_case(f"{rule.alert}: silent on a healthy mesh", _inputs(slo_set, proof.calm, mesh), calm)


def _inputs(slo_set: SloSet, inputs: Minutes, mesh: Mapping[str, str]) -> list[yaml.YamlMapping]:
    """The series with the labels of a scrape target and of the mesh's matchers, and the target's ``up``."""
    target = {label: f"{label}-1" for label in slo_set.mesh.target_labels}
    rows: list[yaml.YamlMapping] = []
    length = max((int(n) for values in inputs.values() for n in _LENGTH.findall(values)), default=60)
    if not any(name.startswith("up{") or name == "up" for name in inputs):
        rows.append({"series": labelled_series("up", target | dict(mesh)), "values": f"1x{length}"})
    for name, values in inputs.items():
        match = _SERIES.fullmatch(name)
        assert match is not None, name
        own = dict(_LABEL.findall(match[2] or ""))
        rows.append({"series": labelled_series(match[1], target | dict(mesh) | own), "values": values})
    return rows


def _expected(slo_set: SloSet, rule: HealthRule, guardrail: Guardrail, minute: int) -> yaml.YamlMapping:
    proof = rule.source.proof
    labels = dict(rule.labels) | dict(proof.labels)
    if naming.SERVICE in proof.labels:
        place = proof.labels.get(naming.NAMESPACE, ""), proof.labels[naming.SERVICE]
        owner = health.owner_of(slo_set, guardrail, *place)
        labels = {name: value for name, value in labels.items() if name != "owner"}
        labels |= {"owner": owner} if owner else {}
    labels = {name: health.filled(value, proof.labels, proof.value) for name, value in labels.items()}
    return {
        "exp_labels": labels,
        "exp_annotations": {
            name: health.filled(moments_filled(text, minute), labels, proof.value)
            for name, text in rule.annotations.items()
        },
    }
