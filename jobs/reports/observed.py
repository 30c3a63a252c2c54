"""How long the requests of one SLO take, by whom and what, and which versions and configurations came meanwhile.

From the mesh's own counters and histograms, in a dozen questions: what an SLO's page shows besides its budget.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite

from sloctl import naming
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource, Series
from sloctl.guardrails.control_plane import configuration_changes
from sloctl.model import GRID, CounterSli, Matcher, Slo, SloSet
from sloctl.promql import calls
from sloctl.promql.presets import ENVOY_BUCKETS
from sloctl.report.data import Mark, SloStatus
from sloctl.report.latency import QUANTILES, Observed, Quantiles, Slow

HOUR = 3600
WINDOWS = (("5 minutes", 300, 0), ("1 hour", HOUR, 0), ("1 hour, a day before", HOUR, 86400))
"""Parts of time: in words, their length and how long ago they ended, in seconds."""
VERSION = "destination_version"
KINDS = (
    ("caller", naming.CALLERS),
    ("version", (VERSION,)),
    ("operation", ("request_operation",)),
)
"""What requests are told apart by."""
MOST = 5
"""So many of each kind are named, the slowest."""
SEEN = 0.02
"""The share of requests from which a version is one that serves."""
NO_CHANGE = ("Pod", "Endpoints", "EndpointSlice", "Node", "")
"""Kinds of objects that come and go without anybody having configured anything."""
STEPS = 200
LONGEST = 7 * 86400
MOST_CHANGES = 10


def read(
    source: MetricSource, slo_set: SloSet, slo: Slo, item: SloStatus, at: datetime, seconds: int
) -> Observed | None:
    """What is seen of an SLO's requests, and what changed in the ``seconds`` before ``at``, a week at most.

    None for an SLO of other events than a mesh's requests. Raises ``BackendError``.
    """
    sli = slo.sli
    if not isinstance(sli, CounterSli):
        return None
    mesh = slo_set.mesh
    where = [
        Matcher(sli.service_label, "=", item.service),
        *([Matcher(sli.namespace_label, "=", item.namespace)] if item.namespace else []),
        *sli.where,
    ]
    kinds = dict(KINDS) | ({"caller": naming.CALLED} if sli.service_label.startswith("source") else {})
    queries: dict[str, str] = {}
    for number, (_, length, ago) in enumerate(WINDOWS):
        for share in QUANTILES:
            queries[f"{number} {share}"] = calls.quantile(mesh, sli.side, where, share, (), length, ago)
    for kind, labels in kinds.items():
        for share in QUANTILES:
            expr = calls.quantile(mesh, sli.side, where, share, labels, HOUR)
            queries[f"{kind} {share}"] = f"topk({10 * MOST}, {expr})"
        queries[f"{kind} count"] = f"topk(500, {calls.timed(mesh, sli.side, where, labels, HOUR)} > 0)"
    heard = Heard(source)
    found = heard.query_many(queries, at)
    latency = tuple(
        (
            words,
            tuple(next(iter(_values(found[f"{number} {share}"], ()).values()), None) for share in QUANTILES),
        )
        for number, (words, _, _) in enumerate(WINDOWS)
    )
    slow = [one for kind, labels in kinds.items() for one in _slow(kind, labels, found)]
    native = mesh.histograms == "native"
    since = at - timedelta(seconds=min(seconds, LONGEST))
    step = timedelta(seconds=-(-min(seconds, LONGEST) // STEPS // GRID) * GRID)
    changes = (
        *_versions(heard, slo_set, sli, where, (since, at), step),
        *_configured(heard, slo_set, (since, at), step),
    )
    return Observed(
        latency if any(value is not None for _, values in latency for value in values) else (),
        tuple(slow),
        None if sli.threshold is None else float(sli.threshold),
        None if native else float(max(mesh.latency_buckets or ENVOY_BUCKETS)),
        changes,
        tuple(heard.doubts),
    )


def _values(series: Iterable[Series], labels: Iterable[str]) -> dict[tuple[str, ...], float]:
    named = tuple(labels)
    found = {}
    for one in series:
        value = float(one["value"][1])
        if isfinite(value):
            found[tuple(one["metric"].get(label, "") for label in named)] = value
    return found


def _slow(kind: str, labels: tuple[str, ...], found: Mapping[str, Iterable[Series]]) -> list[Slow]:
    """The slowest of a kind, where there is more than one to tell apart."""
    counts = _values(found[f"{kind} count"], labels)
    by_share = [_values(found[f"{kind} {share}"], labels) for share in QUANTILES]
    known = {names for names in counts if names[-1] not in ("", "unknown")}
    if len(counts) < 2:
        return []
    made = []
    for names in known:
        quantiles: Quantiles = tuple(values.get(names) for values in by_share)
        text = naming.place(*names) if len(names) == 2 else names[0]
        made.append(Slow(kind, text, counts[names], quantiles))
    made.sort(key=lambda one: (-(one.quantiles[1] or 0.0), -one.requests, one.name))
    return made[:MOST]


def _versions(
    source: MetricSource,
    slo_set: SloSet,
    sli: CounterSli,
    where: Iterable[Matcher],
    span: tuple[datetime, datetime],
    step: timedelta,
) -> list[Mark]:
    """Versions that began to answer a part of the requests that can be seen."""
    if sli.service_label.startswith("source"):  # a gateway's requests are answered by others
        return []
    expr = calls.by_label(slo_set.mesh, sli.side, where, VERSION, round(step.total_seconds()))
    counts = {
        one["metric"].get(VERSION, ""): {float(time): float(text) for time, text in one["values"]}
        for one in source.query_range(expr, span[0] + step, span[1], step)
    }
    whole = Counter[float]()
    for of in counts.values():
        whole.update(of)
    first = min(whole, default=0.0)
    found = []
    for version, of in counts.items():
        times = [time for time, count in of.items() if count >= SEEN * whole[time]]
        if version not in ("", "unknown") and times and min(times) > first:
            began = _moment(min(times))
            found.append(Mark(began - step, began, "version", f"{version} begins to serve"))
    return found


def _configured(
    source: MetricSource, slo_set: SloSet, span: tuple[datetime, datetime], step: timedelta
) -> list[Mark]:
    """Changes of the mesh's configuration that istiod saw, the last ones."""
    seconds = round(step.total_seconds())
    kinds: dict[float, set[str]] = {}
    for one in source.query_range(configuration_changes(slo_set, seconds), span[0] + step, span[1], step):
        kind, event = (one["metric"].get(name, "") for name in ("type", "event"))
        if kind not in NO_CHANGE:
            for time, _ in one["values"]:
                kinds.setdefault(float(time), set()).add(f"{kind} {event}")
    return [
        Mark(_moment(time - seconds), _moment(time), "configuration", ", ".join(sorted(of)))
        for time, of in sorted(kinds.items())[-MOST_CHANGES:]
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
