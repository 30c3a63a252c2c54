"""Predicts what the rules cost: samples that an evaluation reads, series that it writes.

Samples are counted as Prometheus counts them (``totalQueryableSamples``): each selector as often as it stands in an
expression, a range by the samples in it, a subquery by its steps. Raw series are counted by the server; recorded ones
follow from the label sets that the rules give, so that rules need not be loaded. Ranges are taken as filled: over 30
days, that is after 30 days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from alert_rules import manifest
from jobs.preflight.labelsets import LabelSet, evaluate, labels, matches
from jobs.preflight.needs import Needs, needs, text_of
from jobs.preflight.survey import Asker, Survey, survey
from sloctl import naming
from sloctl.backends.protocols import ObservedSource
from sloctl.model import GRID, TILE, SloSet
from sloctl.promql import recording
from sloctl.promql.parsing import Expr, Select, Subquery, children, reads

DEFAULT_INTERVAL = 30.0
"""Seconds between scrapes where nothing tells."""
COSTLIEST = 5


@dataclass(frozen=True, slots=True)
class RuleCost:
    """Samples that one evaluation of a rule reads, and the series that it writes."""

    group: str
    rule: str
    samples: float
    series: int


@dataclass(frozen=True, slots=True)
class GroupCost:
    """A group of a rule file; ``interval`` is seconds."""

    file: str
    group: str
    interval: int
    rules: int
    samples: float
    series: int


@dataclass(frozen=True, slots=True)
class Cost:
    """All of it. ``rules`` are in the order of the files."""

    groups: tuple[GroupCost, ...]
    rules: tuple[RuleCost, ...]

    @property
    def samples_per_second(self) -> float:
        """Samples read per second, over all groups."""
        return sum(group.samples / group.interval for group in self.groups)

    @property
    def series(self) -> int:
        """Series written."""
        return sum(group.series for group in self.groups)

    @property
    def costliest(self) -> tuple[RuleCost, ...]:
        """The rules that read most in one evaluation."""
        return tuple(sorted(self.rules, key=lambda rule: -rule.samples)[:COSTLIEST])


def predict(needs: Needs, survey: Survey, asker: Asker) -> Cost:
    """The cost of every rule. Raises ``BackendError``."""
    results = _results(needs, asker)
    rules = [
        RuleCost(
            rule.group,
            rule.name,
            _samples(rule.node, needs, survey, results),
            len(found) if (found := results.of_rule.get(number)) is not None else 0,
        )
        for number, rule in enumerate(needs.rules)
    ]
    groups: dict[str, GroupCost] = {}
    for rule, cost in zip(needs.rules, rules, strict=True):
        before = groups.get(rule.group, GroupCost(rule.file, rule.group, rule.interval, 0, 0.0, 0))
        groups[rule.group] = GroupCost(
            rule.file,
            rule.group,
            rule.interval,
            before.rules + 1,
            before.samples + cost.samples,
            before.series + cost.series,
        )
    return Cost(tuple(groups.values()), tuple(rules))


@dataclass(frozen=True, slots=True)
class Results:
    """Label sets by recorded metric, and by the number of the rule that gives them."""

    of_metric: Mapping[str, set[LabelSet]]
    of_rule: Mapping[int, set[LabelSet]]

    def lookup(self, select: Select) -> list[LabelSet]:
        """The recorded series that a selector selects; raw ones are not known by their labels."""
        found = self.of_metric.get(select.metric, set())
        return [item for item in found if matches(item, select.matchers)]


def _results(needs: Needs, asker: Asker) -> Results:
    """What each rule records: asked where it reads raw series alone, derived from the others' results else."""
    raw = {
        number: rule
        for number, rule in enumerate(needs.rules)
        if rule.records and rule.reads and not any(r.select.metric in needs.recorded for r in rule.reads)
    }
    asked = dict(zip(raw, asker.each([rule.expr for rule in raw.values()]), strict=True))
    of_metric: dict[str, set[LabelSet]] = {}
    of_rule: dict[int, set[LabelSet]] = {}
    results = Results(of_metric, of_rule)
    for number, rule in enumerate(needs.rules):
        if not rule.records:
            continue
        if number in asked:
            found = {labels(item["metric"]) for item in asked[number]}
        else:
            found = evaluate(rule.node, results.lookup) or set()
        of_rule[number] = {labels({**dict(item), **rule.labels}) for item in found}
        of_metric.setdefault(rule.name, set()).update(of_rule[number])
    return results


def _samples(node: Expr, needs: Needs, survey: Survey, results: Results) -> float:
    match node:
        case Select():
            return _series(node, needs, survey, results) * _points(node, needs, survey)
        case Subquery():
            steps = node.range / (node.step or TILE)
            return steps * _width(node.expr, needs, survey, results)
    return sum(_samples(child, needs, survey, results) for child in children(node))


def _width(node: Expr, needs: Needs, survey: Survey, results: Results) -> float:
    """How many series an expression below a subquery gives."""
    if isinstance(node, Select):
        return _series(node, needs, survey, results)
    inside: Sequence[Select] = [read.select for read in reads(node)]
    if all(select.metric in needs.recorded for select in inside):
        return float(len(evaluate(node, results.lookup) or ()))
    return max((_series(select, needs, survey, results) for select in inside), default=1.0)


def _series(select: Select, needs: Needs, survey: Survey, results: Results) -> float:
    if select.metric in needs.recorded:
        return float(len(results.lookup(select)))
    return survey.counts.get(text_of(select), 0.0)


def _points(select: Select, needs: Needs, survey: Survey) -> float:
    """Samples of one series in a selector's range."""
    if not select.range:
        return 1.0
    if select.metric in needs.recorded:
        interval = needs.recorded[select.metric]
        whole, rest = divmod(select.range, interval)
        return whole + (1 if rest else 0)
    return max(select.range / (survey.interval_of(select.metric) or DEFAULT_INTERVAL), 0.0)


@dataclass(frozen=True, slots=True)
class Size:
    """How many rules a set has, without asking a server.

    ``series`` are the recorded series of one service, the fewest and the most of any scope. Events by their outcome or
    cause, of which there are as many as a service has, are not among them.
    """

    rules: int
    alerts: int
    groups: int
    series: tuple[int, int]


def size(slo_set: SloSet) -> Size:
    """Count the rules of a set."""
    groups = [group for file in manifest.rule_files(slo_set) for group in file.groups if group.rules]
    each = [
        sum(
            one.by is None or {*one.by} <= {*naming.IDENTITY}
            for step in (TILE, GRID)
            for one in recording.of_scope(slo_set, slos, step)
        )
        for slos in recording.scopes(slo_set)
    ] or [0]
    return Size(
        sum(len(group.rules) for group in groups),
        sum(len(group.alerts) for group in groups),
        len(groups),
        (min(each), max(each)),
    )


def ask(source: ObservedSource, slo_set: SloSet, at: datetime) -> Cost | None:
    """The cost of the rules on a server; None if it has no metrics. Raises ``BackendError``."""
    wanted = needs(slo_set)
    seen = survey(source, wanted, at)
    return predict(wanted, seen, Asker(source, at)) if seen.names else None
