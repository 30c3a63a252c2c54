"""Hooks of pre-commit: those for users do what they say, and ours run what ``make check`` runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.command_line import ROOT, Outcome, sloctl
from tests.support.yaml_text import read_yaml

SLO_FILE = """\
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""


def hook(name: str, folder: Path) -> Outcome:
    """What pre-commit runs: the entry, then its arguments, and no names of files."""
    hooks = {item["id"]: item for item in read_yaml((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert hooks[name]["pass_filenames"] is False
    program, *words = shlex.split(hooks[name]["entry"])
    assert program == "sloctl" and hooks[name]["language"] == "python"
    assert re.search(hooks[name]["files"], "team/slo.yaml")
    return sloctl(*words, *hooks[name]["args"], folder=folder)


def test_an_invalid_file_is_not_committed(tmp_path: Path) -> None:
    file = tmp_path / "slo.yaml"
    file.write_text(SLO_FILE)
    assert hook("sloctl-validate", tmp_path).code == 0
    file.write_text(SLO_FILE.replace("99.9", "100"))
    said = hook("sloctl-validate", tmp_path)
    assert said.code == 2 and "slo.yaml:6:" in said.stdout


def test_what_is_generated_is_committed_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "slo.yaml"
    file.write_text(SLO_FILE)
    assert hook("sloctl-generate-check", tmp_path).code == 1
    assert sloctl("generate", "-f", "slo.yaml", "-o", "out", folder=tmp_path).code == 0
    assert hook("sloctl-generate-check", tmp_path).code == 0
    file.write_text(SLO_FILE.replace("99.9", "99.8"))
    assert hook("sloctl-generate-check", tmp_path).code == 1


def test_our_own_are_those_of_make_check() -> None:
    target = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target is not None
    wanted = {line.strip().removesuffix(" .") for line in target[1].splitlines()}
    config = read_yaml((ROOT / ".pre-commit-config.yaml").read_text())
    found = {
        item["entry"].replace(" --force-exclude", "") for repo in config["repos"] for item in repo["hooks"]
    }
    assert found == wanted
