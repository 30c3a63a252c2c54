"""The list of what rules record is what the generated rules record: no name and no label more or less."""

from __future__ import annotations

import pytest

from alert_rules import manifest
from alert_rules.groups import RecordingRule
from sloctl.guardrails.plans import recorded
from sloctl.promql.parsing import parse
from tests.support.boards import CASES, labels, loaded, series


@pytest.mark.parametrize("case", CASES)
def test_the_rules_record_what_the_list_says(case: str) -> None:
    rules = [
        rule
        for file in manifest.rule_files(loaded(case))
        for group in file.groups
        for rule in group.rules
        if isinstance(rule, RecordingRule)
    ]
    listed = list(recorded(loaded(case)))
    assert {rule.record for rule in rules} == {item.record for item in listed}
    made = [(rule.record, tuple(sorted(rule.labels.items())), rule.expr) for rule in rules]
    assert sorted(made) == sorted(
        (item.record, tuple(sorted(item.labels.items())), item.expr()) for item in listed
    )


@pytest.mark.parametrize("case", CASES)
def test_expressions_leave_the_labels_that_the_list_names(case: str) -> None:
    for item in recorded(loaded(case)):
        if item.by is not None:
            left = labels(parse(item.expr()), series(case))
            assert left is not None and set(item.by) <= left | set(item.labels), item.record
            # What is read of recorded series may be another SLO's: only of raw ones is it told which.
            assert not item.raw or left <= {*item.by, *item.labels}, item.record
