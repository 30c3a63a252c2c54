"""``sloctl backfill`` on a real Prometheus: the month before the rules were loaded, as the raw counters have it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from jobs.recording.backfill import Backfill
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from tests.support.command_line import in_process
from tests.support.prometheus_fixture import MISSING
from tests.support.shop_slos import slos, text

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
LINE = (
    '- {name: availability, service: "*", namespace: shop, objective: 99.9, alerting: none, '
    "sli: {preset: availability}}"
)
END = 1_780_000_137
"""Rules do not record at whole five minutes."""
BEGIN = END - 31 * 86400 // 300 * 300
DOWN = (END - 10 * 86400, END - 10 * 86400 + 2700)
"""Prometheus was down: what counters gained meanwhile counts when they are back."""
OUTAGE = (END - 20 * 86400, END - 20 * 86400 + 3600)


def scraped() -> Iterator[SampledSeries]:
    every = np.arange(BEGIN, END + 1, 150, dtype=np.int64)
    times = every[(every <= DOWN[0]) | (every > DOWN[1])]
    target = {"job": "mesh", "instance": "a", "pod": "a"}
    yield SampledSeries({"__name__": "up", **target}, times * 1000, np.ones_like(times))
    out = (every > OUTAGE[0]) & (every <= OUTAGE[1])
    for code, each in (("200", np.where(out, 0, 50)), ("503", np.where(out, 50, 0))):
        labels = {
            "reporter": "source",
            "destination_service_name": "checkout",
            "destination_service_namespace": "shop",
            "response_code": code,
            "response_flags": "-",
        }
        counted = np.cumsum(each)[np.isin(every, times)]
        yield SampledSeries({"__name__": "istio_requests_total", **labels, **target}, times * 1000, counted)


def report(folder: Path, url: str, source: str) -> dict[str, object]:
    at = datetime.fromtimestamp(END, UTC).isoformat()
    done = in_process(
        *("report", "slo.yaml", "--prometheus", url, "--at", at, "--source", source, "--format", "json"),
        *("--ledger", "none"),
        folder=folder,
    )
    assert done.code == 0, done.stderr
    (row,) = json.loads(done.stdout)["slos"]
    return {name: row[name] for name in ("status", "events", "budget", "quality")}


def test_after_a_backfill_rules_have_the_month_that_raw_counters_have(tmp_path: Path) -> None:
    (tmp_path / "slo.yaml").write_text(text(LINE))
    slo_set = slos(LINE)
    data = tmp_path / "data"
    backfill(scraped(), data)
    with PrometheusServer(tmp_path / "first", data=data) as server, pipeline.source(server) as metrics:
        ten_minutes = Backfill(
            metrics,
            slo_set,
            datetime.fromtimestamp(END - 600, UTC),
            datetime.fromtimestamp(END, UTC),
            tiles=0,
            from_base=False,
        )
        own = [
            SampledSeries(item.labels, item.times, item.values)
            for found in (ten_minutes.base(), ten_minutes.events())
            for item in found
        ]
    backfill(own, data)  # what rules recorded that were loaded a quarter of an hour ago
    at = ("--at", datetime.fromtimestamp(END, UTC).isoformat())
    with PrometheusServer(tmp_path / "second", data=data) as server:
        before = report(tmp_path, server.url, "rules")
        assert before["status"] == "partial"
        assert before["quality"] == {"gaps": 0, "excluded": 0, "recorded": 900}
        raw = report(tmp_path, server.url, "raw")
        done = in_process(
            "backfill", "slo.yaml", "--prometheus", server.url, *at, "-o", "new", folder=tmp_path
        )
        assert (done.code, "next: move its folders" in done.stderr) == (0, True)
        texts = in_process(
            *("backfill", "slo.yaml", "--prometheus", server.url, *at, "-o", "texts"),
            *("--format", "openmetrics", "--from", datetime.fromtimestamp(END - 86400, UTC).isoformat()),
            folder=tmp_path,
        )
        assert texts.code == 0
        (file,) = (tmp_path / "texts").iterdir()
        assert file.read_text().endswith("# EOF\n")
        proposed = in_process("init", "-", "--prometheus", server.url, *at, folder=tmp_path)
        assert proposed.code == 0
        assert "# shop: 1 services with requests in 30d; three quarters of them met 99.5 %" in proposed.stdout
        assert "  - {preset: telemetry-gap}\n" in proposed.stdout
    for block in (tmp_path / "new").iterdir():
        shutil.move(block, data / block.name)
    with PrometheusServer(tmp_path / "third", data=data) as server:
        after = report(tmp_path, server.url, "rules")
        again = in_process(
            "backfill", "slo.yaml", "--prometheus", server.url, *at, "-o", "no", folder=tmp_path
        )
    assert after["status"] == "exhausted"
    assert after["events"] == pytest.approx(raw["events"])
    assert after["budget"] == pytest.approx(raw["budget"])
    assert after["quality"] == {"gaps": pytest.approx(2700, abs=300), "excluded": 0}, "nothing is made up"
    assert again.stderr == "nothing is missing: all that there are counters of is recorded\n"
