"""Runs processes, measures them, and prints tables."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from statistics import median

PYTHON = sys.executable
_SCRIPT = Path(sys.executable).with_name("sloctl")
SLOCTL = (str(_SCRIPT),) if _SCRIPT.exists() else (PYTHON, "-m", "sloctl")
_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians over some runs of a process: seconds of wall and CPU time, peak of resident memory in bytes."""

    wall: float
    cpu: float
    peak: float
    runs: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str], *, runs: int = 5, before: Callable[[], object] = lambda: None, expect: int = 0
) -> Cost:
    """Run ``command`` ``runs`` times, ``before`` each; raises RuntimeError for another exit code than ``expect``."""
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        report = Path(name) / "cost.json"
        for _ in range(runs):
            before()
            done = subprocess.run(
                [PYTHON, "-I", "-S", str(_LAUNCH), str(report), *command], capture_output=True, text=True
            )
            cost = json.loads(report.read_text())
            if cost["exit"] != expect:
                raise RuntimeError(f"{' '.join(command)} ended with {cost['exit']}:\n{done.stderr[-2000:]}")
            found.append(cost)
    wall, cpu, peak = (median(cost[key] for cost in found) for key in ("wall", "cpu", "peak"))
    return Cost(wall, cpu, peak, runs, done.stdout, done.stderr)


def machine() -> str:
    """The machine as the figures need it: cores, Python."""
    return f"{cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def title(text: str) -> None:
    print(f"\n### {text}\n\nMachine: {machine()}.\n", flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    sys.stdout.flush()


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 0.995 else f"{value * 1000:.0f} ms"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"
