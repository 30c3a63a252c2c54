"""Rule files and their unit tests, byte for byte, and promtool's opinion of them.

Each folder below ``rules/`` is a case: ``slo.yaml`` or a folder ``slo``, and the files that are made from it in
``expected``. A case with a folder ``operator`` also holds the objects of the Prometheus operator. To rewrite them:
``SLOCTL_UPDATE_GOLDEN=1 pytest tests/golden/test_rules_golden.py``, then read the difference.

A rule of a guardrail is held once: by ``guardrails``, every one with its defaults and its proof. ``guardrails-ambient``
holds those that an ambient mesh has otherwise, ``guardrails-limits`` what limits and parameters make of them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import promql_parser
import pytest

from tests.support.kubernetes import VERSIONS, schema_problems
from tests.support.promtool import EVERY_LIMIT, run
from tests.support.rule_cases import (
    CASES,
    ONLY_3,
    PROVED,
    ROOT,
    copies,
    generated,
    held,
    is_test,
    loaded,
    parsed,
    proved,
    rules,
    stored,
    write,
)

UPDATE = os.environ.get("SLOCTL_UPDATE_GOLDEN") == "1"

case_names = pytest.mark.parametrize("case", CASES)


def test_there_are_cases() -> None:
    assert len(CASES) >= 15


@case_names
def test_files(case: str) -> None:
    if UPDATE:
        write(ROOT / case / "expected", held(case))
    assert held(case) == stored(ROOT / case / "expected")


@case_names
def test_operator_objects(case: str) -> None:
    """The operator's form has the same groups; promtool, which cannot read it, gets the same plain copies."""
    plain, files = generated(case, "prometheus"), generated(case, "operator")
    folder = ROOT / case / "operator"
    objects = loaded(files)
    if UPDATE and folder.exists():
        write(folder, objects)
    if folder.exists():
        assert objects == stored(folder)
    assert {p: t for p, t in files.items() if p not in objects} == {
        path: text for path, text in plain.items() if path not in loaded(plain)
    }
    assert sorted(objects) == sorted(loaded(plain))
    for path, text in objects.items():
        document = parsed(text)
        assert document["kind"] == "PrometheusRule"
        assert len(document["metadata"]["name"]) <= 63
        assert document["spec"] == parsed(plain[path])


def assert_promtool_agrees(folder: Path, tests: list[str]) -> None:
    """The plain rule files below ``folder`` are valid, and the generated unit tests pass on them."""
    plain = [
        path for path in sorted(folder.rglob("*.yaml")) if "\ngroups:\n" in path.read_text(encoding="utf-8")
    ]
    checked = run("check", "rules", *plain)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for path in (folder / test for test in tests):
        tested = run("test", "rules", path.name, cwd=path.parent)
        assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("case", sorted(({*CASES} if EVERY_LIMIT else PROVED) - ONLY_3))
@pytest.mark.slow
def test_promtool(case: str, tmp_path: Path) -> None:
    write(tmp_path, generated(case))
    assert_promtool_agrees(tmp_path, proved(case))


def test_objects_of_victoriametrics_have_the_same_groups() -> None:
    plain, files = generated("remote", "prometheus"), generated("remote", "victoriametrics")
    assert files.keys() == plain.keys()
    for path in loaded(plain):
        item = parsed(files[path])
        assert (item["apiVersion"], item["kind"]) == ("operator.victoriametrics.com/v1beta1", "VMRule")
        assert schema_problems(item, VERSIONS[0]) == []
        assert schema_problems({**item, "spec": {"groups": [{"rules": []}]}}, VERSIONS[0])
        assert item["spec"] == parsed(plain[path])


@pytest.mark.slow
def test_promtool_beside_operator_objects(tmp_path: Path) -> None:
    """One case will do: what is in the folder of tests is the same bytes as above."""
    files = generated("minimal", "operator")
    write(tmp_path, files)
    assert_promtool_agrees(tmp_path, [path for path in files if is_test(path)])


@case_names
def test_every_alert_is_proved_or_named(case: str) -> None:
    """Each alert has a unit test that sees it fire, or stands in its test file's list of those without."""
    files = generated(case)
    fired: set[str] = set()
    comments = ""
    for path, text in files.items():
        if is_test(path):
            comments += "".join(line for line in text.splitlines() if line.startswith("#"))
            for test in parsed(text)["tests"]:
                fired |= {check["alertname"] for check in test["alert_rule_test"] if check["exp_alerts"]}
    for text in loaded(files).values():
        for rule in rules(text):
            if "alert" in rule:
                assert rule["alert"] in fired or rule["alert"] in comments


@case_names
def test_what_promtool_reads_is_what_prometheus_loads(case: str) -> None:
    """Rule for rule, in the same order, and every alert."""
    files = generated(case)
    whole = [rule for text in loaded(files).values() for rule in rules(text)]
    tested = [rule for text in copies(files).values() for rule in rules(text)]
    assert all(rule in tested for rule in whole if "alert" in rule)
    for text in copies(files).values():
        order = [whole.index(rule) for rule in rules(text)]
        assert order == sorted(order)
    health = [r for path, text in loaded(files).items() if "-mesh-health-" in path for r in rules(text)]
    assert all(rule in tested for rule in health)


@case_names
def test_every_expression_parses_and_no_label_is_empty(case: str) -> None:
    for path, text in generated(case).items():
        if not is_test(path):
            for rule in rules(text):
                # This parser knows no more than 32 bits of milliseconds; Prometheus (see promtool above) does.
                promql_parser.parse(re.sub(r"\b(\d{7,})999ms\b", r"\1s", rule["expr"]))
                assert all(isinstance(value, str) and value for value in rule["labels"].values()), rule


@case_names
def test_names_are_unique_in_a_set(case: str) -> None:
    """No two groups of one name, and no two rules that record the same series."""
    groups: list[str] = []
    series: list[tuple[str, str]] = []
    for path, text in loaded(generated(case)).items():
        if not is_test(path):
            groups += [group["name"] for group in parsed(text)["groups"]]
            series += [(r["record"], str(sorted(r["labels"].items()))) for r in rules(text) if "record" in r]
    assert len(set(groups)) == len(groups)
    assert len(set(series)) == len(series)


@pytest.mark.parametrize("case", ["remote", "remote-stopped"])
def test_a_ruler_that_writes_remotely_reads_nothing_of_the_same_instant(case: str) -> None:
    """It would not be there yet, and every series made of it would stay empty."""
    for text in loaded(generated(case)).values():
        for rule in rules(text):
            assert "[1s])" not in rule["expr"], rule
            assert len(rule["expr"].encode()) < 15_000, rule.get("record") or rule["alert"]


@case_names
def test_what_was_just_recorded_was_recorded_in_the_same_group(case: str) -> None:
    """Another group runs at another second: its series would never be there. promtool, which runs all at once, is blind
    to that."""
    for text in loaded(generated(case)).values():
        for group in parsed(text)["groups"]:
            known: set[str] = set()
            for rule in group["rules"]:
                read = set(
                    re.findall(r"last_over_time\(([a-zA-Z_:0-9]+)(?:\{[^}]*\})?\[1s\]\)", rule["expr"])
                )
                assert read <= known, (group["name"], read - known)
                known |= {rule["record"]} if "record" in rule else set()
