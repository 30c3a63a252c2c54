"""A small simulated day in a real Prometheus: what it answers is, to the event, what happened."""

import json
import math
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.demo.history import History, build_history, load_history
from sloctl.demo.remote_write import write_block
from sloctl.demo.server import PrometheusServer
from sloctl.demo.shop import corner_shop
from sloctl.demo.world import ago
from sloctl.errors import SloctlError

END = 1_700_000_100


@dataclass
class Day:
    history: History
    server: PrometheusServer

    def query(self, expression: str, at: float = END) -> list[dict[str, Any]]:
        text = urllib.parse.urlencode({"query": expression, "time": at})
        with urllib.request.urlopen(
            f"{self.server.url}/api/v1/query", data=text.encode(), timeout=60
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return found

    def value(self, expression: str, at: float = END) -> float:
        (one,) = self.query(expression, at)
        return float(one["value"][1])


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    directory = tmp_path_factory.mktemp("day")
    seen: list[float] = []
    history = build_history(corner_shop(), END, directory / "history", lambda share, _: seen.append(share))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    names = [{"__name__": "slo:total_events:increase5m", "slo": 'a "b"'}, {"__name__": "slo:float:x"}]
    stamps = np.arange(END - 3600, END + 1, 300) * 1000
    recorded = [SampledSeries(labels, stamps, np.full(len(stamps), 0.1)) for labels in names]
    odd = SampledSeries({"__name__": "odd", "empty": ""}, stamps[:3], np.array([math.nan, math.inf, -0.25]))
    assert write_block([*recorded, odd], history.data_dir) == 29
    with PrometheusServer(directory / "server", data=history.data_dir) as server:
        yield Day(history, server)


def test_every_sample_arrives(day: Day) -> None:
    names = {one["metric"]["__name__"] for one in day.query('group by (__name__) ({instance=~".+"})')}
    assert len(names) == 9
    counted = sum(day.value(f"sum(count_over_time({name}[2d]))") for name in names)
    assert counted == day.history.samples


def test_recorded_names_are_accepted(day: Day) -> None:
    (one,) = day.query('slo:total_events:increase5m{slo="a \\"b\\""}')
    assert one["value"][1] == "0.1"


def test_values_that_are_no_counts_are_kept(day: Day) -> None:
    (one,) = day.query("odd[2h]")
    assert one["metric"] == {"__name__": "odd"}
    assert one["values"] == [[END - 3600, "NaN"], [END - 3300, "+Inf"], [END - 3000, "-0.25"]]


def test_samples_that_are_not_all_taken_are_an_error(tmp_path: Path) -> None:
    """What cannot be written in whole is not written: no block with less than was asked for."""
    for name, stamps, error, said in (
        ("twice", [END, END - 60], SloctlError, "did not take samples|kept 1 of 2 samples"),
        ("twice", [END, END], SloctlError, "did not take samples|kept 1 of 2 samples"),
        ("no name", [END], ValueError, "not a metric name: 'no name'"),
    ):
        times = np.array(stamps) * 1000
        with pytest.raises(error, match=said):
            write_block([SampledSeries({"__name__": name}, times, np.arange(len(times)))], tmp_path / "data")
        assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("service", ["flaky", "seldom", "behind"])
@pytest.mark.parametrize("hours", [(2.0, 1.0), (1.0, 0.0), (0.25, 0.0)])
def test_differences_of_counters_are_the_truth(day: Day, service: str, hours: tuple[float, float]) -> None:
    """Between deploys, restarts and births, `x @ t1 - x @ t0` is what happened, on both sides."""
    start, end = (END + ago(hours=hour) for hour in hours)
    for side in ("source", "destination"):
        series = f'istio_requests_total{{destination_service_name="{service}",reporter="{side}"}}'
        found = day.value(f"sum({series})", end) - day.value(f"sum({series})", start)
        truth = day.history.truth.events(service, side, "total", start, end)
        assert found == truth > 0


def test_raw_samples_give_the_truth_of_every_five_minutes(day: Day) -> None:
    """Births, restarts and deploys included, wherever no scrape gap hides something."""
    start = END - 86400
    events: dict[tuple[str, str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for one in day.query("istio_requests_total[2d]"):
        labels = one["metric"]
        kinds = ["total"]
        if labels["response_code"][0] in "50" or labels.get("grpc_response_status") in {"13", "14"}:
            kinds.append("bad")
        samples = [(float(stamp), int(value)) for stamp, value in one["values"]]
        for (before, old), (stamp, new) in pairwise([(samples[0][0] - 60, 0), *samples]):
            gained = new - old if new >= old and stamp - before < 90 else new
            for kind in kinds:
                place = (labels["destination_service_name"], labels["reporter"], kind)
                events[place][math.ceil(stamp / 300) * 300] += gained
    compared = 0
    for service, side in day.history.truth.services():
        for end in range(start + 300, END + 1, 300):
            if side == "jobs" or not day.history.truth.known(service, side, end - 300, end):
                continue
            for kind in ("total", "bad"):
                truth = day.history.truth.events(service, side, kind, end - 300, end)  # type: ignore[arg-type]
                assert events[service, side, kind][end] == truth, (service, side, kind, (end - END) / 3600)
                compared += truth > 0
    assert compared > 3000


def test_a_gap_is_seen_in_up(day: Day) -> None:
    gaps = {(gap.service, gap.side) for gap in day.history.truth.gaps}
    assert gaps == {("hidden", "destination"), ("behind", "source")}
    for gap in day.history.truth.gaps:
        down = day.value('count_over_time((up{pod=~"hidden-.*"} == 0)[2d:1m])')
        assert down == pytest.approx((gap.end - gap.start) / 60, abs=1)


def test_a_saved_history_is_the_same(day: Day) -> None:
    again = load_history(corner_shop(), day.history.data_dir.parent)
    assert again.state == day.history.state
    assert (again.end, again.samples, again.start) == (END, day.history.samples, END - 86400)
    assert again.truth.gaps == day.history.truth.gaps
    assert again.truth.restarts == day.history.truth.restarts
    assert len(again.truth.restarts) == 3
