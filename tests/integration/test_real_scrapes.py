"""Real scrapes of Istio's proxies through a real Prometheus: the presets count what is in them.

The telemetry is not part of this repository; it is looked for in ``../shared/data``.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sloctl import promql
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.model import CounterSli, Mesh, RollingWindow, Slo
from sloctl.promql.presets import PRESETS

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no real telemetry in ../shared/data")

SIDECAR = "istio-1.5_sidecar_15090.prom"  # client side: 200 x 62, 304 x 3, 404 x 2, to hosts outside the mesh
MERGED = "istio-1.6plus_merged_15020.prom"  # server side of a bookinfo service


def slo(preset: str, name: str, **params: object) -> Slo:
    """An SLO of what a scrape has requests to: one service, or what a client calls that it knows nothing of."""
    side, namespace, service = (
        ("client", "unknown", "PassthroughCluster") if name == SIDECAR else ("server", "default", "reviews")
    )
    sli = PRESETS[preset].build(params | {"side": side}, Mesh())
    return Slo("real", preset, service, namespace, Decimal(99), RollingWindow(2592000, "30d"), sli, None)


@dataclass
class Exporter:
    """A target that exposes ``page``; its first scrapes find it empty, as a proxy without traffic is."""

    page: str = ""
    scrapes: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def serve(self) -> ThreadingHTTPServer:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = exporter.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                with exporter.changed:
                    exporter.scrapes += 1
                    exporter.changed.notify_all()

            def log_message(self, *_: object) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def show(self, page: str) -> None:
        """Expose ``page`` once the target was scraped without it, and wait until it was scraped with it."""
        for text in (self.page, page):
            with self.changed:
                self.page = text
                wanted = self.scrapes + 2
                assert self.changed.wait_for(partial(self._scraped, wanted), 30)

    def _scraped(self, times: int) -> bool:
        return self.scrapes >= times


@pytest.fixture(scope="module", params=[SIDECAR, MERGED])
def scraped(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, PrometheusServer]]:
    exporter = Exporter()
    http = exporter.serve()
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    target = {"targets": [f"127.0.0.1:{http.server_address[1]}"], "labels": {"pod": "real-1"}}
    config = {
        "job_name": "envoy-stats",
        "scrape_interval": "1s",
        "metrics_path": "/",
        "static_configs": [target],
    }
    try:
        with PrometheusServer(tmp_path_factory.mktemp("real"), scrape_configs=[config]) as server:
            exporter.show((DATA / "scrapes" / request.param).read_text(encoding="utf-8").rstrip("\n") + "\n")
            yield request.param, server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def totals(server: PrometheusServer, wanted: Slo) -> dict[str, float]:
    """Events of the last minute by kind, once the scrape has reached the TSDB."""
    deadline = time.monotonic() + 30
    with pipeline.source(server) as source:
        while True:
            found = {
                kind: sum(float(item["value"][1]) for item in source.query(expr, datetime.now(UTC)))
                for kind, expr in promql.events(wanted, Mesh(), 60).items()
            }
            if found["total"] or time.monotonic() > deadline:
                return found
            time.sleep(0.2)


def in_file(name: str, pattern: str) -> float:
    """The sum of the series of a scrape whose line matches a regular expression."""
    lines = (DATA / "scrapes" / name).read_text(encoding="utf-8").splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(pattern, line))


def test_availability_counts_every_request_of_a_real_sidecar(scraped: tuple[str, PrometheusServer]) -> None:
    name, server = scraped
    found = totals(server, slo("availability", name))
    assert found == {"total": in_file(name, r"istio_requests_total\{"), "bad": 0}
    assert found["total"] == (67 if name == SIDECAR else 1)


def test_what_leaves_the_mesh_is_no_service_of_a_namespace(scraped: tuple[str, PrometheusServer]) -> None:
    name, server = scraped
    named = slo("availability", name)
    assert totals(server, named)["total"]
    with pipeline.source(server) as source:
        expr = promql.events(replace(named, service="*"), Mesh(), 60)["total"]
        services = {item["metric"]["service"] for item in source.query(expr, datetime.now(UTC))}
    assert services == (set() if name == SIDECAR else {"reviews"})


def test_errors_by_code_tell_real_codes_apart(scraped: tuple[str, PrometheusServer]) -> None:
    name, server = scraped
    found = totals(server, slo("errors", name, codes=("404",)))
    assert found["bad"] == in_file(name, r'istio_requests_total\{.*response_code="404"')


def test_latency_counts_the_requests_of_a_real_histogram(scraped: tuple[str, PrometheusServer]) -> None:
    name, server = scraped
    found = totals(server, slo("latency", name, threshold="250ms"))
    metric = r"istio_request_duration_milliseconds_bucket\{"
    assert found["total"] == in_file(name, metric + r'.*le="\+Inf"') > 0
    assert found["good"] == in_file(name, metric + r'.*le="250"')


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_label_of_every_preset_is_one_that_the_proxies_write(preset: str) -> None:
    goldens = DATA / "istio-metric-names" / "proxy_metric_goldens"
    for golden in goldens.iterdir():
        names = set(re.findall(r"- name: (\w+)", golden.read_text(encoding="utf-8"))) | {"le"}
        sli: CounterSli = PRESETS[preset].build({}, Mesh())
        used = {m.label for part in (*sli.total, *sli.bad, *sli.good) for m in part.matchers}
        assert used | {sli.service_label, sli.namespace_label} <= names
