"""HTTPRoutes and GRPCRoutes: whether gateways take them, whether they may lead where they lead, what is refused."""

from __future__ import annotations

from collections.abc import Iterator

from sloctl.mesh.objects import Object, at, integer, items, seconds, text, texts
from sloctl.mesh.world import Mesh, covers, fqdn
from sloctl.model.durations import duration
from sloctl.spec.yaml.tree import Node
from sloctl.spec.yaml.wording import shown

_NO_GATEWAYS = "whether gateways exist: no Gateway of their namespaces was read"
_ANSWERING = ("requestRedirect", "extensionRef")
"""Filters of rules that need no backend."""


def check(mesh: Mesh) -> None:
    """Find what is wrong with them."""
    gateways = {(item.namespace, item.name): item for item in mesh.kind("KubernetesGateway")}
    for route in mesh.kind("HTTPRoute", "GRPCRoute"):
        at_gateway = False
        for parent in items(route.spec, "parentRefs"):
            kind = text(parent, "kind")
            where = text(parent, "namespace") or route.namespace
            at_gateway = at_gateway or kind in ("", "Gateway")
            if kind in ("", "Gateway"):
                _parent(mesh, route, parent, gateways.get((where, text(parent, "name"))))
            elif kind == "Service":
                _service(mesh, route, parent, fqdn(text(parent, "name"), where))
        for rule in items(route.spec, "rules"):
            _timeouts(mesh, route, rule)
            _filters(mesh, route, rule)
            if at_gateway:
                _granted(mesh, route, rule)


def _service(mesh: Mesh, route: Object, parent: Node, host: str) -> None:
    if mesh.knows(host, route.namespace) is False:
        said = f"no Service that was read has the host {shown(host)}: this route is for nobody"
        mesh.find(
            route, at(parent, "name") or parent, "host-unknown", "warning", said, "check name and namespace"
        )


def _parent(mesh: Mesh, route: Object, parent: Node, gateway: Object | None) -> None:
    """Find gateways, or listeners, that are not there or do not take the route."""
    name = at(parent, "name") or parent
    where = text(parent, "namespace") or route.namespace
    if gateway is None:
        there = [item.name for item in mesh.kind("KubernetesGateway") if item.namespace == where]
        if not there:
            mesh.doubt(_NO_GATEWAYS)
            return
        said = f"there is no Gateway {shown(f'{where}/{name.text}')}: these routes are served nowhere"
        mesh.find(route, name, "gateway-unknown", "error", said, f"one of {', '.join(map(shown, there[:5]))}")
        return
    listeners = items(gateway.spec, "listeners")
    section, port = text(parent, "sectionName"), integer(parent, "port")
    chosen = [
        item
        for item in listeners
        if section in ("", text(item, "name")) and port in (None, integer(item, "port"))
    ]
    if listeners and not chosen:
        what = f"listener {shown(section)}" if section else f"listener at port {port}"
        said = f"{gateway} has no {what}: these routes are served nowhere"
        names = ", ".join(f"{shown(text(item, 'name'))} at {text(item, 'port')}" for item in listeners[:5])
        mesh.find(
            route, at(parent, "sectionName") or name, "gateway-unknown", "error", said, f"it has {names}"
        )
        return
    allowed = [_allows(mesh, item, gateway, route) for item in chosen]
    if chosen and not any(allow is not False for allow in allowed):
        said = f"{gateway} takes no routes of {shown(route.namespace)}: these are served nowhere"
        hint = "write  allowedRoutes: {namespaces: {from: All}}  or a selector in its listener: the default is Same"
        mesh.find(route, name, "gateway-refuses-route", "error", said, hint)
        return
    hosts = [host.lower() for host in texts(route.spec, "hostnames")]
    served = [text(item, "hostname").lower() for item in chosen]
    if (
        hosts
        and served
        and all(served)
        and not any(covers(a, b) or covers(b, a) for a in hosts for b in served)
    ):
        said = f"{gateway} serves {', '.join(map(shown, served[:3]))}, and none of this one's hosts"
        hint = "give both the same host, or the listener a wildcard that has it"
        mesh.find(route, name, "gateway-host-mismatch", "error", said, hint)


def _allows(mesh: Mesh, listener: Node, gateway: Object, route: Object) -> bool | None:
    """Whether a listener takes routes of the route's namespace; None where nobody knows that namespace's labels."""
    kind = text(listener, "allowedRoutes", "namespaces", "from") or "Same"
    if kind == "Selector":
        mesh.doubt("whether gateways take routes of namespaces that they select by labels")
        return None
    return kind == "All" or (kind == "Same" and gateway.namespace == route.namespace)


def _timeouts(mesh: Mesh, route: Object, rule: Node) -> None:
    whole, each = seconds(rule, "timeouts", "request"), seconds(rule, "timeouts", "backendRequest")
    if whole and each and each > whole:
        node = at(rule, "timeouts", "backendRequest")
        assert node is not None
        said = (
            f"a try may take {duration(each)}, longer than the whole request ({duration(whole)}): "
            "the Gateway API refuses that"
        )
        hint = f"write  backendRequest: {duration(whole)}  at most"
        mesh.find(route, node, "timeouts-contradict", "error", said, hint)


def _filters(mesh: Mesh, route: Object, rule: Node) -> None:
    """Find rules that lead nowhere, and filters that the Gateway API refuses together."""
    filters = {text(item, "type"): item for item in items(rule, "filters")}
    backends = at(rule, "backendRefs")
    answers = any(at(item, key) is not None for item in filters.values() for key in _ANSWERING)
    if not items(rule, "backendRefs") and not answers:
        said = "this rule has no backendRefs: these requests get 500"
        hint = "name a Service, or redirect them by a filter"
        mesh.find(route, backends or rule, "backend-missing", "error", said, hint)
    redirect = filters.get("RequestRedirect")
    if redirect is None:
        return
    for what, node in (("backendRefs", backends), ("URLRewrite", filters.get("URLRewrite"))):
        if node is not None:
            said = f"RequestRedirect beside {what}: the Gateway API refuses that"
            mesh.find(
                route, node, "filters-contradict", "error", said, "keep one of them, or make two rules of it"
            )


def _granted(mesh: Mesh, route: Object, rule: Node) -> None:
    grants = mesh.kind("ReferenceGrant")
    for node in _backends(rule):
        where, name = text(node, "namespace"), text(node, "name")
        if where in ("", route.namespace) or text(node, "kind") not in ("", "Service"):
            continue
        if any(item.namespace == where and _covers(item, route, name) for item in grants):
            continue
        known = any(item.namespace == where for item in grants)
        said = (
            f"no ReferenceGrant of {shown(where)} that was read lets {route.kind}s of {shown(route.namespace)} lead to "
            f"{shown(name)}: without one these requests get 500"
        )
        hint = f"give {where} a ReferenceGrant from {route.kind} in {route.namespace} to Service"
        place = at(node, "namespace") or node
        mesh.find(route, place, "reference-not-granted", "error" if known else "note", said, hint)


def _backends(rule: Node) -> Iterator[Node]:
    yield from items(rule, "backendRefs")
    for item in items(rule, "filters"):
        if (mirror := at(item, "requestMirror", "backendRef")) is not None:
            yield mirror


def _covers(grant: Object, route: Object, name: str) -> bool:
    """Whether a ReferenceGrant lets a route lead to a Service of its namespace."""
    sources = any(
        text(item, "kind") == route.kind and text(item, "namespace") == route.namespace
        for item in items(grant.spec, "from")
    )
    return sources and any(
        text(item, "kind") == "Service" and text(item, "name") in ("", name)
        for item in items(grant.spec, "to")
    )
