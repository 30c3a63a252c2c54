"""Who calls whom in the mesh now, and what of it fails: five or six questions to Prometheus, however many services.

The caller's proxy is believed, as in :mod:`jobs.origins.traffic`: it knows of retries and of calls that reached nobody.
Where the caller has no proxy, the called one tells. Plain increase: it says where to look, budgets are counted exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite

from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource, Series
from sloctl.model import Matcher, Mesh
from sloctl.promql import calls
from sloctl.report.mesh import Edge, MeshCalls, Node

MOST = 20_000
"""Edges that are looked at: those with most requests."""
_EDGE = (*naming.CALLERS, *naming.CALLED)
_SERVES = ("destination_workload_namespace", "destination_workload", *naming.CALLED)
_MTLS = Matcher("connection_security_policy", "=", "mutual_tls")

_Pair = tuple[Node, Node]


def read(source: MetricSource, mesh: Mesh, at: datetime, seconds: int = 900) -> MeshCalls:
    """The calls of the ``seconds`` before ``at``. Raises ``BackendError``."""
    heard = Heard(source)
    sides = calls.sides(mesh)
    served = sides[-1]
    queries: dict[str, str] = {}
    for side in sides:
        for kind in ("total", "bad", "unreached"):
            queries[f"{side} {kind}"] = calls.summed(calls.selectors(side, mesh, kind), _EDGE, seconds)
    queries["serves"] = calls.summed(calls.selectors(served, mesh, "total"), _SERVES, seconds)
    if mesh.mode == "sidecar":  # what a waypoint says of mTLS is not what its clients used
        queries["mtls"] = calls.summed(calls.selectors(served, mesh, "total", _MTLS), _EDGE, seconds)
    queries |= calls.latency(mesh, sides[0], _EDGE, seconds)
    found = heard.query_many({name: f"{expr} > 0" for name, expr in queries.items()}, at)
    services = _services(found["serves"])
    counted = {name: _counts(series, services) for name, series in found.items() if name != "serves"}
    edges = _edges(counted, sides)
    doubts = list(heard.doubts)
    if len(edges) > MOST:
        edges = sorted(edges, key=lambda edge: -edge.requests)[:MOST]
        doubts.append(f"the {MOST:,} edges with most requests are looked at, and there are more")
    return MeshCalls(at, seconds, tuple(edges), tuple(doubts))


def _services(series: Sequence[Series]) -> dict[Node, Node]:
    """The service of each workload, where it has one only."""
    known: dict[Node, set[Node]] = {}
    for item in series:
        labels = item["metric"]
        workload = Node(*(labels.get(name, "") for name in _SERVES[:2]))
        service = Node(*(labels.get(name, "") for name in naming.CALLED))
        if promql.is_service(service.name):
            known.setdefault(workload, set()).add(service)
    return {workload: next(iter(found)) for workload, found in known.items() if len(found) == 1}


def _counts(series: Sequence[Series], services: Mapping[Node, Node]) -> dict[_Pair, float]:
    found: dict[_Pair, float] = {}
    for item in series:
        labels = item["metric"]
        caller = Node(*(labels.get(name, "") for name in naming.CALLERS))
        called = Node(*(labels.get(name, "") for name in naming.CALLED))
        value = float(item["value"][1])
        if isfinite(value) and promql.is_service(called.name):
            pair = (services.get(caller, caller), called)
            found[pair] = found.get(pair, 0.0) + value
    return found


def _edges(counted: Mapping[str, Mapping[_Pair, float]], sides: Sequence[str]) -> list[Edge]:
    first, served = sides[0], sides[-1]
    seen = counted[f"{first} total"]
    with_proxy = {caller for caller, _ in seen}
    found = []
    for side in dict.fromkeys(sides):
        for pair, requests in counted[f"{side} total"].items():
            if side != first and (pair in seen or pair[0] in with_proxy):
                continue  # the caller's own proxy tells of it, or would
            attempts = counted[f"{served} total"].get(pair)
            spent, number = (counted.get(name, {}).get(pair) for name in ("latency sum", "latency count"))
            secured = None
            if "mtls" in counted and attempts:
                secured = min(1.0, counted["mtls"].get(pair, 0.0) / attempts)
            found.append(
                Edge(
                    *pair,
                    requests,
                    min(requests, counted[f"{side} bad"].get(pair, 0.0)),
                    min(requests, counted[f"{side} unreached"].get(pair, 0.0)),
                    attempts if side == first and served != first else None,
                    spent / number if spent is not None and number else None,
                    secured,
                )
            )
    return found
