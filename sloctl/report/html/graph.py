"""Where services and calls lie in the drawing of a mesh: callers left of what they call, each namespace together.

Layers are those of the graph without its cycles. Coordinates are pixels; this module writes no markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sloctl.report.html.charts import coordinate
from sloctl.report.mesh import Edge, Node
from sloctl.report.numbers import percent, plain

WIDTH, HEIGHT = 200, 38
ACROSS, DOWN = 120, 12
LETTERS = 27
"""Letters of a name that fit into a box."""
SWEEPS = 4
"""How often the order within layers is made better by that of their neighbours."""


@dataclass(frozen=True, slots=True)
class Box:
    """A service: its upper left corner, and whether calls of it fail."""

    x: int
    y: int
    name: str
    namespace: str
    text: str
    bad: bool


@dataclass(frozen=True, slots=True)
class Line:
    """Calls: a path, how it looks, what it says, and the share of failures with its place, where too many fail."""

    path: str
    kind: str
    text: str
    share: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """The whole drawing."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def drawn(edges: Sequence[Edge]) -> Drawing:
    """The drawing of some edges. The same edges give the same drawing."""
    places = _places(edges)
    failing = {edge.destination for edge in edges if edge.failing}
    boxes = tuple(
        Box(*place, _short(node.name), _short(node.namespace), plain(node.text), node in failing)
        for node, place in sorted(places.items())
    )
    # What fails is drawn last, above the others.
    lines = tuple(
        _line(edge, places) for edge in sorted(edges, key=lambda edge: (edge.failing, bool(edge.odd)))
    )
    return Drawing(
        max((box.x for box in boxes), default=0) + WIDTH + 50,
        max((box.y for box in boxes), default=0) + HEIGHT + 10,
        boxes,
        lines,
    )


def _short(text: str) -> str:
    text = plain(text)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def _layers(edges: Sequence[Edge]) -> list[list[Node]]:
    import networkx as nx  # slow to import, and missing without an extra

    graph = nx.DiGraph()
    graph.add_nodes_from(sorted({node for edge in edges for node in (edge.source, edge.destination)}))
    graph.add_edges_from(sorted((edge.source, edge.destination) for edge in edges))
    without_cycles = nx.condensation(graph)
    members = without_cycles.nodes(data="members")
    return [
        sorted(node for part in generation for node in members[part])
        for generation in nx.topological_generations(without_cycles)
    ]


def _places(edges: Sequence[Edge]) -> dict[Node, tuple[int, int]]:
    layers = _layers(edges)
    near: dict[Node, list[Node]] = {}
    for edge in edges:
        near.setdefault(edge.source, []).append(edge.destination)
        near.setdefault(edge.destination, []).append(edge.source)
    rank = {node: float(number) for layer in layers for number, node in enumerate(layer)}
    for _ in range(SWEEPS):
        for layer in layers:
            wish = {node: fmean(rank[other] for other in near[node]) for node in layer}
            spaces: dict[str, list[float]] = {}
            for node in layer:
                spaces.setdefault(node.namespace, []).append(wish[node])
            middle = {space: fmean(wishes) for space, wishes in spaces.items()}
            layer.sort(key=lambda node: (middle[node.namespace], node.namespace, wish[node], node))
            rank |= {node: float(number) for number, node in enumerate(layer)}
    most = max(map(len, layers), default=0)
    found = {}
    for across, layer in enumerate(layers):
        top = (most - len(layer)) * (HEIGHT + DOWN) // 2
        for down, node in enumerate(layer):
            found[node] = (10 + across * (WIDTH + ACROSS), 10 + top + down * (HEIGHT + DOWN))
    return found


def _line(edge: Edge, places: dict[Node, tuple[int, int]]) -> Line:
    (x, y), (to_x, to_y) = places[edge.source], places[edge.destination]
    y, to_y = y + HEIGHT // 2, to_y + HEIGHT // 2
    kind = "bad" if edge.failing else "odd" if edge.odd else ""
    if to_x > x:
        x += WIDTH
        middle = (x + to_x) / 2
        path = f"M{x} {y}C{coordinate(middle)} {y} {coordinate(middle)} {to_y} {to_x} {to_y}"
        at = (middle, (y + to_y) / 2 - 4)
    else:  # a cycle, or a call of itself: around the right side
        x, to_x = x + WIDTH, to_x + WIDTH
        out = max(x, to_x) + 40
        path = f"M{x} {y}C{out} {y} {out} {to_y + 6} {to_x} {to_y + 6}"
        at = (out - 12.0, (y + to_y) / 2)
    return Line(path, kind, line_text(edge), percent(edge.share, 1) if edge.failing else "", *at)


def line_text(edge: Edge) -> str:
    """An edge in words."""
    words = [
        f"{plain(edge.source.text)} calls {plain(edge.destination.text)}: {edge.requests:,.0f} requests",
        f"{percent(edge.share, 2)} fail",
    ]
    if edge.amplification is not None:
        words.append(f"{edge.amplification:.2f} attempts per request")
    if edge.latency is not None:
        words.append(f"{edge.latency:,.1f} ms on average")
    if edge.mtls is not None:
        words.append(f"{percent(edge.mtls, 1)} by mTLS")
    return ", ".join(words)
