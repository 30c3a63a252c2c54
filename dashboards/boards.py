"""Which dashboards an SLO file gets, as data that Grafana reads.

It must not know in which files they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sloctl.model import SloSet

Json = dict[str, Any]


def boards(slo_set: SloSet) -> Iterator[tuple[str, Json]]:
    """Every dashboard of a set: its kind (``budget``, ``service``, …) and its JSON form, in a fixed order."""
    yield from ()
