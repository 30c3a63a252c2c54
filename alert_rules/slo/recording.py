"""Recording rules of one scope: base events, SLO events, burn rates, the period's budget.

Two groups a scope. ``tiles`` runs every minute and feeds alert windows of up to six hours; ``grid`` runs every
five minutes, is the ground of every budget, and feeds the longer windows. Within a group, Prometheus runs rules
in order and at one instant, so that each rule may read what the rule before it recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alert_rules.groups import RecordingRule
from sloctl import naming, promql
from sloctl.model import GRID, TILE, Mesh, RollingWindow, Slo, SloSet
from sloctl.model.durations import number

Labels = dict[str, str]


def slo_labels(slo_set: SloSet, slo: Slo) -> Labels:
    """The labels of every series recorded for an SLO; a wildcard's service comes from its expressions."""
    labels = dict(slo_set.labels) | dict(slo.labels)
    labels |= {naming.SLO_ID: slo.id, naming.SLO: slo.name, naming.SLO_SET: slo_set.name}
    return labels if slo.wildcard else labels | _service_labels(slo)


def _service_labels(slo: Slo) -> Labels:
    labels = {naming.SERVICE: slo.service}
    return labels | {naming.NAMESPACE: slo.namespace} if slo.namespace else labels


def base(slo_set: SloSet, slos: Sequence[Slo], step: int, *, ranged: bool = False) -> Iterator[RecordingRule]:
    """Events per service of every family of counters that the scope's SLOs read."""
    labels = dict(slo_set.labels) | {naming.SCOPE: slos[0].scope, naming.SLO_SET: slo_set.name}
    if not slos[0].wildcard:
        labels |= _service_labels(slos[0])
    for family, members in promql.base_families(slos).items():
        yield RecordingRule(
            naming.base_metric(family, step),
            promql.base_rule(members, slo_set.mesh, step, ranged=ranged),
            labels,
        )


def events(slo: Slo, mesh: Mesh, labels: Labels, step: int) -> Iterator[RecordingRule]:
    """Total and bad events of one SLO on a grid, total first: bad reads it."""
    total, bad = (
        (naming.TOTAL_TILE, naming.BAD_TILE) if step == TILE else (naming.TOTAL_GRID, naming.BAD_GRID)
    )
    yield RecordingRule(total, promql.total_rule(slo, mesh, step), labels)
    yield RecordingRule(bad, promql.bad_rule(slo, mesh, step), labels)


def burn_rates(slo: Slo, labels: Labels, step: int) -> Iterator[RecordingRule]:
    """Burn rates over the windows of the SLO's alert policy that are summed from the grid of ``step``."""
    windows = {w for line in slo.policy.windows for w in (line.long, line.short)} if slo.policy else set()
    for window in sorted(windows):
        if promql.step_of(window) == step:
            yield RecordingRule(naming.burn_rate(window), promql.burn_rate_rule(slo, window), labels)


def period(slo: Slo, labels: Labels) -> Iterator[RecordingRule]:
    """Objective, budget, and for a rolling window the period's events and what is left of the budget.

    A calendar window has no fixed length, which PromQL's ranges need: its budget is the jobs' to compute.
    """
    constant = labels | _service_labels(slo)
    yield RecordingRule(naming.OBJECTIVE, f"vector({number(slo.objective / 100)})", constant)
    yield RecordingRule(naming.BUDGET, f"vector({number(slo.budget)})", constant)
    if isinstance(slo.window, RollingWindow):
        seconds = slo.window.seconds
        yield RecordingRule(naming.PERIOD_TOTAL, promql.period_rule(naming.TOTAL_GRID, slo, seconds), labels)
        yield RecordingRule(naming.PERIOD_BAD, promql.period_rule(naming.BAD_GRID, slo, seconds), labels)
        yield RecordingRule(naming.REMAINING, promql.remaining_rule(slo), labels)


def gaps(slo: Slo, mesh: Mesh, labels: Labels) -> Iterator[RecordingRule]:
    """Seconds of each grid step in which the SLO's targets could not be scraped."""
    yield RecordingRule(naming.GAP_GRID, promql.gap_rule(slo, mesh), labels)


def causes(slo: Slo, mesh: Mesh, labels: Labels, *, ranged: bool = False) -> Iterator[RecordingRule]:
    """Bad events of each grid step by cause: what a budget was spent on."""
    if expr := promql.causes_rule(slo, mesh, GRID, ranged=ranged):
        yield RecordingRule(naming.BAD_CAUSES, expr, labels)


def rules(slo_set: SloSet, slos: Sequence[Slo], step: int) -> Iterator[RecordingRule]:
    """All recording rules of a scope's group of the given step, in the order of their dependence."""
    yield from base(slo_set, slos, step)
    for slo in slos:
        labels = slo_labels(slo_set, slo)
        yield from events(slo, slo_set.mesh, labels, step)
        if step == GRID:
            yield from causes(slo, slo_set.mesh, labels)
            yield from gaps(slo, slo_set.mesh, labels)
            yield from period(slo, labels)
        yield from burn_rates(slo, labels, step)
