"""How an error budget was spent over its window, bucket by bucket, as data.

This module must not know where the events come from, nor how a history is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from sloctl import budget
from sloctl.budget import EventCounts

ROUNDING = 1e-9
"""The share of a window's events that adding floats may lose."""
EXCESS = 1e-6
"""The share of a window's events that its buckets may have too many: more is not the same events."""
WIDTHS = tuple(
    minutes * 60 for minutes in (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440)
)
"""Widths of buckets in seconds: multiples of the budget grid that people count in."""
MOST_BUCKETS = 200


@dataclass(frozen=True, slots=True)
class Whole:
    """The window of which a history is the last part: its events, and its length in seconds."""

    total: float
    seconds: int


@dataclass(frozen=True, slots=True)
class BudgetHistory:
    """Events of one SLO's window, or of the last part of it, the oldest bucket first.

    Each bucket is ``width`` seconds and the last one ends at ``end``; the first begins at ``start`` and may be
    shorter. A bucket of which nothing is known is None, which is not zero events. ``share`` is the share of events
    that may be bad; ``remaining`` is what the report says is left of the budget. ``whole`` is the window, of which this
    is a part.
    """

    start: datetime
    end: datetime
    width: int
    buckets: tuple[EventCounts | None, ...]
    share: float
    remaining: float
    whole: Whole | None = None

    @property
    def begins(self) -> float:
        """What was left of the budget at the start: all of it, or of a part what is left now and what it spent."""
        if self.whole is None:
            return 1.0
        bad = sum(item[0] for item in self.buckets if item)
        return self.remaining + (budget.spent(bad, self.whole.total, self.share) or 0.0)

    @property
    def pace(self) -> float:
        """The share of the budget that is spent from start to end at a burn rate of 1."""
        return 1.0 if self.whole is None else (self.end - self.start).total_seconds() / self.whole.seconds

    def edges(self) -> list[datetime]:
        """When buckets begin and end: one more than there are buckets."""
        count = len(self.buckets)
        return [self.start] + [
            self.end - timedelta(seconds=self.width * (count - number)) for number in range(1, count + 1)
        ]

    def spans(self) -> list[tuple[datetime, datetime]]:
        """Beginning and end of each bucket."""
        return list(pairwise(self.edges()))

    def success(self) -> list[float | None]:
        """Good events over all events of each bucket, 0…1; None without events."""
        found = [None if item is None else budget.ratio(item[1] - item[0], item[1]) for item in self.buckets]
        return [None if share is None else min(max(share, 0.0), 1.0) for share in found]

    def left(self) -> list[float | None]:
        """What is left of the budget at the end of each bucket; None where nothing is known of it.

        A share of the whole window's budget: it ends at what the report says is left.
        """
        total = self.whole.total if self.whole else sum(item[1] for item in self.buckets if item)
        begins = self.begins
        known = [number for number, item in enumerate(self.buckets) if item]
        found: list[float | None] = []
        bad = 0.0
        for number, item in enumerate(self.buckets):
            if item is None:
                found.append(None)
                continue
            bad += item[0]
            spent = budget.spent(bad, total, self.share)
            found.append(self.remaining if number == known[-1] or spent is None else begins - spent)
        return found

    def coarser(self, most: int) -> BudgetHistory:
        """The same events in at most ``most`` buckets; nothing is known of one if nothing is known of its parts."""
        size = -(-len(self.buckets) // most)
        if size <= 1:
            return self
        first = len(self.buckets) % size
        starts = [*([0] if first else []), *range(first, len(self.buckets), size)]
        ends = [*starts[1:], len(self.buckets)]
        parts = [[item for item in self.buckets[a:b] if item] for a, b in zip(starts, ends, strict=True)]
        merged = tuple(
            (sum(bad for bad, _ in part), sum(total for _, total in part)) if part else None for part in parts
        )
        return replace(self, width=self.width * size, buckets=merged)

    def spent_in(self, seconds: int) -> float | None:
        """The share of the budget that was spent in the last ``seconds``; None where nothing is known of them."""
        left, edges = self.left(), self.edges()
        since = self.end - timedelta(seconds=seconds)
        known = [
            value for value, edge in zip(left, edges[1:], strict=True) if value is not None and edge > since
        ]
        before = [
            value for value, edge in zip(left, edges[1:], strict=True) if value is not None and edge <= since
        ]
        return max(0.0, (before[-1] if before else self.begins) - known[-1]) if known else None


def width_for(seconds: int) -> int:
    """The width in seconds of the buckets of a window of ``seconds``: at most 200 of them."""
    for width in WIDTHS:
        if -(-seconds // width) <= MOST_BUCKETS:
            return width
    day = WIDTHS[-1]
    return -(-seconds // (day * MOST_BUCKETS)) * day


def bucket_count(seconds: int) -> int:
    """How many buckets a window of ``seconds`` has."""
    return max(1, -(-seconds // width_for(seconds)))


def history(
    counts: Mapping[int, EventCounts], window: EventCounts, end: datetime, seconds: int, share: float
) -> BudgetHistory | None:
    """The history of a window of ``seconds`` that ends at ``end`` and has the events ``window``.

    ``counts`` has what is known of the buckets, numbered from the newest (0). Events of the window that no bucket
    has are those since the last instant of the budget grid: they are the newest bucket's. None if there is nothing
    to draw, or if the buckets hold more events than the window.
    """
    spent = budget.spent(*window, share)
    if spent is None:
        return None
    number = bucket_count(seconds)
    known = {index: item for index, item in counts.items() if 0 <= index < number}
    bad, total = (whole - sum(item[kind] for item in known.values()) for kind, whole in enumerate(window))
    if min(bad, total) < -EXCESS * window[1]:
        return None
    if max(bad, total) > ROUNDING * window[1]:
        there = known.get(0, (0.0, 0.0))
        known[0] = (there[0] + max(bad, 0.0), there[1] + max(total, 0.0))
    return BudgetHistory(
        start=end - timedelta(seconds=seconds),
        end=end,
        width=width_for(seconds),
        buckets=tuple(known.get(number - 1 - position) for position in range(number)),
        share=share,
        remaining=1 - spent,
    )
