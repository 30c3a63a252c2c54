"""Buckets that were read again: what is recorded of them, what takes its place, and the journal of both.

The one place where a recorded bucket changes. Sums of hours and days follow in the same transaction, and so does the
entry in the journal: no number changes without one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import bulk, coverage, exclusion, grid, rollup, schema, sums
from sloctl.ledger.entries import SeriesIds, cause_ids
from sloctl.ledger.grid import DAY, HOUR, STEP
from sloctl.ledger.journal import clean
from sloctl.ledger.protocol import Bucket, Interval, Repair

_NUMBERS = ("old_total", "old_bad", "old_gap", "new_total", "new_bad", "new_gap")
_KEY = ("set_name", "slo_id", "namespace", "service", "time", *_NUMBERS, "outcome")
_SOME = 400


def buckets(
    connection: Connection, set_name: str, slo_ids: Sequence[str], interval: Interval
) -> dict[str, list[Bucket]]:
    """See :meth:`sloctl.ledger.protocol.Ledger.buckets`."""
    grid.check_interval(interval)
    wanted = set(slo_ids)
    table = schema.buckets
    query = sa.select(table.c.time, table.c.series, table.c.total, table.c.bad, table.c.gap, table.c.carried)
    query = query.where(table.c.time > interval[0], table.c.time <= interval[1])
    series = sums.all_series(connection, set_name)
    found: dict[str, list[Bucket]] = {slo_id: [] for slo_id in slo_ids}
    for time, number, *values in connection.execute(query.order_by(table.c.time, table.c.series)):
        key = series[number][1] if number in series else ("", "", "")
        if key[0] in wanted:
            found[key[0]].append(Bucket(key[1], key[2], time, *values))
    return found


def kept(
    connection: Connection, set_name: str, slo_ids: Sequence[str], interval: Interval
) -> dict[str, frozenset[int]]:
    """The ends of the recorded buckets of an interval that are still there as such, for each definition."""
    ids = coverage.definition_ids(connection, set_name)
    days = coverage.read(connection, {ids[slo_id] for slo_id in slo_ids if slo_id in ids}, interval)
    found = {}
    for slo_id in slo_ids:
        ends = []
        for end in range(interval[0] + STEP, interval[1] + 1, STEP):
            state = days.get((grid.up(end, DAY), ids.get(slo_id, -1)))
            if state and state.mask >> grid.bit_of(end) & 1 and state.kept.bucket(end):
                ends.append(end)
        found[slo_id] = frozenset(ends)
    return found


def amend(connection: Connection, set_name: str, repairs: Sequence[Repair]) -> int:
    """See :meth:`sloctl.ledger.protocol.Ledger.amend`."""
    ids = coverage.lock(connection, set_name)
    known = [repair for repair in repairs if repair.slo_id in ids]
    series = SeriesIds(connection, set_name)
    changing = [repair for repair in known if repair.outcome == "repaired"]
    series.want_keys((ids[repair.slo_id], repair.namespace, repair.service) for repair in changing)
    series.make()
    places = {
        (repair.end, series.ids[ids[repair.slo_id], repair.namespace, repair.service]): repair
        for repair in changing
    }
    have = _present(connection, list(places))
    # Somebody else may have repaired it meanwhile: what was compared must still be what is there.
    changes = {
        place: repair for place, repair in places.items() if have.get(place, (0, 0, 0))[:3] == repair.old
    }
    _apply(connection, changes)
    written = {id(repair) for repair in changes.values()}
    _enter(connection, set_name, [r for r in known if r.outcome == "kept" or id(r) in written])
    return len(changes)


def _present(connection: Connection, places: Sequence[rollup.RowKey]) -> dict[rollup.RowKey, tuple[int, ...]]:
    """What is there: total, bad, gap, excluded, carried."""
    table = schema.buckets
    wanted = set(places)
    found: dict[rollup.RowKey, tuple[int, ...]] = {}
    for times in bulk.chunks(sorted({time for time, _ in places}), _SOME):
        query = sa.select(table).where(table.c.time.in_(times))
        for time, number, *values in connection.execute(query):
            if (time, number) in wanted:
                found[time, number] = tuple(values)
    return found


def _apply(connection: Connection, changes: Mapping[rollup.RowKey, Repair]) -> None:
    if not changes:
        return
    times = [time for time, _ in changes]
    excluded = exclusion.intervals_by_series(
        connection, [number for _, number in changes], (min(times) - STEP, max(times))
    )
    rows, hours, lowered = [], {}, set()
    flags = {}
    for (time, number), repair in sorted(changes.items()):
        flag = int(exclusion.within(time, excluded.get(number, ())))
        flags[time, number] = flag
        rows.append((time, number, *repair.new, flag, repair.carried))
        more = [new - old for new, old in zip(repair.new, repair.old, strict=True)]
        seconds = STEP * ((repair.new[0] > 0) - (repair.old[0] > 0))
        amounts = [0, 0, 0, seconds, more[0], more[1]] if flag else [*more, 0, 0, 0]
        hours[time, number] = [*amounts, 0 if repair.carried else repair.new[0]]
        if more[0] < 0 or repair.carried:
            lowered.add((grid.up(time, HOUR), number))
    table = schema.buckets
    bulk.insert(
        connection,
        table,
        ("time", "series", "total", "bad", "gap", "excluded", "carried"),
        rows,
        "ON CONFLICT (time, series) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in ("total", "bad", "gap", "carried")),
    )
    by_hour = rollup.up_to(HOUR, hours)
    rollup.add(connection, "hours", by_hour)
    rollup.add(connection, "days", rollup.up_to(DAY, by_hour))
    for place in sorted(lowered):
        _lower_peaks(connection, place)
    _causes(connection, changes, flags)


def _lower_peaks(connection: Connection, place: rollup.RowKey) -> None:
    """Find the peak of an hour and of its day anew: a sum forgets what it was made of."""
    hour, number = place
    for fine, source, coarse, end, size in (
        (sums.STEADY, schema.buckets, schema.hours, hour, HOUR),
        (schema.hours.c.peak, schema.hours, schema.days, grid.up(hour, DAY), DAY),
    ):
        peak = sa.select(sa.func.max(fine)).where(
            source.c.series == number, source.c.time > end - size, source.c.time <= end
        )
        highest = connection.execute(peak).scalar() or 0
        where = (coarse.c.series == number) & (coarse.c.time == end)
        connection.execute(coarse.update().where(where).values(peak=highest))


def _causes(
    connection: Connection, changes: Mapping[rollup.RowKey, Repair], flags: Mapping[rollup.RowKey, int]
) -> None:
    """Replace the causes of the bad events of changed buckets."""
    table = schema.cause_buckets
    by_day: dict[tuple[int, int, int], int] = {}
    for times in bulk.chunks(sorted({time for time, _ in changes}), _SOME):
        for time, number, cause, bad in connection.execute(sa.select(table).where(table.c.time.in_(times))):
            if (time, number) in changes and not flags[time, number]:
                place = (grid.up(time, DAY), number, cause)
                by_day[place] = by_day.get(place, 0) - bad
    gone = table.delete().where(table.c.time == sa.bindparam("at"), table.c.series == sa.bindparam("of"))
    connection.execute(gone, [{"at": time, "of": number} for time, number in sorted(changes)])
    labels = {labels for repair in changes.values() if repair.new[1] for labels, _ in repair.causes}
    numbers = cause_ids(connection, labels) if labels else {}
    rows = []
    for (time, number), repair in sorted(changes.items()):
        for own, bad in repair.causes if repair.new[1] else ():
            rows.append((time, number, numbers[own], bad))
            if not flags[time, number]:
                place = (grid.up(time, DAY), number, numbers[own])
                by_day[place] = by_day.get(place, 0) + bad
    bulk.insert(connection, table, ("time", "series", "cause", "bad"), sorted(rows))
    rollup.add_causes(connection, {place: bad for place, bad in by_day.items() if bad})


def _enter(connection: Connection, set_name: str, repairs: Sequence[Repair]) -> None:
    """Enter into the journal what is not there yet, number for number."""
    table = schema.repairs
    rows = [
        (
            *(set_name, repair.slo_id, repair.namespace, repair.service, repair.end),
            *(*repair.old, *repair.new, repair.outcome, repair.made, clean(repair.made_by)),
        )
        for repair in repairs
    ]
    columns = (*_KEY, "made", "made_by")
    for row in rows:
        values = dict(zip(columns, row, strict=True))
        where = sa.and_(*(table.c[name] == values[name] for name in _KEY))
        if connection.execute(sa.select(table.c.made).where(where)).first() is None:
            connection.execute(table.insert().values(**values))


def journal(connection: Connection, set_name: str, since: float) -> list[Repair]:
    """See :meth:`sloctl.ledger.protocol.Ledger.repairs`."""
    table = schema.repairs
    query = sa.select(table).where(table.c.set_name == set_name, table.c.made >= since)
    rows = connection.execute(query.order_by(table.c.made, table.c.time, table.c.slo_id, table.c.service))
    return [
        Repair(
            row.slo_id,
            row.namespace,
            row.service,
            row.time,
            (row.old_total, row.old_bad, row.old_gap),
            (row.new_total, row.new_bad, row.new_gap),
            row.outcome,
            row.made,
            row.made_by,
        )
        for row in rows
    ]
