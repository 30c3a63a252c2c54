"""What ``sloctl schedule`` is made of: the jobs' bodies, the ledger, telemetry, and the file that may change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jobs.schedule import runner
from jobs.schedule.attempt import Done
from jobs.schedule.scheduler import Scheduler, tasks_of
from sloctl import naming, spec
from sloctl.backends.http.client import HttpClient
from sloctl.cli.context import Context, alertmanager, now, prometheus, traces
from sloctl.cli.posting import check_packages, period_of_job
from sloctl.errors import BackendError, SloctlError, UsageError
from sloctl.model import Job, SloSet
from sloctl.settings.telemetry import TelemetrySettings
from sloctl.telemetry import own_metrics
from sloctl.telemetry.observer import Telemetry
from sloctl.telemetry.web import Web, health, readiness

if TYPE_CHECKING:
    from jobs.posting import Posted
    from sloctl.backends.alertmanager.client import Alertmanager
    from sloctl.ledger.outbox import DatabaseOutbox
    from sloctl.ledger.store import LedgerStore
    from sloctl.report.data import Report
    from sloctl.spec import Source

LOG = logging.getLogger("sloctl.schedule")
PAUSE = 10.0
"""Seconds between two attempts to open the ledger."""
C = TypeVar("C", bound="HttpClient[Any, Any]")


class Books:
    """The ledger, opened when it is first needed: its database may be down when the scheduler starts."""

    def __init__(self, option: str | None) -> None:
        from sloctl.settings.backends import LedgerSettings

        self._url = LedgerSettings.load(option=option).url
        self._lock = threading.Lock()
        self._store: LedgerStore | None = None
        self._failed: tuple[float, BackendError] | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is to be one."""
        return self._url is not None

    def get(self) -> LedgerStore:
        """The ledger. Raises BackendError, and UsageError for an address that cannot be one."""
        assert self._url is not None
        with self._lock:
            if self._store is None:
                from sloctl.ledger.store import open_ledger

                # Finding out takes seconds, which not every job shall wait for again.
                if self._failed is not None and time.monotonic() - self._failed[0] < PAUSE:
                    raise self._failed[1]
                try:
                    self._store = open_ledger(self._url)
                except BackendError as error:
                    self._failed = time.monotonic(), error
                    raise
            return self._store

    def close(self) -> None:
        """Close it, if it was opened."""
        if self._store is not None:
            self._store.close()


class Service:
    """One running ``sloctl schedule``; a context manager that ends all it began. Raises UsageError."""

    def __init__(
        self,
        slo_set: SloSet,
        sources: Sequence[Source],
        *,
        url: str | None,
        timeout: float | None,
        traces_url: str | None,
        ledger_url: str | None,
    ) -> None:
        self._set, self._sources = slo_set, tuple(sources)
        self._url, self._timeout, self._traces_url = url, timeout, traces_url
        self._context = Context(quiet=True)  # adapters' warnings were said, or are logged
        settings = TelemetrySettings.load()
        self._check_sources(slo_set)
        self.books = Books(ledger_url)
        if self.books.wanted:
            try:
                self.books.get()
            except BackendError as error:
                LOG.warning("%s", error)
        self.telemetry = Telemetry(slo_set.name, settings, now=now, endpoint=True)
        for warning in settings.warnings:
            LOG.warning("%s", warning)
        self._open = threading.Lock()
        self._clients: set[HttpClient[Any, Any]] = set()
        self._cut = False
        self.scheduler = Scheduler(
            slo_set.name,
            tasks_of(slo_set, self.runs(slo_set)),
            ledger=self.books.get if self.books.wanted else None,
            slo_ids=[slo.id for slo in slo_set.slos],
            deliver=self._deliverer(),
            observer=self.telemetry,
        )
        self.telemetry.gauge(own_metrics.RELOAD_FAILED, 0, **{naming.SLO_SET: slo_set.name})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.telemetry.close()
        self.books.close()

    def say(self, text: str) -> None:
        """A line of the log."""
        LOG.info("%s", text)

    def web(self, address: str) -> Web:
        """The server of ``/metrics``, ``/healthz`` and ``/readyz``. Raises UsageError."""

        def metrics(accept: str) -> tuple[int, bytes, str]:
            return (200, *self.telemetry.render(accept))

        def more() -> Mapping[str, Any]:
            times = {id_: at.strftime("%Y-%m-%dT%H:%M:%SZ") for id_, at in self.scheduler.next_runs().items()}
            return {"slo_set": self._set.name, "running": self.scheduler.running, "next_runs": times}

        pages = {
            "/metrics": metrics,
            "/healthz": health(self.scheduler.alive),
            "/readyz": readiness(self.scheduler.problems, more),
        }
        web = Web(address, pages)
        LOG.info("listening on http://%s", web.address)
        return web

    def cut(self) -> None:
        """Cut the connections of all running jobs: they fail at once."""
        with self._open:
            self._cut = True
            clients = list(self._clients)
        for client in clients:
            client.cancel()

    def reload(self, paths: Sequence[Path], *, asked: bool) -> None:
        """Go on with the files as they are now, if they have changed and are valid."""
        try:
            found = spec.read(paths)
            if found == self._sources:
                if asked:
                    LOG.info("the SLO file is as it was")
                return
            self._sources = found  # what is not valid is said once
            slo_set = spec.load_sources(found)
            if slo_set.name != self._set.name:
                raise UsageError(f"the set is now called {slo_set.name}: start the scheduler anew")
            self._check_sources(slo_set)
        except SloctlError as error:
            problems = [
                f"{p.position}: {p.message}" for p in getattr(error, "problems", ()) if p.severity == "error"
            ]
            LOG.error("the changed SLO file is not used: %s", "; ".join([str(error), *problems[:10]]))
            self._reloaded(failed=True)
            return
        self._set = slo_set
        self.scheduler.replace(tasks_of(slo_set, self.runs(slo_set)), [slo.id for slo in slo_set.slos])
        LOG.info("the changed SLO file is used from now on")
        self._reloaded(failed=False)

    def _reloaded(self, *, failed: bool) -> None:
        self.telemetry.gauge(own_metrics.RELOAD_FAILED, float(failed), **{naming.SLO_SET: self._set.name})

    def _check_sources(self, slo_set: SloSet) -> None:
        """Fail now for what a job could only fail for later. Raises UsageError."""
        prometheus(Context(), slo_set, self._url, self._timeout).close()
        if any(job.name == "retry_amplification" for job in slo_set.jobs):
            traces(Context(), slo_set, self._traces_url, self._timeout).close()
        if any(job.post for job in slo_set.jobs):
            check_packages()

    def runs(self, slo_set: SloSet) -> Callable[[Job, datetime], Done]:
        """The body of each job; every run has connections of its own, which end with it."""

        def run(job: Job, at: datetime) -> Done:
            with ExitStack() as stack:
                source = self._client(
                    stack, prometheus(self._context, slo_set, self._url, self._timeout, self.telemetry)
                )
                sources = runner.Sources(
                    source,
                    lambda: self._client(
                        stack, traces(self._context, slo_set, self._traces_url, self._timeout, self.telemetry)
                    ),
                    self._ledger(job),
                    self._silences(stack, slo_set, job),
                    lambda text: LOG.info("%s", text),
                    period_of_job(job, at),
                )
                result = runner.run(job.name, slo_set, sources, at)
                lines = [result.said] if result.said else []
                lines += [f"{item.severity}: {item.message} [{item.code}]" for item in result.findings]
                lines += [f"warning: Prometheus: {text}" for text in source.warnings]
                if job.post and result.report is not None:
                    lines += self._post(result.report, slo_set, job)
            return Done(result.numbers, lines)

        return run

    def _ledger(self, job: Job) -> LedgerStore | None:
        """The ledger; while it cannot be reached, only the job that writes to it must fail. Raises BackendError."""
        if not self.books.wanted:
            return None
        try:
            return self.books.get()
        except BackendError as error:
            if job.name == "slis":
                raise
            LOG.warning("the ledger is not read: %s", error)
            return None

    def _silences(self, stack: ExitStack, slo_set: SloSet, job: Job) -> Alertmanager | None:
        """Where silences are, for the job that heeds them."""
        if job.name != "slis" or slo_set.ledger.silences == "none":
            return None
        return self._client(stack, alertmanager(self._context, slo_set, None, None, self.telemetry))

    def _client(self, stack: ExitStack, client: C) -> C:
        """A client that :meth:`cut` reaches, until the run ends."""
        with self._open:
            self._clients.add(client)
            cut = self._cut

        def forget() -> None:
            with self._open:
                self._clients.discard(client)
            client.close()

        stack.callback(forget)
        if cut:
            client.cancel()
        return client

    def _outbox(self) -> DatabaseOutbox:
        from sloctl.ledger.outbox import DatabaseOutbox

        return DatabaseOutbox(self.books.get().database)

    def _post(self, report: Report, slo_set: SloSet, job: Job) -> list[str]:
        """Post a report; the lines that say what became of it. What is not posted now waits in the outbox."""
        from jobs import posting
        from sloctl.cli.posting import letter_of, notifier

        if not self.books.wanted:
            return ["warning: not posted: that needs the ledger"]
        letter = letter_of(report, slo_set, step=job.every)
        _, done = posting.post(letter, self._outbox(), notifier(), time.time)
        for outcome, count in _counts(done).items():
            for _ in range(count):
                self.telemetry.count(
                    own_metrics.DELIVERIES, outcome=outcome, **{naming.SLO_SET: slo_set.name}
                )
        return _said(done)

    def _deliverer(self) -> Callable[[], Mapping[str, int]] | None:
        """What looks after the outbox, whenever the file has a job that posts."""
        if not self.books.wanted:
            return None

        def deliver() -> Mapping[str, int]:
            if not any(job.post for job in self._set.jobs):
                return {}
            from jobs import posting
            from sloctl.cli.posting import notifier

            done = posting.deliver(
                self._outbox(), notifier(), time.time, set_name=self._set.name, stop=lambda: self._cut
            )
            for line in _said(done):
                LOG.info("%s", line)
            return _counts(done)

        return deliver


def _counts(done: Posted) -> dict[str, int]:
    return {"sent": len(done.sent), "waiting": len(done.waiting), "dead": len(done.dead)}


def _said(done: Posted) -> list[str]:
    lines = [f"posted {key}" for key in done.sent]
    lines += [f"warning: {key}: {note}" for key in done.sent for note in done.notes.get(key, ())]
    lines += [f"warning: {key} waits: {reason}" for key, reason in done.waiting.items()]
    return lines + [f"error: {key} was given up: {reason}" for key, reason in done.dead.items()]
