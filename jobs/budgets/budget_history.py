"""Events of each SLO's window in buckets: what the history of a budget is drawn from.

From recorded series it takes one request for each distinct window of the set (two where a calendar window is no
multiple of its buckets), whatever the number of SLOs and services. Buckets are numbered from the newest (0), which
ends at the report's time: they then hold exactly the period's events, whenever the grid's rules are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING

from jobs.budgets.collected import key_of, numbers, period_seconds
from jobs.budgets.lineage import Lineage
from sloctl import naming, promql
from sloctl.backends.answers import apart
from sloctl.backends.protocols import MetricSource
from sloctl.budget import EventCounts
from sloctl.model import GRID, SeriesKey, Slo, SloSet
from sloctl.report.history import BudgetHistory, history, width_for

if TYPE_CHECKING:
    import pandas as pd

Buckets = dict[SeriesKey, dict[int, EventCounts]]
"""(bad, total) events by SLO and service, and by the number of the bucket, of those that are known."""

_Values = dict[SeriesKey, dict[int, float]]


def read(source: MetricSource, slo_set: SloSet, at: datetime) -> Buckets:
    """The buckets of every SLO's window, from what the rules recorded. Raises ``BackendError``."""
    windows = {slo.id: period_seconds(slo, at) for slo in slo_set.slos}
    found: Buckets = {}
    for seconds in sorted(set(windows.values())):
        read = _read(source, slo_set, seconds, at)
        bad, total = read["bad"], read["total"]
        lineage = Lineage(slo_set)
        for key, values in total.items():
            now = lineage.current(key)
            if now is not None and windows.get(now[0]) == seconds:
                known, into = bad.get(key, {}), found.setdefault(now, {})
                for number, value in values.items():
                    if number in known:
                        before = into.get(number, (0.0, 0.0))
                        into[number] = (before[0] + known[number], before[1] + value)
    return found


def eventful(
    source: MetricSource, slo_set: SloSet, at: datetime, seconds: int, width: int
) -> dict[SeriesKey, list[int]]:
    """The numbers of the buckets of ``width`` with events in the last ``seconds``. Raises ``BackendError``."""
    found = _read(source, slo_set, seconds, at, width)["total"]
    return {key: [number for number, value in values.items() if value > 0] for key, values in found.items()}


def _query(slo_set: SloSet, seconds: int) -> str:
    metrics = {"bad": naming.BAD_GRID, "total": naming.TOTAL_GRID}
    return promql.together(
        {name: promql.of_set(metric, slo_set.name, seconds) for name, metric in metrics.items()}
    )


def _read(
    source: MetricSource, slo_set: SloSet, seconds: int, at: datetime, width: int = 0
) -> dict[str, _Values]:
    """Bad and total events, from the same answers."""
    width = width or width_for(seconds)
    whole, rest = divmod(seconds, width)
    found: dict[str, _Values] = {"bad": {}, "total": {}}
    if whole:
        step = timedelta(seconds=width)
        for item in source.query_range(_query(slo_set, width), at - (whole - 1) * step, at, step):
            of = found.setdefault(item["metric"].get(promql.PART, ""), {})
            values = of.setdefault(key_of(item["metric"]), {})
            for time, text in item["values"]:
                if isfinite(value := float(text)):
                    values[round((at.timestamp() - float(time)) / width)] = value
    if rest:
        oldest = at - timedelta(seconds=whole * width)
        for name, series in apart(source.query(_query(slo_set, rest), oldest), promql.PART).items():
            for key, value in numbers(series).items():
                found.setdefault(name, {}).setdefault(key, {})[whole] = value
    return found


def of_events(frame: pd.DataFrame, slo: Slo, at: datetime) -> Buckets:
    """The buckets of one SLO's window, from a frame as :func:`jobs.budgets.slis.grid_events` gives it."""
    import pandas as pd

    seconds = period_seconds(slo, at)
    age = (pd.Timestamp(at) - frame["time"]).dt.total_seconds()
    recent = frame.assign(number=(age // width_for(seconds)).astype("int64"))[age < seconds // GRID * GRID]
    sums = recent.groupby(["namespace", "service", "number"], sort=False)[["bad", "total"]].sum()
    found: Buckets = {}
    for (namespace, service, number), bad, total in zip(sums.index, sums["bad"], sums["total"], strict=True):
        found.setdefault((slo.id, str(namespace), str(service)), {})[int(number)] = (float(bad), float(total))
    return found


def of_budget(
    buckets: Mapping[SeriesKey, Mapping[int, EventCounts]],
    slo: Slo,
    key: SeriesKey,
    window: EventCounts,
    at: datetime,
) -> BudgetHistory | None:
    """The history of one budget whose window has the events ``window`` (bad, total); None if it cannot be drawn."""
    known = buckets.get(key)
    return None if known is None else history(known, window, at, period_seconds(slo, at), float(slo.budget))
