"""A ledger says what a dictionary of all its buckets would say, in whatever order things happen."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloctl.ledger.check import verify
from sloctl.ledger.protocol import MOST_MICRO, Batch, Bucket, Interval, Keep
from sloctl.ledger.store import DatabaseLedger
from tests.support.ledger_steps import DAYS, SLOS, Exclude, Prune, intervals, operations
from tests.support.ledgers import DAY, STEP, T0, Naive

NUMBERS = itertools.count()


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations, st.lists(intervals(), min_size=1, max_size=4))
@pytest.mark.slow
def test_as_a_dictionary_of_buckets(
    ledger: DatabaseLedger, steps: list[list[Batch] | Exclude | Prune], asked: list[Interval]
) -> None:
    name = f"set {next(NUMBERS)}"  # the other sets in the same database must not matter
    naive = Naive()
    for step in steps:
        if isinstance(step, Exclude):
            changed = ledger.exclude(name, step.excluded, *step.interval)
            assert changed == naive.exclude(step.excluded, *step.interval)
        elif isinstance(step, Prune):
            buckets, hours = T0 + step.buckets * DAY, T0 + min(step.hours, step.buckets) * DAY
            now = max(ledger.newest(name).values(), default=T0)
            ledger.prune(name, Keep(now - buckets, now - hours, 1000 * DAY), now + 1234, step.edges)
            naive.prune(buckets, hours, step.edges)
        else:
            assert ledger.record(name, step) == naive.record(step)
            assert ledger.record(name, step) == 0
    whole = (T0, T0 + DAYS * DAY)
    intervals = [whole, *((T0 + day * DAY, T0 + (day + 1) * DAY) for day in range(DAYS)), *asked]
    for interval, found in zip(intervals, ledger.sums(name, intervals), strict=True):
        assert found == naive.sums(interval), interval
        assert ledger.peaks(name, *interval) == naive.peaks(interval), interval
    assert ledger.causes(name, *whole) == naive.causes(whole)
    if not any(isinstance(step, Prune) for step in steps):
        for interval in asked:
            assert ledger.causes(name, *interval) == naive.causes(interval), interval
            assert ledger.carried(name, *interval) == naive.carried(interval), interval
    assert ledger.keys(name) == sorted({key for key, _ in naive.rows})
    assert ledger.missing(name, SLOS, *whole) == {slo: naive.missing(slo, *whole) for slo in SLOS}
    known = {slo: [end for of, end in naive.covered if of == slo] for slo in SLOS}
    assert ledger.newest(name) == {slo: max(ends) for slo, ends in known.items() if ends}
    assert ledger.oldest(name) == {slo: min(ends) - STEP for slo, ends in known.items() if ends}
    assert verify(ledger, name) == []


@pytest.mark.parametrize("count", [1, 2, 290])
def test_sums_beyond_64_bits(ledger: DatabaseLedger, count: int) -> None:
    events = [Bucket("s", "x", T0 + (n + 1) * STEP, MOST_MICRO, MOST_MICRO - n) for n in range(count)]
    ledger.record("shop", [Batch("a", "a", (T0, T0 + 2 * DAY), events)])
    [found] = ledger.sums("shop", [(T0, T0 + 2 * DAY)])
    assert found["a", "s", "x"].total == count * MOST_MICRO
    assert found["a", "s", "x"].bad == sum(event.bad for event in events)
    assert verify(ledger, "shop") == []
