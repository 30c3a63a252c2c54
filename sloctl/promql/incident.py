"""What an alert of an SLO asks while it fires: how much fails now, since when, why, and what is left of the budget.

Every expression is of one SLO and of one of its services, and gives one series at most. It must not know how the texts
that ask are written.
"""

from __future__ import annotations

from decimal import Decimal

from sloctl import naming
from sloctl.model import GRID, LOOKBACK, TILE, BurnWindow, CounterSli, Matcher, RollingWindow, Slo
from sloctl.model.durations import duration, number
from sloctl.promql.syntax import milliseconds, selector

NOW = 300
"""Seconds that count as now."""
RECENT = 2 * GRID
"""Seconds whose causes are told: two steps of the grid on which they are recorded."""
RANGE = LOOKBACK * 2 + TILE
"""How far back (seconds) the last value of the budget grid may lie."""


def _of(metric: str, slo: Slo, service: str) -> str:
    matchers = [Matcher(naming.SLO_ID, "=", slo.id)]
    if slo.wildcard:
        matchers.append(Matcher(naming.SERVICE, "=", service))
    return selector(metric, matchers)


def _summed(metric: str, slo: Slo, service: str) -> str:
    return f"sum(sum_over_time({_of(metric, slo, service)}[{milliseconds(NOW)}]))"


def share(slo: Slo, service: str) -> str:
    """The share of the events of the last five minutes that were bad; nothing without events."""
    return f"{_summed(naming.BAD_TILE, slo, service)} / ({_summed(naming.TOTAL_TILE, slo, service)} > 0)"


def per_second(slo: Slo, service: str) -> str:
    """Bad events a second in the last five minutes."""
    return f"{_summed(naming.BAD_TILE, slo, service)} / {NOW}"


def look_step(window: BurnWindow) -> int:
    """Seconds between the moments that :func:`since` looks at."""
    return max(TILE, window.long // 72 // TILE * TILE)


def since(slo: Slo, service: str, window: BurnWindow, factor: Decimal) -> str:
    """Unix time when the short window last burned no faster than the factor; nothing if never in the long window."""
    burn = _of(naming.burn_rate(window.short), slo, service)
    span = f"{duration(window.long)}:{duration(look_step(window))}"
    return f"max(max_over_time((0 * ({burn} <= {number(factor)}) + time())[{span}]))"


def left(slo: Slo, service: str) -> str:
    """The share of a rolling period's budget that is left."""
    return f"max(last_over_time({_of(naming.REMAINING, slo, service)}[{duration(RANGE)}]))"


def lasts(slo: Slo, service: str, window: BurnWindow) -> str:
    """Seconds until a rolling period's budget is spent at the rate of the short window; nothing if it is spent."""
    assert isinstance(slo.window, RollingWindow)
    burn = f"max(last_over_time({_of(naming.burn_rate(window.short), slo, service)}[{duration(RANGE)}]))"
    return f"({left(slo, service)} > 0) * {slo.window.seconds} / ({burn} > 0)"


def cause(slo: Slo, service: str) -> str:
    """The most frequent cause of the bad events of the last ten minutes, with its labels."""
    assert isinstance(slo.sli, CounterSli)
    by = ", ".join(naming.causes(slo.sli))
    recent = f"sum_over_time({_of(naming.BAD_CAUSES, slo, service)}[{milliseconds(RECENT)}])"
    return f"topk(1, sum by ({by}) ({recent}))"


def began(seconds: int) -> str:
    """Milliseconds of Unix time from which on dashboards show what an alert that looks back some seconds tells of.

    A full hour, so that the link of an alert does not change every minute.
    """
    return f"(time() - time() % 3600 - {2 * seconds}) * 1000"
