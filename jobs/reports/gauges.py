"""What jobs computed, as numbers with names and labels: see the second half of
``sloctl.telemetry.own_metrics.EVERY``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sloctl import naming
from sloctl.report.data import PARTIAL, Report
from sloctl.report.health import EdgeAmplification, SidecarRestarts
from sloctl.telemetry import own_metrics
from sloctl.telemetry.own_metrics import Gauge

if TYPE_CHECKING:
    from jobs.retry_amplification import RetryFrames


def of_report(report: Report) -> Iterator[Gauge]:
    """Budgets and burn rates of every SLO, amplification by edge, restarts by workload; without what has no data.

    Numbers that may be wrong are left out, for whoever reads gauges sees no findings.
    """
    for item in report.slos:
        if item.wrong:
            continue
        labels = {
            naming.SLO_SET: report.set_name,
            naming.NAMESPACE: item.namespace,
            naming.SERVICE: item.service,
            naming.SLO: item.slo,
        }
        values = {
            own_metrics.OBJECTIVE: item.objective / 100,
            own_metrics.SLI: item.sli,
            own_metrics.REMAINING: item.remaining,
            own_metrics.SPENT: item.spent,
        }
        yield from _known(labels, values)
        if item.quality.recorded is not None:
            yield Gauge(own_metrics.RECORDED, labels, item.quality.recorded)
        if item.sli is not None:
            yield Gauge(own_metrics.EVENTS, labels | {"kind": "good"}, item.good)
            yield Gauge(own_metrics.EVENTS, labels | {"kind": "bad"}, item.bad)
        for window, rate in item.burn_rates.items():
            yield from _known(labels | {"window": window}, {own_metrics.BURN_RATE: rate})
    unsure = {item.scope.get("section") for item in report.findings if item.code == PARTIAL}
    if "retry_amplification" not in unsure:
        yield from _edges(report.set_name, report.retry_amplification)
    if "sidecar_restarts" not in unsure:
        yield from _restarts(report.set_name, report.sidecar_restarts)


def of_retries(found: RetryFrames, set_name: str) -> Iterator[Gauge]:
    """The edges that traces have."""
    yield from _edges(set_name, found.amplification)


def of_restarts(rows: Iterable[Mapping[str, Any]], set_name: str) -> Iterator[Gauge]:
    """Restarts by workload and window, from the rows of :mod:`jobs.sidecar_restarts`."""
    for row in rows:
        labels = {naming.NAMESPACE: row["namespace"], "workload": row["workload"], "window": row["window"]}
        values = {
            own_metrics.RESTARTS: row["restarts"],
            own_metrics.RESTARTS_PER_POD_DAY: row["per_pod_day"],
        }
        yield from _known({naming.SLO_SET: set_name, **labels}, values)


def _edges(set_name: str, edges: Iterable[EdgeAmplification]) -> Iterator[Gauge]:
    for edge in edges:
        labels = {
            naming.SLO_SET: set_name,
            "source": edge.source,
            "destination": edge.destination,
            "origin": edge.origin,
        }
        values = {
            own_metrics.RETRY_REQUESTS: edge.requests,
            own_metrics.RETRY_ATTEMPTS: edge.attempts,
            own_metrics.AMPLIFICATION: edge.amplification,
        }
        yield from _known(labels, values)


def _restarts(set_name: str, rows: Iterable[SidecarRestarts]) -> Iterator[Gauge]:
    for row in rows:
        labels = {naming.NAMESPACE: row.namespace, "workload": row.workload, "window": "1d"}
        values = {own_metrics.RESTARTS: row.restarts, own_metrics.RESTARTS_PER_POD_DAY: row.per_pod_day}
        yield from _known({naming.SLO_SET: set_name, **labels}, values)


def _known(labels: Mapping[str, str], values: Mapping[str, float | None]) -> Iterator[Gauge]:
    for name, value in values.items():
        if value is not None:
            yield Gauge(name, labels, float(value))
