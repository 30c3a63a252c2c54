"""Spans of retries and of what is none, case by case, as tracers really write them: exact numbers.

Each case is a document of OTLP, which goes through the decoder and all of the analysis.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sloctl import retries
from sloctl.backends.traces import files

Row = dict[str, Any]
Counts = dict[tuple[str, str], tuple[int, int, int]]
KINDS = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
BEGIN = 1_700_000_000_000_000_000
MS = 1_000_000


def span(
    service: str, kind: str, own: int, parent: int = 0, at: float = 0, took: float = 5, **more: Any
) -> Row:
    """``more``: ``name``, ``error`` (the span's status), ``trace`` (hexadecimal), and tags (``_`` for ``.``)."""
    return {"service": service, "kind": kind, "own": own, "parent": parent, "at": at, "took": took, **more}


def http(status: int) -> Row:
    return {"tags": {"http.response.status_code": status}}


def grpc(status: int) -> Row:
    return {"tags": {"rpc.grpc.status_code": status}}


def document(rows: Sequence[Row]) -> bytes:
    return json.dumps({"resourceSpans": [_resource(row) for row in rows]}).encode()


def _resource(row: Row) -> dict[str, Any]:
    begins = BEGIN + int(row["at"] * MS)
    one = {
        "traceId": row.get("trace", "0" * 31 + "1"),
        "spanId": f"{row['own']:016x}",
        "parentSpanId": f"{row['parent']:016x}" if row["parent"] else "",
        "name": row.get("name", "GET /orders"),
        "kind": KINDS[row["kind"]],
        "startTimeUnixNano": str(begins),
        "endTimeUnixNano": str(begins + int(row["took"] * MS)),
        "attributes": [{"key": key, "value": _value(value)} for key, value in row.get("tags", {}).items()],
        "status": {"code": 2} if row.get("error") else {},
    }
    names = [{"key": "service.name", "value": {"stringValue": row["service"]}}]
    return {"resource": {"attributes": names}, "scopeSpans": [{"spans": [one]}]}


def _value(value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}


def table_of(rows: Sequence[Row], tmp_path: Path) -> retries.CallTable:
    path = tmp_path / "spans.json"
    path.write_bytes(document(rows))
    found = files.read([path])
    assert found.rejected == {}
    return retries.calls(found.frame)


def counted(edges: pd.DataFrame) -> Counts:
    columns = (edges[name].tolist() for name in ("client", "server", "requests", "attempts", "undecided"))
    return {(client, server): tuple(numbers) for client, server, *numbers in zip(*columns, strict=True)}


def below(outcomes: Sequence[Mapping[str, Any]], step: float = 10, **client: Any) -> list[Row]:
    """A client's span, and servers' spans below it, ``step`` ms from one to the next."""
    took = max(1.0, step * (len(outcomes) - 1) + 6)
    rows = [span("web", "client", 1, took=took, **client)]
    return rows + [
        span("shop", "server", 10 + number, 1, at=0.5 + step * number, **outcome)
        for number, outcome in enumerate(outcomes)
    ]


def orphans(outcomes: Sequence[Mapping[str, Any]], step: float = 10) -> list[Row]:
    return below(outcomes, step)[1:]


def resent(tag: str, outcomes: Sequence[Mapping[str, Any]], answered: bool = True) -> list[Row]:
    """An application's tries at one request: a client's span for each, that says how many came before."""
    rows = [span("web", "server", 90, took=100)]
    for number, outcome in enumerate(outcomes):
        tags = dict(outcome.get("tags", {})) | ({tag: number} if number else {})
        own, at = 10 + number, 1 + 10 * number
        rows.append(span("web", "client", own, 90, at=at, **(dict(outcome) | {"tags": tags})))
        if answered:
            rows.append(span("shop", "server", 20 + number, own, at=at + 1, took=1, **outcome))
    return rows


def attempts_of_grpc(kinds: tuple[str, str, str]) -> list[Row]:
    call, attempt, server = kinds
    rows = [span("web", call, 1, took=100, name="Sent.shop.Orders.List")]
    for number, status in enumerate((14, 14, 0)):
        own, tags = 10 + number, {"previous-rpc-attempts": number, "transparent-retry": "false"}
        rows.append(
            span("web", attempt, own, 1, at=1 + 10 * number, name="Attempt.shop.Orders.List", tags=tags)
        )
        rows.append(
            span("shop", server, 20 + number, own, at=2 + 10 * number, took=1, name="Recv.shop.Orders.List",
                 **grpc(status))
        )  # fmt: skip
    return rows


def arrivals(tag: str, numbers: Sequence[object], parent: int = 90) -> list[Row]:
    """Servers' spans that say which attempt they are, below another service's server that reports no calls."""
    above = [span("web", "server", parent, took=100)] if parent == 90 else []
    return above + [
        span("shop", "server", 10 + place, parent, at=1 + 10 * place, tags={tag: number, "http.status_code": 503})
        for place, number in enumerate(numbers)
    ]  # fmt: skip


MESSAGE: Row = {"tags": {"messaging.system": "kafka"}}
PROXY: Row = {"tags": {"component": "proxy", "http.status_code": 200}}
CASES: dict[str, tuple[list[Row], Counts]] = {
    "three tries, the last one well": (
        below([http(503), http(503), http(200)]), {("web", "shop"): (1, 3, 0)},
    ),
    "three tries over gRPC": (below([grpc(14), grpc(14), grpc(0)]), {("web", "shop"): (1, 3, 0)}),
    "20 pages below one client's span": (below([http(200)] * 20), {("web", "shop"): (20, 20, 0)}),
    "20 pages over gRPC": (below([grpc(0)] * 20), {("web", "shop"): (20, 20, 0)}),
    "a page that failed, and those after it": (
        below([http(200), http(503), http(200), http(200)]), {("web", "shop"): (3, 4, 0)},
    ),
    "a scatter to 8 shards": (below([http(200)] * 8, step=0.01), {("web", "shop"): (8, 8, 0)}),
    "a scatter to 8 shards, one of them down": (
        below([http(200)] * 3 + [http(503)] + [http(200)] * 4, step=0.01), {("web", "shop"): (7, 7, 1)},
    ),
    "a redirect": (below([http(302), http(200)]), {("web", "shop"): (2, 2, 0)}),
    "a redirect that a proxy followed": (
        below([http(302), http(200)], **PROXY), {("web", "shop"): (2, 2, 0)},
    ),
    "a proxy's time-out, of which the server knows nothing": (
        below([http(200) | {"took": 50}, http(200)], step=20, **PROXY), {("web", "shop"): (1, 2, 0)},
    ),
    "somebody's time-out, perhaps": (
        below([http(200) | {"took": 50}, http(200)], step=20), {("web", "shop"): (1, 1, 1)},
    ),
    "a failure that is final, perhaps": (below([http(404), http(200)]), {("web", "shop"): (1, 1, 1)}),
    "too many requests": (below([http(429), http(200)]), {("web", "shop"): (1, 2, 0)}),
    "nothing is told of the first": (below([{}, http(200)]), {("web", "shop"): (1, 1, 1)}),
    "a batch: another operation each, the first failed": (
        below([http(503) | {"name": "GET /a"}, http(200) | {"name": "GET /b"}]), {("web", "shop"): (2, 2, 0)},
    ),
    "six operations under a missing parent": (
        orphans([http(503) | {"name": f"GET /{name}"} for name in "abcdef"]), {("", "shop"): (6, 6, 0)},
    ),
    "a poller": (below([http(200)] * 300), {("web", "shop"): (300, 300, 0)}),
    "a poller under a missing parent": (orphans([http(200)] * 300), {("", "shop"): (300, 300, 0)}),
    "failures under a missing parent": (
        orphans([http(503), http(503), http(200)]), {("", "shop"): (1, 1, 2)},
    ),
    "messages to consumers that are servers": (
        below([MESSAGE | {"error": True}] * 5, **MESSAGE), {("web", "shop"): (5, 5, 0)},
    ),
    "messages of a producer to consumers that are servers": (
        [span("web", "producer", 1, **MESSAGE), *orphans([MESSAGE | {"error": True}] * 5)],
        {("web", "shop"): (5, 5, 0)},
    ),
    "messages to consumers under a missing parent": (
        orphans([MESSAGE | {"error": True}] * 5), {("", "shop"): (5, 5, 0)},
    ),
    "resends, as they are called now": (
        resent("http.request.resend_count", [http(503), http(503), http(200)]), {("web", "shop"): (1, 3, 0)},
    ),
    "resends, as they were called": (
        resent("http.resend_count", [http(503), http(503), http(200)]), {("web", "shop"): (1, 3, 0)},
    ),
    "resends to a host that reports nothing": (
        resent("http.request.resend_count", [
            http(503) | {"tags": {"http.status_code": status, "server.address": "api.example.org"}}
            for status in (503, 503, 200)
        ], answered=False),
        {("web", "api.example.org"): (1, 3, 0)},
    ),
    "a redirect counts as a resend, and is a request": (
        resent("http.request.resend_count", [http(302), http(503), http(200)]), {("web", "shop"): (2, 3, 0)},
    ),
    "gRPC's spans": (attempts_of_grpc(("client", "client", "server")), {("web", "shop"): (1, 3, 0)}),
    "gRPC's spans without kinds": (
        attempts_of_grpc(("internal", "internal", "internal")), {("web", "shop"): (1, 3, 0)},
    ),
    "gRPC's attempts, told by servers": (
        arrivals("previous-rpc-attempts", [0, 1, 2]), {("web", "shop"): (1, 3, 0)},
    ),
    "attempts, told by servers": (arrivals("x-envoy-attempt-count", ["1", "2", "3"]), {("web", "shop"): (1, 3, 0)}),
    "attempts in a header that servers captured": (
        arrivals("http.request.header.x-envoy-attempt-count", [["1"], ["2"], ["3"]]), {("web", "shop"): (1, 3, 0)},
    ),
    "attempts of two requests, told by servers": (
        arrivals("x-envoy-attempt-count", [1, 1, 2, 2]), {("web", "shop"): (2, 4, 0)},
    ),
    "attempts under a missing parent, told by servers": (
        arrivals("x-envoy-attempt-count", [1, 2, 3], parent=77), {("", "shop"): (1, 3, 0)},
    ),
    "two attempts never arrived": (arrivals("x-envoy-attempt-count", [3]), {("web", "shop"): (1, 3, 0)}),
    "first attempts, told by servers": (arrivals("x-envoy-attempt-count", [1] * 6), {("web", "shop"): (6, 6, 0)}),
    "a header that an application passed on": (
        [
            span("web", "server", 90, took=100),
            *(span("web", "client", 10 + n, 90, at=n * 10) for n in range(3)),
            *(span("shop", "server", 20 + n, 10 + n, at=n * 10 + 1, took=1,
                   tags={"x-envoy-attempt-count": n + 1, "http.status_code": 503}) for n in range(3)),
        ],
        {("web", "shop"): (1, 3, 0)},
    ),
    "ids rewritten by a backend: all attempts below the one that was read last": (
        [
            span("web", "client", 1, took=60),
            span("shop", "server", 3, 1, at=41, **http(200)),
            span("shop", "server", 10, 3, at=1, **http(503)),
            span("shop", "server", 11, 3, at=21, **http(503)),
        ],
        {("web", "shop"): (1, 3, 0)},
    ),
    "an application's server inside its proxy's": (
        [
            span("web", "client", 1, took=60),
            span("shop", "server", 3, 1, at=1, took=40, **http(200)),
            span("shop", "server", 10, 3, at=1, took=38, **http(200)),
        ],
        {("web", "shop"): (1, 1, 0)},
    ),
    "services whose names have dots": (
        [
            span("orders", "client", 1), span("orders.worker", "server", 2, 1),
            span("orders.worker", "client", 3, 2), span("Shop.Catalog.Api", "server", 4, 3),
        ],
        {("orders", "orders.worker"): (1, 1, 0), ("orders.worker", "Shop.Catalog.Api"): (1, 1, 0)},
    ),
    "short names in an Istio mesh": (
        [
            span("web.shop", "client", 1, tags={"istio.namespace": "shop"}), span("cart", "server", 2, 1),
            span("cart.shop", "client", 3, 2), span("stock", "server", 4, 3),
        ],
        {("web.shop", "cart.shop"): (1, 1, 0), ("cart.shop", "stock"): (1, 1, 0)},
    ),
    "trace ids of 64 and 128 bits": (
        [
            span("web", "client", 1, trace="000000000000000a000000000000000b"),
            span("shop", "server", 2, 1, trace="0000000000000000000000000000000b", **http(503)),
            span("shop", "server", 3, 1, at=9, trace="0000000000000000000000000000000b", **http(200)),
        ],
        {("web", "shop"): (1, 2, 0)},
    ),
    "databases and hosts": (
        [
            span("web", "server", 1),
            span("web", "client", 2, 1, tags={"db.system": "postgresql"}),
            span("web", "client", 3, 1, tags={"db.system.name": "redis", "server.address": "cache.internal"}),
            span("web", "client", 4, 1, tags={"net.peer.name": "api.example.org"}),
            span("web", "client", 5, 1, name="GET /x", tags={"server.address": "stock.shop.svc.cluster.local"}),
        ],
        {
            ("web", "api.example.org"): (1, 1, 0), ("web", "cache.internal"): (1, 1, 0),
            ("web", "postgresql"): (1, 1, 0), ("web", "stock.shop"): (1, 1, 0),
        },
    ),
}  # fmt: skip
