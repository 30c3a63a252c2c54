"""How long a month of alert policies takes to replay (``sloctl backtest``), from series that a real Prometheus has.

The five-minute grid is there for all services, one-minute tiles for the days on which something fails: no others are
read.
"""

from __future__ import annotations

import io
import resource
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks import measure
from benchmarks.history import DAY, serving, times
from jobs import backtest
from sloctl import naming, spec
from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.backends.prometheus.client import Prometheus
from sloctl.model import GRID, TILE, Slo
from sloctl.settings.backends import PrometheusSettings

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: bench}
defaults: {objective: 99.9, owner: bench, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: "*", namespace: wide, sli: {preset: availability}}
"""
MONTH, WARM = 30, 3
RATE, NOISE = 600, 0.0003
"""Requests a minute, of which so many fail as a rule."""


def events(slo: Slo, number: int, end: int, rng: np.random.Generator, days: int) -> Iterator[SampledSeries]:
    """What the rules recorded of a service: every tenth has an hour in which five of a hundred fail."""
    labels = {
        naming.SERVICE: f"service-{number}",
        naming.NAMESPACE: slo.namespace,
        naming.SLO_ID: slo.id,
        naming.SLO_SET: slo.set_name,
    }
    grid = times(end, (days + WARM) * DAY, GRID)
    failing = np.full(len(grid), NOISE)
    began = len(grid) - rng.integers(12, days * DAY // GRID)
    if number % 10 == 0:
        failing[began : began + 12] = 0.05
    bad = rng.poisson(5 * RATE * failing)
    for metric, values in ((naming.TOTAL_GRID, np.full(len(grid), 5 * RATE)), (naming.BAD_GRID, bad)):
        yield SampledSeries({"__name__": metric} | labels, grid, values.astype(np.int64))
    if number % 10:
        return
    tiles = np.arange(grid[began] // 1000 // DAY * DAY - DAY, grid[began] // 1000 + 2 * DAY, TILE) * 1000
    near = np.clip(np.searchsorted(grid, tiles), 0, len(grid) - 1)
    for metric, values in ((naming.TOTAL_TILE, np.full(len(tiles), RATE)), (naming.BAD_TILE, bad[near] // 5)):
        yield SampledSeries({"__name__": metric} | labels, tiles, values.astype(np.int64))


def main(services: int = 1000, days: int = MONTH) -> None:
    measure.title("Backtest")
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(SLO_FILE.encode()))
    rng, end = np.random.default_rng(1), int(time.time()) // DAY * DAY
    made = [one for number in range(services) for one in events(slo_set.slos[0], number, end, rng, days)]
    rows = []
    with serving(made) as (server, _), Prometheus(PrometheusSettings.load(url=server.url)) as source:
        at = datetime.fromtimestamp(end, UTC)
        for policies in (("file",), ("file", "sre-workbook")):
            before, began = source.queries, time.monotonic()
            found = backtest.run(
                backtest.RecordedHistory(source, slo_set),
                slo_set,
                int((at - timedelta(days=days)).timestamp()),
                end,
                policies=policies,
            )
            took = time.monotonic() - began
            pages = ", ".join(f"{len(one.pages):,}" for one in found.policies)
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            rows.append(
                (
                    len(policies),
                    f"{services:,}",
                    measure.seconds(took),
                    source.queries - before,
                    pages,
                    measure.megabytes(memory),
                )
            )
    measure.table(("policies", "services", "took", "queries", "pages", "peak memory"), rows)


if __name__ == "__main__":
    main()
