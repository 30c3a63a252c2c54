"""What the generated rules of an SLO file read and write, from their own expressions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from alert_rules import manifest
from alert_rules.groups import AlertRule, RecordingRule
from sloctl import naming, promql
from sloctl.model import CounterSli, SampleSli, Slo, SloSet
from sloctl.promql.catalogue import METRICS
from sloctl.promql.parsing import Aggregate, Call, Expr, Read, Select, children, parse, reads


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, parsed; ``interval`` is its group's, in seconds."""

    file: str
    group: str
    interval: int
    name: str
    records: bool
    labels: dict[str, str]
    expr: str
    node: Expr
    reads: tuple[Read, ...]
    guardrail: bool


@dataclass(frozen=True, slots=True)
class Needs:
    """The rules of a set, in their order, and the raw metrics that they read.

    ``labels`` has, per raw metric, the labels that rules match or group by and that are the metric's own.
    ``absences`` are metrics that some alert waits to be absent.
    """

    slo_set: SloSet
    rules: tuple[Rule, ...]
    recorded: dict[str, int]
    metrics: frozenset[str]
    labels: dict[str, frozenset[str]] = field(default_factory=dict)
    absences: frozenset[str] = frozenset()

    @property
    def selects(self) -> dict[str, Select]:
        """Every raw selector (without its range) by its text."""
        found = {text_of(read.select): read.select for rule in self.rules for read in rule.reads}
        return {text: select for text, select in found.items() if select.metric not in self.recorded}

    @property
    def quoted(self) -> set[str]:
        """The names of metrics and labels that only Prometheus 3 takes."""
        mesh = self.slo_set.mesh
        found = promql.quoted("", (*mesh.target_labels, *(m.label for m in mesh.matchers)))
        reads = (read.select for rule in self.rules for read in rule.reads)
        return found.union(*(promql.quoted(s.metric, (m.label for m in s.matchers)) for s in reads))

    def raw(self, rule: Rule) -> frozenset[str]:
        """The raw metrics behind a rule, through the series that other rules of its file record."""
        return frozenset(select.metric for select in self._raw_selectors(rule))

    def watches_targets(self, rule: Rule) -> bool:
        """Whether a rule looks at the ``up`` of certain targets, rather than joining all targets' to something."""
        mesh = set(self.slo_set.mesh.matchers)
        return any(s.metric == "up" and set(s.matchers) - mesh for s in self._raw_selectors(rule))

    def _raw_selectors(self, rule: Rule) -> Iterator[Select]:
        by_record: dict[str, list[Rule]] = {}
        for other in self.rules:
            if other.file == rule.file and other.records:
                by_record.setdefault(other.name, []).append(other)
        todo, seen = [rule], {id(rule)}
        while todo:
            current = todo.pop()
            for read in current.reads:
                if read.select.metric not in self.recorded:
                    yield read.select
                for source in by_record.get(read.select.metric, ()):
                    if id(source) not in seen:
                        seen.add(id(source))
                        todo.append(source)

    def alerts_on(self, metric: str) -> tuple[str, ...]:
        """The guardrails' alerts that read a raw metric."""
        return tuple(r.name for r in self.rules if r.guardrail and not r.records and metric in self.raw(r))


def text_of(select: Select) -> str:
    """A selector without its range and offset."""
    if select.metric:
        return promql.selector(select.metric, select.matchers)
    return f"{{{promql.matched(select.matchers)}}}"


def needs(slo_set: SloSet) -> Needs:
    """What the rules of a set need."""
    rules = tuple(_rules(slo_set))
    recorded = {rule.name: rule.interval for rule in rules if rule.records}
    raw = {r.select.metric for rule in rules for r in rule.reads if r.select.metric not in recorded}
    labels: dict[str, set[str]] = {metric: set() for metric in raw}
    absences: set[str] = set()
    for rule in rules:
        # What tells causes apart is detail: a mesh that drops such a label loses no event.
        for metric, label in () if rule.name == naming.BAD_CAUSES else _labels(rule.node, ()):
            if metric in raw and (metric not in METRICS or label in METRICS[metric].labels):
                labels[metric].add(label)
        absences |= {metric for metric in _absences(rule.node) if metric in raw}
    return Needs(
        slo_set,
        rules,
        recorded,
        frozenset(raw - {""} - promql.STARTS),
        {metric: frozenset(names) for metric, names in labels.items() if metric},
        frozenset(absences),
    )


def _rules(slo_set: SloSet) -> Iterator[Rule]:
    for file in manifest.rule_files(slo_set):
        for group in file.groups:
            for rule in group.rules:
                node = parse(rule.expr)
                name = rule.record if isinstance(rule, RecordingRule) else rule.alert
                yield Rule(
                    file.stem,
                    group.name,
                    group.interval,
                    name,
                    not isinstance(rule, AlertRule),
                    dict(rule.labels),
                    rule.expr,
                    node,
                    tuple(reads(node)),
                    not file.slos,
                )


def _labels(node: Expr, groups: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Metrics, and labels that must be on them: matched by a value, or grouped by (user metrics: matched only)."""
    match node:
        case Select():
            yield from ((node.metric, m.label) for m in node.matchers if m.op in ("=", "=~") and m.value)
            if node.metric in METRICS:
                yield from ((node.metric, label) for label in groups)
        case Aggregate(without=False):
            yield from _labels(node.expr, node.labels)
        case _:
            for child in children(node):
                yield from _labels(child, groups)


def _absences(node: Expr) -> Iterator[str]:
    if isinstance(node, Call) and node.function.startswith("absent"):
        yield from (read.select.metric for read in reads(node))
    for child in children(node):
        yield from _absences(child)


@dataclass(frozen=True, slots=True)
class SloSelectors:
    """The raw selectors of an SLO's events: all of them, and those that count good ones (latency)."""

    slo: Slo
    total: tuple[Select, ...]
    good: tuple[Select, ...] = ()


def slo_selectors(slo_set: SloSet) -> tuple[SloSelectors, ...]:
    """The selectors of each SLO, as the mesh exposes its events."""
    return tuple(_of_slo(slo_set, slo) for slo in slo_set.slos)


def _of_slo(slo_set: SloSet, slo: Slo) -> SloSelectors:
    if isinstance(slo.sli, SampleSli):
        return SloSelectors(slo, (_select(promql.valued(slo, slo.sli.gauge)),))
    if not isinstance(slo.sli, CounterSli):
        calls = [call for text in (slo.sli.total, slo.sli.bad, slo.sli.good) if text
                 for call in promql.range_calls(text)[0]]  # fmt: skip
        return SloSelectors(
            slo, tuple(dict.fromkeys(_select(promql.valued(slo, selector)) for _, selector in calls))
        )
    sli = slo.sli
    total, good = (
        tuple(_select(promql.full_selector(slo, sli, part, slo_set.mesh)) for part in parts)
        for parts in (sli.total, sli.good)
    )
    return SloSelectors(slo, total, good)


def _select(text: str) -> Select:
    node = parse(text)
    assert isinstance(node, Select)
    return node
