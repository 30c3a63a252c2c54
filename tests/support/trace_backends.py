"""Small Zipkin, Jaeger and Tempo that hold traces in memory and enforce their limits, for the tests of readers.

::

    backend = FakeJaeger(traces, version=3)
    with FaultyServer(backend) as server:
        ...

Each finds traces as the real one does: by their root or by any span of the service, or by overlap; limits cut the
newest, or any, of them. They answer 404 to every other path.
"""

from __future__ import annotations

import json
import random
import re
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from tests.support.faulty_server import Behaviour, Handler, as_json, status

Row = tuple[int, int, int, str, int]
"""Trace, span, parent, service, start in nanoseconds."""


@dataclass(frozen=True)
class Span:
    """``start`` and ``duration`` are in microseconds."""

    id: int
    parent: int
    service: str
    start: int
    duration: int = 10


@dataclass(frozen=True)
class Trace:
    id: int
    spans: tuple[Span, ...]

    @property
    def begin(self) -> int:
        """In microseconds, by the rule of readers."""
        roots = [span.start for span in self.spans if not span.parent]
        return min(roots or [span.start for span in self.spans])

    @property
    def name(self) -> str:
        return f"{self.id:032x}"

    def by(self, service: str) -> bool:
        return not service or any(span.service == service for span in self.spans)

    def rows(self) -> list[Row]:
        return [(self.id, span.id, span.parent, span.service, span.start * 1000) for span in self.spans]


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """What a frame holds, comparable with what traces hold."""
    return sorted(
        (int(high) << 64 | int(low), int(span), int(parent), str(service), start.value)
        for high, low, span, parent, service, start in zip(
            *(frame[name] for name in ("trace_high", "trace_low", "span", "parent", "service", "start")),
            strict=True,
        )
    )


class FakeBackend(ABC):
    """A behaviour for ``FaultyServer``."""

    def __init__(self, traces: Sequence[Trace]) -> None:
        self.traces = list(traces)

    def __call__(self, handler: Handler) -> None:
        (self.answer(handler.received.path, handler.received.form) or status(404, "404 page not found"))(
            handler
        )

    @abstractmethod
    def answer(self, path: str, form: Mapping[str, str]) -> Behaviour | None:
        """What is answered to a request; None is 404."""

    @abstractmethod
    def found(self, service: str, start: int, end: int) -> list[Trace]:
        """The traces of a window, in the backend's units; Tempo's ``service`` is a query."""

    def known(self) -> list[str]:
        return sorted({span.service for trace in self.traces for span in trace.spans})


class FakeZipkin(FakeBackend):
    """``by_root`` finds traces as Zipkin's storage in memory does, else by any span, as its others do."""

    def __init__(self, traces: Sequence[Trace], *, by_root: bool = True) -> None:
        super().__init__(traces)
        self.by_root = by_root

    def answer(self, path: str, form: Mapping[str, str]) -> Behaviour | None:
        if path == "/api/v2/services":
            return as_json(self.known())
        if path != "/api/v2/traces":
            return None
        end, lookback = int(form["endTs"]), int(form["lookback"])
        if end <= 0 or lookback <= 0:
            return status(400, "lookback <= 0")
        found = self.found(form.get("serviceName", ""), end - lookback, end)[: int(form["limit"])]
        return as_json([[self._span(trace, span) for span in trace.spans] for trace in found])

    def found(self, service: str, start: int, end: int) -> list[Trace]:
        def within(trace: Trace) -> bool:
            times = [trace.begin] if self.by_root else [s.start for s in trace.spans if trace.by(service)]
            return trace.by(service) and any(start * 1000 <= time <= end * 1000 for time in times)

        return sorted(filter(within, self.traces), key=lambda trace: -trace.begin)

    def _span(self, trace: Trace, span: Span) -> dict[str, Any]:
        parent = {"parentId": f"{span.parent:016x}"} if span.parent else {}
        return {
            "traceId": trace.name,
            "id": f"{span.id:016x}",
            "timestamp": span.start,
            "duration": span.duration,
            "localEndpoint": {"serviceName": span.service},
            **parent,
        }


class FakeJaeger(FakeBackend):
    """Serves version 1 of the API beside version 3, or version 3 only."""

    def __init__(self, traces: Sequence[Trace], *, version: int = 1) -> None:
        super().__init__(traces)
        self.version = version

    def answer(self, path: str, form: Mapping[str, str]) -> Behaviour | None:
        if path == "/api/v3/services":
            return as_json({"services": self.known()})
        if path == "/api/v3/traces":
            times = [round(_micros(form[f"query.start_time_{end}"]) / 1000) for end in ("min", "max")]
            assert form["query.raw_traces"] == "true", "else ids are rewritten"
            found = self.found(form["query.service_name"], *times)[: int(form["query.search_depth"])]
            if not found:
                return as_json({"error": {"httpCode": 404, "message": "No traces found"}}, 404)
            return as_json({"result": {"resourceSpans": [r for trace in found for r in otlp(trace)]}})
        if self.version != 1 or path not in ("/api/services", "/api/traces"):
            return None
        if path == "/api/services":
            return as_json({"data": self.known() or None, "total": 0, "errors": None})
        assert form["raw"] == "true", "else ids are rewritten"
        start, end = (int(form[name]) // 1000 for name in ("start", "end"))
        found = self.found(form["service"], start, end)[: int(form["limit"])]
        return as_json({"data": [self._trace(trace) for trace in found], "errors": None})

    def found(self, service: str, start: int, end: int) -> list[Trace]:
        def within(trace: Trace) -> bool:
            return any(
                start * 1000 <= span.start <= end * 1000 for span in trace.spans if span.service == service
            )

        return sorted(filter(within, self.traces), key=lambda trace: -trace.begin)

    def _trace(self, trace: Trace) -> dict[str, Any]:
        def one(span: Span) -> dict[str, Any]:
            parent = {"refType": "CHILD_OF", "traceID": trace.name, "spanID": f"{span.parent:016x}"}
            return {
                "traceID": trace.name,
                "spanID": f"{span.id:016x}",
                "operationName": "x",
                "references": [parent] if span.parent else [],
                "startTime": span.start,
                "duration": span.duration,
                "tags": [],
                "processID": span.service,
            }

        processes = {span.service: {"serviceName": span.service} for span in trace.spans}
        return {"traceID": trace.name, "spans": [one(span) for span in trace.spans], "processes": processes}


class FakeTempo(FakeBackend):
    """Gives traces in no order, and serves version 1 of fetching a trace beside version 2, or alone.

    ``hidden`` traces are counted by TraceQL metrics, where it has these, and found by no search.
    """

    def __init__(
        self,
        traces: Sequence[Trace],
        *,
        version: int = 2,
        max_limit: int = 10**6,
        metrics: bool = False,
        hidden: Sequence[Trace] = (),
    ) -> None:
        super().__init__(traces)
        self.version, self.max_limit, self.metrics, self.hidden = version, max_limit, metrics, hidden
        self._random = random.Random(1)

    def answer(self, path: str, form: Mapping[str, str]) -> Behaviour | None:
        by_name = {trace.name: trace for trace in self.traces}
        if path == "/api/search":
            if (limit := int(form["limit"])) > self.max_limit:
                return status(400, f"limit {limit} exceeds max limit {self.max_limit}")
            found = self.found(form["q"], int(form["start"]), int(form["end"]))
            self._random.shuffle(found)
            jobs = {"totalJobs": 9, "completedJobs": 9 if len(found) <= limit else 3}
            return as_json({"traces": [self._meta(trace) for trace in found[:limit]], "metrics": jobs})
        if path == "/api/metrics/query_range" and self.metrics:
            spans = [span for trace in (*self.traces, *self.hidden) for span in trace.spans]
            first, last = int(form["start"]) * 10**6, int(form["end"]) * 10**6
            count = sum(first <= span.start < last for span in spans)
            return as_json({"series": [{"labels": [], "samples": [{"timestampMs": "1", "value": count}]}]})
        if path.endswith("/values"):
            values: list[Any] = self.known()
            if path.startswith("/api/v2/"):
                if self.version == 1:
                    return None
                values = [{"type": "string", "value": value} for value in values]
            return as_json({"tagValues": values})
        trace = by_name.get(path.rpartition("/")[2].zfill(32))
        if trace is None:
            return status(404)
        if path.startswith("/api/traces/"):
            return as_json({"batches": otlp(trace)})
        if path.startswith("/api/v2/traces/") and self.version == 2:
            return as_json({"trace": {"resourceSpans": otlp(trace)}, "status": "COMPLETE"})
        return None

    def found(self, service: str, start: int, end: int) -> list[Trace]:
        services = re.findall('"([^"]*)"', service) or [""]

        def within(trace: Trace) -> bool:
            first = min(span.start for span in trace.spans)
            last = max(span.start + span.duration for span in trace.spans)
            return any(map(trace.by, services)) and first <= end * 10**6 and last >= start * 10**6

        return list(filter(within, self.traces))

    def _meta(self, trace: Trace) -> dict[str, Any]:
        first = min(span.start for span in trace.spans)
        return {"traceID": trace.name.lstrip("0") or "0", "startTimeUnixNano": str(first * 1000)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(version={self.version})"


def otlp(trace: Trace) -> list[dict[str, Any]]:
    """A trace as OTLP's JSON: resources with their spans."""

    def one(span: Span) -> dict[str, Any]:
        start = span.start * 1000
        return {
            "traceId": trace.name,
            "spanId": f"{span.id:016x}",
            "parentSpanId": f"{span.parent:016x}" if span.parent else "",
            "name": "x",
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(start + span.duration * 1000),
        }

    return [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeSpans": [{"spans": [one(span) for span in trace.spans if span.service == service]}],
        }
        for service in dict.fromkeys(span.service for span in trace.spans)
    ]


def _micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def write(traces: Sequence[Trace]) -> list[bytes]:
    """Traces as bodies of POSTs to Zipkin."""
    spans = [FakeZipkin([])._span(trace, span) for trace in traces for span in trace.spans]
    return [json.dumps(spans[at : at + 2000]).encode() for at in range(0, len(spans), 2000)]


def post(url: str, content: Any) -> None:
    """Sends JSON, or a body that is JSON already."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()
