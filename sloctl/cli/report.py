"""``sloctl report``."""

from __future__ import annotations

import contextlib
import io
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sloctl.cli import composition, progress
from sloctl.cli.composition import LedgerAccess, Overrides, Servers
from sloctl.cli.context import (
    Context,
    budget_options,
    files_option,
    ledger_option,
    linted,
    load,
    mesh_option,
    now,
    origin_option,
    output_option,
    parse_time,
    pass_context,
    source_options,
)
from sloctl.errors import EXIT_BACKEND, EXIT_OK, EXIT_PROBLEMS, UsageError
from sloctl.model.job_names import REPORT, ROUTINES

if TYPE_CHECKING:
    from datetime import datetime

    from sloctl.model import SloSet
    from sloctl.model.calendar import CalendarPeriod
    from sloctl.report.data import Report, SloStatus

FAIL_ON = {
    "never": (),
    "exhausted": ("exhausted",),
    "at_risk": ("exhausted", "at_risk"),
    "no_data": ("exhausted", "at_risk", "no_data"),
}


@click.command("report")
@files_option
@source_options
@ledger_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "json", "html", "csv", "slack"]),
    default="table",
    show_default=True,
    help="How to print it; the JSON form is an interface, the HTML form one page with plots, csv is for spreadsheets, "
    "slack is Block Kit.",
)
@output_option
@origin_option
@click.option(
    "--fail-on",
    type=click.Choice(list(FAIL_ON)),
    default="never",
    show_default=True,
    help="Exit 1 if a budget is in this state; at_risk includes exhausted, no_data both.",
)
@click.option(
    "--routine",
    type=click.Choice(ROUTINES),
    help="Also say what the last complete day, week or month was like.",
)
@click.option(
    "--timezone",
    metavar="ZONE",
    help="The time zone of --routine; else that of the file's job of this routine, else UTC.",
)
@click.option(
    "--post",
    is_flag=True,
    help="Post it to Slack too, once for each period (without --routine: for each time), and what waits to be posted.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what --post would post, as Block Kit, and post nothing.",
)
@click.option(
    "--with-traces",
    is_flag=True,
    help="Also count retries from the traces of the last half hour (sources.traces).",
)
@mesh_option
@budget_options
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="Only the N worst; --fail-on judges all."
)
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    at: str | None,
    ledger_url: str | None,
    form: str,
    output: Path | None,
    origin: str,
    fail_on: str,
    routine: str | None,
    timezone: str | None,
    post: bool,
    dry_run: bool,
    with_traces: bool,
    services: tuple[str, ...],
    namespace: str | None,
    owner: str | None,
    top: int | None,
    manifests: tuple[str, ...],
) -> int:
    """Show every error budget: SLI, events, budget left, burn rates, exhaustion, alerts, data quality.

    With --post, it exits 3 if the report waits to be posted (the next run goes on) and 1 if it cannot be.
    """
    slo_set = load(context, files)
    time = parse_time(at, now())
    period = _period(slo_set, time, routine, timezone)
    chosen = bool(services or namespace or owner or top)
    if chosen and (post or dry_run):
        raise UsageError(
            "--post posts the whole report", hint="leave out --service, --namespace, --owner, --top"
        )
    if dry_run:
        composition.check_packages()
    elif post:
        composition.check_slack(slo_set)
    absent: tuple[str, ...] = ()
    with LedgerAccess(ledger_url) as ledger:
        report = build(
            context,
            slo_set,
            time,
            ledger,
            period=period,
            overrides=Overrides(prometheus=url, timeout=timeout),
            origin=origin,
            history=form == "html" or post or period is not None,
            page=form == "html",
            with_traces=with_traces,
            manifests=manifests,
        )
        if chosen:
            report = report.of(lambda item: wanted(item, services, namespace, owner))
            absent = missing(report, services)
            if absent or not report.slos:
                asked = absent or (*services, *filter(None, (namespace, owner)))
                context.warn(f"no budget is of this service, namespace or owner: {', '.join(asked) or top}")
        shown = report
        if top is not None:
            from sloctl.report import markdown

            shown = markdown.top(report, top)
        with contextlib.suppress(BrokenPipeError):  # who reads it may stop; the gate is judged all the same
            show(context, shown, "slack" if dry_run else form, output, slo_set)
        code = _post(context, report, slo_set, ledger, dry_run=dry_run) if post or dry_run else EXIT_OK
    return code or _gate(context, report, fail_on, absent)


def wanted(item: SloStatus, services: tuple[str, ...], namespace: str | None, owner: str | None) -> bool:
    """Whether a budget is one of those that were asked for."""
    return chosen((item.namespace, item.service, item.owner), services, namespace, owner)


def chosen(
    item: tuple[str, str, str], services: tuple[str, ...], namespace: str | None, owner: str | None
) -> bool:
    """Whether what is of a namespace, a service and an owner is asked for."""
    there, service, whose = item
    return (
        (not services or service in services or f"{there}/{service}" in services)
        and namespace in (None, there)
        and owner in (None, whose)
    )


def missing(report: Report, services: tuple[str, ...]) -> tuple[str, ...]:
    """The services that were asked for and have no budget in a report of what was asked for."""
    found = (name for name in services if not any(wanted(item, (name,), None, None) for item in report.slos))
    return tuple(dict.fromkeys(found))


def _gate(context: Context, report: Report, fail_on: str, absent: tuple[str, ...]) -> int:
    """What the report means to a gate. Numbers that may be wrong open none: then nobody can say."""
    states = FAIL_ON[fail_on]
    sure = [item for item in report.slos if not item.doubts and (item.status in states or not item.partial)]
    if failed := sum(1 for item in sure if item.status in states):
        context.say(f"sloctl: {failed} of {len(report.slos)} budgets: {' or '.join(states)}")
        return EXIT_PROBLEMS
    if states and not report.slos:
        context.say("sloctl: there is no budget, so that --fail-on cannot judge")
        return EXIT_BACKEND
    if states and absent:
        context.say(f"sloctl: there is no budget of {', '.join(absent)}, so that --fail-on cannot judge")
        return EXIT_BACKEND
    if states and len(sure) < len(report.slos):
        unsure = len(report.slos) - len(sure)
        context.say(
            f"sloctl: {unsure} of {len(report.slos)} budgets are in doubt or partial, so that --fail-on cannot judge"
        )
        return EXIT_BACKEND
    return EXIT_OK


def build(
    context: Context,
    slo_set: SloSet,
    at: datetime,
    ledger: LedgerAccess,
    *,
    overrides: Overrides,
    origin: str,
    period: CalendarPeriod | None = None,
    history: bool = False,
    page: bool = False,
    with_traces: bool = False,
    manifests: tuple[str, ...] = (),
) -> Report:
    """The report as of a time, and of a period if one is asked for; with what ``manifests`` of the mesh allow."""
    if manifests:
        linted(manifests)  # what is wrong with them is said before anything is asked
    from jobs.reports import gauges, slo_report  # slow to import

    store = ledger.get_if_wanted() if origin == "ledger" else ledger.get_if_readable(context.warn)
    if store is None and origin == "ledger":
        raise UsageError("--source ledger: there is no ledger", hint="name one with --ledger")
    with contextlib.ExitStack() as stack:
        observer = stack.enter_context(composition.listening(slo_set, context.warn))
        servers = Servers(slo_set.sources, overrides, context.warn, observer)
        source = stack.enter_context(servers.prometheus())
        found = stack.enter_context(servers.traces()) if with_traces else None
        told = stack.enter_context(progress.shown(context, "reading budgets"))
        stack.enter_context(observer.span("report", {"sloctl.slo_set": slo_set.name}))
        report = slo_report.build(
            source,
            slo_set,
            at,
            slo_report.ORIGINS[origin],
            history=history,
            traces=found,
            ledger=store,
            progress=told,
        )
        if page:
            from jobs.reports import details

            report = details.add(report, source, slo_set, store)
        if period is not None:
            from jobs.reports import routines

            report = routines.add(report, source, slo_set, period, store)
        if manifests:
            from jobs import mesh_traffic

            report = mesh_traffic.beside(
                report, source, slo_set.mesh, lambda traffic: linted(manifests, traffic)
            )
        observer.publish(REPORT, gauges.of_report(report), now() + timedelta(days=1))
        context.detail(f"{source.queries} requests to Prometheus")
    return report


def _period(
    slo_set: SloSet, time: datetime, routine: str | None, timezone: str | None
) -> CalendarPeriod | None:
    """The period that is asked for. Raises UsageError."""
    if routine is None:
        if timezone is not None:
            raise UsageError("--timezone is for --routine")
        return None
    from sloctl.cli import posting
    from sloctl.report.routine import ROUTINE_KINDS, of_job

    job = posting.report_job(slo_set, routine)
    ours = job.timezone if job is not None and of_job(job) == routine else "UTC"
    return posting.period_of(time, ROUTINE_KINDS[routine], timezone or ours)


def _post(context: Context, report: Report, slo_set: SloSet, ledger: LedgerAccess, *, dry_run: bool) -> int:
    """Post a report, or say what would be posted; the exit code."""
    from sloctl.cli import posting

    if dry_run:
        post = posting.post_of(report, slo_set)
        chart = "with a chart" if post.image else "without a chart"
        context.say(f"would post {post.key}, {chart}")
        for key in posting.keys_of_owners(report, slo_set):
            context.say(f"would post {key}")
        return EXIT_OK
    job = posting.report_job(slo_set, "") if report.routine is None else None
    return posting.post_report(context, report, slo_set, ledger, step=job.every if job else 0)


def show(
    context: Context, report: Report, form: str, output: Path | None = None, slo_set: SloSet | None = None
) -> None:
    """Print a report as a table, Markdown, JSON, HTML or for Slack, or write it to a file. Raises UsageError."""
    if form == "slack":
        from sloctl.cli.posting import slack_json

        assert slo_set is not None
        context.give(slack_json(report, slo_set), output, f"wrote {output}")
    elif output is None:
        _print(report, form)
    else:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            _print(report, form)
        context.give(printed.getvalue(), output, f"wrote {output}")


def _print(report: Report, form: str) -> None:
    if form == "json":
        from sloctl.report.data import to_json
        from sloctl.report.markdown import json_text

        click.echo(json_text(to_json(report)))
    elif form == "markdown":
        from sloctl.report.markdown import markdown

        click.echo(markdown(report), nl=False)
    elif form == "csv":
        from sloctl.report.spreadsheet import csv_text

        click.echo(csv_text(report), nl=False)
    elif form == "html":
        from sloctl.report.html import page

        click.echo(page(report), nl=False)
    else:
        from sloctl.cli.tables import print_report

        print_report(report)
