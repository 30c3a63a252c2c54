"""The job ``slis``: events of every SLO and service in 5-minute steps, from raw counters.

With a ledger it records what is missing there (:mod:`jobs.recording`); without one it computes the last hour.
:func:`grid_events` also serves where rules are not loaded (or were not yet, for the past), and holds rules and jobs
against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import Any

import pandas as pd

from jobs.budgets import from_rules
from sloctl import naming, promql
from sloctl.backends.answers import apart
from sloctl.backends.frames import matrix_frame
from sloctl.backends.protocols import MetricSource, Series
from sloctl.budget import ratio
from sloctl.model import GRID, Mesh, Slo, SloSet
from sloctl.model.durations import rfc3339


def run(source: MetricSource, slo_set: SloSet, at: datetime, seconds: int = 3600) -> pd.DataFrame:
    """Events of the whole grid steps within the last ``seconds``.

    Columns ``slo_id``, ``slo``, ``namespace``, ``service`` (str), ``time`` (UTC, end of the step), ``total``, ``bad``,
    ``good`` (float64). Steps end at the instants at which the rules record, where they do, so that both count the
    same events. Raises ``BackendError``.
    """
    instants = from_rules.last_instants(source, slo_set, at)
    frames = []
    for slo in slo_set.slos:
        last = instants.get(slo.id, at.timestamp() // GRID * GRID)
        end = datetime.fromtimestamp(last, at.tzinfo)
        steps = max(1, seconds // GRID)
        frame = grid_events(source, slo, slo_set.mesh, end - timedelta(seconds=(steps - 1) * GRID), end)
        frame.insert(0, naming.SLO, slo.name)
        frame.insert(0, naming.SLO_ID, slo.id)
        frames.append(frame)
    return (
        pd.concat(frames, ignore_index=True)
        if frames
        else pd.DataFrame(columns=[naming.SLO_ID, naming.SLO, *COLUMNS])
    )


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame as plain rows, with the SLI of each step (None without events)."""
    return [
        {
            "slo": row["slo"],
            "namespace": row["namespace"],
            "service": row["service"],
            "time": rfc3339(row["time"]),
            "good": round(row["good"], 6),
            "bad": round(row["bad"], 6),
            "total": round(row["total"], 6),
            "sli": ratio(row["good"], row["total"]),
        }
        for row in frame.to_dict("records")
    ]


COLUMNS = ("namespace", "service", "time", "total", "bad", "good")


def _frame(slo: Slo, series: Sequence[Series], column: str) -> pd.DataFrame:
    frame = matrix_frame(series, naming.IDENTITY).rename(columns={"value": column})
    frame = frame[frame[column].abs() < inf]  # what is no number is no data
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
        exprs = promql.recorded_events(slo, mesh, step, other_side=other_side)
    else:
        exprs = promql.events(slo, mesh, step, other_side=other_side)
    answer = source.query_range(promql.together(exprs), start, end, timedelta(seconds=step))
    return events_frame(slo, apart(answer, promql.PART))


def events_frame(slo: Slo, found: Mapping[str, Sequence[Series]]) -> pd.DataFrame:
    """The frame of :func:`grid_events` from the series of ``total`` and of ``bad`` or ``good`` events."""
    parts = {
        kind: _frame(slo, found.get(kind, ()), kind)
        for kind in ("total", "good" if slo.counts_good else "bad")
    }
    keys = ["namespace", "service", "time"]
    if "good" in parts:
        frame = parts["total"].merge(parts["good"], on=keys, how="inner")
        frame["bad"] = (frame["total"] - frame["good"]).clip(lower=0.0)
    else:
        frame = parts["total"].merge(parts["bad"], on=keys, how="left").fillna({"bad": 0.0})
    frame["good"] = frame["total"] - frame["bad"]
    return frame[list(COLUMNS)].sort_values(keys, ignore_index=True)
