"""The commented file that ``sloctl init`` writes."""

from __future__ import annotations

import io
import json
from pathlib import Path

from sloctl.errors import UsageError
from sloctl.spec.load import check

_TEMPLATE = """\
# Everything about the SLOs of a mesh in one file: `sloctl validate -f` checks it, `sloctl generate -f` makes
# recording rules, alerts and an Alertmanager configuration of it, and the tests that prove them.
apiVersion: sloctl/v1
kind: MeshSLOs

metadata:
  name: @set@                      # prefixes rule groups, files and dashboards
  # labels: {team: platform}       # on every rule and alert

# How the mesh exposes its metrics.
mesh:
  mode: @mode@                    # sidecar | ambient
  # matchers: {cluster: eu1}       # added to every selector: several clusters or tenants in one Prometheus
  # latency_buckets: [5, 25, 100, 250, 1000]   # milliseconds; only if the mesh overrides Envoy's bounds

# Addresses only. Credentials come from the environment, for example SLOCTL_PROMETHEUS_TOKEN_FILE.
sources:
  prometheus: {url: @prometheus@}
  grafana: {url: @grafana@}      # as people open it: alerts link to their dashboards there
  # traces: {backend: zipkin, url: "http://zipkin:9411"}        # zipkin | jaeger | tempo | clickhouse
  # alertmanager: {url: "http://alertmanager:9093"}

# What holds for every SLO below that does not say otherwise.
defaults:
  window: 30d                      # or {calendar: month, timezone: Europe/Paris}
  owner: @owner@
  # runbook: "https://runbooks.example.org/{slo}" # also {service}, {namespace}, {alert}, {set}; default: sloctl's own
  alerting: mesh                   # mesh | sre-workbook | none | a policy of your own, as below

slos:
  # Every service of the namespace, also those deployed tomorrow.
  - name: availability
    service: "*"
    namespace: @namespace@
    objective: 99.5                # percent of requests without a server error
    sli: {preset: availability}

  # One service with a stricter objective: it overrides the SLO of the same name above.
  - name: availability
    service: @service@
    namespace: @namespace@
    objective: 99.9
    sli: {preset: availability}
    # Alerts fire once it is this sure that failures are no chance: one failed request at night pages nobody.
    alerting: {policy: mesh, confidence: 99.99}

  # Latency: the share of requests within a threshold, which is a bound of the mesh's histogram.
  - name: latency
    service: @service@
    namespace: @namespace@
    objective: 95
    sli: {preset: latency, threshold: 100ms}

  # Not on the mesh: any two counters. Each range is [$window], inside rate() or increase().
  - name: queue-age
    service: @service@
    namespace: @namespace@
    objective: 99
    description: Jobs start within a minute.
    sli:
      events:
        bad: rate(jobs_late_total[$window])
        total: rate(jobs_total[$window])
    # A policy of your own: page when the budget burns 14.4 times too fast over both 1h and 5m.
    alerting:
      windows:
        - {severity: page, factor: 14.4, long: 1h, short: 5m}
        - {severity: ticket, factor: 1, long: 3d, short: 6h}

# Thresholds of the mesh's health, each with alerts and runbooks. The limits are the defaults.
guardrails:
  - {preset: service-errors, max: 5, critical: 20}  # percent of any service's requests: ticket, page
  - {preset: gateway-errors, max: 0.5}              # percent, of the workloads in `gateways`
  - {preset: control-plane, max: 10s}               # until a change has reached the proxies
  - {preset: certificates, min: 30d}
  - {preset: mtls, min: 100}                        # percent; `namespaces: [shop]` where it is not mandated everywhere
  - {preset: sidecar-restarts, max: 0.01}           # per pod and day
  - {preset: telemetry-gap, max: 5m}
  - {preset: retry-amplification, max: 2}           # attempts per request
  - {preset: policy-denials, max: 5}                # percent, when it jumps
  - {preset: watchdog}                              # always fires: its absence shows that alerting is dead

# Who is told: `sloctl generate` makes an Alertmanager configuration of it. Secrets stay in files or Secrets.
# notifications:
#   receivers:
#     pager: {pagerduty: {secret: alerting/pagerduty}}
#     chat: {slack: {channel: "#alerts", secret: alerting/slack-webhook}}
#   default: {page: pager, ticket: chat}

# Where Grafana's dashboards go. All of this is the default; replace the prices by what you pay.
# dashboards:
#   folder: SLOs
#   objects: configmap               # configmap | grafana-operator
#   labels: {grafana_dashboard: "1"} # what the sidecar of Grafana's Helm chart looks for
#   costs: {core_hour: 0.031, gib_hour: 0.0042, currency: USD}
"""


def starter(
    *,
    name: str = "shop",
    namespace: str = "shop",
    service: str = "checkout",
    owner: str = "team-shop",
    prometheus: str = "http://prometheus:9090",
    mode: str = "sidecar",
    grafana: str = "http://grafana:3000",
) -> str:
    """A commented SLO file that validates without errors and warnings.

    Raises ``UsageError`` if a value cannot be used in it.
    """
    values = {
        "set": name,
        "namespace": namespace,
        "service": service,
        "owner": owner,
        "prometheus": prometheus,
        "mode": mode,
        "grafana": grafana,
    }
    text = _TEMPLATE
    for key, value in values.items():
        quoted = json.dumps(value, ensure_ascii=False)
        plain = (
            key not in ("prometheus", "grafana")
            and value.isascii()
            and value.replace("-", "").isalpha()
            and value not in _WORDS
        )
        text = text.replace(f"@{key}@", value if plain else quoted)
    problems = check([Path("-")], stdin=io.BytesIO(text.encode("utf-8", "replace")))[1]
    if service == "*":
        raise UsageError("the starter needs a named service", hint="it already has an SLO for all of them")
    if problems:
        raise UsageError(f"this makes no valid file: {problems[0].message}", hint=problems[0].hint)
    return text


_WORDS = frozenset("y n yes no on off true false null".split())
