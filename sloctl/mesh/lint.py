"""All checks of the mesh's configuration together, and what becomes of findings that somebody does not want to see."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from sloctl.errors import Problem
from sloctl.mesh import (
    fields,
    gateway_api,
    mtls,
    objects,
    outliers,
    retries,
    routing,
    sidecars,
    telemetry,
    timeouts,
)
from sloctl.mesh.findings import RANKS, Finding
from sloctl.mesh.objects import Object, text
from sloctl.mesh.traffic import Place, Traffic
from sloctl.mesh.world import Mesh, place
from sloctl.model.durations import duration
from sloctl.spec.yaml.files import Source

IGNORE = "sloctl/lint-ignore"
"""The annotation of an object that names codes, with commas between them, or * for all."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was found; ``unknown`` are sentences of what cannot be decided, ``problems`` what cannot be read."""

    findings: tuple[Finding, ...]
    unknown: tuple[str, ...]
    problems: tuple[Problem, ...]
    objects: int
    skipped: int
    ignored: int
    known: tuple[retries.Edge, ...] = ()
    """All calls that are known, as configured."""
    versions: Mapping[Place, tuple[str, ...]] = field(default_factory=dict)
    """The versions that routes lead to, of services of which all routes say them."""
    partial: bool = False
    """Whether the traffic lacks some of what there was: rates are the least."""

    @property
    def edges(self) -> tuple[retries.Edge, ...]:
        """The calls that the traffic has, as configured and as measured."""
        return tuple(edge for edge in self.known if edge.rate is not None)


def lint(
    sources: Iterable[Source],
    *,
    namespace: str = "default",
    root: str = "istio-system",
    ignore: Collection[str] = (),
    traffic: Traffic | None = None,
) -> Result:
    """Judge the objects of some files; ``ignore`` are codes, ``root`` is the mesh's root namespace."""
    found = objects.read([source for source in sources if not source.left], namespace)
    mesh = Mesh(found.objects, root, traffic)
    for doubt in traffic.doubts if traffic else ():
        mesh.doubt(f"attempts, versions and loads, as Prometheus did not tell everything: {doubt}")
    if traffic is not None and not traffic.calls:
        mesh.doubt(f"calls: Istio's counters have no request in the last {duration(traffic.seconds)}")
    for check in (fields, routing, gateway_api, sidecars, retries, timeouts, outliers, mtls, telemetry):
        check.check(mesh)
    unwanted = {str(item): _ignored(item) for item in found.objects}
    kept = [
        item
        for item in dict.fromkeys(mesh.findings)
        if item.code not in ignore and not {item.code, "*"} & unwanted.get(item.object, set())
    ]
    kept.sort(key=lambda item: (item.position, RANKS[item.severity], item.code))
    judged = sum(1 for item in found.objects if item.group not in ("", "apps") or item.kind == "MeshConfig")
    return Result(
        findings=tuple(kept),
        unknown=tuple(mesh.unknown),
        problems=tuple(found.problems),
        objects=judged,
        skipped=found.skipped,
        ignored=len(set(mesh.findings)) - len(kept),
        known=tuple(retries.edges(mesh)),
        versions={
            place(host): tuple(found) for host, found in routing.routed_versions(mesh).items() if found
        },
        partial=bool(traffic and traffic.doubts),
    )


def _ignored(item: Object) -> set[str]:
    return set(re.split(r"[,\s]+", text(item.node, "metadata", "annotations", IGNORE))) - {""}
