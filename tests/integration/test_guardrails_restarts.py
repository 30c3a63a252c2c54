"""Restarts of proxies as real clusters tell of them: rules and the job count what truly happened, and the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from jobs import sidecar_restarts
from sloctl.artefacts.openmetrics import backfill
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.model import Guardrail, Matcher, Mesh, SloSet
from tests.support.promtool import Inputs, evaluate, loaded_rules
from tests.support.real_meshes import MINUTES, sampled
from tests.support.real_restarts import CASES

START = 1_780_000_200
AT = datetime.fromtimestamp(START + MINUTES * 60, UTC)
NAMES = {name: f"case-{number}" for number, name in enumerate(CASES)}
"""Each case is a cluster of its own, and a namespace."""
MESH = Mesh(matchers=(Matcher("cluster", "=~", "case-.+"),))
SET = SloSet("shop", (), mesh=MESH, guardrails=(Guardrail("sidecar-restarts", Decimal("0.01")),))
EARLY = 10
"""Minutes before the job's windows; nothing happens in them."""
LATE = (55, 85)
"""Minutes of a later window: the one before it ends after the gaps, or within them."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, float]:
    """What rules count, minute by minute."""
    raw = {
        text.replace('"shop"', f'"{NAMES[name]}"'): notation
        for name, case in CASES.items()
        for text, notation in case.raw.items()
    }
    restarts = f"sum_over_time(workload:sidecar_restarts:increase1m[{MINUTES}m])"
    none = f"0 * max_over_time(workload:sidecar_pods:count[{MINUTES}m])"
    query = (f"sum by (namespace) ({restarts} or {none})", f"{MINUTES}m")
    [[found]] = evaluate(loaded_rules(SET), [Inputs(raw, [query], "30s")])
    return {labels["namespace"]: value for labels, value in found}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scraped all cases."""
    folder = tmp_path_factory.mktemp("restarts")
    series = [one for name, case in CASES.items() for one in sampled(case.raw, START, NAMES[name])]
    backfill(series, folder / "data")
    with PrometheusServer(folder, data=folder / "data") as server, pipeline.source(server) as metrics:
        yield metrics


Counts = dict[str, float]
"""Restarts by namespace."""


def _counted(source: Prometheus, at: datetime, minutes: int) -> Counts:
    found = sidecar_restarts.run(source, SET, at, (minutes * 60,))
    return {str(name): float(n) for name, n in found.workloads.groupby("namespace")["restarts"].sum().items()}


@pytest.fixture(scope="module")
def of_one_window(source: Prometheus) -> Counts:
    """What the job counts in one window."""
    return _counted(source, AT, MINUTES - EARLY)


@pytest.fixture(scope="module")
def of_two_windows(source: Prometheus) -> dict[int, tuple[Counts, Counts]]:
    """What it counts in two windows that adjoin, by the minutes of the later one."""
    return {
        late: (
            _counted(source, AT - timedelta(minutes=late), MINUTES - EARLY - late),
            _counted(source, AT, late),
        )
        for late in LATE
    }


@pytest.mark.xdist_group("restarts")
@pytest.mark.parametrize("name", CASES)
class TestRealRestarts:
    def test_rules_count_what_can_be_known(self, name: str, recorded: Counts) -> None:
        assert recorded[NAMES[name]] == CASES[name].restarts

    def test_the_job_counts_the_same(self, name: str, of_one_window: Counts) -> None:
        assert of_one_window[NAMES[name]] == CASES[name].restarts

    @pytest.mark.parametrize("late", LATE)
    def test_its_adjoining_windows_add_up(
        self, name: str, late: int, of_two_windows: dict[int, tuple[Counts, Counts]]
    ) -> None:
        found = [counts.get(NAMES[name], 0.0) for counts in of_two_windows[late]]
        assert sum(found) == CASES[name].restarts
