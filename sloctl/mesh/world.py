"""How Istio joins objects: names of hosts, namespaces, which routes and rules apply to which calls, who calls whom.

Collects findings, and what cannot be decided by what was read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from sloctl.errors import Position
from sloctl.mesh.findings import Finding, Severity
from sloctl.mesh.objects import GATEWAY_API, Object, at, integer, items, labels, seconds, text, texts
from sloctl.mesh.traffic import Traffic
from sloctl.spec.yaml.tree import MAPPING, Node

CLUSTER = ".svc.cluster.local"
MESH = "mesh"
"""The name of all sidecars among gateways."""
DEFAULT_RETRIES = 2
DEFAULT_CONDITIONS = frozenset(("connect-failure", "refused-stream", "unavailable", "cancelled"))
"""What Istio retries unless told otherwise; before 1.24 also answers of 503."""
_SERVER_CODES = frozenset(("500", "502", "503", "504"))
_OWN = ("istio-ingressgateway", "istio-egressgateway", "istio-eastwestgateway", "istiod")
"""Services that Istio's installation makes."""
EXPORT_TO = "networking.istio.io/exportTo"
"""The annotation of a Service that says which namespaces see it."""
_EXPORT_DEFAULTS = {
    "DestinationRule": "defaultDestinationRuleExportTo",
    "VirtualService": "defaultVirtualServiceExportTo",
    "Service": "defaultServiceExportTo",
    "ServiceEntry": "defaultServiceExportTo",
}
"""What MeshConfig says of objects without exportTo."""
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")


def fqdn(host: str, namespace: str) -> str:
    """A host as Istio completes it: only a name without dots is one of the object's namespace."""
    if not host or "." in host or host == "*" or ":" in host:
        return host.lower()
    return f"{host}.{namespace}{CLUSTER}".lower()


def covers(wide: str, host: str) -> bool:
    """Whether a host, perhaps with a wildcard in front, has another."""
    if wide == "*" or wide == host:
        return True
    return wide.startswith("*.") and host.endswith(wide[1:]) and host != wide[1:]


def wider(host: str) -> Iterator[str]:
    """A host, and the wildcards that have it, the most specific first."""
    yield host
    rest = host.removeprefix("*.")
    while "." in rest:
        rest = rest.partition(".")[2]
        yield f"*.{rest}"
    yield "*"


def place(host: str) -> tuple[str, str]:
    """Namespace and name of a service of the cluster; ("", host) of any other."""
    name, _, namespace = host.removesuffix(CLUSTER).partition(".")
    return (namespace, name) if host.endswith(CLUSTER) and name and namespace else ("", host)


def short(host: str) -> str:
    """A host as people name it: ``shop/checkout``."""
    namespace, name = place(host)
    return f"{namespace}/{name}" if namespace else name


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is tried again: 0 is never. ``node`` is where that is written; None where it is a default.

    ``per_try`` is in seconds.
    """

    attempts: int = DEFAULT_RETRIES
    conditions: frozenset[str] = DEFAULT_CONDITIONS
    per_try: float | None = None
    backoff: bool = False
    node: Node | None = None
    owner: Object | None = None

    @property
    def tries(self) -> int:
        """How often a request is sent at most."""
        return self.attempts + 1

    @property
    def answers(self) -> bool:
        """Whether what a service answers is asked for again: a 503, for example."""
        codes = {code for code in self.conditions if code.isdigit()}
        return bool(self.attempts and (self.conditions & {"5xx", "gateway-error"} or codes & _SERVER_CODES))


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a route leads: a host in full, a subset or "". ``node`` is the weighted entry, ``host_node`` the name."""

    host: str
    subset: str
    node: Node
    host_node: Node
    weight: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A route: whose, for which hosts, at which gateways (``mesh``: sidecars), and what it does. Seconds.

    ``protocol`` is http, tcp or tls. ``hosts`` is empty where nobody knows (a delegate without a root).
    """

    owner: Object
    node: Node
    protocol: str
    index: int
    hosts: tuple[str, ...]
    gateways: tuple[str, ...]
    destinations: tuple[Destination, ...]
    retries: Retries
    timeout: float | None
    timeout_node: Node | None

    @property
    def matches(self) -> list[Node]:
        """The requests that it takes; all, where there are none."""
        return items(self.node, "match") or items(self.node, "matches")

    def gateways_as_written(self) -> list[str]:
        """The gateways of its VirtualService, by the names that its matches use."""
        return texts(self.owner.spec, "gateways") or [MESH]

    def named(self) -> str:
        """How a message names it."""
        return f"route {self.index + 1}"


class Mesh:
    """What was read, and what is found in it."""

    def __init__(self, objects: Sequence[Object], root: str, traffic: Traffic | None = None) -> None:
        self.objects = objects
        self.traffic = traffic
        self.findings: list[Finding] = []
        self.unknown: dict[str, None] = {}
        self._gateway_hosts: dict[str, str] = {}
        self._selected: dict[str, tuple[Object, ...]] = {}
        self._gateway_spaces: dict[str, tuple[str, ...]] = {}
        self._exported: dict[Object, frozenset[str]] = {}
        configs = self.kind("MeshConfig")
        config = next(iter(configs), None)
        self.config = config
        if config is not None and not all(config.node.same(other.node) for other in configs):
            where = ", ".join(f"{item.node.file}:{item.node.line}" for item in configs[:5])
            self.doubt(f"which MeshConfig holds: {where} differ, and but for exportTo the first is taken")
        self.root = text(config.node, "rootNamespace") or root if config else root

    @property
    def partial(self) -> bool:
        """Whether the traffic lacks some of what there was."""
        return self.traffic is not None and bool(self.traffic.doubts)

    def find(self, item: Object, node: Node, code: str, severity: Severity, message: str, hint: str) -> None:
        """Note a finding at a node of an object."""
        position = Position(node.file, node.line, node.column)
        self.findings.append(Finding(position, str(item), code, severity, message, hint))

    def doubt(self, sentence: str) -> None:
        """Note what cannot be decided, once."""
        self.unknown[sentence] = None

    def kind(self, *kinds: str) -> list[Object]:
        """All objects of some kinds; Kubernetes' Gateway is ``KubernetesGateway``."""
        return [item for kind in kinds for item in self._kinds.get(kind, ())]

    @cached_property
    def _kinds(self) -> dict[str, list[Object]]:
        found: dict[str, list[Object]] = {}
        for item in self.objects:
            kubernetes = item.kind == "Gateway" and item.group == GATEWAY_API
            found.setdefault("KubernetesGateway" if kubernetes else item.kind, []).append(item)
        return found

    # Hosts

    @cached_property
    def services(self) -> dict[str, Object]:
        """Services of Kubernetes, by host; of those that are there more than once, the last."""
        return {host: those[-1] for host, those in self._all_services.items()}

    @cached_property
    def _all_services(self) -> dict[str, list[Object]]:
        found: dict[str, list[Object]] = {}
        for item in self.kind("Service"):
            if item.group == "":
                found.setdefault(fqdn(item.name, item.namespace), []).append(item)
        return found

    @cached_property
    def entries(self) -> dict[str, list[Object]]:
        """ServiceEntries, by host."""
        found: dict[str, list[Object]] = {}
        for item in self.kind("ServiceEntry"):
            for host in texts(item.spec, "hosts"):
                found.setdefault(fqdn(host, item.namespace), []).append(item)
        return found

    @cached_property
    def _made(self) -> set[str]:
        """Services that Istio makes for Gateways of Kubernetes."""
        names: set[str] = set()
        for item in self.kind("KubernetesGateway"):
            made = text(item.spec, "gatewayClassName")
            names |= {fqdn(f"{item.name}-{made}", item.namespace), fqdn(item.name, item.namespace)}
        return names

    @cached_property
    def _served(self) -> set[str]:
        return {item.namespace for item in self.services.values()}

    def near(self, host: str) -> list[str]:
        """The names of the Services of a host's namespace."""
        return [place(other)[1] for other in self._hosts.get(place(host)[0], ())]

    def declared(self, host: str) -> list[Object]:
        """The Services, one in each overlay, and the ServiceEntries that have a host."""
        found = [item for wide in wider(host) for item in self.entries.get(wide, ())]
        return [*self._all_services.get(host, ()), *found]

    def homes(self, host: str) -> tuple[str, ...]:
        """The namespaces that a host's service is in; none where that is not known."""
        where = place(host)[0]
        return (where,) if where else tuple(dict.fromkeys(item.namespace for item in self.declared(host)))

    def ports(self, host: str) -> dict[int, str]:
        """The ports of a host's service, with their names; none where they are not known."""
        found: dict[int, str] = {}
        own = [*self._all_services.get(host, ()), *self.entries.get(host, ())]
        for item in own or self.declared(
            host
        ):  # a wildcard's are not those of a host that is defined by itself
            if text(item.spec, "type") == "ExternalName":
                return {}
            key = "port" if item.kind == "Service" else "number"
            for port in items(item.spec, "ports"):
                if (number := integer(port, key)) is not None:
                    found[number] = text(port, "name")
        return found

    # Who sees what

    def exported(self, item: Object) -> frozenset[str]:
        """The namespaces that see an object; ``*`` is all of them."""
        if item not in self._exported:
            names = texts(item.spec, "exportTo")
            if item.kind == "Service":
                names = re.split(r"[,\s]+", text(item.node, "metadata", "annotations", EXPORT_TO))
            elif item.kind == "DestinationRule" and at(item.spec, "workloadSelector") is not None:
                names = ["."]
            names = [name for name in names if name]
            if not names:
                key = _EXPORT_DEFAULTS.get(item.kind, "")
                names = [
                    name for config in self.kind("MeshConfig") for name in texts(config.node, key) or ["*"]
                ]
            self._exported[item] = frozenset(
                item.namespace if name == "." else name for name in names or ["*"]
            )
        return self._exported[item]

    def visible(self, item: Object, namespace: str) -> bool:
        """Whether a namespace sees an object; one that nobody knows ("") sees everything."""
        to = self.exported(item)
        return "*" in to or not namespace or namespace in to

    @cached_property
    def _inhabited(self) -> frozenset[str]:
        """The namespaces with workloads or Services that were read."""
        return frozenset(item.namespace for item in (*self.services.values(), *self.kind(*_WORKLOADS)))

    def gateway_spaces(self, gateway: str) -> tuple[str, ...]:
        """The namespaces of a gateway's pods, by the Services that were read; none where these do not tell."""
        if gateway not in self._gateway_spaces:
            self._gateway_spaces[gateway] = self._spaces(gateway)
        return self._gateway_spaces[gateway]

    def _spaces(self, gateway: str) -> tuple[str, ...]:
        namespace, _, name = gateway.partition("/")
        item = self._gateways.get((namespace, name))
        if item is None:
            return ()
        if item.group == GATEWAY_API:
            return (namespace,)
        selector = labels(item.spec, "selector")
        pods = [
            (service.namespace, labels(service.spec, "selector")) for service in self.services.values()
        ] + [(workload.namespace, pod_labels(workload)) for workload in self.kind(*_WORKLOADS)]
        return tuple(
            dict.fromkeys(
                where for where, mine in pods if mine and selector and selector.items() <= mine.items()
            )
        )

    def asked_ports(self, route: Route, gateway: str) -> set[int]:
        """The ports at which a gateway, or sidecars for the route's hosts, are asked; none where nobody knows."""
        if gateway == MESH:
            sets = [self.ports(host).keys() for host in route.hosts]
            return set().union(*sets) if sets and all(sets) else set()
        namespace, _, name = gateway.partition("/")
        item = self._gateways.get((namespace, name))
        numbers = [
            integer(server, "port", "number") for server in items(item.spec if item else None, "servers")
        ]
        return {number for number in numbers if number is not None}

    def clients(self, route: Route, host: str) -> dict[str, bool]:
        """The namespaces from which a route leads to a host, and whether that is sure; "" is one that nobody knows."""
        found: dict[str, bool] = {}
        for gateway in route.gateways:
            if gateway != MESH:
                spaces = self.gateway_spaces(gateway) or ("",)
                found |= {where: True for where in spaces if self.visible(route.owner, where)}
        if MESH not in route.gateways:
            return found
        sources = [text(match, "sourceNamespace") for match in route.matches]
        if sources and all(sources):
            return found | {where: True for where in sources if self.applies(route, where)}
        own = route.owner.namespace
        if not self._inhabited or own in self._inhabited or "*" not in self.exported(route.owner):
            found[own] = True
        else:
            for where in self.homes(host):
                found.setdefault(where, False)
        if route.owner.kind == "VirtualService":
            found |= dict.fromkeys(sorted(self.exported(route.owner) - {"*", own}), True)
        callers = {where for name in (*route.hosts, host) for where in self._callers.get(name, ())}
        found |= dict.fromkeys(sorted(callers | self._ruling.get(host, set())), True)
        return {where: sure for where, sure in found.items() if self.applies(route, where)}

    def applies(self, route: Route, namespace: str) -> bool:
        """Whether sidecars of a namespace take a route: it is exported to them, or a consumer's own HTTPRoute."""
        if route.owner.kind == "VirtualService":
            return self.visible(route.owner, namespace)
        own = route.owner.namespace
        return not namespace or namespace == own or any(own in self.homes(host) for host in route.hosts)

    @cached_property
    def _callers(self) -> dict[str, set[str]]:
        """The namespaces that are known to call each host."""
        found: dict[str, set[str]] = {}
        for client, server in self.calls:
            if (where := place(client)[0]) and client not in self.gateway_hosts:
                found.setdefault(server, set()).add(where)
        return found

    @cached_property
    def gateway_hosts(self) -> frozenset[str]:
        """The hosts of all gateways."""
        return frozenset(
            self.gateway_host(name) for route in self.routes for name in route.gateways if name != MESH
        )

    @cached_property
    def _ruling(self) -> dict[str, set[str]]:
        """The namespaces that have a DestinationRule of each host, and so call it."""
        found: dict[str, set[str]] = {}
        for (where, host), rules in self._rules.items():
            if where != self.root and where in self._inhabited and rules:
                found.setdefault(host, set()).add(where)
        return found

    def knows(self, host: str, namespace: str) -> bool | None:
        """Whether a host can be called from a namespace; None where what was read does not say."""
        found = self.declared(host)
        if any(self.visible(item, namespace) for item in found) or host in self._made:
            return True
        if found:
            return False
        if self.traffic is not None and host in self.traffic.hosts:
            return True
        where, name = place(host)
        if where:
            if name in _OWN or "." in where:
                return None
            return False if where in self._served else None
        if host.endswith((".svc", ".clusterset.local", ".local")) or "*" in host:
            return None
        return False if self.entries else None

    # Routes

    @cached_property
    def virtual_services(self) -> list[Object]:
        """All VirtualServices."""
        return self.kind("VirtualService")

    def gateways(self, item: Object) -> tuple[str, ...]:
        """The gateways that a VirtualService is bound to: ``mesh``, or ``namespace/name``."""
        return _qualified(item, texts(item.spec, "gateways") or [MESH])

    @cached_property
    def delegates(self) -> dict[tuple[str, str], list[tuple[Object, Node]]]:
        """Routes that lead to each delegate, by its namespace and name."""
        found: dict[tuple[str, str], list[tuple[Object, Node]]] = {}
        for item in self.virtual_services:
            for route in items(item.spec, "http"):
                if (delegate := at(route, "delegate")) is not None:
                    where = text(delegate, "namespace") or item.namespace
                    found.setdefault((where, text(delegate, "name")), []).append((item, route))
        return found

    @cached_property
    def routes(self) -> list[Route]:
        """All routes, in the order of their objects."""
        found = [route for item in self.virtual_services for route in self._of_virtual_service(item)]
        for item in self.kind("HTTPRoute", "GRPCRoute"):
            found += self._of_gateway_api(item)
        return found

    def _of_virtual_service(self, item: Object) -> Iterator[Route]:
        own = tuple(fqdn(host, item.namespace) for host in texts(item.spec, "hosts"))
        roots = self.delegates.get((item.namespace, item.name), []) if not own else []
        hosts = own or tuple(
            dict.fromkeys(
                fqdn(host, root.namespace) for root, _ in roots for host in texts(root.spec, "hosts")
            )
        )
        gateways = self.gateways(item)
        if roots:
            gateways = tuple(dict.fromkeys(name for root, _ in roots for name in self.gateways(root)))
        for protocol in ("http", "tls", "tcp"):
            for index, node in enumerate(items(item.spec, protocol)):
                timeout, retries = at(node, "timeout"), at(node, "retries")
                for _, root in roots:
                    timeout, retries = timeout or at(root, "timeout"), retries or at(root, "retries")
                yield Route(
                    item, node, protocol, index, hosts, _narrowed(item, node, gateways),
                    tuple(self._destinations(item, node)),
                    self._retries(retries, item) if protocol == "http" else Retries(0, frozenset()),
                    seconds(timeout) or None, timeout,
                )  # fmt: skip

    def _destinations(self, item: Object, node: Node) -> Iterator[Destination]:
        for entry in items(node, "route"):
            host = at(entry, "destination", "host")
            if host is not None:
                subset = text(entry, "destination", "subset")
                weight = integer(entry, "weight")
                yield Destination(fqdn(host.text, item.namespace), subset, entry, host, weight)

    def _of_gateway_api(self, item: Object) -> Iterator[Route]:
        parents: list[str] = []
        hosts = [host.lower() for host in texts(item.spec, "hostnames")]
        for parent in items(item.spec, "parentRefs"):
            where = text(parent, "namespace") or item.namespace
            if text(parent, "kind") in ("Service", "ServiceEntry"):
                parents.append(MESH)
                hosts.append(fqdn(text(parent, "name"), where))
            else:
                parents.append(f"{where}/{text(parent, 'name')}")
        for index, node in enumerate(items(item.spec, "rules")):
            destinations = []
            for entry in items(node, "backendRefs"):
                name = at(entry, "name")
                if name is not None and text(entry, "kind") in ("", "Service"):
                    host = fqdn(name.text, text(entry, "namespace") or item.namespace)
                    destinations.append(Destination(host, "", entry, name, integer(entry, "weight")))
            timeout = at(node, "timeouts", "request")
            if at(node, "retry") is None and seconds(node, "timeouts", "backendRequest"):
                timeout = at(
                    node, "timeouts", "backendRequest"
                )  # without a retry, Istio takes it for the route's
            yield Route(
                item, node, "http", index, tuple(hosts), tuple(dict.fromkeys(parents)), tuple(destinations),
                self._retry(node, item), seconds(timeout) or None, timeout,
            )  # fmt: skip

    def _retry(self, rule: Node, item: Object) -> Retries:
        """What Istio makes of the Gateway API's ``retry``: connections that fail, and some codes."""
        node, per_try = at(rule, "retry"), seconds(rule, "timeouts", "backendRequest") or None
        if node is None:
            return self.default_retries
        attempts = integer(node, "attempts")
        codes = frozenset(texts(node, "codes"))
        backoff = at(node, "backoff") is not None
        given = DEFAULT_RETRIES if attempts is None else max(0, attempts)
        return Retries(given, DEFAULT_CONDITIONS | codes, per_try, backoff, node, item)

    @cached_property
    def default_retries(self) -> Retries:
        """The retries of all routes that say nothing."""
        given = at(self.config.node, "defaultHttpRetryPolicy") if self.config else None
        if given is None or self.config is None:
            return Retries()
        return self._retries(given, self.config)

    def _retries(self, node: Node | None, owner: Object) -> Retries:
        if node is None or node.kind != MAPPING:
            return self.default_retries
        words = frozenset(word.strip() for word in text(node, "retryOn").split(",") if word.strip())
        attempts = max(0, integer(node, "attempts") or 0)
        backoff = at(node, "backoff") is not None
        return Retries(
            attempts,
            words or DEFAULT_CONDITIONS,
            seconds(node, "perTryTimeout") or None,
            backoff,
            node,
            owner,
        )

    # Rules

    def rules(self, host: str, client: str) -> list[Object]:
        """The DestinationRules of a host that count for clients in a namespace.

        Istio looks in the client's own namespace, then in the service's, then in the root namespace, and takes in each
        the most specific host that there is a rule for; the first that has one which the client sees decides.
        """
        pools = [(client, True)] * bool(client) + [(where, False) for where in (*self.homes(host), self.root)]
        for where, own in pools:
            for wide in wider(host):
                there = [rule for rule in self._rules.get((where, wide), ()) if self._pooled(rule, own=own)]
                if found := [rule for rule in there if self.visible(rule, client)]:
                    return found
                if there:
                    break
        return [] if client else self.all_rules(host)

    def _pooled(self, rule: Object, *, own: bool) -> bool:
        """Whether Istio looks at a rule for clients of its own namespace, or else for those of others."""
        if not own:
            return not self._private(rule)
        return self._private(rule) if rule.namespace == self.root else self.visible(rule, rule.namespace)

    def _private(self, rule: Object) -> bool:
        """Whether a rule is for its own namespace alone."""
        return self.exported(rule) == {rule.namespace}

    def all_rules(self, host: str) -> list[Object]:
        """The DestinationRules of a host, or of the most specific wildcard of it, for whatever clients."""
        found = self.with_host(host)
        first = fqdn(text(found[0].spec, "host"), found[0].namespace) if found else ""
        return [rule for rule in found if fqdn(text(rule.spec, "host"), rule.namespace) == first]

    def with_host(self, host: str) -> list[Object]:
        """The DestinationRules of a host or of a wildcard that has it, the most specific first."""
        return [rule for wide in wider(host) for rule in self._rules_by_host.get(wide, ())]

    @cached_property
    def _rules_by_host(self) -> dict[str, list[Object]]:
        found: dict[str, list[Object]] = {}
        for (_, host), rules in self._rules.items():
            found.setdefault(host, []).extend(rules)
        return found

    def rules_of(self, route: Route, host: str) -> list[Object]:
        """The DestinationRules of a host that count for any of the clients that a route is for."""
        return list(
            dict.fromkeys(rule for client in self.clients(route, host) for rule in self.rules(host, client))
        )

    @cached_property
    def _rules(self) -> dict[tuple[str, str], list[Object]]:
        found: dict[tuple[str, str], list[Object]] = {}
        for item in self.kind("DestinationRule"):
            host = fqdn(text(item.spec, "host"), item.namespace)
            found.setdefault((item.namespace, host), []).append(item)
        return found

    @cached_property
    def with_rules(self) -> frozenset[str]:
        """The namespaces that have DestinationRules."""
        return frozenset(item.namespace for item in self.kind("DestinationRule"))

    # Workloads

    def selected(self, host: str) -> tuple[Object, ...]:
        """The workloads behind a host, where both are known."""
        if host not in self._selected:
            service = self.services.get(host)
            selector = labels(service.spec, "selector") if service else {}
            near = self._workloads.get(service.namespace, ()) if service and selector else ()
            self._selected[host] = tuple(
                item for item in near if selector.items() <= pod_labels(item).items()
            )
        return self._selected[host]

    @cached_property
    def _workloads(self) -> dict[str, list[Object]]:
        found: dict[str, list[Object]] = {}
        for item in self.kind(*_WORKLOADS):
            found.setdefault(item.namespace, []).append(item)
        return found

    @cached_property
    def _hosts(self) -> dict[str, list[str]]:
        """The hosts of the Services of each namespace."""
        found: dict[str, list[str]] = {}
        for host, service in self.services.items():
            found.setdefault(service.namespace, []).append(host)
        return found

    def hosts_of(self, namespace: str, wanted: dict[str, str]) -> list[str]:
        """The services whose pods have some labels."""
        found = []
        for host in self._hosts.get(namespace, ()) if wanted else ():
            sets = [labels(self.services[host].spec, "selector"), *map(pod_labels, self.selected(host))]
            if any(wanted.items() <= mine.items() for mine in sets):
                found.append(host)
        return found

    # Calls

    @cached_property
    def calls(self) -> dict[tuple[str, str], str]:
        """Who calls whom, by hosts, and how that is known: ``configuration`` or ``traffic``."""
        found: dict[tuple[str, str], str] = {}
        for route in self.routes:
            for destination in route.destinations:
                for gateway in route.gateways:
                    if gateway != MESH:
                        found.setdefault((self.gateway_host(gateway), destination.host), "configuration")
                for client in self._named_clients(route):
                    found.setdefault((client, destination.host), "configuration")
        for item in self.kind("AuthorizationPolicy"):
            for client, server in self._allowed(item):
                found.setdefault((client, server), "configuration")
        if self.traffic is not None:
            for call in self.traffic.calls:
                found[self.host(call.client), self.host(call.server)] = "traffic"
        return {pair: how for pair, how in found.items() if pair[0] != pair[1]}

    def _named_clients(self, route: Route) -> Iterator[str]:
        """The services that a route's matches name as clients."""
        for match in route.matches:
            where = text(match, "sourceNamespace") or route.owner.namespace
            yield from self.hosts_of(where, labels(match, "sourceLabels"))

    @staticmethod
    def host(where: tuple[str, str]) -> str:
        """The host of a service by its namespace and name."""
        return fqdn(where[1], where[0]) if where[0] else where[1]

    def _allowed(self, item: Object) -> Iterator[tuple[str, str]]:
        """The calls that an AuthorizationPolicy allows by name, where it selects a service's pods."""
        if text(item.spec, "action") not in ("", "ALLOW"):
            return
        servers = self.hosts_of(item.namespace, labels(item.spec, "selector", "matchLabels"))
        for rule in items(item.spec, "rules"):
            for source in items(rule, "from"):
                for principal in texts(source, "source", "principals"):
                    found = re.fullmatch(r"[^/*]+/ns/([^/*]+)/sa/([^/*]+)", principal)
                    if found is None:
                        continue
                    for client in self._running_as(found[1], found[2]):
                        yield from ((client, server) for server in servers)

    def _running_as(self, namespace: str, account: str) -> list[str]:
        return [
            host
            for host in self._hosts.get(namespace, ())
            for item in self.selected(host)
            if text(item.spec, "template", "spec", "serviceAccountName") == account
        ]

    def gateway_host(self, gateway: str) -> str:
        """The host of a gateway's own service, as far as its name tells; else the gateway's name."""
        if gateway not in self._gateway_hosts:
            self._gateway_hosts[gateway] = self._gateway_host(gateway)
        return self._gateway_hosts[gateway]

    def _gateway_host(self, gateway: str) -> str:
        namespace, _, name = gateway.partition("/")
        item = self._gateways.get((namespace, name))
        if item is None:
            return f"gateway {gateway}"
        if item.group == GATEWAY_API:
            return fqdn(f"{name}-{text(item.spec, 'gatewayClassName')}", namespace)
        selector = labels(item.spec, "selector")
        for host, service in self.services.items():
            if selector and selector == labels(service.spec, "selector"):
                return host
        if selector.keys() == {"istio"}:
            return fqdn(f"istio-{selector['istio']}", self.root)
        return f"gateway {gateway}"

    @cached_property
    def _gateways(self) -> dict[tuple[str, str], Object]:
        return {(item.namespace, item.name): item for item in self.kind("KubernetesGateway", "Gateway")}

    @cached_property
    def _routes_to(self) -> dict[str, list[Route]]:
        found: dict[str, list[Route]] = {}
        for route in self.routes:
            if route.protocol == "http":
                for host in dict.fromkeys(item.host for item in route.destinations):
                    found.setdefault(host, []).append(route)
        return found

    def hop(self, client: str, server: str) -> tuple[Retries, Route | None]:
        """The retries of calls of one host to another, by the route that tries most often; None: no route says."""
        found: list[Route] = []
        for route in self._routes_to.get(server, ()):
            where = place(client)[0]
            if any(
                self.applies(route, where)
                if gateway == MESH
                else self.gateway_host(gateway) == client and self.visible(route.owner, where)
                for gateway in route.gateways
            ):
                found.append(route)
        if not found:
            return self.default_retries, None
        most = max(found, key=lambda route: (route.retries.tries, route.retries.answers))
        return most.retries, most


def _qualified(item: Object, names: Iterable[str]) -> tuple[str, ...]:
    """Gateways as a VirtualService names them: ``mesh``, or ``namespace/name``."""
    return tuple(name if name == MESH or "/" in name else f"{item.namespace}/{name}" for name in names)


def _narrowed(item: Object, node: Node, gateways: tuple[str, ...]) -> tuple[str, ...]:
    """The gateways of a route: those that its matches name, if all of them do."""
    named = [texts(match, "gateways") for match in items(node, "match")]
    if not named or not all(named):
        return gateways
    wanted = {name for names in named for name in _qualified(item, names)}
    return tuple(name for name in gateways if name in wanted)


def pod_labels(item: Object) -> dict[str, str]:
    """The labels of a workload's pods."""
    return labels(item.spec, "template", "metadata", "labels")
