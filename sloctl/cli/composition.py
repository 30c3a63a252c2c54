"""The composition root: joins adapters with their settings, from an SLO set, options and the environment.

Every command takes its servers, its ledger, outbox, notifier and observer from here, once as they are (``run``,
``report``) or again for each run of a job (``schedule``). Adapters are imported when they are made: most are slow to
import, and few commands need them all. This module must not know what a command does with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from sloctl import extras
from sloctl.cli.context import now
from sloctl.errors import BackendError, UsageError
from sloctl.settings.ledger import LedgerAddress
from sloctl.telemetry.protocol import NOTHING, Observer

if TYPE_CHECKING:
    from sloctl.backends.alertmanager.client import Alertmanager
    from sloctl.backends.prometheus.client import Prometheus
    from sloctl.backends.traces.reader import TraceClient
    from sloctl.ledger.outbox import DatabaseOutbox
    from sloctl.ledger.store import DatabaseLedger
    from sloctl.model import SloSet, Sources
    from sloctl.posting.protocol import Notifier
    from sloctl.settings.backends import BackendSettings
    from sloctl.telemetry.observer import Telemetry

S = TypeVar("S", bound="BackendSettings")


@dataclass(frozen=True, slots=True)
class Overrides:
    """What options say of servers, in place of the environment and the file: addresses, and seconds per request."""

    prometheus: str | None = None
    traces: str | None = None
    alertmanager: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of an SLO file. Each call makes a client of its own, for the caller to close.

    ``warn`` is told what is allowed but unwise. All methods raise UsageError where no address is known.
    """

    sources: Sources
    overrides: Overrides
    warn: Callable[[str], object]
    observer: Observer = NOTHING

    def prometheus(self) -> Prometheus:
        """The metric source."""
        from sloctl.backends.prometheus.client import Prometheus
        from sloctl.settings.backends import PrometheusSettings

        settings = self._settings(PrometheusSettings, self.overrides.prometheus, self.sources.prometheus)
        return Prometheus(settings, observer=self.observer)

    def traces(self) -> TraceClient:
        """The trace source. Raises UsageError where no backend is named, too."""
        from sloctl.backends.traces.client import open_traces
        from sloctl.settings.backends import TracesSettings

        sources = self.sources
        if not sources.traces_backend:
            raise UsageError(
                "the SLO file names no trace backend",
                hint="write  sources: {traces: {backend: zipkin, url: …}}  (or jaeger, tempo, clickhouse)",
            )
        return open_traces(
            self._settings(TracesSettings, self.overrides.traces, sources.traces),
            sources.traces_backend,
            attempt_tag=sources.attempt_tag,
            ui=sources.traces_ui,
            grafana=sources.grafana,
            table=sources.traces_table,
            observer=self.observer,
        )

    def alertmanager(self) -> Alertmanager:
        """The Alertmanager."""
        from sloctl.backends.alertmanager.client import Alertmanager
        from sloctl.settings.backends import AlertmanagerSettings

        settings = self._settings(
            AlertmanagerSettings, self.overrides.alertmanager, self.sources.alertmanager
        )
        return Alertmanager(settings, observer=self.observer)

    def _settings(self, kind: type[S], url: str | None, of_file: str) -> S:
        settings = kind.load(url=url, default_url=of_file or None, timeout=self.overrides.timeout)
        for warning in settings.warnings:
            self.warn(warning)
        return settings


def silences(
    slo_set: SloSet, warn: Callable[[str], object], observer: Observer = NOTHING
) -> Alertmanager | None:
    """Where silences are, if the file lets them excuse anything. Raises UsageError where no address is known."""
    if slo_set.ledger.silences == "none":
        return None
    return Servers(slo_set.sources, Overrides(), warn, observer).alertmanager()


class LedgerAccess:
    """The ledger that an option, the environment or the default names: opened when first asked for, and then kept.

    A database that cannot be reached is tried again whenever it is asked for, but not within ``pause`` seconds: finding
    out takes some, which not every job shall wait for again. A context manager that closes what was opened; safe to use
    from several threads. All methods raise UsageError for an address that cannot be one.
    """

    def __init__(self, option: str | None, *, pause: float = 0.0) -> None:
        self._option, self._pause = option, pause
        self._lock = threading.Lock()
        self._store: DatabaseLedger | None = None
        self._failed: tuple[float, BackendError] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _address(self) -> LedgerAddress:
        return LedgerAddress.load(option=self._option)

    @property
    def wanted(self) -> bool:
        """Whether there is to be a ledger."""
        return self._address.url is not None

    def get(self) -> DatabaseLedger:
        """The ledger, which is wanted; it is made if it is not there. Raises BackendError."""
        assert self._address.url is not None
        with self._lock:
            if self._store is None:
                from sloctl.ledger.store import open_ledger  # slow to import

                if self._failed is not None and time.monotonic() - self._failed[0] < self._pause:
                    raise self._failed[1]
                try:
                    self._store = open_ledger(self._address.url)
                except BackendError as error:
                    self._failed = time.monotonic(), error
                    raise
            return self._store

    def get_if_wanted(self) -> DatabaseLedger | None:
        """The ledger; None where there is to be none. Raises BackendError."""
        return self.get() if self.wanted else None

    def get_existing(self) -> DatabaseLedger:
        """The ledger, if it is there. Raises UsageError if there is none, BackendError."""
        if not self.wanted or (self._address.file and not self._address.exists):
            self._refuse()
        return self.get()

    def get_or_make(self) -> DatabaseLedger:
        """The ledger. Raises UsageError where there is to be none, BackendError."""
        if not self.wanted:
            self._refuse()
        return self.get()

    def get_if_readable(self, warn: Callable[[str], object]) -> DatabaseLedger | None:
        """The ledger for those who can do without: one that cannot be reached is said, and left.

        One that nobody named is opened only if it is there.
        """
        if not self.wanted or not (self._address.given or self._address.exists):
            return None
        try:
            return self.get()
        except BackendError as error:
            warn(f"{error}; budgets are Prometheus's [ledger-not-read]")
            return None

    def outbox(self) -> DatabaseOutbox:
        """The outbox in the ledger's database. Raises UsageError where there is to be no ledger; BackendError."""
        from sloctl.ledger.outbox import DatabaseOutbox

        if not self.wanted:
            raise UsageError(
                "posting needs the ledger, which remembers what was posted",
                hint="give its address with --ledger or SLOCTL_LEDGER_URL",
            )
        return DatabaseOutbox(self.get().database)

    def close(self) -> None:
        """Close the ledger, if it was opened."""
        if self._store is not None:
            self._store.close()

    def _refuse(self) -> None:
        raise UsageError(
            "there is no ledger" + (" at this address" if self._address.given else " yet"),
            hint="the job slis makes one (sloctl run slis -f FILE); or name it with --ledger or SLOCTL_LEDGER_URL",
        )


def check_slack(slo_set: SloSet) -> None:
    """Fail before anything is asked, if a report cannot be posted. Raises UsageError."""
    from sloctl.settings.slack import SlackSettings

    check_packages()
    settings = SlackSettings.load()
    if slo_set.slack_owners and not settings.token:
        raise UsageError(
            "'reports.slack.owners' names channels, and a webhook posts to its own alone",
            hint="set SLOCTL_SLACK_TOKEN in place of the webhook (docs/slack.md), or remove 'owners'",
        )
    if settings.token and not slo_set.slack_channel:
        raise UsageError(
            "the SLO file names no Slack channel", hint='write  reports: {slack: {channel: "#slo-reviews"}}'
        )


def check_packages() -> None:
    """Fail if what posts to Slack, or draws for it, is not installed. Raises UsageError."""
    with extras.needed("slack", "posting to Slack"):
        from sloctl.posting.slack import api, chart  # noqa: F401


def notifier() -> Notifier:
    """What delivers to Slack, by the environment's token or webhook. Raises UsageError."""
    check_packages()
    from sloctl.posting.slack.api import Slack, Webhook
    from sloctl.posting.slack.deliver import SlackNotifier
    from sloctl.settings.slack import SlackSettings

    settings = SlackSettings.load()
    return SlackNotifier(Slack(settings) if settings.token else Webhook(settings))


def telemetry(slo_set: SloSet, warn: Callable[[str], object], *, endpoint: bool = False) -> Telemetry | None:
    """OpenTelemetry, if its variables name a collector or there is to be an ``endpoint`` for Prometheus; else None."""
    from sloctl.settings.telemetry import TelemetrySettings

    settings = TelemetrySettings.load()
    if not (endpoint or settings.traces or settings.metrics):
        return None
    from sloctl.telemetry.observer import Telemetry

    for warning in settings.warnings:
        warn(warning)
    return Telemetry(slo_set.name, settings, now=now, endpoint=endpoint)


@contextmanager
def listening(slo_set: SloSet, warn: Callable[[str], object]) -> Iterator[Observer]:
    """Who listens to a single run: a collector, or nobody.

    What was said is sent at the end, within a few seconds; a collector that is not there changes nothing else.
    """
    listener = telemetry(slo_set, warn)
    if listener is None:
        yield NOTHING
        return
    import logging

    # The exporters' own log repeats the collector's address, which may hold credentials.
    logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
    logging.getLogger("opentelemetry").propagate = False
    try:
        yield listener
    finally:
        if not listener.close():
            warn("telemetry could not be sent to the collector")
