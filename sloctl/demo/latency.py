"""Latencies of a service as Envoy's histograms count them.

Owns the bounds and the drawing of latencies; knows nothing about pods or labels other than ``le``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sloctl.demo.pods import Labels
from sloctl.demo.truth import CountArray
from sloctl.demo.world import Floats, Grid, Service, Slowdown, World
from sloctl.promql.presets import ENVOY_BUCKETS

DURATION = "istio_request_duration_milliseconds"
SLOW = 250.0
"""Milliseconds over which the truth calls a request slow: a bound of the histogram."""

BOUNDS = tuple(float(bound) for bound in ENVOY_BUCKETS)
"""Envoy's default bounds, milliseconds."""


@dataclass(frozen=True)
class Drawn:
    """The histogram's increments per tick.

    ``series`` maps the leading labels (``__name__``, ``le``) to events, ``slow`` counts those over 250 ms.
    """

    series: dict[Labels, CountArray]
    slow: CountArray


class Histograms:
    """The latency distribution of a service in each tick of a grid."""

    def __init__(self, world: World, service: Service, grid: Grid) -> None:
        assert service.latency is not None
        self._sigma = service.latency.sigma
        self._medians = np.full(grid.count, float(service.latency.median))
        for event in world.events:
            if isinstance(event, Slowdown) and event.service == service.name:
                self._medians[grid.span(event.start, event.end)] *= event.factor

    def draw(self, ticks: slice, events: CountArray, random: np.random.Generator) -> Drawn:
        """Latencies of ``events`` (shape: ticks), as the increments of every series of the histogram."""
        medians = self._medians[ticks]
        bins = np.zeros((len(events), len(BOUNDS) + 1), dtype=np.int64)
        for median in np.unique(medians):
            rows = np.nonzero((medians == median) & (events > 0))[0]
            bins[rows] = random.multinomial(events[rows], self._shares(float(median)))
        cumulative = bins.cumsum(axis=1)
        series: dict[Labels, CountArray] = {
            (("__name__", f"{DURATION}_bucket"), ("le", _le(bound))): cumulative[:, index]
            for index, bound in enumerate((*BOUNDS, math.inf))
        }
        series[(("__name__", f"{DURATION}_count"),)] = events
        series[(("__name__", f"{DURATION}_sum"),)] = (bins @ _MIDDLES).astype(np.int64)
        return Drawn(series, events - cumulative[:, BOUNDS.index(SLOW)])

    def _shares(self, median: float) -> Floats:
        """The probability of each bin of a log-normal distribution, shape (bounds + 1,)."""
        below = [
            (1 + math.erf((math.log(bound / median)) / (self._sigma * math.sqrt(2)))) / 2 for bound in BOUNDS
        ]
        shares: Floats = np.diff(np.array([0.0, *below, 1.0]))
        shares /= shares.sum()
        return shares


def _middles() -> Floats:
    edges = np.array([0.0, *BOUNDS])
    middles: Floats = np.append((edges[:-1] + edges[1:]) / 2, BOUNDS[-1])
    return middles


_MIDDLES = _middles()


def _le(bound: float) -> str:
    """``le`` as Prometheus 2 stores it: ``0.5``, ``250``, ``+Inf``."""
    return "+Inf" if math.isinf(bound) else f"{bound:g}" if bound < 1e5 else f"{bound:.0f}"
