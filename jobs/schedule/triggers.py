"""When jobs run: intervals aligned to Unix time, and cron lines in time zones whose clocks change.

APScheduler's own triggers are not used for two reasons that tests show. Its ``CronTrigger`` runs a job an hour late (or
not at the first instant) when its time is skipped by a change of the clocks, and twice when it is repeated; and an
``IntervalTrigger`` begins anew whenever the process does. This module must not know what a job does.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from apscheduler.triggers.base import BaseTrigger

from sloctl import naming
from sloctl.guardrails.own import interval
from sloctl.model import Job, cron, job_names
from sloctl.model.durations import duration
from sloctl.model.ledger import SETTLE

LOG = logging.getLogger("jobs.triggers")  # shown in logs: it stays, wherever the module is
AGAIN = timedelta(seconds=60)
"""After which a trigger that failed is asked again."""
SPREAD = 30
"""Seconds over which jobs of different sets are spread, so that a fleet of schedulers does not ask all at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_FARTHEST = 9 * 366
"""Days in which every valid cron line has a date: 29 February, around a year 2100."""


class Trigger(BaseTrigger):  # type: ignore[misc]
    """Instants at which a job runs. All times are aware; results are in UTC."""

    @abstractmethod
    def after(self, time: datetime) -> datetime:
        """The first instant after ``time``."""

    @abstractmethod
    def latest(self, time: datetime) -> datetime:
        """The last instant that is not after ``time``."""

    def due(self, time: datetime) -> datetime | None:
        """The last instant that is not after ``time``; None if that cannot be found out, which is logged."""
        try:
            return self.latest(time)
        except Exception:
            LOG.exception("when it was due is not known (%s)", self)
            return None

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The next instant, as APScheduler asks for it: of many that were missed, the last one.

        A process that was suspended for a day would otherwise count through all instants of that day. What goes wrong
        here must not reach APScheduler, whose thread would end, and with it all jobs.
        """
        try:
            if previous_fire_time is None:
                return self.after(now - timedelta(microseconds=1))
            return max(self.after(previous_fire_time), self.latest(now))
        except Exception:
            LOG.exception("when to run next is not known (%s), and is asked again", self)
            return now + AGAIN


class Every(Trigger):
    """Each ``seconds`` seconds of Unix time, ``offset`` seconds later: the same instants in every process."""

    def __init__(self, seconds: int, offset: int = 0) -> None:
        self.seconds, self.offset = seconds, offset % seconds

    def after(self, time: datetime) -> datetime:
        """See the base class."""
        return self.latest(time) + timedelta(seconds=self.seconds)

    def latest(self, time: datetime) -> datetime:
        """See the base class."""
        passed = (time - _EPOCH - timedelta(seconds=self.offset)) // timedelta(seconds=self.seconds)
        return _EPOCH + timedelta(seconds=passed * self.seconds + self.offset)

    def __str__(self) -> str:
        return f"every {duration(self.seconds)}"


class Cron(Trigger):
    """A valid cron line in a time zone; :func:`sloctl.model.cron.instants` says what it means when clocks change."""

    def __init__(self, line: str, timezone: str) -> None:
        self.line, self.zone = line, ZoneInfo(timezone)
        parsed = cron.parse(line)
        self._instants = lru_cache(maxsize=8)(partial(cron.instants, parsed, self.zone))
        self._due = lru_cache(maxsize=8)(parsed.due)

    def after(self, time: datetime) -> datetime:
        """See the base class."""
        time = time.astimezone(UTC)
        first = time.astimezone(self.zone).date() - _DAY
        for day in self._days(first, 1):
            # Where clocks go back over midnight, the next day begins before this one has ended.
            found, more = (_first(self._instants(near), time) for near in (day, day + _DAY))
            if found:
                return min(found, more or found)
        raise AssertionError(f"{self.line} has no date")

    def latest(self, time: datetime) -> datetime:
        """See the base class."""
        time = time.astimezone(UTC)
        first = time.astimezone(self.zone).date() + _DAY
        for day in self._days(first, -1):
            found, more = (_last(self._instants(near), time) for near in (day, day - _DAY))
            if found:
                return max(found, more or found)
        raise AssertionError(f"{self.line} has no date")

    def _days(self, first: date, step: int) -> Iterator[date]:
        for number in range(_FARTHEST):
            day = first + timedelta(days=step * number)
            if self._due(day):
                yield day

    def __str__(self) -> str:
        return f"cron {self.line} ({self.zone.key})"


def _first(instants: Sequence[datetime], time: datetime) -> datetime | None:
    place = bisect_right(instants, time)
    return instants[place] if place < len(instants) else None


def _last(instants: Sequence[datetime], time: datetime) -> datetime | None:
    place = bisect_right(instants, time)
    return instants[place - 1] if place else None


def trigger(set_name: str, job: Job) -> Trigger:
    """When a job of a set runs.

    Those with an interval are spread over :data:`SPREAD` seconds by a digest of their names. The grid's jobs begin
    once the last bucket can be written, the others after them.
    """
    if job.cron:
        return Cron(job.cron, job.timezone)
    spread = int(naming.digest(set_name, job.name)[:8], 16) % SPREAD
    return Every(job.every, SETTLE + spread + (0 if job.name == job_names.SLIS else SPREAD))


def grace(job: Job) -> int:
    """Seconds after which a run that could not begin is left out: an interval, at most six hours."""
    return min(interval(job), 6 * 3600)
