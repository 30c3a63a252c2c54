"""The cases of real meshes on a server, in a report and in a ledger: fixtures for whoever compares them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from jobs.recording import record
from jobs.reports import slo_report
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.ledger.check import verify
from sloctl.ledger.store import open_ledger
from sloctl.model import RollingWindow, SloSet
from sloctl.report.data import Report
from sloctl.settings.secret import Secret
from tests.support.promtool import slo
from tests.support.real_meshes import CASES, MINUTES, sampled

START = 1_780_000_200
"""When the cases begin: a multiple of five minutes."""
AT = datetime.fromtimestamp(START + MINUTES * 60 + 600, UTC)
NAMES = {name: f"case-{number}" for number, name in enumerate(CASES)}
WINDOW = RollingWindow(4 * 3600, "4h")


def scraped() -> list[SampledSeries]:
    """The raw series of all cases, each in a namespace of its own."""
    series = [one for name, case in CASES.items() for one in sampled(case.raw, START, NAMES[name])]
    # A bucket is recorded once something was scraped after it.
    times = np.arange(START, AT.timestamp() + 1, 30).astype(np.int64) * 1000
    other = SampledSeries({"__name__": "up", "job": "other", "instance": "o"}, times, np.ones_like(times))
    return [*series, other]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scraped all cases, each in a namespace of its own."""
    folder = tmp_path_factory.mktemp("real-meshes")
    backfill(scraped(), folder / "data")
    with PrometheusServer(folder, data=folder / "data") as server, pipeline.source(server) as metrics:
        yield metrics


@pytest.fixture(scope="module")
def slo_set() -> SloSet:
    return SloSet("shop", tuple(slo(namespace=name, policy=None, window=WINDOW) for name in NAMES.values()))


Counts = dict[str, tuple[float, float]]
"""(bad, total) events by namespace."""


@pytest.fixture(scope="module")
def raw_report(source: Prometheus, slo_set: SloSet) -> Report:
    """The report from raw counters."""
    return slo_report.build(source, slo_set, AT, "raw")


@pytest.fixture(scope="module")
def ledger_report(source: Prometheus, slo_set: SloSet, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report from what a run recorded in a ledger."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger:
        record.run(source, slo_set, ledger, AT)
        assert verify(ledger, slo_set.name) == []
        return slo_report.build(source, slo_set, AT, "ledger", ledger=ledger)


def _counts(report: Report) -> Counts:
    return {item.namespace: (item.bad, item.total) for item in report.slos}


@pytest.fixture(scope="module")
def reported(raw_report: Report) -> Counts:
    """What a report makes of raw counters."""
    return _counts(raw_report)


@pytest.fixture(scope="module")
def kept(ledger_report: Report) -> Counts:
    """What is recorded in a ledger."""
    return _counts(ledger_report)
