"""One run of a scheduled job: alone among all processes, observed, and entered into the ledger, whatever it does."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from jobs.schedule.told import RunsTold, run_of, seconds
from jobs.schedule.triggers import Trigger
from sloctl import naming
from sloctl.errors import SloctlError
from sloctl.guardrails.own import SLACK
from sloctl.ledger.protocol import JobRun, Ledger
from sloctl.telemetry.own_metrics import Gauge
from sloctl.telemetry.protocol import LOG_FIELDS, Observer, Span, cause

LOG = logging.getLogger("jobs.attempt")  # shown in logs: it stays, wherever the module is


@dataclass(frozen=True, slots=True)
class Done:
    """What a run gave: numbers, and lines for the log."""

    numbers: Sequence[Gauge] = ()
    lines: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One job of a file: ``id`` is its own, ``name`` may be that of several; ``interval`` and ``grace`` in seconds.

    ``run`` is called with the time as of which to run; it raises ``SloctlError``.
    """

    id: str
    name: str
    trigger: Trigger
    interval: int
    grace: int
    run: Callable[[datetime], Done] = field(compare=False)


class Attempts:
    """Runs tasks of one set. ``ledger`` gives the ledger or raises ``SloctlError``; None: there is none."""

    def __init__(
        self,
        set_name: str,
        ledger: Callable[[], Ledger] | None,
        observer: Observer,
        now: Callable[[], datetime],
    ) -> None:
        self._set, self._ledger, self._observer, self._now = set_name, ledger, observer, now
        self._names: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._changed = threading.Condition()
        self._running: dict[str, datetime] = {}
        self.told = RunsTold(set_name, observer, now)

    @property
    def running(self) -> Mapping[str, datetime]:
        """The ids of tasks that run now, and since when."""
        with self._changed:
            return dict(self._running)

    def wait(self, seconds: float) -> bool:
        """Wait until nothing runs; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def known(self) -> Mapping[str, JobRun]:
        """The last runs by id, of the ledger and of this process: of failed ones under ``id!``."""
        if self._ledger is not None:
            try:
                self.told.learn(self._ledger().runs(self._set))
            except SloctlError as error:
                LOG.warning("the last runs are not known: %s", error)
        return self.told.known()

    def run(self, task: Task) -> None:
        """Run a task now. Never raises."""
        number = uuid.uuid4().hex[:12]
        fields = {naming.JOB: task.name, naming.SLO_SET: self._set, "run": number}
        token = LOG_FIELDS.set(fields)
        about = {"sloctl.job": task.name, "sloctl.slo_set": self._set, "sloctl.run": number}
        with self._changed:
            self._running[task.id] = self._now()
        try:
            with self._observer.span(f"job {task.name}", about) as span:
                self._alone(task, span)
        except Exception:  # nothing of one job may reach the others
            LOG.exception("%s: the run could not be carried out", task.name)
        finally:
            LOG_FIELDS.reset(token)
            with self._changed:
                self._running.pop(task.id, None)
                self._changed.notify_all()

    def _alone(self, task: Task, span: Span) -> None:
        due = task.trigger.due(self._now())
        # Jobs of one name in this process wait for each other, for each has a schedule of its own. Other processes know
        # them by their ids: that one of them runs elsewhere is no reason to leave out another.
        with self._names[task.name], self._lock(task) as held:
            why = "" if held else "it runs elsewhere"
            if held and self._has_run(task, due):
                why = "it has run since it was due"
            if not why:
                self._observed(task, span)
                return
        LOG.info("skipped: %s", why)
        span.set("sloctl.outcome", "skipped")
        self.told.count(task.name, "skipped")
        self.told.show(task.name, task.id)

    @contextmanager
    def _lock(self, task: Task) -> Iterator[bool]:
        """Whether no other process runs the job; without a ledger that answers, nobody can know."""
        with ExitStack() as stack:
            held = True
            if self._ledger is not None:
                try:
                    held = stack.enter_context(self._ledger().lock(f"{self._set}/{task.id}"))
                except SloctlError as error:
                    LOG.warning("the job runs without its lock: %s", error)
            yield held

    def _has_run(self, task: Task, due: datetime | None) -> bool:
        """Whether some process has run it since it was due."""
        found = self.known().get(task.id)
        return found is not None and due is not None and due <= found.started

    def _observed(self, task: Task, span: Span) -> None:
        started, failure = self._now(), None
        try:
            done = task.run(started.replace(microsecond=0))
        except Exception as error:
            failure = error
        run = run_of(task.id, started, self._now(), failure)
        if failure is None:
            for line in done.lines:
                LOG.info("%s", line)
            LOG.info("succeeded in %.2f s", seconds(run))
            # Beyond two intervals a result holds for as long as the alert JobNotRun waits.
            until = run.ended + timedelta(seconds=2 * task.interval + SLACK)
            self._observer.publish(f"{self._set}/{task.id}", done.numbers, until)
        else:
            ours = isinstance(failure, SloctlError)
            hint = f" ({failure.hint})" if isinstance(failure, SloctlError) and failure.hint else ""
            LOG.error("failed: %s%s", run.message, hint, exc_info=None if ours else failure)
            span.fail(cause(failure), run.message)
        span.set("sloctl.outcome", run.outcome)
        self.told.ended(task.name, run, failure)
        self._note(run)

    def _note(self, run: JobRun) -> None:
        if self._ledger is not None:
            try:
                self._ledger().note(self._set, run)
            except SloctlError as error:
                LOG.warning("the run is not noted: %s", error)
