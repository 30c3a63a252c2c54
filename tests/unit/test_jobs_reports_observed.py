"""How long requests take, by whom, and what changed: what is asked, and what becomes of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import promql_parser
import pytest

from jobs.reports import observed
from sloctl.backends.answers import Answer
from sloctl.backends.protocols import Series
from sloctl.model import SloSet
from tests.support.reports import AT, drawn
from tests.support.served import SLO_FILE, slo_set

T = AT.timestamp()


class Source:
    """Answers instant questions by their names, and ranges by a part of their text."""

    queries, warnings = 0, ()

    def __init__(
        self, instants: Mapping[str, Sequence[Series]], ranges: Mapping[str, Sequence[Series]]
    ) -> None:
        self.instants, self.ranges, self.asked = instants, ranges, dict[str, str]()

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        raise AssertionError(expr)

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        self.asked |= queries
        return {name: self.instants.get(name, ()) for name in queries}

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        self.asked[f"range {len(self.asked)}"] = expr
        return next((found for part, found in self.ranges.items() if part in expr), ())


def one(value: float, **labels: str) -> Series:
    return {"metric": labels, "value": [T, str(value)]}


def many(values: Mapping[float, float], **labels: str) -> Series:
    return {"metric": labels, "values": [[T + at, str(value)] for at, value in values.items()]}


@pytest.fixture(scope="module")
def slos(tmp_path_factory: pytest.TempPathFactory) -> SloSet:
    text = SLO_FILE.replace("{preset: availability}", "{preset: latency, threshold: 250ms}", 1)
    return slo_set(tmp_path_factory.mktemp("observed"), text)


def caller(name: str) -> dict[str, str]:
    return {"source_workload_namespace": "shop", "source_workload": name}


def test_quantiles_what_is_slow_and_what_changed(slos: SloSet) -> None:
    source = Source(
        {
            "0 0.5": [one(12)],
            "0 0.95": [one(float("nan"))],
            "1 0.99": [one(3_600_000)],
            "caller count": [
                one(900, **caller("web")),
                one(100, **caller("batch")),
                one(1, **caller("unknown")),
            ],
            "caller 0.95": [one(20, **caller("web")), one(800, **caller("batch"))],
            "version count": [one(1000, destination_version="v1")],
            "version 0.95": [one(40, destination_version="v1")],
        },
        {
            "destination_version": [
                many(dict.fromkeys((-3300, -3000, -300), 50.0), destination_version="v1"),
                many({-3000: 0.5, -300: 50.0}, destination_version="v2"),
            ],
            "pilot_k8s_cfg_events": [
                many({-600: 2.0}, type="VirtualService", event="update"),
                many({-600: 1.0}, type="DestinationRule", event="add"),
                many({-900: 9.0}, type="EndpointSlice", event="update"),
            ],
        },
    )
    found = observed.read(source, slos, slos.slos[0], drawn(), AT, 3600)
    assert found is not None
    assert dict(found.latency) == {
        "5 minutes": (12.0, None, None),
        "1 hour": (None, None, 3_600_000.0),
        "1 hour, a day before": (None, None, None),
    }
    assert [(each.what, each.name, each.requests, each.quantiles[1]) for each in found.slow] == [
        ("caller", "shop/batch", 100, 800),
        ("caller", "shop/web", 900, 20),
    ]
    assert (found.threshold, found.longest) == (250, 3_600_000)
    assert [(mark.what, mark.name, (mark.end - AT).total_seconds()) for mark in found.changes] == [
        ("version", "v2 begins to serve", -300),
        ("configuration", "DestinationRule add, VirtualService update", -600),
    ]


@pytest.mark.parametrize("histograms", ["classic", "native"])
def test_questions_are_of_the_slo_alone(slos: SloSet, histograms: str) -> None:
    mesh = replace(slos.mesh, histograms=histograms)  # type: ignore[arg-type]
    source = Source({}, {})
    found = observed.read(source, replace(slos, mesh=mesh), slos.slos[0], drawn(), AT, 86400)
    assert found is not None and not found.latency and not found.slow and not found.changes
    of_mesh = [expr for expr in source.asked.values() if "pilot" not in expr]
    for expr in of_mesh:
        promql_parser.parse(expr)
        assert (
            'reporter="source",destination_service_name="checkout",destination_service_namespace="shop"'
            in expr
        )
        assert ("duration_milliseconds_bucket" in expr) <= (histograms == "classic")
    assert any("histogram_count" in expr for expr in of_mesh) == (histograms == "native")
    assert any("offset 86400s" in expr for expr in of_mesh)


def test_what_a_server_did_not_tell_is_in_doubt(slos: SloSet) -> None:
    for source in (
        Source({"0 0.5": Answer([one(12)], ["a store is away"])}, {}),
        Source({}, {"pilot_k8s_cfg_events": Answer([], ["a store is away"])}),
    ):
        found = observed.read(source, slos, slos.slos[0], drawn(), AT, 3600)
        assert found is not None and found.doubts == ("a store is away",)


def test_of_other_events_nothing_is_asked(slos: SloSet) -> None:
    late = next(slo for slo in slos.slos if slo.name == "late")
    assert observed.read(Source({}, {}), slos, late, drawn(), AT, 3600) is None
