"""The last part of a budget's window, in finer buckets than its whole history: what rules recorded of one SLO."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import isfinite

from jobs.budgets.collected import period_seconds
from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource
from sloctl.budget import EventCounts
from sloctl.model import GRID, TILE, Matcher, Slo
from sloctl.report.data import SloStatus
from sloctl.report.history import MOST_BUCKETS, BudgetHistory, Whole

_WIDTHS = (60, 120, 180, *(300 * n for n in (1, 2, 3, 4, 6, 9, 12, 24, 36, 72, 144, 288)))


def read(source: MetricSource, slo: Slo, item: SloStatus, at: datetime, seconds: int) -> BudgetHistory | None:
    """The last ``seconds`` before ``at`` of the history of one budget.

    None where nothing is recorded of them, or the window is shorter. Short parts are read from the grid of a minute,
    if it was recorded. Raises ``BackendError``, also for answers that are partial.
    """
    if seconds > period_seconds(slo, at):
        return None
    fits = [width for width in _WIDTHS if seconds % width == 0 and seconds // width <= MOST_BUCKETS]
    for width in dict.fromkeys((fits[0], next(width for width in fits if width % GRID == 0))):
        counts = _read(Heard(source, strict=True), slo, item, at, seconds, width)
        if any(counts):
            break
    else:
        return None
    return BudgetHistory(
        at - timedelta(seconds=seconds),
        at,
        width,
        tuple(counts),
        float(slo.budget),
        0.0 if item.remaining is None else item.remaining,
        Whole(item.total, period_seconds(slo, at)),
    )


def _read(
    source: MetricSource, slo: Slo, item: SloStatus, at: datetime, seconds: int, width: int
) -> list[EventCounts | None]:
    which = (
        Matcher(naming.SLO_ID, "=", slo.id),
        Matcher(naming.NAMESPACE, "=", item.namespace),
        Matcher(naming.SERVICE, "=", item.service),
    )
    metrics = promql.event_metrics(GRID if width % GRID == 0 else TILE)
    sums = {
        name: f"sum(sum_over_time({promql.selector(metric, which)}[{promql.milliseconds(width)}]))"
        for name, metric in zip(("bad", "total"), metrics, strict=True)
    }
    number, step = seconds // width, timedelta(seconds=width)
    found: dict[str, dict[int, float]] = {"bad": {}, "total": {}}
    for series in source.query_range(promql.together(sums), at - (number - 1) * step, at, step):
        values = found[series["metric"].get(promql.PART, "total")]
        for time, text in series["values"]:
            if isfinite(value := float(text)):
                values[round((at.timestamp() - float(time)) / width)] = value
    bad, total = found["bad"], found["total"]
    return [
        (min(max(bad[place], 0.0), total[place]), total[place]) if place in bad and place in total else None
        for place in range(number - 1, -1, -1)
    ]
