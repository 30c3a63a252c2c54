"""Series of Sloth: no two rules record the same one."""

from __future__ import annotations

from collections import Counter

import pytest

from alert_rules import sloth_series
from alert_rules.groups import RecordingRule
from tests.support.shop_slos import CHECKOUT, slos


def test_a_series_is_of_one_slo() -> None:
    """Sloth's have no namespace: of two services of one name, Prometheus would keep whatever came last."""
    slo_set = slos(CHECKOUT, CHECKOUT.replace("namespace: shop", "namespace: test"))
    file, (problem,) = sloth_series.rule_file(slo_set)
    assert len(file.groups) == 1
    assert problem.code == "export-refused"
    assert "availability of checkout in test" in problem.message
    assert problem.position == slo_set.slos[1].position


@pytest.mark.parametrize("window", ["3d", "1d", "30d"])
def test_a_period_that_is_a_window_too_is_recorded_once(window: str) -> None:
    slo_set = slos(CHECKOUT.replace("sli:", f"window: {window}, alerting: none, sli:"))
    (group,) = sloth_series.rule_file(slo_set)[0].groups
    recorded = Counter(
        (rule.record, str(rule.labels)) for rule in group.rules if isinstance(rule, RecordingRule)
    )
    assert set(recorded.values()) == {1}
    assert any(record.endswith(window) for record, _ in recorded)
