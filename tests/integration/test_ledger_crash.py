"""The ledger after a month of trouble is the one of an undisturbed run, to the byte.

A month of a small shop is replayed (its last 18 days, where kills are few): ``sloctl run slis`` as of one time after
another, killed at random moments, two at once, with clocks that jump, a Prometheus that cannot be reached or answers
nonsense, a disk that is full, and a database that crashes. ``SLOCTL_CRASH_KILLS`` and ``SLOCTL_CRASH_SEED`` make it
longer, and another one (make crash).
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sloctl.ledger.protocol import Interval
from sloctl.ledger.store import open_ledger
from sloctl.settings.secret import Secret
from tests.support import forked, month
from tests.support.command_line import NOISE, environment, sloctl
from tests.support.crashing import CrashingCluster, broken_proxy, running_crashing_cluster
from tests.support.faulty_server import FaultyServer, refused_url, status
from tests.support.forked import Run
from tests.support.ledger_rows import rows

pytestmark = pytest.mark.xdist_group("ledger-month")

KILLS = int(os.environ.get("SLOCTL_CRASH_KILLS", "8"))
DAYS = 30 if KILLS >= 100 else 18
"""Days that are played, to the month's end: over Europe's change of clocks in any case."""
SEED = int(os.environ.get("SLOCTL_CRASH_SEED", "20251112"))
TROUBLE = {
    "finish": 8,
    "back": 6,
    "ahead": 6,
    "refused": 3,
    "broken": 3,
    "overloaded": 2,
    "down": 4,
}
"""How often what happens besides kills, for each 100 of them."""
FEWEST = {"finish": 3, "back": 2, "ahead": 2, "refused": 2, "broken": 3, "overloaded": 2, "down": 2}
"""How often it happens at least, where there are few kills."""
UNREACHABLE = re.compile(
    r"no connection|the connection broke|HTTP status 503|ends in the middle|an empty answer"
)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> month.Month:
    return month.build(tmp_path_factory.mktemp("month"), days=DAYS)


@pytest.fixture(scope="module")
def prometheus(history: month.Month, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with month.serving(tmp_path_factory.mktemp("prometheus"), history.data) as server:
        yield server.url


@dataclass
class Replay:
    """The month's runs on one ledger."""

    folder: Path
    prometheus: str
    ledger: str
    env: dict[str, str]
    seen: Counter[str] = field(default_factory=Counter)
    pace: float = 0.5
    """Seconds that a run takes by itself, and about as many for each day that it has to read: what was seen lately."""
    reached: int = month.END - DAYS * month.DAY
    _number: int = 0

    def start(self, at: int, *, prometheus: str = "", file_size: int = 0) -> Run:
        self._number += 1
        arguments = ["--verbose", "run", "slis", "-f", "slo.yaml", "--ledger", self.ledger, "--at", str(at)]
        arguments += ["--prometheus", prometheus or self.prometheus]
        output = self.folder / f"out-{self._number}"
        return forked.start(arguments, self.folder, output, env=self.env, file_size=file_size)

    def finish(self, at: int) -> None:
        run = self.start(at)
        code = run.wait()
        assert code == 0, run.said
        self._learn(run, at)
        self._clean(run)

    def expected(self, at: int) -> float:
        """Seconds that a run as of ``at`` will take."""
        return self.pace * (1 + max(0, at - self.reached) / month.DAY)

    def kill(self, at: int, chance: random.Random) -> None:
        """A run that is killed at a moment of its life that is as likely as any other."""
        run = self.start(at)
        self._end(run, at, chance.uniform(0, 1.1 * self.expected(at)))

    def pair(self, at: int, chance: random.Random) -> None:
        """Two at once, one of them or both killed."""
        first, second = self.start(at), self.start(at + 60 * chance.randrange(10))
        self._end(first, at, chance.uniform(0, self.expected(at)))
        if chance.random() < 0.5:
            self._end(second, at, chance.uniform(0, self.expected(at)))
        else:
            assert second.wait() == 0, second.said
            self._clean(second)

    def fails(self, run: Run, what: str, message: re.Pattern[str], *, surely: bool = True) -> None:
        """A run that must say what is wrong, and end with the exit code that is documented for it.

        There may have been nothing left to do for it, or (not ``surely``) it comes through.
        """
        code = run.wait()
        self._clean(run)
        if code == 0:
            assert "nothing new" in run.said or not surely, run.said
            return
        assert code == 3, (code, run.said)
        assert message.search(run.said), run.said
        self.seen[what] += 1

    def _end(self, run: Run, at: int, after: float) -> None:
        run.process.join(max(0.0, run.begun + after - time.monotonic()))
        run.kill()
        code = run.wait()
        assert code in (0, -signal.SIGKILL), run.said
        if code:
            self.seen["kill"] += 1
            pieces = run.said.count("slis: reading")
            self.seen[f"killed in piece {min(pieces, 2)}{'+' if pieces >= 2 else ''}"] += 1
        else:
            self._learn(run, at)
            self.seen["ended before its kill"] += 1
        self._clean(run)

    def _learn(self, run: Run, at: int) -> None:
        if "another process" not in run.said:
            days = max(0, at - self.reached) / month.DAY
            self.pace = max(0.2, 0.7 * self.pace + 0.3 * (time.monotonic() - run.begun) / (1 + days))
            self.reached = max(at, self.reached)

    @staticmethod
    def _clean(run: Run) -> None:
        for word in NOISE:
            assert word not in run.said, run.said


def replay(month_: Replay, chance: random.Random, kills: int, crash: CrashingCluster | None) -> None:
    """Play the month up to its end, with every trouble of it."""
    events = ["kill"] * (kills * 8 // 10) + ["pair"] * (kills * 15 // 100)
    for name, count in TROUBLE.items():
        events += [name] * max(FEWEST[name], count * kills // 100)
    chance.shuffle(events)
    for _ in range(max(4, 4 * kills // 100)):  # a disk is full of what was recorded before
        events.insert(chance.randrange(len(events) // 2, len(events)), "full")
    start = month.END - DAYS * month.DAY + 3600
    times = sorted(chance.randrange(start, month.END) for _ in events)
    for event, at in zip(events, times, strict=True):
        happen(month_, chance, event, at, crash)
    while month_.seen["kill"] < kills:
        # The last ones find little to do unless there is a hole: runs that came late in vain.
        happen(month_, chance, "kill", month.END - chance.randrange(3600), crash)


def happen(played: Replay, chance: random.Random, event: str, at: int, crash: CrashingCluster | None) -> None:
    if event == "kill":
        played.kill(at, chance)
    elif event == "pair":
        played.pair(at, chance)
    elif event == "finish":
        played.finish(at)
    elif event == "back":
        played.kill(at - chance.randrange(3600, 10 * month.DAY), chance)
        played.seen[event] += 1
    elif event == "ahead":
        played.kill(at + chance.randrange(3600, 5 * month.DAY), chance)
        played.seen[event] += 1
    elif event == "full":
        full_disk(played, at, crash)
    elif event == "down":
        if crash is not None:
            database_crash(played, chance, at, crash)
    else:
        no_answers(played, chance, event, at)


def no_answers(played: Replay, chance: random.Random, event: str, at: int) -> None:
    """Prometheus cannot be reached, breaks off, or has too much to do."""
    if event == "refused":
        played.fails(played.start(at, prometheus=refused_url()), event, UNREACHABLE)
    elif event == "broken":
        with broken_proxy(played.prometheus, lambda: chance.randrange(150, 5000)) as url:
            played.fails(played.start(at, prometheus=url), event, UNREACHABLE, surely=False)
    elif event == "overloaded":
        with FaultyServer(status(503)) as server:
            played.fails(played.start(at, prometheus=server.url), event, UNREACHABLE)
    else:
        raise AssertionError(event)


def full_disk(played: Replay, at: int, cluster: CrashingCluster | None) -> None:
    """The kernel refuses to let files grow: in this process, or in the server."""
    message = re.compile(r"ledger.*(disk I/O error|disk is full|File too large)")
    if cluster is not None:
        with cluster.full_disk():
            played.fails(played.start(at), "full", message, surely=False)
        return
    # Of the file itself nothing but its first pages can be written then, nor of its journal.
    played.fails(played.start(at, file_size=16_384), "full", message, surely=False)


def database_crash(played: Replay, chance: random.Random, at: int, cluster: CrashingCluster) -> None:
    """All of the server's processes are killed in the middle of a run, which then waits for it, or gives up."""
    run = played.start(at)
    run.process.join(chance.uniform(0, played.expected(at)))
    cluster.crash()
    cluster.start()
    code = run.wait()
    assert code in (0, 3), run.said
    played._clean(run)
    played.seen["down"] += 1


def prepared(tmp_path: Path, prometheus: str, ledger: str) -> Replay:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "slo.yaml").write_text(month.SLO_FILE)
    env = environment(folder) | {"SLOCTL_PROMETHEUS_RETRIES": "1"}
    return Replay(folder, prometheus, ledger, env)


def said_by(played: Replay) -> tuple[str, str]:
    """A ledger's export, and all of its rows; its sums are verified."""
    export = sloctl("ledger", "export", "--ledger", played.ledger, folder=played.folder)
    verified = sloctl("ledger", "verify", "--ledger", played.ledger, folder=played.folder)
    assert (export.code, verified.code) == (0, 0), export.stderr + verified.stdout
    return export.stdout, rows(played.ledger)


def holds(played: Replay, undisturbed: tuple[str, str], kills: int) -> None:
    """At last one run that nobody disturbs; then the ledger says what that of a single run says."""
    played.finish(month.END)
    assert said_by(played) == undisturbed
    assert played.seen["kill"] >= kills
    for what in ("refused", "broken", "overloaded", "full"):
        assert played.seen[what] >= 1, what
    print(dict(played.seen))


def interval() -> Interval:
    return month.END - DAYS * month.DAY + 600, month.END - 300


def assert_recorded_wholly(missing: object) -> None:
    assert isinstance(missing, dict)
    assert len(missing) == 4
    assert not any(missing.values()), missing


@pytest.fixture(scope="module")
def undisturbed(prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What the ledger of one run says, after the month."""
    folder = tmp_path_factory.mktemp("undisturbed")
    alone = prepared(folder, prometheus, f"sqlite:///{folder / 'ledger.db'}")
    alone.finish(month.END)
    with open_ledger(Secret(alone.ledger)) as ledger:
        assert_recorded_wholly(ledger.missing("small", sorted(ledger.newest("small")), *interval()))
    return said_by(alone)


def test_a_month_of_crashes_in_sqlite(prometheus: str, undisturbed: tuple[str, str], tmp_path: Path) -> None:
    played = prepared(tmp_path, prometheus, f"sqlite:///{tmp_path / 'played.db'}")
    replay(played, random.Random(SEED), KILLS, None)
    holds(played, undisturbed, KILLS)


def test_a_month_of_crashes_in_postgresql(
    prometheus: str, undisturbed: tuple[str, str], tmp_path: Path
) -> None:
    with running_crashing_cluster() as cluster:
        played = prepared(tmp_path, prometheus, cluster.new_database())
        replay(played, random.Random(SEED + 1), KILLS, cluster)
        holds(played, undisturbed, KILLS)
        assert played.seen["down"] >= 1
