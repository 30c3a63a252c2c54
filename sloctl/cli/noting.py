"""What is told of a job that ``sloctl run`` runs: to whoever listens, and to a textfile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sloctl import naming
from sloctl.cli.context import now
from sloctl.errors import UsageError
from sloctl.telemetry import own_metrics, textfile
from sloctl.telemetry.protocol import Observer, cause
from sloctl.telemetry.textfile import JobRun


@contextmanager
def noted(path: Path | None, slo_set: str, job: str, observer: Observer) -> Iterator[None]:
    """Tell the observer and the textfile of a job's run, whether it fails or not; its own error goes first."""
    started = now()
    try:
        with observer.span(f"job {job}", {"sloctl.job": job, "sloctl.slo_set": slo_set}):
            yield
    except BaseException as error:
        run = JobRun(slo_set, job, started, now(), failed=True)
        _observed(observer, run, error)
        if path is not None:
            with suppress(UsageError):
                textfile.write(path, run)
        raise
    run = JobRun(slo_set, job, started, now())
    _observed(observer, run)
    if path is not None:
        textfile.write(path, run)


def _observed(observer: Observer, run: JobRun, error: BaseException | None = None) -> None:
    labels = {naming.SLO_SET: run.slo_set, naming.JOB: run.job}
    observer.count(own_metrics.RUNS, **labels, outcome="failed" if run.failed else "succeeded")
    if error is not None:
        kind = cause(error) if isinstance(error, Exception) else "interrupted"
        observer.count(own_metrics.ERRORS, **labels, cause=kind)
    took = max(0.0, (run.ended - run.started).total_seconds())
    observer.time(own_metrics.RUN_DURATION, took, **labels)
    observer.gauge(naming.JOB_DURATION, took, **labels)
    observer.gauge(naming.JOB_FAILED, float(run.failed), **labels)
    observer.gauge(naming.JOB_LAST_RUN, run.ended.timestamp(), **labels)
    if not run.failed:
        observer.gauge(naming.JOB_LAST_SUCCESS, run.ended.timestamp(), **labels)
