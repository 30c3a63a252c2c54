"""What real meshes do to counters: rules, a report from raw counters and the ledger count what truly happened."""

from __future__ import annotations

import re

import pytest

from sloctl.model.durations import rfc3339
from sloctl.naming import BAD_GRID, BAD_TILE, TOTAL_GRID, TOTAL_TILE
from sloctl.promql import steady_peaks
from sloctl.report.data import Report
from tests.support.promtool import Inputs, evaluate, of_group, rule_texts, slo
from tests.support.real_meshes import CASES, MINUTES, MeshCase
from tests.support.real_meshes_served import (
    NAMES,
    START,
    kept,
    ledger_report,
    raw_report,
    reported,
    slo_set,
    source,
)

__all__ = ["kept", "ledger_report", "raw_report", "reported", "slo_set", "source"]  # fixtures

RULES = {
    kind: of_group(rule_texts(slo(service=scope, policy=None)), kind)
    for kind, scope in (("grid", "checkout"), ("tiles", "*"))
}


@pytest.mark.parametrize("tiles", [False, True], ids=["grid", "tiles"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rules_count_what_can_be_known(case: MeshCase, tiles: bool) -> None:
    metrics = (BAD_TILE, TOTAL_TILE) if tiles else (BAD_GRID, TOTAL_GRID)
    step = 1 if tiles else 5
    # promtool evaluates nothing that begins before the first sample: the end of each step is asked for.
    queries = [(metric, f"{minute}m") for minute in range(step, MINUTES + 1, step) for metric in metrics]
    [found] = evaluate(
        RULES["tiles" if tiles else "grid"],
        [Inputs(case.raw, queries, "30s")],
        evaluation_interval="1m" if tiles else "5m",
    )
    values = [answer[0][1] if answer else 0.0 for answer in found]
    bad, total = values[::2], values[1::2]
    assert sum(bad) == case.bad
    assert sum(bad[: case.by // step]) == case.bad
    if case.total is not None:
        assert sum(total) == case.total
    assert all(b <= t for b, t in zip(bad, total, strict=True))


@pytest.mark.xdist_group("real meshes")
@pytest.mark.parametrize("where", ["reported", "kept"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_reports_and_the_ledger_say_the_same(
    case: MeshCase, where: str, request: pytest.FixtureRequest
) -> None:
    bad, total = request.getfixturevalue(where)[NAMES[case.name]]
    assert bad == case.bad
    if case.total is not None:
        assert total == case.total


BACK = 115
"""The minute at which counters come back in the cases with a gap of 25 minutes."""
GAPS = {
    "an outage within a scrape gap": (15300, 15000),
    "an outage within a scrape gap, in which the proxy restarts": (1500, 900),
    "the first errors of all within a scrape gap": (4621, 4321),
    "Prometheus does not scrape for twenty-five minutes": (15855, 555),
}
"""Total and bad events that are counted then."""
SHORT = (
    "a merged scrape lacks Envoy's part for six minutes",
    "one scrape in eight minutes succeeds, and an error is new",
)
WITHOUT_UP = "Prometheus does not scrape for twenty-five minutes"
"""Here the target is gone meanwhile, as one is that was removed."""


def test_rules_bound_what_a_gap_may_hide_by_steps_without_what_came_back() -> None:
    exprs = (steady_peaks("shop", ["checkout", "x.y"], MINUTES * 60), f"max_over_time({TOTAL_GRID}[3h])")
    inputs = [Inputs(CASES[name].raw, [(expr, f"{MINUTES}m") for expr in exprs], "30s") for name in GAPS]
    answers = evaluate(RULES["grid"], inputs, evaluation_interval="5m")
    for (total, _), (steady, highest) in zip(GAPS.values(), answers, strict=True):
        assert (steady[0][1], highest[0][1]) == (3000, max(3000, total))


@pytest.mark.xdist_group("real meshes")
@pytest.mark.parametrize("where", ["raw_report", "ledger_report"])
@pytest.mark.parametrize("name", [name for name in GAPS if name != WITHOUT_UP])
def test_reports_bound_what_a_gap_may_hide(name: str, where: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(where)
    [item] = [item for item in report.slos if item.namespace == NAMES[name]]
    [text] = [
        item.message
        for item in report.findings
        if item.code == "scrape-gap" and item.scope["namespace"] == NAMES[name]
    ]
    [unseen] = re.findall(r"at most ([\d,]+) events are unseen", text)
    assert 1400 <= item.quality.gaps <= 1560
    assert float(unseen.replace(",", "")) == pytest.approx(item.quality.gaps * 10, rel=0.04), "ten a second"


@pytest.mark.xdist_group("real meshes")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_ledger_marks_what_was_counted_when_counters_came_back(
    case: MeshCase, ledger_report: Report
) -> None:
    texts = [
        item.message
        for item in ledger_report.findings
        if item.code == "counted-late" and item.scope["namespace"] == NAMES[case.name]
    ]
    if case.name in GAPS:
        total, bad = GAPS[case.name]
        since, back = (rfc3339(START + seconds) for seconds in (89 * 60 + 30, BACK * 60))
        assert texts == [
            f"{NAMES[case.name]}/checkout availability: {total:,} events ({bad:,} bad) of {since} to {back} were "
            f"counted at {back}, when their counters could be read again"
        ]
    else:
        assert bool(texts) is (case.name in SHORT)
