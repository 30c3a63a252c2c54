"""No query is longer than servers take: VictoriaMetrics refuses those over 16 KiB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs import preflight
from jobs.recording import grid_reading
from jobs.reports import slo_report
from sloctl import promql, spec
from sloctl.backends.protocols import Series
from sloctl.model import SloSet
from sloctl.promql.catalogue import METRICS
from tests.support.rule_cases import CASES, ONLY_3, ROOT

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

REFUSED = 16 * 1024
"""Bytes of a query that VictoriaMetrics does not take by default (-search.maxQueryLen)."""


@dataclass
class Deaf:
    """A server that has every metric and no series; it keeps what it is asked."""

    asked: list[str] = field(default_factory=list)
    warnings: tuple[str, ...] = ()

    @property
    def queries(self) -> int:
        return len(self.asked)

    def query(self, expr: str, _at: datetime) -> Sequence[Series]:
        self.asked.append(expr)
        return []

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self.query(expr, at) for name, expr in queries.items()}

    def query_range(self, expr: str, start: datetime, _end: datetime, _step: timedelta) -> Sequence[Series]:
        return self.query(expr, start)

    def metric_names(self, *_: object) -> Sequence[str]:
        return sorted(METRICS)

    def label_values(self, *_: object) -> Sequence[str]:
        return []

    def series(self, *_: object) -> Sequence[Mapping[str, str]]:
        return []

    def build_info(self) -> Mapping[str, str]:
        return {}

    def runtime_info(self) -> Mapping[str, str]:
        return {}

    def alertmanagers(self) -> Sequence[str]:
        return []

    def rules(self) -> Sequence[dict[str, Any]]:
        return []

    def samples_read(self, _expr: str, _at: datetime) -> int:
        return 0


def golden(case: str) -> SloSet:
    source = ROOT / case / "slo.yaml"
    slo_set = spec.load([source if source.exists() else ROOT / case / "slo"])
    return replace(slo_set, sources=replace(slo_set.sources, engine="victoriametrics"))


@pytest.mark.parametrize("case", sorted({*CASES} - ONLY_3))
def test_queries_are_short_enough_for_every_server(case: str) -> None:
    server, slo_set = Deaf(), golden(case)
    end = int(NOON.timestamp())
    grid_reading.read(server, slo_set, [slo.id for slo in slo_set.slos], (end - 3600, end), 1)
    slo_report.build(server, slo_set, NOON, "raw")
    slo_report.build(server, slo_set, NOON, "rules")
    preflight.run(server, slo_set, NOON)  # evaluates each rule once
    assert server.asked
    # What belongs to one definition is one query, if need be a longer one.
    assert [text for text in server.asked if len(promql.dense(text).encode()) > REFUSED - 200] == []


def test_what_is_longer_is_split() -> None:
    exprs = [f'count(up{{job="{number}"}})' + " " * 4_000 for number in range(10)]
    queries = promql.union(exprs)
    assert len(queries) == 4
    assert "\nor\n".join(queries) == "\nor\n".join(exprs)
    assert max(len(query.encode()) for query in queries) <= promql.LONGEST
    assert promql.union(["é" * 10_000, "up"]) == ["é" * 10_000, "up"], "bytes count, not characters"
