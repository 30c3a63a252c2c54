"""The job ``sidecar_restarts`` over answers that are known, and its rows for the report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf, nan
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from jobs import sidecar_restarts
from jobs.sidecar_restarts import DAY, RestartFrames
from sloctl.backends.protocols import Series
from sloctl.errors import BackendError, BackendTimeout, BackendUnavailable
from sloctl.guardrails import restarts
from sloctl.model import Guardrail, Mesh, SloSet
from sloctl.report import data
from sloctl.report.health import HEADERS, SidecarRestarts, json_schema, text_rows, to_json
from tests.support.command_line import Outcome, in_process
from tests.support.faulty_server import FaultyServer, Handler, answer, status

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
GUARDRAIL = Guardrail("sidecar-restarts", Decimal("0.01"))
SET = SloSet("shop", (), guardrails=(GUARDRAIL,))
Restarts = dict[tuple[str, str, str, str], float]
"""By namespace, workload, pod and reason."""
TODAY: Restarts = {
    ("shop", "checkout", "checkout-a", "OOMKilled"): 3,
    ("shop", "checkout", "checkout-b", "Error"): 1,
    ("shop", "checkout", "checkout-c", "Error"): 1,
    ("shop", "checkout", "checkout-d", "Error"): 2,
    ("infra", "ztunnel", "ztunnel-a", "Error"): 1,
}
PODS = {("shop", "checkout"): 4.0, ("shop", "cart"): 2.0, ("infra", "ztunnel"): 3.0}


@dataclass
class Source:
    """A ``MetricSource`` that knows restarts and pods by instant and window (seconds)."""

    restarts: dict[tuple[datetime, int], Restarts] = field(default_factory=dict)
    pods: dict[tuple[datetime, int], dict[tuple[str, str], float]] = field(default_factory=dict)
    slo_set: SloSet = SET
    fault: BackendError | None = None
    warnings: Sequence[str] = ()
    queries: int = 0

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        self.queries += 1
        if self.fault:
            raise self.fault
        guardrail = next(iter(self.slo_set.guardrails), Guardrail("sidecar-restarts"))
        for (instant, window), found in self.restarts.items():
            if instant == at and expr == restarts.by_reason(self.slo_set, guardrail, window):
                return self._series(found, ("namespace", "workload", "pod", "reason"))
        for (instant, window), counts in self.pods.items():
            if instant == at and expr == restarts.mean_pods(self.slo_set, guardrail, window):
                return self._series(counts, ("namespace", "workload"))
        return []

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self.query(expr, at) for name, expr in queries.items()}

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        raise AssertionError("not asked for")

    @staticmethod
    def _series(found: Mapping[Any, float], labels: Sequence[str]) -> list[Series]:
        return [
            {"metric": dict(zip(labels, key, strict=True)), "value": [AT.timestamp(), str(value)]}
            for key, value in found.items()
        ]


def known(**more: Any) -> Source:
    return Source({(AT, DAY): TODAY}, {(AT, DAY): PODS}, **more)


def by_workload(found: RestartFrames) -> dict[str, dict[str, Any]]:
    return {row["workload"]: row for row in sidecar_restarts.rows(found)}


class TestFrames:
    def test_have_their_columns_and_types_also_when_empty(self) -> None:
        for source in (known(), Source()):
            found = sidecar_restarts.run(source, SET, AT)
            assert {name: str(kind) for name, kind in found.workloads.dtypes.items()} == {
                "seconds": "int64",
                "namespace": "str",
                "workload": "str",
                **dict.fromkeys(("pods", "restarts", "per_pod_day", "before", "trend"), "float64"),
            }
            assert {name: str(kind) for name, kind in found.pods.dtypes.items()} == {
                "seconds": "int64",
                **dict.fromkeys(("namespace", "workload", "pod", "reason"), "str"),
                "restarts": "float64",
            }
        assert sidecar_restarts.rows(found) == []

    def test_have_every_workload_the_worst_first(self) -> None:
        found = sidecar_restarts.run(known(), SET, AT, (DAY,))
        assert list(found.workloads["workload"]) == ["checkout", "ztunnel", "cart"]
        assert list(found.workloads["restarts"]) == [7, 1, 0]
        assert found.pods.iloc[0]["pod"] == "checkout-a"

    @pytest.mark.parametrize("value", [nan, inf, -inf, -1, 1e15])
    def test_leave_out_what_cannot_be(self, value: float) -> None:
        source = known()
        source.restarts[AT, DAY] = TODAY | {("shop", "cart", "cart-a", "Error"): value}
        source.pods[AT, DAY] = PODS | {("infra", "ztunnel"): value}
        rows = by_workload(sidecar_restarts.run(source, SET, AT, (DAY,)))
        assert rows["cart"]["restarts"] == 0
        assert (rows["ztunnel"]["pods"], rows["ztunnel"]["per_pod_day"]) == (None, None)


class TestRows:
    def test_say_who_why_and_how_often(self) -> None:
        rows = by_workload(sidecar_restarts.run(known(), SET, AT, (DAY,)))
        assert rows["checkout"] == {
            "window": "1d",
            "namespace": "shop",
            "workload": "checkout",
            "pods": 4,
            "restarts": 7,
            "per_pod_day": 1.75,
            "reasons": {"Error": 4, "OOMKilled": 3},
            "worst_pods": {"checkout-a": 3, "checkout-d": 2, "checkout-b": 1},
            "before": None,
            "trend": None,
        }
        assert rows["cart"]["per_pod_day"] == 0

    def test_a_week_is_seven_days(self) -> None:
        source = Source({(AT, 7 * DAY): TODAY}, {(AT, 7 * DAY): PODS})
        rows = by_workload(sidecar_restarts.run(source, SET, AT))
        assert rows["checkout"]["window"] == "7d"
        assert rows["checkout"]["per_pod_day"] == 0.25

    def test_no_frame_holds_what_json_cannot(self) -> None:
        rows = sidecar_restarts.rows(sidecar_restarts.run(known(), SET, AT))
        assert json.loads(json.dumps(rows, allow_nan=False)) == rows

    @pytest.mark.parametrize(
        ("before", "pods", "expected"),
        [
            ({("shop", "checkout", "checkout-x", "Error"): 14.0}, PODS, (14, 0.5)),
            ({}, PODS, (0, None)),  # none to compare with
            ({}, {}, (None, None)),  # nobody knows
            ({}, {("shop", "cart"): 1.0}, (None, None)),  # not deployed then
        ],
    )
    def test_the_trend_is_against_the_week_before(
        self,
        before: Restarts,
        pods: dict[tuple[str, str], float],
        expected: tuple[float | None, float | None],
    ) -> None:
        source = known()
        source.restarts[AT - WEEK, DAY], source.pods[AT - WEEK, DAY] = before, pods
        row = by_workload(sidecar_restarts.run(source, SET, AT, (DAY,)))["checkout"]
        assert (row["before"], row["trend"]) == expected

    def test_a_longer_window_is_compared_with_one_that_it_does_not_overlap(self) -> None:
        source = Source({(AT, 8 * DAY): TODAY}, {(AT, 8 * DAY): PODS})
        source.restarts[AT - 2 * WEEK, 8 * DAY] = TODAY
        row = by_workload(sidecar_restarts.run(source, SET, AT, (8 * DAY,)))["checkout"]
        assert row["trend"] == 1

    def test_requests_do_not_grow_with_pods(self) -> None:
        source = known()
        sidecar_restarts.run(source, SET, AT)
        assert source.queries == 8

    def test_a_file_without_the_guardrail_has_them_too_of_all_namespaces(self) -> None:
        bare = SloSet("shop", (), mesh=Mesh())
        source = known(slo_set=bare)
        assert by_workload(sidecar_restarts.run(source, bare, AT, (DAY,)))["checkout"]["restarts"] == 7


class TestReport:
    def test_has_the_workloads_that_restarted_the_worst_first(self) -> None:
        source = known()
        assert sidecar_restarts.rows_for_report(source, SET, AT) == (
            SidecarRestarts("shop", "checkout", 4, 7, 1.75, {"Error": 4, "OOMKilled": 3}),
            SidecarRestarts("infra", "ztunnel", 3, 1, 1 / 3, {"Error": 1}),
        )
        assert source.queries == 2

    def test_has_none_without_the_guardrail_and_asks_nothing(self) -> None:
        source = known()
        assert sidecar_restarts.rows_for_report(source, SloSet("shop", ()), AT) == ()
        assert source.queries == 0

    def test_has_none_without_data(self) -> None:
        assert sidecar_restarts.rows_for_report(Source(), SET, AT) == ()

    def test_a_workload_whose_pods_are_not_known_has_no_rate(self) -> None:
        source = Source({(AT, DAY): TODAY})
        rows = sidecar_restarts.rows_for_report(source, SET, AT)
        assert {row.per_pod_day for row in rows} == {None}
        jsonschema.validate(to_json(rows), {"type": "array", "items": json_schema()})

    def test_json_is_as_the_schema_says(self) -> None:
        rows = to_json(sidecar_restarts.rows_for_report(known(), SET, AT))
        assert rows[0]["reasons"] == {"Error": 4, "OOMKilled": 3}
        jsonschema.validate(rows, {"type": "array", "items": json_schema()})
        jsonschema.validate(rows, data.json_schema()["properties"]["sidecar_restarts"])

    def test_lines_of_text(self) -> None:
        rows = text_rows(sidecar_restarts.rows_for_report(known(), SET, AT))
        assert [len(row) for row in rows] == [len(HEADERS)] * 2
        assert rows[0] == ("shop", "checkout", "4", "7", "1.75", "Error 4, OOMKilled 3")
        assert text_rows([SidecarRestarts("shop", "x", 0, 1, None)])[0][4] == "–"

    def test_needs_no_frames(self) -> None:
        code = "import sys, jobs.sidecar_restarts; sys.exit('pandas' in sys.modules)"
        assert (
            subprocess.run(
                [sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]
            ).returncode
            == 0
        )


@pytest.mark.parametrize("fault", [BackendTimeout, BackendUnavailable])
def test_a_fault_is_not_an_empty_answer(fault: type[BackendError]) -> None:
    source = known(fault=fault("it did not answer", backend="prometheus", url="http://prometheus"))
    with pytest.raises(fault):
        sidecar_restarts.run(source, SET, AT)
    with pytest.raises(fault):
        sidecar_restarts.rows_for_report(source, SET, AT)


SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
guardrails:
  - {preset: sidecar-restarts}
"""


class TestCommandLine:
    def serve(self, handler: Handler) -> None:
        at = datetime.fromtimestamp(float(handler.received.form["time"]), UTC)
        result = known().query(handler.received.form["query"], at)
        answer({"resultType": "vector", "result": list(result)})(handler)

    def run(self, folder: Path, url: str, *arguments: str) -> Outcome:
        (folder / "slo.yaml").write_text(SLO_FILE)
        more = ("--prometheus", url, "--at", "2026-03-01T12:00:00Z", *arguments)
        return in_process("run", "sidecar_restarts", "-f", "slo.yaml", *more, folder=folder)

    def test_json(self, tmp_path: Path) -> None:
        with FaultyServer(self.serve) as server:
            done = self.run(tmp_path, server.url, "--format", "json", "--last", "1d")
        assert done.code == 0, done.stderr
        assert [row["workload"] for row in json.loads(done.stdout)] == ["checkout", "ztunnel", "cart"]
        assert json.loads(done.stdout)[0]["reasons"] == {"Error": 4, "OOMKilled": 3}

    def test_table(self, tmp_path: Path) -> None:
        with FaultyServer(self.serve) as server:
            done = self.run(tmp_path, server.url)
        assert done.code == 0, done.stderr
        assert "Error 4, OOMKilled 3" in done.stdout
        assert "checkout-a 3, checkout-d 2, checkout-b 1" in done.stdout

    def test_nothing_is_said_to_be_nothing(self, tmp_path: Path) -> None:
        with FaultyServer(answer({"resultType": "vector", "result": []})) as server:
            done = self.run(tmp_path, server.url)
        assert (done.code, done.stdout) == (0, "")
        assert "sidecar_restarts: no data" in done.stderr

    @pytest.mark.slow
    def test_a_server_that_fails(self, tmp_path: Path) -> None:
        with FaultyServer(status(503)) as server:
            done = self.run(tmp_path, server.url, "--timeout", "2")
        assert (done.code, done.stdout) == (3, "")
        assert "Traceback" not in done.stderr
