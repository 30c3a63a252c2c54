"""What is on each dashboard, line by line: readable, so that a change of a query or a place shows in a review.

An outline has, for each panel, its place and number, its type, unit and title, and its queries. To rewrite them:
``SLOCTL_UPDATE_GOLDEN=1 pytest tests/golden/test_dashboards_golden.py``, then read the difference.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.manifest import BUILDERS, Json, boards, encode
from sloctl import spec
from sloctl.model.dashboards import KINDS

HERE = Path(__file__).parent
ROOT = HERE / "dashboards"
RULES = HERE / "rules"
CASES = ("guardrails", "guardrails-ambient", "calendar", "custom-events", "gateway", "sre-workbook")
UPDATE = os.environ.get("SLOCTL_UPDATE_GOLDEN") == "1"

case_names = pytest.mark.parametrize("case", CASES)


def outline(board: Json) -> Iterator[str]:
    yield f"{board['uid']}: {board['title']} ({board['time']['from']}, refresh {board['refresh']})"
    for variable in board["templating"]["list"]:
        several = " several" if variable.get("multi") else ""
        yield f"  variable {variable['name']} {variable['type']}{several}: {json.dumps(variable['query'])}"
    for item in board["annotations"]["list"]:
        yield f"  annotation {item['name']}: {item.get('expr', item.get('target', ''))}".replace("\n", " ")
    for link in board["links"]:
        yield f"  link {link['title']}: {link['url']}"
    for panel in board["panels"]:
        yield from _panel(panel, "  ")
        for inner in panel.get("panels", ()):
            yield from _panel(inner, "    ")


def _panel(panel: Json, indent: str) -> Iterator[str]:
    place = ",".join(str(panel["gridPos"][key]) for key in "xywh")
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    yield f"{indent}{panel['type']} {panel['title']!r} #{panel['id']} at {place} {defaults.get('unit', '')}".rstrip()
    for target in panel.get("targets", ()):
        text = target.get("expr") or json.dumps({k: v for k, v in target.items() if k != "datasource"})
        yield f"{indent}  {target['refId']}: {' '.join(text.split())}"


@case_names
def test_outline(case: str) -> None:
    slo_set = spec.load([RULES / case / "slo.yaml"])
    text = "\n".join(line for _, board in boards(slo_set) for line in outline(board)) + "\n"
    path = ROOT / f"{case}.txt"
    if UPDATE:
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")


def test_every_kind_is_there_and_no_other() -> None:
    assert tuple(BUILDERS) == KINDS
    made = {kind for kind, _ in boards(spec.load([RULES / "guardrails" / "slo.yaml"]))}
    assert made == set(KINDS)


def test_only_what_the_file_defines() -> None:
    made = {case: dict(boards(spec.load([RULES / case / "slo.yaml"]))) for case in CASES}
    assert set(made["custom-events"]) == {"executive", "oncall", "service", "budget"}
    assert set(made["calendar"]) == set(KINDS) - {"sidecars", "control-plane"}
    titles = {panel["title"] for panel in made["calendar"]["budget"]["panels"]}
    assert "Budget left" not in titles, "PromQL has no calendar"
    text = json.dumps(made["guardrails-ambient"])
    text = re.sub(r"istio_tcp_\w+\{[^}]*\}", "", text)  # of ztunnels, which report for both sides
    assert 'reporter=\\"source\\"' not in text.replace("\\\\", "\\"), "waypoints report requests, not clients"
    assert "waypoint" in text


def test_the_same_bytes_in_another_process() -> None:
    file = RULES / "guardrails" / "slo.yaml"
    program = (
        "import sys; from pathlib import Path; from sloctl import spec\n"
        "from dashboards.manifest import boards, encode\n"
        "print(''.join(encode(b) for _, b in boards(spec.load([Path(sys.argv[1])]))), end='')"
    )
    env = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], env=env, capture_output=True, check=True
    )
    here = "".join(encode(board) for _, board in boards(spec.load([file])))
    assert done.stdout.decode() == here


def test_a_panel_keeps_its_number_whatever_stands_beside_it() -> None:
    """With one guardrail less, every panel that is still there has the number that it had."""
    full, less = (_numbers(RULES / case / "slo.yaml") for case in ("guardrails", "calendar"))
    both = set(full) & set(less)
    assert len(both) > 20
    assert {key: full[key] for key in both} == {key: less[key] for key in both}


def _numbers(file: Path) -> dict[tuple[str, str, str], int]:
    found = {}
    for kind, board in boards(spec.load([file])):
        row = ""
        for panel in board["panels"]:
            row = panel["title"] if panel["type"] == "row" else row
            for item in (panel, *panel.get("panels", ())):
                found[kind, row, item["title"]] = item["id"]
    return found


@pytest.mark.parametrize("left_out", ["service", "budget"])
def test_nothing_leads_to_what_is_left_out(left_out: str, tmp_path: Path) -> None:
    file = tmp_path / "slo.yaml"
    text = (RULES / "guardrails" / "slo.yaml").read_text(encoding="utf-8")
    file.write_text(f"{text}dashboards: {{leave_out: [{left_out}]}}\n", encoding="utf-8")
    slo_set = spec.load([file])
    from alert_rules import manifest as rules
    from dashboards import manifest

    written = [*manifest.generate(slo_set, "prometheus"), *rules.generate(slo_set, "prometheus")]
    assert any("/d/sloctl-shop-" in content for _, content in written)
    for path, content in written:
        assert f"/d/sloctl-shop-{left_out}" not in content, path
