"""A month of a small shop in a real Prometheus, with every kind of trouble a ledger has to get right.

The shop is played by the demo's engine, so that its true events are known; what a Prometheus that was down did not
scrape is left out of its TSDB.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.demo.engine import Simulation
from sloctl.demo.history import _truth, history_grid, series
from sloctl.demo.remote_write import write_block
from sloctl.demo.server import PrometheusServer
from sloctl.demo.truth import Truth
from sloctl.demo.world import (
    OUTSIDE,
    BatchJob,
    Crash,
    Deploy,
    Edge,
    Latency,
    Leak,
    Outage,
    Quiet,
    ScrapeGap,
    Service,
    World,
    ago,
)
from sloctl.model import GRID

DAY = 86400
END = int(datetime(2025, 11, 12, 13, 35, tzinfo=UTC).timestamp())
"""The last instant; the clocks changed in Europe on 26 October, in America on 2 November."""

WORLD = World(
    services=(
        Service("web"),
        Service("api", pods=2, error_rate=0.002, latency=Latency(80, 0.8)),
        Service("store", protocol="grpc", error_rate=0.003),
        Service("seldom", error_rate=0.02),
        Service("hidden", error_rate=0.01),
    ),
    edges=(
        Edge("web", "api", 4.0),
        Edge("api", "store", 2.0),
        Edge("web", "seldom", 0.05),
        Edge("web", "hidden", 1.0),
        Edge(OUTSIDE, "store", 0.2),
    ),
    events=(
        Outage("api", ago(days=20, hours=3), ago(days=20, hours=2)),
        Outage("store", ago(days=9), ago(days=8, hours=23), share=0.5),
        Leak("store", ago(days=4), ago(days=1), 0.03),
        Quiet("seldom", ago(days=15), ago(days=11)),
        Deploy("api", ago(days=13, hours=4), "v2"),
        Deploy("web", ago(days=6, hours=5), "v2"),
        Crash("store", 0, ago(days=17)),
        Crash("api", 1, ago(days=2) + 90),
        ScrapeGap("hidden", ago(days=10), ago(days=10) + 2700),
    ),
    batches=(BatchJob("store", "store-jobs", per_second=0.3, late_share=0.02),),
    swing=20.0,
    interval=100,
    kube_state=False,
)

DOWN = (
    # Over midnight, where what is read at once is cut.
    (END - END % DAY - 22 * DAY - 5000, END - END % DAY - 22 * DAY + 4000),
    (END - 16 * DAY + 130, END - 16 * DAY + 130 + 2 * 3600),
    (END - 12 * DAY + 250, END - 12 * DAY + 250 + 700),
    (END - 12 * DAY + 3000, END - 12 * DAY + 3000 + 900),  # soon again
    (END - 7 * DAY + 20, END - 7 * DAY + 20 + 400),  # less than a whole bucket
    (END - 3 * DAY - 9 * 3600, END - 3 * DAY),
    (END - 5400, END - 4000),
)
"""When Prometheus itself was down: (start, end], Unix seconds."""

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: small}
mesh: {mode: sidecar}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}", window: 30d}
slos:
  - {name: availability, service: "*", namespace: shop, objective: 99.5, sli: {preset: availability}}
  - {name: availability, service: api, namespace: shop, objective: 99.9, sli: {preset: availability}}
  - {name: latency, service: api, namespace: shop, objective: 99, sli: {preset: latency, threshold: 250ms}}
  - name: jobs-on-time
    service: store
    objective: 99
    sli: {events: {bad: "rate(jobs_late_total[$window])", total: "rate(jobs_total[$window])"}}
maintenance:
  - {name: upgrade, start: "2025-10-23T10:07:00Z", end: "2025-10-23T11:02:00Z", namespace: shop, services: [api]}
  - {name: weekly, cron: "30 2 * * sun", for: 1h, timezone: Europe/Paris, slos: [availability]}
  - {name: nightly, cron: "50 23 * * *", for: 20m, timezone: America/New_York, services: [store]}
"""


@dataclass(frozen=True)
class Month:
    """A history in ``data`` up to ``end``, and what truly happened."""

    data: Path
    end: int
    truth: Truth
    world: World


def build(
    folder: Path,
    world: World = WORLD,
    down: Sequence[tuple[int, int]] = DOWN,
    end: int = END,
    bounds: Collection[str] = ("250", "+Inf"),
    days: int = 30,
) -> Month:
    """Write the month's last ``days`` as a TSDB to ``folder``/data.

    Of histograms there are only the ``bounds`` that objectives speak of.
    """
    simulation = Simulation(world, history_grid(world))
    kept = [one for one in series(simulation, end) if one.labels.get("le", "+Inf") in bounds]
    gone = [*down, (0, end - days * DAY)]
    write_block([_without(one, gone) for one in kept], folder / "data")
    return Month(folder / "data", end, truth_of(simulation, end), world)


def truth_of(simulation: Simulation, end: int) -> Truth:
    """What truly happened up to ``end`` (Unix seconds)."""
    return _truth(simulation, end)


def _without(one: SampledSeries, down: Sequence[tuple[int, int]]) -> SampledSeries:
    kept = one.timestamps >= 0
    for start, stop in down:
        kept &= (one.timestamps <= start * 1000) | (one.timestamps > stop * 1000)
    return SampledSeries(one.labels, one.timestamps[kept], one.values[kept])


@contextlib.contextmanager
def serving(folder: Path, data: Path) -> Iterator[PrometheusServer]:
    """A Prometheus on a history, which it keeps whole."""
    assert END % GRID == 0
    with PrometheusServer(folder, data=data, flags=["--storage.tsdb.retention.time=10y"]) as server:
        yield server
