"""What jobs ask of the recorded series of a whole set: one query per metric and window, for all its services."""

from __future__ import annotations

from collections.abc import Sequence

from sloctl import naming
from sloctl.model import GRID, TILE, Matcher, Selector, Slo
from sloctl.promql.syntax import milliseconds, selector


def of_set(metric: str, set_name: str, window: int, *, offset: int = 0, operator: str = "sum") -> str:
    """A recorded metric summed over a window (seconds) for every SLO of a set, by SLO and service."""
    series = selector(metric, (Matcher(naming.SLO_SET, "=", set_name),))
    shift = f" offset {naming.duration(offset)}" if offset else ""
    by = ", ".join((naming.SLO_ID, *naming.IDENTITY))
    return f"{operator} by ({by}) ({operator}_over_time({series}[{milliseconds(window)}]{shift}))"


def last_instant(set_name: str) -> str:
    """Unix time of the last budget-grid instant of every SLO of a set."""
    series = selector(naming.TOTAL_GRID, (Matcher(naming.SLO_SET, "=", set_name),))
    late = f"max_over_time(timestamp({series})[{naming.duration(2 * GRID + TILE)}:{naming.duration(TILE)}])"
    return f"max by ({naming.SLO_ID}) (timestamp({series}) or {late})"


def firing(set_name: str, *matchers: Matcher) -> str:
    """The alerts of a set that fire."""
    ours = (Matcher(naming.SLO_SET, "=", set_name), Matcher("alertstate", "=", "firing"))
    return selector("ALERTS", (*ours, *matchers))


def evaluated(slos: Sequence[Slo]) -> str:
    """Something if Prometheus evaluated the rules of some SLOs with a policy in the last minutes, else nothing."""
    windows = sorted({line.short for slo in slos if slo.policy for line in slo.policy.windows})
    matcher = (Matcher(naming.SLO_SET, "=", slos[0].set_name),)
    return " or ".join(f"count({selector(naming.burn_rate(window), matcher)})" for window in windows)


def base_of_set(set_name: str, family: str, parts: Sequence[Selector], window: int) -> str:
    """Recorded base events of a set over a window (seconds), by scope and service."""
    metric = naming.base_metric(family, GRID)
    by = ", ".join((naming.SCOPE, *naming.IDENTITY))
    series = " or ".join(
        f"sum_over_time({selector(metric, (Matcher(naming.SLO_SET, '=', set_name), *part.matchers))}"
        f"[{milliseconds(window)}])"
        for part in parts
    )
    return f"sum by ({by}) ({series})"
