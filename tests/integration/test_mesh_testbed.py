"""Real Envoys, a real Prometheus and a real Zipkin: what they counted is what the applications know to be true."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl.demo import pipeline
from sloctl.demo.mesh import EdgeTruth, EdgeTruths, Mesh, MeshConfig, Tracer, since
from sloctl.demo.mesh.collectors import Jaeger, Zipkin
from sloctl.demo.mesh.config import Spawn
from sloctl.demo.mesh.programs import find_jaeger, find_java, find_zipkin
from sloctl.demo.mesh.web import await_true
from sloctl.errors import UsageError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("mesh")]

GATEWAY = "istio-ingressgateway"
OUTER, INNER = (GATEWAY, "checkout"), ("checkout", "payments")
REQUESTS = 120
COUNTERS = "envoy_cluster_upstream_rq_(total|completed|retry|retry_overflow|pending_overflow)"


@pytest.fixture(scope="module")
def zipkin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zipkin]:
    with Zipkin(tmp_path_factory.mktemp("zipkin")) as server:
        yield server


@pytest.fixture(scope="module")
def mesh(zipkin: Zipkin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh(tmp_path_factory.mktemp("mesh"), MeshConfig(backoff=0.005), spans=zipkin) as running:
        yield running


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "mesh" in request.fixturenames:
        request.getfixturevalue("mesh").set_failure_rate("payments", 0)


def run(mesh: Mesh, failures: float, requests: int = REQUESTS, concurrency: int = 4) -> EdgeTruths:
    """What truly happened on each edge in a run."""
    before = mesh.truth()
    mesh.set_failure_rate("payments", failures)
    load = mesh.load(requests, concurrency)
    mesh.wait_settled()
    found = since(mesh.truth(), before)
    assert load.answers == found[OUTER].answers
    return found


def envoy_counters(mesh: Mesh) -> Mapping[tuple[str, str], Counter[str]]:
    """The counters of each edge's cluster in its client's proxy, as Prometheus has them."""
    out: dict[tuple[str, str], Counter[str]] = {}
    with pipeline.source(mesh.prometheus) as source:
        for client, server in (OUTER, INNER):
            cluster = f"outbound|8080||{server}.shop.svc.cluster.local"
            expr = f'{{__name__=~"{COUNTERS}",pod=~"{client}-.+",cluster_name="{cluster}"}}'
            out[client, server] = Counter[str]()
            for item in source.query(expr, datetime.now(UTC)):
                name = item["metric"]["__name__"].removeprefix("envoy_cluster_upstream_rq_")
                out[client, server][name] = int(item["value"][1])
    return out


def istio_requests(mesh: Mesh) -> Mapping[tuple[str, str, str], dict[int, int]]:
    """``istio_requests_total`` by client, server and reporter: requests by response code."""
    by = "source_workload, destination_workload, reporter, response_code"
    out: dict[tuple[str, str, str], dict[int, int]] = {}
    with pipeline.source(mesh.prometheus) as source:
        for item in source.query(f"sum by ({by}) (istio_requests_total)", datetime.now(UTC)):
            client, server, reporter, code = (item["metric"][name] for name in by.split(", "))
            out.setdefault((client, server, reporter), {})[int(code)] = int(item["value"][1])
    return out


def check_metrics(mesh: Mesh, run: EdgeTruths, before: Mapping[tuple[str, str], Counter[str]]) -> None:
    counters = envoy_counters(mesh)
    for edge, true in run.items():
        gained = counters[edge].copy()
        gained.subtract(before[edge])
        overflow = gained["pending_overflow"]
        assert gained["completed"] + gained["retry"] == gained["total"] + overflow
        assert gained["total"] == true.attempts
        assert gained["completed"] - overflow == true.requests
    requests = istio_requests(mesh)
    for (client, server), true in mesh.truth().items():
        assert requests[client, server, "source"] == true.answers
        assert requests[client, server, "destination"] == true.served


@pytest.mark.parametrize(("failures", "inner", "outer"), [(0.0, 1, 1), (0.3, 1.42, 1.03), (1.0, 3, 3)])
def test_metrics_and_spans_tell_the_truth(mesh: Mesh, failures: float, inner: float, outer: float) -> None:
    counters = envoy_counters(mesh)
    began = time.time()
    truth = run(mesh, failures)

    assert truth[OUTER].requests == REQUESTS
    assert truth[INNER].requests == truth[OUTER].attempts
    for edge, amplification in ((OUTER, outer), (INNER, inner)):
        exact = 0 if failures in (0, 1) else 0.15
        assert truth[edge].amplification == pytest.approx(amplification, abs=exact)
        assert truth[edge].first_attempts == truth[edge].requests
    check_metrics(mesh, truth, counters)

    assert spans_of(mesh, began) == {
        (GATEWAY, "CLIENT", False): truth[OUTER].requests,
        ("checkout", "SERVER", True): truth[OUTER].attempts,
        ("checkout", "CLIENT", False): truth[INNER].requests,
        ("payments", "SERVER", True): truth[INNER].attempts,
    }


def test_series_have_istios_labels(mesh: Mesh) -> None:
    run(mesh, 0, 10)
    with pipeline.source(mesh.prometheus) as source:
        expr = 'istio_requests_total{reporter="source", response_code="200", destination_workload="payments"}'
        (found,) = source.query(expr, datetime.now(UTC))
        (timed,) = source.query(
            "sum(istio_request_duration_milliseconds_bucket{le='+Inf'})", datetime.now(UTC)
        )
        (counted,) = source.query("sum(istio_requests_total)", datetime.now(UTC))
    assert timed["value"][1] == counted["value"][1]
    labels = found["metric"]
    pod = labels.pop("pod")
    assert pod.startswith("checkout-")
    assert labels == {
        "__name__": "istio_requests_total",
        "job": "envoy-stats",
        "instance": "10.4.1.1:15020",
        "namespace": "shop",
        "app": "checkout",
        "reporter": "source",
        "source_workload": "checkout",
        "source_workload_namespace": "shop",
        "source_canonical_service": "checkout",
        "source_canonical_revision": "v1",
        "source_app": "checkout",
        "source_version": "v1",
        "source_principal": "unknown",
        "source_cluster": "Kubernetes",
        "destination_workload": "payments",
        "destination_workload_namespace": "shop",
        "destination_canonical_service": "payments",
        "destination_canonical_revision": "v1",
        "destination_app": "payments",
        "destination_version": "v1",
        "destination_principal": "unknown",
        "destination_cluster": "Kubernetes",
        "destination_service": "payments.shop.svc.cluster.local",
        "destination_service_name": "payments",
        "destination_service_namespace": "shop",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "connection_security_policy": "unknown",
    }


def test_retries_beyond_the_circuit_breaker_are_not_sent(mesh: Mesh) -> None:
    counters = envoy_counters(mesh)
    mesh.set_max_retries(1)
    try:
        truth = run(mesh, 0.8, concurrency=16)
    finally:
        mesh.set_max_retries(mesh.config.max_retries)
    check_metrics(mesh, truth, counters)
    overflows = {
        edge: count["retry_overflow"] - counters[edge]["retry_overflow"]
        for edge, count in envoy_counters(mesh).items()
    }
    assert min(overflows.values()) > 0
    assert truth[INNER].amplification < 2


def test_an_ejected_host_gets_nothing_until_it_is_back(mesh: Mesh) -> None:
    mesh.set_ejection(5, 1)
    try:
        truth = run(mesh, 1)
        await_true(lambda: "the hosts are back", lambda: not ejections(mesh), patience=60)
    finally:
        mesh.set_ejection(mesh.config.ejection_errors, mesh.config.ejection_seconds)
    assert truth[INNER].attempts < 3 * truth[INNER].requests + 5
    assert truth[OUTER].attempts < REQUESTS / 2
    assert run(mesh, 0, 10)[INNER] == EdgeTruth(10, 10, 10, {200: 10}, {200: 10})


def ejections(mesh: Mesh) -> int:
    """How many hosts are ejected now."""
    stats = (item for envoy in mesh.envoys.values() for item in envoy.stats().items())
    return sum(value for name, value in stats if name.endswith("outlier_detection.ejections_active"))


def spans_of(mesh: Mesh, began: float) -> Counter[tuple[str, str, bool]]:
    """Zipkin's spans by service without its namespace, kind, and whether their ids are shared."""
    assert isinstance(mesh.spans, Zipkin)
    spans = [span for trace in mesh.spans.traces(began, time.time()) for span in trace]
    return Counter(
        (span["localEndpoint"]["serviceName"].split(".")[0], span["kind"], span.get("shared", False))
        for span in spans
    )


@pytest.mark.parametrize(
    ("tracer", "spawn"), [("zipkin-unshared", "none"), ("zipkin-unshared", "gateway"), ("zipkin", "all")]
)
def test_tracers_make_the_spans_that_they_are_set_to(
    zipkin: Zipkin, tmp_path: Path, tracer: Tracer, spawn: Spawn
) -> None:
    config = MeshConfig(tracer=tracer, spawn_upstream_span=spawn, backoff=0.005, metrics=False)
    with Mesh(tmp_path, config, spans=zipkin) as mesh:
        began = time.time()
        truth = run(mesh, 0.5, 40)
        found = spans_of(mesh, began)
    outer, inner = truth[OUTER], truth[INNER]
    if spawn == "all":
        assert found == {
            (GATEWAY, "SERVER", True): outer.requests,  # though nobody shares it
            (GATEWAY, "CLIENT", False): outer.attempts,
            ("checkout", "SERVER", True): outer.attempts + inner.requests,
            ("checkout", "CLIENT", False): outer.attempts + inner.attempts,
            ("payments", "SERVER", True): inner.attempts,
            ("payments", "CLIENT", False): inner.attempts,
        }
        return
    gateway = {(GATEWAY, "CLIENT", False): outer.requests}
    if spawn == "gateway":
        gateway = {(GATEWAY, "SERVER", False): outer.requests, (GATEWAY, "CLIENT", False): outer.attempts}
    assert found == gateway | {
        ("checkout", "SERVER", False): outer.attempts,
        ("checkout", "CLIENT", False): inner.requests,
        ("payments", "SERVER", False): inner.attempts,
    }


def test_a_tag_has_the_number_of_attempts(zipkin: Zipkin, tmp_path: Path) -> None:
    config = MeshConfig(attempt_tag="attempt_count", backoff=0.005, metrics=False)
    with Mesh(tmp_path, config, spans=zipkin) as mesh:
        began = time.time()
        truth = run(mesh, 0.5, 40)
        spans = [span for trace in zipkin.traces(began, time.time()) for span in trace]
    tagged = [span for span in spans if "attempt_count" in span["tags"]]
    assert {span["kind"] for span in tagged} == {"CLIENT"}
    assert len(tagged) == sum(edge.requests for edge in truth.values())
    total = sum(int(span["tags"]["attempt_count"]) for span in tagged)
    assert total == sum(edge.attempts for edge in truth.values())


def test_a_try_that_times_out_is_an_attempt(zipkin: Zipkin, tmp_path: Path) -> None:
    with Mesh(tmp_path, MeshConfig(tracer="none", per_try_timeout=0.05, metrics=False)) as mesh:
        mesh.set_latency("payments", 0.2)
        load = mesh.load(4)
        mesh.wait_settled()
        truth = mesh.truth()
    assert load.answers == {504: 4}
    assert truth[OUTER].attempts == 12
    assert truth[INNER].requests == 12
    assert truth[INNER].attempts == 36


def test_jaeger_takes_the_spans_of_opentelemetry(tmp_path: Path) -> None:
    with Mesh(tmp_path, MeshConfig(tracer="opentelemetry", backoff=0.005, metrics=False)) as mesh:
        truth = run(mesh, 0.5, 40)
        assert isinstance(mesh.spans, Jaeger)
        traces = mesh.spans.traces(0, time.time())
    found: Counter[tuple[str, str]] = Counter()
    for trace in traces:
        for span in trace["spans"]:
            kinds = [tag["value"] for tag in span["tags"] if tag["key"] == "span.kind"]
            found[trace["processes"][span["processID"]]["serviceName"].split(".")[0], *kinds] += 1
    assert found == {
        (GATEWAY, "client"): truth[OUTER].requests,
        ("checkout", "server"): truth[OUTER].attempts,
        ("checkout", "client"): truth[INNER].requests,
        ("payments", "server"): truth[INNER].attempts,
    }


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_stays_behind(tmp_path: Path, end: signal.Signals) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from sloctl.demo.mesh import Mesh, MeshConfig
        with Mesh(Path(sys.argv[1]), MeshConfig(tracer="none", metrics=False)) as mesh:
            print(*(envoy.pid for envoy in mesh.envoys.values()), flush=True)
            time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 3
        os.kill(process.pid, end)
        process.wait(30)
    await_true(lambda: f"{pids} end", lambda: not any(map(alive, pids)), patience=30)


def alive(pid: int) -> bool:
    """Whether a process runs and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_error_ends_everything(tmp_path: Path) -> None:
    pids = []
    with pytest.raises(ZeroDivisionError), Mesh(tmp_path, MeshConfig(tracer="none", metrics=False)) as mesh:
        pids = [envoy.pid for envoy in mesh.envoys.values()]
        raise ZeroDivisionError
    assert len(pids) == 3
    assert not any(map(alive, pids))


@pytest.mark.parametrize("start", [find_java, find_jaeger])
def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch, start: Callable[[], Path]) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(UsageError, match=r"is not on PATH$"):
        start()


def test_without_zipkin_and_maven_the_program_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"the program mvn is not on PATH$"):
        find_zipkin()
