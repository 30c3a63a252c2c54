"""Which dashboards an SLO file gets, as data that Grafana reads.

It must not know in which files they are written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from dashboards import (
    budget,
    control_plane,
    debug,
    executive,
    mesh,
    oncall,
    retries,
    service,
    sidecars,
)
from dashboards.grafana import Dashboard, Json
from dashboards.subject import Subject
from sloctl.model import SloSet

__all__ = ["BUILDERS", "Json", "boards", "encoded"]


def _always(subject: Subject) -> bool:
    return True


BUILDERS: dict[str, tuple[Callable[[Subject], bool], Callable[[Subject], Dashboard]]] = {
    "executive": (_always, executive.build),
    "oncall": (_always, oncall.build),
    "service": (_always, service.build),
    "budget": (_always, budget.build),
    "mesh": (mesh.wanted, mesh.build),
    "retries": (retries.wanted, retries.build),
    "sidecars": (sidecars.wanted, sidecars.build),
    "control-plane": (control_plane.wanted, control_plane.build),
    "debug": (debug.wanted, debug.build),
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
