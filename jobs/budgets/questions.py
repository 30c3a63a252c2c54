"""Asks a server about the raw counters of many definitions in few queries.

Definitions with the same events are asked about once, those that differ in their scope alone together
(:mod:`sloctl.promql.alike`). What a server does not answer, because it is too much, too long or takes too long, is
asked in parts: only that, and down to single definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

from sloctl import naming, promql
from sloctl.backends.answers import TooMuchTogether, doubts, one_question
from sloctl.backends.protocols import Series
from sloctl.errors import BackendLimit, BackendTimeout, QueryRejected
from sloctl.model import CounterSli, Slo, SloSet

LONG = 250_000
"""Bytes of a query of many definitions, where nothing is known of a limit; proxies often have one of 1 MB."""
HALVINGS = 2
"""How often a query is halved that takes too long, or whose answer about many definitions is in doubt."""
NOT_ANSWERED = (BackendLimit, BackendTimeout, QueryRejected)
"""What a server may say to a query that is asked in parts then."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be known of a definition, or of several alike, as one expression."""

    slo: Slo
    build: Callable[[Slo], str]
    text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.build(self.slo))

    def halves(self) -> list[Question]:
        """The same of one half of the definitions, and of the other; nothing of a single one."""
        slos = promql.members(self.slo)
        middle = len(slos) // 2
        parts = [slos[:middle], slos[middle:]] if middle else []
        return [Question(promql.as_one(part), self.build) for part in parts]

    def fitting(self, longest: int) -> list[Question]:
        """The question in as many parts as it takes for none to be longer (bytes), if it can be."""
        if len(promql.dense(self.text).encode()) <= longest or not (halves := self.halves()):
            return [self]
        return [part for half in halves for part in half.fitting(longest)]


Query = Sequence[Question]
"""Questions that are asked at once."""


def queries(questions: Iterable[Question], slo_set: SloSet) -> list[Query]:
    """Queries that are short enough for what evaluates them, with all questions."""
    longest = promql.LONGEST if slo_set.sources.engine == "victoriametrics" else LONG
    found: list[list[Question]] = []
    fitting = [part for question in questions for part in question.fitting(longest)]
    for question in fitting:
        if found and len(_text([*found[-1], question]).encode()) <= promql.LONGEST:
            found[-1].append(question)
        else:
            found.append([question])
    return list(found)


def _text(query: Query) -> str:
    return "\nor\n".join(question.text for question in query)


def answers(
    asked: Sequence[Query], ask: Callable[[str], Sequence[Series]], threads: int = 4
) -> list[tuple[Query, Sequence[Series]]]:
    """The answers to queries, of which all are held at once; of some there may be several, each to a part.

    Raises the ``BackendError`` of what is asked of a single definition, and ``TooMuchTogether``.
    """
    with one_question(), ThreadPoolExecutor(threads, "sloctl-questions") as pool:
        futures = [pool.submit(copy_context().run, _answered, query, ask) for query in asked]
        try:
            return [found for future in futures for found in future.result()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _answered(
    query: Query, ask: Callable[[str], Sequence[Series]], halvings: int = HALVINGS
) -> list[tuple[Query, Sequence[Series]]]:
    try:
        found = ask(_text(query))
    except NOT_ANSWERED as error:
        slow = isinstance(error, BackendTimeout)
        if isinstance(error, TooMuchTogether) or (slow and not halvings) or not (parts := _parts(query)):
            raise
        return [answer for part in parts for answer in _answered(part, ask, halvings - slow)]
    if doubts(found) and halvings and len(query) == 1 and (parts := _parts(query)):
        return [answer for part in parts for answer in _answered(part, ask, halvings - 1)]
    return [(query, found)]


def _parts(query: Query) -> list[Query]:
    if len(query) > 1:
        middle = len(query) // 2
        return [query[:middle], query[middle:]]
    return [[half] for half in query[0].halves()]


class Definitions:
    """Definitions by what they count: which to ask about, and whose the answers are.

    Those of which ``apart`` says something different are not asked about together.
    """

    def __init__(self, slos: Iterable[Slo], apart: Callable[[Slo], object] = lambda _slo: None) -> None:
        self._same: dict[object, dict[object, list[Slo]]] = {}
        for slo in slos:
            placed = isinstance(slo.sli, CounterSli) or slo.per
            key = (slo.sli, *((slo.per, slo.overridden, *promql.place(slo)) if placed else ()))
            self._same.setdefault(apart(slo), {}).setdefault(key, []).append(slo)
        groups = [same for groups in self._same.values() for same in groups.values()]
        self._by_first = {same[0].id: [slo.id for slo in same] for same in groups}

    def alike(self) -> list[Slo]:
        """The first of all that count the same, those of one shape as one."""
        return [
            promql.as_one(alike)
            for groups in self._same.values()
            for alike in promql.by_shape(same[0] for same in groups.values())
        ]

    def owners(self, slo: Slo) -> list[str]:
        """The ids of all definitions that a question about ``slo`` is about."""
        return [slo_id for one in promql.members(slo) for slo_id in self._by_first[one.id]]

    def series(self, query: Query, found: Sequence[Series]) -> list[Series]:
        """The series of an answer, once for each definition that they are of, with its id; others are left out."""
        asked = {question.slo.id: question.slo for question in query}
        places = {
            slo_id: {promql.place(one): one.id for one in promql.members(slo)}
            for slo_id, slo in asked.items()
        }
        out: list[Series] = []
        for item in found:
            slo = asked.get(item["metric"].get(naming.SLO_ID, ""))
            if slo is None:
                continue
            first = slo.id
            if isinstance(slo, promql.Alike):
                metric = item["metric"]
                service = "*" if slo.wildcard else metric.get(naming.SERVICE, "")
                first = places[slo.id].get((metric.get(naming.NAMESPACE, ""), service), "")
            for slo_id in self._by_first.get(first, ()):
                out.append({**item, "metric": {**item["metric"], naming.SLO_ID: slo_id}})
        return out
