"""Routines over a simulated Prometheus: what each section says, and what becomes of what cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.budgets import from_rules, period_events
from jobs.reports import routine_mesh, routines, slo_report
from sloctl import naming
from sloctl.backends.protocols import Series
from sloctl.errors import BackendError, BackendLimit, BackendUnavailable
from sloctl.guardrails.plans import plans
from sloctl.ledger.protocol import MICRO, Sums
from sloctl.model import GRID, Guardrail, SeriesKey, SloSet
from sloctl.model.calendar import CalendarPeriod
from sloctl.model.job_names import RoutineKind
from sloctl.report.data import Report
from sloctl.report.routine import CellValue, Routine, last_period
from tests.support.shop_slos import CHECKOUT, EVERY, slos
from tests.support.simulated import Flow, Simulated

AT = datetime(2026, 3, 3, 9, 0, tzinfo=UTC)
NOW = AT.timestamp()
DAY = 86400
Answers = Callable[[str], list[Series] | None]


def series(value: float, **labels: str) -> Series:
    return {"metric": labels, "value": [NOW, str(value)]}


def nothing(query: str) -> list[Series] | None:
    """No alerts, restarts, pushes or causes."""
    known = (
        "max by (alertname",
        "kube_pod",
        "pilot_k8s",
        "slo:bad_events_by_cause",
        "workload:sidecar",
        "istiod:",
    )
    return [] if any(part in query for part in (*known, "_gap:seconds")) else None


def world(override: Answers = nothing, *flows: Flow, guardrails: Sequence[str] = ()) -> Simulated:
    slo_set = slos(CHECKOUT, EVERY)
    slo_set = replace(slo_set, guardrails=tuple(Guardrail(name, _limit(name)) for name in guardrails))
    exact, every = (slo.id for slo in slo_set.slos)
    steady = [
        Flow(exact, "shop", "checkout", NOW - 100 * DAY, NOW + DAY, 100, 0.05),
        Flow(every, "shop", "cart", NOW - 100 * DAY, NOW + DAY, 10, 0.001),
        # An outage: all of two hours of 1 March, 10:00 to 12:00 UTC.
        Flow(every, "shop", "pricing", NOW - 100 * DAY, NOW + DAY, 5, 0.0),
        Flow(every, "shop", "pricing", NOW - 47 * 3600, NOW - 45 * 3600, 5, 10),
    ]
    return Simulated(slo_set, [*steady, *flows], override=override)


def _limit(name: str) -> Any:
    from decimal import Decimal

    return {"control-plane": Decimal(10), "sidecar-resources": Decimal(90), "telemetry-gap": Decimal(300)}[
        name
    ]


def build(source: Simulated, kind: RoutineKind, zone: str = "UTC", **more: Any) -> Report:
    return routines.build(source, source.slo_set, AT, last_period(kind, AT, zone), "rules", **more)


def rows(report: Report, name: str) -> list[dict[str, CellValue]]:
    section = report.routine.section(name) if report.routine else None
    assert section is not None, name
    names = [column.name for column in section.columns]
    return [dict(zip(names, row, strict=True)) for row in section.rows]


def codes(report: Report) -> set[str]:
    return {item.code for item in report.findings if item.code.startswith("routine-")}


def test_a_day() -> None:
    report = build(world(), "daily")
    assert codes(report) == set()
    assert isinstance(report.routine, Routine) and report.routine.period.label == "2026-03-02"
    spent = {row["service"]: row for row in rows(report, "spenders")}
    assert set(spent) == {"shop/checkout", "shop/cart"}, "pricing's outage was the day before"
    assert spent["shop/checkout"]["bad"] == pytest.approx(0.05 * 1440)
    # Half of the budget is spent in thirty days, so a thirtieth of it in one.
    assert spent["shop/checkout"]["spent"] == pytest.approx(0.5 / 30, rel=1e-3)
    (risk,) = rows(report, "budgets_at_risk")
    assert risk["service"] == "shop/pricing" and risk["spent"] == pytest.approx(0.0)
    assert float(risk["left"] or 0) < 0.5
    assert rows(report, "burning") == [] and rows(report, "alerts") == []


def test_the_outage_is_in_its_own_local_day() -> None:
    earlier = AT - timedelta(days=1)
    source = world()
    for zone, bad in (("UTC", 1200.0), ("Pacific/Auckland", 600.0)):
        period = last_period("daily", earlier, zone)
        report = routines.build(source, source.slo_set, AT, period, "rules")
        (row,) = [row for row in rows(report, "spenders") if row["service"] == "shop/pricing"]
        # Midnight in Auckland is 11:00 UTC, the middle of the outage.
        assert row["bad"] == pytest.approx(bad), zone


def test_a_week_beside_the_week_before() -> None:
    report = build(world(), "weekly")
    assert codes(report) == set()
    found = {row["service"]: row for row in rows(report, "budgets")}
    assert found["shop/pricing"]["bad"] == pytest.approx(1200)
    assert found["shop/pricing"]["before"] == pytest.approx(0)
    assert found["shop/checkout"]["before"] == pytest.approx(float(found["shop/checkout"]["spent"] or 0))
    assert next(iter(rows(report, "budgets")))["service"] == "shop/pricing", "who spent most comes first"


def test_a_month() -> None:
    def answers(query: str) -> list[Series] | None:
        if "slo:bad_events_by_cause" in query:
            slo_id = world().slo_set.slos[1].id
            of = {naming.SLO_ID: slo_id, "namespace": "shop", "service": "pricing"}
            caller = {"source_workload_namespace": "shop", "source_workload": "cart"}
            return [
                series(
                    900, **of, **caller, response_code="503", response_flags="UH", destination_version="v2"
                ),
                series(300, **of, **caller, response_code="0", response_flags="DC"),
                series(0, **of, response_code="500"),
                series(5, slo_id="gone", namespace="shop", service="x", response_code="500"),
            ]
        return nothing(query)

    source = world(answers)
    march = last_period("monthly", datetime(2026, 4, 1, tzinfo=UTC))
    period = replace(march, end=AT.replace(hour=0))  # March so far: the outage is in it
    report = routines.add(
        slo_report.build(source, source.slo_set, AT, "rules"), source, source.slo_set, period
    )
    found = {row["service"]: row for row in rows(report, "attainment")}
    assert {service: row["met"] for service, row in found.items()} == {
        "shop/pricing": "missed",
        "shop/checkout": "met",
        "shop/cart": "met",
    }
    assert found["shop/pricing"]["before_met"] == "met" and found["shop/pricing"]["before_sli"] == 1.0
    section = report.routine.section("attainment") if report.routine else None
    assert section is not None and section.note == "2 of 3 objectives were met."
    causes = rows(report, "causes")
    assert [(row["cause"], row["caller"], row["version"], row["bad"]) for row in causes] == [
        ("503 UH", "shop/cart", "v2", 900),
        ("no response DC", "shop/cart", "", 300),
    ]
    assert causes[0]["share"] == pytest.approx(0.75)


def test_alerts_that_fired() -> None:
    start = last_period("weekly", AT).start.timestamp()

    def spell(first: float, minutes: float) -> list[list[object]]:
        return [[start + first + step * 120, "1"] for step in range(1, round(minutes / 2) + 1)]

    labels = {"alertname": "AvailabilityBudgetBurnPage1h", "severity": "page", "slo": "availability"}
    fired_here: list[Series] = [
        {
            "metric": {**labels, "namespace": "shop", "service": "pricing"},
            "values": spell(3600, 90) + spell(9 * 3600, 30),
        },
        {
            "metric": {"alertname": "IstiodDown", "guardrail": "control-plane"},
            "values": spell(7 * DAY - 600, 10),
        },
    ]
    report = build(world(lambda q: fired_here if "max by (alertname" in q else nothing(q)), "weekly")
    assert rows(report, "alerts") == [
        {
            "alert": labels["alertname"],
            "what": "shop/pricing availability",
            "severity": "page",
            "times": 2.0,
            "longest": 5400.0,
            "total": 7200.0,
            "firing": "",
        },
        {
            "alert": "IstiodDown",
            "what": "control-plane",
            "severity": "",
            "times": 1.0,
            "longest": 600.0,
            "total": 600.0,
            "firing": "yes",
        },
    ]


def test_restarts_gaps_and_churn() -> None:
    def answers(query: str) -> list[Series] | None:
        if "istiod:pushes" in query:
            return [series(420)]
        if "istiod:" in query:
            return [series(0)]
        if "pilot_k8s_cfg_events" in query:
            return [
                series(3.2, type="VirtualService", event="update"),
                series(1, type="Gateway", event="add"),
            ]
        if "mesh:telemetry_gap:seconds" in query:
            return [series(900)]
        if "kube_pod" in query:
            if "reason" in query:
                where = {"namespace": "shop", "workload": "cart"}
                first = series(3, **where, pod="cart-1", reason="OOMKilled")
                return [first, series(1, **where, pod="cart-2", reason="Error")]
            return [series(2, namespace="shop", workload="cart")]
        return nothing(query)

    source = world(answers, guardrails=("control-plane", "telemetry-gap"))
    source.scrape_gaps["checkout"] = (NOW - 5 * DAY, NOW - 5 * DAY + 1800)
    report = build(source, "weekly")
    assert codes(report) == set()
    (restart,) = rows(report, "sidecar_restarts")
    assert (restart["workload"], restart["restarts"], restart["before"]) == ("cart", 4.0, 4.0)
    assert restart["reasons"] == "OOMKilled 3, Error 1"
    assert rows(report, "telemetry_gaps") == [
        {"what": "metrics of the mesh", "longest": 900.0, "total": None},
        {"what": "shop/checkout availability", "longest": None, "total": 1800.0},
    ]
    churn = {row["what"]: row["number"] for row in rows(report, "configuration")}
    assert churn["configuration pushes"] == 420 and churn["pushes that proxies rejected"] == 0
    assert churn["changes: VirtualService update"] == pytest.approx(3.2)


def test_resources_cost_what_the_file_says() -> None:
    def answers(query: str) -> list[Series] | None:
        where = {"namespace": "shop", "workload": "cart"}
        if routine_mesh.CORES in query:
            return [series(0.5, **where)]
        if routine_mesh.MEMORY in query:
            return [series(2 * 2**30, **where)]
        return nothing(query)

    report = build(world(answers, guardrails=("sidecar-resources",)), "monthly")
    (row,) = rows(report, "resources")
    costs = report.routine.section("resources") if report.routine else None
    assert row["cost"] == pytest.approx(28 * 24 * (0.5 * 0.031 + 2 * 0.0042))
    assert (
        costs is not None and costs.currency == "USD" and "All 1 workloads together: 16.06 USD" in costs.note
    )
    without = build(world(), "monthly")
    assert rows(without, "resources") == []


def test_signals_that_are_read_are_recorded() -> None:
    """Names of recorded series are spelled here once more: they must be those of the guardrails."""
    names = {record for record, _ in (*routine_mesh.CHURN, *routine_mesh.GAPS)}
    names |= {routine_mesh.CORES, routine_mesh.MEMORY}
    known = world(guardrails=("control-plane", "telemetry-gap", "sidecar-resources")).slo_set
    known = replace(known, sources=replace(known.sources, traces_backend="zipkin"))
    assert names <= {signal.record for plan in plans(known) for signal in plan.signals}


@pytest.mark.parametrize("kind", ["daily", "weekly", "monthly"])
def test_what_cannot_be_read_is_a_finding(kind: RoutineKind) -> None:
    down = False

    class Failing(Simulated):
        def query(self, expr: str, at: datetime) -> Sequence[Series]:
            if down:
                raise BackendUnavailable("gone", backend="prometheus", url="")
            return super().query(expr, at)

        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            if down:
                raise BackendUnavailable("gone", backend="prometheus", url="")
            return super().query_range(expr, start, end, step)

    made = world()
    source = Failing(made.slo_set, made.flows, override=nothing)
    report = slo_report.build(source, source.slo_set, AT, "raw")
    down = True
    found = routines.add(report, source, source.slo_set, last_period(kind, AT))
    assert "routine-not-read" in codes(found)
    assert found.slos == report.slos
    with pytest.raises(BackendError):
        routines.build(source, source.slo_set, AT, last_period(kind, AT))


class FakeLedger:
    """A ledger of one SLO's events, as far as routines read it."""

    def __init__(self, slo_set: SloSet, oldest: int, newest: int) -> None:
        self.ids = [slo.id for slo in slo_set.slos]
        self._oldest, self._newest = oldest, newest

    def keys(self, _name: str) -> Sequence[SeriesKey]:
        return [(self.ids[0], "shop", "checkout")]

    def oldest(self, _name: str) -> Mapping[str, int]:
        return {self.ids[0]: self._oldest}

    def newest(self, _name: str) -> Mapping[str, int]:
        return {self.ids[0]: self._newest}

    def sums(self, _name: str, spans: Sequence[tuple[int, int]]) -> Sequence[Mapping[Any, Sums]]:
        minutes = [(end - start) // 60 for start, end in spans]
        key = (self.ids[0], "shop", "checkout")
        return [{key: Sums(total=n * 1000 * MICRO, bad=n * 7 * MICRO, gap=600)} for n in minutes]

    def causes(self, _name: str, start: int, end: int) -> Mapping[Any, Mapping[Any, int]]:
        return {
            (self.ids[0], "shop", "checkout"): {(("response_code", "502"),): (end - start) // 60 * 7 * MICRO}
        }


def add(source: Simulated, kind: RoutineKind, ledger: Any) -> Report:
    report = slo_report.build(source, source.slo_set, AT, "rules")
    return routines.add(report, source, source.slo_set, last_period(kind, AT), ledger)


def test_events_come_from_the_ledger_where_it_has_the_whole_period() -> None:
    source = world()
    ledger = FakeLedger(source.slo_set, 0, int(NOW))
    report = add(source, "monthly", ledger)
    found = {row["service"]: row for row in rows(report, "attainment")}
    assert found["shop/checkout"]["bad"] == pytest.approx(28 * 1440 * 7)
    assert found["shop/checkout"]["met"] == "missed"
    assert set(found) == {"shop/checkout", "shop/cart", "shop/pricing"}, (
        "others are read from what rules recorded"
    )
    (cause,) = [row for row in rows(report, "causes") if row["service"] == "shop/checkout"]
    assert cause["cause"] == "502" and cause["share"] == pytest.approx(1)


def test_a_ledger_that_began_with_the_periods_first_bucket_has_the_whole_period() -> None:
    begin = datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    for late, whole in ((GRID, True), (2 * GRID, False)):
        source = world()
        ledger: Any = FakeLedger(source.slo_set, int(begin) + late, int(NOW))
        period = last_period("monthly", AT)
        booked = period_events.read(source, source.slo_set, period, ledger, []).booked
        assert booked == ({ledger.ids[0]} if whole else frozenset()), "of the others it has nothing"


@pytest.mark.parametrize(("oldest", "newest"), [(NOW - 10 * DAY, NOW), (0, NOW - 5 * DAY)])
def test_a_ledger_without_the_whole_period_is_not_asked(oldest: float, newest: float) -> None:
    source = world()
    report = add(source, "monthly", FakeLedger(source.slo_set, int(oldest), int(newest)))
    assert {row["service"] for row in rows(report, "attainment")} == {
        "shop/checkout",
        "shop/cart",
        "shop/pricing",
    }


def test_a_ledger_that_fails_is_a_finding() -> None:
    class Broken(FakeLedger):
        def newest(self, _name: str) -> Mapping[str, int]:
            raise BackendUnavailable("locked", backend="ledger", url="")

    source = world()
    report = add(source, "daily", Broken(source.slo_set, 0, 0))
    assert codes(report) == {"routine-ledger-not-read"}
    assert rows(report, "spenders")


def test_long_periods_are_summed_in_halves() -> None:
    source = world()
    source.largest_window = 8 * DAY
    report = build(source, "monthly", "UTC")
    found = {row["service"]: row for row in rows(report, "attainment")}
    assert found["shop/checkout"]["events"] == pytest.approx(28 * 1440 * 100)


ENDS = [NOW - number * 300 for number in range(320)]
"""Of the buckets up to now; each has as many events as its place here, so that one lost or doubled is seen."""


class Limited(Simulated):
    """Answers causes of bad events too, one for all."""

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        if naming.BAD_CAUSES not in expr:
            return super().query(expr, at)
        window = (int(expr.split("[")[1].split("ms]")[0]) + 1) / 1000
        if window > self.largest_window:
            raise BackendLimit("too many samples", backend="prometheus", url="")
        last = at.timestamp()
        found = sum(number for number, end in enumerate(ENDS) if last - window < end <= last)
        labels = {naming.SLO_ID: self.slo_set.slos[0].id, "namespace": "shop", "service": "checkout"}
        return [series(found, **labels, response_code="503")]


@pytest.mark.parametrize("hours", [13, 7])
@pytest.mark.parametrize(
    ("buckets", "more"), [(300, 0), (301, 0), (302, 0), (303, 0), (301, 132), (302, 299)]
)
def test_each_bucket_of_a_window_without_even_halves_is_summed_once(
    buckets: int, more: int, hours: int
) -> None:
    slo_set = slos(CHECKOUT)
    (slo,) = slo_set.slos
    flows = [Flow(slo.id, "shop", "checkout", end - 300, end, number / 5) for number, end in enumerate(ENDS)]
    source = Limited(slo_set, flows, largest_window=hours * 3600)
    end = AT + timedelta(seconds=more)
    key, seconds, wanted = (slo.id, "shop", "checkout"), buckets * 300 + more, sum(range(buckets))
    found = from_rules.sums_of(source, slo_set, {"total": naming.TOTAL_GRID}, seconds, end)
    assert found == {"total": {key: pytest.approx(wanted)}}
    period = CalendarPeriod("day", end - timedelta(seconds=seconds), end, "UTC", "a day")
    causes = period_events.causes(source, slo_set, period, None, ())
    assert causes == {key: {(("response_code", "503"),): wanted}}
