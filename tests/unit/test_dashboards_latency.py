"""Latency on dashboards: of whom the file's SLOs count, with their thresholds, also without a guardrail."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import pytest

from dashboards.lint.checks import lint, panels
from dashboards.manifest import boards
from sloctl import spec
from tests.support.boards import Json

BUCKETS = "istio_request_duration_milliseconds_bucket"
BOARDS = {"service": "Latency", "budget": "Latency of the service", "oncall": "Slowest services"}


def slo(name: str, preset: str, service: str = "checkout", **params: str) -> Json:
    return {"name": name, "service": service, "namespace": "shop", "objective": 99} | {
        "sli": {"preset": preset, **params}
    }


def made(*slos: Json, backend: str = "") -> dict[str, Json]:
    """The dashboards of a file without guardrails."""
    traces = {"traces": {"backend": backend, "url": "http://traces:1"}} if backend else {}
    file = {"apiVersion": "sloctl/v1", "kind": "MeshSLOs", "metadata": {"name": "shop"}}
    text = json.dumps({**file, "sources": traces, "slos": slos})
    found = dict(boards(spec.load([Path("-")], stdin=BytesIO(text.encode()))))
    assert [problem for board in found.values() for problem in lint(board)] == []
    return found


def exprs(board: Json, title: str) -> list[str]:
    (panel,) = (panel for panel in panels(board) if panel["title"] == title and "targets" in panel)
    return [target["expr"] for target in panel["targets"]]


AVAILABILITY = slo("availability", "availability")
SLOW = slo("latency", "latency", threshold="250ms")
SERVERS = slo("latency-server", "latency", threshold="1s", side="server")


@pytest.mark.parametrize("kind", BOARDS)
@pytest.mark.parametrize(
    ("slos", "reporter", "thresholds"),
    [
        ([AVAILABILITY], 'reporter="source"', []),
        ([AVAILABILITY, SLOW], 'reporter="source"', ["0.25"]),
        ([AVAILABILITY, SERVERS], 'reporter="destination"', ["1"]),
    ],
)
def test_quantiles_and_thresholds_without_a_guardrail(
    kind: str, slos: list[Json], reporter: str, thresholds: list[str]
) -> None:
    found = exprs(made(*slos)[kind], BOARDS[kind])
    for quantile in ("0.5", "0.95", "0.99"):
        expr = next(expr for expr in found if f"histogram_quantile({quantile}," in expr)
        assert BUCKETS in expr
        assert reporter in expr
    shown = "\n".join(found)
    for threshold in thresholds:
        assert f" + {threshold})" in shown
    assert shown.count("0 * ") == len(thresholds)


def test_both_sides_are_told_apart() -> None:
    board = made(SLOW, SERVERS)["budget"]
    found = exprs(board, BOARDS["budget"])
    assert sum("by (reporter, le)" in expr for expr in found) == 3
    assert any(" + 0.25)" in expr and " + 1)" in expr for expr in found)


def test_slow_requests_are_no_failures() -> None:
    made_ = made(AVAILABILITY, SLOW)
    for kind, failing in (("service", "Whose requests fail"), ("oncall", "Who fails whom")):
        (fail,) = exprs(made_[kind], failing)
        (slow,) = exprs(made_[kind], "What is slow, and for whom")
        assert 'slo!="latency"' in fail
        assert 'slo="latency"' in slow
        assert "source_workload" in slow and "destination_version" in slow and "response_code" in slow


def test_a_name_that_means_two_things_is_told_apart_by_service() -> None:
    search = slo("latency", "latency", "search", threshold="100ms")
    other = slo("fast", "latency", threshold="100ms")
    thresholds = exprs(made(SLOW, search, other)["oncall"], BOARDS["oncall"])[-1]
    low, _, high = thresholds.partition(" + 0.1)\nor\n")
    assert 'slo="fast"' in low
    assert 'slo_id="shop:shop/search/latency"' in thresholds
    assert 'slo_id="shop:shop/checkout/latency"' in high


@pytest.mark.parametrize(
    ("backend", "wanted"),
    [("tempo", "duration > 250ms"), ("jaeger", '"minDuration":"250ms"'), ("zipkin", None)],
)
def test_slow_traces_are_linked_where_grafana_can_look_for_them(backend: str, wanted: str | None) -> None:
    found = made(SLOW, backend=backend)
    for kind in ("service", "budget", "oncall"):
        text = unquote(json.dumps(found[kind])).replace("\\", "")
        assert ("Traces over 250 ms" in text) == (wanted is not None)
        assert wanted is None or wanted in text


def test_no_dashboard_links_to_traces_that_nothing_shows() -> None:
    assert "clickhouse" not in json.dumps(list(made(SLOW, backend="clickhouse").values()))
