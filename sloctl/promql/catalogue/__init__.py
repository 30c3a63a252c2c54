"""The catalogue: every raw metric that sloctl's rules, jobs, reports and dashboards read, and how to get it.

Data alone. It must not know which rule reads a metric, nor what a server holds.
"""

from __future__ import annotations

from sloctl import project
from sloctl.promql.catalogue import envoy, istio, platform, remedies
from sloctl.promql.catalogue.kinds import Metric, Origin, Remedy

__all__ = ["METRICS", "ORIGINS", "Metric", "Origin", "Remedy", "remedy"]

ORIGINS: dict[str, Origin] = {
    origin.key: origin
    for origin in (
        Origin(
            "proxy",
            "Istio's proxies",
            "sidecars, gateways and waypoints: port 15020 or 15090, path `/stats/prometheus`",
            "https://istio.io/latest/docs/reference/config/metrics/",
            remedies.PROXIES,
        ),
        Origin(
            "ztunnel",
            "ztunnel",
            "ambient mode: port 15020 of ztunnel on every node, path `/stats/prometheus`",
            "https://github.com/istio/ztunnel",
            remedies.TCP,
        ),
        Origin(
            "agent",
            "pilot-agent",
            "merged with the proxy's: port 15020, path `/stats/prometheus`, prefix `istio_agent_`",
            "https://istio.io/latest/docs/reference/commands/pilot-agent/",
            remedies.AGENT,
        ),
        Origin(
            "istiod",
            "istiod",
            "port 15014, path `/metrics`",
            "https://istio.io/latest/docs/reference/commands/pilot-discovery/#metrics",
            remedies.ISTIOD,
        ),
        Origin(
            "envoy",
            "Envoy's statistics",
            "as the proxies'; cluster statistics only with an inclusion list",
            "https://istio.io/latest/docs/ops/configuration/telemetry/envoy-stats/",
            remedies.ENVOY,
        ),
        Origin(
            "kube-state-metrics",
            "kube-state-metrics",
            "its own port 8080, path `/metrics`, with `honor_labels`",
            "https://github.com/kubernetes/kube-state-metrics/tree/main/docs",
            remedies.KUBE_STATE_METRICS,
        ),
        Origin(
            "cadvisor",
            "cAdvisor",
            "every kubelet, path `/metrics/cadvisor`",
            "https://github.com/google/cadvisor/blob/master/docs/storage/prometheus.md",
            remedies.CADVISOR,
        ),
        Origin(
            "prometheus",
            "Prometheus itself",
            "written for every target",
            "https://prometheus.io/docs/concepts/jobs_instances/",
            remedies.PROMETHEUS,
        ),
        Origin(
            "traces",
            "Trace backends",
            "the backend's own metrics; one of these is enough",
            "https://opentelemetry.io/docs/collector/internal-telemetry/",
            remedies.TRACES,
        ),
        Origin(
            "sloctl",
            "sloctl itself",
            "`sloctl schedule`, path `/metrics`",
            project.REPOSITORY,
            remedies.SLOCTL,
        ),
    )
}
"""What exposes metrics, in the order of the page."""

METRICS: dict[str, Metric] = {
    metric.name: metric for metric in (*istio.METRICS, *envoy.METRICS, *platform.METRICS)
}


def remedy(name: str) -> Remedy | None:
    """What to switch on where a metric is missing; None for a metric that is not in the catalogue."""
    metric = METRICS.get(name)
    return None if metric is None else metric.remedy or ORIGINS[metric.origin].remedy
