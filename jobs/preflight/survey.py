"""Asks a server, in a bounded number of requests, what it has of what the rules need.

The number of requests does not grow with the mesh; with an SLO file it grows by one per fifteen thousand bytes of
selectors. Every question but those about the server itself raises ``BackendError``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from jobs.preflight.needs import Needs, slo_selectors, text_of
from sloctl import naming, promql
from sloctl.backends.protocols import ObservedSource, Series
from sloctl.errors import BackendRefused, BadAnswer, QueryRejected
from sloctl.model import CounterSli, Matcher
from sloctl.promql.catalogue import METRICS
from sloctl.promql.presets import DURATION, DURATION_BUCKET, REQUESTS

T = TypeVar("T")
HOUR = timedelta(hours=1)
MAX_JOINS = 24
"""Metrics whose join with ``up`` is tried."""
_FRESH = "15m"
"""What was recorded within it shows that rules are evaluated."""
VICTORIA_METRICS = "2.24.0"
"""The version that VictoriaMetrics says that it is, without a revision."""
_INTERVALS = (600, 120)
"""Seconds over which scrapes are counted: the first for targets that are that old, the second for the rest."""
_MARK = "sloctl_question"
REPLICA_LABELS = ("prometheus_replica", "replica", "thanos_replica", "receive_replica", "__replica__")
"""Labels that tell apart Prometheus servers that scrape the same: by the operator, Thanos and Mimir."""


@dataclass(frozen=True, slots=True)
class Join:
    """Series of a metric, and those that find no ``up`` by the mesh's target labels."""

    series: float
    lost: float
    sample: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Survey:
    """The answers. ``names`` are the metrics of the last hour, all else is as of the instant itself.

    ``services`` and ``gateways`` have the reporters that were seen by (namespace, name); ``jobs`` the jobs that expose
    a metric; ``intervals`` seconds between scrapes by job; ``labelled`` the number of series that have a label, by
    (metric, label); ``replicas`` the number of targets that are there once for each value of a replica label;
    ``live`` the SLOs whose events were recorded lately. ``server`` is the server's name, as far as it shows.
    ``version``, ``retention`` and ``groups`` are None where the server does not say.
    """

    names: frozenset[str]
    counts: Mapping[str, float]
    jobs: Mapping[str, Mapping[str, float]]
    services: Mapping[tuple[str, str], frozenset[str]]
    gateways: Mapping[tuple[str, str], frozenset[str]]
    intervals: Mapping[str, float]
    labelled: Mapping[tuple[str, str], float]
    joins: Mapping[str, Join]
    replicas: Mapping[str, float]
    live: frozenset[str]
    server: str
    version: str | None
    retention: str | None
    groups: Sequence[Mapping[str, Any]] | None

    def interval_of(self, metric: str) -> float | None:
        """Seconds between scrapes of a metric: the longest of its jobs; None if unknown."""
        known = [self.intervals[job] for job in self.jobs.get(metric, ()) if job in self.intervals]
        return max(known) if known else None

    def series_of(self, metric: str) -> float:
        """How many series a metric has now."""
        return sum(self.jobs.get(metric, {}).values())


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks a source at one instant."""

    source: ObservedSource
    at: datetime

    def counts(self, selectors: Iterable[str]) -> dict[str, float]:
        """How many series each selector has; 0 where there are none."""
        texts = list(dict.fromkeys(selectors))
        found = dict.fromkeys(texts, 0.0)
        for item in self.many(f"count({text})" for text in texts):
            found[texts[int(item["metric"][_MARK])]] = float(item["value"][1])
        return found

    def many(self, exprs: Iterable[str]) -> list[Series]:
        """The series of several expressions in few queries, each with its expression's number as a label."""
        marked = [promql.labelled(expr, _MARK, str(number)) for number, expr in enumerate(exprs)]
        queries = {str(number): query for number, query in enumerate(promql.union(marked))}
        answers = self.source.query_many(queries, self.at) if queries else {}
        return [item for series in answers.values() for item in series]

    def each(self, exprs: Sequence[str]) -> list[list[Series]]:
        """The series of each expression, without the mark."""
        found: list[list[Series]] = [[] for _ in exprs]
        for item in self.many(exprs):
            values = {key: value for key, value in item["metric"].items() if key != _MARK}
            found[int(item["metric"][_MARK])].append({**item, "metric": values})
        return found

    def names(self, wanted: Iterable[str]) -> frozenset[str]:
        """Which metrics there were within the last hour."""
        pattern = "|".join(sorted(promql.regex_quote(name) for name in wanted))
        match = f"{{__name__=~{promql.quote(pattern)}}}"
        return frozenset(self.source.metric_names(match, self.at - HOUR, self.at))

    def values(self, label: str, match: str) -> list[str]:
        """The values of a label within the last hour."""
        return list(self.source.label_values(label, match, self.at - HOUR, self.at))

    def all_names(self) -> list[str]:
        """All metrics of the last hour."""
        return list(self.source.metric_names((), self.at - HOUR, self.at))


def survey(source: ObservedSource, needs: Needs, at: datetime) -> Survey:
    """Ask everything that is asked once."""
    asker = Asker(source, at)
    mesh = needs.slo_set.mesh
    others = {other_form(metric) for metric in needs.metrics} - {""}
    names = asker.names({*METRICS, *needs.metrics, *others})
    present = sorted((needs.metrics | others | {"up"}) & names)
    selectors = [
        *needs.selects,
        *(text_of(s) for item in slo_selectors(needs.slo_set) for s in (*item.total, *item.good)),
        *(promql.selector(metric, mesh.matchers) for metric in present),
    ]
    labelled = [(metric, label) for metric in present for label in _questions(needs, metric)]
    counts = asker.counts(
        [
            *selectors,
            *(_with(metric, label) for metric, label in labelled),
            *(promql.selector(metric, ()) for metric in present),
        ]
    )
    jobs = _jobs(asker, present)
    build = told(source.build_info)
    runtime = told(source.runtime_info)
    return Survey(
        names=names,
        counts=counts,
        jobs=jobs,
        services=_reporters(asker, needs, names, "destination_service_namespace", "destination_service_name"),
        gateways=_reporters(asker, needs, names, "source_workload_namespace", "source_workload"),
        intervals=_intervals(asker, _started(runtime or {})),
        labelled={pair: counts[_with(*pair)] for pair in labelled},
        joins=_joins(asker, needs, present),
        replicas=_replicas(asker, needs),
        live=_live(asker, needs),
        server=_server(build or {}),
        version=(build or {}).get("version") or None,
        retention=(runtime or {}).get("storageRetention") or None,
        groups=told(source.rules),
    )


def other_form(metric: str) -> str:
    """What a histogram is called in its other form: classic ones have buckets, native ones are one metric.

    "" of what is no histogram.
    """
    buckets = f"{metric}_bucket"
    return (
        buckets
        if buckets in METRICS
        else metric.removesuffix("_bucket")
        if metric.endswith("_bucket")
        else ""
    )


def told(ask: Callable[[], T | None]) -> T | None:
    """What a server says of itself; None where it has no such endpoint or keeps it from us."""
    try:
        return ask()
    except (BadAnswer, QueryRejected, BackendRefused):
        return None


def _server(build: Mapping[str, str]) -> str:
    """What answers. VictoriaMetrics says no more than that it is Prometheus 2.24.0, which would tell its revision."""
    if build.get("version") == VICTORIA_METRICS and not build.get("revision"):
        return "VictoriaMetrics"
    return build.get("application") or "Prometheus"


def _started(runtime: Mapping[str, str]) -> float:
    """When the server started, Unix seconds; 0 where it does not say."""
    try:
        return datetime.fromisoformat(re.sub(r"\.\d+", "", runtime.get("startTime", ""))).timestamp()
    except ValueError:
        return 0.0


def _replicas(asker: Asker, needs: Needs) -> dict[str, float]:
    exprs = []
    for label in REPLICA_LABELS:
        up = promql.selector("up", (Matcher(label, "!=", ""), *needs.slo_set.mesh.matchers))
        exprs.append(f"count(count without ({label}) ({up}) > 1)")
    return {
        label: _first(series)
        for label, series in zip(REPLICA_LABELS, asker.each(exprs), strict=True)
        if series
    }


def _live(asker: Asker, needs: Needs) -> frozenset[str]:
    recorded = promql.selector(naming.TOTAL_GRID, (Matcher(naming.SLO_SET, "=", needs.slo_set.name),))
    found = asker.source.query(f"count by ({naming.SLO_ID}) (last_over_time({recorded}[{_FRESH}]))", asker.at)
    return frozenset(item["metric"].get(naming.SLO_ID, "") for item in found)


def _questions(needs: Needs, metric: str) -> list[str]:
    wanted = sorted(needs.labels.get(metric, ()))
    return [*wanted, *(f"exported_{label}" for label in wanted)]


def _with(metric: str, label: str) -> str:
    return promql.selector(metric, (Matcher(label, "!=", ""),))


def _jobs(asker: Asker, present: Sequence[str]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    answers = asker.each([f"count by (job) ({promql.selector(metric, ())})" for metric in present])
    for metric, series in zip(present, answers, strict=True):
        for item in series:
            found.setdefault(metric, {})[item["metric"].get("job", "")] = float(item["value"][1])
    return found


def _reporters(
    asker: Asker, needs: Needs, names: frozenset[str], namespace: str, name: str
) -> dict[tuple[str, str], frozenset[str]]:
    slis = [slo.sli for slo in needs.slo_set.slos if isinstance(slo.sli, CounterSli)]
    if not any(sli.service_label == name for sli in slis):
        return {}
    durations = f'{DURATION_BUCKET}{{le="+Inf"}}' if DURATION_BUCKET in names else DURATION
    metric = REQUESTS if REQUESTS in names else durations
    found: dict[tuple[str, str], set[str]] = {}
    for item in asker.source.query(f"count by ({namespace}, {name}, reporter) ({metric})", asker.at):
        labels = item["metric"]
        place = labels.get(namespace, ""), labels.get(name, "")
        if not promql.is_service(place[1]):
            continue
        found.setdefault(place, set()).add(labels.get("reporter", ""))
    return {place: frozenset(reporters) for place, reporters in found.items()}


def _intervals(asker: Asker, since: float) -> dict[str, float]:
    """Seconds between scrapes by job, from how many a target of middling luck had since the server started."""
    found: dict[str, float] = {}
    age = asker.at.timestamp() - since
    queries = [
        f"quantile by (job) (0.5, count_over_time(up[{seconds}s]) and up offset {seconds}s)"
        for seconds in _INTERVALS
    ]
    for seconds, series in zip(_INTERVALS, asker.each(queries), strict=True):
        if 0 <= age < 2 * seconds:
            continue  # it was not there to scrape for some of that time
        for item in series:
            count = float(item["value"][1])
            if count >= 1:
                found.setdefault(item["metric"].get("job", ""), seconds / count)
    return found


def _joins(asker: Asker, needs: Needs, present: Sequence[str]) -> dict[str, Join]:
    """How series find the ``up`` of their target, for the metrics that rules read beside it."""
    mesh = needs.slo_set.mesh
    joined = {
        read.select.metric for rule in needs.rules if any(r.select.metric == "up" for r in rule.reads)
        for read in rule.reads
    }  # fmt: skip
    metrics = [metric for metric in present if metric in joined and metric != "up"][:MAX_JOINS]
    up, on = promql.selector("up", mesh.matchers), promql.names(mesh.target_labels)
    exprs = []
    for metric in metrics:
        series = promql.selector(metric, mesh.matchers)
        exprs += [f"count({series})", f"count({series} unless on ({on}) {up})", f"topk(1, {series})"]
    answers = iter(asker.each(exprs))
    found = {}
    for metric in metrics:
        total, lost, sample = next(answers), next(answers), next(answers)
        if total:
            found[metric] = Join(_first(total), _first(lost), sample[0]["metric"] if sample else {})
    return found


def _first(series: Sequence[Series]) -> float:
    return float(series[0]["value"][1]) if series else 0.0


def seconds_of(retention: str) -> float | None:
    """The time in what Prometheus says of its retention: ``15d``, ``15d or 10GiB``, ``1y2w``."""
    for part in retention.split(" or "):
        if re.fullmatch(r"(?:\d+(?:ms|[ywdhms]))+", part.strip()):
            units = {"y": 365 * 86400, "w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
            return float(sum(int(n) * units[u] for n, u in re.findall(r"(\d+)(ms|[ywdhms])", part.strip())))
    return None
