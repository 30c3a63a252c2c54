"""Dashboards of a user's own: the programs of ``docs/dashboards.md``, run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dashboards import extend
from sloctl.errors import UsageError

ROOT = Path(__file__).parents[2]
SLO_FILE = ROOT / "tests" / "golden" / "rules" / "minimal" / "slo.yaml"
PROGRAMS = re.findall(
    r"^```python\n(.*?)^```$",
    (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


def test_there_are_programs() -> None:
    assert len(PROGRAMS) == 2


@pytest.mark.parametrize("program", PROGRAMS, ids=["panels", "beside SLOs"])
def test_a_dashboard_in_under_twenty_lines(program: str, tmp_path: Path) -> None:
    assert len([line for line in program.splitlines() if line.strip()]) < 20
    shutil.copy(SLO_FILE, tmp_path / "slo.yaml")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    written = tmp_path / done.stdout.strip()
    data = json.loads(written.read_text(encoding="utf-8"))
    assert written.name == f"{data['uid']}.json"
    assert data["tags"][:2] == ["sloctl", "sloctl:shop"], "the set's dashboards link to it by its tags"
    exprs = [target["expr"] for panel in data["panels"] for target in panel.get("targets", ())]
    assert any("queue_age_seconds" in expr for expr in exprs)


def test_what_the_lint_finds_is_not_written(tmp_path: Path) -> None:
    slo_set = extend.load(str(SLO_FILE))
    panel = extend.graph("Age", "By queue.", [("", "max by (queue) (age")], unit="s", nothing="no queue")
    sources = extend.sources(extend.Subject(slo_set))
    board = extend.dashboard(
        slo_set, "queues", "Queues", "Ours.", [extend.Section("Age", [panel])], variables=sources
    )
    with pytest.raises(UsageError, match=r"Age.*promql"):
        extend.write(board, tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_clusters_can_be_chosen_where_they_are_read(tmp_path: Path) -> None:
    slo_set = replace(extend.load(SLO_FILE), labels=(("cluster", "eu1"),))
    subject = extend.Subject(slo_set)
    for name, expr in (
        ("queues", "max(queue_age_seconds)"),
        ("burn", f"max({subject.latest('slo:burn_rate:1h')})"),
    ):
        panel = extend.graph("Now", "By queue.", [("", expr)], unit="s", nothing="no queue")
        sections, variables = [extend.Section("Now", [panel])], extend.sources(subject)
        board = extend.dashboard(slo_set, name, name, "Ours.", sections, variables=variables)
        written = json.loads(extend.write(board, tmp_path).read_text(encoding="utf-8"))
        names = [variable["name"] for variable in written["templating"]["list"]]
        assert names == ["datasource"] + ["cluster"] * (name == "burn")


def test_a_series_that_no_rule_records_is_an_error() -> None:
    subject = extend.Subject(extend.load(SLO_FILE))
    with pytest.raises(KeyError, match="no rule of shop records slo:burn_rate:2h"):
        subject.latest("slo:burn_rate:2h")


def test_two_panels_of_one_title_are_an_error() -> None:
    slo_set = extend.load(SLO_FILE)
    panel = extend.text("Note", "x")
    with pytest.raises(ValueError, match="same title"):
        extend.dashboard(slo_set, "x", "X", "X.", [extend.Section("A", [panel, panel])])
