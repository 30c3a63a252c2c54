"""Statistics of Envoy, as Istio's proxies name them."""

from __future__ import annotations

from sloctl.promql.catalogue import remedies
from sloctl.promql.catalogue.kinds import Metric

_SCRAPES = ("istio-1.5_sidecar_15090.prom", "istio-1.6plus_merged_15020.prom")
_DOCS = "envoyproxy/envoy: docs/root/configuration/upstream/cluster_manager/cluster_stats.rst"
_LABELS = ("cluster_name",)
_VALUES = {"cluster_name": "`outbound|8080||checkout.shop.svc.cluster.local`; `xds-grpc` is there by default"}


def _statistic(
    name: str,
    help_text: str,
    *,
    gauge: bool = False,
    evidence: tuple[str, ...] = _SCRAPES,
    instead: tuple[str, ...] = (),
) -> Metric:
    return Metric(
        f"envoy_cluster_{name}",
        "gauge" if gauge else "counter",
        "envoy",
        help_text,
        _LABELS,
        _VALUES,
        "on request",
        evidence,
        _DOCS,
        instead=instead,
        remedy=remedies.ENVOY,
    )


METRICS = (
    _statistic("upstream_rq_total", "Attempts sent to a cluster."),
    _statistic(
        "upstream_rq_completed",
        "Requests that ended: final outcomes, and overflows.",
        instead=("envoy_cluster_upstream_rq_retry",),
    ),
    _statistic(
        "upstream_rq_retry",
        "Retries; attempts less these are requests.",
        instead=("envoy_cluster_upstream_rq_completed",),
    ),
    _statistic("upstream_rq_pending_overflow", "Requests turned away by a full queue."),
    _statistic("upstream_cx_overflow", "Connections not opened because the pool was full."),
    _statistic("outlier_detection_ejections_active", "Hosts ejected now.", gauge=True, evidence=()),
    _statistic("outlier_detection_ejections_enforced_total", "Hosts ejected so far.", evidence=()),
    Metric(
        "envoy_server_live",
        "gauge",
        "envoy",
        "1 while the proxy is not draining.",
        evidence=("envoy_front-proxy_9901_stats_prometheus.prom", *_SCRAPES),
        source="envoyproxy/envoy: docs/root/configuration/observability/statistics.rst",
        remedy=remedies.PROXIES,
    ),
    Metric(
        "envoy_server_days_until_first_cert_expiring",
        "gauge",
        "envoy",
        "Days until the first certificate of the proxy expires.",
        (),
        {},
        "always",
        ("envoy_front-proxy_9901_stats_prometheus.prom", *_SCRAPES),
        "envoyproxy/envoy: docs/root/configuration/observability/statistics.rst",
        instead=("istio_agent_cert_expiry_seconds",),
        remedy=remedies.PROXIES,
    ),
)
