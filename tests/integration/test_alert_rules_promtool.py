"""What the generated rules record for raw series that misbehave as real ones do: judged by promtool.

Minutes count from 0. A grid value at minute m is what the five minutes up to m cost. ``None`` is no series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest

from alert_rules import manifest
from alert_rules.proofs import slo_proofs
from sloctl import naming
from sloctl.model import AlertPolicy, BurnWindow, ExprSli, Matcher, Mesh, SampleSli, Slo, SloSet, Sources
from sloctl.naming import BAD_GRID, BAD_TILE, TOTAL_GRID, TOTAL_TILE
from tests.support.promtool import Inputs, days, evaluate, of_group, rule_texts, run, series, slo
from tests.support.yaml_text import read_yaml

Counts = tuple[float | None, float | None]
"""Bad and total events."""

NEVER = AlertPolicy("never", ())
AVAILABILITY = slo(policy=NEVER)


def target(pod: int = 1) -> dict[str, str]:
    return {"job": "envoy-stats", "instance": f"10.0.0.{pod}:15020", "pod": f"checkout-{pod}"}


def up(pod: int = 1, /, **labels: str) -> str:
    return series("up", **target(pod), **labels)


def requests(code: str = "200", pod: int = 1, /, **labels: str) -> str:
    base = {
        "reporter": "source",
        "destination_service_name": "checkout",
        "destination_service_namespace": "shop",
        "request_protocol": "http",
        "response_code": code,
        "response_flags": "-",
    }
    return series("istio_requests_total", **target(pod), **(base | labels))


def bucket(le: str, pod: int = 1, /, **labels: str) -> str:
    base = {
        "reporter": "source",
        "destination_service_name": "checkout",
        "destination_service_namespace": "shop",
        "response_code": "200",
        "le": le,
    }
    return series("istio_request_duration_milliseconds_bucket", **target(pod), **(base | labels))


def record(
    raw: Mapping[str, str],
    minutes: Sequence[int],
    *,
    tiles: bool = False,
    rules: Sequence[str] = (),
    interval: str = "1m",
) -> list[Counts]:
    """(bad, total) that the rules record at some minutes for the SLO ``checkout`` (or what ``rules`` define)."""
    metrics = (BAD_TILE, TOTAL_TILE) if tiles else (BAD_GRID, TOTAL_GRID)
    queries = [(f"round({metric}, 1e-6)", f"{minute}m") for minute in minutes for metric in metrics]
    texts = of_group(rules or rule_texts(AVAILABILITY), "tiles" if tiles else "grid")
    [answers] = evaluate(texts, [Inputs(raw, queries, interval)], evaluation_interval="1m" if tiles else "5m")
    values: list[float | None] = []
    for samples in answers:
        assert len(samples) <= 1, samples
        values.append(samples[0][1] if samples else None)
    return list(zip(values[::2], values[1::2], strict=True))


def spent(
    raw: Mapping[str, str], end: int, *, tiles: bool = False, interval: str = "1m"
) -> tuple[float, float]:
    """Sum of all that is recorded up to the minute ``end``."""
    counts = record(raw, range(0, end + 1, 1 if tiles else 5), tiles=tiles, interval=interval)
    return sum(bad or 0 for bad, _ in counts), sum(total or 0 for _, total in counts)


both_grids = pytest.mark.parametrize("tiles", [False, True], ids=["grid", "tiles"])


class TestFirstErrors:
    def test_a_series_that_first_appears_at_50_is_charged_50(self) -> None:
        raw = {up(): "1x20", requests(): "100+10x20", requests("503"): "_x8 50+1x12"}
        assert record(raw, [5, 10, 15]) == [(0, 50), (52, 102), (5, 55)]

    def test_also_minute_by_minute(self) -> None:
        raw = {up(): "1x20", requests(): "100+10x20", requests("503"): "_x8 50+1x12"}
        assert record(raw, [7, 8, 9], tiles=True) == [(0, 10), (50, 60), (1, 11)]

    @both_grids
    def test_also_in_a_new_pod_that_was_scraped_once_without_it(self, tiles: bool) -> None:
        raw = {up(): "_x6 1x14", requests("503"): "_x7 50x13"}
        assert spent(raw, 20, tiles=tiles) == (50, 50)

    def test_also_if_the_series_lives_for_one_scrape(self) -> None:
        raw = {up(): "1x20", requests("503"): "_x7 50 stale"}
        assert spent(raw, 20) == (50, 50)
        assert spent(raw, 20, tiles=True) == (50, 50)

    def test_also_if_another_pod_has_the_same_series_already(self) -> None:
        raw = {up(1): "1x20", up(2): "1x20", requests("503", 1): "7x20", requests("503", 2): "_x8 50x12"}
        assert record(raw, [10, 15]) == [(50, 50), (0, 0)]

    @both_grids
    def test_a_series_that_its_proxy_dropped_and_made_again_starts_from_zero(self, tiles: bool) -> None:
        raw = {up(): "1x40", requests(): "0x40", requests("503"): "3x4 stale _x14 2x20"}
        assert spent(raw, 40, tiles=tiles) == (2, 2)

    @both_grids
    def test_scrapes_every_15_seconds_are_counted_alike(self, tiles: bool) -> None:
        raw = {up(): "1x80", requests("503"): "_x33 50+1x46"}
        assert spent(raw, 20, tiles=tiles, interval="15s") == (96, 96)


class TestTargetsThatAppear:
    @both_grids
    @pytest.mark.parametrize("first", [0, 1, 4, 5, 6])
    def test_a_counter_at_a_million_costs_what_it_gains_after_its_first_sample(
        self, first: int, tiles: bool
    ) -> None:
        """A target added today, or a Prometheus that starts with an empty TSDB."""
        gap = f"_x{first} " if first else ""
        raw = {
            up(): f"{gap}1x{30 - first}",
            requests(): f"{gap}1000000+10x{30 - first}",
            requests("503"): f"{gap}1000000+1x{30 - first}",
        }
        assert spent(raw, 30, tiles=tiles) == (30 - first, 11 * (30 - first))

    @both_grids
    @pytest.mark.parametrize("restart", [7, 8, 9, 10, 11])
    def test_not_even_if_its_pod_restarts_and_the_series_is_gone(self, restart: int, tiles: bool) -> None:
        """Fewer samples than scrapes, as in a series that has just begun; but this one has just ended."""
        old = f"1000000x{restart - 7} stale"
        raw = {up(): "_x6 1x24", requests("503"): f"_x6 {old} _x5 3x{24 - restart}"}
        assert spent(raw, 30, tiles=tiles) == (3, 3)
        raw = {up(): "_x6 1x24", requests("503"): f"_x6 {old}"}
        assert spent(raw, 30, tiles=tiles) == (0, 0)

    def test_but_if_prometheus_restarts_too_and_marks_nothing_stale_it_may(self) -> None:
        """The limit that docs/exact-budgets.md names: nothing tells this from a series that has just begun."""
        raw = {up(): "_x6 1x10", requests("503"): "_x6 1000000 _x10"}
        assert spent(raw, 16) == (1_000_000, 1_000_000)
        assert spent(raw, 16, tiles=True) in ((0, 0), (1_000_000, 1_000_000))

    def test_a_first_scrape_that_fails_does_not_make_the_counter_new(self) -> None:
        raw = {up(): "_x2 0 0 1x20", requests("503"): "_x4 1000000x20"}
        assert spent(raw, 20) == (0, 0)
        assert spent(raw, 20, tiles=True) == (0, 0)

    def test_without_up_nothing_is_presumed_new(self) -> None:
        raw = {requests("503"): "_x8 1000000+1x12"}
        assert spent(raw, 20) == (12, 12)

    def test_the_up_of_other_targets_says_nothing(self) -> None:
        raw = {up(2): "1x30", up(1): "_x8 1x22", requests("503", 1): "_x8 1000000x22"}
        assert spent(raw, 30) == (0, 0)


def gap(before: str, length: int, *, stale: bool, mark: str = "stale") -> str:
    """The notation of a counter whose samples miss for ``length`` minutes, after ``before``."""
    return f"{before} {mark} _x{length - 1}" if stale else f"{before} _x{length}"


class TestScrapeGaps:
    """The target goes on counting while nobody looks. Scraped at minutes 0 … 7, then not for ``length`` minutes."""

    lengths = pytest.mark.parametrize("length", [1, 2, 4, 5, 6, 7, 10, 11, 30])
    how = pytest.mark.parametrize("stale", [True, False], ids=["up-0-and-stale", "nothing-at-all"])

    @staticmethod
    def _up(length: int, stale: bool) -> str:
        return f"1x7 0x{length - 1} 1x60" if stale else f"1x7 _x{length} 1x60"

    @both_grids
    @lengths
    @how
    def test_a_counter_that_stands_still_costs_nothing(self, length: int, stale: bool, tiles: bool) -> None:
        raw = {
            up(): self._up(length, stale),
            requests(): gap("1000000x7", length, stale=stale) + " 1000000x60",
            requests("503"): gap("5000x7", length, stale=stale) + " 5000x60",
        }
        assert spent(raw, 60, tiles=tiles) == (0, 0)

    @both_grids
    @lengths
    @how
    def test_a_counter_that_grows_costs_at_most_its_growth(
        self, length: int, stale: bool, tiles: bool
    ) -> None:
        after = 5000 + 8 + length
        raw = {
            up(): self._up(length, stale),
            requests("503"): gap("5000+1x7", length, stale=stale) + f" {after}+1x60",
        }
        bad, total = spent(raw, 60, tiles=tiles)
        assert bad == total
        assert 60 - length - 1 <= bad <= 60
        if length <= 4:
            assert bad == 60, "a short gap loses nothing: the look-back bridges it"

    @lengths
    @how
    def test_a_series_born_in_the_gap_costs_at_most_what_it_counted(self, length: int, stale: bool) -> None:
        born = 8 + length
        raw = {
            up(): self._up(length, stale),
            requests("503"): f"_x{born} 500+1x{60 - born}",
        }
        bad, _ = spent(raw, 60)
        whole, growth = 500 + 60 - born, 60 - born
        assert bad in (whole, growth)
        if length <= 4:
            assert bad == whole, "scraped without the series just before: all of it is new"
        if length >= 11:
            assert bad == growth, "nobody can say how old the counter is"

    @both_grids
    @pytest.mark.parametrize("minute", [9, 10, 11])
    def test_one_failed_scrape_at_a_window_edge_costs_nothing(self, minute: int, tiles: bool) -> None:
        raw = {
            up(): f"1x{minute - 1} 0 1x{30 - minute}",
            requests("503"): f"5000+1x{minute - 1} stale {5000 + minute + 1}+1x{29 - minute}",
        }
        assert spent(raw, 30, tiles=tiles) == (30, 30)

    def test_a_target_that_fails_every_other_scrape_is_counted_in_full(self) -> None:
        raw = {up(): "1 0 " * 15 + "1", requests("503"): " ".join(f"{5000 + 2 * i} stale" for i in range(16))}
        assert spent(raw, 30) == (30, 30)
        assert spent(raw, 30, tiles=True) == (30, 30)


class TestRestarts:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            pytest.param("1000+1x7 2+1x22", 7 + 24, id="in a window"),
            pytest.param(
                "1000+1x5 2+1x24", 5 + 26, id="between the last sample before a window and its first"
            ),
            pytest.param("1000+1x4 2+1x25", 4 + 27, id="with the last sample of a window"),
            pytest.param("4 5 6 7 8 9 2+10x24", 5 + 242, id="at an edge, then past what it held before"),
            pytest.param("1000+1x7 0x22", 7, id="to zero"),
            pytest.param("1000+1x7 stale _ 2+1x20", 7 + 22, id="with a failed scrape"),
            pytest.param("1000+1x7 2+1x7 3+1x14", 7 + 9 + 17, id="twice, in different windows"),
        ],
    )
    def test_a_counter_that_restarts_is_counted_exactly(self, values: str, expected: int) -> None:
        alive = "1x8 0 1x21" if "stale" in values else "1x30"
        raw = {up(): alive, requests("503"): values}
        assert spent(raw, 30) == (expected, expected)
        assert spent(raw, 30, tiles=True) == (expected, expected)

    @pytest.mark.parametrize(
        ("values", "truth"),
        [
            pytest.param("1000+1x6 5 6 2+1x21", 6 + 6 + 23, id="two restarts in a window"),
            pytest.param(
                "1 2 3 4 5 6 7 2 9 10 10x20", 6 + 10, id="past what it held before, in the same window"
            ),
            pytest.param(
                "1 2 3 4 5 6 7+1x24", 30, id="unseen: the first sample is higher than the last before"
            ),
        ],
    )
    def test_a_doubtful_restart_costs_at_most_the_truth(self, values: str, truth: int) -> None:
        raw = {up(): "1x30", requests("503"): values}
        for tiles in (False, True):
            bad, total = spent(raw, 30, tiles=tiles)
            assert bad == total
            assert truth / 2 < bad <= truth

    def test_a_pod_replaced_by_another_costs_both_what_they_counted(self) -> None:
        raw = {
            up(1): "1x10 stale",
            requests("503", 1): "1000+1x10 stale",
            up(2): "_x9 1x21",
            requests("503", 2): "_x10 7+1x20",
        }
        assert spent(raw, 30) == (10 + 27, 10 + 27)

    @both_grids
    def test_prometheus_restarting_counts_no_recorded_event_twice(self, tiles: bool) -> None:
        """Base events recorded before a restart have no stale marker, and no successor where the pod is gone."""
        base = naming.base_metric("requests", 60 if tiles else 300)
        last = series(
            base, slo_scope="shop:shop/checkout", service="checkout", namespace="shop",
            reporter="source", response_code="503",
        )  # fmt: skip
        minutes = [1, 2, 3, 4] if tiles else [5, 10]
        for raw in ({last: "70"}, {last: "70", up(): "1x10", requests(): "1x10"}):
            assert [bad or 0 for bad, _ in record(raw, minutes, tiles=tiles)] == [0] * len(minutes)


class TestNoTraffic:
    def test_no_series_is_no_data(self) -> None:
        assert record({up(): "1x20"}, [5, 10]) == [(None, None)] * 2

    def test_a_missing_5xx_series_is_zero_errors(self) -> None:
        assert record({up(): "1x20", requests(): "0+10x20"}, [5, 10]) == [(0, 50)] * 2

    def test_only_errors_are_all_errors(self) -> None:
        assert record({up(): "1x20", requests("503"): "0+10x20"}, [5, 10]) == [(50, 50)] * 2

    def test_idle_minutes_are_zero_of_zero_and_poison_nothing(self) -> None:
        """Busy with 1 % errors, idle for an hour and a half, busy again: the period only sums what happened."""
        raw = {
            up(): "1x180",
            requests(): "0+99x30 2970x90 2970+99x60",
            requests("503"): "0+1x30 30x90 30+1x60",
        }
        texts = rule_texts(slo(objective="99"))
        names = [
            "slo:burn_rate:5m",
            "slo:burn_rate:1h",
            naming.REMAINING,
            naming.PERIOD_TOTAL,
            naming.PERIOD_BAD,
        ]
        queries = [(f"round({name}, 1e-6)", f"{minute}m") for minute in (20, 110, 170) for name in names]
        [answers] = evaluate(texts, [Inputs(raw, queries)], evaluation_interval="1m")
        values = [answer[0][1] if answer else None for answer in answers]
        # promtool runs the five-minute grid every minute, so that its sums are five times (less the start) too large
        assert values[:3] == [1, 1, 0]
        assert values[5:8] == [None, None, 0]
        assert values[8:10] == [pytest.approx(99 * 150 + 150), pytest.approx(150)]
        assert values[10:13] == [1, 1, 0]

    def test_a_service_that_disappears_leaves_no_data_and_keeps_its_past(self) -> None:
        raw = {up(): "1x10 stale", requests(): "0+10x10 stale", requests("503"): "0+1x10 stale"}
        assert record(raw, [10, 15, 20, 25]) == [(10 / 2, 55), (0, 0), (None, None), (None, None)]
        [[period]] = evaluate(
            rule_texts(AVAILABILITY), [Inputs(raw, [(naming.PERIOD_BAD, "100m")])], evaluation_interval="5m"
        )
        assert [value for _, value in period] == [10]


class TestLatency:
    rules = rule_texts(slo("latency", {"threshold": "250ms"}, objective="99", policy=NEVER))

    @pytest.mark.parametrize("le", ["250", "250.0"])
    def test_the_bound_as_prometheus_2_and_3_write_it(self, le: str) -> None:
        raw = {up(): "1x20", bucket("+Inf"): "0+10x20", bucket(le): "0+9x20", bucket("500"): "0+10x20"}
        assert record(raw, [5, 10], rules=self.rules) == [(5, 50)] * 2

    def test_both_at_once_in_different_pods(self) -> None:
        raw = {up(1): "1x20", up(2): "1x20"}
        for pod, le in ((1, "250"), (2, "250.0")):
            raw |= {bucket("+Inf", pod): "0+10x20", bucket(le, pod): "0+9x20"}
        assert record(raw, [10], rules=self.rules) == [(10, 100)]

    @both_grids
    def test_a_histogram_without_the_bound_is_not_all_bad(self, tiles: bool) -> None:
        raw = {up(): "1x20", bucket("+Inf"): "0+10x20", bucket("200"): "0+9x20", bucket("2500"): "0+9x20"}
        counts = record(raw, [5, 10], rules=self.rules, tiles=tiles)
        assert [bad for bad, _ in counts] == [None, None]

    def test_a_bound_that_nothing_reached_is_all_bad(self) -> None:
        raw = {up(): "1x20", bucket("+Inf"): "0+10x20", bucket("250"): "0x20"}
        assert record(raw, [10], rules=self.rules) == [(50, 50)]

    def test_first_requests_of_a_pod(self) -> None:
        raw = {up(): "1x20", bucket("+Inf"): "_x8 50x12", bucket("250"): "_x8 40x12"}
        assert record(raw, [10, 15], rules=self.rules) == [(10, 50), (0, 0)]

    def test_a_bound_below_a_millisecond(self) -> None:
        rules = rule_texts(slo("latency", {"threshold": "0.5ms"}, objective="99", policy=NEVER))
        raw = {up(): "1x20", bucket("+Inf"): "0+10x20", bucket("0.5"): "0+9x20", bucket("025"): "0+10x20"}
        assert record(raw, [10], rules=rules) == [(5, 50)]


def by_service(
    rules: Sequence[str], raw: Mapping[str, str], minute: int, metric: str = TOTAL_GRID
) -> list[tuple[str, str, float]]:
    """(slo_id, service, value) of every recorded series of a metric."""
    [[samples]] = evaluate(rules, [Inputs(raw, [(metric, f"{minute}m")])], evaluation_interval="5m")
    return sorted((labels["slo_id"], labels["service"], value) for labels, value in samples)


def of(service: str, code: str = "200", pod: int = 1, namespace: str = "shop") -> str:
    return requests(code, pod, destination_service_name=service, destination_service_namespace=namespace)


class TestWildcard:
    every = slo(service="*", objective="99.5", policy=NEVER, overridden=("checkout", "a.b"))
    rules = rule_texts(every, AVAILABILITY, slo(service="a.b", policy=NEVER))

    def test_every_service_counts_in_exactly_one_slo(self) -> None:
        raw = {up(): "1x20", of("elsewhere", namespace="other"): "0+9x20"}
        raw |= {of(name): "0+1x20" for name in ("checkout", "cart", "a.b", "axb", "checkout-2")}
        assert by_service(self.rules, raw, 10) == [
            ("shop:shop/*/availability", "axb", 5),
            ("shop:shop/*/availability", "cart", 5),
            ("shop:shop/*/availability", "checkout-2", 5),
            ("shop:shop/a.b/availability", "a.b", 5),
            ("shop:shop/checkout/availability", "checkout", 5),
        ]

    def test_a_service_deployed_later_is_counted_from_its_first_event(self) -> None:
        raw = {up(1): "1x30", of("cart"): "0+1x30", up(2): "_x16 1x14", of("new", "503", 2): "_x17 3x13"}
        assert by_service(self.rules, raw, 15, BAD_GRID) == [("shop:shop/*/availability", "cart", 0)]
        assert by_service(self.rules, raw, 20, BAD_GRID) == [
            ("shop:shop/*/availability", "cart", 0),
            ("shop:shop/*/availability", "new", 3),
        ]

    def test_errors_are_of_their_own_service(self) -> None:
        raw = {up(): "1x20", of("cart"): "0+9x20", of("cart", "500"): "0+1x20", of("search"): "0+10x20"}
        assert [row[1:] for row in by_service(self.rules, raw, 10, BAD_GRID)] == [("cart", 5), ("search", 0)]

    def test_the_period_and_the_burn_rate_are_per_service(self) -> None:
        rules = rule_texts(replace(self.every, policy=slo().policy))
        raw = {up(): "1x60", of("cart"): "0+9x60", of("cart", "500"): "0+1x60", of("search"): "0+10x60"}
        assert [(row[1], round(row[2], 6)) for row in by_service(rules, raw, 60, "slo:burn_rate:3d")] == [
            ("cart", 20),
            ("search", 0),
        ]
        remaining = by_service(rules, raw, 60, naming.REMAINING)
        assert [(row[1], round(row[2], 6)) for row in remaining] == [("cart", -19), ("search", 1)]

    def test_the_number_of_rules_does_not_depend_on_the_overrides(self) -> None:
        few, many = (
            sum(text.count("- record:") for text in rule_texts(replace(self.every, overridden=names)))
            for names in ((), tuple(f"service-{n}" for n in range(50)))
        )
        assert few == many

    def test_latency_of_every_service(self) -> None:
        rules = rule_texts(slo("latency", {"threshold": "250ms"}, service="*", objective="99", policy=NEVER))
        raw = {up(): "1x20"}
        for name, good in (("cart", 9), ("search", 10)):
            labels = {"destination_service_name": name}
            raw |= {bucket("+Inf", **labels): "0+10x20", bucket("250.0", **labels): f"0+{good}x20"}
        raw |= {bucket("+Inf", destination_service_name="odd"): "0+10x20"}
        assert [row[1:] for row in by_service(rules, raw, 10, BAD_GRID)] == [("cart", 5), ("search", 0)]


class TestPresets:
    def test_a_grpc_failure_in_a_response_200_is_bad(self) -> None:
        grpc = {"request_protocol": "grpc"}
        raw = {
            up(): "1x20",
            requests(grpc_response_status="0", **grpc): "0+10x20",
            requests(grpc_response_status="14", **grpc): "0+2x20",
            requests("503", grpc_response_status="14", **grpc): "0+1x20",
            requests(grpc_response_status="5", **grpc): "0+4x20",
            requests("0", grpc_response_status="", **grpc): "0+1x20",
            requests("404"): "0+1x20",
        }
        assert record(raw, [10]) == [(20, 95)]

    def test_no_response_is_bad_and_4xx_is_not(self) -> None:
        raw = {up(): "1x20", requests("0", response_flags="UF"): "0+1x20", requests("429"): "0+1x20"}
        assert record(raw, [10]) == [(5, 10)]

    @pytest.mark.parametrize("preset", ["availability", "grpc"])
    def test_answers_that_were_cut_are_bad(self, preset: str) -> None:
        grpc = {"request_protocol": "grpc", "grpc_response_status": "0"}
        raw = {up(): "1x20", requests(**grpc): "0+99x20"} | {
            requests(**grpc, response_flags=seen): "0+1x20"
            for seen in ("UC", "UT", "URX,UC", "DI", "DC", "UCX")
        }
        for tiles, minutes in ((False, 5), (True, 1)):
            rules = rule_texts(slo(preset, policy=NEVER))
            assert record(raw, [10], tiles=tiles, rules=rules) == [(3 * minutes, 105 * minutes)]

    def test_callers_that_hang_up_are_counted_or_are_no_events(self) -> None:
        grpc = {"request_protocol": "grpc"}
        raw = {
            up(): "1x20",
            requests(): "0+90x20",
            requests("0", response_flags="DC"): "0+5x20",
            requests("0", response_flags="UF"): "0+1x20",
            requests(grpc_response_status="1", response_flags="DC", **grpc): "0+2x20",
            requests("503", response_flags="DC"): "0+1x20",
        }
        rules = rule_texts(slo(params={"hang_ups": "excluded"}, policy=NEVER))
        assert record(raw, [10], rules=rules) == [(10, 460)]
        assert record(raw, [10]) == [(35, 495)]
        assert record(raw, [10], rules=rule_texts(slo("errors", {"hang_ups": "excluded"}, policy=NEVER))) == [
            (10, 460)
        ]

    def test_what_is_no_service_has_no_budget(self) -> None:
        nobody = ("", "unknown", "PassthroughCluster", "BlackHoleCluster", "InboundPassthroughClusterIpv6")
        raw = {up(): "1x20", requests(): "0+10x20", requests(destination_service_name="*.a.org"): "0+1x20"}
        raw |= {requests("503", destination_service_name=name): "0+9x20" for name in nobody}
        found = by_service(rule_texts(slo(service="*", policy=NEVER)), raw, 10, TOTAL_GRID)
        assert [row[1:] for row in found] == [("*.a.org", 5), ("checkout", 50)]
        [one] = by_service(rule_texts(slo(service="*.a.org", policy=NEVER)), raw, 10, TOTAL_GRID)
        assert one[1:] == ("*.a.org", 5)

    def test_a_difference_that_misses_a_side_is_no_data(self) -> None:
        def rules(le: str) -> list[str]:
            bad = f'sum(rate(jobs_count[$window])) - sum(rate(jobs_bucket{{le="{le}"}}[$window]))'
            return rule_texts(
                replace(slo(policy=NEVER), sli=ExprSli(bad=bad, total="rate(jobs_count[$window])"))
            )

        raw = {up(): "1x20"} | {
            series("jobs_count", **target()): "0+10x20",
            series("jobs_bucket", le="250.0", **target()): "0+9x20",
        }
        assert record(raw, [10], rules=rules("250")) == record(raw, [10], rules=rules("250.0")) == [(5, 50)]
        assert record(raw, [10], rules=rules("251")) == [(None, None)]

    def test_grpc(self) -> None:
        grpc = {"request_protocol": "grpc"}
        raw = {
            up(): "1x20",
            requests(): "0+100x20",
            requests("503"): "0+100x20",
            requests(grpc_response_status="0", **grpc): "0+10x20",
            requests(grpc_response_status="5", **grpc): "0+1x20",
            requests(grpc_response_status="14", **grpc): "0+1x20",
            requests("503", **grpc): "0+1x20",
        }
        assert record(raw, [10], rules=rule_texts(slo("grpc", policy=NEVER))) == [(10, 65)]
        named = rule_texts(slo("grpc", {"codes": ("NOT_FOUND", "INTERNAL")}, policy=NEVER))
        assert record(raw, [10], rules=named) == [(10, 65)]

    def test_errors_by_code(self) -> None:
        raw = {up(): "1x20"} | {
            requests(code): "0+1x20" for code in ("200", "403", "404", "499", "500", "503", "0")
        }
        for codes, bad in ((("403",), 5), (("4xx",), 15), (("403", "50x"), 15), (("5xx", "0"), 15)):
            rules = rule_texts(slo("errors", {"codes": codes}, policy=NEVER))
            assert record(raw, [10], rules=rules) == [(bad, 35)]

    def test_each_side_reads_its_own_reporter(self) -> None:
        raw = {up(): "1x20", requests(): "0+2x20", requests(reporter="destination"): "0+3x20"}
        for side, total in (("client", 10), ("server", 15)):
            rules = rule_texts(slo(params={"side": side}, policy=NEVER))
            assert record(raw, [10], rules=rules) == [(0, total)]

    def test_ambient_reads_the_waypoint_alone(self) -> None:
        raw = {
            up(): "1x20",
            requests(reporter="waypoint"): "0+4x20",
            requests("503", reporter="waypoint"): "0+1x20",
            requests("503"): "0+9x20",
            requests("503", reporter="destination"): "0+9x20",
        }
        mesh = Mesh(mode="ambient")
        assert record(raw, [10], rules=rule_texts(slo(mesh=mesh, policy=NEVER), mesh=mesh)) == [(5, 25)]

    @pytest.mark.parametrize("mode", ["sidecar", "ambient"])
    def test_a_gateway_is_the_source(self, mode: str) -> None:
        mesh = Mesh(mode="ambient" if mode == "ambient" else "sidecar")
        edge = {"source_workload": "ingress", "source_workload_namespace": "edge"}
        gateway = slo("gateway", service="ingress", namespace="edge", mesh=mesh, policy=NEVER)
        raw = {
            up(): "1x20",
            requests(**edge): "0+4x20",
            requests("503", destination_service_name="cart", **edge): "0+1x20",
            requests("503", source_workload="cart", source_workload_namespace="shop"): "0+9x20",
            requests("503", reporter="waypoint", **edge): "0+9x20",
        }
        assert record(raw, [10], rules=rule_texts(gateway, mesh=mesh)) == [(5, 25)]

    def test_two_slos_of_a_service_share_its_base_events(self) -> None:
        rules = rule_texts(AVAILABILITY, slo("errors", {"codes": ("4xx",)}, policy=NEVER))
        assert sum(text.count('record: "service:requests:increase5m"') for text in rules) == 3
        raw = {up(): "1x20", requests("404"): "0+2x20", requests("503"): "0+1x20"}
        assert by_service(rules, raw, 10, BAD_GRID) == [
            ("shop:shop/checkout/availability", "checkout", 5),
            ("shop:shop/checkout/errors", "checkout", 10),
        ]


class TestMeshMatchers:
    mesh = Mesh(matchers=(Matcher("cluster", "=", "eu1"), Matcher("tenant", "=~", "a|b")))

    def test_another_cluster_counts_nowhere(self) -> None:
        raw: dict[str, str] = {}
        for cluster, tenant, gain in (("eu1", "a", 1), ("eu1", "c", 10), ("us1", "a", 100)):
            labels = {"cluster": cluster, "tenant": tenant}
            raw |= {up(**labels): "1x20", requests("503", **labels): f"0+{gain}x20"}
        rules = rule_texts(AVAILABILITY, mesh=self.mesh)
        assert record(raw, [10], rules=rules) == [(5, 5)]

    def test_the_up_of_another_cluster_proves_nothing(self) -> None:
        """Same job, address and pod name in two clusters; one of them is being added to Prometheus."""
        eu, us = ({"cluster": cluster, "tenant": "a"} for cluster in ("eu1", "us1"))
        raw = {up(**us): "1x20", up(**eu): "_x8 1x12", requests("503", **eu): "_x8 1000000x12"}
        rules = rule_texts(AVAILABILITY, mesh=self.mesh)
        assert record(raw, [10, 15], rules=rules) == [(0, 0), (0, 0)]

    def test_targets_are_told_apart_by_the_labels_that_the_file_names(self) -> None:
        mesh = Mesh(target_labels=("cluster", "job", "instance", "pod"))
        raw = {up(cluster="us1"): "1x20", up(cluster="eu1"): "_x8 1x12"}
        raw |= {requests("503", cluster="eu1"): "_x8 1000000x12", requests("500", cluster="us1"): "_x8 50x12"}
        assert record(raw, [10, 15], rules=rule_texts(AVAILABILITY, mesh=mesh)) == [(50, 50), (0, 0)]


def custom(**sli: str) -> Slo:
    return replace(slo(name="queue-age", service="billing", namespace="", policy=NEVER), sli=ExprSli(**sli))


PROBE = series("probe_success", **target())


class TestSamples:
    """A gauge is read once a minute, and counted half a minute late: the sample of minute 5 is in the step after."""

    @staticmethod
    def _rules(**sli: object) -> list[str]:
        made = SampleSli(**({"gauge": "probe_success", "good": ">= 1"} | sli))  # type: ignore[arg-type]
        return rule_texts(replace(slo(name="probe", service="home", namespace="", policy=NEVER), sli=made))

    @pytest.mark.parametrize(
        ("sli", "values", "counts"),
        [
            ({}, "1x20", (0, 5)),
            ({}, "1x5 0x1 1x20", (2, 5)),
            ({}, "0x20", (5, 5)),
            ({}, "1x4 0x1 stale _x2 1x20", (2, 2)),
            ({}, "1x5 NaN 0 1x20", (1, 4)),
            ({}, "_x20", (None, None)),
            ({"every": 1}, "1x5 0x1 1x20", (2, 5)),
            ({"every": 7}, "1x5 0x1 1x20", (2, 5)),
            ({"every": 60}, "1x5 0x1 1x20", (2, 5)),
            ({"good": "", "bad": "> 0.5"}, "0x5 0.5 1 -3x20", (1, 5)),
            ({"good": "< 2"}, "1x5 2 3 -1x20", (2, 5)),
            ({"good": "== -1"}, "-1+0x5 2 -1+0x20", (1, 5)),
        ],
    )
    def test_each_sample_counts_once(
        self, sli: dict[str, object], values: str, counts: tuple[int | None, int | None]
    ) -> None:
        assert record({up(): "1x30", PROBE: values}, [10], rules=self._rules(**sli)) == [counts]

    def test_of_samples_that_are_closer_than_every_the_last_one_counts(self) -> None:
        raw = {up(): "1x100", PROBE: "1x42 0 0 0 0 0 1x60"}
        assert record(raw, [10], rules=self._rules(every=60), interval="10s") == [(0, 5)]
        assert record(raw, [10], rules=self._rules(every=10), interval="10s") == [(5, 30)]

    def test_minutes_add_up_to_the_grid(self) -> None:
        raw = {up(): "1x30", PROBE: "1x5 0x3 1x3 _x3 0 1x20"}
        tiles = record(raw, range(6, 21), tiles=True, rules=self._rules())
        grid = record(raw, [10, 15, 20], rules=self._rules())
        for kind in (0, 1):
            assert sum(count[kind] or 0 for count in tiles) == sum(count[kind] or 0 for count in grid)
        assert sum(total or 0 for _, total in grid) == 12

    def test_a_slow_failure_that_is_stored_when_it_ends_counts(self) -> None:
        """The last scrape before minute 10 began ten seconds before it, and ends ten seconds after."""
        raw = {up(): "1x100", PROBE: "1x58 0 1x40"}
        counts = record(raw, [10, 15], rules=self._rules(), interval="10s")
        assert counts == [(0, 30), (1, 30)]

    @pytest.mark.parametrize(
        ("probe", "scraped", "seconds"),
        [
            ("1x20", "1x20", 0),
            ("1x5 stale _x2 1x20", "1x20", 180),
            ("1x5 stale _x2 1x20", "1x5 0x2 1x20", 180),
            ("0x20", "1x20", 0),
            ("1x5 NaN 1x20", "1x20", 60),
            ("1x3 NaN NaN NaN NaN NaN NaN NaN NaN", "1x20", 300),
            ("NaN stale _x20", "1x20", 300),
            ("Inf stale _x20", "1x20", 300),
            ("_x20", "1x20", None),
            ("1x20", "_x20", None),
        ],
    )
    def test_a_scrape_without_a_sample_is_a_gap(self, probe: str, scraped: str, seconds: int | None) -> None:
        query = [("slo:scrape_gap_seconds:increase5m", "10m")]
        texts = of_group(self._rules(), "grid")
        [[found]] = evaluate(texts, [Inputs({up(): scraped, PROBE: probe}, query)], evaluation_interval="5m")
        assert [value for _, value in found] == ([] if seconds is None else [pytest.approx(seconds)])

    def test_up_itself_has_no_gaps_while_targets_are_down(self) -> None:
        rules = of_group(self._rules(gauge="up"), "grid")
        queries = [("slo:bad_events:increase5m", "10m"), ("slo:scrape_gap_seconds:increase5m", "10m")]
        [[bad, gap_]] = evaluate(rules, [Inputs({up(): "1x5 0x20"}, queries)], evaluation_interval="5m")
        assert [value for _, value in (*bad, *gap_)] == [4, 0]


HOSTILE = "a\"b\\c{{ .x }}$1'|.*"
"""A value of a label that would be something else in PromQL, a template or a replacement."""


class TestPerLabel:
    @staticmethod
    def _slo(overridden: tuple[str, ...] = (), **sli: str) -> Slo:
        counted = {"bad": "rate(late[$window])", "total": "sum by (queue) (rate(jobs[$window]))"} | sli
        made = slo(name="jobs", service="*", namespace="ops", policy=NEVER)
        return replace(made, per="queue", overridden=overridden, sli=ExprSli(**counted))

    @staticmethod
    def _found(of: Slo, raw: Mapping[str, str], minute: int = 10) -> dict[str, tuple[float, float]]:
        texts = of_group(rule_texts(of), "grid")
        queries = [(f"round({metric}, 1e-6)", f"{minute}m") for metric in (BAD_GRID, TOTAL_GRID)]
        [[bad, total]] = evaluate(texts, [Inputs(raw, queries)], evaluation_interval="5m")
        assert {labels["namespace"] for labels, _ in (*bad, *total)} <= {"ops"}
        of_bad, of_total = ({labels["service"]: value for labels, value in found} for found in (bad, total))
        assert of_bad.keys() == of_total.keys()
        return {value: (of_bad[value], of_total[value]) for value in of_total}

    def test_each_value_has_its_own_events_and_what_has_none_has_no_budget(self) -> None:
        raw = {up(): "1x20", up(2): "1x20"}
        raw |= {series("jobs", queue=q, **target(pod)): "0+10x20" for q in ("a", HOSTILE) for pod in (1, 2)}
        raw |= {series("late", queue=HOSTILE, **target(2)): "_x8 7x12", series("jobs", **target()): "0+9x20"}
        raw |= {
            series("late", queue="a", **target()): "0+10x20",
            series("jobs", queue="", **target(2)): "0+9x20",
        }
        assert self._found(self._slo(), raw) == {"a": (50, 100), HOSTILE: (7, 100)}

    def test_a_value_that_vanishes_has_no_data_and_a_new_one_is_counted_from_its_first_event(self) -> None:
        raw = {up(): "1x40", series("jobs", queue="a", **target()): "0+10x40"}
        raw |= {
            series("jobs", queue="old", **target()): "0+10x8 stale",
            series("late", queue="new", **target()): "_x28 3x12",
        }
        raw |= {series("jobs", queue="new", **target()): "_x28 5x12"}
        of = self._slo()
        assert self._found(of, raw) == {"a": (0, 50), "old": (0, 30)}
        assert self._found(of, raw, 20) == {"a": (0, 50)}
        assert self._found(of, raw, 30) == {"a": (0, 50), "new": (3, 5)}

    def test_a_named_service_takes_its_value_out(self) -> None:
        raw = {up(): "1x20"}
        raw |= {series("jobs", queue=q, **target()): "0+10x20" for q in ("a", "b.c", "bxc", "d")}
        assert sorted(self._found(self._slo(("b.c", "d")), raw)) == ["a", "bxc"]

    def test_a_difference_that_misses_a_side_is_no_data_of_that_value_alone(self) -> None:
        bad = "sum by (queue) (rate(jobs[$window])) - sum by (queue) (rate(good[$window]))"
        raw = {up(): "1x20"}
        raw |= {series("jobs", queue=q, **target()): "0+10x20" for q in ("a", "b")}
        raw |= {series("good", queue="a", **target()): "0+8x20"}
        assert self._found(self._slo(bad=bad), raw) == {"a": (10, 50)}

    def test_the_rest_of_good_events_and_terms_that_some_values_lack(self) -> None:
        good = "rate(good[$window]) + rate(fair[$window])"
        raw = {up(): "1x20"}
        raw |= {series("jobs", queue=q, **target()): "0+10x20" for q in ("a", "b")}
        raw |= {series("good", queue=q, **target()): "0+8x20" for q in ("a", "b")}
        raw |= {series("fair", queue="a", **target()): "0+1x20"}
        of = self._slo()
        of = replace(of, sli=ExprSli(total=of.sli.total, good=good))  # type: ignore[union-attr,arg-type]
        assert self._found(of, raw) == {"a": (5, 50), "b": (10, 50)}

    def test_samples_and_their_gaps_by_value(self) -> None:
        of = replace(self._slo(), sli=SampleSli("age", bad="> 300", every=60))
        raw = {up(): "1x20", series("age", queue="a", **target()): "1x7 301 1x12"}
        raw |= {series("age", queue="b", **target()): "1x7 stale _x12", series("age", **target()): "900x20"}
        assert self._found(of, raw) == {"a": (1, 5), "b": (0, 3)}
        texts, query = of_group(rule_texts(of), "grid"), [("slo:scrape_gap_seconds:increase5m", "10m")]
        [[found]] = evaluate(texts, [Inputs(raw, query)], evaluation_interval="5m")
        assert {labels["service"]: round(value) for labels, value in found} == {"a": 0, "b": 120}


class TestCustomEvents:
    def test_bad_events_of_two_pods_counted_from_their_first(self) -> None:
        rules = rule_texts(custom(bad="rate(late_total[$window])", total="rate(jobs_total[$window])"))
        raw = {up(1): "1x20", up(2): "1x20"}
        raw |= {series("jobs_total", **target(pod)): "0+10x20" for pod in (1, 2)}
        assert record(raw, [10], rules=rules) == [(0, 100)]
        raw |= {series("late_total", **target(1)): "_x8 50x12", series("late_total", **target(2)): "0+1x20"}
        assert record(raw, [10, 15], rules=rules) == [(55, 100), (5, 100)]

    def test_good_events(self) -> None:
        rules = rule_texts(
            custom(good='increase(done_total{how="well"}[$window])', total="rate(jobs_total[$window])")
        )
        raw = {up(1): "1x20", up(2): "1x20"}
        for pod in (1, 2):
            raw |= {
                series("jobs_total", **target(pod)): "0+10x20",
                series("done_total", how="well", **target(pod)): "0+9x20",
                series("done_total", how="late", **target(pod)): "0+1x20",
            }
        assert record(raw, [10], rules=rules) == [(10, 100)]

    def test_a_sum_of_several_counters(self) -> None:
        rules = rule_texts(
            custom(
                bad="sum(rate(late_total[$window])) + sum(rate(lost_total[$window]))",
                total="sum(rate(jobs_total[$window]))",
            )
        )
        raw = {up(): "1x20", series("jobs_total", **target()): "0+10x20"}
        raw |= {series("late_total", **target()): "0+1x20", series("lost_total", **target()): "0+2x20"}
        assert record(raw, [10], rules=rules) == [(15, 50)]

    @both_grids
    def test_an_exporter_added_today_costs_only_what_is_new(self, tiles: bool) -> None:
        rules = rule_texts(custom(bad="rate(late_total[$window])", total="rate(jobs_total[$window])"))
        raw = {up(): "_x6 1x20", series("jobs_total", **target()): "_x6 1000000+10x20"}
        raw |= {series("late_total", **target()): "_x6 1000000+1x20"}
        counts = record(raw, range(21) if tiles else range(0, 21, 5), rules=rules, tiles=tiles)
        assert (sum(bad or 0 for bad, _ in counts), sum(total or 0 for _, total in counts)) == (14, 140)


def firing(rules: Sequence[str], raw: Mapping[str, str], minute: int) -> list[tuple[str, str]]:
    query = 'ALERTS{alertstate="firing"}'
    [[samples]] = evaluate(rules, [Inputs(raw, [(query, f"{minute}m")])])
    return sorted((labels["alertname"], labels["service"]) for labels, _ in samples)


PAGE = AlertPolicy("page", (BurnWindow("page", Decimal(14), 3600, 300),))


class TestAlerts:
    def test_one_failed_request_at_night_pages_nobody(self) -> None:
        raw = {up(): "1x60", requests(): "0+1x60", requests("503"): "_x30 1x30"}
        assert firing(rule_texts(slo(policy=PAGE)), raw, 31) == []
        ungated = replace(PAGE, min_events=1, min_bad_events=1)
        assert firing(rule_texts(slo(policy=ungated)), raw, 31) == [
            ("AvailabilityBudgetBurnPage1h", "checkout")
        ]

    @pytest.mark.parametrize(("events", "bad", "fires"), [(20, 3, True), (21, 3, False), (20, 4, False)])
    def test_the_gate_opens_at_exactly_its_numbers(self, events: int, bad: int, fires: bool) -> None:
        policy = replace(PAGE, min_events=events, min_bad_events=bad)
        raw = {up(): "1x15", requests(): "0+0x5 17x9", requests("503"): "_x6 3x9"}
        assert bool(firing(rule_texts(slo(policy=policy)), raw, 7)) is fires

    @pytest.mark.parametrize(
        ("period", "errors", "fires"),
        [(30, 15, True), (30, 13, False), (90, 41, False), (90, 43, True), (7, 4, True), (7, 3, False)],
    )
    def test_factors_scale_with_the_period(self, period: int, errors: int, fires: bool) -> None:
        """14 times a budget of 0.1 % for 30 days is 42 times for 90 days and 3.27 times for 7."""
        raw = {up(): "1x60", requests(): f"0+{1000 - errors}x60", requests("503"): f"0+{errors}x60"}
        rules = rule_texts(slo(policy=PAGE, window=days(period)))
        assert bool(firing(rules, raw, 60)) is fires

    def test_only_the_service_that_burns_is_named(self) -> None:
        raw = {up(): "1x60", of("cart"): "0+90x60", of("cart", "503"): "0+10x60", of("search"): "0+100x60"}
        rules = rule_texts(slo(service="*", policy=PAGE))
        assert firing(rules, raw, 30) == [("AvailabilityBudgetBurnPage1h", "cart")]

    def test_both_windows_must_burn(self) -> None:
        raw = {up(): "1x60", requests(): "0+100x60", requests("503"): "0+10x30 300x30"}
        rules = rule_texts(slo(policy=PAGE))
        assert firing(rules, raw, 30)
        assert firing(rules, raw, 36) == [], "over the last five minutes nothing burns any more"


class TestBurnWindows:
    """A window forgets an error at exactly its age, and a burn rate is a ratio of sums, never a mean of ratios."""

    POLICY = AlertPolicy(
        "windows", (BurnWindow("page", Decimal(14), 3600, 300), BurnWindow("page", Decimal(4), 21600, 1800))
    )

    @pytest.mark.parametrize(("window", "name"), [(5, "5m"), (30, "30m"), (60, "1h"), (360, "6h")])
    def test_of_minutes(self, window: int, name: str) -> None:
        rules = rule_texts(slo(objective="99", policy=self.POLICY))
        raw = {
            up(): f"1x{window + 12}",
            requests(): f"0+10x{window + 12}",
            requests("503"): f"_x8 5x{window + 4}",
        }
        times = [8, 8 + window, 9 + window]
        queries = [(f"slo:burn_rate:{name}", f"{minute - 1}m") for minute in times] + [
            (f"slo:burn_rate:{name}", "8m")
        ]
        [answers] = evaluate(rules, [Inputs(raw, queries)])
        before, last, after, first = (samples[0][1] for samples in answers)
        assert (before, after) == (0, 0)
        assert last == pytest.approx(100 * 5 / (10 * window + 5))
        assert first == pytest.approx(100 * 5 / (10 * min(8, window) + 5))

    @pytest.mark.parametrize(("metric", "hours"), [("slo:burn_rate:12h", 12), (naming.PERIOD_BAD, 24)])
    def test_of_hours_on_the_grid(self, metric: str, hours: int) -> None:
        policy = AlertPolicy("half-day", (BurnWindow("ticket", Decimal(1), 12 * 3600, 3600),))
        rules = rule_texts(slo(objective="99", policy=policy, window=days(1)))
        minutes = hours * 60
        raw = {
            up(): f"1x{minutes + 30}",
            requests(): f"0+10x{minutes + 30}",
            requests("503"): f"_x8 5x{minutes + 22}",
        }
        queries = [(metric, f"{minute}m") for minute in (5, 10, minutes + 5, minutes + 10)]
        [answers] = evaluate(rules, [Inputs(raw, queries)], evaluation_interval="5m")
        spent = [samples[0][1] > 0 for samples in answers]
        assert spent == [False, True, True, False]

    def test_a_quiet_night_weighs_what_it_carried(self) -> None:
        """One hour: 50 busy minutes without errors, ten minutes with two requests each, of which one fails."""
        raw = {up(): "1x60", requests(): "0+100x50 5001+1x9", requests("503"): "_x51 1+1x9"}
        rules = rule_texts(slo(objective="99", policy=self.POLICY))
        [[burn]] = evaluate(rules, [Inputs(raw, [("slo:burn_rate:1h", "60m")])])
        assert burn[0][1] == pytest.approx(10 / 5020 / 0.01), "a mean of ratios would say 8.3"


HOSTILE = 'a"} or vector(1) #{{ .x }}`\\%q&to=0'


def test_what_an_alert_asks_of_a_service_with_a_hostile_name_stays_one_string(tmp_path: Path) -> None:
    """promtool fills in what an alert says of now, and the service's name in links is no more than a name."""
    policy = AlertPolicy("own", (BurnWindow("page", Decimal(2), 600, 300),))
    every = slo(service="*", objective="90", policy=policy)
    sources = Sources(
        grafana="https://g.example.org", traces_backend="tempo", traces="http://tempo", pages="https://slo"
    )
    [file] = manifest.rule_files(slo_set := SloSet("shop", (every,), sources=sources))
    (tmp_path / "rules.yaml").write_text(manifest.prometheus(file), encoding="utf-8")
    tests = slo_proofs.render_tests(slo_set, file, "rules.yaml", HOSTILE)
    (tmp_path / "test.yaml").write_text(tests, encoding="utf-8")
    document = read_yaml(tests)
    [told, *_] = [
        alert["exp_annotations"]
        for test in document["tests"]
        for check in test["alert_rule_test"]
        for alert in check["exp_alerts"]
    ]
    assert "of requests failed in the last 5m" in told["now"] and "budget left: " in told["now"]
    assert told["cause"].startswith("Most of it: ") and "response code 503, flags UF" in told["cause"]
    assert "&var-service=a%22%7D+or+vector" in told["dashboard_url"]
    assert "aorvector1.xqto0.shop" in told["traces_url"]
    name = quote(HOSTILE, safe="")
    asked = f"https://slo/explain?namespace=shop&service={name}&last=1h&at="
    assert told["explain_url"].startswith(asked) and told["explain_url"].removeprefix(asked).isdecimal()
    done = run("test", "rules", "test.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
