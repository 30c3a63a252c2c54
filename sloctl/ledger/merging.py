"""What of an export is new to a ledger, day by day: what is known stays as it is.

Buckets are taken one by one. Of an hour of which the export has the sum alone, all or nothing is taken, for a part of
a sum cannot be told apart; so of a day. It must not know of lines or of tables.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import NamedTuple

from sloctl.books import Span
from sloctl.ledger import grid
from sloctl.ledger.coverage import Day
from sloctl.ledger.grid import DAY, STEP

_HOUR = (1 << 12) - 1
Range = tuple[int, int, grid.Kept]
"""A span that was recorded, and what is kept of it."""


class Given:
    """What an export says was recorded of the definitions of a set: ranges, ascending and apart."""

    def __init__(self) -> None:
        self._ranges: dict[int, list[Range]] = {}

    def add(self, definition: int, span: Span, kept: grid.Kept) -> bool:
        """Enter a range; whether it lies behind the last one and does not contradict it about their common day."""
        ranges = self._ranges.setdefault(definition, [])
        if ranges:
            _, end, before = ranges[-1]
            if span[0] < end or (before != kept and grid.up(end, DAY) == grid.up(span[0] + STEP, DAY)):
                return False
        ranges.append((*span, kept))
        return True

    def days(self) -> list[int]:
        """The ends of all days of which anything was recorded."""
        found: set[int] = set()
        for ranges in self._ranges.values():
            for start, end, _ in ranges:
                found.update(grid.days_of((start, end)))
        return sorted(found)

    def on(self, day: int) -> dict[int, Day]:
        """What is said of the day, of each definition of which anything is."""
        found: dict[int, Day] = {}
        for definition, ranges in self._ranges.items():
            mask, kept = 0, grid.Kept()
            for start, end, state in ranges[bisect_right(ranges, day - DAY, key=itemgetter(1)) :]:
                if start >= day:
                    break
                mask, kept = mask | grid.bits(day, (start, end)), state
            if mask:
                found[definition] = Day(mask, kept)
        return found


class Merged(NamedTuple):
    """A day of a definition: which buckets are taken, how many are not, and what is kept afterwards."""

    taken: int
    left: int
    after: Day


def merge(given: Day, have: Day | None) -> Merged:
    """Take what is new of ``given``."""
    if have is None:
        return Merged(given.mask, 0, given)
    if not given.kept.hourly:
        taken = 0 if have.mask else given.mask
    elif given.kept.fine == grid.ALL_HOURS:
        taken = given.mask & ~have.mask
    else:
        taken = 0
        for hour in range(24):
            some = given.mask & _HOUR << 12 * hour
            if given.kept.fine >> hour & 1:
                taken |= some & ~have.mask
            elif not some & have.mask:
                taken |= some
    fine, hourly = have.kept
    if taken:
        for hour in range(24):
            if taken >> 12 * hour & _HOUR and not given.kept.fine >> hour & 1:
                fine &= ~(1 << hour)
        hourly = hourly and given.kept.hourly
    left = given.mask & ~have.mask & ~taken
    kept = grid.Kept(fine if hourly else 0, hourly)
    return Merged(taken, left.bit_count(), Day(have.mask | taken, kept))
