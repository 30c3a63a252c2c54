"""``sloctl run``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.schedule.told import RunsTold, run_of
from sloctl.cli import completing, posting, progress
from sloctl.cli.composition import LedgerAccess, Overrides, Servers, listening, silences
from sloctl.cli.context import (
    Context,
    format_option,
    ledger_option,
    load,
    named,
    named_files_option,
    now,
    parse_time,
    pass_context,
    source_options,
)
from sloctl.errors import UsageError
from sloctl.model.durations import parse_duration
from sloctl.model.job_names import NAMES, REPORT, RETRY_AMPLIFICATION, ROUTINES, SIDECAR_RESTARTS, SLIS

if TYPE_CHECKING:
    from jobs.retry_amplification import RetryFrames
    from jobs.schedule.runner import Connections, Result
    from sloctl.backends.prometheus.client import Prometheus
    from sloctl.backends.protocols import Progress
    from sloctl.ledger.store import DatabaseLedger
    from sloctl.model import Job, SloSet
    from sloctl.model.calendar import CalendarPeriod
    from sloctl.telemetry.protocol import Observer


@click.command("run")
@click.argument("jobs", nargs=-1, metavar="JOB...", shell_complete=completing.names(NAMES))
@named_files_option
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
    type=click.Choice(ROUTINES),
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
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many rows of each list of retry_amplification to print, those first that add most load (10 edges).",
)
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME",
    shell_complete=completing.of_file("service"),
    help="Of retry_amplification print what concerns this service, cart or shop/cart; several times for several.",
)
@click.option("--all", "whole", is_flag=True, help="Print all rows and findings of retry_amplification.")
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
    top: int | None,
    services: tuple[str, ...],
    whole: bool,
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
    jobs, an object that has them by name. It has all rows unless --top or --service choose some.
    """
    if top is not None and whole:
        raise UsageError("--top and --all contradict each other")
    others = tuple(name for name in jobs if name.endswith((".yaml", ".yml")))
    jobs = tuple(name for name in jobs if name not in others)
    if not jobs:
        raise UsageError("no JOB is named", hint=f"choose from {', '.join(NAMES)}")
    files = named((*files, *others))
    for name in jobs:
        if name not in NAMES:
            raise UsageError(f"{name!r} is not a job", hint=f"choose from {', '.join(NAMES)}")
    seconds = parse_duration(last) if last is not None else None
    if last is not None and not seconds:
        raise UsageError(f"--last: {last!r} is not a duration", hint="write it like 1h or 2d")
    slo_set = load(context, files)
    time = parse_time(at, now())
    job, period = posting.reported(slo_set, time, REPORT in jobs, routine)
    with LedgerAccess(ledger_url) as ledger:
        runs = _Runs(
            context,
            slo_set,
            [name for name in NAMES if name in jobs],
            time,
            seconds,
            Overrides(prometheus=url, traces=traces_url, timeout=timeout),
            ledger,
            job=job,
            period=period,
            spans=spans,
            metrics=metrics,
            textfile=textfile,
        )
        results, warnings = runs.results()
        if form == "json":
            _print_json(results, top, services)
        else:
            print_tables(context, results, top, services, whole=whole)
        for warning in warnings:
            context.warn(f"Prometheus: {warning}")
        return posting.post_of_job(context, results.get(REPORT), slo_set, job, ledger)


@dataclass(frozen=True)
class _Runs:
    """Jobs to be run once, in their order, and with what.

    ``seconds`` is how much of the past; ``job`` is the file's job of reports that is meant, ``period`` its period.
    """

    context: Context
    slo_set: SloSet
    names: Sequence[str]
    at: datetime
    seconds: int | None
    overrides: Overrides
    ledger: LedgerAccess
    job: Job | None = None
    period: CalendarPeriod | None = None
    spans: tuple[Path, ...] = ()
    metrics: Path | None = None
    textfile: Path | None = None

    def results(self) -> tuple[dict[str, Any], Sequence[str]]:
        """What each job found, by name, and what Prometheus said beside its answers."""
        results: dict[str, Any] = {}
        with ExitStack() as stack:
            observer = stack.enter_context(listening(self.slo_set, self.context.warn))
            servers = Servers(self.slo_set.sources, self.overrides, self.context.warn, observer)
            source = None
            if not self.spans or set(self.names) != {RETRY_AMPLIFICATION}:
                source = stack.enter_context(servers.prometheus())
            store = self._store()
            told = stack.enter_context(progress.shown(self.context, "reading"))
            for name in self.names:
                told(-1.0, name)
                with self._noted(name, observer):
                    if name == RETRY_AMPLIFICATION and self.spans:
                        results[name] = self._rows(_of_files(self.context, self.slo_set, self.spans))
                        continue
                    assert source is not None
                    found = self._result(name, source, servers, store, told)
                    observer.publish(name, found.numbers, now() + timedelta(days=1))
                    results[name] = self._rows(found.retries) if found.retries else found.shown
            if source is None:
                return results, ()
            self.context.detail(f"{source.queries} requests to Prometheus")
            return results, source.warnings

    def _store(self) -> DatabaseLedger | None:
        """The ledger, for jobs that need one: only recording makes a new one."""
        if SLIS in self.names:
            return self.ledger.get_if_wanted()
        return self.ledger.get_if_readable(self.context.warn) if REPORT in self.names else None

    def _result(
        self,
        name: str,
        source: Prometheus,
        servers: Servers,
        store: DatabaseLedger | None,
        told: Progress,
    ) -> Result:
        """What one job found; a report that there cannot be leaves those that wait to be delivered."""
        from jobs.schedule.runner import Connections

        report = name == REPORT

        def said(share: float, text: str) -> None:
            told(share, f"{name}: {text}")
            if name == SLIS:
                self.context.detail(f"{name}: {text}")

        connections = Connections(
            source,
            servers.traces,
            store,
            silences(self.slo_set, self.context.warn) if name == SLIS and store else None,
            said,
            self.period if report else None,
        )
        with posting.delivering(self.context, self.slo_set, self.job if report else None, self.ledger):
            return self._run(name, connections)

    def _run(self, name: str, connections: Connections) -> Result:
        """One job; of those that record, only one process at a time."""
        from jobs.schedule import runner

        context = self.context
        if name != SLIS or connections.ledger is None:
            done = runner.run(name, self.slo_set, connections, self.at, self.seconds)
            if name in (SLIS, SIDECAR_RESTARTS):
                self._say(done)
        else:
            with connections.ledger.lock(f"{self.slo_set.name}/{SLIS}") as held:
                if not held:
                    context.say("slis: another process is at it, so there is nothing to do")
                    return runner.Result(name, [])
                done = runner.run(name, self.slo_set, connections, self.at, self.seconds)
            self._say(done)
        if done.said:
            context.say(f"{name}: {done.said}") if name == SLIS else context.detail(f"{name}: {done.said}")
        return done

    def _say(self, done: Result) -> None:
        """The findings of a job whose rows have none."""
        for item in done.findings:
            self.context.say(f"sloctl: {item.severity}: {item.message} [{item.code}]")

    @contextmanager
    def _noted(self, name: str, observer: Observer) -> Iterator[None]:
        """Tell the observer and the textfile of a job's run, whether it fails or not; its own error goes first."""
        started, failure = now(), None
        try:
            with observer.span(f"job {name}", {"sloctl.job": name, "sloctl.slo_set": self.slo_set.name}):
                yield
        except BaseException as error:
            failure = error
            raise
        finally:
            run = run_of(name, started, now(), failure)
            RunsTold(self.slo_set.name, observer, now).ended(name, run, failure)
            if self.textfile is not None:
                from sloctl.telemetry import textfile

                with nullcontext() if failure is None else suppress(UsageError):
                    textfile.write(self.textfile, self.slo_set.name, run)

    def _rows(self, found: RetryFrames) -> dict[str, list[dict[str, Any]]]:
        """The rows of a result, which is also written as metrics if a file is named."""
        from jobs import retry_amplification
        from sloctl.telemetry import textfile

        if self.metrics is not None:
            gauges = retry_amplification.metrics(found, self.slo_set.name)
            textfile.write_gauges(self.metrics, gauges, retry_amplification.GAUGES)
        return retry_amplification.rows(found)


def _of_files(context: Context, slo_set: SloSet, paths: tuple[Path, ...]) -> RetryFrames:
    """Retries in files: all of their spans, of whatever time, and without metrics."""
    from jobs import retry_amplification
    from sloctl.backends.spans import attempt_tags
    from sloctl.backends.traces import files

    tags = attempt_tags(slo_set.sources.attempt_tag)
    result = retry_amplification.of_spans(files.read(paths, tags), slo_set)
    context.detail(f"{result.counts['spans']} spans")
    return result


def _print_json(results: dict[str, Any], top: int | None, services: tuple[str, ...]) -> None:
    from jobs.retry_amplification import Choice
    from sloctl.report.data import to_json
    from sloctl.report.markdown import json_text

    data: dict[str, Any] = {
        name: result if isinstance(result, (list, dict)) else to_json(result)
        for name, result in results.items()
    }
    if RETRY_AMPLIFICATION in data and (top or services):
        choice = Choice(top, services, whole=top is None)
        data[RETRY_AMPLIFICATION] = choice.of(data[RETRY_AMPLIFICATION])
    click.echo(json_text(data if len(data) > 1 else next(iter(data.values()))))


def print_tables(
    context: Context,
    results: dict[str, Any],
    top: int | None = None,
    services: tuple[str, ...] = (),
    *,
    whole: bool = False,
) -> None:
    """Print what jobs found, by their names, as people read it; of retries what is chosen."""
    from sloctl.cli import tables
    from sloctl.cli.report import show

    for number, (name, result) in enumerate(results.items()):
        if len(results) > 1:
            tables.say(f"{chr(10) if number else ''}{name}", "bold")
        if isinstance(result, dict):
            _print_retries(result, top, services, whole)
            if not result["edges"]:
                context.say(f"{name}: no calls between services in the traces")
        elif not isinstance(result, list):
            show(context, result, "table")
        elif result:
            tables.print_rows(result)
        else:
            context.say(f"{name}: no data")


def _print_retries(
    result: dict[str, list[dict[str, Any]]], top: int | None, services: tuple[str, ...], whole: bool
) -> None:
    """The lists of ``retry_amplification``, no longer than a screen unless more is asked for; and what was left out."""
    from jobs.retry_amplification import Choice, folded
    from sloctl.cli import tables

    there = Choice(services=services, whole=True).of(result)
    if not whole:
        there["findings"] = folded(there["findings"])
    shown = Choice(top, whole=whole).of(there)
    for title, rows in shown.items():
        if rows:
            tables.say(f"\n{title.replace('_', ' ')}", "bold")
            tables.print_rows(rows)
    left = [f"{len(rows)} of {len(there[name]):,} {name.replace('_', ' ')}" for name, rows in shown.items()
            if len(rows) < len(there[name])]  # fmt: skip
    if left:
        more = "--top N, --service NAME, --all and --format json have more"
        tables.say(f"\nShown are {', '.join(left)}: those that add most load; {more}", "dim")
