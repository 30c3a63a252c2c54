"""Zipkin v2 JSON to frames of spans: a list of spans, or a list of traces, which are lists of spans.

:mod:`sloctl.traces.columns` says what becomes of which field. This module must not know over which connection the
bytes came.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from sloctl.spans import ATTEMPT_TAGS, Spans
from sloctl.traces import documents
from sloctl.traces.columns import BATCH, Columns, Value

_TAGS = {
    "error": "error",
    "status": "otel.status_code",
    "code": "http.status_code",
    "new_code": "http.response.status_code",
    "grpc": "grpc.status_code",
    "rpc": "rpc.grpc.status_code",
    "flags": "response_flags",
    "details": "response_code_details",
    "peer": "peer.service",
    "cluster_name": "upstream_cluster.name",
    "cluster": "upstream_cluster",
    "retry": "retry.count",
}


class _Endpoint(msgspec.Struct, gc=False):
    serviceName: str | None = None  # noqa: N815 (Zipkin's name)


def decode(
    body: bytes, attempt_tags: Sequence[str] = ATTEMPT_TAGS, *, backend: str = "zipkin", url: str = ""
) -> Spans:
    """Spans of one document of Zipkin's API.

    ``attempt_tags`` are the tags that may hold x-envoy-attempt-count, most trusted first. ``backend`` and ``url`` are
    for messages. Raises ``BadAnswer`` for what is no JSON, is cut off, or is no list; a span that cannot be read is
    counted in ``rejected``.
    """
    decoder = Decoder(attempt_tags)
    with documents.reading(backend, url):
        decoder.feed(body)
    return decoder.spans()


class Decoder:
    """Zipkin spans of many documents; see :func:`decode`. ``feed`` raises ``msgspec.DecodeError`` for a bad one."""

    def __init__(self, attempt_tags: Sequence[str] = ATTEMPT_TAGS) -> None:
        self._columns = Columns(unit=1000)
        self._one, self._many = _decoders(tuple(attempt_tags))

    def spans(self) -> Spans:
        """What all documents held."""
        return self._columns.spans()

    def feed(self, body: bytes | msgspec.Raw) -> None:
        """Read a document: a list of spans, a list of traces, or one span."""
        if documents.first(body) == b"{":
            self._read([documents.RAW.decode(body)])
            return
        items = documents.RAW_LIST.decode(body)
        plain = []
        for item in items:
            if documents.first(item) == b"[":
                self._read(documents.RAW_LIST.decode(item))
            else:
                plain.append(item)
        self._read(plain)

    def _read(self, items: list[msgspec.Raw]) -> None:
        for begin in range(0, len(items), documents.CHUNK):
            chunk = items[begin : begin + documents.CHUNK]
            self._rows(documents.structs(chunk, self._one, self._many, self._columns.reject))
            if len(self._columns.rows) >= BATCH:
                self._columns.flush()

    def _rows(self, spans: Sequence[Any]) -> None:
        append = self._columns.rows.append
        for span in spans:
            tags, local, remote = span.tags, span.localEndpoint, span.remoteEndpoint
            row_remote: Value = remote.serviceName if remote is not None else None
            if tags is None:
                code = flags = error = details = retry = attempts = None
            else:
                row_remote = row_remote or tags.peer or tags.cluster_name or tags.cluster
                code = tags.code
                if code is None:
                    code = next(filter(_told, (tags.new_code, tags.grpc, tags.rpc)), None)
                error = "true" if tags.error == "" or tags.status == "ERROR" else tags.error
                flags, details, retry = tags.flags, tags.details, tags.retry
                attempts = tags.attempts()
            append((
                span.traceId, span.id, span.parentId, (span.kind or "").lower(),
                None if local is None else local.serviceName, span.name, row_remote,
                code, flags, error, details, span.shared, retry, attempts, span.timestamp, span.duration,
            ))  # fmt: skip


def _told(value: Value) -> bool:
    return value is not None


@lru_cache(maxsize=16)
def _decoders(
    attempt_tags: tuple[str, ...],
) -> tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[list[Any]]]:
    """Decoders of one span and of a list, which look at no other tags than needed."""
    known = {tag: field for field, tag in _TAGS.items()}
    extra = {
        f"attempt{number}": tag for number, tag in enumerate(dict.fromkeys(attempt_tags)) if tag not in known
    }
    by_tag = known | {tag: field for field, tag in extra.items()}
    names = [by_tag[tag] for tag in attempt_tags]

    def attempts(self: Any) -> Value:
        for name in names:
            if (value := getattr(self, name)) is not None:
                return value  # type: ignore[no-any-return]
        return None

    fields = [(field, Value, msgspec.field(name=tag, default=None)) for field, tag in (_TAGS | extra).items()]
    tags = msgspec.defstruct("Tags", fields, namespace={"attempts": attempts}, gc=False)
    span = msgspec.defstruct(
        "Span",
        [
            *((name, str | None, None) for name in ("traceId", "id", "parentId", "kind", "name")),
            *((name, int | str | float | None, None) for name in ("timestamp", "duration")),
            ("shared", bool | None, None),
            ("localEndpoint", _Endpoint | None, None),
            ("remoteEndpoint", _Endpoint | None, None),
            ("tags", tags | None, None),
        ],
        gc=False,
    )
    return msgspec.json.Decoder(span), msgspec.json.Decoder(list[span])  # type: ignore[valid-type]
