"""Enters the lines of an export into a ledger, in one transaction: what was not known of them.

Lines are read one after the other; of a set only what was recorded, and what is left out, is held in memory. What is
known stays as it is. Buckets are taken one by one. Of an hour of which the export has the sum alone, all or nothing is
taken, for a part of a sum cannot be told apart; so of a day. It must not know of files.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import bulk, coverage, entries, exclusion, grid, journal, rollup, schema
from sloctl.ledger.coverage import Day
from sloctl.ledger.grid import DAY, STEP
from sloctl.ledger.protocol import Bucket, Interval
from sloctl.ledger.transfer import checking
from sloctl.ledger.transfer.checking import number
from sloctl.ledger.transfer.lines import BadLine, Line

_AT_ONCE = 20_000


@dataclass
class Imported:
    """What an import did: ``buckets`` of definitions that were new, and those whose sums could not be told apart."""

    lines: int = 0
    buckets: int = 0
    left: int = 0
    sets: list[str] = field(default_factory=list)


def enter(connection: Connection, lines: Iterable[Line], now: float) -> Imported:
    """Enter all lines; ``now`` (Unix seconds) is when nothing later can have been recorded.

    Raises BadLine for the one that was read last.
    """
    done = Imported()
    current: _Set | None = None
    last: tuple[object, ...] = ()
    rest = iter(lines)
    for line in rest:
        if line.kind == "end":
            if line.detail != str(done.lines):
                raise BadLine("detail", f"{line.detail[:20]!r} lines should stand above, not {done.lines}")
            for _ in rest:
                raise BadLine("", "a line after the one of kind end")
            if current is not None:
                current.finish()
            return done
        place = line.place
        if place <= last:
            hint = "lines stand in the order in which sloctl writes them, and none stands twice"
            raise BadLine("", "this line belongs above the one before it, or is the same again", hint)
        last = place
        checking.check(line, now)
        if current is None or line.set != current.name:
            if current is not None:
                current.finish()
            current = _Set(connection, line.set, done)
            done.sets.append(line.set)
        current.add(line)
        done.lines += 1
    raise BadLine("", "the last line, of kind end, is missing", "the file was cut off; nothing was imported")


class _Set:
    """The lines of one set, entered as they come; that they are recorded is entered at the end."""

    def __init__(self, connection: Connection, name: str, done: Imported) -> None:
        self.name = name
        self._connection = connection
        self._done = done
        self._covered: list[tuple[Line, grid.Kept]] = []
        self._slos: dict[str, str] = {}
        self._ids: dict[str, int] | None = None
        self._given = Given()
        self._intervals: dict[entries.DefinitionKey, list[Interval]] = {}
        self._excluded: dict[int, list[Interval]] | None = None
        self._day = 0
        self._today: dict[int, tuple[Day, Day | None, MergedDay]] = {}
        self._buckets: list[tuple[int, Bucket]] = []
        self._sums: list[tuple[str, int, Line]] = []
        self._causes: list[tuple[int, Line, bool, bool]] = []

    def add(self, line: Line) -> None:
        """Enter a line, or hold it until there are enough of them."""
        if line.kind == "coverage":
            self._add_coverage(line)
            return
        if self._ids is None:
            self._begin()
        if line.kind == "annotation":
            journal.annotate(self._connection, self.name, checking.annotation(line))
            return
        if line.kind == "silence":
            self._add_silence(line)
            return
        definition = self._definition(line)
        if line.kind == "exclusion":
            key = (definition, line.namespace, line.service)
            self._intervals.setdefault(key, []).append((number(line.start), number(line.end)))
            return
        self._add_row(line, definition)
        if len(self._buckets) + len(self._sums) + len(self._causes) >= _AT_ONCE:
            self._flush()

    def _add_row(self, line: Line, definition: int) -> None:
        """Hold a bucket, a sum or a cause, once the day that it lies in is loaded."""
        if self._excluded is None:
            self._begin_rows()
        end = number(line.end)
        if (day := grid.up(end, DAY)) != self._day:
            self._flush()
            self._load(day)
        if definition not in self._today:
            raise BadLine("end", "no line of kind coverage says that this was recorded")
        if line.kind == "bucket":
            self._add_bucket(line, definition)
        elif line.kind in ("hour", "day"):
            self._add_sums(line, definition)
        else:
            self._add_cause(line, definition)

    def _add_coverage(self, line: Line) -> None:
        if self._slos.setdefault(line.slo_id, line.slo) != line.slo:
            raise BadLine("slo", f"the slo_id belongs to the SLO {self._slos[line.slo_id]!r}")
        self._covered.append((line, checking.kept(line)))
        # The order of lines lets each be held against the one above.
        if len(self._covered) > 1:
            (before, kept), (_, now) = self._covered[-2:]
            same_day = grid.up(number(before.end), DAY) == grid.up(number(line.start) + STEP, DAY)
            if before.slo_id == line.slo_id and (
                number(line.start) < number(before.end) or (same_day and kept != now)
            ):
                raise BadLine("start", "contradicts the line above it")

    def _begin(self) -> None:
        self._ids = coverage.lock(self._connection, self.name, self._slos)
        for line, kept in self._covered:
            self._given.add(self._ids[line.slo_id], (number(line.start), number(line.end)), kept)
        self._covered.clear()

    def _definition(self, line: Line) -> int:
        assert self._ids is not None
        if line.slo_id not in self._slos:
            raise BadLine("slo_id", "no line of kind coverage names it")
        if self._slos[line.slo_id] != line.slo:
            raise BadLine("slo", f"the slo_id belongs to the SLO {self._slos[line.slo_id]!r}")
        return self._ids[line.slo_id]

    def _add_silence(self, line: Line) -> None:
        muted = checking.silence(line)
        table = schema.silences
        known = sa.select(table.c.ref).where(table.c.set_name == self.name, table.c.ref == muted.ref)
        if self._connection.execute(known).first() is None:
            journal.remember(self._connection, self.name, [muted])

    def _begin_rows(self) -> None:
        """Leave out what the file leaves out, but for buckets that the ledger knows better."""
        series = entries.SeriesIds(self._connection, self.name)
        series.want_keys(self._intervals)
        series.make()
        merged: dict[int, list[Interval]] = {}
        for key, intervals in self._intervals.items():
            known = coverage.read(self._connection, {key[0]}, (intervals[0][0], intervals[-1][1]))
            open_intervals = [
                part
                for interval in intervals
                for day in grid.days_of(interval)
                for part in grid.intervals_of(
                    day, grid.bits(day, interval) & ~known.get((day, key[0]), Day()).mask
                )
            ]
            if open_intervals:
                merged[series.ids[key]] = grid.joined(open_intervals)
        exclusion.join(self._connection, merged)
        self._excluded = exclusion.intervals_by_series(
            self._connection, series.ids.values(), (0, grid.LATEST)
        )

    def _load(self, day: int) -> None:
        """What the file and the ledger know of a day."""
        assert self._ids is not None
        given = self._given.on(day)
        have = coverage.read(self._connection, given, (day - DAY, day))
        self._day = day
        self._today = {}
        for definition, said in given.items():
            known = have.get((day, definition))
            self._today[definition] = (said, known, merge(said, known))

    def _add_bucket(self, line: Line, definition: int) -> None:
        end = number(line.end)
        said, _, merged = self._today[definition]
        bit = 1 << grid.bit_of(end)
        if not said.mask & bit or not said.kept.bucket(end):
            raise BadLine("end", "no line of kind coverage says that this bucket was recorded and is kept")
        intervals = self._intervals.get((definition, line.namespace, line.service), ())
        if bool(line.excluded) is not exclusion.within(end, intervals):
            raise BadLine("excluded", "does not follow from the lines of kind exclusion")
        if merged.taken & bit:
            bucket = Bucket(
                line.namespace,
                line.service,
                end,
                number(line.total),
                number(line.bad),
                number(line.gap_seconds),
                number(line.carried_seconds),
            )
            self._buckets.append((definition, bucket))

    def _add_sums(self, line: Line, definition: int) -> None:
        end = number(line.end)
        said, _, merged = self._today[definition]
        size = 12 if line.kind == "hour" else 288
        last = grid.bit_of(end) + 1
        unit = ((1 << size) - 1) << (last - size)
        if not said.mask & unit:
            raise BadLine("end", "no line of kind coverage says that this was recorded")
        if said.kept.bucket(end) or said.kept.hourly is (line.kind == "day"):
            raise BadLine("kind", "follows from other lines, as the line of kind coverage says")
        if merged.taken & unit:
            self._sums.append((line.kind, definition, line))

    def _add_cause(self, line: Line, definition: int) -> None:
        end = number(line.end)
        said, known, merged = self._today[definition]
        fine = said.kept.fine == grid.ALL_HOURS
        alone = known is None or not known.mask
        if line.kind == "cause_day":
            if fine:
                raise BadLine("kind", "follows from other lines, as the line of kind coverage says")
            if alone:
                self._causes.append((definition, line, False, True))
            return
        bit = 1 << grid.bit_of(end)
        if not said.mask & bit or not said.kept.bucket(end):
            raise BadLine("end", "no line of kind coverage says that this bucket was recorded and is kept")
        if merged.taken & bit:
            # Of a day that comes with its own sums by cause, buckets are in them already.
            self._causes.append((definition, line, merged.after.kept.bucket(end), fine or not alone))

    def _flush(self) -> None:
        """Enter the lines that were held."""
        if not (self._buckets or self._sums or self._causes):
            return
        series = entries.SeriesIds(self._connection, self.name)
        series.want_keys(
            (definition, bucket.namespace, bucket.service) for definition, bucket in self._buckets
        )
        for _, definition, line in self._sums:
            series.want_keys([(definition, line.namespace, line.service)])
        series.make()
        known = {(self._day, definition): today[2].after for definition, today in self._today.items()}
        transaction = entries.Transaction(known)
        transaction.excluded = self._excluded or {}
        by_definition: dict[int, list[Bucket]] = {}
        for definition, bucket in self._buckets:
            by_definition.setdefault(definition, []).append(bucket)
        for definition, buckets in by_definition.items():
            transaction.add_buckets(definition, buckets, series)
        transaction.write(self._connection)
        self._write_sums(series)
        self._write_causes(series)
        self._buckets, self._sums, self._causes = [], [], []

    def _write_sums(self, series: entries.SeriesIds) -> None:
        hours: dict[rollup.RowKey, Sequence[int]] = {}
        days: dict[rollup.RowKey, list[int]] = {}
        for kind, definition, line in self._sums:
            place = (number(line.end), series.ids[definition, line.namespace, line.service])
            values = [
                *(number(line.total), number(line.bad), number(line.gap_seconds), number(line.excluded)),
                *(number(line.excluded_total), number(line.excluded_bad), number(line.peak)),
            ]
            if kind == "hour" and self._today[definition][2].after.kept.hourly:
                hours[place] = values
            rollup.gather(days.setdefault((self._day, place[1]), [0] * 7), values)
        rollup.add(self._connection, "hours", hours)
        rollup.add(self._connection, "days", days)

    def _write_causes(self, series: entries.SeriesIds) -> None:
        if not self._causes:
            return
        labels = {entries.labels_from(line.detail) for _, line, _, _ in self._causes}
        numbers = entries.cause_ids(self._connection, labels)
        rows: list[tuple[int, int, int, int]] = []
        by_day: dict[tuple[int, int, int], int] = {}
        for definition, line, bucket, counts in self._causes:
            of = series.ids.get((definition, line.namespace, line.service))
            if of is None:
                raise BadLine(
                    "service", "a cause of a service without events, in this line or shortly above it"
                )
            end, cause, bad = number(line.end), numbers[entries.labels_from(line.detail)], number(line.bad)
            if bucket:
                rows.append((end, of, cause, bad))
            excluded = line.kind == "cause" and exclusion.within(end, (self._excluded or {}).get(of, ()))
            if counts and not excluded:
                place = (self._day, of, cause)
                by_day[place] = by_day.get(place, 0) + bad
        bulk.insert(self._connection, schema.cause_buckets, ("time", "series", "cause", "bad"), sorted(rows))
        rollup.add_causes(self._connection, by_day)

    def finish(self) -> None:
        """Enter what was held, and that all of it is recorded."""
        if self._ids is None:
            self._begin()
        if self._excluded is None:
            self._begin_rows()
        self._flush()
        bounds: dict[int, Interval] = {}
        for day in self._given.days():
            self._load(day)
            after: dict[tuple[int, int], Day] = {}
            for definition, (_, _, merged) in self._today.items():
                self._done.left += merged.left
                if merged.taken:
                    self._done.buckets += merged.taken.bit_count()
                    after[day, definition] = merged.after
                    intervals = list(grid.intervals_of(day, merged.taken))
                    begun, ended = bounds.get(definition, (intervals[0][0], intervals[-1][1]))
                    bounds[definition] = (min(begun, intervals[0][0]), max(ended, intervals[-1][1]))
            coverage.replace(self._connection, after)
        coverage.extend(self._connection, bounds)


_HOUR = (1 << 12) - 1
Range = tuple[int, int, grid.Kept]
"""An interval that was recorded, and what is kept of it."""


class Given:
    """What an export says was recorded of the definitions of a set: ranges, ascending and apart."""

    def __init__(self) -> None:
        self._ranges: dict[int, list[Range]] = {}

    def add(self, definition: int, interval: Interval, kept: grid.Kept) -> bool:
        """Enter a range; whether it lies behind the last one and does not contradict it about their common day."""
        ranges = self._ranges.setdefault(definition, [])
        if ranges:
            _, end, before = ranges[-1]
            if interval[0] < end or (
                before != kept and grid.up(end, DAY) == grid.up(interval[0] + STEP, DAY)
            ):
                return False
        ranges.append((*interval, kept))
        return True

    def days(self) -> list[int]:
        """The ends of all days of which anything was recorded."""
        found: set[int] = set()
        for ranges in self._ranges.values():
            for start, end, _ in ranges:
                found.update(grid.days_of((start, end)))
        return sorted(found)

    def on(self, day: int) -> dict[int, Day]:
        """What is said of the day, of each definition of which anything is."""
        found: dict[int, Day] = {}
        for definition, ranges in self._ranges.items():
            mask, kept = 0, grid.Kept()
            for start, end, state in ranges[bisect_right(ranges, day - DAY, key=itemgetter(1)) :]:
                if start >= day:
                    break
                mask, kept = mask | grid.bits(day, (start, end)), state
            if mask:
                found[definition] = Day(mask, kept)
        return found


class MergedDay(NamedTuple):
    """A day of a definition: which buckets are taken, how many are not, and what is kept afterwards."""

    taken: int
    left: int
    after: Day


def merge(given: Day, have: Day | None) -> MergedDay:
    """Take what is new of ``given``."""
    if have is None:
        return MergedDay(given.mask, 0, given)
    if not given.kept.hourly:
        taken = 0 if have.mask else given.mask
    elif given.kept.fine == grid.ALL_HOURS:
        taken = given.mask & ~have.mask
    else:
        taken = 0
        for hour in range(24):
            some = given.mask & _HOUR << 12 * hour
            if given.kept.fine >> hour & 1:
                taken |= some & ~have.mask
            elif not some & have.mask:
                taken |= some
    fine, hourly = have.kept
    if taken:
        for hour in range(24):
            if taken >> 12 * hour & _HOUR and not given.kept.fine >> hour & 1:
                fine &= ~(1 << hour)
        hourly = hourly and given.kept.hourly
    left = given.mask & ~have.mask & ~taken
    kept = grid.Kept(fine if hourly else 0, hourly)
    return MergedDay(taken, left.bit_count(), Day(have.mask | taken, kept))
