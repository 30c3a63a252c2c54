"""Calls that the source of spans counted beside spans that it gave: together they are what all spans are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest

from sloctl import retries
from sloctl.backends.spans import Counted
from tests.support.mesh_spans import TRACERS, Mesh, frame

EDGES = {"web": [("shop", 3, 2), ("cart", 3, 1)], "shop": [("cart", 3, 1)]}
EXACT = [
    "client",
    "server",
    "requests",
    "attempts",
    "low",
    "high",
    "traces",
    "retried",
    "recovered",
    "method",
    "methods",
]
EXACT += [
    "method",
    "attempt_errors",
    "call_errors",
    "max_attempts",
    "orphans",
    "lost",
    "gaps",
    "unsent",
    "undecided",
]


def counted_of(every: pd.DataFrame, plain: pd.Series, meaning: Mapping[int, int] | None = None) -> Counted:
    """What a source would count of traces that are plain: each client's span with the server's span below it."""
    spans = every[plain].reset_index(drop=True)
    servers = spans[spans["kind"] == "server"].set_index(["trace_low", "parent"])
    clients = spans[spans["kind"] == "client"]
    place = pd.Series(range(len(servers)), servers.index)
    below = place.reindex(pd.MultiIndex.from_frame(clients[["trace_low", "span"]])).to_numpy(dtype=float)
    answered = ~np.isnan(below)
    nobody = frame([{"span": 1, "service": ""}])
    server = pd.concat([servers.reset_index(), nobody], ignore_index=True)
    server = server.iloc[np.where(answered, below, len(servers)).astype(int)].reset_index(drop=True)
    text = {
        name: server[name].astype(str).astype("category")
        for name in ("service", "operation", "remote", "code")
    }
    server = server.assign(**text)
    name = np.where(answered, 0, clients["remote"].cat.codes.astype(int) + 1).astype("uint64")
    who = clients["service"].cat.codes.to_numpy().astype(int) * 1000
    whom = np.where(answered, server["service"].map(SERVICES).fillna(0).astype(int), 0)
    whom = np.where(whom > 0, whom, [(meaning or {}).get(int(number), 0) for number in name])
    key = (who + np.where(whom > 0, whom, 100 + name.astype(int))).astype("uint64")
    each = pd.DataFrame({"key": key, "trace": clients["trace_low"].to_numpy()}).value_counts().reset_index()
    spread = each.groupby("key")["count"].agg(traces="size", squares=lambda many: int((many**2).sum()))
    return Counted(
        client=clients.reset_index(drop=True),
        server=server,
        count=np.ones(len(clients), dtype="int64"),
        key=key,
        name=name,
        spread=spread.reset_index(),
        others=every[~plain],
        services=SERVICES,
        answering=frozenset(SERVICES),
        totals={
            "traces": spans["trace_low"].nunique(),
            "spans": len(spans),
            "skewed": 0,
            "missing_parents": 0,
        },
        one_in=1,
        meaning=lambda names: counted_of(every, plain, names),
    )


SERVICES = {"web": 1, "shop": 2, "cart": 3}


@pytest.mark.parametrize("lost", [0, 5])
def test_what_was_counted_and_what_was_not_is_all_there_is(lost: int) -> None:
    """``lost``: every so many servers' spans are lost: requests that nobody seems to have answered."""
    mesh = Mesh(EDGES, {"cart": 0.1, "shop": 0.05}, TRACERS["opentelemetry"], seed=3).run("web", 300)
    every = mesh.frame()
    if lost:
        leaf = (every["kind"] == "server") & (every["service"] == "cart")
        every = every[~(leaf & (leaf.cumsum() % lost == 0))].reset_index(drop=True)
    servers = every[every["kind"] == "server"]
    twice = servers.loc[servers.duplicated(["trace_low", "parent"]), "trace_low"]
    plain = ~every["trace_low"].isin(twice)
    assert 0.2 < plain.mean() < 0.9

    whole = retries.calls(every)
    counted = counted_of(every, plain)
    table = retries.calls(counted.others, counted)
    for sampled in (0.0, 0.2):
        found, expected = (retries.edges(one, sampled=sampled)[EXACT] for one in (table, whole))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-9, check_exact=False)
    assert (table.counts["traces"], table.counts["spans"]) == (300, len(every))
    pd.testing.assert_frame_equal(retries.worst_traces(table), retries.worst_traces(whole))


def test_a_service_that_answers_in_what_was_counted_is_not_mute() -> None:
    """A span without a kind below another service is its arrival, unless that service reports servers' spans."""
    rows = [
        {"span": 1, "kind": "client", "service": "web", "duration": 9},
        {"span": 2, "parent": 1, "service": "cart", "duration": 5},
    ]
    others = frame(rows)
    assert retries.calls(others).calls["seen"].tolist() == [1]
    counted = counted_of(others, pd.Series([False, False]))
    assert retries.calls(others, counted).calls["seen"].tolist() == [0]
