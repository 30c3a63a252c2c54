"""What jobs see of the ledger: protocols and plain data, never the database behind them.

Times are Unix seconds. A bucket is the five minutes up to its ``end``, a multiple of 300; an interval ``(start, end)``
has the buckets that end after ``start`` and not after ``end``, both multiples of 300. Events are counted in whole
micro-events (:data:`MICRO`): sums of whole numbers are the same in any order and in any database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from sloctl.model import GRID, SeriesKey

MICRO = 1_000_000
"""Micro-events in an event."""
MOST_MICRO = 9 * 10**18
"""The largest number of micro-events in a bucket; databases hold 64 bits."""

AHEAD = 60
"""Seconds: what was entered by a clock that was further ahead than this counts for nothing once that is set right."""

LONGEST = 2000
"""Characters of a message of a run that are kept, and that an annotation's text and author may have."""

Interval = tuple[int, int]
"""(start, end): after ``start``, up to and with ``end``."""
CauseLabels = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""


def touching(start: datetime, end: datetime) -> Interval:
    """All buckets that the time from ``start`` to ``end`` touches."""
    return int(start.timestamp() // GRID) * GRID, int(-(-end.timestamp() // GRID)) * GRID


class Bucket(NamedTuple):
    """What one bucket of one service holds: micro-events, and the seconds of it that nobody observed.

    ``carried`` is 0 unless counters came back in it that could not be read before: then its events are of so many
    seconds before the bucket, too.
    """

    namespace: str
    service: str
    end: int
    total: int
    bad: int
    gap: int = 0
    carried: int = 0

    @property
    def since(self) -> int:
        """Unix seconds: when the time began of which the bucket has events."""
        return self.end - GRID - self.carried


class Cause(NamedTuple):
    """Bad micro-events of one bucket of one service that have the same cause."""

    namespace: str
    service: str
    end: int
    labels: CauseLabels
    bad: int


@dataclass(frozen=True, slots=True)
class Batch:
    """All that was read of one definition over one interval: a bucket of it without an event had none."""

    slo_id: str
    slo: str
    interval: Interval
    buckets: Sequence[Bucket] = ()
    causes: Sequence[Cause] = ()


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over an interval: micro-events that count, seconds of gaps, and what a maintenance window leaves out.

    ``excluded`` counts seconds of buckets with events that lie in a maintenance window; their gaps do not count.
    """

    total: int = 0
    bad: int = 0
    gap: int = 0
    excluded: int = 0
    excluded_total: int = 0
    excluded_bad: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.total + other.total,
            self.bad + other.bad,
            self.gap + other.gap,
            self.excluded + other.excluded,
            self.excluded_total + other.excluded_total,
            self.excluded_bad + other.excluded_bad,
        )


def by_service(sums: Mapping[SeriesKey, Sums], keys: Iterable[SeriesKey] = ()) -> dict[SeriesKey, Sums]:
    """The sums of services, with the gaps that hold for all services of their definition; ``keys`` without any too."""
    everywhere = {key[0]: Sums(gap=item.gap) for key, item in sums.items() if not key[2]}
    return {key: sums.get(key, Sums()) + everywhere.get(key[0], Sums()) for key in {*sums, *keys} if key[2]}


@dataclass(frozen=True, slots=True)
class MutedInterval:
    """A silence of Alertmanager that excuses what its matchers select, as long as it lasted.

    ``matchers`` are (label, operator, value). ``start`` and ``end`` are Unix seconds, of any second.
    """

    ref: str
    start: int
    end: int
    matchers: tuple[tuple[str, str, str], ...]
    comment: str = ""


AnnotationKind = Literal["deploy", "incident", "note", "override"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """What somebody said of a time: of a service, of all of a namespace (``service`` is empty), or of everything.

    ``start`` and ``end`` are Unix seconds, and the same of a moment.
    """

    start: int
    end: int
    what: AnnotationKind
    text: str
    author: str
    namespace: str = ""
    service: str = ""

    def about(self, key: SeriesKey) -> bool:
        """Whether it is of a service."""
        return self.namespace in ("", key[1]) and self.service in ("", key[2])


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is kept, in seconds: buckets of five minutes, sums of hours, sums of days."""

    buckets: int
    hours: int
    days: int


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were removed."""

    buckets: int = 0
    hours: int = 0
    days: int = 0


@dataclass(frozen=True, slots=True)
class Repair:
    """A recorded bucket of a service that had other numbers when it was read again.

    ``old`` and ``new`` are total and bad micro-events and seconds of gap; ``new`` took the place of ``old`` if the
    ``outcome`` says so, and is kept out otherwise. ``made`` is when (Unix seconds), ``made_by`` who read it.
    ``causes`` are those of the new bad events, ``carried`` is what the new reading said; the journal has neither.
    """

    slo_id: str
    namespace: str
    service: str
    end: int
    old: tuple[int, int, int]
    new: tuple[int, int, int]
    outcome: Literal["repaired", "kept"]
    made: float
    made_by: str
    causes: tuple[tuple[CauseLabels, int], ...] = ()
    carried: int = 0


@dataclass(frozen=True, slots=True)
class JobRun:
    """A run of a job that ended."""

    job: str
    started: datetime
    ended: datetime
    outcome: Literal["succeeded", "failed"]
    message: str = ""

    def ahead(self, now: datetime) -> bool:
        """Whether it is of a time that is yet to come: it was noted by a clock that has been set back since."""
        return max(self.started, self.ended) > now + timedelta(seconds=AHEAD)


class Ledger(Protocol):
    """Where events are kept. Errors are ``sloctl.errors.BackendError`` with ``backend`` "ledger".

    Every method is one transaction (:meth:`record` may be several, each of whole batches): it happens wholly or not
    at all. Safe to use from several threads and processes.
    """

    def record(self, set_name: str, batches: Sequence[Batch]) -> int:
        """Enter what was read; how many buckets of definitions were not known before.

        A bucket that is known stays as it is: what is recorded once is never changed by a later reading.
        """

    def buckets(
        self, set_name: str, slo_ids: Sequence[str], interval: Interval
    ) -> Mapping[str, Sequence[Bucket]]:
        """The buckets of an interval that have events or gaps, as far as they are kept, for each definition."""

    def kept(self, set_name: str, slo_ids: Sequence[str], interval: Interval) -> Mapping[str, frozenset[int]]:
        """The ends of the buckets of an interval that were recorded and are kept as such, for each definition."""

    def amend(self, set_name: str, repairs: Sequence[Repair]) -> int:
        """Put new numbers in the place of old ones, as far as those are still there; how many buckets changed.

        All sums follow. Every repair, and what was kept, is entered into the journal, once. The only way in which a
        recorded bucket changes.
        """

    def repairs(self, set_name: str, since: float = 0.0) -> Sequence[Repair]:
        """The journal of what was repaired or kept since some time (Unix seconds), by time."""

    def missing(
        self, set_name: str, slo_ids: Sequence[str], start: int, end: int
    ) -> Mapping[str, Sequence[Interval]]:
        """The intervals within (start, end) that are not recorded, ascending, for each definition."""

    def newest(self, set_name: str) -> Mapping[str, int]:
        """The end of the newest recorded bucket of each definition that has one."""

    def oldest(self, set_name: str) -> Mapping[str, int]:
        """The beginning of the oldest recorded bucket of each definition that has one."""

    def keys(self, set_name: str) -> Sequence[SeriesKey]:
        """Every definition and service with a row, sorted; of definitions that are gone from the file too."""

    def sums(self, set_name: str, intervals: Sequence[Interval]) -> Sequence[Mapping[SeriesKey, Sums]]:
        """Sums over each interval, of every service with events or gaps in it.

        Days and hours that lie wholly in an interval are read from their sums. Where the finer rows at an edge were
        removed, the edge moves inwards to the next hour or day of which there is a sum.
        """

    def peaks(self, set_name: str, start: int, end: int) -> Mapping[SeriesKey, int]:
        """The most micro-events in one bucket of the interval, of those without events from before it."""

    def carried(self, set_name: str, start: int, end: int) -> Mapping[SeriesKey, Sequence[Bucket]]:
        """The buckets of the interval that have events from before them and count, by time, as far as they are kept."""

    def causes(self, set_name: str, start: int, end: int) -> Mapping[SeriesKey, Mapping[CauseLabels, int]]:
        """Bad micro-events of the interval by cause, without what is excluded."""

    def exclude(
        self, set_name: str, excluded: Mapping[SeriesKey, Sequence[Interval]], start: int, end: int
    ) -> int:
        """Have exactly the buckets within ``excluded`` (keys without one: none) excluded, of all in (start, end).

        How many buckets changed. All sums follow.
        """

    def remember(self, set_name: str, muted: Sequence[MutedInterval]) -> None:
        """Keep silences for good, for Alertmanager forgets them; one that is known by its ``ref`` is replaced."""

    def muted(self, set_name: str) -> Sequence[MutedInterval]:
        """The silences that were remembered, by start."""

    def annotate(self, set_name: str, said: Annotation) -> bool:
        """Enter what somebody said, for good; False if the same is there."""

    def annotations(self, set_name: str, start: int, end: int) -> Sequence[Annotation]:
        """What was said of some time (Unix seconds), by start."""

    def prune(self, set_name: str, keep: Keep, now: int, edges: Sequence[int] = ()) -> Pruned:
        """Remove what is older than ``keep`` says; sums of hours and days stay as they are.

        Ages are reckoned from the set's newest bucket, or from ``now`` (Unix seconds) if that is earlier: a clock that
        is years ahead removes nothing that a right one would keep.

        ``edges`` are seconds of the UTC day (multiples of 300) at which days begin somewhere: the buckets of an hour
        with such an edge inside stay as long as the hours.
        """

    def lock(self, name: str, lease: float = 60.0) -> AbstractContextManager[bool]:
        """Hold a lock for the length of the context, if nobody else holds it; gives whether it is held.

        It is renewed as long as this process lives, and ends ``lease`` seconds after that at the latest; at once if
        the process that held it was on this machine and is gone.
        """

    def note(self, set_name: str, run: JobRun) -> None:
        """Enter a run of a job, unless a later one with the same outcome is known that is not ahead."""

    def runs(self, set_name: str) -> Mapping[str, JobRun]:
        """The last run of each job that succeeded, and under ``job!`` the last one that did not.

        As they were noted: who asks must leave out those that are :meth:`JobRun.ahead`.
        """
