"""Fixtures of ledgers on real databases, and a ledger in plain Python to compare them with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sloctl.ledger.protocol import Batch, Bucket, CauseLabels, Interval, Sums
from sloctl.ledger.store import DatabaseLedger, open_ledger
from sloctl.model import SeriesKey
from sloctl.settings.secret import Secret
from tests.support.postgres import Cluster, running_cluster

DAY = 86400
T0 = 20_000 * DAY
"""The beginning of a UTC day."""
STEP = 300


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> str:
    """A database with the ledger's tables, to be copied."""
    url = cluster.new_database()
    open_ledger(Secret(url)).close()
    return url.rpartition("/")[2]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def postgres_url(cluster: Cluster, template: str) -> Iterator[str]:
    url = cluster.new_database(template)
    yield url
    cluster.drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def ledger(url: str) -> Iterator[DatabaseLedger]:
    with open_ledger(Secret(url)) as opened:
        yield opened


@dataclass
class Row:
    """What a bucket of a service holds."""

    total: int
    bad: int
    gap: int
    why: dict[CauseLabels, int]
    excluded: bool
    carried: int = 0


@dataclass
class Naive:
    """What a ledger should say: every bucket in a dictionary, nothing summed in advance, nothing removed."""

    rows: dict[tuple[SeriesKey, int], Row] = field(default_factory=dict)
    covered: set[tuple[str, int]] = field(default_factory=set)
    excluded: dict[SeriesKey, set[int]] = field(default_factory=dict)
    without_buckets: set[tuple[str, int]] = field(default_factory=set)
    """Hours, by their end, whose buckets were removed."""
    without_hours: set[tuple[str, int]] = field(default_factory=set)

    def record(self, batches: Sequence[Batch]) -> int:
        added = 0
        for batch in batches:
            times = range(batch.interval[0] + STEP, batch.interval[1] + 1, STEP)
            new = {end for end in times if (batch.slo_id, end) not in self.covered}
            added += len(new)
            self.covered |= {(batch.slo_id, end) for end in new}
            for bucket in batch.buckets:
                if bucket.end in new and (bucket.total or bucket.gap):
                    key = (batch.slo_id, bucket.namespace, bucket.service)
                    excluded = bucket.end in self.excluded.get(key, ())
                    self.rows[key, bucket.end] = Row(
                        bucket.total, bucket.bad, bucket.gap, {}, excluded, bucket.carried
                    )
            for cause in batch.causes:
                row = self.rows.get(((batch.slo_id, cause.namespace, cause.service), cause.end))
                if cause.end in new and cause.bad and row and row.bad:
                    row.why[cause.labels] = cause.bad
        return added

    def exclude(self, excluded: Mapping[SeriesKey, Sequence[Interval]], start: int, end: int) -> int:
        changed = 0
        for key in {key for key, _ in self.rows}:
            intervals = excluded.get(key, ())
            wanted = {time for first, last in intervals for time in range(first + STEP, last + 1, STEP)}
            kept = {time for time in self.excluded.get(key, set()) if not start < time <= end}
            self.excluded[key] = kept | {time for time in wanted if start < time <= end}
        for (key, time), row in self.rows.items():
            flag = time in self.excluded.get(key, ())
            if start < time <= end and flag != row.excluded and self.has_bucket(key[0], time):
                row.excluded = flag
                changed += 1
        return changed

    def prune(self, buckets: int, hours: int, edges: Sequence[int]) -> None:
        """Without what ended before ``buckets`` and ``hours``, both at the beginning of a day."""
        spared = {edge // 3600 * 3600 for edge in edges if edge % 3600}
        for slo_id, time in self.covered:
            day = -(-time // DAY) * DAY
            if day <= buckets:  # the whole day, and what else of it may come
                self.without_buckets |= {
                    (slo_id, end)
                    for end in range(day - DAY + 3600, day + 1, 3600)
                    if (end - 3600) % DAY not in spared
                }
            if day <= hours:
                self.without_hours.add((slo_id, day))
                self.without_buckets |= {(slo_id, end) for end in range(day - DAY + 3600, day + 1, 3600)}

    def has_bucket(self, slo_id: str, end: int) -> bool:
        return (slo_id, -(-end // 3600) * 3600) not in self.without_buckets

    def inward(self, slo_id: str, interval: Interval) -> Interval:
        """Where the edges of an interval go for want of rows."""
        start, end = interval
        if start % 3600 and not self.has_bucket(slo_id, start + STEP):
            start = -(-start // 3600) * 3600
        if start % DAY and (slo_id, -(-start // DAY) * DAY) in self.without_hours:
            start = -(-start // DAY) * DAY
        if end % 3600 and not self.has_bucket(slo_id, end):
            end = end // 3600 * 3600
        if end % DAY and (slo_id, -(-end // DAY) * DAY) in self.without_hours:
            end = end // DAY * DAY
        return start, end

    def sums(self, interval: Interval) -> dict[SeriesKey, Sums]:
        found: dict[SeriesKey, Sums] = {}
        for (key, end), row in self.rows.items():
            start, last = self.inward(key[0], interval)
            if start < end <= last:
                if row.excluded:
                    more = Sums(0, 0, 0, STEP if row.total else 0, row.total, row.bad)
                else:
                    more = Sums(row.total, row.bad, row.gap)
                found[key] = found.get(key, Sums()) + more
        return {key: sums for key, sums in found.items() if sums != Sums()}

    def causes(self, interval: Interval) -> dict[SeriesKey, dict[CauseLabels, int]]:
        """Of an interval whose buckets are all kept."""
        found: dict[SeriesKey, dict[CauseLabels, int]] = {}
        for (key, end), row in self.rows.items():
            if interval[0] < end <= interval[1] and not row.excluded:
                for labels, bad in row.why.items():
                    have = found.setdefault(key, {})
                    have[labels] = have.get(labels, 0) + bad
        return found

    def peaks(self, interval: Interval) -> dict[SeriesKey, int]:
        found: dict[SeriesKey, int] = {}
        for (key, end), row in self.rows.items():
            start, last = self.inward(key[0], interval)
            if start < end <= last and row.total and not row.carried:
                found[key] = max(found.get(key, 0), row.total)
        return found

    def carried(self, interval: Interval) -> dict[SeriesKey, list[Bucket]]:
        """Of an interval whose buckets are all kept."""
        found: dict[SeriesKey, list[Bucket]] = {}
        for (key, end), row in sorted(self.rows.items()):
            if interval[0] < end <= interval[1] and row.carried and not row.excluded:
                bucket = Bucket(key[1], key[2], end, row.total, row.bad, row.gap, row.carried)
                found.setdefault(key, []).append(bucket)
        return found

    def missing(self, slo_id: str, start: int, end: int) -> list[Interval]:
        intervals: list[Interval] = []
        for time in range(start + STEP, end + 1, STEP):
            if (slo_id, time) not in self.covered:
                if intervals and intervals[-1][1] == time - STEP:
                    intervals[-1] = (intervals[-1][0], time)
                else:
                    intervals.append((time - STEP, time))
        return intervals
