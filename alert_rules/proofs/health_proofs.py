"""promtool unit tests of the guardrails' alerts: each fires at its minute, is silent before, and on a healthy mesh."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
    tests = [
        test
        for rule in rules
        for test in _tests(slo_set, rule, by_preset[rule.labels[naming.GUARDRAIL]], mesh)
    ]
    return test_file(file, tested, [test.written() for test in _together(tests)], [])


@dataclass(frozen=True)
class _Test:
    """What is scraped, by series, and what alerts say of it; ``up`` is that of the target, if nothing else is known."""

    name: str
    up: str
    series: Mapping[str, str]
    checks: tuple[yaml.YamlValue, ...]
    subjects: frozenset[str]
    """Its metrics and alerts."""

    def written(self) -> yaml.YamlMapping:
        rows = {self.up: f"1x{_length(self.series.values())}"} if self.up else {}
        inputs: list[yaml.YamlMapping] = [
            {"series": name, "values": values} for name, values in {**rows, **self.series}.items()
        ]
        return test_case(self.name, inputs, list(self.checks))


def _together(tests: Sequence[_Test]) -> list[_Test]:
    """The tests, in as few as may be: promtool evaluates all rules of a file for each of them.

    Those are together that are of other alerts and metrics, of a target that is up.
    """
    packed: list[_Test] = []
    for test in tests:
        for place, one in enumerate(packed):
            if test.up and one.up and not test.subjects & one.subjects:
                packed[place] = _Test(
                    f"{one.name}; {test.name}",
                    one.up,
                    {**one.series, **test.series},
                    one.checks + test.checks,
                    one.subjects | test.subjects,
                )
                break
        else:
            packed.append(test)
    return packed


def _length(values: Iterable[str]) -> int:
    return max((int(n) for text in values for n in _LENGTH.findall(text)), default=60)


def _tests(
    slo_set: SloSet, rule: HealthRule, guardrail: Guardrail, mesh: Mapping[str, str]
) -> Iterator[_Test]:
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
    yield _test(slo_set, rule.alert, f"fires at minute {proof.fires}", proof.inputs, mesh, checks)
    if proof.calm or proof.silent:
        calm = [silent(rule, minute) for minute in proof.silent]
        yield _test(slo_set, rule.alert, "silent on a healthy mesh", proof.calm, mesh, calm)


def _test(
    slo_set: SloSet,
    alert: str,
    does: str,
    inputs: Minutes,
    mesh: Mapping[str, str],
    checks: Sequence[yaml.YamlValue],
) -> _Test:
    """With the labels of a scrape target and of the mesh's matchers."""
    target = {label: f"{label}-1" for label in slo_set.mesh.target_labels} | dict(mesh)
    series, metrics = {}, set()
    for name, values in inputs.items():
        match = _SERIES.fullmatch(name)
        assert match is not None, name
        metrics.add(match[1])
        series[labelled_series(match[1], target | dict(_LABEL.findall(match[2] or "")))] = values
    up = "" if "up" in metrics else labelled_series("up", target)
    return _Test(f"{alert}: {does}", up, series, tuple(checks), frozenset({alert, *metrics}))


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
