"""Computes what the rules would have recorded in the past, for a Prometheus that has the raw counters.

Rules start to record when they are loaded; a 30-day budget would otherwise need 30 days to fill. Two passes: the
base events from raw counters, then, once these are in Prometheus, the SLOs' events from the base events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from jobs.budgets.slis import grid_events
from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource
from sloctl.model import GRID, TILE, Slo, SloSet
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

    def base(self) -> Iterator[FilledSeries]:
        """Everything that is computed from raw series. Raises ``BackendError``."""
        yield from self._all(self._rule, list(self._base_rules()))

    def events(self) -> Iterator[FilledSeries]:
        """Total and bad events of every SLO, once :meth:`base` is in Prometheus. Raises ``BackendError``."""
        yield from self._all(
            self._events, [(slo, step) for slo in self.slo_set.slos for step in (GRID, TILE)]
        )

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
            for step in (GRID, TILE):
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
            self._asked(), slo, self.slo_set.mesh, self._first(step), self.end, step=step, from_base=True
        )
        bad, total = promql.event_metrics(step)
        out = []
        for (namespace, service), rows in frame.groupby(["namespace", "service"], sort=True):
            own = {naming.NAMESPACE: str(namespace), naming.SERVICE: str(service)}
            times = np.asarray(rows["time"].astype("int64"), dtype=np.int64) // np.int64(1_000_000)
            for metric, column in ((total, "total"), (bad, "bad")):
                labels = {"__name__": metric} | recording.slo_labels(self.slo_set, slo) | own
                values = rows[column].to_numpy(dtype=np.float64)
                out.append(FilledSeries({name: text for name, text in labels.items() if text}, times, values))
        return out
