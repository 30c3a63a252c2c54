"""Events per grid step, computed from raw counters: what the rules record, without the rules.

Used where rules are not loaded (or were not yet, for the past), and to hold rules and jobs against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pandas as pd

from sloctl import naming, promql
from sloctl.frames import matrix_frame
from sloctl.model import GRID, Mesh, Slo
from sloctl.sources import MetricSource, Series

COLUMNS = ("namespace", "service", "time", "total", "bad", "good")


def _frame(slo: Slo, series: Sequence[Series], column: str) -> pd.DataFrame:
    frame = matrix_frame(series, naming.IDENTITY).rename(columns={"value": column}).dropna(subset=[column])
    if not slo.wildcard:
        frame = frame.assign(namespace=slo.namespace, service=slo.service)
    return frame


def grid_events(
    source: MetricSource,
    slo: Slo,
    mesh: Mesh,
    start: datetime,
    end: datetime,
    *,
    step: int = GRID,
    other_side: bool = False,
    from_base: bool = False,
) -> pd.DataFrame:
    """Events of each grid step of ``step`` seconds that ends at ``start``, ``start + step``, … ``end``.

    One row per service and step that has data: ``namespace``, ``service`` (str), ``time`` (UTC, end of the step),
    ``total``, ``bad``, ``good`` (float64). A step without data has no row, which is not zero events. Where total
    events are known and no bad series exists, bad is 0; where a latency bound is missing, there is no row. With
    ``from_base``, recorded base events are read in place of raw counters.

    Raises ``BackendError``.
    """
    if from_base:
        exprs = promql.recorded_events(slo, mesh, step, other_side=other_side, ranged=True)
    else:
        exprs = promql.events(slo, mesh, step, other_side=other_side, ranged=True)
    parts = {
        kind: _frame(slo, source.query_range(expr, start, end, timedelta(seconds=step)), kind)
        for kind, expr in exprs.items()
    }
    keys = ["namespace", "service", "time"]
    if "good" in parts:
        frame = parts["total"].merge(parts["good"], on=keys, how="inner")
        frame["bad"] = (frame["total"] - frame["good"]).clip(lower=0.0)
    else:
        frame = parts["total"].merge(parts["bad"], on=keys, how="left").fillna({"bad": 0.0})
    frame["good"] = frame["total"] - frame["bad"]
    return frame[list(COLUMNS)].sort_values(keys, ignore_index=True)
