"""Sidecar objects: which services and routes the proxies of a workload are given, and calls that they hide.

A service is imported by a host of ``egress``, or because a VirtualService that is imported leads to it.
"""

from __future__ import annotations

from sloctl.mesh.objects import Object, at, items, labels, text, texts
from sloctl.mesh.world import MESH, Mesh, covers, place, pod_labels, short
from sloctl.spec.yaml.tree import Node
from sloctl.spec.yaml.wording import shown


def check(mesh: Mesh) -> None:
    """Find calls to services that the caller's Sidecar does not import."""
    if not mesh.kind("Sidecar"):
        return
    found: dict[tuple[Object, str], list[tuple[str, str]]] = {}
    for (client, server), how in mesh.calls.items():
        where = place(client)[0]
        if not where or client in mesh.gateway_hosts or not mesh.homes(server):
            continue
        sidecar = _of(mesh, client, where)
        if sidecar is not None and not _imported(mesh, sidecar, where, server):
            found.setdefault((sidecar, server), []).append((client, how))
    for (sidecar, server), callers in found.items():
        client, how = callers[0]
        more = f" and {len(callers) - 1} more" if len(callers) > 1 else ""
        only = text(sidecar.spec, "outboundTrafficPolicy", "mode") or (
            text(mesh.config.node, "outboundTrafficPolicy", "mode") if mesh.config else ""
        )
        becomes = (
            "these requests fail (BlackHoleCluster)"
            if only == "REGISTRY_ONLY"
            else "these requests leave the mesh (PassthroughCluster), without its routes, retries and mutual TLS"
        )
        said = f"{short(client)}{more} calls {short(server)}, which is not imported: {becomes} (calls known from {how})"
        hint = f"add  {shown(f'{mesh.homes(server)[0]}/{server}')}  to the hosts of egress"
        mesh.find(sidecar, _place(sidecar), "sidecar-hides-host", "warning", said, hint)


def _place(sidecar: Object) -> Node:
    return next(
        (hosts for item in items(sidecar.spec, "egress") if (hosts := at(item, "hosts"))), sidecar.node
    )


def _of(mesh: Mesh, client: str, namespace: str) -> Object | None:
    """The Sidecar that a service's pods have; None where there is none, or nobody knows which."""
    own = [item for item in mesh.kind("Sidecar") if item.namespace == namespace]
    narrow = [item for item in own if at(item.spec, "workloadSelector") is not None]
    if narrow:
        pods = [pod_labels(workload) for workload in mesh.selected(client)]
        if not pods:
            mesh.doubt("what Sidecars with a workloadSelector hide: the Deployments of callers were not read")
            return None
        for item in narrow:
            wanted = labels(item.spec, "workloadSelector", "labels")
            if all(wanted.items() <= pod.items() for pod in pods):
                return item
    wide = [item for item in own if item not in narrow] or [
        item
        for item in mesh.kind("Sidecar")
        if item.namespace == mesh.root and at(item.spec, "workloadSelector") is None
    ]
    return wide[0] if wide else None


def _imported(mesh: Mesh, sidecar: Object, namespace: str, server: str) -> bool:
    """Whether a Sidecar gives the proxies of a namespace a service, by its name or by a route that leads to it."""
    given = [host.partition("/") for item in items(sidecar.spec, "egress") for host in texts(item, "hosts")]
    if not given:
        return True

    def has(where: str, host: str) -> bool:
        return any(
            scope in ("*", where) or (scope == "." and where == namespace)
            for scope, _, name in given
            if covers(name.lower(), host)
        )

    if any(has(where, server) for where in mesh.homes(server)):
        return True
    return any(
        MESH in route.gateways
        and mesh.applies(route, namespace)
        and any(item.host == server for item in route.destinations)
        and any(has(route.owner.namespace, host) for host in route.hosts)
        for route in mesh.routes
    )
