"""Assembles rule files and writes them as plain Prometheus rule files, or as PrometheusRule or VMRule objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from alert_rules import burn_alerts, health, stopped_alerts
from alert_rules.groups import AlertRule, RecordingRule, RuleFile, RuleGroup, read_by
from alert_rules.proofs import health_proofs, slo_proofs
from sloctl import naming
from sloctl.artefacts import yaml
from sloctl.artefacts.objects import HEADER, Format, object_metadata
from sloctl.model import GRID, TILE, Slo, SloSet
from sloctl.model.durations import duration
from sloctl.promql import recording

MAX_RULES = 20
"""Rules of a group that Mimir and Cortex take by default (``ruler_max_rules_per_rule_group``)."""
KINDS = (("tiles", TILE), ("grid", GRID))
"""Groups of a scope, and their intervals."""


def rule_files(slo_set: SloSet) -> Iterator[RuleFile]:
    """One rule file for each scope (a service, or all services of a namespace), in order of their names.

    The last is that of the guardrails, if there are any. For a ruler that sees nothing of the same instant the order of
    rules means nothing: there no group has more rules than Mimir and Cortex take by default.
    """
    for file in _files(slo_set):
        yield file if slo_set.sources.chained else replace(file, groups=tuple(_small(file.groups)))


def _small(groups: Iterable[RuleGroup]) -> Iterator[RuleGroup]:
    for group in groups:
        for number, first in enumerate(range(0, len(group.rules), MAX_RULES), 1):
            name = group.name if number == 1 else f"{group.name}-{number}"
            yield replace(group, name=name, rules=group.rules[first : first + MAX_RULES])


def _files(slo_set: SloSet) -> Iterator[RuleFile]:
    scopes = recording.scopes(slo_set)
    stems = Counter(naming.rule_file(slo_set.name, slos[0].namespace, slos[0].service) for slos in scopes)
    for slos in scopes:
        namespace, service = slos[0].namespace, slos[0].service
        stem = naming.rule_file(slo_set.name, namespace, service)
        yield RuleFile(
            # Service c-d of namespace b and service d of namespace b-c would share a file's name.
            stem if stems[stem] == 1 else naming.with_digest(stem, slo_set.name, namespace, service),
            slos,
            tuple(_group(slo_set, slos, kind, step) for kind, step in KINDS),
        )
    if (file := health.rule_file(slo_set)) is not None:
        yield file


def _group(slo_set: SloSet, slos: tuple[Slo, ...], kind: str, step: int) -> RuleGroup:
    rules: list[RecordingRule | AlertRule] = [
        RecordingRule.of(item) for item in recording.of_scope(slo_set, slos, step)
    ]
    for slo in slos:
        rules.extend(burn_alerts.rules(slo_set, slo, step))
        if step == GRID:
            rules.extend(stopped_alerts.rules(slo_set, slo))
    return RuleGroup(naming.group(slos[0], kind), step, tuple(rules))


KnownRules = dict[int, tuple[RecordingRule | AlertRule, yaml.Kept]]
"""Rules that were written before, by their ``id``, and what was written of them."""


def _rule(rule: RecordingRule | AlertRule) -> yaml.YamlMapping:
    if isinstance(rule, RecordingRule):
        return {"record": rule.record, "expr": rule.expr, "labels": rule.labels}
    node: yaml.YamlMapping = {"alert": rule.alert, "expr": rule.expr}
    if rule.for_:
        node["for"] = duration(rule.for_)
    if rule.keep_firing_for:
        node["keep_firing_for"] = duration(rule.keep_firing_for)
    return node | {"labels": rule.labels, "annotations": rule.annotations}


def _groups(file: RuleFile, known: KnownRules | None = None) -> list[yaml.YamlValue]:
    known = {} if known is None else known

    def kept(rule: RecordingRule | AlertRule) -> yaml.Kept:
        if id(rule) not in known:
            known[id(rule)] = (rule, yaml.Kept(_rule(rule)))
        return known[id(rule)][1]

    return [
        {
            "name": group.name,
            "interval": duration(group.interval),
            "rules": [kept(rule) for rule in group.rules],
        }
        for group in file.groups
    ]


def prometheus(file: RuleFile, known: KnownRules | None = None) -> str:
    """A plain rule file, as Prometheus's ``rule_files`` and promtool read it.

    Files with some rules in common share ``known``.
    """
    return yaml.yaml({"groups": _groups(file, known)}, comment=HEADER)


OBJECTS: Mapping[Format, tuple[str, str]] = {
    "operator": ("monitoring.coreos.com/v1", "PrometheusRule"),
    "victoriametrics": ("operator.victoriametrics.com/v1beta1", "VMRule"),
}
"""The API and the kind of an operator's object of rules."""


def written(slo_set: SloSet, file: RuleFile, form: Format, known: KnownRules | None = None) -> str:
    """A rule file in some form; of the plain one, files with some rules in common share ``known``."""
    if form not in OBJECTS:
        return prometheus(file, known)
    api, kind = OBJECTS[form]
    return yaml.yaml(
        {
            "apiVersion": api,
            "kind": kind,
            "metadata": object_metadata(slo_set, file.stem),
            "spec": {"groups": _groups(file)},
        },
        comment=HEADER,
    )


def generate(slo_set: SloSet, form: Format, *, proofs: bool = True) -> Iterator[tuple[str, str]]:
    """Paths below the output folder and contents of all rule files and (``proofs``) their unit tests.

    The tests stand in a folder of their own, so that ``rule_files: [alert_rules/*.yaml]`` loads rules only. Beside each
    test stand the rules that it proves, word for word, and in plain form, for promtool cannot read PrometheusRule
    objects: for each group its alerts with what they read, for each guardrail all of it. promtool parses each rule anew
    for each minute of each test, so what a test does not need is most of what it would cost.
    """
    for file in rule_files(slo_set):
        known: KnownRules = {}
        yield f"alert_rules/{file.stem}.yaml", written(slo_set, file, form, known)
        if not proofs:
            continue
        parts = proved(file) if file.slos else health.parts(slo_set)
        tests = slo_proofs.render_tests if file.slos else health_proofs.render_tests
        for part in parts:
            yield f"alert_rules/tests/{part.stem}.yaml", prometheus(part, known)
            yield f"alert_rules/tests/{part.stem}_test.yaml", tests(slo_set, part, f"{part.stem}.yaml")


def proved(file: RuleFile) -> Iterator[RuleFile]:
    """For each interval at which alerts of SLOs are evaluated, these and all rules that they read."""
    for kind, step in KINDS:
        alerts = [rule for group in file.groups if group.interval == step for rule in group.alerts]
        if alerts:
            needed = read_by(alerts, [rule for group in file.groups for rule in group.rules])
            groups = (
                replace(group, rules=tuple(rule for rule in group.rules if id(rule) in needed))
                for group in file.groups
            )
            kept = tuple(group for group in groups if group.rules)
            yield replace(file, stem=f"{file.stem}-{kind}", groups=kept)
