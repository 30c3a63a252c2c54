"""Invariants of the simulated history: what is scraped and what truly happened are the same events."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.demo.engine import Simulation
from sloctl.demo.history import history_grid, series
from sloctl.demo.shop import corner_shop, shop
from sloctl.demo.truth import Truth, load, save
from sloctl.demo.world import Crash, Edge, Outage, Service, World, ago, on_day, traffic

END = 1_700_000_100


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return Simulation(corner_shop(), history_grid(corner_shop()))


@pytest.fixture(scope="module")
def scraped(simulation: Simulation) -> list[SampledSeries]:
    return list(series(simulation, END))


def _select(scraped: list[SampledSeries], **labels: str) -> list[SampledSeries]:
    return [one for one in scraped if all(one.labels.get(key) == value for key, value in labels.items())]


def _requests(scraped: list[SampledSeries], **labels: str) -> list[SampledSeries]:
    return _select(scraped, __name__="istio_requests_total", **labels)


def _increments(one: SampledSeries) -> np.ndarray:
    """What an all-seeing reader takes: from zero at birth, and after each reset (a fall, or an absence)."""
    before = np.concatenate([[0], one.values[:-1]])
    absent = np.diff(one.timestamps, prepend=one.timestamps[:1]) > 60_000
    return np.where((one.values >= before) & ~absent, one.values - before, one.values)


def test_every_label_set_is_there_once(scraped: list[SampledSeries]) -> None:
    keys = [tuple(sorted(one.labels.items())) for one in scraped]
    assert len(keys) == len(set(keys))


def test_counters_fall_only_when_their_sidecar_restarts(scraped: list[SampledSeries]) -> None:
    crashed = defaultdict(set)
    for one in _requests(scraped):
        falls = one.timestamps[1:][np.diff(one.values) < 0]
        if len(falls):
            crashed[one.labels["pod"].split("-")[0]].update(((falls / 1000 - END) / 3600).round(1).tolist())
    assert set(crashed) == {"web", "store"}
    assert crashed["store"] == {-1.0}
    assert crashed["web"] <= {-3.0, -2.9, -2.8}


def test_series_are_born_at_their_first_event(scraped: list[SampledSeries]) -> None:
    for one in _requests(scraped):
        assert one.values[0] > 0
    errors = _requests(scraped, destination_service_name="api", response_code="503")
    first = min(one.timestamps[0] for one in errors)
    assert first == round((END + ago(hours=11) + 7) * 1000)
    assert max(one.values[0] for one in errors) > 1


def test_scrapes_lie_off_every_grid(scraped: list[SampledSeries]) -> None:
    for one in scraped:
        assert set(one.timestamps % 60_000) <= {(END % 60 + 7) * 1000}


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("service", ["web", "api", "store", "flaky", "seldom"])
def test_the_truth_is_the_sum_of_the_increments(
    simulation: Simulation, scraped: list[SampledSeries], service: str, side: str
) -> None:
    found = {"total": 0, "bad": 0, "bad_http": 0}
    for one in _requests(scraped, destination_service_name=service, reporter=side):
        events = int(_increments(one).sum())
        http = one.labels["response_code"][0] in "50"
        found["total"] += events
        found["bad_http"] += events * http
        found["bad"] += events * (http or one.labels.get("grpc_response_status") in {"13", "14"})
    truth = simulation.counts[service, side]  # type: ignore[index]
    assert found["total"] == truth["total"].sum()
    assert found["bad"] == truth["bad"].sum() > 0
    assert found["bad_http"] == (truth["bad_http"].sum() if "bad_http" in truth else 0)


def test_histograms_hold_the_same_requests(simulation: Simulation, scraped: list[SampledSeries]) -> None:
    name = "istio_request_duration_milliseconds"
    for side in ("source", "destination"):
        total = sum(
            int(_increments(one).sum())
            for one in _requests(scraped, reporter=side, destination_service_name="api")
        )
        sums = {
            le: sum(
                int(_increments(one).sum())
                for one in _select(scraped, __name__=f"{name}_bucket", reporter=side, le=le)
            )
            for le in ("250", "+Inf", "3600000")
        }
        counts = _select(scraped, __name__=f"{name}_count", reporter=side)
        assert sums["+Inf"] == sums["3600000"] == total == sum(int(_increments(one).sum()) for one in counts)
        assert total - sums["250"] == simulation.counts["api", side]["slow"].sum() > 0


def test_retries_hide_failures_from_the_client(simulation: Simulation) -> None:
    source, destination = (simulation.counts["flaky", side] for side in ("source", "destination"))
    assert destination["total"].sum() > source["total"].sum()
    assert destination["bad"].sum() > 5 * source["bad"].sum() > 0
    good = [counts["total"].sum() - counts["bad"].sum() for counts in (source, destination)]
    assert good[0] == good[1]


def test_new_pods_are_scraped_before_their_first_request(scraped: list[SampledSeries]) -> None:
    start = (END - 86400) * 1000
    ups = {one.labels["pod"]: one for one in _select(scraped, __name__="up", job="envoy-stats")}
    new = [pod for pod, up in ups.items() if up.timestamps[0] > start]
    assert len(new) == 4
    for pod in new:
        births = [one.timestamps[0] for one in _requests(scraped, pod=pod)]
        assert 60_000 < min(births) - ups[pod].timestamps[0] <= 180_000
    gone = [pod for pod, up in ups.items() if up.timestamps[-1] < END * 1000 - 60_000]
    assert len(gone) == 4
    for pod in gone:
        last = _requests(scraped, pod=pod)
        assert all(one.values[-1] == one.values[-2] for one in last)
        assert {one.timestamps[-1] for one in last} == {ups[pod].timestamps[-1]}


def test_a_gap_hides_both_what_a_workload_serves_and_what_it_calls(scraped: list[SampledSeries]) -> None:
    (up,) = _select(scraped, __name__="up", pod=_pod(scraped, "hidden"))
    down = up.timestamps[up.values == 0] / 1000 - END
    assert (len(down), down[0], down[-1]) == (25, ago(hours=8) + 7, ago(hours=8) + 1500 - 53)
    for one in _select(scraped, pod=_pod(scraped, "hidden"), __name__="istio_requests_total"):
        seen = one.timestamps / 1000 - END
        assert not ((seen >= down[0]) & (seen <= down[-1])).any()


def _pod(scraped: list[SampledSeries], service: str) -> str:
    (one,) = {
        one.labels["pod"]
        for one in _select(scraped, __name__="up", job="envoy-stats")
        if one.labels["pod"].startswith(f"{service}-")
    }
    return one


def test_quiet_and_idle_services_stay_up(simulation: Simulation, scraped: list[SampledSeries]) -> None:
    assert ("idle", "source") not in simulation.counts
    assert _select(scraped, __name__="up", pod=_pod(scraped, "idle"))
    quiet = simulation.grid.span(ago(hours=14), ago(hours=3))
    total = simulation.counts["seldom", "source"]["total"]
    assert total[quiet].sum() == 0
    assert total.sum() > 0


def test_kube_state_counts_the_restarts(scraped: list[SampledSeries]) -> None:
    metric = "kube_pod_container_status_restarts_total"
    totals = {one.labels["pod"].split("-")[0]: one.values for one in _select(scraped, __name__=metric)}
    assert {name for name, values in totals.items() if values[-1]} == {"web", "store"}
    assert all(values[0] == 0 for values in totals.values())


def test_traffic_swings_fifty_to_one_between_night_and_peak() -> None:
    world = shop()
    day = traffic(world, np.arange(on_day(3, 0.0), on_day(2, 0.0), 60.0))
    assert day.max() / day.min() == pytest.approx(50, rel=0.01)


def test_equal_worlds_are_equal_and_a_service_more_changes_no_other() -> None:
    world = corner_shop()
    more = replace(
        world,
        services=(*world.services, Service("new", error_rate=0.1)),
        edges=(Edge("web", "new", 5.0), *world.edges),
    )
    first, again, third = (Simulation(one, history_grid(one)).counts for one in (world, corner_shop(), more))
    for place, kinds in first.items():
        for kind, events in kinds.items():
            assert (events == again[place][kind]).all()
            assert (events == third[place][kind]).all()


def test_truth_is_cut_at_scrapes(tmp_path: Path, simulation: Simulation) -> None:
    scrapes = END + simulation.grid.ends
    total = simulation.counts["web", "source"]["total"]
    truth = Truth(scrapes, simulation.counts)
    assert truth.events("web", "source", "total", END - 300, END) == total[-5:].sum()
    assert truth.events("web", "source", "total", END - 60, END - 54) == 0
    assert truth.events("web", "source", "total", END - 60, END - 53) == total[-1]
    assert truth.events("idle", "source", "total", 0, END) == 0
    save(truth, tmp_path / "truth.npz")
    again = load(tmp_path / "truth.npz")
    assert again.events("web", "source", "bad", END - 3600, END) == truth.events(
        "web", "source", "bad", END - 3600, END
    )


def test_a_world_names_its_services() -> None:
    with pytest.raises(ValueError, match="no such service: nowhere"):
        World(services=(Service("a"),), edges=(Edge("a", "nowhere", 1.0),))
    with pytest.raises(ValueError, match="no such service: b"):
        World(services=(Service("a"),), edges=(), events=(Crash("b", 0, -60.0), Outage("a", -2, -1)))
