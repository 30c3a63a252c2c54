"""What holds the layout of the code, beyond the contracts that import-linter checks (``make check``)."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("sloctl", "alert_rules", "dashboards", "jobs")
LONGEST_MODULE = 350
HEAVY = {
    *(
        "apscheduler",
        "grafanalib",
        "jinja2",
        "matplotlib",
        "numpy",
        "opentelemetry",
        "pandas",
        "prometheus_api_client",
        "promql_parser",
    ),
    *("requests", "rich", "slack_sdk", "urllib3", "yaml"),
}


def _modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_modules_fit_a_readers_head() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _modules()}
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_every_module_says_what_it_is_for() -> None:
    assert [str(path) for path in _modules() if not path.read_text().startswith('"""')] == []


@pytest.mark.skipif(importlib.util.find_spec("sloctl.cli") is None, reason="there is no command line")
def test_the_command_line_starts_without_what_only_some_commands_need() -> None:
    script = "import sys, sloctl.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "click" in loaded.split()
    assert HEAVY & set(loaded.split()) == set()


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="git knows which files are ours"
)
def test_no_file_names_a_place_of_one_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    place = re.compile(rb"(?<![\w.~-])/(?:work|root)/")
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    assert [str(path) for path in files if path.is_file() and place.search(path.read_bytes())] == []
