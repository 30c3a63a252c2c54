"""What a ledger holds, for people: first and last buckets, gaps, size, runs, locks, reports that wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import check, coverage, grid, journal, locks, repairs, schema, sums
from sloctl.ledger.grid import DAY, STEP
from sloctl.ledger.protocol import Bucket, JobRun, Repair
from sloctl.ledger.store import DatabaseLedger
from sloctl.model import SeriesKey


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of a definition: ``first`` and ``last`` in Unix seconds, ``known`` and ``unknown`` in buckets.

    ``unknown`` are those between first and last that no run recorded. ``services`` have seconds of gaps and of what
    is excluded, as far as days are kept.
    """

    set_name: str
    slo_id: str
    slo: str
    first: int
    last: int
    known: int
    services: Mapping[SeriesKey, tuple[int, int]]

    @property
    def unknown(self) -> int:
        """Buckets between the first and the last one that were not recorded."""
        return (self.last - self.first) // STEP - self.known


@dataclass(frozen=True, slots=True)
class Contents:
    """What a ledger holds; ``size`` in bytes, ``outbox`` by set and state, ``repairs`` the journal, by time."""

    size: int
    definitions: tuple[Held, ...]
    runs: Mapping[str, Mapping[str, JobRun]]
    locks: tuple[tuple[str, str, float], ...]
    outbox: Mapping[str, Mapping[str, int]]
    repairs: Mapping[str, tuple[Repair, ...]]
    carried: Mapping[str, Mapping[SeriesKey, Sequence[Bucket]]]
    """By set: the buckets that have events from before them, as far as they are kept."""


def contents(store: DatabaseLedger, set_name: str | None = None) -> Contents:
    """What a ledger holds of all sets, or of one. Raises BackendError."""
    return store.database.read(lambda connection: _contents(connection, set_name))


def _contents(connection: Connection, set_name: str | None) -> Contents:
    waiting: dict[str, dict[str, int]] = {}
    table = schema.outbox
    query = sa.select(table.c.set_name, table.c.state, sa.func.count()).group_by(
        table.c.set_name, table.c.state
    )
    for row in connection.execute(query):
        waiting.setdefault(row[0], {})[row[1]] = row[2]
    ran = set(connection.execute(sa.select(schema.runs.c.set_name).distinct()).scalars())
    names = {*check.set_names(connection), *ran, *waiting} if set_name is None else {set_name}
    return Contents(
        _size(connection),
        tuple(held for name in sorted(names) for held in _definitions(connection, name)),
        {name: runs for name in sorted(names) if (runs := journal.last_runs(connection, name))},
        tuple(locks.held(connection)),
        {name: waiting[name] for name in sorted(names) if name in waiting},
        {name: tuple(found) for name in sorted(names) if (found := repairs.journal(connection, name, 0.0))},
        {name: late for name in sorted(names) if (late := sums.carried(connection, name, (0, grid.LATEST)))},
    )


def _definitions(connection: Connection, set_name: str) -> list[Held]:
    table = schema.definitions
    query = sa.select(table).where(table.c.set_name == set_name, table.c.newest.is_not(None))
    rows = sorted(connection.execute(query), key=lambda row: row.slo_id)
    if not rows:
        return []
    series = sums.all_series(connection, set_name)
    reader = sums.SumReader(connection, series)
    amounts: sums.Amounts = {}
    whole = (min(row.oldest for row in rows), max(row.newest for row in rows))
    reader.add(amounts, "days", whole[0] // DAY * DAY, grid.up(whole[1], DAY))
    services: dict[int, dict[SeriesKey, tuple[int, int]]] = {}
    for number, (definition, key) in sorted(series.items(), key=lambda item: item[1]):
        values = amounts.get(number, [0] * 7)
        services.setdefault(definition, {})[key] = (values[2], values[3])
    found = []
    for row in rows:
        days = coverage.read(connection, {row.id}, (row.oldest // DAY * DAY, grid.up(row.newest, DAY)))
        known = sum(day.mask.bit_count() for day in days.values())
        of = services.get(row.id, {})
        found.append(Held(set_name, row.slo_id, row.slo, row.oldest, row.newest, known, of))
    return found


def _size(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(pages) * int(connection.exec_driver_sql("PRAGMA page_size").scalar_one())
    names = [table.name for table in schema.METADATA.sorted_tables]
    return sum(
        int(connection.execute(sa.select(sa.func.pg_total_relation_size(name))).scalar_one())
        for name in names
    )
