"""Metrics of Istio: its proxies, ztunnel, the agent beside a proxy, and istiod."""

from __future__ import annotations

from sloctl.promql.catalogue import remedies
from sloctl.promql.catalogue.kinds import Metric

_SIDECAR = "istio-1.5_sidecar_15090.prom"
_MERGED = "istio-1.6plus_merged_15020.prom"
_ISTIOD = "istiod-1.5_15014.prom"
_PILOT = "istio-1.1_pilot.prom"
_STANDARD = "istio.io: reference, Istio Standard Metrics"
_MONITORING = "istio/istio: pilot/pkg/xds/monitoring.go"
_XDS = "istio/istio: pkg/xds/monitoring.go"
_CA = "istio/istio: security/pkg/server/ca/monitoring.go"

_SERVICE = ("reporter", "destination_service_name", "destination_service_namespace")
_CAUSES = (
    "destination_version",
    "source_workload",
    "source_workload_namespace",
    "response_code",
    "grpc_response_status",
    "response_flags",
)
_REQUEST = (*_SERVICE, *_CAUSES, "request_protocol", "connection_security_policy")
_SIDES = {
    "reporter": "`source`, `destination`, in ambient mode `waypoint`",
    "connection_security_policy": "`mutual_tls`, `none`; `unknown` from the client's proxy",
    "response_code": "`0`: no response",
    "grpc_response_status": "a number; gRPC failures have response code 200",
    "response_flags": "`-`, `NR`, `UO`, `UF`, `URX`, `DC`, …; of ztunnel `DENY`, `CONNECT`, `TLS_FAILURE`, …",
}


def _values(*labels: str) -> dict[str, str]:
    return {label: _SIDES[label] for label in labels}


METRICS = (
    Metric(
        "istio_requests_total",
        "counter",
        "proxy",
        "Requests; in ambient mode from waypoints and gateways only.",
        _REQUEST,
        _SIDES,
        "first event",
        (_SIDECAR, _MERGED),
        _STANDARD,
        "since 1.5 from the proxies; before, from Mixer",
    ),
    Metric(
        "istio_request_duration_milliseconds_bucket",
        "histogram",
        "proxy",
        "Requests within a bound of latency.",
        (*_SERVICE, *_CAUSES, "le"),
        {
            "le": "Envoy's bounds, 0.5 to 3600000; the annotation `sidecar.istio.io/statsHistogramBuckets` changes them"
        },
        "first event",
        (_SIDECAR, _MERGED),
        _STANDARD,
        "since 1.5; `istio_request_duration_seconds` before",
    ),
    Metric(
        "istio_request_duration_milliseconds",
        "histogram",
        "proxy",
        "Latency of requests as native histograms, instead of a series for each bound.",
        (*_SERVICE, *_CAUSES),
        _values("reporter"),
        "first event",
        (),
        "`scrape_native_histograms` or `convert_classic_histograms_to_nhcb` in Prometheus's scrape configuration",
        "with `mesh.histograms: native`",
    ),
    Metric(
        "istio_tcp_connections_opened_total",
        "counter",
        "proxy",
        "Connections opened, as sidecars and ztunnel see them.",
        (*_SERVICE, "connection_security_policy"),
        _values("reporter", "connection_security_policy"),
        "first event",
        (_SIDECAR,),
        _STANDARD,
        remedy=remedies.TCP,
    ),
    Metric(
        "istio_tcp_connections_closed_total",
        "counter",
        "proxy",
        "Connections closed, with the flags that say why.",
        (*_SERVICE, "response_flags"),
        _values("reporter", "response_flags"),
        "first event",
        (_SIDECAR,),
        _STANDARD,
        remedy=remedies.TCP,
    ),
    Metric(
        "istio_tcp_connections_failed_total",
        "counter",
        "proxy",
        "Connections that could not be opened, as ztunnel sees them; dashboards show them.",
        (*_SERVICE, "response_flags"),
        _values("reporter", "response_flags"),
        "first event",
        (),
        "istio/ztunnel: src/proxy/metrics.rs",
        "of newer ztunnels alone, unstable; sidecars close such connections with a flag",
        ("istio_tcp_connections_closed_total",),
        remedies.TCP,
    ),
    *(
        Metric(
            f"istio_tcp_{direction}_bytes_total",
            "counter",
            "proxy",
            f"Bytes of TCP connections that the service {what}; dashboards show them.",
            _SERVICE,
            _values("reporter"),
            "first event",
            (_SIDECAR,),
            _STANDARD,
            remedy=remedies.TCP,
        )
        for direction, what in (("received", "was sent"), ("sent", "answered"))
    ),
    Metric(
        "istio_build",
        "gauge",
        "proxy",
        "1 per component that runs.",
        ("component",),
        {"component": "`proxy`, `pilot` (istiod), `ztunnel`, `agent`"},
        "always",
        (_MERGED, _ISTIOD),
        "istio/istio: pkg/version/stats.go",
        instead=("pilot_info", "pilot_xds"),
    ),
    Metric(
        "istio_agent_process_start_time_seconds",
        "gauge",
        "agent",
        "Unix time at which the agent beside a proxy started: first values of a pod that is as young are all new.",
        evidence=(_MERGED,),
        instead=("kube_pod_start_time",),
    ),
    Metric(
        "istio_agent_cert_expiry_seconds",
        "gauge",
        "agent",
        "Seconds until the proxy's certificate chain expires; negative once it has.",
        ("resource_name",),
        {"resource_name": "`default` (the workload's), `ROOTCA`"},
        "always",
        (),
        "istio/istio: security/pkg/nodeagent/cache/monitoring.go",
        "",
        ("envoy_server_days_until_first_cert_expiring",),
    ),
    Metric(
        "pilot_info",
        "gauge",
        "istiod",
        "1 per istiod.",
        source="istio/istio: pilot/pkg/bootstrap/monitoring.go",
        evidence=(_ISTIOD,),
        instead=("pilot_xds", "istio_build"),
    ),
    Metric(
        "pilot_xds",
        "gauge",
        "istiod",
        "Proxies connected to this istiod.",
        source=_MONITORING,
        evidence=(_ISTIOD,),
        instead=("pilot_info", "istio_build"),
    ),
    Metric(
        "pilot_xds_pushes",
        "counter",
        "istiod",
        "Pushes by type; types that end in `_senderr` and `_builderr` are errors.",
        ("type",),
        {"type": "`cds`, `eds`, `lds`, `rds`, …; `cds_senderr`, …"},
        "first event",
        (_ISTIOD, _PILOT),
        _MONITORING,
    ),
    Metric(
        "pilot_k8s_cfg_events",
        "counter",
        "istiod",
        "Changes of Istio's resources that istiod saw; dashboards show them.",
        ("type", "event"),
        {"event": "`add`, `update`, `delete`"},
        "first event",
        (),
        "istio/istio: pilot/pkg/config/kube/crdclient/metrics.go",
    ),
    Metric(
        "galley_validation_failed",
        "counter",
        "istiod",
        "Resources that the validating webhook refused; dashboards show them.",
        (),
        {},
        "first event",
        (),
        "istio/istio: pkg/webhooks/validation/server/monitoring.go",
    ),
    Metric(
        "pilot_vservice_dup_domain",
        "gauge",
        "istiod",
        "VirtualServices whose host another one has, too; dashboards show them.",
        (),
        {},
        "always",
        (_ISTIOD, _PILOT),
        "istio/istio: pilot/pkg/model/push_context.go",
    ),
    Metric(
        "pilot_proxy_convergence_time_bucket",
        "histogram",
        "istiod",
        "Seconds from a change until a proxy has it; bounds 0.1 to 30.",
        ("le",),
        {},
        "first event",
        (_ISTIOD, _PILOT),
        _MONITORING,
    ),
    Metric(
        "pilot_total_xds_rejects",
        "counter",
        "istiod",
        "Configurations that proxies rejected.",
        (),
        {},
        "first event",
        (_PILOT,),
        _XDS,
        "by type since 1.5",
    ),
    Metric(
        "pilot_total_xds_internal_errors",
        "counter",
        "istiod",
        "Pushes that failed inside istiod.",
        (),
        {},
        "first event",
        (_PILOT,),
        _XDS,
    ),
    Metric(
        "sidecar_injection_failure_total",
        "counter",
        "istiod",
        "Pods for which injection failed.",
        (),
        {},
        "first event",
        (),
        "istio/istio: pkg/kube/inject/monitoring.go",
    ),
    Metric(
        "citadel_server_root_cert_expiry_timestamp",
        "gauge",
        "istiod",
        "Unix time at which the root certificate expires.",
        (),
        {},
        "always",
        (_ISTIOD,),
        _CA,
        "",
        ("citadel_server_root_cert_expiry_seconds",),
    ),
    Metric(
        "citadel_server_root_cert_expiry_seconds",
        "gauge",
        "istiod",
        "Seconds until the root certificate expires.",
        (),
        {},
        "always",
        (),
        _CA,
        "since 2024 (istio/istio #51037 asks for it)",
        ("citadel_server_root_cert_expiry_timestamp",),
    ),
    Metric(
        "citadel_server_cert_chain_expiry_timestamp",
        "gauge",
        "istiod",
        "Unix time at which istiod's certificate chain expires.",
        source=_CA,
        instead=("citadel_server_cert_chain_expiry_seconds",),
    ),
    Metric(
        "citadel_server_cert_chain_expiry_seconds",
        "gauge",
        "istiod",
        "Seconds until istiod's certificate chain expires.",
        source=_CA,
        instead=("citadel_server_cert_chain_expiry_timestamp",),
    ),
    *(
        Metric(
            f"citadel_server_{name}",
            "counter",
            "istiod",
            f"Certificates not issued: {what}.",
            exposed="first event",
            source=_CA,
        )
        for name, what in (
            ("csr_parsing_err_count", "the request cannot be read"),
            ("csr_sign_err_count", "it cannot be signed"),
            ("id_extraction_err_count", "it names no identity"),
            ("authentication_failure_count", "who asks is not known"),
        )
    ),
    *(
        Metric(
            f"pilot_xds_{kind}_reject",
            "gauge",
            "istiod",
            f"Configurations of {what} that a proxy rejected.",
            exposed="first event",
            source=_XDS,
            instead=("pilot_total_xds_rejects",),
        )
        for kind, what in (("cds", "clusters"), ("eds", "endpoints"), ("lds", "listeners"), ("rds", "routes"))
    ),
)
