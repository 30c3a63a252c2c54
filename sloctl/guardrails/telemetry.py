"""M8 and F4: gaps in the mesh's metrics and traces.

Nothing here says that no data is zero: what was there before and is no longer is a gap, what never was is not. Targets
that service discovery no longer knows (a namespace scaled to zero, a finished rollout) are no gap either.

The counters of the tracing backends, and where they are documented:

- Zipkin: zipkin-server/README.md of openzipkin/zipkin (``/prometheus``, as 3.5.1 answers it)
- Jaeger 1: monitoring/jaeger-mixin of jaegertracing/jaeger; Jaeger 2: https://www.jaegertracing.io/docs/monitoring
- Tempo: https://grafana.com/docs/tempo/latest/operations/manage-trace-ingestion
- OpenTelemetry collectors: https://opentelemetry.io/docs/collector/internal-telemetry, with ``_total`` or without
"""

from __future__ import annotations

from math import ceil

from sloctl import naming, promql
from sloctl.guardrails.shared import samples
from sloctl.guardrails.shared.kinds import HealthAlert, Plan, Proof, Signal, Verdict
from sloctl.guardrails.shared.queries import RecordedQueries, counted, in_set, raw_signal, selected, signal
from sloctl.model import TILE, Guardrail, SloSet
from sloctl.model.durations import duration, number
from sloctl.promql.presets import REQUESTS

PROXY_METRICS = (REQUESTS, "istio_tcp_connections_opened_total", "envoy_server_live")
"""What proxies expose: with requests, with connections (ztunnel too), and without any traffic."""
TARGET_METRICS = PROXY_METRICS[:2]
FAILING = "0.1"
SPANS = {
    "zipkin": ("zipkin_collector_spans_total",),
    "jaeger": (
        "jaeger_collector_spans_received_total",
        "otelcol_receiver_accepted_spans_total",
        "otelcol_receiver_accepted_spans",
    ),
    "tempo": ("tempo_distributor_spans_received_total",),
}
"""Counters of the spans that a backend took in; each release has one of them."""
REFUSED = {
    "zipkin": ("zipkin_collector_spans_dropped_total",),
    "jaeger": ("jaeger_collector_spans_dropped_total",),
    "tempo": ("tempo_discarded_spans_total",),
}
COLLECTOR = (
    "otelcol_receiver_refused_spans_total",
    "otelcol_receiver_refused_spans",
    "otelcol_exporter_send_failed_spans_total",
    "otelcol_exporter_send_failed_spans",
)
"""Counters of spans lost in an OpenTelemetry collector, which stands before any backend and is part of Jaeger 2."""
METRIC = "metric"


def plan(slo_set: SloSet, guardrail: Guardrail) -> Plan:
    """Signals, verdicts and alerts of the guardrail ``telemetry-gap``."""
    assert guardrail.limit is not None
    limit = int(guardrail.limit)
    newest = raw_signal(
        "mesh:newest_sample:timestamp_seconds",
        "max (\n  "
        + "\n  or ".join(f"timestamp({selected(slo_set, metric)})" for metric in PROXY_METRICS)
        + "\n)",
    )
    gap = _gap(slo_set, "mesh:telemetry_gap:seconds", newest, "1d")
    failing = raw_signal("mesh:failing_scrapes:ratio", _failing(slo_set))
    signals = [newest, gap, failing]
    verdicts = [Verdict("telemetry-gap", gap, float(limit), "max", "seconds")]
    alerts = [_lost(slo_set, gap, limit), _scrapes(slo_set, failing, limit)]
    backend = slo_set.sources.traces_backend
    if backend in SPANS:
        spans = raw_signal("traces:spans:increase1m", f"sum (\n{_union(slo_set, SPANS[backend], TILE)}\n)")
        last = signal(
            slo_set, "traces:newest_span:timestamp_seconds", lambda q: f"0 * ({q.read(spans)} > 0) + time()"
        )
        # Without a span for an hour and the limit, there is nothing left to miss.
        trace_gap = _gap(slo_set, "traces:gap:seconds", last, duration(3600 + limit))
        refused = raw_signal("traces:refused_spans:increase5m", _refused(slo_set, backend))
        signals += [spans, last, trace_gap, refused]
        verdicts.append(Verdict("trace-gap", trace_gap, float(limit), "max", "seconds"))
        alerts += [_traces(slo_set, trace_gap, limit, backend), _spans_refused(slo_set, refused, backend)]
    return Plan("telemetry-gap", tuple(signals), tuple(verdicts), tuple(alerts))


def _gap(slo_set: SloSet, record: str, newest: Signal, reach: str) -> Signal:
    """Seconds since the newest timestamp of the last ``reach``, which survives its source.

    Without rules a subquery looks back for an hour, minute by minute.
    """
    recorded = promql.selector(newest.record, in_set(slo_set))
    live = f"max_over_time(\n  (\n{promql.indent(newest.live, 4)}\n  )[1h:1m]\n)"
    return Signal(
        record,
        f"time() - max(max_over_time({recorded}[{reach}]))",
        f"time() -\nmax (\n{promql.indent(newest.live)}\nor\n{promql.indent(live)}\n)",
    )


def _failing(slo_set: SloSet) -> str:
    """The share of the targets with mesh metrics in the last two hours that are known and not answering."""
    on = promql.names(slo_set.mesh.target_labels)
    seen = "\n  or ".join(f"last_over_time({selected(slo_set, metric)}[2h:10m])" for metric in TARGET_METRICS)
    up = promql.selector("up", slo_set.mesh.matchers)

    # One look at what was there, for it is the dearest of all: the mean of 0 and 1, whose last digits are not exact.
    return f"round(avg (\n  max by ({on}) ({up}) == bool 0\n  and on ({on})\n  ({seen})\n), 1e-9)"


def _union(slo_set: SloSet, metrics: tuple[str, ...], window: int) -> str:
    """What each of some metrics counted: summed first, for their series may have a label of that name."""
    return "\nor\n".join(
        promql.labelled(f"sum (\n{counted(slo_set, selected(slo_set, metric), window)}\n)", METRIC, metric)
        for metric in metrics
    )


def _refused(slo_set: SloSet, backend: str) -> str:
    return f"sum by ({METRIC}) (\n{_union(slo_set, (*REFUSED[backend], *COLLECTOR), 300)}\n)"


def _lost(slo_set: SloSet, gap: Signal, limit: int) -> HealthAlert:
    series = samples.requests(slo_set.mesh)
    starts = 9 + limit // TILE + 1
    fires = starts + 1
    return HealthAlert(
        name=naming.MESH_TELEMETRY_LOST,
        expr=f"{RecordedQueries(slo_set).read(gap)} > {limit}",
        for_=TILE,
        severity="page",
        summary="No metrics of the mesh's proxies for {value} s",
        description=(
            f"No proxy of the whole mesh has been scraped for over {number(limit)} s. Until they are back, no alert "
            "that is computed from them can fire: SLOs, latency, mutual TLS."
        ),
        telemetry="none",
        failure_mode="F4",
        proof=Proof(
            inputs={series: f"0+10x9 stale _x{fires} 500+10x5"},
            fires=fires,
            labels={},
            calm={series: f"7x{fires + 10}"},
            silent=(1, fires, fires + 10),
            value=TILE * (fires - 9),
            resolved=fires + 11,
        ),
    )


def _scrapes(slo_set: SloSet, failing: Signal, limit: int) -> HealthAlert:
    target = {label: f"{label}-1" for label in slo_set.mesh.target_labels}
    series, up = samples.requests(slo_set.mesh), samples.series("up", **target)
    fires = 6 + ceil(limit / TILE)
    return HealthAlert(
        name="ProxyScrapesFailing",
        expr=f"{RecordedQueries(slo_set).read(failing)} > {FAILING}",
        for_=limit,
        keep_firing_for=300,
        severity="ticket",
        summary="{percent} of the proxies cannot be scraped",
        description=(
            "More than 10 % of the proxies that had metrics within the last two hours do not answer. Their requests, "
            "good and bad, are in no SLI."
        ),
        telemetry="none",
        failure_mode="F4",
        proof=Proof(
            inputs={series: "0+10x5 stale", up: f"1x5 0x{fires + 10}"},
            fires=fires,
            labels={},
            calm={series: "0+10x5 stale", up: f"1x5 0 stale _x{fires + 10}"},
            silent=(6, fires, fires + 10),
            value=1,
        ),
    )


def _traces(slo_set: SloSet, gap: Signal, limit: int, backend: str) -> HealthAlert:
    series = samples.series(SPANS[backend][0])
    starts = 9 + limit // TILE + 1
    fires = starts + 1
    return HealthAlert(
        name="TraceTelemetryLost",
        expr=f"{RecordedQueries(slo_set).read(gap)} > {limit}",
        for_=TILE,
        severity="ticket",
        summary=f"{backend} has taken in no span for {{value}} s",
        description=(
            f"There were spans within the hour before. For over {number(limit)} s there have been none: proxies do "
            "not send, a collector holds them back, or the backend is down."
        ),
        telemetry="none",
        failure_mode="F4",
        proof=Proof(
            inputs={series: f"0+10x9 90x{fires}"},
            fires=fires,
            labels={},
            calm={series: f"0+10x{fires + 10}"},
            silent=(1, fires, fires + 10),
            value=TILE * (fires - 9),
        ),
    )


def _spans_refused(slo_set: SloSet, refused: Signal, backend: str) -> HealthAlert:
    metric = REFUSED[backend][0]
    series = samples.series(metric)
    return HealthAlert(
        name="SpansRefused",
        expr=f"{RecordedQueries(slo_set).read(refused)} > 0",
        for_=300,
        keep_firing_for=900,
        severity="ticket",
        summary="{value} spans were refused or lost in five minutes ({label:metric})",
        description=(
            "Rate limits or full queues discard spans, for longer than five minutes: traces are incomplete, and what "
            "is computed from them is too low."
        ),
        telemetry="traces",
        failure_mode="F4",
        proof=Proof(
            inputs={series: "_x5 2+2x10 22x40"},
            fires=10,
            labels={METRIC: metric},
            calm={series: "_x5 3x40"},
            silent=(6, 10, 11, 40),
            value=10,
        ),
    )
