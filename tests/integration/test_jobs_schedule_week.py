"""A week of ``sloctl schedule`` with trouble leaves the ledger of one run that had none (``make soak``).

The process is a real one on a real Prometheus, and sees another clock (libfaketime), which is moved on by hours: as
on a machine that is suspended, seconds that really pass are few, and those that it waits are real. A clock that merely
runs faster is no use: libfaketime (0.9.10) does not know ``sem_clockwait``, by which CPython's threads wait.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.schedule.triggers import Cron
from tests.support import month, waiting
from tests.support.command_line import ROOT, environment, sloctl
from tests.support.faulty_server import FaultyServer, Handler
from tests.support.ledger_rows import rows
from tests.support.postgres import running_cluster
from tests.support.scheduled import Scheduled, eventually, scheduled

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("SLOCTL_SOAK" not in os.environ, reason="minutes: make soak"),
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian's package faketime)"),
]
HOUR, DAY = 3600, 86400
PATIENCE = 300
END = int(datetime(2026, 4, 5, 6, 0, tzinfo=UTC).timestamp())
START = END - 7 * DAY - 12 * HOUR
"""Clocks go forward in Paris on 29 March, and back in Sydney on 5 April."""
ZONES = ("Europe/Paris", "Australia/Sydney")
LINE = "30 2 * * *"
SLO_FILE = f"""{month.SLO_FILE}
ledger: {{catch_up: 10d}}
jobs:
  - {{name: slis, every: 5m}}
  - {{name: burn_rate, every: 1d}}
""" + "".join(f'  - {{name: report, cron: "{LINE}", timezone: {zone}}}\n' for zone in ZONES)


@dataclass
class Proxy:
    """Passes requests on to a Prometheus, but for the time that it is held."""

    url: str
    free: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)

    def __call__(self, handler: Handler) -> None:
        if not self.free.is_set():
            self.waiting.set()
            self.free.wait()
        received = handler.received
        kind = {"Content-Type": received.headers.get("Content-Type", "")}
        request = urllib.request.Request(
            f"{self.url}{received.path}?{received.query}", received.body or None, kind
        )
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer, suppress(OSError):
            body = answer.read()
            handler.send_response(answer.status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)


@dataclass
class Clock:
    """What the process takes for the time."""

    file: Path
    offset: float = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    def set(self, to: float) -> None:
        self.offset = to - time.time()
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.offset:+.3f}\n")
        new.replace(self.file)

    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "SLOCTL_PROMETHEUS_TIMEOUT": str(PATIENCE),
            "PYTHONPATH": f"{Path(waiting.__file__).parent}:{ROOT}",
        }


@dataclass
class Week:
    """The process, its clock and what it depends on; ``away`` takes its database away while it lasts."""

    process: Scheduled
    clock: Clock
    proxy: Proxy
    away: Callable[[], AbstractContextManager[object]]

    def ended(self, *words: str) -> int:
        """How many runs of the job ``slis`` ended so."""
        return sum(text.startswith(words) for text in self.process.messages("slis"))

    def idle(self) -> None:
        """Wait until nothing runs."""
        eventually(lambda: json.loads(self.process.get("/readyz")[1])["running"] == [], PATIENCE)

    def step(self, seconds: float, *words: str) -> None:
        """Move the clock while nothing runs, and wait until a run of ``slis`` ends so: as a rule, it succeeds.

        No run is left over then, of one that had begun just before.
        """
        self.idle()
        before = self.ended(*(words or ("succeeded",)))
        self.clock.set(self.clock.now() + seconds)
        eventually(lambda: self.ended(*(words or ("succeeded",))) > before, PATIENCE)
        self.idle()

    def until(self, at: float) -> None:
        while at - self.clock.now() > 1:
            self.step(min(4 * HOUR, at - self.clock.now()))

    def hang(self) -> None:
        """A run gets no answer for longer than its interval."""
        self.proxy.waiting.clear()
        self.proxy.free.clear()
        self.clock.set(self.clock.now() + 300)
        eventually(self.proxy.waiting.is_set)
        skipped = self.ended("skipped") + self._said("slis: skipped")
        for _ in range(2):
            self.clock.set(self.clock.now() + 600)
            time.sleep(2)  # while nothing can happen
        eventually(lambda: self.ended("skipped") + self._said("slis: skipped") > skipped)
        self.proxy.free.set()
        self.step(300)

    def _said(self, text: str) -> int:
        return sum(line.startswith(text) for line in self.process.messages())

    def lose_database(self) -> None:
        with self.away():
            for _ in range(2):
                self.step(HOUR / 2, "failed")
        eventually(lambda: self.process.get("/readyz")[0] == 200, PATIENCE)
        self.step(600)

    def resident(self) -> int:
        pages = Path(f"/proc/{self.process.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def happens(week: Week) -> None:
    """The week."""
    week.until(START + 1.5 * DAY)  # clocks have gone forward in Paris
    early = week.resident()
    week.hang()
    week.until(START + 2.5 * DAY)
    week.lose_database()
    week.until(START + 4 * DAY)
    week.clock.set(week.clock.now() - HOUR)
    eventually(lambda: any("the clock jumped" in text and "back" in text for text in week.process.messages()))
    for _ in range(3):  # nothing is missing before the hour is over
        week.step(300, "succeeded", "skipped", "failed")
    week.until(END)  # clocks have gone back in Sydney
    week.step(600)
    print(f"{early / 2**20:.1f} MB, after a week {week.resident() / 2**20:.1f} MB")
    assert week.resident() - early < 24 * 2**20


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else can write to an SQLite file, as if another process had never ended its transaction."""
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        holder.close()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    history = month.build(tmp_path_factory.mktemp("week"), down=(), end=END + HOUR)
    with month.serving(tmp_path_factory.mktemp("prometheus"), history.data) as server:
        yield server.url


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_week_of_trouble(prometheus: str, tmp_path: Path, kind: str) -> None:
    (tmp_path / "slo.yaml").write_text(SLO_FILE)
    alone = f"sqlite:///{tmp_path / 'alone.db'}"
    words = ("run", "slis", "-f", "slo.yaml", "--prometheus", prometheus, "--ledger", alone)
    for at in (START + 5, END + 900):
        assert sloctl(*words, "--at", str(at), folder=tmp_path).code == 0
    with running_cluster() as cluster:
        path = tmp_path / "week.db"
        ledger = f"sqlite:///{path}" if kind == "sqlite" else cluster.new_database()

        @contextmanager
        def stopped() -> Iterator[None]:
            cluster.kill()
            yield
            cluster.start()

        def away() -> AbstractContextManager[None]:
            return locked(path) if kind == "sqlite" else stopped()

        clock, proxy = Clock(tmp_path / "clock"), Proxy(prometheus)
        proxy.free.set()
        clock.set(START)
        with FaultyServer(proxy) as server:
            options = ("--prometheus", server.url, "--ledger", ledger)
            with scheduled(tmp_path, *options, env=clock.environment()) as process:
                eventually(
                    lambda: any(text.startswith("succeeded") for text in process.messages("slis")), 120
                )
                try:
                    happens(Week(process, clock, proxy, away))
                except AssertionError as error:
                    error.add_note("\n".join(str(line) for line in process.lines[-40:]))
                    raise
                began, ended = START, clock.now()
                assert process.end() == 0
        judged(process, began, ended)
        finish = sloctl(*words[:-1], ledger, "--at", str(END + 900), folder=tmp_path)
        assert finish.code == 0, finish.stderr
        exports = [
            sloctl("ledger", "export", "--ledger", url, folder=tmp_path, env=environment(tmp_path)).stdout
            for url in (alone, ledger)
        ]
        assert exports[0] == exports[1]
        assert rows(alone) == rows(ledger)


def judged(process: Scheduled, began: float, ended: float) -> None:
    """What the log says: nothing that is not known, and each report once for each of its times."""
    assert process.noise == []
    assert [line for line in process.lines if "traceback" in line] == []
    due = 0
    for zone in ZONES:
        trigger, at = Cron(LINE, zone), datetime.fromtimestamp(began, UTC)
        while (at := trigger.after(at)).timestamp() <= ended:
            due += 1
    assert due == 2 * 7 + 1 or due == 2 * 8 or due == 2 * 7
    reports = process.messages("report")
    ended_otherwise = [text for text in reports if not text.startswith("succeeded")]
    assert (len(reports) - len(ended_otherwise), ended_otherwise) == (due, ended_otherwise)
