"""The job ``burn_rate``: burn rates of every SLO and service over its windows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobs import slo_report
from sloctl.model import SloSet
from sloctl.report import Report
from sloctl.sources import MetricSource


def run(source: MetricSource, slo_set: SloSet, at: datetime) -> Report:
    """The report at ``at``, from which :func:`rows` takes the burn rates. Raises ``BackendError``."""
    return slo_report.build(source, slo_set, at)


def rows(report: Report) -> list[dict[str, Any]]:
    """One row per SLO, service and window; the burn rate is None without events."""
    return [
        {
            "slo": item.slo,
            "namespace": item.namespace,
            "service": item.service,
            "window": window,
            "burn_rate": None if rate is None else round(rate, 4),
        }
        for item in report.slos
        for window, rate in item.burn_rates.items()
    ]
