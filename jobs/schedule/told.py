"""What an observer is told of jobs and their runs, whoever runs them: ``sloctl run`` or the scheduler.

This module must not know what a job does, when it runs, or where runs are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
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

    ``job`` is a job's name, which several may have; ``id_`` its own.
    """

    def __init__(self, set_name: str, observer: Observer) -> None:
        self._set, self._observer = set_name, observer
        self._last: dict[str, JobRun] = {}

    def learn(self, runs: Mapping[str, JobRun]) -> None:
        """Runs that are known from elsewhere, as :meth:`sloctl.ledger.protocol.Ledger.runs` gives them."""
        self._last.update(runs)

    def known(self) -> Mapping[str, JobRun]:
        """The last runs by id: of failed ones under ``id!``."""
        return dict(self._last)

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
        self._last[run.job if run.outcome == "succeeded" else f"{run.job}!"] = run
        self.show(job, run.job)

    def show(self, job: str, id_: str) -> None:
        """The numbers of a job's last runs, wherever these were."""
        labels = self._labels(job)
        good, bad = self._last.get(id_), self._last.get(f"{id_}!")
        if good is not None:
            self._observer.gauge(naming.JOB_LAST_SUCCESS, good.ended.timestamp(), **labels)
        last = max((run for run in (good, bad) if run), key=lambda run: run.ended, default=None)
        if last is not None:
            self._observer.gauge(naming.JOB_LAST_RUN, last.ended.timestamp(), **labels)
            self._observer.gauge(naming.JOB_DURATION, seconds(last), **labels)
            self._observer.gauge(naming.JOB_FAILED, float(last is bad), **labels)

    def due(self, job: str, at: datetime) -> None:
        """When a job is to run next."""
        self._observer.gauge(own_metrics.NEXT_RUN, at.timestamp(), **self._labels(job))

    def delivered(self, outcomes: Mapping[str, int]) -> None:
        """How many posts became what."""
        for outcome, count in outcomes.items():
            for _ in range(count):
                self._observer.count(own_metrics.DELIVERIES, outcome=outcome, **{naming.SLO_SET: self._set})

    def _labels(self, job: str) -> dict[str, str]:
        return {naming.SLO_SET: self._set, naming.JOB: job}
