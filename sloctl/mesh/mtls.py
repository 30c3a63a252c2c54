"""Mutual TLS: whether what clients are told (DestinationRule) fits what servers want (PeerAuthentication)."""

from __future__ import annotations

from sloctl.mesh.objects import Object, at, items, labels, text
from sloctl.mesh.world import CLUSTER, Mesh, fqdn, place, pod_labels, short
from sloctl.spec.yaml.tree import Node
from sloctl.spec.yaml.wording import shown

_PLAIN = {"DISABLE": "in plain text", "SIMPLE": "with TLS, but without a certificate of their own"}

_EVERY = ("*", "*.local", "*.cluster.local", f"*{CLUSTER}")
"""Hosts that are all services of the cluster."""
_API_SERVER = f"kubernetes.default{CLUSTER}"
"""The one service of every cluster that never has a sidecar."""


def check(mesh: Mesh) -> None:
    """Find modes that contradict."""
    policies = mesh.kind("PeerAuthentication")
    _scopes(mesh, policies)
    for rule in mesh.kind("DestinationRule"):
        host = fqdn(text(rule.spec, "host"), rule.namespace)
        tops = [
            at(rule.spec, "trafficPolicy"),
            *(at(item, "trafficPolicy") for item in items(rule.spec, "subsets")),
        ]
        for policy in tops:
            if (mode := at(policy, "tls", "mode")) is not None:
                _judge(mesh, rule, host, mode, None)
            for port in items(policy, "portLevelSettings"):
                if (mode := at(port, "tls", "mode")) is not None:
                    _judge(mesh, rule, host, mode, text(port, "port", "number"))


def _selector(item: Object) -> dict[str, str]:
    return labels(item.spec, "selector", "matchLabels")


def _scopes(mesh: Mesh, policies: list[Object]) -> None:
    first: dict[tuple[str, str], Object] = {}
    for item in policies:
        if not _selector(item):
            if (ports := at(item.spec, "portLevelMtls")) is not None:
                said = "portLevelMtls needs a selector: without one Istio ignores it"
                hint = "write  selector: {matchLabels: {app: …}}  of the workloads that have these ports"
                mesh.find(item, ports, "mtls-port-ignored", "error", said, hint)
            other = first.setdefault((item.namespace, ""), item)
            if other.key != item.key and text(other.spec, "mtls", "mode") != text(item.spec, "mtls", "mode"):
                said = f"{other} is for the same namespace, with another mode: Istio takes the older"
                node = at(item.spec, "mtls", "mode") or item.node
                mesh.find(item, node, "policy-twice", "warning", said, "keep one of them")


def _judge(mesh: Mesh, rule: Object, host: str, mode: Node, port: str | None) -> None:
    """Hold what clients do against what the servers of the host want."""
    if mode.text not in (*_PLAIN, "ISTIO_MUTUAL"):
        return
    namespace, _ = place(host)
    if "*" in host:
        if host in _EVERY:
            namespace = ""
        elif not host.startswith("*.") or place(f"any{host[1:]}")[0] in ("", "svc"):
            return
        else:
            namespace, _ = place(f"any{host[1:]}")
    elif not namespace or host in (*mesh.entries, _API_SERVER):
        return
    found = _wanted(mesh, host, namespace, port)
    if found is None:
        return
    wanted, source = found
    if (what := _contradiction(mode.text, wanted, source)) is None:
        return
    at_port = f" at port {port}" if port else ""
    said = f"clients call {shown(short(host))} {what}{at_port}: these requests fail with 503 (UF)"
    hint = "remove 'tls' from the rule: Istio then does what the server wants; or change the policy"
    # A policy of the whole mesh says nothing of whether the pods of a namespace have a sidecar.
    sure = wanted == "DISABLE" or source.namespace == namespace
    said += "" if sure else ", if its pods have a sidecar"
    mesh.find(rule, mode, "mtls-contradiction", "error" if sure else "warning", said, hint)


def _contradiction(mode: str, wanted: str, source: Object) -> str | None:
    """In which way clients call, and what servers want instead."""
    if wanted == "DISABLE" and mode == "ISTIO_MUTUAL":
        return f"with mutual TLS (ISTIO_MUTUAL), and {source} switches it off (DISABLE)"
    if wanted == "STRICT" and mode in _PLAIN:
        return f"{_PLAIN[mode]} ({mode}), and {source} wants mutual TLS (STRICT)"
    return None


def _wanted(mesh: Mesh, host: str, namespace: str, port: str | None) -> tuple[str, Object] | None:
    """The mode of a host's servers, and the policy that says so; None where what was read does not tell."""
    wide: tuple[str, Object] | None = None
    policies = mesh.kind("PeerAuthentication")
    for where in dict.fromkeys((mesh.root, namespace)):
        for item in policies:
            mode = text(item.spec, "mtls", "mode")
            if item.namespace == where and not _selector(item) and mode not in ("", "UNSET"):
                wide = (mode, item)
                break
    narrow = [item for item in policies if item.namespace == namespace and _selector(item)]
    if "*" in host or not narrow:
        return wide if not narrow else None
    service = mesh.services.get(host)
    selector = labels(service.spec, "selector") if service else {}
    for item in narrow:
        mine = _selector(item)
        pods = [pod_labels(workload) for workload in mesh.selected(host)] or ([selector] if selector else [])
        if pods and all(mine.items() <= pod.items() for pod in pods):
            mode = text(item.spec, "mtls", "mode")
            exact = _at_port(mesh, item, service, port)
            if exact is None and at(item.spec, "portLevelMtls") is not None:
                mesh.doubt(
                    "the mode of mutual TLS where a policy names ports that no Service which was read maps"
                )
                return None
            chosen = exact or (mode if mode not in ("", "UNSET") else "")
            return (chosen, item) if chosen else wide
        if not pods or any(not (mine.keys() & pod.keys()) or mine.items() <= pod.items() for pod in pods):
            mesh.doubt(
                "the mode of mutual TLS where a policy selects workloads: their Service and "
                "Deployment were not read"
            )
            return None
    return wide


def _at_port(mesh: Mesh, item: Object, service: Object | None, port: str | None) -> str | None:
    """The mode of the workload's port behind a service's port: "" where the policy says none; None if nobody knows."""
    ports = at(item.spec, "portLevelMtls")
    if ports is None:
        return ""
    if service is None:
        return None
    modes = set()
    for entry in items(service.spec, "ports"):
        if port is None or text(entry, "port") == port:
            target = text(entry, "targetPort") or text(entry, "port")
            if not target.isdecimal():
                return None
            modes.add(text(ports.entries.get(target), "mode"))
    return modes.pop() if len(modes) == 1 else None
