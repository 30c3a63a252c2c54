"""The same trace is the same frame, in whatever format it comes."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from sloctl.backends.spans import Spans, problems
from sloctl.backends.traces import decode_jaeger, decode_otlp, decode_zipkin
from sloctl.errors import BadAnswer
from tests.support.spans_documents import CLUSTER, TRACE, Span, jaeger, otlp, zipkin

DECODERS = {"zipkin": decode_zipkin.decode, "jaeger": decode_jaeger.decode, "otlp": decode_otlp.decode}
DOCUMENTS: dict[str, tuple[str, Any]] = {
    "Zipkin, a list of spans": ("zipkin", zipkin(TRACE)),
    "Zipkin, traces": ("zipkin", [zipkin(TRACE[:3]), zipkin(TRACE[3:])]),
    "Zipkin, traces and spans": ("zipkin", [zipkin(TRACE[:3]), *zipkin(TRACE[3:])]),
    "Jaeger": ("jaeger", jaeger(TRACE)),
    "OTLP": ("otlp", otlp(TRACE)),
    "OTLP, base64": ("otlp", otlp(TRACE, ids="base64")),
    "OTLP, kinds by name": ("otlp", otlp(TRACE, names=True)),
    "Jaeger v3": ("otlp", {"result": otlp(TRACE)}),
    "Tempo": ("otlp", {"batches": otlp(TRACE, ids="base64", names=True)["resourceSpans"]}),
    "Tempo v2": ("otlp", {"trace": otlp(TRACE, ids="base64", names=True)}),
}


def decoded(format_: str, document: Any) -> Spans:
    found = DECODERS[format_](json.dumps(document).encode())
    assert problems(found.frame) == []
    return found


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype({name: "object" for name in frame if frame[name].dtype == "category"})
    found = plain.sort_values(["trace_low", "span"]).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in found]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_trace_is_the_same_in_every_format(name: str) -> None:
    found = decoded(*DOCUMENTS[name])

    assert found.rejected == {}
    assert rows(found.frame) == rows(decoded("zipkin", zipkin(TRACE)).frame)


def test_what_columns_hold() -> None:
    found = {row["span"]: row for row in rows(decoded("zipkin", zipkin(TRACE)).frame)}
    client, router, server, other = found[0xA2FB4A1D1A96D312], found[2], found[3], found[7]

    assert (client["trace_high"], client["trace_low"]) == (0x463AC35C9F6413AD, 0x48485A3953BB6124)
    assert (client["kind"], client["service"], client["remote"]) == ("client", "checkout.shop", CLUSTER)
    assert (client["code"], client["flags"], client["error"], client["attempts"]) == ("503", "URX", True, 3)
    assert client["start"] == pd.Timestamp(1_700_000_000_000_001_000, tz="UTC")
    assert (client["duration"], client["router"], client["retry"]) == (1_500_000, False, -1)
    assert (router["router"], router["retry"], router["code"], router["flags"]) == (True, 1, "0", "")
    assert (router["parent"], router["error"]) == (client["span"], False)
    assert (server["error"], server["overflow"], server["duration"]) == (True, True, 0)
    assert (other["trace_high"], other["code"], other["service"], other["error"]) == (
        *(0, "UNAVAILABLE", "", False),
    )


def test_a_stream_of_otlp_is_read_document_by_document() -> None:
    body = b"\n".join(json.dumps({"result": otlp([span])}).encode() for span in TRACE)

    assert rows(decode_otlp.decode(body).frame) == rows(decoded("otlp", otlp(TRACE)).frame)


@pytest.mark.parametrize("format_", DECODERS)
def test_other_tags_can_hold_the_attempts(format_: str) -> None:
    write = {"zipkin": zipkin, "jaeger": jaeger, "otlp": otlp}[format_]
    body = json.dumps(write([Span(tags={"tries": "4", "x-envoy-attempt-count": "2"})])).encode()

    assert list(DECODERS[format_](body, ("tries",)).frame["attempts"]) == [4]
    assert list(DECODERS[format_](body, ("none", "x-envoy-attempt-count")).frame["attempts"]) == [2]
    assert list(DECODERS[format_](body, ()).frame["attempts"]) == [-1]


def test_what_is_shared_is_what_zipkin_says() -> None:
    spans = zipkin(TRACE[:1]) * 2
    spans[1] = spans[1] | {"shared": True, "kind": "SERVER"}

    assert list(decoded("zipkin", spans).frame["shared"]) == [False, True]


@pytest.mark.parametrize(
    ("attribute", "code"),
    [
        ({"intValue": "503"}, "503"),
        ({"intValue": 503}, "503"),
        ({"doubleValue": 503.0}, "503"),
        ({"stringValue": ""}, ""),
    ],
)
def test_values_of_otlp(attribute: dict[str, Any], code: str) -> None:
    document = otlp([Span()])
    span = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    span["attributes"] = [
        {"key": "http.response.status_code", "value": attribute},
        {"key": "x", "value": {"arrayValue": {}}},
    ]

    frame = decoded("otlp", document).frame

    assert list(frame["code"]) == [code]
    assert list(frame["error"]) == [code == "503"]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"grpc.status_code": "0"}, "OK"),
        ({"rpc.grpc.status_code": "0"}, "OK"),
        ({"rpc.response.status_code": "NOT_FOUND"}, "NOT_FOUND"),
        ({"grpc.status_code": "14"}, "UNAVAILABLE"),
        ({"http.status_code": "0"}, "0"),
        ({"http.status_code": "0", "grpc.status_code": "0"}, "0"),
        ({"http.response.status_code": "200", "grpc.status_code": "13"}, "INTERNAL"),
        ({"http.response.status_code": "200", "grpc.status_code": "0"}, "200"),
    ],
)
@pytest.mark.parametrize("format_", DECODERS)
def test_a_code_of_0_is_no_response_and_grpcs_0_is_ok(format_: str, tags: dict[str, str], code: str) -> None:
    document = {"zipkin": zipkin, "jaeger": jaeger, "otlp": otlp}[format_]([Span(tags=tags)])
    assert list(decoded(format_, document).frame["code"]) == [code]


@pytest.mark.parametrize("status", [{"code": 2}, {"code": "2"}, {"code": "STATUS_CODE_ERROR"}])
def test_the_status_of_otlp_is_an_error(status: dict[str, Any]) -> None:
    document = otlp([Span()])
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["status"] = status

    assert list(decoded("otlp", document).frame["error"]) == [True]


@pytest.mark.parametrize(("value", "error"), [("true", True), ("", True), ("reset", True), ("false", False)])
@pytest.mark.parametrize("format_", DECODERS)
def test_the_tag_error(format_: str, value: str, error: bool) -> None:
    write = {"zipkin": zipkin, "jaeger": jaeger, "otlp": otlp}[format_]

    assert list(decoded(format_, write([Span(tags={"error": value})])).frame["error"]) == [error]


def test_older_tempo_calls_scopes_libraries() -> None:
    document = otlp(TRACE)
    for batch in document["resourceSpans"]:
        batch["instrumentationLibrarySpans"] = batch.pop("scopeSpans")

    assert len(decoded("otlp", document).frame) == len(TRACE)


def test_jaeger_takes_the_parent_of_the_same_trace() -> None:
    document = jaeger([Span()])
    span = document["data"][0]["spans"][0]
    own = span["traceID"]
    span["references"] = [
        {"refType": "CHILD_OF", "traceID": "ff", "spanID": "1"},
        {"refType": "FOLLOWS_FROM", "traceID": own, "spanID": "2"},
        {"refType": "CHILD_OF", "traceID": "0" + own, "spanID": "3"},
    ]
    assert list(decoded("jaeger", document).frame["parent"]) == [3]
    span["references"].pop()
    assert list(decoded("jaeger", document).frame["parent"]) == [2]
    span["references"] = None
    span["parentSpanID"] = "5"
    assert list(decoded("jaeger", document).frame["parent"]) == [5]


@pytest.mark.parametrize(
    ("format_", "body"),
    [("zipkin", b"[]"), ("zipkin", b"[[]]"), ("jaeger", b'{"data":[]}'), ("jaeger", b'{"data":null}'), ("otlp", b"{}"),
     ("otlp", b'{"resourceSpans":[]}'), ("otlp", b'{"batches":[]}')],
)  # fmt: skip
def test_no_spans_are_an_empty_frame(format_: str, body: bytes) -> None:
    found = DECODERS[format_](body)

    assert (len(found.frame), problems(found.frame), found.rejected) == (0, [], {})


@pytest.mark.parametrize(
    ("format_", "body", "says"),
    [
        ("zipkin", b"<html>", "JSON is malformed"),
        ("zipkin", b'[{"traceId":"1"', "truncated"),
        ("zipkin", b'{"error":"no"}', "an object, not a list"),
        ("zipkin", b"[" * 100_000, "nested too deeply"),
        ("jaeger", b'{"data":null,"errors":[{"code":500,"msg":"storage is down"}]}', "storage is down"),
        ("jaeger", b"{}", "no traces in it"),
        ("jaeger", b"", "truncated"),
        ("otlp", b'{"error":{"message":"trace not found"}}', "trace not found"),
        ("otlp", b'{"resourceSpans":[{', "truncated"),
        ("otlp", b"\xff\xfe", "JSON is malformed"),
    ],
)
def test_bad_documents_are_bad_answers(format_: str, body: bytes, says: str) -> None:
    with pytest.raises(BadAnswer, match=says) as caught:
        DECODERS[format_](body, url="http://traces.example.org")

    assert (caught.value.backend, caught.value.url) == (format_, "http://traces.example.org")
