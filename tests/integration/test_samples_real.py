"""Samples of a gauge, and events by a label, on a real Prometheus: reports and the ledger's reading agree with plain
counting."""

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
from sloctl.model import GRID, ExprSli, RollingWindow, SampleSli, SloSet
from sloctl.report import html
from tests.support.promtool import slo

END = 1_780_000_200
AT = datetime.fromtimestamp(END, UTC)
HOURS = 14
LATE = 30_000
OUTAGE = (END - 3 * 3600, END - 3 * 3600 + 600)
"""When the exporter could not be scraped (Unix seconds)."""
TARGET = {"job": "blackbox", "instance": "a"}
HOST = '<b>"x\\y|&=,z</b>'
"""A value of a label that would be something else in a query, a page or a table."""
MANY = 502


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
        SampledSeries({"__name__": "age", **TARGET}, times, np.where(times < (END - 1800) * 1000, 1, np.nan)),
    ]
    even = np.arange(END - 5400, END + 1, 30, dtype=np.int64) * 1000
    for number in range(MANY):
        labels = {"host": HOST if number == 3 else f"h{number}", **TARGET}
        gained = np.where(even > (END - 900) * 1000, number, 0)
        series.append(SampledSeries({"__name__": "calls_total", **labels}, even, 1000 + gained + number % 2))
        series.append(SampledSeries({"__name__": "failures_total", **labels}, even, gained * (number % 2)))
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


def test_what_is_no_number_is_a_gap(source: Prometheus) -> None:
    made = slo(service="home", namespace="", window=RollingWindow(2 * 3600, "2h"), policy=None)
    age = replace(made, sli=SampleSli("age", bad="> 300", every=15))
    [item] = slo_report.build(source, SloSet("outside", (age,)), AT, "raw").slos
    assert (item.bad, item.total) == (0, 3600 * 2 // 15 - (1800 - LATE // 1000) // 15)
    assert item.quality.gaps == pytest.approx(1800 - LATE // 1000)


def test_each_value_of_a_label_has_a_budget_and_very_many_are_told(source: Prometheus) -> None:
    sli = ExprSli(total="sum by (host) (rate(calls_total[$window]))", bad="rate(failures_total[$window])")
    made = slo(service="*", namespace="edge", window=RollingWindow(3600, "1h"), policy=None)
    edge = replace(made, name="calls", per="host", sli=sli, overridden=("h5",))
    of = SloSet("outside", (edge,))
    report = slo_report.build(source, of, AT, "raw")
    counts = {item.service: (item.bad, item.total) for item in report.slos}
    assert counts == {
        HOST if number == 3 else f"h{number}": (number * (number % 2), number)
        for number in range(MANY)
        if number != 5
    }
    [many] = [finding for finding in report.findings if finding.code == "many-values"]
    assert many.scope == {"slo": "calls", "namespace": "edge"} and "501 values" in many.message
    [batch] = grid_reading.read(source, of, [edge.id], (END - 1800, END)).batches
    sums: dict[str, list[float]] = {}
    for bucket in batch.buckets:
        both = sums.setdefault(bucket.service, [0.0, 0.0])
        both[0] += bucket.bad / 1e6
        both[1] += bucket.total / 1e6
    assert sums == {service: [*both] for service, both in counts.items() if both[1]}
    assert sums[HOST] == [3, 3]
    page = html.page(replace(report, slos=tuple(item for item in report.slos if item.service == HOST)))
    assert HOST not in page and "&lt;b&gt;" in page
