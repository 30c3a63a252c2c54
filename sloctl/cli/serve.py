"""``sloctl serve``."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from sloctl import extras
from sloctl.cli.composition import LedgerAccess, Overrides, Servers
from sloctl.cli.context import (
    Context,
    files_option,
    ledger_option,
    load_with_sources,
    now,
    origin_option,
    pass_context,
)
from sloctl.cli.reloading import Files, attend, signals_held, told
from sloctl.errors import EXIT_OK, SloctlError, UsageError
from sloctl.model.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sloctl.backends.prometheus.client import Prometheus
    from sloctl.model import Slo, SloSet
    from sloctl.report.data import Report, SloStatus
    from sloctl.report.history import BudgetHistory
    from sloctl.report.latency import Observed
    from sloctl.report.mesh import MeshCalls
    from sloctl.serve.access import Access
    from sloctl.serve.cache import Clock, Explained, Refresher
    from sloctl.telemetry.web import Application

LEAST, MOST = 10, 3600
PURPOSE = "serving live pages"
F = TypeVar("F", bound=Callable[..., Any])


def pages_options(function: F) -> F:
    """The options of live pages, wherever they are served."""
    for option in reversed(
        (
            click.option(
                "--every",
                default="1m",
                show_default=True,
                metavar="DURATION",
                help="How often live pages read budgets, whatever the number of readers; 10s to 1h.",
            ),
            click.option(
                "--host",
                "hosts",
                multiple=True,
                metavar="NAME",
                help="A name by which live pages are reached, besides localhost and addresses; again for more.",
            ),
            click.option(
                "--behind-proxy",
                "user",
                metavar="HEADER",
                default="",
                help="Only a proxy asks for live pages, and says in this header which user it has logged in, such as "
                "X-Forwarded-User.",
            ),
        )
    ):
        function = option(function)
    return function


@click.command("serve")
@files_option
@click.option("--prometheus", "url", metavar="URL", help="Overrides sources.prometheus.url of the file.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30.")
@ledger_option
@origin_option
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where the pages are."
)
@pages_options
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

    Read only, until SIGTERM or Ctrl-C. Budgets are read in the background, and every page says how old they are. A
    changed file is loaded anew (at once with SIGHUP), and one that has problems is not.
    Readers need the token that SLOCTL_SERVE_TOKEN has, or that is in the file SLOCTL_SERVE_TOKEN_FILE; without one, and
    without --behind-proxy, only this machine is listened to.
    """
    check_packages()
    from sloctl.telemetry.web import Web

    seconds = seconds_of(every)
    access = access_of(listen, hosts, user, "--listen")
    slo_set, sources = load_with_sources(context, files)
    overrides = Overrides(prometheus=url, timeout=timeout)

    def check(slo_set: SloSet) -> None:
        """Fail now for what would fail later."""
        Servers(slo_set.sources, overrides, context.warn).prometheus().close()

    check(slo_set)
    found = Files(files, sources, slo_set.name, check)
    with signals_held(), LedgerAccess(ledger_url) as ledger:
        asks = Asks(Context(quiet=True), slo_set, overrides, ledger, now, origin)
        with running(asks, access, now, seconds) as shown, Web(listen, shown.application) as web:
            context.say(f"sloctl: http://{web.address} shows {slo_set.name}")

            def look(asked: bool) -> None:
                try:
                    changed = found.changed(asked=asked)
                    if changed is not None:
                        shown.replace(changed)
                        context.say("sloctl: the changed SLO file is used from now on")
                    elif asked:
                        context.say("sloctl: the SLO file is as it was")
                except SloctlError as error:
                    context.warn(f"the changed SLO file is not used: {told(error)}")
                    shown.refuse(told(error))

            attend(look)
    return EXIT_OK


def seconds_of(every: str) -> float:
    """The interval that --every names. Raises UsageError."""
    seconds = parse_duration(every)
    if seconds is None or not LEAST <= seconds <= MOST:
        raise UsageError(f"--every: {every!r} is not a duration of 10s to 1h", hint="write  --every 1m")
    return float(seconds)


def access_of(address: str, hosts: tuple[str, ...], user: str, option: str = "--pages") -> Access:
    """Who may read what is served at an address. Raises UsageError where everybody could."""
    from sloctl.serve.access import Access, check_bind, check_names
    from sloctl.settings import serve as settings
    from sloctl.telemetry.web import parse

    access = Access(settings.token(), user, frozenset(name.lower() for name in hosts))
    check_names(access)
    check_bind(parse(address, "", option)[0], access, option)
    return access


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
    """What the pages ask of servers at the time that a clock says; each question has a connection of its own."""

    def __init__(
        self,
        context: Context,
        slo_set: SloSet,
        overrides: Overrides,
        ledger: LedgerAccess,
        clock: Clock,
        origin: str = "auto",
    ) -> None:
        self.slo_set, self._clock = slo_set, clock
        self._context, self._overrides, self._ledger, self._origin = context, overrides, ledger, origin
        self._lock = threading.Lock()
        self._open: set[Prometheus] = set()

    def about(self, slo_set: SloSet) -> Asks:
        """The same of other SLOs."""
        found = copy.copy(self)
        found.slo_set = slo_set
        return found

    def _now(self) -> datetime:
        return self._clock().replace(microsecond=0)

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

    def report(self) -> Report:
        """The report of ``sloctl report --format html``. Raises BackendError."""
        from sloctl.cli.report import build
        from sloctl.report.data import Finding

        warned = _Warned()
        report = build(
            warned,
            self.slo_set,
            self._now(),
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
        return self._explain("", "", 3600, report.at) if any(item.alerts for item in report.slos) else None

    def explain(self, namespace: str, service: str, seconds: int, at: datetime | None = None) -> Explained:
        """Where failures begin, as of a time or now. Raises BackendError."""
        return self._explain(namespace, service, seconds, at or self._now())

    def _explain(self, namespace: str, service: str, seconds: int, at: datetime) -> Explained:
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

    def observed(self, slo: Slo, item: SloStatus, report: Report, seconds: int) -> Observed | None:
        """How long an SLO's requests take, and what changed meanwhile. Raises BackendError."""
        from jobs.reports import observed

        with self._prometheus() as source:
            return observed.read(source, self.slo_set, slo, item, report.at, seconds)

    def mesh(self, ago: int) -> MeshCalls:
        """Who called whom so many seconds ago. Raises BackendError."""
        from jobs import mesh_calls

        with self._prometheus() as source:
            return mesh_calls.read(source, self.slo_set.mesh, self._now() - timedelta(seconds=ago))

    def canary(
        self, service: str, baseline: str, canary: str, by: str, since: datetime | None
    ) -> Mapping[str, Any]:
        """The verdict on a canary. Raises UsageError, BackendError."""
        from jobs.canary import judge, read, told
        from sloctl.cli.canary import asked_of

        asked = asked_of(service, baseline, canary, by)
        with self._prometheus() as source:
            observed = read(source, self.slo_set, asked, self._now(), since)
        return told.as_object(judge(observed, self.slo_set.release.canary))

    def definitions(self, report: Report) -> Mapping[int, Slo]:
        """The definition of each budget, by the id of the object."""
        from jobs.reports.routine_budgets import statuses

        return {id(item): slo for slo, item in statuses(self.slo_set, report).values()}


@dataclass(frozen=True, slots=True)
class Live:
    """Live pages that are shown."""

    application: Application
    _refresher: Refresher
    _asks: Asks

    def replace(self, slo_set: SloSet) -> None:
        """Show the SLOs of a changed file from the next answer on."""
        self._refresher.replace(self._asks.about(slo_set))

    def refuse(self, why: str) -> None:
        """Say that a changed file is not used."""
        self._refresher.refuse(why)


@contextlib.contextmanager
def running(asks: Asks, access: Access, clock: Clock, every: float) -> Iterator[Live]:
    """The application, and what refreshes its budgets while the context lasts."""
    from sloctl.serve.application import Pages, application
    from sloctl.serve.cache import Asked, Refresher

    asked, refresher = Asked(seconds=every), Refresher(asks, clock, every)
    try:
        with refresher:
            pages = application(Pages(refresher, asked, clock), access)
            yield Live(cast(Any, pages), refresher, asks)
    finally:
        asked.close()
        asks.cut()
