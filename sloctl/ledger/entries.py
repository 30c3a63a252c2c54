"""Enters batches: what was not known of them, with everything that is summed from it, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from sloctl.ledger import bulk, coverage, exclusion, grid, rollup, schema
from sloctl.ledger.grid import DAY, HOUR, STEP
from sloctl.ledger.protocol import MOST_MICRO, Batch, Bucket, Cause, CauseLabels, Interval

MOST_ROWS = 30_000
"""Rows of a transaction, unless a single batch has more."""

DefinitionKey = tuple[int, str, str]
"""(definition, namespace, service)"""


def transactions(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """The batches in groups that one transaction enters."""
    group: list[Batch] = []
    rows = 0
    for batch in batches:
        size = 1 + len(batch.buckets) + len(batch.causes)
        if group and rows + size > MOST_ROWS:
            yield group
            group, rows = [], 0
        group.append(batch)
        rows += size
    if group:
        yield group


def check(batch: Batch) -> None:
    """Raise ValueError for a batch that cannot be true."""
    grid.check_interval(batch.interval)
    start, end = batch.interval
    _check_texts((batch.slo_id, batch.slo))
    names: set[str] = set()
    seen: set[tuple[str, str, int]] = set()
    for bucket in batch.buckets:
        namespace, service, time, total, bad, gap, carried = bucket
        if not (type(total) is type(bad) is type(gap) is type(carried) is type(time) is int):
            raise ValueError(f"{batch.slo_id}: {bucket!r} has a number that is not whole")
        if (
            not 0 <= bad <= total <= MOST_MICRO
            or not 0 <= gap <= STEP
            or not 0 <= carried <= (HOUR if total else 0)
        ):
            raise ValueError(f"{batch.slo_id}: {bucket!r} cannot be")
        if total and not service:
            raise ValueError(f"{batch.slo_id}: {bucket!r} has events of no service")
        if time % STEP or not start < time <= end:
            raise ValueError(f"{batch.slo_id}: {bucket!r} is not in its batch's interval {batch.interval!r}")
        seen.add((namespace, service, time))
        names.add(namespace)
        names.add(service)
    if len(seen) < len(batch.buckets):
        raise ValueError(f"{batch.slo_id}: two counts of one bucket of one service")
    _check_texts(names)
    _check_causes(batch)


def _check_causes(batch: Batch) -> None:
    start, end = batch.interval
    seen: set[tuple[str, str, int, CauseLabels]] = set()
    for cause in batch.causes:
        namespace, service, time, labels, bad = cause
        if not (type(time) is type(bad) is int) or not 0 <= bad <= MOST_MICRO:
            raise ValueError(f"{batch.slo_id}: {cause!r} cannot be")
        if time % STEP or not start < time <= end:
            raise ValueError(f"{batch.slo_id}: {cause!r} is not in its batch's interval {batch.interval!r}")
        if list(labels) != sorted(dict(labels).items()):
            raise ValueError(f"{batch.slo_id}: the labels of {cause!r} are not sorted by name")
        seen.add((namespace, service, time, labels))
    if len(seen) < len(batch.causes):
        raise ValueError(f"{batch.slo_id}: two values of one cause")
    _check_texts(text for _, _, _, labels in seen for pair in labels for text in pair)


def _check_texts(texts: Iterable[str]) -> None:
    for text in texts:
        if "\0" in text or not _encodable(text):
            raise ValueError(f"{text!r} holds what no database can")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def enter(connection: Connection, set_name: str, batches: Sequence[Batch]) -> int:
    """Enter batches that were checked; how many buckets of definitions were not known."""
    ids = coverage.lock(connection, set_name, {batch.slo_id: batch.slo for batch in batches})
    whole = (min(batch.interval[0] for batch in batches), max(batch.interval[1] for batch in batches))
    known = coverage.read(connection, {ids[batch.slo_id] for batch in batches}, whole)
    series = SeriesIds(connection, set_name)
    transaction = Transaction(known)
    accepted = []
    for batch in batches:
        definition = ids[batch.slo_id]
        if news := transaction.open(definition, batch):
            buckets = [
                bucket for bucket in batch.buckets if (bucket[3] or bucket[5]) and _has(news, bucket[2])
            ]
            series.want(definition, buckets)
            accepted.append((definition, news, batch, buckets))
    series.make()
    transaction.excluded = exclusion.intervals_by_series(connection, series.ids.values(), whole)
    for definition, news, batch, buckets in accepted:
        transaction.add_buckets(definition, buckets, series)
        if batch.causes:
            transaction.add_causes(
                definition, [cause for cause in batch.causes if _has(news, cause[2])], series
            )
    transaction.write(connection)
    return transaction.added


def _has(masks: dict[int, int], end: int) -> bool:
    return bool(masks.get(grid.up(end, DAY), 0) >> grid.bit_of(end) & 1)


class Transaction:
    """What one transaction adds."""

    def __init__(self, known: coverage.Days) -> None:
        self._known = known
        self._masks: dict[tuple[int, int], int] = {}
        self._intervals: dict[int, tuple[int, int]] = {}
        self._rows: list[tuple[int, int, int, int, int, int, int]] = []
        self._hours: dict[rollup.RowKey, list[int]] = {}
        self._without_hour: list[rollup.RowKey] = []
        self._causes: list[tuple[int, int, CauseLabels, int]] = []
        self._cause_days: dict[tuple[int, int, CauseLabels], int] = {}
        self._bad: dict[tuple[int, int], int] = {}
        self.excluded: dict[int, list[Interval]] = {}
        self.added = 0

    def open(self, definition: int, batch: Batch) -> dict[int, int]:
        """The buckets of a batch that are new, as bits by day; from now on they are known."""
        news: dict[int, int] = {}
        for day in grid.days_of(batch.interval):
            place = (day, definition)
            state = self._known.get(place)
            have = (state.mask if state else 0) | self._masks.get(place, 0)
            if new := grid.bits(day, batch.interval) & ~have:
                self._masks[place] = self._masks.get(place, 0) | new
                self.added += new.bit_count()
                news[day] = new
        if news:
            begun, ended = self._intervals.get(definition, batch.interval)
            self._intervals[definition] = (min(begun, batch.interval[0]), max(ended, batch.interval[1]))
        return news

    def _kept(self, time: int, definition: int) -> grid.Kept:
        state = self._known.get((grid.up(time, DAY), definition))
        return state.kept if state else _EVERYTHING

    def add_buckets(self, definition: int, buckets: Sequence[Bucket], series: SeriesIds) -> None:
        """Add the buckets of one batch: as rows as far as those of their hour are kept, and to the sums."""
        hours = self._hours
        for namespace, service, end, total, bad, gap, carried in buckets:
            number = series.ids[definition, namespace, service]
            intervals = self.excluded.get(number)
            excluded = 1 if intervals and exclusion.within(end, intervals) else 0
            kept = self._kept(end, definition)
            if kept.bucket(end):
                self._rows.append((end, number, total, bad, gap, excluded, carried))
            if bad:
                self._bad[end, number] = excluded
            place = (-(-end // HOUR) * HOUR, number)
            have = hours.get(place)
            if have is None:
                have = hours[place] = [0, 0, 0, 0, 0, 0, 0]
                if not kept.hourly:
                    self._without_hour.append(place)
            peak = 0 if carried else total
            if excluded:
                rollup.gather(have, (0, 0, 0, STEP if total else 0, total, bad, peak))
                continue
            have[0] += total
            have[1] += bad
            have[2] += gap
            if peak > have[6]:
                have[6] = peak

    def add_causes(self, definition: int, causes: Sequence[Cause], series: SeriesIds) -> None:
        """Add the causes of one batch; those of a bucket without bad events explain nothing and are left out."""
        for namespace, service, end, labels, bad in causes:
            number = series.ids.get((definition, namespace, service))
            if not bad or number is None or (end, number) not in self._bad:
                continue
            if self._kept(end, definition).bucket(end):
                self._causes.append((end, number, labels, bad))
            if not self._bad[end, number]:
                place = (grid.up(end, DAY), number, labels)
                self._cause_days[place] = self._cause_days.get(place, 0) + bad

    def write(self, connection: Connection) -> None:
        """Write all of it."""
        coverage.add(connection, self._masks)
        coverage.extend(connection, self._intervals)
        columns = ("time", "series", "total", "bad", "gap", "excluded", "carried")
        bulk.insert(connection, schema.buckets, columns, sorted(self._rows))
        days = rollup.up_to(DAY, self._hours)
        for place in self._without_hour:
            del self._hours[place]
        rollup.add(connection, "hours", self._hours)
        rollup.add(connection, "days", days)
        labels = {cause[2] for cause in self._causes} | {labels for _, _, labels in self._cause_days}
        if not labels:
            return
        numbers = cause_ids(connection, labels)
        rows = sorted((end, number, numbers[cause], bad) for end, number, cause, bad in self._causes)
        bulk.insert(connection, schema.cause_buckets, ("time", "series", "cause", "bad"), rows)
        by_day = {
            (day, number, numbers[labels]): bad for (day, number, labels), bad in self._cause_days.items()
        }
        rollup.add_causes(connection, by_day)


_EVERYTHING = grid.Kept()


class SeriesIds:
    """The ids of a set's series; new ones are made at once."""

    def __init__(self, connection: Connection, set_name: str) -> None:
        self._connection = connection
        self._set_name = set_name
        self._new: set[DefinitionKey] = set()
        self.ids: dict[DefinitionKey, int] = {}
        self._read()

    def _read(self) -> None:
        columns = (schema.series.c.definition, schema.series.c.namespace, schema.series.c.service)
        query = sa.select(schema.series.c.id, *columns).join(schema.definitions)
        for number, *key in self._connection.execute(
            query.where(schema.definitions.c.set_name == self._set_name)
        ):
            self.ids[tuple(key)] = number

    def want(self, definition: int, buckets: Iterable[Bucket]) -> None:
        """Note the series of buckets, should they be new."""
        self.want_keys((definition, bucket[0], bucket[1]) for bucket in buckets)

    def want_keys(self, keys: Iterable[DefinitionKey]) -> None:
        """Note some series, should they be new."""
        self._new.update(key for key in keys if key not in self.ids)

    def make(self) -> None:
        """Make those that are new."""
        if self._new:
            bulk.insert(
                self._connection, schema.series, ("definition", "namespace", "service"), sorted(self._new)
            )
            self._read()


def cause_ids(connection: Connection, wanted: set[CauseLabels]) -> dict[CauseLabels, int]:
    """The ids of causes; new ones are made."""
    texts = {labels_text(labels): labels for labels in wanted}
    found: dict[CauseLabels, int] = {}
    for again in (False, True):
        open_texts = sorted(text for text, labels in texts.items() if labels not in found)
        if again:
            # Two writers may make the same one: the second waits for the first, and then reads it.
            rows = [(text,) for text in open_texts]
            bulk.insert(connection, schema.causes, ("labels",), rows, "ON CONFLICT (labels) DO NOTHING")
        for chunk in bulk.chunks(open_texts, 500):
            query = sa.select(schema.causes.c.labels, schema.causes.c.id)
            for text, number in connection.execute(query.where(schema.causes.c.labels.in_(chunk))):
                found[texts[text]] = number
    return found


def labels_text(labels: CauseLabels) -> str:
    """Labels as the column of the same name holds them."""
    return json.dumps(dict(labels), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def labels_from(text: str) -> CauseLabels:
    """The labels of a text from the column."""
    return tuple(sorted(json.loads(text).items()))
