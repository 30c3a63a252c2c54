"""The configuration of one proxy: an ingress gateway, or a sidecar with an inbound and an outbound listener.

Clusters have Istio's names and counters keep them as a label. Each listener's access logger counts requests under
Istio's metric names and labels: the client's side once per request, after its retries; the server's side once per
attempt. Envoy prefixes its own, ``envoy_``: scrapes take that off (:mod:`.scraping`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sloctl.demo.mesh.config import MeshConfig, Workload

Json = dict[str, Any]
_TYPE = "type.googleapis.com/envoy."
INBOUND, OUTBOUND = "inbound", "outbound"
INBOUND_CLUSTER, SPANS_CLUSTER = "inbound|8080||", "span-collector"
_FLUSH_MS, _FLUSH_SPANS = 250, 50
_SPANS_TIMEOUT_MS = 30_000
_SINGLE_USE: Json = {
    "typed_extension_protocol_options": {
        f"{_TYPE.partition('/')[2]}extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_TYPE}extensions.upstreams.http.v3.HttpProtocolOptions",
            "common_http_protocol_options": {"max_requests_per_connection": 1},
            "explicit_http_config": {"http_protocol_options": {}},
        }
    }
}
"""A connection that is used again may just be closed by the other end, and the tracer does not try again."""
_PLENTY = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 4096)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy before ``workload``: its neighbours in the chain, and the ports of 127.0.0.1 that it sends to.

    The gateway has no ``client`` and no ``application`` port, the last sidecar no ``server`` and no ``upstream`` port.
    ``spans`` is the port of the server that collects spans, 0 without tracing.
    """

    workload: Workload
    client: Workload | None
    server: Workload | None
    application: int
    upstream: int
    spans: int


def bootstrap(proxy: Proxy, config: MeshConfig) -> Json:
    """The whole configuration of a proxy; its listeners and its admin server take free ports of 127.0.0.1."""
    listeners, clusters = [], []
    if proxy.client is not None:
        listeners.append(_listener(INBOUND, proxy, config))
        clusters.append(_cluster(INBOUND_CLUSTER, proxy.application))
    if proxy.server is not None:
        listeners.append(_listener(OUTBOUND, proxy, config))
        clusters.append(_cluster(proxy.server.cluster, proxy.upstream) | _protection(config))
    if config.tracer != "none":
        clusters.append(_cluster(SPANS_CLUSTER, proxy.spans) | _SINGLE_USE)
    flush: Json = {"tracing.zipkin.request_timeout": _SPANS_TIMEOUT_MS}
    for tracer in ("zipkin", "opentelemetry"):
        flush[f"tracing.{tracer}.flush_interval_ms"] = _FLUSH_MS
        flush[f"tracing.{tracer}.min_flush_spans"] = _FLUSH_SPANS
    return {
        "node": {"id": f"sidecar~{proxy.workload.node}", "cluster": proxy.workload.node},
        "admin": {"address": _address(0)},
        "stats_flush_interval": "1s",
        "stats_config": {"use_all_default_tags": False, "stats_tags": _STATS_TAGS},
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": flush}, {"name": "admin", "admin_layer": {}}]
        },
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


_STATS_TAGS = [
    {"tag_name": "cluster_name", "regex": r"^cluster\.((.+?\.svc\.cluster\.local|[^.]+)\.)"},
    {"tag_name": "http_conn_manager_prefix", "regex": r"^http\.(((?:inbound|outbound)[^.]*|admin)\.)"},
    {"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"},
    {"tag_name": "response_code_class", "regex": r"_rq(_(\dxx))$"},
]


def _address(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> Json:
    host = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
        "circuit_breakers": {"thresholds": [_PLENTY]},
    }


def _protection(config: MeshConfig) -> Json:
    """Circuit breakers and outlier detection of an outbound cluster; an ejected host gets nothing at all."""
    return {
        "circuit_breakers": {"thresholds": [{**_PLENTY, "max_retries": config.max_retries}]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "outlier_detection": {
            "consecutive_5xx": config.ejection_errors,
            "enforcing_consecutive_5xx": 100,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "base_ejection_time": _seconds(config.ejection_seconds),
            "max_ejection_time": _seconds(max(300.0, config.ejection_seconds)),
            "interval": "1s",
            "max_ejection_percent": 100,
        },
    }


def _listener(side: str, proxy: Proxy, config: MeshConfig) -> Json:
    manager: Json = {
        "@type": f"{_TYPE}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": f"{side}_0.0.0.0_8080;",
        "generate_request_id": True,
        "access_log": [_access_logger(side, proxy)],
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [_virtual_host(side, proxy, config)]},
    }
    if config.tracer != "none":
        manager["tracing"] = _tracing(side, proxy, config)
    return {
        "name": side,
        "address": _address(0),
        "traffic_direction": side.upper(),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def _virtual_host(side: str, proxy: Proxy, config: MeshConfig) -> Json:
    service = proxy.server if side == OUTBOUND and proxy.server else proxy.workload
    action: Json = {"cluster": INBOUND_CLUSTER, "timeout": "0s"}
    if side == OUTBOUND:
        action = {
            "cluster": service.cluster,
            "timeout": _seconds(config.timeout),
            "retry_policy": _retries(config),
        }
    route = {"match": {"prefix": "/"}, "route": action, "decorator": {"operation": f"{service.host}:8080/*"}}
    return {
        "name": f"{service.host}:8080",
        "domains": ["*"],
        "include_request_attempt_count": side == OUTBOUND,
        "routes": [route],
    }


def _retries(config: MeshConfig) -> Json:
    policy: Json = {
        "retry_on": config.retry_on,
        "num_retries": config.num_retries,
        "retriable_status_codes": [503],
        "retry_back_off": {
            "base_interval": _seconds(config.backoff),
            "max_interval": _seconds(config.backoff * 10),
        },
    }
    if config.per_try_timeout:
        policy["per_try_timeout"] = _seconds(config.per_try_timeout)
    return policy


def _tracing(side: str, proxy: Proxy, config: MeshConfig) -> Json:
    tags: list[Json] = [
        {"tag": "istio.canonical_service", "literal": {"value": proxy.workload.name}},
        {"tag": "istio.canonical_revision", "literal": {"value": proxy.workload.version}},
        {"tag": "istio.mesh_id", "literal": {"value": "cluster.local"}},
        {"tag": "istio.namespace", "literal": {"value": proxy.workload.namespace}},
    ]
    if config.attempt_tag and side == OUTBOUND:
        tags.append({"tag": config.attempt_tag, "request_header": {"name": "x-envoy-attempt-count"}})
        tags.append({"tag": "response_code_details", "value": "%RESPONSE_CODE_DETAILS%"})
    return {
        "provider": _tracer(proxy, config),
        "random_sampling": {"value": config.sampling},
        "client_sampling": {"value": 100},
        "overall_sampling": {"value": 100},
        "spawn_upstream_span": config.spawn_upstream_span == "all"
        or (config.spawn_upstream_span == "gateway" and proxy.client is None),
        "custom_tags": tags,
    }


def _tracer(proxy: Proxy, config: MeshConfig) -> Json:
    if config.tracer == "opentelemetry":
        return {
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": f"{_TYPE}config.trace.v3.OpenTelemetryConfig",
                "service_name": proxy.workload.node,
                "http_service": {
                    "http_uri": {
                        "uri": f"http://127.0.0.1:{proxy.spans}/v1/traces",
                        "cluster": SPANS_CLUSTER,
                        "timeout": f"{_SPANS_TIMEOUT_MS // 1000}s",
                    }
                },
            },
        }
    return {
        "name": "envoy.tracers.zipkin",
        "typed_config": {
            "@type": f"{_TYPE}config.trace.v3.ZipkinConfig",
            "collector_cluster": SPANS_CLUSTER,
            "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON",
            "trace_id_128bit": True,
            "shared_span_context": config.tracer == "zipkin",
        },
    }


def _access_logger(side: str, proxy: Proxy) -> Json:
    tags = [{"name": name, "value_format": text} for name, text in istio_labels(side, proxy).items()]
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": f"{_TYPE}extensions.access_loggers.stats.v3.Config",
            "stat_prefix": "istio",
            "counters": [{"stat": {"name": "requests_total", "tags": tags}, "value_fixed": 1}],
            "histograms": [
                {
                    "stat": {"name": "request_duration_milliseconds", "tags": tags},
                    "unit": "Milliseconds",
                    "value_format": "%DURATION%",
                }
            ],
        },
    }


def istio_labels(side: str, proxy: Proxy) -> dict[str, str]:
    """The labels of ``istio_requests_total`` as one side of a proxy gives them; ``%…%`` are the request's own."""
    ends = {
        "source": proxy.workload if side == OUTBOUND else proxy.client,
        "destination": proxy.server if side == OUTBOUND else proxy.workload,
    }
    labels = {"reporter": "source" if side == OUTBOUND else "destination"}
    for end, workload in ends.items():
        assert workload is not None
        labels |= {
            f"{end}_workload": workload.name,
            f"{end}_workload_namespace": workload.namespace,
            f"{end}_canonical_service": workload.name,
            f"{end}_canonical_revision": workload.version,
            f"{end}_app": workload.name,
            f"{end}_version": workload.version,
            f"{end}_principal": "unknown",
            f"{end}_cluster": "Kubernetes",
        }
        if end == "destination":
            labels |= {
                "destination_service": workload.host,
                "destination_service_name": workload.name,
                "destination_service_namespace": workload.namespace,
            }
    return labels | {
        "request_protocol": "http",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "grpc_response_status": "%GRPC_STATUS_NUMBER%",
        # Only the server's side knows how a connection was secured; these are not.
        "connection_security_policy": "unknown" if side == OUTBOUND else "none",
    }


def _seconds(seconds: float) -> str:
    return f"{seconds:.6f}s"
