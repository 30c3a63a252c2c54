"""Jaeger's JSON to frames of spans: the HTTP API's answers, traces and spans as its storage and its UI save them.

Documents are ``{"data": [trace, …]}``, a trace (``{"traceID": …, "spans": …, "processes": …}``), or a span with its
``process`` in it, as Elasticsearch holds them. :mod:`sloctl.traces.columns` says what becomes of which field. Traces of
Jaeger's domain model (base64, times as text) are read by :mod:`sloctl.traces.decode_jaeger_model`. This module must not
know over which connection the bytes came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from sloctl.spans import ATTEMPT_TAGS, Spans
from sloctl.traces import documents
from sloctl.traces.columns import BATCH, Columns, Value
from sloctl.traces.tags import KIND, RETRY, Tags


class _Tag(msgspec.Struct, gc=False):
    key: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")


class _Reference(msgspec.Struct, gc=False):
    ref: str | None = msgspec.field(name="refType", default=None)
    trace: str | None = msgspec.field(name="traceID", default=None)
    span: str | None = msgspec.field(name="spanID", default=None)


class _Process(msgspec.Struct, gc=False):
    service: str | None = msgspec.field(name="serviceName", default=None)


class _Span(msgspec.Struct, gc=False):
    trace: str | None = msgspec.field(name="traceID", default=None)
    span: str | None = msgspec.field(name="spanID", default=None)
    parent: str | None = msgspec.field(name="parentSpanID", default=None)
    operation: str | None = msgspec.field(name="operationName", default=None)
    references: list[_Reference] | None = None
    start: int | str | float | None = msgspec.field(name="startTime", default=None)
    duration: int | str | float | None = None
    tags: list[_Tag] | None = None
    process_id: str | None = msgspec.field(name="processID", default=None)
    process: _Process | None = None


class _Trace(msgspec.Struct, gc=False):
    spans: list[_Span] | None = None
    processes: dict[str, _Process] | None = None


class _LooseTrace(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] | None = None
    processes: dict[str, msgspec.Raw] | None = None


class _Error(msgspec.Struct, gc=False):
    code: int | str | None = None
    msg: str = ""


class _Document(msgspec.Struct, gc=False):
    data: msgspec.Raw = documents.NOTHING
    errors: list[_Error] | None = None
    spans: msgspec.Raw = documents.NOTHING
    span: msgspec.Raw = msgspec.field(name="spanID", default=documents.NOTHING)


_value = msgspec.json.Decoder(Value)
_trace = msgspec.json.Decoder(_Trace)
_loose_trace = msgspec.json.Decoder(_LooseTrace)
_process = msgspec.json.Decoder(_Process)
_span = msgspec.json.Decoder(_Span)
_spans = msgspec.json.Decoder(list[_Span])
_document = msgspec.json.Decoder(_Document)


def decode(
    body: bytes, attempt_tags: Sequence[str] = ATTEMPT_TAGS, *, backend: str = "jaeger", url: str = ""
) -> Spans:
    """Spans of one document.

    ``attempt_tags`` are the tags that may hold x-envoy-attempt-count, most trusted first. ``backend`` and ``url`` are
    for messages. Raises ``BadAnswer`` for what is no JSON, is cut off, holds no traces, or says an error; a span that
    cannot be read is counted in ``rejected``.
    """
    decoder = Decoder(attempt_tags)
    with documents.reading(backend, url):
        decoder.feed(body)
    return decoder.spans()


class Decoder:
    """Jaeger's spans of many documents; see :func:`decode`. ``feed`` raises ``msgspec.DecodeError`` for a bad one."""

    def __init__(self, attempt_tags: Sequence[str] = ATTEMPT_TAGS) -> None:
        self._columns = Columns(unit=1000)
        self._tags = Tags(attempt_tags, _value.decode)

    def spans(self) -> Spans:
        """What all documents held."""
        return self._columns.spans()

    def feed(self, body: bytes | msgspec.Raw) -> None:
        """Read one document."""
        document = _document.decode(body)
        data, traces = documents.first(document.data), [documents.RAW.decode(body)]
        if data == b"[":
            traces = documents.RAW_LIST.decode(document.data)
        elif data == b"{":
            traces = [document.data]
        elif document.errors:
            raise msgspec.ValidationError(f"the server says: {document.errors[0].msg[:200]}")
        elif data:
            return
        elif documents.first(document.span):
            self._rows(documents.structs(traces, _span, _spans, self._columns.reject), {})
            return
        elif not documents.first(document.spans):
            raise msgspec.ValidationError("no traces in it")
        for trace in traces:
            self._trace(trace)
            if len(self._columns.rows) >= BATCH:
                self._columns.flush()

    def _trace(self, raw: msgspec.Raw) -> None:
        try:
            trace = _trace.decode(raw)
        except documents.FAILURES:
            self._loose(raw)
            return
        self._rows(trace.spans or (), {key: one.service for key, one in (trace.processes or {}).items()})

    def _loose(self, raw: msgspec.Raw) -> None:
        try:
            trace = _loose_trace.decode(raw)
        except documents.FAILURES as error:
            self._columns.reject(documents.why(error))
            return
        services: dict[str, str | None] = {}
        for key, process in (trace.processes or {}).items():
            try:
                services[key] = _process.decode(process).service
            except documents.FAILURES:
                continue
        self._rows(documents.structs(trace.spans or [], _span, _spans, self._columns.reject), services)

    def _rows(self, spans: Sequence[_Span], services: Mapping[str, str | None]) -> None:
        append, tags = self._columns.rows.append, self._tags
        wanted = tags.wanted
        for span in spans:
            found = {one.key: one.value for one in span.tags or () if one.key in wanted}
            remote, code, flags, error, details = tags.fields(found)
            service = services.get(span.process_id or "") if span.process is None else span.process.service
            append((
                span.trace, span.span, _parent(span) if span.references else span.parent,
                (tags.text(found, KIND) or "").lower(), service, span.operation, remote, code, flags, error, details,
                None, tags.text(found, RETRY), tags.attempts(found), span.start, span.duration,
            ))  # fmt: skip


def _parent(span: _Span) -> str | None:
    follows = None
    for reference in span.references or ():
        if reference.trace == span.trace or _bare(reference.trace) == _bare(span.trace):
            if reference.ref == "CHILD_OF":
                return reference.span
            follows = follows or reference.span
    return follows or span.parent


def _bare(trace: str | None) -> str:
    return (trace or "").lstrip("0").lower()
