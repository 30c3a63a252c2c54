"""What real meshes do to counters: rules, a report from raw counters and the ledger count what truly happened."""

from __future__ import annotations

import pytest

from sloctl.naming import BAD_GRID, BAD_TILE, TOTAL_GRID, TOTAL_TILE
from tests.support.promtool import Inputs, evaluate, rule_texts, slo
from tests.support.real_meshes import CASES, MINUTES, MeshCase
from tests.support.real_meshes_served import NAMES, kept, reported, slo_set, source  # noqa: F401

RULES = {scope: rule_texts(slo(service=scope, policy=None)) for scope in ("checkout", "*")}


@pytest.mark.parametrize("tiles", [False, True], ids=["grid", "tiles"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rules_count_what_can_be_known(case: MeshCase, tiles: bool) -> None:
    metrics = (BAD_TILE, TOTAL_TILE) if tiles else (BAD_GRID, TOTAL_GRID)
    step = 1 if tiles else 5
    # promtool evaluates nothing that begins before the first sample: the end of each step is asked for.
    queries = [(metric, f"{minute}m") for minute in range(step, MINUTES + 1, step) for metric in metrics]
    [found] = evaluate(
        RULES["*" if tiles else "checkout"],
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
