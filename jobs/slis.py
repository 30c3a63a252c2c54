"""The job ``slis``: events of every SLO and service in 5-minute steps, from raw counters.

With a ledger it records what is missing there (:mod:`jobs.recording`); without one it computes the last hour.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from jobs import from_rules
from jobs.events import COLUMNS, grid_events
from sloctl import naming
from sloctl.budget import ratio
from sloctl.model import GRID, SloSet
from sloctl.report import timestamp
from sloctl.sources import MetricSource


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
            "time": timestamp(row["time"]),
            "good": round(row["good"], 6),
            "bad": round(row["bad"], 6),
            "total": round(row["total"], 6),
            "sli": ratio(row["good"], row["total"]),
        }
        for row in frame.to_dict("records")
    ]
