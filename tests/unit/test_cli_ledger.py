"""``sloctl ledger``: what it prints, and how it exits."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from sloctl.cli.main import cli, run
from sloctl.ledger.database import Database
from sloctl.ledger.outbox import DatabaseOutbox
from sloctl.ledger.protocol import JobRun
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.posting.protocol import Post
from sloctl.settings.secret import Secret
from tests.support.ledger_steps import fill
from tests.support.ledgers import DAY, T0

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: b}
defaults: {owner: team, runbook: "https://example.org/{slo}"}
slos:
  - {name: availability, service: cart, namespace: shop, objective: 99, sli: {preset: availability}}
"""
LAST = "(SELECT max(time) FROM buckets)"
FIRST = f"SELECT min(series) FROM buckets WHERE time = {LAST}"


def sloctl(*words: str) -> int:
    return run(lambda: cli.main([*words], prog_name="sloctl", standalone_mode=False))


@pytest.fixture
def path(tmp_path: Path) -> str:
    found = tmp_path / "ledger.db"
    with open_ledger(Secret(f"sqlite:///{found}")) as ledger:
        fill(ledger)
        at = datetime(2026, 3, 1, tzinfo=UTC)
        ledger.note("a set", JobRun("slis", at, at, "failed", "no answer\x1b[2J"))
    return str(found)


def test_show(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger, ledger.lock("slis of a set"):
        assert sloctl("ledger", "show", "--ledger", path) == 0
        table = capsys.readouterr().out
        assert sloctl("ledger", "show", "--ledger", path, "--format", "json") == 0
        data = json.loads(capsys.readouterr().out)
    assert "\x1b" not in table
    for text in ("a set", 'che"ck,out', "slis of a set", "failed", "2024-10-08T00:00:00Z"):
        assert text in table
    latency = next(slo for slo in data["slos"] if slo["slo"] == "latency")
    assert (latency["first"], latency["last"]) == ("2024-10-04T00:00:00Z", "2024-10-07T23:10:00Z")
    assert (latency["buckets"], latency["missing"], latency["services"]) == (4 * 288 - 10, 0, [])
    cart = next(slo for slo in data["slos"] if slo["slo_id"] == "a:1")["services"][1]
    assert cart == {"namespace": "shop", "service": "cart", "gap_seconds": 210, "excluded_seconds": 900}
    assert [(run["job"], run["outcome"]) for run in data["runs"]] == [("slis", "failed")]
    assert [lock["name"] for lock in data["locks"]] == ["slis of a set"]


def test_show_one_set(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slo.yaml").write_text(SLO_FILE)
    assert (
        sloctl("ledger", "show", "--ledger", path, "-f", str(tmp_path / "slo.yaml"), "--format", "json") == 0
    )
    assert {slo["set"] for slo in json.loads(capsys.readouterr().out)["slos"]} == {"b"}


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("UPDATE hours SET bad = bad + 1 WHERE time = (SELECT max(time) FROM hours)", "hours: a:1"),
        ("UPDATE days SET total = total + 1", "days: a:1"),
        ("DELETE FROM days", "found no row"),
        ("UPDATE buckets SET bad = total + 1", "buckets.bad: damage"),
        ("UPDATE buckets SET excluded = 1", "expected excluded 0, found excluded 1"),
        ("UPDATE coverage SET m0 = 0, m1 = 0, m2 = 0, m3 = 0, m4 = 0, m5 = 0", "it was not recorded"),
        ("UPDATE buckets SET series = 4711 WHERE time = (SELECT max(time) FROM buckets)", "series 4711"),
        ("UPDATE cause_days SET bad = bad + 1", "cause_days: a:1"),
        ("DELETE FROM causes", "cause 1"),
        ("UPDATE definitions SET newest = 9000000000", "nothing after"),
    ],
)
def test_verify(path: str, capsys: pytest.CaptureFixture[str], sql: str, message: str) -> None:
    assert sloctl("ledger", "verify", "--ledger", path) == 0
    assert "consistent" in capsys.readouterr().err
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger, ledger.database.engine.begin() as connection:
        if "4711" in sql:
            connection.execute(sa.text(f"DELETE FROM buckets WHERE time = {LAST} AND series <> ({FIRST})"))
        connection.execute(sa.text(sql))
    assert sloctl("ledger", "verify", "--ledger", path) == 1
    assert message in capsys.readouterr().out
    assert sloctl("ledger", "verify", "--ledger", path, "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found[0].keys() == {"table", "key", "expected", "found"}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_export_and_import(
    path: str,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    file = str(tmp_path / f"out.{form}")
    assert sloctl("ledger", "export", "--ledger", path, "-o", file) == 0
    data = Path(file).read_bytes()
    assert data.startswith(b"kind,set," if form == "csv" else b"PAR1")
    capfdbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    other = str(tmp_path / "other.db")
    assert sloctl("ledger", "import", "-", "--ledger", other, "--format", form) == 0
    assert b"of a set, b" in capfdbinary.readouterr().err
    assert sloctl("ledger", "import", file, "--ledger", other) == 0
    assert b": 0 buckets" in capfdbinary.readouterr().err
    again = str(tmp_path / f"again.{form}")
    assert sloctl("ledger", "export", "--ledger", other, "-o", again) == 0
    assert Path(again).read_bytes() == data
    assert [item.name for item in tmp_path.iterdir() if item.name.startswith(".")] == []


def test_prune(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By what is recorded, which ended long before what the clock says."""
    (tmp_path / "slo.yaml").write_text(SLO_FILE)
    assert sloctl("ledger", "prune", "--ledger", path, "-f", str(tmp_path / "slo.yaml")) == 0
    assert "removed 0 buckets, 0 hours and 0 days" in capsys.readouterr().err
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger:
        assert_days_stay(ledger)


def assert_days_stay(ledger: DatabaseLedger) -> None:
    assert ledger.sums("b", [(T0, T0 + 4 * DAY)])[0]
    assert ledger.sums("a set", [(T0, T0 + 4 * DAY)])[0]


@pytest.mark.parametrize("command", ["show", "verify", "export"])
def test_a_ledger_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert sloctl("ledger", command, "--ledger", str(tmp_path / "none.db")) == 2
    assert "there is no ledger at this address" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sloctl("ledger", "import", str(tmp_path / "no.csv"), "--ledger", str(tmp_path / "x.db")) == 2
    assert "no such file" in capsys.readouterr().err


def test_the_outbox_of_one_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, slo_file = str(tmp_path / "ledger.db"), tmp_path / "slo.yaml"
    slo_file.write_text(SLO_FILE)
    database = Database(Secret(f"sqlite:///{path}"))
    for name in ("a", "b"):
        DatabaseOutbox(database).enqueue(Post(name, f"{name}/weekly", "slack", "#x", "{}", b""), 0)
    database.close()
    where = ("--ledger", path, "-f", str(slo_file))
    assert sloctl("outbox", "list", "--format", "json", *where) == 0
    assert [row["report"] for row in json.loads(capsys.readouterr().out)] == ["b/weekly"]
    for command in ("drop", "retry"):
        assert sloctl("outbox", command, "a/weekly", *where) == 2
        assert "no report 'a/weekly' of the set b is there" in capsys.readouterr().err
    assert sloctl("outbox", "drop", "b/weekly", *where) == 0
    assert sloctl("outbox", "list", "--format", "json", "--ledger", path) == 0
    assert [row["report"] for row in json.loads(capsys.readouterr().out)] == ["a/weekly"]
