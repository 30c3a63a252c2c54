"""One run of a job by its name: the same for ``sloctl run``, for cron and for the scheduler.

It knows sources, traces and the ledger as protocols. When a job runs, and what becomes of its result, is for others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sloctl.backends.protocols import MetricSource
from sloctl.errors import UsageError
from sloctl.model import SloSet
from sloctl.telemetry.own_metrics import Gauge

if TYPE_CHECKING:
    from jobs.retry_amplification import RetryFrames
    from sloctl.backends.silences import SilenceStore
    from sloctl.backends.spans import TraceSource
    from sloctl.ledger.protocol import Ledger
    from sloctl.model.calendar import CalendarPeriod
    from sloctl.report.data import Finding, Report

JOBS = ("slis", "burn_rate", "sidecar_restarts", "retry_amplification", "report")
"""In the order in which several are run at once."""
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where jobs read from, and the ledger that they write to, if there is one.

    ``traces`` opens the trace backend, which only one job asks. ``silences`` may excuse what the ledger then leaves
    out. ``progress`` is told what a run that takes long is doing. ``period`` is the one that a report is of, if any.
    """

    metrics: MetricSource
    traces: Callable[[], AbstractContextManager[TraceSource]] | None = None
    ledger: Ledger | None = None
    silences: SilenceStore | None = None
    progress: Callable[[str], object] = lambda text: None
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


def run(name: str, slo_set: SloSet, sources: Sources, at: datetime, seconds: int | None = None) -> Result:
    """Run a job as of ``at`` (aware). ``seconds`` is how much of the past, if not the job's own default.

    Raises ``BackendError``, and UsageError for a name that is no job's or a trace backend that is not named.
    """
    if name not in _BODIES:
        raise UsageError(f"{name!r} is not a job", hint=f"choose from {', '.join(JOBS)}")
    return _BODIES[name](slo_set, sources, at, seconds)


def _slis(slo_set: SloSet, sources: Sources, at: datetime, seconds: int | None) -> Result:
    if sources.ledger is None:
        from jobs.budgets import slis  # pandas, which recording does not need

        return Result("slis", slis.rows(slis.run(sources.metrics, slo_set, at, seconds or 3600)))
    from jobs.recording import record

    reach = seconds or 3600
    muted, findings = record.silences(sources.silences, slo_set, at)
    done = record.run(
        sources.metrics,
        slo_set,
        sources.ledger,
        at,
        muted=muted,
        keep_batches=reach,
        progress=lambda span: sources.progress(f"reading {record.shown(span)}"),
    )
    shown = record.rows_of(done.batches, at - timedelta(seconds=reach))
    return Result("slis", shown, findings=[*findings, *done.findings], said=record.said(done))


def _burn_rate(slo_set: SloSet, sources: Sources, at: datetime, _seconds: int | None) -> Result:
    from jobs.reports import gauges, slo_report
    from jobs.reports import slo_report as burn_rate

    report = slo_report.build(sources.metrics, slo_set, at, ledger=sources.ledger)
    numbers = tuple(gauges.of_report(report))
    return Result("burn_rate", burn_rate.burn_rate_rows(report), numbers, report.findings, report)


def _sidecar_restarts(slo_set: SloSet, sources: Sources, at: datetime, seconds: int | None) -> Result:
    from jobs import sidecar_restarts
    from jobs.reports import gauges

    windows = (seconds,) if seconds else sidecar_restarts.WINDOWS
    rows = sidecar_restarts.rows(sidecar_restarts.run(sources.metrics, slo_set, at, windows))
    return Result("sidecar_restarts", rows, tuple(gauges.of_restarts(rows, slo_set.name)))


def _retry_amplification(slo_set: SloSet, sources: Sources, at: datetime, seconds: int | None) -> Result:
    from jobs import retry_amplification
    from jobs.reports import gauges

    if sources.traces is None:
        raise UsageError(
            "the SLO file names no trace backend",
            hint="write  sources: {traces: {backend: zipkin, url: …}}  (or jaeger, tempo)",
        )
    with sources.traces() as traces:
        found = retry_amplification.run(
            sources.metrics, traces, slo_set, at, seconds or retry_amplification.WINDOW
        )
    numbers = tuple(gauges.of_retries(found, slo_set.name))
    return Result(
        "retry_amplification",
        retry_amplification.rows(found),
        numbers,
        found.findings,
        retries=found,
        said=f"{found.counts['spans']} spans",
    )


def _report(slo_set: SloSet, sources: Sources, at: datetime, _seconds: int | None) -> Result:
    from jobs.reports import gauges, routines, slo_report

    if sources.period is None:
        report = slo_report.build(sources.metrics, slo_set, at, ledger=sources.ledger)
    else:
        report = routines.build(sources.metrics, slo_set, at, sources.period, ledger=sources.ledger)
    return Result("report", report, tuple(gauges.of_report(report)), report.findings, report)


_BODIES: dict[str, Callable[[SloSet, Sources, datetime, int | None], Result]] = {
    "slis": _slis,
    "burn_rate": _burn_rate,
    "sidecar_restarts": _sidecar_restarts,
    "retry_amplification": _retry_amplification,
    "report": _report,
}
