"""What a person at a terminal meets: colour, width, Ctrl-C, files that cannot be written."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sloctl import spec
from tests.support.command_line import Outcome, environment, interrupted, plain, shell, sloctl
from tests.support.faulty_server import FaultyServer, answer, slow, vector
from tests.support.simulated import Flow, Simulated, serve

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = AT.timestamp()
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: "*", namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
SERVICES = {"checkout": 0.0, "recommendations-v2-canary": 0.5, "payments": 0.05, "search": 0.13}
"""Failures a minute of 100 requests."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(SLO_FILE)
    return inner


@pytest.fixture
def backend(folder: Path) -> Simulated:
    slo_set = spec.load([folder / "slo.yaml"])
    (slo,) = slo_set.slos
    flows = [
        Flow(slo.id, "shop", service, NOW - 1e7, NOW + 1e7, 100, bad) for service, bad in SERVICES.items()
    ]
    alerts = [(flows[1], "AvailabilityBudgetBurnPage6h"), (flows[1], "AvailabilityBudgetBurnTicket3d")]
    return Simulated(slo_set, flows, alerts=alerts)


def assert_expected(name: str, outcome: Outcome) -> None:
    """A good run with the stdout of a file, which ``SLOCTL_UPDATE_GOLDEN=1`` writes anew."""
    file = Path(__file__).parent / "expected" / name
    assert (outcome.code, outcome.stderr) == (0, "")
    if os.environ.get("SLOCTL_UPDATE_GOLDEN"):
        file.write_text(outcome.stdout, encoding="utf-8")
    assert outcome.stdout == file.read_text(encoding="utf-8")


def on_a_terminal(*arguments: str, folder: Path, columns: int, **env: str) -> Outcome:
    """A run whose output is a terminal of so many columns; both outputs are in ``stdout``.

    It is quiet: on a slow machine there would be a bar of progress.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "sloctl", "--quiet", *arguments],
        cwd=folder,
        env=environment(folder) | {"TERM": "xterm-256color"} | env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the other side has gone
                break
            if not part:
                break
            output += part
        code = process.wait(60)
    os.close(ours)
    return Outcome(output.decode().replace("\r\n", "\n"), "", code).clean()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("init", "-"), 0),
        (("completion", "bash"), 0),
        (("validate", "slo.yaml", "--format", "json"), 0),
        (("generate", "slo.yaml", "-o", "new", "--check"), 1),  # the verdict stays
    ],
)
def test_who_stops_reading_is_no_reason_to_complain(
    folder: Path, arguments: tuple[str, ...], code: int
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "sloctl", "-q", *arguments],
            cwd=folder,
            env=environment(folder),
            stdout=gone,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_the_report_fits_the_terminal(folder: Path, backend: Simulated, columns: int) -> None:
    with FaultyServer(serve(backend)) as server:
        command = ("report", "-f", "slo.yaml", "--prometheus", server.url, "--at", AT.isoformat())
        outcome = on_a_terminal(*command, folder=folder, columns=columns)
    lines = plain(outcome.stdout).splitlines()
    assert outcome.code == 0
    assert max(map(len, lines)) <= columns
    header = next(line for line in lines if line.startswith("status"))
    titles = re.split(r" {2,}", header.strip())
    for title in ("service", "SLO"):
        assert title in titles
    if columns >= 80:
        rows = lines[lines.index(header) + 1 :]
        assert rows[0].startswith("exhausted")
        assert "page-6h" in rows[0] and "ticket-3d" in " ".join(rows[:2]), "what fires is on screen"
        assert "-400.0 %" in rows[0]
        whole = [row for row in rows if re.match(r"(exhausted|at risk|ok) ", row)]
        assert len(whole) == len(SERVICES)
    if columns >= 200:
        assert {"SLI", "objective", "burn 5m", "burn 1h", "burn 3d"} <= set(titles)
    else:
        assert "Not shown, for want of room" in plain(outcome.stdout)


def test_colour_is_for_terminals_and_for_those_who_want_it(folder: Path, backend: Simulated) -> None:
    with FaultyServer(serve(backend)) as server:
        command = ("report", "-f", "slo.yaml", "--prometheus", server.url, "--at", AT.isoformat())
        coloured = on_a_terminal(*command, folder=folder, columns=120).stdout
        without = on_a_terminal(*command, folder=folder, columns=120, NO_COLOR="1").stdout
        piped = sloctl(*command, folder=folder).stdout
    colour = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    assert colour.search(coloured)
    assert not colour.search(without)
    assert plain(coloured) == plain(without)
    assert "\x1b" not in piped


def test_a_pipe_gets_all_columns(folder: Path, backend: Simulated) -> None:
    with FaultyServer(serve(backend)) as server:
        command = ("report", "-f", "slo.yaml", "--prometheus", server.url, "--at", AT.isoformat())
        outcome = sloctl(*command, folder=folder)
    assert_expected("report.txt", outcome)


@pytest.mark.slow
def test_the_gate_fails_on_what_it_is_told_to(folder: Path, backend: Simulated) -> None:
    with FaultyServer(serve(backend)) as server:
        report = f"sloctl report -f slo.yaml --prometheus {server.url} --at {AT.isoformat()} --format json"
        gates = {
            state: shell(f"{report} --fail-on {state}", folder) for state in ("never", "exhausted", "at_risk")
        }
        backend.flows = [flow for flow in backend.flows if flow.service in ("checkout", "payments")]
        backend.alerts = [(backend.flows[1], "AvailabilityBudgetBurnTicket3d")]
        calmer = {state: shell(f"{report} --fail-on {state}", folder) for state in gates}
    assert [outcome.code for outcome in gates.values()] == [0, 1, 1]
    assert [outcome.code for outcome in calmer.values()] == [0, 0, 1]
    assert gates["exhausted"].stderr == "sloctl: 2 of 4 budgets: exhausted\n"
    assert calmer["at_risk"].stderr == "sloctl: 1 of 2 budgets: exhausted or at_risk\n"
    assert len({outcome.stdout for outcome in gates.values()}) == 1, "the report is printed all the same"


@pytest.mark.parametrize("form", ["2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00", "1772366400", "age"])
def test_each_form_of_a_time_means_that_time(folder: Path, backend: Simulated, form: str) -> None:
    age = datetime.now(UTC) - AT
    text = f"{age // timedelta(seconds=1)}s" if form == "age" else form
    with FaultyServer(serve(backend)) as server:
        command = ("report", "-f", "slo.yaml", "--prometheus", server.url, "--format", "markdown")
        outcome = sloctl(*command, "--at", text, folder=folder)
    found = re.search(r"shop at (\S+): ", outcome.stdout)
    assert found
    stamp = datetime.fromisoformat(found[1])
    assert abs(stamp - AT) <= timedelta(seconds=20 if form == "age" else 0)


def test_all_jobs_as_tables(folder: Path, backend: Simulated) -> None:
    backend.flows = backend.flows[2:3]
    backend.alerts = []
    with FaultyServer(serve(backend)) as server:
        command = (
            "report",
            "burn_rate",
            "slis",
            "-f",
            "slo.yaml",
            "--prometheus",
            server.url,
            "--ledger",
            "none",
        )
        outcome = sloctl("run", *command, "--at", AT.isoformat(), "--last", "10m", folder=folder)
    assert_expected("jobs.txt", outcome)


def asked(server: FaultyServer) -> Callable[[], object]:
    return lambda: server.requests


def test_ctrl_c_ends_a_run_at_once_without_a_traceback(folder: Path) -> None:
    for command in (("report",), ("run", "slis")):
        with FaultyServer(slow(60, answer(vector(1)))) as server:
            outcome = interrupted(
                *command,
                "-f",
                "slo.yaml",
                "--prometheus",
                server.url,
                folder=folder,
                when=asked(server),
            )
        assert (outcome.code, outcome.stdout) == (130, "")
        assert outcome.stderr.strip() == "sloctl: interrupted"


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out").chmod(0o555)
    outcome = sloctl("generate", "-f", "slo.yaml", "-o", "out", folder=folder)
    assert outcome.code == 2
    assert re.match(
        r"sloctl: error: out/\S+: Permission denied\n  hint: no file is half-written", outcome.stderr
    )
    assert list((folder / "out").iterdir()) == []
