"""Where budgets are read from, on a real Prometheus: rules that record, rules that fail, and counters."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.reports import slo_report
from sloctl import naming
from sloctl.backends.prometheus.client import Prometheus
from sloctl.settings.backends import PrometheusSettings
from tests.support.prometheus_fixture import MISSING, running_prometheus
from tests.support.shop_slos import slos

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.xdist_group("budget-sources"),
]
END = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())
HOURS = 3
START = END - HOURS * 3600
LINE = (
    "- {{name: availability, service: {0}, namespace: shop, objective: 99, window: 7d, alerting: none, "
    "sli: {{preset: availability}}}}"
)
SET = slos(*(LINE.format(name) for name in ("cart", "checkout", "orders")))
IDS = {slo.service: slo.id for slo in SET.slos}


def counters() -> Iterator[str]:
    """Ten good requests and one bad in each half a minute, of each service, from pods that are scraped all the time."""
    yield "# TYPE up gauge"
    for slo in SET.slos:
        for at in range(START, END + 1, 30):
            yield f'up{{job="mesh",instance="{slo.service}",pod="{slo.service}"}} 1 {at}'
    yield "# TYPE istio_requests counter"
    for slo in SET.slos:
        for code, each in (("200", 10), ("503", 1)):
            labels = (
                f'reporter="source",destination_service_name="{slo.service}",destination_service_namespace="shop",'
                f'response_code="{code}",response_flags="-",job="mesh",instance="{slo.service}",pod="{slo.service}"'
            )
            for number, at in enumerate(range(START, END + 1, 30)):
                yield f"istio_requests_total{{{labels}}} {number * each} {at}"


def recorded() -> Iterator[str]:
    """What rules recorded: of cart all, of checkout no bad events (that rule fails), of orders nothing at all."""
    values = {naming.OBJECTIVE: 0.99, naming.TOTAL_GRID: 110.0, naming.BAD_GRID: 10.0}
    has = {
        "cart": set(values),
        "checkout": {naming.OBJECTIVE, naming.TOTAL_GRID},
        "orders": {naming.OBJECTIVE},
    }
    for metric, value in values.items():
        yield f"# TYPE {metric} gauge"
        for service, names in has.items():
            if metric in names:
                labels = f'slo_id="{IDS[service]}",slo_set="shop",namespace="shop",service="{service}"'
                for at in range(START + 300, END + 1, 300):
                    yield f"{metric}{{{labels}}} {value} {at}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    text = "\n".join((*counters(), *recorded(), "# EOF", ""))
    folder: Path = tmp_path_factory.mktemp("sources")
    with running_prometheus(folder, text) as url, Prometheus(PrometheusSettings(url)) as client:
        yield client


def test_each_slo_is_read_from_where_it_is_known(source: Prometheus) -> None:
    """The same events, whichever way: 11 in each half a minute, of which one is bad."""
    report = slo_report.build(source, SET, datetime.fromtimestamp(END, UTC))
    buckets = HOURS * 12
    assert {item.service: (item.source, round(item.total), round(item.bad)) for item in report.slos} == {
        "cart": ("rules", buckets * 110, buckets * 10),
        "checkout": ("raw", buckets * 110, buckets * 10),
        "orders": ("raw", buckets * 110, buckets * 10),
    }
    codes = {finding.code for finding in report.findings}
    assert {"mixed-sources", "not-recorded"} <= codes
    assert "no-data" not in codes
