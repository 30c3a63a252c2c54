"""Readers of traces against a real Zipkin and a real Jaeger: what was sent is read back, through small pages."""

from __future__ import annotations

import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sloctl.backends.traces.client import open_traces
from sloctl.errors import UsageError
from sloctl.settings.backends import TracesSettings
from tests.support.faulty_server import Behaviour, FaultyServer, Handler, status
from tests.support.trace_backends import Span, Trace, otlp, post, rows_of, write

collectors = pytest.importorskip("sloctl.demo.mesh.collectors")
pytestmark = pytest.mark.xdist_group("trace servers")

MINUTES = 10


def some_traces(count: int) -> list[Trace]:
    """Traces of the last minutes, of three services."""
    rng = random.Random(7)
    now = int(time.time()) * 10**6
    found = []
    for _ in range(count):
        begin = now - rng.randrange(MINUTES * 60 * 10**6)
        spans = [Span(rng.getrandbits(63) + 1, 0, "web", begin, 5000)]
        for _ in range(rng.randrange(4)):
            later = begin + rng.randrange(4000)
            spans.append(Span(rng.getrandbits(63) + 1, spans[0].id, rng.choice(["cart", "db"]), later))
        found.append(Trace(rng.getrandbits(128), tuple(spans)))
    return found


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """Starts a server by the name of its class, once; skips where its program is not to be had."""
    running: dict[str, Any] = {}

    def ensure(name: str) -> Any:
        if name not in running:
            server = getattr(collectors, name)(Path(tmp_path_factory.mktemp(name.lower())))
            try:
                running[name] = server.__enter__()
            except UsageError as error:
                pytest.skip(str(error))
        return running[name]

    yield ensure
    for server in running.values():
        server.__exit__(None, None, None)


def read_back(backend: str, url: str, traces: list[Trace], limit: int) -> int:
    """Compares all, and by services, and by halves of the time; how many requests all took."""
    end = datetime.fromtimestamp(int(time.time()) + 1, UTC)
    begin = end - timedelta(minutes=MINUTES + 2)
    middle = end - timedelta(minutes=MINUTES // 2, microseconds=1234)
    cut = (middle - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    with open_traces(TracesSettings(url), backend, limit=limit) as source:
        found = source.spans(begin, end)
        asked = source.queries
        assert rows_of(found.frame) == sorted(row for trace in traces for row in trace.rows())
        assert (found.incomplete, found.rejected) == ((), {})
        assert list(source.services(begin, end)) == ["cart", "db", "web"]
        assert rows_of(source.spans(begin, end, ["cart"]).frame) == sorted(
            row for trace in traces if trace.by("cart") for row in trace.rows()
        )
        halves = [source.spans(begin, middle), source.spans(middle, end)]
    for half, early in zip(halves, (True, False), strict=True):
        expected = sorted(row for trace in traces if (trace.begin < cut) is early for row in trace.rows())
        assert rows_of(half.frame) == expected
    return asked


def test_zipkin(start: Callable[[str], Any]) -> None:
    server = start("Zipkin")
    traces = some_traces(3000)
    for body in write(traces):
        post(f"{server.url}/api/v2/spans", body)
    _await(lambda: server.received() >= sum(len(trace.spans) for trace in traces))
    asked = read_back("zipkin", server.url, traces, limit=100)
    assert asked < 250


def test_jaeger(start: Callable[[str], Any]) -> None:
    server = start("Jaeger")
    traces = some_traces(1000)
    for at in range(0, len(traces), 100):
        resources = [part for trace in traces[at : at + 100] for part in otlp(trace)]
        post(f"http://127.0.0.1:{server.spans_port}/v1/traces", {"resourceSpans": resources})
    _await(lambda: server.received() >= sum(len(trace.spans) for trace in traces))
    read_back("jaeger", server.url, traces, limit=100)
    with FaultyServer(version_3_of(server.url)) as gateway:
        read_back("jaeger", gateway.url, traces, limit=100)
        assert {r.path for r in gateway.requests} == {"/api/services", "/api/v3/services", "/api/v3/traces"}


def version_3_of(url: str) -> Behaviour:
    """Passes requests on, but only those to version 3 of the API."""

    def behave(handler: Handler) -> None:
        path = handler.received.path
        if not path.startswith("/api/v3/"):
            status(404, "404 page not found")(handler)
            return
        try:
            with urllib.request.urlopen(f"{url}{path}?{handler.received.query}", timeout=60) as answer:
                status(answer.status, answer.read(), kind="application/json")(handler)
        except urllib.error.HTTPError as error:
            status(error.code, error.read(), kind="application/json")(handler)

    return behave


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the spans did not arrive"
        time.sleep(0.2)
