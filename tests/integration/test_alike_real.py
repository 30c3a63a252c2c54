"""Definitions that are asked about together count, each, what it counts by itself, whatever counters do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from jobs.budgets.questions import Definitions
from jobs.recording import grid_reading
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.ledger.protocol import Batch
from sloctl.model import GRID, CounterSli, Matcher, Slo, SloSet
from tests.support.promtool import slo
from tests.support.real_meshes_served import AT, NAMES, START, scraped

SCRAPES = np.arange(START, START + 3 * 3600, 30)
SERVICES = ("cart", "cart.eu", "orders")
STARTED = "istio_agent_process_start_time_seconds"
SPACES = ("left", "right")
END = int(AT.timestamp()) // GRID * GRID


Flags = npt.NDArray[np.bool_]


class RandomMesh:
    """Pods that call several services each: pods, counters and scrapes come and go at random."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def series(self) -> Iterator[SampledSeries]:
        for number in range(8):
            yield from self._pod(f"pod-{number}")

    def _chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def _moment(self) -> int:
        return int(self._rng.integers(1, len(SCRAPES)))

    def _some(self, ranges: int, longest: int) -> Flags:
        """A few stretches of scrapes."""
        found = np.zeros(len(SCRAPES), dtype=bool)
        for _ in range(int(self._rng.integers(0, ranges + 1))):
            begin = self._moment()
            found[begin : begin + int(self._rng.integers(1, longest))] = True
        return found

    def _pod(self, pod: str) -> Iterator[SampledSeries]:
        target = {"job": "envoy", "instance": f"{pod}:15020", "pod": pod}
        born = self._moment() if self._chance(0.4) else 0
        alive = np.arange(len(SCRAPES)) >= born
        observed = alive & ~self._some(1, 60)  # of the rest nothing is known
        scraped = observed & ~self._some(3, 40)  # the rest has an up of 0
        yield from written({"__name__": "up", **target}, observed, scraped)
        if self._chance(0.5):
            start = np.full(len(SCRAPES), SCRAPES[born])
            yield from written({"__name__": STARTED, **target}, scraped, start)
        for space, service in product(SPACES, SERVICES):
            if self._chance(0.7):
                there = scraped & ~self._some(int(self._chance(0.4)), 30)
                own = {"destination_service_name": service, "destination_service_namespace": space}
                yield from self._service(target | own, there, born)

    def _service(self, own: dict[str, str], there: Flags, born: int) -> Iterator[SampledSeries]:
        more = {"reporter": "source", "request_protocol": "http", "response_flags": "-"}
        for code, rate in {"200": 20, "404": 2, "503": 0.3}.items():
            counts = np.cumsum(self._rng.poisson(rate, len(SCRAPES)))
            first = self._moment() if self._chance(0.5) else born
            if self._chance(0.3):  # the proxy restarts
                at = self._moment()
                counts[at:] -= counts[at - 1]
            present = there & (np.arange(len(SCRAPES)) >= first)
            labels = own | more | {"response_code": code}
            yield from written({"__name__": "istio_requests_total"} | labels, present & (counts > 0), counts)
            for le, share in {"250": 0.8, "+Inf": 1.0}.items():
                bucket = {"__name__": "istio_request_duration_milliseconds_bucket", "le": le}
                yield from written(bucket | labels, present, np.floor(counts * share))


def written(labels: dict[str, str], there: Flags, values: npt.NDArray[Any]) -> Iterator[SampledSeries]:
    if there.any():
        yield SampledSeries(labels, SCRAPES[there].astype(np.int64) * 1000, values[there].astype(np.int64))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("alike")
    backfill([*RandomMesh(7).series(), *scraped()], folder / "data")
    with PrometheusServer(folder, data=folder / "data") as server, pipeline.source(server) as metrics:
        yield metrics


def _slos(preset: str, settings: dict[str, str], wildcard: bool) -> list[Slo]:
    services = ("*",) if wildcard else SERVICES
    return [
        slo(preset, settings, service=service, namespace=space, policy=None)
        for space in SPACES
        for service in services
    ]


SHAPES = {
    f"{preset}{' *' if wildcard else ''}": _slos(preset, settings, wildcard)
    for preset, settings in (("availability", {}), ("latency", {"threshold": "250ms"}), ("errors", {}))
    for wildcard in (False, True)
}
SHAPES["anywhere"] = [slo(service=service, namespace="", policy=None) for service in SERVICES]
SHAPES["overridden"] = [replace(one, overridden=("cart",)) for one in SHAPES["availability *"]]
SHAPES["some requests"] = [
    replace(one, sli=replace(one.sli, where=(Matcher("response_code", "!=", "404"),)))
    for one in SHAPES["availability"]
    if isinstance(one.sli, CounterSli)
]
SHAPES["cases"] = [slo(namespace=name, policy=None) for name in NAMES.values()]


def _read(source: Prometheus, slos: list[Slo]) -> list[Batch]:
    found = grid_reading.read(source, SloSet("shop", tuple(slos)), [one.id for one in slos], (START, END))
    assert not found.unsure and not found.implausible
    return [
        replace(batch, buckets=sorted(batch.buckets), causes=sorted(batch.causes)) for batch in found.batches
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_asked_together_is_what_is_asked_alone(shape: str, source: Prometheus) -> None:
    slos = SHAPES[shape]
    assert len(Definitions(slos).alike()) == 1
    alone = [batch for one in slos for batch in _read(source, [one])]
    before = source.queries
    assert _read(source, slos) == alone
    assert source.queries - before <= 2, "nothing was asked in parts"
    assert sum(bucket.total for batch in alone for bucket in batch.buckets) > 0
    assert sum(bucket.gap for batch in alone for bucket in batch.buckets) > 0
