"""``sloctl serve``."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import click

from sloctl import extras
from sloctl.cli.composition import LedgerAccess, Overrides, Servers
from sloctl.cli.context import Context, files_option, ledger_option, load, now, origin_option, pass_context
from sloctl.errors import EXIT_OK, UsageError
from sloctl.model.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sloctl.backends.prometheus.client import Prometheus
    from sloctl.model import Slo, SloSet
    from sloctl.report.data import Report, SloStatus
    from sloctl.report.history import BudgetHistory
    from sloctl.report.mesh import MeshCalls
    from sloctl.serve.access import Access, Guard
    from sloctl.serve.cache import Clock, Explained

LEAST, MOST = 10, 3600
PURPOSE = "serving live pages"


@click.command("serve")
@files_option
@click.option("--prometheus", "url", metavar="URL", help="Overrides sources.prometheus.url of the file.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30.")
@ledger_option
@origin_option
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where the pages are."
)
@click.option(
    "--every",
    default="1m",
    show_default=True,
    metavar="DURATION",
    help="How often budgets are read, whatever the number of readers; 10s to 1h.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A name by which the pages are reached, besides localhost and addresses; several times for several.",
)
@click.option(
    "--behind-proxy",
    "user",
    metavar="HEADER",
    default="",
    help="Only a proxy asks, and says in this header which user it has logged in, such as X-Forwarded-User.",
)
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    ledger_url: str | None,
    origin: str,
    listen: str,
    every: str,
    hosts: tuple[str, ...],
    user: str,
) -> int:
    """Serve live pages: what burns, since when, where it begins; every budget, and each SLO with its PromQL.

    Read only, until SIGTERM or Ctrl-C. Budgets are read in the background, and every page says how old they are.
    Readers need the token that SLOCTL_SERVE_TOKEN has, or that is in the file SLOCTL_SERVE_TOKEN_FILE; without one, and
    without --behind-proxy, only this machine is listened to.
    """
    check_packages()
    from sloctl.serve.access import Access, check_bind, check_names
    from sloctl.settings import serve as settings
    from sloctl.telemetry.web import Web, parse

    seconds = parse_duration(every)
    if seconds is None or not LEAST <= seconds <= MOST:
        raise UsageError(f"--every: {every!r} is not a duration of 10s to 1h", hint="write  --every 1m")
    access = Access(settings.token(), user, frozenset(name.lower() for name in hosts))
    check_names(access)
    check_bind(parse(listen, "")[0], access)
    slo_set = load(context, files)
    overrides = Overrides(prometheus=url, timeout=timeout)
    Servers(
        slo_set.sources, overrides, context.warn
    ).prometheus().close()  # fail now for what would fail later
    with LedgerAccess(ledger_url) as ledger, _until_asked() as wait:
        asks = Asks(Context(quiet=True), slo_set, overrides, ledger, origin)
        with running(asks, access, now, float(seconds)) as served, Web(listen, cast(Any, served)) as web:
            context.say(f"sloctl: http://{web.address} shows {slo_set.name}")
            wait()
    return EXIT_OK


def check_packages() -> None:
    """Fail if what live pages need is not installed. Raises UsageError."""
    with extras.needed("serve", PURPOSE):
        import networkx  # noqa: F401
        import starlette  # noqa: F401


class _Warned(Context):
    """Keeps warnings for the pages: nobody reads them on a terminal."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        object.__setattr__(self, "texts", [])

    texts: list[str]

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.texts.append(text)


class Asks:
    """What the pages ask of servers; each question has a connection of its own."""

    def __init__(
        self, context: Context, slo_set: SloSet, overrides: Overrides, ledger: LedgerAccess, origin: str
    ) -> None:
        self.slo_set = slo_set
        self._context, self._overrides, self._ledger, self._origin = context, overrides, ledger, origin
        self._lock = threading.Lock()
        self._open: set[Prometheus] = set()

    @contextlib.contextmanager
    def _prometheus(self) -> Iterator[Prometheus]:
        with Servers(self.slo_set.sources, self._overrides, self._context.warn).prometheus() as source:
            with self._lock:
                self._open.add(source)
            try:
                yield source
            finally:
                with self._lock:
                    self._open.discard(source)

    def cut(self) -> None:
        """Cut the connections of questions that wait for an answer: they fail at once."""
        with self._lock:
            for source in self._open:
                source.cancel()

    def report(self, at: datetime) -> Report:
        """The report of ``sloctl report --format html``. Raises BackendError."""
        from sloctl.cli.report import build
        from sloctl.report.data import Finding

        warned = _Warned()
        report = build(
            warned,
            self.slo_set,
            at,
            self._ledger,
            overrides=self._overrides,
            origin=self._origin,
            history=True,
            page=True,
        )
        mark = " [ledger-not-read]"  # of a server, sources are warned of once, at the start
        findings = tuple(
            Finding("warning", "ledger-not-read", text.removesuffix(mark))
            for text in warned.texts
            if text.endswith(mark)
        )
        return replace(report, findings=(*report.findings, *findings))

    def explained(self, report: Report) -> Explained | None:
        """Where failures of all services begin, if an alert fires. Raises BackendError."""
        return self.explain("", "", 3600, report.at) if any(item.alerts for item in report.slos) else None

    def explain(self, namespace: str, service: str, seconds: int, at: datetime) -> Explained:
        """Where failures begin. Raises BackendError."""
        from jobs import origins
        from jobs.origins import told
        from sloctl.serve.cache import Explained

        with self._prometheus() as source:
            found = origins.run(source, self.slo_set, at, seconds, namespace=namespace, service=service)
        return Explained(
            tuple(told.lines(found, service or namespace)), told.as_object(found), bool(found.asked)
        )

    def part(self, slo: Slo, item: SloStatus, report: Report, seconds: int) -> BudgetHistory | None:
        """The last part of a budget's history. Raises BackendError."""
        from jobs.reports import part

        with self._prometheus() as source:
            return part.read(source, slo, item, report.at, seconds)

    def mesh(self, at: datetime) -> MeshCalls:
        """Who calls whom. Raises BackendError."""
        from jobs import mesh_calls

        with self._prometheus() as source:
            return mesh_calls.read(source, self.slo_set.mesh, at)

    def definitions(self, report: Report) -> Mapping[int, Slo]:
        """The definition of each budget, by the id of the object."""
        from jobs.reports.routine_budgets import statuses

        return {id(item): slo for slo, item in statuses(self.slo_set, report).values()}


@contextlib.contextmanager
def running(asks: Asks, access: Access, clock: Clock, every: float) -> Iterator[Guard]:
    """The application, and what refreshes its budgets while the context lasts."""
    from sloctl.serve.application import Pages, Questions, application
    from sloctl.serve.cache import Asked, Refresher

    def at() -> datetime:
        return clock().replace(microsecond=0)

    asked = Asked(seconds=every)
    questions = Questions(
        asks.part,
        lambda namespace, service, seconds: asks.explain(namespace, service, seconds, at()),
        lambda ago: asks.mesh(at() - timedelta(seconds=ago)),
    )
    refresher = Refresher(lambda: asks.report(at()), clock, every, asks.explained)
    pages = Pages(asks.slo_set, refresher, questions, asked, clock, definitions=asks.definitions)
    try:
        with refresher:
            yield application(pages, access)
    finally:
        asked.close()
        asks.cut()


@contextlib.contextmanager
def _until_asked() -> Iterator[Callable[[], object]]:
    """What waits until SIGTERM or SIGINT."""
    signals = {signal.SIGTERM, signal.SIGINT}
    # Threads inherit this: signals are for the main thread alone, which asks for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield lambda: signal.sigwait(signals)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
