"""Verifies that a ledger says one thing only: sums equal their buckets, and every row belongs to something.

It reads a day at a time, so that memory stays small and writers need not wait. It must not repair anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import exclusion, grid, rollup, schema, sums
from sloctl.ledger.coverage import Day, read
from sloctl.ledger.damage import damage
from sloctl.ledger.database import Database
from sloctl.ledger.grid import DAY, HOUR, STEP
from sloctl.ledger.store import DatabaseLedger
from sloctl.model import SeriesKey
from sloctl.model.durations import rfc3339

_EVENTS = ("buckets", "hours", "days", "cause_buckets", "cause_days")
_MOST = 1000
"""Findings after which verifying ends: a broken disk breaks everything."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """Something in ``table`` that cannot be true; ``key`` names the row as a person would."""

    table: str
    key: str
    expected: str
    found: str


def verify(store: DatabaseLedger, set_name: str | None = None, now: int | None = None) -> list[Wrong]:
    """All that is wrong with the ledger, or with one set of it; at most :data:`_MOST` findings.

    ``now`` (Unix seconds) is the time after which nothing can have been recorded. Raises BackendError.
    """
    found: list[Wrong] = []
    database = store.database
    for part in _parts(database, set_name, now):
        found.extend(part)
        if len(found) >= _MOST:
            return found[:_MOST]
    return found


def _parts(database: Database, set_name: str | None, now: int | None) -> Iterator[list[Wrong]]:
    if set_name is None:
        broken = database.read(_damage)
        yield broken
        if broken:  # what it holds means nothing
            return
        yield database.read(_orphans)
    names = [set_name] if set_name is not None else database.read(set_names)
    for name in names:
        yield database.read(lambda connection, name=name: _bounds(connection, name, now))  # type: ignore[misc]
        for day in database.read(lambda connection, name=name: _days(connection, name)):  # type: ignore[misc]
            yield database.read(lambda connection, name=name, day=day: _day(connection, name, day))  # type: ignore[misc]


def set_names(connection: Connection) -> list[str]:
    """All sets, sorted."""
    return sorted(connection.execute(sa.select(schema.definitions.c.set_name).distinct()).scalars())


def _damage(connection: Connection) -> list[Wrong]:
    return [Wrong(place, "damage", "none", found) for place, found in damage(connection)]


def _orphans(connection: Connection) -> list[Wrong]:
    found = []
    owners = {
        **dict.fromkeys((*_EVENTS, "exclusions"), ("series", schema.series.c.id)),
        "coverage": ("definition", schema.definitions.c.id),
        "series": ("definition", schema.definitions.c.id),
    }
    for name, (column, owner) in owners.items():
        table = schema.METADATA.tables[name]
        used = sa.select(table.c[column].label("id")).distinct().subquery()
        query = sa.select(used.c.id).where(used.c.id.not_in(sa.select(owner)))
        for number in sorted(connection.execute(query).scalars()):
            found.append(Wrong(name, f"{column} {number}", f"a row of {owner.table.name}", "none"))
    for name in ("cause_buckets", "cause_days"):
        table = schema.METADATA.tables[name]
        used = sa.select(table.c.cause.label("id")).distinct().subquery()
        query = sa.select(used.c.id).where(used.c.id.not_in(sa.select(schema.causes.c.id)))
        for number in sorted(connection.execute(query).scalars()):
            found.append(Wrong(name, f"cause {number}", "a row of causes", "none"))
    return found


def _bounds(connection: Connection, set_name: str, now: int | None) -> list[Wrong]:
    table = schema.definitions
    found = []
    rows = connection.execute(sa.select(table).where(table.c.set_name == set_name))
    for row in sorted(rows, key=lambda row: row.slo_id):
        days = connection.execute(
            sa.select(sa.func.max(schema.coverage.c.day)).where(schema.coverage.c.definition == row.id)
        ).scalar()
        if days is not None:
            masks = read(connection, {row.id}, (days - DAY, days))[days, row.id].mask
            newest = max((interval[1] for interval in grid.intervals_of(days, masks)), default=None)
            if newest is not None and newest != row.newest:
                found.append(Wrong("definitions", f"{row.slo_id} newest", _time(newest), _time(row.newest)))
        if now is not None and row.newest is not None and row.newest > now:
            found.append(Wrong("coverage", row.slo_id, f"nothing after {_time(now)}", _time(row.newest)))
    return found


def _days(connection: Connection, set_name: str) -> list[int]:
    """The ends of all days with a row of the set, or with one that says that it was recorded."""
    series = sums.all_series(connection, set_name)
    days = set(connection.execute(sa.select(schema.coverage.c.day).distinct()).scalars())
    for name in _EVENTS if series else ():
        column = schema.METADATA.tables[name].c.time
        ends = (column + (DAY - 1)) // DAY * DAY
        days |= set(connection.execute(sa.select(ends).distinct()).scalars())
    return sorted(days)


def _day(connection: Connection, set_name: str, day: int) -> list[Wrong]:
    """What is wrong with a day of a set."""
    series = sums.all_series(connection, set_name)
    known = read(connection, {definition for definition, _ in series.values()}, (day - DAY, day))
    state = {number: known.get((day, definition), Day()) for number, (definition, _) in series.items()}
    checks = _DayChecks(connection, series, state, day)
    return [*checks.rows(), *checks.sums(), *checks.causes()]


class _DayChecks:
    def __init__(
        self, connection: Connection, series: sums.KnownSeries, state: Mapping[int, Day], day: int
    ) -> None:
        self._connection = connection
        self._series = series
        self._state = state
        self._day = day
        self._interval = (day - DAY, day)
        self._excluded = exclusion.intervals_by_series(connection, series, self._interval)
        self._hours: dict[rollup.RowKey, list[int]] = {}
        self._flags: dict[rollup.RowKey, int] = {}

    def _select(self, table: sa.Table) -> Iterator[Any]:
        query = sa.select(table).where(table.c.time > self._interval[0], table.c.time <= self._interval[1])
        rows = self._connection.execute(
            query.order_by(*table.primary_key.columns), execution_options={"yield_per": 5000}
        )
        return (row for row in rows if row.series in self._series)

    def rows(self) -> Iterator[Wrong]:
        """Of the buckets: each possible, recorded, kept, and excluded if and only if it lies in such an interval."""
        for row in self._select(schema.buckets):
            time, number, total, bad, gap, excluded, carried = row
            state = self._state[number]
            if not 0 <= bad <= total or not 0 <= gap <= STEP or not 0 <= carried <= HOUR or time % STEP:
                found = f"total {total}, bad {bad}, gap {gap}, carried {carried}"
                wanted_text = "0 <= bad <= total, gap 0 to 300, carried 0 to 3600, on the grid"
                yield self._wrong("buckets", row, wanted_text, found)
            if not state.mask >> grid.bit_of(time) & 1:
                yield self._wrong("buckets", row, "no row, for it was not recorded", "a row")
            if not state.kept.bucket(time):
                yield self._wrong("buckets", row, "no row, for it was removed", "a row")
            wanted = int(exclusion.within(time, self._excluded.get(number, ())))
            if excluded != wanted:
                yield self._wrong("buckets", row, f"excluded {wanted}", f"excluded {excluded}")
            peak = 0 if carried else total
            values = (0, 0, 0, STEP if total else 0, total, bad, peak)
            if bad:
                self._flags[time, number] = excluded
            have = self._hours.setdefault((grid.up(time, HOUR), number), [0] * 7)
            rollup.gather(have, values if excluded else (total, bad, gap, 0, 0, 0, peak))

    def sums(self) -> Iterator[Wrong]:
        """Of the sums: an hour's equal its buckets, a day's its hours, as far as those are kept."""
        hours: dict[rollup.RowKey, list[int]] = {}
        yield from self._hour_sums(hours)
        yield from self._day_sums(rollup.up_to(DAY, hours))

    def _hour_sums(self, hours: dict[rollup.RowKey, list[int]]) -> Iterator[Wrong]:
        """Of the sums of hours, which are put into ``hours``."""
        for row in self._select(schema.hours):
            hours[row[0], row[1]] = values = _amounts(row)
            if not self._state[row[1]].kept.hourly:
                yield self._wrong("hours", row, "no row, for it was removed", "a row")
            elif self._state[row[1]].kept.bucket(row[0]):
                yield from self._compare("hours", row, self._hours.pop((row[0], row[1]), None), values)
        for (time, number), values in self._hours.items():
            if self._state[number].kept.hourly and (time, number) not in hours:
                yield self._wrong("hours", (time, number), _shown(values), "no row")

    def _day_sums(self, days: dict[rollup.RowKey, list[int]]) -> Iterator[Wrong]:
        """Of the sums of days, held against ``days``."""
        for row in self._select(schema.days):
            if self._state[row[1]].kept.hourly:
                yield from self._compare("days", row, days.pop((row[0], row[1]), None), _amounts(row))
            if not self._state[row[1]].mask:
                yield self._wrong("days", row, "no row, for nothing was recorded", "a row")
        for (time, number), values in days.items():
            if self._state[number].kept.hourly:
                yield self._wrong("days", (time, number), _shown(values), "no row")

    def causes(self) -> Iterator[Wrong]:
        """Of the causes: a day's equal those of its buckets that count."""
        found: dict[tuple[int, int], int] = {}
        for row in self._select(schema.cause_buckets):
            time, number, cause, bad = row
            if (time, number) not in self._flags:
                yield self._wrong("cause_buckets", row, "a bucket with bad events", "none")
            if not self._flags.get((time, number)):
                found[number, cause] = found.get((number, cause), 0) + bad
        for row in self._select(schema.cause_days):
            bad = row.bad + (row.carry << rollup.BITS)
            expected = found.pop((row.series, row.cause), 0)
            if self._whole(row.series) and expected != bad:
                yield self._wrong("cause_days", row, str(expected), str(bad))
        for (number, cause), bad in found.items():
            if bad and self._whole(number):
                yield self._wrong("cause_days", (self._day, number, cause), str(bad), "no row")

    def _whole(self, number: int) -> bool:
        return self._state[number].kept.fine == grid.ALL_HOURS

    def _compare(
        self, table: str, row: Sequence[int], expected: list[int] | None, found: list[int]
    ) -> Iterator[Wrong]:
        if (expected or [0] * 7) != found:
            yield self._wrong(table, row, _shown(expected) if expected else "no row", _shown(found))

    def _wrong(self, table: str, row: Sequence[int], expected: str, found: str) -> Wrong:
        slo_id, namespace, service = self._series[row[1]][1]
        name: SeriesKey = (slo_id, namespace, service)
        key = f"{name[0]} {name[1]}/{name[2] or '*'} {_time(row[0])}"
        return Wrong(table, key if len(row) != 3 else f"{key} cause {row[2]}", expected, found)


def _amounts(row: Sequence[int]) -> list[int]:
    """The amounts of a row of sums, whole."""
    _, _, total, bad, gap, excluded, excluded_total, excluded_bad, carry, peak = row
    more = rollup.carried(carry)
    return [
        total + more[0],
        bad + more[1],
        gap,
        excluded,
        excluded_total + more[2],
        excluded_bad + more[3],
        peak,
    ]


def _shown(values: Sequence[int]) -> str:
    names = (*rollup.AMOUNTS, "peak")
    return (
        ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True) if value) or "nothing"
    )


def _time(time: int | None) -> str:
    if time is None:
        return "none"
    try:
        return rfc3339(time)
    except (OverflowError, OSError, ValueError):
        return str(time)
