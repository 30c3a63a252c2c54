"""Proxies in Kubernetes: where their containers are found, and which workload a pod belongs to.

A proxy is a container ``istio-proxy``: the sidecar, as an ordinary container or as a native sidecar (an init container
that keeps running), and likewise gateways, and in ambient mode ztunnel and waypoints. kube-state-metrics counts the two
kinds of containers in two families of metrics. It must be scraped with ``honor_labels``, so that ``namespace`` and
``pod`` are those of the proxy.
"""

from __future__ import annotations

from sloctl import promql
from sloctl.guardrails.shared.queries import in_namespaces, selected
from sloctl.model import Guardrail, Matcher, SloSet

CONTAINER = "istio-proxy"
FAMILIES = ("kube_pod_container", "kube_pod_init_container")
"""Metrics of ordinary containers, and of init containers, which native sidecars are."""
POD = ("namespace", "pod")
"""The labels that identify a pod in its cluster."""
WORKLOAD = "workload"
BY_WORKLOAD = ("namespace", WORKLOAD)

# Kubernetes makes names up from these alone (k8s.io/apimachinery/pkg/util/rand).
_MADE_UP = "[bcdfghjklmnpqrstvwxz2456789]"
_OWNERS = (
    "(.*)",  # nobody: the pod itself
    "(.+)-[0-9]+",  # StatefulSet
    f"(.+)-{_MADE_UP}{{5}}",  # DaemonSet, ReplicaSet, Job
    f"(.+)-[0-9]{{8,10}}-{_MADE_UP}{{5}}",  # CronJob: the minute of its run
    f"(.+)-{_MADE_UP}{{6,10}}-{_MADE_UP}{{5}}",  # Deployment: the hash of its template
)
"""What a pod is called by what made it; the last that matches wins, as it tells most."""

PODS = f"(|-[0-9]+|(-{_MADE_UP}{{6,10}})?-{_MADE_UP}{{5}})"
"""What follows a workload's name in those of its pods, as a regular expression."""


def pod_labels(slo_set: SloSet) -> tuple[str, ...]:
    """The labels that identify a pod: its name and namespace, and those by which the mesh's matchers let in several."""
    own = (*POD, "uid", "container")
    several = (m.label for m in slo_set.mesh.matchers if m.op != "=" and m.label not in own)
    return (*dict.fromkeys(several), *POD)


def series(slo_set: SloSet, guardrail: Guardrail, suffix: str, *matchers: Matcher) -> tuple[str, str]:
    """Selectors of a metric of the proxies' containers, one of each family."""
    where = (Matcher("container", "=", CONTAINER), *in_namespaces(guardrail), *matchers)
    ordinary, native = (selected(slo_set, f"{family}_{suffix}", *where) for family in FAMILIES)
    return ordinary, native


def named(expr: str) -> str:
    """``expr``, whose series have a ``pod``, with the pod's ``workload``."""
    for pattern in _OWNERS:
        text = promql.quote(pattern)
        expr = f'label_replace(\n{promql.indent(expr)},\n  "{WORKLOAD}", "$1", "pod", {text}\n)'
    return expr
