"""Gathers the answers of many requests into one frame of spans, in parallel and within bounds.

A trace may come with several answers: because it crosses windows, because several services took part in it, because
an answer was asked for again. Each answer holds all that the backend has of a trace by then, so the first one is kept;
a later one only if it holds more, and then spans that are in both count once. Of more than may be held, a sample is
kept: questions are asked in no order, so that also what was read when reading had to stop is spread evenly.
This module must not know what is asked, nor how answers travel.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from sloctl.backends.spans import Spans, without_others
from sloctl.backends.traces.columns import concat, deduplicate, weight
from sloctl.backends.traces.sampling import Sample, too_large
from sloctl.telemetry.protocol import here

READ = 16
"""How many times the spans that may be held are read at most: reading takes time, too."""
_LAST = np.iinfo(np.int64).max
_LOW = 0xFFFF_FFFF_FFFF_FFFF
_Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, and the questions that it leads to; those that are to be asked ``soon`` come before all others.

    ``lost`` counts, by sentence, what could not be had; ``{n}`` in a sentence is the count, ``{s}`` a plural's s.
    """

    spans: Spans | None = None
    more: Sequence[Question] = ()
    soon: Sequence[Question] = ()
    lost: Mapping[str, int] = field(default_factory=dict)


Question: TypeAlias = Callable[[], Answer]


class Collector:
    """Keeps the traces that began in [``start``, ``end``), both in nanoseconds since 1970, each once.

    A trace began when its root began (the span without a parent; the earliest, if there are more), and when its
    earliest span began if it has no root. At most ``max_spans`` spans are kept, of the traces of ``sample``. When
    :data:`READ` times as many have come, it is ``full``.
    """

    def __init__(self, start: int, end: int, max_spans: int) -> None:
        self.sample = Sample()
        self._read = 0
        self._start, self._end, self._max_spans = start, end, max_spans
        self._frames: list[pd.DataFrame] = []
        self._held = self._joined = 0
        self._duplicates = 0
        self._sizes: dict[int, int] = {}
        self._rejected: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._incomplete: dict[str, None] = {}

    def add(self, answer: Answer) -> None:
        """Keep what is new of an answer."""
        self._lost.update(answer.lost)
        if answer.spans is None:
            return
        self._read += len(answer.spans.frame)
        self._rejected.update(answer.spans.rejected)
        self._duplicates += answer.spans.duplicates
        self._incomplete.update(dict.fromkeys(answer.spans.incomplete))
        if len(frame := answer.spans.frame):
            chosen = self._choose(frame)
            if chosen.any():
                self._keep(frame if chosen.all() else frame[chosen].reset_index(drop=True))

    @property
    def full(self) -> bool:
        """Whether enough was read, though not all."""
        return self._read > READ * self._max_spans

    def stopped(self, left: int) -> None:
        """Note that so many questions were not asked."""
        text = f"reading stopped after {READ * self._max_spans:,} spans with {{n}} question{{s}} left"
        self._lost[f"{text}: ask for a shorter time or fewer services"] += left

    def result(self) -> Spans:
        """All that was kept."""
        frame, duplicates = deduplicate(concat(self._frames))
        lost = [
            sentence.format(n=f"{count:,}", s="" if count == 1 else "s")
            for sentence, count in sorted(self._lost.items())
        ]
        if self.sample.large:
            lost.append(too_large(self.sample, self._max_spans))
        return Spans(
            frame,
            dict(self._rejected),
            self._duplicates + duplicates,
            (*self._incomplete, *lost),
            self.sample.one_in,
        )

    def _keep(self, frame: pd.DataFrame) -> None:
        """Keep a frame; those that came are joined now and then, so that no text is held many times."""
        self._frames.append(frame)
        self._held += weight(frame)
        if self._held > max(2 * self._joined, self._max_spans // 8):
            self._hold(concat(self._frames))
        self.sample.bound(self._max_spans, lambda: self._held, self._thin)

    def _hold(self, frame: pd.DataFrame) -> None:
        self._frames = [frame]
        self._held = self._joined = weight(frame)

    def _thin(self, most: int) -> None:
        frame = concat(self._frames)
        low = frame["trace_low"].to_numpy()
        self.sample.leave_out(low, most)
        self._hold(without_others(frame, self.sample.keeps(low)))
        lows = np.array([key & _LOW for key in self._sizes], np.uint64)
        kept = self.sample.keeps(lows).tolist()
        self._sizes = dict(compress(self._sizes.items(), kept))

    def _choose(self, frame: pd.DataFrame) -> _Array:
        """Which rows belong to traces that are to be kept."""
        group = frame.groupby(["trace_high", "trace_low"], sort=False).ngroup().to_numpy()
        first_rows = np.unique(group, return_index=True)[1]
        sizes = np.bincount(group)
        highs = frame["trace_high"].to_numpy()[first_rows]
        lows = frame["trace_low"].to_numpy()[first_rows]
        wanted = self._within(frame, group, len(sizes)) & self.sample.keeps(lows)
        for number in np.flatnonzero(wanted):
            key, size = int(highs[number]) << 64 | int(lows[number]), int(sizes[number])
            if size <= self._sizes.get(key, 0):
                wanted[number] = False
                self._duplicates += size
            else:
                self._sizes[key] = size
        return wanted[group]

    def _within(self, frame: pd.DataFrame, group: _Array, groups: int) -> _Array:
        start = pd.DatetimeIndex(frame["start"]).asi8
        root = frame["parent"].to_numpy() == 0
        began, earliest = np.full(groups, _LAST), np.full(groups, _LAST)
        np.minimum.at(began, group[root], start[root])
        np.minimum.at(earliest, group, start)
        began = np.where(began < _LAST, began, earliest)
        return (began >= self._start) & (began < self._end)


def run(questions: Sequence[Question], pool: Executor, width: int, collector: Collector) -> None:
    """Ask questions, and those that they lead to, ``width`` at once, until none is left or the collector is full.

    Only answers that are being decoded are held beside what is collected: what they found is collected before further
    ones begin. The first error ends all of it and is raised.
    """
    waiting, soon = list(questions), list[Question]()
    order = random.Random(0)  # noqa: S311 - no secret depends on it
    running: set[Future[Answer]] = set()
    try:
        while (waiting or soon or running) and not collector.full:
            while (waiting or soon) and len(running) < width:
                if not soon:
                    at = order.randrange(len(waiting))
                    waiting[at], waiting[-1] = waiting[-1], waiting[at]
                running.add(pool.submit(here((soon or waiting).pop())))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                answer = future.result()
                collector.add(answer)
                waiting.extend(answer.more)
                soon.extend(answer.soon)
        if left := len(waiting) + len(soon) + len(running):
            collector.stopped(left)
    finally:
        for future in running:
            future.cancel()
