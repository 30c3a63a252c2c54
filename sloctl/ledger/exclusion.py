"""Marks buckets that count in no budget, and moves what they hold from one sum to the other.

The spans that are left out stand in a table of their own: to compare them with those that are wanted is much less
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
from sloctl.ledger.protocol import Key, Span

_MOST = 1000
"""Times, and series, that one query looks up."""
_Row = tuple[int, int, int, int, int]
"""(time, series, total, bad, gap)"""
_Spans = dict[int, list[Span]]
"""By series, ascending and apart."""


def spans_by_series(connection: Connection, numbers: Collection[int], span: Span) -> _Spans:
    """The spans that are left out and overlap ``span``, of some series."""
    table = schema.exclusions
    query = sa.select(table.c.series, table.c.since, table.c.until)
    query = query.where(table.c.until > span[0], table.c.since < span[1]).order_by(table.c.until)
    ours = set(numbers)
    found: _Spans = {}
    for number, start, end in connection.execute(query):
        if number in ours:
            found.setdefault(number, []).append((start, end))
    return found


def within(time: int, spans: Sequence[Span]) -> bool:
    """Whether the bucket that ends then lies in one of some spans, ascending and apart."""
    place = bisect_left(spans, time, key=lambda span: span[1])
    return place < len(spans) and spans[place][0] < time


def exclude(connection: Connection, set_name: str, excluded: Mapping[Key, Sequence[Span]], span: Span) -> int:
    """See :meth:`sloctl.ledger.protocol.Ledger.exclude`."""
    grid.check_span(span)
    for each in {each for spans in excluded.values() for each in spans}:
        grid.check_span(each)
    coverage.lock(connection, set_name)
    numbers = {key: number for number, (_, key) in sums.all_series(connection, set_name).items()}
    stored = spans_by_series(connection, numbers.values(), span)
    marked: dict[tuple[Span, ...], list[int]] = {}
    cleared: dict[tuple[Span, ...], list[int]] = {}
    changed: _Spans = {}
    for key, number in numbers.items():
        have = stored.get(number, [])
        if not have and key not in excluded:
            continue
        before, now = _clipped(have, span), _clipped(grid.joined(list(excluded.get(key, ()))), span)
        if before != now:
            changed[number] = now
            marked.setdefault(tuple(_without(now, before)), []).append(number)
            cleared.setdefault(tuple(_without(before, now)), []).append(number)
    if not changed:
        return 0
    _store(connection, stored, changed, span)
    count = 0
    for groups, flag in ((marked, 1), (cleared, 0)):
        rows = [row for row in _look_up_all(connection, groups) if row[5] != flag]
        changes = [(flag, time, number) for time, number, *_ in rows]
        bulk.update(connection, schema.buckets, ("excluded",), ("time", "series"), changes)
        _move(connection, [row[:5] for row in rows], 1 if flag else -1)
        count += len(rows)
    return count


def join(connection: Connection, spans: Mapping[int, Sequence[Span]]) -> None:
    """Have series leave out these spans too; for buckets that are still to come."""
    if not spans:
        return
    start = min(span[0] for some in spans.values() for span in some)
    end = max(span[1] for some in spans.values() for span in some)
    stored = spans_by_series(connection, spans, (start, end))
    changed = {number: grid.joined([*some, *stored.get(number, ())]) for number, some in spans.items()}
    _store(connection, stored, changed, (start, end))


def _clipped(spans: Iterable[Span], span: Span) -> list[Span]:
    clipped = ((max(start, span[0]), min(end, span[1])) for start, end in spans)
    return [(start, end) for start, end in clipped if start < end]


def _without(spans: Sequence[Span], others: Sequence[Span]) -> Iterator[Span]:
    """What is in ``spans`` and not in ``others``; both ascending and apart."""
    for start, end in spans:
        for begun, ended in others:
            if begun < end and ended > start:
                if start < begun:
                    yield start, begun
                start = max(start, ended)
        if start < end:
            yield start, end


def _store(connection: Connection, stored: _Spans, changed: _Spans, span: Span) -> None:
    """Have the table say ``changed`` within ``span``, and what it said before outside of it."""
    table = schema.exclusions
    old: list[dict[str, int]] = []
    new: list[tuple[int, int, int]] = []
    for number, now in sorted(changed.items()):
        have = stored.get(number, [])
        old += [{"of": number, "at": end} for _, end in have]
        outside = list(_without(have, [span]))
        new += [(end, number, start) for start, end in grid.joined([*outside, *now])]
    if old:
        gone = table.delete().where(table.c.until == sa.bindparam("at"), table.c.series == sa.bindparam("of"))
        connection.execute(gone, old)
    bulk.insert(connection, table, ("until", "series", "since"), sorted(new))


def _look_up_all(
    connection: Connection, groups: Mapping[tuple[Span, ...], Sequence[int]]
) -> Iterator[tuple[int, ...]]:
    """The buckets of series in spans, looked up one by one: a span may be long and of one service."""
    for spans, numbers in groups.items():
        times = [end for start, last in spans for end in range(start + STEP, last + 1, STEP)]
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
    moves: dict[rollup.Place, list[int]] = {}
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
