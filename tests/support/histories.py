"""Events of the past as a test says they were, for backtests."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from jobs.backtest.history import Events
from sloctl.model import GRID, SeriesKey

START = 1_772_000_000 // 86400 * 86400


class Made:
    """A history of a hundred requests a minute, of which shares fail: (from, to, share) in minutes after START."""

    fine = 60
    doubts: Sequence[str] = ()

    def __init__(self, failing: dict[SeriesKey, list[tuple[int, int, float]]], rate: float = 100) -> None:
        self.failing, self.rate = failing, rate
        self.read: list[tuple[int, int, int]] = []

    def _events(self, start: int, end: int, step: int, keys: Sequence[SeriesKey]) -> Events:
        minutes = (np.arange(start, end, 60) - START) // 60
        total = np.full((len(keys), len(minutes)), float(self.rate))
        bad = np.zeros_like(total)
        for row, key in enumerate(keys):
            for first, last, share in self.failing[key]:
                bad[row, (minutes >= first) & (minutes < last)] = share * self.rate
        each = step // 60
        total, bad = (one.reshape(len(keys), (end - start) // step, each).sum(axis=2) for one in (total, bad))
        return Events(start, step, list(keys), total, bad, np.ones(total.shape, bool))

    def grid(self, start: int, end: int) -> Events:
        return self._events(start, end, GRID, list(self.failing))

    def tiles(self, start: int, end: int, keys: Collection[SeriesKey]) -> Events:
        self.read.append((start, end, len(keys)))
        return self._events(start, end, 60, [key for key in self.failing if key in keys])
