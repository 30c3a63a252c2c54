"""Which buckets of a definition were recorded. It must not know what was in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import bulk, grid
from sloctl.ledger.protocol import Interval
from sloctl.ledger.schema import BITS, MASKS, coverage, definitions

_LOW = (1 << BITS) - 1
_FEW = 400
"""So many definitions are named in a query; of more all are read."""


class Day(NamedTuple):
    """What is known of a day of a definition."""

    mask: int = 0
    kept: grid.Kept = grid.Kept()


Days = dict[tuple[int, int], Day]
"""By (day, definition)."""


def read(connection: Connection, ids: Collection[int], interval: Interval) -> Days:
    """The days of definitions with a bucket in the interval, as far as anything of them was recorded."""
    days = grid.days_of(interval)
    if not days or not ids:
        return {}
    query = sa.select(coverage).where(coverage.c.day.between(days[0], days[-1]))
    if len(ids) <= _FEW:
        query = query.where(coverage.c.definition.in_(ids))
    found: Days = {}
    for day, definition, *words, fine, pruned in connection.execute(query):
        # Of a damaged file; a negative number would have bits without end.
        if min(*words, fine) < 0 or max(words) > _LOW or fine > grid.ALL_HOURS:
            raise ValueError(f"the coverage of {day} has bits of no bucket")
        mask = sum(word << BITS * place for place, word in enumerate(words))
        found[day, definition] = Day(mask, grid.Kept(fine, pruned < 2))
    return found


def add(connection: Connection, masks: Mapping[tuple[int, int], int]) -> None:
    """Enter that the buckets of ``masks``, by (day, definition), are recorded."""
    rows = [
        (day, definition, *(mask >> BITS * place & _LOW for place in range(len(MASKS))))
        for (day, definition), mask in sorted(masks.items())
    ]
    changes = ", ".join(f"{name} = coverage.{name} | excluded.{name}" for name in MASKS)
    conflict = f"ON CONFLICT (day, definition) DO UPDATE SET {changes}"
    bulk.insert(connection, coverage, ("day", "definition", *MASKS), rows, conflict)


def replace(connection: Connection, days: Mapping[tuple[int, int], Day]) -> None:
    """Enter days, by (day, definition), with what is kept of them."""
    rows = []
    for (day, definition), state in sorted(days.items()):
        masks = (state.mask >> BITS * place & _LOW for place in range(len(MASKS)))
        pruned = 2 if not state.kept.hourly else int(state.kept.fine != grid.ALL_HOURS)
        rows.append((day, definition, *masks, state.kept.fine, pruned))
    changes = ", ".join(f"{name} = excluded.{name}" for name in (*MASKS, "fine"))
    # A day of which something was here stays as far pruned as it was, so that the next pruning goes on with it.
    conflict = f"ON CONFLICT (day, definition) DO UPDATE SET {changes}"
    bulk.insert(connection, coverage, ("day", "definition", *MASKS, "fine", "pruned"), rows, conflict)


def missing(
    connection: Connection, set_name: str, slo_ids: Sequence[str], start: int, end: int
) -> dict[str, list[Interval]]:
    """See :meth:`sloctl.ledger.protocol.Ledger.missing`."""
    query = sa.select(definitions.c.slo_id, definitions.c.id, definitions.c.oldest)
    ids = {
        row[0]: (row[1], row[2])
        for row in connection.execute(query.where(definitions.c.set_name == set_name))
    }
    wanted = {slo_id: ids[slo_id] for slo_id in slo_ids if slo_id in ids}
    days = [(day, grid.bits(day, (start, end))) for day in grid.days_of((start, end))]
    whole = {day for day, bits in days if bits == grid.FULL}
    # As a rule all days after the first one are full: then only that one and the days at the edges are read.
    full = _full_days(connection, {id_ for id_, _ in wanted.values()}, whole)
    doubtful, edges = set(), {day for day, _ in days} - whole
    for id_, oldest in wanted.values():
        if oldest is not None:
            begun = grid.up(oldest + grid.STEP, grid.DAY)
            edges |= {begun} & whole
            if full.get(id_, 0) < sum(1 for day in whole if day > begun):
                doubtful.add(id_)
    known = read(connection, doubtful, (start, end))
    for day in edges:
        known |= read(connection, {id_ for id_, _ in wanted.values()}, (day - grid.STEP, day))
    found: dict[str, list[Interval]] = {}
    for slo_id in slo_ids:
        definition, oldest = wanted.get(slo_id, (None, None))
        if definition is None or oldest is None:
            found[slo_id] = [(start, end)] if start < end else []
            continue
        intervals: list[Interval] = []
        for day, bits in days:
            if day in whole and day not in edges and definition not in doubtful:
                open_bits = 0 if day > oldest else bits
            else:
                state = known.get((day, definition))
                open_bits = bits & ~state.mask if state else bits
            if open_bits:
                intervals.extend(grid.intervals_of(day, open_bits))
        found[slo_id] = grid.joined(intervals)
    return found


def _full_days(connection: Connection, ids: Collection[int], days: Collection[int]) -> dict[int, int]:
    """How many of some adjoining days after a definition's first are recorded from end to end."""
    if not days or not ids:
        return {}
    query = (
        sa.select(coverage.c.definition, sa.func.count())
        .join(definitions, definitions.c.id == coverage.c.definition)
        .where(
            coverage.c.day.between(min(days), max(days)),
            coverage.c.day - grid.DAY >= definitions.c.oldest + grid.STEP,  # after the first day
            *(coverage.c[name] == _LOW for name in MASKS),
        )
    )
    if len(ids) <= _FEW:
        query = query.where(coverage.c.definition.in_(ids))
    return {row[0]: row[1] for row in connection.execute(query.group_by(coverage.c.definition))}


def definition_ids(connection: Connection, set_name: str) -> dict[str, int]:
    """The ids of all definitions of a set."""
    query = sa.select(definitions.c.slo_id, definitions.c.id).where(definitions.c.set_name == set_name)
    return {row[0]: row[1] for row in connection.execute(query)}


def lock(connection: Connection, set_name: str, slos: Mapping[str, str] | None = None) -> dict[str, int]:
    """The ids of definitions, locked for the rest of the transaction: one writer at a time has each of them.

    ``slos`` are the names of SLOs by slo_id; what is new of them is entered. Without it: all of the set.
    """
    if slos is not None:
        known = definition_ids(connection, set_name)
        new = sorted(
            slos.keys() - known.keys()
        )  # in this order everywhere: two writers wait in one direction
        bulk.insert(
            connection,
            definitions,
            ("set_name", "slo_id", "slo"),
            [(set_name, slo_id, slos[slo_id]) for slo_id in new],
            "ON CONFLICT (set_name, slo_id) DO NOTHING",
        )
    query = sa.select(definitions.c.slo_id, definitions.c.id).where(definitions.c.set_name == set_name)
    if slos is not None and len(slos) <= _FEW:
        query = query.where(definitions.c.slo_id.in_(sorted(slos)))
    rows = connection.execute(query.order_by(definitions.c.id).with_for_update())
    return {row[0]: row[1] for row in rows}


def extend(connection: Connection, intervals: Mapping[int, Interval]) -> None:
    """Have ``oldest`` and ``newest`` of definitions, which are locked, include these intervals."""
    columns = (definitions.c.id, definitions.c.oldest, definitions.c.newest)
    query = sa.select(*columns)
    if len(intervals) <= _FEW:
        query = query.where(definitions.c.id.in_(sorted(intervals)))
    rows = []
    for number, oldest, newest in connection.execute(query):
        if number not in intervals:
            continue
        start, end = intervals[number]
        now = (start if oldest is None else min(start, oldest), end if newest is None else max(end, newest))
        if now != (oldest, newest):
            rows.append((*now, number))
    bulk.update(connection, definitions, ("oldest", "newest"), ("id",), rows)


def bounds(connection: Connection, set_name: str, column: str) -> dict[str, int]:
    """``oldest`` or ``newest`` of each definition that has one."""
    value = definitions.c[column]
    query = sa.select(definitions.c.slo_id, value).where(
        definitions.c.set_name == set_name, value.is_not(None)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def prune_states(connection: Connection, set_name: str, days: Collection[int]) -> Days:
    """The days, of those given, of which not everything is kept."""
    found: Days = {}
    for chunk in bulk.chunks(sorted(set(days)), _FEW):
        query = (
            sa.select(coverage.c.day, coverage.c.definition, coverage.c.fine, coverage.c.pruned)
            .join(definitions, definitions.c.id == coverage.c.definition)
            .where(definitions.c.set_name == set_name)
            .where(coverage.c.day.in_(chunk), coverage.c.fine != grid.ALL_HOURS)
        )
        for day, definition, fine, pruned in connection.execute(query):
            found[day, definition] = Day(0, grid.Kept(fine, pruned < 2))
    return found
