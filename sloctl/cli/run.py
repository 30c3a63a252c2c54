"""``sloctl run``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import click

from sloctl.cli.context import (
    Context,
    files_option,
    load,
    now,
    parse_time,
    pass_context,
    prometheus,
    source_options,
)
from sloctl.errors import UsageError

if TYPE_CHECKING:
    from sloctl.model import SloSet
    from sloctl.prometheus import Prometheus

JOBS = ("slis", "burn_rate", "report")


@click.command("run")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@files_option
@source_options
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--last", default="1h", show_default=True, metavar="DURATION", help="slis: how much of the past."
)
@pass_context
def command(
    context: Context,
    jobs: tuple[str, ...],
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    at: str | None,
    form: str,
    last: str,
) -> None:
    """Run JOBs once, in this order: slis, burn_rate, report.

    slis: events of every SLO in 5-minute steps, computed from raw counters. burn_rate: burn rates over every
    window. report: the budget report.
    """
    for name in jobs:
        if name not in JOBS:
            raise UsageError(f"{name!r} is not a job", hint=f"choose from {', '.join(JOBS)}")
    slo_set = load(context, files)
    time = parse_time(at, now())
    with prometheus(context, slo_set, url, timeout) as source:
        for name in jobs:
            _run(context, name, slo_set, source, time, form, last)
        context.detail(f"{source.queries} requests to Prometheus")
        for warning in source.warnings:
            context.say(f"sloctl: warning: Prometheus: {warning}")


def _run(
    context: Context, name: str, slo_set: SloSet, source: Prometheus, at: datetime, form: str, last: str
) -> None:
    if name == "report":
        from jobs import slo_report
        from sloctl.cli.report import show

        show(context, slo_report.build(source, slo_set, at), form)
        return
    if name == "slis":
        from jobs import slis
        from sloctl.windows import parse_duration

        seconds = parse_duration(last)
        if not seconds:
            raise UsageError(f"--last: {last!r} is not a duration", hint="write it like 1h or 2d")
        rows = slis.rows(slis.run(source, slo_set, at, seconds))
    else:
        from jobs import burn_rate

        rows = burn_rate.rows(burn_rate.run(source, slo_set, at))
    if form == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False))
    elif rows:
        from sloctl.cli.tables import print_table
        from sloctl.report_text import NOTHING, plain

        titles = list(rows[0])
        print_table(titles, [[NOTHING if v is None else plain(str(v)) for v in row.values()] for row in rows])
    else:
        context.say(f"{name}: no data")
