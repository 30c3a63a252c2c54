"""Spans of a synthetic mesh, as Istio's proxies report them, in JSON lines of each format: a page of traces a line."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMATS = ("zipkin", "jaeger", "otlp")
SERVICES = 40
PAGE = 500
_CALLS = 5
_BEGIN = 1_790_000_000_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """One span; times in microseconds."""

    trace: str
    span: str
    parent: str
    kind: str
    service: str
    operation: str
    tags: dict[str, str]
    start: int
    duration: int
    shared: bool


def traces(spans: int) -> Iterator[list[Span]]:
    """Traces of ten spans each: five calls in a row, each a client's and a server's span under one id."""
    rng = random.Random(1)
    for number in range(spans // (2 * _CALLS)):
        trace, parent, found = f"{rng.getrandbits(128):032x}", "", []
        begin = _BEGIN + number * 1000
        for depth in range(_CALLS):
            client, server = (f"service-{rng.randrange(SERVICES)}" for _ in range(2))
            span = f"{rng.getrandbits(64) | 1:016x}"
            code = "503" if rng.random() < 0.02 else "200"
            for kind, service in (("client", client), ("server", server)):
                tags = _tags(service, server, kind, code, rng)
                start = begin + depth * 20 + (kind == "server")
                name = f"{server}.shop.svc.cluster.local:8080/*"
                found.append(
                    Span(
                        trace, span, parent, kind, f"{service}.shop", name, tags, start,
                        5000 - 20 * depth, kind == "server",
                    )
                )  # fmt: skip
            parent = span
        yield found


def _tags(service: str, server: str, kind: str, code: str, rng: random.Random) -> dict[str, str]:
    cluster = f"outbound|8080||{server}.shop.svc.cluster.local" if kind == "client" else "inbound|8080||"
    tags = {
        "component": "proxy",
        "downstream_cluster": "-",
        "guid:x-request-id": f"{rng.getrandbits(128):032x}",
        "http.method": "GET",
        "http.protocol": "HTTP/1.1",
        "http.status_code": code,
        "http.url": f"http://{server}.shop.svc.cluster.local/items/{rng.randrange(100000)}",
        "istio.canonical_revision": "v1",
        "istio.canonical_service": service,
        "istio.mesh_id": "cluster.local",
        "istio.namespace": "shop",
        "node_id": f"sidecar~10.0.0.7~{service}-6f89b6c557-sg2bc.shop~shop.svc.cluster.local",
        "peer.address": "10.0.0.9",
        "request_size": "0",
        "response_flags": "-" if code == "200" else "URX",
        "response_size": str(rng.randrange(9000)),
        "upstream_cluster": cluster,
        "upstream_cluster.name": cluster,
        "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
    }
    if code != "200":
        tags["error"] = "true"
    return tags


def write(format_: str, spans: int, path: Path) -> None:
    """Write so many spans in one of :data:`FORMATS`, :data:`PAGE` traces a line."""
    page: list[list[Span]] = []
    with path.open("w") as file:
        for trace in traces(spans):
            page.append(trace)
            if len(page) == PAGE:
                file.write(json.dumps(_WRITERS[format_](page), separators=(",", ":")) + "\n")
                page = []
        if page:
            file.write(json.dumps(_WRITERS[format_](page), separators=(",", ":")) + "\n")


def write_lines(format_: str, spans: int, path: Path) -> None:
    """The same, one span a line in Zipkin's format, and one trace a line in the others."""
    with path.open("w") as file:
        for trace in traces(spans):
            document: Any = _WRITERS[format_]([trace])
            pieces = [document] if format_ == "otlp" else document[0 if format_ == "zipkin" else "data"]
            file.writelines(json.dumps(piece, separators=(",", ":")) + "\n" for piece in pieces)


def zipkin(page: list[list[Span]]) -> object:
    return [
        [
            {
                "traceId": span.trace,
                "id": span.span,
                "kind": span.kind.upper(),
                "name": span.operation,
                "timestamp": span.start,
                "duration": span.duration,
                "localEndpoint": {"serviceName": span.service, "ipv4": "10.0.0.7"},
                "tags": span.tags,
            }
            | ({"parentId": span.parent} if span.parent else {})
            | ({"shared": True} if span.shared else {})
            for span in trace
        ]
        for trace in page
    ]


def jaeger(page: list[list[Span]]) -> object:
    found = []
    for trace in page:
        services = {service: f"p{number}" for number, service in enumerate({span.service for span in trace})}
        spans = [
            {
                "traceID": span.trace,
                "spanID": span.span,
                "operationName": span.operation,
                "references": [{"refType": "CHILD_OF", "traceID": span.trace, "spanID": span.parent}]
                if span.parent
                else [],
                "startTime": span.start,
                "duration": span.duration,
                "tags": [
                    {"key": key, "type": "string", "value": value}
                    for key, value in ({"span.kind": span.kind} | span.tags).items()
                ],
                "logs": [],
                "processID": services[span.service],
                "warnings": None,
            }
            for span in trace
        ]
        processes = {number: {"serviceName": name, "tags": []} for name, number in services.items()}
        found.append({"traceID": trace[0].trace, "spans": spans, "processes": processes, "warnings": None})
    return {"data": found, "total": 0, "limit": 0, "offset": 0, "errors": None}


def otlp(page: list[list[Span]]) -> object:
    resources: dict[str, list[Span]] = {}
    for trace in page:
        for span in trace:
            resources.setdefault(span.service, []).append(span)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_attribute("service.name", service)]},
                "scopeSpans": [{"scope": {}, "spans": [_otlp_span(span) for span in spans]}],
            }
            for service, spans in resources.items()
        ]
    }


def _otlp_span(span: Span) -> dict[str, object]:
    return {
        "traceId": span.trace,
        "spanId": span.span,
        "parentSpanId": span.parent,
        "name": span.operation,
        "kind": {"client": 3, "server": 2}[span.kind],
        "startTimeUnixNano": str(span.start * 1000),
        "endTimeUnixNano": str((span.start + span.duration) * 1000),
        "attributes": [_attribute(key, value) for key, value in span.tags.items()],
        "status": {"code": 2} if "error" in span.tags else {},
    }


def _attribute(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": value}}


_WRITERS = {"zipkin": zipkin, "jaeger": jaeger, "otlp": otlp}
