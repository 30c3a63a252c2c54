"""The trace source behind Grafana Tempo's API: searches in TraceQL, then each trace by its id.

API: https://grafana.com/docs/tempo/latest/api_docs/. A search finds traces that overlap a window, in no order; times
are seconds. What Tempo says to be partial, and traces that are gone by the time that they are fetched, end up in
``Spans.incomplete``.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import compress
from math import isfinite
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from sloctl.backends.http.answers import TooLarge
from sloctl.backends.spans import Spans
from sloctl.backends.traces.columns import merge
from sloctl.backends.traces.decode_otlp import decode
from sloctl.backends.traces.gather import Answer
from sloctl.backends.traces.judge import Gone, judge, names
from sloctl.backends.traces.reader import SECOND, TracePage, TraceReader, nanoseconds
from sloctl.backends.traces.sampling import Sample
from sloctl.errors import BackendError, QueryRejected

MISSING = 0.1
"""The share of the spans that a server counts that may be missing: traces at both ends of a time are left out."""
_AT_ONCE = 16
_SERVICES_AT_ONCE = 20
_ID = re.compile(r"[0-9a-fA-F]{1,32}")
_MAX_LIMIT = re.compile(r"limit \d+ exceeds max limit (\d+)")
_GONE = "{n} trace{s} that a search found could not be fetched: gone by then, or not to be had under their id"
_LARGE = "{n} trace{s} too large to be fetched"
_PART = "{n} trace{s} came in part only"
_SEARCH = "searches that were not finished: {n}; traces may be missing"


@dataclass(frozen=True)
class _Search:
    """A query; of the traces that it finds, those that begin between two times (nanoseconds) are fetched, once."""

    query: str
    first: int
    last: int
    sample: Sample
    taken: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, traces: Sequence[_Found]) -> list[str]:
        """The ids of those traces that are to be fetched, and that nobody has taken yet."""
        with self.lock:
            new = [
                trace.id
                for trace in traces
                if self.first <= (trace.start or self.first) < self.last and trace.id not in self.taken
            ]
            self.taken.update(new)
        return list(dict.fromkeys(new))


class _Found(msgspec.Struct, gc=False):
    id: str = msgspec.field(name="traceID")
    start_text: str | int = msgspec.field(name="startTimeUnixNano", default="0")

    @property
    def start(self) -> int:
        return int(self.start_text)


class _Work(msgspec.Struct):
    total_text: int | str = msgspec.field(name="totalJobs", default=0)
    completed_text: int | str = msgspec.field(name="completedJobs", default=0)

    @property
    def finished(self) -> bool:
        """Whether all that there was to search was searched."""
        return int(self.completed_text) >= int(self.total_text)


class _Answer(msgspec.Struct):
    traces: list[_Found] | None = None
    metrics: _Work | None = None
    status: str | int = ""


class _Trace(msgspec.Struct):
    trace: dict[str, msgspec.Raw] | None = None
    batches: list[msgspec.Raw] | None = None
    resources: list[msgspec.Raw] | None = msgspec.field(name="resourceSpans", default=None)
    status: str | int = ""


class _Sample(msgspec.Struct):
    value: float | str = 0.0


class _Series(msgspec.Struct):
    samples: list[_Sample] = []


class _Metrics(msgspec.Struct):
    series: list[_Series] | None = None


class Tempo(TraceReader[_Search]):
    """One Tempo; ``ui`` is the address of the Grafana that shows its traces."""

    UNIT = SECOND
    LIMIT = 500
    _version = 0

    def spans(self, start: datetime, end: datetime, services: Sequence[str] = ()) -> Spans:
        """As every reader; and where the server has TraceQL metrics, its own count of spans is held against what came.

        A server that silently gives fewer traces than it has is found out by that.
        """
        found = super().spans(start, end, services)
        if services or start >= end:
            return found  # of named services come whole traces: nobody counts the spans of the other ones
        counted = self._counted(start, end)
        read = found.one_in * (len(found.frame) + found.duplicates + sum(found.rejected.values()))
        if counted is None or read >= (1 - MISSING) * counted:
            return found
        about = "about " if found.one_in > 1 else ""
        text = f"Tempo counts {counted:,.0f} spans in that time, and gave {about}{read:,}"
        return replace(found, incomplete=(*found.incomplete, text))

    def _counted(self, start: datetime, end: datetime) -> float | None:
        """How many spans began in a time, by TraceQL metrics; None from a server without them."""
        first, last = nanoseconds(start) // SECOND, -(-nanoseconds(end) // SECOND)
        params = {
            "q": "{ } | count_over_time()",
            "start": first,
            "end": last,
            "step": f"{max(1, last - first)}s",
        }
        try:
            read = partial(judge, _total)
            return self._session.ask("GET", "/api/metrics/query_range", read, params=params, retries=0)
        except BackendError:
            return None

    def services(self, start: datetime, end: datetime) -> Sequence[str]:
        """The services that reported spans in that time; in releases before 2, lately."""
        params = {"start": nanoseconds(start) // SECOND, "end": -(-nanoseconds(end) // SECOND)}
        ask, read = self._session.ask, partial(judge, _values, gone=lambda _said: True)
        try:
            return ask("GET", "/api/v2/search/tag/resource.service.name/values", read, params=params)
        except Gone:
            return ask("GET", "/api/search/tag/service.name/values", partial(judge, _values), params=params)

    def link(self, trace_id: str) -> str:
        """The trace in Grafana's Explore, from the data source that is called tempo there; "" without a Grafana."""
        if not self._ui:
            return ""
        source = {"type": "tempo", "uid": "tempo"}
        query = {"refId": "A", "datasource": source, "queryType": "traceql", "query": trace_id}
        panes = {"traces": {"datasource": source["uid"], "queries": [query]}}
        text = quote(json.dumps(panes, separators=(",", ":")), safe="")
        return f"{self._ui}/explore?schemaVersion=1&panes={text}"

    def _whats(
        self, services: tuple[str, ...], start: datetime, end: datetime, sample: Sample
    ) -> tuple[Sequence[_Search], Mapping[str, int]]:
        queries = ["{ }"]
        if services:
            # Quoted as JSON is, which TraceQL reads.
            wanted = [f"resource.service.name = {json.dumps(name, ensure_ascii=False)}" for name in services]
            groups = range(0, len(wanted), _SERVICES_AT_ONCE)
            queries = ["{ " + " || ".join(wanted[at : at + _SERVICES_AT_ONCE]) + " }" for at in groups]
        first, last = nanoseconds(start) - SECOND, nanoseconds(end) + SECOND
        one = _Search("", first, last, sample)
        return [replace(one, query=query) for query in queries], {}

    def _page(self, what: _Search, start: int, end: int) -> TracePage:
        limit = self._limit
        params = {"q": what.query, "start": start, "end": end, "limit": limit, "spss": 1}
        try:
            answer = self._session.ask("GET", "/api/search", partial(judge, _search), params=params)
        except QueryRejected as error:
            allowed = _MAX_LIMIT.search(str(error))
            if not allowed or not 0 < int(allowed[1]) < limit:
                raise
            self._limit = min(self._limit, int(allowed[1]))
            return self._page(what, start, end)
        found = answer.traces or []
        work = answer.metrics or _Work()
        # A search that found enough stops before all is searched.
        partly = _partial(answer.status) or (len(found) < limit and not work.finished)
        if len(found) >= limit and end - start > 1:
            return TracePage(len(found))
        ids = what.take(found)
        more = [
            partial(self._fetch, what.sample, ids[at : at + _AT_ONCE]) for at in range(0, len(ids), _AT_ONCE)
        ]
        return TracePage(len(found), more=more, lost={_SEARCH: 1} if partly else {})

    def _fetch(self, sample: Sample, ids: Sequence[str]) -> Answer:
        """The spans of some traces, those that are of the sample."""
        kept = sample.keeps(np.array([int(trace_id[-16:], 16) for trace_id in ids], np.uint64))
        parts: list[Spans] = []
        lost: Counter[str] = Counter()
        for trace_id in compress(ids, kept):
            try:
                found, partly = self._trace(trace_id)
            except Gone:
                lost[_GONE] += 1
            except TooLarge:
                lost[_LARGE] += 1
            else:
                parts.append(found)
                lost[_PART] += partly
                lost[_GONE] += not len(found.frame) and not found.rejected
        return Answer(merge(parts), lost=+lost)

    def _trace(self, trace_id: str) -> tuple[Spans, bool]:
        """The spans of a trace, and whether they are only a part. Raises ``Gone``."""
        ask, read = self._session.ask, partial(judge, self._read, gone=lambda _said: True)
        if self._version != 1:
            try:
                found = ask("GET", f"/api/v2/traces/{trace_id}", read)
                self._version = 2
                return found
            except Gone:
                # Older releases have no version 2, and say so in the same way.
                if self._version == 2:
                    raise
        found = ask("GET", f"/api/traces/{trace_id}", read)
        self._version = 1
        return found

    def _read(self, body: bytes) -> tuple[Spans, bool]:
        answer = msgspec.json.decode(body, type=_Trace)
        if (
            answer.trace is None
            and answer.batches is None
            and answer.resources is None
            and body.strip() != b"{}"
        ):
            if not answer.status:
                raise ValueError("no trace")
            return decode(b"{}"), _partial(answer.status)
        return decode(body, self._attempt_tags), _partial(answer.status)


def _search(body: bytes) -> _Answer:
    answer = msgspec.json.decode(body, type=_Answer)
    if answer.traces is None and answer.metrics is None:
        raise ValueError("no answer to a search")
    if answer.metrics is not None:
        _ = answer.metrics.finished  # or they are no numbers
    for trace in answer.traces or ():
        if not _ID.fullmatch(trace.id) or trace.start < 0:
            raise ValueError("no trace")
    return answer


def _total(body: bytes) -> float:
    """The sum of all samples of an answer of TraceQL metrics."""
    answer = msgspec.json.decode(body, type=_Metrics)
    if answer.series is None:
        raise ValueError("no series")
    total = sum(float(sample.value) for series in answer.series for sample in series.samples)
    if not isfinite(total):
        raise ValueError("no count")
    return total


def _partial(status: str | int) -> bool:
    return status in ("PARTIAL", 1)


def _values(body: bytes) -> list[str]:
    """Values of a tag: texts, or in version 2 objects that say their type."""
    answer = msgspec.json.decode(body, type=dict[str, Any])
    if "tagValues" not in answer and "metrics" not in answer:
        raise ValueError("no values")
    values: list[Any] = answer.get("tagValues") or []
    return names([value["value"] if isinstance(value, dict) else value for value in values])
