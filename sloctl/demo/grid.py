"""The grid of ticks that a world is played on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sloctl.demo.world import Floats


@dataclass(frozen=True)
class Grid:
    """Ticks of ``step`` seconds from ``start`` (relative to the end of the history): tick k is
    (start + k·step, start + (k + 1)·step].
    """

    start: float
    step: float
    count: int

    @property
    def ends(self) -> Floats:
        """The closing instants, shape (count,)."""
        return self.start + self.step * np.arange(1, self.count + 1, dtype=np.float64)

    def span(self, start: float, end: float) -> slice:
        """The ticks that close in (start, end]."""
        low, high = np.searchsorted(self.ends, [start, end], side="right")
        return slice(int(low), int(high))
