"""What a routine says of the mesh: restarts, gaps of telemetry, configuration churn, what the proxies cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from sloctl import naming, promql
from sloctl.backends.protocols import MetricSource, Series
from sloctl.guardrails.control_plane import configuration_changes
from sloctl.guardrails.plans import plans
from sloctl.guardrails.shared.queries import in_set
from sloctl.guardrails.shared.workloads import BY_WORKLOAD
from sloctl.model import TILE, SeriesKey, SloSet
from sloctl.model.calendar import CalendarPeriod
from sloctl.report.health import reasons_text
from sloctl.report.routine import CellValue, RoutineColumn, RoutineSection

"""Rows of a section; what is shown of them is for those who show it."""
CHURN = (
    ("istiod:pushes:increase5m", "configuration pushes"),
    ("istiod:push_errors:increase5m", "pushes that failed"),
    ("istiod:rejects:increase5m", "pushes that proxies rejected"),
    ("istiod:injection_failures:increase5m", "failed injections of proxies"),
)
"""Recorded counts of the guardrail ``control-plane``: of five minutes each, recorded every minute."""
GAPS = (("mesh:telemetry_gap:seconds", "metrics of the mesh"), ("traces:gap:seconds", "traces"))
CORES, MEMORY = "workload:sidecar_cpu_cores:rate5m", "workload:sidecar_memory_bytes:sum"
GIB = 2**30


def restarts(source: MetricSource, slo_set: SloSet, period: CalendarPeriod) -> RoutineSection:
    """Restarts of proxies by workload, and as many seconds a week (or weeks) before."""
    from jobs import sidecar_restarts

    columns = (
        RoutineColumn("namespace", "namespace"),
        RoutineColumn("workload", "workload"),
        RoutineColumn("restarts", "restarts", "count"),
        RoutineColumn("before", "the period before", "count"),
        RoutineColumn("pods", "pods", "count"),
        RoutineColumn("per_pod_day", "per pod and day", "rate"),
        RoutineColumn("reasons", "reasons"),
    )
    found = sidecar_restarts.run(source, slo_set, period.end, (period.seconds,))
    reasons: dict[tuple[str, str], dict[str, float]] = {}
    each: list[dict[Any, Any]] = found.pods.to_dict("records")
    for row in each:
        of = reasons.setdefault((row["namespace"], row["workload"]), {})
        of[row["reason"]] = of.get(row["reason"], 0.0) + row["restarts"]
    rows: list[tuple[CellValue, ...]] = []
    workloads: list[dict[Any, Any]] = found.workloads.to_dict("records")
    for row in workloads:
        if row["restarts"] > 0 or row["before"] > 0:
            place = (row["namespace"], row["workload"])
            numbers = (_known(row[name]) for name in ("restarts", "before", "pods", "per_pod_day"))
            rows.append((*place, *numbers, reasons_text(reasons.get(place, {}))))
    empty = "No proxy restarted." if workloads else "Nothing is known of restarts (kube-state-metrics)."
    return RoutineSection("sidecar_restarts", "Restarts of proxies", columns, tuple(rows), empty)


def _known(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def gaps(
    source: MetricSource, slo_set: SloSet, period: CalendarPeriod, unknown: Mapping[SeriesKey, float]
) -> RoutineSection:
    """How long telemetry was missing: of the mesh at a stretch, of each service in all."""
    columns = (
        RoutineColumn("what", "what"),
        RoutineColumn("longest", "longest gap", "seconds"),
        RoutineColumn("total", "nothing known of", "seconds"),
    )
    signals = {signal.record for plan in plans(slo_set) for signal in plan.signals}
    queries = {
        title: f"max({_over(slo_set, 'max_over_time', record, period.seconds)})"
        for record, title in GAPS
        if record in signals
    }
    rows: list[tuple[CellValue, ...]] = []
    for title, series in source.query_many(queries, period.end).items() if queries else ():
        if (value := _single(series)) is not None and value >= TILE * 2:
            rows.append((title, value, None))
    names = {slo.id: slo.name for slo in slo_set.slos}
    lost = [(seconds, key) for key, seconds in unknown.items() if seconds >= TILE and key[0] in names]
    for seconds, key in sorted(lost, key=lambda item: (-item[0], item[1])):
        rows.append((f"{naming.place(*key[1:])} {names[key[0]]}", None, seconds))
    return RoutineSection("telemetry_gaps", "Telemetry gaps", columns, tuple(rows), "No gap was seen.")


def churn(source: MetricSource, slo_set: SloSet, period: CalendarPeriod) -> RoutineSection:
    """Pushes, errors and rejections of the control plane, and changes of its configuration; and before."""
    columns = (
        RoutineColumn("what", "what"),
        RoutineColumn("number", "times", "count"),
        RoutineColumn("before", "the period before", "count"),
    )
    signals = {signal.record for plan in plans(slo_set) for signal in plan.signals}
    queries = {
        # Each sample counts five minutes, and one is recorded every minute.
        title: f"sum({_over(slo_set, 'sum_over_time', record, period.seconds)}) / 5"
        for record, title in CHURN
        if record in signals
    }
    changes = configuration_changes(slo_set, period.seconds)
    last, earlier = (
        _numbers(source, queries, changes, period.end),
        _numbers(source, queries, changes, period.before().end),
    )
    rows: list[tuple[CellValue, ...]] = [
        (title, last.get(title), earlier.get(title)) for title in queries if title in last or title in earlier
    ]
    others = sorted({*last, *earlier} - {*queries}, key=lambda name: (-last.get(name, 0.0), name))
    rows += [(name, last.get(name, 0.0), earlier.get(name)) for name in others]
    note = "" if queries else "The guardrail control-plane is not in the file, so pushes are not counted."
    empty = f"Nothing is known of the control plane. {note}".strip()
    return RoutineSection("configuration", "Configuration churn", columns, tuple(rows), empty, note)


def _numbers(
    source: MetricSource, queries: Mapping[str, str], changes: str, at: datetime
) -> dict[str, float]:
    answers = source.query_many({**queries, "": changes}, at)
    found = {title: value for title in queries if (value := _single(answers[title])) is not None}
    for item in answers[""]:
        value = float(item["value"][1])
        if isfinite(value):
            metric = item["metric"]
            name = " ".join(part for part in (metric.get("type", ""), metric.get("event", "")) if part)
            found[f"changes: {name or 'of any kind'}"] = value
    return found


def resources(source: MetricSource, slo_set: SloSet, period: CalendarPeriod) -> RoutineSection:
    """What the proxies of each workload used on average, and cost at the file's prices."""
    columns = (
        RoutineColumn("namespace", "namespace"),
        RoutineColumn("workload", "workload"),
        RoutineColumn("cores", "CPU cores", "cores"),
        RoutineColumn("memory", "memory", "bytes"),
        RoutineColumn("cost", "cost", "money"),
    )
    signals = {signal.record for plan in plans(slo_set) for signal in plan.signals}
    costs = slo_set.dashboards.costs
    title, name = "Resource use of proxies", "resources"
    if CORES not in signals:
        empty = "The guardrail sidecar-resources is not in the file, so the use of proxies is not recorded."
        return RoutineSection(name, title, columns, (), empty, currency=costs.currency)
    by = ", ".join(BY_WORKLOAD)
    # One sample a minute: their sum over the minutes of the period is the mean, also of what was there for a part.
    queries = {
        metric: f"sum by ({by}) ({_over(slo_set, 'sum_over_time', metric, period.seconds)}) * {TILE} / {period.seconds}"
        for metric in (CORES, MEMORY)
    }
    answers = source.query_many(queries, period.end)
    cores, memory = (
        {_place(item): float(item["value"][1]) for item in answers[key]} for key in (CORES, MEMORY)
    )
    hours = period.seconds / 3600
    rows: list[tuple[CellValue, ...]] = []
    for place in {*cores, *memory}:
        used, held = cores.get(place, 0.0), memory.get(place, 0.0)
        cost = hours * (used * float(costs.core_hour) + held / GIB * float(costs.gib_hour))
        rows.append((*place, used, held, cost))
    rows.sort(key=lambda row: (-float(row[4] or 0), str(row[0]), str(row[1])))
    total = sum(float(row[4] or 0) for row in rows)
    note = f"All {len(rows)} workloads together: {total:,.2f} {costs.currency}." if rows else ""
    empty = "Nothing was recorded of the proxies' use."
    return RoutineSection(name, title, columns, tuple(rows), empty, note, costs.currency)


def _place(item: Series) -> tuple[str, str]:
    metric = item["metric"]
    return metric.get(BY_WORKLOAD[0], ""), metric.get(BY_WORKLOAD[1], "")


def _over(slo_set: SloSet, function: str, record: str, seconds: int) -> str:
    return f"{function}({promql.selector(record, in_set(slo_set))}[{promql.milliseconds(seconds)}])"


def _single(series: Sequence[Series]) -> float | None:
    for item in series:
        value = float(item["value"][1])
        if isfinite(value):
            return value
    return None
