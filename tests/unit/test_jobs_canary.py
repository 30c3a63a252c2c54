"""The test of canaries: how often it errs, what it sees, and what a watch does with time and a server that fails."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from jobs import canary
from jobs.canary import judged, told
from jobs.canary.observed import Observed, Seen
from jobs.canary.sequential import LEAST_STEPS, Strata, dispersion, evidence, interval, steps_needed
from jobs.canary.weights import Weights, weights
from sloctl import spec
from sloctl.backends.answers import Answer
from sloctl.backends.protocols import Series
from sloctl.errors import BackendUnavailable
from sloctl.mesh import objects
from sloctl.model.release import CanaryPolicy
from sloctl.spec import Source
from tests.support import canary_operation as operation

SLO_FILE = b"""
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.5, sli: {preset: availability}}
"""
SLO_SET = spec.load([Path("-")], stdin=BytesIO(SLO_FILE))
ASKED = canary.Asked("checkout", "shop", "v1", "v2")
AT = datetime(2026, 3, 2, 21, tzinfo=UTC)
POLICY = CanaryPolicy()


def steady(steps: int, rate: float, canary_: float, baseline: float) -> Strata:
    """A tenth of the traffic is the canary's; as many fail as are expected."""
    ones = np.ones(steps)
    return Strata(
        rate * 0.1 * ones, rate * 0.1 * canary_ * ones, rate * 0.9 * ones, rate * 0.9 * baseline * ones
    )


def observed(strata: Strata, **more: object) -> Observed:
    steps = len(strata.canary)
    whole = float((strata.canary + strata.baseline).sum())
    seen = Seen(SLO_SET.slos[0], strata, (float(strata.canary.sum()), whole), 0.0, 0, None)
    values = {"slos": (seen,), "versions": ("v1", "v2")} | more
    return Observed(ASKED, AT - timedelta(minutes=steps), AT, **values)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(operation.TABLES))
def test_the_page_says_how_often_it_errs(name: str) -> None:
    simulated, documented = list(operation.TABLES[name][0]().values()), operation.documented(name)
    # Another NumPy may draw other numbers: 4.5 % is three standard errors of what varies most.
    assert np.array(documented) == pytest.approx(np.array(simulated), abs=0.06)
    if name == "false-rollbacks":
        assert max(max(row) for row in documented) <= 0.05


def test_at_the_margin_neither_verdict_is_given_too_often() -> None:
    """A version that is exactly as much worse as it may be is rolled back seldom, and promoted seldom."""
    for pattern in ("independent", "uneven", "outages"):
        drawn = operation.draw(pattern, 6000, 0.005, operation.MARGIN, 5, runs=500)
        assert operation.share(drawn, operation.MARGIN) <= 0.05, pattern
        assert operation.share(drawn, operation.MARGIN, worse=False) <= 0.05, pattern


def test_what_befalls_both_alike_is_no_evidence() -> None:
    rng = np.random.default_rng(3)
    level = np.where(np.arange(30) > 14, 0.8, 0.001)
    strata = Strata(*(one.astype(float) for one in (
        np.full(30, 100), rng.binomial(100, level), np.full(30, 900), rng.binomial(900, level))))  # fmt: skip
    assert evidence(strata, 0.0, worse=True).max() < log(20)
    found = canary.judge(observed(strata), POLICY)
    assert found.verdict == "wait"
    assert "that is not v2's fault" in found.reasons[0]


def test_a_burst_is_one_failure() -> None:
    """Sixty failures in one minute of the canary show less than two in each of thirty."""
    spread, burst = steady(30, 1000, 0.02, 0.0005), steady(30, 1000, 0.0, 0.0005)
    burst.canary_bad[12] = spread.canary_bad.sum()
    assert evidence(spread, 0.005, worse=True).max() > log(20) > evidence(burst, 0.005, worse=True).max()
    assert dispersion(burst)[-1] > 20
    assert dispersion(spread)[-1] == 1


def test_what_breaks_late_is_not_said_to_be_within_the_margin() -> None:
    strata = steady(200, 3000, 0.001, 0.001)
    strata.canary_bad[-20:] = 0.04 * strata.canary[-20:]
    found = canary.judge(observed(strata), POLICY)
    assert (found.verdict, found.slos[0].more < found.slos[0].margin) == ("rollback", True)
    assert found.reasons == (
        "availability: since some time more fails than of v1 by over 0.50 % (0.39 % of the whole time)",
    )


def test_nothing_is_concluded_from_too_few_steps() -> None:
    strata = steady(LEAST_STEPS - 1, 1e6, 1.0, 0.0)
    assert not np.isfinite(evidence(strata, 0.0, worse=True)).any()
    assert canary.judge(observed(strata), POLICY).verdict == "wait"


def test_the_interval_holds_the_difference_and_narrows() -> None:
    for more in (-0.01, 0.0, 0.03):
        wide, narrow = (interval(steady(steps, 2000, 0.02 + more, 0.02), 0.05) for steps in (10, 60))
        assert wide[0] < narrow[0] < more < narrow[1] < wide[1]


def test_so_many_steps_as_are_said_to_be_needed_suffice() -> None:
    needed = steps_needed(steady(10, 400, 0.002, 0.002), 0.005, 0.05)
    whole = 10 + int(np.ceil(needed))
    assert evidence(steady(whole, 400, 0.002, 0.002), 0.005, worse=False, late=False)[-1] >= log(20)
    assert evidence(steady(whole // 2, 400, 0.002, 0.002), 0.005, worse=False, late=False)[-1] < log(20)


def test_several_slos_roll_back_no_more_often_than_one() -> None:
    """What is just enough for one SLO is too little for one of four."""
    strata = steady(30, 1000, 0.0, 0.001)
    for failing in np.linspace(0.005, 0.05, 200):
        strata = steady(30, 1000, float(failing), 0.001)
        if evidence(strata, 0.005, worse=True).max() >= log(20):
            break
    one = observed(strata)
    assert canary.judge(one, POLICY).verdict == "rollback"
    assert canary.judge(observed(strata, slos=one.slos * 4), POLICY).verdict == "wait"


def test_doubt_is_never_a_promotion() -> None:
    fine = steady(60, 6000, 0.001, 0.001)
    assert canary.judge(observed(fine), POLICY).verdict == "promote"
    restarts = {"v2": (3.0, 2.0), "v1": (3.0, 20.0)}
    for more in (
        {"doubts": ("a store is missing",)},
        {"restarts": restarts},
        {"versions": ("v2",)},
        {"slos": ()},
    ):
        assert canary.judge(observed(fine, **more), POLICY, over=True).verdict == "inconclusive", more
    harm = steady(60, 6000, 0.5, 0.001)
    assert canary.judge(observed(harm, doubts=("a store is missing",)), POLICY).verdict == "inconclusive"
    assert (
        canary.judge(observed(harm), CanaryPolicy(margin=Decimal(49), budget=Decimal(1))).verdict
        == "rollback"
    ), "it costs too much"


class Down:
    """A Prometheus that is not there until some time, and has no series afterwards."""

    warnings: Sequence[str] = ()
    queries = 0

    def __init__(self, until: datetime) -> None:
        self.until = until

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        if at < self.until:
            raise BackendUnavailable("no connection", backend="prometheus", url="http://prometheus")
        return Answer()

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self.query(expr, at) for name, expr in queries.items()}

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        return self.query(expr, end)


@pytest.mark.parametrize(
    ("minutes", "last"), [(100, "Prometheus could not be asked: no connection"), (4, "v2 had no traffic")]
)
def test_a_watch_outlives_a_server_and_ends(minutes: int, last: str) -> None:
    clock = [AT + timedelta(seconds=7)]
    slept: list[float] = []
    looks: list[canary.Judged] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += timedelta(seconds=seconds)

    found = canary.watch(
        Down(AT + timedelta(minutes=minutes)), SLO_SET, ASKED, timedelta(minutes=10),
        now=lambda: clock[0], sleep=sleep, looked=looks.append,
    )  # fmt: skip
    assert (found.verdict, len(looks)) == ("inconclusive", 12)
    assert slept[:2] == [53, 60], "at whole steps"
    assert found.reasons[0].startswith(last)
    assert told.as_object(found)["verdict"] == "inconclusive"
    assert told.github(found)[0].startswith("::error title=inconclusive v2::")
    assert told.junit(found).count("<error") == 1
    assert looks[0].reasons[0].startswith("Prometheus could not be asked")
    assert judged.unreachable(ASKED, POLICY, AT, "x").verdict == "inconclusive"


CONFIGURATION = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: checkout, namespace: shop}
spec:
  hosts: [checkout]
  http:
    - match: [{headers: {x-canary: {exact: "yes"}}}]
      route: [{destination: {host: checkout, subset: next}}]
    - route:
        - {destination: {host: checkout.shop.svc.cluster.local, subset: stable}, weight: 80}
        - {destination: {host: checkout, subset: next}, weight: 10}
        - {destination: {host: mirror}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: checkout, namespace: shop}
spec:
  host: checkout
  subsets: [{name: stable, labels: {version: v1}}, {name: next, labels: {version: v2}}]
"""


def weights_of(text: str, verdict: str) -> Weights:
    read = objects.read([Source("mesh.yaml", text.encode())], "default")
    assert not read.problems
    return weights(read.objects, ASKED, verdict)


@pytest.mark.parametrize(("verdict", "canary_", "baseline"), [("promote", 90, 0), ("rollback", 0, 90)])
def test_a_verdict_is_a_patch_of_the_weights(verdict: str, canary_: int, baseline: int) -> None:
    """It tests what it replaces, leaves other destinations alone, and applies to what was given."""
    found = weights_of(CONFIGURATION, verdict)
    (patch,) = found.patches
    assert (patch.namespace, patch.name) == ("shop", "checkout")
    assert patch.moves == (f"VirtualService shop/checkout route 2: v2 10 → {canary_}, v1 80 → {baseline}",)
    assert found.doubts == (
        "VirtualService shop/checkout route 1: leads to v2 alone, and is not in the patch",
    )
    words = shlex.split(patch.command)
    assert words[:4] == ["kubectl", "patch", "virtualservices.networking.istio.io", "checkout"]
    whole: dict[str, Any] = next(yaml.safe_load_all(CONFIGURATION))
    operations = json.loads(words[-1])
    tested = {one["path"].rpartition("/")[2] for one in operations if one["op"] == "test"}
    assert tested == {"host", "subset", "weight"}, "another service's route may have the same subsets by now"
    for one in operations:
        *path, last = one["path"].removeprefix("/").split("/")
        place: Any = whole
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if one["op"] == "test":
            assert place[last] == one["value"]
        else:
            assert one["op"] == "replace"
            place[last] = one["value"]
    assert [item.get("weight") for item in whole["spec"]["http"][1]["route"]] == [baseline, canary_, 10]
    assert "weight" not in whole["spec"]["http"][0]["route"][0]


@pytest.mark.parametrize(
    ("pairs", "verdict", "doubt"),
    [
        ((), "wait", "none while the verdict is wait"),
        ((("version: v2", "version: v3"),), "promote", "route 2: leads to v1 alone"),
        ((("version: v2", "track: v2"),), "promote", "route 2: leads to v1 alone"),
        (
            (("weight: 80", "weight: 0"), ("weight: 10}", "weight: 90}")),
            "promote",
            "has these weights already",
        ),
        (
            (("host: checkout", "host: other"),),
            "promote",
            "no VirtualService",
        ),
    ],
)
def test_what_has_no_patch_is_said(pairs: Sequence[tuple[str, str]], verdict: str, doubt: str) -> None:
    text = CONFIGURATION
    for one, other in pairs:
        text = text.replace(one, other)
    found = weights_of(text, verdict)
    assert found.patches == ()
    assert any(doubt in said for said in found.doubts), found.doubts


def test_without_rules_a_subset_is_the_version_of_its_name_and_that_is_said() -> None:
    alone = (
        CONFIGURATION.partition("---")[0]
        .replace("subset: stable", "subset: v1")
        .replace("subset: next", "subset: v2")
    )
    found = weights_of(alone, "promote")
    assert len(found.patches) == 1
    assert any("a subset is taken for the version of its name" in said for said in found.doubts)
    twice = weights_of(f"{CONFIGURATION}---{CONFIGURATION.partition('---')[0]}", "promote")
    assert twice.patches == () and any("given more than once" in said for said in twice.doubts)
