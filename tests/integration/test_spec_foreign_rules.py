"""Rules of a converted file and the original's own rule on the same data: the same error ratio, but for what is said.

The originals' rules are written by hand, as their documentation has them: Sloth records
``slo:sli_error:ratio_rate5m``, Pyrra ``…:burnrate5m``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("tool", ORIGINALS)
def test_the_same_error_ratio(tool: str) -> None:
    name, job, original = ORIGINALS[tool]
    file = GOLDEN / f"{tool}.yaml"
    text = convert([spec.Source(file.name, file.read_bytes())]).text
    slo_set, _ = check_sources([spec.Source("slo.yaml", text.encode())])
    assert slo_set is not None
    kept = [slo for slo in slo_set.slos if slo.name == name]
    rules = loaded_rules(type(slo_set)(slo_set.name, tuple(kept)))
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
        [(query, f"{minute}m") for minute in (10, 25) for query in (ours, "original:ratio5m")],
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
    assert answers[0][0] == pytest.approx(answers[0][1], rel=1e-9)
    assert answers[0][0] == pytest.approx(0.01)
    assert answers[0][2] == pytest.approx(answers[0][3], rel=1e-9)
    assert answers[0][2] == pytest.approx(300 / 1290)
    # The documented difference: what a series counts before it is first seen.
    assert answers[1][0] == pytest.approx(50 / 5000)
    assert answers[1][1] == 0
