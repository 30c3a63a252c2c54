"""What it costs to find retries in spans: by their number, and against a loop over dictionaries.

``python -m benchmarks.bench_retries [SPANS…]``.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from statistics import quantiles
from typing import Any, cast

import numpy as np
import pandas as pd

from benchmarks import measure
from sloctl import retries
from tests.support.mesh_spans import TRACERS, Mesh

SIZES = (10_000, 100_000, 1_000_000)
LOOPED = 1_000_000
"""A loop over more than these takes its time."""
SETTINGS = ("zipkin", "opentelemetry", "spawn", "opentelemetry-tag")
EDGES = {
    "gate": [("front", 3, 1)],
    "front": [("cart", 3, 2), ("stock", 3, 1)],
    "cart": [("store", 3, 1)],
    "stock": [("store", 2, 1)],
}
FAILING = {"front": 0.02, "cart": 0.1, "stock": 0.05, "store": 0.2}
Row = dict[str, Any]
Edge = tuple[str, str]
Trace = tuple[int, int]
Id = tuple[Trace, int]
Numbers = tuple[dict[Edge, list[float]], dict[Edge, list[float]], dict[Edge, list[float]]]
"""Durations of calls with one attempt and of those with more, and pauses between attempts, by edge."""
Servers = dict[tuple[Trace, int, Any], Row]
Order = dict[int, tuple[int, Row]]


def mesh(spans: int, setting: str) -> pd.DataFrame:
    """So many spans or a few more: traces of 500 requests, repeated under other ids."""
    part = Mesh(EDGES, FAILING, TRACERS[setting], seed=1).run("gate", 500).frame()
    copies = -(-spans // len(part))
    whole = pd.concat([part] * copies, ignore_index=True)
    whole["trace_low"] += np.repeat(np.arange(copies, dtype=np.uint64) * np.uint64(1_000_003), len(part))
    return whole.sample(frac=1, random_state=1)


def analysis(frame: pd.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    table = retries.calls(frame)
    edges = retries.edges(table)
    retries.paths(table)
    retries.loads(table)
    retries.findings(table, edges)
    counts = zip(edges["client"], edges["server"], edges["requests"], edges["attempts"], strict=True)
    return {(client, server): (int(requests), int(attempts)) for client, server, requests, attempts in counts}


def loop(rows: list[Row]) -> dict[Edge, tuple[int, int]]:
    """The same by hand, for ids that are shared or parents, and nothing that is damaged.

    Calls with attempts by edge, their durations and pauses, attempts by path, and what is left without retries.
    """
    clients, servers, tried = told_apart(rows)
    counts, numbers, order = counted(clients, tried)
    add_paths(servers, order)
    for many in numbers:
        for values in many.values():
            if len(values) > 1:
                quantiles(values, n=20)
    return {edge: (requests, attempts) for edge, (requests, attempts) in counts.items()}


def told_apart(rows: list[Row]) -> tuple[dict[Id, Row], Servers, dict[Id, list[Row]]]:
    """Clients' spans by their ids, servers' by ids and beginning, and attempts by the id of their call."""
    clients: dict[Id, Row] = {}
    servers: Servers = {}
    tried: dict[Id, list[Row]] = defaultdict(list)
    for row in rows:
        trace = (row["trace_high"], row["trace_low"])
        if row["kind"] == "client":
            clients[trace, row["span"]] = row
        elif row["kind"] == "server":
            servers[trace, row["span"], row["start"]] = row
            tried[trace, row["span"] if row["shared"] else row["parent"]].append(row)
    return clients, servers, tried


def counted(
    clients: dict[Id, Row], tried: dict[Id, list[Row]]
) -> tuple[dict[Edge, list[int]], Numbers, Order]:
    """Calls and attempts by edge, their durations and pauses, and which attempt of which call each attempt is."""
    counts: dict[Edge, list[int]] = defaultdict(lambda: [0, 0])
    once: dict[Edge, list[float]] = defaultdict(list)
    again: dict[Edge, list[float]] = defaultdict(list)
    pauses: dict[Edge, list[float]] = defaultdict(list)
    order: Order = {}
    for key, attempts in tried.items():
        client = clients.get(key)
        if client is None:
            continue
        attempts.sort(key=lambda row: row["start"])
        edge = client["service"], attempts[0]["service"]
        counts[edge][0] += 1
        counts[edge][1] += len(attempts)
        (again if len(attempts) > 1 else once)[edge].append(client["duration"])
        for index, row in enumerate(attempts):
            order[id(row)] = index, client
            if index:
                before = attempts[index - 1]
                pauses[edge].append((row["start"] - before["start"]).value - before["duration"])
    return counts, (once, again, pauses), order


def add_paths(servers: Servers, order: Order) -> None:
    """Attempts by the path on which they came, and what each service would have had without retries."""
    by_id: dict[Id, list[Row]] = defaultdict(list)
    for (trace, own, _), row in servers.items():
        by_id[trace, own].append(row)
    paths: dict[tuple[str, ...], int] = defaultdict(int)
    needed: dict[str, int] = defaultdict(int)
    for row in servers.values():
        path, first, at = [row["service"]], True, row
        while (found := order.get(id(at))) is not None:
            index, client = found
            first = first and index == 0
            path.append(client["service"])
            above = by_id.get(((client["trace_high"], client["trace_low"]), client["parent"]))
            if not above:
                break
            at = max((one for one in above if one["start"] <= client["start"]), key=lambda one: one["start"])
        paths[tuple(path)] += 1
        needed[row["service"]] += first


def timed(work: Callable[[], Any], runs: int) -> tuple[float, Any]:
    best, result = float("inf"), None
    for _ in range(runs):
        began = time.process_time()
        result = work()
        best = min(best, time.process_time() - began)
    return best, result


def peak(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main(sizes: list[int] | None = None, runs: int = 3) -> None:
    sizes = sizes or list(SIZES)
    measure.title("Retries")
    rows = []
    for size in sizes:
        frame = mesh(size, "zipkin")
        ours, found = timed(partial(analysis, frame), runs)
        memory = peak(partial(analysis, frame))
        looped, ratio = "", ""
        if size <= LOOPED:
            dictionaries = cast("list[Row]", frame.to_dict("records"))
            gc.freeze()  # a million dictionaries that live on are no reason to look at them again and again
            theirs, other = timed(partial(loop, dictionaries), 1)
            assert found == other
            looped, ratio = measure.seconds(theirs), f"{theirs / ours:.1f} ×"
            del dictionaries
            gc.unfreeze()
        each = f"{ours / len(frame) * 1e6:.1f} µs"
        rows.append(
            (f"{len(frame):,}", measure.seconds(ours), each, measure.megabytes(memory), looped, ratio)
        )
    measure.table(
        ("spans", "analysis", "a span", "peak memory", "loop over dictionaries", "analysis is faster"), rows
    )
    print(f"\nThe tracer's settings, {max(sizes):,} spans:\n")
    settings: list[tuple[str, ...]] = []
    for setting in SETTINGS:
        frame = mesh(max(sizes), setting)
        steps = [timed(partial(retries.calls, frame), runs)]
        table = steps[0][1]
        steps += [timed(partial(work, table), runs) for work in (retries.edges, retries.paths, retries.loads)]
        settings.append((setting, f"{len(table.calls):,}", *(measure.seconds(took) for took, _ in steps)))
    measure.table(("tracer", "calls", "calls()", "edges()", "paths()", "loads()"), settings)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
