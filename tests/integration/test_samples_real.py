"""Samples of a gauge on a real Prometheus: raw reports, the ledger's reading and plain counting agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from jobs.recording import grid_reading
from jobs.reports import slo_report
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.model import GRID, RollingWindow, SampleSli, SloSet
from tests.support.promtool import slo

END = 1_780_000_200
AT = datetime.fromtimestamp(END, UTC)
HOURS = 14
LATE = 30_000
OUTAGE = (END - 3 * 3600, END - 3 * 3600 + 600)
"""When the exporter could not be scraped (Unix seconds)."""
TARGET = {"job": "blackbox", "instance": "a"}


def _times() -> np.ndarray:
    """Scrapes every 15 seconds as Prometheus makes them, give or take some milliseconds."""
    even = np.arange((END - HOURS * 3600) * 1000, END * 1000, 15_000, dtype=np.int64)
    return even + 4321 + np.random.default_rng(7).integers(-40, 40, len(even))


def _scraped() -> tuple[np.ndarray, np.ndarray]:
    """Times (milliseconds) and values of the probe's samples."""
    times = _times()
    there = (times < OUTAGE[0] * 1000) | (times >= OUTAGE[1] * 1000)
    values = np.where(np.random.default_rng(8).random(len(times)) < 0.02, 0, 1)
    return times[there], values[there]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder, times = tmp_path_factory.mktemp("samples"), _times()
    down = (times >= OUTAGE[0] * 1000) & (times < OUTAGE[1] * 1000)
    series = [
        SampledSeries({"__name__": "probe_success", **TARGET}, *_scraped()),
        SampledSeries({"__name__": "up", **TARGET}, times, np.where(down, 0, 1)),
    ]
    backfill(series, folder / "data")
    with PrometheusServer(folder, data=folder / "data") as server, pipeline.source(server) as metrics:
        yield metrics


def _within(begin: int, end: int) -> tuple[int, int]:
    """(bad, total) of the samples that are counted between two instants (Unix seconds)."""
    times, values = _scraped()
    some = values[(times > begin * 1000 - LATE) & (times <= end * 1000 - LATE)]
    return int((some == 0).sum()), len(some)


@pytest.mark.parametrize("every", [15, 4])
def test_raw_reports_and_the_ledger_count_every_sample_once(every: int, source: Prometheus) -> None:
    sli = SampleSli('probe_success{job="blackbox"}', good=">= 1", every=every)
    probe = replace(
        slo(service="home", namespace="", window=RollingWindow(12 * 3600, "12h"), policy=None), sli=sli
    )
    of = SloSet("outside", (probe,))
    [item] = slo_report.build(source, of, AT, "raw").slos
    bad, total = _within(END - 12 * 3600, END)
    assert [item.bad, item.total] == [bad, total]
    assert total == 12 * 3600 // 15 - 600 // 15
    assert item.quality.gaps == pytest.approx(600)
    reading = grid_reading.read(source, of, [probe.id], (END - 4 * 3600, END))
    [batch] = reading.batches
    for bucket in batch.buckets:
        assert [bucket.bad, bucket.total] == [1e6 * n for n in _within(bucket.end - GRID, bucket.end)]
    assert sum(bucket.gap for bucket in batch.buckets) == pytest.approx(600)
    assert not any(bucket.carried for bucket in batch.buckets)
