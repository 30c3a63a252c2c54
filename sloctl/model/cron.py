"""Cron lines: what they say, how far apart their runs are, and on which days and at what times they are due.

The one parser of the five fields. It takes what cron, Kubernetes and sloctl's scheduler understand in the same way; it
must not know how a file words what is wrong. Jobs and maintenance have one rule for clocks that change, which is here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

from sloctl.model.calendar import first_shown

_FIRST, _LAST = date(2095, 1, 1), date(2108, 12, 31)
"""Years around 2100, which has no 29 February: the longest pause that a yearly line can have."""
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(\*|[a-z0-9]{1,9})(?:-([a-z0-9]{1,9}))?(?:/([0-9]{1,4}))?")


@dataclass(frozen=True, slots=True)
class CronField:
    """One of the five fields: its name, its bounds, and the words that stand for its numbers from the lowest on."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()


FIELDS = (
    CronField("minute", 0, 59),
    CronField("hour", 0, 23),
    CronField("day of the month", 1, 31),
    CronField("month", 1, 12, tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())),
    CronField("day of the week", 0, 6, tuple("sun mon tue wed thu fri sat".split())),
)

Fault = Literal["count", "form", "word", "step", "zero", "range", "sunday", "order", "both days", "no date"]


class BadCron(ValueError):
    """Not a cron line: ``fault`` says why, ``field`` where (None: the line as a whole), ``text`` what stands there.

    ``count``: not five fields. ``form``: not a number, range, list or step. ``word``: an unknown one. ``step``: one
    without a range. ``zero``: a step of 0. ``range``: a number outside the field's bounds. ``sunday``: the 7 that other
    crons take for it. ``order``: a range that goes down. ``both days``: a day of the month and one of the week.
    ``no date``: a day that none of the months has.
    """

    def __init__(self, fault: Fault, text: str, field: CronField | None = None) -> None:
        super().__init__(f"{fault}: {text}")
        self.fault, self.text, self.field = fault, text, field


@dataclass(frozen=True, slots=True)
class CronLine:
    """The numbers that each field stands for; 0 is Sunday."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @property
    def times(self) -> list[tuple[int, int]]:
        """Hours and minutes, ascending."""
        return sorted((hour, minute) for hour in self.hours for minute in self.minutes)

    def due(self, day: date) -> bool:
        """Whether there are times on a day."""
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays


@lru_cache(maxsize=64)
def parse(text: str) -> CronLine:
    """The line that a text says. Raises ``BadCron``."""
    texts = text.split()
    if len(texts) != len(FIELDS):
        raise BadCron("count", text)
    line = CronLine(*(_numbers(part, field) for part, field in zip(texts, FIELDS, strict=True)))
    if texts[2] != "*" and texts[4] != "*":
        raise BadCron("both days", text)
    if not any(day <= _MONTH_DAYS[month - 1] for day in line.days for month in line.months):
        raise BadCron("no date", text)
    return line


def _numbers(text: str, field: CronField) -> frozenset[int]:
    return frozenset(number for part in text.lower().split(",") for number in _span(part, text, field))


def _span(part: str, text: str, field: CronField) -> range:
    """The numbers of one item of a field's list."""
    match = _PART.fullmatch(part)
    if match is None or (match[1] == "*" and match[2]):
        raise BadCron("form", text, field)
    if match[1] == "*":
        first, last = field.low, field.high
    else:
        first, last = (_number(end, text, field) for end in (match[1], match[2] or match[1]))
        if match[3] and not match[2]:
            raise BadCron("step", text, field)
    if match[3] is not None and int(match[3]) == 0:
        raise BadCron("zero", text, field)
    if not field.low <= first <= field.high or not field.low <= last <= field.high:
        raise BadCron("sunday" if field.high == 6 and 7 in (first, last) else "range", text, field)
    if first > last:
        raise BadCron("order", text, field)
    return range(first, last + 1, int(match[3] or 1))


def _number(end: str, text: str, field: CronField) -> int:
    if end.isdigit():
        return int(end)
    if end not in field.words:
        raise BadCron("word", text, field)
    return field.words.index(end) + field.low


def longest_pause(line: str) -> int:
    """Seconds between two runs of a valid cron line that lie farthest apart (weekly: 604800), by the wall clock.

    The hour by which clocks change in some time zones is not in it.
    """
    return max(_pauses(parse(line)))


def shortest_pause(line: str) -> int:
    """Seconds between two runs of a valid cron line that lie closest together (weekly: 604800), by the wall clock."""
    return min(_pauses(parse(line)))


def _pauses(line: CronLine) -> Iterator[int]:
    times = [60 * hour + minute for hour, minute in line.times]
    for sooner, later in pairwise(times):
        yield 60 * (later - sooner)
    every = (_FIRST + timedelta(days=number) for number in range((_LAST - _FIRST).days + 1))
    for before, after in pairwise(day for day in every if line.due(day)):
        yield 60 * (1440 * (after - before).days - times[-1] + times[0])


def instants(line: CronLine, zone: ZoneInfo, day: date) -> tuple[datetime, ...]:
    """When a line is due because of a local day, which clocks may repeat or skip in part: in UTC, ascending.

    A line that names hours is due once for each of its local times: at the first instant after the change if clocks
    skip the time, at the first of the two if they repeat it. A line for every hour of the day is due at each instant at
    which clocks show one of its times. Both are what cron does.
    """
    if not line.due(day):
        return ()
    local = [datetime(day.year, day.month, day.day, *time, tzinfo=zone) for time in line.times]
    if len(line.hours) < 24:
        return tuple(sorted({first_shown(time) for time in local}))
    both = [time.replace(fold=fold) for time in local for fold in (0, 1)]
    return tuple(sorted({time.astimezone(UTC) for time in both if _shown(time)}))


def _shown(time: datetime) -> bool:
    """Whether clocks show this time at all."""
    back = time.astimezone(UTC).astimezone(time.tzinfo)
    return back.replace(tzinfo=None, fold=0) == time.replace(tzinfo=None, fold=0)
