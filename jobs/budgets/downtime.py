"""Time of which Prometheus itself knows nothing: it was down, or evaluated no rules. It is said, and is in no budget.

What targets that could not be scraped leave unknown is counted by SLO, by ``sloctl.promql.gap_rule``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise

from jobs.budgets.collected import Collected, period_seconds
from sloctl import naming, promql
from sloctl.backends.protocols import MetricSource
from sloctl.model import GRID, SloSet
from sloctl.model.durations import duration
from sloctl.report.data import Finding


def scraped(source: MetricSource, slo_set: SloSet, at: datetime) -> list[float]:
    """The instants of the grid (Unix seconds) before which something was scraped, within the longest period.

    Only targets of the mesh are looked at; if there are none, nothing can be said. Raises ``BackendError``.
    """
    seconds = max(period_seconds(slo, at) for slo in slo_set.slos) // GRID * GRID
    within = f"[{duration(GRID - 0.001)}]"  # whatever staleness the server knows; the range has no left end
    expr = f"group(last_over_time({promql.selector('up', slo_set.mesh.matchers)}{within}))"
    series = source.query_range(expr, at - timedelta(seconds=seconds - GRID), at, timedelta(seconds=GRID))
    return [float(time) for item in series for time, _ in item["values"]]


def add(slo_set: SloSet, at: datetime, times: Iterable[float], out: Collected) -> None:
    """Say what lies between some instants of the grid at which Prometheus was there, and count it as gaps.

    Time before the first of them is no gap.
    """
    # What follows a gap covers one step of the grid itself.
    gaps = [(a, b - GRID) for a, b in pairwise(sorted({*times})) if b - a > 1.5 * GRID]
    if not gaps:
        return
    lost = duration(round(sum(end - start for start, end in gaps)))
    text = f"Prometheus recorded nothing for {lost}; what happened then is in no budget"
    out.findings.append(Finding("warning", "evaluation-gap", text, {naming.SLO_SET: slo_set.name}))
    begun = {slo.id: at.timestamp() - period_seconds(slo, at) for slo in slo_set.slos}
    for key in out.period:
        since = max(begun[key[0]], out.since.get(key[0], 0.0))
        missing = sum(max(0.0, end - max(start, since)) for start, end in gaps)
        out.gaps[key] = out.gaps.get(key, 0.0) + missing
