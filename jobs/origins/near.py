"""What is special about the place where failures begin, and what changed by the time they began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite

from jobs.origins import traffic
from jobs.origins.traffic import STEP, Place, Traffic
from jobs.origins.walk import Origin
from sloctl import naming, promql
from sloctl.backends.protocols import MetricSource, Series
from sloctl.guardrails.control_plane import configuration_changes
from sloctl.model import Matcher, SloSet
from sloctl.promql.flags import LABEL
from sloctl.promql.presets import CODE, GRPC_STATUS

VERSION = "destination_version"
WHERE = (VERSION, "pod", "node", "zone", "topology_kubernetes_io_zone")
"""Labels of which one value may be all that fails: of Istio, and of targets where they are relabelled so."""
HOW = (CODE, LABEL, GRPC_STATUS)
NEARLY_ALL, NOT_ALL = 0.9, 0.7
"""One value is what fails if it has this share of the failures, and no more than that of the calls."""
SEEN = 0.01
"""The share of the calls from which on a version serves."""
BEFORE, AFTER = 900, 600
"""Seconds around the beginning of failures within which a change is near."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How calls fail: a label of the failures, and which share of them has this value of it."""

    label: str
    value: str
    share: float


@dataclass(frozen=True, slots=True)
class Special:
    """The one value of a label that has nearly all failures, with its share of failures and of calls."""

    label: str
    value: str
    of_failures: float
    of_calls: float


@dataclass(frozen=True, slots=True)
class Change:
    """What changed, and when (Unix seconds)."""

    at: float
    what: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Of one origin; ``attempts`` and ``attempts_before`` are attempts per request at it.

    There are no ``changes`` of a time that is not known.
    """

    how: tuple[Outcome, ...]
    special: tuple[Special, ...]
    changes: tuple[Change, ...]
    attempts: float | None = None
    attempts_before: float | None = None


def circumstances(
    source: MetricSource, slo_set: SloSet, calls: Traffic, origin: Origin, at: datetime
) -> Circumstances:
    """What is known about an origin. Raises ``BackendError``."""
    began = calls.instant(origin.onset.start)
    end = min(at, datetime.fromtimestamp(calls.start + origin.onset.end * STEP, UTC))
    seconds = max(round(end.timestamp() - began), 2 * STEP)
    parts = traffic.tell_apart(source, slo_set.mesh, origin.service, (*HOW, *WHERE), end, seconds)
    changes: list[Change] = []
    if origin.onset.dated:
        changes += _alerts(source, slo_set, began, at)
        changes += _versions(source, slo_set, origin.service, began)
        changes += _configuration(source, slo_set, began)
    now, before = _attempts(calls, origin)
    return Circumstances(
        _how(parts), _special(parts), tuple(sorted(changes, key=lambda one: (one.at, one.what))), now, before
    )


def _by_value(series: Sequence[Series], label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in series:
        value = float(item["value"][1])
        if isfinite(value) and value > 0:
            name = item["metric"].get(label, "")
            found[name] = found.get(name, 0.0) + value
    return found


def _how(parts: traffic.Apart) -> tuple[Outcome, ...]:
    found = []
    for label in HOW:
        # As the callers saw it, unless their proxies saw nothing of it.
        sides = (_by_value(series, label) for name, series in parts[label].items() if name.endswith("bad"))
        bad = next(filter(None, sides), {})
        whole = sum(bad.values())
        for value, count in sorted(bad.items(), key=lambda item: -item[1])[:2]:
            if value not in ("", "-") and count >= 0.1 * whole:
                found.append(Outcome(label, value, count / whole))
    return tuple(found)


def _special(parts: traffic.Apart) -> tuple[Special, ...]:
    found = []
    for label in WHERE:
        # Of a label that both proxies have, the view of the caller, which knows of calls that reached nobody.
        for side in dict.fromkeys(name.split()[0] for name in parts[label]):
            bad, total = (_by_value(parts[label][f"{side} {kind}"], label) for kind in ("bad", "total"))
            named = {value: count for value, count in total.items() if value not in ("", "unknown")}
            if len(named) < 2 or sum(bad.values()) < 5:
                continue
            value = max(bad, key=lambda one: bad[one])
            of_failures = bad[value] / sum(bad.values())
            of_calls = total.get(value, 0.0) / sum(total.values())
            if value in named and of_failures >= NEARLY_ALL and of_calls <= NOT_ALL:
                found.append(Special(label, value, of_failures, of_calls))
            break
    return tuple(found)


def _alerts(source: MetricSource, slo_set: SloSet, began: float, at: datetime) -> list[Change]:
    """Guardrails' alerts that began near the failures."""
    start = datetime.fromtimestamp(began - BEFORE - STEP, UTC)
    end = min(at, datetime.fromtimestamp(began + AFTER, UTC))
    expr = promql.firing(slo_set.name, Matcher(naming.GUARDRAIL, "!=", ""))
    found = []
    for item in source.query_range(expr, start, end, timedelta(seconds=STEP)):
        first = float(item["values"][0][0])
        if first > start.timestamp() + STEP / 2:
            labels = item["metric"]
            about = "/".join(labels[name] for name in naming.IDENTITY if labels.get(name))
            about = about or labels.get("workload", "")
            found.append(Change(first, f"alert {labels['alertname']}{f' of {about}' if about else ''}"))
    return found


def _versions(source: MetricSource, slo_set: SloSet, service: Place, began: float) -> list[Change]:
    """Versions of a service that began to serve near the failures: to answer a part of the calls that can be seen."""
    start = datetime.fromtimestamp(began - BEFORE - traffic.REACH, UTC)
    end = datetime.fromtimestamp(began + AFTER, UTC)
    answer = source.query_range(
        traffic.by_label(slo_set.mesh, service, VERSION), start, end, timedelta(seconds=STEP)
    )
    counts = {
        item["metric"].get(VERSION, ""): {float(time): float(text) for time, text in item["values"]}
        for item in answer
    }
    whole = Counter[float]()
    for of in counts.values():
        whole.update(of)
    found = []
    for version, of in counts.items():
        times = [time for time, count in of.items() if count >= SEEN * whole[time]]
        if version not in ("", "unknown") and times and min(times) > start.timestamp() + STEP / 2:
            found.append(Change(min(times), f"version {version} of {service[1]} begins to serve"))
    return found


def _configuration(source: MetricSource, slo_set: SloSet, began: float) -> list[Change]:
    """Changes of the mesh's configuration that istiod saw in the quarter of an hour before the failures."""
    at = datetime.fromtimestamp(began + 2 * STEP, UTC)
    found = []
    for item in source.query(configuration_changes(slo_set, BEFORE), at):
        kind, event = (item["metric"].get(name, "") for name in ("type", "event"))
        number = round(float(item["value"][1]))
        if kind not in ("Pod", "Endpoints", "EndpointSlice", "Node", ""):
            found.append(Change(began, f"configuration: {kind} {event} ({max(number, 1)} within 15 minutes)"))
    return found


def _attempts(calls: Traffic, origin: Origin) -> tuple[float | None, float | None]:
    """Attempts per request at a service while it fails, and before; None where either side is not seen."""
    span = slice(origin.onset.start, origin.onset.end)
    totals = [0.0, 0.0, 0.0, 0.0]
    for edge, one in calls.edges.items():
        if edge[1] == origin.service and edge in calls.attempts:
            seen = calls.attempts[edge]
            inside = float(seen[span].sum()), float(one.total[span].sum())
            whole = float(seen.sum()), float(one.total.sum())
            parts = (*inside, whole[0] - inside[0], whole[1] - inside[1])
            totals = [sum(pair) for pair in zip(totals, parts, strict=True)]
    now = totals[0] / totals[1] if totals[0] > 0 and totals[1] > 0 else None
    before = totals[2] / totals[3] if totals[2] > 0 and totals[3] > 0 else None
    return now, before
