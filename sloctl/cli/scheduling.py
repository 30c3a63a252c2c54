"""One running ``sloctl schedule``: the jobs' bodies, and the file that may change."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jobs.schedule import runner
from jobs.schedule.attempt import Done
from jobs.schedule.scheduler import Scheduler, tasks_of
from jobs.schedule.told import RunsTold
from sloctl import naming
from sloctl.backends.http.session import HttpClient
from sloctl.cli.composition import (
    LedgerAccess,
    Overrides,
    Servers,
    check_packages,
    check_slack,
    notifier,
    silences,
    telemetry,
)
from sloctl.cli.context import Context, now
from sloctl.cli.posting import period_of_job
from sloctl.cli.reloading import Files, told
from sloctl.errors import BackendError, SloctlError, UsageError
from sloctl.model import Job, SloSet
from sloctl.model.durations import rfc3339
from sloctl.model.job_names import RETRY_AMPLIFICATION, SLIS
from sloctl.telemetry import own_metrics
from sloctl.telemetry.web import Pages, Web, health, readiness

if TYPE_CHECKING:
    from jobs.posting import Posted
    from sloctl.backends.alertmanager.client import Alertmanager
    from sloctl.backends.protocols import Progress
    from sloctl.cli.serve import Live
    from sloctl.ledger.store import DatabaseLedger
    from sloctl.report.data import Report
    from sloctl.serve.access import Access

LOG = logging.getLogger("sloctl.schedule")
PAUSE = 10.0
"""Seconds between two attempts to open the ledger."""
C = TypeVar("C", bound="HttpClient[Any, Any]")
_QUIET = Context(quiet=True)
_SAID = _QUIET.warn
"""What adapters warn of was said at the start, or is logged."""


class Service:
    """One running ``sloctl schedule``; a context manager that ends all it began. Raises UsageError."""

    def __init__(
        self,
        slo_set: SloSet,
        overrides: Overrides,
        ledger_url: str | None,
    ) -> None:
        self._set, self._overrides = slo_set, overrides
        self._shown: Live | None = None
        self.check(slo_set)
        self.ledger = LedgerAccess(ledger_url, pause=PAUSE)
        if self.ledger.wanted:
            try:
                self.ledger.get()
            except BackendError as error:
                LOG.warning("%s", error)
        listener = telemetry(slo_set, lambda text: LOG.warning("%s", text), endpoint=True)
        assert listener is not None
        self.telemetry = listener
        self._open = threading.Lock()
        self._clients: set[HttpClient[Any, Any]] = set()
        self._cut = False
        self.scheduler = Scheduler(
            slo_set.name,
            tasks_of(slo_set, self.runs(slo_set)),
            ledger=self.ledger.get if self.ledger.wanted else None,
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
        self.ledger.close()

    def say(self, text: str) -> None:
        """A line of the log."""
        LOG.info("%s", text)

    def web(self, address: str) -> Web:
        """The server of ``/metrics``, ``/healthz`` and ``/readyz``. Raises UsageError."""

        def metrics(accept: str) -> tuple[int, bytes, str]:
            return (200, *self.telemetry.render(accept))

        def more() -> Mapping[str, Any]:
            times = {id_: rfc3339(at) for id_, at in self.scheduler.next_runs().items()}
            return {
                "notes": self.scheduler.notes(),
                "slo_set": self._set.name,
                "running": self.scheduler.running,
                "next_runs": times,
            }

        pages = {
            "/metrics": metrics,
            "/healthz": health(self.scheduler.alive),
            "/readyz": readiness(self.scheduler.problems, more),
        }
        web = Web(address, Pages(pages), otherwise=", or write  --listen none")
        LOG.info("listening on http://%s", web.address)
        return web

    def show(self, stack: ExitStack, address: str, access: Access, every: float) -> None:
        """Serve live pages until the stack ends. Raises UsageError."""
        from sloctl.cli.serve import Asks, running

        asks = Asks(_QUIET, self._set, self._overrides, self.ledger, now)
        self._shown = stack.enter_context(running(asks, access, now, every))
        web = stack.enter_context(Web(address, self._shown.application, option="--pages"))
        LOG.info("live pages are at http://%s", web.address)

    def cut(self) -> None:
        """Cut the connections of all running jobs: they fail at once."""
        with self._open:
            self._cut = True
            clients = list(self._clients)
        for client in clients:
            client.cancel()

    def reload(self, files: Files, *, asked: bool) -> None:
        """Go on with the files as they are now, if they have changed and are valid."""
        try:
            slo_set = files.changed(asked=asked)
            if slo_set is None:
                if asked:
                    LOG.info("the SLO file is as it was")
                return
        except SloctlError as error:
            LOG.error("the changed SLO file is not used: %s", told(error))
            self._reloaded(failed=True)
            if self._shown:
                self._shown.refuse(told(error))
            return
        self._set = slo_set
        if self._shown:
            self._shown.replace(slo_set)
        self.scheduler.replace(tasks_of(slo_set, self.runs(slo_set)), [slo.id for slo in slo_set.slos])
        LOG.info("the changed SLO file is used from now on")
        self._reloaded(failed=False)

    def _reloaded(self, *, failed: bool) -> None:
        self.telemetry.gauge(own_metrics.RELOAD_FAILED, float(failed), **{naming.SLO_SET: self._set.name})

    def check(self, slo_set: SloSet) -> None:
        """Fail now for what a job could only fail for later. Raises UsageError."""
        if not slo_set.jobs:
            raise UsageError(
                "the file schedules no jobs",
                hint="write  jobs: [{name: slis, every: 5m}]  (see docs/scheduler.md)",
            )
        servers = Servers(slo_set.sources, self._overrides, Context().warn)
        servers.prometheus().close()
        if any(job.name == RETRY_AMPLIFICATION for job in slo_set.jobs):
            servers.traces().close()
        if any(job.post for job in slo_set.jobs):
            check_packages()

    def runs(self, slo_set: SloSet) -> Callable[[Job, datetime], Done]:
        """The body of each job; every run has connections of its own, which end with it."""
        servers = Servers(slo_set.sources, self._overrides, _SAID, self.telemetry)
        told = RunsTold(slo_set.name, self.telemetry, now)

        def run(job: Job, at: datetime) -> Done:
            with ExitStack() as stack:
                source = self._client(stack, servers.prometheus())
                connections = runner.Connections(
                    source,
                    lambda: self._client(stack, servers.traces()),
                    self._ledger(job),
                    self._silences(stack, slo_set, job),
                    _once_each(),
                    period_of_job(job, at),
                )
                result = runner.run(job.name, slo_set, connections, at)
                lines = [result.said] if result.said else []
                lines += [f"{item.severity}: {item.message} [{item.code}]" for item in result.findings]
                lines += [f"warning: Prometheus: {text}" for text in source.warnings]
                if job.post and result.report is not None:
                    lines += self._post(result.report, slo_set, job, told)
            return Done(result.numbers, lines)

        return run

    def _ledger(self, job: Job) -> DatabaseLedger | None:
        """The ledger; while it cannot be reached, only the job that writes to it must fail. Raises BackendError."""
        if not self.ledger.wanted:
            return None
        try:
            return self.ledger.get()
        except BackendError as error:
            if job.name == SLIS:
                raise
            LOG.warning("the ledger is not read: %s", error)
            return None

    def _silences(self, stack: ExitStack, slo_set: SloSet, job: Job) -> Alertmanager | None:
        """Where silences are, for the job that heeds them."""
        found = silences(slo_set, _SAID, self.telemetry) if job.name == SLIS else None
        return None if found is None else self._client(stack, found)

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

    def _post(self, report: Report, slo_set: SloSet, job: Job, told: RunsTold) -> list[str]:
        """Post a report; the lines that say what became of it. What is not posted now waits in the outbox."""
        from jobs import posting

        if not self.ledger.wanted:
            return ["warning: not posted: that needs the ledger"]
        if slo_set.slack_owners:
            check_slack(slo_set)
        box = self.ledger.outbox()
        _, _, done = posting.post_report(report, slo_set, box, notifier(), time.time, step=job.every)
        told.delivered(done.outcomes)
        return _lines(done)

    def _deliverer(self) -> Callable[[], Mapping[str, int]] | None:
        """What looks after the outbox, whenever the file has a job that posts."""
        if not self.ledger.wanted:
            return None

        def deliver() -> Mapping[str, int]:
            if not any(job.post for job in self._set.jobs):
                return {}
            from jobs import posting

            done = posting.deliver(
                self.ledger.outbox(),
                notifier(),
                time.time,
                set_name=self._set.name,
                stop=lambda: self._cut,
            )
            for line in _lines(done):
                LOG.info("%s", line)
            return done.outcomes

        return deliver


def _lines(done: Posted) -> list[str]:
    """What became of posts, for the log: first those that were posted."""
    from jobs.posting import lines

    found = sorted(lines(done), key=lambda line: bool(line.level))
    return [f"{line.level}: {line.text}" if line.level else line.text for line in found]


def _once_each() -> Progress:
    """Logs what a run is doing, whenever that is something else."""
    last = ""

    def told(_share: float, text: str) -> None:
        nonlocal last
        if text != last:
            last = text
            LOG.info("%s", text)

    return told
