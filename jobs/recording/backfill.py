"""Computes what the rules would have recorded in the past, for a Prometheus that has the raw counters.

Rules start to record when they are loaded; a 30-day budget would otherwise need 30 days to fill. :func:`past` says
what is missing before that, and :func:`days` reads it, the newest day first. What the rules of guardrails, alerts and
burn rates record is left out: these look at now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jobs.budgets import downtime, from_rules
from jobs.budgets.collected import period_seconds
from jobs.budgets.slis import grid_events
from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource, Progress, silent
from sloctl.errors import UsageError
from sloctl.model import GRID, TILE, Slo, SloSet
from sloctl.model.durations import rfc3339
from sloctl.promql import Recording, recording

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FilledSeries:
    """One series: labels with ``__name__``, times in Unix milliseconds, values; both arrays of shape (n,)."""

    labels: dict[str, str]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Backfill:
    """What to fill: the budget grid from ``start`` to ``end``, the fine grid for its last ``tiles`` seconds."""

    source: MetricSource
    slo_set: SloSet
    start: datetime
    end: datetime
    tiles: int = 6 * 3600
    concurrency: int = 2
    from_base: bool = True
    """Whether events are read of the base events, once these are in Prometheus, or of raw counters."""

    def base(self) -> Iterator[FilledSeries]:
        """Everything that is computed from raw series. Raises ``BackendError``."""
        yield from self._all(self._rule, list(self._base_rules()))

    def events(self) -> Iterator[FilledSeries]:
        """Total and bad events of every SLO, once :meth:`base` is in Prometheus. Raises ``BackendError``."""
        yield from self._all(self._events, [(slo, step) for slo in self.slo_set.slos for step in self._steps])

    @property
    def _steps(self) -> tuple[int, ...]:
        return (GRID, TILE) if self.tiles else (GRID,)

    def _asked(self) -> MetricSource:
        """What is filled stays: an answer that is in doubt is refused."""
        return Heard(self.source, strict=True)

    def _first(self, step: int) -> datetime:
        return self.start if step == GRID else max(self.start, self.end - timedelta(seconds=self.tiles))

    def _all(
        self, work: Callable[[T, int], list[FilledSeries]], items: Sequence[tuple[T, int]]
    ) -> Iterator[FilledSeries]:
        with ThreadPoolExecutor(self.concurrency) as pool:
            for found in pool.map(lambda item: work(*item), items):
                yield from found

    def _base_rules(self) -> Iterator[tuple[Recording, int]]:
        # Of SLOs only: guardrails look at now, and a report computes what is not recorded.
        for slos in recording.scopes(self.slo_set):
            for step in self._steps:
                for item in recording.of_scope(self.slo_set, slos, step):
                    if item.raw:
                        yield item, step

    def _rule(self, rule: Recording, step: int) -> list[FilledSeries]:
        found = self._asked().query_range(rule.expr(), self._first(step), self.end, timedelta(seconds=step))
        out = []
        for item in found:
            own = {name: value for name, value in item["metric"].items() if name != "__name__"}
            points = np.array(item["values"], dtype=np.float64)
            times = np.rint(points[:, 0] * 1000).astype(np.int64)
            out.append(FilledSeries({"__name__": rule.record} | own | dict(rule.labels), times, points[:, 1]))
        return out

    def _events(self, slo: Slo, step: int) -> list[FilledSeries]:
        frame = grid_events(
            self._asked(),
            slo,
            self.slo_set.mesh,
            self._first(step),
            self.end,
            step=step,
            from_base=self.from_base,
        )
        bad, total = promql.event_metrics(step)
        out = []
        for (namespace, service), rows in frame.groupby(["namespace", "service"], sort=True):
            own = {naming.NAMESPACE: str(namespace), naming.SERVICE: str(service)}
            times = np.asarray(rows["time"].astype("int64"), dtype=np.int64)
            times = (times + np.int64(500_000)) // np.int64(1_000_000)
            for metric, column in ((total, "total"), (bad, "bad")):
                labels = {"__name__": metric} | recording.slo_labels(self.slo_set, slo) | own
                values = rows[column].to_numpy(dtype=np.float64)
                out.append(FilledSeries({name: text for name, text in labels.items() if text}, times, values))
        return out


@dataclass(frozen=True, slots=True)
class Past:
    """What is missing of the SLOs of one scope, at the instants at which their rules record.

    ``start`` and ``end`` are the first and the last missing instant; ``recorded`` is from when on there is something of
    each definition. ``scraped`` are the instants before which something was scraped: at others, no rule would have been
    evaluated. All in Unix seconds.
    """

    slos: tuple[Slo, ...]
    start: float
    end: float
    recorded: Mapping[str, float]
    scraped: frozenset[float]

    @property
    def steps(self) -> int:
        """How many instants there are from the first to the last."""
        return round((self.end - self.start) / GRID) + 1

    def kept(self, found: FilledSeries) -> FilledSeries:
        """A series without what is recorded already, and without instants at which nothing was scraped."""
        slo_id = found.labels.get(naming.SLO_ID)
        until = self.recorded[slo_id] if slo_id else min(self.recorded.values())
        there = np.array([round(time * 1000) for time in self.scraped], dtype=np.int64)
        keep = (found.times < round(until * 1000)) & np.isin(found.times, there)
        return FilledSeries(found.labels, found.times[keep], found.values[keep])


def past(source: MetricSource, slo_set: SloSet, at: datetime, since: datetime | None = None) -> list[Past]:
    """What is missing within the SLOs' windows, of each scope of which anything is.

    Nothing is filled from before there are counters (``since``, or what ``up`` says). Raises ``BackendError``, and
    UsageError where nobody can know since when there are counters.
    """
    source = Heard(source, strict=True)
    last = from_rules.last_instants(source, slo_set, at)
    known: dict[float, frozenset[float]] = {}
    found = []
    for slos in recording.scopes(slo_set):
        now = max((last[slo.id] for slo in slos if slo.id in last), default=at.timestamp() // GRID * GRID)
        end = datetime.fromtimestamp(now, UTC)
        if now not in known:
            known[now] = frozenset(downtime.scraped(source, slo_set, end))
        scraped = known[now]
        if not scraped and since is None:
            raise UsageError(
                "since when there are counters is not known: the mesh's targets have no 'up'",
                hint="say it: --from 2026-03-01T00:00:00Z",
            )
        period = max(period_seconds(slo, end) for slo in slos) // GRID * GRID
        first = max(now - period + GRID, *([min(scraped)] if scraped else []))
        if since is not None:
            first = max(first, now - (now - since.timestamp()) // GRID * GRID)
        if not scraped:
            scraped = frozenset(now - step * GRID for step in range(round((now - first) / GRID) + 1))
        recorded = {slo.id: _recorded_since(source, slo, first, now) for slo in slos}
        if first < max(recorded.values()):
            found.append(Past(slos, first, min(now, max(recorded.values()) - GRID), recorded, scraped))
    return found


def _recorded_since(source: MetricSource, slo: Slo, first: float, last: float) -> float:
    """From when on the rules of a definition recorded; after the last instant if they did not."""
    start, end = (datetime.fromtimestamp(time, UTC) for time in (first, last))
    series = source.query_range(promql.recorded(naming.OBJECTIVE, slo), start, end, timedelta(seconds=GRID))
    return min((float(time) for item in series for time, _ in item["values"]), default=last + GRID)


def days(
    source: MetricSource, slo_set: SloSet, missing: Sequence[Past], progress: Progress = silent
) -> Iterator[list[FilledSeries]]:
    """The missing series, a day at a time and the newest first. Raises ``BackendError``."""
    number = max((-(-item.steps // DAY) for item in missing), default=0)
    for day in range(number):
        found: list[FilledSeries] = []
        for place, item in enumerate(missing):
            end = item.end - day * DAY * GRID
            if end < item.start:
                continue
            progress(
                (day + place / len(missing)) / number, f"reading {rfc3339(end)[:10]}: {item.slos[0].scope}"
            )
            part = Backfill(
                source,
                replace(slo_set, slos=item.slos),
                datetime.fromtimestamp(max(item.start, end - (DAY - 1) * GRID), UTC),
                datetime.fromtimestamp(end, UTC),
                tiles=0,
                from_base=False,
            )
            kept = (item.kept(series) for read in (part.base, part.events) for series in read())
            found += [series for series in kept if len(series.times)]
        yield found


DAY = 86400 // GRID
"""Steps of the grid that are read, and written, at once."""
