"""Rules of a converted file and the original's own rule on the same data: the same error ratio, but for what is said.

The originals' rules are written by hand, as their documentation has them: Sloth records
``slo:sli_error:ratio_rate5m``, Pyrra ``…:burnrate5m``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alert_rules import manifest, sloth_series
from sloctl import spec
from sloctl.naming import BAD_GRID, TOTAL_GRID
from sloctl.spec.foreign import convert
from sloctl.spec.load import check_sources
from tests.support.promtool import Inputs, evaluate, loaded_rules, series

GOLDEN = Path(__file__).parent.parent / "golden" / "import"
POD = {"instance": "10.0.0.1:8080", "pod": "pod-1"}
ORIGINALS = {
    "sloth": (
        "http-errors",
        "checkout",
        'sum(rate(http_requests_total{job="checkout",code=~"(5..|429)"}[5m])) '
        '/ sum(rate(http_requests_total{job="checkout"}[5m]))',
    ),
    "pyrra": (
        "api-errors",
        "shop-api",
        'sum(rate(http_requests_total{code=~"5..",job="shop-api"}[5m])) '
        '/ sum(rate(http_requests_total{job="shop-api"}[5m]))',
    ),
}

SLOTH = (
    "slo:sli_error:ratio_rate5m",
    "slo:current_burn_rate:ratio",
    'slo:objective:ratio{sloth_id!=""}',
    'slo:error_budget:ratio{sloth_id!=""}',
    'sloth_slo_info{sloth_objective="99.9"}',
    "slo:period_error_budget_remaining:ratio",
    'count(slo:objective:ratio{slo_id!=""})',
)
"""What is recorded under Sloth's names, and that our own series are not among them."""


@pytest.mark.parametrize("tool", ORIGINALS)
def test_the_same_error_ratio(tool: str) -> None:
    name, job, original = ORIGINALS[tool]
    file = GOLDEN / f"{tool}.yaml"
    text = convert([spec.Source(file.name, file.read_bytes())]).text
    slo_set, _ = check_sources([spec.Source("slo.yaml", text.encode())])
    assert slo_set is not None
    kept = [slo for slo in slo_set.slos if slo.name == name]
    rules = loaded_rules(type(slo_set)(slo_set.name, tuple(kept)))
    rules.append(manifest.prometheus(sloth_series.rule_file(type(slo_set)(slo_set.name, tuple(kept)))[0]))
    rule = {"record": "original:ratio5m", "expr": original}
    rules.append(json.dumps({"groups": [{"name": "original", "interval": "1m", "rules": [rule]}]}))

    def counter(code: str, values: str) -> tuple[str, str]:
        return series("http_requests_total", job=job, code=code, **POD), values

    ours = f'{BAD_GRID}{{slo="{name}"}} / {TOTAL_GRID}{{slo="{name}"}}'
    steady = Inputs(
        dict(
            [
                counter("200", "0+990x30"),
                counter("503", "0+10x10 400+300x19"),
                (series("up", job=job, **POD), "1x30"),
            ]
        ),
        [(query, f"{minute}m") for minute in (10, 25) for query in (ours, "original:ratio5m", *SLOTH)],
        name="steady",
    )
    fresh = Inputs(
        dict(
            [
                counter("200", "0+990x30"),
                counter("503", "_x17 50 50x12"),
                (series("up", job=job, **POD), "1x30"),
            ]
        ),
        [(query, "20m") for query in (ours, "original:ratio5m")],
        name="a first failure",
    )
    answers = [
        [samples[0][1] if samples else None for samples in answer]
        for answer in evaluate(rules, [steady, fresh])
    ]
    first, second = answers[0][: len(SLOTH) + 2], answers[0][len(SLOTH) + 2 :]
    for ratio, found in ((0.01, first), (300 / 1290, second)):
        assert found[0] == pytest.approx(found[1], rel=1e-9)
        assert found[:3] == pytest.approx([ratio] * 3)
        assert found[3] == pytest.approx(ratio / 0.001)
        assert found[4:7] == [0.999, 0.001, 1]
    assert first[7] == pytest.approx(1 - 0.01 / 0.001)
    assert (first[8], second[8]) == (1, 1)  # none of ours became two
    # The documented difference: what a series counts before it is first seen.
    assert answers[1][0] == pytest.approx(50 / 5000)
    assert answers[1][1] == 0
