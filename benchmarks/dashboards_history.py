"""A mesh and what the rules recorded of it, each series as far back as some dashboard looks at it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alert_rules.groups import RecordingRule
from alert_rules.manifest import rule_files
from benchmarks.bench_guardrails import PAST
from benchmarks.history import constant, times
from benchmarks.mesh import RECENT, Mesh, Workload
from sloctl import naming
from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.model import GRID, TILE, SloSet
from sloctl.promql.presets import REQUESTS
from tests.support.grafana import Choice, Json, View, queries, seconds

HOUR = 3600
ONE = ("team-0", "service-1")
"""The service that dashboards of one service show: its series reach further back than those of the others."""
RAW = 6 * HOUR
"""How far back requests are counted; of :data:`ONE` as far as is asked for."""
_READ = re.compile(r"([a-zA-Z_]\w*(?::\w+)+)\{([^}]*)\}(?:\[(\w+)\])?")


@dataclass(frozen=True, slots=True)
class Span:
    """How far back a recorded series is read (seconds), by whether ranges of it are."""

    every: int = 0
    one: int = 0
    ranged: bool = False


def needed(opened: Iterable[tuple[Json, View]], chosen: Mapping[str, Sequence[str]]) -> dict[str, Span]:
    """How far back dashboards look at each recorded series: that of all services, and that of one."""
    found: dict[str, Span] = {}
    for board, view in opened:
        variables = board["templating"]["list"]
        choices = {v["name"]: _choice(v, chosen) for v in variables}
        for query in queries(board, view, choices)[0]:
            shown = 0 if query.instant else round(query.end - query.start)
            for name, where, window in _READ.findall(query.expr):
                before = found.get(name, Span())
                span = shown + (round(seconds(window)) if window else GRID)
                alone = f'service="{ONE[1]}"' in where
                found[name] = Span(
                    before.every if alone else max(before.every, span),
                    max(before.one, span),
                    before.ranged or bool(window),
                )
    return found


def _choice(variable: Json, chosen: Mapping[str, Sequence[str]]) -> Choice:
    if variable.get("multi"):
        return Choice((), many=True, every=".*")
    return Choice(tuple(chosen.get(variable["name"], [""])))


@dataclass(frozen=True)
class Past:
    """The series of a mesh, raw and recorded."""

    slo_set: SloSet
    mesh: Mesh
    spans: Mapping[str, Span]

    def raw(self, one: int) -> Iterator[SampledSeries]:
        """What the mesh exposes; requests of the last hours, those to :data:`ONE` of the last ``one`` seconds."""
        rng = np.random.default_rng(2)
        shapes = {}
        for span in (RAW, one):
            at = times(self.mesh.end, span, TILE)
            shapes[span] = at, *(np.cumsum(rng.poisson(rate, len(at))).astype(np.int64) for rate in (500, 1))
        for series in self.mesh.series():
            if series.labels["__name__"] == REQUESTS:
                own = (
                    series.labels["destination_service_namespace"],
                    series.labels["destination_service_name"],
                )
                at, many, few = shapes[one if own == ONE else RAW]
                rare = series.labels["response_code"] != "200"
                series = replace(series, timestamps=at, values=few if rare else many)
            yield series

    def recorded(self, signals: Mapping[str, list[dict[str, str]]]) -> Iterator[SampledSeries]:
        """What the rules recorded: ``signals`` are the label sets of the guardrails' series."""
        once: dict[tuple[tuple[str, str], ...], SampledSeries] = {}
        for record, sets in signals.items():
            least = max((span for name, span in PAST.items() if record.startswith(name)), default=RECENT)
            for own in sets:
                labels = {"__name__": record, naming.SLO_SET: self.slo_set.name} | own
                self._add(once, labels, TILE, least)
        for file in rule_files(self.slo_set):
            for group in file.groups:
                for rule in group.rules:
                    if (
                        isinstance(rule, RecordingRule)
                        and file.slos
                        and not rule.record.startswith("service:")
                    ):
                        for workload in self.mesh.workloads():
                            if workload.namespace == file.slos[0].namespace:
                                self._slo(once, rule, workload, group.interval)
        for number in range(10):
            labels = {
                "__name__": "ALERTS",
                "alertname": "BudgetBurn",
                "alertstate": "firing",
                "severity": "page",
            }
            labels |= {
                naming.SLO_SET: self.slo_set.name,
                "namespace": "team-0",
                "service": f"service-{number}",
            }
            self._add(once, labels, TILE, 3 * HOUR)
        yield from once.values()

    def _slo(
        self,
        once: dict[tuple[tuple[str, str], ...], SampledSeries],
        rule: RecordingRule,
        workload: Workload,
        step: int,
    ) -> None:
        labels = {naming.SERVICE: workload.name, naming.NAMESPACE: workload.namespace} | rule.labels
        labels["__name__"] = rule.record
        if rule.record != naming.BAD_CAUSES:
            self._add(once, labels, step, GRID)
            return
        code = {"response_code": "503", "response_flags": "UF", "destination_version": "v1"}
        for source in range(2):
            client = {"source": f"service-{source}", "source_namespace": "team-0"}
            self._add(once, labels | code | client, step, GRID)

    def _add(
        self,
        once: dict[tuple[tuple[str, str], ...], SampledSeries],
        labels: dict[str, str],
        step: int,
        least: int,
    ) -> None:
        """A series that is 1 all the time; what is only read one by one is written every five minutes."""
        read = self.spans.get(labels["__name__"], Span())
        own = (labels.get(naming.NAMESPACE), labels.get(naming.SERVICE))
        span = max(least, read.one if own == ONE else read.every)
        wide = span > 24 * HOUR and not read.ranged
        at = times(self.mesh.end, span, GRID if wide else step)
        once[tuple(sorted(labels.items()))] = constant(labels, at, 1)
