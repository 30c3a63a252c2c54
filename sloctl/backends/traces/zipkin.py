"""The trace source behind Zipkin's API, version 2.

API: https://zipkin.io/zipkin-api/. A trace is of a window if its root began in it (storage in memory) or if any of
its spans did (other storages); times are milliseconds, both ends included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import quote

import msgspec

from sloctl.backends.traces.decode_zipkin import decode
from sloctl.backends.traces.judge import judge, names
from sloctl.backends.traces.reader import TracePage, TraceReader
from sloctl.backends.traces.sampling import Sample


class Zipkin(TraceReader[str]):
    """One Zipkin; "" asks for all services at once."""

    UNIT = 10**6
    LIMIT = 1000

    def services(self, start: datetime, end: datetime) -> Sequence[str]:
        """The services that Zipkin knows of, at any time."""
        read = partial(judge, lambda body: names(msgspec.json.decode(body)))
        return self._session.ask("GET", "/api/v2/services", read)

    def link(self, trace_id: str) -> str:
        """The trace in Zipkin's own pages."""
        return f"{self._ui.removesuffix('/zipkin')}/zipkin/traces/{quote(trace_id, safe='')}"

    def _whats(
        self, services: tuple[str, ...], start: datetime, end: datetime, sample: Sample
    ) -> tuple[Sequence[str], Mapping[str, int]]:
        return services or ("",), {}

    def _page(self, what: str, start: int, end: int) -> TracePage:
        params = {"endTs": end, "lookback": end - start, "limit": self._limit}
        if what:
            params |= {"serviceName": what}  # type: ignore[dict-item]
        return self._session.ask("GET", "/api/v2/traces", partial(judge, self._read), params=params)

    def _read(self, body: bytes) -> TracePage:
        traces = msgspec.json.decode(body, type=list[list[msgspec.Raw]])
        return TracePage(len(traces), decode(body, self._attempt_tags))
