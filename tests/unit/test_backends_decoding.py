"""What hostile answers weigh in memory, and that nothing of another form gets in."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest

from sloctl.backends.alertmanager.client import judge as alertmanager
from sloctl.backends.answers import MAX_VALUES, doubts
from sloctl.backends.http import decoding
from sloctl.backends.http.answers import Failure, Reply, TooLarge
from sloctl.backends.prometheus.session import judge
from sloctl.backends.traces import decode_jaeger, decode_otlp, decode_zipkin
from sloctl.backends.traces.judge import judge as traces
from sloctl.backends.traces.judge import names
from sloctl.errors import BadAnswer
from sloctl.model.kubernetes import Resources

QUERY, RANGE = "/api/v1/query", "/api/v1/query_range"
COUNT = 5000
CUT = rb"a\ud83dx\udc00\ud83d\ude00"
POD, STARTED = 2**30, 200 * 2**20
"""Bytes: what a pod may have, and what sloctl has when it has started to work."""


def reply(body: bytes) -> Reply:
    return Reply(200, {}, body, 0)


def answer(data: object, **more: object) -> Reply:
    return reply(json.dumps({"status": "success", "data": data, **more}).encode())


def prometheus(path: str, body: bytes) -> object:
    return judge(path, reply(b'{"status":"success","data":%s}' % body))


def many(item: bytes, around: bytes = b"[%s]") -> bytes:
    return around % b",".join([item] * COUNT)


def different(item: bytes, around: bytes = b"[%s]") -> bytes:
    return around % b",".join([item.replace(b"#", b"%d" % number) for number in range(COUNT)])


VECTOR, MATRIX = b'{"resultType":"vector","result":[%s]}', b'{"resultType":"matrix","result":[%s]}'
vector = partial(prometheus, QUERY)
HOSTILE: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "series without labels": (vector, many(b'{"metric":{},"value":[1,"1"]}', VECTOR)),
    "series of a label": (vector, many(b'{"metric":{"a":"b"},"value":[1,"1"]}', VECTOR)),
    "many labels": (vector, different(b'"a#":"#"', VECTOR % b'{"metric":{%s},"value":[1,"1"]}')),
    "no samples": (partial(prometheus, RANGE), many(b'{"metric":{},"values":[]}', MATRIX)),
    "samples": (partial(prometheus, RANGE), many(b'[1,"1"]', MATRIX % b'{"metric":{},"values":[%s]}')),
    "lists in place of series": (vector, many(b"[]", VECTOR)),
    "label sets": (partial(prometheus, "/api/v1/series"), many(b'{"a":"b"}')),
    "names": (partial(prometheus, "/api/v1/label/x/values"), different(b'"a#"')),
    "rules": (partial(prometheus, "/api/v1/rules"), many(b'{"name":"a","rules":[{}]}', b'{"groups":[%s]}')),
    "build": (partial(prometheus, "/api/v1/status/buildinfo"), many(b'{"a":1}', b'{"version":[%s]}')),
    "spans of nothing": (decode_zipkin.decode, many(b"{}")),
    "traces of a span": (decode_zipkin.decode, many(b"[{}]")),
    "Jaeger's traces": (decode_jaeger.decode, many(b'{"spans":[{}]}', b'{"data":[%s]}')),
    "Jaeger's tags": (
        decode_jaeger.decode,
        many(b'{"key":"error"}', b'{"data":[{"spans":[{"tags":[%s]}]}]}'),
    ),
    "OTLP's spans": (decode_otlp.decode, many(b"{}", b'{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}')),
    "spans of different names": (
        decode_zipkin.decode,
        different(b'{"traceId":"a","id":"b","timestamp":1,"name":"#","tags":{"http.status_code":"#"}}'),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_value_weighs_no_more_than_it_may(name: str) -> None:
    decode, body = HOSTILE[name]

    def read() -> object:
        try:
            return decode(body)
        except Failure:
            return None

    read()
    tracemalloc.start()
    try:
        kept = read()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    del kept
    assert peak <= decoding.WEIGHT * decoding.values(body)


def test_the_bounds_fit_the_memory_of_a_pod() -> None:
    assert Resources().memory_limit == "1Gi"
    assert STARTED + decoding.MAX_BYTES + decoding.WEIGHT * MAX_VALUES < POD


@pytest.mark.parametrize("body", [b"[" * 9, b"{" * 9, b"," * 9])
def test_values_are_counted_before_they_are_made(body: bytes) -> None:
    with pytest.raises(decoding.TooManyValues):
        decoding.check(b" " * 2**16 + body, 8)
    assert decoding.check(b" " * 2**16 + body, 9) == 9


def test_an_answer_of_too_many_values_is_too_large() -> None:
    with pytest.raises(Failure) as caught:
        judge(QUERY, reply(b"[]," * (MAX_VALUES // 2 + 1)))
    assert caught.value.kind is TooLarge
    assert "fewer series" in caught.value.hint


SAMPLES: list[Any] = [
    None,
    [],
    [1],
    ["1", "1"],
    [1, 1],
    [1, "many"],
    [1, ""],
    [1, None],
    [True, "1"],
    [1, "1", "1"],
    [1e300, "1"],
    [9e9 + 1, "1"],
    [-1e10, "1"],
    {"t": 1},
    "xy",
]


@pytest.mark.parametrize("sample", SAMPLES, ids=map(str, SAMPLES))
def test_junk_among_samples_is_a_bad_answer(sample: object) -> None:
    good = [1, "1"]
    values = [good, sample, good]
    matrix = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
    instant = {"resultType": "vector", "result": [{"metric": {}, "value": sample}]}
    for path, data in ((RANGE, matrix), (QUERY, matrix), (QUERY, instant)):
        with pytest.raises(Failure, match="unknown form") as caught:
            judge(path, answer(data))
        assert caught.value.kind is BadAnswer


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "1e-7", "-0"])
def test_all_that_prometheus_calls_a_number_is_one(text: str) -> None:
    data, _ = judge(QUERY, answer({"resultType": "vector", "result": [{"metric": {}, "value": [1, text]}]}))
    assert data["result"][0]["value"] == (1.0, text)


def test_a_label_holds_no_nul() -> None:
    labels = {"a\0b": "c\0", "d": "e"}
    data, _ = judge(
        QUERY, answer({"resultType": "vector", "result": [{"metric": labels, "value": [1, "1"]}]})
    )
    assert data["result"][0]["metric"] == {"a\ufffdb": "c\ufffd", "d": "e"}
    body = json.dumps([{"traceId": "a", "id": "b", "timestamp": 1, "name": "x\0"}]).encode()
    assert list(decode_zipkin.decode(body).frame["operation"]) == ["x\ufffd"]


def test_a_text_of_a_span_is_kept_to_a_length() -> None:
    body = json.dumps([{"traceId": "a", "id": "b", "timestamp": 1, "name": "x" * 5000}]).encode()
    assert list(decode_zipkin.decode(body).frame["operation"]) == ["x" * 1023 + "…"]


HISTOGRAM = [1, {"count": "3", "sum": "9", "buckets": [[0, "1", "2", "3"]]}]


@pytest.mark.parametrize("kind", ["vector", "matrix"])
def test_native_histograms_are_no_numbers_and_leave_an_answer_in_doubt(kind: str) -> None:
    plural = "s" if kind == "matrix" else ""
    sample: Any = [[1, "1"]] if plural else [1, "1"]
    series = [
        {"metric": {"a": "1"}, f"histogram{plural}": [HISTOGRAM] if plural else HISTOGRAM},
        {"metric": {"a": "2"}, f"value{plural}": sample},
    ]
    path = RANGE if plural else QUERY
    data, said = judge(path, answer({"resultType": kind, "result": series}))
    assert [item["metric"] for item in data["result"]] == [{"a": "2"}]
    assert said == ["1 series of the answer are native histograms, which are no numbers"]
    assert doubts(data["result"]) == tuple(said)


def test_a_series_without_any_sample_is_no_series() -> None:
    series = [{"metric": {}, "histogram": HISTOGRAM}, {"metric": {}}]
    with pytest.raises(Failure, match="unknown form"):
        judge(QUERY, answer({"resultType": "vector", "result": series}))


def test_half_a_character_of_an_answer_is_none() -> None:
    """What cut a text in the middle of a surrogate pair would end every page, and every database."""
    whole = "a\ufffdx\ufffd\N{GRINNING FACE}"
    found: Any = vector(VECTOR % (b'{"metric":{"pod":"%s"},"value":[1,"1"]}' % CUT))
    assert found[0]["result"][0]["metric"] == {"pod": whole}
    values: Any = prometheus("/api/v1/label/x/values", b'["%s"]' % CUT)
    assert values[0] == [whole]
    silence = alertmanager(msgspec.json.Decoder(list[str]), reply(b'["%s"]' % CUT))
    assert silence == [whole]
    assert traces(lambda body: names(msgspec.json.decode(body)), reply(b'["%s"]' % CUT)) == [whole]
    with pytest.raises(Failure, match=f"access denied .403.: .*{whole}"):
        judge(QUERY, Reply(403, {}, b'{"status":"error","errorType":"x","error":"%s"}' % CUT, 0))
    assert decoding.sound(rb'"\\ud83d"') == rb'"\\ud83d"', "an escaped backslash"
