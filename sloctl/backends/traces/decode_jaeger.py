"""Jaeger's JSON to frames of spans: the HTTP API's answers, traces and spans as its storage and its UI save them.

Documents are ``{"data": [trace, …]}``, a trace (``{"traceID": …, "spans": …, "processes": …}``), or a span with its
``process`` in it, as Elasticsearch holds them. :mod:`sloctl.backends.traces.columns` says what becomes of which
field. Those of Jaeger's domain model (base64, times as text) are first put into that form. This module must not
know over which connection the bytes came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from sloctl.backends.http import decoding
from sloctl.backends.spans import ATTEMPT_TAGS, Spans
from sloctl.backends.traces import documents
from sloctl.backends.traces.columns import Columns, Tags, Value
from sloctl.backends.traces.sampling import Sample


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


class _Whole(msgspec.Struct, gc=False):
    data: list[_Trace]


class _WholeTrace(msgspec.Struct, gc=False):
    spans: list[_Span]
    processes: dict[str, _Process] | None = None


class _WholeSpan(_Span, gc=False, kw_only=True):
    span: str = msgspec.field(name="spanID")


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
    model_span: msgspec.Raw = msgspec.field(name="spanId", default=documents.NOTHING)
    model: msgspec.Raw = msgspec.field(name="processMap", default=documents.NOTHING)


_value = msgspec.json.Decoder(Value)
_whole = msgspec.json.Decoder(_Whole)
_wholes = msgspec.json.Decoder(list[_Whole])
_whole_traces = msgspec.json.Decoder(list[_WholeTrace])
_whole_spans = msgspec.json.Decoder(list[_WholeSpan])
_trace = msgspec.json.Decoder(_Trace)
_loose_trace = msgspec.json.Decoder(_LooseTrace)
_FORMS: tuple[msgspec.json.Decoder[Any], ...] = (_wholes, _whole_traces, _whole_spans)
"""Lines that are alike: answers, traces, spans."""
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
        decoder.feed(decoding.sound(body))
    return decoder.spans()


class Decoder:
    """Jaeger's spans of many documents; see :func:`decode`. ``feed`` raises ``msgspec.DecodeError`` for a bad one."""

    def __init__(self, attempt_tags: Sequence[str] = ATTEMPT_TAGS, *, sample: Sample | None = None) -> None:
        self._columns = Columns(unit=1000, sample=sample)
        self._tags = Tags(attempt_tags, _value.decode)
        self._form = _FORMS[0]

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
            for trace in whole.data:
                self._trace(trace)
            return
        document = _document.decode(body)
        data = documents.first(document.data)
        if data == b"[":
            self._traces(documents.RAW_LIST.decode(document.data))
        elif data == b"{":
            self._traces([document.data])
        elif document.errors:
            raise msgspec.ValidationError(f"the server says: {document.errors[0].msg[:200]}")
        elif not data:
            self._bare(document, body)

    def feed_lines(self, body: bytes, count: int) -> bool:
        """Read ``count`` documents, in a list; False, and nothing was read, unless all are of one form of the API's."""
        if b'"processMap"' in body or b'"spanId"' in body:
            return False
        for form in sorted(_FORMS, key=lambda form: form is not self._form):
            try:
                found = form.decode(body)
            except documents.FAILURES:
                continue
            if len(found) != count:
                return False
            self._form = form
            if form is _whole_spans:
                self._rows(found, {})
            else:
                for trace in (
                    [one for document in found for one in document.data] if form is _wholes else found
                ):
                    self._trace(trace)
            return True
        return False

    def _bare(self, document: _Document, body: bytes | msgspec.Raw) -> None:
        """A trace or a span that stands alone, of the API or of the model."""
        if documents.first(document.model) or documents.first(document.model_span):
            self.feed(as_api(body))
        elif documents.first(document.span):
            self._rows(documents.structs([msgspec.Raw(body)], _span, _spans, self._columns.reject), {})
        elif documents.first(document.spans):
            self._traces([msgspec.Raw(body)])
        else:
            raise msgspec.ValidationError("no traces in it")

    def _traces(self, bodies: Sequence[msgspec.Raw]) -> None:
        for raw in bodies:
            try:
                trace = _trace.decode(raw)
            except documents.FAILURES:
                self._loose(raw)
            else:
                self._trace(trace)

    def _trace(self, trace: _Trace | _WholeTrace) -> None:
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
        columns, wanted, known = self._columns, self._tags.wanted, self._columns.known
        append = columns.said.append
        for span in spans:
            found = tuple([(one.key, bytes(one.value)) for one in span.tags or () if one.key in wanted])
            service = services.get(span.process_id or "") if span.process is None else span.process.service
            key = (service, span.operation, found)
            number = known.get(key)
            if number is None:
                said = self._tags.said(
                    found, service=service, operation=span.operation, kind=None, failed=False
                )
                number = columns.remember(key, said)
            append(number)
        columns.trace += [span.trace for span in spans]
        columns.span += [span.span for span in spans]
        columns.parent += [_parent(span) if span.references else span.parent for span in spans]
        columns.start += [span.start for span in spans]
        columns.length += [span.duration for span in spans]
        columns.added()


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


_NAMES = {"traceId": "traceID", "spanId": "spanID", "processId": "processID", "parentSpanId": "parentSpanID"}
_VALUES = ("vStr", "vInt64", "vBool", "vFloat64")
_UNITS = {"ns": 0.001, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_DURATION = re.compile(r"(?:\d{1,20}(?:\.\d{1,20})?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"([\d.]+)([a-zµ]+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_api(body: bytes | msgspec.Raw) -> bytes:
    """A trace or a span of the model as JSON of the API; times are rounded to microseconds.

    What is not understood stays as it is. Raises ``msgspec.DecodeError`` or ``RecursionError`` for what is no JSON.
    """
    document = msgspec.json.decode(body)
    if isinstance(document, dict) and isinstance(document.get("spans"), list):
        document["spans"] = [_model_span(span) for span in document["spans"]]
        entries = document.pop("processMap", None)
        document["processes"] = {
            entry["processId"]: entry.get("process")
            for entry in (entries if isinstance(entries, list) else [])
            if isinstance(entry, dict) and isinstance(entry.get("processId"), str)
        }
    else:
        document = _model_span(document)
    return msgspec.json.encode(document)


def _model_span(span: Any) -> Any:
    if not isinstance(span, dict):
        return span
    found = _renamed(span)
    found["startTime"] = _microseconds(found.get("startTime"))
    found["duration"] = _duration(found.get("duration"))
    for name, change in (("references", _reference), ("tags", _tag)):
        if isinstance(found.get(name), list):
            found[name] = [change(one) if isinstance(one, dict) else one for one in found[name]]
    return {key: found[key] for key in found if key != "logs"}


def _renamed(one: Mapping[str, Any]) -> dict[str, Any]:
    return {_NAMES.get(key, key): value for key, value in one.items()}


def _reference(one: Mapping[str, Any]) -> dict[str, Any]:
    # Protobuf's JSON leaves out what is 0.
    return {"refType": "CHILD_OF"} | _renamed(one)


def _tag(tag: Mapping[str, Any]) -> dict[str, Any]:
    value = next((tag[name] for name in _VALUES if name in tag), tag.get("value"))
    return {"key": tag.get("key"), "value": value}


def _microseconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        at = datetime.fromisoformat(value)
        since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return value
    return since // timedelta(microseconds=1)


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        return value
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
