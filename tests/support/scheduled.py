"""``sloctl schedule`` as a process of its own, against a simulated Prometheus, and a collector that takes OTLP."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.command_line import environment
from tests.support.interrupts import interruptible

PATIENCE = 40
FILE = """\
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {{name: shop}}
sources: {{prometheus: {{url: "{url}"}}}}
defaults: {{owner: team-shop}}
slos:
  - {{name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {{preset: availability}}}}
jobs:
{jobs}
"""


def eventually(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def slo_file(folder: Path, url: str, *jobs: str) -> Path:
    path = folder / "slo.yaml"
    path.write_text(FILE.format(url=url, jobs="\n".join(f"  - {{{job}}}" for job in jobs)))
    return path


@dataclass
class Scheduled:
    """The process; ``lines`` is its log, parsed."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)

    def read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.noise.append(line)

    @property
    def url(self) -> str:
        found = eventually(lambda: [line for line in self.lines if "listening on" in line["message"]])
        return str(found[0]["message"].split()[-1])

    def messages(self, job: str = "") -> list[str]:
        return [line["message"] for line in list(self.lines) if not job or line.get("sloctl_job") == job]

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def value(self, sample: str) -> float | None:
        """The value of one line of ``/metrics``, named with its labels in order."""
        found = re.search(rf"^{re.escape(sample)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else None

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def scheduled(folder: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Scheduled]:
    arguments = ["schedule", "-f", "slo.yaml", "--listen", "127.0.0.1:0", "--log-format", "json", *options]
    with interruptible():
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "sloctl", *arguments],
            cwd=folder,
            env=environment(folder) | {"SLOCTL_PROMETHEUS_RETRIES": "0"} | (env or {}),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process:
        found = Scheduled(process)
        reader = threading.Thread(target=found.read)
        reader.start()
        try:
            yield found
        finally:
            process.kill()
            reader.join()


class Collector:
    """Takes OTLP over HTTP on a free port; ``paused`` lets senders wait."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.free = threading.Event()
        self.free.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.free.wait(PATIENCE)
                if self.path.endswith("/v1/traces"):
                    collector.traces.append(ExportTraceServiceRequest.FromString(body))
                else:
                    collector.metrics.append(ExportMetricsServiceRequest.FromString(body))
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.free.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def spans(self) -> list[Any]:
        return [
            span
            for request in list(self.traces)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def gauges(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for request in list(self.metrics):
            for resource in request.resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        found[metric.name] = [
                            ({a.key: a.value.string_value for a in point.attributes}, point.as_double)
                            for point in metric.gauge.data_points or metric.sum.data_points
                        ]
        return found


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
