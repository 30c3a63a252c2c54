"""Which dashboards an SLO file gets, as data that Grafana reads.

It must not know in which files they are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from dashboards import budget, service
from dashboards.grafana import Dashboard, Json
from dashboards.subject import Subject
from sloctl.model import SloSet

__all__ = ["BUILDERS", "Json", "boards", "encoded"]

BUILDERS: dict[str, tuple[Callable[[Subject], bool], Callable[[Subject], Dashboard]]] = {
    "service": (lambda subject: True, service.build),
    "budget": (lambda subject: True, budget.build),
}
"""When a kind of dashboard is made, and how."""


def encoded(dashboard: Any) -> Json:
    """A dashboard of grafanalib as plain data."""
    data: Json = json.loads(json.dumps(dashboard, default=lambda part: part.to_json_data()))
    return data


def boards(slo_set: SloSet) -> Iterator[tuple[str, Json]]:
    """Every dashboard of a set: its kind (``budget``, ``service``, …) and its JSON form, in a fixed order."""
    subject = Subject(slo_set)
    for kind, (wanted, build) in BUILDERS.items():
        if wanted(subject):
            yield kind, encoded(build(subject))
