"""Reports from the ledger: with Prometheus and without, with holes, late, and when the ledger itself is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.budgets import attainment, from_ledger
from jobs.reports import slo_report
from sloctl.errors import BackendUnavailable
from sloctl.ledger.protocol import MICRO, Batch, Bucket, Cause
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import GRID, SeriesKey, SloSet
from sloctl.report.data import Report
from sloctl.settings.secret import Secret
from tests.support.scripted import Scripted, unreachable
from tests.support.shop_slos import CHECKOUT, DAY, EVERY, JOBS, LATENCY, MAINTENANCE, NOON, slos
from tests.support.simulated import Flow, Simulated

AT = datetime.fromtimestamp(NOON, UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DatabaseLedger]:
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as opened:
        yield opened


def enter(
    ledger: DatabaseLedger,
    slo_set: SloSet,
    start: int,
    end: int,
    total: int = 100,
    bad: int = 0,
    gaps: Sequence[int] = (),
    service: str = "checkout",
) -> None:
    """The same events in each bucket of an interval; nobody observed the buckets that end at ``gaps``."""
    slo = slo_set.slos[0]
    ends = range(start + GRID, end + 1, GRID)
    events = [Bucket("shop", service, at, total * MICRO, bad * MICRO) for at in ends if at not in gaps]
    why = (("response_code", "503"),)
    causes = [Cause("shop", service, at, why, bad * MICRO) for at in ends if bad and at not in gaps]
    down = [Bucket("", "", at, 0, 0, GRID) for at in gaps]
    ledger.record(slo_set.name, [Batch(slo.id, slo.name, (start, end), [*events, *down], causes)])


def dead(slo_set: SloSet) -> Scripted:
    """A Prometheus that cannot be reached."""

    def fail(_expr: str) -> None:
        raise unreachable()

    return Scripted(slo_set, [], before=fail)


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def test_budgets_are_there_without_prometheus(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON - 3600)
    enter(ledger, slo_set, NOON - 3600, NOON, bad=50)
    report = slo_report.build(dead(slo_set), slo_set, AT, "ledger", ledger=ledger)
    (item,) = report.slos
    assert (item.total, item.bad) == (864_000.0, 600.0)
    assert item.spent == pytest.approx(600 / 864_000 / 0.001)
    assert item.burn_rates["1h"] == pytest.approx(500)
    assert item.quality.gaps == 0
    assert any("Page" in name for name in item.alerts), "it would fire"
    assert report.source == "ledger"
    assert "prometheus-not-read" in codes(report)


def test_holes_and_downtimes_are_gaps(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON - 9000)
    enter(ledger, slo_set, NOON - 7200, NOON, gaps=[NOON - 1800, NOON - 1500])
    data = from_ledger.collect(ledger, None, slo_set, AT)
    (key,) = data.period
    assert data.gaps[key] == 1800 + 600
    assert data.period[key] == (0.0, (8640 - 6 - 2) * 100.0)
    (finding,) = [item for item in data.findings if item.code == "ledger-gap"]
    assert "30m" in finding.message


def test_a_ledger_that_is_younger_than_the_window_says_so(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 2 * DAY, NOON)
    data = from_ledger.collect(ledger, None, slo_set, AT)
    (key,) = data.period
    (item,) = slo_report.build(dead(slo_set), slo_set, AT, "ledger", ledger=ledger).slos
    assert (item.of_window, item.status, item.remaining) == ("2d of 30d", "ok", 1.0)
    assert (data.period[key], data.gaps[key]) == ((0.0, 57_600.0), 0)


@pytest.mark.parametrize(("lacking", "said"), [(0, False), (2, False), (3, True)])
def test_a_ledger_that_lacks_more_than_two_buckets_of_the_window_says_so(
    ledger: DatabaseLedger, lacking: int, said: bool
) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 30 * DAY + lacking * GRID, NOON)
    report = slo_report.build(dead(slo_set), slo_set, AT, "ledger", ledger=ledger)
    assert ("partial-period" in codes(report)) == said


def test_the_first_hour_of_a_ledger_exhausts_no_month(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 3600, NOON, bad=1)
    (item,) = slo_report.build(dead(slo_set), slo_set, AT, "ledger", ledger=ledger).slos
    assert (item.of_window, item.spent) == ("1h of 30d", None)
    assert item.partial is not None
    assert item.partial.alike == pytest.approx(10)
    assert item.partial.good == pytest.approx(10 / 720)


@pytest.mark.parametrize(
    ("late", "known"),
    [
        (3600, {"5m", "30m", "1h", "6h", "3d"}),
        (3900, {"6h", "3d"}),
        (3 * 3600, {"6h", "3d"}),
        (3 * 3600 + GRID, {"3d"}),
        (36 * 3600, {"3d"}),
        (36 * 3600 + GRID, set()),
    ],
)
def test_a_burn_rate_is_of_an_hour_ago_at_most_or_of_half_its_window(
    ledger: DatabaseLedger, late: int, known: set[str]
) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON - late - 3 * DAY)
    enter(ledger, slo_set, NOON - late - 3 * DAY, NOON - late, bad=2)
    (item,) = slo_report.build(dead(slo_set), slo_set, AT, "ledger", ledger=ledger).slos
    assert item.burn_rates == {
        window: pytest.approx(20) if window in known else None for window in ("5m", "30m", "1h", "6h", "3d")
    }


def test_a_definition_that_the_ledger_lacks_is_named(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, EVERY)
    enter(ledger, slo_set, NOON - DAY, NOON)
    data = from_ledger.collect(ledger, None, slo_set, AT)
    (finding,) = [item for item in data.findings if item.code == "not-in-ledger"]
    assert finding.scope == {"slo_id": slo_set.slos[1].id}


def test_what_a_wildcard_counted_before_an_override_is_in_its_budget(ledger: DatabaseLedger) -> None:
    before = slos(EVERY)
    enter(ledger, before, NOON - 31 * DAY, NOON)
    enter(ledger, before, NOON - 32 * DAY, NOON - 31 * DAY, service="cart")
    after = slos(EVERY, CHECKOUT)
    report = slo_report.build(dead(after), after, AT, "ledger", ledger=ledger)
    assert [(item.slo, item.service, item.objective, item.total) for item in report.slos] == [
        ("availability", "checkout", 99.9, 864_000.0)
    ]
    assert "definition-changed" in codes(report)
    assert "partial-period" not in codes(report)


def test_a_definition_that_is_gone_from_the_file_does_not_make_the_ledger_late(
    ledger: DatabaseLedger,
) -> None:
    """Its newest bucket is of the day on which it was taken out."""
    both = slos(CHECKOUT, JOBS)
    enter(ledger, both, NOON - 31 * DAY, NOON)
    enter(ledger, replace(both, slos=(both.slos[1],)), NOON - 31 * DAY, NOON - 5 * DAY)
    one = slos(CHECKOUT)
    for origin in ("auto", "ledger"):
        report = slo_report.build(simulated(one), one, AT, slo_report.ORIGINS[origin], ledger=ledger)
        assert (report.source, "ledger-behind" in codes(report)) == ("ledger", False)
    assert "ledger-behind" in codes(slo_report.build(simulated(both), both, AT, "ledger", ledger=ledger))


def test_maintenance_is_left_out_and_told(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, more=MAINTENANCE)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON, bad=1)
    from jobs.budgets import maintenance

    maintenance.apply(ledger, slo_set, NOON)
    data = from_ledger.collect(ledger, None, slo_set, AT)
    (key,) = data.period
    assert data.excluded[key] == 3600
    assert data.period[key] == (8628.0, 862_800.0)


def test_the_history_for_plots_adds_up_to_the_window(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON, bad=1)
    data = from_ledger.collect(ledger, None, slo_set, AT, history=True)
    (key,) = data.period
    parts = data.buckets[key].values()
    assert (sum(bad for bad, _ in parts), sum(total for _, total in parts)) == data.period[key]


def test_spent_between_has_the_buckets_that_are_touched(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - DAY, NOON, bad=1)
    key = (slo_set.slos[0].id, "shop", "checkout")
    begun, ended = (datetime.fromtimestamp(NOON + more, UTC) for more in (-899, -301))

    def spent(start: datetime, end: datetime) -> dict[SeriesKey, tuple[float, float]]:
        found = attainment.read(ledger, slo_set, [attainment.Incident(start, end)])
        return {item.key: (item.bad, item.total) for item in found}

    assert spent(begun, ended) == {key: (2.0, 200.0)}
    assert spent(begun, begun) == {key: (1.0, 100.0)}


# --- auto


class Broken:
    """A ledger that was lost after it was opened."""

    def __getattr__(self, name: str) -> Any:
        raise BackendUnavailable("the ledger x: server closed the connection", backend="ledger", url="x")


def simulated(slo_set: SloSet) -> Simulated:
    slo = slo_set.slos[0]
    flow = Flow(slo.id, slo.namespace, slo.service, NOON - 100 * DAY, NOON + DAY, 20, 0.01)
    return Simulated(slo_set, [flow], alert_rules=False)


def test_auto_takes_a_ledger_that_is_up_to_date(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON, total=7)
    report = slo_report.build(simulated(slo_set), slo_set, AT, ledger=ledger)
    assert report.source == "ledger"
    assert report.slos[0].total == 7 * 8640


def test_auto_takes_what_rules_recorded_where_the_ledger_is_still_catching_up(ledger: DatabaseLedger) -> None:
    """Else a report would call a spent budget partial, although all of its window is recorded."""
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 9 * DAY, NOON, total=7)
    report = slo_report.build(simulated(slo_set), slo_set, AT, ledger=ledger)
    assert (report.source, report.slos[0].source, report.slos[0].status) == ("prometheus", "rules", "ok")
    assert report.slos[0].total == pytest.approx(20 * 1440 * 30)
    assert "ledger-young" in codes(report)
    asked = slo_report.build(simulated(slo_set), slo_set, AT, "ledger", ledger=ledger)
    assert (asked.source, "ledger-young" in codes(asked)) == ("ledger", False)
    unreachable = slo_report.build(dead(slo_set), slo_set, AT, ledger=ledger)
    assert unreachable.source == "ledger", "what the ledger has is better than nothing"


def test_auto_takes_what_rules_recorded_where_the_ledger_has_a_hole(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON - 9 * DAY, total=7)
    enter(ledger, slo_set, NOON - 8 * DAY, NOON, total=7)
    report = slo_report.build(simulated(slo_set), slo_set, AT, ledger=ledger)
    assert (report.source, report.slos[0].quality.gaps) == ("prometheus", 0)
    (said,) = (finding.message for finding in report.findings if finding.code == "ledger-young")
    assert f"({slo_set.slos[0].id}: 29d of 30d, and 30d), for 1 of 1 SLOs" in said
    asked = slo_report.build(simulated(slo_set), slo_set, AT, "ledger", ledger=ledger)
    (said,) = (finding.message for finding in asked.findings if finding.code == "ledger-gap")
    assert "lacks up to 1d" in said and "--source rules" in said
    # Rules that began after the hole have less than the ledger, holes and all.
    young = simulated(slo_set)
    young.recorded = (NOON - 5 * DAY, NOON + DAY)
    report = slo_report.build(young, slo_set, AT, ledger=ledger)
    assert (report.source, codes(report) & {"ledger-young", "ledger-gap"}) == ("ledger", {"ledger-gap"})


def test_auto_takes_prometheus_where_the_ledger_is_late_or_lost(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON - from_ledger.BEHIND - GRID, total=7)
    late = slo_report.build(simulated(slo_set), slo_set, AT, ledger=ledger)
    lost = slo_report.build(simulated(slo_set), slo_set, AT, ledger=Broken())
    assert (late.source, lost.source) == ("prometheus", "prometheus")
    assert late.slos[0].total == lost.slos[0].total == pytest.approx(20 * 1440 * 30)
    assert "ledger-behind" in codes(late)
    assert "ledger-not-read" in codes(lost)


@pytest.mark.parametrize(("seconds", "source"), [(0, "ledger"), (1, "prometheus")])
def test_a_ledger_is_late_after_four_buckets(ledger: DatabaseLedger, seconds: int, source: str) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON - 4 * GRID)
    at = datetime.fromtimestamp(NOON + seconds, UTC)
    report = slo_report.build(simulated(slo_set), slo_set, at, ledger=ledger)
    assert report.source == source
    behind = [finding.message for finding in report.findings if finding.code == "ledger-behind"]
    assert behind == ["the ledger ends 20m ago: budgets are Prometheus's; does the job slis run?"] * seconds


@pytest.mark.parametrize("late", [3600, 3900])
def test_an_hour_after_the_last_bucket_is_read_from_counters_and_more_is_said_to_be_missing(
    ledger: DatabaseLedger, late: int
) -> None:
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON - late)
    report = slo_report.build(simulated(slo_set), slo_set, AT, "ledger", ledger=ledger)
    behind = [finding.message for finding in report.findings if finding.code == "ledger-behind"]
    read = 20 * 60 if late == 3600 else 0
    assert report.slos[0].total == pytest.approx(864_000 + read)
    assert behind == ["the ledger of 1 SLOs ends 1h5m ago; what came after is missing"] * (not read)
    assert report.slos[0].doubts == (() if read else ("ledger-behind",)), "it opens no gate"
    unreachable = slo_report.build(dead(slo_set), slo_set, AT, "ledger", ledger=ledger)
    assert unreachable.slos[0].doubts == report.slos[0].doubts


@pytest.mark.parametrize(("known", "status"), [(30 * DAY, "ok"), (2 * DAY, "ok"), (DAY // 2, "partial")])
def test_a_window_that_is_mostly_a_gap_is_recorded_in_part(
    ledger: DatabaseLedger, known: int, status: str
) -> None:
    """A bucket from long ago does not make the days since then known."""
    slo_set = slos(CHECKOUT)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON - 30 * DAY + GRID, total=70)
    enter(ledger, slo_set, NOON - known, NOON, total=70)
    item = slo_report.build(dead(slo_set), slo_set, AT, "ledger", ledger=ledger).slos[0]
    assert item.status == status
    if known < 30 * DAY:
        assert item.quality.recorded == pytest.approx(known + GRID, abs=GRID)
    assert (item.remaining is None) == (status == "partial")


def test_what_is_no_number_since_the_last_bucket_is_no_data_and_poisons_nothing(
    ledger: DatabaseLedger,
) -> None:
    slo_set = slos(JOBS)
    slo = slo_set.slos[0]
    events = [
        Bucket("", "billing", at, 100 * MICRO, MICRO) for at in range(NOON - DAY + GRID, NOON + 1, GRID)
    ]
    ledger.record(slo_set.name, [Batch(slo.id, slo.name, (NOON - DAY, NOON), events)])
    source = simulated(slo_set)
    source.override = lambda query: (
        [{"metric": {"slo_id": slo.id}, "value": [NOON + 100, "NaN"]}] if "l[1m40s]" in query else None
    )
    at = datetime.fromtimestamp(NOON + 100, UTC)
    report = slo_report.build(source, slo_set, at, "ledger", ledger=ledger)
    assert any("l[1m40s]" in query for query in source.asked)
    (item,) = report.slos
    assert (item.total, item.bad) == (28_800.0, 288.0)
    assert "implausible-events" not in codes(report)


def test_auto_says_nothing_of_a_ledger_that_was_never_written(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    report = slo_report.build(simulated(slo_set), slo_set, AT, ledger=ledger)
    assert (report.source, codes(report) & {"ledger-behind", "ledger-not-read"}) == ("prometheus", set())


def test_a_lost_ledger_that_was_asked_for_is_an_error() -> None:
    slo_set = slos(CHECKOUT)
    with pytest.raises(BackendUnavailable, match="server closed"):
        slo_report.build(simulated(slo_set), slo_set, AT, "ledger", ledger=Broken())


def test_each_definition_has_a_lag_of_its_own(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, EVERY)
    enter(ledger, slo_set, NOON - DAY, NOON)
    first, second = (slo.id for slo in slo_set.slos)
    assert from_ledger.lags(ledger, slo_set, AT) == {first: 0}, "the other has no bucket"
    other = replace(slo_set, slos=(slo_set.slos[1],))
    enter(ledger, other, NOON - DAY, NOON - 900)
    assert from_ledger.lags(ledger, slo_set, AT) == {first: 0, second: 900}


def test_each_slo_is_read_from_where_it_is_known(ledger: DatabaseLedger) -> None:
    """A new SLO that the job has not recorded yet, and one of which the ledger lags, take nothing from the others."""
    slo_set = slos(CHECKOUT, LATENCY, JOBS)
    _, late, new = slo_set.slos
    enter(ledger, slo_set, NOON - 31 * DAY, NOON, total=7)
    enter(ledger, replace(slo_set, slos=(late,)), NOON - 31 * DAY, NOON - 3600, total=1)
    flows = [
        Flow(slo.id, slo.namespace, slo.service, NOON - 100 * DAY, NOON + DAY, 20) for slo in slo_set.slos
    ]
    source = Simulated(slo_set, flows, loaded={new.id: NOON - 600})
    report = slo_report.build(source, slo_set, AT, ledger=ledger)
    found = {item.slo: (item.source, round(item.total)) for item in report.slos}
    assert found == {
        "availability": ("ledger", 7 * 8640),
        "latency": ("rules", 864_000),
        "late": ("raw", 864_000),
    }
    assert report.source == "prometheus", "not all of it is the ledger's"
    behind, mixed = (
        next(item.message for item in report.findings if item.code == code)
        for code in ("ledger-behind", "mixed-sources")
    )
    assert behind.startswith("the ledger of 1 of 3 SLOs ends 1h ago")
    assert "1 from the ledger, 1 from what rules recorded, 1 from raw counters" in mixed


def test_what_the_ledger_has_is_there_though_the_rest_cannot_be_asked(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, JOBS)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON, total=7)
    report = slo_report.build(dead(slo_set), slo_set, AT, ledger=ledger)
    items = {item.slo: item for item in report.slos}
    assert (items["availability"].source, items["availability"].total) == ("ledger", 7 * 8640)
    assert items["late"].doubts == ("prometheus-not-read",)
    assert "no-data" not in codes(report), "nobody knows that it had no requests"
    assert any(slo_set.slos[1].id in item.message for item in report.findings)


def test_burn_rates_of_the_ledger_do_not_wait_for_rules_that_are_new(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, JOBS)
    enter(ledger, slo_set, NOON - 31 * DAY, NOON, total=100, bad=5)
    other = slo_set.slos[1]
    flows = [Flow(slo_set.slos[0].id, "shop", "checkout", NOON - DAY, NOON + DAY, 20, 1)]
    flows.append(Flow(other.id, "", "billing", NOON - DAY, NOON + DAY, 20))
    source = Simulated(slo_set, flows, failing={slo_set.slos[0].id: 0.0})
    report = slo_report.build(source, slo_set, AT, ledger=ledger)
    item = next(item for item in report.slos if item.slo == "availability")
    assert item.burn_rates == dict.fromkeys(("5m", "30m", "1h", "6h", "3d"), pytest.approx(50))
