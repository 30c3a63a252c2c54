"""Runs the jobs of an SLO file on their schedules: APScheduler, with what one process of many needs around it.

What a job does is a callable. No failure of a job, of the ledger or of a server ends the scheduler: what did not
succeed is counted, and done the next time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from jobs.schedule.attempt import Attempts, Done, Task
from jobs.schedule.triggers import Every, Trigger, grace, trigger
from sloctl import naming
from sloctl.errors import SloctlError
from sloctl.guardrails.own import interval
from sloctl.ledger.protocol import JobRun, Ledger
from sloctl.model import Job, SloSet
from sloctl.model.durations import duration, rfc3339
from sloctl.telemetry import own_metrics
from sloctl.telemetry.protocol import NOTHING, Observer, cause

LOG = logging.getLogger("jobs.scheduler")  # shown in logs: it stays, wherever the module is
TICK = 1.0
"""Seconds between two looks at the clock."""
JUMP = 10.0
"""Seconds by which the clock must be off what has really passed, to have been set."""
CHECK = 15
"""Seconds between two looks at the ledger."""
DELIVER = 60
"""Seconds between two looks at the outbox."""
FROZEN = 30.0
"""Seconds without a sign of the loop after which it counts as dead."""
_SOON = 3600
"""Jobs with an interval up to this one run at the start if it is not known when they last did."""


class ClockedJobs(MemoryJobStore):  # type: ignore[misc]
    """The jobs of a scheduler whose clock may jump: a job store of APScheduler's, in memory.

    APScheduler sleeps until the next run by a clock that stands still while the machine is suspended, and never looks
    again at a time that the clock has been set back from. All that it does follows from two questions to its job
    stores: which jobs are due, and when to ask again. This one has it ask again within ``tick`` seconds, and looks at
    the clock each time; ``beat`` is when a round last ended.

    ``now`` is the time (aware), ``monotonic`` counts seconds that really passed.
    """

    def __init__(
        self, *, now: Callable[[], datetime], monotonic: Callable[[], float], tick: float = TICK
    ) -> None:
        super().__init__()
        self._now, self._monotonic, self._tick = now, monotonic, timedelta(seconds=tick)
        self.beat = monotonic()
        self._looked = (now(), monotonic())

    def get_due_jobs(self, now: datetime) -> list[Any]:
        """See the base class. It begins a round of the scheduler."""
        self.look()
        due: list[Any] = super().get_due_jobs(now)
        return due

    def get_next_run_time(self) -> datetime:
        """When to ask again: at the next run, or within a tick. It ends a round, in which all that was due began."""
        self.beat = self._monotonic()
        found: datetime | None = super().get_next_run_time()
        soon = datetime.now(UTC) + self._tick
        return soon if found is None else min(found, soon)

    def look(self) -> None:
        """Look at the clock; if it was set back, see to it that no run waits for a time that has been before."""
        now, passed = self._now(), self._monotonic()
        expected = passed - self._looked[1]
        off = (now - self._looked[0]).total_seconds() - expected
        self._looked = (now, passed)
        if abs(off) < JUMP:
            return
        LOG.warning("the clock jumped %.0f s %s", abs(off), "forward" if off > 0 else "back")
        if off < 0:
            for job in self.get_all_jobs():
                job.modify(next_run_time=job.trigger.get_next_fire_time(None, now))


def background(jobs: ClockedJobs, workers: int) -> BackgroundScheduler:
    """APScheduler in UTC, on threads of its own: each job once at a time, of many missed runs the last."""
    return BackgroundScheduler(
        timezone=UTC,
        jobstores={"default": jobs},
        executors={"default": ThreadPoolExecutor(workers, {"thread_name_prefix": "sloctl-job"})},
        job_defaults={"coalesce": True, "max_instances": 1},
    )


def tasks_of(
    slo_set: SloSet,
    run: Callable[[Job, datetime], Done],
    when: Callable[[str, Job], Trigger] = trigger,
) -> list[Task]:
    """The tasks of a file; ``when`` is for tests."""

    def call(job: Job) -> Callable[[datetime], Done]:
        return lambda at: run(job, at)

    return [
        Task(id_, job.name, when(slo_set.name, job), interval(job), grace(job), call(job))
        for id_, job in zip(naming.job_ids(slo_set.jobs), slo_set.jobs, strict=True)
    ]


def first_run(task: Task, known: Mapping[str, JobRun], now: datetime) -> datetime:
    """When a task runs first: at once if no process was there when it was due, and it is not too late.

    ``known`` has the last runs, as :meth:`sloctl.ledger.protocol.Ledger.runs` gives them.
    """
    due = task.trigger.due(now)
    runs = [known[key] for key in (task.id, f"{task.id}!") if key in known]
    times = [run.started for run in runs if not run.ahead(now)]
    if due is None:
        missed = False
    elif times:
        missed = max(times) < due and now - due <= timedelta(seconds=task.grace)
    else:
        missed = task.interval <= _SOON and isinstance(task.trigger, Every)
    return now if missed else task.trigger.get_next_fire_time(None, now)


class Scheduler:
    """The tasks of one set, on threads of their own.

    ``ledger`` gives the ledger, or raises ``SloctlError`` while it cannot be reached. ``deliver`` posts what waits
    in the outbox, and says how many posts became what; it raises ``SloctlError``.
    """

    def __init__(
        self,
        set_name: str,
        tasks: Sequence[Task],
        *,
        ledger: Callable[[], Ledger] | None = None,
        slo_ids: Sequence[str] = (),
        deliver: Callable[[], Mapping[str, int]] | None = None,
        observer: Observer = NOTHING,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        tick: float = TICK,
    ) -> None:
        self._set, self._tasks, self._slo_ids = set_name, {task.id: task for task in tasks}, tuple(slo_ids)
        self._ledger, self._deliver, self._observer = ledger, deliver, observer
        self._now, self._monotonic = now, monotonic
        self._attempts = Attempts(set_name, ledger, observer, now)
        self._told = self._attempts.told
        # A thread for each job, so that none waits for another; a file that is loaded anew may have more of them.
        self._jobs = ClockedJobs(now=now, monotonic=monotonic, tick=tick)
        self._loop = background(self._jobs, max(16, len(tasks) + 4))
        self._loop.add_listener(self._left_out, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        self._lock = threading.Lock()
        self._state = "starting"
        self._ledger_trouble = self._delivery_trouble = ""

    def start(self) -> None:
        """Begin. Returns at once."""
        self.check()
        self._loop.start(paused=True)
        self._add()
        self._loop.add_job(self.check, Every(CHECK), id="!check", misfire_grace_time=CHECK)
        if self._deliver is not None:
            self._loop.add_job(self.deliver, Every(DELIVER, 20), id="!deliver", misfire_grace_time=DELIVER)
        self._jobs.beat = self._monotonic()
        self._loop.resume()
        self._state = "running"

    def replace(self, tasks: Sequence[Task], slo_ids: Sequence[str] = ()) -> None:
        """Go on with other tasks; runs that have begun end as they would have."""
        with self._lock:
            before = self._tasks
            self._tasks, self._slo_ids = {task.id: task for task in tasks}, tuple(slo_ids)
            if self._state == "running":
                for id_ in before:
                    self._loop.remove_job(id_)
                self._add()
        self.check()

    def stop(self) -> None:
        """Begin no further run. Returns at once; see :meth:`wait`."""
        with self._lock:
            self._state = "draining"
        self._loop.shutdown(wait=False)

    def wait(self, seconds: float) -> bool:
        """Wait for running jobs; whether all have ended."""
        return self._attempts.wait(seconds)

    @property
    def running(self) -> Sequence[str]:
        """The ids of the tasks that run now."""
        return sorted(self._attempts.running)

    def alive(self) -> bool:
        """Whether the loop goes round; it says nothing of servers."""
        return self._state != "running" or self._monotonic() - self._jobs.beat < FROZEN

    def problems(self) -> list[str]:
        """Why it is not ready; nothing if it is. That a job fails is not among it, see :meth:`notes`."""
        found = [] if self._state == "running" else [f"the scheduler is {self._state}"]
        if self._ledger_trouble:
            found.append(self._ledger_trouble)
        return found

    def notes(self) -> list[str]:
        """What a person may want to know although it is ready: jobs that failed when they last ran."""
        return [f"{run.job}: the run of {rfc3339(run.started)} failed" for run in self._told.failed()]

    def next_runs(self) -> Mapping[str, datetime]:
        """When each task is to run next."""
        times = {job.id: job.next_run_time for job in self._loop.get_jobs()}
        return {id_: times[id_] for id_ in self._tasks if times.get(id_)}

    def _add(self) -> None:
        self._told.expect({id_: task.name for id_, task in self._tasks.items()})
        known, now = self._attempts.known(), self._now()
        for id_, task in self._tasks.items():
            first = first_run(task, known, now)
            self._loop.add_job(
                self._run,
                task.trigger,
                (id_, task),
                id=id_,
                name=task.name,
                misfire_grace_time=max(1, task.grace),
                next_run_time=first,
            )
            self._told.show(task.name, id_)
            self._told.due(task.name, id_, first)
            LOG.info("%s: %s, next at %s", task.id, task.trigger, rfc3339(first))

    def _run(self, id_: str, task: Task) -> None:
        self._attempts.run(task)
        times = self.next_runs()
        if id_ in times:
            self._told.due(task.name, id_, times[id_])

    def _left_out(self, event: JobEvent) -> None:
        task = self._tasks.get(event.job_id)
        if task is None:
            return
        if event.code == EVENT_JOB_MISSED:
            LOG.warning("%s: missed, more than %s too late", task.id, duration(task.grace))
            self._told.count(task.name, "missed")
            return
        since = self._attempts.running.get(task.id)
        took = f" for {(self._now() - since).total_seconds():.0f} s" if since else ""
        LOG.warning("%s: skipped, for the last run has been going on%s", task.id, took)
        self._told.count(task.name, "skipped")

    def check(self) -> None:
        """Ask the ledger whether it is there, and how far it goes."""
        if self._ledger is None:
            return
        try:
            newest = self._ledger().newest(self._set)
        except SloctlError as error:
            if not self._ledger_trouble:
                LOG.warning("%s", error)
            self._ledger_trouble = str(error)
        else:
            if self._ledger_trouble:
                LOG.info("the ledger answers again")
            self._ledger_trouble = ""
            ends = [newest[slo_id] for slo_id in self._slo_ids if slo_id in newest]
            last = datetime.fromtimestamp(min(ends), UTC) if ends else None
            self._observer.age(own_metrics.LEDGER_LAG, last, **{naming.SLO_SET: self._set})
        up = float(not self._ledger_trouble)
        self._observer.gauge(own_metrics.LEDGER_UP, up, **{naming.SLO_SET: self._set})

    def deliver(self) -> None:
        """Deliver what waits."""
        assert self._deliver is not None
        with self._observer.span("deliver") as span:
            try:
                self._told.delivered(self._deliver())
                self._delivery_trouble = ""
            except SloctlError as error:
                if str(error) != self._delivery_trouble:
                    LOG.warning("nothing is delivered: %s", error)
                self._delivery_trouble = str(error)
                span.fail(cause(error), str(error))
            except Exception:
                LOG.exception("nothing was delivered")
                span.fail("internal")
