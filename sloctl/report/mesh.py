"""The calls of a mesh within some minutes, as data: who calls whom, what fails, and what a reader should look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sloctl import naming
from sloctl.model.durations import rfc3339

FAILS = 0.01
"""The share of failures from which an edge is looked at."""
LEAST = 3.0
"""Failures that an edge has at least then: one is no news."""
RETRIED = 1.1
"""Attempts per request from which an edge is looked at."""
PLAIN = 0.999
"""The share of calls by mTLS below which an edge is looked at."""


class Node(NamedTuple):
    """A service, or a workload that calls and serves nothing."""

    namespace: str
    name: str

    @property
    def text(self) -> str:
        """``namespace/name``."""
        return naming.place(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Edge:
    """The calls of one service by another. ``unreached`` are failures that got no answer from it.

    ``attempts`` are what the called side's proxies saw, ``latency`` is the mean in milliseconds, ``mtls`` the share of
    calls by mTLS; None where nobody says.
    """

    source: Node
    destination: Node
    requests: float
    failed: float
    unreached: float = 0.0
    attempts: float | None = None
    latency: float | None = None
    mtls: float | None = None

    @property
    def share(self) -> float:
        """The share of requests that failed."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def amplification(self) -> float | None:
        """Attempts per request."""
        return None if self.attempts is None or not self.requests else self.attempts / self.requests

    @property
    def failing(self) -> bool:
        """Whether too many of its calls fail."""
        return self.share >= FAILS and self.failed >= LEAST

    @property
    def odd(self) -> tuple[str, ...]:
        """What else a reader should look at."""
        found = []
        if (ratio := self.amplification) is not None and ratio >= RETRIED:
            found.append("retries")
        if self.mtls is not None and self.mtls < PLAIN:
            found.append("plaintext")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class MeshCalls:
    """The calls of the ``seconds`` before ``at``. ``doubts`` are sentences."""

    at: datetime
    seconds: int
    edges: tuple[Edge, ...]
    doubts: tuple[str, ...] = ()

    @property
    def nodes(self) -> set[Node]:
        """All that call or are called."""
        return {node for edge in self.edges for node in (edge.source, edge.destination)}


def chosen(
    edges: Iterable[Edge], *, q: str = "", namespace: str = "", everything: bool = False
) -> list[Edge]:
    """The edges to show, those that fail most first: those that deviate, all, or those of some services."""
    words = q.lower().split()

    def sought(node: Node) -> bool:
        return all(word in node.text.lower() for word in words)

    def fits(edge: Edge) -> bool:
        ends = (edge.source, edge.destination)
        if namespace and namespace not in (node.namespace for node in ends):
            return False
        if words:
            return any(map(sought, ends))
        return everything or edge.failing or bool(edge.odd)

    return sorted(
        filter(fits, edges), key=lambda edge: (-edge.failed, -edge.requests, edge.source, edge.destination)
    )


def to_json(calls: MeshCalls, edges: Iterable[Edge]) -> Mapping[str, Any]:
    """The JSON form of some edges."""
    return {
        "at": rfc3339(calls.at),
        "seconds": calls.seconds,
        "edges": [
            {
                "source": _node(edge.source),
                "destination": _node(edge.destination),
                "requests": round(edge.requests, 3),
                "failed": round(edge.failed, 3),
                "unreached": round(edge.unreached, 3),
                "attempts": None if edge.attempts is None else round(edge.attempts, 3),
                "mean_latency_ms": None if edge.latency is None else round(edge.latency, 3),
                "mtls": None if edge.mtls is None else round(edge.mtls, 6),
                "failing": edge.failing,
                "odd": list(edge.odd),
            }
            for edge in edges
        ],
        "doubts": list(calls.doubts),
    }


def _node(node: Node) -> dict[str, str]:
    return {"namespace": node.namespace, "name": node.name}
