"""What commands share that post reports: the outbox, the notifier, and what they say of deliveries."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import click

from sloctl import extras
from sloctl.cli.context import Context
from sloctl.errors import EXIT_BACKEND, EXIT_OK, EXIT_PROBLEMS, BackendError, UsageError

if TYPE_CHECKING:
    from jobs.posting import Posted
    from sloctl.ledger.outbox import DatabaseOutbox
    from sloctl.model import Job, SloSet
    from sloctl.posting.protocol import Letter, Notifier
    from sloctl.report.data import Report
    from sloctl.report.routine import Kind, Period


def report_job(slo_set: SloSet, routine: str | None = None) -> Job | None:
    """The file's job ``report`` of a routine, or its only one; None if it has none. Raises UsageError."""
    from sloctl.report.routine import of_job

    found = [job for job in slo_set.jobs if job.name == "report"]
    if routine is not None:
        return next((job for job in found if of_job(job) == routine), found[0] if len(found) == 1 else None)
    if len(found) > 1:
        kinds = ", ".join(sorted({of_job(job) for job in found}))
        raise UsageError(
            f"the file has {len(found)} jobs of this name", hint=f"say which one with --routine: {kinds}"
        )
    return found[0] if found else None


def period_of(at: datetime, routine: Kind, timezone: str) -> Period:
    """The last complete period at a time. Raises UsageError for a time zone that does not exist."""
    from zoneinfo import ZoneInfoNotFoundError

    from sloctl.report.routine import last_period

    try:
        return last_period(routine, at, timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"--timezone: there is no time zone {timezone!r}", hint="write it like Europe/Paris"
        ) from None


def scheduled(slo_set: SloSet, at: datetime, routine: str | None) -> tuple[Job | None, Period | None]:
    """The file's job of reports that is meant, and the period that it is about, if it is about one.

    Raises UsageError where it is not clear which is meant.
    """
    from sloctl.report.routine import KINDS, of_job

    job = report_job(slo_set, routine)
    if routine is None:
        return job, None if job is None else period_of_job(job, at)
    ours = job.timezone if job is not None and of_job(job) == routine else "UTC"
    return job, period_of(at, KINDS[routine], ours)


def period_of_job(job: Job, at: datetime) -> Period | None:
    """The period that a job's report is about; none of a job that is no report, or that neither posts nor names one."""
    from sloctl.report.routine import of_job

    if job.name != "report" or not (job.post or job.routine):
        return None
    return period_of(at, of_job(job), job.timezone)


def reported(
    slo_set: SloSet, at: datetime, wanted: bool, routine: str | None
) -> tuple[Job | None, Period | None]:
    """As :func:`scheduled`, if a report is wanted; fails early if its job posts and cannot. Raises UsageError."""
    if not wanted:
        if routine is not None:
            raise UsageError("--routine is for the job report")
        return None, None
    job, period = scheduled(slo_set, at, routine)
    if job is not None and job.post:
        check_slack(slo_set)
    return job, period


@contextmanager
def delivering(context: Context, slo_set: SloSet, job: Job | None, ledger: str | None) -> Iterator[None]:
    """If there can be no new report, those that wait are delivered all the same."""
    try:
        yield
    except BackendError:
        if job is not None and job.post:
            with suppress(BackendError):
                deliver_due(context, slo_set, ledger=ledger)
        raise


def post_of_job(
    context: Context, report: Report | None, slo_set: SloSet, job: Job | None, ledger: str | None
) -> int:
    """Post a report if its job says so; the exit code."""
    if report is None or job is None or not job.post:
        return EXIT_OK
    return exit_code(post_report(context, report, slo_set, ledger=ledger, step=job.every))


def letter_of(report: Report, slo_set: SloSet, *, chart: bool = True, step: int = 0) -> Letter:
    """What is posted of a report."""
    from jobs.posting import key_of
    from sloctl.posting.slack.steps import compose

    if chart:
        check_packages()

    return compose(report, slo_set, key_of(report, slo_set.slack_channel, step), chart=chart)


def slack_json(report: Report, slo_set: SloSet) -> str:
    """A report as Block Kit, as it would be posted: ASCII, for a terminal obeys what a name may hold."""
    return json.dumps(json.loads(letter_of(report, slo_set, chart=False).payload), indent=2)


def check_slack(slo_set: SloSet) -> None:
    """Fail before anything is asked, if a report cannot be posted. Raises UsageError."""
    from sloctl.settings.slack import SlackSettings

    check_packages()
    settings = SlackSettings.load()
    if settings.token and not slo_set.slack_channel:
        raise UsageError(
            "the SLO file names no Slack channel", hint='write  reports: {slack: {channel: "#slo-reviews"}}'
        )


def check_packages() -> None:
    """Fail if what posts to Slack, or draws for it, is not installed. Raises UsageError."""
    with extras.needed("slack", "posting to Slack"):
        from sloctl.posting.slack import api, chart  # noqa: F401


def notifier() -> Notifier:
    """What delivers to Slack, by the environment's token or webhook. Raises UsageError."""
    from sloctl.settings.slack import SlackSettings

    check_packages()
    from sloctl.posting.slack.api import Slack, Webhook
    from sloctl.posting.slack.deliver import SlackNotifier

    settings = SlackSettings.load()
    return SlackNotifier(Slack(settings) if settings.token else Webhook(settings))


@contextmanager
def outbox(ledger: str | None = None) -> Iterator[DatabaseOutbox]:
    """The outbox in the ledger's database. Raises UsageError where there is to be no ledger; BackendError."""
    from sloctl.ledger.database import opened
    from sloctl.ledger.outbox import DatabaseOutbox
    from sloctl.settings.backends import LedgerSettings

    url = LedgerSettings.load(option=ledger).url
    if url is None:
        raise UsageError(
            "posting needs the ledger, which remembers what was posted",
            hint="give its address with --ledger or SLOCTL_LEDGER_URL",
        )
    with opened(url) as database:
        yield DatabaseOutbox(database)


def post_report(
    context: Context, report: Report, slo_set: SloSet, *, ledger: str | None = None, step: int = 0
) -> Posted:
    """Put a report into the outbox and deliver all that is due; says what became of it."""
    from jobs import posting

    with outbox(ledger) as box:
        key, new, done = posting.post_report(report, slo_set, box, notifier(), time.time, step=step)
        if not new and key not in (*done.sent, *done.waiting, *done.dead):
            states = {entry.letter.key: entry.state for entry in box.entries(slo_set.name)}
            said = {"pending": "is in the outbox already", "dead": "was given up before"}
            context.say(f"sloctl: {key} {said.get(states.get(key, 'sent'), 'was posted before')}")
        say(context, done, [entry.letter.key for entry in box.entries(slo_set.name, ("dead",))])
    return done


def deliver_due(context: Context, slo_set: SloSet, *, ledger: str | None = None) -> Posted:
    """Deliver what waits in the outbox and is due, without anything new."""
    from jobs import posting

    with outbox(ledger) as box:
        done = posting.deliver(box, notifier(), time.time, set_name=slo_set.name)
        say(context, done, [entry.letter.key for entry in box.entries(slo_set.name, ("dead",))])
    return done


def exit_code(done: Posted) -> int:
    """1 if something cannot be posted, 3 if something waits, so that cron or Kubernetes tries again."""
    return EXIT_PROBLEMS if done.dead else EXIT_BACKEND if done.waiting else EXIT_OK


def say(context: Context, done: Posted, dead: list[str]) -> None:
    """What became of letters; what did not arrive is said even if quiet."""
    for key in done.sent:
        context.say(f"posted {key}")
        for note in done.notes.get(key, ()):
            context.say(f"sloctl: warning: {key}: {note}")
    for key, reason in done.waiting.items():
        click.echo(f"sloctl: warning: {key} waits: {reason}", err=True)
    for key, reason in done.dead.items():
        click.echo(f"sloctl: error: {key} was given up: {reason}", err=True)
    if earlier := [key for key in dead if key not in done.dead]:
        more = f" and {len(earlier) - 1} more" if len(earlier) > 1 else ""
        click.echo(
            f"sloctl: warning: given up earlier: {earlier[0]}{more}; see 'sloctl outbox list'", err=True
        )
