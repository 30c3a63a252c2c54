"""``sloctl backtest`` fires when Prometheus's own rules fire, minute by minute, on the same noisy traffic."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from alert_rules.groups import RuleFile, read_by
from alert_rules.manifest import prometheus, rule_files
from benchmarks.bench_alerts import every_fifth_minute
from jobs import backtest
from sloctl import naming, promql, spec
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.backends.answers import Answer
from sloctl.backends.protocols import Series
from sloctl.demo.server import PrometheusServer
from sloctl.model import FINE_LIMIT, GRID, TILE, SloSet
from tests.support.command_line import in_process
from tests.support.faulty_server import refused_url
from tests.support.promtool import Inputs, evaluate, series

MINUTES = 570
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults:
  owner: team-shop
  runbook: "https://runbooks.example.org/{slo}"
  objective: 99
  alerting:
    windows:
      - {severity: page, factor: 14, long: 1h, short: 5m}
      - {severity: page, factor: 4, long: 6h, short: 30m, for: 5m}
      - {severity: ticket, factor: 1.5, long: 8h, short: 1h}
slos:
  - {name: availability, service: "*", namespace: shop, sli: {preset: availability}}
"""
SERVICES = ("noisy", "quiet", "flapping", "leaking", "late")


def slo_set() -> SloSet:
    return spec.load([Path("-")], stdin=BytesIO(SLO_FILE.encode()))


def counters() -> dict[str, str]:
    """Raw counters by minute in promtool's notation: noise, bursts, outages, a service that comes late, gaps."""
    rng = np.random.default_rng(11)
    minutes = np.arange(MINUTES + 1)
    rows = {}
    for number, service in enumerate(SERVICES):
        rate = {"noisy": 300, "quiet": 0.4}.get(service, 60)
        failing = np.full(MINUTES + 1, 0.004)
        for start, length, share in {
            "noisy": [(100, 12, 0.5), (300, 90, 0.08), (500, 3, 0.9)],
            "quiet": [(200, 120, 1.0)],
            "flapping": [(start, 4, 0.6) for start in range(120, 550, 45)],
            "leaking": [(start, 60, 0.0005 * (start - 180)) for start in range(180, 570, 60)],
            "late": [(400, 20, 0.7)],
        }[service]:
            failing[start : start + length] = share
        requests = rng.poisson(rate, MINUTES + 1)
        requests[minutes < (390 if service == "late" else 0)] = 0
        bad = rng.binomial(requests, failing)
        target = {"job": "envoy", "instance": f"10.0.0.{number}:15020", "pod": f"pod-{number}"}
        dark = (minutes >= 430) & (minutes < 436) & (service == "flapping")
        rows[series("up", **target)] = " ".join("0" if gone else "1" for gone in dark)
        for code, gained in (("200", requests - bad), ("503", bad)):
            name = series(
                "istio_requests_total",
                reporter="source",
                destination_service_name=service,
                destination_service_namespace="shop",
                request_protocol="http",
                response_code=code,
                response_flags="-",
                **target,
            )
            counted = np.cumsum(gained)
            rows[name] = " ".join(
                "_" if gone or not value else str(value) for value, gone in zip(counted, dark, strict=True)
            )
    return rows


Told = tuple[dict[int, Sequence[tuple[dict[str, str], float]]], ...]


def _read_by_alerts(file: RuleFile) -> RuleFile:
    """A file without what no condition of an alert reads."""
    rules = [rule for group in file.groups for rule in group.rules]
    plain = [replace(alert, annotations={}) for group in file.groups for alert in group.alerts]
    kept = read_by(plain, rules)
    groups = (
        replace(group, rules=tuple(rule for rule in group.rules if id(rule) in kept or rule in group.alerts))
        for group in file.groups
    )
    return replace(file, groups=tuple(groups))


@pytest.fixture(scope="module")
def told() -> Told:
    """What Prometheus's rules recorded and fired at each minute: alerts, tiles and the grid, bad and total."""
    rules = [prometheus(every_fifth_minute(_read_by_alerts(file))) for file in rule_files(slo_set())]
    asked = [
        (number, query, minute)
        for number, (query, step) in enumerate(
            (
                ('ALERTS{alertstate="firing"}', 1),
                *((f"last_over_time({name}[1s])", 1) for name in promql.event_metrics(TILE)),
                *((f"last_over_time({name}[1s])", 5) for name in promql.event_metrics(GRID)),
            )
        )
        for minute in range(step, MINUTES + 1, step)
    ]
    [answers] = evaluate(rules, [Inputs(counters(), [(query, f"{minute}m") for _, query, minute in asked])])
    found: Told = tuple({} for _ in range(5))
    for (number, _, minute), answer in zip(asked, answers, strict=True):
        found[number][minute] = answer
    return found


class Recorded:
    """A Prometheus that has what the rules recorded, and answers what a backtest asks."""

    warnings: Sequence[str] = ()
    queries = 0

    def __init__(self, told: Told) -> None:
        names = (*promql.event_metrics(TILE), *promql.event_metrics(GRID))
        self.of = dict(zip(names, told[1:], strict=True))

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        raise AssertionError(expr)

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self.query(expr, at) for name, expr in queries.items()}

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        (metric,) = [name for name in self.of if f"{name}{{" in expr]
        rows: dict[tuple[tuple[str, str], ...], list[tuple[float, str]]] = {}
        for minute, found in self.of[metric].items():
            time = minute * 60.0
            if not start.timestamp() <= time <= end.timestamp() or time % step.total_seconds():
                continue
            for labels, value in found:
                if value > 0 or "> 0" not in expr:
                    key = {name: labels[name] for name in (naming.SLO_ID, *naming.IDENTITY)}
                    rows.setdefault(tuple(key.items()), []).append((time, str(value)))
        return Answer({"metric": dict(key), "values": values} for key, values in rows.items())


@pytest.mark.slow
def test_every_alert_fires_at_the_minutes_at_which_the_rules_fire(told: Told) -> None:
    real = {
        (minute, labels["service"], labels["severity"], labels["long_window"])
        for minute, found in told[0].items()
        for labels, _ in found
        # promtool evaluates what is summed from the five-minute grid every minute, Prometheus every fifth.
        if labels["long_window"] != "8h" or minute % 5 == 0
    }
    found = backtest.run(backtest.RecordedHistory(Recorded(told), slo_set()), slo_set(), 0, MINUTES * 60)
    (replayed,) = found.policies
    ours = {
        (minute, one.key[2], one.line.severity, f"{one.line.long // 3600}h")
        for one in replayed.firings
        for minute in range(one.start // 60, one.end // 60, 5 if one.line.long > FINE_LIMIT else 1)
    }
    assert {one[1] for one in real} == {*SERVICES}, "every service fires something"
    assert {one[3] for one in real} == {"1h", "6h", "8h"}
    assert (sorted(ours - real), sorted(real - ours)) == ([], [])


def test_the_command_on_a_real_prometheus(tmp_path: Path) -> None:
    """Recorded off the minute, as Prometheus does: the page comes at the minute after."""
    begins, ends = 1_772_000_100 // GRID * GRID, 1_772_000_100 // GRID * GRID + 10 * 3600
    (tmp_path / "run").mkdir()
    (tmp_path / "run/slo.yaml").write_text(SLO_FILE)
    own = {
        naming.SLO_SET: "shop",
        naming.SLO_ID: slo_set().slos[0].id,
        naming.SERVICE: "cart",
        "namespace": "shop",
    }
    made = []
    for step, offset, (bad, total) in (
        (TILE, 17, promql.event_metrics(TILE)),
        (GRID, 203, promql.event_metrics(GRID)),
    ):
        times = np.arange(begins + offset, ends, step)
        fails = (times > begins + 8 * 3600) & (times <= begins + 8 * 3600 + 1200)
        made += [
            SampledSeries({"__name__": total} | own, times * 1000, np.full(len(times), 2 * step)),
            SampledSeries({"__name__": bad} | own, times * 1000, np.where(fails, step, 0)),
        ]
    backfill(made, tmp_path / "data")
    span = ("--from", str(begins), "--to", str(ends), "--format", "json")
    with PrometheusServer(tmp_path / "prometheus", data=tmp_path / "data") as server:
        asked = ("backtest", "-f", "slo.yaml", "--prometheus", server.url)
        done = in_process(*asked, *span, folder=tmp_path / "run")
        nothing = in_process(
            *asked, "--from", str(begins - 86400), "--to", str(begins), folder=tmp_path / "run"
        )
        (tmp_path / "run/loose.yaml").write_text(SLO_FILE.replace("factor: 14", "factor: 40"))
        sides = ("diff", "slo.yaml", "loose.yaml", "--prometheus", server.url)
        compared = in_process(*sides, *span, folder=tmp_path / "run")
        asked = ("backtest", "-f", "loose.yaml", "--prometheus", server.url)
        loose = in_process(*asked, *span, folder=tmp_path / "run")
    assert done.code == 0, done.stderr
    both = json.loads(compared.stdout)
    assert both["history"]["before"] == json.loads(done.stdout)
    assert both["history"]["after"] == json.loads(loose.stdout)
    assert [len(both["history"][name]) for name in ("pages_lost", "pages_gained", "pages_undecided")] == [
        1,
        0,
        0,
    ]
    assert (both["cost"], "the server has no metrics" in both["doubts"][0]) == (None, True)
    (page,) = json.loads(done.stdout)["policies"][0]["pages"]
    # Half of all fails: 14 % of an hour after 16.8 minutes, 4 % of six hours after 28.8, which it does not last.
    start = datetime.fromisoformat(page["start"]).timestamp() - begins - 8 * 3600
    assert (start, [one["alert"] for one in page["alerts"]]) == (1020, ["AvailabilityBudgetBurnPage1h"])
    assert (nothing.code, "nothing is recorded of any SLO" in nothing.stdout) == (1, True)
    down = in_process("backtest", "-f", "slo.yaml", "--prometheus", refused_url(), *span, folder=tmp_path / "run",
                      env={"SLOCTL_PROMETHEUS_RETRIES": "0"})  # fmt: skip
    assert down.code == 3
