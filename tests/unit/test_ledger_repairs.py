"""Recorded buckets that change, on both databases: sums, causes and the journal follow."""

from __future__ import annotations

from sloctl.ledger.check import verify
from sloctl.ledger.protocol import Batch, Bucket, Cause, Repair
from sloctl.ledger.store import DatabaseLedger
from tests.support.ledgers import STEP, T0

WHY, OTHER = (("response_code", "503"),), (("response_code", "500"),)
END = T0 + 2 * STEP


def entered(ledger: DatabaseLedger) -> None:
    ends = [T0 + number * STEP for number in range(1, 25)]
    buckets = [Bucket("s", "x", end, 100, 10) for end in ends]
    causes = [Cause("s", "x", end, WHY, 10) for end in ends]
    ledger.record("set", [Batch("a", "a", (T0, ends[-1]), buckets, causes)])


def repair(old: tuple[int, int, int], new: tuple[int, int, int], service: str = "x") -> Repair:
    causes = ((WHY, 10), (OTHER, new[1] - 10)) if new[1] > 10 else ((WHY, new[1]),)
    return Repair("a", "s", service, END, old, new, "repaired", float(T0), "somebody", causes)


def test_a_repair_changes_sums_causes_and_peaks(ledger: DatabaseLedger) -> None:
    entered(ledger)
    more = [repair((100, 10, 0), (900, 50, 20)), repair((0, 0, 0), (7, 1, 0), "y")]
    assert ledger.amend("set", more) == 2
    assert verify(ledger, "set") == []
    (sums,) = ledger.sums("set", [(T0, T0 + 24 * STEP)])
    assert (sums["a", "s", "x"].total, sums["a", "s", "x"].bad, sums["a", "s", "x"].gap) == (3200, 280, 20)
    assert sums["a", "s", "y"].total == 7
    assert ledger.causes("set", T0, T0 + 24 * STEP)["a", "s", "x"] == {WHY: 240, OTHER: 40}
    assert ledger.peaks("set", T0, T0 + 24 * STEP)["a", "s", "x"] == 900
    assert ledger.amend("set", [repair((900, 50, 20), (30, 5, 0))]) == 1
    assert verify(ledger, "set") == []
    assert ledger.peaks("set", T0, T0 + 24 * STEP)["a", "s", "x"] == 100
    assert sorted((item.service, item.new[0]) for item in ledger.repairs("set")) == [
        ("x", 30),
        ("x", 900),
        ("y", 7),
    ]
    assert ledger.buckets("set", ["a"], (T0 + STEP, END))["a"] == [
        Bucket("s", "x", END, 30, 5),
        Bucket("s", "y", END, 7, 1),
    ]


def test_a_repair_of_what_is_no_longer_there_is_none(ledger: DatabaseLedger) -> None:
    entered(ledger)
    assert ledger.amend("set", [repair((99, 10, 0), (900, 50, 0))]) == 0
    kept = Repair("a", "s", "x", END, (100, 10, 0), (50, 0, 0), "kept", float(T0), "somebody")
    assert ledger.amend("set", [kept]) == ledger.amend("set", [kept]) == 0
    assert [item.outcome for item in ledger.repairs("set")] == ["kept"]
    assert verify(ledger, "set") == []
