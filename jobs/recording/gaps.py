"""When Prometheus scraped anything at all: which buckets can be recorded, and what of them nobody observed.

Two times without data look alike and are not. While Prometheus was down, nobody observed anything: a gap, which is
recorded. Before its history begins nothing is known, nor ever will be: this is left open.

What is said of a bucket follows from the samples in it and in its two neighbours, and is said once something was
scraped after its end. So it does not depend on when, nor in which interval, the bucket is read.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sloctl import promql
from sloctl.backends.protocols import MetricSource
from sloctl.ledger.protocol import Bucket, Interval
from sloctl.model import GRID, SloSet
from sloctl.model.durations import duration
from sloctl.report.data import Finding

SHORTEST_GAP = 1.0
"""Seconds: less is rounding."""
_SEARCH = 3600
"""Step of the search for data from before a time without any."""
_FINE = 15
"""Seconds: how finely the first and the last scrape at the edges of a downtime are looked for."""


class Observed:
    """What was observed of an interval: there is something to record from ``begin`` on, and up to ``end``.

    ``horizon`` is how far back a history is looked for. What is odd goes to ``findings``. Raises ``BackendError``.
    """

    def __init__(
        self,
        source: MetricSource,
        slo_set: SloSet,
        interval: Interval,
        horizon: int,
        at: datetime,
        findings: list[Finding],
    ) -> None:
        self._source = source
        self._up = promql.selector("up", slo_set.mesh.matchers)
        self._there = self._present(interval, at)
        known_before = self._needs_past(interval) and self._before(horizon, interval[0])
        if not self._there and not known_before and slo_set.mesh.matchers:
            self._other_targets(interval, at, findings)
            known_before = self._needs_past(interval) and self._before(horizon, interval[0])
        if not self._there:
            self.begin = self.end = interval[0]
            text = "Prometheus has no data of the time that is to be recorded"
            findings.append(Finding("warning", "nothing-to-record", text))
            return
        first, last = min(self._there), max(self._there)
        self.begin = first if first > interval[0] and not known_before else interval[0]
        self.end = min(interval[1], last - GRID)

    def gaps(self, interval: Interval) -> tuple[Bucket, ...]:
        """The seconds of each bucket in which nothing was scraped, as buckets that hold for all services."""
        found = ((end, round(self._gap(end))) for end in range(interval[0] + GRID, interval[1] + 1, GRID))
        return tuple(Bucket("", "", end, 0, 0, min(GRID, gap)) for end, gap in found if gap)

    def _gap(self, end: int) -> float:
        if end not in self._there:
            return GRID
        gap = 0.0
        if end - GRID not in self._there and (first := self._scrape("min", end)) is not None:
            gap += first - (end - GRID)
        if end + GRID not in self._there and (last := self._scrape("max", end)) is not None:
            gap += end - last
        return gap if gap >= SHORTEST_GAP else 0.0

    def _other_targets(self, interval: Interval, at: datetime, findings: list[Finding]) -> None:
        """Look at all targets, where none has the mesh's labels."""
        mesh, self._up = self._up, promql.selector("up", ())
        self._there = self._present(interval, at)
        if self._there:
            text = "no series of 'up' has the labels of 'mesh.matchers': gaps cannot be told from silence"
            findings.append(Finding("warning", "gaps-not-known", text))
        else:
            self._up = mesh

    def _present(self, interval: Interval, at: datetime) -> set[int]:
        """The ends of the buckets with a scrape, from the one that ends at ``interval[0]`` to the one that is open."""
        open_ = int(at.timestamp()) // GRID * GRID
        last = max(interval[1], open_)
        found = self._ends(f"group({self._scraped(GRID)})", interval[0], last, GRID)
        age = at.timestamp() - open_
        if age > 0 and (not found or max(found) <= interval[1]):
            young = self._source.query(f"group({self._scraped(age)})", at)
            found |= {open_ + GRID} if young else set()
        return found

    def _needs_past(self, interval: Interval) -> bool:
        return interval[0] not in self._there

    def _before(self, horizon: int, start: int) -> bool:
        """Whether something was scraped between ``horizon`` and ``start``."""
        steps = -(-(start - horizon) // _SEARCH)
        if steps <= 0:
            return False
        expr = f"group({self._scraped(_SEARCH)})"
        return bool(self._ends(expr, start - (steps - 1) * _SEARCH, start, _SEARCH))

    def _scraped(self, seconds: float) -> str:
        """``up`` within the last seconds, whatever staleness the server knows; its range has no left end."""
        return f"last_over_time({self._up}[{duration(seconds - 0.001)}])"

    def _ends(self, expr: str, start: int, end: int, step: int) -> set[int]:
        first, last = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC)
        series = self._source.query_range(expr, first, last, timedelta(seconds=step))
        return {round(float(time)) for item in series for time, _ in item["values"]}

    def _scrape(self, which: str, end: int) -> float | None:
        """Unix time of the last (``max``) or first (``min``) scrape in the bucket up to ``end``."""
        inner = f"timestamp({self._up})"
        expr = f"{which}({which}_over_time(({inner})[{duration(GRID - 1)}:{_FINE}s]))"
        found = self._source.query(expr, datetime.fromtimestamp(end, UTC))
        value = float(found[0]["value"][1]) if found else None
        return value if value is not None and end - GRID <= value <= end else None
