"""What an observer is told of jobs and their runs, whoever runs them: ``sloctl run`` or the scheduler.

This module must not know what a job does, when it runs, or where runs are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from sloctl import naming
from sloctl.errors import SloctlError
from sloctl.ledger.protocol import JobRun
from sloctl.telemetry import own_metrics
from sloctl.telemetry.protocol import Observer, cause


def run_of(id_: str, started: datetime, ended: datetime, error: BaseException | None = None) -> JobRun:
    """A run that ended, with ``error`` if it failed. What a bug said is not for everybody."""
    if error is None:
        return JobRun(id_, started, ended, "succeeded")
    bug = f"internal error: {type(error).__name__}"
    return JobRun(id_, started, ended, "failed", str(error) if isinstance(error, SloctlError) else bug)


def seconds(run: JobRun) -> float:
    """How long a run took; a clock may have been set back meanwhile."""
    return max(0.0, (run.ended - run.started).total_seconds())


class RunsTold:
    """Tells an observer of the jobs of one set, and remembers the last run of each.

    ``job`` is a job's name, which several may have; ``id_`` its own. The numbers of a name are of all jobs that have
    it: when one of them last succeeded or ran, and when the first of them is due. Safe to use from several threads.

    ``now`` is the time (aware). A run from after it was noted by a clock that has been set back since, and counts as
    unknown.
    """

    def __init__(self, set_name: str, observer: Observer, now: Callable[[], datetime]) -> None:
        self._set, self._observer, self._now = set_name, observer, now
        self._lock = threading.RLock()
        self._last: dict[str, JobRun] = {}
        self._names: dict[str, str] = {}
        self._due: dict[str, datetime] = {}

    def expect(self, names: Mapping[str, str]) -> None:
        """The ids of all jobs that there are from now on, with their names; before the first one runs."""
        with self._lock:
            gone = {*self._names.values()} - {*names.values()}
            self._names, self._due = dict(names), {}
            for job in gone:
                self._observer.gauge(own_metrics.NEXT_RUN, None, **self._labels(job))

    def learn(self, runs: Mapping[str, JobRun]) -> None:
        """Runs that are known from elsewhere, as :meth:`sloctl.ledger.protocol.Ledger.runs` gives them."""
        with self._lock:
            known = self.known()
            for key, run in runs.items():
                if key not in known or (not run.ahead(self._now()) and run.ended > known[key].ended):
                    self._last[key] = run

    def known(self) -> Mapping[str, JobRun]:
        """The last runs by id: of failed ones under ``id!``."""
        with self._lock:
            return {key: run for key, run in self._last.items() if not run.ahead(self._now())}

    def failed(self) -> list[JobRun]:
        """The last runs of those jobs that failed when they last ran."""
        with self._lock:
            last = {id_: self._latest([id_]) for id_ in self._names}
        return [run for _, run in sorted(last.items()) if run is not None and run.outcome == "failed"]

    def count(self, job: str, outcome: str) -> None:
        """Count a run, or one that was not."""
        self._observer.count(own_metrics.RUNS, **self._labels(job), outcome=outcome)

    def ended(self, job: str, run: JobRun, error: BaseException | None = None) -> None:
        """A run has ended, with ``error`` if it failed."""
        labels = self._labels(job)
        if error is not None:
            kind = cause(error) if isinstance(error, Exception) else "interrupted"
            self._observer.count(own_metrics.ERRORS, **labels, cause=kind)
        self._observer.time(own_metrics.RUN_DURATION, seconds(run), **labels)
        self.count(job, run.outcome)
        with self._lock:
            self._last[run.job if run.outcome == "succeeded" else f"{run.job}!"] = run
        self.show(job, run.job)

    def show(self, job: str, id_: str) -> None:
        """The numbers of the last runs of all jobs of a name, wherever these were; ``id_`` has it, or had it."""
        with self._lock:
            labels = self._labels(job)
            ids = {id_, *(other for other, name in self._names.items() if name == job)}
            good, last = self._latest(ids, ("",)), self._latest(ids)
            numbers = {
                naming.JOB_LAST_SUCCESS: None if good is None else good.ended.timestamp(),
                naming.JOB_LAST_RUN: None if last is None else last.ended.timestamp(),
                naming.JOB_DURATION: None if last is None else seconds(last),
                naming.JOB_FAILED: None if last is None else float(last.outcome == "failed"),
            }
            for name, value in numbers.items():
                self._observer.gauge(name, value, **labels)

    def _latest(self, ids: Iterable[str], marks: Iterable[str] = ("", "!")) -> JobRun | None:
        known = self.known()
        found = [known[key] for id_ in sorted(ids) for mark in marks if (key := f"{id_}{mark}") in known]
        return max(found, key=lambda run: run.ended, default=None)

    def due(self, job: str, id_: str, at: datetime) -> None:
        """When a job is to run next."""
        with self._lock:
            self._due[id_] = at
            soonest = min(
                time for other, time in self._due.items() if other == id_ or self._names.get(other) == job
            )
            self._observer.gauge(own_metrics.NEXT_RUN, soonest.timestamp(), **self._labels(job))

    def delivered(self, outcomes: Mapping[str, int]) -> None:
        """How many posts became what."""
        for outcome, count in outcomes.items():
            for _ in range(count):
                self._observer.count(own_metrics.DELIVERIES, outcome=outcome, **{naming.SLO_SET: self._set})

    def _labels(self, job: str) -> dict[str, str]:
        return {naming.SLO_SET: self._set, naming.JOB: job}
