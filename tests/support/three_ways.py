"""The events of SLOs as rules record them, as a report from raw counters finds them, and as the ledger keeps them.

Each is asked of a real Prometheus that holds some counters: a test compares all three with what it put there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from jobs.recording import record as recording
from jobs.reports import slo_report
from sloctl import spec
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.ledger.store import open_ledger
from sloctl.report.data import Report
from sloctl.settings.secret import Secret
from tests.support.recorded import record

END = int(datetime(2025, 11, 12, 13, 30, tzinfo=UTC).timestamp())
SCRAPE = 30
"""Seconds between two scrapes."""
HOURS = 3
TARGET = {"job": "proxies", "instance": "10.0.0.1:15020", "pod": "web-1"}
WAYS = ("rules", "raw", "ledger")
HEAD = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}", window: 1h, alerting: none}
slos:
"""
Events = dict[tuple[str, str], tuple[float, float]]
"""Bad and all events of an hour, by SLO and service."""


@dataclass(frozen=True)
class Counter:
    """A counter of the one target, and what it gains from a scrape to the next, always."""

    metric: str
    labels: Mapping[str, str]
    gain: int


def request(gain: int, **labels: str) -> Counter:
    """Requests of a client to ``checkout`` in ``shop``, unless the labels say otherwise."""
    usual = {
        "reporter": "source",
        "destination_service_namespace": "shop",
        "destination_service_name": "checkout",
        "source_workload": "web",
        "source_workload_namespace": "shop",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "grpc_response_status": "",
    }
    return Counter("istio_requests_total", usual | labels, gain)


def in_an_hour(gain: int) -> int:
    """What a counter counts in an hour that gains ``gain`` from a scrape to the next."""
    return gain * 3600 // SCRAPE


def counted(slos: str, counters: Iterable[Counter], folder: Path) -> dict[str, Events]:
    """The events of the SLOs (the items of a file) in the last hour, each way."""
    path = folder / "slo.yaml"
    path.write_text(HEAD + slos, encoding="utf-8")
    slo_set = spec.load([path])
    backfill(_series(counters), folder / "data")
    record(slo_set, folder / "data", folder / "recording", END, HOURS * 3600 - 600)
    with (
        PrometheusServer(folder / "server", data=folder / "data") as server,
        pipeline.source(server) as source,
        open_ledger(Secret(f"sqlite:///{folder / 'ledger.db'}")) as ledger,
    ):
        at = datetime.fromtimestamp(END, UTC)
        recording.run(source, slo_set, ledger, at + timedelta(minutes=2))
        return {
            "rules": _events(slo_report.build(source, slo_set, at, "rules")),
            "raw": _events(slo_report.build(source, slo_set, at, "raw")),
            "ledger": _events(slo_report.build(source, slo_set, at, "ledger", ledger=ledger)),
        }


def _series(counters: Iterable[Counter]) -> Iterable[SampledSeries]:
    at = np.arange(END - HOURS * 3600, END + 120 + 1, SCRAPE, dtype=np.int64) * 1000
    steps = np.arange(1, len(at) + 1, dtype=np.int64)
    yield SampledSeries({"__name__": "up", **TARGET}, at, np.ones(len(at)))
    for one in counters:
        yield SampledSeries({"__name__": one.metric, **TARGET, **one.labels}, at, one.gain * steps)


def _events(report: Report) -> Events:
    return {(item.slo, item.service): (item.bad, item.total) for item in report.slos if item.total}
