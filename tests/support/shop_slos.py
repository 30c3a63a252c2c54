"""SLO files of a small shop: a line for each SLO, the files and models that they make, and simulated events of them."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

from sloctl import spec
from sloctl.model import SloSet
from sloctl.report.data import Report, SloStatus
from tests.support.simulated import Flow

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = AT.timestamp()
NOON = int(NOW)
LONG_AGO = NOW - 100 * 86400
FOR_EVER = NOW + 100 * 86400
DAY = 86400
PREAMBLE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
"""
CHECKOUT = (
    "- {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}"
)
EVERY = '- {name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}'
LATENCY = (
    "- {name: latency, service: checkout, namespace: shop, objective: 99, "
    "sli: {preset: latency, threshold: 250ms}}"
)
JOBS = (
    "- {name: late, service: billing, objective: 99, "
    "sli: {events: {bad: 'rate(l[$window])', total: 'rate(t[$window])'}}}"
)
MAINTENANCE = """maintenance:
  - {name: upgrade, start: "2026-03-01T10:02:00Z", end: "2026-03-01T10:58:00Z", services: [checkout]}
"""


def text(*lines: str, more: str = "") -> str:
    """An SLO file of these SLOs; ``more`` is what stands before them."""
    return PREAMBLE + more + "slos:\n" + "".join(f"  {line}\n" for line in lines)


def slos(*lines: str, more: str = "") -> SloSet:
    return spec.load([Path("-")], stdin=io.BytesIO(text(*lines, more=more).encode()))


def flow(slo_set: SloSet, index: int, service: str, total: float, bad: float = 0.0, **times: float) -> Flow:
    slo = slo_set.slos[index]
    start, end = times.get("start", LONG_AGO), times.get("end", FOR_EVER)
    return Flow(slo.id, slo.namespace, service, start, end, total, bad)


def only(report: Report) -> SloStatus:
    (item,) = report.slos
    return item
