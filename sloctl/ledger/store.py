"""The ledger as jobs and reports see it: ``sloctl.ledger.protocol.Ledger`` on a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from sloctl.ledger import causes, coverage, entries, exclusion, grid, journal, locks, pruning, sums
from sloctl.ledger import repairs as repairing
from sloctl.ledger.database import Database
from sloctl.ledger.protocol import (
    Annotation,
    Batch,
    Bucket,
    CauseLabels,
    Interval,
    JobRun,
    Keep,
    MutedInterval,
    Pruned,
    Repair,
    Sums,
)
from sloctl.model import SeriesKey
from sloctl.settings.secret import Secret


class DatabaseLedger:
    """A ledger in SQLite or PostgreSQL. Methods are those of :class:`sloctl.ledger.protocol.Ledger`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; may be called twice."""
        self.database.close()

    @property
    def name(self) -> str:
        """Its address, without user and password."""
        return self.database.name

    def record(self, set_name: str, batches: Sequence[Batch]) -> int:
        """See :meth:`sloctl.ledger.protocol.Ledger.record`.

        Raises ValueError for what cannot be true, before anything is written.
        """
        for batch in batches:
            entries.check(batch)
        added = 0
        for group in entries.transactions(
            [batch for batch in batches if batch.interval[0] < batch.interval[1]]
        ):
            added += self.database.write(
                lambda connection, group=group: entries.enter(connection, set_name, group)  # type: ignore[misc]
            )
        return added

    def buckets(
        self, set_name: str, slo_ids: Sequence[str], interval: Interval
    ) -> Mapping[str, Sequence[Bucket]]:
        """See :meth:`sloctl.ledger.protocol.Ledger.buckets`."""
        return self.database.read(
            lambda connection: repairing.buckets(connection, set_name, slo_ids, interval)
        )

    def kept(self, set_name: str, slo_ids: Sequence[str], interval: Interval) -> Mapping[str, frozenset[int]]:
        """See :meth:`sloctl.ledger.protocol.Ledger.kept`."""
        return self.database.read(lambda connection: repairing.kept(connection, set_name, slo_ids, interval))

    def amend(self, set_name: str, repairs: Sequence[Repair]) -> int:
        """See :meth:`sloctl.ledger.protocol.Ledger.amend`."""
        if not repairs:
            return 0
        return self.database.write(lambda connection: repairing.amend(connection, set_name, repairs))

    def repairs(self, set_name: str, since: float = 0.0) -> Sequence[Repair]:
        """See :meth:`sloctl.ledger.protocol.Ledger.repairs`."""
        return self.database.read(lambda connection: repairing.journal(connection, set_name, since))

    def missing(
        self, set_name: str, slo_ids: Sequence[str], start: int, end: int
    ) -> Mapping[str, Sequence[Interval]]:
        """See :meth:`sloctl.ledger.protocol.Ledger.missing`."""
        grid.check_interval((start, max(start, end)))
        return self.database.read(
            lambda connection: coverage.missing(connection, set_name, slo_ids, start, end)
        )

    def newest(self, set_name: str) -> Mapping[str, int]:
        """See :meth:`sloctl.ledger.protocol.Ledger.newest`."""
        return self.database.read(lambda connection: coverage.bounds(connection, set_name, "newest"))

    def oldest(self, set_name: str) -> Mapping[str, int]:
        """See :meth:`sloctl.ledger.protocol.Ledger.oldest`."""
        return self.database.read(lambda connection: coverage.bounds(connection, set_name, "oldest"))

    def keys(self, set_name: str) -> Sequence[SeriesKey]:
        """See :meth:`sloctl.ledger.protocol.Ledger.keys`."""
        series = self.database.read(lambda connection: sums.all_series(connection, set_name))
        return sorted(key for _, key in series.values())

    def sums(self, set_name: str, intervals: Sequence[Interval]) -> Sequence[Mapping[SeriesKey, Sums]]:
        """See :meth:`sloctl.ledger.protocol.Ledger.sums`."""
        return self.database.read(lambda connection: sums.sums(connection, set_name, intervals))

    def peaks(self, set_name: str, start: int, end: int) -> Mapping[SeriesKey, int]:
        """See :meth:`sloctl.ledger.protocol.Ledger.peaks`; where buckets were removed, their hours' and days' are
        known."""
        return self.database.read(lambda connection: sums.peaks(connection, set_name, (start, end)))

    def carried(self, set_name: str, start: int, end: int) -> Mapping[SeriesKey, Sequence[Bucket]]:
        """See :meth:`sloctl.ledger.protocol.Ledger.carried`."""
        return self.database.read(lambda connection: sums.carried(connection, set_name, (start, end)))

    def causes(self, set_name: str, start: int, end: int) -> Mapping[SeriesKey, Mapping[CauseLabels, int]]:
        """See :meth:`sloctl.ledger.protocol.Ledger.causes`; without its buckets, an edge moves inwards to the next
        day."""
        return self.database.read(lambda connection: causes.causes(connection, set_name, (start, end)))

    def exclude(
        self, set_name: str, excluded: Mapping[SeriesKey, Sequence[Interval]], start: int, end: int
    ) -> int:
        """See :meth:`sloctl.ledger.protocol.Ledger.exclude`; buckets that were removed stay in the sums as they
        were."""
        return self.database.write(
            lambda connection: exclusion.exclude(connection, set_name, excluded, (start, end))
        )

    def prune(self, set_name: str, keep: Keep, now: int, edges: Sequence[int] = ()) -> Pruned:
        """See :meth:`sloctl.ledger.protocol.Ledger.prune`: several transactions, each of which leaves a true ledger."""
        return pruning.prune(self.database, set_name, keep, now, edges)

    def remember(self, set_name: str, muted: Sequence[MutedInterval]) -> None:
        """See :meth:`sloctl.ledger.protocol.Ledger.remember`."""
        if muted:
            self.database.write(lambda connection: journal.remember(connection, set_name, muted))

    def annotate(self, set_name: str, said: Annotation) -> bool:
        """See :meth:`sloctl.ledger.protocol.Ledger.annotate`."""
        return self.database.write(lambda connection: journal.annotate(connection, set_name, said))

    def annotations(self, set_name: str, start: int, end: int) -> Sequence[Annotation]:
        """See :meth:`sloctl.ledger.protocol.Ledger.annotations`."""
        return self.database.read(lambda connection: journal.said_of(connection, set_name, start, end))

    def muted(self, set_name: str) -> Sequence[MutedInterval]:
        """See :meth:`sloctl.ledger.protocol.Ledger.muted`."""
        return self.database.read(lambda connection: journal.muted(connection, set_name))

    def lock(self, name: str, lease: float = 60.0) -> AbstractContextManager[bool]:
        """See :meth:`sloctl.ledger.protocol.Ledger.lock`."""
        return locks.hold(self.database, name, lease)

    def note(self, set_name: str, run: JobRun) -> None:
        """See :meth:`sloctl.ledger.protocol.Ledger.note`."""
        self.database.write(
            lambda connection: journal.note(connection, set_name, run, locks.clock(connection))
        )

    def runs(self, set_name: str) -> Mapping[str, JobRun]:
        """See :meth:`sloctl.ledger.protocol.Ledger.runs`."""
        return self.database.read(lambda connection: journal.last_runs(connection, set_name))


def open_ledger(url: Secret) -> DatabaseLedger:
    """The ledger at an address, made or brought up to date if need be; a context manager that closes it.

    Raises UsageError for an address that cannot be one or a file that is no ledger, BackendError where it cannot be
    reached.
    """
    return DatabaseLedger(Database(url))
