"""Reads a file of spans, prints rows and seconds of CPU time without reading: ``read_spans sloctl|plain FORMAT FILE``.

``sloctl-lines`` and ``plain-lines`` read lines of a span or a trace each.

The plain way is the loop that one writes first: ``json.loads``, and a row for each span, of the same columns.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sloctl.backends.spans import COLUMNS
from sloctl.backends.traces import decode_jaeger, decode_otlp, decode_zipkin, files

_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


def plain_lines(format_: str, lines: Iterable[bytes]) -> pd.DataFrame:
    """As ``plain``, of lines with a span or a trace each."""
    whole = {"zipkin": "[[%s]]", "jaeger": '{"data":[%s]}', "otlp": "%s"}[format_].encode()
    return plain(format_, (whole % line for line in lines))


def plain(format_: str, lines: Iterable[bytes]) -> pd.DataFrame:
    """All spans, without checks, as rows and then as a frame with the dtypes of ``COLUMNS``."""
    rows: list[tuple[Any, ...]] = []
    for line in lines:
        rows += _PLAIN[format_](json.loads(line))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["start"] = pd.to_datetime(frame["start"], utc=True, unit="ns")
    return frame.astype({name: dtype for name, dtype in COLUMNS.items() if name != "start"})


def sloctl(format_: str, lines: Iterable[bytes]) -> pd.DataFrame:
    """The same by sloctl's decoder of the format."""
    decoder = _DECODERS[format_]()
    for line in lines:
        decoder.feed(line)
    return decoder.spans().frame


def _row(
    trace: str, span: str, parent: str, kind: str, service: str, operation: str, remote: str,
    tags: Mapping[str, str], shared: bool, start: int, duration: int, failed: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    number = int(trace, 16)
    code = (
        tags.get("http.status_code")
        or tags.get("http.response.status_code")
        or tags.get("grpc.status_code", "")
    )
    flags = tags.get("response_flags", "")
    return (
        number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF, int(span, 16), int(parent or "0", 16), kind, service, operation,
        remote or tags.get("peer.service") or tags.get("upstream_cluster.name") or tags.get("upstream_cluster", ""),
        tags.get("istio.namespace", ""), tags.get("component") == "proxy", "messaging.system" in tags,
        code, "" if flags == "-" else flags,
        failed or tags.get("error", "false") != "false" or (kind in ("client", "server") and code.startswith("5")),
        "overflow" in tags.get("response_code_details", ""), shared,
        kind == "client" and operation.startswith("router "), int(tags.get("retry.count", -1)),
        int(tags.get("x-envoy-attempt-count", -1)), start, duration,
    )  # fmt: skip


def _zipkin(document: Any) -> Iterator[tuple[Any, ...]]:
    for trace in document:
        for span in trace:
            yield _row(
                span["traceId"], span["id"], span.get("parentId", ""), span.get("kind", "").lower(),
                span.get("localEndpoint", {}).get("serviceName", ""), span.get("name", ""),
                span.get("remoteEndpoint", {}).get("serviceName", ""), span.get("tags", {}), span.get("shared", False),
                span["timestamp"] * 1000, span.get("duration", 0) * 1000,
            )  # fmt: skip


def _jaeger(document: Any) -> Iterator[tuple[Any, ...]]:
    for trace in document["data"]:
        for span in trace["spans"]:
            tags = {tag["key"]: str(tag["value"]) for tag in span["tags"]}
            parents = [one["spanID"] for one in span["references"] if one["refType"] == "CHILD_OF"]
            yield _row(
                span["traceID"], span["spanID"], parents[0] if parents else "", tags.get("span.kind", ""),
                trace["processes"][span["processID"]]["serviceName"], span["operationName"], "", tags, False,
                span["startTime"] * 1000, span["duration"] * 1000,
            )  # fmt: skip


def _otlp(document: Any) -> Iterator[tuple[Any, ...]]:
    for batch in document["resourceSpans"]:
        resource = _attributes(batch["resource"]["attributes"])
        for scope in batch["scopeSpans"]:
            for span in scope["spans"]:
                start = int(span["startTimeUnixNano"])
                yield _row(
                    span["traceId"], span["spanId"], span.get("parentSpanId", ""), _KINDS.get(span["kind"], ""),
                    resource.get("service.name", ""), span["name"], "", _attributes(span["attributes"]), False,
                    start, int(span["endTimeUnixNano"]) - start, span["status"].get("code") == 2,
                )  # fmt: skip


def _attributes(attributes: Any) -> dict[str, str]:
    return {one["key"]: str(next(iter(one["value"].values()))) for one in attributes}


_PLAIN: dict[str, Callable[[Any], Iterator[tuple[Any, ...]]]] = {
    "zipkin": _zipkin,
    "jaeger": _jaeger,
    "otlp": _otlp,
}


_DECODERS: dict[str, type[decode_zipkin.Decoder | decode_jaeger.Decoder | decode_otlp.Decoder]] = {
    "zipkin": decode_zipkin.Decoder,
    "jaeger": decode_jaeger.Decoder,
    "otlp": decode_otlp.Decoder,
}


class _Timed:
    """Lines of a file, and the CPU time that it took to read them, in seconds."""

    def __init__(self, path: Path) -> None:
        self.seconds = 0.0
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb", buffering=1 << 20) as file:
            while True:
                began = time.process_time()
                line = file.readline()
                self.seconds += time.process_time() - began
                if not line:
                    return
                yield line


def main(how: str, format_: str, name: str) -> None:
    lines = _Timed(Path(name))
    began = time.process_time()
    if how == "sloctl-lines":
        frame = files.read([Path(name)]).frame
    else:
        frame = {"sloctl": sloctl, "plain": plain, "plain-lines": plain_lines}[how](format_, lines)
    print(len(frame), time.process_time() - began - lines.seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
