"""What readers of all trace backends share: windows of time, their division, threads, connections.

The backends give at most so many traces of a window of time, newest first or in no order, and no cursor. So a window
whose answer is full, or too large to be read, is divided until it is not; one that cannot be divided any more and is
still full is cut, and said to be. An answer with fewer traces than were asked for is taken for whole: a server that
silently gives less than that hides the rest. A full answer says how dense traces are, if it has the newest ones: then
the window is cut into so many parts at once. This module must not know how a backend is asked.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from math import ceil
from typing import ClassVar, Generic, TypeVar

import numpy as np
import pandas as pd

from sloctl.backends.http.answers import TooLarge
from sloctl.backends.http.decoding import MAX_BYTES
from sloctl.backends.http.session import HttpClient, HttpSession
from sloctl.backends.spans import ATTEMPT_TAGS, Spans, empty
from sloctl.backends.traces.columns import MAX_SPANS
from sloctl.backends.traces.gather import Answer, Collector, Question, run
from sloctl.backends.traces.sampling import Sample
from sloctl.settings.backends import TracesSettings
from sloctl.telemetry.protocol import NOTHING, Observer

SECOND = 10**9
_SKEW = SECOND
_AFTER = 60 * SECOND
_FIRST_WINDOW = 3600 * SECOND
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

What = TypeVar("What")


@dataclass(frozen=True, slots=True)
class TracePage:
    """One answer about a window: how many traces it told of, and their spans, or the questions that get them."""

    traces: int
    spans: Spans | None = None
    more: Sequence[Question] = ()
    lost: Mapping[str, int] = field(default_factory=dict)


class TraceClient(HttpClient[TracesSettings, HttpSession], ABC):
    """One trace backend, as a ``sloctl.backends.spans.TraceSource``; a context manager that closes its connections.

    Nothing is sent before the first question. Safe to use from several threads. Questions raise
    ``BackendError`` (see ``sloctl.errors``), or ``ValueError`` for times without a zone. ``attempt_tags`` may
    hold x-envoy-attempt-count, most trusted first; ``ui`` is where people look at traces. ``limit`` is how
    many traces are asked for at once, ``max_spans`` how many spans are held; ``observer`` is told of each
    question. The other keyword arguments are for tests: ``sleep`` (seconds), ``now`` (Unix seconds),
    ``jitter`` (0..1), and the largest answer in bytes.
    """

    UNIT: ClassVar[int] = 1
    """Nanoseconds: the shortest time that can be asked for."""
    LIMIT: ClassVar[int] = 0

    def __init__(
        self,
        settings: TracesSettings,
        *,
        attempt_tags: Sequence[str] = ATTEMPT_TAGS,
        ui: str = "",
        limit: int | None = None,
        max_spans: int = MAX_SPANS,
        sleep: Callable[[float], object] | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        max_bytes: int = MAX_BYTES,
        observer: Observer = NOTHING,
    ) -> None:
        session = HttpSession(
            settings, sleep=sleep, now=now, jitter=jitter, max_bytes=max_bytes, observer=observer
        )
        super().__init__(settings, session)
        self._attempt_tags = tuple(attempt_tags)
        self._ui = ui.rstrip("/")
        self._limit = limit or self.LIMIT
        self._max_spans = max_spans

    @abstractmethod
    def spans(self, start: datetime, end: datetime, services: Sequence[str] = ()) -> Spans:
        """All spans of the traces that began in [``start``, ``end``), in no order."""

    @abstractmethod
    def services(self, start: datetime, end: datetime) -> Sequence[str]:
        """The services that the backend knows of, sorted; of that time, where the backend can tell."""

    @abstractmethod
    def link(self, trace_id: str) -> str:
        """Where people look at a trace; "" if that is not known."""


class TraceReader(TraceClient, Generic[What]):
    """A trace backend that gives some traces of a window at a time.

    ``What`` is what is asked for in each window: a service, a query.
    """

    def spans(self, start: datetime, end: datetime, services: Sequence[str] = ()) -> Spans:
        """All spans of the traces that began in [``start``, ``end``), in no order.

        With ``services``, of the traces that one of them reported a span of, within a minute after ``end``: whole
        traces, the spans of other services included. When a trace began, ``sloctl.backends.traces.gather.Collector``
        says. ``incomplete`` says what is missing; a window that cannot be had at all raises its error.
        """
        first, last = nanoseconds(start), nanoseconds(end)
        if first >= last:
            return Spans(empty())
        collector = Collector(first, last, self._max_spans)
        whats, lost = self._whats(tuple(dict.fromkeys(services)), start, end, collector.sample)
        collector.add(Answer(lost=lost))
        # Clocks differ, and a service may join a trace late: what was found too much is left out by the collector.
        after = _AFTER if services else _SKEW
        windows = list(self._windows(first - _SKEW, last + after))
        questions = [partial(self._window, what, *window) for window in windows for what in whats]
        try:
            run(questions, self._threads(), self._settings.concurrency, collector)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._session.cancel()
            raise
        return collector.result()

    @abstractmethod
    def _whats(
        self, services: tuple[str, ...], start: datetime, end: datetime, sample: Sample
    ) -> tuple[Sequence[What], Mapping[str, int]]:
        """What to ask for in each window, and what is lost by that; all there is if no services are named.

        Traces that are not of the ``sample``, by the time they are asked for, need not be in answers.
        """

    @abstractmethod
    def _page(self, what: What, start: int, end: int) -> TracePage:
        """The answer about a window, in units since 1970, both ends included."""

    def _window(self, what: What, start: int, end: int) -> Answer:
        """A window, or its parts if it is too much for one answer."""
        divisible = end - start > 1
        divide = partial(_parts, partial(self._window, what), start, end)
        try:
            page = self._page(what, start, end)
        except TooLarge:
            if not divisible:
                raise
            older, newer = divide(2)
            return Answer(more=(older,), soon=(newer,))
        if page.traces < self._limit:
            return Answer(page.spans, page.more, lost=page.lost)
        if divisible:
            return Answer(more=divide(self._times(page, start, end)))
        length = f"{self.UNIT // 10**6} ms" if self.UNIT < SECOND else "1 s"
        cut = f"in {{n}} window{{s}} of {length} are {self._limit:,} traces or more: the others are missing"
        return Answer(page.spans, page.more, lost={**page.lost, cut: 1})

    def _times(self, page: TracePage, start: int, end: int) -> int:
        """Into how many parts a window is cut whose answer is full, so that each should be full by two thirds.

        If what came is the newest, half of it began after its median. If it is any part of the window, that is its
        middle, and there are two parts. Few traces say little.
        """
        if page.spans is None or not len(page.spans.frame):
            return 2
        median = float(np.median(pd.DatetimeIndex(page.spans.frame["start"]).asi8)) / self.UNIT
        newer = min(max(end - median, 1), end - start)
        return max(2, min(page.traces // 4, ceil(0.75 * (end - start) / newer)))

    def _windows(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Windows of an hour that together cover a time in nanoseconds, in units, the newest first."""
        begin, end = max(1, first // self.UNIT), -(-last // self.UNIT)
        width = _FIRST_WINDOW // self.UNIT
        while end > begin:
            yield max(begin, end - width), end
            end -= width


def nanoseconds(at: datetime) -> int:
    """Nanoseconds since 1970 of a time with a zone. Raises ``ValueError`` for one without."""
    if at.tzinfo is None:
        raise ValueError(f"{at} is a time without a zone")
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000


def _parts(ask: Callable[[int, int], Answer], start: int, end: int, count: int) -> list[Question]:
    count = min(count, end - start)
    ends = [start + (end - start) * number // count for number in range(count + 1)]
    return [partial(ask, *part) for part in pairwise(ends)]
