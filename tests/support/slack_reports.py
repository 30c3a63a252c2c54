"""Reports to post, small and large."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sloctl.budget import Status
from sloctl.model import SloSet, Sources
from sloctl.model.dashboards import DashboardSettings
from sloctl.model.job_names import RoutineKind
from sloctl.report.data import Finding, Report, SloStatus
from sloctl.report.history import history
from sloctl.report.routine import Routine, RoutineColumn, RoutineSection, last_period

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SLO_SET = SloSet(
    "shop",
    (),
    sources=Sources(grafana="https://grafana.example.org"),
    dashboards=DashboardSettings(),
    slack_channel="#slo-reviews",
)


def slo(name: str = "availability", service: str = "checkout", remaining: float | None = 0.5) -> SloStatus:
    status: Status = (
        "no_data"
        if remaining is None
        else "exhausted"
        if remaining <= 0
        else "ok"
        if remaining > 0.1
        else "at_risk"
    )
    spent = None if remaining is None else 1 - remaining
    total = 0.0 if remaining is None else 10_000.0
    bad = 0.0 if spent is None else spent * 10
    known = dict.fromkeys(range(180), (bad / 180, total / 180))
    return SloStatus(
        slo=name,
        service=service,
        namespace="shop",
        objective=99.9,
        window="30d",
        status=status,
        sli=None if spent is None else 1 - spent / 1000,
        sli_interval=None,
        good=total - bad,
        bad=bad,
        total=total,
        spent=spent,
        remaining=remaining,
        burn_rates={"1h": 14.3 if status == "at_risk" else 0.2},
        exhausted_at=AT + timedelta(hours=5) if status == "at_risk" else None,
        alerts=("AvailabilityBudgetBurnPage1h",) if status == "at_risk" else (),
        history=history(known, (bad, total), AT, 30 * 86400, 0.001) if total else None,
    )


def report(number: int = 3, kind: RoutineKind | None = "weekly", at: datetime = AT, rows: int = 3) -> Report:
    """A report of ``number`` SLOs in every state."""
    shares = (-0.5, 0.05, 0.6, None, 0.99)
    slos = tuple(slo(service=f"service-{place}", remaining=shares[place % 5]) for place in range(number))
    routine = None
    if kind is not None:
        columns = (RoutineColumn("service", "service"), RoutineColumn("restarts", "restarts", "count"))
        cells = tuple((f"shop/service-{place}", float(place)) for place in range(rows))
        sections = (
            RoutineSection("sidecar_restarts", "Restarts of proxies", columns, cells),
            RoutineSection("telemetry_gaps", "Telemetry gaps", columns, (), empty="No gap was seen."),
        )
        routine = Routine(last_period(kind, at, "Europe/Paris"), sections)
    findings = (Finding("warning", "scrape-gap", "shop/service-0 availability: nothing is known of 10m"),)
    return Report("shop", at, "prometheus", slos, findings, routine=routine)
