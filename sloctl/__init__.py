"""sloctl: SLOs for Istio meshes from one file.

This package holds the core (SLO file, model, PromQL, budget arithmetic, adapters, reports) and the command
line. It must not know how Grafana, Kubernetes or Alertmanager objects look: the packages ``alert_rules``,
``dashboards`` and ``jobs`` own those.
"""

__version__ = "0.1.0"
