"""What a metric source says beside its data, judged for each answer by itself; and what answers may weigh together.

A cluster that misses a node answers with what the others have, and says so: ``isPartial`` (VictoriaMetrics), a warning
(Thanos, Prometheus with remote read). Such an answer is less than the truth and must not be taken for it. It must not
know of HTTP, nor what was asked.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta

from sloctl.backends.protocols import MetricSource, Series
from sloctl.errors import BackendLimit, PartialAnswer

MAX_VALUES = 4_000_000
"""The most values that an answer, or the answers to one question together, may have: at most 700 MB in memory."""
PARTIAL = "the answer is partial: a storage node did not answer"
_HARMLESS = re.compile(r"PromQL info:|PromQL warning:(?!.*\b(mix of|incompatible)\b)")
"""Remarks on the expression and on the samples that it met. A mix of kinds is none: there samples were left out."""


class Answer(list[Series]):
    """The series of one answer.

    ``doubts`` is what the server said of data that is missing, or may be; ``remarks`` is what else it said.
    """

    def __init__(
        self, series: Iterable[Series] = (), doubts: Iterable[str] = (), remarks: Iterable[str] = ()
    ) -> None:
        super().__init__(series)
        self.doubts = tuple(dict.fromkeys(doubts))
        self.remarks = tuple(dict.fromkeys(remarks))


def judged(
    series: Iterable[Series],
    warnings: Iterable[str] = (),
    infos: Iterable[str] = (),
    *,
    partial: bool = False,
) -> Answer:
    """An answer with what was said beside it.

    Infos are about the expression. A warning is doubt unless it is known to be none: what nobody here knows may be
    about missing data.
    """
    warnings = list(warnings)
    doubts = [text for text in warnings if not _HARMLESS.match(text)]
    remarks = [*(text for text in warnings if _HARMLESS.match(text)), *infos]
    return Answer(series, [*doubts, *([PARTIAL] if partial else [])], remarks)


def doubts(answer: Sequence[Series]) -> tuple[str, ...]:
    """What leaves in doubt whether an answer is all that there is; nothing, as a rule."""
    return answer.doubts if isinstance(answer, Answer) else ()


def remarks(answer: Sequence[Series]) -> tuple[str, ...]:
    """What else was said beside an answer."""
    return answer.remarks if isinstance(answer, Answer) else ()


def apart(answer: Sequence[Series], label: str) -> dict[str, Answer]:
    """The series of one answer by the value of a label, which they lose; each with the doubts of the whole answer."""
    found: dict[str, list[Series]] = {}
    for item in answer:
        metric = dict(item["metric"])
        found.setdefault(metric.pop(label, ""), []).append({**item, "metric": metric})
    return {value: Answer(series, doubts(answer), remarks(answer)) for value, series in found.items()}


class TooMuchTogether(BackendLimit):
    """The answers to one question have more values together than may be held at a time."""


class _Allowance:
    """How many values the answers to one question may still have."""

    def __init__(self, most: int) -> None:
        self._left, self._lock = most, threading.Lock()

    def take(self, count: int) -> bool:
        with self._lock:
            self._left -= count
            return self._left >= 0


_allowance: ContextVar[_Allowance | None] = ContextVar("allowance", default=None)
_beside: ContextVar[int] = ContextVar("beside", default=1)


@contextmanager
def side_by_side(questions: int) -> Iterator[None]:
    """So many questions are asked at a time while it lasts, on threads that are given its context: they share."""
    token = _beside.set(questions)
    try:
        yield
    finally:
        _beside.reset(token)


@contextmanager
def one_question(most: int = MAX_VALUES) -> Iterator[None]:
    """What is asked while it lasts, also on threads that are given its context, is one question, held as a whole.

    A question within another one is a part of that. Adapters tell of each answer by :func:`weigh`.
    """
    if _allowance.get() is not None:
        yield
        return
    token = _allowance.set(_Allowance(most // _beside.get()))
    try:
        yield
    finally:
        _allowance.reset(token)


def weigh(values: Callable[[], int]) -> bool:
    """Whether the question that is asked here may be given an answer of so many values, too."""
    allowance = _allowance.get()
    return allowance is None or allowance.take(values())


class Heard:
    """A metric source that asks another one, and keeps what its answers left in doubt, each text once.

    ``strict``: the first answer that is in doubt raises ``PartialAnswer``. Safe to use from several threads.
    """

    def __init__(self, source: MetricSource, *, strict: bool = False) -> None:
        self._source = source
        self._strict = strict
        self._doubts: dict[str, None] = {}
        self._remarks: dict[str, None] = {}

    @property
    def doubts(self) -> Sequence[str]:
        """What left answers in doubt."""
        return tuple(self._doubts)

    @property
    def remarks(self) -> Sequence[str]:
        """What else was said."""
        return tuple(self._remarks)

    @property
    def warnings(self) -> Sequence[str]:
        """See :class:`sloctl.backends.protocols.MetricSource`."""
        return self._source.warnings

    @property
    def queries(self) -> int:
        """See :class:`sloctl.backends.protocols.MetricSource`."""
        return self._source.queries

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        """See :class:`sloctl.backends.protocols.MetricSource`."""
        return self._hear(self._source.query(expr, at))

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        """See :class:`sloctl.backends.protocols.MetricSource`."""
        return {name: self._hear(found) for name, found in self._source.query_many(queries, at).items()}

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        """See :class:`sloctl.backends.protocols.MetricSource`."""
        return self._hear(self._source.query_range(expr, start, end, step))

    def _hear(self, answer: Sequence[Series]) -> Sequence[Series]:
        self._doubts.update(dict.fromkeys(doubts(answer)))
        self._remarks.update(dict.fromkeys(remarks(answer)))
        if self._strict:
            refuse(answer)
        return answer


def refuse(answer: Sequence[Series], about: str = "") -> None:
    """Raise ``PartialAnswer`` for an answer that is in doubt; ``about`` says what of."""
    if found := doubts(answer):
        raise partial_error(found, about)


def partial_error(found: Sequence[str], about: str = "") -> PartialAnswer:
    """The error that says which answers are not taken for the truth, and why."""
    of = f" of {about}" if about else ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return PartialAnswer(
        f"Prometheus gave a partial answer{of}, which is not recorded: {found[0]}{more}",
        backend="prometheus",
        url="",
        hint="the next run reads it again; what is recorded stays as it is",
    )
