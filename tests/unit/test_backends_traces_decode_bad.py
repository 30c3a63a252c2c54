"""Spans that are not what they should be: counted by reason, and never an exception."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.backends.spans import Spans, problems
from sloctl.backends.traces import decode_jaeger, decode_otlp, decode_zipkin
from sloctl.errors import BadAnswer
from tests.support.spans_documents import TRACE, Span, jaeger, otlp, zipkin

Decode = Callable[[bytes], Spans]
WRITTEN: dict[str, tuple[Decode, bytes]] = {
    "zipkin": (decode_zipkin.decode, json.dumps([zipkin(TRACE)] * 3).encode()),
    "jaeger": (decode_jaeger.decode, json.dumps(jaeger(TRACE * 3)).encode()),
    "otlp": (decode_otlp.decode, json.dumps(otlp(TRACE * 3)).encode()),
    "tempo": (decode_otlp.decode, json.dumps({"trace": otlp(TRACE * 3, ids="base64", names=True)}).encode()),
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def whole(**fields: Any) -> dict[str, Any]:
    return {"traceId": "1", "id": "2", "timestamp": 1_700_000_000_000_000, "duration": 1} | fields


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": None}, "no trace id"),
        ({"traceId": ""}, "no trace id"),
        ({"traceId": "0" * 32}, "no trace id"),
        ({"traceId": "trace-1"}, "trace id is not valid"),
        ({"traceId": "0x1f"}, "trace id is not valid"),
        ({"traceId": "1_0"}, "trace id is not valid"),
        ({"traceId": "٣"}, "trace id is not valid"),
        ({"traceId": "a b"}, "trace id is not valid"),
        ({"traceId": "1" * 33}, "trace id is not valid"),
        ({"traceId": 1}, "a field is not what it should be"),
        ({"id": "0"}, "no span id"),
        ({"id": None}, "no span id"),
        ({"id": "1" * 17}, "span id is not valid"),
        ({"parentId": "x"}, "parent id is not valid"),
        ({"timestamp": None}, "no start time"),
        ({"timestamp": 0}, "no start time"),
        ({"timestamp": -5}, "time out of range"),
        ({"timestamp": 10**17}, "time out of range"),
        ({"timestamp": 10**30}, "time out of range"),
        ({"timestamp": "NaN"}, "time out of range"),
        ({"timestamp": "inf"}, "time out of range"),
        ({"timestamp": "yesterday"}, "time out of range"),
        ({"timestamp": []}, "a field is not what it should be"),
        ({"duration": 10**17}, "duration out of range"),
        ({"duration": "long"}, "duration out of range"),
        ({"tags": 5}, "a field is not what it should be"),
    ],
)
def test_a_bad_span_is_counted_and_the_others_are_kept(fields: dict[str, Any], reason: str) -> None:
    body = json.dumps([whole(), whole(**fields), whole(id="3")]).encode()

    found = decode_zipkin.decode(body)

    assert found.rejected == {reason: 1}
    assert list(found.frame["span"]) == [2, 3]


@pytest.mark.parametrize(
    ("fields", "duration"),
    [
        ({"duration": None}, -1),
        ({"duration": -7}, -1),
        ({"duration": "12"}, 12000),
        ({"duration": 1.0}, 1000),
        ({}, 1000),
    ],
)
def test_a_duration_that_cannot_be_is_none(fields: dict[str, Any], duration: int) -> None:
    found = decode_zipkin.decode(json.dumps([whole(**fields)]).encode())

    assert (list(found.frame["duration"]), found.rejected) == ([duration], {})


@pytest.mark.parametrize(
    "start", ["1700000000000001", 1700000000000001, 1700000000000001.0, "1700000000000001.0"]
)
def test_times_may_be_text_or_numbers(start: object) -> None:
    found = decode_zipkin.decode(json.dumps([whole(timestamp=start)]).encode())

    assert found.frame["start"].astype("int64").tolist() == [1_700_000_000_000_001_000]


def test_an_end_before_the_start_is_no_duration() -> None:
    document = otlp([Span(), Span(duration=-5), Span(start=5, duration=-5)])

    assert decode_otlp.decode(json.dumps(document).encode()).frame["duration"].tolist() == [1_500_000, -1, -1]


@pytest.mark.parametrize("count", ["-1", "40000", "99999999999999999999", "two", "", "1.5", "٣"])
def test_counts_that_cannot_be_are_none(count: str) -> None:
    spans = [Span(tags={"retry.count": count, "x-envoy-attempt-count": count})]

    frame = decode_zipkin.decode(json.dumps(zipkin(spans)).encode()).frame

    assert (list(frame["retry"]), list(frame["attempts"])) == ([-1], [-1])


def test_half_a_surrogate_pair_does_not_lose_the_page() -> None:
    names = ["\\ud83d", "\\ud83d\\ude00", "\\\\ud83d", "\\udeadx"]
    spans = ",".join(f'{{"traceId":"1","id":"2","timestamp":5,"name":"{name}"}}' for name in names)

    frame = decode_zipkin.decode(f"[{spans}]".encode()).frame

    assert list(frame["operation"]) == ["\ufffd", "\U0001f600", "\\ud83d", "\ufffdx"]


def test_pieces_that_are_no_objects_are_counted() -> None:
    body = json.dumps([5, [6, zipkin(TRACE)[0]], "x", *zipkin(TRACE[:1])]).encode()

    found = decode_zipkin.decode(body)

    assert (len(found.frame), found.rejected) == (2, {"not an object": 3})


@pytest.mark.parametrize("format_", ["jaeger", "otlp"])
def test_a_bad_span_does_not_lose_its_trace(format_: str) -> None:
    decode, body = WRITTEN[format_]
    document = json.loads(body)
    if format_ == "jaeger":
        spans = document["data"][0]["spans"]
    else:
        spans = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans += [7, spans[0] | {"tags": 3, "attributes": 3}]

    found = decode(json.dumps(document).encode())

    assert found.rejected == {"not an object": 1, "a field is not what it should be": 1}
    assert len(found.frame) == len(TRACE) * 3
    assert set(found.frame["service"]) == {"checkout.shop", "payments.shop", ""}


def test_deep_tags_do_not_end_it() -> None:
    deep = b"[" * 3000 + b"]" * 3000
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"1","x":' + deep + b"}]}]}]}"

    with pytest.raises(BadAnswer, match="nested too deeply"):
        decode_otlp.decode(body)


@pytest.mark.parametrize("format_", WRITTEN)
@given(data=st.data())
def test_bytes_that_were_changed_raise_nothing_else(format_: str, data: st.DataObject) -> None:
    decode, body = WRITTEN[format_]
    begin = data.draw(st.integers(0, len(body)))
    end = data.draw(
        st.integers(begin, min(len(body), begin + data.draw(st.sampled_from([0, 1, 3, 40, 10**6]))))
    )
    other = data.draw(
        st.binary(max_size=8) | st.sampled_from([b'"', b"}", b"[", b"0", b"\\u0000", b"null", b"1e999"])
    )

    check(decode, body[:begin] + other + body[end:])


@pytest.mark.parametrize("format_", WRITTEN)
@given(data=st.data())
def test_truncated_bytes_raise_nothing_else(format_: str, data: st.DataObject) -> None:
    decode, body = WRITTEN[format_]

    with pytest.raises(BadAnswer):
        decode(body[: data.draw(st.integers(0, len(body) - 1))])


@pytest.mark.parametrize("format_", WRITTEN)
@given(data=st.data())
def test_values_that_were_changed_raise_nothing_else(format_: str, data: st.DataObject) -> None:
    decode, body = WRITTEN[format_]
    document = json.loads(body)
    for _ in range(data.draw(st.integers(1, 4))):
        change(document, data)

    check(decode, json.dumps(document).encode())


@given(
    st.lists(
        st.dictionaries(st.sampled_from(sorted(whole() | {"tags": 1, "kind": 1})), ANYTHING) | ANYTHING,
        max_size=6,
    )
)
def test_every_span_is_a_row_or_rejected(spans: list[Any]) -> None:
    spans = [whole() | span if isinstance(span, dict) else span for span in spans]
    found = check(decode_zipkin.decode, json.dumps(spans).encode())

    count = sum(len(span) if isinstance(span, list) else 1 for span in spans)
    assert found is not None
    assert len(found.frame) + sum(found.rejected.values()) == count


@given(st.binary() | st.text().map(str.encode), st.sampled_from(sorted(WRITTEN)))
def test_any_bytes_raise_nothing_else(body: bytes, format_: str) -> None:
    check(WRITTEN[format_][0], body)


def check(decode: Decode, body: bytes) -> Spans | None:
    try:
        found = decode(body)
    except BadAnswer:
        return None
    assert problems(found.frame) == []
    assert all(count > 0 for count in found.rejected.values())
    return found


def change(document: Any, data: st.DataObject) -> None:
    """Replace a value somewhere inside."""
    while True:
        keys = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        inner = document[key]
        if not isinstance(inner, (dict, list)) or not inner or data.draw(st.integers(0, 7)) == 0:
            document[key] = data.draw(ANYTHING)
            return
        document = inner
