"""``sloctl schedule``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from sloctl.cli.context import Context, files_option, ledger_option, load_with_sources, pass_context
from sloctl.cli.reloading import SIGNALS, Files, attend, signals_held
from sloctl.cli.serve import access_of, check_packages, pages_options, seconds_of
from sloctl.errors import UsageError

if TYPE_CHECKING:
    from sloctl.cli.scheduling import Service

CUT = 3.0
"""Seconds for jobs to end once their connections are cut."""


@click.command("schedule")
@files_option
@click.option("--prometheus", "url", metavar="URL", help="Overrides sources.prometheus.url of the file.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30.")
@click.option("--traces", "traces_url", metavar="URL", help="Overrides sources.traces.url of the file.")
@ledger_option
@click.option(
    "--listen",
    default="127.0.0.1:9464",
    show_default=True,
    metavar="HOST:PORT",
    help="Where /metrics, /healthz and /readyz are; none: nowhere.",
)
@click.option(
    "--pages",
    metavar="HOST:PORT",
    help="Where live pages are, those of sloctl serve; without this there are none.",
)
@pages_options
@click.option(
    "--drain",
    type=click.FloatRange(0, 3600),
    default=25,
    show_default=True,
    metavar="SECONDS",
    help="How long running jobs may take to end after SIGTERM.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    show_default=True,
    help="Log lines on stderr: text, or a JSON object each; auto is text on a terminal.",
)
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    traces_url: str | None,
    ledger_url: str | None,
    listen: str,
    pages: str | None,
    every: str,
    hosts: tuple[str, ...],
    user: str,
    drain: float,
    log_format: str,
) -> int:
    """Run all jobs of the file on their schedules, until SIGTERM.

    Each job runs once at a time, also if several schedulers share a ledger. A changed file is loaded anew (at once
    with SIGHUP), and one that has problems is not. On SIGTERM or SIGINT running jobs may end; a second signal ends
    all at once. Readers of --pages need what they need for  sloctl serve.
    """
    from sloctl.cli.composition import Overrides
    from sloctl.cli.scheduling import Service

    seconds = seconds_of(every)
    if pages is None and (hosts or user):
        raise UsageError("--host and --behind-proxy are of live pages", hint="add  --pages 127.0.0.1:8080")
    access = None
    if pages is not None:
        check_packages()
        access = access_of(pages, hosts, user)
    with signals_held():
        slo_set, sources = load_with_sources(context, files)
        with _logs(context, log_format), contextlib.ExitStack() as stack:
            overrides = Overrides(prometheus=url, traces=traces_url, timeout=timeout)
            service = Service(slo_set, overrides, ledger_url)
            stack.enter_context(service)
            if listen.lower() != "none":
                stack.enter_context(service.web(listen))
            if pages is not None and access is not None:
                service.show(stack, pages, access, seconds)
            service.scheduler.start()
            found = Files(files, sources, slo_set.name, service.check)
            ended = attend(lambda asked: service.reload(found, asked=asked))
            service.say(f"{ended.name}: no further runs")
            if not _drain(service, drain):
                stack.pop_all()  # what hangs must not keep the process from ending
                sys.stderr.flush()
                os._exit(0)
    return 0


@contextlib.contextmanager
def _logs(context: Context, form: str) -> Iterator[None]:
    import logging

    from sloctl.telemetry import logs

    chosen: logs.Form = "json"
    if form == "text" or (form == "auto" and sys.stderr.isatty()):
        chosen = "text"
    level = logging.WARNING if context.quiet else logging.DEBUG if context.verbose else logging.INFO
    handler = logs.configure(sys.stderr, chosen, level)
    try:
        yield
    finally:
        logs.remove(handler)


def _drain(service: Service, seconds: float) -> bool:
    """Let running jobs end, cut their connections after a time; whether all have ended."""
    from time import monotonic

    service.scheduler.stop()
    end = monotonic() + seconds
    while not service.scheduler.wait(0.05) and monotonic() < end:
        _leave_at_once()
    if service.scheduler.running:
        service.say(f"still running, and cut off: {', '.join(service.scheduler.running)}")
        service.cut()
        end = monotonic() + CUT
        while not service.scheduler.wait(0.05) and monotonic() < end:
            _leave_at_once()
    # From here on a signal does what it does to any process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    ended = not service.scheduler.running
    service.say("all jobs have ended" if ended else "a job does not end, and is left")
    return ended


def _leave_at_once() -> None:
    found = signal.sigtimedwait(SIGNALS - {signal.SIGHUP}, 0)
    if found is not None:
        sys.stderr.flush()
        os._exit(128 + found.si_signo)
