"""The ledger on a PostgreSQL that is down, restarts, refuses, cancels and cuts off."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from sloctl.errors import BackendRefused, BackendTimeout, BackendUnavailable
from sloctl.ledger import entries
from sloctl.ledger.check import verify
from sloctl.ledger.database import Database
from sloctl.ledger.protocol import Batch, Bucket
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.settings.secret import Secret
from tests.support.ledgers import STEP, T0
from tests.support.postgres import PASSWORD, Cluster, running_cluster

BATCH = Batch("a", "a", (T0, T0 + STEP), [Bucket("s", f"x{n}", T0 + STEP, 5, 1) for n in range(50)])


@pytest.fixture(scope="module")
def safe() -> Iterator[Cluster]:
    """A server that keeps its promises when it is killed, of these tests alone."""
    with running_cluster(safe=True) as running:
        yield running


@pytest.fixture
def database(safe: Cluster) -> Iterator[Database]:
    opened = Database(Secret(safe.new_database()), sleep=lambda _: None)
    yield opened
    opened.close()


def test_a_unix_socket_will_do(safe: Cluster) -> None:
    with open_ledger(Secret(safe.socket_url(safe.new_database().rpartition("/")[2]))) as ledger:
        assert ledger.record("s", [BATCH]) == 1
        assert PASSWORD not in ledger.name


def test_a_server_that_is_down(safe: Cluster) -> None:
    url = safe.new_database()
    safe.stop()
    try:
        with pytest.raises(BackendUnavailable, match="refused") as caught:
            Database(Secret(url), sleep=lambda _: None)
    finally:
        safe.start()
    assert PASSWORD not in str(caught.value)
    assert "%3A" not in str(caught.value)
    assert "next run" in caught.value.hint
    open_ledger(Secret(url)).close()


@pytest.mark.parametrize("what", ["password", "user", "database"])
def test_a_server_that_refuses(safe: Cluster, what: str) -> None:
    url = {
        "password": safe.url(password="wr0ng"),
        "user": safe.url(user="nobody-knows"),
        "database": safe.url("nowhere"),
    }[what]
    waits: list[float] = []
    with pytest.raises(BackendRefused) as caught:
        Database(Secret(url), sleep=waits.append)
    assert waits == []  # asking again cannot help
    text = f"{caught.value}{caught.value.hint}"
    assert "wr0ng" not in text
    assert PASSWORD not in text
    assert "SLOCTL_LEDGER_URL" in text


@pytest.mark.parametrize("how", ["restart", "terminate"])
def test_a_transaction_that_is_cut_off_happens_once(safe: Cluster, database: Database, how: str) -> None:
    calls = 0

    def work(connection: sa.Connection) -> int:
        nonlocal calls
        calls += 1
        added = entries.enter(connection, "s", [BATCH])
        if calls == 1:
            if how == "restart":
                safe.restart()
            else:
                pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
                safe.execute(f"SELECT pg_terminate_backend({pid})")
        connection.execute(sa.text("SELECT 1"))
        return added

    assert database.write(work) == 1
    assert calls == 2
    ledger = DatabaseLedger(database)
    assert verify(ledger) == []
    assert sum(found.total for found in ledger.sums("s", [(T0, T0 + STEP)])[0].values()) == 250


def test_what_was_committed_survives_a_crash(safe: Cluster, database: Database) -> None:
    ledger = DatabaseLedger(database)
    assert ledger.record("s", [BATCH]) == 1
    safe.restart()
    assert ledger.newest("s") == {"a": T0 + STEP}
    assert ledger.record("s", [BATCH]) == 0
    assert verify(ledger) == []


def test_a_server_that_stays_away_is_an_error_and_nothing_is_half(safe: Cluster, database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        entries.enter(connection, "s", [BATCH])
        safe.kill()
        connection.execute(sa.text("SELECT 1"))

    with pytest.raises(BackendUnavailable):
        database.write(work)
    safe.start()
    assert DatabaseLedger(database).newest("s") == {}


def test_a_statement_that_is_cancelled(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("SET LOCAL statement_timeout = 50"))
        connection.execute(sa.text("SELECT pg_sleep(30)"))

    with pytest.raises(BackendTimeout, match="statement timeout"):
        database.write(work)
    assert DatabaseLedger(database).record("s", [BATCH]) == 1


def test_a_lock_is_kept_through_a_restart(safe: Cluster, database: Database) -> None:
    ledger = DatabaseLedger(database)
    with ledger.lock("x", lease=0.6) as held:
        assert held
        safe.restart()
        renewed = threading.Event()

        def renewals() -> float:
            return float(
                database.read(lambda c: c.execute(sa.text("SELECT renewed FROM locks")).scalar_one())
            )

        first = renewals()
        for _ in range(200):
            if renewals() > first:
                renewed.set()
                break
            renewed.wait(0.05)
        assert renewed.is_set()
    with ledger.lock("x") as again:
        assert again


def test_writers_in_opposite_orders_wait_and_never_fail(database: Database) -> None:
    ledger = DatabaseLedger(database)
    problems: list[Exception] = []

    def go(order: int) -> None:
        names = [f"slo{n}" for n in range(30)][::order]
        try:
            for n in range(5):
                interval = (T0 + n * STEP, T0 + (n + 1) * STEP)
                ledger.record(
                    "s",
                    [Batch(name, name, interval, [Bucket("s", "x", interval[1], 3, 1)]) for name in names],
                )
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=go, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert verify(ledger) == []
    assert {found.total for found in ledger.sums("s", [(T0, T0 + 5 * STEP)])[0].values()} == {15}


def test_connections_are_few(safe: Cluster, database: Database) -> None:
    ledger = DatabaseLedger(database)
    for _ in range(5):
        ledger.record("s", [BATCH])
        ledger.sums("s", [(T0, T0 + STEP)])
    name = database.engine.url.database
    assert safe.execute(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'") == [(1,)]
