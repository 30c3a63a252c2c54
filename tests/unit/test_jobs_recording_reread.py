"""Recorded buckets that are read again, from a scripted Prometheus to which samples come late."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.recording import record, reread
from sloctl.errors import PartialAnswer
from sloctl.ledger.check import verify
from sloctl.ledger.protocol import MICRO, Batch, Keep, Repair, Sums
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import GRID, Slo, SloSet
from sloctl.settings.secret import Secret
from tests.support.ledger_rows import rows
from tests.support.scripted import Answer, Scripted, scrape_times, steady
from tests.support.shop_slos import CHECKOUT, DAY, EVERY, JOBS, LATENCY, MAINTENANCE, NOON, slos


def time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DatabaseLedger]:
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as opened:
        yield opened


def events(
    changed: Mapping[int, tuple[float, float]], total: float = 100, bad: float = 1
) -> Callable[[Slo, str, int], Answer]:
    """The same in each bucket but for those of ``changed``: (total, bad) by their end."""

    def answer(slo: Slo, kind: str, end: int) -> Answer:
        return steady(*changed.get(end, (total, bad)))(slo, kind, end)

    return answer


def sums(ledger: DatabaseLedger, start: int, end: int) -> Sums:
    (found,) = ledger.sums("shop", [(start, end)])
    return sum((item for key, item in found.items() if key[2]), Sums())


def recorded(ledger: DatabaseLedger, slo_set: SloSet, *, hours: int = 24, until: int = NOON) -> Scripted:
    """A Prometheus of which some hours are in the ledger."""
    source = Scripted(slo_set, scrape_times(NOON - hours * 3600, NOON + DAY, 30))
    record.run(source, slo_set, ledger, time(until + 60))
    return source


def again(source: Scripted, slo_set: SloSet, ledger: DatabaseLedger, **how: bool) -> reread.RereadResult:
    return reread.read_again(source, slo_set, ledger, time(NOON + 7200), (NOON - 3600, NOON), "ann", **how)


@pytest.mark.parametrize("line", [CHECKOUT, EVERY, LATENCY, JOBS])
def test_what_came_late_is_repaired_and_the_ledger_is_as_if_it_had_been_in_time(
    ledger: DatabaseLedger, tmp_path: Path, line: str
) -> None:
    slo_set = slos(line)
    source = recorded(ledger, slo_set)
    source.events = events({NOON - 1800: (150, 41), NOON - 1500: (100.5, 1)})
    done = again(source, slo_set, ledger)
    assert {(item.end, item.outcome, item.old[:2], item.new[:2]) for item in done.repaired} == {
        (NOON - 1800, "repaired", (100 * MICRO, MICRO), (150 * MICRO, 41 * MICRO)),
        (NOON - 1500, "repaired", (100 * MICRO, MICRO), (100_500_000, MICRO)),
    }
    assert verify(ledger, "shop") == []
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'once.db'}")) as once:
        record.run(source, slo_set, once, time(NOON + 60))
    assert rows(f"sqlite:///{tmp_path / 'ledger.db'}") == rows(f"sqlite:///{tmp_path / 'once.db'}")
    assert again(source, slo_set, ledger).repaired == [], "once is enough"
    entries = [(item.end, item.made_by, item.made) for item in ledger.repairs("shop")]
    assert sorted(entries) == sorted((item.end, "ann", NOON + 7200.0) for item in done.repaired)


@pytest.mark.parametrize(
    "less",
    [(0, 0), (99, 1), (100, 0), (99, 0), (150, 0), (100, 2), (101, 50)],
    ids=["forgotten", "fewer", "no-bad", "both", "bad-became-good", "good-became-bad", "fewer-good"],
)
def test_fewer_good_or_bad_events_change_nothing_and_are_said(
    ledger: DatabaseLedger, less: tuple[float, float]
) -> None:
    slo_set = slos(CHECKOUT)
    source = recorded(ledger, slo_set)
    before = sums(ledger, NOON - 3600, NOON)
    source.events = events({NOON - 1800: less})
    done = again(source, slo_set, ledger)
    (kept,) = done.kept
    assert (done.repaired, kept.end, kept.outcome) == ([], NOON - 1800, "kept")
    assert sums(ledger, NOON - 3600, NOON) == before
    (finding,) = reread.findings(done, slo_set)
    assert (finding.code, finding.severity) == ("replicas-disagree", "warning")
    again(source, slo_set, ledger)
    assert len(ledger.repairs("shop")) == 1, "the journal has it once"


def test_who_knows_better_may_take_less_and_the_journal_says_so(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = recorded(ledger, slo_set)
    source.events = events({NOON - 1800: (40, 0)})
    assert again(source, slo_set, ledger, allow_less=True, dry_run=True).repaired
    assert (ledger.repairs("shop"), sums(ledger, NOON - 3600, NOON).total) == ([], 1200 * MICRO)
    again(source, slo_set, ledger, allow_less=True)
    found = sums(ledger, NOON - 3600, NOON)
    assert (found.total, found.bad) == (1140 * MICRO, 11 * MICRO)
    assert verify(ledger, "shop") == [], "the peaks of sums, too"
    (entry,) = ledger.repairs("shop")
    assert (entry.old[0], entry.new[0], entry.outcome) == (100 * MICRO, 40 * MICRO, "repaired")


def test_a_history_that_is_gone_lowers_nothing(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = recorded(ledger, slo_set)
    source.scrapes = scrape_times(NOON - 1700, NOON + DAY, 30)
    done = again(source, slo_set, ledger)
    assert (done.repaired, done.kept, done.skipped) == ([], [], 7)
    assert sums(ledger, NOON - 3600, NOON).total == 1200 * MICRO


def test_a_longer_gap_lowers_nothing_and_a_shorter_one_is_repaired(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    down = [(NOON - 3000, NOON - 1500)]
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + DAY, 30, down))
    record.run(source, slo_set, ledger, time(NOON + 60))
    (whole,) = ledger.sums("shop", [(NOON - 3600, NOON)])
    source.scrapes = scrape_times(NOON - DAY, NOON + DAY, 30, [(NOON - 3000, NOON - 900)])
    assert [item.outcome for item in again(source, slo_set, ledger).kept] == ["kept"] * 3
    assert ledger.sums("shop", [(NOON - 3600, NOON)]) == [whole]
    source.scrapes = scrape_times(NOON - DAY, NOON + DAY, 30)
    again(source, slo_set, ledger)
    (found,) = ledger.sums("shop", [(NOON - 3600, NOON)])
    assert {item.gap for item in found.values()} == {0}
    assert verify(ledger, "shop") == []


def back(carried: int, changed: Mapping[int, tuple[float, float]]) -> Callable[[Slo, str, int], Answer]:
    """Counters that come back at ``NOON - 1200`` after ``carried`` seconds."""

    def answer(slo: Slo, kind: str, end: int) -> Answer:
        if kind == "carried":
            return [({}, carried)] if carried and end == NOON - 1200 else []
        return events(changed)(slo, kind, end)

    return answer


RETURNED = NOON - 1200
DARK = {NOON - 2100: (0.0, 0.0), NOON - 1800: (0.0, 0.0), NOON - 1500: (0.0, 0.0), RETURNED: (400.0, 46.0)}
"""A gap of fifteen minutes, and what its counters had gained when they were back."""


@pytest.mark.parametrize("first", [RETURNED, NOON - 1800], ids=["the bucket of the return", "one of the gap"])
def test_late_samples_of_a_gap_count_once_whichever_bucket_is_read_first(
    ledger: DatabaseLedger, tmp_path: Path, first: int
) -> None:
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + DAY, 30), back(930, DARK))
    record.run(source, slo_set, ledger, time(NOON + 60))
    before = sums(ledger, NOON - 3600, NOON)
    [late] = ledger.carried("shop", NOON - 3600, NOON).values()
    assert [(item.since, item.end, item.total) for item in late] == [(NOON - 2430, RETURNED, 400 * MICRO)]
    # The agent sends what it had kept: each bucket has its own events.
    source.events = back(0, {NOON - 1800: (100.0, 43.0)})
    for end in (first, RETURNED, NOON - 1500):
        reread.read_again(source, slo_set, ledger, time(NOON + 7200), (end - GRID, end), "ann")
    after = sums(ledger, NOON - 3600, NOON)
    assert (after.total, after.bad) == (before.total, before.bad)
    assert {item.outcome for item in ledger.repairs("shop")} == {"repaired"}
    assert (ledger.carried("shop", 0, NOON), verify(ledger, "shop")) == ({}, [])
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'once.db'}")) as once:
        record.run(source, slo_set, once, time(NOON + 60))
    assert rows(f"sqlite:///{tmp_path / 'ledger.db'}") == rows(f"sqlite:///{tmp_path / 'once.db'}")


def test_what_came_back_is_not_given_up_for_less(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + DAY, 30), back(930, DARK))
    record.run(source, slo_set, ledger, time(NOON + 60))
    before = sums(ledger, NOON - 3600, NOON)
    # As if forgotten: the failures of the gap are in no bucket.
    source.events = back(0, {NOON - 1800: (100.0, 42.0)})
    done = again(source, slo_set, ledger)
    assert {item.outcome for item in (*done.repaired, *done.kept)} == {"kept"}
    assert sums(ledger, NOON - 3600, NOON) == before


def test_a_partial_answer_repairs_nothing(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = recorded(ledger, slo_set)
    source.events = events({NOON - 1800: (150, 41)})
    source.warned = lambda expr, _first, _last: ["store eu is away"] if "istio_" in expr else []
    done = again(source, slo_set, ledger)
    assert (done.repaired, list(done.unsure)) == ([], [slo_set.slos[0].id])
    source.warned = lambda expr, _first, _last: ["store eu is away"]
    with pytest.raises(PartialAnswer):
        again(source, slo_set, ledger)
    assert (ledger.repairs("shop"), sums(ledger, NOON - 3600, NOON).total) == ([], 1200 * MICRO)


def test_what_is_in_sums_only_or_was_never_recorded_is_left_alone(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = recorded(ledger, slo_set, hours=24 * 5)
    ledger.prune("shop", Keep(DAY, 10 * DAY, 20 * DAY), NOON)
    source.events = events({}, total=150)
    old = (NOON - 4 * DAY, NOON - 4 * DAY + 3600)
    done = reread.read_again(source, slo_set, ledger, time(NOON + 60), old, "ann")
    assert (done.read, done.skipped, done.repaired) == (0, 12, [])
    done = reread.read_again(source, slo_set, ledger, time(NOON + 7200), (NOON, NOON + 3600), "ann")
    assert (done.read, done.skipped) == (0, 12)
    assert verify(ledger, "shop") == []


def test_a_repair_in_a_maintenance_window_counts_in_no_budget(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, more=MAINTENANCE)
    source = recorded(ledger, slo_set)
    late = NOON - 5400
    source.events = events({late: (150, 41)})
    before = sums(ledger, NOON - 7200, NOON)
    reread.read_again(source, slo_set, ledger, time(NOON + 7200), (late - GRID, late), "ann")
    after = sums(ledger, NOON - 7200, NOON)
    assert (after.total, after.bad) == (before.total, before.bad)
    assert after.excluded_total == before.excluded_total + 50 * MICRO
    assert after.excluded_bad == before.excluded_bad + 40 * MICRO
    assert verify(ledger, "shop") == []


def test_a_bucket_that_somebody_else_repaired_meanwhile_is_not_repaired_twice(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = recorded(ledger, slo_set)
    source.events = events({NOON - 1800: (150, 41)})
    (stale,) = again(source, slo_set, ledger, dry_run=True).repaired
    again(source, slo_set, ledger)
    assert ledger.amend("shop", [stale]) == 0
    assert sums(ledger, NOON - 3600, NOON).total == 1250 * MICRO
    assert verify(ledger, "shop") == []


# --- looking back


def test_the_job_finds_what_came_late_by_itself(ledger: DatabaseLedger) -> None:
    """A bucket whose last samples came four minutes late, and one whose came after half an hour."""
    slo_set = slos(CHECKOUT)
    soon, long_ = NOON, NOON - 600
    source = recorded(ledger, slo_set)
    found: list[tuple[int, list[int]]] = []
    for step in range(1, 14):
        at = NOON + step * GRID + 60
        changed = {soon: (150.0, 41.0)} | ({long_: (120.0, 2.0)} if at > NOON + 1800 else {})
        source.events = events(changed)
        source.asked.clear()
        done = record.run(source, slo_set, ledger, time(at))
        found.append((step, sorted(item.end for item in done.reread.repaired)))
        read = sum("istio_requests_total" in text for text in source.asked)
        assert read <= 3 * 3, "three buckets in place of one: total, cause and gap of each"
        if done.reread.repaired:
            (finding,) = done.findings
            assert finding.code == "late-samples"
            assert "repaired" in record.said(done)
    assert [ends for _, ends in found if ends] == [[soon], [long_]]
    assert sums(ledger, NOON - 900, NOON).total == (100 + 150 + 120) * MICRO
    assert verify(ledger, "shop") == []


def test_a_file_may_forbid_looking_back(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, more="ledger: {look_back: 0s}\n")
    source = recorded(ledger, slo_set)
    source.events = events({NOON: (150.0, 41.0)})
    for step in range(1, 14):
        record.run(source, slo_set, ledger, time(NOON + step * GRID + 60))
    assert sums(ledger, NOON - GRID, NOON).total == 100 * MICRO


def test_buckets_wait_as_long_as_the_file_says(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT, more="ledger: {settle: 4m}\n")
    source = Scripted(slo_set, scrape_times(NOON - DAY, NOON + DAY, 30))
    assert record.run(source, slo_set, ledger, time(NOON + 239)).end == NOON - GRID
    assert record.run(source, slo_set, ledger, time(NOON + 240)).end == NOON


def test_it_waits_longer_where_something_was_late_and_forgets_after_a_week(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    recorded(ledger, slo_set)
    (slo,) = slo_set.slos

    def late(seconds: float, by: str, made: float = NOON) -> None:
        end = int(made - seconds)
        old, new = (100 * MICRO, MICRO, 0), (101 * MICRO, MICRO, 0)
        entry = Repair(slo.id, "shop", "checkout", end // GRID * GRID, old, new, "repaired", made, by)
        ledger.amend("shop", [entry])

    assert reread.settle_of(ledger, slo_set, time(NOON)) == 60
    late(8 * 3600, "ann")
    assert reread.settle_of(ledger, slo_set, time(NOON)) == 60, "what a person reads is of any age"
    late(300, reread.LOOK_BACK)
    assert reread.settle_of(ledger, slo_set, time(NOON)) == 300
    late(3900, reread.LOOK_BACK)
    assert reread.settle_of(ledger, slo_set, time(NOON)) == reread.LONGEST_SETTLE
    assert reread.settle_of(ledger, slo_set, time(NOON + 8 * DAY)) == 60


def test_looking_back_in_vain_fails_no_run(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = recorded(ledger, slo_set)
    source.warned = lambda expr, first, _last: ["gone"] if first <= NOON and "istio_" in expr else []
    done = record.run(source, slo_set, ledger, time(NOON + GRID + 60))
    assert (done.buckets, [item.code for item in done.findings]) == (1, ["partial-answer"])


def test_the_journal_outlives_no_hours(ledger: DatabaseLedger) -> None:
    slo_set = slos(CHECKOUT)
    source = recorded(ledger, slo_set)
    source.events = events({NOON - 1800: (150, 41)})
    again(source, slo_set, ledger)
    ledger.prune("shop", Keep(2 * DAY, 3 * DAY, 40 * DAY), NOON + 2 * DAY)
    assert len(ledger.repairs("shop")) == 1
    ledger.record("shop", [Batch("later", "later", (NOON + 5 * DAY - GRID, NOON + 5 * DAY))])
    ledger.prune("shop", Keep(2 * DAY, 3 * DAY, 40 * DAY), NOON + 5 * DAY)
    assert ledger.repairs("shop") == []
