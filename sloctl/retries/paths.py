"""What one request at the edge of the mesh becomes further in: retries multiplied along paths, apart from fan-out.

Owns the walk down the calls, level by level; must not know how calls were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sloctl.retries.calls import CallTable
from sloctl.retries.numbering import Array

_Hop = tuple[str, float, float]

DEEPEST = 64
"""Calls further below their entry than this many hops are left out of paths, and counted (``too_deep``)."""


def paths(table: CallTable) -> pd.DataFrame:
    """Load along each path of services from an entry, a row for each path and each of its beginnings.

    ``entry``, ``operation`` (str, where traces begin; ``""`` is unknown), ``service`` (str, the path's end), ``path``
    (tuple of services after the entry), ``depth`` (int64, hops), ``entry_requests`` (int64, all of that entry),
    ``requests``, ``attempts`` (int64, of the last hop), ``fan_out`` and ``retries`` (float64), ``hops`` (tuple of
    (service, fan-out, amplification) for each hop), ``leaf`` (bool, no call goes further from here).

    A hop's fan-out is its requests over the attempts of the hop before (over ``entry_requests`` at the first), its
    amplification its own attempts over requests. Products along the path give ``fan_out``, ``retries``, and
    ``attempts / entry_requests = fan_out · retries``: three tries at each of three hops are 27, three deliberate calls
    are a fan-out of 3. Calls that were not sent are left out.
    """
    nodes, entries = _nodes(table), table.entries
    begins = [(str(a), str(b)) for a, b in zip(entries["service"], entries["operation"], strict=True)]
    entry_requests = entries["requests"].tolist()
    further = {node.before for node in nodes}
    rows = []
    for index, (node, hops) in enumerate(zip(nodes, _hops(table, nodes), strict=True)):
        if node.service is None:
            continue
        rows.append(
            {
                "entry": begins[node.entry][0],
                "operation": begins[node.entry][1],
                "service": node.service,
                "path": tuple(service for service, _, _ in hops),
                "depth": len(hops),
                "entry_requests": entry_requests[node.entry],
                "requests": node.requests,
                "attempts": node.attempts,
                "fan_out": float(np.prod([fan_out for _, fan_out, _ in hops])),
                "retries": float(np.prod([amplification for _, _, amplification in hops])),
                "hops": hops,
                "leaf": index not in further,
            }
        )
    frame = pd.DataFrame(rows, columns=_COLUMNS).astype(_NUMBERS)
    return frame.sort_values(["entry", "operation", "path"], ignore_index=True)


_COLUMNS = (
    *("entry", "operation", "service", "path", "depth", "entry_requests"),
    *("requests", "attempts", "fan_out", "retries", "hops", "leaf"),
)
_NUMBERS = {
    **dict.fromkeys(("depth", "entry_requests", "requests", "attempts"), "int64"),
    **dict.fromkeys(("fan_out", "retries"), "float64"),
    "leaf": "bool",
}


@dataclass(frozen=True, slots=True)
class _Node:
    """The calls at the end of one path from one entry, and what was sent there.

    ``before`` is the node of the path without its last hop, -1 for none, ``entry`` the row of the entry, ``service``
    the last service, or ``None`` for requests at the entry itself, which are no hop.
    """

    before: int
    entry: int
    service: str | None
    requests: int
    attempts: int


def _nodes(table: CallTable) -> list[_Node]:
    """All paths that calls took, from the entries down: a node comes after the one before it.

    What was called below a call of which its own tags say that it was never sent has no path: the two contradict each
    other, and nothing says how often the call above was tried.
    """
    calls = table.calls
    level, above = _levels(table)
    attempts, entry = calls["attempts"].to_numpy(), calls["entry"].to_numpy()
    services = [*(str(name) for name in calls["server"].cat.categories), None]
    wide = len(services)
    service = np.where(calls["root"], wide - 1, calls["server"].cat.codes.to_numpy().astype(np.int64))
    node = np.full(len(calls), -1, dtype=np.int64)
    nodes: list[_Node] = []
    for depth in range(int(level.max(initial=-1)) + 1):
        rows = np.flatnonzero((level == depth) & (attempts > 0))
        before = entry[rows] if depth == 0 else node[above[rows]]
        rows, before = rows[before >= 0], before[before >= 0]
        steps, step = np.unique(before * wide + service[rows], return_inverse=True)
        node[rows] = step + len(nodes)
        requests, tried = np.bincount(step), np.bincount(step, attempts[rows]).astype(np.int64)
        columns = zip(
            (steps // wide).tolist(), (steps % wide).tolist(), requests.tolist(), tried.tolist(), strict=True
        )
        if depth == 0:
            nodes += [_Node(-1, origin, services[last], *sent) for origin, last, *sent in columns]
        else:
            nodes += [
                _Node(origin, nodes[origin].entry, services[last], *sent) for origin, last, *sent in columns
            ]
    return nodes


def _hops(table: CallTable, nodes: Sequence[_Node]) -> list[tuple[_Hop, ...]]:
    """For each node its hops from the entry: service, fan-out and amplification of each."""
    entry_requests = table.entries["requests"].tolist()
    hops: list[tuple[_Hop, ...]] = []
    passed_on: list[int] = []  # how many requests or attempts the next hop's fan-out is relative to
    for node in nodes:
        base = entry_requests[node.entry] if node.before < 0 else passed_on[node.before]
        before = () if node.before < 0 else hops[node.before]
        if node.service is None:
            hops.append(before)
            passed_on.append(entry_requests[node.entry])
        else:
            hops.append((*before, (node.service, node.requests / base, node.attempts / node.requests)))
            passed_on.append(node.attempts)
    return hops


def breadth(table: CallTable) -> int:
    """How many edges there are, or paths if those are more: so many rows do tables of a mesh have."""
    calls = table.calls
    edges = calls.loc[~calls["root"], ["client", "server"]].drop_duplicates()
    return max(len(edges), len(_nodes(table)))


def loads(table: CallTable) -> pd.DataFrame:
    """How much of each service's load is retries, here or further up: sorted by ``service``.

    ``service`` (str), ``attempts`` (int64, that it was sent), ``baseline`` (int64, those that there would be without
    any retry: a first attempt, caused by first attempts only, up to the entry), ``retry_share`` (1 − baseline /
    attempts), ``too_deep`` (int64, attempts below :data:`DEEPEST` hops, in no other column).
    """
    calls = table.calls
    level, above = _levels(table)
    attempts = calls["attempts"].to_numpy()
    first, known = _caused_by_first_attempts(table, level, above), level >= 0
    server = calls["server"].cat.codes.to_numpy()
    names = np.array([str(name) for name in calls["server"].cat.categories], dtype=object)
    sent = np.bincount(server[known], attempts[known], len(names)).astype(np.int64)
    base = np.bincount(server[known & first & (attempts > 0)], minlength=len(names))
    deep = np.bincount(server[~known], attempts[~known], len(names)).astype(np.int64)
    there = (sent > 0) | (deep > 0)
    with np.errstate(invalid="ignore"):
        frame = pd.DataFrame(
            {
                "service": pd.Series(names[there], dtype="str"),
                "attempts": sent[there],
                "baseline": base[there],
                "retry_share": 1 - base[there] / sent[there],
                "too_deep": deep[there],
            }
        )
    return frame.sort_values("service", ignore_index=True)


def _caused_by_first_attempts(table: CallTable, level: Array, above: Array) -> Array:
    """Calls that there would be without any retry: no attempt on the way to them is another but the first."""
    parent = table.calls["parent"].to_numpy()
    index = table.attempts["index"].to_numpy()
    first = np.asarray(level == 0)
    for depth in range(1, int(level.max(initial=-1)) + 1):
        rows = np.flatnonzero(level == depth)
        first[rows] = first[above[rows]] & (index[parent[rows]] == 0)
    return first


def _levels(table: CallTable) -> tuple[Array, Array]:
    """Each call's hops below its entry, -1 if more than :data:`DEEPEST`; and the call that caused it, or -1."""
    parent = table.calls["parent"].to_numpy()
    of_attempt = table.attempts["call"].to_numpy()
    above = np.where(parent >= 0, np.append(of_attempt, -1)[parent], -1)
    level = np.where(above < 0, 0, -1)
    deeper = np.flatnonzero(level < 0)
    for depth in range(1, DEEPEST + 1):
        if not len(deeper):
            break
        here = level[above[deeper]] == depth - 1
        level[deeper[here]] = depth
        deeper = deeper[~here]
    return level, above
