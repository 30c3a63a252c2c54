"""What commands share that post reports: which report is meant, posting it, and what they say of deliveries."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import click

from sloctl.cli import composition
from sloctl.cli.context import Context
from sloctl.errors import EXIT_BACKEND, EXIT_OK, EXIT_PROBLEMS, BackendError, UsageError
from sloctl.model.job_names import REPORT

if TYPE_CHECKING:
    from jobs.posting import Posted
    from sloctl.model import Job, SloSet
    from sloctl.model.calendar import CalendarPeriod
    from sloctl.model.job_names import RoutineKind
    from sloctl.posting.protocol import Outbox, Post
    from sloctl.report.data import Report


def report_job(slo_set: SloSet, routine: str | None = None) -> Job | None:
    """The file's job ``report`` of a routine, or its only one; None if it has none. Raises UsageError."""
    from sloctl.report.routine import of_job

    found = [job for job in slo_set.jobs if job.name == REPORT]
    if routine is not None:
        return next((job for job in found if of_job(job) == routine), found[0] if len(found) == 1 else None)
    if len(found) > 1:
        kinds = ", ".join(sorted({of_job(job) for job in found}))
        raise UsageError(
            f"the file has {len(found)} jobs of this name", hint=f"say which one with --routine: {kinds}"
        )
    return found[0] if found else None


def period_of(at: datetime, routine: RoutineKind, timezone: str) -> CalendarPeriod:
    """The last complete period at a time. Raises UsageError for a time zone that does not exist."""
    from zoneinfo import ZoneInfoNotFoundError

    from sloctl.report.routine import last_period

    try:
        return last_period(routine, at, timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"--timezone: there is no time zone {timezone!r}", hint="write it like Europe/Paris"
        ) from None


def scheduled(slo_set: SloSet, at: datetime, routine: str | None) -> tuple[Job | None, CalendarPeriod | None]:
    """The file's job of reports that is meant, and the period that it is about, if it is about one.

    Raises UsageError where it is not clear which is meant.
    """
    from sloctl.report.routine import ROUTINE_KINDS, of_job

    job = report_job(slo_set, routine)
    if routine is None:
        return job, None if job is None else period_of_job(job, at)
    ours = job.timezone if job is not None and of_job(job) == routine else "UTC"
    return job, period_of(at, ROUTINE_KINDS[routine], ours)


def period_of_job(job: Job, at: datetime) -> CalendarPeriod | None:
    """The period that a job's report is about; none of a job that is no report, or that neither posts nor names one."""
    from sloctl.report.routine import of_job

    if job.name != REPORT or not (job.post or job.routine):
        return None
    return period_of(at, of_job(job), job.timezone)


def reported(
    slo_set: SloSet, at: datetime, wanted: bool, routine: str | None
) -> tuple[Job | None, CalendarPeriod | None]:
    """As :func:`scheduled`, if a report is wanted; fails early if its job posts and cannot. Raises UsageError."""
    if not wanted:
        if routine is not None:
            raise UsageError("--routine is for the job report")
        return None, None
    job, period = scheduled(slo_set, at, routine)
    if job is not None and job.post:
        composition.check_slack(slo_set)
    return job, period


@contextmanager
def delivering(
    context: Context, slo_set: SloSet, job: Job | None, ledger: composition.LedgerAccess
) -> Iterator[None]:
    """If there can be no new report, those that wait are delivered all the same."""
    try:
        yield
    except BackendError:
        if job is not None and job.post:
            with suppress(BackendError):
                _deliver_due(context, slo_set, ledger)
        raise


def post_of_job(
    context: Context,
    report: Report | None,
    slo_set: SloSet,
    job: Job | None,
    ledger: composition.LedgerAccess,
) -> int:
    """Post a report if its job says so; the exit code."""
    if report is None or job is None or not job.post:
        return EXIT_OK
    return post_report(context, report, slo_set, ledger, step=job.every)


def post_of(report: Report, slo_set: SloSet, *, chart: bool = True) -> Post:
    """What would be posted of a report."""
    from jobs.posting import key_of
    from sloctl.posting.slack.steps import compose

    if chart:
        composition.check_packages()
    return compose(report, slo_set, key_of(report, slo_set.slack_channel), chart=chart)


def keys_of_owners(report: Report, slo_set: SloSet) -> list[str]:
    """What the posts are called that owners get of a report."""
    from jobs.posting import key_of, parts

    return [key_of(part, channel) for part, channel in parts(report, slo_set)]


def slack_json(report: Report, slo_set: SloSet) -> str:
    """A report as Block Kit, as it would be posted: ASCII, for a terminal obeys what a name may hold."""
    return json.dumps(json.loads(post_of(report, slo_set, chart=False).payload), indent=2)


def post_report(
    context: Context, report: Report, slo_set: SloSet, ledger: composition.LedgerAccess, *, step: int = 0
) -> int:
    """Put a report into the outbox and deliver all that is due; says what became of it, and gives the exit code."""
    from jobs import posting

    box = ledger.outbox()
    key, new, done = posting.post_report(report, slo_set, box, composition.notifier(), time.time, step=step)
    if not new and key not in (*done.sent, *done.waiting, *done.dead):
        states = {entry.post.key: entry.state for entry in box.entries(slo_set.name)}
        said = {"pending": "is in the outbox already", "dead": "was given up before"}
        context.say(f"sloctl: {key} {said.get(states.get(key, 'sent'), 'was posted before')}")
    say(context, done, box, slo_set.name)
    return EXIT_PROBLEMS if done.dead else EXIT_BACKEND if done.waiting else EXIT_OK


def _deliver_due(context: Context, slo_set: SloSet, ledger: composition.LedgerAccess) -> None:
    """Deliver what waits in the outbox and is due, without anything new."""
    from jobs import posting

    box = ledger.outbox()
    done = posting.deliver(box, composition.notifier(), time.time, set_name=slo_set.name)
    say(context, done, box, slo_set.name)


def say(context: Context, done: Posted, box: Outbox, set_name: str = "") -> None:
    """What became of posts; what did not arrive is said even if quiet."""
    from jobs.posting import lines

    dead = [entry.post.key for entry in box.entries(set_name, ("dead",))]
    for line in lines(done):
        text = f"sloctl: {line.level}: {line.text}" if line.level else line.text
        if line.arrived:
            context.say(text)
        else:
            click.echo(text, err=True)
    if earlier := [key for key in dead if key not in done.dead]:
        more = f" and {len(earlier) - 1} more" if len(earlier) > 1 else ""
        click.echo(
            f"sloctl: warning: given up earlier: {earlier[0]}{more}; see 'sloctl outbox list'", err=True
        )
