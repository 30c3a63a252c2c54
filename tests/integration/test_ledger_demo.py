"""The ledger and the rules say the same of the demo's shop, at the same instant, and both say what truly happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.budgets import from_ledger
from jobs.recording import record as recording
from sloctl import naming, promql
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.pipeline import Demo
from sloctl.demo.shop import shop
from sloctl.ledger.protocol import MICRO
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import GRID, CounterSli, RollingWindow, SeriesKey, SloSet
from sloctl.settings.secret import Secret
from sloctl.settings.variables import environment
from tests.support.demo_truth import BOUND, what
from tests.support.ledger_rows import rows

pytestmark = pytest.mark.xdist_group("demo")

LENGTH = 75 * 3600
"""Seconds before the end that are recorded: with two crashes, a leak, a fresh outage, and the scrape gap."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with pipeline.running(shop(), folder, datetime.now(UTC), environment(), live=False) as running:
        yield running


@pytest.fixture(scope="module")
def source(demo: Demo) -> Iterator[Prometheus]:
    with pipeline.source(demo.server) as metrics:
        yield metrics


def last(demo: Demo) -> int:
    """The end of the newest bucket after which something was scraped."""
    return demo.history.end - GRID


def reaching(demo: Demo, at: int) -> SloSet:
    """The shop's SLOs, of which is read what came since the same instant, whenever that is."""
    back = recording.newest(datetime.fromtimestamp(at, UTC), 60) - (last(demo) - LENGTH)
    slos = tuple(
        replace(slo, window=RollingWindow(seconds=LENGTH - 3600, text="74h")) for slo in demo.slo_set.slos
    )
    return replace(demo.slo_set, slos=slos, ledger=replace(demo.slo_set.ledger, catch_up=back))


def record(demo: Demo, source: Prometheus, path: Path, *times: int) -> str:
    url = f"sqlite:///{path}"
    with open_ledger(Secret(url)) as ledger:
        for at in times:
            recording.run(source, reaching(demo, at), ledger, datetime.fromtimestamp(at, UTC))
    return url


@pytest.fixture(scope="module")
def once(demo: Demo, source: Prometheus, tmp_path_factory: pytest.TempPathFactory) -> str:
    return record(demo, source, tmp_path_factory.mktemp("once") / "ledger.db", demo.history.end)


@pytest.fixture
def ledger(once: str) -> Iterator[DatabaseLedger]:
    with open_ledger(Secret(once)) as opened:
        yield opened


def of_rules(demo: Demo, source: Prometheus, metric: str) -> dict[SeriesKey, float]:
    """Sums of what the rules recorded in the same buckets."""
    at = datetime.fromtimestamp(last(demo), UTC)
    found = source.query(promql.of_set(metric, demo.slo_set.name, LENGTH), at)
    return {
        (item["metric"]["slo_id"], item["metric"].get("namespace", ""), item["metric"]["service"]): float(
            item["value"][1]
        )
        for item in found
    }


def test_events_are_those_of_the_rules_and_the_true_ones(
    demo: Demo, source: Prometheus, ledger: DatabaseLedger
) -> None:
    end = last(demo)
    (sums,) = ledger.sums("shop", [(end - LENGTH, end)])
    totals, bads = (of_rules(demo, source, metric) for metric in (naming.TOTAL_GRID, naming.BAD_GRID))
    slos = {slo.id: slo for slo in demo.slo_set.slos}
    found = {key: item for key, item in sums.items() if key[2] and item.total}
    assert len(found) >= 23
    assert found.keys() == {key for key, total in totals.items() if total}
    exact = 0
    for key, item in found.items():
        slo = slos[key[0]]
        _, side, kind = what(slo)
        service = what(slo)[0] if not slo.wildcard else key[2]
        bad, total = item.bad / MICRO, item.total / MICRO
        assert total == pytest.approx(totals[key]), key
        assert bad == pytest.approx(bads[key], abs=1e-6), key
        if demo.history.truth.known(service, side, end - LENGTH, end):
            true = demo.history.truth.events
            assert bad == true(service, side, kind, end - LENGTH, end), key
            assert total == true(service, side, "total", end - LENGTH, end), key
            assert item.gap == 0, key
            exact += 1
        difference = bad / total - bads[key] / totals[key]
        assert abs(difference) / float(slo.budget) < BOUND
    assert len(found) - 3 <= exact < len(found), "the scenario has a scrape gap"


def test_gaps_are_those_of_the_rules(demo: Demo, source: Prometheus, ledger: DatabaseLedger) -> None:
    end = last(demo)
    (sums,) = ledger.sums("shop", [(end - LENGTH, end)])
    recorded = {key: gap for key, gap in of_rules(demo, source, naming.GAP_GRID).items() if gap >= 1}
    found = {key: item.gap for key, item in sums.items() if item.gap}
    assert found == {key: pytest.approx(gap, abs=6) for key, gap in recorded.items()}
    assert any(1200 <= gap <= 1800 for gap in found.values())


def test_causes_add_up_to_the_bad_events(demo: Demo, ledger: DatabaseLedger) -> None:
    end = last(demo)
    (sums,) = ledger.sums("shop", [(end - LENGTH, end)])
    causes = ledger.causes("shop", end - LENGTH, end)
    told = {slo.id for slo in demo.slo_set.slos if isinstance(slo.sli, CounterSli) and slo.sli.bad}
    bad = {key: item.bad for key, item in sums.items() if item.bad and key[0] in told}
    assert {key: sum(of.values()) for key, of in causes.items()} == bad
    assert len(bad) > 15


def test_in_pieces_or_in_one_go_is_the_same(
    demo: Demo, source: Prometheus, once: str, tmp_path: Path
) -> None:
    end = demo.history.end
    times = (end - LENGTH + 7201, end - 2 * 86400 - 777, end - 30_000, end - 29_900, end - 640, end)
    assert rows(record(demo, source, tmp_path / "pieces.db", *times)) == rows(once)


@pytest.mark.parametrize("late", [0, 130, 290])
def test_between_two_instants_what_is_open_is_added(
    demo: Demo, source: Prometheus, ledger: DatabaseLedger, late: int
) -> None:
    at = last(demo) + late
    slo_set = reaching(demo, demo.history.end)
    data = from_ledger.collect(ledger, source, slo_set, datetime.fromtimestamp(at, UTC))
    start = last(demo) - (LENGTH - 3600)
    compared = 0
    for key, (bad, total) in data.period.items():
        slo = next(slo for slo in slo_set.slos if slo.id == key[0])
        service, side, kind = what(slo)
        service = service if not slo.wildcard else key[2]
        if demo.history.truth.known(service, side, start, at):
            true = demo.history.truth.events
            wanted = (true(service, side, kind, start, at), true(service, side, "total", start, at))
            assert (bad, total) == pytest.approx(wanted), key
            compared += 1
    assert compared > 15
