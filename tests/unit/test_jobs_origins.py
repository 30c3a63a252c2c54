"""Where failures begin, on a mesh whose incidents are known; and what is said when nothing is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from jobs import origins
from jobs.origins import told, traffic
from jobs.origins.onset import onset
from jobs.origins.traffic import EDGE, MOST, STEP, chosen
from jobs.origins.walk import shares, walk
from sloctl import naming, spec
from sloctl.backends.answers import Answer
from sloctl.backends.protocols import Series
from sloctl.model import Mesh
from sloctl.promql.calls import UNREACHED
from tests.support.incidents import BEGAN, INCIDENTS, NOTHING, STEPS, Incident, Trouble, place, play

SEEDS = 8
AT = datetime(2026, 3, 2, 21, tzinfo=UTC)


def found(incident: Incident, seed: int, service: str = "frontend") -> set[tuple[str, str]]:
    walked = walk(play(incident, seed), place(service))
    return {
        (one.service[1], one.only_from[1] if one.only_from else "")
        for one in (walked.origins if walked else ())
    }


@pytest.mark.parametrize("name", INCIDENTS)
def test_failures_begin_where_they_were_made(name: str) -> None:
    incident = INCIDENTS[name]
    for seed in range(SEEDS):
        assert found(incident, seed) == set(incident.origins), seed


def test_where_nothing_happens_nothing_is_found() -> None:
    for seed in range(5 * SEEDS):
        assert walk(play(NOTHING, seed), place("frontend")) is None, seed


def test_the_way_is_told_and_when_it_began() -> None:
    walked = walk(play(INCIDENTS["a leaf that fails takes its callers with it"], 1), place("orders"))
    assert walked is not None
    (origin,) = walked.origins
    assert [(link.caller[1], link.called[1]) for link in origin.way] == [
        ("orders", "shipping"),
        ("shipping", "inventory"),
    ]
    assert all(link.share > 0.8 for link in origin.way)
    for one in (walked.onset, origin.onset, *(link.onset for link in origin.way)):
        assert abs(one.start - BEGAN) <= 2
        assert one.end == STEPS
    assert origin.onset.share == pytest.approx(0.3, abs=0.03)


def test_what_reached_nobody_is_the_services_own_whatever_it_calls() -> None:
    """Else a service that cannot be reached would blame one that it calls and that fails too."""
    both = Incident((Trouble("checkout", 0.5, unreached=True), Trouble("tax", 0.5)))
    for seed in range(SEEDS):
        walked = walk(play(both, seed), place("checkout"))
        assert walked is not None
        own, other = sorted(walked.origins, key=lambda one: one.service[1])
        assert (own.service[1], other.service[1]) == ("checkout", "tax")
        assert own.share == pytest.approx(0.5, abs=0.05)
        assert own.unreached > 0.95


def test_a_service_that_failed_before_explains_nothing_now() -> None:
    early = Incident((Trouble("tax", 0.5, 20, 60), Trouble("checkout", 0.2)))
    for seed in range(SEEDS):
        walked = walk(play(early, seed), place("checkout"), recent=120)
        assert walked is not None
        assert [one.service[1] for one in walked.origins] == ["checkout"]
        assert abs(walked.onset.start - BEGAN) <= 1
        before = walk(play(early, seed), place("checkout"))
        assert before is not None
        assert [one.service[1] for one in before.origins] == ["tax"], "what stands out most"


@pytest.mark.parametrize("share", [0.002, 0.02, 0.3])
@pytest.mark.parametrize("length", [3, 12, 60])
def test_an_interval_is_found_where_it_is(share: float, length: int) -> None:
    random = np.random.default_rng(7)
    total = random.poisson(3000, STEPS).astype(float)
    rate = np.full(STEPS, 0.0001)
    rate[100 : 100 + length] += share
    began = onset(total, random.binomial(total.astype(int), rate).astype(float))
    assert began is not None
    assert abs(began.start - 100) <= 1
    assert abs(began.end - 100 - length) <= 1
    assert began.share == pytest.approx(share, rel=0.3)


def test_bursts_that_always_come_are_no_incident() -> None:
    random = np.random.default_rng(3)
    alarms = 0
    for _ in range(60):
        total = random.poisson(600, STEPS).astype(float)
        rate = np.minimum(1, 0.005 * random.gamma(1 / 3, 3, STEPS))
        counts = random.binomial(total.astype(int), rate).astype(float)
        smooth = [np.convolve(one, np.ones(3) / 3)[:STEPS] for one in (total, counts)]
        alarms += onset(smooth[0], smooth[1]) is not None
    assert alarms <= 6


def test_nothing_and_little_are_no_incident() -> None:
    none = np.zeros(STEPS)
    assert onset(none, none) is None
    assert onset(none[:2], none[:2]) is None
    some = none.copy()
    some[50] = 3
    assert onset(some, none) is None
    assert onset(np.full(STEPS, 1.0), np.where(np.arange(STEPS) == 50, 1.0, 0.0)) is None, (
        "one failed request"
    )


def test_what_fails_throughout_is_said_to() -> None:
    began = onset(np.full(STEPS, 100.0), np.full(STEPS, 5.0))
    assert began is not None
    assert (began.start, began.end, began.before, began.known) == (0, STEPS, None, False)
    assert began.share == pytest.approx(0.05)
    assert onset(np.full(STEPS, 100.0), np.full(STEPS, 0.5)) is None


def test_weights_are_shares() -> None:
    random = np.random.default_rng(1)
    parts = [random.poisson(20, STEPS).astype(float) for _ in range(3)]
    assert shares(parts[0] + 0.5 * parts[1], parts) == pytest.approx([1, 0.5, 0], abs=1e-6)
    assert shares(3 * parts[0], parts).max() <= 1
    assert list(shares(np.zeros(STEPS), parts)) == [0, 0, 0]


def test_of_too_many_services_those_on_the_way_are_looked_at() -> None:
    """Else a service with few failures would be said to be well, in a mesh where all fail a little."""
    failing = Counter({("shop", f"noisy-{number}"): 1000 for number in range(2 * MOST)})
    failing |= {("shop", name): 1 for name in ("web", "api", "db", "other")}
    edges = {
        (("shop", "web-v2"), ("shop", "api")),
        (("shop", "api"), ("shop", "db")),
        (("shop", "website"), ("shop", "other")),
        (("pay", "api"), ("shop", "other")),
    }
    names = chosen(edges, failing, "", "web")
    assert names[:3] == [("shop", "web"), ("shop", "api"), ("shop", "db")]
    assert ("shop", "other") not in names
    assert len(names) == MOST
    assert chosen(edges, failing, "pay", "web")[0][1].startswith("noisy-")


def test_what_failed_before_the_first_step_has_no_beginning() -> None:
    """Else the beginning of what is read would be told as that of the failures."""
    total, bad = np.full(STEPS, 100.0), np.zeros(STEPS)
    bad[:150] = 50
    began = onset(total, bad)
    assert began is not None
    assert (began.end, began.known, began.dated) == (150, False, False)
    assert began.before == pytest.approx(0, abs=0.01)


def test_where_requests_begin_with_failures_they_do_not_fail_throughout() -> None:
    total = np.where(np.arange(STEPS) < 160, 0.0, 100.0)
    began = onset(total, total / 2)
    assert began is not None
    assert (began.start, began.end, began.known, began.dated) == (160, STEPS, False, True)


class Counted:
    """A Prometheus that has one edge's requests, of which half fail, at the steps of a mask."""

    warnings = ()
    queries = 0

    def __init__(self, scraped: npt.NDArray[np.bool_], failing: bool = True) -> None:
        self._scraped, self._failing = scraped, failing

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        first, times = AT - timedelta(minutes=STEPS), []
        while start <= end:
            if self._scraped[round((start - first) / timedelta(seconds=STEP)) - 1]:
                times.append((start.timestamp(), "300"))
            start += step
        if (not self._failing and expr.endswith("> 0")) or UNREACHED in expr or not times:
            return []
        return [{"metric": dict.fromkeys(EDGE, "shop"), "values": times}]

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        return [{"metric": {}, "value": (at.timestamp(), "300")}]

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: [] for name in queries}


def test_a_caller_that_does_not_know_what_it_calls_is_seen_by_what_it_calls() -> None:
    """Else its callee's failures would be taken for its own, once another caller knows that service."""

    class Sides(Counted):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            called = "unknown" if 'reporter="source"' in expr else "back"
            return [
                {**item, "metric": dict(zip(EDGE, ("shop", caller, "shop", to), strict=True))}
                for item in super().query_range(expr, start, end, step)
                for caller, to in (("front", called), ("other", "back"))
            ]

    calls = traffic.read(Sides(np.ones(STEPS, dtype=bool)), Mesh(), AT, STEPS * STEP)
    assert set(calls.edges) == {(("shop", name), ("shop", "back")) for name in ("front", "other")}


def test_a_gap_in_the_scrapes_is_told() -> None:
    """Failures that are seen when it ends may have begun in it."""
    scraped = np.ones(STEPS, dtype=bool)
    scraped[:20] = scraped[120:150] = scraped[178:] = False
    calls = traffic.read(Counted(scraped), Mesh(), AT, STEPS * STEP)
    assert calls.unseen == {("shop", "shop"): [(120, 150)]}
    assert not np.isnan(calls.of(("shop", "shop")).total).any()
    scraped[170:] = False
    assert traffic.read(Counted(scraped), Mesh(), AT, STEPS * STEP).unseen == {
        ("shop", "shop"): [(120, 150), (170, STEPS)]
    }


def test_instants_that_were_not_asked_for_are_left_out() -> None:
    class Earlier(Counted):
        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            return super().query_range(expr, start - 4 * step, end, step)

    scraped = np.ones(STEPS, dtype=bool)
    scraped[150:] = False
    began = AT.timestamp() - 3600
    assert traffic.requests(Earlier(scraped, failing=False), Mesh(), AT, 3600) == (
        True,
        [(began + 1800, began + 3600)],
    )


@pytest.mark.parametrize(
    ("gone", "unseen"),
    [(slice(0, 0), []), (slice(150, STEPS), [(30, 60)]), (slice(120, STEPS), [(0, 60)]), (slice(0, 140), [])],
    ids=["all is there", "scrapes end", "too rare to be counted", "the service is new"],
)
def test_where_nothing_is_seen_nothing_is_said_to_be_well(gone: slice, unseen: list[tuple[int, int]]) -> None:
    scraped = np.ones(STEPS, dtype=bool)
    scraped[gone] = False
    some, times = traffic.requests(Counted(scraped, failing=False), Mesh(), AT, 3600)
    assert some
    began = AT.timestamp() - 3600
    assert times == [(began + 60 * first, began + 60 * last) for first, last in unseen]


def test_failures_that_the_rules_counted_and_no_two_scrapes_show_are_said() -> None:
    slo_set = spec.load([Path(__file__).parents[1] / "golden" / "valid" / "namespaces.yaml"])
    slo = slo_set.slos[0]

    class Recorded(Counted):
        def query(self, expr: str, at: datetime) -> Sequence[Series]:
            if naming.BAD_GRID not in expr:
                return super().query(expr, at)
            labels = dict(zip(naming.IDENTITY, ("shop", "cart"), strict=True)) | {naming.SLO_ID: slo.id}
            return [{"metric": labels, "value": (at.timestamp(), bad)}]

    def doubts(**asked: str) -> list[str]:
        source = Recorded(np.ones(STEPS, dtype=bool), failing=False)
        return [
            text for text in origins.run(source, slo_set, AT, 3600, **asked).doubts if "rules counted" in text
        ]

    bad = "50"
    (said,) = doubts()
    assert "50 bad events of shop/cart availability in the last 1h, of which 0 are seen here" in said
    assert len(doubts(namespace="shop", service="cart")) == 1
    assert doubts(service="checkout") == []
    bad = "2"
    assert doubts() == []


def test_where_a_server_did_not_tell_everything_no_requests_are_in_doubt() -> None:
    class Away(Counted):
        def query(self, expr: str, at: datetime) -> Sequence[Series]:
            return Answer([], ["a store is away"])

        def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
            return Answer([], ["a store is away"])

    slo_set = spec.load([Path(__file__).parents[1] / "golden" / "valid" / "namespaces.yaml"])
    for service in ("", "cart"):
        source = Away(np.ones(STEPS, dtype=bool), failing=False)
        said = told.lines(origins.run(source, slo_set, AT, 3600, service=service), service)
        assert said[0].startswith("No requests") and any("a store is away" in line for line in said[1:])
