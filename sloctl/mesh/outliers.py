"""Outlier detection and limits: what ejects everybody, what ejects nobody, what hides failures from it.

Istio switches Envoy's panic threshold off where outlier detection is on, unless ``minHealthPercent`` says otherwise;
since Envoy 1.28 even the first ejection is held to ``maxEjectionPercent``, 10 by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from sloctl.mesh.objects import Object, at, integer, items, text
from sloctl.mesh.world import Mesh, fqdn
from sloctl.spec.yaml.tree import MAPPING, Node


def check(mesh: Mesh) -> None:
    """Find what is wrong with outlier detection."""
    for rule in mesh.kind("DestinationRule"):
        for policy in _policies(rule):
            detection = at(policy, "outlierDetection")
            if detection is not None and detection.kind == MAPPING:
                _all(mesh, rule, detection)
                _nobody(mesh, rule, detection)
                _masked(
                    mesh,
                    rule,
                    detection,
                    at(policy, "connectionPool") or at(rule.spec, "trafficPolicy", "connectionPool"),
                )


def _policies(rule: Object) -> Iterator[Node]:
    tops = [
        at(rule.spec, "trafficPolicy"),
        *(at(item, "trafficPolicy") for item in items(rule.spec, "subsets")),
    ]
    for policy in tops:
        if policy is not None:
            yield policy
            yield from items(policy, "portLevelSettings")


def _all(mesh: Mesh, rule: Object, detection: Node) -> None:
    if integer(detection, "maxEjectionPercent") == 100 and not integer(detection, "minHealthPercent"):
        said = (
            "maxEjectionPercent 100 without minHealthPercent: a fault that all endpoints share ejects "
            "them all, and every request fails with 503 (UH)"
        )
        hint = (
            "write  maxEjectionPercent: 50, or  minHealthPercent: 50, under which ejected ones are asked "
            "again"
        )
        mesh.find(rule, detection.entries["maxEjectionPercent"], "outlier-ejects-all", "warning", said, hint)


def _nobody(mesh: Mesh, rule: Object, detection: Node) -> None:
    fives, gateway = (
        integer(detection, "consecutive5xxErrors"),
        integer(detection, "consecutiveGatewayErrors"),
    )
    local, split = (
        integer(detection, "consecutiveLocalOriginFailures"),
        text(detection, "splitExternalLocalOriginErrors") == "true",
    )
    if fives == 0 and not gateway and not (local and split):
        said = "consecutive5xxErrors 0 switches it off, and nothing else ejects: outlier detection never acts"
        hint = "write  consecutive5xxErrors: 5, or  consecutiveGatewayErrors: 5"
        mesh.find(
            rule, detection.entries["consecutive5xxErrors"], "outlier-never-acts", "warning", said, hint
        )
        return
    if local and not split:
        said = "consecutiveLocalOriginFailures has no effect without splitExternalLocalOriginErrors"
        hint = "write  splitExternalLocalOriginErrors: true"
        mesh.find(
            rule,
            detection.entries["consecutiveLocalOriginFailures"],
            "outlier-never-acts",
            "warning",
            said,
            hint,
        )
    share = integer(detection, "maxEjectionPercent") or 10
    least = ceil(100 / share) if share > 0 else 0
    if least < 2:
        return
    there = _endpoints(mesh, rule)
    node = at(detection, "maxEjectionPercent") or detection
    default = "" if at(detection, "maxEjectionPercent") else ", the default"
    hint = f"write  maxEjectionPercent: 50, with  minHealthPercent: 30; or have {least} endpoints"
    if there is not None:
        if 0 < there < least:
            said = (
                f"{there} replica{'s' if there != 1 else ''}, and one of them is more than {share} % "
                f"(maxEjectionPercent{default}): none is ever ejected"
            )
            mesh.find(rule, node, "outlier-never-acts", "warning", said, hint)
    elif least > 5:
        said = (
            f"with fewer than {least} endpoints none is ever ejected: one would be more than {share} % "
            f"(maxEjectionPercent{default})"
        )
        mesh.find(rule, node, "outlier-never-acts", "note", said, hint)


def _endpoints(mesh: Mesh, rule: Object) -> int | None:
    """How many endpoints a rule's host has at most, by workloads and autoscalers that were read; None: not known."""
    workloads = mesh.selected(fqdn(text(rule.spec, "host"), rule.namespace))
    counts = []
    for item in workloads:
        scaled = [
            integer(scaler.spec, "maxReplicas")
            for scaler in mesh.kind("HorizontalPodAutoscaler")
            if scaler.namespace == item.namespace and text(scaler.spec, "scaleTargetRef", "name") == item.name
        ]
        counts.append(scaled[0] if scaled else integer(item.spec, "replicas"))
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _masked(mesh: Mesh, rule: Object, detection: Node, pool: Node | None) -> None:
    fives, gateway = (
        integer(detection, "consecutive5xxErrors"),
        integer(detection, "consecutiveGatewayErrors"),
    )
    if gateway and gateway >= (5 if fives is None else fives) > 0:
        said = (
            f"consecutiveGatewayErrors {gateway} is never reached before consecutive5xxErrors "
            f"{5 if fives is None else fives}, which counts the same answers"
        )
        hint = "write a smaller number, or  consecutive5xxErrors: 0"
        mesh.find(
            rule, detection.entries["consecutiveGatewayErrors"], "outlier-masked", "warning", said, hint
        )
    for path in (
        ("http", "http1MaxPendingRequests"),
        ("http", "http2MaxRequests"),
        ("tcp", "maxConnections"),
    ):
        limit = integer(pool, *path)
        if limit == 1:
            node = at(pool, *path)
            assert node is not None
            said = (
                f"{path[1]} 1: the second request at a time is refused by the client's proxy with 503 "
                "(UO), which SLOs count and outlier detection does not see"
            )
            hint = "a limit above what a healthy service has at a time"
            mesh.find(rule, node, "outlier-masked", "note", said, hint)
