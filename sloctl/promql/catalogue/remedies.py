"""What to switch on where metrics are missing."""

from __future__ import annotations

from sloctl.promql.catalogue.kinds import Remedy

_STATISTICS = (
    "upstream_rq_total",
    "upstream_rq_completed",
    "upstream_rq_pending_overflow",
    "upstream_cx_overflow",
    "outlier_detection\\.ejections_active",
    "outlier_detection\\.ejections_enforced_total",
)
"""Names of the statistics below ``cluster.<name>.``: whole names, for Envoy matches whole names."""
INCLUSION = tuple(f"cluster\\.outbound.*\\.{name}" for name in _STATISTICS)
"""Regular expressions of ``proxyStatsMatcher`` for the cluster statistics that sloctl reads, and no others."""

ENVOY_ANNOTATION = """metadata:
  annotations:
    proxy.istio.io/config: |
      proxyStatsMatcher:
        inclusionRegexps:
""" + "".join(f"          - '{pattern}'\n" for pattern in INCLUSION)

PROXIES = Remedy(
    "Scrape the proxies: port 15020 (merged with the application's, the default of Istio's injection) or port 15090, "
    "path /stats/prometheus. If they are scraped, see whether a Telemetry object disables the metric.",
    """scrape_configs:
  - job_name: istio-proxies
    metrics_path: /stats/prometheus
    kubernetes_sd_configs: [{role: pod}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_container_port_name], regex: ".*-envoy-prom", action: keep}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
""",
)
TCP = Remedy(
    "Scrape the proxies, or in ambient mode ztunnel on every node: port 15020, path /stats/prometheus. A mesh without "
    "TCP traffic has none of them.",
    """scrape_configs:
  - job_name: ztunnel
    metrics_path: /stats/prometheus
    kubernetes_sd_configs: [{role: pod}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_label_app], regex: ztunnel, action: keep}
      - {source_labels: [__address__], regex: '([^:]+)(:\\d+)?', replacement: "$1:15020", target_label: __address__}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
""",
)
AGENT = Remedy(
    "Scrape the merged port 15020 of the proxies, path /stats/prometheus: port 15090 is Envoy's own and lacks the "
    "agent's metrics.",
    """scrape_configs:
  - job_name: istio-proxies
    metrics_path: /stats/prometheus
    kubernetes_sd_configs: [{role: pod}]
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_container_name], regex: istio-proxy, action: keep}
      - {source_labels: [__address__], regex: '([^:]+)(:\\d+)?', replacement: "$1:15020", target_label: __address__}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
""",
)
ENVOY = Remedy(
    "Istio's proxies do not expose cluster statistics unless told to. Add them to the inclusion list of workloads with "
    "an annotation of the pod template, or of the whole mesh: the same proxyStatsMatcher under "
    "meshConfig.defaultConfig; the pods must restart.",
    ENVOY_ANNOTATION,
)
ISTIOD = Remedy(
    "Scrape istiod: port 15014, path /metrics.",
    """scrape_configs:
  - job_name: istiod
    kubernetes_sd_configs: [{role: endpoints, namespaces: {names: [istio-system]}}]
    relabel_configs:
      - source_labels: [__meta_kubernetes_service_name, __meta_kubernetes_endpoint_port_name]
        regex: istiod;http-monitoring
        action: keep
      - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
""",
)
KUBE_STATE_METRICS = Remedy(
    "Install kube-state-metrics (Istio's addon Prometheus comes without it) and scrape it with honor_labels, or its "
    "labels namespace, pod and container are renamed to exported_….",
    """scrape_configs:
  - job_name: kube-state-metrics
    honor_labels: true          # ServiceMonitor: honorLabels: true
    static_configs: [{targets: ["kube-state-metrics.kube-system.svc:8080"]}]
""",
)
CADVISOR = Remedy(
    "Scrape the kubelets' cAdvisor: https, path /metrics/cadvisor, on every node.",
    """scrape_configs:
  - job_name: kubernetes-cadvisor
    scheme: https
    metrics_path: /metrics/cadvisor
    kubernetes_sd_configs: [{role: node}]
    tls_config: {ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt}
    authorization: {credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token}
""",
)
TRACES = Remedy(
    "Scrape the trace backend: Zipkin on port 9411, path /prometheus; Jaeger 1 on port 14269 (all-in-one, collector); "
    "an OpenTelemetry collector or Jaeger 2 on port 8888; Tempo on port 3200. One of them is enough."
)
PROMETHEUS = Remedy("Prometheus writes it for every target that it scrapes, so there is no target.")
SLOCTL = Remedy(
    "Scrape `sloctl schedule`, path /metrics, or have kube-state-metrics for jobs that run as CronJobs."
)
