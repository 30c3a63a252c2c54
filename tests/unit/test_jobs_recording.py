"""Recording from a scripted Prometheus into a real ledger: what is entered, what is refused, what stays open."""

from __future__ import annotations

import re
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.recording import record, reread
from sloctl.backends.answers import PARTIAL, TooMuchTogether, one_question, weigh
from sloctl.backends.protocols import Series
from sloctl.errors import BackendTimeout, BackendUnavailable, BadAnswer, PartialAnswer
from sloctl.ledger.protocol import MICRO, Interval, Keep, MutedInterval, Pruned
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import GRID, Slo, SloSet
from sloctl.settings.secret import Secret
from tests.support.ledger_rows import rows
from tests.support.scripted import Answer, Scripted, between, scrape_times, steady, unreachable
from tests.support.shop_slos import CHECKOUT, DAY, EVERY, JOBS, LATENCY, MAINTENANCE, NOON, slos


def time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger's file with its tables, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    open_ledger(Secret(f"sqlite:///{path}")).close()
    return path


@pytest.fixture
def url(empty: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(empty, tmp_path / 'ledger.db')}"


@pytest.fixture
def ledger(url: str) -> Iterator[DatabaseLedger]:
    with open_ledger(Secret(url)) as opened:
        yield opened


def missing(ledger: DatabaseLedger, slo_set: SloSet, start: int, end: int) -> list[Interval]:
    """What is open of the first definition."""
    first = slo_set.slos[0].id
    return list(ledger.missing(slo_set.name, [first], start, end)[first])


def gaps(ledger: DatabaseLedger, slo_set: SloSet, start: int, end: int) -> dict[int, int]:
    """The seconds that nobody observed, by the end of each bucket that has some."""
    ends = list(range(start + GRID, end + 1, GRID))
    sums = ledger.sums(slo_set.name, [(at - GRID, at) for at in ends])
    found = {
        at: sum(item.gap for key, item in of.items() if not key[2]) for at, of in zip(ends, sums, strict=True)
    }
    return {at: gap for at, gap in found.items() if gap}


def test_samples_at_times_that_were_not_asked_for_are_not_recorded(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)

    class Shifted(Scripted):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            found = super().query_range(expr, start, end, step)
            if "istio_requests_total" not in expr:
                return found
            return [{**item, "values": [(time + 7, text) for time, text in item["values"]]} for item in found]

    source = Shifted(slo_set, scrape_times(NOON - 7200, NOON + 600, 30))
    with pytest.raises(BadAnswer, match="at times that were not asked for"):
        record.run(source, slo_set, ledger, time(NOON + 600))
    assert missing(ledger, slo_set, NOON - 3600, NOON) == [(NOON - 3600, NOON)]


def codes(done: record.RecordingResult) -> list[str]:
    return [item.code for item in done.findings]


# --- when something is recorded


def test_what_was_missed_is_recorded_once_it_is_old_enough(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + DAY, 30))
    done = record.run(source, slo_set, ledger, time(NOON + 59))
    assert done.end == NOON - GRID
    assert missing(ledger, slo_set, NOON - DAY, NOON) == [(NOON - GRID, NOON)]
    done = record.run(source, slo_set, ledger, time(NOON + 60))
    assert (done.buckets, done.intervals) == (1, [(NOON - GRID, NOON)])
    assert record.run(source, slo_set, ledger, time(NOON + 61)).buckets == 0
    (sums,) = ledger.sums("shop", [(NOON - 3600, NOON)])
    key = (slo_set.slos[0].id, "shop", "checkout")
    assert (sums[key].total, sums[key].bad) == (1200 * MICRO, 12 * MICRO)
    assert ledger.causes("shop", NOON - 3600, NOON)[key] == {(("response_code", "503"),): 12 * MICRO}


def test_definitions_that_differ_in_window_or_objective_are_asked_for_once(ledger: DatabaseLedger) -> None:
    quarter = CHECKOUT.replace("name: availability", "name: strict").replace("99.9", "99.99, window: 90d")
    slo_set = slos(CHECKOUT, quarter)
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + DAY, 30))
    record.run(source, slo_set, ledger, time(NOON + 60))
    (sums,) = ledger.sums("shop", [(NOON - 3600, NOON)])
    one, other = ((slo.id, "shop", "checkout") for slo in slo_set.slos)
    assert (sums[one].total, sums[one].bad) == (1200 * MICRO, 12 * MICRO)
    assert sums[other] == sums[one]
    causes = ledger.causes("shop", NOON - 3600, NOON)
    assert causes[other] == causes[one] == {(("response_code", "503"),): 12 * MICRO}
    asked = [text for text in source.asked if "istio_requests_total" in text]
    assert asked and not any(slo_set.slos[1].id in text for text in asked)


def test_a_backend_that_lags_behind_is_waited_for(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    times = scrape_times(NOON - DAY, NOON, 30)
    late = Scripted(slo_set, times)
    record.run(late, slo_set, ledger, time(NOON + 120))
    assert missing(ledger, slo_set, NOON - 3600, NOON) == [(NOON - GRID, NOON)], "nothing came after its end"
    late.scrapes = [*times, NOON + 30]
    record.run(late, slo_set, ledger, time(NOON + 180))
    assert missing(ledger, slo_set, NOON - 3600, NOON) == []


def test_a_hole_before_a_downtime_that_goes_on_waits_too(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON - 3600, 30))
    record.run(source, slo_set, ledger, time(NOON))
    assert missing(ledger, slo_set, NOON - 7200, NOON) == [(NOON - 3600 - GRID, NOON)]
    assert codes(record.run(source, slo_set, ledger, time(NOON))) == []


def test_buckets_before_the_history_stay_open(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    begun = NOON - 5000
    source = Scripted(slo_set, scrape_times(begun, NOON + 60, 30))
    record.run(source, slo_set, ledger, time(NOON + 60))
    first = -(-begun // GRID) * GRID
    assert missing(ledger, slo_set, NOON - DAY, NOON) == [(NOON - DAY, first)]
    assert gaps(ledger, slo_set, first, NOON) == {}


def test_without_any_data_nothing_is_recorded(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    done = record.run(Scripted(slo_set, []), slo_set, ledger, time(NOON))
    assert codes(done) == ["nothing-to-record"]
    assert (done.buckets, record.said(done)) == (0, "nothing new")
    assert ledger.newest("shop") == {}


MESH = "mesh: {matchers: {cluster: prod}}\n"


def test_a_mesh_whose_targets_nobody_knows_is_recorded_with_a_finding(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, more=MESH)
    down = [(NOON - 7200, NOON - 3600)]
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + 60, 30, down), matched=[])
    done = record.run(source, slo_set, ledger, time(NOON + 60))
    assert codes(done) == ["gaps-not-known"]
    assert missing(ledger, slo_set, NOON - DAY, NOON) == []
    assert sum(gaps(ledger, slo_set, NOON - DAY, NOON).values()) == 3630, "all of Prometheus was down"


def test_a_mesh_that_is_down_while_others_are_up_is_waited_for(ledger: DatabaseLedger) -> None:
    """One Thanos for two clusters: that the other one is scraped says nothing about this one."""
    slo_set = slos(CHECKOUT, more=MESH)
    everything = scrape_times(NOON - DAY, NOON + DAY, 30)
    down = (NOON - 7200, NOON + 7200)
    source = Scripted(slo_set, everything, matched=scrape_times(NOON - DAY, NOON + DAY, 30, [down]))
    source.matched = between(source.matched or [], 0, NOON)
    record.run(source, slo_set, ledger, time(NOON - 7200 + 60))
    record.run(source, slo_set, ledger, time(NOON))
    assert missing(ledger, slo_set, NOON - DAY + GRID, NOON) == [(NOON - 7200 - GRID, NOON)]
    source.matched = scrape_times(NOON - DAY, NOON + DAY, 30, [down])
    record.run(source, slo_set, ledger, time(NOON + 10_000))
    assert sum(gaps(ledger, slo_set, NOON - DAY, NOON + 9900).values()) == 4 * 3600 + 30


# --- gaps


def true_gap(times: Sequence[float], end: int) -> int:
    """The seconds of a bucket that belong to a downtime with a whole bucket in it."""
    here = between(times, end - GRID, end)
    if not here:
        return GRID
    head = here[0] - (end - GRID) if not between(times, end - 2 * GRID, end - GRID) else 0
    tail = end - here[-1] if not between(times, end, end + GRID) else 0
    return min(GRID, round(head + tail))


def test_a_downtime_is_a_gap_from_the_last_scrape_to_the_next(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Scripted(
        slo_set, scrape_times(NOON - DAY, NOON + 60, 30, [(NOON - 7200 + 40, NOON - 3600 + 100)])
    )
    record.run(source, slo_set, ledger, time(NOON + 60))
    found = gaps(ledger, slo_set, NOON - DAY, NOON)
    assert found[NOON - 7200 + GRID] == GRID - 30
    assert found[NOON - 3600 + GRID] == 120
    assert sum(found.values()) == 3600 + 90


@example(interval=30, offset=0, down=[(6000, 3690)], runs=[(1, 70)])
@example(interval=30, offset=0, down=[(0, 1)], runs=[(0, -241)])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    interval=st.integers(30, 200),
    offset=st.integers(0, 1000),
    down=st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 6000)), max_size=4),
    runs=st.lists(st.tuples(st.integers(0, 7), st.integers(-400, 400)), max_size=4),
)
@pytest.mark.slow
def test_runs_at_any_times_record_what_one_run_does(
    empty: Path,
    tmp_path: Path,
    interval: int,
    offset: int,
    down: list[tuple[int, int]],
    runs: list[tuple[int, int]],
) -> None:
    """Runs come about when a downtime begins or ends, where it may be cut in two, and as a clock that goes back says.

    What is caught up begins before the earliest run, whichever came first.
    """
    # The history is longer than what is caught up, so that a run begins to read where the last one ended.
    slo_set = slos(CHECKOUT, more="ledger: {catch_up: 8h}\n")
    start, end = NOON - 21_600, NOON
    times = scrape_times(
        start - DAY + offset, end + 60, interval, [(start + a, start + a + b) for a, b in down]
    )
    source = Scripted(slo_set, times)
    edges = [edge for a, b in down for edge in (a, a + b)] or [10_000]
    ats = [min(start + edges[place % len(edges)] + more, end) for place, more in runs]
    urls = [f"sqlite:///{shutil.copy(empty, tmp_path / name)}" for name in ("pieces.db", "once.db")]
    earliest = min([start, *ats])
    for url, moments in ((urls[0], [start, *ats, end + 60]), (urls[1], [earliest, end + 60])):
        with open_ledger(Secret(url)) as ledger:
            for at in moments:
                source.scrapes = times[: bisect_right(times, at)]  # a server knows nothing of what is to come
                record.run(source, slo_set, ledger, time(at))
    assert rows(urls[0]) == rows(urls[1])
    with open_ledger(Secret(urls[0])) as ledger:
        last = ledger.newest("shop")[slo_set.slos[0].id]
        assert last == min(end, int(-(-times[-1] // GRID) * GRID - GRID))
        first = record.newest(time(earliest), 60) - 8 * 3600
        assert ledger.oldest("shop")[slo_set.slos[0].id] == first
        wanted = {at: true_gap(times, at) for at in range(first + GRID, last + 1, GRID)}
        assert gaps(ledger, slo_set, first, last) == {at: gap for at, gap in wanted.items() if gap}


# --- what is refused


class Repeating(Scripted):
    """Gives each series twice, and each sample of it: as replicas do behind a proxy that joins their answers badly."""

    wrong: str = ""

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        found = super().query_range(expr, start, end, step)
        again = [
            {**item, "values": [[at, self.wrong or text] for at, text in item["values"]]} for item in found
        ]
        return [*found, *({**item, "values": [*item["values"], *item["values"]]} for item in again)]


def test_samples_that_are_there_twice_count_once(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Repeating(slo_set, scrape_times(NOON - DAY, NOON + 60, 30), steady(100, 1))
    record.run(source, slo_set, ledger, time(NOON + 60))
    (sums,) = ledger.sums("shop", [(NOON - 3600, NOON)])
    assert [(item.total, item.bad) for item in sums.values()] == [(1200 * MICRO, 12 * MICRO)]
    (causes,) = ledger.causes("shop", NOON - 3600, NOON).values()
    assert sum(causes.values()) == 12 * MICRO


def test_samples_that_are_there_twice_with_two_values_are_in_doubt(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Repeating(slo_set, scrape_times(NOON - DAY, NOON + 60, 30), steady(100, 1))
    source.wrong = "7"
    with pytest.raises(PartialAnswer, match="partial answer of shop:shop/checkout/availability"):
        record.run(source, slo_set, ledger, time(NOON + 60))
    assert ledger.newest("shop") == {}


def doubtful(*pieces: Interval, only: str = "") -> Callable[[str, int, int], Sequence[str]]:
    """A store that does not answer for some time: of all queries about it, or of those with ``only`` in them."""

    def warned(expr: str, first: int, last: int) -> Sequence[str]:
        hit = any(first <= end and last > start for start, end in pieces)
        return ["store gateway timed out"] if hit and only in expr and "istio_" in expr else []

    return warned


def test_a_partial_answer_is_not_recorded_and_what_is_whole_is(ledger: DatabaseLedger) -> None:
    """Pieces are judged one by one: neither the newer nor the older ones wait for the one in doubt."""
    slo_set = slos(CHECKOUT)
    midnight = NOON - NOON % DAY
    source = Scripted(slo_set, scrape_times(NOON - 3 * DAY, NOON + 60, 60))
    source.warnings.append("PromQL info: metric might not be a counter")
    source.warned = doubtful((midnight - DAY, midnight))
    with pytest.raises(PartialAnswer) as refused:
        record.run(source, slo_set, ledger, time(NOON + 60))
    assert refused.value.exit_code == 3
    for part in ("partial answer", "store gateway timed out", slo_set.slos[0].id, "2026-02-28T00:00:00Z"):
        assert part in str(refused.value)
    assert missing(ledger, slo_set, NOON - 2 * DAY, NOON) == [(midnight - DAY, midnight)]
    source.warned = doubtful()
    assert record.run(source, slo_set, ledger, time(NOON + 60)).buckets == 288
    assert missing(ledger, slo_set, NOON - 2 * DAY, NOON) == []


def test_a_constant_warning_is_no_leave_to_record(ledger: DatabaseLedger) -> None:
    """The same text beside each answer, from the first one on: each of them is in doubt."""
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - 6 * DAY, NOON + 60, 60))
    source.warned = lambda expr, _first, _last: ["who knows what"] if "istio_" in expr else []
    for _ in range(2):
        source.asked.clear()
        with pytest.raises(PartialAnswer, match="who knows what"):
            record.run(source, slo_set, ledger, time(NOON + 60))
    assert missing(ledger, slo_set, NOON - DAY, NOON) == [(NOON - DAY, NOON)]
    read = sum("istio_requests_total" in text for text in source.asked)
    assert 0 < read <= record.REFUSALS, "a server that is never whole is not asked for a month each time"


def test_a_partial_answer_leaves_what_other_answers_say_alone(ledger: DatabaseLedger) -> None:
    """Of many definitions not all are in one query: those of a whole answer are recorded."""
    many = [
        JOBS.replace("billing", f"billing{number}").replace("rate(", f"rate(of_{number}_")
        for number in range(16)
    ]
    slo_set = slos(*many)
    half = [slo.id for slo in slo_set.slos[:8]]
    source = Scripted(slo_set, scrape_times(NOON - 900, NOON + 60, 60))
    first, last = slo_set.slos[0].id, slo_set.slos[-1].id
    source.warned = lambda expr, _first, _last: (
        ["who knows"] if set(half) & set(re.findall(r"shop:/billing\d+/late", expr)) else []
    )
    with pytest.raises(PartialAnswer, match=r"and \d+ more from"):
        record.run(source, slo_set, ledger, time(NOON + 60))
    open_ = ledger.missing("shop", [first, last], NOON - 600, NOON)
    assert open_ == {first: [(NOON - 600, NOON)], last: []}


def test_a_partial_answer_about_scrapes_makes_no_gap(ledger: DatabaseLedger) -> None:
    """Half of ``up`` looks like a downtime, which would be recorded for good."""
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON - 7200, 60))
    source.warned = lambda expr, _first, _last: [PARTIAL] if "istio" not in expr else []
    with pytest.raises(PartialAnswer):
        record.run(source, slo_set, ledger, time(NOON + 60))
    assert ledger.keys("shop") == []
    assert missing(ledger, slo_set, NOON - DAY, NOON) == [(NOON - DAY, NOON)]


def test_prometheus_that_fails_in_the_middle_leaves_what_was_recorded(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, JOBS)
    source = Scripted(slo_set, scrape_times(NOON - 3 * DAY, NOON + 60, 60))
    midnight = NOON - NOON % DAY

    def fail(expr: str) -> None:
        if sum("istio_requests_total" in text for text in source.asked) > 1:
            raise unreachable()

    source.before = fail
    with pytest.raises(BackendUnavailable):
        record.run(source, slo_set, ledger, time(NOON + 60))
    assert missing(ledger, slo_set, midnight - 60 * GRID, NOON) == [(midnight - 60 * GRID, midnight)]
    source.before = lambda expr: None
    record.run(source, slo_set, ledger, time(NOON + 60))
    assert missing(ledger, slo_set, NOON - 3 * DAY, NOON) == []


def answering(**of: Answer) -> Callable[[Slo, str, int], Answer]:
    """The same series at each instant, by kind; nothing of the others."""
    return lambda slo, kind, end: of.get(kind, [])


@pytest.mark.parametrize(
    ("total", "bad", "wanted"),
    [
        (float("nan"), 0.0, None),
        (float("inf"), 0.0, None),
        (100.0, float("nan"), None),
        (100.0, float("inf"), None),
        (100.0, 7.0, (100.0, 7.0, False)),
        (100.0, 107.0, (100.0, 100.0, True)),
        (100.0, -1.0, (100.0, 0.0, False)),
        (-5.0, 0.0, (0.0, 0.0, True)),
        (0.0, 0.0, (0.0, 0.0, False)),
        (1e13, 1.0, (9e12, 1.0, True)),
        (0.25, 0.125, (0.25, 0.125, False)),
    ],
)
def test_what_cannot_be_is_no_data_or_within_bounds(
    ledger: DatabaseLedger, total: float, bad: float, wanted: tuple[float, float, bool] | None
) -> None:
    slo_set = slos(JOBS)
    source = Scripted(
        slo_set, scrape_times(NOON - 3600, NOON + 60, 30), answering(total=[({}, total)], bad=[({}, bad)])
    )
    done = record.run(source, slo_set, ledger, time(NOON + 60))
    (sums,) = ledger.sums("shop", [(NOON - GRID, NOON)])
    found = sums.get((slo_set.slos[0].id, "", "billing"))
    good, worse, implausible = wanted or (0.0, 0.0, False)
    assert ((found.total, found.bad) if found else (0, 0)) == (good * MICRO, worse * MICRO)
    assert codes(done) == (["implausible-events"] if implausible else [])
    assert missing(ledger, slo_set, NOON - 1800, NOON) == [], "it was looked at"


def test_a_histogram_without_the_bound_says_nothing(ledger: DatabaseLedger) -> None:
    slo_set = slos(LATENCY)
    source = Scripted(slo_set, scrape_times(NOON - 3600, NOON + 60, 30), answering(total=[({}, 100.0)]))
    record.run(source, slo_set, ledger, time(NOON + 60))
    assert ledger.sums("shop", [(NOON - 1800, NOON)]) == [{}]
    source.events = answering(total=[({}, 100.0)], good=[({}, 90.0)])
    source.scrapes = scrape_times(NOON - 3600, NOON + 360, 30)
    record.run(source, slo_set, ledger, time(NOON + 360))
    (sums,) = ledger.sums("shop", [(NOON, NOON + GRID)])
    assert [(item.total, item.bad) for item in sums.values()] == [(100 * MICRO, 10 * MICRO)]


def test_requests_that_no_service_can_be_named_for_count_nowhere(ledger: DatabaseLedger) -> None:
    slo_set = slos(EVERY)
    named, nameless = {"namespace": "shop", "service": "cart"}, {"namespace": "shop"}
    both = [(named, 100.0), (nameless, 50.0)]
    source = Scripted(slo_set, scrape_times(NOON - 3600, NOON + 60, 30), answering(total=both, cause=both))
    record.run(source, slo_set, ledger, time(NOON + 60))
    assert ledger.keys("shop") == [(slo_set.slos[0].id, "shop", "cart")]


def test_no_bad_series_is_no_bad_event(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - 3600, NOON + 60, 30), answering(total=[({}, 100.0)]))
    record.run(source, slo_set, ledger, time(NOON + 60))
    (sums,) = ledger.sums("shop", [(NOON - 600, NOON)])
    assert [(item.total, item.bad) for item in sums.values()] == [(200 * MICRO, 0)]


def test_causes_add_up_to_the_bad_events(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    causes = [
        ({"response_code": "503", "response_flags": flag}, float(count))
        for flag, count in (("UF", 2), ("UH", 3))
    ]
    source = Scripted(
        slo_set, scrape_times(NOON - 3600, NOON + 60, 30), answering(total=[({}, 100.0)], cause=causes)
    )
    record.run(source, slo_set, ledger, time(NOON + 60))
    (sums,) = ledger.sums("shop", [(NOON - GRID, NOON)])
    (found,) = ledger.causes("shop", NOON - GRID, NOON).values()
    assert [item.bad for item in sums.values()] == [5 * MICRO] == [sum(found.values())]
    assert {dict(labels)["response_flags"]: bad for labels, bad in found.items()} == {
        "UF": 2 * MICRO,
        "UH": 3 * MICRO,
    }


# --- definitions and maintenance


def test_a_definition_that_comes_later_is_read_from_the_history(ledger: DatabaseLedger) -> None:
    before, after = slos(CHECKOUT), slos(CHECKOUT, JOBS)
    times = scrape_times(NOON - DAY, NOON + 600, 60, [(NOON - 7200, NOON - 3600)])
    record.run(Scripted(before, times), before, ledger, time(NOON + 60))
    source = Scripted(after, times)
    done = record.run(source, after, ledger, time(NOON + 60))
    ids = [slo.id for slo in after.slos]
    intervals = ledger.missing("shop", ids, NOON - DAY + GRID, NOON)
    assert not any(intervals.values())
    assert not any("istio_requests_total" in text for text in source.asked), "the first one was there"
    (sums,) = ledger.sums("shop", [(NOON - DAY, NOON)])
    assert {item.gap for key, item in sums.items() if not key[2]} == {3660}
    assert len([key for key in sums if not key[2]]) == 2
    assert done.buckets > 280


def test_a_wildcard_is_recorded_by_service(ledger: DatabaseLedger) -> None:
    slo_set = slos(EVERY, CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - 3600, NOON + 60, 30))
    record.run(source, slo_set, ledger, time(NOON + 60))
    wildcard, named = (slo.id for slo in slo_set.slos)
    if not slo_set.slos[0].wildcard:
        wildcard, named = named, wildcard
    assert sorted(ledger.keys("shop")) == sorted(
        [(wildcard, "shop", "cart"), (wildcard, "shop", "orders"), (named, "shop", "checkout")]
    )


def test_maintenance_is_left_out_whole_buckets_of_it(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, more=MAINTENANCE)
    source = Scripted(slo_set, scrape_times(NOON - 4 * 3600, NOON + 60, 30))
    done = record.run(source, slo_set, ledger, time(NOON + 60))
    assert done.excluded == 12
    (sums,) = ledger.sums("shop", [(NOON - 3 * 3600, NOON)])
    (item,) = sums.values()
    assert (item.total, item.excluded, item.excluded_total) == (2400 * MICRO, 3600, 1200 * MICRO)
    assert record.run(source, slo_set, ledger, time(NOON + 60)).excluded == 0
    plain = slos(CHECKOUT)
    assert record.run(Scripted(plain, source.scrapes), plain, ledger, time(NOON + 60)).excluded == 12
    (sums,) = ledger.sums("shop", [(NOON - 3 * 3600, NOON)])
    assert [item.total for item in sums.values()] == [3600 * MICRO], "taken back: it counts again"


def test_a_silence_is_left_out_only_where_the_file_says_so(ledger: DatabaseLedger) -> None:
    quiet = MutedInterval("abc", NOON - 3600, NOON - 1800, (("service", "=", "checkout"),), "deploy")
    for setting, wanted in (("none", 0), ("all", 6)):
        slo_set = slos(CHECKOUT, more=f"ledger: {{silences: {setting}}}\n")
        source = Scripted(slo_set, scrape_times(NOON - 4 * 3600, NOON + 60, 30))
        assert record.run(source, slo_set, ledger, time(NOON + 60), muted=[quiet]).excluded == wanted


def test_a_clock_that_is_years_ahead_removes_nothing(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + 60, 30))
    record.run(source, slo_set, ledger, time(NOON + 60))
    record.run(source, slo_set, ledger, time(NOON + 400 * DAY))
    assert ledger.prune("shop", Keep(DAY, 2 * DAY, 3 * DAY), NOON + 3000 * DAY) == Pruned()
    assert missing(ledger, slo_set, NOON - DAY + GRID, NOON) == []
    (sums,) = ledger.sums("shop", [(NOON - 3600, NOON - 900)])
    assert [item.total for item in sums.values()] == [900 * MICRO]


# --- what is told


def test_rows_are_those_of_the_last_hour(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + 60, 30), steady(200, 3))
    done = record.run(source, slo_set, ledger, time(NOON + 60), keep_batches=3600)
    shown = record.rows_of(done.batches, time(NOON - 1800))
    assert [row["time"] for row in shown] == [
        f"2026-03-01T11:{minute}:00Z" for minute in range(35, 60, 5)
    ] + ["2026-03-01T12:00:00Z"]
    assert {(row["good"], row["bad"], row["total"], row["sli"]) for row in shown} == {
        (197.0, 3.0, 200.0, 0.985)
    }


def test_pieces_are_days_newest_first() -> None:
    midnight = NOON - NOON % DAY
    found = record.pieces({"a": [(midnight - DAY - 600, NOON)], "b": [(NOON - 600, NOON)]}, 0, NOON)
    assert found == [
        ((NOON - 600, NOON), ("a", "b")),
        ((midnight, NOON - 600), ("a",)),
        ((midnight - DAY, midnight), ("a",)),
        ((midnight - DAY - 600, midnight - DAY), ("a",)),
    ]


def test_edges_of_days_are_those_of_all_seasons() -> None:
    window = "{calendar: month, timezone: America/New_York}"
    slo_set = slos(CHECKOUT.replace("objective: 99.9", f"objective: 99.9, window: {window}"))
    assert record.day_edges(slo_set, time(NOON)) == [4 * 3600, 5 * 3600]


class Heavy(Scripted):
    """Each step of an answer weighs as much as ``weight`` values, and all that is asked at once is held together."""

    weight = 10_000

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        with one_question():
            if "istio_requests_total" in expr and not weigh(lambda: (end - start) // step * self.weight):
                raise TooMuchTogether("too much", backend="prometheus", url="")
        return super().query_range(expr, start, end, step)


class Slow(Scripted):
    """Counters of more than a quarter of a day are not counted in time."""

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        if "istio_requests_total" in expr and end - start > timedelta(hours=6):
            raise BackendTimeout("too slow", backend="prometheus", url="")
        return super().query_range(expr, start, end, step)


def test_what_is_too_much_together_or_too_slow_is_read_in_parts(tmp_path: Path) -> None:
    slo_set = slos(EVERY, LATENCY)
    found = []
    for kind in (Scripted, Heavy, Slow):
        source = kind(slo_set, scrape_times(NOON - DAY, NOON + DAY, 30))
        url = f"sqlite:///{tmp_path / kind.__name__}.db"
        with open_ledger(Secret(url)) as opened:
            record.run(source, slo_set, opened, time(NOON + 60))
            again = reread.read_again(source, slo_set, opened, time(NOON + 600), (NOON - DAY, NOON), "me")
            assert again.read and not again.repaired and not again.kept
        found.append(rows(url))
    assert found[0] == found[1] == found[2]
