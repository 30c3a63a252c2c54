"""How many samples Prometheus reads to evaluate the rules of one SLO, against other ways to write such rules.

Samples are the server's own count (``totalQueryableSamples``), so the figures do not depend on the machine.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from alert_rules.manifest import rule_files
from benchmarks import measure
from benchmarks.history import DAY, Service, constant, recorded, serving, times
from sloctl import naming, spec
from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.backends.prometheus.client import Prometheus
from sloctl.model import GRID, SloSet
from sloctl.settings.backends import PrometheusSettings

SLO_FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: bench}
defaults: {objective: 99.9, owner: bench, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: small, sli: {preset: availability}}
  - {name: availability, service: checkout, namespace: large, sli: {preset: availability}}
  - {name: availability, service: "*", namespace: wide, sli: {preset: availability}}
"""
SIZES = {
    "small": "1 service, 3 counters",
    "large": "1 service, 200 counters",
    "wide": "200 services, 2 counters each",
}
RATE_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
RECENT = 12 * 3600
_UP = re.compile(r"\w+_over_time\(up[^()]*\)")


def services() -> list[Service]:
    return [
        Service("checkout", "small", ("200", "404", "503")),
        Service("checkout", "large", ("200", "201", "404", "500", "503"), pods=40),
        *(Service(f"service-{number}", "wide", ("200", "503")) for number in range(200)),
    ]


def ratios(end: int) -> Iterator[SampledSeries]:
    """Error ratios over 5 minutes as other rule sets record them, every minute and every 5 minutes."""
    for service in services():
        labels = {"namespace": service.namespace, "service": service.name}
        for metric, step in (("ratio_1m", 60), ("ratio_5m", 300)):
            yield constant({"__name__": metric} | labels, times(end, 30 * DAY, step), 0)
        for window in RATE_WINDOWS:
            yield constant({"__name__": f"ratio:{window}"} | labels, times(end, 0, 60), 0)


@dataclass
class RuleSet:
    """Expressions by the seconds between two evaluations."""

    name: str
    rules: dict[int, list[str]] = field(default_factory=dict)


def rate_ratio(namespace: str, window: str, function: str = "rate") -> str:
    where = f'reporter="source",destination_service_namespace="{namespace}"'
    bad = f'{function}(istio_requests_total{{{where},response_code=~"5.."}}[{window}])'
    total = f"{function}(istio_requests_total{{{where}}}[{window}])"
    by = "sum by (destination_service_name)"
    return f"{by} ({bad}) / {by} ({total})"


def burn_alerts(namespace: str) -> list[str]:
    """Two alerts of two pairs of windows over recorded ratios, as the SRE workbook has them."""
    pairs = ((("1h", "5m"), ("6h", "30m")), (("1d", "2h"), ("3d", "6h")))
    return [
        " or ".join(
            f'(ratio:{long}{{namespace="{namespace}"}} > 0.01 and ratio:{short}{{namespace="{namespace}"}} > 0.01)'
            for long, short in lines
        )
        for lines in pairs
    ]


def others(namespace: str) -> Iterator[RuleSet]:
    windows = [rate_ratio(namespace, window) for window in RATE_WINDOWS]
    ratio = f'ratio_1m{{namespace="{namespace}"}}[30d]'
    yield RuleSet(
        "windows from raw counters, average of ratios for 30 d (as Sloth does), every 1 m",
        {60: [*windows, f"sum_over_time({ratio}) / count_over_time({ratio})", *burn_alerts(namespace)]},
    )
    yield RuleSet(
        "all from raw counters: those windows every 1 m, 30 d every 5 m",
        {60: [*windows, *burn_alerts(namespace)], GRID: [rate_ratio(namespace, "30d", "increase")]},
    )


def budgets(slo_set: SloSet, namespace: str) -> Iterator[RuleSet]:
    """The 30-day error ratio alone, every 5 minutes."""
    rules = [
        expr
        for record, expr, _ in ours(slo_set, namespace)
        if record in (naming.PERIOD_TOTAL, naming.PERIOD_BAD, naming.REMAINING)
    ]
    yield RuleSet("sloctl: sums over the 5-minute grid", {GRID: rules})
    yield RuleSet(
        "raw: `sum(increase(bad[30d])) / sum(increase(total[30d]))`",
        {GRID: [rate_ratio(namespace, "30d", "increase")]},
    )
    yield RuleSet(
        "`avg_over_time(ratio[30d])` of 5-minute ratios (not an error budget)",
        {GRID: [rate_ratio(namespace, "5m"), f'avg_over_time(ratio_5m{{namespace="{namespace}"}}[30d])']},
    )


def ours(slo_set: SloSet, namespace: str) -> Iterator[tuple[str, str, int]]:
    """(name, expression, interval) of every rule of a namespace's scope."""
    for file in rule_files(slo_set):
        if file.slos[0].namespace == namespace:
            for group in file.groups:
                for rule in group.rules:
                    yield getattr(rule, "record", "alert"), rule.expr, group.interval


def main() -> None:
    measure.title("Samples read by rules")
    slo_set, _ = spec.check([Path("-")], stdin=io.BytesIO(SLO_FILE.encode()))
    assert slo_set is not None
    end = int(time.time()) // GRID * GRID
    rng = np.random.default_rng(1)
    series = [one for service in services() for one in service.raw(end, 30 * DAY, RECENT, rng)]
    series += [*recorded(slo_set, services(), end), *ratios(end)]
    at = datetime.fromtimestamp(end, UTC)
    with (
        serving(series) as (server, _),
        Prometheus(PrometheusSettings(url=server.url, timeout=300.0)) as source,
    ):
        read = lambda expr: source.samples_read(expr, at)  # noqa: E731
        _budget_table(slo_set, read)
        _whole_table(slo_set, read)
        _parts_table(slo_set, read)


def _per_hour(rules: RuleSet, read: Callable[[str], int]) -> float:
    return sum(3600 / interval * sum(map(read, exprs)) for interval, exprs in rules.rules.items())


def _budget_table(slo_set: SloSet, read: Callable[[str], int]) -> None:
    print("\nThe 30-day error ratio alone, samples per evaluation:\n")
    columns = {
        name: [(rules.name, _per_hour(rules, read) * GRID / 3600) for rules in budgets(slo_set, name)]
        for name in SIZES
    }
    _print(columns)


def _whole_table(slo_set: SloSet, read: Callable[[str], int]) -> None:
    print("\nAll rules and alerts of an SLO, samples per hour:\n")
    columns = {}
    for name in SIZES:
        mine = RuleSet("sloctl: grid every 5 m, tiles every 1 m")
        for _, expr, interval in ours(slo_set, name):
            mine.rules.setdefault(interval, []).append(expr)
        columns[name] = [(rules.name, _per_hour(rules, read)) for rules in (mine, *others(name))]
        # Twice as many evaluations, and twice as many recorded ratios to average.
        ratio = _per_hour(RuleSet("", {60: [f'ratio_1m{{namespace="{name}"}}[30d]']}), read)
        twice = 2 * columns[name][1][1] + 2 * 2 * ratio
        columns[name].insert(2, ("the same every 30 s (computed)", twice))
    _print(columns)


def _parts_table(slo_set: SloSet, read: Callable[[str], int]) -> None:
    targets = 2 * sum(service.pods for service in services())
    print(
        f"\nWhere sloctl's rules read, samples per hour, with {targets} scrape targets in this Prometheus:\n"
    )
    columns = {}
    for name in SIZES:
        parts: dict[str, float] = {}
        up = 0.0
        for record, expr, interval in ours(slo_set, name):
            parts[_part(record)] = parts.get(_part(record), 0) + read(expr) * 3600 / interval
            up += sum(map(read, _UP.findall(expr))) * 3600 / interval
        columns[name] = [*parts.items(), ("all of these", sum(parts.values())), ("of which `up`", up)]
    _print(columns, compare=False)


def _part(record: str) -> str:
    if record.startswith("service:"):
        return f"raw counters to base events, {record[-2:]}"
    if record in (naming.PERIOD_TOTAL, naming.PERIOD_BAD, naming.REMAINING):
        return "period"
    if record.startswith("slo:burn_rate"):
        return "burn rates"
    return {"alert": "alerts", naming.GAP_GRID: "scrape gaps", naming.BAD_CAUSES: "bad events by cause"}.get(
        record, "events of the SLO, objective"
    )


def _print(columns: dict[str, list[tuple[str, float]]], *, compare: bool = True) -> None:
    names = [name for name, _ in next(iter(columns.values()))]
    rows = []
    for index, name in enumerate(names):
        row = [name]
        for values in columns.values():
            value, first = values[index][1], values[0][1]
            more = f" ({value / first:.3g} ×)" if compare and index else ""
            row.append(f"{value:,.0f}{more}")
        rows.append(row)
    measure.table(("", *SIZES.values()), rows)


if __name__ == "__main__":
    main()
