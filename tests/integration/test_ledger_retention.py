"""Prometheus remembers three days; the ledger gives the budgets of a month, a quarter and a year, to the last event.

A server is started anew every 66 hours on those blocks of a simulated history that it would have kept by then, and
``sloctl run slis`` records what it has. The true events of the history are known.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl import spec
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.demo.engine import Simulation
from sloctl.demo.history import history_grid, series
from sloctl.demo.server import PrometheusServer
from sloctl.demo.world import BatchJob, Crash, Deploy, Edge, Outage, ScrapeGap, Service, World, ago
from sloctl.ledger.store import open_ledger
from sloctl.model import Slo
from sloctl.settings.secret import Secret
from tests.support.command_line import in_process
from tests.support.month import truth_of

pytestmark = pytest.mark.xdist_group("retention")

DAY = 86400
END = int(datetime(2025, 11, 12, 13, 30, tzinfo=UTC).timestamp())
AT = END - 600
"""Of when reports are: the last bucket before it is in the ledger."""
DAYS = 33
REMEMBERED = 3
BOUND = 0.001
"""Largest error allowed where a gap hides something, as a share of the budget."""

WORLD = World(
    services=(
        Service("web"),
        Service("api", pods=2, error_rate=0.002),
        Service("hidden", error_rate=0.01),
    ),
    edges=(Edge("web", "api", 4.0), Edge("web", "hidden", 1.0)),
    events=(
        Outage("api", ago(days=27), ago(days=26, hours=23)),
        Outage("api", ago(days=11, hours=13, minutes=30), ago(days=11, hours=12), share=0.2),
        Outage("hidden", ago(hours=7), ago(hours=6), share=0.4),
        Deploy("api", ago(days=13, hours=4), "v2"),
        Crash("api", 1, ago(days=2) + 90),
        ScrapeGap("hidden", ago(days=10), ago(days=10) + 900),
    ),
    batches=(BatchJob("web", "web-jobs", per_second=0.3, late_share=0.02),),
    days=DAYS,
    swing=10.0,
    interval=150,
    kube_state=False,
)
WINDOWS = {
    "rolling": "30d",
    "month-utc": "{calendar: month}",
    "month-kolkata": "{calendar: month, timezone: Asia/Kolkata}",
    "month-newyork": "{calendar: month, timezone: America/New_York}",
    "week": "{calendar: week, timezone: Europe/Paris}",
    "quarter": "{calendar: quarter, timezone: Europe/Paris}",
    "year": "{calendar: year, timezone: America/New_York}",
}
BEGINS = {
    "rolling": AT - 30 * DAY,
    "month-utc": int(datetime.fromisoformat("2025-11-01T00:00:00+00:00").timestamp()),
    "month-kolkata": int(datetime.fromisoformat("2025-11-01T00:00:00+05:30").timestamp()),
    "month-newyork": int(datetime.fromisoformat("2025-11-01T00:00:00-04:00").timestamp()),
    "week": int(datetime.fromisoformat("2025-11-10T00:00:00+01:00").timestamp()),
    "quarter": int(datetime.fromisoformat("2025-10-01T00:00:00+02:00").timestamp()),
    "year": int(datetime.fromisoformat("2025-01-01T00:00:00-05:00").timestamp()),
}
"""When the windows began, Unix seconds: written out, not computed."""
PREAMBLE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: small}
mesh: {mode: sidecar}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
ledger: {keep: {buckets: 37d}}
slos:
"""
LINE = (
    '  - {{name: {name}, service: "*", namespace: shop, objective: 99.5, window: {window}, '
    "sli: {{preset: availability}}}}"
)
SLO_FILE = (
    PREAMBLE + "\n".join(LINE.format(name=name, window=window) for name, window in WINDOWS.items()) + "\n"
)


class Remembered:
    """A history in blocks of a day, of which a server gets the last ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        simulation = Simulation(WORLD, history_grid(WORLD))
        self.truth = truth_of(simulation, END)
        everything = list(series(simulation, END))
        self.days: dict[int, Path] = {}
        for day in range((END - DAYS * DAY) // DAY * DAY, END, DAY):
            part = [_between(one, day, day + DAY) for one in everything]
            self.days[day] = folder / str(day)
            backfill([one for one in part if len(one.timestamps)], self.days[day])

    def at(self, now: int, into: Path) -> Path:
        """A TSDB as of ``now``: the blocks of the last days, and what is scraped since the last one was written."""
        into.mkdir()
        for day, blocks in self.days.items():
            if now - REMEMBERED * DAY <= day + DAY and day <= now:
                for block in blocks.iterdir():
                    shutil.copytree(block, into / block.name, copy_function=os.link)
        return into


def _between(one: SampledSeries, start: int, end: int) -> SampledSeries:
    kept = (one.timestamps >= start * 1000) & (one.timestamps < end * 1000)
    return SampledSeries(one.labels, one.timestamps[kept], one.values[kept])


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Remembered:
    return Remembered(tmp_path_factory.mktemp("days"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inner = tmp_path_factory.mktemp("retention") / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(SLO_FILE)
    return inner


@pytest.fixture(scope="module")
def server(remembered: Remembered, folder: Path) -> Iterator[PrometheusServer]:
    """Records every 66 hours, at another time of the day each time; gives the server as of the end, with three days."""
    times = [*range(END - (DAYS - 1) * DAY, END, 66 * 3600), END + 60]
    for number, at in enumerate(times):
        data = remembered.at(min(at, END), folder.parent / f"data-{number}")
        server = PrometheusServer(folder.parent / f"prometheus-{number}", data=data)
        with server:
            done = in_process(
                *("run", "slis", "-f", "slo.yaml", "--prometheus", server.url, "--at", str(at)),
                *("--ledger", "sqlite:///ledger.db"),
                folder=folder,
            )
            assert done.code == 0, done.stderr
            assert "buckets recorded" in done.stderr, done.stderr
            if number == len(times) - 1:
                yield server
        shutil.rmtree(data)


def report(
    folder: Path, server: PrometheusServer, source: str, ledger: str = "ledger.db", at: int = AT
) -> dict[str, dict[str, object]]:
    """Events, and what else the report says, by SLO and service."""
    done = in_process(
        *("report", "-f", "slo.yaml", "--prometheus", server.url, "--at", str(at), "--source", source),
        *("--ledger", f"sqlite:///{ledger}", "--format", "json"),
        folder=folder,
    )
    assert done.code in (0, 1), done.stderr
    return {f"{item['slo']} {item['service']}": item for item in json.loads(done.stdout)["slos"]}


def true_events(remembered: Remembered, service: str, start: int, end: int = AT) -> tuple[int, int]:
    """(bad, total) of an interval."""
    events = remembered.truth.events
    return events(service, "source", "bad", start, end), events(service, "source", "total", start, end)


def begun(ledger: Path) -> int:
    with open_ledger(Secret(f"sqlite:///{ledger}")) as opened:
        return min(opened.oldest("small").values())


def check(remembered: Remembered, folder: Path, found: dict[str, dict[str, object]]) -> None:
    """The windows that began before the history are of what the ledger has."""
    first = begun(folder / "ledger.db")
    for name in WINDOWS:
        start = max(BEGINS[name], first)
        for service in ("api", "hidden"):
            events = found[f"{name} {service}"]["events"]
            assert isinstance(events, dict)
            bad, total = true_events(remembered, service, start)
            if remembered.truth.known(service, "source", start, AT):
                assert (events["bad"], events["total"]) == (bad, total), (name, service)
            else:
                assert abs(events["bad"] / events["total"] - bad / total) / 0.005 < BOUND, (name, service)


def test_budgets_of_all_windows_are_the_true_ones(
    remembered: Remembered, folder: Path, server: PrometheusServer
) -> None:
    found = report(folder, server, "ledger")
    assert len(found) == 2 * len(WINDOWS)
    check(remembered, folder, found)
    bad, total = true_events(remembered, "api", AT - 30 * DAY)
    assert found["rolling api"]["events"] == {"good": total - bad, "bad": bad, "total": total}


def test_between_two_instants_what_is_open_is_added(
    remembered: Remembered, folder: Path, server: PrometheusServer
) -> None:
    """The ledger ends five minutes before the end, and the report is of a minute later."""
    found = report(folder, server, "ledger", at=END - 130)
    last = END - 300
    bad, total = true_events(remembered, "api", last - 30 * DAY, END - 130)
    assert found["rolling api"]["events"] == {"good": total - bad, "bad": bad, "total": total}
    assert total > true_events(remembered, "api", last - 30 * DAY, last)[1]


def test_prometheus_alone_is_wrong(remembered: Remembered, folder: Path, server: PrometheusServer) -> None:
    found = report(folder, server, "raw")
    events = found["rolling api"]["events"]
    assert isinstance(events, dict)
    bad, total = true_events(remembered, "api", AT - 30 * DAY)
    assert events["total"] < total / 5
    assert events["bad"] < bad / 5


@pytest.mark.parametrize("kept", ["buckets: 37d", "buckets: 1d, hours: 37d", "buckets: 1d, hours: 31d"])
def test_pruned_ledgers_say_the_same(
    remembered: Remembered, folder: Path, server: PrometheusServer, kept: str
) -> None:
    """Hours and days stand for their buckets; those at which a day begins somewhere stay."""
    shutil.copy(folder / "ledger.db", folder / "pruned.db")
    slo_set = spec.load([folder / "slo.yaml"])
    keep = dict(part.split(": ") for part in kept.split(", "))
    prune(folder / "pruned.db", slo_set.slos, keep)
    found = report(folder, server, "ledger", "pruned.db")
    exact = [name for name in WINDOWS if name != "rolling" or keep["buckets"] == "37d"]
    whole = report(folder, server, "ledger")
    for name in exact:
        for service in ("api", "hidden"):
            assert found[f"{name} {service}"]["events"] == whole[f"{name} {service}"]["events"], name


def prune(path: Path, slos: tuple[Slo, ...], keep: dict[str, str]) -> None:
    from jobs.recording.record import day_edges
    from sloctl.ledger.protocol import Keep
    from sloctl.model.durations import parse_duration

    lengths = {"buckets": 37 * DAY, "hours": 400 * DAY, "days": 2000 * DAY}
    lengths |= {name: parse_duration(text) or 0 for name, text in keep.items()}
    slo_set = spec.load([path.parent / "slo.yaml"])
    assert slo_set.slos == slos
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger:
        edges = day_edges(slo_set, datetime.fromtimestamp(END, UTC))
        removed = ledger.prune("small", Keep(**lengths), END, edges)
        assert bool(removed.buckets) == (keep["buckets"] == "1d")
