"""Retries against a simulated mesh whose counters are known: shapes, sampling, order, names, damage."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloctl import retries
from sloctl.backends import spans
from tests.support.mesh_spans import METHOD, TRACERS, Mesh, anywhere, chain, frame

QUIET = settings(
    max_examples=settings().max_examples // 5, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def outcome(table: retries.CallTable) -> tuple[pd.DataFrame, ...]:
    edges = retries.edges(table)
    return edges, retries.edges(table, by_operation=True), retries.paths(table), retries.loads(table)


def same(left: tuple[pd.DataFrame, ...], right: tuple[pd.DataFrame, ...]) -> None:
    for one, other in zip(left, right, strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=1e-9)


@pytest.mark.parametrize("name", TRACERS)
@pytest.mark.slow
def test_what_was_sent_is_what_is_counted(name: str) -> None:
    for seed in range(25):
        mesh = anywhere(Random(seed), TRACERS[name], 15)
        edges = retries.edges(retries.calls(mesh.frame()))
        counted = {
            (row.client, row.server): (row.requests, row.attempts) for row in edges.itertuples(index=False)
        }
        assert counted == {edge: (mesh.requests[edge], mesh.attempts[edge]) for edge in mesh.requests}, seed
        assert set(edges["method"]) == {METHOD[name]}


@pytest.mark.parametrize("name", ["zipkin", "opentelemetry", "opentelemetry-tag", "spawn"])
@pytest.mark.parametrize("gateway", ["zipkin", "opentelemetry", "spawn", "zipkin-spawn"])
def test_gateways_may_be_set_up_differently(name: str, gateway: str) -> None:
    """As Istio does: attempts of gateways have spans of their own, those of sidecars have not."""
    for seed in range(5):
        shape = anywhere(Random(seed), TRACERS[name], 0)
        edges = {**shape.edges, "gate": [("s0", 3, 2)]}
        mesh = Mesh(edges, shape.failing, TRACERS[name], seed, TRACERS[gateway]).run("gate", 15)
        found = retries.edges(retries.calls(mesh.frame()))
        counted = {
            (row.client, row.server): (row.requests, row.attempts) for row in found.itertuples(index=False)
        }
        assert counted == {edge: (mesh.requests[edge], mesh.attempts[edge]) for edge in mesh.requests}, seed
        used = dict(zip(found["client"], found["method"], strict=True))
        assert {method for client, method in used.items() if client != "gate"} <= {METHOD[name]}
        assert used["gate"] == "router-spans" or not TRACERS[gateway].spawn


@pytest.mark.parametrize("name", ["zipkin", "opentelemetry", "spawn"])
def test_fan_out_is_told_from_retries(name: str) -> None:
    """Three deliberate calls of c by each attempt at b; two tries everywhere, and c fails always."""
    mesh = Mesh({"a": [("b", 2, 1)], "b": [("c", 2, 3)]}, {"c": 1.0}, TRACERS[name]).run("a", 10)
    table = retries.calls(mesh.frame())
    paths = retries.paths(table).set_index("path")
    leaf = paths.loc[[("b", "c")]].iloc[0]
    assert (leaf["fan_out"], leaf["retries"], leaf["attempts"]) == (3.0, 4.0, 10 * 12)
    assert leaf["hops"] == (("b", 1.0, 2.0), ("c", 3.0, 2.0))
    load = retries.loads(table).set_index("service")
    assert load.loc["c", "baseline"] == 10 * 3
    assert load.loc["c", "retry_share"] == pytest.approx(1 - 3 / 12)


def test_paths_account_for_every_attempt() -> None:
    for seed in range(20):
        mesh = anywhere(Random(seed), TRACERS["opentelemetry"], 15)
        table = retries.calls(mesh.frame())
        paths = retries.paths(table)
        assert paths["attempts"].sum() == sum(mesh.attempts.values())
        product = paths["entry_requests"] * paths["fan_out"] * paths["retries"]
        np.testing.assert_allclose(product, paths["attempts"])
        by_service = Counter[str]()
        for (_, server), attempts in mesh.attempts.items():
            by_service[server] += attempts
        loads = retries.loads(table).set_index("service")["attempts"].to_dict()
        assert {name: count for name, count in loads.items() if count} == dict(by_service)


@pytest.mark.parametrize(("name", "told"), [("zipkin", 0.2), ("spawn", 0.0)])
@pytest.mark.slow
def test_the_interval_covers_the_truth_under_head_sampling(name: str, told: float) -> None:
    """A fifth of all traces, 200 draws: 95 % should cover; 90 % must."""
    edges = {"gate": [("a", 3, 1)], "a": [("b", 3, 2), ("c", 3, 1)], "b": [("d", 3, 1)]}
    failing = {"a": 0.05, "b": 0.1, "c": 0.2, "d": 0.3}
    mesh = Mesh(edges, failing, TRACERS[name], seed=7).run("gate", 1500)
    everything = mesh.frame()
    truth = {edge: mesh.attempts[edge] / mesh.requests[edge] for edge in mesh.requests}
    random = np.random.default_rng(20)
    covered, runs = Counter[tuple[str, str]](), 200
    table = retries.calls(everything)
    assert table.counts["traces"] == 1500
    for _ in range(runs):
        kept = np.flatnonzero(random.random(1501) < 0.2)
        calls = table.calls[table.calls["trace_low"].isin(kept)]
        tried = table.attempts[table.attempts["call"].isin(calls.index)]
        renumbered = tried.assign(call=np.searchsorted(calls.index, tried["call"])).reset_index(drop=True)
        part = retries.CallTable(calls.reset_index(drop=True), renumbered, table.entries, table.counts)
        for row in retries.edges(part, sampled=told).to_dict("records"):
            edge = row["client"], row["server"]
            covered[edge] += row["low"] <= truth[edge] <= row["high"]
    assert set(covered) == set(truth)
    assert {edge: count for edge, count in covered.items() if count < 0.9 * runs} == {}


def rewritten(whole: pd.DataFrame) -> pd.DataFrame:
    """As Jaeger and Tempo show what shares ids: each server's span has a new one, all others go below the last."""
    found = whole.sort_values("start", ignore_index=True)
    same = ["trace_low", "span"]
    clients = found.loc[found["kind"] == "client", same].drop_duplicates().assign(half=True)
    half = found[same].merge(clients, on=same, how="left")["half"].notna().to_numpy()
    moved = half & (found["kind"] == "server").to_numpy()
    new = np.where(moved, np.arange(len(found), dtype=np.uint64) + np.uint64(1), found["span"].to_numpy())
    last = dict(zip(zip(*(found.loc[moved, name] for name in same), strict=True), new[moved], strict=True))
    parent = np.where(moved, found["span"], found["parent"])
    below = [
        last[key] if key in last and last[key] != own else key[1]
        for key, own in zip(zip(found["trace_low"], parent, strict=True), new, strict=True)
    ]
    return found.assign(span=new, parent=np.array(below, dtype=np.uint64), shared=False)


@pytest.mark.parametrize("name", ["zipkin", "zipkin-tag"])
def test_attempts_whose_ids_a_backend_rewrote_are_counted(name: str) -> None:
    for seed in range(8):
        mesh = anywhere(Random(seed), TRACERS[name], 15)
        whole = mesh.frame()
        raw = whole.assign(shared=False)  # as Jaeger has it where it is asked for what was reported
        for spans_ in (rewritten(whole), raw):
            edges = retries.edges(retries.calls(spans_))
            counted = {
                (row.client, row.server): (row.requests, row.attempts)
                for row in edges.itertuples(index=False)
            }
            assert counted == {edge: (mesh.requests[edge], mesh.attempts[edge]) for edge in mesh.requests}, (
                seed
            )


def test_sampled_traces_give_what_the_whole_calls_of_these_traces_give() -> None:
    mesh = anywhere(Random(3), TRACERS["zipkin"], 60)
    everything = mesh.frame()
    part = everything[everything["trace_low"] % 5 == 0]
    ours = retries.calls(part).calls
    full = retries.calls(everything).calls
    theirs = full[full["trace_low"] % 5 == 0]
    assert ours["attempts"].sum() == theirs["attempts"].sum()
    assert len(ours) == len(theirs)


meshes = st.builds(
    lambda seed, name, times: anywhere(Random(seed), TRACERS[name], times).frame(),
    st.integers(0, 2**16), st.sampled_from(sorted(TRACERS)), st.integers(1, 4),
)  # fmt: skip


@QUIET
@given(meshes, st.integers(0, 2**16))
@pytest.mark.slow
def test_the_order_of_spans_means_nothing(whole: pd.DataFrame, seed: int) -> None:
    mixed = whole.sample(frac=1, random_state=seed)
    same(outcome(retries.calls(whole)), outcome(retries.calls(mixed)))


@QUIET
@given(meshes, st.integers(0, 2**16))
@pytest.mark.slow
def test_spans_delivered_twice_change_nothing(whole: pd.DataFrame, seed: int) -> None:
    twice = pd.concat([whole, whole.sample(frac=0.7, random_state=seed)], ignore_index=True)
    same(outcome(retries.calls(whole)), outcome(retries.calls(twice)))


@QUIET
@given(meshes)
@pytest.mark.slow
def test_other_names_give_the_same_numbers_under_those_names(whole: pd.DataFrame) -> None:
    before = retries.edges(retries.calls(whole))
    reverse = {
        name: f"z{9 - place}{name}" if name else ""
        for place, name in enumerate(whole["service"].cat.categories)
    }
    after = retries.edges(
        retries.calls(whole.assign(service=whole["service"].cat.rename_categories(reverse)))
    )
    renamed = before.assign(client=before["client"].map(reverse), server=before["server"].map(reverse))
    same((renamed.sort_values(["client", "server"], ignore_index=True),), (after,))


rows = st.fixed_dictionaries(
    {
        "span": st.integers(0, 4),
        "parent": st.integers(0, 5),
        "kind": st.sampled_from(spans.KINDS),
        "service": st.sampled_from(["", "a", "b", "a.x"]),
        "operation": st.sampled_from(["", "x", "router y egress", "router inbound|1|| egress"]),
        "remote": st.sampled_from(["", "inbound|1||", "outbound|1||b.x.svc", "|||", "10.0.0.1"]),
        "code": st.sampled_from(["", "0", "200", "503", "14"]),
        "flags": st.sampled_from(["", "-", "UH", "URX,UF"]),
        "error": st.booleans(),
        "overflow": st.booleans(),
        "shared": st.booleans(),
        "router": st.booleans(),
        "retry": st.sampled_from([-1, 0, 1, 32767]),
        "attempts": st.sampled_from([-1, 0, 1, 3, 32767]),
        "duration": st.sampled_from([-1, 0, 5, 2**62]),
        "start": st.sampled_from([0, 1, 5, 10**18]),
        "trace_low": st.integers(0, 2),
    }
)


@settings(QUIET, max_examples=settings().max_examples // 4)  # more, if make fuzz asks for more
@given(st.lists(rows, max_size=25), st.integers(0, 100))
@pytest.mark.slow
def test_broken_spans_are_never_an_error_and_their_order_means_nothing(
    broken: list[dict[str, object]], seed: int
) -> None:
    """Ids that clash, parents in a circle, routers without managers, names that are none."""
    whole = frame(broken)
    table = retries.calls(whole)
    first = outcome(table)
    edges = first[0]
    assert (edges["attempts"] >= edges["requests"]).all()
    assert (table.calls["attempts"] >= 0).all()
    assert (table.calls["parent"] < len(table.attempts)).all()
    retries.findings(table)
    retries.worst_traces(table)
    retries.worst_case(edges)
    counts = ["client", "server", "requests", "attempts"]
    again = retries.edges(retries.calls(whole.sample(frac=1, random_state=seed)))
    if not whole.duplicated(["trace_low", "span", "start"]).any():
        pd.testing.assert_frame_equal(edges[counts], again[counts])


@pytest.mark.parametrize("size", [2, 1000])
def test_parents_in_a_circle_are_cut(size: int) -> None:
    kinds = ("client", "server")
    ring = [
        {
            "service": "ab"[n % 2],
            "kind": kinds[n % 2],
            "span": n + 1,
            "parent": (n - 1) % size + 1,
            "duration": 1,
        }
        for n in range(size)
    ]
    began = time.process_time()
    table = retries.calls(frame(ring))
    retries.paths(table)
    assert table.counts["cycles"] == size
    assert time.process_time() - began < 20
    assert retries.edges(table)["attempts"].sum() == retries.edges(table)["requests"].sum() == size // 2
    assert "span-parents-circular" in {found.code for found in retries.findings(table)}


def test_chains_deeper_than_64_hops_are_left_out_of_paths_and_counted() -> None:
    names = [f"s{number:03}" for number in range(81)]
    mesh = Mesh({one: [(two, 1, 1)] for one, two in pairwise(names)}, {}, TRACERS["opentelemetry"])
    table = retries.calls(mesh.run(names[0], 1).frame())
    assert retries.paths(table)["depth"].max() == 65
    assert retries.loads(table)["too_deep"].sum() == 15
    assert len(retries.edges(table)) == 80


def test_a_hundred_thousand_spans() -> None:
    part = chain(TRACERS["zipkin"], 3, 0.3, 150, seed=1).frame()
    copies = -(-100_000 // len(part))
    whole = pd.concat([part] * copies, ignore_index=True)
    whole["trace_low"] += np.repeat(np.arange(copies, dtype=np.uint64) * np.uint64(1000), len(part))
    one, many = retries.edges(retries.calls(part)), retries.edges(retries.calls(whole))
    assert (many["attempts"] == one["attempts"] * copies).all()
    np.testing.assert_allclose(many["amplification"], one["amplification"])
    assert retries.findings(retries.calls(whole)) != []
