"""Routines on a real Prometheus: 30 days of the simulated shop, whose true events are known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest

from jobs.reports import routines
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.pipeline import Demo
from sloctl.demo.shop import shop
from sloctl.demo.truth import CountKind as Counted
from sloctl.demo.truth import Side
from sloctl.model.calendar import CalendarPeriod
from sloctl.model.job_names import RoutineKind
from sloctl.report.data import Report, json_schema, to_json
from sloctl.report.routine import last_period
from sloctl.settings.variables import environment

pytestmark = pytest.mark.xdist_group("demo")
ZONE = "Asia/Kolkata"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with pipeline.running(shop(), folder, datetime.now(UTC), environment()) as running:
        yield running


@pytest.fixture(scope="module")
def source(demo: Demo) -> Iterator[Prometheus]:
    with pipeline.source(demo.server) as metrics:
        yield metrics


def what(service: str, name: str) -> tuple[str, Side, Counted]:
    """Which of the simulation's true events an SLO counts."""
    place = service.rpartition("/")[2]
    if name == "jobs-on-time":
        return place, "jobs", "bad"
    if name == "latency":
        return place, "source", "slow"
    if name == "gateway":
        return "frontend", "source", "bad"
    return place, "destination" if name == "attempts" else "source", "bad"


def compared(demo: Demo, report: Report, section: str, period: CalendarPeriod) -> int:
    """Holds every row against what truly happened; how many could be."""
    found = report.routine.section(section) if report.routine else None
    assert found is not None
    names = [column.name for column in found.columns]
    count = 0
    for row in found.rows:
        cells = dict(zip(names, row, strict=True))
        service, side, kind = what(str(cells["service"]), str(cells["slo"]))
        start, end = period.start.timestamp(), period.end.timestamp()
        if not demo.history.truth.known(service, side, start, end):
            continue
        events = demo.history.truth.events
        total = events(service, side, "total", start, end)
        # A counter's increase between scrapes is spread over the grid's edges: a part of a scrape's events.
        assert cells["events"] == pytest.approx(total, rel=2e-3, abs=30), cells
        assert cells["bad"] == pytest.approx(events(service, side, kind, start, end), rel=2e-2, abs=3), cells
        count += 1
    return count


@pytest.mark.parametrize(
    ("kind", "section"), [("daily", "spenders"), ("weekly", "budgets"), ("monthly", "attainment")]
)
def test_a_routine_says_what_happened(
    demo: Demo, source: Prometheus, kind: RoutineKind, section: str
) -> None:
    period = last_period(kind, demo.end, ZONE)
    if kind == "monthly":  # the history has thirty days: take the last 28 of them for a month
        end = last_period("daily", demo.end, ZONE).end
        period = CalendarPeriod(period.unit, end - timedelta(days=28), end, ZONE, "2026-02")
    report = routines.build(source, demo.slo_set, demo.end, period, "rules")
    jsonschema.validate(to_json(report), json_schema())
    assert [item for item in report.findings if item.code.startswith("routine-")] == []
    assert compared(demo, report, section, period) >= 15
    assert report.routine is not None
    if kind == "monthly":
        causes = report.routine.section("causes")
        assert causes is not None and causes.rows
        columns = [column.name for column in causes.columns]
        rows = [dict(zip(columns, row, strict=True)) for row in causes.rows]
        payments = [row for row in rows if row["service"] == "shop/payments" and row["slo"] == "availability"]
        assert "504 UT" in {row["cause"] for row in payments}, "the outage of payments: upstream time-outs"
        assert all(row["caller"] for row in payments)
