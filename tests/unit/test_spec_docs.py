"""The published schema and reference page are what the tables say, and every example in them works.

``SLOCTL_UPDATE_GOLDEN=1 pytest tests/unit/test_spec_docs.py`` writes them anew.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sloctl import spec
from sloctl.errors import InvalidFile, UsageError
from sloctl.spec.reference import page as reference
from sloctl.spec.reference.page import CODES
from tests.support.golden import cases
from tests.support.yaml_text import read_yaml, read_yaml_all

DOCS = Path(__file__).parent.parent.parent / "docs"
GOLDEN = Path(__file__).parent.parent / "golden"
SCHEMA = spec.json_schema()
BASE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos: [{name: base, service: base, namespace: base, sli: {preset: availability}}]
"""


def published(name: str, text: str) -> None:
    file = DOCS / name
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text


def test_published_schema() -> None:
    published("slo-file.schema.json", json.dumps(SCHEMA, indent=2, ensure_ascii=False) + "\n")


def test_published_schema_of_overlays() -> None:
    schema = spec.overlay_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    published("slo-overlay.schema.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


def test_published_reference() -> None:
    published("slo-file.md", reference.markdown())


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def properties(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield from node.get("properties", {}).items()
        for value in node.values():
            yield from properties(value)
    elif isinstance(node, list):
        for value in node:
            yield from properties(value)


def test_every_key_is_described_and_in_the_reference() -> None:
    page = reference.markdown()
    for key, field in properties(SCHEMA):
        assert field["description"], key
        assert f"| `{key}` |" in page, key
    described = {shape.name for shapes in reference._TABLES.values() for shape in shapes}
    assert described == set(SCHEMA["$defs"])


def test_examples_of_the_schema_are_valid() -> None:
    for key, field in properties(SCHEMA):
        for example in field.get("examples", ()):
            validator = jsonschema.Draft202012Validator({**field, "$defs": SCHEMA["$defs"]})
            assert validator.is_valid(example), key


def check_text(text: str) -> tuple[Any, list[Any]]:
    environment = {"PROMETHEUS_URL": "http://prometheus:9090"}
    return spec.check([Path("-")], stdin=io.BytesIO(text.encode()), environment=environment)


def example(fragment: str) -> str:
    """A fragment of a file, made whole."""
    if "MeshSLOsOverlay" in fragment:
        return (GOLDEN / "valid" / "overlay" / "base.yaml").read_text() + "---\n" + fragment
    keys = read_yaml(fragment).keys()
    return "".join(line + "\n" for line in BASE.splitlines() if line.split(":")[0] not in keys) + fragment


FRAGMENTS = re.findall(r"```yaml\n(.*?)```", reference.markdown(), re.DOTALL)


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=range(len(FRAGMENTS)))
def test_example_of_the_reference(fragment: str) -> None:
    text = example(fragment)
    slo_set, problems = check_text(text)
    assert slo_set is not None, problems
    assert {problem.code for problem in problems} <= {"unknown-owner"}
    *base, last = read_yaml_all(text)
    jsonschema.validate(last, spec.overlay_schema() if base else SCHEMA)


def test_every_code_is_documented_and_has_a_case() -> None:
    files = [file for kind in ("invalid", "valid") for file in cases(GOLDEN / kind)]
    seen = {problem.code for file in files for problem in spec.check([file])[1]}
    assert seen <= set(CODES)
    assert set(CODES) - seen == {"too-large"}, "a code without a case in tests/golden"


def test_starter_validates_without_a_word() -> None:
    text = spec.starter()
    slo_set, problems = check_text(text)
    assert problems == []
    assert {slo.service for slo in slo_set.slos} == {"*", "checkout"}
    assert any(slo.policy.name == "inline" for slo in slo_set.slos)
    assert slo_set.sources.grafana, "alerts lead to dashboards from the first day"
    *base, last = read_yaml_all(text)
    jsonschema.validate(last, spec.overlay_schema() if base else SCHEMA)


def test_starter_takes_values() -> None:
    slo_set, problems = check_text(
        spec.starter(
            name="no",
            namespace="off",
            service="1",
            owner='Team "Ü"',
            prometheus="https://p/x",
            mode="ambient",
            grafana="https://g/x",
        )
    )
    assert problems == []
    assert (slo_set.name, slo_set.mesh.mode, slo_set.sources.prometheus) == ("no", "ambient", "https://p/x")
    assert slo_set.sources.grafana == "https://g/x"
    assert {(slo.namespace, slo.owner) for slo in slo_set.slos} == {("off", 'Team "Ü"')}, "no service in two"


@pytest.mark.parametrize(
    "values",
    [{"name": "Shop"}, {"service": "*"}, {"owner": "a\nb: c"}, {"prometheus": "http://u:p@h"}, {"mode": "x"}],
)
def test_starter_refuses_values(values: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        spec.starter(**values)
    assert not isinstance(caught.value, InvalidFile)
    assert str(caught.value)
