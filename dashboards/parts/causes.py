"""Panels of bad events by what tells their causes apart, for sets that record causes (``naming.BAD_CAUSES``).

It must not know on which dashboards they stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dashboards.grafana import Json, Table, TimeSeries
from dashboards.parts.panels import Column, graph, table
from dashboards.parts.series import SHOWN, Subject
from sloctl import naming
from sloctl.model import Matcher

NOTHING = "nothing was bad in the time shown"
CODES = ("response_code", "response_flags", "grpc_response_status")
VERSION = ("destination_version",)
ENDS = (*naming.CALLERS, *naming.CALLED)
"""Who called; of a gateway's SLO, whom it called."""


def over_time(
    subject: Subject,
    title: str,
    description: str,
    where: Sequence[Matcher],
    labels: Sequence[str],
    *,
    nothing: str = NOTHING,
    span: int = 12,
) -> TimeSeries:
    """Bad events of each step by ``labels``, stacked."""
    legend = " ".join(f"{{{{{label}}}}}" for label in labels)
    return graph(
        title,
        description,
        [(legend, subject.summed(naming.BAD_CAUSES, where, labels))],
        unit="short",
        style="bars",
        nothing=nothing,
        least="5m",
        span=span,
    )


def most_frequent(
    subject: Subject,
    title: str,
    description: str,
    where: Sequence[Matcher],
    labels: Sequence[str],
    count: int,
    *,
    places: int | None = 0,
    links: Mapping[str, Sequence[Json]] | None = None,
    nothing: str = NOTHING,
    span: int = 24,
) -> Table:
    """The ``count`` sets of ``labels`` with the most bad events in the time shown."""
    events = f"topk({count}, {subject.summed(naming.BAD_CAUSES, where, labels, SHOWN)})"
    return table(
        title,
        description,
        [Column("bad events", events, "short", places)],
        labels=labels,
        links=links,
        sort=("bad events", True),
        nothing=nothing,
        span=span,
    )
