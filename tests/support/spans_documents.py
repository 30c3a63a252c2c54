"""One logical trace written in each format, and where real traces are."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(folder: str) -> Path:
    """A folder of real telemetry; skips the test where there is none."""
    path = _SHARED / folder
    if not path.is_dir():
        pytest.skip(f"no real telemetry at {path}")
    return path


@dataclass(frozen=True)
class Span:
    """A span; times in microseconds, ids as numbers."""

    trace: int = 0x463AC35C9F6413AD_48485A3953BB6124
    span: int = 0xA2FB4A1D1A96D312
    parent: int = 0
    kind: str = "client"
    service: str = "checkout.shop"
    operation: str = "payments.shop.svc.cluster.local:8080/*"
    tags: Mapping[str, str] = field(default_factory=dict)
    start: int = 1_700_000_000_000_001
    duration: int = 1500


CLUSTER = "outbound|8080||payments.shop.svc.cluster.local"
TRACE = (
    Span(
        tags={
            "http.status_code": "503",
            "response_flags": "URX",
            "error": "true",
            "upstream_cluster": "outbound_alt",
            "upstream_cluster.name": CLUSTER,
            "x-envoy-attempt-count": "3",
            "component": "proxy",
        }
    ),
    Span(
        span=2,
        parent=0xA2FB4A1D1A96D312,
        kind="client",
        operation=f"router {CLUSTER} egress",
        tags={
            "http.status_code": "0",
            "response_flags": "-",
            "retry.count": "1",
            "upstream_cluster": CLUSTER,
        },
        start=1_700_000_000_000_500,
    ),
    Span(
        span=3,
        parent=2,
        kind="server",
        service="payments.shop",
        tags={
            "http.status_code": "503",
            "response_code_details": "upstream_reset_before_response_started{overflow}",
        },
        start=1_700_000_000_000_499,
        duration=0,
    ),
    Span(trace=7, span=7, kind="internal", service="", operation="", tags={"grpc.status_code": "14"}),
)


def zipkin(spans: Sequence[Span]) -> list[dict[str, Any]]:
    return [
        {
            "traceId": f"{span.trace:032x}" if span.trace >> 64 else f"{span.trace:016x}",
            "id": f"{span.span:016x}",
            **({"parentId": f"{span.parent:016x}"} if span.parent else {}),
            "kind": span.kind.upper(),
            "name": span.operation,
            "timestamp": span.start,
            "duration": span.duration,
            "localEndpoint": {"serviceName": span.service},
            "tags": dict(span.tags),
        }
        for span in spans
    ]


def jaeger(spans: Sequence[Span]) -> dict[str, Any]:
    traces: dict[str, dict[str, Any]] = {}
    for span in spans:
        trace = f"{span.trace:x}"
        one = traces.setdefault(trace, {"traceID": trace, "spans": [], "processes": {}})
        one["processes"][f"p-{span.service}"] = {"serviceName": span.service}
        one["spans"].append(
            {
                "traceID": trace,
                "spanID": f"{span.span:x}",
                "operationName": span.operation,
                "references": [{"refType": "CHILD_OF", "traceID": trace, "spanID": f"{span.parent:x}"}]
                if span.parent
                else [],
                "startTime": span.start,
                "duration": span.duration,
                "tags": [
                    {"key": key, "type": "string", "value": value}
                    for key, value in ({"span.kind": span.kind} | dict(span.tags)).items()
                ],
                "processID": f"p-{span.service}",
            }
        )
    return {"data": list(traces.values()), "total": 0, "errors": None}


def otlp(spans: Sequence[Span], *, ids: str = "hex", names: bool = False) -> dict[str, Any]:
    def written(number: int, size: int) -> str:
        raw = number.to_bytes(size, "big")
        return raw.hex() if ids == "hex" else base64.b64encode(raw).decode()

    kinds = {"internal": 1, "server": 2, "client": 3}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_attribute("service.name", span.service)]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": written(span.trace, 16),
                                "spanId": written(span.span, 8),
                                "parentSpanId": written(span.parent, 8) if span.parent else "",
                                "name": span.operation,
                                "kind": f"SPAN_KIND_{span.kind.upper()}" if names else kinds[span.kind],
                                "startTimeUnixNano": str(span.start * 1000),
                                "endTimeUnixNano": str((span.start + span.duration) * 1000),
                                "attributes": [_attribute(key, value) for key, value in span.tags.items()],
                                "status": {},
                            }
                        ]
                    }
                ],
            }
            for span in spans
        ]
    }


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}
