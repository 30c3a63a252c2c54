"""What makes an alert sure: the evidence of failures, held against the chance that it bounds."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from math import exp, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloctl.model.policies import POLICIES, EventGate, Evidence

MESH = POLICIES["mesh"]
MONTH = 30 * 86400


def tail(failures: int, expected: float) -> float:
    """The probability of so many failures or more where some are expected (Poisson)."""
    term, below = exp(-expected), 0.0
    for number in range(failures):
        below += term
        term *= expected / (number + 1)
    return max(0.0, 1 - below)


def evidence(confidence: str = "99.99", allowed: str = "1") -> Evidence:
    gate = replace(MESH, confidence=Decimal(confidence)).gate(MESH.windows[0], MONTH)
    assert isinstance(gate, Evidence)
    return replace(gate, allowed=Decimal(allowed))


def test_of_one_in_ten_thousand() -> None:
    gate = evidence()
    assert float(gate.needed) == pytest.approx(log(10_000), abs=1e-4)
    assert gate.most * 2 == gate.needed


@settings(max_examples=300)
@given(
    st.integers(2, 700),
    st.floats(1e-4, 500),
    st.sampled_from(["90", "99", "99.9", "99.99", "99.9999"]),
)
def test_chance_gives_that_many_failures_no_more_often_than_it_says(
    bad: int, expected: float, confidence: str
) -> None:
    if bad > expected and evidence(confidence).enough(bad, bad / expected):
        assert tail(bad, expected) <= (1 - float(confidence) / 100) * 1.001 + 1e-12


@settings(max_examples=300)
@given(st.integers(2, 1000), st.floats(1e-3, 500))
def test_it_is_chernoffs_bound(bad: int, expected: float) -> None:
    gate, bound = evidence(), bad * (log(bad / expected) - 1) + expected
    if bad > expected and abs(bound - float(gate.needed)) > 1e-6:
        assert gate.enough(bad, bad / expected) is (bound >= float(gate.needed))


@pytest.mark.parametrize("burn", [1.0001, 14.1, 1e6, 1e300])
@pytest.mark.parametrize("confidence", ["50", "99", "99.99", "99.999999"])
def test_one_failure_is_never_enough_however_rare_failures_should_be(burn: float, confidence: str) -> None:
    gate = evidence(confidence)
    assert not gate.enough(1, burn)
    assert not gate.enough(0, burn)
    assert gate.enough(2, 1e300)


@pytest.mark.parametrize(("requests", "failures"), [(3, 2), (7, 2), (10, 3), (60, 4), (300, 5)])
def test_failures_that_an_hour_needs_at_three_nines(requests: int, failures: int) -> None:
    """The numbers of docs/alerting.md."""
    gate, expected = evidence(), requests / 1000
    assert gate.enough(failures, failures / expected)
    assert not gate.enough(failures - 1, (failures - 1) / expected)


def test_held_against_what_a_line_lets_pass_where_that_is_less_than_the_budget() -> None:
    page, _, ticket = MESH.windows
    week = 7 * 86400
    assert (MESH.gate(page, week), MESH.gate(ticket, week)) == (
        evidence(),
        evidence(allowed=str(MESH.scaled(ticket, week))),
    )


@pytest.mark.parametrize(
    ("given", "gate"),
    [
        ((200, None), EventGate(200, 3)),
        ((None, 10), EventGate(20, 10)),
        ((0, 1), EventGate(0, 1)),
    ],
)
def test_numbers_of_events_replace_the_evidence(
    given: tuple[int | None, int | None], gate: EventGate
) -> None:
    policy = replace(MESH, min_events=given[0], min_bad_events=given[1])
    assert policy.gate(MESH.windows[0], MONTH) == gate
