"""The ledger's database: its schema, who may have it at once, and what a user reads when it cannot be used."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path

import alembic.autogenerate
import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sloctl.errors import BackendError, BackendTimeout, UsageError
from sloctl.ledger import database as migrate
from sloctl.ledger import schema
from sloctl.ledger.check import verify
from sloctl.ledger.contents import contents
from sloctl.ledger.database import HEAD, Database
from sloctl.ledger.protocol import Batch, Bucket, Repair
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.ledger.transfer import files
from sloctl.settings.secret import Secret
from tests.support.ledger_steps import fill
from tests.support.ledgers import STEP, T0

ROOT = Path(__file__).parents[2]


def batch(n: int = 1) -> list[Batch]:
    return [Batch("a", "a", (T0, T0 + STEP), [Bucket("s", f"x{i}", T0 + STEP, 5, 1) for i in range(n)])]


def python(*code: str) -> Sequence[str]:
    head = """
import resource, signal, sys, threading, time
from sloctl.ledger.protocol import Batch, Bucket
from sloctl.errors import BackendError
from sloctl.ledger.store import open_ledger
from sloctl.settings.secret import Secret
T0 = 20_000 * 86400
def batch(n=1):
    return [Batch("a", "a", (T0, T0 + 300), [Bucket("s", f"x{i}", T0 + 300, 5, 1) for i in range(n)])]
"""
    return [sys.executable, "-c", "\n".join((head, *code))]


def run(*code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        python(*code), capture_output=True, text=True, cwd=ROOT, timeout=120, env={**os.environ}
    )


def test_the_migrated_schema_is_that_of_the_code(ledger: DatabaseLedger) -> None:
    with ledger.database.engine.connect() as connection:
        # SQLite has no identity columns, which Alembic takes for defaults.
        postgresql = connection.dialect.name == "postgresql"
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": postgresql}
        )
        assert alembic.autogenerate.compare_metadata(context, schema.METADATA) == []


def test_the_newest_migration_is_known() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_a_wheel_has_the_migrations() -> None:
    """Every module is in a package that the wheel takes as a whole."""
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "sloctl" in built["packages"]
    assert built.keys() <= {"packages", "force-include"}  # nothing is left out
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, (ROOT / "sloctl/ledger/migrations").rglob("*.py"))],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert ignored.stdout == ""  # hatchling leaves out what git does


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.slow
def test_many_processes_may_open_a_new_ledger_at_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'new' / 'ledger.db'}"
    else:
        cluster = request.getfixturevalue("cluster")
        url = cluster.new_database()
    # Forked, so that all of them begin at the same moment.
    done = run(
        "import os, psycopg, alembic.command",
        "children = []",
        "for _ in range(8):",
        "    children.append(os.fork())",
        "    if not children[-1]:",
        f"        os.write(1, b'%d ' % open_ledger(Secret({url!r})).record('s', batch()))",
        "        os._exit(0)",
        "[os.waitpid(child, 0) for child in children]",
    )
    assert sorted(done.stdout.split()) == [*["0"] * 7, "1"], done.stderr
    with open_ledger(Secret(url)) as ledger:
        assert verify(ledger) == []


def test_a_migration_that_dies_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Database(Secret(url))
    with first.engine.begin() as connection:
        for table in [*reversed(schema.METADATA.sorted_tables), sa.table("alembic_version")]:
            connection.execute(sa.text(f"DROP TABLE {table.name}"))
    second = sa.create_engine(first.engine.url)

    class Died(Exception):
        pass

    def die(connection: sa.Connection) -> None:
        migrate.upgrade(connection, "x")
        assert sa.inspect(connection).has_table("buckets")
        raise Died

    with pytest.raises(Died):
        first.write(die)
    with second.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []
    second.dispose()
    first.close()
    Database(Secret(url)).close()


def test_a_schema_of_a_later_version_is_left_alone(url: str) -> None:
    with open_ledger(Secret(url)) as ledger, ledger.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UsageError, match="'9999', which this sloctl does not know") as caught:
        open_ledger(Secret(url))
    assert "later version" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite://", "in memory would be lost"),
        ("mysql://u:secret@h/d", "begins with 'mysql'"),
        ("://secret", "is not one"),
        ("postgresql://u:secret@h:port/d", "is not one"),
        ("postgresql://u:secret@h/d?port=abc", "is not one"),
        ("postgresql://u:se@cret@h/d", "more than one '@'"),
        ("postgresql://u:p@se/cret@h/d", "more than one '@'"),
        ("postgresql://u:secret%00@h/d", "a NUL"),
        ("sqlite://u:secret@h/x", "path alone"),
        ("sqlite://h/x", "path alone"),
        ("sqlite:///x.db?timeout=secret", "path alone"),
    ],
)
def test_an_address_that_cannot_be_one(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_ledger(Secret(address))
    assert not re.search("secret|cret", f"{caught.value}{caught.value.hint}")


def test_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("not a database at all, " * 100)
    with pytest.raises(UsageError, match="nor any SQLite database"):
        open_ledger(Secret(f"sqlite:///{path}"))
    with pytest.raises(UsageError, match="is a folder"):
        open_ledger(Secret(f"sqlite:///{tmp_path}"))
    with pytest.raises(UsageError, match="cannot make the ledger"):
        open_ledger(Secret(f"sqlite:///{path}/ledger.db"))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match="is not a file"):
        open_ledger(Secret(f"sqlite:///{tmp_path / 'fifo'}"))


@pytest.mark.skipif(shutil.which("setpriv") is None and os.geteuid() == 0, reason="setpriv is not on PATH")
@pytest.mark.parametrize("what", ["file", "log", "folder"])
def test_what_cannot_be_written(what: str) -> None:
    """What is there can be read all the same, with what a writer that is still there has not put into the file yet."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to others
        folder = Path(name)
        path = folder / "ledger.db"
        ledger = open_ledger(Secret(f"sqlite:///{path}"))
        ledger.record("s", batch())
        if what != "log":
            ledger.close()
        for file in folder.iterdir():
            file.chmod(0o444)
        if what == "folder":
            path.unlink()
        folder.chmod(0o555)
        command = [
            *python(
                "from sloctl.errors import SloctlError",
                "from sloctl.ledger.contents import contents",
                "try:",
                f"    with open_ledger(Secret('sqlite:///{path}')) as ledger:",
                "        print('begun', [held.known for held in contents(ledger).definitions], flush=True)",
                "        ledger.record('s', batch())",
                "except SloctlError as error: print(type(error).__name__, error)",
            )
        ]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        folder.chmod(0o755)
        ledger.close()
    if not done.stdout:
        assert "No module named" in done.stderr or "ermission denied" in done.stderr, done.stderr
        pytest.skip("no other user can run the interpreter")
    if what == "folder":
        assert done.stdout == f"UsageError {path}: cannot make the ledger: Permission denied\n"
    else:
        assert done.stdout == f"begun [1]\nUsageError {path}: the ledger cannot be written\n"


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with open_ledger(Secret(f"sqlite:///{tmp_path / 'new' / 'ledger.db'}")) as ledger:
            ledger.record("s", batch())
            modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "new").iterdir()}
    finally:
        os.umask(old)
    assert modes == dict.fromkeys(("ledger.db", "ledger.db-shm", "ledger.db-wal"), 0o600)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_writer_waits_for_another_one_and_says_so_in_the_end(sqlite_url: str) -> None:
    database = Database(Secret(sqlite_url), busy=0.2)
    path = sqlite_url.removeprefix("sqlite:///")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BackendTimeout, match="another process has held it") as caught:
        DatabaseLedger(database).record("s", batch())
    assert "the next run catches up" in caught.value.hint
    other.execute("ROLLBACK")
    other.close()
    assert DatabaseLedger(database).record("s", batch()) == 1
    database.close()


def test_a_reader_keeps_no_writer_waiting(sqlite_url: str) -> None:
    ledger = DatabaseLedger(Database(Secret(sqlite_url), busy=0.2))
    ledger.record("s", batch())

    def read(connection: sa.Connection) -> int:
        before = connection.execute(sa.select(sa.func.count()).select_from(schema.definitions)).scalar_one()
        thread = threading.Thread(target=lambda: ledger.record("t", batch()))
        thread.start()
        thread.join()
        after = connection.execute(sa.select(sa.func.count()).select_from(schema.definitions)).scalar_one()
        assert before == after  # one state of the data
        return before

    assert ledger.database.read(read) == 1
    assert ledger.newest("t") == {"a": T0 + STEP}
    ledger.close()


@pytest.mark.slow
def test_a_full_disk_leaves_what_was_there(sqlite_url: str) -> None:
    with open_ledger(Secret(sqlite_url)) as ledger:
        ledger.record("s", batch())
    done = run(
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)",
        "sys.dont_write_bytecode = True",  # half a file would stay in this tree
        f"ledger = open_ledger(Secret({sqlite_url!r}))",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))",
        "try: ledger.record('t', batch(20_000))",
        "except BackendError as error: print(error, error.hint)",
    )
    assert "make room on the disk" in done.stdout, done
    with open_ledger(Secret(sqlite_url)) as ledger:
        assert ledger.newest("t") == {}
        assert ledger.newest("s") == {"a": T0 + STEP}
        assert verify(ledger) == []
        assert ledger.record("t", batch(20_000)) == 1


def test_a_file_that_is_replaced_is_not_written_to_any_more(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with open_ledger(Secret(sqlite_url)) as ledger:
        ledger.record("s", batch())
        path.rename(path.with_suffix(".old"))
        for leftover in (f"{path}-wal", f"{path}-shm"):
            Path(leftover).unlink(missing_ok=True)
        with pytest.raises(BackendError, match="no such table") as caught:
            ledger.record("s", batch())
        assert "replaced while it was in use" in caught.value.hint


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("buckets", "total", "'many'"),
        ("coverage", "m0", "x'00ff'"),
        ("coverage", "day", "253402300800"),
        ("definitions", "newest", "-300"),
        ("causes", "labels", "'{'"),
        ("repairs", "made", "'then'"),
    ],
)
def test_values_that_no_sloctl_wrote_are_damage_and_no_bug_of_ours(
    sqlite_url: str, tmp_path: Path, table: str, column: str, value: str
) -> None:
    """As one flipped bit makes them: a value's type is in its row."""
    with open_ledger(Secret(sqlite_url)) as ledger:
        fill(ledger)
        repair = Repair("a:1", "shop", "cart", T0 + STEP, (5, 1, 0), (6, 2, 0), "kept", 1.0, "me")
        ledger.amend("a set", [repair])
        with ledger.database.engine.begin() as connection:
            connection.execute(
                sa.text(
                    f"UPDATE {table} SET {column} = {value} WHERE rowid IN (SELECT min(rowid) FROM {table})"
                )
                if table in ("definitions", "causes", "repairs")
                else sa.text(f"UPDATE OR REPLACE {table} SET {column} = {value}")
            )
        assert f"{table}.{column}" in {found.table for found in verify(ledger)}
        for ask in (_shown, _exported, _summed):
            try:
                ask(ledger, tmp_path)
            except BackendError as error:
                assert "restore a backup" in error.hint, error


def _shown(ledger: DatabaseLedger, _folder: Path) -> None:
    contents(ledger)


def _exported(ledger: DatabaseLedger, folder: Path) -> None:
    files.export(ledger, folder / "x.csv", "csv")


def _summed(ledger: DatabaseLedger, _folder: Path) -> None:
    ledger.sums("a set", [(T0, T0 + 4 * 86400)])


def test_a_damaged_file_is_found(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with open_ledger(Secret(sqlite_url)) as ledger:
        ledger.record("s", batch(5000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20_000] = b"\xff" * 20_000
    path.write_bytes(data)
    with open_ledger(Secret(sqlite_url)) as ledger:
        try:
            assert verify(ledger)
        except BackendError as error:
            assert "restore a backup" in error.hint


@pytest.mark.slow
def test_threads_and_processes_record_one_truth(url: str) -> None:
    code = [
        f"ledger = open_ledger(Secret({url!r}))",
        "def go(): print(sum(ledger.record('s', [Batch(f'slo{i}', 'x', (T0 + 300 * n, T0 + 300 * n + 1200), "
        "[Bucket('ns', f's{k}', T0 + 300 * m, 7, 1) for k in range(3) for m in range(n + 1, n + 5)]) "
        "for i in (range(4) if n % 2 else range(3, -1, -1))]) for n in range(12)))",
        "threads = [threading.Thread(target=go) for _ in range(3)]",
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]",
    ]
    processes = [
        subprocess.Popen(python(*code), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(2)
    ]
    outcomes = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in outcomes if error] == []
    assert sum(int(line) for text, _ in outcomes for line in text.split()) == 4 * 15
    with open_ledger(Secret(url)) as ledger:
        assert verify(ledger) == []
        [found] = ledger.sums("s", [(T0, T0 + 86400)])
        assert {(sums.total, sums.bad) for sums in found.values()} == {(7 * 15, 15)}
        assert len(found) == 12


@pytest.mark.parametrize("less", [1, 4096, 5000])
def test_a_file_that_was_cut_off_is_not_read(sqlite_url: str, less: int) -> None:
    """SQLite reads zeros where bytes are missing."""
    ledger = DatabaseLedger(Database(Secret(sqlite_url)))
    ledger.record("s", batch())
    ledger.close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    os.truncate(path, path.stat().st_size - less)
    with pytest.raises(BackendError, match="bytes are missing at its end") as caught:
        Database(Secret(sqlite_url))
    assert "restore a backup" in caught.value.hint


def test_a_connection_that_the_system_refuses_is_a_ledger_that_is_not_there(postgres_url: str) -> None:
    database = Database(Secret(postgres_url))

    def refused(_connection: sa.Connection) -> None:
        raise OSError(24, "Too many open files")

    with pytest.raises(BackendError, match="Too many open files"):
        database.read(refused)
    database.close()


@pytest.mark.parametrize("size", [1, 15, 16, 99, 511])
@pytest.mark.parametrize("ours", [True, False])
def test_a_file_too_small_for_a_database_is_not_taken_for_an_empty_one(
    sqlite_url: str, size: int, ours: bool
) -> None:
    open_ledger(Secret(sqlite_url)).close()
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    content = path.read_bytes()[:size] if ours else b"x" * size
    path.write_bytes(content)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    wanted, said = (BackendError, f"it ends after {size} bytes") if ours else (UsageError, "is not a ledger")
    with pytest.raises(wanted, match=said):
        open_ledger(Secret(sqlite_url))
    assert path.read_bytes() == content
