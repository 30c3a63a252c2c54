"""What one request at the edge of the mesh becomes further in: retries multiplied along paths, apart from fan-out.

Owns the walk down the calls, level by level; must not know how calls were found.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sloctl.retries.calls import CallTable
from sloctl.retries.keys import Array

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
    calls = table.calls
    level, above = _levels(table)
    server, root = calls["server"].cat.codes.to_numpy(), calls["root"].to_numpy()
    names = [str(name) for name in calls["server"].cat.categories]
    entry, attempts = calls["entry"].to_numpy(), calls["attempts"].to_numpy()
    requests = table.entries["requests"].to_numpy()
    node = np.full(len(calls), -1, dtype=np.int64)
    wide = len(names) + 1
    parents: list[int] = []
    entries: list[int] = []
    services: list[int] = []
    counts: list[tuple[int, int]] = []
    for depth in range(int(level.max(initial=-1)) + 1):
        rows = np.flatnonzero((level == depth) & (attempts > 0))
        before = entry[rows] if depth == 0 else node[above[rows]] + len(requests)
        own = np.where(root[rows], wide - 1, server[rows])
        found, place = np.unique(before * wide + own, return_inverse=True)
        node[rows] = place + len(parents)
        sums = zip(np.bincount(place), np.bincount(place, attempts[rows]).astype(np.int64), strict=True)
        counts += [(int(x), int(y)) for x, y in sums]
        services += (found % wide).tolist()
        head = (found // wide).tolist()
        parents += [-1 if depth == 0 else code - len(requests) for code in head]
        entries += [code if depth == 0 else entries[code - len(requests)] for code in head]
    return _table(table, parents, entries, services, counts, [*names, ""])


def _table(
    table: CallTable, parents: list[int], entries: list[int], services: list[int],
    counts: list[tuple[int, int]], names: list[str],
) -> pd.DataFrame:  # fmt: skip
    starts = table.entries
    begin = [(str(a), str(b)) for a, b in zip(starts["service"], starts["operation"], strict=True)]
    total = starts["requests"].tolist()
    hops: list[tuple[tuple[str, float, float], ...]] = []
    offered: list[int] = []
    further = set(parents)
    rows = []
    for index, (parent, entry, service, (requests, attempts)) in enumerate(
        zip(parents, entries, services, counts, strict=True)
    ):
        base = total[entry] if parent < 0 else offered[parent]
        before = () if parent < 0 else hops[parent]
        itself = service == len(names) - 1
        here = before if itself else (*before, (names[service], requests / base, attempts / requests))
        hops.append(here)
        offered.append(total[entry] if itself else attempts)
        if itself:
            continue
        rows.append(
            {
                "entry": begin[entry][0],
                "operation": begin[entry][1],
                "service": names[service],
                "path": tuple(hop[0] for hop in here),
                "depth": len(here),
                "entry_requests": total[entry],
                "requests": requests,
                "attempts": attempts,
                "fan_out": float(np.prod([hop[1] for hop in here])),
                "retries": float(np.prod([hop[2] for hop in here])),
                "hops": here,
                "leaf": index not in further,
            }
        )
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame = frame.astype(dict.fromkeys(("depth", "entry_requests", "requests", "attempts"), "int64"))
    frame = frame.astype({"fan_out": "float64", "retries": "float64", "leaf": "bool"})
    return frame.sort_values(["entry", "operation", "path"], ignore_index=True)


_COLUMNS = (
    *("entry", "operation", "service", "path", "depth", "entry_requests"),
    *("requests", "attempts", "fan_out", "retries", "hops", "leaf"),
)


def loads(table: CallTable) -> pd.DataFrame:
    """How much of each service's load is retries, here or further up: sorted by ``service``.

    ``service`` (str), ``attempts`` (int64, that it was sent), ``baseline`` (int64, those that there would be without
    any retry: a first attempt, caused by first attempts only, up to the entry), ``retry_share`` (1 − baseline /
    attempts), ``too_deep`` (int64, attempts below :data:`DEEPEST` hops, in no other column).
    """
    calls = table.calls
    level, above = _levels(table)
    attempts = calls["attempts"].to_numpy()
    parent = calls["parent"].to_numpy()
    index = table.attempts["index"].to_numpy()
    first = np.zeros(len(calls), dtype=bool)
    for depth in range(int(level.max(initial=-1)) + 1):
        rows = np.flatnonzero(level == depth)
        first[rows] = True if depth == 0 else first[above[rows]] & (index[parent[rows]] == 0)
    known = level >= 0
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


def _levels(table: CallTable) -> tuple[Array, Array]:
    """Each call's hops below its entry, -1 if more than :data:`DEEPEST`; and the call that caused it, or -1."""
    parent = table.calls["parent"].to_numpy()
    of_attempt = table.attempts["call"].to_numpy()
    above = np.where(parent >= 0, np.append(of_attempt, -1)[parent], -1)
    level = np.where(above < 0, 0, -1)
    open_ = np.flatnonzero(level < 0)
    for depth in range(1, DEEPEST + 1):
        if not len(open_):
            break
        found = level[above[open_]] == depth - 1
        level[open_[found]] = depth
        open_ = open_[~found]
    return level, above
