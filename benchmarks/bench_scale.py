"""What a mesh of 10,000 services takes on Prometheus 3 and on VictoriaMetrics: the rules, a report, and ``run slis``.

Services are in namespaces, with an SLO of ``"*"`` for each. Recorded series are written as the rules would have left
them, raw counters for an hour; the rules are evaluated once, one after the other, as a ruler sends them. A third run is
that of a Prometheus that may load as few samples for a query as it may by default, in proportion to the days.
``python -m benchmarks.bench_scale [SERVICES] [NAMESPACES] [DAYS]``, with what ``scripts/install-tools engines`` builds.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from alert_rules.manifest import rule_files
from benchmarks import measure
from benchmarks.history import Service, recorded
from sloctl import spec
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo.server import PrometheusServer
from sloctl.errors import UsageError
from sloctl.model import GRID, SloSet
from sloctl.model.durations import duration, rfc3339
from sloctl.settings.backends import PrometheusSettings
from tests.support.engines import find_engine, running_victoria_metrics

MAX_SAMPLES = 50_000_000
"""Samples that a query may load into memory at once by default (``--query.max-samples``)."""
END = 1_780_000_200
"""A multiple of five minutes."""
HEADINGS = ("what", "time", "the server's CPU", "our CPU", "our peak memory")
LATER = 120
"""Seconds after the last instant of the grid, at which a report counts what came since from raw counters."""
HEAD = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {{name: bench}}
sources: {{prometheus: {{url: "{url}", engine: {engine}}}}}
defaults: {{objective: 99.9, owner: bench, runbook: "https://runbooks.example.org/{{slo}}"}}
slos:
"""
SLO = '  - {{name: availability, service: "*", namespace: {0}, sli: {{preset: availability}}}}\n'


def main(services: int = 10_000, namespaces: int = 50, days: int = 1) -> None:
    measure.title(f"{services:,} services in {namespaces} namespaces, {days} d recorded")
    spaces = [f"space-{number:03}" for number in range(namespaces)]
    known = [
        Service(f"service-{number:05}", spaces[number % namespaces], ("200", "503"))
        for number in range(services)
    ]
    for engine in ("victoriametrics", "prometheus"):
        text = HEAD.format(url="http://127.0.0.1:1", engine=engine) + "".join(map(SLO.format, spaces))
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            file = folder / "slo.yaml"
            file.write_text(text, encoding="utf-8")
            slo_set = spec.load([file])
            with running(engine, folder, history(slo_set, known, days)) as url:
                measure.table(HEADINGS, [*rules(slo_set, url), *jobs(file, url, services)])
            if engine == "prometheus":
                most = MAX_SAMPLES * days // 30
                with PrometheusServer(
                    folder,
                    program=find_engine("prometheus"),
                    flags=[f"--query.max-samples={most}"],
                    timeout=300,
                ) as server:
                    print(f"\nA query may load {most:,} samples:\n", flush=True)
                    measure.table(HEADINGS, [*jobs(file, server.url, services)][:1])


def history(slo_set: SloSet, known: Sequence[Service], days: int) -> list[SampledSeries]:
    """What rules recorded until the end, and raw counters until then and a bit longer, each label set once."""
    rng = np.random.default_rng(1)
    found = [one for service in known for one in service.raw(END + LATER, 1800, 1800, rng)]
    # Of base events an evaluation reads the last instant: one sample each.
    found += (
        one for one in recorded(slo_set, known, END, days=days) if one.labels["__name__"][:8] != "service:"
    )
    return list({tuple(sorted(one.labels.items())): one for one in found}.values())


@contextmanager
def running(engine: str, folder: Path, series: list[SampledSeries]) -> Iterator[str]:
    """The address of an engine that holds the series."""
    began = time.monotonic()
    samples = sum(len(one.timestamps) for one in series)

    def told() -> None:
        took = time.monotonic() - began
        text = f"{samples / 1e6:.1f} million samples in {len(series):,} series, which took {took:.0f} s"
        print(f"\n{engine}: {text}.\n", flush=True)

    if engine == "victoriametrics":
        with running_victoria_metrics(folder, series) as url:
            told()
            yield url
        return
    backfill(series, folder / "data")
    with PrometheusServer(folder, program=find_engine("prometheus"), timeout=300) as server:
        told()
        yield server.url


def rules(slo_set: SloSet, url: str) -> Iterator[Sequence[str]]:
    """How long the groups of each interval take, all of them and the slowest, one rule after the other."""
    at = datetime.fromtimestamp(END, UTC)
    took: dict[int, list[tuple[float, float]]] = {}
    with Prometheus(PrometheusSettings(url=url, timeout=300)) as source:
        for file in rule_files(slo_set):
            for group in file.groups:
                began, cpu = time.monotonic(), server_cpu(url)
                for rule in group.rules:
                    source.query(rule.expr, at)
                spent = time.monotonic() - began, server_cpu(url) - cpu
                took.setdefault(group.interval, []).append(spent)
    for interval, found in sorted(took.items()):
        each = f"{len(found)} groups of rules, every {duration(interval)}"
        for what, of in ((each, sum), ("the slowest of them", max)):
            wall, cpu = (of(values) for values in zip(*found, strict=True))
            yield what, measure.seconds(wall), measure.seconds(cpu), "", ""


def server_cpu(url: str) -> float:
    """Seconds of CPU that a server has needed so far."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        [found] = re.findall(r"(?m)^process_cpu_seconds_total (\S+)$", answer.read().decode())
    return float(found)


def jobs(file: Path, url: str, services: int) -> Iterator[Sequence[str]]:
    """What reports take, and a run of ``slis`` that finds one new bucket."""
    server = ["-f", str(file), "--prometheus", url, "--timeout", "300"]
    for what, end in (("report at a grid instant", END), ("report two minutes later", END + LATER)):
        at = rfc3339(datetime.fromtimestamp(end, UTC))
        command = [*measure.SLOCTL, "report", *server, "--source", "rules", "--format", "json", "--at", at]
        before = server_cpu(url)
        cost = measure.run(command, runs=1)
        spent = server_cpu(url) - before
        found = len(json.loads(cost.stdout)["slos"])
        if found != services:
            raise RuntimeError(f"{found} services reported:\n{cost.stderr[-2000:]}")
        yield _row(what, cost, spent)
    ledger = f"sqlite:///{file.with_name('ledger.db')}"
    for end in (END - GRID, END):
        at = rfc3339(datetime.fromtimestamp(end, UTC))
        command = [*measure.SLOCTL, "run", "slis", *server, "--ledger", ledger, "--last", "5m", "--at", at]
        before = server_cpu(url)
        cost = measure.run([*command, "--format", "json"], runs=1)
    yield _row("run slis, one new bucket", cost, server_cpu(url) - before)


def _row(what: str, cost: measure.Cost, server: float) -> Sequence[str]:
    return (
        what,
        measure.seconds(cost.wall),
        measure.seconds(server),
        measure.seconds(cost.cpu),
        measure.megabytes(cost.peak),
    )


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:]))
    except UsageError as error:
        print(f"not measured: {error} ({error.hint})")
