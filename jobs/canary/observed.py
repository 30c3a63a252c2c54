"""What two versions of a service were asked and failed, step by step, from the counters that its SLOs count by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isfinite

import numpy as np

from jobs.canary.sequential import Counts, Strata
from sloctl import naming, promql
from sloctl.backends.answers import Heard, apart
from sloctl.backends.protocols import MetricSource
from sloctl.errors import UsageError
from sloctl.model import CounterSli, Matcher, Mesh, Selector, Slo, SloSet
from sloctl.promql import calls
from sloctl.promql.catalogue import METRICS
from sloctl.promql.counting import events_by, full_selector
from sloctl.promql.presets import DURATION, DURATION_BUCKET, REPORTERS, REQUESTS

LABELS = {
    "version": "destination_version",
    "revision": "destination_canonical_revision",
    "workload": "destination_workload",
}
"""What versions may be told apart by; any other label of the counters by its own name."""
NAMELESS = ("", "unknown")
LOOK_BACK = timedelta(days=1)
COARSE = 300
"""Seconds between two looks for when the canary's traffic began."""
PAUSE = 3600
"""Seconds without traffic after which it begins anew."""
QUANTILES = (0.5, 0.95, 0.99)
LATELY = 300
"""Seconds of which it is said what pods used."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which versions of which service are compared, and by which ``label`` of the counters. ``step`` is seconds."""

    service: str
    namespace: str
    baseline: str
    canary: str
    label: str = LABELS["version"]
    step: int = 60


@dataclass(frozen=True)
class Seen:
    """What one SLO saw: ``strata`` by step, and the bad events of no version.

    ``silent`` are the steps in which nothing of any version was read. ``unbound`` are the versions whose histogram
    lacks the threshold's bound: nothing tells how many of their requests were fast. ``window`` is how many events its
    whole window has, if that is recorded. ``alone`` are the canary's events and bad events while the baseline had none:
    strata hold nothing of them.
    """

    slo: Slo
    strata: Strata
    traffic: tuple[float, float]
    nameless: float
    silent: int
    window: float | None
    alone: tuple[float, float] = (0.0, 0.0)
    unbound: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Used:
    """What a version's pods used lately: cores and bytes of a pod on average (None: no container metrics), and pods."""

    pods: int
    cores: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Observed:
    """All of it, from ``start`` to ``end``: quantiles (milliseconds) by version, (restarts, pods) by version.

    ``versions`` are all that served; ``left_out`` says of SLOs why they cannot be compared by version; ``doubts`` are
    what answers leave in doubt.
    """

    asked: Asked
    start: datetime
    end: datetime
    slos: tuple[Seen, ...] = ()
    versions: tuple[str, ...] = ()
    quantiles: Mapping[str, Mapping[float, float]] | None = None
    restarts: Mapping[str, tuple[float, float]] | None = None
    used: Mapping[str, Used] | None = None
    left_out: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def slos_of(slo_set: SloSet, service: str, namespace: str) -> tuple[list[Slo], list[str]]:
    """The SLOs of one service, each as of it alone; and why others of it cannot be compared by version.

    Raises UsageError where there is none, or the service is in several namespaces.
    """
    found: list[Slo] = []
    left_out: list[str] = []
    for slo in slo_set.slos:
        if slo.service not in ("*", service) or service in slo.overridden:
            continue
        if namespace and slo.namespace not in ("", namespace):
            continue
        if not isinstance(slo.sli, CounterSli):
            left_out.append(f"{slo.name}: its expressions are the file's own, and do not tell versions apart")
        elif naming.family(slo.sli) == "gateway_requests":
            left_out.append(f"{slo.name}: it is of what a gateway passes on, whatever the version")
        else:
            found.append(replace(slo, service=service, namespace=namespace or slo.namespace, overridden=()))
    places = {slo.namespace for slo in found if slo.namespace}
    if len(places) > 1:
        raise UsageError(
            f"{service} is a service of several namespaces: {', '.join(sorted(places))}",
            hint=f"write  --service {min(places)}/{service}",
        )
    if not found:
        raise UsageError(
            f"no SLO of the file tells versions of {service} apart",
            hint="; ".join(left_out) or "give it one of preset availability or latency",
        )
    return found, left_out


def seen_by(sli: CounterSli, label: str) -> CounterSli:
    """An SLI as the called proxies see it, where a label is one of theirs and not of the metric."""
    if sli.side != "client" or label in METRICS[REQUESTS].labels:
        return sli

    def turned(parts: Sequence[Selector]) -> tuple[Selector, ...]:
        return tuple(
            replace(
                part,
                matchers=tuple(
                    Matcher("reporter", "=", REPORTERS["server"]) if m.label == "reporter" else m
                    for m in part.matchers
                ),
            )
            for part in parts
        )

    return replace(
        sli,
        side="server",
        total=turned(sli.total),
        bad=turned(sli.bad),
        good=turned(sli.good),
        other_side=None,
    )


def began(source: MetricSource, mesh: Mesh, asked: Asked, at: datetime) -> datetime | None:
    """When the canary's traffic began within the last day, after its last pause of an hour. Raises ``BackendError``."""
    where = [
        *(
            Matcher(label, "=", name)
            for label, name in zip(naming.CALLED, (asked.namespace, asked.service), strict=True)
            if name
        ),
        Matcher(asked.label, "=", asked.canary),
    ]
    parts = [
        promql.selector(part.metric, part.matchers)
        for side in calls.sides(mesh)
        for part in calls.selectors(side, mesh, "total", *where)
    ]

    def seen(start: float, end: float, step: int) -> list[float]:
        """The instants with traffic in the ``step`` seconds before."""
        some = " or ".join(
            f"increase({one}[{2 * step}s]) > 0 or {one} unless {one} offset {step}s" for one in parts
        )
        first, last = (datetime.fromtimestamp(time // step * step, UTC) for time in (start, end))
        series = source.query_range(f"count({some})", first, last, timedelta(seconds=step))
        return sorted({float(time) for item in series for time, _ in item["values"]})

    now = at.timestamp()
    times = seen(now - LOOK_BACK.total_seconds(), now, COARSE) + seen(now - COARSE, now, asked.step)
    if not times:
        return None
    first = times[-1]
    for time in reversed(times):
        if first - time > PAUSE:
            break
        first = min(first, time)
    finer = [time for time in seen(first - COARSE, first, asked.step) if time > first - COARSE]
    return datetime.fromtimestamp(min([*finer, first]) - asked.step, UTC)


def read(
    source: MetricSource, slo_set: SloSet, asked: Asked, at: datetime, since: datetime | None = None
) -> Observed:
    """What both versions did until ``at``, ``since`` a time or the beginning of the canary's traffic.

    Raises ``BackendError``, and UsageError where no SLO can be compared.
    """
    slos, left_out = slos_of(slo_set, asked.service, asked.namespace)
    heard = Heard(source)
    end = datetime.fromtimestamp(at.timestamp() // asked.step * asked.step, UTC)
    start = since or began(heard, slo_set.mesh, asked, at)
    if start is None or end <= start:
        there = tuple(sorted(_versions(heard, slo_set.mesh, slos[0], asked, at)))
        return Observed(asked, end, end, (), there, left_out=tuple(left_out), doubts=tuple(heard.doubts))
    start = datetime.fromtimestamp(start.timestamp() // asked.step * asked.step, UTC)
    versions: set[str] = set()
    found = []
    for slo in slos:
        assert isinstance(slo.sli, CounterSli)
        one = replace(slo, sli=seen_by(slo.sli, asked.label))
        found.append(_seen(heard, slo_set.mesh, one, asked, (start, end), versions))
    return Observed(
        asked,
        start,
        end,
        tuple(found),
        tuple(sorted(versions)),
        _quantiles(heard, slo_set.mesh, found[0].slo, asked, (start, end)),
        _restarts(heard, slo_set.mesh, found[0].slo, asked, (start, end)),
        _used(heard, slo_set.mesh, found[0].slo, asked, end),
        tuple(left_out),
        tuple(heard.doubts),
    )


def _versions(source: MetricSource, mesh: Mesh, slo: Slo, asked: Asked, at: datetime) -> set[str]:
    [series] = [promql.selector(REQUESTS, (*promql.scope(slo, _sli(slo)), *mesh.matchers))]
    by = promql.names((asked.label,))
    answer = source.query(f"group by ({by}) (last_over_time({series}[1h]))", at)
    return {item["metric"].get(asked.label, "") for item in answer} - {*NAMELESS}


def _sli(slo: Slo) -> CounterSli:
    assert isinstance(slo.sli, CounterSli)
    return slo.sli


def _seen(
    source: MetricSource,
    mesh: Mesh,
    slo: Slo,
    asked: Asked,
    span: tuple[datetime, datetime],
    versions: set[str],
) -> Seen:
    start, end = span
    steps = round((end - start).total_seconds() / asked.step)
    step = timedelta(seconds=asked.step)
    answer = source.query_range(events_by(slo, mesh, asked.step, (asked.label,)), start + step, end, step)
    counts: dict[tuple[str, str], Counts] = {}
    told = np.zeros(steps, bool)
    for kind, series in apart(answer, promql.PART).items():
        for item in series:
            version = item["metric"].get(asked.label, "")
            values = counts.setdefault((kind, version), np.zeros(steps))
            for time, text in item["values"]:
                value, place = float(text), round((float(time) - start.timestamp()) / asked.step) - 1
                if isfinite(value) and 0 <= place < steps:
                    values[place] += max(0.0, value)
                    told[place] |= kind == "total"
    zero = np.zeros(steps)

    def of(kind: str, version: str) -> Counts:
        return counts.get((kind, version), zero)

    def bad(version: str) -> Counts:
        total = of("total", version)
        return np.clip(total - of("good", version) if slo.counts_good else of("bad", version), 0, total)

    served = {version for (kind, version), values in counts.items() if kind == "total" and values.any()}
    versions |= served - {*NAMELESS}
    strata = Strata(
        of("total", asked.canary), bad(asked.canary), of("total", asked.baseline), bad(asked.baseline)
    )
    traffic = (float(of("total", asked.canary).sum()), float(sum(of("total", one) for one in served).sum()))  # type: ignore[union-attr]
    nameless = float(sum(bad(version).sum() for version in NAMELESS))
    silent = int((~told).sum())
    unmatched = of("total", asked.baseline) <= 0
    alone = tuple(float(one[unmatched].sum()) for one in (of("total", asked.canary), bad(asked.canary)))
    bounds = _bounds(source, mesh, slo, asked, span)
    unbound = tuple(
        one for one in (asked.canary, asked.baseline) if one in served and bounds and one not in bounds[0]
    )
    return Seen(
        slo, strata, traffic, nameless, silent, _window(source, slo, end), (alone[0], alone[1]), unbound
    )


def _bounds(
    source: MetricSource, mesh: Mesh, slo: Slo, asked: Asked, span: tuple[datetime, datetime]
) -> tuple[set[str]] | None:
    """The versions that have a series of the threshold's bound; None where events are not told apart by one.

    Istio makes all buckets at once: a version without this one has others, and not only slow requests.
    """
    sli = _sli(slo)
    if not sli.good or sli.native:
        return None
    window = max(int((span[1] - span[0]).total_seconds()), asked.step)
    each = (f"last_over_time({full_selector(slo, sli, part, mesh)}[{window}s])" for part in sli.good)
    answer = source.query(f"group by ({promql.names((asked.label,))}) ({' or '.join(each)})", span[1])
    return ({item["metric"].get(asked.label, "") for item in answer},)


def _window(source: MetricSource, slo: Slo, at: datetime) -> float | None:
    """How many events the SLO's whole window has, as recorded by the definition that it is of."""
    where = [
        Matcher(naming.SLO_SET, "=", slo.set_name),
        Matcher(naming.SLO, "=", slo.name),
        Matcher(naming.SERVICE, "=", slo.service),
        *([Matcher(naming.NAMESPACE, "=", slo.namespace)] if slo.namespace else ()),
    ]
    series = promql.selector(naming.PERIOD_TOTAL, where)
    for item in source.query(f"max(last_over_time({series}[11m])) > 0", at):
        return float(item["value"][1])
    return None


def _quantiles(
    source: MetricSource, mesh: Mesh, slo: Slo, asked: Asked, span: tuple[datetime, datetime]
) -> dict[str, dict[float, float]]:
    """Latency by version, interpolated as ``histogram_quantile`` does; missing where there are no histograms."""
    native = mesh.histograms == "native"
    sli = _sli(slo)
    where = (
        Matcher("reporter", "=", REPORTERS[sli.side]),
        Matcher(asked.label, "=~", "|".join(map(promql.regex_quote, (asked.baseline, asked.canary)))),
        *promql.scope(slo, sli),
        *mesh.matchers,
    )
    series = promql.selector(DURATION if native else DURATION_BUCKET, where)
    by = promql.names((asked.label,) if native else (asked.label, "le"))
    seconds = int((span[1] - span[0]).total_seconds())
    summed = f"sum by ({by}) (rate({series}[{max(seconds, 2 * asked.step)}s]))"
    queries = {str(q): f"histogram_quantile({q}, {summed})" for q in QUANTILES}
    found: dict[str, dict[float, float]] = {}
    for name, answer in source.query_many(queries, span[1]).items():
        for item in answer:
            value = float(item["value"][1])
            if isfinite(value):
                found.setdefault(item["metric"].get(asked.label, ""), {})[float(name)] = value
    return found


def _pods(mesh: Mesh, slo: Slo, asked: Asked, window: int) -> str:
    """The pods that served either version in the last seconds, by version, where targets are pods."""
    serving = promql.selector(
        REQUESTS,
        (
            Matcher("reporter", "=", REPORTERS["server"]),
            Matcher(asked.label, "=~", "|".join(map(promql.regex_quote, (asked.baseline, asked.canary)))),
            *promql.scope(slo, _sli(slo)),
            *mesh.matchers,
        ),
    )
    by = promql.names((asked.label,))
    return f"group by (pod, {by}) (last_over_time({serving}[{window}s])) unless on (pod) vector(1)"


def _used(source: MetricSource, mesh: Mesh, slo: Slo, asked: Asked, at: datetime) -> dict[str, Used] | None:
    """What the versions' pods use lately, all their containers together; None where targets are no pods.

    Lately, since over all of the time a pod that came late would look as if it used little.
    """
    window = max(LATELY, 4 * asked.step)
    by = promql.names((asked.label,))
    where = [
        *([Matcher("namespace", "=", slo.namespace)] if slo.namespace else ()),
        Matcher("container", "!=", ""),
        Matcher("container", "!=", "POD"),
        *mesh.matchers,
    ]
    each = {
        "cores": f"rate({promql.selector('container_cpu_usage_seconds_total', where)}[{window}s])",
        "memory": f"avg_over_time({promql.selector('container_memory_working_set_bytes', where)}[{window}s])",
    }
    pods = _pods(mesh, slo, asked, window)
    queries = {"pods": f"count by ({by}) ({pods})"} | {
        name: f"avg by ({by}) (sum by (pod) ({expr}) * on (pod) group_right () ({pods}))"
        for name, expr in each.items()
    }
    found = {
        name: {item["metric"].get(asked.label, ""): float(item["value"][1]) for item in answer}
        for name, answer in source.query_many(queries, at).items()
    }
    out = {
        version: Used(int(number), found["cores"].get(version), found["memory"].get(version))
        for version, number in found["pods"].items()
    }
    return out or None


def _restarts(
    source: MetricSource, mesh: Mesh, slo: Slo, asked: Asked, span: tuple[datetime, datetime]
) -> dict[str, tuple[float, float]]:
    """Restarts of the versions' pods and how many pods; missing where kube-state-metrics is, or pods have no names.

    A pod that was not there before has begun without restarts.
    """
    window = max(int((span[1] - span[0]).total_seconds()), asked.step)
    where = [Matcher("namespace", "=", slo.namespace)] if slo.namespace else []
    counters = [
        promql.selector(f"kube_pod_{kind}_status_restarts_total", [*where, *mesh.matchers])
        for kind in ("container", "init_container")
    ]
    now = " or ".join(f"max_over_time({one}[{window}s])" for one in counters)
    before = " or ".join(f"last_over_time({one}[1h] offset {window}s)" for one in counters)
    gained = f"sum by (pod) (({now}) - ({before} or 0 * ({now})))"
    joined = f"({gained}) * on (pod) group_right () ({_pods(mesh, slo, asked, window)})"
    queries = {
        "restarts": f"sum by ({promql.names((asked.label,))}) ({joined})",
        "pods": f"count by ({promql.names((asked.label,))}) ({joined})",
    }
    found = {
        name: {item["metric"].get(asked.label, ""): float(item["value"][1]) for item in answer}
        for name, answer in source.query_many(queries, span[1]).items()
    }
    return {
        version: (restarts, found["pods"][version])
        for version, restarts in found["restarts"].items()
        if version in found["pods"] and isfinite(restarts)
    }
