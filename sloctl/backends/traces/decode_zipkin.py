"""Zipkin v2 JSON to frames of spans: a list of spans, or a list of traces, which are lists of spans.

:mod:`sloctl.backends.traces.columns` says what becomes of which field. This module must not know over which
connection the bytes came.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from sloctl.backends.http import decoding
from sloctl.backends.spans import ATTEMPT_TAGS, Spans
from sloctl.backends.traces import documents
from sloctl.backends.traces.columns import Columns, Said, Value, code_of
from sloctl.backends.traces.sampling import Sample

_TAGS = {
    "error": "error",
    "status": "otel.status_code",
    "code": "http.status_code",
    "new_code": "http.response.status_code",
    "grpc": "grpc.status_code",
    "rpc": "rpc.grpc.status_code",
    "new_rpc": "rpc.response.status_code",
    "flags": "response_flags",
    "details": "response_code_details",
    "peer": "peer.service",
    "cluster_name": "upstream_cluster.name",
    "cluster": "upstream_cluster",
    "host": "server.address",
    "old_host": "net.peer.name",
    "database": "db.system.name",
    "old_database": "db.system",
    "namespace": "istio.namespace",
    "component": "component",
    "messaging": "messaging.system",
    "retry": "retry.count",
    "resend": "http.request.resend_count",
    "old_resend": "http.resend_count",
    "previous": "previous-rpc-attempts",
}
_TRACES = re.compile(rb"\s*\[\s*\[")


class _Endpoint(msgspec.Struct, gc=False, frozen=True):
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
        if documents.first(body) == b"{":
            raise msgspec.ValidationError("an object, not a list of spans or traces")
        decoder.feed(decoding.sound(body))
    return decoder.spans()


class Decoder:
    """Zipkin spans of many documents; see :func:`decode`. ``feed`` raises ``msgspec.DecodeError`` for a bad one."""

    def __init__(self, attempt_tags: Sequence[str] = ATTEMPT_TAGS, *, sample: Sample | None = None) -> None:
        self._columns = Columns(unit=1000, sample=sample)
        self._one, self._many, self._traces, self._attempts, self._nothing = _decoders(tuple(attempt_tags))

    @property
    def weight(self) -> int:
        """How much is held, in spans."""
        return self._columns.weight

    def thin(self, most: int | None = None) -> None:
        """Hold the sample's traces only, and what they say; those of more than ``most`` spans leave it."""
        self._columns.thin(most)

    def spans(self) -> Spans:
        """What all documents held."""
        return self._columns.spans()

    def feed(self, body: bytes | msgspec.Raw) -> None:
        """Read a document: a list of spans, a list of traces, or one span."""
        whole = bytes(body)
        if len(whole) <= documents.AT_ONCE:
            try:
                if _TRACES.match(whole):
                    self._rows([span for trace in self._traces.decode(whole) for span in trace])
                else:
                    self._rows(self._many.decode(whole))
            except documents.FAILURES:
                pass
            else:
                return
        if documents.first(whole) == b"{":
            self._read([documents.RAW.decode(whole)])
            return
        plain = []
        for item in documents.RAW_LIST.decode(whole):
            if documents.first(item) == b"[":
                self._read(documents.RAW_LIST.decode(item))
            else:
                plain.append(item)
        self._read(plain)

    def feed_lines(self, body: bytes, count: int) -> bool:
        """Read ``count`` documents, in a list; False, and nothing was read, unless all are spans or lists of spans."""
        try:
            if _TRACES.match(body):
                lines: list[list[Any]] = self._traces.decode(body)
            else:
                lines = [[span] for span in self._many.decode(body)]
        except documents.FAILURES:
            return False
        spans = [span for line in lines for span in line]
        if len(lines) != count or any(span.id is None for span in spans):
            return False
        self._rows(spans)
        return True

    def _read(self, items: list[msgspec.Raw]) -> None:
        for begin in range(0, len(items), documents.CHUNK):
            chunk = items[begin : begin + documents.CHUNK]
            self._rows(documents.structs(chunk, self._one, self._many, self._columns.reject))

    def _rows(self, spans: Sequence[Any]) -> None:
        columns, known = self._columns, self._columns.known
        append = columns.said.append
        for span in spans:
            key = (span.kind, span.name, span.localEndpoint, span.remoteEndpoint, span.shared, span.tags)
            number = known.get(key)
            if number is None:
                number = columns.remember(key, self._said(span))
            append(number)
        columns.trace += [span.traceId for span in spans]
        columns.span += [span.id for span in spans]
        columns.parent += [span.parentId for span in spans]
        columns.start += [span.timestamp for span in spans]
        columns.length += [span.duration for span in spans]
        columns.added()

    def _said(self, span: Any) -> Said:
        tags, local, remote = span.tags or self._nothing, span.localEndpoint, span.remoteEndpoint
        return Said(
            kind=(span.kind or "").lower(),
            service=local.serviceName if local else None,
            operation=span.name,
            remote=(remote.serviceName if remote else None)
            or _first(tags.peer, tags.cluster_name, tags.cluster),
            host=_first(tags.host, tags.old_host, tags.database, tags.old_database),
            namespace=tags.namespace,
            component=tags.component,
            messaging=tags.messaging,
            code=code_of(_first(tags.code, tags.new_code), _first(tags.grpc, tags.rpc, tags.new_rpc)),
            flags=tags.flags,
            error="true" if tags.error == "" or tags.status == "ERROR" else tags.error,
            details=tags.details,
            shared=span.shared,
            retry=_first(tags.retry, tags.resend, tags.old_resend, tags.previous),
            attempts=_first(*(getattr(tags, name) for name in self._attempts)),
        )


def _first(*values: Value) -> Value:
    return next((value for value in values if value is not None and value != ""), None)


class _Decoders(NamedTuple):
    one: msgspec.json.Decoder[Any]
    many: msgspec.json.Decoder[list[Any]]
    traces: msgspec.json.Decoder[list[list[Any]]]
    attempts: tuple[str, ...]
    nothing: Any


@lru_cache(maxsize=16)
def _decoders(attempt_tags: tuple[str, ...]) -> _Decoders:
    """Decoders that look at no other tags than needed, and the fields of the tags that were asked for."""
    known = {tag: field for field, tag in _TAGS.items()}
    extra = {
        f"attempt{number}": tag for number, tag in enumerate(dict.fromkeys(attempt_tags)) if tag not in known
    }
    by_tag = known | {tag: field for field, tag in extra.items()}
    fields = [(field, Value, msgspec.field(name=tag, default=None)) for field, tag in (_TAGS | extra).items()]
    tags = msgspec.defstruct("Tags", fields, gc=False, frozen=True)
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
    return _Decoders(
        msgspec.json.Decoder(span),
        msgspec.json.Decoder(list[span]),  # type: ignore[valid-type]
        msgspec.json.Decoder(list[list[span]]),  # type: ignore[valid-type]
        tuple(by_tag[tag] for tag in attempt_tags),
        tags(),
    )
