"""The mesh as a graph: whom each call is counted for, and where services lie in the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import promql_parser
from hypothesis import given
from hypothesis import strategies as st

from jobs import mesh_calls
from sloctl import naming
from sloctl.backends.protocols import Series
from sloctl.model import Mesh
from sloctl.report.html import graph
from sloctl.report.mesh import Edge, MeshCalls, Node, chosen

AT = datetime(2026, 3, 1, tzinfo=UTC)
Counted = Mapping[tuple[str, str], float]


class Source:
    """Answers by the name of a question."""

    queries, warnings = 0, ()

    def __init__(self, **found: Counted) -> None:
        self.found, self.asked = found, dict[str, str]()

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        self.asked |= queries
        return {
            name: [
                self._series(name, pair, value)
                for pair, value in self.found.get(name.replace(" ", "_"), {}).items()
            ]
            for name in queries
        }

    @staticmethod
    def _series(name: str, pair: tuple[str, str], value: float) -> Series:
        caller, called = pair
        workload = ("destination_workload_namespace", "destination_workload")
        first = workload if name == "serves" else naming.CALLERS
        labels = dict(zip((*first, *naming.CALLED), ("shop", caller, "shop", called), strict=True))
        return {"metric": labels, "value": [0, str(value)]}

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def read(mesh: Mesh | None = None, **found: Counted) -> dict[tuple[str, str], Edge]:
    calls = mesh_calls.read(Source(**found), mesh or Mesh(), AT)
    return {(edge.source.name, edge.destination.name): edge for edge in calls.edges}


def test_calls_are_those_that_the_caller_saw_and_attempts_what_came_in() -> None:
    found = read(
        client_total={("web", "cart"): 100},
        client_bad={("web", "cart"): 10},
        client_unreached={("web", "cart"): 4},
        server_total={("web", "cart"): 130},
        server_bad={("web", "cart"): 40},
        mtls={("web", "cart"): 65},
        latency_sum={("web", "cart"): 500},
        latency_count={("web", "cart"): 100},
    )
    edge = found["web", "cart"]
    assert (edge.requests, edge.failed, edge.unreached, edge.attempts) == (100, 10, 4, 130)
    assert (edge.latency, edge.mtls, edge.amplification) == (5, 0.5, 1.3)
    assert edge.failing and edge.odd == ("retries", "plaintext")


def test_a_caller_without_a_proxy_is_told_of_by_the_called_side() -> None:
    found = read(
        client_total={("web", "cart"): 100},
        server_total={("web", "cart"): 100, ("unknown", "cart"): 20, ("web", "stock"): 7},
        server_bad={("unknown", "cart"): 5},
    )
    assert set(found) == {("web", "cart"), ("unknown", "cart")}
    outside = found["unknown", "cart"]
    assert (outside.requests, outside.failed, outside.attempts) == (20, 5, None)


def test_workloads_that_serve_one_service_are_that_service() -> None:
    found = read(
        client_total={
            ("cart-v1", "stock"): 60,
            ("cart-v2", "stock"): 40,
            ("both", "stock"): 5,
            ("web", "cart"): 1,
        },
        client_bad={("cart-v2", "stock"): 8},
        serves={("cart-v1", "cart"): 1, ("cart-v2", "cart"): 1, ("both", "cart"): 1, ("both", "stock"): 1},
    )
    assert found["cart", "stock"].requests == 100 and found["cart", "stock"].failed == 8
    assert ("both", "stock") in found


def test_an_ambient_mesh_has_one_side_and_no_word_on_mtls() -> None:
    source = Source(waypoint_total={("web", "cart"): 10})
    calls = mesh_calls.read(source, Mesh(mode="ambient"), AT)
    assert [edge.requests for edge in calls.edges] == [10] and calls.edges[0].attempts is None
    assert not any("source" in text.partition("reporter=")[2][:12] for text in source.asked.values())
    assert "mtls" not in source.asked


nodes = st.builds(Node, st.sampled_from("ab"), st.sampled_from("uvwxyz"))
edges = st.builds(Edge, nodes, nodes, st.just(100.0), st.sampled_from((0.0, 2.0, 50.0)))


@given(st.lists(edges, max_size=25, unique_by=lambda edge: (edge.source, edge.destination)))
def test_nothing_lies_upon_another_and_callers_stand_left(some: list[Edge]) -> None:
    drawing = graph.drawn(some)
    assert drawing.boxes == graph.drawn(list(reversed(some))).boxes
    places = {(box.x, box.y) for box in drawing.boxes}
    assert len(places) == len(drawing.boxes) == len(MeshCalls(AT, 1, tuple(some)).nodes)
    columns: dict[int, list[int]] = {}
    for x, y in places:
        columns.setdefault(x, []).append(y)
        assert x + graph.WIDTH <= drawing.width and y + graph.HEIGHT <= drawing.height
    for rows in columns.values():
        ordered = sorted(rows)
        assert all(b - a >= graph.HEIGHT for a, b in pairwise(ordered))
    assert len(drawing.lines) == len(some)


def test_a_chain_is_drawn_from_left_to_right() -> None:
    a, b, c = (Node("shop", name) for name in "abc")
    drawing = graph.drawn([Edge(b, c, 10.0, 0.0), Edge(a, b, 10.0, 0.0), Edge(a, c, 10.0, 0.0)])
    at = {box.name: box.x for box in drawing.boxes}
    assert at["a"] < at["b"] < at["c"]


def test_one_failure_is_no_news() -> None:
    few = Edge(Node("a", "a"), Node("a", "b"), 10.0, 1.0)
    assert not few.failing and chosen([few]) == [] and chosen([few], everything=True) == [few]


def test_latency_is_that_of_native_histograms_where_the_mesh_has_them() -> None:
    for histograms, metric in (("classic", "milliseconds_sum{"), ("native", "milliseconds{")):
        source = Source(
            client_total={("web", "cart"): 10.0},
            latency_sum={("web", "cart"): 400.0},
            latency_count={("web", "cart"): 10.0},
        )
        (edge,) = mesh_calls.read(source, Mesh(histograms=histograms), AT).edges  # type: ignore[arg-type]
        assert edge.latency == 40
        asked = source.asked["latency sum"]
        promql_parser.parse(asked)
        assert metric in asked and ("histogram_sum(" in asked) == (histograms == "native")
