"""What every command needs: where to say things, the SLO file's option, the metric source, the time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sloctl import extras
from sloctl.errors import BackendError, InvalidFile, UsageError
from sloctl.telemetry.protocol import NOTHING, Observer

if TYPE_CHECKING:
    from sloctl.backends.alertmanager.client import Alertmanager
    from sloctl.backends.prometheus.client import Prometheus
    from sloctl.backends.traces.reader import TraceReader
    from sloctl.ledger.store import LedgerStore
    from sloctl.model import SloSet
    from sloctl.spec import Source

F = TypeVar("F", bound=Callable[..., Any])

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No Prometheus has data from before; a smaller number of seconds is a slip."""


@dataclass(frozen=True, slots=True)
class Context:
    """How much to say."""

    quiet: bool = False
    verbose: bool = False

    def say(self, text: str) -> None:
        """A line on stderr, unless quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    def detail(self, text: str) -> None:
        """A line on stderr with ``--verbose``."""
        if self.verbose:
            click.echo(text, err=True)


pass_context = click.make_pass_decorator(Context)


def files_option(function: F) -> F:
    """``-f FILE…``: SLO files and folders."""
    return click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        required=True,
        metavar="FILE",
        help="SLO file, a folder of them, or - for stdin. May be given more than once.",
    )(function)


def source_options(function: F) -> F:
    """``--prometheus``, ``--timeout`` and ``--at``."""
    for option in (
        click.option(
            "--at",
            metavar="TIME",
            help="As of a past time: RFC 3339 (2026-03-01T12:00:00Z), Unix seconds, or an age such as 2h.",
        ),
        click.option(
            "--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30."
        ),
        click.option(
            "--prometheus", "url", metavar="URL", help="Overrides sources.prometheus.url of the file."
        ),
    ):
        function = option(function)
    return function


def format_option(text: str = "How to print it.") -> Callable[[F], F]:
    """``--format table|json``; ``text`` is its help."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help=text,
    )


def ledger_option(function: F) -> F:
    """``--ledger``."""
    return click.option(
        "--ledger",
        "ledger_url",
        metavar="URL",
        help="The ledger: an SQLite file, postgresql://…, or none. Default: SLOCTL_LEDGER_URL, else a file in "
        "~/.local/state/sloctl.",
    )(function)


def load(context: Context, files: Sequence[str]) -> SloSet:
    """Load SLO files; their problems go to stderr. Raises InvalidFile, UsageError."""
    return load_with_sources(context, files)[0]


def load_with_sources(context: Context, files: Sequence[str]) -> tuple[SloSet, tuple[Source, ...]]:
    """The same, and the files as they were read. Raises InvalidFile, UsageError."""
    from sloctl import spec
    from sloctl.cli.problems import Input

    given = Input(files)
    sources = spec.read(given.paths, stdin=given.stdin)
    try:
        slo_set = spec.load_sources(sources)
    except InvalidFile as error:
        given.show(error.problems)
        raise
    if slo_set.warnings and not context.quiet:
        given.show(slo_set.warnings)
    return slo_set, sources


def parse_time(text: str | None, now: datetime) -> datetime:
    """The time that ``--at`` means, in UTC and whole seconds; ``now`` without it. Raises UsageError."""
    if text is None:
        return now.replace(microsecond=0)
    from sloctl.model.durations import parse_duration

    try:
        if (age := parse_duration(text)) is not None:
            time = now - timedelta(seconds=age)
        elif re.fullmatch(r"[0-9]{1,11}(\.[0-9]+)?", text):
            time = datetime.fromtimestamp(float(text), UTC)
        else:
            time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise UsageError(f"--at: {text!r} has no time zone", hint=f"write {text}Z or {text}+01:00")
        time = time.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"--at: {text!r} is not a time",
            hint="write 2026-03-01T12:00:00Z, Unix seconds, or an age such as 2h",
        ) from error
    if not EARLIEST <= time <= now:
        when = "in the future" if time > now else f"before {EARLIEST.year}"
        raise UsageError(f"--at: {text!r} is {when}", hint="it is for times that Prometheus has data of")
    return time


def now() -> datetime:
    """The time, in UTC: read here, and passed down from here."""
    return datetime.now(UTC)


def prometheus(
    context: Context,
    slo_set: SloSet,
    url: str | None,
    timeout: float | None,
    observer: Observer = NOTHING,
) -> Prometheus:
    """The metric source of an SLO file. Raises UsageError where no address is known."""
    from sloctl.backends.prometheus.client import Prometheus
    from sloctl.settings.backends import PrometheusSettings

    default = slo_set.sources.prometheus or None
    settings = PrometheusSettings.load(url=url, default_url=default, timeout=timeout)
    for warning in settings.warnings:
        context.say(f"sloctl: warning: {warning}")
    return Prometheus(settings, observer=observer)


def traces(
    context: Context,
    slo_set: SloSet,
    url: str | None,
    timeout: float | None,
    observer: Observer = NOTHING,
) -> TraceReader[Any]:
    """The trace source of an SLO file. Raises UsageError where no backend or no address is known."""
    from sloctl.settings.backends import TracesSettings

    with extras.needed("traces", "reading traces"):
        from sloctl.backends.traces.client import open_traces

    sources = slo_set.sources
    if not sources.traces_backend:
        raise UsageError(
            "the SLO file names no trace backend",
            hint="write  sources: {traces: {backend: zipkin, url: …}}  (or jaeger, tempo)",
        )
    settings = TracesSettings.load(url=url, default_url=sources.traces or None, timeout=timeout)
    for warning in settings.warnings:
        context.say(f"sloctl: warning: {warning}")
    return open_traces(
        settings,
        sources.traces_backend,
        attempt_tag=sources.attempt_tag,
        ui=sources.traces_ui,
        grafana=sources.grafana,
        observer=observer,
    )


def alertmanager(
    context: Context,
    slo_set: SloSet | None,
    url: str | None,
    timeout: float | None,
    observer: Observer = NOTHING,
) -> Alertmanager:
    """The Alertmanager of an SLO file. Raises UsageError where no address is known."""
    from sloctl.backends.alertmanager.client import Alertmanager
    from sloctl.settings.backends import AlertmanagerSettings

    default = (slo_set.sources.alertmanager or None) if slo_set else None
    settings = AlertmanagerSettings.load(url=url, default_url=default, timeout=timeout)
    for warning in settings.warnings:
        context.say(f"sloctl: warning: {warning}")
    return Alertmanager(settings, observer=observer)


def ledger(option: str | None, *, existing: bool = False) -> LedgerStore | None:
    """The ledger that an option, the environment or the default names; None where that is ``none``.

    With ``existing``, one that nobody named is only opened if it is there. Raises UsageError, BackendError.
    """
    from sloctl.settings.backends import LedgerSettings

    settings = LedgerSettings.load(option=option)
    if settings.url is None or (existing and not settings.given and not settings.exists):
        return None
    from sloctl.ledger.store import open_ledger  # slow to import

    return open_ledger(settings.url)


@contextmanager
def telemetry(context: Context, slo_set: SloSet) -> Iterator[Observer]:
    """Who listens to one run: OpenTelemetry if its variables name a collector, else nobody.

    What was said is sent at the end, within a few seconds; a collector that is not there changes nothing else.
    """
    from sloctl.settings.telemetry import TelemetrySettings

    settings = TelemetrySettings.load()
    if not settings.traces and not settings.metrics:
        yield NOTHING
        return
    import logging

    from sloctl.telemetry.observer import Telemetry

    for warning in settings.warnings:
        context.say(f"sloctl: warning: {warning}")
    # The exporters' own log repeats the collector's address, which may hold credentials.
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    logging.getLogger("opentelemetry").propagate = False
    listener = Telemetry(slo_set.name, settings, now=now)
    try:
        yield listener
    finally:
        if not listener.close():
            context.say("sloctl: warning: telemetry could not be sent to the collector")


def ledger_that_is(option: str | None, *, make: bool = False) -> LedgerStore:
    """The ledger; it is made only if ``make``. Raises UsageError if there is none, BackendError."""
    from sloctl.settings.backends import LedgerSettings

    settings = LedgerSettings.load(option=option)
    file = settings.url is not None and settings.url.reveal().startswith("sqlite:")
    found = ledger(option) if make or not file or settings.exists else None
    if found is None:
        raise UsageError(
            "there is no ledger" + (" at this address" if settings.given else " yet"),
            hint="the job slis makes one (sloctl run slis -f FILE); or name it with --ledger or SLOCTL_LEDGER_URL",
        )
    return found


def silences_that_excuse(
    context: Context, slo_set: SloSet, observer: Observer = NOTHING
) -> Alertmanager | None:
    """Where silences are, if the file lets them excuse anything. Raises UsageError where no address is known."""
    if slo_set.ledger.silences == "none":
        return None
    return alertmanager(context, slo_set, None, None, observer)


def stamp(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ledger_or_none(context: Context, option: str | None) -> LedgerStore | None:
    """The ledger for those who can do without: one that cannot be reached is said, and left. Raises UsageError."""
    try:
        return ledger(option, existing=True)
    except BackendError as error:
        context.say(f"sloctl: warning: {error}; budgets are Prometheus's [ledger-not-read]")
        return None
