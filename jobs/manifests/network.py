"""Which ports the pods of a set use, and the NetworkPolicy that allows no others.

A policy cannot name hosts, and addresses of Services change: it is ports that it holds pods to.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sloctl import naming
from sloctl.artefacts import yaml
from sloctl.artefacts.objects import object_metadata
from sloctl.model import SloSet
from sloctl.model.kubernetes import Pages, PagesIngress, PagesRoute, Scraper

METRICS_PORT = 9464
"""Where the scheduler serves metrics and its health; the port that OpenTelemetry's Prometheus exporter has."""
PAGES_PORT = 8080
"""Where live pages are served."""
PAGES_SERVICE_PORT = 80
HTTPS = 443


def selector(slo_set: SloSet) -> yaml.YamlMapping:
    """The labels of every pod of a set."""
    return dict(zip(naming.SELECTOR_LABELS, ("sloctl", slo_set.name), strict=True))


def posts(slo_set: SloSet) -> bool:
    """Whether any job posts in Slack."""
    return any(job.post == "slack" for job in slo_set.jobs)


def egress_ports(slo_set: SloSet) -> list[int]:
    """The TCP ports that pods connect to, name servers aside."""
    settings, sources = slo_set.kubernetes, slo_set.sources
    urls = [sources.prometheus, sources.traces, sources.alertmanager, settings.otlp.endpoint]
    urls += [value for name, value in settings.env if name.startswith("SLOCTL_") and name.endswith("_URL")]
    ports = {*settings.egress_ports, *(port(url) for url in urls if url)}
    if settings.ledger.secret:
        ports.add(settings.ledger.port)
    if posts(slo_set):
        ports.add(HTTPS)
    return sorted(ports)


def port(url: str) -> int:
    """The port of an http(s) address that was checked before."""
    parts = urlsplit(url)
    return parts.port or (HTTPS if parts.scheme.lower() == "https" else 80)


def policy(slo_set: SloSet) -> yaml.YamlMapping:
    """The NetworkPolicy: those who scrape may read the scheduler's metrics, readers the live pages.

    What goes out goes to known ports.

    The probes are the kubelet's: what comes from a pod's own node is let in whatever policies say.
    """
    scrapers: list[yaml.YamlValue] = [_peer(item) for item in slo_set.kubernetes.scrapers]
    ingress: list[yaml.YamlValue] = []
    if slo_set.kubernetes.mode == "scheduler":
        ingress.append({"from": scrapers, "ports": [_port("TCP", METRICS_PORT)]})
    if slo_set.kubernetes.pages and slo_set.kubernetes.pages.readers:
        readers: list[yaml.YamlValue] = [_peer(item) for item in slo_set.kubernetes.pages.readers]
        ingress.append({"from": readers, "ports": [_port("TCP", PAGES_PORT)]})
    # NodeLocal DNS and most clusters answer at 53; OpenShift's name servers listen on 5353 behind their Service.
    names: list[yaml.YamlValue] = [
        _port(protocol, number) for number in (53, 5353) for protocol in ("UDP", "TCP")
    ]
    egress: list[yaml.YamlValue] = [{"ports": names}]
    if ports := egress_ports(slo_set):
        egress.append({"ports": [_port("TCP", number) for number in ports]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": object_metadata(slo_set, naming.kubernetes_object(slo_set.name)),
        "spec": {
            "podSelector": {"matchLabels": selector(slo_set)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    }


def _peer(scraper: Scraper) -> yaml.YamlMapping:
    namespace: yaml.YamlMapping = (
        {"matchLabels": {"kubernetes.io/metadata.name": scraper.namespace}} if scraper.namespace else {}
    )
    return {"namespaceSelector": namespace, "podSelector": {"matchLabels": dict(scraper.labels)}}


def _port(protocol: str, number: int) -> yaml.YamlMapping:
    return {"protocol": protocol, "port": number}


def service(slo_set: SloSet) -> yaml.YamlMapping:
    """The Service of the scheduler's metrics."""
    labels = tuple((key, str(value)) for key, value in selector(slo_set).items())
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(slo_set, naming.kubernetes_object(slo_set.name), labels),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(slo_set),
            "ports": [
                {"name": "metrics", "protocol": "TCP", "port": METRICS_PORT, "targetPort": "metrics"},
            ],
        },
    }


def pages_service(slo_set: SloSet, name: str, component: str) -> yaml.YamlMapping:
    """The Service of the live pages, which pods of a component serve."""
    chosen = selector(slo_set) | {naming.COMPONENT_LABEL: component}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(
            slo_set,
            naming.kubernetes_object(slo_set.name, name),
            tuple((key, str(value)) for key, value in chosen.items()),
        ),
        "spec": {
            "type": "ClusterIP",
            "selector": chosen,
            "ports": [{"name": "http", "protocol": "TCP", "port": PAGES_SERVICE_PORT, "targetPort": "http"}],
        },
    }


def ingress(slo_set: SloSet, service: str, pages: Pages, way: PagesIngress) -> yaml.YamlMapping:
    """The Ingress that has the names of live pages lead to their Service."""
    name = naming.kubernetes_object(slo_set.name, service)
    backend: yaml.YamlMapping = {"service": {"name": name, "port": {"name": "http"}}}
    metadata = object_metadata(slo_set, name)
    if way.annotations:
        metadata["annotations"] = dict(way.annotations)
    spec: yaml.YamlMapping = {"ingressClassName": way.class_name} if way.class_name else {}
    if way.tls_secret:
        spec["tls"] = [{"hosts": list(pages.hosts), "secretName": way.tls_secret}]
    spec["rules"] = [
        {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
        for host in pages.hosts
    ]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def route(slo_set: SloSet, service: str, pages: Pages, way: PagesRoute) -> yaml.YamlMapping:
    """The HTTPRoute that has the names of live pages lead to their Service."""
    name = naming.kubernetes_object(slo_set.name, service)
    parent: yaml.YamlMapping = {"name": way.gateway}
    parent |= {"namespace": way.namespace} if way.namespace else {}
    parent |= {"sectionName": way.listener} if way.listener else {}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": object_metadata(slo_set, name),
        "spec": {
            "parentRefs": [parent],
            "hostnames": list(pages.hosts),
            "rules": [{"backendRefs": [{"name": name, "port": PAGES_SERVICE_PORT}]}],
        },
    }


def service_monitor(slo_set: SloSet) -> yaml.YamlMapping:
    """The ServiceMonitor that has the Prometheus operator scrape the Service.

    ``honorLabels``: the labels ``namespace`` and ``service`` of the metrics are an SLO's, and must stay.
    """
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": object_metadata(slo_set, naming.kubernetes_object(slo_set.name)),
        "spec": {
            "selector": {"matchLabels": selector(slo_set)},
            "endpoints": [{"port": "metrics", "path": "/metrics", "interval": "30s", "honorLabels": True}],
        },
    }
