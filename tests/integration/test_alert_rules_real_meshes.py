"""What real meshes do to counters: rules, a report from raw counters and the ledger count what truly happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from jobs.recording import record
from jobs.reports import slo_report
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.openmetrics import SampledSeries, backfill
from sloctl.demo.server import PrometheusServer
from sloctl.ledger.protocol import MICRO
from sloctl.ledger.store import open_ledger
from sloctl.model import RollingWindow, SloSet
from sloctl.naming import BAD_GRID, BAD_TILE, TOTAL_GRID, TOTAL_TILE
from sloctl.settings.secret import Secret
from tests.support.promtool import Inputs, evaluate, rule_texts, slo
from tests.support.real_meshes import CASES, MINUTES, MeshCase, sampled

RULES = {scope: rule_texts(slo(service=scope, policy=None)) for scope in ("checkout", "*")}


@pytest.mark.parametrize("tiles", [False, True], ids=["grid", "tiles"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rules_count_what_can_be_known(case: MeshCase, tiles: bool) -> None:
    metrics = (BAD_TILE, TOTAL_TILE) if tiles else (BAD_GRID, TOTAL_GRID)
    step = 1 if tiles else 5
    # promtool evaluates nothing that begins before the first sample: the end of each step is asked for.
    queries = [(metric, f"{minute}m") for minute in range(step, MINUTES + 1, step) for metric in metrics]
    [found] = evaluate(
        RULES["*" if tiles else "checkout"],
        [Inputs(case.raw, queries, "30s")],
        evaluation_interval="1m" if tiles else "5m",
    )
    values = [answer[0][1] if answer else 0.0 for answer in found]
    bad, total = values[::2], values[1::2]
    assert sum(bad) == case.bad
    assert sum(bad[: case.by // step]) == case.bad
    if case.total is not None:
        assert sum(total) == case.total
    assert all(b <= t for b, t in zip(bad, total, strict=True))


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
def reported(source: Prometheus, slo_set: SloSet) -> Counts:
    """What a report makes of raw counters."""
    report = slo_report.build(source, slo_set, AT, "raw")
    return {item.namespace: (item.bad, item.total) for item in report.slos}


@pytest.fixture(scope="module")
def kept(source: Prometheus, slo_set: SloSet, tmp_path_factory: pytest.TempPathFactory) -> Counts:
    """What is recorded in a ledger."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    sums: Counts = {}
    with open_ledger(Secret(f"sqlite:///{path}")) as ledger:
        recorded = record.run(source, slo_set, ledger, AT, keep_batches=WINDOW.seconds)
    for batch in recorded.batches:
        for bucket in batch.buckets:
            bad, total = sums.get(bucket.namespace, (0.0, 0.0))
            sums[bucket.namespace] = bad + bucket.bad / MICRO, total + bucket.total / MICRO
    return sums


@pytest.mark.xdist_group("real meshes")
@pytest.mark.parametrize("where", ["reported", "kept"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_reports_and_the_ledger_say_the_same(
    case: MeshCase, where: str, request: pytest.FixtureRequest
) -> None:
    bad, total = request.getfixturevalue(where)[NAMES[case.name]]
    assert bad == case.bad
    if case.total is not None:
        assert total == case.total
