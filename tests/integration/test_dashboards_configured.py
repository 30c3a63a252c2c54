"""What the mesh's configuration allows beside what is measured, on the dashboards, in front of a real Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dashboards.lint.checks import lint as judged
from dashboards.manifest import boards
from dashboards.parts import configured
from sloctl import spec
from sloctl.mesh import Result, lint
from tests.support.grafana import Answer, Grafana, View
from tests.support.prometheus_fixture import MISSING, running_prometheus

pytestmark = pytest.mark.skipif(bool(MISSING), reason="needs Prometheus")
SLO_FILE = Path(__file__).parents[1] / "golden/rules/guardrails/slo.yaml"
END = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp())
VERSIONS = ("v1", "v2")


def manifests(*names: str) -> str:
    """Routes of services that lead to v1 and v2 and try five times."""
    return "---\n".join(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}, namespace: shop}}\n"
        f"spec: {{hosts: [{name}], gateways: [mesh, shop/public], http: [{{retries: {{attempts: 4, retryOn: 5xx}}, "
        f"route: [{{destination: {{host: {name}, subset: v1}}, weight: 90}}, "
        f"{{destination: {{host: {name}, subset: v2}}, weight: 10}}]}}]}}\n---\n"
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}, namespace: shop}}\n"
        f"spec: {{host: {name}, subsets: [{{name: v1, labels: {{version: v1}}}}, "
        "{name: v2, labels: {version: v2}}]}\n"
        for name in names
    )


def result(*names: str) -> Result:
    return lint([spec.Source("mesh.yaml", manifests(*names).encode())])


def samples() -> str:
    """An hour in which stock has v1 and, unrouted, v0; cart both of its versions; what no pod answered is of none."""
    labels = 'slo_set="shop",namespace="shop"'
    lines = []
    edges = [("cart", 2.7), ("web", 1.2)]
    rates = [
        ("stock", "v1", 540),
        ("stock", "v0", 60),
        ("stock", "unknown", 6),
        ("cart", "v1", 60),
        ("cart", "v2", 6),
    ]
    for minute in range(61):
        at = END - (60 - minute) * 60
        lines += [
            f'edge:retry_amplification:ratio30m{{{labels},source="shop/{name}",service="stock"}} {value} {at}'
            for name, value in edges
        ]
    for service, version, count in rates:
        lines += [
            f'mesh:requests:increase1m{{{labels},service="{service}",destination_version="{version}",'
            f'reporter="source"}} {count} {END - (60 - minute) * 60}'
            for minute in range(61)
        ]
    return "\n".join([*lines, "# EOF\n"])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_prometheus(tmp_path_factory.mktemp("configured"), samples()) as url:
        yield url


def asked(url: str, kind: str, title: str, ref: str = "A") -> dict[tuple[str, ...], float]:
    slo_set = spec.load([SLO_FILE])
    board = dict(boards(slo_set, result("stock", "cart", "idle")))[kind]
    found: Answer = Grafana(url).load(board, View.of(board, END)).of(title, ref)
    return {
        tuple(value for name, value in sorted(one["metric"].items()) if name != "namespace"): float(
            one["value"][1]
        )
        for one in found.series
    }


def test_configured_tries_beside_attempts_as_measured(url: str) -> None:
    assert asked(url, "retries", "Configured and seen", "A") == {("stock",): 5}
    assert asked(url, "retries", "Configured and seen", "B") == {("stock",): 2.7}


def test_versions_that_no_route_leads_to_and_routes_to_versions_without_requests(url: str) -> None:
    assert asked(url, "debug", "Configuration that does not match traffic") == {
        ("v0", "stock"): pytest.approx(1.0),
        ("v2", "stock"): 0,
    }


def test_a_large_configuration_keeps_queries_short_and_says_what_is_left_out() -> None:
    names = [f"a-service-with-a-long-name-{number}" for number in range(80)]
    found = dict(boards(spec.load([SLO_FILE]), result(*names)))
    texts = {}
    for kind, title in (
        ("retries", "Configured and seen"),
        ("debug", "Configuration that does not match traffic"),
    ):
        (panel,) = (panel for panel in found[kind]["panels"] if panel["title"] == title)
        assert all(len(target["expr"]) < 16 * 1024 for target in panel["targets"])
        texts[kind] = panel["description"]
    assert f"{80 - configured.SERVICES} more services are not compared" in texts["retries"]
    assert f"{160 - configured.VERSIONS} more versions are not compared" in texts["debug"]


def test_boards_are_sound_and_without_a_configuration_as_before() -> None:
    slo_set = spec.load([SLO_FILE])
    with_it = dict(boards(slo_set, result("stock")))
    assert [problem for board in with_it.values() for problem in judged(board)] == []
    changed = {kind for kind, board in boards(slo_set) if board != with_it[kind]}
    assert changed == {"retries", "debug"}
