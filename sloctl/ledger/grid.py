"""Arithmetic of buckets, hours and days: which of them an interval has, and which bits stand for them.

It must not know of the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from sloctl.ledger.protocol import Interval

STEP = 300
HOUR = 3600
DAY = 86400
PER_DAY = DAY // STEP
FULL = (1 << PER_DAY) - 1
"""All buckets of a day: bit 0 is the first one."""
ALL_HOURS = (1 << 24) - 1
LATEST = 253402300800
"""The year 10000; no time is later."""

Resolution = Literal["buckets", "hours", "days"]


class Kept(NamedTuple):
    """What is kept of a day: the hours with buckets, as bits, and whether the sums of hours are there."""

    fine: int = ALL_HOURS
    hourly: bool = True

    def bucket(self, end: int) -> bool:
        """Whether the bucket that ends then is kept."""
        return bool(self.fine >> hour_of(end) & 1)


def up(time: int, size: int) -> int:
    """The first multiple of ``size`` that is not before ``time``."""
    return -(-time // size) * size


def down(time: int, size: int) -> int:
    """The last multiple of ``size`` that is not after ``time``."""
    return time // size * size


def hour_of(end: int) -> int:
    """The hour of its day, 0 to 23, that the bucket which ends then lies in."""
    return (end - STEP) % DAY // HOUR


def bit_of(end: int) -> int:
    """The place of a bucket in its day, 0 to 287."""
    return (end - STEP) % DAY // STEP


def bits(day: int, interval: Interval) -> int:
    """The buckets of the day that ends at ``day`` which lie in an interval."""
    first = max(0, (interval[0] - day + DAY) // STEP)
    last = min(PER_DAY, (interval[1] - day + DAY) // STEP)
    return ((1 << last) - 1) & ~((1 << first) - 1) if first < last else 0


def days_of(interval: Interval) -> range:
    """The ends of the days with a bucket in the interval."""
    return (
        range(up(interval[0] + STEP, DAY), up(interval[1], DAY) + 1, DAY)
        if interval[0] < interval[1]
        else range(0)
    )


def intervals_of(day: int, mask: int) -> Iterator[Interval]:
    """The intervals of the buckets of a day that ``mask`` has, ascending."""
    begin, place = day - DAY, 0
    while mask >> place:
        rest = mask >> place
        place += (rest & -rest).bit_length() - 1
        length = (~(mask >> place) & (mask >> place) + 1).bit_length() - 1
        yield begin + place * STEP, begin + (place + length) * STEP
        place += length


def joined(intervals: Iterator[Interval] | list[Interval]) -> list[Interval]:
    """Intervals in order, those that touch or overlap made one."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return merged


def inward(interval: Interval, first: Kept, last: Kept) -> Interval:
    """The interval without the parts at its edges of which there is nothing fine enough.

    ``first`` and ``last`` say what is kept of the days that its edges lie in. It may come out empty (start >= end).
    """
    start, end = interval
    if start % HOUR and not first.bucket(start + STEP):
        start = up(start, HOUR)
    if start % DAY and not first.hourly:
        start = up(start, DAY)
    if end % HOUR and not last.bucket(end):
        end = down(end, HOUR)
    if end % DAY and not last.hourly:
        end = down(end, DAY)
    return start, end


def pieces(interval: Interval) -> Iterator[tuple[Resolution, int, int]]:
    """An interval as days, hours and buckets, each (level, start, end)."""
    yield from _pieces(interval[0], interval[1], (("days", DAY), ("hours", HOUR), ("buckets", STEP)))


def _pieces(
    start: int, end: int, levels: tuple[tuple[Resolution, int], ...]
) -> Iterator[tuple[Resolution, int, int]]:
    if start >= end:
        return
    (level, size), finer = levels[0], levels[1:]
    inner, outer = up(start, size), down(end, size)
    if inner >= outer:
        yield from _pieces(start, end, finer) if finer else ()
        return
    yield level, inner, outer
    if finer:
        yield from _pieces(start, inner, finer)
        yield from _pieces(outer, end, finer)


def check_interval(interval: Interval) -> None:
    """Raise ValueError for an interval that is not on the grid, or of no time that can be."""
    start, end = interval
    if type(start) is not int or type(end) is not int or start % STEP or end % STEP:
        raise ValueError(f"{interval!r} is not on the grid of {STEP} s")
    if not 0 <= start <= end <= LATEST:
        raise ValueError(f"{interval!r} is no interval of time")
