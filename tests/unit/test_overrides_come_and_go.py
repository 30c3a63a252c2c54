"""A service that ``*`` counts, then an SLO of its own, then ``*`` again: nothing is lost, and nothing counts twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.budgets import attainment, from_ledger, period_events
from jobs.budgets.lineage import Books, Lineage
from jobs.recording import record
from jobs.reports import slo_report
from sloctl.ledger.protocol import MICRO, Batch, Bucket, Cause, Keep
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import GRID, Slo, SloSet
from sloctl.model.calendar import CalendarPeriod, periods_to
from sloctl.settings.secret import Secret
from tests.support.scripted import Answer, Scripted, scrape_times
from tests.support.shop_slos import AT, CHECKOUT, DAY, EVERY, NOON, NOW, flow, slos
from tests.support.simulated import Simulated

WILD = "shop:shop/*/availability"
NAMED = "shop:shop/checkout/availability"
ALONE, BOTH = slos(EVERY), slos(EVERY, CHECKOUT)
WHY = (("response_code", "503"),)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DatabaseLedger]:
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as opened:
        yield opened


def enter(ledger: DatabaseLedger, slo_id: str, start: int, end: int, *services: str, bad: int = 1) -> None:
    """A hundred events of some services in each bucket."""
    ends = range(start + GRID, end + 1, GRID)
    buckets = [Bucket("shop", name, at, 100 * MICRO, bad * MICRO) for at in ends for name in services]
    causes = [Cause("shop", name, at, WHY, bad * MICRO) for at in ends for name in services]
    ledger.record("shop", [Batch(slo_id, "availability", (start, end), buckets, causes)])


def story(ledger: DatabaseLedger) -> None:
    """Two months of ``*``; on 1 March an override, which is caught up for ten days; gone again on 20 March."""
    came, went, end = stamp(3, 1), stamp(3, 20), stamp(4, 1)
    enter(ledger, WILD, stamp(1, 1), came, "cart", "checkout")
    enter(ledger, NAMED, came - 10 * DAY, went, "checkout", bad=2)
    enter(ledger, WILD, came, went, "cart")
    enter(ledger, WILD, went, end, "cart", "checkout")


def stamp(month: int, day: int) -> int:
    return int(datetime(2026, month, day, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("slo_set", [ALONE, BOTH], ids=["gone", "there"])
def test_a_service_has_one_row_a_month_with_all_of_its_events(
    ledger: DatabaseLedger, slo_set: SloSet
) -> None:
    story(ledger)
    at = datetime(2026, 4, 1, tzinfo=UTC)
    months = [item for item in periods_to("month", "UTC", at, 4) if item.label.startswith("2026-0")][:3]
    found = [item for item in attainment.read(ledger, slo_set, months) if item.key[2] == "checkout"]
    assert [(item.time.label, item.total) for item in found] == [
        (f"2026-0{month}", days * 288 * 100) for month, days in ((1, 31), (2, 28), (3, 31))
    ]
    assert [item.bad for item in found] == [31 * 288, (18 + 2 * 10) * 288, (2 * 19 + 12) * 288]
    assert {item.key[0] for item in found} == {NAMED if slo_set is BOTH else WILD}
    assert {item.gaps for item in found} == {0}
    cart = [item.total for item in attainment.read(ledger, slo_set, months) if item.key[2] == "cart"]
    assert cart == [days * 288 * 100 for days in (31, 28, 31)]


@pytest.mark.parametrize("slo_set", [ALONE, BOTH], ids=["gone", "there"])
def test_causes_and_routines_have_them_too(ledger: DatabaseLedger, slo_set: SloSet) -> None:
    story(ledger)
    march = CalendarPeriod(
        "month", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), "UTC", "2026-03"
    )
    rows = [row for row in attainment.causes(ledger, slo_set, march) if row["service"] == "checkout"]
    assert [(row["cause"], row["bad"]) for row in rows] == [(dict(WHY), (2 * 19 + 12) * 288)]
    key = (NAMED if slo_set is BOTH else WILD, "shop", "checkout")
    events = period_events.read(Simulated(slo_set), slo_set, march, ledger, [])
    assert events.counts[key] == ((2 * 19 + 12) * 288, 31 * 288 * 100)
    assert len([each for each in events.counts if each[2] == "checkout"]) == 1
    causes = period_events.causes(Simulated(slo_set), slo_set, march, ledger, events.booked)
    assert sum(causes[key].values()) == (2 * 19 + 12) * 288


@pytest.mark.parametrize("slo_set", [ALONE, BOTH], ids=["gone", "there"])
def test_a_report_says_that_another_definition_counted(ledger: DatabaseLedger, slo_set: SloSet) -> None:
    story(ledger)
    at = datetime(2026, 4, 1, tzinfo=UTC)
    data = from_ledger.collect(ledger, None, slo_set, at, history=True)
    key = (NAMED if slo_set is BOTH else WILD, "shop", "checkout")
    # Whoever ended on 20 March has no newer bucket of its own: its window is that of those it has.
    assert data.period[key][1] == 30 * 288 * 100
    assert sum(total for _, total in data.buckets[key].values()) == data.period[key][1]
    changed = [item for item in data.findings if item.code == "definition-changed"]
    assert [item.scope["service"] for item in changed] == ["checkout"]
    assert [each for each in data.period if each[2] == "checkout"] == [key]


def test_sums_stay_whole_where_buckets_are_gone(ledger: DatabaseLedger) -> None:
    story(ledger)
    ledger.prune("shop", Keep(2 * DAY, 400 * DAY, 800 * DAY), stamp(4, 1))
    (sums,) = Books(ledger, BOTH).sums([(stamp(2, 1), stamp(4, 1))])
    assert sums[NAMED, "shop", "checkout"].total == 59 * 288 * 100 * MICRO


def test_without_overrides_the_ledger_is_asked_once(ledger: DatabaseLedger) -> None:
    enter(ledger, WILD, stamp(1, 1), stamp(1, 3), "cart", "checkout")
    books = Books(ledger, ALONE)
    (sums,) = books.sums([(stamp(1, 1), stamp(1, 3))])
    assert (set(sums), books.paired(), books.moved((stamp(1, 1), stamp(1, 3)))) == (books.keys, set(), set())


@pytest.mark.parametrize(
    ("slo_set", "key", "wanted"),
    [
        (BOTH, (WILD, "shop", "checkout"), (NAMED, "shop", "checkout")),
        (BOTH, (WILD, "shop", "cart"), (WILD, "shop", "cart")),
        (BOTH, (NAMED, "shop", "checkout"), (NAMED, "shop", "checkout")),
        (ALONE, (NAMED, "shop", "checkout"), (WILD, "shop", "checkout")),
        (slos(CHECKOUT), (WILD, "shop", "checkout"), (NAMED, "shop", "checkout")),
        (slos(CHECKOUT), (WILD, "shop", "cart"), None),
        (ALONE, ("shop:shop/checkout/latency", "shop", "checkout"), None),
        (ALONE, ("other:shop/checkout/availability", "shop", "checkout"), None),
        (ALONE, ("shop:edge/checkout/availability", "edge", "checkout"), None),
    ],
)
def test_which_definition_counts_now(
    slo_set: SloSet, key: tuple[str, str, str], wanted: tuple[str, str, str] | None
) -> None:
    assert Lineage(slo_set).current(key) == wanted


def test_what_rules_recorded_for_an_override_that_is_gone_is_there() -> None:
    """Recorded series keep the id of the definition that is gone."""
    own = flow(BOTH, 1, "checkout", 100, 10, end=NOW - DAY)
    source = Simulated(BOTH, [own, flow(BOTH, 0, "checkout", 100, start=NOW - DAY), flow(BOTH, 0, "cart", 1)])
    source.slo_set = ALONE
    report = slo_report.build(source, ALONE, AT, "rules")
    items = {item.service: item for item in report.slos}
    assert set(items) == {"cart", "checkout"}
    assert (items["checkout"].total, items["checkout"].bad) == pytest.approx((4_320_000, 29 * 14_400))
    assert [item.code for item in report.findings].count("definition-changed") == 1


def events(slo: Slo, kind: str, _end: int) -> Answer:
    """Of a namespace all services but those that have an SLO of their own."""
    names = [name for name in ("cart", "checkout") if name not in slo.overridden] if slo.wildcard else [""]
    value = {"total": 100.0, "cause": 1.0}.get(kind)
    more = {"response_code": "503"} if kind == "cause" else {}
    where = [{"namespace": slo.namespace, "service": name} if name else {} for name in names]
    return [] if value is None else [(labels | more, value) for labels in where]


def test_recording_through_changes_of_the_file_loses_nothing_and_doubts_nothing(
    ledger: DatabaseLedger,
) -> None:
    """A run every five minutes; looking back takes what the other definition counted for no disagreement."""
    files = [ALONE] * 20 + [BOTH] * 20 + [ALONE] * 20
    codes: set[str] = set()
    for step, slo_set in enumerate(files):
        source = Scripted(slo_set, scrape_times(NOON - 3600, NOON + DAY, 60), events)
        at = datetime.fromtimestamp(NOON + step * GRID + 60, UTC)
        codes |= {item.code for item in record.run(source, slo_set, ledger, at).findings}
    assert (codes, ledger.repairs("shop")) == (set(), [])
    end = NOON + (len(files) - 1) * GRID
    for slo_set in (ALONE, BOTH):
        (sums,) = Books(ledger, slo_set).sums([(NOON - 1800, end)])
        found = {key[2]: (item.total // MICRO, item.bad // MICRO) for key, item in sums.items()}
        number = (end - NOON + 1800) // GRID
        assert found == {"cart": (number * 100, number), "checkout": (number * 100, number)}
    young = Simulated(ALONE, recorded=(NOON - 1800, NOON + 1e9))  # else the rules would know of more
    report = slo_report.build(
        young, ALONE, datetime.fromtimestamp(end, UTC) + timedelta(seconds=60), ledger=ledger
    )
    assert {item.service: item.source for item in report.slos} == {"cart": "ledger", "checkout": "ledger"}
    assert "ledger-behind" not in {item.code for item in report.findings}
