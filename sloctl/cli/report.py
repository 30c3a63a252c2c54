"""``sloctl report``."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sloctl.cli.context import (
    Context,
    files_option,
    ledger,
    ledger_option,
    load,
    now,
    parse_time,
    pass_context,
    prometheus,
    source_options,
    traces,
)
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, UsageError

if TYPE_CHECKING:
    from sloctl.report import Report

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
    type=click.Choice(["table", "markdown", "json", "html"]),
    default="table",
    show_default=True,
    help="How to print it; the JSON form is an interface, the HTML form one page with plots.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it to this file instead, whole or not at all; - is stdout.",
)
@click.option(
    "--source",
    "origin",
    type=click.Choice(["auto", "ledger", "rules", "raw"]),
    default="auto",
    show_default=True,
    help="Read the ledger, or what the rules recorded, or evaluate the raw counters (slow); auto takes the first that "
    "is there and up to date.",
)
@click.option(
    "--fail-on",
    type=click.Choice(list(FAIL_ON)),
    default="never",
    show_default=True,
    help="Exit 1 if a budget is in this state; at_risk includes exhausted, no_data both.",
)
@click.option(
    "--with-traces",
    is_flag=True,
    help="Also count retries from the traces of the last half hour (sources.traces).",
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
    with_traces: bool,
) -> int:
    """Show every error budget: SLI, events, budget left, burn rates, exhaustion, alerts, data quality."""
    slo_set = load(context, files)
    time = parse_time(at, now())
    if output is not None and str(output) != "-":
        from sloctl import whole_file

        whole_file.target(output)  # before anything is asked
    from jobs import slo_report  # slow to import

    with contextlib.ExitStack() as stack:
        books = ledger(ledger_url, existing=origin != "ledger")
        if books is not None:
            stack.enter_context(books)
        elif origin == "ledger":
            raise UsageError("--source ledger: there is no ledger", hint="name one with --ledger")
        source = stack.enter_context(prometheus(context, slo_set, url, timeout))
        found = stack.enter_context(traces(context, slo_set, None, timeout)) if with_traces else None
        report = slo_report.build(
            source,
            slo_set,
            time,
            slo_report.ORIGINS[origin],
            history=form == "html",
            traces=found,
            ledger=books,
        )
        context.detail(f"{source.queries} requests to Prometheus")
    show(context, report, form, output)
    failed = sum(1 for item in report.slos if item.status in FAIL_ON[fail_on])
    if failed:
        context.say(f"sloctl: {failed} of {len(report.slos)} budgets: {' or '.join(FAIL_ON[fail_on])}")
    return EXIT_PROBLEMS if failed else EXIT_OK


def show(context: Context, report: Report, form: str, output: Path | None = None) -> None:
    """Print a report as a table, Markdown, JSON or HTML, or write it to a file. Raises UsageError."""
    if output is None or str(output) == "-":
        _print(report, form)
        return
    from sloctl import whole_file

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        _print(report, form)
    whole_file.write(output, printed.getvalue())
    context.say(f"wrote {output}")


def _print(report: Report, form: str) -> None:
    if form == "json":
        from sloctl.report import to_json
        from sloctl.report_text import json_text

        click.echo(json_text(to_json(report)))
    elif form == "markdown":
        from sloctl.report_text import markdown

        click.echo(markdown(report), nl=False)
    elif form == "html":
        from sloctl.report_html import page

        click.echo(page(report), nl=False)
    else:
        from sloctl.cli.tables import print_report

        print_report(report)
