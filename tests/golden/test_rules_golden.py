"""Rule files and their unit tests, byte for byte, and promtool's opinion of them.

Each folder below ``rules/`` is a case: ``slo.yaml`` or a folder ``slo``, and the files that are made from it in
``expected``. A case with a folder ``operator`` also holds the objects of the Prometheus operator. To rewrite them:
``SLOCTL_UPDATE_GOLDEN=1 pytest tests/golden/test_rules_golden.py``, then read the difference.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from alert_rules import manifest
from sloctl import spec
from tests.support.promtool import run

ROOT = Path(__file__).parent / "rules"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir())
UPDATE = os.environ.get("SLOCTL_UPDATE_GOLDEN") == "1"

case_names = pytest.mark.parametrize("case", CASES)


def generated(case: str, form: manifest.Format) -> dict[str, str]:
    source = ROOT / case / "slo.yaml"
    slo_set = spec.load([source if source.exists() else ROOT / case / "slo"])
    files = list(manifest.generate(slo_set, form))
    assert len({path for path, _ in files}) == len(files), "two files of one name"
    return dict(files)


def stored(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def write(folder: Path, files: dict[str, str]) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def rules(text: str) -> Iterator[dict[str, Any]]:
    document = yaml.safe_load(text)
    for group in document.get("spec", document)["groups"]:
        yield from group["rules"]


def is_test(path: str) -> bool:
    return path.endswith("_test.yaml")


def test_there_are_cases() -> None:
    assert len(CASES) >= 15


@case_names
def test_files(case: str) -> None:
    files = generated(case, "prometheus")
    if UPDATE:
        write(ROOT / case / "expected", files)
    assert files == stored(ROOT / case / "expected")


@case_names
def test_operator_objects(case: str) -> None:
    """The operator's form has the same groups, and a plain copy beside its tests, for promtool cannot read it."""
    plain, files = generated(case, "prometheus"), generated(case, "operator")
    folder = ROOT / case / "operator"
    objects = {path: text for path, text in files.items() if "/tests/" not in path}
    if UPDATE and folder.exists():
        write(folder, objects)
    if folder.exists():
        assert objects == stored(folder)
    copies = {path.replace("/tests/", "/"): text for path, text in files.items() if "/tests/" in path}
    assert {p: t for p, t in copies.items() if not is_test(p)} == {
        p: t for p, t in plain.items() if not is_test(p)
    }
    assert sorted(objects) == sorted(path for path in plain if not is_test(path))
    for path, text in objects.items():
        document = yaml.safe_load(text)
        assert document["kind"] == "PrometheusRule"
        assert len(document["metadata"]["name"]) <= 63
        assert document["spec"] == yaml.safe_load(plain[path])


def assert_promtool_agrees(folder: Path) -> None:
    """The plain rule files below ``folder`` are valid, and every generated unit test passes on them."""
    plain = [
        path for path in sorted(folder.rglob("*.yaml")) if "\ngroups:\n" in path.read_text(encoding="utf-8")
    ]
    checked = run("check", "rules", *plain)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for path in sorted(folder.rglob("*_test.yaml")):
        tested = run("test", "rules", path.name, cwd=path.parent)
        assert tested.returncode == 0, tested.stdout + tested.stderr


@case_names
def test_promtool(case: str, tmp_path: Path) -> None:
    write(tmp_path, stored(ROOT / case / "expected"))
    assert_promtool_agrees(tmp_path)


def test_promtool_beside_operator_objects(tmp_path: Path) -> None:
    """One case will do: rules and tests are the same bytes as above, but for the place of the rules."""
    write(tmp_path, generated("minimal", "operator"))
    assert_promtool_agrees(tmp_path)


@case_names
def test_every_alert_is_proved_or_named(case: str) -> None:
    """Each alert has a unit test that sees it fire, or stands in its test file's list of those without."""
    files = stored(ROOT / case / "expected")
    for path, text in files.items():
        if is_test(path):
            continue
        tests = files[path.replace("alert_rules/", "alert_rules/tests/").removesuffix(".yaml") + "_test.yaml"]
        fired = {
            check["alertname"]
            for test in yaml.safe_load(tests)["tests"]
            for check in test["alert_rule_test"]
            if check["exp_alerts"]
        }
        comment = "".join(line for line in tests.splitlines() if line.startswith("#"))
        for rule in rules(text):
            if "alert" in rule:
                assert rule["alert"] in fired or rule["alert"] in comment


@case_names
def test_every_expression_parses_and_no_label_is_empty(case: str) -> None:
    for path, text in stored(ROOT / case / "expected").items():
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
    for path, text in stored(ROOT / case / "expected").items():
        if not is_test(path):
            groups += [group["name"] for group in yaml.safe_load(text)["groups"]]
            series += [(r["record"], str(sorted(r["labels"].items()))) for r in rules(text) if "record" in r]
    assert len(set(groups)) == len(groups)
    assert len(set(series)) == len(series)
