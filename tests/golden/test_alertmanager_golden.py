"""Alertmanager configurations, byte for byte.

Each folder below ``alertmanager/`` is a case: ``slo.yaml``, and the two forms that are made from it. To rewrite them:
``SLOCTL_UPDATE_GOLDEN=1 pytest tests/golden/test_alertmanager_golden.py``, then read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alert_rules.alertmanager import configuration
from sloctl import spec
from sloctl.artefacts.objects import Format
from tests.support.alertmanager import translated
from tests.support.yaml_text import read_yaml

ROOT = Path(__file__).parent / "alertmanager"
CASES = sorted(path.name for path in ROOT.iterdir() if path.is_dir())
UPDATE = os.environ.get("SLOCTL_UPDATE_GOLDEN") == "1"

case_names = pytest.mark.parametrize("case", CASES)


@case_names
@pytest.mark.parametrize("form", ["prometheus", "operator"])
def test_files(case: str, form: Format) -> None:
    ((path, text),) = configuration.generate(spec.load([ROOT / case / "slo.yaml"]), form)
    assert path == ("alertmanager/alertmanager.yaml" if form == "prometheus" else "alertmanager/shop.yaml")
    file = ROOT / case / f"{form}.yaml"
    if UPDATE:
        file.write_text(text, encoding="utf-8", newline="\n")
    assert text == file.read_text(encoding="utf-8")


@case_names
def test_both_forms_mean_the_same(case: str) -> None:
    """The operator makes of its object what the plain file says, but for where secrets are."""
    plain = read_yaml((ROOT / case / "prometheus.yaml").read_text(encoding="utf-8"))
    made = translated(read_yaml((ROOT / case / "operator.yaml").read_text(encoding="utf-8")))
    assert made["route"] == plain["route"]
    assert made["inhibit_rules"] == plain["inhibit_rules"]
    nobody = {"name": "sloctl/null"}
    assert _without_secrets(r for r in made["receivers"] if r != nobody) == _without_secrets(
        r for r in plain["receivers"] if r != nobody
    )


def _without_secrets(node: object) -> object:
    if isinstance(node, dict):
        return {key: key if key.endswith("_file") else _without_secrets(value) for key, value in node.items()}
    if isinstance(node, str | bool | int):
        return node
    return [_without_secrets(item) for item in node]  # type: ignore[attr-defined]
