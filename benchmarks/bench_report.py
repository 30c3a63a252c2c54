"""What ``sloctl report`` costs for 1,000 services, against google/slo-generator on the same server and data.

slo-generator knows one service a file and asks once a window. It reads the same recorded events here, over the same
windows; its usual way, two questions a window on raw counters, is measured with a part of the services.
``python -m benchmarks.bench_report [SERVICES]``.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import environ
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.history import DAY, Service, recorded, serving
from sloctl import spec
from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.demo.cache import cache_root
from sloctl.demo.server import PrometheusServer
from sloctl.model import GRID, SloSet

SLO_GENERATOR = "slo-generator[prometheus]==2.6.0"
SETUPTOOLS = "setuptools<81"  # slo-generator imports pkg_resources, which later versions do not have
AHEAD = 2 * 3600
"""How far the history reaches beyond now, in seconds: slo-generator always asks Prometheus about now."""
WINDOWS = {"5m": 300, "30m": 1800, "1h": 3600, "6h": 6 * 3600, "3d": 3 * DAY, "30d": 30 * DAY}
SAMPLE = 50
PATIENCE = 300
"""Seconds that slo-generator may take for all services; else a sample of them has to do."""
SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: bench}
defaults: {objective: 99.9, owner: bench, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: "*", namespace: shop, sli: {preset: availability}}
"""
_EVENTS = (
    '(sum_over_time(slo:%s_events:increase5m{slo_id="bench:shop/*/availability",service="NAME"}[window]))'
)
RECORDED = f"1 - sum{_EVENTS % 'bad'} / sum{_EVENTS % 'total'}"
RAW = 'istio_requests_total{reporter="source",destination_service_name="NAME"%s}[window]'


def main(count: int = 1000) -> None:
    measure.title(f"sloctl report --format json, {count:,} services")
    tool = slo_generator()
    known = [Service(f"service-{number:04}", "shop", ("200", "503")) for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        file = folder / "slo.yaml"
        file.write_text(SLO_FILE, encoding="utf-8")
        series = list(history(spec.load([file]), known, int(time.time())))
        with serving(series) as (server, _):
            del series
            rows = list(measured(server, tool, folder, [service.name for service in known]))
    ours = rows[0]
    measure.table(
        (
            "",
            "services",
            "time",
            "CPU",
            "peak memory",
            "requests",
            "CPU of Prometheus",
            "time a service",
            "× sloctl",
        ),
        [row.cells(ours) for row in rows],
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What a run cost on both sides."""

    name: str
    services: int
    cost: measure.Cost
    requests: float
    server_cpu: float

    def cells(self, ours: Row) -> tuple[object, ...]:
        each = self.cost.wall / self.services
        return (
            self.name,
            f"{self.services:,}",
            measure.seconds(self.cost.wall),
            measure.seconds(self.cost.cpu),
            measure.megabytes(self.cost.peak),
            f"{self.requests:,.0f}",
            measure.seconds(self.server_cpu),
            f"{each * 1000:.1f} ms",
            f"{each / (ours.cost.wall / ours.services):.0f}",
        )


def measured(server: PrometheusServer, tool: Path, folder: Path, names: list[str]) -> Iterator[Row]:
    """Our report, then slo-generator: a sample of services on raw counters and recorded events, then all."""
    command = [*measure.SLOCTL, "report", "-f", str(folder / "slo.yaml"), "--prometheus", server.url]
    command += ["--timeout", "300", "--format", "json"]
    measure.run(command, runs=1)  # both find the server warm
    row = _row(server, "sloctl report", len(names), command, runs=5)
    reported = json.loads(row.cost.stdout)["slos"]
    if len(reported) != len(names) or any(len(item["burn_rates"]) != len(WINDOWS) - 1 for item in reported):
        raise RuntimeError(f"{len(reported)} services reported")
    yield row
    sample = names[:SAMPLE]
    yield _theirs(server, tool, folder, "slo-generator, raw counters, good_bad_ratio", sample, raw=True)
    part = _theirs(server, tool, folder, "slo-generator, recorded events, query_sli", sample, raw=False)
    yield part
    if len(names) > len(sample) and part.cost.wall / len(sample) * len(names) < PATIENCE:
        yield _theirs(server, tool, folder, "the same, all services", names, raw=False)


def _theirs(
    server: PrometheusServer, tool: Path, folder: Path, name: str, names: list[str], *, raw: bool
) -> Row:
    with tempfile.TemporaryDirectory(dir=folder) as part:
        configs, shared = Path(part) / "slos", Path(part) / "config.yaml"
        configs.mkdir()
        shared.write_text(json.dumps(_shared(server.url)), encoding="utf-8")
        for service in names:
            (configs / f"{service}.yaml").write_text(json.dumps(_config(service, raw=raw)), encoding="utf-8")
        command = [str(tool), "compute", "-f", str(configs), "-c", str(shared)]
        row = _row(server, name, len(names), command, runs=1)
    # Its exit code does not say whether it worked; its log does.
    done = len(re.findall(r"\| SLI: *[0-9]", row.cost.stdout))
    if done != len(names) * len(WINDOWS):
        raise RuntimeError(
            f"slo-generator computed {done} budgets:\n{row.cost.stdout[-2000:]}{row.cost.stderr[-2000:]}"
        )
    return row


def _shared(url: str) -> dict[str, object]:
    steps = [
        {
            "name": name,
            "window": seconds,
            "burn_rate_threshold": 1,
            "alert": False,
            "message_alert": "burning",
            "message_ok": "fine",
        }
        for name, seconds in WINDOWS.items()
    ]
    return {
        "backends": {"prometheus": {"url": url}},
        "exporters": {},
        "error_budget_policies": {"default": {"steps": steps}},
    }


def _config(service: str, *, raw: bool) -> dict[str, object]:
    if raw:
        good, valid = RAW % ',response_code!~"5.."', RAW % ""
        method, sli = "good_bad_ratio", {"filter_good": good, "filter_valid": valid}
    else:
        method, sli = "query_sli", {"expression": RECORDED}
    return {
        "apiVersion": "sre.google.com/v2",
        "kind": "ServiceLevelObjective",
        "metadata": {"name": f"shop-{service}-availability", "labels": {"service_name": service}},
        "spec": {
            "description": "Availability",
            "backend": "prometheus",
            "method": method,
            "exporters": [],
            "service_level_indicator": {key: text.replace("NAME", service) for key, text in sli.items()},
            "goal": 0.999,
        },
    }


def history(slo_set: SloSet, known: list[Service], now: int) -> Iterator[SampledSeries]:
    """30 days of recorded events of every service and some hours of raw counters; 30 days of these for a sample."""
    end = now // GRID * GRID + AHEAD
    rng = np.random.default_rng(1)
    for number, service in enumerate(known):
        recent = AHEAD + 1800
        yield from service.raw(end, 30 * DAY + AHEAD if number < SAMPLE else recent, recent, rng)
    # Of the base events, the report reads those of the other side of the mesh.
    yield from recorded(slo_set, known, end, more=AHEAD, base="destination")


def _row(server: PrometheusServer, name: str, services: int, command: list[str], runs: int) -> Row:
    with counted(server) as spent:
        cost = measure.run(command, runs=runs)
    requests, cpu = (value / runs for value in spent)
    return Row(name, services, cost, requests, cpu)


@contextmanager
def counted(server: PrometheusServer) -> Iterator[list[float]]:
    """Requests that the server answers meanwhile, and seconds of CPU that it needs."""
    before = _counters(server)
    spent: list[float] = []
    yield spent
    spent.extend(after - b for after, b in zip(_counters(server), before, strict=True))


def _counters(server: PrometheusServer) -> tuple[float, float]:
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        text = answer.read().decode()

    def total(pattern: str) -> float:
        return sum(float(value) for value in re.findall(rf"(?m)^{pattern} (\S+)$", text))

    return (
        total(r'prometheus_http_requests_total\{[^}]*handler="/api/v1/query(?:_range)?"[^}]*\}'),
        total("process_cpu_seconds_total"),
    )


def slo_generator() -> Path:
    """slo-generator's script, in an environment of its own below the user's cache."""
    home = cache_root(environ) / "benchmarks" / "slo-generator-2.6.0"
    script = home / "bin" / "slo-generator"
    if not script.exists():
        venv.create(home, with_pip=True, clear=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        measure.run([*pip, SLO_GENERATOR, SETUPTOOLS], runs=1)
    return script


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
