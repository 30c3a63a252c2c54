"""Locks between threads, processes and machines; runs of jobs; silences."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa

from sloctl.ledger import locks
from sloctl.ledger.protocol import Annotation, JobRun, MutedInterval
from sloctl.ledger.schema import locks as table
from sloctl.ledger.store import DatabaseLedger

ROOT = Path(__file__).parents[2]


def row(ledger: DatabaseLedger) -> sa.Row[tuple[object, ...]] | None:
    return ledger.database.read(lambda connection: connection.execute(sa.select(table)).one_or_none())


def owned_by(ledger: DatabaseLedger, owner: str, *, renewed: float = 0, expires: float = 1000) -> None:
    def work(connection: sa.Connection) -> None:
        now = locks.clock(connection)
        values = {"acquired": now, "renewed": now + renewed, "expires": now + expires}
        connection.execute(table.insert().values(name="x", owner=owner, **values))

    ledger.database.write(work)


def test_one_holds_it_at_a_time(ledger: DatabaseLedger) -> None:
    with ledger.lock("x") as first, ledger.lock("x") as second, ledger.lock("y") as other:
        assert (first, second, other) == (True, False, True)
    with ledger.lock("x") as again:
        assert again
    assert row(ledger) is None


def test_it_ends_with_an_exception(ledger: DatabaseLedger) -> None:
    with pytest.raises(KeyError), ledger.lock("x"):
        raise KeyError
    assert row(ledger) is None


def test_threads_exclude_each_other(ledger: DatabaseLedger) -> None:
    barrier, done, held = threading.Barrier(6), threading.Barrier(6), []

    def go() -> None:
        barrier.wait()
        with ledger.lock("x") as mine:
            held.append(mine)
            done.wait()

    threads = [threading.Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(held) == [False] * 5 + [True]


def test_a_lease_is_renewed(ledger: DatabaseLedger) -> None:
    with ledger.lock("x", lease=0.3):
        before = row(ledger)
        assert before is not None
        deadline = time.monotonic() + 20
        while (now := row(ledger)) is not None and now.renewed == before.renewed:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert now is not None
        assert now.expires > before.expires
        assert now.acquired == before.acquired


def test_a_process_that_was_killed_holds_nothing(ledger: DatabaseLedger, url: str) -> None:
    code = (
        "import sys; from sloctl.ledger.store import open_ledger; from sloctl.settings.secret import Secret\n"
        f"with open_ledger(Secret({url!r})).lock('x', 1000) as held: print(held, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with ledger.lock("x") as mine:
            assert not mine
        process.kill()
        # A zombie, for nobody has waited for it: it cannot do anything any more.
        deadline = time.monotonic() + 20
        while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
        with ledger.lock("x") as mine:
            assert mine


def test_who_is_gone_is_known_on_this_machine_only(ledger: DatabaseLedger) -> None:
    mine = locks._process(1).split(":")
    host, boot, namespace, _, start = mine
    for owner, gone in (
        (f"{host}:{boot}:{namespace}:4194305:77:r", True),  # no process has such a number
        (f"{host}:{boot}:{namespace}:1:{start}:r", False),
        (f"{host}:{boot}:{namespace}:1:{int(start) + 1}:r", True),  # another process with the same number
        (f"other:{boot}:{namespace}:4194305:77:r", False),
        (f"{host}:{boot}:1:4194305:77:r", False),
        (f"{host}:other:{namespace}:4194305:77:r", False),
        ("nonsense", False),
    ):
        owned_by(ledger, owner)
        with ledger.lock("x") as held:
            assert held is gone, owner
        ledger.database.write(lambda connection: connection.execute(table.delete()))


@pytest.mark.parametrize(
    ("renewed", "expires", "taken"), [(0, -1, True), (0, 10, False), (3600, 3660, True), (30, 90, False)]
)
def test_a_lease_ends_and_is_void_if_a_clock_was_set_back(
    ledger: DatabaseLedger, renewed: float, expires: float, taken: bool
) -> None:
    owned_by(ledger, "elsewhere:b:1:1:1:r", renewed=renewed, expires=expires)
    with ledger.lock("x") as held:
        assert held is taken


def test_two_cannot_take_over_the_same_lease(ledger: DatabaseLedger) -> None:
    owned_by(ledger, "elsewhere:b:1:1:1:r", expires=-1)
    test_threads_exclude_each_other(ledger)


def test_what_was_taken_over_is_not_given_back_by_the_one_before(ledger: DatabaseLedger) -> None:
    with ledger.lock("x"):
        ledger.database.write(lambda connection: connection.execute(table.update().values(owner="another")))
    found = row(ledger)
    assert found is not None
    assert found.owner == "another"


def test_runs_of_jobs(ledger: DatabaseLedger) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    minute = timedelta(minutes=1)
    good = JobRun("slis", at, at + minute, "succeeded", "fine")
    bad = JobRun("slis", at + minute, at + 2 * minute, "failed", "no\0good \udcff" + "x" * 5000)
    for run in (good, bad, JobRun("slis", at - minute, at, "succeeded", "an older one, told later")):
        ledger.note("s", run)
    found = ledger.runs("s")
    assert found["slis"] == good
    assert found["slis!"].outcome == "failed"
    assert found["slis!"].message.startswith("no�good ?xxx")
    assert set(found) == {"slis", "slis!"}
    assert ledger.runs("t") == {}


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_run_from_the_future_makes_room_for_one_of_now(
    ledger: DatabaseLedger, outcome: Literal["succeeded", "failed"]
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    century, minute = timedelta(days=36500), timedelta(minutes=1)
    right = JobRun("slis", now - minute, now, outcome)
    for started, ended in ((now + century, now + century), (now + century, now)):
        ledger.note(
            "s", JobRun("slis", started, ended, outcome)
        )  # the clock was set back after or during the run
        ledger.note("s", right)
        assert list(ledger.runs("s").values()) == [right]
    soon = JobRun("slis", now, now + timedelta(seconds=20), outcome)
    ledger.note("s", soon)
    ledger.note("s", right)
    assert list(ledger.runs("s").values()) == [soon], "clocks of two machines differ by seconds"


def test_silences_are_remembered(ledger: DatabaseLedger) -> None:
    first = MutedInterval("b", 20, 30, (("service", "=~", "a|b"),), "why")
    second = MutedInterval("a", 10, 30, ())
    ledger.remember("s", [first, second])
    ledger.remember("s", [MutedInterval("b", 20, 40, first.matchers, "longer")])
    assert ledger.muted("s") == [second, MutedInterval("b", 20, 40, first.matchers, "longer")]
    assert ledger.muted("t") == []


def test_what_was_said_is_entered_once(ledger: DatabaseLedger) -> None:
    deploy = Annotation(1000, 1600, "deploy", "v2", "ci", "shop", "cart")
    note = Annotation(500, 500, "note", "moved \0 house", "ann")
    assert ledger.annotate("shop", deploy) and ledger.annotate("shop", note)
    assert not ledger.annotate("shop", deploy)
    assert ledger.annotate("other", deploy)
    assert list(ledger.annotations("shop", 0, 2000)) == [replace(note, text="moved \ufffd house"), deploy]
    assert list(ledger.annotations("shop", 1600, 2000)) == [deploy]
    assert list(ledger.annotations("shop", 501, 999)) == []
    hostile = Annotation(3000, 3000, "note", "x", "ann", "sh\0op", "ca\udcffrt")
    assert ledger.annotate("shop", hostile) and not ledger.annotate("shop", hostile)
    (kept,) = ledger.annotations("shop", 3000, 3000)
    assert (kept.namespace, kept.service) == ("sh\ufffdop", "ca?rt")
    assert deploy.about(("id", "shop", "cart")) and note.about(("id", "shop", "cart"))
    assert not deploy.about(("id", "shop", "pay")) and not deploy.about(("id", "base", "cart"))
