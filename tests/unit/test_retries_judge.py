"""Rates, verdicts and findings on retries: intervals, pauses, worst cases, traces against metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sloctl import retries
from sloctl.backends.spans import trace_id
from tests.support.mesh_spans import BEGIN, TRACERS, chain, frame

MS = 1_000_000


def attempts_apart(pause: float, calls: int, tries: int = 2) -> pd.DataFrame:
    """Calls of some attempts of 10 ms, ``pause`` milliseconds between them."""
    rows: list[dict[str, Any]] = []
    for call in range(calls):
        here = {"trace_low": call + 1}
        took = int(tries * 10 * MS + (tries - 1) * pause * MS)
        rows.append({"service": "a", "kind": "client", "span": 1, "duration": took, **here})
        for attempt in range(tries):
            start = BEGIN + int(attempt * (10 + pause) * MS)
            failed = attempt < tries - 1
            rows.append(
                {
                    "service": "b", "kind": "server", "span": 2 + attempt, "parent": 1, "start": start,
                    "duration": 10 * MS, "error": failed, "code": "200", **here,
                }
            )  # fmt: skip
    return frame(rows)


def only(found: pd.DataFrame) -> dict[str, Any]:
    [row] = found.to_dict("records")
    return {str(name): value for name, value in row.items()}


@pytest.mark.parametrize("overflow", [False, True])
def test_what_was_called_below_an_unsent_call_has_no_path(overflow: bool) -> None:
    rows = []
    for here in ({"trace_low": number + 1} for number in range(3)):
        rows += [
            {"service": "a", "kind": "client", "span": 1, "attempts": 1, "overflow": overflow, **here},
            {"service": "b", "kind": "server", "span": 2, "parent": 1, **here},
            {"service": "b", "kind": "client", "span": 3, "parent": 2, "attempts": 2, **here},
            {"service": "c", "kind": "server", "span": 4, "parent": 3, **here},
        ]
    table = retries.calls(frame(rows))
    paths = [[hop[0] for hop in path] for path in retries.paths(table)["hops"]]
    assert paths == ([] if overflow else [["b"], ["b", "c"]])
    assert only(retries.edges(table).query("server == 'c'"))["attempts"] == 6


def test_rates_of_an_edge() -> None:
    once = attempts_apart(0, 7, tries=1)
    rows = pd.concat([attempts_apart(30, 3, tries=3), once.assign(trace_low=once["trace_low"] + 100)])
    edge = only(retries.edges(retries.calls(rows)))
    assert (edge["requests"], edge["attempts"], edge["traces"]) == (10, 16, 10)
    assert edge["amplification"] == 1.6
    assert edge["retried"] == 0.3
    assert edge["recovered"] == 1.0
    assert edge["attempt_errors"] == 6 / 16
    assert edge["call_errors"] == 0.0
    assert edge["p50"] == edge["p95"] == pytest.approx(0.010)
    assert edge["retried_p50"] == edge["retried_p95"] == pytest.approx(0.090)
    assert edge["lost"] == pytest.approx(3 * 2 * 0.010)
    assert (edge["gaps"], edge["overlaps"], edge["max_attempts"]) == (6, 0, 3)
    assert edge["gap_p50"] == edge["gap_min"] == pytest.approx(0.030)


@pytest.mark.parametrize(
    ("pause", "calls", "warned"), [(1, 20, True), (1, 19, False), (6, 20, False), (-3, 40, False)]
)
def test_retries_without_back_off_are_found(pause: float, calls: int, warned: bool) -> None:
    table = retries.calls(attempts_apart(pause, calls))
    found = [item for item in retries.findings(table) if item.code == "retry-without-back-off"]
    assert bool(found) == warned
    if warned:
        assert found[0].scope == {"client": "a", "server": "b"}
        assert "1.0 ms" in found[0].message
    assert only(retries.edges(table))["overlaps"] == (calls if pause < 0 else 0)


def gamma(mean: float, variance: float, z: float) -> float:
    part = variance / mean**2 / 9
    return mean * max(1 - part + z * math.sqrt(part), 0) ** 3


@pytest.mark.parametrize("sampled", [0.0, 0.5])
def test_the_interval_is_that_of_a_ratio_of_clusters(sampled: float) -> None:
    """By hand: n = 4, R = 12/8, T = 4, Σ(y − Rx)² = 1 + 1 + 0.25 + 0.25, Σx²/Σx = 18/8, t(3) = 3.18245."""
    attempts, requests = np.array([4, 2, 2, 4]), np.array([2, 2, 1, 3])
    low, high = retries.interval(attempts, requests, sampled)
    left = 1 - sampled
    variance, weight = left * 2.5 * 4 / 3, 18 / 8
    assert low == pytest.approx(1 + gamma(4, variance, -3.18245) / 8, rel=1e-6)
    above = gamma(4 + left * weight, variance + left * weight**2, 3.18245)
    assert high == pytest.approx(1 + above / 8, rel=1e-6)
    assert 1 <= low < 1.5 < high
    assert retries.interval(attempts, requests, sampled=1.0) == (1.5, 1.5)


def test_rare_retries_have_an_interval_to_the_side_where_they_may_be() -> None:
    attempts = np.ones(200)
    attempts[:2] = 2
    low, high = retries.interval(attempts, np.ones(200))
    assert 1.0007 < low < 1.0013  # 0.24 of 200, by Poisson's exact interval for 2
    assert 1.0355 < high < 1.0365  # 7.2 of 200


def test_agreement_of_all_traces_is_not_certainty() -> None:
    low, high = retries.interval(np.ones(50), np.ones(50))
    assert low == 1.0
    assert high == pytest.approx(1 + 3.69 / 50, rel=1e-3)  # by Poisson's exact interval for 0
    low, high = retries.interval(np.full(50, 3), np.ones(50))
    assert (low, high) == pytest.approx((3 - 3.8415 / 53.8415, 3 + 3.8415 / 53.8415), rel=1e-4)
    assert all(math.isnan(bound) for bound in retries.interval(np.array([3]), np.array([1])))


Draw = Callable[[np.random.Generator, int], tuple[Any, Any]]


def worlds() -> dict[str, Draw]:
    """Requests of many traces, and how many more attempts they are."""

    def one(random: np.random.Generator, size: int) -> tuple[Any, Any]:
        return np.ones(size, int), (random.random(size) < 0.01) * random.integers(1, 3, size)

    def bursts(random: np.random.Generator, size: int) -> tuple[Any, Any]:
        requests = random.geometric(1 / 10, size)
        return requests, (random.random(size) < 0.01) * random.binomial(2 * requests, 0.7)

    def tails(random: np.random.Generator, size: int) -> tuple[Any, Any]:
        requests = np.ceil(random.pareto(1.8, size) + 1).astype(int).clip(1, 200)
        return requests, (random.random(size) < 0.02) * 2 * requests

    def independent(random: np.random.Generator, size: int) -> tuple[Any, Any]:
        requests = random.geometric(1 / 2, size)
        return requests, random.binomial(2 * requests, 0.15)

    def outage(random: np.random.Generator, size: int) -> tuple[Any, Any]:
        requests = random.geometric(1 / 3, size)
        return requests, (random.random(size) < 0.3) * 2 * requests

    return {
        "1 % of traces, of one request each": one,
        "1 % of traces, most of their requests": bursts,
        "2 % of traces, of very different sizes": tails,
        "15 % of attempts, each for itself": independent,
        "30 % of traces, all of their requests": outage,
    }


@pytest.mark.parametrize("traces", [20, 100, 400, 1500])
@pytest.mark.parametrize("name", worlds())
def test_the_interval_covers_what_it_says(name: str, traces: int) -> None:
    """400 draws: of a coverage of 95 %, one in 500 has less than 92 %."""
    random = np.random.default_rng(5)
    requests, more = worlds()[name](random, 400_000)
    truth = 1 + more.sum() / requests.sum()
    drawn = random.integers(0, len(requests), (400, traces))
    bounds = [retries.interval(requests[rows] + more[rows], requests[rows]) for rows in drawn]
    covered = sum(low <= truth <= high for low, high in bounds) / len(bounds)
    assert covered >= 0.92
    assert f"| {name} |" in (Path(__file__).parents[2] / "docs" / "retries.md").read_text(encoding="utf-8")


def test_a_share_of_traces_is_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        retries.edges(retries.calls(frame([])), sampled=20)


def edges_of(*pairs: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(
        [{"client": client, "server": server, "max_attempts": most} for client, server, most in pairs],
        columns=["client", "server", "max_attempts"],
    )


def test_the_worst_case_multiplies_along_the_worst_path() -> None:
    edges = edges_of(("gate", "a", 3), ("gate", "b", 1), ("a", "c", 3), ("b", "c", 2), ("c", "d", 1))
    worst = retries.worst_case(edges, {("c", "d"): 3})
    first = worst.iloc[0]
    assert (first["client"], first["server"], first["source"]) == ("c", "d", "configured")
    assert (first["worst"], first["path"], first["meltdown"]) == (27.0, ("gate", "a", "c", "d"), True)
    by_edge = {(row.client, row.server): row.worst for row in worst.itertuples()}
    assert by_edge == {("c", "d"): 27, ("a", "c"): 9, ("gate", "a"): 3, ("b", "c"): 2, ("gate", "b"): 1}


@pytest.mark.parametrize(
    ("tries", "meltdown"), [((3, 3), False), ((2, 5), True), ((10,), True), ((9,), False)]
)
def test_ten_attempts_for_a_request_are_a_meltdown(tries: tuple[int, ...], meltdown: bool) -> None:
    chain_ = edges_of(*((f"s{n}", f"s{n + 1}", most) for n, most in enumerate(tries)))
    worst = retries.worst_case(chain_)
    assert (worst.iloc[0]["worst"], worst.iloc[0]["meltdown"]) == (math.prod(tries), meltdown)
    assert worst["meltdown"].tolist().count(True) == meltdown
    assert worst["meltdown"].dtype == bool
    limit = float(math.prod(tries))
    assert retries.worst_case(chain_, limit=limit).iloc[0]["meltdown"]
    assert not retries.worst_case(chain_, limit=limit + 0.5)["meltdown"].any()


def test_the_worst_case_of_services_that_call_each_other_ends() -> None:
    worst = retries.worst_case(edges_of(("a", "b", 3), ("b", "a", 3), ("b", "b", 2)))
    assert worst["worst"].max() <= 9
    ring = [(f"s{n}", f"s{(n + 1) % 100}", 2) for n in range(100)]
    assert np.isfinite(retries.worst_case(edges_of(*ring))["worst"]).all()


def test_no_attempt_at_all_cannot_be_configured() -> None:
    with pytest.raises(ValueError, match="at least one"):
        retries.worst_case(edges_of(("a", "b", 1)), {("a", "b"): 0})


def test_metrics_are_held_against_traces() -> None:
    traces = retries.edges(retries.calls(chain(TRACERS["zipkin"], 3, 0.3, 200, services="abcd").frame()))
    metrics = traces[["client", "server", "requests", "attempts"]].copy()
    frame_, found = retries.compare(traces, metrics)
    assert set(frame_["verdict"]) == {"agree"}
    assert found == []

    metrics.loc[metrics["client"] == "c", "attempts"] *= 2
    metrics = pd.concat(
        [metrics[metrics["client"] != "a"], metrics[:1].assign(client="x", attempts=9, requests=3)]
    )
    frame_, found = retries.compare(traces, metrics)
    verdicts = {(row.client, row.server): row.verdict for row in frame_.itertuples()}
    assert verdicts == {
        ("a", "b"): "only traces",
        ("b", "c"): "agree",
        ("c", "d"): "disagree",
        ("x", "b"): "only metrics",
    }
    codes = {item.code: item for item in found}
    assert set(codes) == {"retry-edge-without-metrics", "retry-edge-without-traces", "retry-sources-disagree"}
    both = codes["retry-sources-disagree"]
    edge = only(traces[traces["client"] == "c"])
    assert f"{edge['amplification']:.3f}" in both.message
    assert f"{2 * edge['amplification']:.3f}" in both.message
    assert both.scope == {"client": "c", "server": "d"}


def test_scrapes_at_different_moments_are_allowed_for() -> None:
    traces = edges_of(("a", "b", 1)).assign(amplification=1.2, low=1.2, high=1.2)
    metrics = pd.DataFrame({"client": ["a"], "server": ["b"], "requests": [100.0], "attempts": [1.25 * 100]})
    assert retries.compare(traces, metrics)[0]["verdict"].tolist() == ["agree"]
    assert retries.compare(traces, metrics, tolerance=0.0)[0]["verdict"].tolist() == ["disagree"]
    nothing = metrics.assign(requests=0.0, attempts=0.0)
    assert retries.compare(traces, nothing)[0]["verdict"].tolist() == ["unknown"]
    assert retries.compare(traces.iloc[:0], metrics.iloc[:0])[1] == []


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.044, "disagree"), (1.046, "agree"), (1.364, "agree"), (1.366, "disagree")],
)
def test_five_percent_beyond_the_interval_are_scrapes(ratio: float, verdict: str) -> None:
    traces = edges_of(("a", "b", 1)).assign(amplification=1.2, low=1.1, high=1.3)
    metrics = pd.DataFrame(
        {"client": ["a"], "server": ["b"], "requests": [1000.0], "attempts": [ratio * 1000]}
    )
    found, findings = retries.compare(traces, metrics)
    assert found["verdict"].tolist() == [verdict]
    assert (found["low"].tolist(), found["high"].tolist()) == ([pytest.approx(1.045)], [pytest.approx(1.365)])
    assert [item.code for item in findings] == ["retry-sources-disagree"] * (verdict == "disagree")


def test_the_worst_traces_of_an_edge() -> None:
    rows = [
        attempts_apart(5, 1, tries=tries).assign(trace_low=np.uint64(tries), trace_high=np.uint64(7))
        for tries in (1, 2, 4, 3)
    ]
    table = retries.calls(pd.concat(rows))
    worst = retries.worst_traces(table, most=2)
    assert worst["trace"].tolist() == [trace_id(7, 4), trace_id(7, 3)]
    assert worst["attempts"].tolist() == [4, 3]
    assert worst["lost"].tolist() == pytest.approx([0.03, 0.02])
    assert worst["duration"].tolist() == pytest.approx([0.055, 0.04])
    assert set(worst["client"]) == {"a"}


def test_codes_of_the_worst_traces_are_in_order() -> None:
    table = retries.calls(chain(TRACERS["spawn"], 3, 1.0, 1, services="abc").frame())
    worst = retries.worst_traces(table).set_index("server")
    assert worst.loc["b", "codes"] == "503 503 503"
    assert worst.loc["c", "codes"] == " ".join(["503"] * 9)
    assert worst.loc["c", "requests"] == 3


def test_every_finding_is_explained() -> None:
    root = Path(__file__).parents[2]
    source = (root / "sloctl" / "retries" / "judge.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'"((?:retry|spans?|calls)-[a-z-]+)"', source))
    assert len(codes) == 16
    page = (root / "docs" / "retries.md").read_text(encoding="utf-8")
    assert {code for code in codes if f"`{code}`" not in page} == set()
