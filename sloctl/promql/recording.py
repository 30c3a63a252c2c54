"""What rules record of SLOs, the one list: every series, in the order in which its rules depend on each other.

Rules are written from it, dashboards and jobs look up in it what there is to read. Each scope (a service, or all
services of a namespace) has two groups of rules. The one of :data:`~sloctl.model.TILE` runs every minute and feeds
alert windows of up to six hours; the one of :data:`~sloctl.model.GRID` runs every five minutes, is the ground of every
budget, and feeds the longer windows. Within a group, Prometheus runs rules in order and at one instant, so that each
may read what the one before it recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sloctl import naming
from sloctl.model import GRID, CounterSli, RollingWindow, Slo, SloSet
from sloctl.model.durations import number
from sloctl.promql.counting import (
    base_families,
    base_labels,
    base_rules,
    causes_rule,
    filter_label,
    gap_rule,
)
from sloctl.promql.recorded import (
    bad_rule,
    burn_rate_rule,
    event_metrics,
    period_rule,
    remaining_rule,
    step_of,
    total_rule,
)
from sloctl.promql.stopped import last_event_rule, pause_rule

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Recording:
    """A series that a rule records.

    ``labels`` are those that the rule sets, ``by`` names those that its expression leaves; None: what it says itself.
    ``raw``: of raw series alone, so that :meth:`expr` can also be asked over a range of the past.
    """

    record: str
    labels: Mapping[str, str]
    by: tuple[str, ...] | None
    build: Callable[[], str]
    raw: bool = False

    def expr(self) -> str:
        """The rule's expression."""
        return self.build()


def scopes(slo_set: SloSet) -> list[tuple[Slo, ...]]:
    """The SLOs of each scope, by name; scopes by namespace and service."""
    found: dict[tuple[str, str], list[Slo]] = {}
    for slo in slo_set.slos:
        found.setdefault((slo.namespace, slo.service), []).append(slo)
    return [tuple(sorted(slos, key=lambda slo: slo.name)) for _, slos in sorted(found.items())]


def of_scope(slo_set: SloSet, slos: Sequence[Slo], step: int) -> Iterator[Recording]:
    """All that the group of a step (seconds) records of the SLOs of a scope."""
    for members in base_families(slos):
        yield from _base(slo_set, members, step)
    for slo in slos:
        labels = slo_labels(slo_set, slo)
        yield from _events(slo_set, slo, labels, step)
        if step == GRID:
            yield from _quality(slo_set, slo, labels)
            yield from _period(slo_set, slo, labels)
            yield from _pauses(slo_set, slo, labels)
        for window in slo.policy.lengths if slo.policy else ():
            if step_of(window) == step:
                yield _burn_rate(slo, labels, window)


def slo_labels(slo_set: SloSet, slo: Slo) -> Labels:
    """The labels of every series recorded for an SLO; a wildcard's service comes from its expressions."""
    labels = dict(slo_set.labels) | dict(slo.labels)
    labels |= {naming.SLO_ID: slo.id, naming.SLO: slo.name, naming.SLO_SET: slo_set.name}
    return labels if slo.wildcard else labels | _service_labels(slo)


def _service_labels(slo: Slo) -> Labels:
    labels = {naming.SERVICE: slo.service}
    return labels | {naming.NAMESPACE: slo.namespace} if slo.namespace else labels


def _identity(slo: Slo) -> tuple[str, ...]:
    """What an expression over raw series leaves of them: a named service's rule says whose it is."""
    return naming.IDENTITY if slo.wildcard else ()


def _base(slo_set: SloSet, members: Sequence[Slo], step: int) -> Iterator[Recording]:
    """Events per service of a family of counters that SLOs of one scope read, in their parts."""
    slo = members[0]
    assert isinstance(slo.sli, CounterSli)
    metric = naming.base_metric(naming.family(slo.sli), step, filtered=bool(slo.sli.where))
    labels = dict(slo_set.labels) | {naming.SCOPE: slo.scope, naming.SLO_SET: slo_set.name}
    labels |= {} if slo.wildcard else _service_labels(slo)
    labels |= filter_label(slo.sli)
    by = (*_identity(slo), *base_labels(members))
    for own, expr in base_rules(members, slo_set.mesh, step):
        left = tuple(label for label in by if label not in own)
        yield Recording(metric, labels | own, left, expr.strip, raw=True)


def _events(slo_set: SloSet, slo: Slo, labels: Labels, step: int) -> Iterator[Recording]:
    """Total and bad events of one SLO on a grid, total first: bad reads it."""
    bad, total = event_metrics(step)
    by = naming.IDENTITY if isinstance(slo.sli, CounterSli) or slo.per else ()
    chained = slo_set.sources.chained
    yield Recording(total, labels, by, lambda: total_rule(slo, slo_set.mesh, step, chained=chained))
    yield Recording(bad, labels, by, lambda: bad_rule(slo, slo_set.mesh, step, chained=chained))


def _quality(slo_set: SloSet, slo: Slo, labels: Labels) -> Iterator[Recording]:
    """Bad events of each grid step by cause, what a budget was spent on; seconds of it that nobody scraped."""
    if isinstance(slo.sli, CounterSli):
        yield Recording(
            naming.BAD_CAUSES,
            labels,
            (*_identity(slo), *naming.causes(slo.sli)),
            lambda: causes_rule(slo, slo_set.mesh, GRID),
            raw=True,
        )
    yield Recording(naming.GAP_GRID, labels, _identity(slo), lambda: gap_rule(slo, slo_set.mesh), raw=True)


def _period(slo_set: SloSet, slo: Slo, labels: Labels) -> Iterator[Recording]:
    """Objective, budget, and for a rolling window the period's events and what is left of the budget.

    A calendar window has no fixed length, which PromQL's ranges need: its budget is the jobs' to compute.
    """
    constant = labels | _service_labels(slo)
    share, budget = number(slo.objective / 100), number(slo.budget)
    yield Recording(naming.OBJECTIVE, constant, (), lambda: f"vector({share})", raw=True)
    yield Recording(naming.BUDGET, constant, (), lambda: f"vector({budget})", raw=True)
    if isinstance(slo.window, RollingWindow):
        seconds, by, chained = slo.window.seconds, naming.IDENTITY, slo_set.sources.chained
        yield Recording(naming.PERIOD_TOTAL, labels, by, lambda: period_rule(naming.TOTAL_GRID, slo, seconds))
        yield Recording(naming.PERIOD_BAD, labels, by, lambda: period_rule(naming.BAD_GRID, slo, seconds))
        yield Recording(naming.REMAINING, labels, by, lambda: remaining_rule(slo, chained=chained))


def _pauses(slo_set: SloSet, slo: Slo, labels: Labels) -> Iterator[Recording]:
    """For the alert of traffic that stops: the pause before each step with events, and the last such step."""
    mesh, chained = slo_set.mesh, slo_set.sources.chained
    if slo.policy is not None and slo.policy.traffic_stopped != "none":
        yield Recording(
            naming.EVENT_PAUSE,
            labels,
            naming.IDENTITY,
            lambda: pause_rule(slo, mesh, chained=chained),
        )
        yield Recording(
            naming.LAST_EVENT,
            labels,
            naming.IDENTITY,
            lambda: last_event_rule(slo, mesh, chained=chained),
        )


def _burn_rate(slo: Slo, labels: Labels, window: int) -> Recording:
    return Recording(naming.burn_rate(window), labels, naming.IDENTITY, lambda: burn_rate_rule(slo, window))
