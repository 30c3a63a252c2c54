"""Marks buckets that count in no budget, and moves what they hold from one sum to the other.

The intervals that are left out stand in a table of their own: to compare them with those that are wanted is much less
than to look at each bucket, and buckets that come late know at once where they belong.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import bulk, coverage, grid, rollup, schema, sums
from sloctl.ledger.grid import DAY, HOUR, STEP
from sloctl.ledger.protocol import Interval
from sloctl.model import SeriesKey

_MOST = 1000
"""Times, and series, that one query looks up."""
_Row = tuple[int, int, int, int, int]
"""(time, series, total, bad, gap)"""
_Intervals = dict[int, list[Interval]]
"""By series, ascending and apart."""


def intervals_by_series(connection: Connection, numbers: Collection[int], interval: Interval) -> _Intervals:
    """The intervals that are left out and overlap ``interval``, of some series."""
    table = schema.exclusions
    query = sa.select(table.c.series, table.c.since, table.c.until)
    query = query.where(table.c.until > interval[0], table.c.since < interval[1]).order_by(table.c.until)
    ours = set(numbers)
    found: _Intervals = {}
    for number, start, end in connection.execute(query):
        if number in ours:
            found.setdefault(number, []).append((start, end))
    return found


def within(time: int, intervals: Sequence[Interval]) -> bool:
    """Whether the bucket that ends then lies in one of some intervals, ascending and apart."""
    place = bisect_left(intervals, time, key=lambda interval: interval[1])
    return place < len(intervals) and intervals[place][0] < time


def exclude(
    connection: Connection,
    set_name: str,
    excluded: Mapping[SeriesKey, Sequence[Interval]],
    interval: Interval,
) -> int:
    """See :meth:`sloctl.ledger.protocol.Ledger.exclude`."""
    grid.check_interval(interval)
    for each in {each for intervals in excluded.values() for each in intervals}:
        grid.check_interval(each)
    coverage.lock(connection, set_name)
    numbers = {key: number for number, (_, key) in sums.all_series(connection, set_name).items()}
    stored = intervals_by_series(connection, numbers.values(), interval)
    marked: dict[tuple[Interval, ...], list[int]] = {}
    cleared: dict[tuple[Interval, ...], list[int]] = {}
    changed: _Intervals = {}
    for key, number in numbers.items():
        have = stored.get(number, [])
        if not have and key not in excluded:
            continue
        before, now = _clipped(have, interval), _clipped(grid.joined(list(excluded.get(key, ()))), interval)
        if before != now:
            changed[number] = now
            marked.setdefault(tuple(_without(now, before)), []).append(number)
            cleared.setdefault(tuple(_without(before, now)), []).append(number)
    if not changed:
        return 0
    _store(connection, stored, changed, interval)
    count = 0
    for groups, flag in ((marked, 1), (cleared, 0)):
        rows = [row for row in _look_up_all(connection, groups) if row[5] != flag]
        changes = [(flag, time, number) for time, number, *_ in rows]
        bulk.update(connection, schema.buckets, ("excluded",), ("time", "series"), changes)
        _move(connection, [row[:5] for row in rows], 1 if flag else -1)
        count += len(rows)
    return count


def join(connection: Connection, intervals: Mapping[int, Sequence[Interval]]) -> None:
    """Have series leave out these intervals too; for buckets that are still to come."""
    if not intervals:
        return
    start = min(interval[0] for some in intervals.values() for interval in some)
    end = max(interval[1] for some in intervals.values() for interval in some)
    stored = intervals_by_series(connection, intervals, (start, end))
    changed = {number: grid.joined([*some, *stored.get(number, ())]) for number, some in intervals.items()}
    _store(connection, stored, changed, (start, end))


def _clipped(intervals: Iterable[Interval], interval: Interval) -> list[Interval]:
    clipped = ((max(start, interval[0]), min(end, interval[1])) for start, end in intervals)
    return [(start, end) for start, end in clipped if start < end]


def _without(intervals: Sequence[Interval], others: Sequence[Interval]) -> Iterator[Interval]:
    """What is in ``intervals`` and not in ``others``; both ascending and apart."""
    for start, end in intervals:
        for begun, ended in others:
            if begun < end and ended > start:
                if start < begun:
                    yield start, begun
                start = max(start, ended)
        if start < end:
            yield start, end


def _store(connection: Connection, stored: _Intervals, changed: _Intervals, interval: Interval) -> None:
    """Have the table say ``changed`` within ``interval``, and what it said before outside of it."""
    table = schema.exclusions
    old: list[dict[str, int]] = []
    new: list[tuple[int, int, int]] = []
    for number, now in sorted(changed.items()):
        have = stored.get(number, [])
        old += [{"of": number, "at": end} for _, end in have]
        outside = list(_without(have, [interval]))
        new += [(end, number, start) for start, end in grid.joined([*outside, *now])]
    if old:
        gone = table.delete().where(table.c.until == sa.bindparam("at"), table.c.series == sa.bindparam("of"))
        connection.execute(gone, old)
    bulk.insert(connection, table, ("until", "series", "since"), sorted(new))


def _look_up_all(
    connection: Connection, groups: Mapping[tuple[Interval, ...], Sequence[int]]
) -> Iterator[tuple[int, ...]]:
    """The buckets of series in intervals, looked up one by one: an interval may be long and of one service."""
    for intervals, numbers in groups.items():
        times = [end for start, last in intervals for end in range(start + STEP, last + 1, STEP)]
        for some in bulk.chunks(times, _MOST):
            for members in bulk.chunks(sorted(numbers), _MOST):
                yield from _look_up(connection, some, members)


def _look_up(
    connection: Connection, times: Sequence[int], numbers: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    table = schema.buckets
    query = sa.select(table.c.time, table.c.series, table.c.total, table.c.bad, table.c.gap, table.c.excluded)
    values: dict[str, object] = {"times": list(times), "numbers": list(numbers)}
    if connection.dialect.name == "sqlite":
        values = {name: json.dumps(value) for name, value in values.items()}
        query = query.where(
            sa.text("time IN (SELECT value FROM json_each(:times))"),
            sa.text("series IN (SELECT value FROM json_each(:numbers))"),
        )
    else:
        query = query.where(sa.text("time = ANY(:times)"), sa.text("series = ANY(:numbers)"))
    for row in connection.execute(query, values):
        yield tuple(row)


def _move(connection: Connection, rows: Sequence[tuple[int, ...]], sign: int) -> None:
    """Move amounts of buckets from what counts to what is excluded, or back."""
    moves: dict[rollup.RowKey, list[int]] = {}
    for time, number, total, bad, gap in rows:
        change = (-total, -bad, -gap, STEP if total else 0, total, bad)
        moves[time, number] = [*(sign * value for value in change), 0]
    hours = rollup.up_to(HOUR, moves)
    rollup.add(connection, "hours", hours)  # an hour with buckets has its sum too
    rollup.add(connection, "days", rollup.up_to(DAY, hours))
    table = schema.cause_buckets
    by_cause: dict[tuple[int, int, int], int] = {}
    times = sorted({row[0] for row in rows if row[3]})
    for chunk in bulk.chunks(times, _MOST // 2):
        query = sa.select(table.c.time, table.c.series, table.c.cause, table.c.bad)
        for time, number, cause, bad in connection.execute(query.where(table.c.time.in_(chunk))):
            if (time, number) in moves:
                place = (grid.up(time, DAY), number, cause)
                by_cause[place] = by_cause.get(place, 0) - sign * bad
    rollup.add_causes(connection, by_cause)
