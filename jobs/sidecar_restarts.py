"""The job ``sidecar_restarts``: restarts of proxies by workload, from kube-state-metrics, with or without rules."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

from sloctl.backends.protocols import MetricSource, Series
from sloctl.guardrails import restarts
from sloctl.guardrails.shared.workloads import BY_WORKLOAD
from sloctl.model import Guardrail, SloSet
from sloctl.model.durations import duration
from sloctl.report.health import SidecarRestarts, count

if TYPE_CHECKING:
    import pandas as pd

PRESET = "sidecar-restarts"
DAY = 86400
WINDOWS = (DAY, 7 * DAY)
WORST = 3
"""Pods that a row names."""
MOST = 1e12
"""More than any container has restarted."""
WorkloadKey = tuple[str, str]
"""Namespace and workload."""


@dataclass(frozen=True, slots=True)
class RestartFrames:
    """Restarts as frames, one row for each window (``seconds``, int64) and what else its columns say.

    ``workloads``: ``seconds``, ``namespace``, ``workload`` (str), ``pods`` (mean number while there were any; NaN if
    not known), ``restarts``, ``per_pod_day`` (restarts over pods and days), ``before`` (restarts in the same window
    some weeks before, one for a window up to a week; NaN without data), ``trend`` (restarts over ``before``; NaN
    without data, and where there were none before), all float64. Every workload with a proxy has a row.
    ``pods``: ``seconds``, ``namespace``, ``workload``, ``pod``, ``reason`` (str), ``restarts`` (float64) of the pods
    that restarted. Both have the most restarts first.
    """

    workloads: pd.DataFrame
    pods: pd.DataFrame


@dataclass(slots=True)
class _Window:
    pods: dict[WorkloadKey, float] = field(default_factory=dict)
    each: dict[tuple[str, str, str, str], float] = field(default_factory=dict)
    pods_before: dict[WorkloadKey, float] = field(default_factory=dict)
    before: dict[WorkloadKey, float] = field(default_factory=dict)

    def restarts(self) -> dict[WorkloadKey, float]:
        """Restarts of every workload, also of those without any."""
        sums = dict.fromkeys(self.pods, 0.0)
        for (namespace, workload, _, _), value in self.each.items():
            sums[namespace, workload] = sums.get((namespace, workload), 0.0) + value
        return sums


def _guardrail(slo_set: SloSet) -> Guardrail | None:
    return next((item for item in slo_set.guardrails if item.preset == PRESET), None)


def _back(seconds: int) -> timedelta:
    """How far back a window is compared: whole weeks, so that it has the same weekdays, and does not overlap."""
    return timedelta(days=7 * -(-seconds // (7 * DAY)))


def _values(series: Sequence[Series], labels: Sequence[str]) -> dict[Any, float]:
    """Numbers that can be, by the values of some labels."""
    found = {}
    for item in series:
        value = float(item["value"][1])
        if isfinite(value) and 0 <= value < MOST:
            found[tuple(str(item["metric"].get(label, "")) for label in labels)] = value
    return found


def _read(
    source: MetricSource, slo_set: SloSet, at: datetime, windows: Sequence[int], *, past: bool
) -> dict[int, _Window]:
    """What is known of each window. Two requests a window, and two more for its past."""
    guardrail = _guardrail(slo_set) or Guardrail(PRESET)
    found = {seconds: _Window() for seconds in windows}
    queries: dict[datetime, dict[str, str]] = {}
    for seconds in windows:
        counted = restarts.by_reason(slo_set, guardrail, seconds)
        mean = restarts.mean_pods(slo_set, guardrail, seconds)
        queries.setdefault(at, {}).update({f"restarts {seconds}": counted, f"pods {seconds}": mean})
        if past:
            earlier = queries.setdefault(at - _back(seconds), {})
            earlier.update({f"before {seconds}": counted, f"pods before {seconds}": mean})
    for instant, texts in queries.items():
        for name, series in source.query_many(texts, instant).items():
            what, _, seconds_text = name.rpartition(" ")
            window = found[int(seconds_text)]
            if what == "restarts":
                window.each |= _values(series, (*BY_WORKLOAD, "pod", "reason"))
            elif what == "pods":
                window.pods |= _values(series, BY_WORKLOAD)
            elif what == "pods before":
                window.pods_before |= _values(series, BY_WORKLOAD)
            else:
                for (namespace, workload, _), value in _values(series, (*BY_WORKLOAD, "pod")).items():
                    window.before[namespace, workload] = window.before.get((namespace, workload), 0.0) + value
    return found


def run(
    source: MetricSource, slo_set: SloSet, at: datetime, windows: Sequence[int] = WINDOWS
) -> RestartFrames:
    """Restarts in the last seconds of each of ``windows``, in the namespaces of the guardrail if the file has it.

    At most four requests a window, whatever the number of pods. Raises ``BackendError``.
    """
    import pandas as pd

    workloads: list[tuple[Any, ...]] = []
    pods: list[tuple[Any, ...]] = []
    for seconds, window in _read(source, slo_set, at, windows, past=True).items():
        for place, value in window.restarts().items():
            mean = window.pods.get(place)
            before = window.before.get(place, 0.0 if place in window.pods_before else None)
            trend = value / before if before else None
            rate = _per_pod_day(value, mean, seconds)
            workloads.append((seconds, *place, mean, value, rate, before, trend))
        pods += [(seconds, *key, value) for key, value in window.each.items()]
    names = ("namespace", "workload")
    numbers = ("pods", "restarts", "per_pod_day", "before", "trend")
    return RestartFrames(
        _frame(pd.DataFrame(workloads, columns=["seconds", *names, *numbers]), names, numbers),
        _frame(
            pd.DataFrame(pods, columns=["seconds", *names, "pod", "reason", "restarts"]),
            (*names, "pod", "reason"),
            ("restarts",),
        ),
    )


def _frame(frame: pd.DataFrame, names: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    types = {"seconds": "int64", **dict.fromkeys(names, "str"), **dict.fromkeys(numbers, "float64")}
    order = ["seconds", "restarts", *names]
    return frame.astype(types).sort_values(
        order, ascending=[True, False, *(True for _ in names)], ignore_index=True
    )


def _per_pod_day(value: float, pods: float | None, seconds: int) -> float | None:
    return value / pods / (seconds / DAY) if pods else None


def rows(found: RestartFrames) -> list[dict[str, Any]]:
    """The frames as plain rows, one for each window and workload; None where something is not known."""
    each: dict[tuple[Any, ...], list[dict[Hashable, Any]]] = {}
    for row in found.pods.to_dict("records"):
        each.setdefault((row["seconds"], row["namespace"], row["workload"]), []).append(row)
    out = []
    for row in found.workloads.to_dict("records"):
        restarted = each.get((row["seconds"], row["namespace"], row["workload"]), [])
        reasons: dict[str, float] = {}
        by_pod: dict[str, float] = {}
        for item in restarted:
            reasons[item["reason"]] = reasons.get(item["reason"], 0.0) + item["restarts"]
            by_pod[item["pod"]] = by_pod.get(item["pod"], 0.0) + item["restarts"]
        worst = sorted(by_pod.items(), key=lambda item: (-item[1], item[0]))[:WORST]
        out.append(
            {
                "window": duration(row["seconds"]),
                "namespace": row["namespace"],
                "workload": row["workload"],
                "pods": _number(row["pods"]),
                "restarts": _number(row["restarts"]),
                "per_pod_day": _number(row["per_pod_day"]),
                "reasons": {reason: count(reasons[reason]) for reason in sorted(reasons)},
                "worst_pods": {pod: count(value) for pod, value in worst},
                "before": _number(row["before"]),
                "trend": _number(row["trend"]),
            }
        )
    return out


def _number(value: float) -> float | int | None:
    return count(round(value, 6)) if isfinite(value) else None


def rows_for_report(source: MetricSource, slo_set: SloSet, at: datetime) -> tuple[SidecarRestarts, ...]:
    """The workloads whose proxies restarted in the last day, the worst first; none if the file has no such guardrail.

    Two requests. Needs no frames: importing pandas takes longer than a report on recorded series. Raises
    ``BackendError``.
    """
    if _guardrail(slo_set) is None:
        return ()
    window = _read(source, slo_set, at, (DAY,), past=False)[DAY]
    reasons: dict[WorkloadKey, dict[str, float]] = {}
    for (namespace, workload, _, reason), value in window.each.items():
        of = reasons.setdefault((namespace, workload), {})
        of[reason] = of.get(reason, 0.0) + value
    found = [
        SidecarRestarts(
            *place,
            pods=window.pods.get(place, 0.0),
            restarts=value,
            per_pod_day=_per_pod_day(value, window.pods.get(place), DAY),
            reasons=dict(sorted(reasons[place].items())),
        )
        for place, value in window.restarts().items()
        if value > 0
    ]
    return tuple(sorted(found, key=lambda row: (-row.restarts, row.namespace, row.workload)))
