"""Hours of schedule in seconds: the whole of ``sloctl schedule`` with a compressed clock, and what it holds on to.

The bodies of the jobs, the ledger, telemetry and the server are the real ones; only the triggers are faster.
"""

from __future__ import annotations

import gc
import os
import random
import threading
import time
import tracemalloc
import urllib.request
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobs.schedule.attempt import Done
from jobs.schedule.scheduler import Scheduler, tasks_of
from jobs.schedule.triggers import Trigger, trigger
from sloctl import spec
from sloctl.cli.composition import Overrides
from sloctl.cli.scheduling import Service
from sloctl.model import Job
from sloctl.telemetry.web import Web


class Compressed(Trigger):
    """A schedule that goes by so many times as fast, from ``origin`` on, where both clocks agree."""

    def __init__(self, inner: Trigger, origin: datetime, factor: float) -> None:
        self._inner, self._origin, self._factor = inner, origin, factor

    def scheduled(self, real: datetime) -> datetime:
        return self._origin + (real - self._origin) * self._factor

    def _real(self, scheduled: datetime) -> datetime:
        # A microsecond more, so that the way back is not before the instant.
        return self._origin + (scheduled - self._origin) / self._factor + timedelta(microseconds=1)

    def after(self, time: datetime) -> datetime:
        found = self._real(self._inner.after(self.scheduled(time)))
        while found <= time:
            found = self._real(
                self._inner.after(self.scheduled(found) + timedelta(seconds=self._factor / 1000))
            )
        return found

    def latest(self, time: datetime) -> datetime:
        return min(time, self._real(self._inner.latest(self.scheduled(time))))

    def __str__(self) -> str:
        return f"{self._inner}, {self._factor:g} times as fast"


@dataclass(frozen=True)
class Held:
    """What the process holds: resident bytes, Python's own bytes, threads, open files by kind."""

    resident: int
    python: int
    threads: int
    files: Counter[str]

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        files: Counter[str] = Counter()
        for entry in Path("/proc/self/fd").iterdir():
            try:
                files[os.readlink(entry).partition(":")[0]] += 1
            except OSError:
                continue
        python = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
        return cls(resident, python, threading.active_count(), files)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.files.items()))
        return f"{self.resident / 2**20:.1f} MB ({self.python / 2**20:.2f} MB Python), {self.threads} threads; {kinds}"


@dataclass
class Soak:
    """What a soak found: ``held`` at even times after it was warm."""

    runs: int
    failed: int
    scheduled: timedelta
    held: list[Held]


def soak(
    path: Path, seconds: float, factor: float, *, samples: int = 20, trouble: float = 0.1, scrape: float = 0.5
) -> Soak:
    """Run the jobs of a file for so many seconds of real time, and scrape meanwhile.

    ``trouble`` is the share of runs that fail on purpose, after they have done their work.
    """
    slo_set = spec.load([path])
    begin = datetime.now(UTC)
    service = Service(slo_set, Overrides(timeout=5), str(path.with_name("soak.db")))
    counts: Counter[str] = Counter()
    chance = random.Random(1)

    def run(job: Job, at: datetime) -> Done:
        try:
            done = bodies(job, at)
        except Exception:
            counts["failed"] += 1
            raise
        counts["runs"] += 1
        if chance.random() < trouble:
            raise RuntimeError("trouble on purpose")
        return done

    bodies = service.runs(slo_set)

    def faster(set_name: str, job: Job) -> Trigger:
        return Compressed(trigger(set_name, job), begin, factor)

    scheduler = Scheduler(
        slo_set.name,
        tasks_of(slo_set, run, faster),
        ledger=service.ledger.get,
        slo_ids=[slo.id for slo in slo_set.slos],
        observer=service.telemetry,
    )
    held: list[Held] = []
    with service, service.web("127.0.0.1:0") as web:
        scheduler.start()
        try:
            _watch(web, seconds / 4, scrape)  # until all is imported, and pools are full
            for _ in range(samples):
                _watch(web, seconds * 3 / 4 / samples, scrape)
                scheduler.wait(5)  # a moment at which nothing runs, if there is one
                held.append(Held.now())
        finally:
            scheduler.stop()
            assert scheduler.wait(30)
    passed = (datetime.now(UTC) - begin) * factor
    return Soak(counts["runs"], counts["failed"], passed, held)


def _watch(web: Web, seconds: float, scrape: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://{web.address}/metrics") as answer:
            answer.read()
        time.sleep(scrape)
