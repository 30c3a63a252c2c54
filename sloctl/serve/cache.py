"""What readers are shown without asking a server for each of them: the last report, and answers to their questions."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from sloctl.errors import SloctlError
from sloctl.model import Slo, SloSet
from sloctl.report.data import Report, SloStatus
from sloctl.report.history import BudgetHistory
from sloctl.report.latency import Observed
from sloctl.report.mesh import MeshCalls

LOG = logging.getLogger(__name__)
LATE = 3
"""After so many intervals without a new report the last one is old, whatever the reason."""
Clock = Callable[[], datetime]
T = TypeVar("T")


class Explained(NamedTuple):
    """Where failures begin: as lines, and as ``sloctl explain --format json`` has it; ``failing`` if anything fails."""

    lines: tuple[str, ...]
    data: dict[str, Any]
    failing: bool = False


class Questions(Protocol):
    """What is asked of servers about the SLOs of a file as it was read. Each method may raise SloctlError."""

    @property
    def slo_set(self) -> SloSet:
        """The SLOs."""

    def report(self) -> Report:
        """All budgets now."""

    def explained(self, report: Report) -> Explained | None:
        """Where failures of a report begin, if there are any."""

    def definitions(self, report: Report) -> Mapping[int, Slo]:
        """The definition of each budget of a report, by the id of the object."""

    def part(self, slo: Slo, item: SloStatus, report: Report, seconds: int) -> BudgetHistory | None:
        """The last seconds of a budget's history; None where there is no record of them."""

    def observed(self, slo: Slo, item: SloStatus, report: Report, seconds: int) -> Observed | None:
        """How long an SLO's requests take, and what changed within so many seconds; None for other events."""

    def explain(self, namespace: str, service: str, seconds: int, at: datetime | None = None) -> Explained:
        """Where the failures of a namespace and service begin, within so many seconds before a time, or now."""

    def mesh(self, ago: int) -> MeshCalls:
        """Who called whom so many seconds ago."""

    def canary(
        self, service: str, baseline: str, canary: str, by: str, since: datetime | None
    ) -> Mapping[str, Any]:
        """The verdict on a canary, as ``sloctl canary --format json`` has it. May raise UsageError."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known now, of the SLOs that ``asks`` has: what pages show is of one state, and so of one SLO file.

    ``number`` grows with each change; ``explained`` is where failures begin, where any are seen. ``refused`` says why
    the SLO file, which has changed, is not used.

    ``failure`` says why the last refresh failed, at ``failed``; the report is then that of an earlier one. ``every`` is
    the time between two refreshes in seconds. ``begun`` is when the report was asked for by ``ticks``, in seconds: a
    clock that is set back makes nothing young.
    """

    asks: Questions
    number: int = 0
    report: Report | None = None
    explained: Explained | None = None
    every: float = 60.0
    failure: str = ""
    failed: datetime | None = None
    refused: str = ""
    begun: float = 0.0
    ticks: Callable[[], float] = field(default=lambda: 0.0, compare=False)

    def age(self, now: datetime) -> float:
        """Seconds since the time that the report is of. There must be one."""
        assert self.report is not None
        return max(0.0, (now - self.report.at).total_seconds(), self.ticks() - self.begun)

    def stale(self, now: datetime) -> bool:
        """Whether what is shown may no longer hold: the last refresh failed, or there has been none for too long."""
        return bool(self.failure) or self.report is None or self.age(now) > LATE * self.every


class Refresher:
    """Finds a new report every ``every`` seconds, on a thread of its own, while the context lasts.

    What fails is kept in the state as a sentence, with the last report there was. However many readers there are, only
    this asks for reports. A report is shown before it is known where failures begin.
    """

    def __init__(
        self,
        asks: Questions,
        now: Clock,
        every: float,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asks, self._now, self._every, self._ticks = asks, now, every, ticks
        self._state = State(asks, every=every, ticks=ticks)
        self._changing = threading.Lock()
        self._stop, self._look = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="sloctl-refresh", daemon=True)

    def __enter__(self) -> Refresher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._look.set()
        self._thread.join(5)

    @property
    def state(self) -> State:
        """What is known now."""
        return self._state

    def _change(self, **changes: Any) -> None:
        with self._changing:
            self._state = replace(self._state, number=self._state.number + 1, **changes)

    def replace(self, asks: Questions) -> None:
        """Look at once at the SLOs of a changed file; they are shown, all of them, when they are known."""
        self._asks = asks
        self._change(refused="")
        self._look.set()

    def refuse(self, why: str) -> None:
        """Say that a changed SLO file is not used."""
        self._change(refused=why)

    def refresh(self) -> None:
        """Look once."""
        asks, begun = self._asks, self._ticks()
        try:
            report = asks.report()
        except Exception as error:
            if self._stop.is_set():  # nobody waits for it any more
                return
            why = told(error)
            LOG.warning("the budgets could not be read: %s", why)
            self._change(failure=why, failed=self._now())
        else:
            self._change(asks=asks, report=report, explained=None, failure="", failed=None, begun=begun)
            try:
                explained = asks.explained(report)
            except Exception as error:
                explained = Explained((f"Where failures begin is not known: {told(error)}",), {}, True)
            if explained is not None:
                self._change(explained=explained)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._look.clear()
            self.refresh()
            self._look.wait(self._every)


def told(error: BaseException) -> str:
    """An error in words for readers. What nobody foresaw may hold anything: it is in the log alone."""
    if isinstance(error, SloctlError):
        return str(error)
    LOG.error("internal error", exc_info=error)
    return f"internal error ({type(error).__name__}); the log has more"


class Busy(SloctlError):
    """Too many questions wait for an answer already."""


class Pending(SloctlError):
    """The answer is not there yet, and is still being looked for."""


@dataclass(slots=True)
class _Asked(Generic[T]):
    answer: Future[T]
    begun: float


class Asked:
    """Answers to readers' questions: each is asked once at a time, few at a time, and kept for a while.

    ``workers`` questions are asked at a time and ``waiting`` more may wait; ``seconds`` is how long an answer is kept,
    and ``failed`` how long a failure is, so that a server in trouble is not asked by each reader anew.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        waiting: int = 8,
        seconds: float = 60.0,
        failed: float = 15.0,
        keep: int = 256,
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="sloctl-ask")
        self._most, self._seconds, self._failed, self._keep = workers + waiting, seconds, failed, keep
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, _Asked[Any]] = OrderedDict()

    async def get(self, key: Hashable, ask: Callable[[], T], wait: float = 5.0) -> T:
        """The answer. Raises Busy, Pending after ``wait`` seconds, and what ``ask`` raises."""
        future: Future[T] = self._future(key, ask)
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), wait)
        except TimeoutError:
            if future.done():
                return future.result()
            raise Pending(f"no answer within {wait:g} seconds yet", hint="reload the page") from None

    def _future(self, key: Hashable, ask: Callable[[], T]) -> Future[T]:
        now = time.monotonic()
        with self._lock:
            known = self._known.get(key)
            if known is not None and not self._over(known, now):
                self._known.move_to_end(key)
                return known.answer
            if sum(1 for item in self._known.values() if not item.answer.done()) >= self._most:
                raise Busy("too many questions wait for an answer", hint="try again in a minute")
            future = self._pool.submit(ask)
            self._known[key] = _Asked(future, now)
            self._known.move_to_end(key)
            while len(self._known) > self._keep:
                oldest = next((name for name, item in self._known.items() if item.answer.done()), None)
                if oldest is None:
                    break
                del self._known[oldest]
            return future

    def _over(self, known: _Asked[Any], now: float) -> bool:
        if not known.answer.done():
            return False
        seconds = self._failed if known.answer.exception() else self._seconds
        return now - known.begun > seconds

    def close(self) -> None:
        """Let go of what waits."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Rendered:
    """Pages as they were made, so that many readers of one page cost as much as one; the ``keep`` last asked for."""

    def __init__(self, keep: int = 200) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._pages: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The page for a key, made now if it is not there."""
        with self._lock:  # making is all processor: two at a time would take as long
            if key not in self._pages:
                self._pages[key] = make()
                while len(self._pages) > self._keep:
                    self._pages.popitem(last=False)
            self._pages.move_to_end(key)
            found: T = self._pages[key]
            return found
