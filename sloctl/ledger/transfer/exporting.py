"""Reads a ledger as lines: all that it knows of events, in an order that depends on nothing but what it knows.

What follows from other lines has none: hours and days whose buckets are there. It must not know of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import coverage, grid, journal, rollup, schema, sums
from sloctl.ledger.grid import DAY, STEP
from sloctl.ledger.protocol import Interval
from sloctl.ledger.transfer.lines import EVENTS, Line

_AT_ONCE = 5000


def lines(connection: Connection, set_names: Iterable[str], interval: Interval) -> Iterator[Line]:
    """The lines of sets, within whole days; the last one says how many there are."""
    count = 0
    for set_name in set_names:
        for line in _Set(connection, set_name, interval).lines():
            count += 1
            yield line
    yield Line("end", detail=str(count))


class _Set:
    def __init__(self, connection: Connection, set_name: str, interval: Interval) -> None:
        self._connection = connection
        self._name = set_name
        self._interval = interval
        self._series = sums.all_series(connection, set_name)
        table = schema.definitions
        query = sa.select(table.c.id, table.c.slo_id, table.c.slo).where(table.c.set_name == set_name)
        rows = sorted(connection.execute(query), key=lambda row: row[1])
        self._definitions = {row[0]: (row[1], row[2]) for row in rows}
        causes = connection.execute(sa.select(schema.causes.c.id, schema.causes.c.labels))
        self._causes = {row[0]: row[1] for row in causes}

    def lines(self) -> Iterator[Line]:
        days = self._days()
        yield from self._coverage()
        yield from self._silences()
        yield from self._annotations()
        yield from self._exclusions()
        pruned = [day for day, some in days if some]
        for name, wanted in (("days", 2), ("hours", 1)):
            for day in pruned:
                yield from self._sums(name, day, wanted)
        for day, _ in days:
            for row, place in self._rows(schema.buckets, day):
                yield self._bucket(row, place)
        for day in pruned:
            yield from self._cause_days(day)
        for day, _ in days:
            for row, place in self._rows(schema.cause_buckets, day):
                yield self._line("cause", place, end=row.time, bad=row.bad, detail=self._causes[row.cause])

    def _days(self) -> list[tuple[int, bool]]:
        """The days that were recorded, and whether anything of them was removed."""
        table = schema.coverage
        some = sa.func.min(table.c.fine) != grid.ALL_HOURS
        query = sa.select(table.c.day, some).where(table.c.definition.in_(list(self._definitions)))
        query = query.where(table.c.day > self._interval[0], table.c.day <= self._interval[1])
        rows = self._connection.execute(query.group_by(table.c.day).order_by(table.c.day))
        return [(row[0], bool(row[1])) for row in rows]

    def _line(self, kind: str, place: tuple[str, str, str, str], **values: Any) -> Line:
        slo_id, namespace, service, slo = place
        if any(values.get(name, 0) < 0 for name in EVENTS):
            raise ValueError("events below 0")  # of a damaged file, which is looked for then
        return Line(kind, self._name, slo_id, slo, namespace, service, **values)

    def _coverage(self) -> Iterator[Line]:
        for number, (slo_id, slo) in self._definitions.items():
            known = coverage.read(self._connection, {number}, self._interval)
            last: tuple[Interval, str, str] | None = None
            for (day, _), state in sorted(known.items()):
                kept = _kept_text(state.kept)
                for start, end in grid.intervals_of(day, state.mask):
                    if last and last[0][1] == start and last[1:] == kept:
                        last = ((last[0][0], end), *kept)
                        continue
                    if last:
                        yield self._covered(slo_id, slo, *last)
                    last = ((start, end), *kept)
            if last:
                yield self._covered(slo_id, slo, *last)

    def _covered(self, slo_id: str, slo: str, interval: Interval, state: str, detail: str) -> Line:
        return Line(
            "coverage",
            self._name,
            slo_id,
            slo,
            start=interval[0],
            end=interval[1],
            state=state,
            detail=detail,
        )

    def _silences(self) -> Iterator[Line]:
        table = schema.silences
        query = sa.select(table).where(table.c.set_name == self._name)
        query = query.where(table.c.until > self._interval[0], table.c.since < self._interval[1])
        found = []
        for row in self._connection.execute(query):
            detail = silence_text(row.ref, json.loads(row.matchers), row.comment)
            found.append(Line("silence", self._name, start=row.since, end=row.until, detail=detail))
        yield from sorted(found, key=lambda line: line.place)

    def _annotations(self) -> Iterator[Line]:
        first, last = self._interval
        for said in journal.said_of(self._connection, self._name, first, last - 1):
            detail = annotation_text(said.what, said.text, said.author)
            yield Line(
                "annotation",
                self._name,
                namespace=said.namespace,
                service=said.service,
                start=said.start,
                end=said.end,
                detail=detail,
            )

    def _exclusions(self) -> Iterator[Line]:
        table = schema.exclusions
        query = sa.select(table.c.series, table.c.since, table.c.until)
        query = query.where(table.c.until > self._interval[0], table.c.since < self._interval[1])
        intervals: dict[int, list[Interval]] = {}
        for number, since, until in self._connection.execute(query):
            interval = max(since, self._interval[0]), min(until, self._interval[1])
            intervals.setdefault(number, []).append(interval)
        ours = sorted((self._place(number), number) for number in intervals if number in self._series)
        for place, number in ours:
            for start, end in grid.joined(intervals[number]):
                yield self._line("exclusion", place, start=start, end=end)

    def _place(self, number: int) -> tuple[str, str, str, str]:
        definition, key = self._series[number]
        return *key, self._definitions[definition][1]

    def _rows(self, table: sa.Table, day: int) -> Iterator[tuple[Any, tuple[str, str, str, str]]]:
        """The rows of a day by time, and then by what they are of."""
        query = sa.select(table).where(table.c.time > day - DAY, table.c.time <= day).order_by(table.c.time)
        rows = self._connection.execute(query, execution_options={"yield_per": _AT_ONCE})
        for _, some in groupby(rows, itemgetter(0)):
            ours = [(row, self._place(row.series)) for row in some if row.series in self._series]
            if table is schema.cause_buckets or table is schema.cause_days:
                yield from sorted(ours, key=lambda pair: (pair[1], self._causes[pair[0].cause]))
            else:
                yield from sorted(ours, key=itemgetter(1))

    def _states(self, day: int) -> dict[int, grid.Kept]:
        """What is kept of the day, for the series of which something was removed."""
        found = coverage.prune_states(self._connection, self._name, [day])
        by_definition = {definition: state.kept for (_, definition), state in found.items()}
        return {
            number: by_definition[definition]
            for number, (definition, _) in self._series.items()
            if definition in by_definition
        }

    def _sums(self, name: str, day: int, wanted: int) -> Iterator[Line]:
        states = self._states(day)
        for row, place in self._rows(schema.METADATA.tables[name], day):
            kept = states.get(row.series)
            if kept is None or kept.hourly is (wanted == 2) or (wanted == 1 and kept.bucket(row.time)):
                continue
            more = rollup.carried(row.carry)
            total, bad = row.total + more[0], row.bad + more[1]
            yield self._line(
                name.removesuffix("s"),
                place,
                end=row.time,
                good=total - bad,
                bad=bad,
                total=total,
                gap_seconds=row.gap,
                excluded=row.excluded,
                excluded_total=row.excluded_total + more[2],
                excluded_bad=row.excluded_bad + more[3],
                peak=row.peak,
            )

    def _bucket(self, row: Any, place: tuple[str, str, str, str]) -> Line:
        return self._line(
            "bucket",
            place,
            end=row.time,
            good=row.total - row.bad,
            bad=row.bad,
            total=row.total,
            gap_seconds=row.gap,
            carried_seconds=row.carried,
            excluded=STEP if row.excluded else 0,
            state="excluded" if row.excluded else "gap" if row.gap else "ok",
        )

    def _cause_days(self, day: int) -> Iterator[Line]:
        states = self._states(day)
        for row, place in self._rows(schema.cause_days, day):
            bad = row.bad + (row.carry << rollup.BITS)
            if row.series in states and bad:
                detail = self._causes[row.cause]
                yield self._line("cause_day", place, end=row.time, bad=bad, detail=detail)


def _kept_text(kept: grid.Kept) -> tuple[str, str]:
    """What is kept of a day, as ``state`` and ``detail`` of coverage: the hours that still have buckets."""
    if kept.fine == grid.ALL_HOURS:
        return "buckets", ""
    if not kept.hourly:
        return "days", ""
    return "hours", " ".join(str(hour) for hour in range(24) if kept.fine >> hour & 1)


def annotation_text(what: str, text: str, author: str) -> str:
    """What somebody said as ``detail`` has it."""
    data = {"author": author, "text": text, "what": what}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def silence_text(ref: str, matchers: Sequence[Sequence[str]], comment: str) -> str:
    """A silence as ``detail`` has it."""
    data = {"comment": comment, "matchers": matchers, "ref": ref}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
