"""``sloctl run retry_amplification`` on a mesh of real Envoys, with a real Prometheus and a real Zipkin.

What traces, metrics and the applications' own counters say of the same requests has to agree: exactly from traces, for
all of them are kept, and within the scrapes' resolution from Prometheus. Here most fail; meshes in which none do, some,
or all, are those of ``sloctl demo --mesh`` (tests/integration/test_demo_mesh.py), which says the same of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sloctl.demo.mesh import Mesh, MeshConfig
from sloctl.demo.retry_phases import SLO_FILE
from tests.support.command_line import sloctl

pytestmark = pytest.mark.xdist_group("mesh")

GATEWAY, CHECKOUT, PAYMENTS = "istio-system/istio-ingressgateway", "shop/checkout", "shop/payments"
EDGES = {
    ("istio-ingressgateway", "checkout"): (GATEWAY, CHECKOUT),
    ("checkout", "payments"): (CHECKOUT, PAYMENTS),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A mesh after a hundred requests, of which a share fails; and an SLO file with its servers."""
    folder = tmp_path_factory.mktemp("mesh")
    with Mesh(folder, MeshConfig(backoff=0.005)) as mesh:
        # What Prometheus sees after its first scrapes, it knows to be new.
        mesh.wait_scraped()
        # Some call is tried three times on both edges, but for one run in 250,000.
        mesh.set_failure_rate("payments", 0.7)
        mesh.load(100, 4)
        mesh.wait_settled()
        # The job looks at a whole second: the first one after everything was scraped.
        mesh.wait_scraped(time.time() + 1)
        file = folder / "slo.yaml"
        text = SLO_FILE.format(prometheus=mesh.prometheus.url, zipkin=mesh.zipkin_url)
        file.write_text(text, encoding="utf-8")
        yield mesh, file


def said(file: Path, *command: str) -> Any:
    """The JSON form of what a command says."""
    done = sloctl(*command, "-f", str(file), "--format", "json", folder=file.parent)
    assert done.code == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def observed(loaded: Any) -> Any:
    """What the job says, and the applications' own counters."""
    mesh, file = loaded
    return said(file, "run", "retry_amplification"), mesh.truth()


@pytest.fixture(scope="module")
def reported(loaded: Any) -> Any:
    """What a report with traces says."""
    _, file = loaded
    return said(file, "report", "--with-traces")


def test_traces_say_what_the_applications_counted(observed: Any) -> None:
    result, truth = observed
    rows = {(row["source"], row["destination"]): row for row in result["edges"]}
    assert set(rows) == set(EDGES.values())
    for edge, names in EDGES.items():
        assert (rows[names]["requests"], rows[names]["attempts"]) == (
            truth[edge].requests,
            truth[edge].attempts,
        )
        assert rows[names]["interval"] == [rows[names]["amplification"]] * 2, "nothing is left to chance"


def test_a_report_with_traces_has_them_beside_those_of_metrics(observed: Any, reported: Any) -> None:
    result, truth = observed
    edges: dict[str, Any] = {"traces": {}, "metrics": {}}
    for row in reported["retry_amplification"]:
        edges[row["origin"]][row["source"], row["destination"]] = row
    assert {names: (row["requests"], row["attempts"]) for names, row in edges["traces"].items()} == {
        names: (truth[edge].requests, truth[edge].attempts) for edge, names in EDGES.items()
    }
    assert set(edges["metrics"]) == set(edges["traces"])
    for names, row in edges["traces"].items():
        assert row["amplification"] == row["attempts"] / row["requests"]
        assert edges["metrics"][names]["amplification"] == pytest.approx(row["amplification"], rel=0.05)
    codes = {item["code"] for item in reported["findings"]}
    assert codes >= {item["code"] for item in result["findings"]}, "the report has the job's findings, too"
    assert "traces-not-read" not in codes


def test_metrics_say_the_same(observed: Any) -> None:
    result, _ = observed
    for row in result["edges"]:
        assert row["verdict"] == "agree", json.dumps(row)
        assert row["by_metrics"] == pytest.approx(row["amplification"], rel=0.05)
    codes = {finding["code"] for finding in result["findings"]}
    assert not codes & {"retry-sources-disagree", "retry-edge-without-metrics", "retry-edge-without-traces"}


def test_what_it_becomes_at_the_leaf(observed: Any) -> None:
    result, truth = observed
    (leaf,) = (row for row in result["paths"] if row["path"] == [CHECKOUT, PAYMENTS])
    attempts = truth["checkout", "payments"].attempts
    assert leaf["entry"] == GATEWAY
    assert (leaf["requests"], leaf["attempts"], leaf["fan_out"]) == (100, attempts, 1)
    assert leaf["retries"] == pytest.approx(attempts / 100)
    share = {row["service"]: row["retry_share"] for row in result["services"]}[PAYMENTS]
    assert share == pytest.approx(1 - 100 / attempts)
    assert {row["worst_case"] for row in result["edges"]} == {3.0, 9.0}, "three tries at each of two hops"


def test_the_worst_traces_can_be_looked_at(observed: Any) -> None:
    result, _ = observed
    traces = result["worst_traces"]
    assert traces
    for row in traces:
        assert row["attempts"] > row["requests"]
        assert row["link"].endswith(f"/zipkin/traces/{row['trace']}")
        assert "503" in row["codes"]


def test_a_backend_that_is_down_is_said_to_be(tmp_path: Path) -> None:
    file = tmp_path / "slo.yaml"
    file.write_text(
        SLO_FILE.format(prometheus="http://127.0.0.1:1", zipkin="http://127.0.0.1:1"), encoding="utf-8"
    )
    done = sloctl("run", "retry_amplification", "-f", str(file), folder=tmp_path)
    assert done.code == 3
    assert "Zipkin" in done.stderr or "trace" in done.stderr
    assert not done.stdout
