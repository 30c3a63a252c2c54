"""The examples for CI are valid for GitHub and GitLab, and run the checks that the documentation names."""

from __future__ import annotations

import os
import re
import shlex
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
    **dict.fromkeys(("github-actions.yml", "github-diff.yml"), ("vendor.github-workflows",)),
    **dict.fromkeys(
        ("gitlab-ci.yml", "gitlab-diff.yml"), ("vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    ),
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
    if "diff" in name:
        assert any(
            line.startswith("sloctl diff ") and line.endswith("--format markdown -o diff.md")
            for line in lines
        )
    else:
        assert "sloctl validate -f slo.yaml" in lines
        assert "sloctl generate -f slo.yaml -o out --check" in lines
        assert any("promtool test rules *_test.yaml" in line for line in lines)
    for line in lines:
        if line.startswith("sloctl "):
            context = cli.make_context("sloctl", shlex.split(line)[1:], resilient_parsing=False)
            name_of, command, arguments = cli.resolve_command(
                context, [*context._protected_args, *context.args]
            )
            assert command is not None
            command.make_context(str(name_of), arguments, parent=context)
    (installed,) = {found for line in lines for found in re.findall(r"sloctl @ git\+\S+@v([0-9.]+)", line)}
    assert installed == __version__


@pytest.mark.parametrize(
    ("name", "variable"), [("github-diff.yml", "github.token"), ("gitlab-diff.yml", "SLOCTL_COMMENT_TOKEN")]
)
def test_a_comment_s_token_is_in_no_command_s_arguments(name: str, variable: str) -> None:
    """What a workflow fills into a script would run, and what a program is started with others can read."""
    lines = commands(name)
    assert not any("${{" in line for line in lines)
    sending = [line for line in lines if variable in line]
    assert all(
        re.search(r"printf '[^']*' \"\$" + variable + r'" \| curl .*--header @- ', line) for line in sending
    )
    assert bool(sending) == name.startswith("gitlab")


@pytest.mark.parametrize("name", ["github-diff.yml", "gitlab-diff.yml"])
def test_a_comment_s_steps_run_on_a_repository(name: str, tmp_path: Path) -> None:
    """The file of the branch that is merged into is found, and is empty where it had none."""
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")

    def run(*words: str, **more: str) -> str:
        env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more}
        done = subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, text=True, env=env)
        return done.stdout.strip()

    run(*git, "init")
    run(*git, "commit", "--allow-empty", "-m", "nothing")
    lines = [line for line in commands(name) if line.startswith(("git ", "sloctl diff"))]
    (tmp_path / "slo.yaml").write_text((EXAMPLES.parents[1] / "tests/golden/valid/minimal.yaml").read_text())
    base = run("git", "rev-parse", "HEAD")
    where = {"RUNNER_TEMP": ".", "BASE": base, "CI_MERGE_REQUEST_DIFF_BASE_SHA": base}
    for line in lines:
        run("bash", "-eo", "pipefail", "-c", line, **where)
    assert "SLO: 1 comes" in (tmp_path / "diff.md").read_text()
    with pytest.raises(subprocess.CalledProcessError):  # a branch that was not fetched is no file that is new
        run("bash", "-eo", "pipefail", "-c", lines[0], **dict.fromkeys(where, "gone"))
    run("git", "add", "slo.yaml")
    run(*git, "commit", "-m", "slo.yaml")
    base = run("git", "rev-parse", "HEAD")
    for line in lines:
        run(
            "bash",
            "-eo",
            "pipefail",
            "-c",
            line,
            **where | {"BASE": base, "CI_MERGE_REQUEST_DIFF_BASE_SHA": base},
        )
    assert "nothing changes" in (tmp_path / "diff.md").read_text()
