"""How far apart the runs of a cron line are, at most."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

_MONTHS = tuple("jan feb mar apr may jun jul aug sep oct nov dec".split())
_DAYS = tuple("sun mon tue wed thu fri sat".split())
_FIRST, _LAST = date(2095, 1, 1), date(2108, 12, 31)
"""Years around 2100, which has no 29 February: the longest pause that a yearly line can have."""


def longest_pause(line: str) -> int:
    """Seconds between two runs of a valid cron line that lie farthest apart (weekly: 604800), by the wall clock.

    The hour by which clocks change in some time zones is not in it.
    """
    return max(_pauses(line))


def shortest_pause(line: str) -> int:
    """Seconds between two runs of a valid cron line that lie closest together (weekly: 604800), by the wall clock."""
    return min(_pauses(line))


def _pauses(line: str) -> list[int]:
    fields = line.split()
    times = sorted(
        60 * hour + minute
        for minute in _values(fields[0], 0, 59, ())
        for hour in _values(fields[1], 0, 23, ())
    )
    days = _days(fields)
    pauses = [60 * (later - sooner) for sooner, later in pairwise(times)]
    return pauses + [
        60 * (1440 * (later - sooner) - times[-1] + times[0]) for sooner, later in pairwise(days)
    ]


def _days(fields: list[str]) -> list[int]:
    months = _values(fields[3], 1, 12, _MONTHS)
    of_month, of_week = _values(fields[2], 1, 31, ()), _values(fields[4], 0, 6, _DAYS)
    found = []
    day = _FIRST
    while day <= _LAST:
        if day.month in months and day.day in of_month and day.isoweekday() % 7 in of_week:
            found.append(day.toordinal())
        day += timedelta(days=1)
    return found


def _values(field: str, low: int, high: int, words: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for part in field.lower().split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        else:
            ends = [words.index(end) + low if end in words else int(end) for end in span.split("-")]
            first, last = ends[0], ends[-1]
        found.update(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def times_of_day(line: str) -> list[tuple[int, int]]:
    """The hours and minutes of a valid cron line, ascending."""
    fields = line.split()
    return sorted(
        (hour, minute) for minute in _values(fields[0], 0, 59, ()) for hour in _values(fields[1], 0, 23, ())
    )


def due_on(line: str, day: date) -> bool:
    """Whether a valid cron line has times on a day."""
    fields = line.split()
    return (
        day.day in _values(fields[2], 1, 31, ())
        and day.month in _values(fields[3], 1, 12, _MONTHS)
        and day.isoweekday() % 7 in _values(fields[4], 0, 6, _DAYS)
    )
