"""APScheduler's loop, for clocks that jump: a machine that was suspended, a clock that was set.

APScheduler sleeps until the next run by a clock that stands still while the machine is suspended, and never looks again
at a time that the clock has been set back from. This one looks once a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import STATE_STOPPED

LOG = logging.getLogger(__name__)
TICK = 1.0
"""Seconds between two looks at the clock."""
JUMP = 10.0
"""Seconds by which the clock must be off what has really passed, to have been set."""


class Loop(BackgroundScheduler):  # type: ignore[misc]
    """A ``BackgroundScheduler`` in UTC: each job once at a time, of many missed runs the last.

    ``now`` is the time (aware), ``monotonic`` counts seconds that really passed.
    """

    def __init__(
        self,
        workers: int,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        tick: float = TICK,
    ) -> None:
        super().__init__(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(workers, {"thread_name_prefix": "sloctl-job"})},
            job_defaults={"coalesce": True, "max_instances": 1},
        )
        self._now, self._monotonic, self._tick = now, monotonic, tick
        self.beat = monotonic()
        """When the loop was last seen alive."""
        self._looked = (now(), monotonic())

    def _main_loop(self) -> None:
        while self.state != STATE_STOPPED:
            wait: float | None = None
            try:
                self.look()
                wait = self._process_jobs()
            except Exception:  # the loop must go on, whatever a trigger or a listener did
                LOG.exception("the loop of the scheduler failed, and goes on")
            self.beat = self._monotonic()
            self._event.wait(self._tick if wait is None else min(wait, self._tick))
            self._event.clear()

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
            for job in self.get_jobs():
                job.modify(next_run_time=job.trigger.get_next_fire_time(None, now))
