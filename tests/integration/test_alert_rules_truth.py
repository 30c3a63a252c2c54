"""Random pods against the rules: what is recorded never exceeds what happened, and equals it where it can be known.

Pods appear, restart in place, miss scrapes and create series with their first event. The truth of a pod are its
events since the first successful scrape of it: what it had counted before, nobody can date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sloctl.naming import BAD_GRID, BAD_TILE, TOTAL_GRID, TOTAL_TILE
from tests.support.promtool import Inputs, evaluate, of_group, rule_texts, series, slo

MINUTES = 40
CODES = ("200", "503")
_RULES = rule_texts(slo(service="*", policy=None))
RULES = {True: of_group(_RULES, "tiles"), False: of_group(_RULES, "grid")}
"""By whether they are those of every minute."""


@dataclass(frozen=True)
class Pod:
    """A pod, minute by minute.

    ``held`` is what each code had counted when the pod appears at minute ``start`` (None: no series yet),
    ``gains[m]`` the events of each code in the minute up to m, ``scrapes[m]`` one of ``ok``, ``failed`` (up is 0
    and there are stale markers) and ``missing`` (no sample at all); it restarts just after the scrape of the minutes
    ``restarts``.
    """

    start: int
    held: tuple[int | None, ...]
    gains: tuple[tuple[int, ...], ...]
    scrapes: tuple[str, ...]
    restarts: frozenset[int]

    def play(self) -> tuple[list[str], dict[str, list[str]], list[tuple[int, int]]]:
        """Samples of ``up``, samples per code, and the true (bad, total) events since the first scrape, by minute."""
        ups: list[str] = []
        samples: dict[str, list[str]] = {code: [] for code in CODES}
        truth: list[tuple[int, int]] = []
        counters = list(self.held)
        seen, bad, total = False, 0, 0
        for minute in range(MINUTES + 1):
            scrape = self.scrapes[minute] if minute >= self.start else "missing"
            if minute > self.start:
                for index, gain in enumerate(self.gains[minute]):
                    if gain:
                        counters[index] = (counters[index] or 0) + gain
                    if seen:
                        total += gain
                        bad += gain if CODES[index] == "503" else 0
            ups.append({"ok": "1", "failed": "0", "missing": "_"}[scrape])
            for code, value in zip(CODES, counters, strict=True):
                absent = "_" if scrape == "missing" or not samples[code] else "stale"
                samples[code].append(str(value) if scrape == "ok" and value is not None else absent)
            seen = seen or scrape == "ok"
            truth.append((bad, total))
            if minute in self.restarts:
                counters = [None] * len(CODES)
        return ups, samples, truth


GAIN = st.sampled_from([0, 0, 0, 1, 3, 50])
GAINS = st.tuples(*[st.tuples(GAIN, GAIN)] * (MINUTES + 1))
HELD = st.sampled_from([None, 0, 1, 7, 100, 1_000_000])


@st.composite
def any_pods(draw: st.DrawFn) -> Pod:
    """Whatever may happen."""
    scrapes: list[str] = []
    while len(scrapes) <= MINUTES:
        kind = draw(st.sampled_from(["ok", "ok", "failed", "missing"]))
        scrapes += [kind] * draw(st.integers(1, 12))
    return Pod(
        start=draw(st.integers(0, 30)),
        held=draw(st.tuples(HELD, HELD)),
        gains=draw(GAINS),
        scrapes=tuple(scrapes[: MINUTES + 1]),
        restarts=draw(st.frozensets(st.integers(0, MINUTES), max_size=4)),
    )


@st.composite
def knowable_pods(draw: st.DrawFn) -> Pod:
    """Gaps that the look-back bridges, and at most one restart, of counters so high that it shows.

    Scrapes succeed in the first minutes of a target, around its restart, and at the very end.
    """
    scrapes: list[str] = []
    while len(scrapes) <= MINUTES:
        scrapes += [draw(st.sampled_from(["failed", "missing"]))] * draw(st.integers(0, 4))
        scrapes += ["ok"] * draw(st.integers(1, 15))
    start = draw(st.integers(0, 25))
    restarts = draw(st.frozensets(st.integers(start + 6, MINUTES), max_size=1))
    seen = {*range(start, start + 6), *restarts, MINUTES}
    return Pod(
        start=start,
        held=(1_000_000, 1_000_000) if restarts else draw(st.tuples(HELD, HELD)),
        gains=draw(GAINS),
        scrapes=tuple("ok" if minute in seen else kind for minute, kind in enumerate(scrapes[: MINUTES + 1])),
        restarts=restarts,
    )


def recorded(pods: Sequence[Pod], *, tiles: bool) -> list[dict[int, tuple[float, float]]]:
    """By pod: the sum of recorded (bad, total) events up to each instant of the grid; pods are services here."""
    raw: dict[str, str] = {}
    for number, pod in enumerate(pods):
        target = {"job": "envoy", "instance": f"10.0.0.{number}", "pod": f"pod-{number}"}
        ups, samples, _ = pod.play()
        raw[series("up", **target)] = " ".join(ups)
        for code, values in samples.items():
            labels = {
                "reporter": "source",
                "destination_service_namespace": "shop",
                "destination_service_name": f"service-{number}",
                "response_code": code,
            }
            raw[series("istio_requests_total", **target, **labels)] = " ".join(values)
    metrics = (BAD_TILE, TOTAL_TILE) if tiles else (BAD_GRID, TOTAL_GRID)
    instants = range(0, MINUTES + 1, 1 if tiles else 5)
    queries = [(metric, f"{minute}m") for minute in instants for metric in metrics]
    [answers] = evaluate(RULES[tiles], [Inputs(raw, queries)], evaluation_interval="1m" if tiles else "5m")
    sums = [[0.0, 0.0] for _ in pods]
    out: list[dict[int, tuple[float, float]]] = [{} for _ in pods]
    for index, minute in enumerate(instants):
        for which in (0, 1):
            for labels, value in answers[2 * index + which]:
                assert value >= 0
                sums[int(labels["service"].removeprefix("service-"))][which] += value
        for number, (bad, total) in enumerate(sums):
            out[number][minute] = (bad, total)
    return out


both_grids = pytest.mark.parametrize("tiles", [False, True], ids=["grid", "tiles"])
bounded = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking takes minutes; the pods of a failure are readable as they are
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)


@both_grids
@bounded
@given(pods=st.lists(any_pods(), min_size=8, max_size=16))
def test_nothing_is_charged_that_did_not_happen(pods: list[Pod], tiles: bool) -> None:
    for pod, sums in zip(pods, recorded(pods, tiles=tiles), strict=True):
        _, _, truth = pod.play()
        for minute, (bad, total) in sums.items():
            assert bad <= truth[minute][0], (minute, pod)
            assert total <= truth[minute][1], (minute, pod)
            assert bad <= total, (minute, pod)


@both_grids
@bounded
@given(pods=st.lists(knowable_pods(), min_size=8, max_size=16))
def test_adjoining_windows_add_up_to_exactly_what_happened(pods: list[Pod], tiles: bool) -> None:
    for pod, sums in zip(pods, recorded(pods, tiles=tiles), strict=True):
        _, _, truth = pod.play()
        assert sums[MINUTES] == truth[MINUTES], pod
