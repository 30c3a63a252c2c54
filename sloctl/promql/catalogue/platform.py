"""Metrics of what surrounds the mesh: kube-state-metrics, cAdvisor, Prometheus, trace backends, sloctl itself."""

from __future__ import annotations

from sloctl.promql.catalogue.kinds import Exposed, Metric

_KSM = "ksm_v2_gke.prom"
_LEGACY = "ksm_legacy.prom"
_PODS = "kubernetes/kube-state-metrics: docs/metrics/workload/pod-metrics.md"
_CONTAINER = ("namespace", "pod", "container")


def _pods(
    name: str,
    help_text: str,
    *labels: str,
    counter: bool = False,
    exposed: Exposed = "always",
    evidence: tuple[str, ...] = (_KSM,),
    versions: str = "",
    instead: tuple[str, ...] = (),
) -> Metric:
    kind = "counter" if counter else "gauge"
    values = {"reason": "`OOMKilled`, `Error`, …"} if "reason" in labels else {}
    if "resource" in labels:
        values = {"resource": "`cpu` (cores), `memory` (bytes)"}
    return Metric(
        f"kube_pod_{name}",
        "counter" if kind == "counter" else "gauge",
        "kube-state-metrics",
        help_text,
        (*_CONTAINER, *labels),
        values,
        exposed,
        evidence,
        _PODS,
        versions,
        instead,
    )


_LIMITS = (
    "kube_pod_container_resource_limits",
    "kube_pod_init_container_resource_limits",
    "kube_pod_container_resource_limits_memory_bytes",
    "kube_pod_container_resource_limits_cpu_cores",
    "kube_pod_init_container_resource_limits_memory_bytes",
    "kube_pod_init_container_resource_limits_cpu_cores",
)


def _other(name: str) -> tuple[str, ...]:
    return tuple(other for other in _LIMITS if other != f"kube_pod_{name}")


_LOST = (
    "zipkin_collector_spans_dropped_total",
    "jaeger_collector_spans_dropped_total",
    "otelcol_receiver_refused_spans",
    "otelcol_receiver_refused_spans_total",
    "otelcol_exporter_send_failed_spans",
    "otelcol_exporter_send_failed_spans_total",
    "tempo_discarded_spans_total",
)
_SPANS = (
    "zipkin_collector_spans_total",
    "jaeger_collector_spans_received_total",
    "otelcol_receiver_accepted_spans",
    "otelcol_receiver_accepted_spans_total",
    "tempo_distributor_spans_received_total",
)


def _spans(name: str, help_text: str, source: str, versions: str = "") -> Metric:
    alike = _SPANS if name in _SPANS else _LOST
    instead = tuple(other for other in alike if other != name)
    return Metric(name, "counter", "traces", help_text, (), {}, "first event", (), source, versions, instead)


def _cadvisor(name: str, help_text: str, *, counter: bool = False, limited: bool = False) -> Metric:
    return Metric(
        f"container_{name}",
        "counter" if counter else "gauge",
        "cadvisor",
        help_text,
        _CONTAINER,
        exposed="on request" if limited else "always",
        source="google/cadvisor: docs/storage/prometheus.md",
        versions="only of containers with a CPU limit" if limited else "",
    )


METRICS = (
    _pods("container_status_restarts_total", "Restarts of a container.", "uid", counter=True),
    _pods(
        "init_container_status_restarts_total",
        "Restarts of an init container: native sidecars are init containers.",
        "uid",
        counter=True,
        instead=("kube_pod_container_status_restarts_total",),
    ),
    _pods(
        "container_status_last_terminated_reason",
        "1 for the reason of the last end of a container.",
        *("reason", "uid"),
        exposed="first event",
    ),
    _pods(
        "init_container_status_last_terminated_reason",
        "The same of native sidecars.",
        *("reason", "uid"),
        exposed="first event",
        instead=("kube_pod_container_status_last_terminated_reason",),
    ),
    _pods(
        "container_resource_limits",
        "Limits of a container.",
        "resource",
        versions="since 2.0",
        instead=_other("container_resource_limits"),
    ),
    _pods(
        "init_container_resource_limits",
        "Limits of a native sidecar.",
        "resource",
        evidence=(),
        versions="since 2.0",
        instead=_other("init_container_resource_limits"),
    ),
    _pods(
        "container_resource_limits_memory_bytes",
        "Memory limit of a container.",
        evidence=(_LEGACY, _KSM),
        versions="until 1.9",
        instead=_other("container_resource_limits_memory_bytes"),
    ),
    _pods(
        "container_resource_limits_cpu_cores",
        "CPU limit of a container.",
        evidence=(_LEGACY, _KSM),
        versions="until 1.9",
        instead=_other("container_resource_limits_cpu_cores"),
    ),
    _pods(
        "init_container_resource_limits_memory_bytes",
        "Memory limit of a native sidecar.",
        evidence=(),
        versions="until 1.9",
        instead=_other("init_container_resource_limits_memory_bytes"),
    ),
    _pods(
        "init_container_resource_limits_cpu_cores",
        "CPU limit of a native sidecar.",
        evidence=(),
        versions="until 1.9",
        instead=_other("init_container_resource_limits_cpu_cores"),
    ),
    *(
        Metric(
            f"kube_deployment_status_replicas_{state}",
            "gauge",
            "kube-state-metrics",
            f"Replicas of a deployment that are {state}.",
            (*(("namespace",) if state == "unavailable" else ()), "deployment"),
            evidence=(_LEGACY, _KSM),
            source="kubernetes/kube-state-metrics: docs/metrics/workload/deployment-metrics.md",
        )
        for state in ("available", "unavailable")
    ),
    Metric(
        "kube_pod_start_time",
        "gauge",
        "kube-state-metrics",
        "Unix time at which a pod started: first values of its counters are all new.",
        ("namespace", "pod"),
        evidence=(_LEGACY, _KSM),
        source="kubernetes/kube-state-metrics: docs/metrics/workload/pod-metrics.md",
        instead=("istio_agent_process_start_time_seconds",),
    ),
    Metric(
        "kube_cronjob_status_last_successful_time",
        "gauge",
        "kube-state-metrics",
        "Unix time at which a job of a CronJob last succeeded.",
        ("cronjob",),
        exposed="first event",
        source="kubernetes/kube-state-metrics: docs/metrics/workload/cronjob-metrics.md",
        versions="since May 2022 (kubernetes/kube-state-metrics #1732)",
    ),
    _cadvisor("memory_working_set_bytes", "Memory of a container that cannot be reclaimed."),
    _cadvisor("cpu_usage_seconds_total", "CPU time of a container.", counter=True),
    _cadvisor("cpu_cfs_periods_total", "Scheduling periods of a container.", counter=True, limited=True),
    _cadvisor(
        "cpu_cfs_throttled_periods_total", "Those in which it was throttled.", counter=True, limited=True
    ),
    Metric(
        "up",
        "gauge",
        "prometheus",
        "1 if the last scrape of a target succeeded, else 0.",
        ("job", "instance", "pod", "namespace"),
        source="prometheus/prometheus: docs, Jobs and instances",
    ),
    _spans(
        "zipkin_collector_spans_total",
        "Spans that Zipkin received.",
        "Zipkin 3.5.1, its own /prometheus (openzipkin/zipkin: zipkin-server/README.md)",
    ),
    _spans(
        "jaeger_collector_spans_received_total",
        "Spans that Jaeger 1 received.",
        "jaegertracing/jaeger: collector metrics",
        "Jaeger 1",
    ),
    _spans(
        "otelcol_receiver_accepted_spans",
        "Spans that an OpenTelemetry collector, or Jaeger 2, received.",
        "opentelemetry.io: Collector, Internal telemetry",
        "name without `_total`, as of collectors that do not add it",
    ),
    _spans(
        "otelcol_receiver_accepted_spans_total",
        "The same.",
        "opentelemetry.io: Collector, Internal telemetry",
        "name with `_total`, as of collectors that add it",
    ),
    _spans(
        "tempo_distributor_spans_received_total",
        "Spans that Tempo received.",
        "grafana/tempo: modules/distributor/distributor.go",
    ),
    _spans(
        "zipkin_collector_spans_dropped_total",
        "Spans that Zipkin dropped.",
        "Zipkin 3.5.1, its own /prometheus (openzipkin/zipkin: zipkin-server/README.md)",
    ),
    _spans(
        "jaeger_collector_spans_dropped_total",
        "Spans that Jaeger 1 dropped.",
        "jaegertracing/jaeger: collector metrics",
        "Jaeger 1",
    ),
    *(
        _spans(
            f"otelcol_{name}{ending}",
            what,
            "opentelemetry.io: Collector, Internal telemetry",
            "as of collectors that " + ("add `_total`" if ending else "do not add `_total`"),
        )
        for name, what in (
            ("receiver_refused_spans", "Spans that a collector refused."),
            ("exporter_send_failed_spans", "Spans that a collector could not pass on."),
        )
        for ending in ("", "_total")
    ),
    _spans(
        "tempo_discarded_spans_total",
        "Spans that Tempo discarded, as of a rate limit.",
        "grafana.com: Tempo, Manage trace ingestion",
    ),
    *(
        Metric(
            f"otelcol_exporter_queue_{name}",
            "gauge",
            "traces",
            f"{what} of an exporter of a collector; dashboards show them.",
            ("exporter",),
            {},
            source="opentelemetry.io: Collector, Internal telemetry",
            versions="of OpenTelemetry collectors",
        )
        for name, what in (("size", "Batches in the queue"), ("capacity", "Room in the queue"))
    ),
    Metric(
        "sloctl_job_last_success_timestamp_seconds",
        "gauge",
        "sloctl",
        "Unix time at which a job of sloctl last succeeded.",
        ("sloctl_job", "slo_set"),
        {},
        "first event",
        source="docs/guardrails.md",
        instead=("kube_cronjob_status_last_successful_time",),
    ),
)
