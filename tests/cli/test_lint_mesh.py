"""``sloctl lint-mesh`` as a pipeline runs it: exit codes, where things go, and traffic of a server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs import mesh_traffic
from sloctl.mesh.traffic import Call
from sloctl.model import Mesh
from tests.support.command_line import Outcome, in_process
from tests.support.faulty_server import refused_url

ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
    - route: [{destination: {host: a}, weight: 70}]
"""
CLEAN = ROUTE.replace("70", "100")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "route.yaml").write_text(ROUTE, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str) -> Outcome:
    return in_process("lint-mesh", *arguments, folder=folder)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 1),
        (("--fail-on", "warning"), 1),
        (("--fail-on", "note"), 1),
        (("--fail-on", "error"), 0),
        (("--fail-on", "never"), 0),
        (("--ignore", "weights-not-100"), 0),
        (("--ignore", "weights"), 2),
        (("--at", "1h"), 2),
        (("--prometheus", "http://localhost:1", "--last", "1m"), 2),
        (("-f", "absent.yaml"), 2),
    ],
)
def test_exit_codes(folder: Path, arguments: tuple[str, ...], code: int) -> None:
    assert run(folder, "route.yaml", *arguments).code == code


def test_a_finding_is_on_stdout_and_the_rest_on_stderr(folder: Path) -> None:
    outcome = run(folder, ".")
    assert outcome.stdout == (
        "route.yaml:7:48: warning: a single destination gets all requests, whatever its weight (70) [weights-not-100]\n"
        "  in VirtualService default/a\n"
        "  hint: add the destination that gets the rest, or remove the weight\n"
        "not judged: whether hosts exist: no Service or ServiceEntry of their namespaces was read\n"
    )
    assert outcome.stderr == "1 object of the mesh: 0 errors, 1 warning, 0 notes\n"


def test_what_can_be_read_is_judged_though_a_file_cannot(folder: Path) -> None:
    (folder / "broken.yaml").write_text("a: b: c\n", encoding="utf-8")
    (folder / "other.json").write_text('{"kind": "Secret"}', encoding="utf-8")
    outcome = run(folder, ".", "--format", "json")
    said = json.loads(outcome.stdout)
    assert outcome.code == 2
    assert [item["code"] for item in said["findings"]] == ["weights-not-100"]
    assert [(item["file"], item["code"]) for item in said["problems"]] == [("broken.yaml", "yaml-syntax")]
    assert said["skipped"] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("kind: Secret\n", "there is no object of Istio or the Gateway API"),
        ("{{ if x }}\n" + ROUTE, "a template that was not filled in"),
        (None, "cannot read x.yaml: no such file"),
    ],
    ids=["nothing", "template", "absent"],
)
def test_what_judges_nothing_is_no_success(folder: Path, content: str | None, said: str) -> None:
    if content is not None:
        (folder / "x.yaml").write_text(content, encoding="utf-8")
    outcome = run(folder, "x.yaml")
    assert outcome.code == 2
    assert said in outcome.stderr


def test_a_server_that_is_not_there(folder: Path) -> None:
    (folder / "route.yaml").write_text(CLEAN, encoding="utf-8")
    assert run(folder, "route.yaml").code == 0
    assert run(folder, "route.yaml", "--prometheus", refused_url(), "--timeout", "1").code == 3


class Answers:
    """A ``MetricSource`` that has an answer to each query by what it is grouped by."""

    warnings = ()
    queries = 0

    def query_many(self, queries: dict[str, str], at: datetime) -> dict[str, list[dict[str, object]]]:
        served = {
            "destination_workload_namespace": "shop",
            "destination_workload": "cart-v1",
            "destination_service_namespace": "shop",
            "destination_service_name": "cart",
            "destination_version": "v1",
        }
        edge = {
            "source_workload_namespace": "shop",
            "source_workload": "cart-v1",
            "destination_service_namespace": "shop",
            "destination_service_name": "stock",
        }
        odd = edge | {"destination_service_name": "PassthroughCluster"}
        found: dict[str, list[tuple[dict[str, str], str]]] = {
            "requests": [(edge, "3600"), (edge | {"source_workload": "batch"}, "0"), (odd, "9")],
            "attempts": [(edge, "5400"), (odd, "NaN")],
            "serves": [(served, "7200")],
            "hosts": [({"destination_service": "stock.shop.svc.cluster.local"}, "1")],
        }
        assert set(found) == set(queries)
        return {
            name: [{"metric": labels, "value": (at.timestamp(), value)} for labels, value in rows]
            for name, rows in found.items()
        }


def test_traffic_names_services_and_not_their_workloads() -> None:
    """Calls of a workload are those of the one service that it serves; what is no service is left out."""
    found = mesh_traffic.read(Answers(), Mesh(), datetime(2026, 3, 3, tzinfo=UTC), 3600)  # type: ignore[arg-type]
    assert found.calls == (Call(("shop", "cart"), ("shop", "stock"), 1.0, 1.5),)
    assert found.versions == {("shop", "cart"): {"v1": 2.0}}
    assert found.hosts == {"stock.shop.svc.cluster.local"}
