"""What rules read of each other (events per SLO, burn rates, budgets, alerts), and what jobs ask of it for a whole set.

Both are made of recorded series. Jobs ask one query per metric and window, for all services of a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sloctl import naming
from sloctl.model import (
    FINE_LIMIT,
    GRID,
    TILE,
    BurnWindow,
    CounterSli,
    Matcher,
    Mesh,
    RollingWindow,
    Selector,
    Slo,
)
from sloctl.model.durations import duration, number
from sloctl.model.policies import Evidence, Gate
from sloctl.promql import flags
from sloctl.promql.counting import events, filter_label, present
from sloctl.promql.services import without
from sloctl.promql.syntax import indent, milliseconds, regex_quote, selector

COARSE_YOUTH = 1800
"""From this length (seconds) of a short window on, the budget grid is fine enough to tell how long it was recorded."""


def recorded(metric: str, slo: Slo) -> str:
    """The selector of a recorded series of one definition (all of its services)."""
    return selector(metric, (Matcher(naming.SLO_ID, "=", slo.id),))


def just_recorded(series: str) -> str:
    """What a rule earlier in the group recorded at this very instant.

    An instant selector would look back five minutes: after a restart, Prometheus has written no stale markers,
    and the last events before it would be counted again for series that have none now.
    """
    return f"last_over_time({series}[1s])"


def _recorded_events(slo: Slo, sli: CounterSli, parts: Sequence[Selector], window: int) -> str:
    metric = naming.base_metric(naming.family(sli), window, filtered=bool(sli.where))
    where = [Matcher(naming.SCOPE, "=", slo.scope), *_filtered(sli)]
    if slo.wildcard:
        where += without(naming.SERVICE, slo.overridden)
    kept = (flags.recorded(part) for part in parts)
    series = "\nor\n".join(just_recorded(selector(metric, (*where, *part.matchers))) for part in kept)
    by = f"sum by ({', '.join(naming.IDENTITY)})"
    return f"{by} ({series})" if len(parts) == 1 else f"{by} (\n{indent(series)}\n)"


def _filtered(sli: CounterSli) -> list[Matcher]:
    return [Matcher(label, "=", text) for label, text in filter_label(sli).items()]


def recorded_events(slo: Slo, mesh: Mesh, window: int, *, other_side: bool = False) -> dict[str, str]:
    """As :func:`events`, but over the series that :func:`base_rules` recorded (raw for a user's expressions)."""
    if not isinstance(slo.sli, CounterSli):
        return events(slo, mesh, window)
    sli = slo.sli.other_side if other_side else slo.sli
    if sli is None:
        raise ValueError(f"{slo.id} has one side only")
    kinds = {"total": sli.total, "bad": sli.bad, "good": sli.good}
    return {kind: _recorded_events(slo, sli, parts, window) for kind, parts in kinds.items() if parts}


def _join(slo: Slo) -> str:
    return f"on ({', '.join(naming.IDENTITY)})" if isinstance(slo.sli, CounterSli) or slo.per else "on ()"


def total_rule(slo: Slo, mesh: Mesh, window: int, *, chained: bool = True) -> str:
    """What is recorded as the total events of a grid step.

    ``chained`` (here and below): rules see what earlier ones of their group recorded at the same instant. If not, they
    read raw counters, and of recorded series only sums over time, which bear that the newest step is not there yet.
    """
    return (recorded_events if chained else events)(slo, mesh, window)["total"]


def bad_rule(slo: Slo, mesh: Mesh, window: int, *, chained: bool = True) -> str:
    """What is recorded as the bad events of a grid step, just after the total events.

    No bad series is no bad event as long as there is a total. No good series next to a total is different: the
    histogram lacks the bound, so nothing is known and nothing is recorded.
    """
    parts = (recorded_events if chained else events)(slo, mesh, window)
    total = just_recorded(recorded(event_metrics(window)[1], slo)) if chained else f"({parts['total']})"
    if "bad" in parts:
        total = total if chained or not isinstance(slo.sli, CounterSli) else f"({present(slo, mesh, window)})"
        return f"{parts['bad']}\nor {_join(slo)}\n  0 * {total}"
    return f"clamp_min(\n  {total}\n- {_join(slo)}\n{indent(parts['good'])},\n  0\n)"


def windowed(metric: str, slo: Slo, window: int) -> str:
    """Sum of recorded events over a window, per service."""
    total = f"sum_over_time({recorded(metric, slo)}[{milliseconds(window)}])"
    return f"sum by ({', '.join(naming.IDENTITY)}) ({total})"


def step_of(window: int) -> int:
    """The grid step (seconds) that a window is summed from."""
    return TILE if window <= FINE_LIMIT else GRID


def event_metrics(step: int) -> tuple[str, str]:
    """(bad, total): the recorded events of the steps of a grid."""
    return (naming.BAD_TILE, naming.TOTAL_TILE) if step == TILE else (naming.BAD_GRID, naming.TOTAL_GRID)


def tile_metrics(window: int) -> tuple[str, str]:
    """(bad, total): the recorded events that a window is summed from."""
    return event_metrics(step_of(window))


def burn_rate_rule(slo: Slo, window: int) -> str:
    """Burn rate over a window: bad over total events, divided by the budget; missing without events."""
    bad, total = tile_metrics(window)
    return f"{windowed(bad, slo, window)}\n/\n  ({windowed(total, slo, window)} > 0)\n/ {number(slo.budget)}"


def error_ratio(slo: Slo, window: int) -> str:
    """Bad over total events over a window, without labels; missing without events."""
    bad, total = tile_metrics(window)
    return f"sum({windowed(bad, slo, window)})\n/\n  (sum({windowed(total, slo, window)}) > 0)"


def period_error_ratio(slo: Slo) -> str:
    """Bad over total events of the whole period, without labels; missing without events, and of calendar windows."""
    bad, total = recorded(naming.PERIOD_BAD, slo), recorded(naming.PERIOD_TOTAL, slo)
    return f"sum({bad})\n/\n  (sum({total}) > 0)"


def period_rule(metric: str, slo: Slo, seconds: int) -> str:
    """Events of the whole period on the budget grid."""
    return windowed(metric, slo, seconds)


def remaining_rule(slo: Slo, *, chained: bool = True) -> str:
    """Share of the period's budget that is left: 1 is all of it, negative is overspent."""
    if chained:
        bad = just_recorded(recorded(naming.PERIOD_BAD, slo))
        total = just_recorded(recorded(naming.PERIOD_TOTAL, slo))
    else:
        assert isinstance(slo.window, RollingWindow)
        bad = period_rule(naming.BAD_GRID, slo, slo.window.seconds)
        total = period_rule(naming.TOTAL_GRID, slo, slo.window.seconds)
    return f"1 - {bad}\n/\n  ({total} > 0)\n/ {number(slo.budget)}"


def alert_rule(slo: Slo, window: BurnWindow, factor: Decimal, gate: Gate, *, chained: bool = True) -> str:
    """The condition of one policy line: both windows burn faster than ``factor``, long enough recorded, for sure."""
    on = f"on ({', '.join(naming.IDENTITY)})"
    if chained:
        # The last one before a restart, if the file's labels changed with it, would be the same alert twice.
        burn = just_recorded(recorded(naming.burn_rate(window.long), slo))
        short = recorded(naming.burn_rate(window.short), slo)
    else:
        burn, short = (f"({burn_rate_rule(slo, length)})" for length in (window.long, window.short))
    lines = [
        f"{burn} > {number(factor)}",
        f"and {on}\n  {short} > {number(factor)}",
        f"and {on}\n  {_recorded_before(slo, window)}",
    ]
    bad, total = tile_metrics(window.long)
    if isinstance(gate, Evidence):
        lines.append(f"and {on}\n{indent(_evidence(windowed(bad, slo, window.long), burn, on, gate), 4)}")
    else:
        if gate.events > 1:
            lines.append(f"and {on}\n  {windowed(total, slo, window.long)} >= {gate.events}")
        if gate.bad > 1:
            lines.append(f"and {on}\n  {windowed(bad, slo, window.long)} >= {gate.bad}")
    return "\n".join(lines)


def _recorded_before(slo: Slo, window: BurnWindow) -> str:
    """Something where the long window holds a step that was recorded at least the short window's length ago.

    On less recorded time, a long window is no more than a short one: three days that hold half an hour.
    """
    series = recorded(before_metric(window.long, window.short), slo)
    return f"last_over_time({series}[{milliseconds(window.long - window.short)}] offset {duration(window.short)})"


def before_metric(long: int, short: int) -> str:
    """The recorded events that tell whether a long window held something before its short one."""
    return event_metrics(GRID if short >= COARSE_YOUTH else step_of(long))[1]


def _evidence(bad: str, burn: str, on: str, gate: Evidence) -> str:
    """The bad events of a window, each weighed by how improbable the burn rate makes it (see :class:`Evidence`)."""
    above = burn if gate.allowed == 1 else f"({burn} / {number(gate.allowed)})"
    each = f"clamp_max(\n  ln({above}) - 1 + 1 / {above},\n  {number(gate.most)}\n)"
    return f"{bad}\n* {on} {each} >= {number(gate.needed)}"


def of_set(metric: str, set_name: str, window: int, *, offset: int = 0, operator: str = "sum") -> str:
    """A recorded metric summed over a window (seconds) for every SLO of a set, by SLO and service."""
    series = selector(metric, (Matcher(naming.SLO_SET, "=", set_name),))
    shift = f" offset {duration(offset)}" if offset else ""
    by = ", ".join((naming.SLO_ID, *naming.IDENTITY))
    return f"{operator} by ({by}) ({operator}_over_time({series}[{milliseconds(window)}]{shift}))"


LONG_GAP = 60
"""Seconds of a gap in a grid step, from which on what follows is no measure of traffic."""


def steady_peaks(set_name: str, services: Sequence[str], window: int, *, offset: int = 0) -> str:
    """The most events of a grid step within a window (seconds) of some services of a set, by SLO and service.

    Steps with a gap, and those after one or after a step without a record, are left out: what counters gained
    meanwhile is counted there.
    """
    some = [
        Matcher(naming.SLO_SET, "=", set_name),
        Matcher(naming.SERVICE, "=~", "|".join(map(regex_quote, sorted(services)))),
    ]
    by = ", ".join((naming.SLO_ID, *naming.IDENTITY))
    gap = f"max_over_time({selector(naming.GAP_GRID, some)}[{duration(2 * GRID)}]) >= {LONG_GAP}"
    total = selector(naming.TOTAL_GRID, some)
    steady = (
        f"sum by ({by}) ({total})\nunless on ({by}) ({gap})\nand on ({by}) ({total} offset {duration(GRID)})"
    )
    shift = f" offset {duration(offset)}" if offset else ""
    return f"max_over_time((\n{indent(steady)}\n)[{duration(window)}:{duration(GRID)}]{shift})"


def causes_of_set(set_name: str, window: int) -> str:
    """Bad events of a set summed over a window (seconds), by SLO, service and cause; those that had any."""
    series = selector(naming.BAD_CAUSES, (Matcher(naming.SLO_SET, "=", set_name),))
    by = ", ".join((naming.SLO_ID, *naming.IDENTITY, *naming.ALL_CAUSES))
    return f"sum by ({by}) (sum_over_time({series}[{milliseconds(window)}])) > 0"


def last_instant(set_name: str) -> str:
    """Unix time of the last budget-grid instant of every SLO of a set that has both total and bad events."""

    def newest(metric: str) -> str:
        series = selector(metric, (Matcher(naming.SLO_SET, "=", set_name),))
        late = f"max_over_time(timestamp({series})[{duration(2 * GRID + TILE)}:{duration(TILE)}])"
        return f"max by ({naming.SLO_ID}) (timestamp({series}) or {late})"

    return f"{newest(naming.TOTAL_GRID)}\n== on ({naming.SLO_ID})\n{newest(naming.BAD_GRID)}"


def evaluations(set_name: str, seconds: int) -> str:
    """How often the rules of every SLO of a set were evaluated on the budget grid within some time."""
    series = selector(naming.OBJECTIVE, (Matcher(naming.SLO_SET, "=", set_name),))
    return f"max by ({naming.SLO_ID}) (count_over_time({series}[{milliseconds(seconds)}]))"


def firing(set_name: str, *matchers: Matcher) -> str:
    """The alerts of a set that fire."""
    ours = (Matcher(naming.SLO_SET, "=", set_name), Matcher("alertstate", "=", "firing"))
    return selector("ALERTS", (*ours, *matchers))


def evaluated(slos: Sequence[Slo]) -> str:
    """Something if Prometheus evaluated the rules of some SLOs with a policy in the last minutes, else nothing."""
    windows = sorted({line.short for slo in slos if slo.policy for line in slo.policy.windows})
    matcher = (Matcher(naming.SLO_SET, "=", slos[0].set_name),)
    return " or ".join(f"count({selector(naming.burn_rate(window), matcher)})" for window in windows)


def base_of_set(set_name: str, sli: CounterSli, parts: Sequence[Selector], window: int) -> str:
    """Recorded base events of a set over a window (seconds), by scope and service, as some parts of an SLI count."""
    metric = naming.base_metric(naming.family(sli), GRID, filtered=bool(sli.where))
    by = ", ".join((naming.SCOPE, *naming.IDENTITY))
    series = " or ".join(
        f"sum_over_time({selector(metric, (Matcher(naming.SLO_SET, '=', set_name), *_filtered(sli), *part.matchers))}"
        f"[{milliseconds(window)}])"
        for part in map(flags.recorded, parts)
    )
    return f"sum by ({by}) ({series})"
