"""Many definitions in few queries: which are asked about together, and what is asked in parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from jobs.budgets.questions import Definitions, Query, Question, answers, queries
from sloctl import naming, promql
from sloctl.backends.answers import TooMuchTogether, judged
from sloctl.backends.protocols import Series
from sloctl.errors import BackendError, BackendLimit, BackendTimeout, BackendUnavailable, QueryRejected
from sloctl.model import GRID, ExprSli, Mesh, Slo, SloSet, Sources
from tests.support.promtool import slo

NAMES = tuple(f"service-{number}" for number in range(8))
SLOS = [slo(service=name) for name in NAMES]


def asked_of(slo: Slo) -> str:
    return "|".join(one.service for one in promql.members(slo))


def query(slos: Sequence[Slo], build: Callable[[Slo], str] = asked_of) -> list[Query]:
    return queries([Question(one, build) for one in Definitions(slos).alike()], SloSet("shop", tuple(slos)))


class TestAlike:
    def test_scopes_alone_may_differ(self) -> None:
        others = [
            slo(service="*", namespace="left"),
            slo(service="*", namespace="right"),
            slo(service="*", namespace="right", overridden=("a",)),
            slo(service="*", namespace=""),
            slo("latency", {"threshold": "250ms"}, service="a"),
            slo(service="a", namespace=""),
            slo(service="a\nb"),
            replace(slo(service="a"), sli=ExprSli("rate(a[$window])", bad="rate(b[$window])")),
        ]
        found = [promql.members(one) for one in Definitions([*SLOS, *others]).alike()]
        assert sorted(map(len, found)) == [1, 1, 1, 1, 1, 1, 2, 8]
        assert {one.namespace for group in found if len(group) == 2 for one in group} == {"left", "right"}

    def test_the_same_events_are_asked_for_once_and_are_of_all(self) -> None:
        again = replace(SLOS[0], name="other", objective=Decimal(99))
        definitions = Definitions([*SLOS, again])
        [one] = definitions.alike()
        assert len(promql.members(one)) == len(SLOS)
        assert sorted(definitions.owners(one)) == sorted(item.id for item in [*SLOS, again])
        labels = {naming.SLO_ID: one.id, naming.NAMESPACE: "shop"}
        answer: list[Series] = [
            {"metric": labels | {naming.SERVICE: name}, "values": []} for name in ("service-0", "nobody")
        ]
        found = definitions.series([Question(one, asked_of)], answer)
        assert [item["metric"][naming.SLO_ID] for item in found] == [SLOS[0].id, again.id]

    def test_a_single_one_is_asked_about_as_ever(self) -> None:
        [one] = Definitions(SLOS[:1]).alike()
        assert one is SLOS[0]

    def test_what_tells_apart_keeps_apart(self) -> None:
        found = Definitions(SLOS, lambda one: one.service < "service-3").alike()
        assert [len(promql.members(one)) for one in found] == [3, 5]

    @pytest.mark.parametrize("engine", ["prometheus", "victoriametrics"])
    def test_queries_are_no_longer_than_an_engine_takes(self, engine: str) -> None:
        many = [slo(service=f"service-{number:04}") for number in range(300)]
        sources = Sources(engine=engine)  # type: ignore[arg-type]
        [one] = Definitions(many).alike()
        question = Question(one, lambda some: promql.events(some, Mesh(), GRID)["total"])
        found = queries([question], SloSet("shop", tuple(many), sources=sources))
        lengths = [len(promql.dense(part.text).encode()) for asked in found for part in asked]
        assert max(lengths) <= (promql.LONGEST if engine == "victoriametrics" else 250_000)
        assert (len(found) == 1) is (engine == "prometheus")
        names = [item.service for asked in found for part in asked for item in promql.members(part.slo)]
        assert names == [item.service for item in many], "each once"


class Server:
    """Answers what is of as many services as it can at most."""

    def __init__(self, most: int, error: type[BackendError] | None) -> None:
        self.most, self.error, self.asked = most, error, list[str]()

    def __call__(self, text: str) -> Sequence[Series]:
        self.asked.append(text)
        names = text.replace("\nor\n", "|").split("|")
        if len(names) > self.most and self.error is not None:
            raise self.error("no", backend="prometheus", url="")
        return judged(
            [{"metric": {"service": name}, "values": []} for name in names],
            ["a node is missing"] if len(names) > self.most else [],
        )


def told(server: Server, asked: Sequence[Query]) -> list[str]:
    return [item["metric"]["service"] for _, found in answers(asked, server, 1) for item in found]


class TestParts:
    @pytest.mark.parametrize("error", [BackendLimit, QueryRejected])
    @pytest.mark.parametrize("most", [1, 3, 8])
    def test_what_is_too_much_is_halved(self, error: type[BackendError], most: int) -> None:
        server = Server(most, error)
        assert told(server, query(SLOS)) == list(NAMES)
        assert len(server.asked) == {1: 15, 3: 7, 8: 1}[most]

    def test_only_that_is_halved(self) -> None:
        other = [slo("latency", {"threshold": "250ms"}, service="a")]
        asked = [*query(SLOS), *query(other)]
        server = Server(4, BackendLimit)
        assert told(server, asked) == [*NAMES, "a"]
        assert server.asked.count("a") == 1

    def test_what_takes_too_long_is_halved_twice(self) -> None:
        assert told(Server(2, BackendTimeout), query(SLOS)) == list(NAMES)
        with pytest.raises(BackendTimeout):
            told(server := Server(1, BackendTimeout), query(SLOS))
        assert len(server.asked) == 3

    @pytest.mark.parametrize("error", [BackendUnavailable, TooMuchTogether])
    def test_other_errors_are_errors(self, error: type[BackendError]) -> None:
        server = Server(7, error)
        with pytest.raises(error):
            told(server, query(SLOS))
        assert len(server.asked) == 1

    def test_one_by_itself_is_not_halved(self) -> None:
        with pytest.raises(BackendLimit):
            told(Server(0, BackendLimit), query(SLOS[:1]))

    @pytest.mark.parametrize(("most", "unsure"), [(8, 0), (4, 0), (2, 0), (1, 4)])
    def test_answers_in_doubt_are_asked_for_in_parts(self, most: int, unsure: int) -> None:
        found = answers(query(SLOS), Server(most, None), 1)
        assert len([answer for _, answer in found if getattr(answer, "doubts", ())]) == unsure
        assert [item["metric"]["service"] for _, answer in found for item in answer] == list(NAMES)
