"""A balancer over two Prometheus, one of which missed an outage: what is read is the truth of one, or marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path

import pytest

from jobs.budgets.choice import BudgetOrigin
from jobs.recording import record
from jobs.reports import slo_report
from sloctl.backends.protocols import MetricSource, Series
from sloctl.ledger.protocol import MICRO
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import GRID, Slo
from sloctl.settings.secret import Secret
from tests.support.scripted import Answer, Scripted, scrape_times, steady
from tests.support.shop_slos import AT, CHECKOUT, DAY, EVERY, JOBS, LATENCY, NOON, NOW, flow, only, slos
from tests.support.simulated import Simulated


class Balancer:
    """Each query meets the next of some servers; those of one call may meet different ones."""

    warnings: Sequence[str] = ()

    def __init__(self, *servers: MetricSource, first: int = 0) -> None:
        self._turn = islice(cycle(servers), first, None)
        self.queries = 0

    def _next(self) -> MetricSource:
        self.queries += 1
        return next(self._turn)

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        return self._next().query(expr, at)

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self.query(expr, at) for name, expr in queries.items()}

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        return self._next().query_range(expr, start, end, step)


class Sticky(Balancer):
    """All queries of one range meet one server, those of the next range another one."""

    _range: tuple[datetime, datetime] | None = None

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        if self._range != (start, end):
            self._range, self._server = (start, end), self._next()
        return self._server.query_range(expr, start, end, step)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DatabaseLedger]:
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as opened:
        yield opened


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("origin", ["rules", "raw"])
@pytest.mark.parametrize("line", [CHECKOUT, LATENCY, EVERY])
def test_total_and_bad_events_are_of_one_server(line: str, origin: BudgetOrigin, first: int) -> None:
    """An hour's outage: with the total of one and the bad events of the other it would be an hour of good requests."""
    slo_set = slos(line.replace("objective", "window: 7d, objective"))
    steady_ = flow(slo_set, 0, "checkout", 100)
    outage = flow(slo_set, 0, "checkout", 400, 400, start=NOW - 7200, end=NOW - 3600)
    saw, missed = Simulated(slo_set, [steady_, outage]), Simulated(slo_set, [steady_])
    item = only(slo_report.build(Balancer(saw, missed, first=first), slo_set, AT, origin))
    quiet = 100 * 1440 * 7
    assert (round(item.total), round(item.bad)) in {(quiet + 24_000, 24_000), (quiet, 0)}
    assert item.burn_rates["6h"] == pytest.approx(0) or item.burn_rates["6h"] == pytest.approx(
        24_000 / (36_000 + 24_000) / float(slo_set.slos[0].budget)
    )


def scripted(outage: bool, line: str) -> Scripted:
    """A server on which half of the requests failed for half an hour, or that saw only the others."""
    slo_set = slos(line)

    def events(slo: Slo, kind: str, end: int) -> Answer:
        down = outage and NOON < end <= NOON + 1800
        return steady(*((500, 400) if down else (100, 0)))(slo, kind, end)

    return Scripted(slo_set, scrape_times(NOON - 8 * DAY, NOON + DAY, 60), events)


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("line", [CHECKOUT, LATENCY, EVERY, JOBS])
def test_the_ledger_has_the_fuller_truth_and_says_that_there_were_two(
    ledger: DatabaseLedger, line: str, first: int
) -> None:
    slo_set = slos(line.replace("objective", "window: 7d, objective"))
    saw, missed = scripted(True, line), scripted(False, line)
    saw.slo_set = missed.slo_set = slo_set
    # Half a day before, both are of one mind.
    record.run(saw, slo_set, ledger, datetime.fromtimestamp(NOON + 60, UTC))
    seen = set()
    for step in range(1, 24):
        # The newest bucket is read from one server, and an hour later looked at again at the other.
        source = Sticky(saw, missed, first=first + step)
        at = datetime.fromtimestamp(NOON + step * GRID + 60, UTC)
        done = record.run(source, slo_set, ledger, at)
        seen |= {item.code for item in done.findings}
    (found,) = ledger.sums("shop", [(NOON, NOON + 1800)])
    totals = {(item.total // MICRO, item.bad // MICRO) for item in found.values()}
    assert all(total - bad == 600 for total, bad in totals), "no outage became good requests"
    assert totals == {(3000, 2400)}, "each bucket was read from both, and the fuller one is kept"
    assert {"late-samples", "replicas-disagree"} & seen


def test_budgets_that_another_truth_would_change_are_in_doubt(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT.replace("objective", "window: 7d, objective"))
    saw, missed = scripted(True, CHECKOUT), scripted(False, CHECKOUT)
    saw.slo_set = missed.slo_set = slo_set
    record.run(saw, slo_set, ledger, datetime.fromtimestamp(NOON + 1800 + 60, UTC))
    at = datetime.fromtimestamp(NOON + 1800, UTC)
    dead = Simulated(slo_set, [])
    before = only(slo_report.build(dead, slo_set, at, "ledger", ledger=ledger))
    assert (before.doubts, round(before.bad)) == ((), 2400)
    for step in range(1, 3):
        record.run(missed, slo_set, ledger, at + timedelta(seconds=60 + step * GRID))
    report = slo_report.build(dead, slo_set, at, "ledger", ledger=ledger)
    assert (only(report).doubts, round(only(report).bad)) == (("replicas-disagree",), 2400)
    (finding,) = [item for item in report.findings if item.code == "replicas-disagree"]
    assert "1 recorded bucket had fewer" in finding.message


def test_a_request_more_or_less_puts_no_budget_in_doubt(ledger: DatabaseLedger) -> None:
    """Two replicas scrape at different seconds: a gate must not close for a handful of requests in a week."""
    slo_set = slos(CHECKOUT.replace("objective", "window: 7d, objective"))
    source = scripted(False, CHECKOUT)
    source.slo_set = slo_set
    record.run(source, slo_set, ledger, datetime.fromtimestamp(NOON + 60, UTC))
    source.events = steady(99, 0)
    done = record.run(source, slo_set, ledger, datetime.fromtimestamp(NOON + GRID + 60, UTC))
    assert done.reread.kept
    report = slo_report.build(Simulated(slo_set, []), slo_set, AT, "ledger", ledger=ledger)
    assert only(report).doubts == ()
