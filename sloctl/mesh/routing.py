"""Routes: where they lead, whether they can match, how they share requests; and objects that are there twice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sloctl.mesh.findings import Severity
from sloctl.mesh.matches import covered
from sloctl.mesh.objects import Object, at, integer, items, labels, real, text, texts
from sloctl.mesh.world import (
    CLUSTER,
    EXPORT_TO,
    MESH,
    Destination,
    Mesh,
    Route,
    covers,
    fqdn,
    place,
    short,
)
from sloctl.model.durations import number
from sloctl.spec.fields.values import closest
from sloctl.spec.yaml.tree import SCALAR, Node
from sloctl.spec.yaml.wording import shown

_MOST_MATCHES = 1000
"""Each is compared with those before it."""
_NO_SERVICES = "whether hosts exist: no Service or ServiceEntry of their namespaces was read"
_NO_RULES = "whether subsets exist: no DestinationRule of their hosts was read"
_NO_GATEWAYS = "whether gateways exist: no Gateway of their namespaces was read"
_NO_PODS = "whether gateways see VirtualServices with exportTo: no Service or Deployment of theirs was read"
_NO_DELEGATES = "whether delegates exist: no VirtualService without hosts of their namespaces was read"


def check(mesh: Mesh) -> None:
    """Find what is wrong with routes."""
    _twice(mesh)
    _same_hosts(mesh)
    own = {f"{gateway.namespace}/{gateway.name}": gateway for gateway in mesh.kind("Gateway")}
    with_gateways = {gateway.namespace for gateway in own.values()}
    there = {(item.namespace, item.name) for item in mesh.virtual_services}
    with_delegates = {item.namespace for item in mesh.virtual_services if not texts(item.spec, "hosts")}
    for item in mesh.virtual_services:
        _gateways(mesh, item, own, with_gateways)
        _delegates(mesh, item, there, with_delegates)
    for item in mesh.kind("DestinationRule"):
        if (host := at(item.spec, "host")) is not None and "*" not in host.text:
            _host(mesh, item, host, fqdn(host.text, item.namespace), item.namespace, rule=True)
            _rule_ports(mesh, item)
    routes: dict[Object, list[Route]] = {}
    for route in mesh.routes:
        routes.setdefault(route.owner, []).append(route)
    for those in routes.values():
        _shadowed(mesh, those)
        for route in those:
            _destinations(mesh, route)
            _weights(mesh, route)
            _canary(mesh, route)
            _fault(mesh, route)
    if mesh.traffic is not None:
        _versions(mesh)


def _twice(mesh: Mesh) -> None:
    first: dict[tuple[str, str, str, str], Object] = {}
    for item in mesh.objects:
        if not item.name or item.group in ("", "apps"):
            continue
        other = first.setdefault(item.key, item)
        if other is not item and not other.node.same(item.node):
            text = (
                f"{item} is also defined in {other.node.file}:{other.node.line}, differently: what is "
                "applied last holds"
            )
            name = at(item.node, "metadata", "name") or item.node
            mesh.find(item, name, "object-twice", "note", text, "keep one of them, or give them other names")


def _same_hosts(mesh: Mesh) -> None:
    by_host: dict[str, list[tuple[Object, Node]]] = {}
    for item in mesh.virtual_services:
        if MESH in mesh.gateways(item):
            for host in items(item.spec, "hosts"):
                by_host.setdefault(fqdn(host.text, item.namespace), []).append((item, host))
    for name, those in by_host.items():
        for index, (second, node) in enumerate(those[:100]):
            other = next(
                (item for item, _ in those[:index] if item.key != second.key and _shared(mesh, item, second)),
                None,
            )
            if other is None:
                continue
            said = (
                f"{other} has the host {shown(name)} too: sidecars take the older of the two, and none of the "
                "other's routes"
            )
            hint = "join their routes in one VirtualService, or tell them apart by gateways or exportTo"
            mesh.find(second, node, "host-twice", "warning", said, hint)


def _shared(mesh: Mesh, first: Object, second: Object) -> bool:
    """Whether there may be a namespace that sees both."""
    seen = [mesh.exported(item) for item in (first, second)]
    return "*" in seen[0] | seen[1] or bool(seen[0] & seen[1])


def _gateways(mesh: Mesh, item: Object, own: Mapping[str, Object], spaces: Collection[str]) -> None:
    nodes = [node for node in items(item.spec, "gateways") if node.kind == SCALAR]
    for name, node in zip(mesh.gateways(item) if nodes else (), nodes, strict=True):
        if name == MESH:
            continue
        if name not in own:
            if name.partition("/")[0] in spaces:
                text = f"there is no Gateway {shown(name)}: these routes are served nowhere there"
                hint = f"one of {', '.join(shown(other) for other in sorted(own)[:5])}; or namespace/name"
                mesh.find(item, node, "gateway-unknown", "error", text, hint)
            else:
                mesh.doubt(_NO_GATEWAYS)
            continue
        served = list(_served(own[name], item))
        hosts = [fqdn(host, item.namespace) for host in texts(item.spec, "hosts")]
        if hosts and served and not any(covers(a, b) or covers(b, a) for a in hosts for b in served):
            text = (
                f"Gateway {shown(name)} serves {', '.join(map(shown, served[:3]))}, and none of this "
                "one's hosts"
            )
            hint = "give both the same host, or the Gateway a wildcard that has it"
            mesh.find(item, node, "gateway-host-mismatch", "error", text, hint)
        spaces = mesh.gateway_spaces(name)
        if spaces and not any(mesh.visible(item, where) for where in spaces):
            text = (
                f"this one is not exported to {', '.join(map(shown, spaces[:3]))}, where Gateway {shown(name)} "
                "runs: these routes are served nowhere there"
            )
            hint = "add the gateway's namespace to its exportTo"
            mesh.find(item, node, "gateway-refuses-route", "error", text, hint)
        elif not spaces and "*" not in mesh.exported(item):
            mesh.doubt(_NO_PODS)


def _served(gateway: Object, item: Object) -> Iterator[str]:
    """The hosts that a Gateway serves for the routes of a VirtualService."""
    for server in items(gateway.spec, "servers"):
        for host in texts(server, "hosts"):
            where, slash, name = host.rpartition("/")
            if (
                slash
                and where not in ("*", item.namespace)
                and not (where == "." and gateway.namespace == item.namespace)
            ):
                continue
            yield fqdn(name, gateway.namespace)


def _delegates(mesh: Mesh, item: Object, there: Collection[tuple[str, str]], spaces: Collection[str]) -> None:
    for route in items(item.spec, "http"):
        delegate = at(route, "delegate")
        if delegate is None:
            continue
        where, name = text(delegate, "namespace") or item.namespace, text(delegate, "name")
        if (where, name) in there:
            continue
        if where in spaces:
            said = (
                f"there is no VirtualService {shown(f'{where}/{name}')} to delegate to: these requests "
                "get 404"
            )
            mesh.find(item, delegate, "delegate-unknown", "error", said, "check its name and namespace")
        else:
            mesh.doubt(_NO_DELEGATES)


def _shadowed(mesh: Mesh, routes: Sequence[Route]) -> None:
    routes = [route for route in routes if route.protocol == "http"]
    if sum(len(route.matches) for route in routes) > _MOST_MATCHES:
        mesh.doubt(f"whether routes can match: a VirtualService has more than {_MOST_MATCHES} matches")
        return
    ordered = bool(routes) and routes[0].owner.kind == "VirtualService"
    for index, route in enumerate(routes[:500]):
        for earlier in routes[:index]:
            if ordered and at(earlier.node, "delegate") is not None and not earlier.matches:
                continue
            if not covered(route, earlier, ordered=ordered):
                continue
            first = earlier.matches[0] if earlier.matches else earlier.node
            text = f"{earlier.named()} in line {first.line} takes every request that this one would match"
            hint = (
                "put the more specific one first"
                if ordered
                else "Istio takes the first of equal matches: remove one"
            )
            node = route.matches[0] if route.matches else route.node
            mesh.find(route.owner, node, "route-never-matches", "warning", text, hint)
            break


@dataclass(frozen=True, slots=True)
class _Target:
    """Where requests of a route go: the nodes of the host and of what has its port, the host, the subset."""

    node: Node
    entry: Node | None
    host: str
    subset: str


def _targets(route: Route) -> Iterator[_Target]:
    """Where requests of a route go, mirrored ones too."""
    own = route.owner.namespace
    for item in route.destinations:
        entry = at(item.node, "destination") if route.owner.kind == "VirtualService" else item.node
        yield _Target(item.host_node, entry, item.host, item.subset)
    for mirror in (
        at(route.node, "mirror"),
        *(at(item, "destination") for item in items(route.node, "mirrors")),
    ):
        if (host := at(mirror, "host")) is not None:
            yield _Target(host, mirror, fqdn(host.text, own), text(mirror, "subset"))
    for each in items(route.node, "filters"):
        mirror = at(each, "requestMirror", "backendRef")
        if (name := at(mirror, "name")) is not None and text(mirror, "kind") in ("", "Service"):
            yield _Target(name, mirror, fqdn(name.text, text(mirror, "namespace") or own), "")


def _destinations(mesh: Mesh, route: Route) -> None:
    for target in _targets(route):
        clients = mesh.clients(route, target.host)
        hidden = [
            name for name in clients if mesh.declared(target.host) and not mesh.knows(target.host, name)
        ]
        _host(mesh, route.owner, target.node, target.host, (hidden or [route.owner.namespace])[0])
        _port(mesh, route, target)
        if target.subset:
            _subset(mesh, route, target, clients)


def _host(mesh: Mesh, item: Object, node: Node, host: str, client: str, *, rule: bool = False) -> None:
    known = mesh.knows(host, client)
    parts = host.split(".")
    whole = ".".join(parts[:2]) + CLUSTER
    partial = host != whole and len(parts) in (2, 3) and (whole in mesh.services or host.endswith(".svc"))
    if known is None and not partial:
        mesh.doubt(_NO_SERVICES)
        return
    if known:
        return
    hidden = mesh.declared(host)
    sure = True
    if partial:
        said = f"Istio does not complete {shown(host)}: only a name without dots is one of a namespace"
        hint = f"write  {shown(whole)[1:-1]}"
    elif hidden:
        said = f"{hidden[0]} has the host {shown(host)}, but does not export it to {shown(client)}"
        hint = f"add the namespace to its {EXPORT_TO if hidden[0].kind == 'Service' else 'exportTo'}"
    else:
        near = closest(place(host)[1], mesh.near(host))
        said = f"no Service or ServiceEntry that was read has the host {shown(host)}"
        hint = "check its name and namespace, declare it with a ServiceEntry, or give sloctl its Service too"
        hint = hint if near is None else f"did you mean {shown(near)}?"
        sure = near is not None
    if rule:
        mesh.find(item, node, "host-unknown", "warning", f"{said}: this rule does nothing", hint)
    else:
        level: Severity = "error" if sure else "warning"
        mesh.find(item, node, "host-unknown", level, f"{said}: these requests fail", hint)


def _port(mesh: Mesh, route: Route, target: _Target) -> None:
    """Find ports that the service of a route's destination does not have."""
    there = mesh.ports(target.host)
    if not there:
        return
    kubernetes = route.owner.kind != "VirtualService"
    path = ("port",) if kubernetes else ("port", "number")
    node = at(target.entry, *path)
    names = ", ".join(
        f"{number} ({shown(name)[1:-1]})" if name else str(number) for number, name in there.items()
    )
    hint = f"it has {names}"
    if node is not None:
        if integer(target.entry, *path) not in there:
            said = f"{short(target.host)} has no port {shown(node.text)[1:-1]}: these requests fail"
            mesh.find(route.owner, node, "port-unknown", "error", said, hint)
        return
    if kubernetes:
        said = "a backend that is a Service needs a port: these requests fail with 500"
        mesh.find(route.owner, target.node, "port-unknown", "error", said, hint)
        return
    if len(there) < 2:
        return
    for gateway in route.gateways:
        asked = mesh.asked_ports(route, gateway)
        if asked and not asked & there.keys():
            said = (
                f"no port is named, so that Istio takes the one that was asked for "
                f"({', '.join(map(str, sorted(asked)))}), which {short(target.host)} has not: these requests fail"
            )
            mesh.find(route.owner, target.node, "port-unknown", "error", said, f"write  port: …; {hint}")
            return


def _subset(mesh: Mesh, route: Route, target: _Target, clients: Mapping[str, bool]) -> None:
    """Find clients for which no DestinationRule that counts defines the subset."""
    host, subset = target.host, shown(target.subset)
    with_it = [rule for rule in mesh.with_host(host) if target.subset in subsets(rule)]
    if not mesh.all_rules(host):
        mesh.doubt(_NO_RULES)
        return
    for client, sure in clients.items():
        rules = mesh.rules(host, client)
        if any(target.subset in subsets(rule) for rule in rules):
            continue
        level: Severity = "error" if sure else "warning"
        fail = "these requests fail with 503"
        if rules:
            names = sorted({name for rule in rules for name in subsets(rule)})
            hint = f"it has {', '.join(map(shown, names[:8]))}" if names else f"{rules[0]} has no subsets"
        if rules and with_it:
            said = (
                f"for clients in {shown(client)} {rules[0]} counts, which does not define the subset {subset} as "
                f"{with_it[0]} does: {fail}"
            )
            hint += "; Istio joins no rules of two namespaces, nor of a host and its wildcard"
        elif rules:
            said = f"no DestinationRule of {shown(host)} defines the subset {subset}: {fail}"
        elif not with_it or not {client, mesh.root, *mesh.homes(host)} & mesh.with_rules:
            mesh.doubt(_NO_RULES)  # rules of the namespaces where Istio looks were not read
            continue
        elif not any(mesh.visible(rule, client) for rule in with_it):
            said = (
                f"{with_it[0]} defines the subset {subset}, but does not export it to {shown(client)}: {fail}"
            )
            hint = "add the namespace to its exportTo"
        else:
            said = (
                f"{with_it[0]} defines the subset {subset}, but Istio looks for rules in the namespaces of the "
                f"client ({shown(client)}) and of the service, and in {shown(mesh.root)}: {fail}"
            )
            hint = f"move the rule to the namespace of {short(host)}"
        mesh.find(route.owner, target.node, "subset-unknown", level, said, hint)
        return


def _rule_ports(mesh: Mesh, rule: Object) -> None:
    there = mesh.ports(fqdn(text(rule.spec, "host"), rule.namespace))
    policies = [
        at(rule.spec, "trafficPolicy"),
        *(at(item, "trafficPolicy") for item in items(rule.spec, "subsets")),
    ]
    for setting in (item for policy in policies for item in items(policy, "portLevelSettings")):
        node = at(setting, "port", "number")
        if there and node is not None and integer(setting, "port", "number") not in there:
            said = f"the service has no port {shown(node.text)[1:-1]}: what is said of it has no effect"
            hint = f"it has {', '.join(map(str, there))}"
            mesh.find(rule, node, "port-unknown", "warning", said, hint)


def subsets(rule: Object) -> dict[str, Node]:
    """The subsets of a DestinationRule."""
    return {text(item, "name"): item for item in items(rule.spec, "subsets")}


def _weights(mesh: Mesh, route: Route) -> None:
    entries = items(route.node, "route") or items(route.node, "backendRefs")
    given = [integer(entry, "weight") for entry in entries]
    weights = [weight for weight in given if weight is not None]
    kubernetes = route.owner.kind != "VirtualService"
    if not entries or (kubernetes and not weights):
        return
    first = at(entries[0], "weight") or entries[0]
    if kubernetes:
        if not any(1 if weight is None else weight for weight in given):
            text = "all weights are 0: these requests get 500"
            mesh.find(route.owner, first, "weight-zero", "error", text, "give one of them a weight")
        elif len(weights) < len(given) and max(weights) >= 10:
            lacking = entries[given.index(None)]
            text = f"this backend has the weight 1 by default, beside {max(weights)}"
            mesh.find(route.owner, lacking, "weight-missing", "warning", text, "write its weight")
        return
    if len(entries) == 1:
        if weights and weights[0] != 100:
            text = f"a single destination gets all requests, whatever its weight ({weights[0]})"
            hint = "add the destination that gets the rest, or remove the weight"
            mesh.find(route.owner, first, "weights-not-100", "warning", text, hint)
    elif not sum(weights):
        text = "the weights are all 0: Istio refuses that"
        mesh.find(route.owner, first, "weight-zero", "error", text, "give each destination its share of 100")
    elif len(weights) < len(given):
        text = "this destination has no weight beside others that have one: it gets no request"
        mesh.find(
            route.owner, entries[given.index(None)], "weight-missing", "error", text, "write its weight"
        )
    elif abs(sum(weights) - 100) > 1 and 10 < sum(weights) < 1000:
        shares = ", ".join(f"{number(round(100 * weight / sum(weights), 1))} %" for weight in weights[:6])
        text = f"the weights add up to {sum(weights)}, not 100: Istio makes shares of them, {shares}"
        mesh.find(route.owner, first, "weights-not-100", "warning", text, "let them add up to 100")


def _canary(mesh: Mesh, route: Route) -> None:
    shared = [item for item in route.destinations if item.weight and route.protocol == "http"]
    if len(shared) < 2:
        return
    total = sum(item.weight or 0 for item in shared)
    for item in shared:
        counting = mesh.rules_of(route, item.host)
        rules = [rule for rule in counting if item.subset in subsets(rule)]
        others = {other.subset for other in shared if other.host == item.host}
        if not rules or len(others) < 2 or 2 * (item.weight or 0) > total:
            continue
        nodes = [subsets(rule)[item.subset] for rule in rules]
        if any(at(rule.spec, "trafficPolicy") for rule in counting) or any(
            at(node, "trafficPolicy") for node in nodes
        ):
            continue
        said = (
            f"the subset {shown(item.subset)} gets {number(round(100 * (item.weight or 0) / total, 1))} % "
            "of the requests, and has no traffic policy"
        )
        hint = (
            f"give {rules[0]} a trafficPolicy with outlierDetection, so that an endpoint that fails gets "
            "no requests"
        )
        mesh.find(route.owner, _named(item), "canary-without-policy", "note", said, hint)


def _named(item: Destination) -> Node:
    return at(item.node, "destination", "subset") or item.host_node


def _fault(mesh: Mesh, route: Route) -> None:
    narrowed = bool(route.matches) and all(
        any(at(match, key) for key in ("headers", "sourceLabels", "queryParams")) for match in route.matches
    )
    for kind, what in (("abort", "fail"), ("delay", "wait")):
        fault = at(route.node, "fault", kind)
        share = real(fault, "percentage", "value")
        share = real(fault, "percent") if share is None else share
        if fault is None or not share:
            continue
        how = text(fault, "httpStatus") or text(fault, "grpcStatus") or text(fault, "fixedDelay")
        more = f" ({shown(how)[1:-1]})" if how else ""
        said = (
            f"{number(share)} % of these requests are made to {what}{more}: they spend the budget as any "
            "other"
        )
        hint = "remove it when the experiment is over; a maintenance window keeps it out of the budget"
        mesh.find(route.owner, fault, "fault-injection", "note" if narrowed else "warning", said, hint)


def routed_versions(mesh: Mesh) -> dict[str, dict[str, tuple[Route, Destination]]]:
    """The versions that routes lead to, by host; of hosts of which all routes lead to subsets with a version."""
    routed: dict[str, list[tuple[Route, Destination]]] = {}
    for route in mesh.routes:
        for item in route.destinations:
            routed.setdefault(item.host, []).append((route, item))
    found: dict[str, dict[str, tuple[Route, Destination]]] = {}
    for host, those in routed.items():
        wanted: dict[str, tuple[Route, Destination]] = {}
        for route, item in those:
            sets = [
                labels(subsets(rule)[item.subset], "labels")
                for rule in mesh.rules_of(route, host)
                if item.subset and item.subset in subsets(rule)
            ]
            versions = {mine["version"] for mine in sets if "version" in mine}
            if not versions:
                break
            if item.weight != 0 or len(route.destinations) == 1:
                wanted.update(dict.fromkeys(sorted(versions), (route, item)))
        else:
            found[host] = wanted
    return found


def _versions(mesh: Mesh) -> None:
    """Hold the versions that routes lead to against those that have requests."""
    assert mesh.traffic is not None
    for host, wanted in routed_versions(mesh).items():
        seen = {name: rate for name, rate in mesh.traffic.versions.get(place(host), {}).items() if rate > 0}
        if not seen or not wanted:
            continue
        route, first = next(iter(wanted.values()))
        for version in sorted(seen.keys() - wanted.keys()):
            said = (
                f"{short(host)} {shown(version)} has {seen[version]:.3g} requests a second, and no route "
                "leads to it"
            )
            hint = (
                "calls that go around the route (another gateway, a pod's address, clients without a "
                "sidecar), or pods with other labels"
            )
            mesh.find(route.owner, first.host_node, "versions-differ", "warning", said, hint)
        for version in sorted(wanted.keys() - seen.keys()):
            route, item = wanted[version]
            said = (
                f"a route leads to {short(host)} {shown(version)}, which has had no requests in "
                f"{mesh.traffic.seconds // 60} minutes"
            )
            hint = "are there pods with these labels? Is the route used?"
            mesh.find(route.owner, _named(item), "versions-differ", "note", said, hint)
