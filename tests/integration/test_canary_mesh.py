"""``sloctl canary`` on what real Envoys count of two versions that serve together, of which the newer breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sloctl.artefacts.openmetrics import backfill
from sloctl.demo.mesh import Mesh, MeshConfig
from sloctl.demo.mesh.config import GATEWAY, Workload
from sloctl.demo.server import PrometheusServer
from tests.support.command_line import in_process
from tests.support.mesh_scrapes import Scrapes

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mesh")]

END = int(datetime(2026, 3, 2, 21, tzinfo=UTC).timestamp())
STEPS, BREAKS = 45, 30
REQUESTS = 40
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99, sli: {preset: availability}}
"""


@dataclass(frozen=True)
class OfVersion(MeshConfig):
    """A gateway and one version of checkout."""

    version: str = "v1"

    @property
    def workloads(self) -> tuple[Workload, ...]:
        return (GATEWAY, Workload("checkout", "shop", self.version))


@dataclass(frozen=True)
class Served:
    """A Prometheus with the counters of both, and the failures of each version that callers saw, by step."""

    url: str
    failures: list[tuple[int, int]]

    def seen(self, steps: int) -> list[int]:
        """Failures within the first steps; of the first there is no counter before."""
        return [sum(counts) for counts in zip(*self.failures[1:steps], strict=True)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The versions are as good as each other until step ``BREAKS``."""
    folder = tmp_path_factory.mktemp("canary-mesh")
    scrapes, failures = Scrapes(), []
    old, new = (
        OfVersion(("checkout",), tracer="none", metrics=False, num_retries=0, version=version)
        for version in ("v1", "v2")
    )
    with Mesh(folder / "v1", old) as baseline, Mesh(folder / "v2", new) as canary:
        for mesh in (baseline, canary):
            mesh.set_failure_rate("checkout", 0.01)
        for step in range(STEPS):
            if step == BREAKS:
                canary.set_failure_rate("checkout", 0.4)
            answers = [mesh.load(REQUESTS).answers for mesh in (baseline, canary)]
            failures.append((answers[0][503], answers[1][503]))
            for number, mesh in enumerate((baseline, canary)):
                mesh.wait_settled()
                scrapes.take(mesh, END - 60 * (STEPS - step), str(number))
    backfill(scrapes.series(), folder / "data")
    with PrometheusServer(folder / "prometheus", data=folder / "data") as server:
        yield Served(server.url, failures)


def verdict(folder: Path, served: Served, steps: int) -> dict[str, Any]:
    """What is said after so many steps: of the truth."""
    (folder / "slo.yaml").write_text(SLO_FILE)
    at = datetime.fromtimestamp(END - 60 * (STEPS - steps + 1), UTC).isoformat()
    words = (
        "--service",
        "shop/checkout",
        "--baseline",
        "v1",
        "--canary",
        "v2",
        "--at",
        at,
        "--format",
        "json",
    )
    done = in_process("canary", "-f", "slo.yaml", "--prometheus", served.url, *words, folder=folder)
    found: dict[str, Any] = json.loads(done.stdout)
    (slo,) = found["slos"]
    versions = (slo["baseline"], slo["canary"])
    assert [version["bad"] for version in versions] == served.seen(steps)
    assert [version["total"] for version in versions] == [REQUESTS * (steps - 1)] * 2
    assert found["doubts"] == []
    return found


def test_the_version_that_breaks_is_rolled_back(tmp_path: Path, served: Served) -> None:
    found = verdict(tmp_path, served, STEPS)
    assert found["verdict"] == "rollback"
    assert "more fails than of v1, and 1.00 % may" in found["reasons"][0]
    assert datetime.fromisoformat(found["slos"][0]["since"]).timestamp() >= END - 60 * (STEPS - BREAKS)


def test_until_it_breaks_it_is_not(tmp_path: Path, served: Served) -> None:
    assert verdict(tmp_path, served, BREAKS)["verdict"] in ("wait", "promote")
