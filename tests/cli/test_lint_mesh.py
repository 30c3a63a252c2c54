"""``sloctl lint-mesh`` as a pipeline runs it: exit codes, where things go, and traffic of a server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from jobs import mesh_traffic
from sloctl.backends.answers import Answer
from sloctl.errors import BackendError
from sloctl.mesh import lint, rendering
from sloctl.mesh.traffic import Call, Traffic
from sloctl.model import Mesh
from sloctl.report.data import json_schema
from sloctl.spec import Source
from tests.support.command_line import Outcome, in_process
from tests.support.faulty_server import refused_url
from tests.support.prometheus_fixture import MISSING, running_prometheus
from tests.support.reports import report

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

    def __init__(self, *doubts: str) -> None:
        self.doubts = doubts

    def query_many(self, queries: dict[str, str], at: datetime) -> dict[str, Answer]:
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
            name: Answer(
                [{"metric": labels, "value": (at.timestamp(), value)} for labels, value in rows],
                self.doubts if name == "attempts" else (),
            )
            for name, rows in found.items()
        }


def test_traffic_names_services_and_not_their_workloads() -> None:
    """Calls of a workload are those of the one service that it serves; what is no service is left out."""
    found = mesh_traffic.read(Answers(), Mesh(), datetime(2026, 3, 3, tzinfo=UTC), 3600)  # type: ignore[arg-type]
    assert found.calls == (Call(("shop", "cart"), ("shop", "stock"), 1.0, 1.5),)
    assert found.versions == {("shop", "cart"): {"v1": 2.0}}
    assert found.hosts == {"stock.shop.svc.cluster.local"}


def test_a_partial_answer_is_no_number_of_which_to_be_sure() -> None:
    """Attempts of a part are not held against requests of another, and a version that was not heard of may serve."""
    at = datetime(2026, 3, 3, tzinfo=UTC)
    found = mesh_traffic.read(Answers("a store is down"), Mesh(), at, 3600)  # type: ignore[arg-type]
    assert found.calls == (Call(("shop", "cart"), ("shop", "stock"), 1.0, None),)
    assert (found.versions, found.doubts) == ({}, ("a store is down",))
    result = lint([Source("mesh.yaml", CLEAN.encode())], traffic=found)
    text = rendering.text_of(result, "text")
    assert "shop/cart → shop/stock: 3, 3 along the path; not measured, at least 1 requests/s\n" in text
    assert (
        "not judged: attempts, versions and loads, as Prometheus did not tell everything: a store is down"
        in text
    )
    assert json.loads(rendering.text_of(result, "json"))["calls"][0]["requests_per_second"] is None


def test_no_traffic_is_said() -> None:
    result = lint([Source("mesh.yaml", CLEAN.encode())], traffic=Traffic(3600))
    assert "calls: Istio's counters have no request in the last 1h" in result.unknown


MANIFESTS = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: stock, namespace: shop}
spec:
  hosts: [stock]
  http:
    - match: [{method: {exact: GET}}]
      retries: {attempts: 1, retryOn: 5xx}
      route:
        - {destination: {host: stock, subset: v1}, weight: 90}
        - {destination: {host: stock, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: stock, namespace: shop}
spec:
  host: stock
  trafficPolicy: {connectionPool: {http: {maxRetries: 3}}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
END = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp())


def counters() -> str:
    """Three hours in which cart asks stock ten times a second, each three times: v1 serves, v2 never, v0 a little."""
    called = 'destination_service_namespace="shop",destination_service_name="stock"'
    called += ',destination_service="stock.shop.svc.cluster.local",destination_workload_namespace="shop"'
    caller = 'source_workload_namespace="shop",source_workload="cart",response_code="200"'
    series = [("source", "v1", 600.0), ("destination", "v1", 1770.0), ("destination", "v0", 30.0)]
    lines = ["# TYPE istio_requests counter"]
    for reporter, version, per_minute in series:
        names = f'{called},{caller},reporter="{reporter}",destination_version="{version}"'
        names += f',destination_workload="stock-{version}",job="istio",instance="{reporter}-{version}"'
        lines += [
            f"istio_requests_total{{{names}}} {per_minute * minute} {END + (minute - 180) * 60}"
            for minute in range(181)
        ]
    return "\n".join([*lines, "# EOF\n"])


SLO_FILE = """\
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
mesh: {target_labels: [job, instance]}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: stock, namespace: shop, objective: 99.5, sli: {preset: availability}}
"""
AT = ("--at", "2026-03-02T12:00:00Z")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("measured")
    (folder / "route.yaml").write_text(MANIFESTS, encoding="utf-8")
    (folder / "slo.yaml").write_text(SLO_FILE, encoding="utf-8")
    with running_prometheus(folder, counters()) as url:
        yield folder, url


@pytest.mark.skipif(bool(MISSING), reason="needs Prometheus")
def test_against_a_real_prometheus(measured: tuple[Path, str]) -> None:
    folder, url = measured
    outcome = run(folder, "route.yaml", "--prometheus", url, *AT, "--format", "json")
    said = json.loads(outcome.stdout)
    (call,) = said["calls"]
    assert (call["client"], call["server"], call["tries"]) == ("shop/cart", "shop/stock", 2)
    assert call["requests_per_second"] == pytest.approx(10, rel=1e-3)
    assert call["amplification"] == pytest.approx(3, rel=1e-3)
    assert call["requests_per_second_if_server_fails"] == pytest.approx(20, rel=1e-3)
    assert {(item["code"], item["severity"]) for item in said["findings"]} == {
        ("amplification-measured", "warning"),
        ("versions-differ", "warning"),
        ("versions-differ", "note"),
    }
    assert outcome.code == 1


@pytest.mark.skipif(bool(MISSING), reason="needs Prometheus")
def test_reports_have_what_is_configured_beside_what_is_measured(measured: tuple[Path, str]) -> None:
    folder, url = measured
    command = ("report", "-f", "slo.yaml", "--prometheus", url, *AT, "--mesh", "route.yaml")
    said = json.loads(in_process(*command, "--format", "json", folder=folder).stdout)
    (row,) = said["configured_retries"]
    assert (row["source"], row["destination"], row["tries"]) == ("shop/cart", "shop/stock", 2)
    assert row["amplification"] == pytest.approx(3, rel=1e-3)
    jsonschema.validate(said, json_schema())
    told = [item["message"] for item in said["findings"] if item["code"] == "mesh-configuration"]
    assert sorted(re.findall(r"\[([a-z-]+)\]", " ".join(told))) == [
        "amplification-measured",
        "versions-differ",
    ]
    assert all(text.startswith("route.yaml:") for text in told)
    table = in_process(*command, folder=folder).stdout
    assert "Retries: configured and seen" in table
    assert re.search(r"shop/cart +shop/stock +2x +3x +10 +20 +shop/cart → shop/stock", table)
    assert "configured_retries" not in in_process(*command[:-2], "--format", "json", folder=folder).stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("absent.yaml", "cannot read absent.yaml"),
        ("slo.yaml", "no object of Istio"),
        ("-", "cannot read stdin"),
    ],
)
def test_what_judges_nothing_is_refused_before_a_server_is_asked(folder: Path, given: str, said: str) -> None:
    (folder / "slo.yaml").write_text(SLO_FILE, encoding="utf-8")
    for command in ("report", "explain"):
        outcome = in_process(
            command, "-f", "slo.yaml", "--prometheus", refused_url(), "--mesh", given, folder=folder
        )
        assert (outcome.code, said in outcome.stderr) == (2, True), outcome.stderr


def test_a_report_without_prometheus_says_what_it_has_to_say() -> None:
    def refused(*_: object) -> None:
        raise BackendError("no connection", backend="prometheus", url="", hint="")

    source = Answers()
    source.query_many = refused  # type: ignore[method-assign, assignment]
    made = mesh_traffic.beside(report(), source, Mesh(), lambda traffic: lint([], traffic=traffic))  # type: ignore[arg-type]
    assert [item.code for item in made.findings] == ["configuration-in-doubt"]
    assert made.configured_retries is None


def test_dashboards_are_generated_with_the_configuration_or_not_at_all(folder: Path) -> None:
    guarded = SLO_FILE + "guardrails: [{preset: retry-amplification, max: 1.1}]\n"
    (folder / "slo.yaml").write_text(guarded, encoding="utf-8")
    public = MANIFESTS.replace("attempts: 1", "attempts: 4").replace(
        "  http:", "  gateways: [public]\n  http:"
    )
    (folder / "route.yaml").write_text(public, encoding="utf-8")
    generate = ("generate", "-f", "slo.yaml", "--mesh", "route.yaml", "--only", "dashboards", "-o", "out")
    assert in_process(*generate, folder=folder).code == 0
    text = (folder / "out/dashboards/json/sloctl-shop-retries.json").read_text(encoding="utf-8")
    assert "Configured and seen" in text
    assert in_process(*generate, "--check", folder=folder).code == 0
    (folder / "route.yaml").write_text(MANIFESTS, encoding="utf-8")
    assert in_process(*generate, "--check", folder=folder).code == 1
    (folder / "route.yaml").write_text("a: b: c\n" + MANIFESTS, encoding="utf-8")
    outcome = in_process(*generate, folder=folder)
    assert (outcome.code, "route.yaml:1:" in outcome.stderr) == (2, True), outcome.stderr
