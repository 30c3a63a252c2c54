"""The trace source behind Jaeger's query service: the API of its pages, or where that is not served, version 3.

API: https://www.jaegertracing.io/docs/latest/architecture/apis/. The API of Jaeger's pages tells traces apart and is
served by Jaeger 1 and 2; version 3 answers in OTLP, with 404 where it finds nothing. A trace is of a window if a span
of the service that is asked for began in it; both ends are included. Traces are asked for as they were reported
(``raw``), not as Jaeger shows them: of servers' spans that share an id, in Zipkin's model, it puts all below one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

import msgspec

from sloctl.backends.spans import Spans, empty
from sloctl.backends.traces.decode_jaeger import decode
from sloctl.backends.traces.decode_otlp import decode as decode_otlp
from sloctl.backends.traces.judge import Gone, judge, names
from sloctl.backends.traces.reader import TracePage, TraceReader
from sloctl.backends.traces.sampling import Sample
from sloctl.errors import BadAnswer
from sloctl.model.durations import rfc3339

MAX_SERVICES = 10_000
"""So many services are asked for if none are named: Jaeger finds the traces of one service at a time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = "no traces found"
_ERRORS = "answers with errors beside their traces: {n}; traces may be missing"


class _Traces(msgspec.Struct):
    data: list[msgspec.Raw] | None
    errors: list[msgspec.Raw] | None = None


class _Stream(msgspec.Struct):
    result: dict[str, msgspec.Raw]


class Jaeger(TraceReader[str]):
    """One Jaeger."""

    UNIT = 10**6
    LIMIT = 500
    _version = 0

    def services(self, start: datetime, end: datetime) -> Sequence[str]:
        """The services that Jaeger knows of, at any time."""
        if self._version == 3:
            return self._session.ask("GET", "/api/v3/services", partial(judge, _services_of("services")))
        try:
            found = self._session.ask("GET", "/api/services", partial(judge, _services_of("data")))
            self._version = 1
        except BadAnswer as error:
            if self._version:
                raise
            try:
                found = self._session.ask("GET", "/api/v3/services", partial(judge, _services_of("services")))
            except BadAnswer:
                raise error from None
            self._version = 3
        return found

    def link(self, trace_id: str) -> str:
        """The trace in Jaeger's own pages."""
        return f"{self._ui}/trace/{quote(trace_id, safe='')}"

    def _whats(
        self, services: tuple[str, ...], start: datetime, end: datetime, sample: Sample
    ) -> tuple[Sequence[str], Mapping[str, int]]:
        # Also without need for the services this finds out which version there is.
        known = self.services(start, end) if not services or not self._version else ()
        # Beyond that, any of them: not those whose names come first.
        asked = services or sorted(known, key=lambda name: blake2b(name.encode()).digest())[:MAX_SERVICES]
        beyond = 0 if services else len(known) - len(asked)
        return asked, {
            f"{{n}} service{{s}} beyond {MAX_SERVICES:,} were not asked for": beyond
        } if beyond else {}

    def _page(self, what: str, start: int, end: int) -> TracePage:
        if self._version == 3:
            return self._page_of_version_3(what, start, end)
        params = {
            "service": what,
            "start": start * 1000,
            "end": end * 1000,
            "limit": self._limit,
            "raw": "true",
        }
        return self._session.ask("GET", "/api/traces", partial(judge, self._read), params=params)

    def _read(self, body: bytes) -> TracePage:
        answer = msgspec.json.decode(body, type=_Traces)
        lost = {_ERRORS: 1} if answer.errors else {}
        return TracePage(len(answer.data or ()), decode(body, self._attempt_tags), lost=lost)

    def _page_of_version_3(self, service: str, start: int, end: int) -> TracePage:
        wanted = {"ServiceName": service, "StartTimeMin": _text(start), "StartTimeMax": _text(end)}
        # Releases differ in how they write names, and ignore those that they do not know.
        params: dict[str, Any] = {"query.num_traces": self._limit}
        for name, value in {**wanted, "SearchDepth": self._limit, "RawTraces": "true"}.items():
            params["query." + name[0].lower() + name[1:]] = value
            params["query." + "".join(f"_{c.lower()}" if c.isupper() else c for c in name)[1:]] = value
        read = partial(judge, self._read_of_version_3, gone=lambda said: _NOTHING in said.lower())
        try:
            return self._session.ask("GET", "/api/v3/traces", read, params=params)
        except Gone:
            return TracePage(0, Spans(empty()))

    def _read_of_version_3(self, body: bytes) -> TracePage:
        found = decode_otlp(body, self._attempt_tags)
        if not len(found.frame):
            msgspec.json.decode(body, type=_Stream)
        traces = len(found.frame[["trace_high", "trace_low"]].drop_duplicates())
        return TracePage(traces + sum(found.rejected.values()), found)


def _services_of(key: str) -> Callable[[bytes], list[str]]:
    return lambda body: names(msgspec.json.decode(body, type=dict[str, Any])[key] or [])


def _text(milliseconds: int) -> str:
    return rfc3339(_EPOCH + timedelta(milliseconds=milliseconds), milliseconds=True)
