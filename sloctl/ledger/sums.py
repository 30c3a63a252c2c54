"""Reads sums over intervals, from the coarsest rows that give them exactly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import coverage, grid, rollup, schema
from sloctl.ledger.grid import DAY, STEP
from sloctl.ledger.protocol import Bucket, Interval, Sums
from sloctl.model import SeriesKey

_HALF = 31
_LOW = (1 << _HALF) - 1
STEADY = sa.case((schema.buckets.c.carried == 0, schema.buckets.c.total), else_=0)
"""The events of a bucket that has none from before it; else 0, for it is no measure of how many there can be."""
KnownSeries = dict[int, tuple[int, SeriesKey]]
"""The definition and the key of each series."""
Amounts = dict[int, list[int]]
"""By series, in the order of ``rollup.AMOUNTS``, and the peak."""


def all_series(connection: Connection, set_name: str) -> KnownSeries:
    """The series of a set."""
    definitions, series = schema.definitions, schema.series
    query = sa.select(
        series.c.id, definitions.c.id, definitions.c.slo_id, series.c.namespace, series.c.service
    )
    rows = connection.execute(query.join(definitions).where(definitions.c.set_name == set_name))
    return {row[0]: (row[1], (row[2], row[3], row[4])) for row in rows}


def sums(connection: Connection, set_name: str, intervals: Sequence[Interval]) -> list[dict[SeriesKey, Sums]]:
    """See :meth:`sloctl.ledger.protocol.Ledger.sums`."""
    series = all_series(connection, set_name)
    reader = SumReader(connection, series)
    found: list[dict[SeriesKey, Sums]] = []
    for groups in effective(
        connection, set_name, intervals, {definition for definition, _ in series.values()}
    ):
        result: dict[SeriesKey, Sums] = {}
        for interval, members in groups.items():
            amounts: Amounts = {}
            for level, start, end in grid.pieces(interval):
                reader.add(amounts, level, start, end)
            for number, values in amounts.items():
                definition, key = series[number]
                if (members is None or definition in members) and any(values[:6]):
                    result[key] = Sums(*values[:6])
        found.append(result)
    return found


def effective(
    connection: Connection, set_name: str, intervals: Sequence[Interval], definitions: Collection[int]
) -> list[dict[Interval, set[int] | None]]:
    """For each interval: the intervals that can be summed in its stead, each with the definitions for which it is.

    None is all of them, which is the rule: they differ where some were pruned, and others came from an import.
    """
    edges: list[tuple[int, int]] = []
    for interval in intervals:
        grid.check_interval(interval)
        edges.append((grid.up(interval[0] + STEP, DAY), grid.up(interval[1], DAY)))
    pruned = coverage.prune_states(connection, set_name, {day for pair in edges for day in pair})
    if not pruned:
        return [{interval: None} for interval in intervals]
    everything = coverage.Day()
    found: list[dict[Interval, set[int] | None]] = []
    for interval, (first, last) in zip(intervals, edges, strict=True):
        groups: dict[Interval, set[int] | None] = {}
        for definition in definitions:
            begun = pruned.get((first, definition), everything).kept
            ended = pruned.get((last, definition), everything).kept
            members = groups.setdefault(grid.inward(interval, begun, ended), set())
            assert members is not None
            members.add(definition)
        found.append(groups)
    return found


class SumReader:
    """Adds up rows by series; those of other sets are left out."""

    def __init__(self, connection: Connection, series: KnownSeries) -> None:
        self._connection = connection
        self._series = series
        every = connection.execute(sa.select(sa.func.count()).select_from(schema.series)).scalar_one()
        self._others = every != len(series)
        self._definitions = {definition for definition, _ in series.values()}
        self._halves = False

    def add(self, amounts: Amounts, level: str, start: int, end: int) -> None:
        """Add the rows of (start, end) of a level to ``amounts``."""
        read = self._buckets if level == "buckets" else self._rollups
        for number, values in read(level, start, end):
            have = amounts.get(number)
            if have is None:
                amounts[number] = values
            else:
                rollup.gather(have, values)

    def _rollups(self, level: str, start: int, end: int) -> Iterable[tuple[int, list[int]]]:
        table = schema.METADATA.tables[level]
        wide = [table.c[name] for name in ("total", "bad", "excluded_total", "excluded_bad")]
        plain: list[Any] = [sa.func.sum(table.c.gap), sa.func.sum(table.c.excluded)]
        plain += [sa.func.max(table.c.peak), sa.func.max(table.c.carry)]
        rows = self._grouped(table, [table.c.series], wide, plain, start, end)
        carries: dict[int, list[int]] = {}
        if any(row[-1] for row in rows):
            query = sa.select(table.c.series, table.c.carry).where(
                table.c.time > start, table.c.time <= end, table.c.carry != 0
            )
            for number, carry in self._connection.execute(query):
                more = carries.setdefault(number, [0, 0, 0, 0])
                for place, value in enumerate(rollup.carried(carry)):
                    more[place] += value
        for number, total, bad, excluded_total, excluded_bad, gap, excluded, peak, _ in rows:
            values = [total, bad, gap, excluded, excluded_total, excluded_bad, peak]
            if number in carries:
                rollup.gather(values, [*_spread(carries[number]), 0])
            yield number, values

    def _buckets(self, _level: str, start: int, end: int) -> Iterable[tuple[int, list[int]]]:
        table = schema.buckets
        plain = [
            sa.func.sum(table.c.gap),
            sa.func.sum(sa.case((table.c.total > 0, STEP), else_=0)),
            sa.func.max(STEADY),
        ]
        columns = [table.c.series, table.c.excluded]
        rows = self._grouped(table, columns, [table.c.total, table.c.bad], plain, start, end)
        for number, excluded, total, bad, gap, seconds, peak in rows:
            yield (
                number,
                [0, 0, 0, seconds, total, bad, peak] if excluded else [total, bad, gap, 0, 0, 0, peak],
            )

    def _grouped(
        self,
        table: sa.Table,
        columns: list[sa.Column[Any]],
        wide: list[sa.Column[Any]],
        plain: list[Any],
        start: int,
        end: int,
    ) -> list[list[int]]:
        """Sums by ``columns``: those of the columns ``wide``, which may need more than 64 bits, then ``plain``."""
        query = sa.select().where(table.c.time > start, table.c.time <= end).group_by(*columns)
        if self._others:
            ours = sa.select(schema.series.c.id).where(
                schema.series.c.definition.in_(sorted(self._definitions))
            )
            query = query.where(table.c.series.in_(ours))
        if not self._halves:
            asked = query.add_columns(*columns, *map(sa.func.sum, wide), *plain)
            try:
                return [list(map(int, row)) for row in self._connection.execute(asked)]
            except sa.exc.DBAPIError as error:
                if "integer overflow" not in str(
                    error.orig
                ):  # of SQLite; PostgreSQL's sums are as long as needed
                    raise
            self._halves = True
        halves = [sa.func.sum(half) for name in wide for half in (name.op(">>")(_HALF), name.op("&")(_LOW))]
        asked = query.add_columns(*columns, *halves, *plain)
        first, last = len(columns), len(columns) + len(halves)
        found = []
        for row in self._connection.execute(asked):
            values = list(map(int, row))
            sums = [
                (high << _HALF) + low
                for high, low in zip(values[first:last:2], values[first + 1 : last : 2], strict=True)
            ]
            found.append([*values[:first], *sums, *values[last:]])
        return found


def _spread(carry: Sequence[int]) -> tuple[int, ...]:
    total, bad, excluded_total, excluded_bad = carry
    return total, bad, 0, 0, excluded_total, excluded_bad


def peaks(connection: Connection, set_name: str, interval: Interval) -> dict[SeriesKey, int]:
    """See :meth:`sloctl.ledger.protocol.Ledger.peaks`."""
    series = all_series(connection, set_name)
    [groups] = effective(connection, set_name, [interval], {definition for definition, _ in series.values()})
    found: dict[SeriesKey, int] = {}
    for inner, members in groups.items():
        for level, start, end in grid.pieces(inner):
            table = schema.METADATA.tables[level]
            column = STEADY if level == "buckets" else table.c.peak
            query = sa.select(table.c.series, sa.func.max(column)).group_by(table.c.series)
            for number, peak in connection.execute(query.where(table.c.time > start, table.c.time <= end)):
                if number in series and (members is None or series[number][0] in members):
                    key = series[number][1]
                    found[key] = max(peak, found.get(key, 0))
    return {key: peak for key, peak in found.items() if peak}


def carried(connection: Connection, set_name: str, interval: Interval) -> dict[SeriesKey, list[Bucket]]:
    """See :meth:`sloctl.ledger.protocol.Ledger.carried`."""
    series, table = all_series(connection, set_name), schema.buckets
    columns = (table.c.time, table.c.total, table.c.bad, table.c.gap, table.c.carried)
    # As the index of such buckets says it.
    query = sa.select(table.c.series, *columns).where(sa.text("carried > 0"), table.c.excluded == 0)
    query = query.where(table.c.time > interval[0], table.c.time <= interval[1])
    found: dict[SeriesKey, list[Bucket]] = {}
    for number, *values in connection.execute(query.order_by(table.c.time, table.c.series)):
        if number in series:
            key = series[number][1]
            found.setdefault(key, []).append(Bucket(key[1], key[2], *values))
    return found
