"""ClickHouse's HTTP interface on the engine itself, which chdb from PyPI carries; and the exporter's table in it.

Only ``make clickhouse`` installs chdb: it weighs half a gigabyte.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from tests.support.faulty_server import FaultyServer, Handler, Received

TABLE = """
CREATE TABLE {name} (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String, SpanId String, ParentSpanId String, TraceState String,
    SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String),
    ResourceAttributes {attributes}, ScopeName String, ScopeVersion String, SpanAttributes {attributes},
    Duration UInt64, StatusCode LowCardinality(String), StatusMessage String
) ENGINE = MergeTree PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
"""
"""As version 0.130 of the collector's exporter makes it, without events, links and indices."""
MAP, JSON = "Map(LowCardinality(String), String)", "JSON"

Ask = Callable[[str, str, Mapping[str, str]], bytes]
"""SQL, a format, parameters; raises RuntimeError with the server's text."""


class Engine:
    """ClickHouse in this process; one query at a time."""

    def __init__(self, folder: Path) -> None:
        chdb: Any = importlib.import_module("chdb.session")
        self._session = chdb.Session(str(folder))
        self._lock = threading.Lock()
        self.answered = 0

    def ask(self, sql: str, form: str = "CSV", params: Mapping[str, str] | None = None) -> bytes:
        with self._lock:
            found = self._session.query(sql, form, params=dict(params or {}))
            body = bytes(found.bytes())
            self.answered += len(body)
            return body

    def fill(self, name: str, rows: Sequence[Mapping[str, Any]], attributes: str = MAP) -> None:
        """A table with rows of the exporter's columns."""
        self.ask(f"DROP TABLE IF EXISTS {name}")
        self.ask(TABLE.format(name=name, attributes=attributes))
        if rows:
            lines = "\n".join(json.dumps(row) for row in rows)
            self.ask(f"INSERT INTO {name} FORMAT JSONEachRow {lines}")


def behaviour(ask: Ask) -> Callable[[Handler], None]:
    """What ClickHouse's HTTP interface does with a query."""

    def answer(handler: Handler) -> None:
        received: Received = handler.received
        form = Received("", "", received.query, {}, b"").form
        params = {
            name.removeprefix("param_"): text for name, text in form.items() if name.startswith("param_")
        }
        sql, _, wanted = received.body.decode().rpartition(" FORMAT ")
        try:
            status, body, headers = 200, ask(sql, wanted, params), {}
        except RuntimeError as error:
            body = str(error).encode()
            code = str(error).partition("Code: ")[2].partition(".")[0]
            status, headers = 500, {"X-ClickHouse-Exception-Code": code}
        handler.send_response(status)
        for name, text in headers.items():
            handler.send_header(name, text)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def served(engine: Engine) -> Iterator[str]:
    """The address of the engine."""
    with FaultyServer(behaviour(engine.ask)) as server:
        yield server.url


def rows_of_otlp(body: bytes) -> list[dict[str, Any]]:
    """What the collector's exporter writes of documents of OTLP."""
    rows = []
    for line in body.decode().splitlines():
        for batch in json.loads(line)["resourceSpans"]:
            resource = _attributes(batch["resource"].get("attributes", ()))
            for scope in batch["scopeSpans"]:
                rows += [_row(resource, span) for span in scope["spans"]]
    return rows


_KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")


def _row(resource: dict[str, str], span: Mapping[str, Any]) -> dict[str, Any]:
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    return {
        "Timestamp": f"{start // 10**9}.{start % 10**9:09d}",
        "TraceId": span["traceId"],
        "SpanId": span["spanId"],
        "ParentSpanId": span.get("parentSpanId", ""),
        "SpanName": span["name"],
        "SpanKind": _KINDS[span.get("kind", 0)],
        "ServiceName": resource.get("service.name", ""),
        "ResourceAttributes": resource,
        "SpanAttributes": _attributes(span.get("attributes", ())),
        "Duration": (end - start) % 2**64,
        "StatusCode": ("Unset", "Ok", "Error")[span.get("status", {}).get("code", 0)],
    }


def _attributes(pairs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {pair["key"]: _string(pair["value"]) for pair in pairs}


def _string(value: Mapping[str, Any]) -> str:
    if "arrayValue" in value:
        return json.dumps([_plain(one) for one in value["arrayValue"]["values"]], separators=(",", ":"))
    plain = _plain(value)
    return ("true" if plain else "false") if isinstance(plain, bool) else str(plain)


def _plain(value: Mapping[str, Any]) -> Any:
    [(kind, plain)] = value.items()
    return int(plain) if kind == "intValue" else plain


def rows_of_frame(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """What the exporter would have written of a frame of spans; shared ids as Zipkin's receiver leaves them."""
    rows = []
    for row in frame.to_dict("records"):
        start = row["start"].value
        tags = {
            "upstream_cluster": row["remote"],
            "http.status_code": row["code"],
            "response_flags": row["flags"],
            "istio.namespace": row["namespace"],
            "component": "proxy" if row["proxy"] else "",
            "messaging.system": "kafka" if row["messaging"] else "",
            "response_code_details": "overflow" if row["overflow"] else "",
            "retry.count": str(row["retry"]) if row["retry"] >= 0 else "",
            "x-envoy-attempt-count": str(row["attempts"]) if row["attempts"] >= 0 else "",
        }
        rows.append(
            {
                "Timestamp": f"{start // 10**9}.{start % 10**9:09d}",
                "TraceId": f"{row['trace_high']:016x}{row['trace_low']:016x}",
                "SpanId": f"{row['span']:016x}",
                "ParentSpanId": f"{row['parent']:016x}" if row["parent"] else "",
                "SpanName": row["operation"],
                "SpanKind": row["kind"].capitalize() or "Unspecified",
                "ServiceName": row["service"],
                "SpanAttributes": {key: value for key, value in tags.items() if value},
                "Duration": row["duration"] % 2**64,
                "StatusCode": "Error" if row["error"] else "Unset",
            }
        )
    return rows
