"""Readers of traces against small backends that enforce limits: each span once, none missing, or it is said."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sloctl.backends.spans import mixed, problems
from sloctl.backends.traces.client import READERS, open_traces
from sloctl.settings.backends import TracesSettings
from tests.support.faulty_server import FaultyServer
from tests.support.trace_backends import (
    FakeBackend,
    FakeJaeger,
    FakeTempo,
    FakeZipkin,
    Row,
    Span,
    Trace,
    rows_of,
)

BASE = 1_709_294_400_000_000
"""Microseconds: 2024-03-01 12:00 UTC."""
BACKENDS: dict[str, tuple[str, Callable[[list[Trace]], FakeBackend]]] = {
    "Zipkin in memory": ("zipkin", FakeZipkin),
    "Zipkin": ("zipkin", lambda traces: FakeZipkin(traces, by_root=False)),
    "Jaeger": ("jaeger", FakeJaeger),
    "Jaeger, version 3": ("jaeger", lambda traces: FakeJaeger(traces, version=3)),
    "Tempo": ("tempo", FakeTempo),
    "Tempo, version 1": ("tempo", lambda traces: FakeTempo(traces, version=1)),
}
EACH = pytest.mark.parametrize("backend", BACKENDS)


def time_of(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


@st.composite
def traces_of(draw: st.DrawFn, unit: int) -> list[Trace]:
    """Traces within 60 shortest windows (``unit`` microseconds each), in clusters, some without a root."""
    found = []
    clusters = draw(st.lists(st.integers(0, 59), min_size=1, max_size=4))
    for number in range(1, draw(st.integers(0, 24)) + 1):
        at = draw(st.sampled_from(clusters)) if draw(st.booleans()) else draw(st.integers(0, 59))
        begin = BASE + at * unit + draw(st.sampled_from([0, 1, unit // 2, unit - 1]))
        root = 0 if draw(st.booleans()) else 99
        spans = [Span(number << 8, root, draw(st.sampled_from("abc")), begin, draw(st.integers(0, 3 * unit)))]
        for child in range(1, draw(st.integers(0, 3)) + 1):
            later = begin + draw(st.integers(-unit, 3 * unit))
            parent = draw(st.sampled_from(spans)).id
            spans.append(Span((number << 8) + child, parent, draw(st.sampled_from("abc")), later))
        high = draw(st.sampled_from([0, 1 << 64]))
        found.append(Trace(high + number, tuple(spans)))
    return found


@EACH
@given(data=st.data())
@settings(
    max_examples=settings().max_examples // 5, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_each_span_comes_once_and_none_is_missing(backend: str, data: st.DataObject) -> None:
    kind, make = BACKENDS[backend]
    unit = READERS[kind].UNIT // 1000
    traces = data.draw(traces_of(unit))
    limit = data.draw(st.integers(2, 8))
    services = data.draw(st.sampled_from([(), ("a",), ("b", "a"), ("c", "nobody")]))
    first, last = sorted(BASE + data.draw(st.integers(-2 * unit, 62 * unit)) for _ in range(2))
    fake = make(traces)

    expected = sorted(
        row
        for trace in traces
        if first <= trace.begin < last and (not services or any(map(trace.by, services)))
        for row in trace.rows()
    )
    with FaultyServer(fake) as server, reader(server, kind, limit=limit, concurrency=2) as source:
        found = source.spans(time_of(first), time_of(last), services)
        assert source.queries == len(server.requests)
    assert problems(found.frame) == []
    rows = rows_of(found.frame)
    if dense(fake, services, unit, limit):
        event("cut")
        assert set(rows) <= set(expected)
        assert len(rows) == len(set(rows))
        assert rows == expected or "are missing" in found.incomplete[-1]
    else:
        event("whole")
        assert rows == expected
        assert found.incomplete == ()
    assert found.rejected == {}


def reader(server: FaultyServer, kind: str, *, concurrency: int = 4, **options: Any) -> Any:
    return open_traces(TracesSettings(server.url, concurrency=concurrency), kind, **options)


def dense(fake: FakeBackend, services: tuple[str, ...], unit: int, limit: int) -> bool:
    """Whether a window that cannot be divided has more than fits into an answer."""
    asked = services or (fake.known() if isinstance(fake, FakeJaeger) else ("",))
    if isinstance(fake, FakeTempo):
        asked = (" ".join(f'"{service}"' for service in services),)
    windows = range(BASE // unit - 4, BASE // unit + 68)
    return any(len(fake.found(service, at, at + 1)) >= limit for service in asked for at in windows)


@EACH
def test_a_window_that_cannot_be_divided_is_cut_and_said_to_be(backend: str) -> None:
    kind, make = BACKENDS[backend]
    traces = [Trace(number, (Span(number, 0, "a", BASE + 5),)) for number in range(1, 31)]
    with FaultyServer(make(traces)) as server, reader(server, kind, limit=10) as source:
        found = source.spans(time_of(BASE), time_of(BASE + 60_000_000))
    assert len(found.frame) == 10
    length = "1 s" if kind == "tempo" else "1 ms"
    (said,) = found.incomplete
    assert said.startswith("in ")
    assert f"of {length} are 10 traces or more: the others are missing" in said


@EACH
def test_of_more_spans_than_are_held_whole_traces_stay_by_their_hash(backend: str) -> None:
    kind, make = BACKENDS[backend]
    second = 10**6
    traces = [
        Trace(n, tuple(Span(n * 10 + k, 0, "a", BASE + n * 5 * second) for k in (1, 2, 3)))
        for n in range(1, 101)
    ]
    with FaultyServer(make(traces)) as server, reader(server, kind, limit=10, max_spans=50) as source:
        found = source.spans(time_of(BASE), time_of(BASE + 600 * second))
        fetched = sum("/traces/" in request.path for request in server.requests)
    hashes = mixed(np.array([trace.id % 2**64 for trace in traces], np.uint64))
    kept = [one for one, of in zip(traces, hashes, strict=True) if int(of) * found.one_in < 2**64]
    assert rows_of(found.frame) == sorted(row for trace in kept for row in trace.rows())
    assert found.one_in in (8, 16)
    assert 12 <= len(found.frame) <= 50
    assert found.incomplete == ()
    assert fetched < 100, "Tempo is not asked for traces that would be left out"


@EACH
def test_a_long_time_is_asked_for_in_windows_of_an_hour(backend: str) -> None:
    kind, make = BACKENDS[backend]
    hour = 3600 * 10**6
    traces = [Trace(n, (Span(n, 0, "a", BASE + n * hour // 2),)) for n in range(1, 11)]
    expected: list[Row] = sorted(row for trace in traces for row in trace.rows())
    with FaultyServer(make(traces)) as server, reader(server, kind) as source:
        assert rows_of(source.spans(time_of(BASE), time_of(BASE + 6 * hour)).frame) == expected
        asked = [r for r in server.requests if r.path.endswith(("/traces", "/search"))]
    assert len(asked) in (7, 8)


@EACH
def test_services(backend: str) -> None:
    kind, make = BACKENDS[backend]
    traces = [Trace(1, (Span(1, 0, "web", BASE), Span(2, 1, "db", BASE)))]
    with FaultyServer(make(traces)) as server, reader(server, kind) as source:
        assert list(source.services(time_of(BASE), time_of(BASE + 1))) == ["db", "web"]
        assert list(source.services(time_of(BASE), time_of(BASE + 1))) == ["db", "web"]


@EACH
def test_an_empty_backend_has_no_spans(backend: str) -> None:
    kind, make = BACKENDS[backend]
    with FaultyServer(make([])) as server, reader(server, kind) as source:
        for services in ((), ("a",)):
            found = source.spans(time_of(BASE), time_of(BASE + 10**6), services)
            assert (len(found.frame), found.incomplete, found.rejected) == (0, (), {})


@EACH
@pytest.mark.parametrize("offset", [-500_000, 30_000_000])
def test_a_service_may_join_a_trace_late_or_by_a_clock_that_is_behind(backend: str, offset: int) -> None:
    kind, make = BACKENDS[backend]
    second = 10**6
    begin = BASE if offset < 0 else BASE + 10 * second - 1
    trace = Trace(1, (Span(1, 0, "web", begin, 40 * second), Span(2, 1, "db", begin + offset)))
    for services in ((), ("web",), ("db",)):
        with FaultyServer(make([trace])) as server, reader(server, kind) as source:
            found = source.spans(time_of(BASE), time_of(BASE + 10 * second), services)
        assert rows_of(found.frame) == sorted(trace.rows())
