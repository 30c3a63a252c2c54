"""OTLP in JSON to frames of spans: files of the collector, answers of Jaeger's v3 API, and of Tempo.

Documents are ``{"resourceSpans": …}``, Jaeger's ``{"result": {"resourceSpans": …}}`` or a stream of these, a line
each, Tempo's ``{"batches": …}`` and ``{"trace": {"resourceSpans": …}}``. Ids are hexadecimal or base64, kinds and
status codes names or numbers, times and whole numbers text or numbers. :mod:`sloctl.backends.traces.columns` says
what becomes of which field. This module must not know over which connection the bytes came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sloctl.backends.http import decoding
from sloctl.backends.spans import ATTEMPT_TAGS, KINDS, Spans
from sloctl.backends.traces import documents
from sloctl.backends.traces.columns import Columns, Tags, Value
from sloctl.backends.traces.sampling import Sample

_KINDS = {None: "", 0: "", 1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_KIND_OF: dict[Any, str] = (
    _KINDS
    | {f"SPAN_KIND_{name.upper()}": name for name in KINDS if name}
    | {str(number): name for number, name in _KINDS.items() if number is not None}
)
_ERRORS = (2, "2", "STATUS_CODE_ERROR")


class _Value(msgspec.Struct, gc=False, rename="camel"):
    string_value: str | None = None
    int_value: str | int | None = None
    double_value: float | str | None = None
    bool_value: bool | None = None
    array_value: _Values | None = None


class _Values(msgspec.Struct, gc=False):
    values: list[_Value] = []


class _Attribute(msgspec.Struct, gc=False):
    key: str = ""
    value: msgspec.Raw = msgspec.Raw(b"null")


class _Status(msgspec.Struct, gc=False):
    code: int | str | None = None


class _Span(msgspec.Struct, gc=False, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    kind: int | str | None = None
    start_time_unix_nano: int | str | float | None = None
    end_time_unix_nano: int | str | float | None = None
    attributes: list[_Attribute] | None = None
    status: _Status | None = None


class _Scope(msgspec.Struct, gc=False):
    spans: list[_Span] | None = None


class _LooseScope(msgspec.Struct, gc=False):
    spans: list[msgspec.Raw] | None = None


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Attribute] | None = None


class _Batch(msgspec.Struct, gc=False, rename="camel"):
    resource: _Resource | None = None
    scope_spans: list[_Scope] | None = None
    instrumentation_library_spans: list[_Scope] | None = None


class _LooseBatch(msgspec.Struct, gc=False, rename="camel"):
    resource: msgspec.Raw = msgspec.Raw(b"null")
    scope_spans: list[msgspec.Raw] | None = None
    instrumentation_library_spans: list[msgspec.Raw] | None = None


class _Whole(msgspec.Struct, gc=False, rename="camel"):
    resource_spans: list[_Batch]


class _Document(msgspec.Struct, gc=False, rename="camel"):
    resource_spans: list[msgspec.Raw] | None = None
    batches: list[msgspec.Raw] | None = None
    result: msgspec.Raw = documents.NOTHING
    trace: msgspec.Raw = documents.NOTHING
    error: msgspec.Raw = documents.NOTHING


_value = msgspec.json.Decoder(_Value)
_whole = msgspec.json.Decoder(_Whole)
_wholes = msgspec.json.Decoder(list[_Whole])
_batch = msgspec.json.Decoder(_Batch)
_loose_batch = msgspec.json.Decoder(_LooseBatch)
_loose_scope = msgspec.json.Decoder(_LooseScope)
_resource = msgspec.json.Decoder(_Resource)
_span = msgspec.json.Decoder(_Span)
_spans = msgspec.json.Decoder(list[_Span])
_document = msgspec.json.Decoder(_Document)


def decode(
    body: bytes, attempt_tags: Sequence[str] = ATTEMPT_TAGS, *, backend: str = "otlp", url: str = ""
) -> Spans:
    """Spans of one document, or of a stream of documents.

    ``attempt_tags`` are the attributes that may hold x-envoy-attempt-count, most trusted first. ``backend`` and ``url``
    are for messages. Raises ``BadAnswer`` for what is no JSON, is cut off, or says an error; a span that cannot be read
    is counted in ``rejected``.
    """
    decoder = Decoder(attempt_tags)
    with documents.reading(backend, url):
        for document in documents.split(decoding.sound(body)):
            decoder.feed(document)
    return decoder.spans()


class Decoder:
    """OTLP spans of many documents; see :func:`decode`. ``feed`` raises ``msgspec.DecodeError`` for a bad one."""

    def __init__(self, attempt_tags: Sequence[str] = ATTEMPT_TAGS, *, sample: Sample | None = None) -> None:
        self._columns = Columns(unit=1, ends=True, sample=sample)
        self._tags = Tags(attempt_tags, _plain)

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
        """Read one document."""
        if (whole := documents.at_once(body, _whole)) is not None:
            for batch in whole.resource_spans:
                self._read(batch)
            return
        document = _document.decode(body)
        batches = [*(document.resource_spans or ()), *(document.batches or ())]
        for inner in (document.result, document.trace):
            if documents.first(inner) == b"{":
                within = _document.decode(inner)
                batches += [*(within.resource_spans or ()), *(within.batches or ())]
        if not batches and documents.first(document.error) not in (b"", b"n"):
            raise msgspec.ValidationError(
                f"the server says: {bytes(document.error)[:200].decode(errors='replace')}"
            )
        for raw in batches:
            try:
                batch = _batch.decode(raw)
            except documents.FAILURES:
                self._loose(raw)
            else:
                self._read(batch)

    def feed_lines(self, body: bytes, count: int) -> bool:
        """Read ``count`` documents, in a list; False, and nothing was read, unless all are files' lines."""
        try:
            lines = _wholes.decode(body)
        except documents.FAILURES:
            return False
        if len(lines) != count:
            return False
        for line in lines:
            for batch in line.resource_spans:
                self._read(batch)
        return True

    def _read(self, batch: _Batch) -> None:
        service = self._service(batch.resource)
        for scope in (*(batch.scope_spans or ()), *(batch.instrumentation_library_spans or ())):
            self._rows(service, scope.spans or ())

    def _loose(self, raw: msgspec.Raw) -> None:
        reject = self._columns.reject
        try:
            batch = _loose_batch.decode(raw)
        except documents.FAILURES as error:
            reject(documents.why(error))
            return
        try:
            service = self._service(_resource.decode(batch.resource))
        except documents.FAILURES:
            service = None
        for piece in (*(batch.scope_spans or ()), *(batch.instrumentation_library_spans or ())):
            try:
                spans = _loose_scope.decode(piece).spans or []
            except documents.FAILURES as error:
                reject(documents.why(error))
            else:
                self._rows(service, documents.structs(spans, _span, _spans, reject))

    def _service(self, resource: _Resource | None) -> str | None:
        if resource is None:
            return None
        names = (
            self._tags.text(bytes(one.value))
            for one in resource.attributes or ()
            if one.key == "service.name"
        )
        return next(names, None)

    def _rows(self, service: str | None, spans: Sequence[_Span]) -> None:
        columns, wanted, known = self._columns, self._tags.wanted, self._columns.known
        append = columns.said.append
        for span in spans:
            found = tuple([(one.key, bytes(one.value)) for one in span.attributes or () if one.key in wanted])
            status = span.status.code if span.status is not None else None
            key = (service, span.name, span.kind, status, found)
            number = known.get(key)
            if number is None:
                kind = _KIND_OF.get(span.kind, "")
                said = self._tags.said(
                    found, service=service, operation=span.name, kind=kind, failed=status in _ERRORS
                )
                number = columns.remember(key, said)
            append(number)
        columns.trace += [span.trace_id for span in spans]
        columns.span += [span.span_id for span in spans]
        columns.parent += [span.parent_span_id for span in spans]
        columns.start += [span.start_time_unix_nano for span in spans]
        columns.length += [span.end_time_unix_nano for span in spans]
        columns.added()


def _plain(raw: bytes) -> Value:
    value = _value.decode(raw)
    if value.array_value is not None and len(value.array_value.values) == 1:
        value = value.array_value.values[0]
    for one in (value.string_value, value.int_value, value.bool_value):
        if one is not None:
            return one
    return value.double_value
