"""The examples for CI are valid for GitHub and GitLab, and run the checks that the documentation names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sloctl import __version__
from sloctl.cli.main import cli
from tests.support.yaml_text import read_yaml

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SCHEMAS = {
    "github-actions.yml": ("vendor.github-workflows",),
    "gitlab-ci.yml": ("vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
}


def checked(name: str, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", *SCHEMAS[name], str(file)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_example_is_checked() -> None:
    assert {file.name for file in EXAMPLES.iterdir() if file.is_file()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_example_is_valid(name: str) -> None:
    done = checked(name, EXAMPLES / name)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("github-actions.yml", "runs-on:", "run-on:"),
        ("github-actions.yml", "contents: read", "contents: reed"),
        ("github-actions.yml", "timeout-minutes: 10", "timeout-minutes: ten"),
        ("gitlab-ci.yml", "interruptible: true", "interruptible: maybe"),
        ("gitlab-ci.yml", "extends: .sloctl", "extends: {a: b}"),
        ("gitlab-ci.yml", "entrypoint:", "entry_point:"),
    ],
)
def test_the_schema_refuses_slips(name: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = (EXAMPLES / name).read_text()
    assert right in text
    (tmp_path / name).write_text(text.replace(right, wrong))
    assert checked(name, tmp_path / name).returncode != 0


def commands(name: str) -> list[str]:
    """The lines of shell that an example runs."""
    document: dict[str, Any] = read_yaml((EXAMPLES / name).read_text())
    if name.startswith("github"):
        return [step["run"] for job in document["jobs"].values() for step in job["steps"] if "run" in step]
    jobs = [job for job in document.values() if isinstance(job, dict)]
    return [line for job in jobs for part in ("before_script", "script") for line in job.get(part, ())]


@pytest.mark.parametrize("name", SCHEMAS)
def test_example_runs_the_checks(name: str) -> None:
    lines = commands(name)
    assert "sloctl validate -f slo.yaml" in lines
    assert "sloctl generate -f slo.yaml -o out --check" in lines
    assert any("promtool test rules *_test.yaml" in line for line in lines)
    for line in lines:
        if line.startswith("sloctl "):
            context = cli.make_context("sloctl", line.split()[1:], resilient_parsing=False)
            name_of, command, arguments = cli.resolve_command(
                context, [*context._protected_args, *context.args]
            )
            assert command is not None
            command.make_context(str(name_of), arguments, parent=context)
    (installed,) = {found for line in lines for found in re.findall(r"sloctl @ git\+\S+@v([0-9.]+)", line)}
    assert installed == __version__
