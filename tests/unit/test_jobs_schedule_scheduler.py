"""The scheduler with jobs of every behaviour, in seconds of real time and with clocks that are set."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from jobs.schedule.attempt import Attempts, Done, Task
from jobs.schedule.scheduler import ClockedJobs, Scheduler, background, first_run, tasks_of
from jobs.schedule.triggers import Cron, Every, Trigger
from sloctl import naming
from sloctl.errors import BackendTimeout, BackendUnavailable, UsageError
from sloctl.ledger.protocol import JobRun
from sloctl.ledger.store import open_ledger
from sloctl.model import Job, SloSet
from sloctl.settings.secret import Secret
from sloctl.telemetry import own_metrics
from sloctl.telemetry.own_metrics import Gauge
from sloctl.telemetry.protocol import Nobody

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PATIENCE = 20


class Heard(Nobody):
    """An observer that remembers."""

    def __init__(self) -> None:
        self.counted: list[tuple[str, dict[str, str]]] = []
        self.gauges: dict[tuple[str, str], float] = {}
        self.results: dict[str, tuple[list[Any], datetime]] = {}
        self.ages: dict[str, datetime | None] = {}

    def count(self, name: str, **labels: str) -> None:
        self.counted.append((name, labels))

    def gauge(self, name: str, value: float | None, **labels: str) -> None:
        key = (name, labels.get(naming.JOB, ""))
        self.gauges.pop(key, None)
        if value is not None:
            self.gauges[key] = value

    def age(self, name: str, since: datetime | None, **labels: str) -> None:
        self.ages[name] = since

    def publish(self, owner: str, numbers: Any, until: datetime) -> None:
        self.results[owner] = (list(numbers), until)

    def outcomes(self, job: str) -> list[str]:
        return [
            labels["outcome"]
            for name, labels in list(self.counted)
            if name == own_metrics.RUNS and labels[naming.JOB] == job
        ]

    def causes(self) -> list[str]:
        return [labels["cause"] for name, labels in self.counted if name == own_metrics.ERRORS]


class FakeLedger:
    """As much of a ledger as a scheduler asks; ``down`` makes it fail."""

    def __init__(self) -> None:
        self.down = False
        self.held: set[str] = set()
        self.noted: dict[str, JobRun] = {}
        self.ends: dict[str, int] = {}

    def __call__(self) -> Any:
        if self.down:
            raise BackendUnavailable("the ledger is down", backend="ledger", url="x")
        return self

    @contextlib.contextmanager
    def lock(self, name: str, lease: float = 60.0) -> Iterator[bool]:
        yield name not in self.held

    def note(self, set_name: str, run: JobRun) -> None:
        self.noted[run.job if run.outcome == "succeeded" else f"{run.job}!"] = run

    def runs(self, set_name: str) -> Mapping[str, JobRun]:
        return dict(self.noted)

    def newest(self, set_name: str) -> Mapping[str, int]:
        return self.ends


class Fast(Trigger):
    """Every so many milliseconds."""

    def __init__(self, milliseconds: int) -> None:
        self.step = timedelta(milliseconds=milliseconds)

    def latest(self, time: datetime) -> datetime:
        return time - (time - START) % self.step

    def after(self, time: datetime) -> datetime:
        return self.latest(time) + self.step


def task(name: str, run: Callable[[datetime], Done], milliseconds: int = 50, id_: str = "") -> Task:
    return Task(id_ or name, name, Fast(milliseconds), 1, 1, run)


def nothing(_at: datetime) -> Done:
    return Done()


def eventually(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def running(*tasks: Task, **options: Any) -> Iterator[Scheduler]:
    scheduler = Scheduler("shop", tasks, tick=0.05, **options)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()
        assert scheduler.wait(PATIENCE)


def test_one_failing_job_never_stops_another(caplog: pytest.LogCaptureFixture) -> None:
    def refuses(_at: datetime) -> Done:
        raise BackendTimeout("too slow", backend="prometheus", url="x", hint="wait")

    def breaks(_at: datetime) -> Done:
        raise KeyError("a bug")

    def leaves(_at: datetime) -> Done:
        raise UsageError("no such thing")

    heard = Heard()
    names = {"refuses": refuses, "breaks": breaks, "leaves": leaves, "works": nothing}
    with caplog.at_level(logging.INFO), running(*(task(n, f) for n, f in names.items()), observer=heard):
        eventually(lambda: all(len(heard.outcomes(name)) > 5 for name in names))
    # On a busy machine a run may still go on when the next one is due.
    assert set(heard.outcomes("works")) - {"skipped"} == {"succeeded"}
    for name in ("refuses", "breaks", "leaves"):
        assert set(heard.outcomes(name)) - {"skipped"} == {"failed"}
        assert heard.gauges[naming.JOB_FAILED, name] == 1
        assert (naming.JOB_LAST_SUCCESS, name) not in heard.gauges
    assert set(heard.causes()) == {"timeout", "internal", "usage"}
    assert "failed: too slow (wait)" in caplog.messages
    bug = next(record for record in caplog.records if "KeyError" in record.getMessage())
    assert bug.exc_info and "a bug" not in bug.getMessage()


class Failing(Fast):
    """A trigger that fails once its job has run."""

    def __init__(self) -> None:
        super().__init__(50)
        self.failing = threading.Event()

    def after(self, time: datetime) -> datetime:
        if self.failing.is_set():
            raise ZeroDivisionError("no date")
        return super().after(time)


def test_a_trigger_that_fails_ends_neither_the_scheduler_nor_other_jobs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trigger, ran = Failing(), threading.Semaphore(0)

    def fail_from_now_on(_at: datetime) -> Done:
        trigger.failing.set()
        return Done()

    def well(_at: datetime) -> Done:
        ran.release()
        return Done()

    with running(Task("bad", "bad", trigger, 1, 1, fail_from_now_on), task("good", well)) as scheduler:
        eventually(lambda: "when to run next is not known" in caplog.text)
        for _ in range(5):
            assert ran.acquire(timeout=PATIENCE)
        assert scheduler.alive()


def test_a_job_that_is_still_running_is_not_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    heard, free, at_once = Heard(), threading.Event(), []

    def slow(_at: datetime) -> Done:
        at_once.append(1)
        assert sum(at_once) == 1
        free.wait(PATIENCE)
        at_once.append(-1)
        return Done()

    with running(task("slow", slow), task("other", nothing), observer=heard) as scheduler:
        eventually(lambda: heard.outcomes("slow").count("skipped") > 3)
        eventually(lambda: len(heard.outcomes("other")) > 3)
        assert scheduler.running == ["slow"] or "slow" in scheduler.running
        free.set()
        eventually(lambda: "succeeded" in heard.outcomes("slow"))
    assert any("has been going on" in message for message in caplog.messages)


def test_jobs_of_one_name_wait_for_each_other() -> None:
    heard, running_now, most = Heard(), [0], [0]

    def report(_at: datetime) -> Done:
        running_now[0] += 1
        most[0] = max(most[0], running_now[0])
        time.sleep(0.02)
        running_now[0] -= 1
        return Done()

    both = [task("report", report, id_=id_) for id_ in ("report-1", "report-2")]
    with running(*both, observer=heard, ledger=FakeLedger()):
        eventually(lambda: heard.outcomes("report").count("succeeded") > 8)
    assert most == [1]


def test_a_job_that_runs_elsewhere_is_skipped() -> None:
    heard, ledger = Heard(), FakeLedger()
    ledger.held = {"shop/slis"}
    elsewhere = JobRun("slis", START, START, "succeeded")
    ledger.noted["slis"] = elsewhere
    with running(task("slis", nothing), task("report", nothing), observer=heard, ledger=ledger):
        eventually(lambda: len(heard.outcomes("slis")) > 2 and len(heard.outcomes("report")) > 2)
        assert set(heard.outcomes("slis")) == {"skipped"}
        ledger.held.clear()
        eventually(lambda: "succeeded" in heard.outcomes("slis"))
    assert heard.causes() == []


@pytest.mark.slow
def test_two_schedulers_run_each_job_once() -> None:
    ledger, runs, lock = FakeLedger(), [], threading.Lock()

    @contextlib.contextmanager
    def exclusive(name: str, lease: float = 60.0) -> Iterator[bool]:
        held = lock.acquire(blocking=False)
        try:
            yield held
        finally:
            if held:
                lock.release()

    ledger.lock = exclusive  # type: ignore[method-assign]
    slots = Every(1)

    def run(at: datetime) -> Done:
        runs.append(slots.latest(datetime.now(UTC)))
        return Done()

    job = Task("slis", "slis", slots, 1, 1, run)
    with running(job, ledger=ledger), running(job, ledger=ledger):
        eventually(lambda: len(runs) > 3)
    assert len(runs) == len(set(runs))


def test_nothing_ends_it_while_the_ledger_is_down_and_it_says_so(caplog: pytest.LogCaptureFixture) -> None:
    heard, ledger = Heard(), FakeLedger()
    ledger.down = True
    ledger.ends = {"a": 1000, "b": 700, "gone": 5}
    with running(task("burn_rate", nothing), observer=heard, ledger=ledger, slo_ids=["a", "b"]) as scheduler:
        eventually(lambda: len(heard.outcomes("burn_rate")) > 3)
        # On a busy machine a run may begin only when the next one is due.
        assert set(heard.outcomes("burn_rate")) - {"skipped"} == {"succeeded"}
        assert scheduler.problems() == ["the ledger is down"]
        assert scheduler.alive()
        assert heard.gauges[own_metrics.LEDGER_UP, ""] == 0
        ledger.down = False
        scheduler.check()
        assert scheduler.problems() == []
        assert heard.gauges[own_metrics.LEDGER_UP, ""] == 1
        assert heard.ages[own_metrics.LEDGER_LAG] == datetime.fromtimestamp(700, UTC)
        eventually(lambda: ledger.noted)
    assert scheduler.problems() == ["the scheduler is draining"]
    assert "the job runs without its lock: the ledger is down" in caplog.messages


def test_a_result_holds_for_two_intervals_and_as_long_as_the_alert_waits() -> None:
    heard = Heard()
    numbers = [Gauge(own_metrics.SLI, {naming.SLO: "a"}, 0.5)]
    before = datetime.now(UTC)
    with running(Task("report", "report", Fast(50), 300, 300, lambda at: Done(numbers)), observer=heard):
        eventually(lambda: heard.results)
    found, until = heard.results["shop/report"]
    assert found == numbers
    assert timedelta(seconds=900) <= until - before < timedelta(seconds=900 + PATIENCE)


@pytest.mark.parametrize(
    ("trigger", "interval", "known", "at_once"),
    [
        pytest.param(Every(300, 60), 300, None, True, id="never run, as far as is known"),
        pytest.param(Every(300, 60), 300, 400, True, id="was due while no scheduler ran"),
        pytest.param(Every(300, 60), 300, 30, False, id="has run elsewhere since it was due"),
        pytest.param(Cron("0 8 * * 1", "UTC"), 604800, 86400, True, id="weekly, an hour ago"),
        pytest.param(Cron("0 8 * * 1", "UTC"), 604800, None, False, id="weekly, a first start"),
        pytest.param(Cron("0 2 * * 1", "UTC"), 604800, 86400, False, id="weekly, too long ago"),
        pytest.param(Every(300, 60), 300, -120, True, id="noted by a clock that was ahead"),
        pytest.param(Every(43200, 10890), 21600, 86400, True, id="as late as may be, to the second"),
        pytest.param(Every(43200, 10889), 21600, 86400, False, id="a second later than may be"),
    ],
)
def test_what_a_restart_makes_up_for(
    trigger: Trigger, interval: int, known: int | None, at_once: bool
) -> None:
    now = START + timedelta(seconds=90)
    ledger = FakeLedger()
    if known is not None:
        time_ = now - timedelta(seconds=known)
        ledger.noted["job!"] = JobRun("job", time_, time_, "failed")
    job = Task("job", "job", trigger, interval, min(interval, 6 * 3600), nothing)
    first = first_run(job, ledger.runs("shop"), now)
    assert (first == now) is at_once
    assert at_once or first == trigger.after(now)


def test_a_restart_shows_what_the_ledger_knows() -> None:
    heard, ledger = Heard(), FakeLedger()
    ledger.noted["slis"] = JobRun("slis", START, START + timedelta(seconds=3), "succeeded")
    later = START + timedelta(hours=1)
    ledger.noted["slis!"] = JobRun("slis", later, later + timedelta(seconds=1), "failed", "x")
    job = Task("slis", "slis", Cron("0 0 1 1 *", "UTC"), 10**8, 1, nothing)
    with running(job, observer=heard, ledger=ledger):
        pass
    assert heard.gauges[naming.JOB_LAST_SUCCESS, "slis"] == START.timestamp() + 3
    assert heard.gauges[naming.JOB_LAST_RUN, "slis"] == later.timestamp() + 1
    assert heard.gauges[naming.JOB_FAILED, "slis"] == 1
    assert heard.gauges[own_metrics.NEXT_RUN, "slis"] > START.timestamp()


def entry(id_: str, started: datetime, outcome: Literal["succeeded", "failed"] = "succeeded") -> JobRun:
    return JobRun(id_, started, started + timedelta(seconds=3), outcome)


def test_the_numbers_of_a_name_are_of_all_jobs_that_have_it() -> None:
    """Whichever is added last: the latest success and run, the soonest due time."""
    daily = Task("report-d", "report", Cron("0 6 * * *", "UTC"), 86400, 3600, nothing)
    monthly = Task("report-m", "report", Cron("0 7 1 * *", "UTC"), 31 * 86400, 3600, nothing)
    yesterday, first = START - timedelta(days=1), datetime(2026, 3, 1, 7, tzinfo=UTC)
    for tasks in ([daily, monthly], [monthly, daily]):
        heard, ledger = Heard(), FakeLedger()
        for run in (entry("report-d", first - timedelta(hours=1)), entry("report-m", first)):
            ledger.note("shop", run)
        ledger.note("shop", entry("report-m", yesterday + timedelta(hours=1), "failed"))
        ledger.note("shop", entry("report-d", START - timedelta(hours=1)))
        with running(*tasks, observer=heard, ledger=ledger, now=lambda: START) as scheduler:
            assert heard.gauges[naming.JOB_LAST_SUCCESS, "report"] == START.timestamp() - 3597
            assert heard.gauges[naming.JOB_LAST_RUN, "report"] == START.timestamp() - 3597
            assert heard.gauges[naming.JOB_FAILED, "report"] == 0
            due = datetime(2026, 3, 3, 6, tzinfo=UTC)
            assert heard.gauges[own_metrics.NEXT_RUN, "report"] == due.timestamp()
            assert scheduler.notes() == ["report-m: the run of 2026-03-01T10:00:00Z failed"]
            assert scheduler.problems() == []
            scheduler.replace([monthly])
            later = datetime(2026, 4, 1, 7, tzinfo=UTC)
            assert heard.gauges[own_metrics.NEXT_RUN, "report"] == later.timestamp()
            scheduler.replace([])
            assert (own_metrics.NEXT_RUN, "report") not in heard.gauges


class Clocked:
    """Two schedulers' attempts on one ledger, with a clock that is set."""

    def __init__(self, ledger: Any) -> None:
        self.now, self.heard, self.runs = START + timedelta(minutes=1), Heard(), list[datetime]()
        self.failing = False
        self.first, self.second = (
            Attempts("shop", lambda: ledger, self.heard, lambda: self.now) for _ in range(2)
        )
        self.job = Task("slis", "slis", Every(300, 60), 300, 300, self._run)

    def _run(self, at: datetime) -> Done:
        self.runs.append(at)
        if self.failing:
            raise UsageError("no")
        return Done()

    def each(self) -> int:
        """Both run what is due; how many runs became of it."""
        before = len(self.runs)
        self.first.run(self.job)
        self.now += timedelta(seconds=5)
        self.second.run(self.job)
        self.now -= timedelta(seconds=5)
        return len(self.runs) - before


@pytest.mark.parametrize("failing", [False, True], ids=["succeeded", "failed"])
def test_a_run_that_a_clock_ahead_noted_is_unknown_once_the_clock_is_right(
    failing: bool, tmp_path: Path
) -> None:
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        clocked = Clocked(ledger)
        assert clocked.each() == 1
        year = timedelta(days=365 * 50)
        clocked.now, clocked.failing = clocked.now + year, failing
        clocked.first.run(clocked.job)
        clocked.now, clocked.failing = clocked.now - year, False
        for _ in range(3):
            clocked.now += timedelta(seconds=300)
            assert clocked.each() == 1, "each instant once, by one of the two"
            for name in (naming.JOB_LAST_SUCCESS, naming.JOB_LAST_RUN):
                assert clocked.heard.gauges[name, "slis"] == clocked.now.timestamp()
            assert clocked.heard.gauges[naming.JOB_FAILED, "slis"] == 0
        # A process that starts now makes up for what was due since.
        clocked.now += timedelta(seconds=310)
        known = Attempts("shop", lambda: ledger, Heard(), lambda: clocked.now).known()
        assert set(known) == {"slis"}
        for runs in (known, ledger.runs("shop")):
            assert first_run(clocked.job, runs, clocked.now) == clocked.now


def test_a_success_of_the_future_is_not_shown_while_the_job_fails(tmp_path: Path) -> None:
    clocked = Clocked(FakeLedger())
    clocked.now += timedelta(days=365)
    clocked.first.run(clocked.job)
    assert (naming.JOB_LAST_SUCCESS, "slis") in clocked.heard.gauges
    clocked.now, clocked.failing = clocked.now - timedelta(days=365), True
    clocked.first.run(clocked.job)
    assert (naming.JOB_LAST_SUCCESS, "slis") not in clocked.heard.gauges, (
        "or JobNotRun would be silent for a year"
    )
    assert clocked.heard.gauges[naming.JOB_FAILED, "slis"] == 1


@pytest.mark.parametrize(("started", "runs"), [(0, 0), (-1, 1), (60, 0), (119, 0), (121, 1)])
def test_what_has_run_since_it_was_due(started: int, runs: int) -> None:
    """At 9:02, what was due at 9:01: a run of that very second counts, and one of a minute ahead, no later one."""
    ledger = FakeLedger()
    clocked = Clocked(ledger)
    due = clocked.now
    clocked.now += timedelta(seconds=60)
    at = due + timedelta(seconds=started)
    ledger.note("shop", JobRun("slis", at, at, "succeeded"))
    clocked.first.run(clocked.job)
    assert len(clocked.runs) == runs


def test_what_the_ledger_missed_is_not_forgotten() -> None:
    """A run that succeeded and could not be noted is not repeated when the file is loaded anew."""

    class Forgetful(FakeLedger):
        def note(self, set_name: str, run: JobRun) -> None:
            if self.noted:
                raise BackendUnavailable("locked", backend="ledger", url="x")
            super().note(set_name, run)

    clocked = Clocked(Forgetful())
    clocked.first.run(clocked.job)
    clocked.now += timedelta(seconds=300)
    clocked.first.run(clocked.job)
    assert len(clocked.runs) == 2
    clocked.now += timedelta(seconds=10)
    assert first_run(clocked.job, clocked.first.known(), clocked.now) > clocked.now
    clocked.first.run(clocked.job)
    assert len(clocked.runs) == 2


def test_of_jobs_of_one_name_none_is_lost_to_another_scheduler(tmp_path: Path) -> None:
    """While one runs the daily report, the other's monthly one is not taken for it, whoever comes first."""
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger:
        ran: list[str] = []
        begun, free = threading.Event(), threading.Event()

        def made(id_: str) -> Task:
            def run(_at: datetime) -> Done:
                ran.append(id_)
                begun.set()
                assert free.wait(PATIENCE)
                return Done()

            return Task(id_, "report", Every(3600), 3600, 3600, run)

        ours, theirs = (Attempts("shop", lambda: ledger, Heard(), lambda: START) for _ in range(2))
        slow = threading.Thread(target=ours.run, args=(made("report-d"),))
        slow.start()
        assert begun.wait(PATIENCE)
        others = [threading.Thread(target=theirs.run, args=(made(id_),)) for id_ in ("report-d", "report-m")]
        for other in others:
            other.start()
        eventually(lambda: len(ran) == 2)
        free.set()
        for thread in (slow, *others):
            thread.join(PATIENCE)
        assert sorted(ran) == ["report-d", "report-m"]


class Unknowing(Every):
    """A trigger that does not know when it was due."""

    def latest(self, time: datetime) -> datetime:
        raise ZeroDivisionError("no date")

    def after(self, time: datetime) -> datetime:
        return Every(1).after(time)


def test_a_trigger_that_fails_at_the_start_ends_nothing_and_its_job_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard = Heard()
    bad = Task("bad", "bad", Unknowing(60), 60, 60, nothing)
    with running(bad, task("good", nothing), observer=heard) as scheduler:
        eventually(lambda: "succeeded" in heard.outcomes("good"))
        assert set(scheduler.next_runs()) == {"bad", "good"}
        Attempts("shop", None, heard, lambda: START).run(bad)
    assert "succeeded" in heard.outcomes("bad")
    assert "when it was due is not known" in caplog.text


def test_other_tasks_may_come_before_the_start_and_after_the_end() -> None:
    scheduler = Scheduler("shop", [task("old", nothing)], tick=0.05)
    scheduler.replace([task("new", nothing)])
    scheduler.start()
    assert set(scheduler.next_runs()) == {"new"}
    scheduler.stop()
    scheduler.replace([task("newer", nothing)])
    assert scheduler.wait(PATIENCE)
    assert scheduler.next_runs() == {}


def test_a_clock_that_is_set_forward_loses_no_run_that_was_due() -> None:
    clock = {"now": START, "passed": 0.0}
    jobs = ClockedJobs(now=lambda: clock["now"], monotonic=lambda: clock["passed"], tick=1000)  # type: ignore[arg-type, return-value]
    loop = background(jobs, 2)
    loop.start(paused=True)
    try:
        due = START + timedelta(minutes=30)
        job = loop.add_job(print, Every(86400), next_run_time=due)
        now = START + timedelta(hours=1)
        clock.update(now=now, passed=1.0)
        assert jobs.get_due_jobs(now) == [job]
        assert job.next_run_time == due
    finally:
        loop.shutdown()


def test_a_clock_that_is_set_back_keeps_no_job_waiting(caplog: pytest.LogCaptureFixture) -> None:
    clock = {"now": START, "passed": 0.0}

    def at(seconds: float, passed: float) -> None:
        clock.update(now=START + timedelta(seconds=seconds), passed=passed)

    jobs = ClockedJobs(now=lambda: clock["now"], monotonic=lambda: clock["passed"], tick=1000)  # type: ignore[arg-type, return-value]
    loop = background(jobs, 2)
    loop.start(paused=True)
    try:
        job = loop.add_job(print, Every(3600), next_run_time=START + timedelta(hours=30))
        at(10, 10)
        jobs.look()
        assert job.next_run_time == START + timedelta(hours=30)
        at(10 - 86400, 11)
        jobs.look()
        assert job.next_run_time == START - timedelta(hours=23)
        at(10 - 86400 - 3, 12)  # what a clock is corrected by now and then
        jobs.look()
        assert job.next_run_time == START - timedelta(hours=23)
        at(5 * 86400, 13)
        jobs.look()
    finally:
        loop.shutdown()
    assert [message for message in caplog.messages if "jumped" in message] == [
        "the clock jumped 86401 s back",
        "the clock jumped 518392 s forward",
    ]


class Asleep(Every):
    """As if the machine had been suspended since the first instant was computed."""

    def __init__(self, seconds: int, offset: int, hours: float) -> None:
        super().__init__(seconds, offset)
        self._slept = timedelta(hours=hours)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        if previous_fire_time is None:
            return self.latest(now - self._slept)
        return super().get_next_fire_time(previous_fire_time, now)


def test_after_a_long_sleep_each_job_runs_once() -> None:
    heard, ledger = Heard(), FakeLedger()
    now = datetime.now(UTC)
    ledger.noted["slis"] = JobRun("slis", now - timedelta(hours=8), now - timedelta(hours=8), "succeeded")
    # Due two minutes ago, and every five minutes before.
    trigger = Asleep(300, int(now.timestamp()) - 120, 8)
    job = Task("slis", "slis", trigger, 300, 100, nothing)
    with running(dataclasses.replace(job, grace=300), observer=heard, ledger=ledger):
        eventually(lambda: heard.outcomes("slis"))
        time.sleep(0.3)
    assert heard.outcomes("slis") == ["succeeded"]


def test_a_job_that_is_too_late_is_counted_as_missed() -> None:
    heard, ledger = Heard(), FakeLedger()
    now = datetime.now(UTC)
    ledger.noted["report"] = JobRun("report", now - timedelta(days=2), now - timedelta(days=2), "succeeded")
    job = Task("report", "report", Asleep(86400, int(now.timestamp()) - 3600, 48), 86400, 5, nothing)
    with running(job, observer=heard, ledger=ledger) as scheduler:
        eventually(lambda: heard.outcomes("report"))
        assert scheduler.next_runs()["report"] > now
    assert heard.outcomes("report") == ["missed"]


def test_stopping_waits_for_what_runs_and_begins_nothing() -> None:
    heard, begun, free = Heard(), threading.Event(), threading.Event()

    def slow(_at: datetime) -> Done:
        begun.set()
        free.wait(PATIENCE)
        return Done()

    scheduler = Scheduler("shop", [task("slow", slow), task("quick", nothing)], observer=heard, tick=0.05)
    scheduler.start()
    assert begun.wait(PATIENCE)
    scheduler.stop()
    assert not scheduler.wait(0.05)
    eventually(lambda: scheduler.running == ["slow"])
    quick = len(heard.outcomes("quick"))
    free.set()
    assert scheduler.wait(PATIENCE)
    time.sleep(0.2)
    assert len(heard.outcomes("quick")) == quick
    assert scheduler.problems() == ["the scheduler is draining"]


def test_another_file_takes_over_while_a_job_of_the_old_one_ends() -> None:
    heard, begun, free = Heard(), threading.Event(), threading.Event()

    def slow(_at: datetime) -> Done:
        begun.set()
        free.wait(PATIENCE)
        return Done()

    with running(task("slis", slow), task("old", nothing), observer=heard) as scheduler:
        assert begun.wait(PATIENCE)
        scheduler.replace([task("slis", nothing), task("new", nothing)])
        eventually(lambda: heard.outcomes("new"))
        assert set(scheduler.next_runs()) == {"slis", "new"}
        assert "slis" in scheduler.running
        assert "succeeded" not in heard.outcomes("slis")
        free.set()
        eventually(lambda: heard.outcomes("slis").count("succeeded") > 2)
        old = len(heard.outcomes("old"))
        time.sleep(0.2)
        assert len(heard.outcomes("old")) == old


def test_a_loop_that_stands_still_is_not_alive() -> None:
    stuck, free = threading.Event(), threading.Event()

    class Stuck(Fast):
        def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
            if previous_fire_time is not None:
                stuck.set()
                free.wait(PATIENCE)
            return super().get_next_fire_time(previous_fire_time, now)

    clock = [0.0]
    job = Task("slis", "slis", Stuck(50), 1, 1, nothing)
    scheduler = Scheduler("shop", [job], monotonic=lambda: clock[0], tick=0.05)
    assert scheduler.problems() == ["the scheduler is starting"]
    scheduler.start()
    try:
        assert stuck.wait(PATIENCE)
        assert scheduler.alive()
        clock[0] = 31
        assert not scheduler.alive()
    finally:
        free.set()
        scheduler.stop()


def test_deliveries_are_counted_and_their_failures_end_nothing() -> None:
    heard = Heard()
    answers: list[Any] = [{"sent": 2, "dead": 1}, UsageError("no token"), RuntimeError("a bug")]

    def deliver() -> Mapping[str, int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    scheduler = Scheduler("shop", [], deliver=deliver, observer=heard)
    for _ in range(3):
        scheduler.deliver()
    counted = [labels["outcome"] for name, labels in heard.counted if name == own_metrics.DELIVERIES]
    assert counted == ["sent", "sent", "dead"]


def test_the_file_says_what_runs() -> None:
    jobs = (Job("slis", every=300), Job("report", cron="0 9 * * 1"), Job("report", cron="0 9 1 * *"))
    called: list[tuple[Job, datetime]] = []

    def run(job: Job, at: datetime) -> Done:
        called.append((job, at))
        return Done()

    found = tasks_of(SloSet("shop", (), jobs=jobs), run)
    assert [item.name for item in found] == ["slis", "report", "report"]
    assert len({item.id for item in found}) == 3
    for item in found:
        item.run(START)
    assert called == [(job, START) for job in jobs]


def test_known_runs_without_a_ledger_are_those_of_this_process() -> None:
    attempts = Attempts("shop", None, Nobody(), lambda: START)
    job = Task("slis", "slis", Every(300), 300, 300, nothing)
    attempts.run(job)
    assert attempts.known()["slis"].outcome == "succeeded"
    heard: Sequence[str] = list(attempts.running)
    assert heard == []
