"""Readers of traces against servers that misbehave: one set of faults for each request of each backend."""

from __future__ import annotations

import gzip
import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from sloctl.backends.traces import jaeger
from sloctl.backends.traces.client import READERS, open_traces
from sloctl.backends.traces.reader import TraceClient
from sloctl.errors import (
    EXIT_BACKEND,
    EXIT_USAGE,
    BackendError,
    BackendLimit,
    BackendRateLimit,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    BadAnswer,
    QueryRejected,
    UsageError,
)
from sloctl.settings.backends import TracesSettings
from sloctl.settings.secret import Secret
from tests.support.faulty_server import (
    Behaviour,
    FaultyServer,
    Handler,
    Sleeps,
    as_json,
    cut_off,
    dripping,
    dripping_headers,
    hang_up,
    page,
    refused_url,
    slow,
    status,
)
from tests.support.interrupts import interruptible
from tests.support.trace_backends import FakeTempo, Span, Trace, otlp

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
END = START + timedelta(minutes=5)
MICROS = 1_709_294_400_000_000
TOKEN = "s3cr3t-t0ken"
ONE = Trace(0xABC, (Span(7, 0, "web", MICROS + 5),))
FOUND = as_json({"traces": [{"traceID": "abc", "startTimeUnixNano": str(MICROS * 1000 + 5000)}]})
Call = Callable[[TraceClient], Any]


@dataclass(frozen=True)
class Request:
    """A request of a reader: how it comes about, and what else is answered so that it does."""

    backend: str
    path: str
    fine: object
    call: Call = lambda reader: reader.spans(START, END, ["web"])
    paths: Mapping[str, Sequence[Behaviour]] = field(default_factory=dict)
    method: str = "GET"


def ask_services(reader: TraceClient) -> Any:
    return reader.services(START, END)


SERVICES_1, SERVICES_3 = as_json({"data": ["web"]}), as_json({"services": ["web"]})
REQUESTS = {
    "Zipkin's traces": Request("zipkin", "/api/v2/traces", []),
    "Zipkin's services": Request("zipkin", "/api/v2/services", [], ask_services),
    "Jaeger's traces": Request("jaeger", "/api/traces", {"data": []}, paths={"/api/services": [SERVICES_1]}),
    "Jaeger's traces, version 3": Request(
        "jaeger",
        "/api/v3/traces",
        {"result": {}},
        paths={"/api/services": [status(404)], "/api/v3/services": [SERVICES_3]},
    ),
    "Jaeger's services": Request(
        "jaeger",
        "/api/services",
        {"data": []},
        ask_services,
        paths={"/api/v3/services": [status(404, "404 page not found")]},
    ),
    "Tempo's search": Request("tempo", "/api/search", {"traces": []}),
    "Tempo's trace": Request(
        "tempo", "/api/v2/traces/abc", {"trace": {"resourceSpans": []}}, paths={"/api/search": [FOUND]}
    ),
    "Tempo's services": Request(
        "tempo",
        "/api/v2/search/tag/resource.service.name/values",
        {"tagValues": []},
        ask_services,
    ),
    "ClickHouse's rows": Request(
        "clickhouse", "/", {"meta": [], "data": [], "rows": 0}, ask_services, method="POST"
    ),
}
EACH = pytest.mark.parametrize("request_of", REQUESTS)
SEARCHES = pytest.mark.parametrize(
    "request_of",
    ["Zipkin's traces", "Jaeger's traces", "Jaeger's traces, version 3", "Tempo's search"],
)


def faulty(request: Request, *behaviours: Behaviour) -> FaultyServer:
    return FaultyServer(status(404, "404 page not found"), paths={**request.paths, request.path: behaviours})


def reader(
    url: str,
    backend: str,
    sleeps: Sleeps | None = None,
    *,
    timeout: float = 5,
    retries: int = 3,
    concurrency: int = 2,
    headers: dict[str, Secret] | None = None,
    max_bytes: int = 10**6,
    **options: Any,
) -> TraceClient:
    settings = TracesSettings(
        url,
        timeout=timeout,
        retries=retries,
        concurrency=concurrency,
        token=Secret(TOKEN),
        headers=headers or {},
    )
    sleep = Sleeps() if sleeps is None else sleeps
    return open_traces(
        settings, backend, sleep=sleep, now=lambda: 1e9, jitter=lambda: 1.0, max_bytes=max_bytes, **options
    )


FAULTS: dict[str, tuple[Behaviour, type[BackendError], str, int]] = {
    # name: (behaviour, error, part of the message or hint, requests sent with three retries)
    "hang up": (hang_up, BackendUnavailable, "hung up without an answer", 4),
    "half an answer": (cut_off(b"[[", 500), BackendUnavailable, "broke within the answer", 4),
    "500": (status(500, "boom"), BackendUnavailable, "HTTP status 500: boom", 1),
    "500 in JSON": (as_json({"status": 500, "error": "boom"}, 500), BackendUnavailable, "500: boom", 1),
    "502": (page(502, "Bad Gateway"), BackendUnavailable, 'an HTML page "Bad Gateway" (tried 4 times)', 4),
    "503": (status(503), BackendUnavailable, "HTTP status 503", 4),
    "504": (status(504), BackendUnavailable, "HTTP status 504", 4),
    "429": (status(429, "slow down"), BackendRateLimit, "SLOCTL_TRACES_CONCURRENCY", 4),
    "400": (status(400, "parse error at line 1"), QueryRejected, "rejected: parse error at line 1", 1),
    "400 in JSON": (
        as_json({"data": None, "errors": [{"code": 400, "msg": "parameter 'service' is required"}]}, 400),
        QueryRejected,
        "rejected: parameter 'service' is required",
        1,
    ),
    "400 of a gateway": (
        as_json({"error": {"httpCode": 400, "message": "malformed parameter"}}, 400),
        QueryRejected,
        "rejected: malformed parameter",
        1,
    ),
    "422": (as_json({"message": "no such field"}, 422), QueryRejected, "no such field", 1),
    "400 of a proxy": (page(400, "Bad Request"), BadAnswer, 'an HTML page "Bad Request"', 1),
    "400 of TLS": (status(400, "HTTP request to an HTTPS server"), BadAnswer, "HTTPS server", 1),
    "401": (status(401, "no"), BackendRefused, "SLOCTL_TRACES_TOKEN_FILE", 1),
    "403": (page(403, "Forbidden"), BackendRefused, "access denied (403)", 1),
    "404 of a proxy": (page(404, "Not Found"), BadAnswer, "is the address right?", 1),
    "HTML 200": (page(200), BadAnswer, 'an HTML page "Sign in"', 1),
    "plain text": (status(200, "hello"), BadAnswer, "hello", 1),
    "empty": (status(200), BadAnswer, "an empty answer", 1),
    "204": (status(204), BadAnswer, "HTTP status 204", 1),
    "truncated list": (status(200, '[[{"traceId":"a'), BadAnswer, "ends in the middle", 1),
    "truncated object": (status(200, '{"data":[{"tra'), BadAnswer, "ends in the middle", 1),
    "not UTF-8": (status(200, b'{"data": "\xff"}'), BadAnswer, "not JSON", 1),
    "deep": (status(200, "[" * 100_000), BadAnswer, "not JSON", 1),
    "null": (as_json(None), BadAnswer, "unknown form", 1),
    "number": (as_json(7), BadAnswer, "unknown form", 1),
    "list of numbers": (as_json([7]), BadAnswer, "unknown form", 1),
    "other JSON": (as_json({"message": "ok"}), BadAnswer, "unknown form", 1),
    "odd data": (
        as_json(dict.fromkeys(["data", "services", "result", "traces", "trace", "tagValues"], 7)),
        BadAnswer,
        "unknown form",
        1,
    ),
    "redirect": (status(302, headers={"Location": "/login?next=x"}), BadAnswer, "redirects to /login", 1),
    "not gzip": (status(200, "plain", {"Content-Encoding": "gzip"}), BadAnswer, "cannot be decoded", 1),
}


@EACH
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_error(request_of: str, name: str) -> None:
    request = REQUESTS[request_of]
    behaviour, kind, part, requests_sent = FAULTS[name]
    with faulty(request, behaviour) as server, reader(server.url, request.backend) as source:
        with pytest.raises(kind) as caught:
            request.call(source)
        shown = f"{caught.value} {caught.value.hint}"
        assert part in shown
        assert str(caught.value).startswith(f"trace backend at {server.url}: ")
        assert (caught.value.backend, caught.value.url) == ("traces", server.url)
        assert caught.value.exit_code == (EXIT_USAGE if kind is QueryRejected else EXIT_BACKEND)
        assert TOKEN not in shown
        assert "PROMETHEUS" not in shown.upper()
        asked = [received for received in server.requests if received.path == request.path]
        assert len(asked) == requests_sent
        assert len(server.requests) == source.queries
        assert {received.method for received in server.requests} == {request.method}
        assert {received.headers["Authorization"] for received in server.requests} == {f"Bearer {TOKEN}"}
        assert {received.headers["Accept"] for received in server.requests} == {"application/json"}


@EACH
def test_what_passes_is_survived(request_of: str) -> None:
    request = REQUESTS[request_of]
    script = (status(502), hang_up, status(504), as_json(request.fine))
    with faulty(request, *script) as server, reader(server.url, request.backend) as source:
        request.call(source)
        assert sum(received.path == request.path for received in server.requests) == 4


@EACH
def test_a_page_that_is_not_found_is_a_wrong_address(request_of: str) -> None:
    request = REQUESTS[request_of]
    with (
        faulty(request, status(404, "404 page not found")) as server,
        reader(server.url, request.backend) as source,
    ):
        if request_of == "Tempo's trace":
            assert "1 trace that a search found could not be fetched" in request.call(source).incomplete[0]
            return
        with pytest.raises(BadAnswer, match="not found") as caught:
            request.call(source)
        assert "is the address right?" in caught.value.hint


@pytest.mark.parametrize("backend", READERS)
def test_a_refused_connection(backend: str) -> None:
    sleeps = Sleeps()
    with reader(refused_url(), backend, sleeps) as source, pytest.raises(BackendUnavailable) as caught:
        source.spans(START, END)
    assert "connection refused (tried 4 times)" in str(caught.value)
    assert "--traces" in caught.value.hint
    assert sleeps == [0.5, 1.0, 2.0]


@EACH
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(request_of: str, code: int) -> None:
    request, sleeps = REQUESTS[request_of], Sleeps()
    limited = status(code, headers={"Retry-After": "7"})
    with (
        faulty(request, limited, as_json(request.fine)) as server,
        reader(server.url, request.backend, sleeps) as source,
    ):
        request.call(source)
    assert sleeps == [7.0]


@EACH
def test_a_server_that_asks_for_an_hour_is_not_waited_for(request_of: str) -> None:
    request, sleeps = REQUESTS[request_of], Sleeps()
    limited = status(429, headers={"Retry-After": "3600"})
    with (
        faulty(request, limited) as server,
        reader(server.url, request.backend, sleeps) as source,
        pytest.raises(BackendRateLimit, match="asks to wait 3600 s"),
    ):
        request.call(source)
    assert sleeps == []


@EACH
@pytest.mark.parametrize(
    "behaviour",
    [slow(30, as_json([])), dripping_headers(), dripping(b"[["), dripping(b"[]", length=None)],
    ids=["slow headers", "dripping headers", "dripping body", "dripping body of unknown length"],
)
def test_a_slow_answer_is_cut_off_and_asked_for_once_more(request_of: str, behaviour: Behaviour) -> None:
    request, started = REQUESTS[request_of], time.monotonic()
    with faulty(request, behaviour) as server, reader(server.url, request.backend, timeout=0.2) as source:
        with pytest.raises(BackendTimeout, match=r"\(tried 2 times\)") as caught:
            request.call(source)
        assert sum(received.path == request.path for received in server.requests) == 2
    assert "SLOCTL_TRACES_TIMEOUT" in caught.value.hint or "in time" in str(caught.value)
    assert time.monotonic() - started < 25  # the servers are silent for longer


BOMB = gzip.compress(b"[" + b" " * 20_000_000 + b"]")
LARGE: dict[str, Behaviour] = {
    "large": as_json(["x" * 1000] * 100),
    "gzip bomb": status(200, BOMB, {"Content-Encoding": "gzip"}),
    "413": status(413, "too large"),
    "Tempo's limit": status(422, "trace exceeds max size (max bytes: 5000000)"),
    "gRPC's limit": status(500, "response larger than the max (5 vs 4)"),
    "Tempo's range": status(400, "range specified by start and end exceeds 168h0m0s."),
}


@SEARCHES
@pytest.mark.parametrize("name", LARGE)
def test_a_window_with_too_much_in_it_is_halved_until_that_ends(request_of: str, name: str) -> None:
    request = REQUESTS[request_of]
    with (
        faulty(request, LARGE[name]) as server,
        reader(server.url, request.backend, max_bytes=10_000) as source,
    ):
        with pytest.raises(BackendLimit) as caught:
            request.call(source)
        assert 9 <= len(server.requests) < 60
    assert "shorter time" in caught.value.hint


@SEARCHES
def test_an_answer_that_is_too_large_is_had_in_pieces(request_of: str) -> None:
    request = REQUESTS[request_of]

    def behave(handler: Handler) -> None:
        form = handler.received.form
        sides = [("start", "end"), ("query.start_time_min", "query.start_time_max")]
        if "lookback" in form:
            length = int(form["lookback"]) / 1000
        elif "query.start_time_min" in form:
            first, last = (datetime.fromisoformat(form[name]) for name in sides[1])
            length = (last - first).total_seconds()
        else:
            length = int(form["end"]) - int(form["start"])
            length /= 1 if request.backend == "tempo" else 10**6
        (as_json(request.fine) if length < 60 else LARGE["large"])(handler)

    with faulty(request, behave) as server, reader(server.url, request.backend, max_bytes=10_000) as source:
        assert request.call(source).incomplete == ()
        # Six minutes and a second are divided into eight pieces.
        assert sum(received.path == request.path for received in server.requests) == 15


@SEARCHES
def test_a_backend_that_fails_for_one_window_is_an_error(request_of: str) -> None:
    request = REQUESTS[request_of]
    script = [as_json(request.fine)] * 3 + [status(500, "shard 4 is gone")]
    with (
        faulty(request, *script) as server,
        reader(server.url, request.backend) as source,
        pytest.raises(BackendUnavailable, match="shard 4 is gone"),
    ):
        source.spans(START, START + timedelta(hours=12), ["web"])


def test_credentials_are_not_carried_to_where_a_redirect_points() -> None:
    with FaultyServer(as_json([])) as elsewhere:
        for backend in READERS:
            moved = status(307, headers={"Location": f"{elsewhere.url}/x?token={TOKEN}"})
            with (
                FaultyServer(moved) as server,
                reader(server.url, backend) as source,
                pytest.raises(BadAnswer) as caught,
            ):
                source.spans(START, END)
            assert TOKEN not in str(caught.value)
            assert "--traces" in caught.value.hint
        assert elsewhere.requests == []


@pytest.mark.parametrize("backend", READERS)
def test_secrets_are_sent_and_never_shown(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tenant = "tenant-secret"
    echo = status(400, f"bad header Authorization: Bearer {TOKEN} for {tenant}")
    with FaultyServer(echo) as server:
        with (
            reader(server.url, backend, headers={"X-Scope-OrgID": Secret(tenant)}) as source,
            pytest.raises(QueryRejected) as caught,
        ):
            source.spans(START, END)
        assert server.requests[0].headers["X-Scope-OrgID"] == tenant
    shown = f"{caught.value} {caught.value!r} {caught.value.hint} {vars(source)} {caplog.text}"
    assert "Bearer *** for ***" in str(caught.value)
    assert TOKEN not in shown
    assert tenant not in shown


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter22\n")
    with FaultyServer(as_json([])) as server:
        environ = {
            "SLOCTL_TRACES_URL": server.url,
            "SLOCTL_TRACES_USERNAME": "me",
            "SLOCTL_TRACES_PASSWORD_FILE": str(file),
            "SLOCTL_PROMETHEUS_TOKEN": TOKEN,
        }
        with open_traces(TracesSettings.load(environ, default_url="http://file:9411"), "zipkin") as source:
            source.spans(START, END)
        assert server.requests[0].headers["Authorization"] == "Basic bWU6aHVudGVyMjI="
    with pytest.raises(UsageError, match="trace backend") as error:
        TracesSettings.load({})
    assert "--traces" in error.value.hint
    assert "SLOCTL_TRACES_URL" in error.value.hint
    with pytest.raises(UsageError, match="no trace backend"):
        open_traces(TracesSettings("http://x"), "zipkn")


@pytest.mark.parametrize("backend", READERS)
def test_times_have_a_zone_and_an_empty_time_asks_nothing(backend: str) -> None:
    with reader(refused_url(), backend) as source:
        for start, end in ((START.replace(tzinfo=None), END), (START, END.replace(tzinfo=None))):
            with pytest.raises(ValueError, match="without a zone"):
                source.spans(start, end)
        assert len(source.spans(END, START).frame) == 0
        assert source.queries == 0


@SEARCHES
def test_closing_ends_what_is_in_flight(request_of: str) -> None:
    request = REQUESTS[request_of]
    caught: list[BaseException] = []
    with faulty(request, slow(60, hang_up)) as server:
        source = reader(server.url, request.backend, timeout=60)

        def ask() -> None:
            try:
                request.call(source)
            except BackendError as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not any(received.path == request.path for received in server.requests):
            time.sleep(0.01)
        source.close()
        thread.join(10)
        assert not thread.is_alive()
        source.close()
    assert isinstance(caught[0], BackendUnavailable)
    assert "interrupted" in str(caught[0])


def test_an_interruption_ends_parallel_requests_at_once() -> None:
    started = time.monotonic()
    arrived = threading.Event()

    def stall(handler: Handler) -> None:
        arrived.set()
        slow(60, hang_up)(handler)

    def interrupt() -> None:
        arrived.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with FaultyServer(stall) as server, interruptible():
        interrupting = threading.Thread(target=interrupt)
        with pytest.raises(KeyboardInterrupt), reader(server.url, "zipkin", timeout=60) as source:
            interrupting.start()
            source.spans(START, START + timedelta(days=1))
        interrupting.join()
        assert len(server.requests) <= 2
    assert time.monotonic() - started < 50  # the server stalls for longer


# --- Jaeger


def test_the_version_of_jaeger_is_asked_for_once() -> None:
    paths = {"/api/v3/services": [SERVICES_3], "/api/v3/traces": [as_json({"result": {}})]}
    with FaultyServer(page(200, "Jaeger UI"), paths=paths) as server, reader(server.url, "jaeger") as source:
        for _ in range(3):
            source.spans(START, END)
        asked = [received.path for received in server.requests]
    assert asked.count("/api/services") == 1
    assert asked.count("/api/traces") == 0


def test_jaeger_finds_nothing() -> None:
    nothing = as_json({"error": {"httpCode": 404, "message": "No traces found"}}, 404)
    request = REQUESTS["Jaeger's traces, version 3"]
    with faulty(request, nothing) as server, reader(server.url, "jaeger") as source:
        assert len(source.spans(START, END).frame) == 0


def test_errors_beside_the_traces_of_jaeger_are_said() -> None:
    request = REQUESTS["Jaeger's traces"]
    errors = [{"code": 500, "msg": "shard is down"}]
    with (
        faulty(request, as_json({"data": [], "errors": errors})) as server,
        reader(server.url, "jaeger") as source,
    ):
        said = "answers with errors beside their traces: 1; traces may be missing"
        assert request.call(source).incomplete == (said,)
    with (
        faulty(request, as_json({"data": None, "errors": errors})) as server,
        reader(server.url, "jaeger") as source,
        pytest.raises(BadAnswer, match="shard is down"),
    ):
        request.call(source)


def test_what_jaeger_is_asked() -> None:
    for version in ("Jaeger's traces", "Jaeger's traces, version 3"):
        request = REQUESTS[version]
        with faulty(request, as_json(request.fine)) as server, reader(server.url, "jaeger") as source:
            source.spans(START, END, ["web"])
            form = server.requests[-1].form
        if version == "Jaeger's traces":
            assert form == {
                "service": "web",
                "start": str(MICROS - 10**6),
                "end": str(MICROS + 360 * 10**6),
                "limit": "500",
                "raw": "true",
            }
            continue
        for snake, camel, value in (
            ("service_name", "serviceName", "web"),
            ("start_time_min", "startTimeMin", "2024-03-01T11:59:59.000Z"),
            ("start_time_max", "startTimeMax", "2024-03-01T12:06:00.000Z"),
            ("search_depth", "searchDepth", "500"),
            ("raw_traces", "rawTraces", "true"),
        ):
            assert form[f"query.{snake}"] == form[f"query.{camel}"] == value
        assert form["query.num_traces"] == "500"


def test_a_stream_of_answers_is_read_to_its_end() -> None:
    def one(number: int) -> str:
        trace = Trace(number, (Span(number, 0, "web", MICROS + 5),))
        return json.dumps({"result": {"resourceSpans": otlp(trace)}})

    request = REQUESTS["Jaeger's traces, version 3"]
    for body, fine in ((f"{one(1)}\n{one(2)}\n", True), (f"{one(1)}\n{one(2)[:-9]}", False)):
        with faulty(request, status(200, body)) as server, reader(server.url, "jaeger") as source:
            if fine:
                assert len(request.call(source).frame) == 2
                continue
            with pytest.raises(BadAnswer):
                request.call(source)


def test_more_services_than_can_be_asked_for_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaeger, "MAX_SERVICES", 20)
    known = as_json({"data": [f"s{n:04}" for n in range(40)]})
    paths = {"/api/services": [known], "/api/traces": [as_json({"data": []})]}
    with FaultyServer(paths=paths) as server, reader(server.url, "jaeger") as source:
        found = source.spans(START, END)
        asked = [int(r.form["service"][1:]) for r in server.requests if r.path == "/api/traces"]
    assert len(asked) == 20
    assert {number // 10 for number in asked} == {0, 1, 2, 3}, "not those whose names come first"
    assert found.incomplete == ("20 services beyond 20 were not asked for",)


# --- Tempo


def tempo(*, search: object = None, **traces: Behaviour) -> FaultyServer:
    """A Tempo whose search finds the traces that are given, by their ids."""
    found = [{"traceID": name, "startTimeUnixNano": str(MICROS * 1000)} for name in traces]
    paths = {f"/api/v2/traces/{name}": [behaviour] for name, behaviour in traces.items()}
    answer = as_json(search if search is not None else {"traces": found, "metrics": {}})
    return FaultyServer(status(404), paths={"/api/search": [answer], **paths})


def fetched(number: int, **more: object) -> Behaviour:
    trace = Trace(number, (Span(number, 0, "web", MICROS + 5),))
    return as_json({"trace": {"resourceSpans": otlp(trace)}, **more})


def test_traces_that_expired_or_came_in_part_are_counted() -> None:
    traces = {
        "a1": fetched(0xA1, status="COMPLETE"),
        "a2": status(404, "trace not found"),
        "a3": fetched(0xA3, status="PARTIAL", message="trace exceeds max size"),
        "a4": as_json({"status": "PARTIAL", "message": "ingester is down"}),
        "a5": status(422, "trace exceeds max size (max bytes: 5000000)"),
        "a6": as_json({"trace": {}}),
    }
    with tempo(**traces) as server, reader(server.url, "tempo") as source:
        found = source.spans(START, END)
    assert sorted(found.frame["span"]) == [0xA1, 0xA3]
    assert sorted(found.incomplete) == [
        "1 trace too large to be fetched",
        "2 traces came in part only",
        "3 traces that a search found could not be fetched: gone by then, or not to be had under their id",
    ]


def test_a_failure_to_fetch_a_trace_is_an_error() -> None:
    with (
        tempo(a1=fetched(0xA1), a2=status(500, "ingester is down")) as server,
        reader(server.url, "tempo") as source,
        pytest.raises(BackendUnavailable, match="ingester is down"),
    ):
        source.spans(START, END)


@pytest.mark.parametrize(
    ("answer", "partial"),
    [
        ({"traces": [], "metrics": {"totalJobs": 5, "completedJobs": 3}}, True),
        ({"traces": [], "metrics": {"totalJobs": 5}}, True),
        ({"metrics": {"totalJobs": "5", "completedJobs": "5"}}, False),
        ({"traces": [], "metrics": {}}, False),
        ({"traces": [], "status": "PARTIAL", "message": "shard"}, True),
    ],
)
def test_a_search_that_was_not_finished_is_said_to_be(answer: object, partial: bool) -> None:
    with tempo(search=answer) as server, reader(server.url, "tempo") as source:
        found = source.spans(START, END)
    assert found.incomplete == (
        ("searches that were not finished: 1; traces may be missing",) if partial else ()
    )


def test_a_smaller_limit_of_tempo_is_kept_to() -> None:
    traces = [Trace(n, (Span(n, 0, "web", MICROS + n * 3 * 10**6),)) for n in range(1, 41)]
    with FaultyServer(FakeTempo(traces, max_limit=8)) as server, reader(server.url, "tempo") as source:
        found = source.spans(START, END)
        limits = [r.form["limit"] for r in server.requests if r.path == "/api/search"]
    assert len(found.frame) == 40
    assert found.incomplete == ()
    assert limits[0] == "500"
    assert set(limits[1:]) == {"8"}


@pytest.mark.parametrize("metrics", [True, False])
def test_traces_that_tempo_counts_and_does_not_give_are_said_to_be_missing(metrics: bool) -> None:
    traces = [Trace(n, (Span(n, 0, "web", MICROS + n * 10**6),)) for n in range(1, 41)]
    for hidden, text in ((traces[35:], "Tempo counts 40 spans in that time, and gave 35"), (traces[38:], "")):
        backend = FakeTempo(traces[: 40 - len(hidden)], metrics=metrics, hidden=hidden)
        with FaultyServer(backend) as server, reader(server.url, "tempo") as source:
            found = source.spans(START, END)
        assert found.incomplete == ((text,) if text and metrics else ())


def test_a_count_that_cannot_be_had_changes_nothing() -> None:
    traces = [Trace(1, (Span(1, 0, "web", MICROS + 10**6),))]
    for answer in (
        status(500),
        as_json({"series": "x"}),
        as_json({}),
        as_json({"series": [{"samples": [{}]}]}),
    ):
        plain = FakeTempo(traces)

        def behave(handler: Handler, answer: Behaviour = answer, plain: FakeTempo = plain) -> None:
            (answer if handler.received.path == "/api/metrics/query_range" else plain)(handler)

        with FaultyServer(behave) as server, reader(server.url, "tempo") as source:
            found = source.spans(START, END)
        assert (len(found.frame), found.incomplete) == (1, ())


def test_what_tempo_is_asked() -> None:
    names = [f"s{n}" for n in range(21)]
    request = REQUESTS["Tempo's search"]
    with faulty(request, as_json(request.fine)) as server, reader(server.url, "tempo") as source:
        source.spans(START, END)
        source.spans(START, END, ['say "hé" \\'])
        source.spans(START, END, names)
        asked = [received.form for received in server.requests if received.path == "/api/search"]
    second = MICROS // 10**6
    assert asked[0] == {
        "q": "{ }",
        "start": str(second - 1),
        "end": str(second + 301),
        "limit": "500",
        "spss": "1",
    }
    assert asked[1]["q"] == '{ resource.service.name = "say \\"hé\\" \\\\" }'
    assert sorted(form["q"].count("=") for form in asked[2:]) == [1, 20]


def test_an_id_of_a_trace_cannot_lead_elsewhere() -> None:
    for name in ("../../admin", "a/b", "", "x" * 9, "a" * 33):
        search = {"traces": [{"traceID": name}]}
        with tempo(search=search) as server, reader(server.url, "tempo") as source:
            with pytest.raises(BadAnswer, match="unknown form"):
                source.spans(START, END)
            assert len(server.requests) == 1


# --- links


def test_links() -> None:
    settings = TracesSettings("https://traces.example.org/base/")

    def link(backend: str, **options: str) -> str:
        with open_traces(settings, backend, **options) as source:
            assert source.queries == 0
            return source.link("4bf92f3577b34da6")

    assert link("zipkin") == "https://traces.example.org/base/zipkin/traces/4bf92f3577b34da6"
    assert (
        link("zipkin", ui="https://z.example.org/zipkin/")
        == "https://z.example.org/zipkin/traces/4bf92f3577b34da6"
    )
    assert link("jaeger", ui="https://j.example.org") == "https://j.example.org/trace/4bf92f3577b34da6"
    assert link("tempo") == ""
    for options in ({"grafana": "https://g.example.org"}, {"grafana": "x", "ui": "https://g.example.org"}):
        url = urlsplit(link("tempo", **options))
        assert (url.netloc, url.path) == ("g.example.org", "/explore")
        (panes,) = parse_qs(url.query)["panes"]
        assert json.loads(panes)["traces"]["queries"][0]["query"] == "4bf92f3577b34da6"
        assert unquote(url.query).startswith("schemaVersion=1&panes=")
