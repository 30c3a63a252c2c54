"""The reports of a routine: the budgets now, and what the last complete day, week or month was like.

What cannot be read is a finding; a report without any budget is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from jobs.budgets.choice import BudgetOrigin
from jobs.reports import routine_budgets, routine_mesh, slo_report
from jobs.reports.routine_budgets import RoutineReader
from sloctl.backends.protocols import MetricSource
from sloctl.ledger.protocol import Ledger
from sloctl.model import SloSet
from sloctl.model.calendar import CalendarPeriod
from sloctl.report.data import Report
from sloctl.report.routine import Routine, RoutineSection


def build(
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    period: CalendarPeriod,
    origin: BudgetOrigin = "auto",
    *,
    ledger: Ledger | None = None,
) -> Report:
    """The report at ``at`` (aware) with the routine of ``period``. Raises BackendError if no budget can be read."""
    report = slo_report.build(source, slo_set, at, origin, history=True, ledger=ledger)
    return add(report, source, slo_set, period, ledger)


def add(
    report: Report,
    source: MetricSource,
    slo_set: SloSet,
    period: CalendarPeriod,
    ledger: Ledger | None = None,
) -> Report:
    """The report with the routine of ``period``."""
    reader = RoutineReader(source, slo_set, report, period, ledger)
    makers: dict[str, Callable[[], RoutineSection]] = {
        "day": {
            "budgets_at_risk": lambda: routine_budgets.at_risk(reader),
            "burning": lambda: routine_budgets.burning(report),
            "alerts": lambda: routine_budgets.alerts(reader),
            "spenders": lambda: routine_budgets.spenders(reader),
        },
        "week": {
            "budgets": lambda: routine_budgets.spenders(reader, compared=True),
            "sidecar_restarts": lambda: routine_mesh.restarts(reader.source, slo_set, period),
            "telemetry_gaps": lambda: routine_mesh.gaps(
                reader.source, slo_set, period, reader.events(period).gaps
            ),
            "configuration": lambda: routine_mesh.churn(reader.source, slo_set, period),
            "alerts": lambda: routine_budgets.alerts(reader),
        },
        "month": {
            "attainment": lambda: routine_budgets.attainment(reader),
            "causes": lambda: routine_budgets.causes(reader),
            "resources": lambda: routine_mesh.resources(reader.source, slo_set, period),
            "alerts": lambda: routine_budgets.alerts(reader),
        },
    }[period.unit]
    sections = [reader.section(name, make) for name, make in makers.items()]
    found = tuple(section for section in sections if section is not None)
    return replace(report, routine=Routine(period, found), findings=(*report.findings, *reader.findings))
