"""Removes what is older than it is to be kept, in short transactions, so that nobody else has to wait for long.

Whole UTC days are removed: their buckets first, then the sums of their hours, at last those of the days. What is kept
of a day stands in ``coverage``, changed in the transaction that removes rows: a run that dies half-way is continued by
the next one, and sums are exact in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import coverage, schema
from sloctl.ledger.database import Database
from sloctl.ledger.grid import DAY, HOUR
from sloctl.ledger.protocol import Keep, Pruned

_MOST = 20_000
"""Rows of buckets that a transaction removes, more or less."""


def prune(database: Database, set_name: str, keep: Keep, now: int, edges: Sequence[int]) -> Pruned:
    """See :meth:`sloctl.ledger.protocol.Ledger.prune`: it is several transactions, each of which leaves a true
    ledger."""
    newest = database.read(lambda connection: coverage.bounds(connection, set_name, "newest"))
    if not newest:
        return Pruned()
    now = min(now, max(newest.values()))
    buckets = (now - keep.buckets) // DAY * DAY
    hours = min(buckets, (now - keep.hours) // DAY * DAY)
    days = min(hours, (now - keep.days) // DAY * DAY)
    spared = {edge % DAY // HOUR for edge in edges if edge % HOUR}
    removed = [0, 0, 0]
    for day in database.read(lambda connection: _days(connection, set_name, 0, buckets)):
        removed[0] += _prune_buckets(database, set_name, day, spared)
    for day in database.read(lambda connection: _days(connection, set_name, 1, hours)):
        more = database.write(lambda connection, day=day: _prune_hours(connection, set_name, day))  # type: ignore[misc]
        removed[0] += more[0]
        removed[1] += more[1]
    while (oldest := database.read(lambda connection: _first(connection, set_name, days))) is not None:
        removed[2] += database.write(
            lambda connection, day=oldest: _prune_days(connection, set_name, day, days)  # type: ignore[misc]
        )
    oldest_kept = float(now - keep.hours)
    database.write(lambda connection: _forget_repairs(connection, set_name, oldest_kept))
    if removed[2]:
        database.write(lambda connection: _forget(connection, set_name))
    return Pruned(*removed)


def _forget_repairs(connection: Connection, set_name: str, before: float) -> None:
    """Remove from the journal what is older than sums of hours."""
    table = schema.repairs
    connection.execute(table.delete().where(table.c.set_name == set_name, table.c.made < before))


def _days(connection: Connection, set_name: str, state: int, last: int) -> list[int]:
    """The days up to ``last`` that are in a state of pruning, ascending."""
    table = schema.coverage
    query = sa.select(table.c.day).distinct().where(table.c.pruned == state, table.c.day <= last)
    return sorted(connection.execute(query.where(table.c.definition.in_(_definitions(set_name)))).scalars())


def _first(connection: Connection, set_name: str, last: int) -> int | None:
    table = schema.coverage
    query = sa.select(sa.func.min(table.c.day)).where(table.c.day <= last)
    found: int | None = connection.execute(
        query.where(table.c.definition.in_(_definitions(set_name)))
    ).scalar()
    return found


def _prune_buckets(database: Database, set_name: str, day: int, spared: Collection[int]) -> int:
    """Remove the buckets of a day, but for those of the hours ``spared``."""
    wanted = [hour for hour in range(24) if hour not in spared]
    rows = database.read(lambda connection: _count(connection, set_name)) * 12
    step = max(1, _MOST // max(1, rows))
    removed = 0
    for place in range(0, len(wanted), step):
        some, last = wanted[place : place + step], place + step >= len(wanted)
        removed += database.write(
            lambda connection, some=some, last=last: _prune_some(connection, set_name, day, some, last)  # type: ignore[misc]
        )
    if not wanted:
        database.write(lambda connection: _prune_some(connection, set_name, day, [], True))
    return removed


def _prune_some(connection: Connection, set_name: str, day: int, hours: Sequence[int], last: bool) -> int:
    coverage.lock(connection, set_name)
    removed, mask = 0, 0
    for first, count in _runs(hours):
        begun = day - DAY + first * HOUR
        removed += _delete(connection, schema.buckets, set_name, begun, begun + count * HOUR)
        _delete(connection, schema.cause_buckets, set_name, begun, begun + count * HOUR)
        mask |= ((1 << count) - 1) << first
    table = schema.coverage
    ours = sa.and_(table.c.day == day, table.c.pruned == 0, table.c.definition.in_(_definitions(set_name)))
    values: dict[str, object] = {"fine": table.c.fine.op("&")(~mask)}
    connection.execute(table.update().where(ours).values(values | ({"pruned": 1} if last else {})))
    return removed


def _runs(hours: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Hours that follow each other: the first one, and how many."""
    place = 0
    while place < len(hours):
        count = 1
        while place + count < len(hours) and hours[place + count] == hours[place] + count:
            count += 1
        yield hours[place], count
        place += count


def _prune_hours(connection: Connection, set_name: str, day: int) -> tuple[int, int]:
    """Remove the sums of the hours of a day, and what is left of its buckets."""
    coverage.lock(connection, set_name)
    buckets = _delete(connection, schema.buckets, set_name, day - DAY, day)
    _delete(connection, schema.cause_buckets, set_name, day - DAY, day)
    hours = _delete(connection, schema.hours, set_name, day - DAY, day)
    table = schema.coverage
    ours = sa.and_(table.c.day == day, table.c.definition.in_(_definitions(set_name)))
    connection.execute(table.update().where(ours).values(fine=0, pruned=2))
    return buckets, hours


def _prune_days(connection: Connection, set_name: str, day: int, since: int) -> int:
    """Remove a day, and that anything of it was ever recorded."""
    coverage.lock(connection, set_name)
    removed = _delete(connection, schema.days, set_name, day - DAY, day)
    # What came late to such a day, since finer rows were removed, goes too.
    for table in (schema.buckets, schema.hours, schema.cause_buckets, schema.cause_days):
        _delete(connection, table, set_name, day - DAY, day)
    gone, known = schema.exclusions, schema.coverage
    connection.execute(gone.delete().where(gone.c.until <= day, gone.c.series.in_(_series(set_name))))
    connection.execute(
        known.delete().where(known.c.day == day, known.c.definition.in_(_definitions(set_name)))
    )
    ours = schema.definitions
    old = sa.and_(ours.c.set_name == set_name, ours.c.oldest < since)
    connection.execute(ours.update().where(old).values(oldest=since))
    return removed


def _forget(connection: Connection, set_name: str) -> None:
    """Remove series and definitions of which nothing is left."""
    coverage.lock(connection, set_name)
    series, definitions, exclusions = schema.series, schema.definitions, schema.exclusions
    alive = sa.select(schema.days.c.series)
    dead = sa.and_(series.c.id.in_(_series(set_name)), series.c.id.not_in(alive))
    connection.execute(exclusions.delete().where(exclusions.c.series.in_(sa.select(series.c.id).where(dead))))
    connection.execute(series.delete().where(dead))
    used = sa.select(schema.coverage.c.definition)
    connection.execute(
        definitions.delete().where(
            definitions.c.set_name == set_name,
            definitions.c.id.not_in(used),
            definitions.c.id.not_in(sa.select(series.c.definition)),
        )
    )


def _delete(connection: Connection, table: sa.Table, set_name: str, start: int, end: int) -> int:
    gone = table.delete().where(
        table.c.time > start, table.c.time <= end, table.c.series.in_(_series(set_name))
    )
    return connection.execute(gone).rowcount


def _count(connection: Connection, set_name: str) -> int:
    query = sa.select(sa.func.count()).select_from(schema.series)
    return connection.execute(query.where(schema.series.c.id.in_(_series(set_name)))).scalar_one()


def _definitions(set_name: str) -> sa.Select[tuple[int]]:
    return sa.select(schema.definitions.c.id).where(schema.definitions.c.set_name == set_name)


def _series(set_name: str) -> sa.Select[tuple[int]]:
    return sa.select(schema.series.c.id).where(schema.series.c.definition.in_(_definitions(set_name)))
