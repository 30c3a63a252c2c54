"""What a set's rules would have recorded lately, without waiting for it.

Rules record every minute or every five: a dashboard would be empty until then. Here each rule's own expression is
evaluated by a real Prometheus at the instants of its group, and what it gives is written beside the rest, rules that
read other rules after these. Alerts too: ``ALERTS`` where an expression held as long as the rule wants it to, without
labels that are templates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from alert_rules.groups import AlertRule, RecordingRule
from alert_rules.manifest import rule_files
from sloctl.artefacts.openmetrics import SampledSeries, backfill
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo import pipeline
from sloctl.demo.server import PrometheusServer
from sloctl.model import SloSet

_NAME = re.compile(r"[a-zA-Z_]\w*(?::\w+)+")
Rule = tuple[int, RecordingRule | AlertRule]
"""A rule with the interval of its group, in seconds."""


def stages(slo_set: SloSet, known: frozenset[str] = frozenset()) -> list[list[Rule]]:
    """The rules that record or alert, but for those whose series are ``known``: each reads only stages before it."""
    rules = [(g.interval, r) for file in rule_files(slo_set) for g in file.groups for r in g.rules]
    reads: dict[str, set[str]] = {}
    for _, rule in rules:
        if isinstance(rule, RecordingRule):
            reads.setdefault(rule.record, set()).update(_NAME.findall(rule.expr))
    depth: dict[str, int] = {}

    def deep(name: str) -> int:
        if name not in depth:
            depth[name] = 0
            found = (reads[name] & reads.keys()) - {name} - known
            depth[name] = max((deep(one) + 1 for one in found), default=0)
        return depth[name]

    last = max((deep(name) for name in reads), default=0) + 1
    out: list[list[Rule]] = [[] for _ in range(last + 1)]
    for interval, rule in rules:
        if isinstance(rule, AlertRule):
            out[last].append((interval, rule))
        elif rule.record not in known:
            out[depth[rule.record]].append((interval, rule))
    return [stage for stage in out if stage]


def record(slo_set: SloSet, data: Path, scratch: Path, end: int, seconds: int) -> None:
    """Add to the TSDB ``data`` what the rules would have recorded in the ``seconds`` before ``end``.

    Series whose names it has already are left as they are. No server may run on ``data``.
    """
    with PrometheusServer(scratch / "known", data=data) as server, pipeline.source(server) as source:
        known = frozenset(source.metric_names())
    for number, stage in enumerate(stages(slo_set, known)):
        with PrometheusServer(scratch / str(number), data=data) as server, pipeline.source(server) as source:
            found = {
                tuple(sorted(one.labels.items())): one
                for rule in stage
                for one in _evaluated(source, *rule, end, seconds)
            }
        backfill(found.values(), data)


def _evaluated(
    source: Prometheus, interval: int, rule: RecordingRule | AlertRule, end: int, seconds: int
) -> Iterator[SampledSeries]:
    last = datetime.fromtimestamp(end // interval * interval, UTC)
    first = last - timedelta(seconds=seconds // interval * interval)
    for item in source.query_range(rule.expr, first, last, timedelta(seconds=interval)):
        own = {name: text for name, text in item["metric"].items() if name != "__name__"}
        points = np.array(item["values"], dtype=np.float64)
        times = np.rint(points[:, 0] * 1000).astype(np.int64)
        if isinstance(rule, RecordingRule):
            yield SampledSeries({"__name__": rule.record} | own | rule.labels, times, points[:, 1])
            continue
        held = _held(times, interval * 1000)
        firing = times[held >= rule.for_ * 1000]
        if len(firing):
            name = {"__name__": "ALERTS", "alertname": rule.alert, "alertstate": "firing"}
            fixed = {name: text for name, text in rule.labels.items() if "{{" not in text}
            yield SampledSeries(name | own | fixed, firing, np.ones(len(firing)))


def _held(
    times: np.ndarray[tuple[int], np.dtype[np.int64]], step: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """For how long there has been something at each instant without a break."""
    begins = np.where(np.diff(times, prepend=times[0] - 2 * step) > step, times, 0)
    return times - np.maximum.accumulate(begins)
