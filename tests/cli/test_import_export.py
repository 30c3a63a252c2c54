"""``sloctl import`` and ``sloctl export``: what is written, what is said, and the exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.command_line import in_process, sloctl
from tests.support.yaml_text import read_yaml

GOLDEN = Path(__file__).parent.parent / "golden" / "import"
SAID_WHOLE = """
version: prometheus/v1
service: cart
slos:
  - name: errors
    objective: 99.9
    sli:
      events:
        error_query: rate(http_requests_total{code=~"5.."}[{{.window}}])
        total_query: rate(http_requests_total[{{.window}}])
"""


def case(folder: Path, name: str) -> str:
    shutil.copy(GOLDEN / f"{name}.yaml", folder)
    return f"{name}.yaml"


def test_what_is_said_whole_exits_with_0(tmp_path: Path) -> None:
    (tmp_path / "given.yaml").write_text(SAID_WHOLE)
    done = in_process("import", "given.yaml", "-o", "slo.yaml", folder=tmp_path)
    assert (done.code, done.stdout, done.stderr) == (0, "", "1 SLO converted; wrote slo.yaml\n")
    valid = in_process("validate", "slo.yaml", folder=tmp_path)
    assert valid.code == 0
    again = in_process("import", "given.yaml", "-o", "slo.yaml", folder=tmp_path)
    assert again.code == 2
    assert "--force" in again.stderr
    assert in_process("import", "given.yaml", "-o", "slo.yaml", "--force", folder=tmp_path).code == 0


def test_what_is_left_out_exits_with_1_and_the_rest_is_written(tmp_path: Path) -> None:
    done = in_process("import", case(tmp_path, "sloth"), folder=tmp_path)
    assert done.code == 1
    assert done.stdout == (GOLDEN / "sloth.expected").read_text(encoding="utf-8")
    assert "sloth.yaml:21:13: warning: the alert's name 'CheckoutErrors'" in done.stderr
    assert done.stderr.endswith("5 SLOs converted, 3 not, 6 things left out, 1 renamed\n")


@pytest.mark.parametrize(("name", "code"), [("nothing", 1), ("malformed", 2)])
def test_nothing_is_written_where_no_slo_is_left(tmp_path: Path, name: str, code: int) -> None:
    done = in_process("import", case(tmp_path, name), "-o", "slo.yaml", folder=tmp_path)
    assert (done.code, done.stdout) == (code, "")
    assert not (tmp_path / "slo.yaml").exists()


def test_folders_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "slos").mkdir()
    for name in ("pyrra", "sloth-operator"):
        shutil.copy(GOLDEN / f"{name}.yaml", tmp_path / "slos")
    done = in_process("import", "slos", "--name", "company", folder=tmp_path)
    assert done.code == 1
    assert "  name: company\n" in done.stdout
    assert "slos/pyrra.yaml" in done.stdout
    assert "slos/sloth-operator.yaml" in done.stdout
    assert sloctl("import", "-", folder=tmp_path).code == 2


@pytest.mark.parametrize("window", ["30", "1m", "400d", "61m"])
def test_a_window_that_is_none(tmp_path: Path, window: str) -> None:
    (tmp_path / "given.yaml").write_text(SAID_WHOLE)
    done = in_process("import", "given.yaml", "--window", window, folder=tmp_path)
    assert done.code == 2
    assert "--window" in done.stderr


@pytest.mark.parametrize("name", ["sloth", "sloth-operator", "pyrra", "openslo", "openslo-alpha", "nobl9"])
def test_validate_names_the_command_that_converts(tmp_path: Path, name: str) -> None:
    done = in_process("validate", case(tmp_path, name), folder=tmp_path)
    assert done.code == 2
    assert "sloctl import -o slo.yaml FILE" in done.stdout


def test_export(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "openslo-alpha.expected", tmp_path / "slo.yaml")
    done = in_process("export", "--openslo", "-f", "slo.yaml", "-o", "openslo.yaml", folder=tmp_path)
    assert (done.code, done.stdout) == (0, "")
    assert done.stderr.endswith("1 SLO exported\n")
    back = in_process("import", "openslo.yaml", folder=tmp_path)
    assert back.code == 0
    assert "objective: 99.9" in back.stdout
    unsaid = in_process("export", "slo.yaml", folder=tmp_path)
    assert unsaid.code == 2
    assert "--openslo" in unsaid.stderr
    shutil.copy(GOLDEN / "pyrra.expected", tmp_path / "slo.yaml")
    left = in_process("export", "--openslo", "slo.yaml", folder=tmp_path)
    assert left.code == 1
    assert "every service of its namespace" in left.stderr


def test_sloth_series(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "sloth.expected", tmp_path / "slo.yaml")
    done = in_process("export", "--sloth-series", "slo.yaml", folder=tmp_path)
    assert (done.code, done.stderr.splitlines()[-1]) == (0, "5 SLOs exported")
    groups = read_yaml(done.stdout)["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == 5 * 15
    ids = {rule["labels"]["sloth_id"] for rule in rules if rule["record"] == "sloth_slo_info"}
    assert "checkout-http-errors" in ids
    assert not any(label.startswith("slo_") for rule in rules for label in rule["labels"])
    shutil.copy(GOLDEN / "pyrra.expected", tmp_path / "slo.yaml")
    (tmp_path / "slo.yaml").write_text(
        (tmp_path / "slo.yaml").read_text().replace("window: 28d", "window: {calendar: month}", 1)
    )
    left = in_process("export", "--sloth-series", "slo.yaml", folder=tmp_path)
    assert left.code == 1
    assert "a series of Sloth is of one" in left.stderr
    assert "none of a calendar window" in left.stderr
    assert "slo:period_burn_rate:ratio" in left.stdout
    assert in_process("export", "--sloth-series", "--openslo", "slo.yaml", folder=tmp_path).code == 2
