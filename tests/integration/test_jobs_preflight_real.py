"""Preflight on a real Prometheus: what it finds in real scrapes, and how near its prediction of costs comes.

The real scrapes are not part of this repository; they are looked for in ``../shared/data``.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.preflight import Preflight, run
from jobs.preflight.cost import _results
from jobs.preflight.needs import needs
from jobs.preflight.survey import Asker
from sloctl import spec
from sloctl.backends.prometheus.client import Prometheus
from sloctl.cli.validate import preflight_text
from sloctl.errors import BackendTimeout, BackendUnavailable, BadAnswer, SloctlError
from sloctl.model import SloSet
from sloctl.promql.catalogue import METRICS
from sloctl.settings.backends import PrometheusSettings
from tests.support.command_line import in_process
from tests.support.faulty_server import (
    Behaviour,
    FaultyServer,
    answer,
    cut_off,
    page,
    refused_url,
    slow,
    status,
)
from tests.support.prometheus_fixture import MISSING, running_prometheus

SCRAPES = Path(__file__).parents[3] / "shared" / "data" / "scrapes"
END = 1_700_006_400  # a multiple of five minutes
AT = datetime.fromtimestamp(END, UTC)
EVERY = 15
NEAR = 0.25
HEAD = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
"""
needs_prometheus = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def loaded(text: str) -> SloSet:
    return spec.load([Path("-")], stdin=io.BytesIO((HEAD + text).encode()))


def line(name: str, labels: dict[str, str], value: float | str, at: float) -> str:
    inner = ",".join(f"{key}={json.dumps(text)}" for key, text in sorted(labels.items()))
    return f"{name}{{{inner}}} {value} {at:g}" if at < 1e6 else f"{name}{{{inner}}} {value} {at:.0f}"


# Real scrapes

REAL = """
slos:
  - {name: availability, service: reviews, namespace: default, sli: {preset: availability, side: server}}
  - {name: client, service: reviews, namespace: default, sli: {preset: availability}}
  - {name: slip, service: review, namespace: default, sli: {preset: availability, side: server}}
  - {name: bound, service: reviews, namespace: default, objective: 99,
     sli: {preset: latency, threshold: 200ms, side: server}}
  - {name: place, service: reviews, namespace: bookinfo, sli: {preset: availability, side: server}}
mesh: {latency_buckets: [100, 200, 500]}
guardrails:
  - {preset: retry-amplification}
  - {preset: sidecar-restarts}
  - {preset: control-plane}
"""
FILES = {
    "istio-1.6plus_merged_15020.prom": {"job": "proxies", "instance": "10.0.0.1:15020", "pod": "reviews-1"},
    "istiod-1.5_15014.prom": {"job": "istiod", "instance": "10.0.0.2:15014", "pod": "istiod-1"},
    "ksm_v2_gke.prom": {"job": "ksm", "instance": "10.0.0.3:8080"},
}


def scraped(file: str, target: dict[str, str]) -> Iterator[str]:
    """What a server holds of a real scrape that stayed the same for twenty minutes."""
    text = (SCRAPES / file).read_text(encoding="utf-8", errors="replace")
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
        if name not in METRICS:
            continue
        pairs = [
            *(f'{key}="{text}"' for key, text in target.items()),
            *([labels.rstrip(",")] if labels else []),
        ]
        for at in range(END - 1200, END + 1, EVERY):
            yield f"{name}{{{','.join(pairs)}}} {value} {at}"
    for at in range(END - 1200, END + 1, EVERY):
        yield line("up", target, 1, at)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    lines = [text for file, target in FILES.items() for text in scraped(file, target)]
    with running_prometheus(tmp_path_factory.mktemp("real"), "\n".join([*lines, "# EOF"]) + "\n") as url:
        yield url


@pytest.fixture(scope="module")
def found(real: str) -> Preflight:
    with Prometheus(PrometheusSettings(real)) as source:
        preflight = run(source, loaded(REAL), AT)
        assert source.queries < 25  # one for each thing looked at, however many SLOs there are
    return preflight


@needs_prometheus
@pytest.mark.skipif(not SCRAPES.is_dir(), reason="no real telemetry in ../shared/data")
@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("wrong-side", "shop:default/reviews/client", "side: server"),
        ("no-service", "shop:default/review/slip", "near: reviews"),
        ("no-bound", "shop:default/reviews/bound", "100, 250"),
        ("no-namespace", "shop:bookinfo/reviews/place", "reviews has requests in default"),
        ("optional-metric", "RetryAmplificationHigh", "proxyStatsMatcher|inclusion list"),
        ("no-match", "kube_pod_container_status_restarts_total is there", "labels"),
    ],
)
def test_findings_on_real_scrapes(found: Preflight, code: str, message: str, hint: str) -> None:
    items = [item for item in found.found if item.code == code and message in item.message]
    assert items, [f"{item.code}: {item.message}" for item in found.found]
    assert re.search(hint, items[0].hint)


@needs_prometheus
@pytest.mark.skipif(not SCRAPES.is_dir(), reason="no real telemetry in ../shared/data")
def test_what_is_there_is_not_found_fault_with(found: Preflight) -> None:
    named = " ".join(item.message for item in found.found if item.severity != "info")
    assert "shop:default/reviews/availability" not in named
    assert "istio_requests_total" not in named
    assert "pilot_proxy_convergence_time" not in named


@needs_prometheus
@pytest.mark.skipif(not SCRAPES.is_dir(), reason="no real telemetry in ../shared/data")
def test_the_command_says_so_as_json(real: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "slo.yaml").write_text(HEAD + REAL, encoding="utf-8")
    outcome = in_process(
        *("validate", "-f", "slo.yaml", "--prometheus", real, "--at", str(END), "--format", "json"),
        folder=folder,
    )
    assert outcome.code == 1
    said = json.loads(outcome.stdout)
    assert set(said) == {"problems", "findings", "cost"}
    assert {"wrong-side", "no-bound"} <= {item["code"] for item in said["findings"]}
    assert said["cost"]["series"] > 0


# Cost

COSTLY = """
slos:
  - {name: availability, service: "*", namespace: shop, window: 1d, alerting: *policy, sli: {preset: availability}}
  - {name: availability, service: cart, namespace: shop, window: 1d, alerting: *policy, sli: {preset: availability}}
  - {name: latency, service: cart, namespace: shop, objective: 99, window: 1d, alerting: *policy,
     sli: {preset: latency, threshold: 250ms}}
guardrails: [{preset: mtls}, {preset: service-errors}, {preset: service-latency}]
"""
POLICY = """{windows: [
  {severity: page, factor: 14, long: 1h, short: 5m}, {severity: ticket, factor: 2, long: 6h, short: 30m}]}"""


def raw_series() -> Iterator[tuple[str, dict[str, str]]]:
    """A small shop: three services of two pods, called by two others, seen from both sides."""
    for service in ("cart", "search", "stock"):
        for pod in (1, 2):
            target = {"job": "proxies", "instance": f"{service}-{pod}:15020", "pod": f"{service}-{pod}"}
            yield "up", target
            for reporter in ("source", "destination"):
                for source in ("web", "api"):
                    labels = target | {
                        "reporter": reporter,
                        "source_workload": source,
                        "source_workload_namespace": "shop",
                        "destination_service_name": service,
                        "destination_service_namespace": "shop",
                        "connection_security_policy": "mutual_tls"
                        if reporter == "destination"
                        else "unknown",
                        "request_protocol": "http",
                        "response_flags": "-",
                    }
                    for code in ("200", "404", "503"):
                        yield "istio_requests_total", labels | {"response_code": code}
                    for bound in ("100", "250", "500", "+Inf"):
                        bucket = "istio_request_duration_milliseconds_bucket"
                        yield bucket, labels | {"response_code": "200", "le": bound}


def raw_lines(hours: float) -> Iterator[str]:
    for number, (name, labels) in enumerate(raw_series()):
        for step in reversed(range(int(hours * 3600) // EVERY)):
            at = END - 7 - step * EVERY  # scrapes fall beside the grid
            yield line(name, labels, 1 if name == "up" else 10**6 - step * (1 + number % 3), at)


@pytest.fixture(scope="module")
def costly() -> SloSet:
    return loaded(COSTLY.replace("*policy", POLICY))


@needs_prometheus
def test_predicted_samples_are_near_what_the_server_reads(costly: SloSet, tmp_path: Path) -> None:
    """Predicted before any rule ran; measured once the rules' own series fill their windows."""
    wanted = needs(costly)
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    raw = list(raw_lines(1.5))
    with (
        running_prometheus(before, "\n".join([*raw, "# EOF"]) + "\n") as url,
        Prometheus(PrometheusSettings(url)) as source,
    ):
        preflight = run(source, costly, AT)
        results = _results(wanted, Asker(source, AT))
    assert preflight.cost is not None
    lines = raw
    for name, found in results.of_metric.items():
        for labels in found:
            for at in reversed(range(END, END - 86400 - 600, -wanted.recorded[name])):
                lines.append(line(name, dict(labels), 1, at))
    with (
        running_prometheus(after, "\n".join([*lines, "# EOF"]) + "\n") as url,
        Prometheus(PrometheusSettings(url)) as source,
    ):
        measured = {rule.expr: source.samples_read(rule.expr, AT) for rule in wanted.rules}
        counted = {rule.expr: len(source.query(rule.expr, AT)) for rule in wanted.rules if rule.records}
    total = 0.0
    for rule, cost in zip(wanted.rules, preflight.cost.rules, strict=True):
        real = measured[rule.expr]
        total += real / rule.interval
        assert abs(cost.samples - real) <= max(NEAR * real, 5), (rule.name, cost.samples, real)
        if rule.records:
            assert cost.series == counted[rule.expr], (rule.name, cost.series, counted[rule.expr])
    assert preflight.cost.samples_per_second == pytest.approx(total, rel=NEAR)
    assert max(measured.values()) > 5000
    assert "costliest" in preflight_text(preflight)


# Faults

FAULTS: dict[str, tuple[Behaviour, type[SloctlError]]] = {
    "time-out": (slow(5, status(200)), BackendTimeout),
    "502": (status(502), BackendUnavailable),
    "500": (status(500), BackendUnavailable),
    "HTML": (page(200), BadAnswer),
    "truncated": (cut_off(b'{"status":"succ', 5000), BackendUnavailable),
    "another form": (answer({"resultType": "vector"}), BadAnswer),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", ["at once", "in the middle"])
def test_a_broken_server_is_a_typed_error(fault: str, first: str, costly: SloSet) -> None:
    behaviour, kind = FAULTS[fault]
    settings = PrometheusSettings("http://x", timeout=0.5, retries=0)
    healthy = answer(["up", "istio_requests_total"])
    paths = {"/api/v1/label/__name__/values": [healthy if first == "in the middle" else behaviour]}
    with (
        FaultyServer(behaviour, paths=paths) as server,
        Prometheus(replace(settings, url=server.url), sleep=lambda _: None) as source,
        pytest.raises(SloctlError) as raised,
    ):
        run(source, costly, AT)
    assert isinstance(raised.value, kind)
    assert raised.value.exit_code == 3


def test_a_server_without_status_pages_is_asked_all_the_same(costly: SloSet) -> None:
    paths = {
        "/api/v1/label/__name__/values": [answer(["up", "istio_requests_total"])],
        "/api/v1/query": [answer({"resultType": "vector", "result": []})],
    }
    with (
        FaultyServer(status(404), paths=paths) as server,
        Prometheus(PrometheusSettings(server.url, retries=0), sleep=lambda _: None) as source,
    ):
        preflight = run(source, costly, AT)
    assert "not-told" in {item.code for item in preflight.found}
    assert preflight.fails


def test_a_dead_server_is_exit_code_3(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "slo.yaml").write_text(HEAD + REAL, encoding="utf-8")
    outcome = in_process(
        *("validate", "-f", "slo.yaml", "--prometheus", refused_url()),
        folder=folder,
        env={"SLOCTL_PROMETHEUS_RETRIES": "0"},
    )
    assert outcome.code == 3
    assert "Prometheus at http://127.0.0.1" in outcome.stderr
