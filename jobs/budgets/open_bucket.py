"""The events since the last instant of the budget grid, from raw counters.

Apart from :mod:`jobs.budgets.slis` because a report on recorded series needs no frames: importing pandas takes longer
than such a report.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import isfinite

from jobs.budgets.questions import Definitions, Question, answers, queries
from sloctl import naming, promql
from sloctl.backends.protocols import MetricSource
from sloctl.budget import EventCounts
from sloctl.model import SeriesKey, Slo, SloSet


def open_bucket(
    source: MetricSource, slo_set: SloSet, slos: Mapping[str, Slo], since: Mapping[str, float], at: datetime
) -> dict[SeriesKey, EventCounts]:
    """(bad, total) events of some of a set's SLOs after the last grid instant of each (``since``, Unix seconds).

    As on the grid, a histogram without the bound says nothing, nor does what is no number. Many definitions share one
    query, so that requests do not grow with services and little with definitions; each has all of its events in one.
    """
    widths = {slo_id: round(at.timestamp() - since[slo_id], 3) for slo_id in slos}
    definitions = Definitions(
        (slo for slo in slos.values() if widths[slo.id] > 0), lambda slo: widths[slo.id]
    )

    def events(slo: Slo) -> str:
        exprs = promql.events(slo, slo_set.mesh, widths[slo.id])
        return promql.together(
            {kind: promql.labelled(expr, naming.SLO_ID, slo.id) for kind, expr in exprs.items()}
        )

    asked = queries((Question(slo, events) for slo in definitions.alike()), slo_set)
    counts: dict[str, dict[SeriesKey, float]] = {"total": {}, "bad": {}, "good": {}}
    for query, answer in answers(asked, lambda text: source.query(text, at)):
        for item in definitions.series(query, answer):
            metric = item["metric"]
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
