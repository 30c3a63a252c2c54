"""How Prometheus scrapes the mesh: with the labels that Kubernetes service discovery gives to pods in an Istio mesh.

Knows the proxies' admin ports only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sloctl.demo.mesh.config import Workload
from sloctl.demo.pods import MESH_JOB, pod_name


def scrape_configs(proxies: Sequence[tuple[Workload, int]], interval: str) -> list[Mapping[str, Any]]:
    """The scrape_configs of a prometheus.yml for proxies, each with the port of its admin server."""
    targets = [
        {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {
                "instance": f"10.4.{position}.1:15020",
                "namespace": workload.namespace,
                "pod": pod_name(workload.name, 0, 0),
                "app": workload.name,
            },
        }
        for position, (workload, port) in enumerate(proxies)
    ]
    return [
        {
            "job_name": MESH_JOB,
            "metrics_path": "/stats/prometheus",
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "static_configs": targets,
            "metric_relabel_configs": [
                {"source_labels": ["__name__"], "regex": "envoy_(istio_.+)", "target_label": "__name__"}
            ],
        }
    ]
