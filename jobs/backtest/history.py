"""Events of the past by SLO, service and step: as rules recorded them in Prometheus, or from the ledger.

The five-minute grid is read whole. One-minute tiles, five times as many, are read where they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jobs.budgets.collected import key_of
from jobs.budgets.lineage import Lineage
from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource, silent
from sloctl.errors import UsageError
from sloctl.ledger.protocol import MICRO, Ledger
from sloctl.model import GRID, TILE, Matcher, SeriesKey, SloSet

Values = NDArray[np.float64]
CHUNK = 86400
"""Seconds that are read at a time."""
MOST = 60_000_000
"""Values that are held: half a gigabyte for total events, and as much for bad ones."""


@dataclass
class Events:
    """Bad and total events of the steps that end at ``start + step``, … (Unix seconds), shape (series, steps).

    ``there`` says where there is a record; without one, both are 0.
    """

    start: int
    step: int
    keys: list[SeriesKey]
    total: Values
    bad: Values
    there: NDArray[np.bool_]

    @property
    def steps(self) -> int:
        """How many."""
        return int(self.total.shape[1])

    def end(self, number: int) -> int:
        """When a step ends, Unix seconds."""
        return self.start + (number + 1) * self.step


class History(Protocol):
    """Where the past is read. Times are Unix seconds, multiples of 300. Raises ``BackendError``."""

    fine: int
    """Seconds of the finest step."""

    def grid(self, start: int, end: int) -> Events:
        """All events of the five-minute grid."""

    def tiles(self, start: int, end: int, keys: Collection[SeriesKey]) -> Events:
        """Events of some series in the finest steps."""

    @property
    def doubts(self) -> Sequence[str]:
        """What leaves in doubt whether all was read."""


@dataclass
class _Table:
    """Rows that are found while reading."""

    start: int
    step: int
    steps: int
    rows: dict[SeriesKey, int] = field(default_factory=dict)
    values: dict[str, list[Values]] = field(default_factory=lambda: {"total": [], "bad": []})
    there: list[NDArray[np.bool_]] = field(default_factory=list)

    def row(self, key: SeriesKey) -> int:
        """The row of a series, made where it is new."""
        if key not in self.rows:
            if (len(self.rows) + 1) * self.steps > MOST:
                raise UsageError(
                    f"more than {MOST:,} steps are to be replayed",
                    hint="take less time, or some services: --service, --namespace, --owner",
                )
            self.rows[key] = len(self.rows)
            for rows in self.values.values():
                rows.append(np.zeros(self.steps))
            self.there.append(np.zeros(self.steps, bool))
        return self.rows[key]

    def events(self) -> Events:
        """All of it."""
        shape = (0, self.steps)

        def stacked(rows: list[Values]) -> Values:
            return np.stack(rows) if rows else np.zeros(shape)

        there = np.stack(self.there) if self.there else np.zeros(shape, bool)
        return Events(
            self.start, self.step, list(self.rows), stacked(self.values["total"]), stacked(self.values["bad"]), there
        )  # fmt: skip


class RecordedHistory:
    """What the rules of a set recorded."""

    fine = TILE

    def __init__(
        self, source: MetricSource, slo_set: SloSet, progress: Callable[[float, str], object] = silent
    ) -> None:
        self._source = Heard(source)
        self._set = slo_set
        self._progress = progress

    @property
    def doubts(self) -> Sequence[str]:
        """See :class:`History`."""
        return self._source.doubts

    def grid(self, start: int, end: int) -> Events:
        """See :class:`History`."""
        table = _Table(start, GRID, (end - start) // GRID)
        where = [Matcher(naming.SLO_SET, "=", self._set.name)]
        self._read(table, where, promql.event_metrics(GRID), start, end)
        return table.events()

    def tiles(self, start: int, end: int, keys: Collection[SeriesKey]) -> Events:
        """See :class:`History`."""
        table = _Table(start, TILE, (end - start) // TILE)
        by_id: dict[str, set[str]] = {}
        for slo_id, _, service in keys:
            by_id.setdefault(slo_id, set()).add(service)
        names = sorted({service for services in by_id.values() for service in services})
        parts: list[list[str]] = [[]]
        for name in names:  # no query is longer than servers take
            if sum(len(one) + 3 for one in parts[-1]) + len(name) > promql.LONGEST // 2:
                parts.append([])
            parts[-1].append(name)
        for part in parts:
            where = [
                Matcher(naming.SLO_SET, "=", self._set.name),
                Matcher(naming.SERVICE, "=~", "|".join(map(promql.regex_quote, part))),
            ]
            self._read(table, where, promql.event_metrics(TILE), start, end, frozenset(keys))
        return table.events()

    def _read(
        self,
        table: _Table,
        where: Sequence[Matcher],
        metrics: tuple[str, str],
        start: int,
        end: int,
        only: Collection[SeriesKey] = (),
    ) -> None:
        by = ", ".join((naming.SLO_ID, *naming.IDENTITY))
        span = promql.milliseconds(table.step)
        for first in range(start, end, CHUNK):
            last = min(first + CHUNK, end)
            instants = (
                datetime.fromtimestamp(first + table.step, UTC),
                datetime.fromtimestamp(last, UTC),
                timedelta(seconds=table.step),
            )
            for kind, metric in zip(("bad", "total"), metrics, strict=True):
                series = promql.selector(metric, where)
                expr = f"sum by ({by}) (sum_over_time({series}[{span}]))"
                # Most steps have no bad event, and need not be sent.
                self._enter(
                    table, kind, self._source.query_range(f"{expr} > 0" if kind == "bad" else expr, *instants), only
                )  # fmt: skip
            self._progress((last - start) / (end - start), "reading recorded events")

    @staticmethod
    def _enter(
        table: _Table, kind: str, answer: Sequence[Mapping[str, object]], only: Collection[SeriesKey]
    ) -> None:
        for item in answer:
            key = key_of(item["metric"])  # type: ignore[arg-type]
            if only and key not in only:
                continue
            found = np.array(item["values"], dtype=np.float64)
            places = np.rint((found[:, 0] - table.start) / table.step).astype(np.int64) - 1
            kept = np.isfinite(found[:, 1]) & (places >= 0) & (places < table.steps)
            row = table.row(key)
            table.values[kind][row][places[kept]] = found[kept, 1]
            if kind == "total":
                table.there[row][places[kept]] = True


class Joined:
    """A history under the definitions of a set: a service that another definition counted before is one series.

    Where both have a record of a step, the one of the named SLO counts: see :mod:`jobs.budgets.lineage`.
    """

    def __init__(self, history: History, slo_set: SloSet) -> None:
        self._history = history
        self._lineage = Lineage(slo_set)
        self._counted: dict[SeriesKey, list[SeriesKey]] = {}
        self.fine = history.fine

    @property
    def doubts(self) -> Sequence[str]:
        """See :class:`History`."""
        return self._history.doubts

    def grid(self, start: int, end: int) -> Events:
        """See :class:`History`."""
        found = self._history.grid(start, end)
        for key in found.keys:
            if (now := self._lineage.current(key)) is not None:
                self._counted.setdefault(now, []).append(key)
        return self._joined(found)

    def tiles(self, start: int, end: int, keys: Collection[SeriesKey]) -> Events:
        """See :class:`History`."""
        return self._joined(
            self._history.tiles(start, end, [one for key in keys for one in self._counted.get(key, (key,))])
        )

    def _joined(self, found: Events) -> Events:
        rows: dict[SeriesKey, list[int]] = {}
        for row, key in enumerate(found.keys):
            if (now := self._lineage.current(key)) is not None:
                rows.setdefault(now, []).append(row)
        if list(rows) == found.keys:
            return found
        first = [mine[0] for mine in rows.values()]
        total, bad, there = found.total[first], found.bad[first], found.there[first]
        for place, mine in enumerate(rows.values()):
            for row in mine[1:]:
                named = "/*/" not in found.keys[row][0]
                taken = found.there[row] if named else found.there[row] & ~there[place]
                total[place, taken], bad[place, taken] = found.total[row, taken], found.bad[row, taken]
                there[place] |= taken
        return replace(found, keys=list(rows), total=total, bad=bad, there=there)


class LedgerHistory:
    """What the ledger has, in steps of five minutes; what is excluded from budgets alerts all the same."""

    fine = GRID

    def __init__(self, ledger: Ledger, slo_set: SloSet) -> None:
        self._ledger = ledger
        self._set = slo_set
        self._lineage = Lineage(slo_set)
        self.doubts: Sequence[str] = ()

    def grid(self, start: int, end: int) -> Events:
        """See :class:`History`."""
        return self._events(start, end, ())

    def tiles(self, start: int, end: int, keys: Collection[SeriesKey]) -> Events:
        """See :class:`History`."""
        return self._events(start, end, frozenset(keys))

    def _events(self, start: int, end: int, only: Collection[SeriesKey]) -> Events:
        table = _Table(start, GRID, (end - start) // GRID)
        known = (key for key in self._ledger.keys(self._set.name) if self._lineage.current(key) is not None)
        ids = sorted({slo.id for slo in self._set.slos} | {key[0] for key in known})
        buckets = self._ledger.buckets(self._set.name, ids, (start, end))
        recorded = self._ledger.kept(self._set.name, ids, (start, end))
        for slo_id, found in buckets.items():
            for bucket in found:
                key = (slo_id, bucket.namespace, bucket.service)
                place = (bucket.end - start) // GRID - 1
                if not bucket.service or (only and key not in only) or not 0 <= place < table.steps:
                    continue
                row = table.row(key)
                table.values["total"][row][place] += bucket.total / MICRO
                table.values["bad"][row][place] += bucket.bad / MICRO
        for key, row in table.rows.items():
            ends = np.fromiter(recorded.get(key[0], ()), dtype=np.int64)
            table.there[row][(ends - start) // GRID - 1] = True
        return table.events()
