"""``sloctl explain`` on what real Envoys count of a chain of services whose last one fails."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.demo.mesh import Mesh, MeshConfig
from sloctl.demo.server import PrometheusServer
from tests.support.command_line import in_process
from tests.support.mesh_scrapes import Scrapes

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mesh")]

END = int(datetime(2026, 3, 2, 21, tzinfo=UTC).timestamp())
STEPS, BEGAN = 80, 50
REQUESTS = 20
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}
"""


def played(folder: Path) -> Iterator[SampledSeries]:
    """The counters of 80 minutes; from step ``BEGAN`` on most calls of the bank fail."""
    scrapes = Scrapes()
    config = MeshConfig(
        services=("checkout", "payments", "bank"), tracer="none", metrics=False, backoff=0.001
    )
    with Mesh(folder, config) as mesh:
        for step in range(STEPS):
            if step == BEGAN:
                mesh.set_failure_rate("bank", 0.9)
            mesh.load(REQUESTS)
            mesh.wait_settled()
            scrapes.take(mesh, END - 60 * (STEPS - step))
    return scrapes.series()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("explain-mesh")
    backfill(played(folder / "mesh"), folder / "data")
    with PrometheusServer(folder / "prometheus", data=folder / "data") as server:
        yield server.url


@pytest.mark.parametrize("service", ["checkout", "payments"])
def test_it_begins_at_the_leaf(service: str, tmp_path: Path, url: str) -> None:
    (tmp_path / "slo.yaml").write_text(SLO_FILE)
    at = datetime.fromtimestamp(END - 120, UTC).isoformat()
    words = ("explain", "-f", "slo.yaml", "--prometheus", url, "--at", at, "--service", service)
    found: Mapping[str, list[dict[str, object]]]
    done = in_process(*words, "--format", "json", folder=tmp_path)
    assert done.code == 0, done.stderr
    found = json.loads(done.stdout)
    (origin,) = found["origins"]
    assert origin["service"] == {"namespace": "shop", "name": "bank"}
    since = datetime.fromisoformat(str(origin["since"])).timestamp()
    assert abs(since - (END - 60 * (STEPS - BEGAN))) <= 120
    text = in_process(*words, folder=tmp_path).stdout
    assert "Begins at shop/bank" in text
    assert re.search(r"retries: 2\.\d+ attempts per request \(before: 1\.00\)", text)
