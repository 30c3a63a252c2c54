"""Every way in which a ledger fails ``run slis`` and ``report``: exit code, message and hint, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sloctl import spec
from sloctl.ledger.protocol import MICRO
from sloctl.ledger.store import open_ledger
from sloctl.settings.secret import Secret
from tests.support.command_line import Outcome, in_process, shell
from tests.support.faulty_server import FaultyServer, Handler, answer, refused_url
from tests.support.scripted import Scripted, scrape_times, steady
from tests.support.simulated import Flow, Simulated, serve

AT = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) + 60
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
NOWHERE = "postgresql://sloctl:s3cr3t@127.0.0.1:1/ledger"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(SLO_FILE)
    return inner


@pytest.fixture
def prometheus(folder: Path) -> Iterator[str]:
    slo_set = spec.load([folder / "slo.yaml"])
    source = Scripted(slo_set, scrape_times(AT - 7200, AT, 30))
    with FaultyServer(serve(source)) as server:
        yield server.url


def run(folder: Path, url: str, *command: str, ledger: str = "ledger.db") -> Outcome:
    where = ("-f", "slo.yaml", "--prometheus", url, "--at", str(AT), "--ledger", ledger)
    return in_process(*command, *where, folder=folder, env={"SLOCTL_PROMETHEUS_RETRIES": "0"})


@pytest.mark.parametrize("said", [{"isPartial": True}, {"warnings": ["the same text as ever"]}])
def test_a_partial_answer_ends_with_3_and_is_never_stored(folder: Path, said: dict[str, Any]) -> None:
    """Half of the events, from a cluster that says so: the next run, of a whole answer, has the truth."""
    slo_set = spec.load([folder / "slo.yaml"])
    whole = serve(Scripted(slo_set, scrape_times(AT - 7200, AT, 30), steady(100, 10)))
    half = Scripted(slo_set, scrape_times(AT - 7200, AT, 30), steady(50, 0))

    def partial(handler: Handler) -> None:
        form = handler.received.form
        times = [datetime.fromtimestamp(float(form[key]), UTC) for key in ("start", "end") if key in form]
        if "istio_" not in form["query"]:
            whole(handler)
            return
        found = half.query_range(form["query"], times[0], times[1], timedelta(seconds=float(form["step"])))
        answer({"resultType": "matrix", "result": found}, **said)(handler)

    with FaultyServer(partial) as server:
        failed = run(folder, server.url, "run", "slis")
    assert failed.code == 3
    assert "partial answer of shop:shop/checkout/availability from" in failed.stderr
    with open_ledger(Secret(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
        assert ledger.newest("shop") == {}
        with FaultyServer(whole) as server:
            recorded(folder, server.url)
        (sums,) = ledger.sums("shop", [(AT - 60 - 600, AT - 60)])
        assert [(item.total, item.bad) for item in sums.values()] == [(200 * MICRO, 20 * MICRO)]


def recorded(folder: Path, prometheus: str) -> None:
    done = run(folder, prometheus, "run", "slis")
    assert done.code == 0, done.stderr
    assert "buckets recorded" in done.stderr


def damage(path: Path, what: str) -> None:
    if what == "newer":
        with sqlite3.connect(path) as database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.close()
    elif what == "text":
        path.write_text("not a database, but long enough to be looked at " * 100)
    elif what == "folder":
        path.unlink()
        path.mkdir()
    elif what == "torn":
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3])


@pytest.mark.parametrize(
    "command", [("run", "slis"), ("report", "--source", "ledger")], ids=["run", "report"]
)
@pytest.mark.parametrize(
    ("what", "code", "message", "hint"),
    [
        ("newer", 2, "which this sloctl does not know", "a later version of sloctl made it"),
        ("text", 2, "is not a ledger, nor any SQLite database", "name another file"),
        ("folder", 2, "is a folder", "name a file in it"),
        ("torn", 3, "at its end", "hint:"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused(
    folder: Path, prometheus: str, command: tuple[str, ...], what: str, code: int, message: str, hint: str
) -> None:
    recorded(folder, prometheus)
    path = folder / "ledger.db"
    damage(path, what)
    before = path.read_bytes() if path.is_file() else b""
    done = run(folder, prometheus, *command)
    assert (done.code, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
    assert hint in done.stderr
    assert (path.read_bytes() if path.is_file() else b"") == before, "left as it was"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [("run", "slis"), ("report", "--source", "ledger")], ids=["run", "report"]
)
def test_a_database_that_is_not_there_is_unavailable(
    folder: Path, prometheus: str, command: tuple[str, ...]
) -> None:
    done = run(folder, prometheus, *command, ledger=NOWHERE)
    assert (done.code, done.stdout) == (3, ""), done.stderr
    assert "the ledger postgresql://127.0.0.1:1/ledger" in done.stderr
    assert "s3cr3t" not in done.stderr
    assert "hint:" in done.stderr


@pytest.mark.slow
def test_a_report_that_may_look_elsewhere_does(folder: Path) -> None:
    slo_set = spec.load([folder / "slo.yaml"])
    source = Simulated(slo_set, [Flow(slo_set.slos[0].id, "shop", "checkout", AT - 1e7, AT + 1e7, 10)])
    with FaultyServer(serve(source)) as server:
        done = run(folder, server.url, "report", "--source", "auto", "--format", "json", ledger=NOWHERE)

    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["source"] == "prometheus"
    assert "[ledger-not-read]" in done.stderr
    assert "s3cr3t" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_file_that_may_not_be_written_says_so(folder: Path, prometheus: str) -> None:
    recorded(folder, prometheus)
    (folder / "ledger.db").chmod(0o444)
    done = run(folder, prometheus, "run", "slis")
    assert done.code == 2
    assert "must be writable" in done.stderr


def test_a_full_disk_is_unavailable_and_loses_nothing(folder: Path, prometheus: str) -> None:
    recorded(folder, prometheus)
    shutil.copy(folder / "ledger.db", folder / "whole.db")
    with sqlite3.connect(folder / "ledger.db") as database:  # as if the runs had been missed
        for table in ("coverage", "buckets", "hours", "days", "cause_buckets", "cause_days"):
            database.execute(f"DELETE FROM {table}")
    database.close()
    command = f"sloctl run slis -f slo.yaml --prometheus {prometheus} --at {AT} --ledger ledger.db"
    # Without bytecode: Python would leave half a file of it in this tree.
    done = shell(f"ulimit -f 8; PYTHONDONTWRITEBYTECODE=1 {command}", folder).clean()
    assert done.code == 3, done.stderr
    assert "ledger.db: " in done.stderr
    assert "make room on the disk; what was recorded is safe, and the next run catches up" in done.stderr
    recorded(folder, prometheus)
    keys = spec.load([folder / "slo.yaml"])
    for name in ("whole.db", "ledger.db"):
        with open_ledger(Secret(f"sqlite:///{folder / name}")) as ledger:
            (sums,) = ledger.sums(keys.name, [(AT - 60 - 3600, AT - 60)])
            assert [item.total for item in sums.values()] == [1200 * 10**6], name


def test_prometheus_that_is_down_stops_a_run_and_leaves_a_report_its_budgets(
    folder: Path, prometheus: str
) -> None:
    recorded(folder, prometheus)
    with open_ledger(Secret(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
        before = ledger.newest("shop")
    where = ("-f", "slo.yaml", "--prometheus", refused_url(), "--at", str(AT + 600), "--ledger", "ledger.db")
    done = in_process("run", "slis", *where, folder=folder, env={"SLOCTL_PROMETHEUS_RETRIES": "0"})
    assert done.code == 3
    assert "connection refused" in done.stderr
    with open_ledger(Secret(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
        assert ledger.newest("shop") == before
    done = run(folder, refused_url(), "report", "--source", "ledger", "--format", "json")
    assert done.code in (0, 1), done.stderr
    found = json.loads(done.stdout)
    (item,) = found["slos"]
    assert item["events"]["total"] > 2000
    assert "prometheus-not-read" in {finding["code"] for finding in found["findings"]}
