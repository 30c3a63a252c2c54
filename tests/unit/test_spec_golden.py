"""The corpus of invalid files and folders, each with the text that a user sees; and the valid ones.

``SLOCTL_UPDATE_GOLDEN=1 pytest tests/unit/test_spec_golden.py`` writes the expected texts anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

from sloctl import spec
from sloctl.errors import InvalidFile, Problem
from tests.support.golden import cases
from tests.support.yaml_text import read_yaml_all

GOLDEN = Path(__file__).parent.parent / "golden"
INVALID = cases(GOLDEN / "invalid")
VALID = cases(GOLDEN / "valid")
VALIDATORS = [jsonschema.Draft202012Validator(schema()) for schema in (spec.json_schema, spec.overlay_schema)]


def validator(document: object) -> jsonschema.Draft202012Validator:
    return VALIDATORS[isinstance(document, dict) and document.get("kind") == "MeshSLOsOverlay"]


STRUCTURAL = {"wrong-type", "bad-value", "missing-key", "unknown-key", "no-value", "key-conflict", "bad-key"}
"""What a JSON Schema can say too."""
TEXTUAL = {
    "yaml-syntax", "yaml-value", "yaml-tag", "yaml-alias", "yaml-merge", "yaml-key", "depth", "duplicate-key",
    "control-character", "encoding", "empty-file", "too-large", "inline-secret", "not-rendered", "other-format",
}  # fmt: skip
"""What is lost (or refused) by the time that PyYAML has made objects of the text."""


def problems_of(file: Path) -> list[Problem]:
    slo_set, problems = spec.check([file])
    assert slo_set is None, "the file is valid"
    return problems


def rendered(file: Path) -> str:
    problems = problems_of(file)
    return spec.render_text(problems, lines=spec.source_lines(problems)).replace(str(file), file.name)


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_invalid_file(file: Path) -> None:
    expected = file.with_suffix(".txt")
    text = rendered(file)
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_invalid_file_as_exception_and_json(file: Path) -> None:
    with pytest.raises(InvalidFile) as caught:
        spec.load([file])
    assert list(caught.value.problems) == problems_of(file)
    objects = json.loads(spec.render_json(caught.value.problems))
    assert [o["line"] for o in objects] == [p.position.line for p in caught.value.problems]
    assert all(o["severity"] in ("error", "warning") and o["message"] and o["code"] for o in objects)


def test_every_expectation_has_its_file() -> None:
    assert {f.stem for f in (GOLDEN / "invalid").glob("*.txt")} == {f.stem for f in INVALID}


def test_no_message_shows_a_secret() -> None:
    for file in INVALID:
        assert "hunter2" not in file.with_suffix(".txt").read_text(encoding="utf-8"), file.name


@pytest.mark.parametrize("file", INVALID, ids=lambda file: file.stem)
def test_schema_finds_what_a_schema_can_find(file: Path) -> None:
    codes = {problem.code for problem in problems_of(file) if problem.severity == "error"}
    if codes & TEXTUAL:
        pytest.skip("not about structure")
    documents = [document for source in spec.read([file]) for document in read_yaml_all(source.content)]
    fine = all(validator(document).is_valid(document) for document in documents)
    assert fine is not bool(codes & STRUCTURAL), codes


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.stem)
def test_valid_file(file: Path) -> None:
    slo_set = spec.load([file])
    assert slo_set.slos
    for source in spec.read([file]):
        for document in read_yaml_all(source.content):
            if document is not None:
                validator(document).validate(document)
    text = spec.render_text(slo_set.warnings).replace(str(file), file.name)
    expected = file.with_suffix(".txt")
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        expected.write_text(text, encoding="utf-8") if text else expected.unlink(missing_ok=True)
    assert text == (expected.read_text(encoding="utf-8") if expected.exists() else "")
