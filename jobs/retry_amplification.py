"""The job ``retry_amplification``: attempts per request from traces, held against what Prometheus counted.

Traces say which calls were retried, how often, how fast, and what that becomes along a path; metrics count all
requests, sampled or not. Where the two disagree, one of them is set up wrongly: that is a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any

from jobs.reports import guardrails
from sloctl import naming
from sloctl.backends.protocols import MetricSource
from sloctl.model import Guardrail, SloSet
from sloctl.model.durations import duration, number
from sloctl.report.data import Finding, finding_json
from sloctl.report.health import EdgeAmplification, GuardrailStatus
from sloctl.telemetry.own_metrics import Gauge

if TYPE_CHECKING:
    import pandas as pd

    from sloctl.backends.spans import Spans, TraceSource
    from sloctl.retries import CallTable
    from sloctl.retries import Finding as RetryFinding

WINDOW = 1800
"""Seconds: what metrics are recorded over, and how much of the past traces are read of unless told otherwise."""
GAP = 300
"""Seconds without a span of a service that had some, where the file has no guardrail ``telemetry-gap``."""
BREADTH = 100_000
"""So many edges, or paths, are reported on at most; each takes 1.5 KB. Of more, traces are left out."""
PRESET = "retry-amplification"
GAUGES = {
    "sloctl_retry_requests": "Requests between two services in the traces that were read of the job's window.",
    "sloctl_retry_attempts": "Attempts at these requests.",
    "sloctl_retry_amplification_ratio": "Attempts per request, by the traces.",
}
"""What :func:`metrics` gives, with its HELP."""


@dataclass(frozen=True, slots=True)
class RetryFrames:
    """What traces say of retries; frames are those of :mod:`sloctl.retries`.

    ``edges`` names places (``namespace/service``) and has besides: ``counted`` (float64, attempts per request by
    Prometheus, NaN where it has no such edge), ``worst`` (float64, what the edge could become if its callee failed
    fully) and ``verdict`` (str, of :func:`sloctl.retries.compare`; "" where metrics were not asked). ``links`` has
    the addresses of ``worst_traces``, by trace. ``verdicts`` are those of the guardrail, by the lower end of each
    interval: what is only perhaps above the limit is not held to be. One trace alone has no verdict, nor has an edge
    where it depends on what is undecided. ``name`` gives the place of a service as the other frames name it.
    """

    edges: pd.DataFrame
    paths: pd.DataFrame
    loads: pd.DataFrame
    worst_traces: pd.DataFrame
    links: Mapping[str, str]
    counts: Mapping[str, int]
    verdicts: tuple[GuardrailStatus, ...]
    findings: tuple[Finding, ...]
    name: Callable[[str], str]

    @property
    def amplification(self) -> list[EdgeAmplification]:
        """The edges as a report has them, the worst first."""
        names = ("client", "server", "requests", "attempts", "amplification")
        rows = [
            EdgeAmplification(
                client or "unknown", server, float(requests), float(attempts), _number(ratio), "traces"
            )
            for client, server, requests, attempts, ratio in _rows(self.edges, *names)
            if requests
        ]
        return sorted(rows, key=lambda row: (-(row.amplification or 0), row.source, row.destination))


def place(service: str, namespaces: Collection[str]) -> str:
    """What a report calls a service that Istio's proxies call ``checkout.shop`` in traces: ``shop/checkout``.

    A dot alone means nothing: what stands behind it must be a namespace.
    """
    name, _, namespace = service.rpartition(".")
    return f"{namespace}/{name}" if name and namespace in namespaces else service


def run(
    source: MetricSource | None, traces: TraceSource, slo_set: SloSet, at: datetime, seconds: int = WINDOW
) -> RetryFrames:
    """Retries in the traces that began in the last ``seconds`` seconds.

    Without ``source``, or of another time than :data:`WINDOW`, metrics are not asked. Raises ``BackendError``.
    """

    def counted() -> list[EdgeAmplification] | None:
        if source is None or seconds != WINDOW or not _guardrail(slo_set):
            return None
        return guardrails.amplification(source, slo_set, at, recorded=True)

    return recent(traces, slo_set, at, counted, seconds)


def recent(
    traces: TraceSource,
    slo_set: SloSet,
    at: datetime,
    counted: Callable[[], Sequence[EdgeAmplification] | None],
    seconds: int = WINDOW,
) -> RetryFrames:
    """What :func:`run` finds, held against what Prometheus ``counted``: called once the traces are read.

    Raises ``BackendError``.
    """
    spans = traces.spans(at - timedelta(seconds=seconds), at)
    found = of_spans(spans, slo_set, counted(), traces.link)
    gaps = () if spans.one_in > 1 or spans.incomplete else _gaps(spans.frame, at, _limit(slo_set), found.name)
    return replace(found, findings=(*found.findings, *gaps))


def of_spans(
    spans: Spans,
    slo_set: SloSet,
    counted: Sequence[EdgeAmplification] | None = None,
    link: Callable[[str], str] = lambda trace: "",
) -> RetryFrames:
    """What some spans say of retries, held against what Prometheus ``counted`` unless that is None."""
    import pandas as pd

    from sloctl import retries

    spans, table = _bounded(spans)
    kept = float((slo_set.sources.sampling or 0) / 100)
    spans, whole, edges = _edges(spans, table, kept)
    name = partial(place, namespaces=whole.namespaces | _namespaces(slo_set, counted or ()))
    found = list(retries.findings(whole, edges))
    for end in ("client", "server"):
        edges[end] = pd.Series([name(text) for text in edges[end].tolist()], dtype="str")
    worst = retries.worst_case(edges)
    edges = edges.merge(worst[["client", "server", "worst"]], on=["client", "server"], how="left")
    edges, more = _compared(edges, counted)
    if _in_part(spans):
        more = [item for item in more if item.code != "retry-edge-without-traces"]
    slowest = retries.worst_traces(whole)
    findings = [_reported(item, name) for item in found] + [_reported(item, str) for item in more]
    return RetryFrames(
        edges,
        retries.paths(table),
        retries.loads(table),
        slowest,
        {trace: link(trace) for trace in dict.fromkeys(slowest["trace"].tolist())},
        {**whole.counts, "rejected": sum(spans.rejected.values())},
        tuple(_verdicts(slo_set, edges)),
        (*findings, *_meltdowns(worst), *_unread(spans), *_sampling(slo_set, edges)),
        name,
    )


def _bounded(spans: Spans) -> tuple[Spans, CallTable]:
    """Spans and their calls: all, or those of so many traces that no more than :data:`BREADTH` is found."""
    from sloctl import retries
    from sloctl.backends.spans import FEWEST, halved

    table = retries.calls(spans.frame)
    while retries.breadth(table) > BREADTH and spans.one_in < FEWEST:
        spans = halved(spans)
        table = retries.calls(spans.frame)
    return spans, table


def _edges(spans: Spans, table: CallTable, kept: float) -> tuple[Spans, CallTable, pd.DataFrame]:
    """The edges, and what they are of: all calls that the source counted, where it did, else those of the spans.

    What the source cannot count, how long requests took, is of the spans alone. ``kept`` is the share of traces that
    the tracer keeps. Spans come without what was counted where that is of no use.
    """
    from sloctl import retries

    ours = retries.edges(table, sampled=kept / spans.one_in)
    if spans.counted is None:
        return spans, table, ours
    try:
        whole = retries.calls(spans.counted.others, spans.counted)
        edges = retries.edges(whole, sampled=kept / spans.counted.one_in)
    except ValueError:
        edges = None
    if edges is None or len(edges) > BREADTH:
        return replace(spans, counted=None), table, ours
    ends, times = ["client", "server"], ["p50", "p95"]
    return spans, whole, edges.drop(columns=times).merge(ours[[*ends, *times]], on=ends, how="left")


def _namespaces(slo_set: SloSet, counted: Sequence[EdgeAmplification]) -> frozenset[str]:
    """Namespaces that the SLO file and Prometheus know of."""
    counted_in = {
        end.partition("/")[0] for row in counted for end in (row.source, row.destination) if "/" in end
    }
    return frozenset(counted_in | {slo.namespace for slo in slo_set.slos if slo.namespace})


def _compared(
    edges: pd.DataFrame, counted: Sequence[EdgeAmplification] | None
) -> tuple[pd.DataFrame, list[RetryFinding]]:
    """The edges with ``counted`` and ``verdict``, and findings where traces and metrics disagree."""
    import pandas as pd

    from sloctl import retries

    if counted is None:
        return edges.assign(counted=float("nan"), verdict=""), []
    names = ["client", "server", "requests", "attempts"]
    rows = [(row.source, row.destination, row.requests, row.attempts) for row in counted]
    metrics = pd.DataFrame(rows, columns=names)
    # Envoy's own counters have no clients: they are held against all of a service's calls together.
    together = metrics["client"] == "*"
    whole = edges["server"].isin(metrics.loc[together, "server"])
    _, found = retries.compare(_by_server(edges[whole]), metrics[together])
    compared, more = retries.compare(edges[~whole], metrics[~together])
    compared = compared[["client", "server", "metrics", "verdict"]].rename(columns={"metrics": "counted"})
    merged = edges.merge(compared, on=["client", "server"], how="left")
    return merged.assign(verdict=merged["verdict"].fillna("")), found + more


def _by_server(edges: pd.DataFrame) -> pd.DataFrame:
    """The edges of each service as one, of the client ``*``; its interval is the mean of theirs, by requests."""
    weighted = edges[["low", "high"]].mul(edges["requests"], axis=0).join(edges[["requests", "attempts"]])
    sums = weighted.groupby(edges["server"]).sum(min_count=1)
    means = sums.div(sums["requests"], axis=0).rename(columns={"attempts": "amplification"})
    return means.reset_index().assign(client="*").astype({"client": "str"})


def _guardrail(slo_set: SloSet) -> Guardrail | None:
    return next((item for item in slo_set.guardrails if item.preset == PRESET), None)


def _limit(slo_set: SloSet) -> int:
    """Seconds without a span of a service that are too many."""
    return next((int(g.limit) for g in slo_set.guardrails if g.preset == "telemetry-gap" and g.limit), GAP)


def _verdicts(slo_set: SloSet, edges: pd.DataFrame) -> Iterator[GuardrailStatus]:
    """The guardrail at each edge, by the traces: violated where all of the interval is above its limit."""
    guardrail = _guardrail(slo_set)
    if guardrail is None or guardrail.limit is None:
        return
    limit = float(guardrail.limit)
    columns = ("client", "server", "requests", "attempts", "undecided", "low", "traces")
    for client, server, requests, attempts, undecided, low, traces in _rows(edges, *columns):
        surely = _number(low) if traces > 1 else None
        if surely is not None and undecided:
            least = min(surely, (attempts + undecided) / (requests + undecided))
            perhaps = (attempts + undecided) / requests > limit
            surely = None if perhaps and least <= limit else least
        scope = {"source": client or "unknown", "destination": server}
        yield GuardrailStatus(PRESET, scope, surely, limit, "attempts per request")


def _rows(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(frame[name].tolist() for name in columns), strict=True)


def _number(value: Any) -> float | None:
    return float(value) if isfinite(value) else None


def _reported(item: RetryFinding, name: Callable[[str], str]) -> Finding:
    scope = {key: name(value) for key, value in item.scope.items()}
    severity = "error" if item.severity == "critical" else item.severity
    edge = f"{scope['client'] or 'unknown'} to {scope['server']}: " if scope else ""
    return Finding(severity, item.code, f"{edge}{item.message}", scope)


def _meltdowns(worst: pd.DataFrame) -> Iterator[Finding]:
    for client, server, times, path in _rows(worst[worst["meltdown"]], "client", "server", "worst", "path"):
        text = (
            f"{client} to {server}: if {server} failed fully, one request at {path[0]} could become {times:.0f} "
            f"attempts here, by the most attempts seen on {' > '.join(path)}"
        )
        yield Finding("warning", "retry-meltdown", text, {"client": client, "server": server})


def _gaps(frame: pd.DataFrame, at: datetime, limit: int, name: Callable[[str], str]) -> Iterator[Finding]:
    newest = frame.groupby("service", observed=True)["start"].max()
    for service, time in sorted(zip(newest.index.tolist(), newest.tolist(), strict=True)):
        age = (at - time.to_pydatetime()).total_seconds()
        if service and age > limit:
            text = f"{name(service)}: its newest span is {duration(round(age))} old; the limit is {duration(limit)}"
            yield Finding("warning", "trace-gap", text, {"service": name(service)})


def _in_part(spans: Spans) -> bool:
    """Whether edges that were not found may be there all the same."""
    one_in = spans.one_in if spans.counted is None else spans.counted.one_in
    return one_in > 1 or bool(spans.incomplete)


def _unread(spans: Spans) -> Iterator[Finding]:
    if spans.counted is not None:
        whole = "all traces" if spans.counted.one_in == 1 else f"1 of {spans.counted.one_in:,} traces"
        text = (
            f"requests and attempts of edges are of {whole}, as the backend counted them; paths, what retries add to "
            f"services, and durations of requests are of 1 of {spans.one_in:,} traces, by a hash of their ids"
        )
        yield Finding("info", "traces-thinned", text)
    elif spans.one_in > 1:
        text = (
            f"1 of {spans.one_in:,} traces was analysed, by a hash of their ids: more do not fit into memory. Counts "
            "are of these traces; ratios and their intervals are of all"
        )
        yield Finding("info", "traces-thinned", text)
    for reason, count in sorted(spans.rejected.items()):
        yield Finding("warning", "spans-rejected", f"{count} spans could not be read: {reason}")
    for text in spans.incomplete:
        yield Finding("warning", "traces-incomplete", text)


def _sampling(slo_set: SloSet, edges: pd.DataFrame) -> Iterator[Finding]:
    """What the intervals suppose of the traces that were not kept."""
    share = slo_set.sources.sampling
    if len(edges) and share is None:
        text = (
            "how many traces are kept is not known (sources.traces.sampling): intervals suppose few of many"
        )
        yield Finding("info", "sampling-unknown", text)
    elif len(edges) and share is not None and share < 100:
        text = f"{number(share)} % of the traces are kept; intervals say what that leaves open"
        yield Finding("info", "traces-sampled", text)


def metrics(found: RetryFrames, set_name: str) -> list[Gauge]:
    """The edges as gauges: requests and attempts in the traces, and attempts per request."""
    gauges: list[Gauge] = []
    for row in found.amplification:
        labels = {naming.SLO_SET: set_name, "source": row.source, "destination": row.destination}
        values = (row.requests, row.attempts, row.amplification)
        gauges += [
            Gauge(name, labels, value)
            for name, value in zip(GAUGES, values, strict=True)
            if value is not None
        ]
    return gauges


def rows(found: RetryFrames) -> dict[str, list[dict[str, Any]]]:
    """The result as lists of rows: ``edges``, ``paths``, ``services``, ``worst_traces``, ``findings``."""
    states = {(v.scope["source"], v.scope["destination"]): v.status for v in found.verdicts}
    edges = [
        {
            "source": row["client"] or "unknown",
            "destination": row["server"],
            "requests": row["requests"],
            "attempts": row["attempts"],
            "undecided": row["undecided"],
            "amplification": row["amplification"],
            "interval": [row["low"], row["high"]],
            "by_metrics": row["counted"],
            "verdict": row["verdict"],
            "guardrail": states.get((row["client"] or "unknown", row["server"]), ""),
            "worst_case": row["worst"],
            "retried": row["retried"],
            "recovered": row["recovered"],
            "call_errors": row["call_errors"],
            "attempt_errors": row["attempt_errors"],
            "p50": row["p50"],
            "p95": row["p95"],
            "retried_p95": row["retried_p95"],
            "lost_seconds": row["lost"],
            "pause": row["gap_p50"],
            "method": row["method"],
        }
        for row in found.edges.to_dict("records")
    ]
    paths = [
        {
            "entry": found.name(row["entry"]),
            "path": [found.name(name) for name in row["path"]],
            "requests": row["entry_requests"],
            "attempts": row["attempts"],
            "fan_out": row["fan_out"],
            "retries": row["retries"],
        }
        for row in found.paths[found.paths["leaf"]].to_dict("records")
    ]
    services = [
        {
            "service": found.name(row["service"]),
            "attempts": row["attempts"],
            "retry_share": row["retry_share"],
        }
        for row in found.loads.to_dict("records")
    ]
    worst = [
        {
            "source": found.name(row["client"]) or "unknown",
            "destination": found.name(row["server"]),
            "trace": row["trace"],
            "attempts": row["attempts"],
            "requests": row["requests"],
            "lost_seconds": row["lost"],
            "duration": row["duration"],
            "codes": row["codes"],
            "link": found.links.get(row["trace"], ""),
        }
        for row in found.worst_traces.to_dict("records")
    ]
    findings = [finding_json(item) for item in found.findings]
    return {"edges": edges, "paths": paths, "services": services, "worst_traces": worst, "findings": findings}


TOP: Mapping[str, int] = {"edges": 10, "findings": 10}
"""How many rows of each list people are shown unless they ask for more; of other lists half as many."""
_ADDED: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "edges": lambda row: row["attempts"] - row["requests"] + row["undecided"],
    "paths": lambda row: row["attempts"] - row["attempts"] / (row["retries"] or 1),
    "services": lambda row: row["attempts"] * row["retry_share"] if row["attempts"] else 0,
    "worst_traces": lambda row: row["attempts"] - row["requests"],
}
"""The load that retries add, by what a row says."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are wanted: those of ``services`` (``cart`` or ``shop/cart``; of all, if none are named), at most
    ``top`` of each list (None: as :data:`TOP` says), or ``whole`` lists.
    """

    top: int | None = None
    services: tuple[str, ...] = ()
    whole: bool = False

    def of(self, found: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
        """The rows that are wanted of a result of :func:`rows`, those first that add most load."""
        chosen = {name: [row for row in items if self._wants(row)] for name, items in found.items()}
        for name, added in _ADDED.items():
            chosen[name].sort(key=lambda row, added=added: -added(row))  # type: ignore[misc]
        if not self.whole:
            chosen = {name: items[: self.top or TOP.get(name, 5)] for name, items in chosen.items()}
        return chosen

    def _wants(self, row: Mapping[str, Any]) -> bool:
        ends = [row.get(name, "") for name in ("source", "destination", "service", "entry")]
        ends += [*row.get("path", ()), *(row.get("scope") or {}).values()]
        return not self.services or any(
            end in self.services or end.rpartition("/")[2] in self.services for end in ends
        )


def folded(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Findings of one kind as one row that has their ``count`` and the first one's message, the gravest first."""
    kinds: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for item in findings:
        kinds.setdefault((item["severity"], item["code"]), []).append(item)
    order = ["error", "warning", "info"]
    return [
        {"severity": severity, "code": code, "count": len(items), "message": items[0]["message"]}
        for (severity, code), items in sorted(kinds.items(), key=lambda kind: order.index(kind[0][0]))
    ]
