"""The events since the last instant of the budget grid, from raw counters.

Apart from :mod:`jobs.budgets.slis` because a report on recorded series needs no frames: importing pandas takes longer
than such a report.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import isfinite

from sloctl import naming, promql
from sloctl.backends.protocols import MetricSource
from sloctl.budget import EventCounts
from sloctl.model import Mesh, SeriesKey, Slo


def open_bucket(
    source: MetricSource, slos: Mapping[str, Slo], mesh: Mesh, since: Mapping[str, float], at: datetime
) -> dict[SeriesKey, EventCounts]:
    """(bad, total) events after each SLO's last grid instant (``since``, Unix seconds) up to ``at``.

    As on the grid, a histogram without the bound says nothing, nor does what is no number. Many definitions share one
    query, so that requests do not grow with services and little with definitions; each has all of its events in one.
    """
    texts = []
    for slo_id, slo in slos.items():
        width = round(at.timestamp() - since[slo_id], 3)
        if width > 0:
            exprs = promql.events(slo, mesh, width)
            texts.append(
                promql.together(
                    {kind: promql.labelled(expr, naming.SLO_ID, slo_id) for kind, expr in exprs.items()}
                )
            )
    queries = {str(number): query for number, query in enumerate(promql.union(texts))}
    counts: dict[str, dict[SeriesKey, float]] = {"total": {}, "bad": {}, "good": {}}
    for answer in source.query_many(queries, at).values():
        for item in answer:
            metric = item["metric"]
            if metric.get(naming.SLO_ID) not in slos:
                continue  # of nothing that was asked for
            slo = slos[metric[naming.SLO_ID]]
            named = (slo.namespace, slo.service)
            service = named if not slo.wildcard else (metric.get("namespace", ""), metric.get("service", ""))
            counts.setdefault(metric.get(promql.PART, ""), {})[slo.id, *service] = float(item["value"][1])
    out = {}
    for key, total in counts["total"].items():
        if slos[key[0]].counts_good:
            if key not in counts["good"]:
                continue  # the histogram lacks the bound: nothing is known
            bad = total - counts["good"][key]
        else:
            bad = counts["bad"].get(key, 0.0)
        if isfinite(bad + total):  # what is no number is no data
            out[key] = (max(bad, 0.0), total)
    return out
