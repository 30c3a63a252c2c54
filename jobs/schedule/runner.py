"""One run of a job by its name: the same for ``sloctl run``, for cron and for the scheduler.

It knows sources, traces and the ledger as protocols. When a job runs, and what becomes of its result, is for others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource, Progress, silent
from sloctl.errors import UsageError
from sloctl.model import SloSet, job_names
from sloctl.telemetry.own_metrics import Gauge

if TYPE_CHECKING:
    from jobs.retry_amplification import RetryFrames
    from sloctl.backends.silences import SilenceStore
    from sloctl.backends.spans import TraceSource
    from sloctl.ledger.protocol import Ledger
    from sloctl.model.calendar import CalendarPeriod
    from sloctl.report.data import Finding, Report

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Connections:
    """Where jobs read from, and the ledger that they write to, if there is one.

    ``traces`` opens the trace backend, which only one job asks. ``silences`` may excuse what the ledger then leaves
    out. ``progress`` is told what a run that takes long is doing. ``period`` is the one that a report is of, if any.
    """

    metrics: MetricSource
    traces: Callable[[], AbstractContextManager[TraceSource]] | None = None
    ledger: Ledger | None = None
    silences: SilenceStore | None = None
    progress: Progress = silent
    period: CalendarPeriod | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found: ``shown`` as people and machines read it, ``numbers`` as metrics, and what else to say.

    ``report`` is the report of ``report`` and ``burn_rate``, ``retries`` the result of ``retry_amplification``;
    ``said`` is one line on what was done.
    """

    job: str
    shown: Report | Rows | dict[str, Rows]
    numbers: tuple[Gauge, ...] = ()
    findings: Sequence[Finding] = ()
    report: Report | None = None
    retries: RetryFrames | None = None
    said: str = ""


def run(
    name: str, slo_set: SloSet, connections: Connections, at: datetime, seconds: int | None = None
) -> Result:
    """Run a job as of ``at`` (aware). ``seconds`` is how much of the past, if not the job's own default.

    Raises ``BackendError``, and UsageError for a name that is no job's or a trace backend that is not named.
    """
    if name not in _BODIES:
        raise UsageError(f"{name!r} is not a job", hint=f"choose from {', '.join(job_names.NAMES)}")
    return _BODIES[name](slo_set, connections, at, seconds)


def _slis(slo_set: SloSet, connections: Connections, at: datetime, seconds: int | None) -> Result:
    from jobs.budgets import targets

    if connections.ledger is None:
        from jobs.budgets import slis  # pandas, which recording does not need

        heard = Heard(connections.metrics)
        rows = slis.rows(slis.run(heard, slo_set, at, seconds or 3600))
        findings = _partial(heard, job_names.SLIS, "events may be missing")
        findings += targets.findings(connections.metrics, slo_set, at)
        return Result(job_names.SLIS, rows, findings=findings)
    from jobs.recording import record

    reach = seconds or 3600
    muted, findings = record.silences(connections.silences, slo_set, at)
    done = record.run(
        connections.metrics,
        slo_set,
        connections.ledger,
        at,
        muted=muted,
        keep_batches=reach,
        progress=lambda share, span: connections.progress(share, f"reading {record.shown(span)}"),
    )
    shown = record.rows_of(done.batches, at - timedelta(seconds=reach))
    findings += [*done.findings, *targets.findings(connections.metrics, slo_set, at)]
    return Result(job_names.SLIS, shown, findings=findings, said=record.said(done))


def _burn_rate(slo_set: SloSet, connections: Connections, at: datetime, _seconds: int | None) -> Result:
    from jobs.reports import gauges, slo_report

    report = slo_report.build(
        connections.metrics, slo_set, at, ledger=connections.ledger, progress=connections.progress
    )
    numbers = tuple(gauges.of_report(report))
    return Result(job_names.BURN_RATE, slo_report.burn_rate_rows(report), numbers, report.findings, report)


def _sidecar_restarts(slo_set: SloSet, connections: Connections, at: datetime, seconds: int | None) -> Result:
    from jobs import sidecar_restarts
    from jobs.reports import gauges

    windows = (seconds,) if seconds else sidecar_restarts.WINDOWS
    heard = Heard(connections.metrics)
    rows = sidecar_restarts.rows(sidecar_restarts.run(heard, slo_set, at, windows))
    found = _partial(heard, job_names.SIDECAR_RESTARTS, "restarts may be missing")
    numbers = () if found else tuple(gauges.of_restarts(rows, slo_set.name))
    return Result(job_names.SIDECAR_RESTARTS, rows, numbers, found)


def _retry_amplification(
    slo_set: SloSet, connections: Connections, at: datetime, seconds: int | None
) -> Result:
    from jobs import retry_amplification
    from jobs.budgets import targets
    from jobs.reports import gauges

    if connections.traces is None:
        raise UsageError("retry_amplification reads traces, and was given no trace backend")
    heard = Heard(connections.metrics)
    with connections.traces() as traces:
        found = retry_amplification.run(heard, traces, slo_set, at, seconds or retry_amplification.WINDOW)
    about = "what metrics counted may be too little"
    unsure = _partial(heard, job_names.RETRY_AMPLIFICATION, about)
    unsure += targets.findings(connections.metrics, slo_set, at)
    found = replace(found, findings=(*found.findings, *unsure))
    numbers = tuple(gauges.of_retries(found, slo_set.name))
    return Result(
        job_names.RETRY_AMPLIFICATION,
        retry_amplification.rows(found),
        numbers,
        found.findings,
        retries=found,
        said=f"{found.counts['spans']} spans",
    )


def _report(slo_set: SloSet, connections: Connections, at: datetime, _seconds: int | None) -> Result:
    from jobs.reports import gauges, routines, slo_report

    if connections.period is None:
        report = slo_report.build(
            connections.metrics, slo_set, at, ledger=connections.ledger, progress=connections.progress
        )
    else:
        report = routines.build(
            connections.metrics, slo_set, at, connections.period, ledger=connections.ledger
        )
    return Result(job_names.REPORT, report, tuple(gauges.of_report(report)), report.findings, report)


def _partial(heard: Heard, job: str, about: str) -> list[Finding]:
    """That what a job read was in doubt; what it made of it is shown, and is no truth to be kept."""
    from sloctl.report.data import partial_findings

    return partial_findings(heard.doubts, about, {"section": job})


_BODIES: dict[str, Callable[[SloSet, Connections, datetime, int | None], Result]] = {
    job_names.SLIS: _slis,
    job_names.BURN_RATE: _burn_rate,
    job_names.SIDECAR_RESTARTS: _sidecar_restarts,
    job_names.RETRY_AMPLIFICATION: _retry_amplification,
    job_names.REPORT: _report,
}
