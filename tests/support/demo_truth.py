"""Which of the demo's true events an SLO counts, and how far from them a budget may be."""

from __future__ import annotations

from sloctl.demo.truth import CountKind, Side
from sloctl.model import Slo
from sloctl.report.data import SloStatus

BOUND = 0.001
"""Largest error allowed, as a share of the error budget."""


def what(item: SloStatus | Slo) -> tuple[str, Side, CountKind]:
    """Which of the simulation's true events an SLO counts."""
    name = item.slo if isinstance(item, SloStatus) else item.name
    if name == "jobs-on-time":
        return item.service, "jobs", "bad"
    if name == "latency":
        return item.service, "source", "slow"
    if name == "gateway":
        return "frontend", "source", "bad"  # the gateway's only destination, and its only client
    return item.service, "destination" if name == "attempts" else "source", "bad"
