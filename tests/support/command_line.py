"""Runs the command line as users do: a process of its own, in a folder of its own, with a bare environment."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sloctl.cli.main import cli, run
from tests.support.interrupts import interruptible

ROOT = Path(__file__).parents[2]
TIMEOUT = 60
NOISE = ("Traceback", "Exception ignored", "internal error", "ResourceWarning", "DeprecationWarning")
"""What no user may ever see."""


@dataclass(frozen=True)
class Outcome:
    stdout: str
    stderr: str
    code: int

    def clean(self) -> Outcome:
        """Itself; fails if a user would see the inside of sloctl."""
        for word in NOISE:
            assert word not in self.stdout + self.stderr, self.stderr or self.stdout
        return self


def environment(folder: Path) -> dict[str, str]:
    """A ``sloctl`` on PATH that is this tree's, whose warnings are errors; no setting of the caller's."""
    programs = folder.parent / f"{folder.name}-bin"
    programs.mkdir(exist_ok=True)
    shim = programs / "sloctl"
    if not shim.exists():
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error -m sloctl "$@"\n')
        shim.chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NO_PROXY": "*",
    }


def shell(command: str, folder: Path, env: dict[str, str] | None = None) -> Outcome:
    """One line of a shell, with ``sloctl`` on its PATH."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder) | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
    )
    return Outcome(done.stdout.decode(), done.stderr.decode(), done.returncode)


def sloctl(*arguments: str, folder: Path, env: dict[str, str] | None = None) -> Outcome:
    """One run of the command line, which must not show its inside."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "sloctl", *arguments],
        cwd=folder,
        env=environment(folder) | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
    )
    return Outcome(done.stdout.decode(), done.stderr.decode(), done.returncode).clean()


def in_process(*arguments: str, folder: Path, env: dict[str, str] | None = None) -> Outcome:
    """As :func:`sloctl`, without the second that a process takes to start."""
    out, err, variables, home = io.StringIO(), io.StringIO(), dict(os.environ), Path.cwd()
    try:
        os.environ.clear()
        os.environ.update(environment(folder) | (env or {}))
        os.chdir(folder)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run(lambda: cli.main(list(arguments), prog_name="sloctl", standalone_mode=False))
    finally:
        os.chdir(home)
        os.environ.clear()
        os.environ.update(variables)
    return Outcome(out.getvalue(), err.getvalue(), code).clean()


def interrupted(*arguments: str, folder: Path, when: Callable[[], object]) -> Outcome:
    """A run that gets Ctrl-C as soon as ``when`` is true."""
    with interruptible():
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "sloctl", *arguments],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    with process:
        deadline = time.monotonic() + TIMEOUT
        while not when() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
    return Outcome(out.decode(), err.decode(), process.returncode).clean()


def plain(text: str) -> str:
    """Terminal output without its styles."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
