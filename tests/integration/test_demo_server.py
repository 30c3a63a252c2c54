"""The demo's Prometheus process: it starts, reloads, says why it fails, and never outlives us."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from sloctl.demo.programs import ChildProcess
from sloctl.demo.server import PrometheusServer, find_program, prometheus_config
from sloctl.errors import BackendUnavailable, QueryRejected, UsageError
from tests.support.interrupts import interruptible


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_starts_reloads_and_stops(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("groups: []\n")
    with PrometheusServer(tmp_path / "prometheus", rule_files=[rules]) as server:
        assert server.running
        assert server.url.startswith("http://127.0.0.1:")
        rules.write_text("groups: [{name: a, rules: [{record: one, expr: '1'}]}]\n")
        server.reload()
        rules.write_text("groups: [{name: a, rules: [{record: one, expr: '1 +'}]}]\n")
        with pytest.raises(QueryRejected, match="unexpected end of input"):
            server.reload()
        assert server.running
    assert not server.running


def test_a_wrong_configuration_is_the_callers_fault(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="field nonsense not found"),
        PrometheusServer(tmp_path, config="nonsense: 1\n"),
    ):
        pass


def test_a_dead_server_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wal").write_text("a file where a directory belongs")
    with pytest.raises(BackendUnavailable, match="not a directory"), PrometheusServer(tmp_path):
        pass


def test_a_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match="promtool is not on PATH") as caught:
        find_program("promtool")
    assert "apt-get install prometheus" in caught.value.hint


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_orphan_stays(tmp_path: Path, number: signal.Signals) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from sloctl.demo.server import PrometheusServer
        with PrometheusServer(Path(sys.argv[1])) as server:
            print(server._child.pid, flush=True)
            time.sleep(60)
        """
    )
    with interruptible():
        parent = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _alive(pid)
        os.kill(parent.pid, number)
        parent.wait(20)
    deadline = time.monotonic() + 20
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def _running_in(folder: Path) -> list[str]:
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink() == folder:
                found.append(link.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="no /proc to look for processes in")
def test_an_interrupt_while_a_child_starts_leaves_none(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    main, number = threading.get_ident(), signal.SIGINT
    with interruptible():
        for delay in range(60):  # at every quarter of a millisecond of a start
            timer = threading.Timer(delay / 4000, signal.pthread_kill, (main, number))
            with pytest.raises(KeyboardInterrupt):
                timer.start()
                with ChildProcess(["sleep", "600"], log=tmp_path / "log", directory=folder) as child:
                    timer.join()
                    child.wait()
    assert _running_in(folder) == []


def test_config_is_yaml_that_promtool_accepts(tmp_path: Path) -> None:
    path = tmp_path / "prometheus.yml"
    scrape = {"job_name": "a", "static_configs": [{"targets": ["x:1"], "labels": {"pod": "p"}}]}
    path.write_text(prometheus_config(scrape_configs=[scrape], alertmanagers=["127.0.0.1:9093"]))
    done = subprocess.run(
        [find_program("promtool"), "check", "config", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
