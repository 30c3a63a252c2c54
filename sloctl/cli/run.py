"""``sloctl run``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sloctl import extras
from sloctl.cli.context import (
    Context,
    files_option,
    format_option,
    ledger,
    ledger_option,
    ledger_or_none,
    load,
    now,
    parse_time,
    pass_context,
    prometheus,
    silences_that_excuse,
    source_options,
    telemetry,
    traces,
)
from sloctl.cli.noting import noted
from sloctl.errors import UsageError

if TYPE_CHECKING:
    from jobs.retry_amplification import Found
    from jobs.schedule.runner import Result, Sources
    from sloctl.model import SloSet

JOBS = ("slis", "burn_rate", "sidecar_restarts", "retry_amplification", "report")


@click.command("run")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@files_option
@source_options
@ledger_option
@format_option()
@click.option(
    "--last",
    metavar="DURATION",
    help="How much of the past: of slis (1h unless given), sidecar_restarts (1d and 7d) and retry_amplification (30m).",
)
@click.option(
    "--routine",
    type=click.Choice(["daily", "weekly", "monthly"]),
    help="Which of the file's jobs 'report' is meant, if it has several: the period that it is about.",
)
@click.option(
    "--traces",
    "traces_url",
    metavar="URL",
    help="Overrides sources.traces.url of the file, for retry_amplification.",
)
@click.option(
    "--spans",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Files or folders of Zipkin, Jaeger or OTLP JSON that retry_amplification reads in place of a backend.",
)
@click.option(
    "--metrics",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write what retry_amplification found as metrics, for the textfile collector: a file of its own.",
)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also say in this file, for node_exporter's textfile collector, when each job last ran and succeeded.",
)
@pass_context
def command(
    context: Context,
    jobs: tuple[str, ...],
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    at: str | None,
    ledger_url: str | None,
    form: str,
    last: str | None,
    routine: str | None,
    traces_url: str | None,
    spans: tuple[Path, ...],
    metrics: Path | None,
    textfile: Path | None,
) -> int:
    """Run JOBs once, in this order: slis, burn_rate, sidecar_restarts, retry_amplification, report.

    slis: records the events of every SLO in 5-minute steps in the ledger, those of missed runs too, and shows the
    newest (without a ledger: computes them). burn_rate: burn rates over every window. sidecar_restarts: restarts of
    proxies by workload, with reasons, the worst pods, and the same time a week before. retry_amplification: attempts
    per request by edge and along paths, from the traces of the last half hour, held against what Prometheus counted.
    report: the budget report; if its job in the file says so, of its last complete day, week or month, and posted
    to Slack, once for each period. It exits 3 if it waits to be posted (the next run goes on), 1 if it cannot be.

    The JSON form of one job is a list of rows, for retry_amplification several lists by name, or the report; of several
    jobs, an object that has them by name.
    """
    from jobs.schedule.runner import Sources
    from sloctl.cli import posting
    from sloctl.model.durations import parse_duration

    for name in jobs:
        if name not in JOBS:
            raise UsageError(f"{name!r} is not a job", hint=f"choose from {', '.join(JOBS)}")
    seconds = parse_duration(last) if last is not None else None
    if last is not None and not seconds:
        raise UsageError(f"--last: {last!r} is not a duration", hint="write it like 1h or 2d")
    slo_set = load(context, files)
    time = parse_time(at, now())
    job, period = posting.reported(slo_set, time, "report" in jobs, routine)
    results: dict[str, Any] = {}
    warnings: Sequence[str] = ()
    with ExitStack() as stack:
        observer = stack.enter_context(telemetry(context, slo_set))
        source = None
        if not spans or set(jobs) != {"retry_amplification"}:
            source = stack.enter_context(prometheus(context, slo_set, url, timeout, observer))
        books = None
        if {"slis", "report"} & set(jobs):  # only recording makes a new one
            books = ledger(ledger_url) if "slis" in jobs else ledger_or_none(context, ledger_url)
        if books is not None:
            stack.enter_context(books)
        for name in JOBS:
            if name in jobs:
                with noted(textfile, slo_set.name, name, observer):
                    if name == "retry_amplification" and spans:
                        results[name] = _told(_of_files(context, slo_set, spans), slo_set, metrics)
                        continue
                    assert source is not None
                    sources = Sources(
                        source,
                        partial(traces, context, slo_set, traces_url, timeout, observer),
                        books,
                        silences_that_excuse(context, slo_set) if name == "slis" and books else None,
                        lambda text, name=name: context.detail(f"{name}: {text}"),  # type: ignore[misc]
                        period if name == "report" else None,
                    )
                    with posting.delivering(context, slo_set, job if name == "report" else None, ledger_url):
                        found = _run(context, name, slo_set, sources, time, seconds)
                    observer.publish(name, found.numbers, now() + timedelta(days=1))
                    results[name] = _told(found.retries, slo_set, metrics) if found.retries else found.shown
        if source is not None:
            context.detail(f"{source.queries} requests to Prometheus")
            warnings = source.warnings
    if form == "json":
        _print_json(results)
    else:
        print_tables(context, results)
    for warning in warnings:
        context.say(f"sloctl: warning: Prometheus: {warning}")
    return posting.post_of_job(context, results.get("report"), slo_set, job, ledger_url)


def _run(
    context: Context, name: str, slo_set: SloSet, sources: Sources, at: datetime, seconds: int | None
) -> Result:
    """One job; of those that record, only one process at a time."""
    from jobs.schedule import runner

    if name != "slis" or sources.ledger is None:
        done = runner.run(name, slo_set, sources, at, seconds)
    else:
        with sources.ledger.lock(f"{slo_set.name}/slis") as held:
            if not held:
                context.say("slis: another process is at it, so there is nothing to do")
                return runner.Result(name, [])
            done = runner.run(name, slo_set, sources, at, seconds)
        for item in done.findings:
            context.say(f"sloctl: {item.severity}: {item.message} [{item.code}]")
    if done.said:
        context.say(f"{name}: {done.said}") if name == "slis" else context.detail(f"{name}: {done.said}")
    return done


def _of_files(context: Context, slo_set: SloSet, paths: tuple[Path, ...]) -> Found:
    """Retries in files: all of their spans, of whatever time, and without metrics."""
    from jobs import retry_amplification
    from sloctl.backends.spans import attempt_tags

    with extras.needed("traces", "reading traces"):
        from sloctl.backends.traces import files

    tags = attempt_tags(slo_set.sources.attempt_tag)
    result = retry_amplification.of_spans(files.read(paths, tags), slo_set)
    context.detail(f"{result.counts['spans']} spans")
    return result


def _told(found: Found, slo_set: SloSet, path: Path | None) -> dict[str, list[dict[str, Any]]]:
    """The rows of a result, which is also written as metrics if a file is named."""
    from jobs import retry_amplification
    from sloctl.telemetry import textfile

    if path is not None:
        gauges = retry_amplification.metrics(found, slo_set.name)
        textfile.write_gauges(path, gauges, retry_amplification.GAUGES)
    return retry_amplification.rows(found)


def _print_json(results: dict[str, Any]) -> None:
    from sloctl.report.data import to_json
    from sloctl.report.markdown import json_text

    data = {
        name: result if isinstance(result, (list, dict)) else to_json(result)
        for name, result in results.items()
    }
    click.echo(json_text(data if len(data) > 1 else next(iter(data.values()))))


def print_tables(context: Context, results: dict[str, Any]) -> None:
    """Print what jobs found, by their names, as people read it."""
    from sloctl.cli import tables
    from sloctl.cli.report import show

    for number, (name, result) in enumerate(results.items()):
        if len(results) > 1:
            tables.say(f"{chr(10) if number else ''}{name}", "bold")
        if isinstance(result, dict):
            for title, rows in result.items():
                if rows:
                    tables.say(f"\n{title.replace('_', ' ')}", "bold")
                    tables.print_rows(rows)
            if not result["edges"]:
                context.say(f"{name}: no calls between services in the traces")
        elif not isinstance(result, list):
            show(context, result, "table")
        elif result:
            tables.print_rows(result)
        else:
            context.say(f"{name}: no data")
