"""Reads why events were bad: sums by cause, from days and, at the edges of an interval, from buckets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import bulk, coverage, entries, grid, rollup, schema, sums
from sloctl.ledger.grid import DAY, HOUR, STEP
from sloctl.ledger.protocol import CauseLabels, Interval
from sloctl.model import SeriesKey

BadByCause = dict[tuple[int, int], int]
"""Bad micro-events by (series, cause)."""


def causes(
    connection: Connection, set_name: str, interval: Interval
) -> dict[SeriesKey, Mapping[CauseLabels, int]]:
    """See :meth:`sloctl.ledger.protocol.Ledger.causes`."""
    series = sums.all_series(connection, set_name)
    found: dict[tuple[SeriesKey, int], int] = {}
    for inner, members in _effective(connection, set_name, interval, series).items():
        for (number, cause), bad in _counts(connection, inner).items():
            if number in series and (members is None or series[number][0] in members) and bad:
                found[series[number][1], cause] = bad
    labels = _labels(connection, sorted({cause for _, cause in found}))
    result: dict[SeriesKey, dict[CauseLabels, int]] = {}
    for (key, cause), bad in found.items():
        result.setdefault(key, {})[labels[cause]] = bad
    return dict(result)


def _effective(
    connection: Connection, set_name: str, interval: Interval, series: sums.KnownSeries
) -> dict[Interval, set[int] | None]:
    """As for sums, but there are no causes by hour: without all buckets at an edge it moves to the next day."""
    grid.check_interval(interval)
    start, end = interval
    first, last = grid.up(start + STEP, DAY), grid.up(end, DAY)
    pruned = coverage.prune_states(connection, set_name, {first, last})
    if not pruned:
        return {interval: None}
    groups: dict[Interval, set[int] | None] = {}
    for definition in {definition for definition, _ in series.values()}:
        inner = interval
        if start % DAY and not _whole(pruned.get((first, definition)), start + STEP, min(end, first)):
            inner = first, inner[1]
        if end % DAY and not _whole(pruned.get((last, definition)), max(start, last - DAY) + STEP, end):
            inner = inner[0], last - DAY
        members = groups.setdefault(inner, set())
        assert members is not None
        members.add(definition)
    return groups


def _whole(day: coverage.Day | None, first: int, last: int) -> bool:
    """Whether all buckets of a day from the one that ends at ``first`` to that at ``last`` are kept."""
    return day is None or all(day.kept.bucket(end) for end in (*range(first, last, HOUR), last))


def _counts(connection: Connection, interval: Interval) -> BadByCause:
    start, end = interval
    inner, outer = grid.up(start, DAY), grid.down(end, DAY)
    if start >= end:
        return {}
    if inner >= outer:
        edges, whole = [(start, end)], False
    else:
        edges, whole = [(start, inner), (outer, end)], True
    found: BadByCause = {}
    table = schema.cause_buckets
    excluded = schema.buckets.alias()
    for begun, ended in edges:
        query = (
            sa.select(table.c.series, table.c.cause, table.c.bad)
            .join_from(
                table, excluded, (excluded.c.time == table.c.time) & (excluded.c.series == table.c.series)
            )
            .where(table.c.time > begun, table.c.time <= ended, excluded.c.excluded == 0)
        )
        if begun < ended:
            _gather(found, connection.execute(query))
    if whole:
        days = schema.cause_days
        columns = (days.c.series, days.c.cause, days.c.bad, days.c.carry)
        rows = connection.execute(sa.select(*columns).where(days.c.time > inner, days.c.time <= outer))
        _gather(found, ((row.series, row.cause, row.bad + (row.carry << rollup.BITS)) for row in rows))
    return found


def _gather(found: BadByCause, rows: Any) -> None:
    for number, cause, bad in rows:
        place = (number, cause)
        found[place] = found.get(place, 0) + bad


def _labels(connection: Connection, numbers: Sequence[int]) -> dict[int, CauseLabels]:
    found: dict[int, CauseLabels] = {}
    for chunk in bulk.chunks(numbers, 500):
        query = sa.select(schema.causes.c.id, schema.causes.c.labels).where(schema.causes.c.id.in_(chunk))
        for number, text in connection.execute(query):
            found[number] = entries.labels_from(text)
    return found
