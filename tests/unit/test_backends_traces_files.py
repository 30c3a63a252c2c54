"""Spans in files and folders: formats are told from content, and what is cut off does not lose the rest."""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sloctl.backends.answers import MAX_VALUES
from sloctl.backends.spans import mixed, problems
from sloctl.backends.traces import files
from sloctl.backends.traces.columns import weight
from sloctl.errors import UsageError
from tests.support.spans_documents import TRACE, jaeger, otlp, zipkin

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DOCUMENTS: dict[str, Any] = {
    "zipkin": zipkin(TRACE),
    "zipkin-traces": [zipkin(TRACE)],
    "zipkin-span": zipkin(TRACE)[0],
    "jaeger": jaeger(TRACE),
    "jaeger-trace": jaeger(TRACE[:3])["data"][0],
    "otlp": otlp(TRACE),
    "otlp-list": [otlp(TRACE), otlp(TRACE)],
    "jaeger-v3": {"result": otlp(TRACE)},
    "tempo": {"batches": otlp(TRACE, ids="base64")["resourceSpans"]},
    "tempo-v2": {"trace": otlp(TRACE, ids="base64")},
}
WRITTEN: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "with a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "with a byte order mark, gzip": lambda body: gzip.compress(b"\xef\xbb\xbf" + body),
}
COUNTS = {"zipkin-span": 1, "jaeger-trace": 3, "otlp-list": 2 * len(TRACE)}


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("written", WRITTEN)
def test_a_document_of_any_format(tmp_path: Path, name: str, indent: int | None, written: str) -> None:
    path = tmp_path / "spans"
    path.write_bytes(WRITTEN[written](json.dumps(DOCUMENTS[name], indent=indent).encode()))

    found = files.read([path])

    assert (len(found.frame), found.rejected, found.incomplete) == (COUNTS.get(name, len(TRACE)), {}, ())
    assert problems(found.frame) == []


def test_lines_of_different_formats(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    path.write_text("\n\n".join(json.dumps(document) for document in DOCUMENTS.values()))

    found = files.read([path])

    assert len(found.frame) == sum(COUNTS.get(name, len(TRACE)) for name in DOCUMENTS)
    assert set(found.frame["service"]) == {"checkout.shop", "payments.shop", ""}


LINES = [
    *(json.dumps(document).encode() for document in DOCUMENTS.values()),
    *(json.dumps(span).encode() for span in zipkin(TRACE)),
    json.dumps(
        {**jaeger(TRACE)["data"][0]["spans"][0], "process": {"serviceName": "checkout.shop"}}
    ).encode(),
    b'{"traceId":"AAAAAAAAAAAAAAAAAAAAAQ==","spanId":"AAAAAAAAAAE=","startTime":"2026-01-01T00:00:00Z"}',
    b'{"traceId":"5","id":"6","timestamp":"never"}',
    b'{"traceId":"5","timestamp":1}',
    b'{"traceId":"5","id":"6"',
    b'"timestamp":1}',
    b'{"traceId":"5","id":"\\ud800","timestamp":1}',
    b'{"resourceSpans":[{"scopeSpans":7}]}',
    b'{"data":null,"errors":[{"msg":"no"}]}',
    *(b"not JSON", b"[]", b"{}", b"[[]]", b"[5]", b"null", b"", b"  ", b"\r", b"\x00", b"\xff", b"[" * 2000),
]


@pytest.mark.slow
@given(
    lines=st.lists(st.sampled_from(LINES) | st.sampled_from(LINES[:2]), max_size=8), repeated=st.booleans()
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_say_the_same_together_as_alone(tmp_path: Path, lines: list[bytes], repeated: bool) -> None:
    def read(*written: bytes) -> tuple[list[tuple[object, ...]], dict[str, int]]:
        path = tmp_path / "spans.jsonl"
        path.write_bytes(b"\n".join([b"[]", *written]))
        found = files.read([path])
        rows = found.frame.astype(object).itertuples(index=False, name=None)
        return sorted(rows, key=repr), dict(found.rejected)

    lines = lines * (3 if repeated else 1)
    alone = [read(line) for line in lines]
    rejected = Counter[str]()
    for _, counts in alone:
        rejected.update(counts)
    assert read(*lines) == (sorted((row for rows, _ in alone for row in rows), key=repr), dict(rejected))


def test_two_documents_in_a_line_are_no_line_of_json(tmp_path: Path) -> None:
    span = '{"traceId":"5","id":"6","timestamp":1}'
    path = tmp_path / "spans.jsonl"
    path.write_text(f"{span}\n{span}\n{span},{span}\n")
    found = files.read([path])
    assert (len(found.frame), found.rejected) == (2, {"a line is not JSON": 1})


def test_a_cut_last_line_and_lines_that_are_no_json_are_counted(tmp_path: Path) -> None:
    line = json.dumps(otlp(TRACE))
    path = tmp_path / "spans.jsonl"
    path.write_text(f"{line}\nnot JSON\n{line}\n{line[:-40]}")

    found = files.read([path])

    assert (len(found.frame), found.rejected) == (2 * len(TRACE), {"a line is not JSON": 2})


def test_what_was_packed_and_cut_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    lines = "".join(json.dumps(zipkin(TRACE)) + f"{' ' * (number % 7)}\n" for number in range(3000))
    path = tmp_path / "spans.jsonl.gz"
    path.write_bytes(gzip.compress(lines.encode())[:-3000])

    found = files.read([path])

    assert 0 < len(found.frame) < 3000 * len(TRACE)
    assert [one.split(": ")[1] for one in found.incomplete] == ["cannot be unpacked to its end"]


def test_a_folder_is_searched_and_names_what_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.json").write_text(json.dumps(zipkin(TRACE)))
    (tmp_path / "a" / "two.ndjson").write_text(json.dumps(jaeger(TRACE)))
    (tmp_path / "README.md").write_text("no spans")
    (tmp_path / "other.json").write_text('{"menu": []}')
    (tmp_path / "cut.json").write_text('{"data": [')
    (tmp_path / "empty.json").write_text("")

    found = files.read([tmp_path])

    assert len(found.frame) == 2 * len(TRACE)
    assert [Path(one.split(": ")[0]).name for one in found.incomplete] == [
        *("README.md", "cut.json", "other.json")
    ]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"menu": []}', "holds no spans in a format that is known"),
        (b"[1, 2]", "holds no spans in a format that is known"),
        (b"<html>", "is not what it should be"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"\x1f\x8bxx", "is not what it should be|cannot be unpacked"),
    ],
)
def test_a_file_that_was_named_must_be_usable(tmp_path: Path, body: bytes, says: str) -> None:
    path = tmp_path / "spans.json"
    path.write_bytes(body)

    if body.startswith(b"\x1f"):
        assert says.endswith("cannot be unpacked")
        assert "cannot be unpacked" in files.read([path]).incomplete[0]
    else:
        with pytest.raises(UsageError, match=f"spans.json: {says}"):
            files.read([path])


def test_a_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        files.read([tmp_path / "none.json"])


@pytest.mark.parametrize("body", [b"[" + b" " * 5000 + b"]", b"[\n" + b" \n" * 5000 + b"]"])
@pytest.mark.parametrize("packed", [False, True])
def test_documents_are_bounded(tmp_path: Path, body: bytes, packed: bool) -> None:
    path = tmp_path / "bomb.json"
    path.write_bytes(gzip.compress(body) if packed else body)

    with pytest.raises(UsageError, match="a document of more than"):
        files.read([path], limit=1000)
    assert len(files.read([path]).frame) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary() | st.sampled_from(sorted(DOCUMENTS)).flatmap(
    lambda name: st.integers(0, 4000).map(lambda cut: json.dumps(DOCUMENTS[name]).encode()[:cut])
))  # fmt: skip
def test_any_bytes_raise_nothing_else(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "spans.json"
    path.write_bytes(body)
    try:
        found = files.read([path])
    except UsageError:
        return
    assert problems(found.frame) == []


def test_a_small_file_that_unpacks_to_a_large_document_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "spans.json.gz"
    path.write_bytes(gzip.compress(b"[" + b"{},\n" * 100_000 + b"{}]"))
    assert path.stat().st_size < 2000
    with pytest.raises(UsageError, match="write one document a line"):
        files.read([path], limit=2**16)


def test_a_document_of_too_many_values_is_refused_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "spans.json"
    path.write_bytes(b"[" + b"{}," * (MAX_VALUES // 2) + b"{}]")
    with pytest.raises(
        UsageError, match=r"4,000,002 values, of at most 4,000,000; write one trace or span a line"
    ):
        files.read([path])


def rows_of(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    return sorted(frame.astype(object).itertuples(index=False, name=None), key=repr)


def three_formats(folder: Path, ids: Sequence[int]) -> None:
    """Traces of two spans, each reported in two formats, of which one cuts ids to 64 bits; the window is an hour."""
    begin, services = 1_700_000_000_000_000, [f"service-{number}" for number in range(20)]
    lines: dict[str, list[str]] = {"a.jsonl": [], "b.jsonl": [], "c.jsonl": []}
    for number, low in enumerate(ids):
        at, name = begin + number * 3_600_000_000 // len(ids), services[number % len(services)]
        span = {
            "traceId": f"{7:016x}{low:016x}",
            "id": "1",
            "timestamp": at,
            "localEndpoint": {"serviceName": name},
        }
        lines["a.jsonl"].append(json.dumps(span))
        cut = {"traceID": f"{low:016x}", "spanID": "2", "operationName": "x", "startTime": at, "duration": 1}
        process = {"serviceName": name, "tags": []}
        lines["b.jsonl"].append(json.dumps({**cut, "references": [], "tags": [], "process": process}))
        batch = {"traceId": f"{7:016x}{low:016x}", "spanId": f"{3:016x}", "startTimeUnixNano": str(at * 1000)}
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]}
        document = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [batch]}]}]}
        lines["c.jsonl"].append(json.dumps(document))
    for file, written in lines.items():
        (folder / file).write_text("\n".join(written))


@given(
    start=st.integers(1, 2**63),
    step=st.sampled_from([1, 2, 64, 2**40, 2**52]),
    count=st.integers(0, 600),
    held=st.integers(40, 500),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_thinned_reading_is_all_of_the_traces_with_these_hashes(
    tmp_path: Path, start: int, step: int, count: int, held: int
) -> None:
    three_formats(tmp_path, [start + number * step for number in range(count)])
    whole, thinned = (files.read([tmp_path], max_spans=most) for most in (10**6, held))
    assert (whole.one_in, whole.incomplete, thinned.incomplete) == (1, (), ())
    assert len(whole.frame) == 3 * count
    hashes = mixed(whole.frame["trace_low"].to_numpy())
    kept = whole.frame[[int(one) * thinned.one_in < 2**64 for one in hashes]]
    assert rows_of(thinned.frame) == rows_of(kept)
    assert len(thinned.frame) <= held
    assert (thinned.one_in > 1) == (3 * count > held)


def test_a_thinned_reading_shows_all_services_and_all_of_the_time(tmp_path: Path) -> None:
    three_formats(tmp_path, range(1, 4001))
    found = files.read([tmp_path], max_spans=2000)
    assert (found.one_in, found.incomplete) == (8, ())
    assert found.frame["service"].nunique() == 20
    minutes = (found.frame["start"] - found.frame["start"].min()).dt.total_seconds() // 300
    assert minutes.value_counts().reindex(range(12), fill_value=0).between(60, 190).all()
    # What spans say that are left out takes no room, and nothing of it is in the frame.
    assert found.frame["service"].cat.categories.size <= 21


def test_names_of_spans_are_bounded_as_spans_are(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    path.write_text("".join(
        json.dumps({"traceId": f"{number:x}", "id": "1", "timestamp": 1000, "name": f"{number:0900}"}) + "\n"
        for number in range(1, 3000)
    ))  # fmt: skip
    found = files.read([path], max_spans=5000)
    assert 8 <= found.one_in <= 16
    assert 100 < len(found.frame) < 500
    assert weight(found.frame) < 5000


def test_one_large_trace_does_not_displace_the_others(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    spans = [("f", number) for number in range(1, 3000)] + [(f"{number:x}", 1) for number in range(100, 1000)]
    path.write_text("".join(
        json.dumps({"traceId": trace, "id": f"{span:x}", "timestamp": 1000}) + "\n" for trace, span in spans
    ))  # fmt: skip
    found = files.read([path], max_spans=2000)
    assert (found.one_in, len(found.frame)) == (1, 900)
    assert found.incomplete == ("1 trace of more than 250 spans left out",)


@pytest.mark.parametrize("ending", ["cut", "broken"])
def test_what_zstd_packed_and_is_cut_or_broken_is_said(tmp_path: Path, ending: str) -> None:
    lines = b"\n".join(json.dumps(otlp(TRACE)).encode() for _ in range(300))
    packed = zstd.compress(lines)
    path = tmp_path / "spans.jsonl.zst"
    path.write_bytes(packed[:-5] if ending == "cut" else packed[:-20] + bytes(20))

    [said] = files.read([path]).incomplete

    assert said.startswith(f"{path}: cannot be unpacked to its end: ")


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "spans.json.zst").write_bytes(zstd.compress(json.dumps(otlp(TRACE)).encode()))
    (tmp_path / "notes.txt").write_text("x")
    for number in range(12):
        (tmp_path / f"old-{number:02}.parquet").write_text("x")

    found = files.read([tmp_path])

    assert len(found.frame) == len(TRACE)
    assert found.incomplete[0].startswith(f"{tmp_path / 'notes.txt'}: passed over")
    assert [text for text in found.incomplete if "more files" in text] == [
        f"{tmp_path}: 3 more files passed over, not named as JSON or lines of JSON, packed or not"
    ]


@pytest.mark.parametrize("start", [0, "0", -1, None, "x", 10**30])
def test_a_start_that_cannot_be_is_bad_data_of_that_span_only(tmp_path: Path, start: object) -> None:
    document = jaeger(TRACE)
    document["data"][0]["spans"][0]["startTime"] = start
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(document))

    found = files.read([path])

    assert (len(found.frame), sum(found.rejected.values())) == (len(TRACE) - 1, 1)
