"""What can be done to a ledger: any steps in any order, and four days that hold everything a ledger can hold."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from sloctl.ledger.protocol import (
    MOST_MICRO,
    Annotation,
    Batch,
    Bucket,
    Cause,
    CauseLabels,
    Interval,
    Keep,
    MutedInterval,
)
from sloctl.ledger.store import DatabaseLedger
from sloctl.model import SeriesKey
from tests.support.ledgers import DAY, STEP, T0

DAYS = 3
SLOS = ("a", "b")
SERVICES = ("", "cart", "checkout")
LABELS: tuple[CauseLabels, ...] = (
    (("code", "503"), ("source", "web")),
    (("code", "500"), ("source", 'we"b\\')),
    (),
)
WHY = (("code", "503"), ("source", "we,b\n"))

times = st.integers(0, DAYS * 288).map(lambda number: T0 + number * STEP)
amounts = st.one_of(
    st.integers(0, 5_000_000), st.just(0), st.integers(MOST_MICRO - 3, MOST_MICRO), st.integers(2**60, 2**62)
)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    start, end = sorted((draw(times), draw(times)))
    return start, end


@st.composite
def short_intervals(draw: st.DrawFn) -> Interval:
    start = draw(times)
    return start, min(start + draw(st.integers(0, 30)) * STEP, T0 + DAYS * DAY)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    slo_id = draw(st.sampled_from(SLOS))
    interval = draw(st.one_of(short_intervals(), intervals()))
    ends = st.integers(interval[0] // STEP + 1, max(interval[0] // STEP + 1, interval[1] // STEP)).map(
        lambda n: n * STEP
    )
    events: dict[tuple[str, int], Bucket] = {}
    causes: dict[tuple[str, int, CauseLabels], Cause] = {}
    for _ in range(draw(st.integers(0, 6)) if interval[0] < interval[1] else 0):
        service, end, total = draw(st.sampled_from(SERVICES)), draw(ends), draw(amounts)
        total = total if service else 0
        bad = draw(st.one_of(st.just(0), st.just(total), st.integers(0, total)))
        gap, carried = draw(st.sampled_from((0, 0, 17, 300))), draw(st.sampled_from((0, 0, 1530)))
        events[service, end] = Bucket("shop", service, end, total, bad, gap, carried if total else 0)
        for labels in draw(st.sets(st.sampled_from(LABELS), max_size=2)):
            causes[service, end, labels] = Cause("shop", service, end, labels, draw(st.integers(0, bad)))
    return Batch(slo_id, "availability", interval, tuple(events.values()), tuple(causes.values()))


@dataclass(frozen=True)
class Exclude:
    excluded: dict[SeriesKey, list[Interval]]
    interval: Interval


@dataclass(frozen=True)
class Prune:
    buckets: int
    hours: int
    edges: tuple[int, ...]


keys = st.tuples(st.sampled_from(SLOS), st.just("shop"), st.sampled_from(SERVICES))
excludes = st.builds(
    Exclude, st.dictionaries(keys, st.lists(intervals(), max_size=3), max_size=4), intervals()
)
prunes = st.builds(
    Prune,
    st.integers(0, DAYS),
    st.integers(0, DAYS),
    st.lists(st.sampled_from((0, 1800, 66600, 79200)), max_size=2).map(tuple),
)
operations = st.lists(
    st.one_of(st.lists(batches(), max_size=3), st.lists(batches(), max_size=3), excludes, prunes), max_size=7
)


def event(n: int) -> tuple[int, int]:
    return 1_500_000 * n, 250_000 * (n % 3)


def fill(ledger: DatabaseLedger) -> None:
    """Four days: of sums of days alone, of hours, of hours with some buckets, and of everything."""
    for day in range(4):
        begun = T0 + day * DAY
        events = [
            Bucket("shop", service, begun + n * STEP, *(event(n) if service else (0, 0)), 30 * (n % 2))
            for service in ("", 'che"ck,out', "cart")
            for n in (1, 2, 40, 222, 223, 288)
        ]
        causes = [Cause("shop", e.service, e.end, WHY, 200_000) for e in events if e.bad]
        interval = (begun, begun + DAY - (STEP * 10 if day == 3 else 0))
        ledger.record("a set", [Batch("a:1", "availability", (begun, begun + DAY), events, causes)])
        ledger.record("a set", [Batch("a:2", "latency", interval)])
        ledger.record("b", [Batch("b:1", "availability", (begun, begun + DAY), events[:4])])
    for name, slo_id in (("a set", "a:1"), ("b", "b:1")):
        key = (slo_id, "shop", "cart" if name == "a set" else "")
        ledger.exclude(
            name, {key: [(T0 + 300, T0 + 600), (T0 + 3 * DAY, T0 + 3 * DAY + 7200)]}, T0, T0 + 9 * DAY
        )
    ledger.remember("a set", [MutedInterval("x", T0 + 7, T0 + 99, (("service", "=~", "a|b"),), "why\n")])
    ledger.annotate("a set", Annotation(T0 + 9, T0 + 9, "note", 'a "text"\n=1', "ann"))
    ledger.annotate("a set", Annotation(T0 + 9, T0 + 900, "deploy", "v2", "ci", "shop", "cart"))
    ledger.prune("a set", Keep(DAY, 3 * DAY, 900 * DAY), T0 + 4 * DAY, [66600])
