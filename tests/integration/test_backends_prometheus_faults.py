"""The adapter against a real server that misbehaves: each fault has its typed error, message and request count."""

from __future__ import annotations

import email.utils
import gzip
import inspect
import json
import logging
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests.exceptions
import urllib3

from sloctl.backends.answers import MAX_VALUES, PARTIAL, TooMuchTogether, doubts, one_question, remarks
from sloctl.backends.http.answers import FOREIGN, Failure, Reply, convert
from sloctl.backends.http.session import HttpSession
from sloctl.backends.prometheus.client import MAX_HALVINGS, Prometheus
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
)
from sloctl.settings.backends import PrometheusSettings
from sloctl.settings.secret import Secret
from sloctl.settings.servers import PROMETHEUS
from tests.support.faulty_server import (
    Behaviour,
    FaultyServer,
    Handler,
    Sleeps,
    answer,
    as_json,
    cut_off,
    dripping,
    dripping_headers,
    error,
    hang_up,
    page,
    refused_url,
    slow,
    status,
    vector,
)
from tests.support.interrupts import interruptible

AT = datetime(2024, 3, 1, 12, tzinfo=UTC)
TOKEN = "s3cr3t-t0ken"
OK = answer(vector(1))
QUERY = "/api/v1/query"


def source(
    url: str,
    sleeps: Sleeps | None = None,
    *,
    timeout: float = 5,
    retries: int = 3,
    concurrency: int = 4,
    token: Secret | None = None,
    headers: dict[str, Secret] | None = None,
    max_bytes: int = 10**6,
    max_points: int = 11_000,
) -> Prometheus:
    settings = PrometheusSettings(
        url, timeout=timeout, retries=retries, concurrency=concurrency, token=token, headers=headers or {}
    )
    sleep = Sleeps() if sleeps is None else sleeps
    return Prometheus(
        settings, sleep=sleep, now=lambda: 1e9, jitter=lambda: 1.0, max_bytes=max_bytes, max_points=max_points
    )


def speak_ssh(handler: Handler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    handler.hang_up()


NOT_READY = error(503, "unavailable", "Service Unavailable")
LONG = 'sum(x{code=\\"timeout\\"}) or ' * 700
TOO_LONG = "too long query; got 20180 bytes; mustn't exceed `-search.maxQueryLen=16384` bytes"
TOO_MANY = "query processing would load too many samples into memory in query execution"

FAULTS: dict[str, tuple[Behaviour, type[BackendError], str, int]] = {
    # name: (behaviour, error, part of the message or hint, requests sent with three retries)
    "hang up": (hang_up, BackendUnavailable, "hung up without an answer", 4),
    "half an answer": (cut_off(b'{"status"', 500), BackendUnavailable, "broke within the answer", 4),
    "500": (status(500, "boom"), BackendUnavailable, "HTTP status 500: boom", 1),
    "500 internal": (error(500, "internal", "wal corrupt"), BackendUnavailable, "wal corrupt", 1),
    "HTML 500": (page(500, "Oops"), BackendUnavailable, 'an HTML page "Oops"', 1),
    "502": (page(502, "Bad Gateway"), BackendUnavailable, "tried 4 times", 4),
    "503": (status(503), BackendUnavailable, "HTTP status 503", 4),
    "503 of the API": (NOT_READY, BackendUnavailable, "Service Unavailable", 4),
    "504": (status(504), BackendUnavailable, "HTTP status 504", 4),
    "429": (status(429, "slow down"), BackendRateLimit, "slow down", 4),
    "400": (error(400, "bad_data", 'parse error: unexpected "}"'), QueryRejected, "parse error", 1),
    "400 with 200": (error(200, "bad_data", "parse error"), QueryRejected, "parse error", 1),
    "422": (error(422, "execution", "many-to-many matching"), QueryRejected, "many-to-many", 1),
    "too many samples": (error(422, "execution", TOO_MANY), BackendLimit, "shorter range", 1),
    "VictoriaMetrics' limit, after the query": (
        error(422, "422", f'error when executing query="{LONG}" for (time=1, step=300): {TOO_LONG}'),
        BackendLimit,
        "too long query; got 20180 bytes",
        1,
    ),
    "Mimir's limit": (
        error(422, "execution", "x (err-mimir-max-chunks-per-query)"),
        BackendLimit,
        "mimir",
        1,
    ),
    "resolution": (
        error(400, "bad_data", "exceeded maximum resolution of 11,000"),
        BackendLimit,
        "11,000",
        1,
    ),
    "timed out": (error(422, "execution", "query timed out in expression"), BackendLimit, "too long", 1),
    "timeout": (error(503, "timeout", "query timed out"), BackendLimit, "too long", 1),
    "storage": (error(422, "execution", "expanding series: rpc"), BackendUnavailable, "storage", 1),
    "401": (status(401, "no"), BackendRefused, "SLOCTL_PROMETHEUS_TOKEN_FILE", 1),
    "403": (page(403, "Forbidden"), BackendRefused, "access denied (403)", 1),
    "404": (status(404, "404 page not found"), BadAnswer, "is the address right?", 1),
    "HTML 200": (page(200), BadAnswer, 'an HTML page "Sign in"', 1),
    "plain text": (status(200, "hello"), BadAnswer, "hello", 1),
    "400 in plain text": (status(400, "HTTP request to an HTTPS server"), BadAnswer, "HTTPS server", 1),
    "empty": (status(200), BadAnswer, "an empty answer", 1),
    "204": (status(204), BadAnswer, "HTTP status 204", 1),
    "truncated": (status(200, '{"status":"success","data":{"resu'), BadAnswer, "ends in the middle", 1),
    "truncated list": (status(200, '{"status":"success","data":['), BadAnswer, "ends in the middle", 1),
    "not UTF-8": (status(200, b'{"status": "\xff"}'), BadAnswer, "not JSON", 1),
    "deep": (status(200, "[" * 100_000), BadAnswer, "not JSON", 1),
    "list": (as_json([]), BadAnswer, "no Prometheus answer", 1),
    "no data": (as_json({"status": "success"}), BadAnswer, "no Prometheus answer", 1),
    "other JSON": (as_json({"message": "ok"}), BadAnswer, "no Prometheus answer", 1),
    "null data": (answer(None), BadAnswer, "unknown form", 1),
    "text result": (answer({"resultType": "vector", "result": "x"}), BadAnswer, "unknown form", 1),
    "string": (answer({"resultType": "string", "result": [0, "x"]}), BadAnswer, "unknown form", 1),
    "odd series": (answer({"resultType": "vector", "result": [7]}), BadAnswer, "unknown form", 1),
    "no metric": (answer({"resultType": "vector", "result": [{"value": [0, "1"]}]}), BadAnswer, "form", 1),
    "value a number": (
        answer({"resultType": "vector", "result": [{"metric": {}, "value": [0, 1]}]}),
        BadAnswer,
        "unknown form",
        1,
    ),
    "value a word": (answer(vector("many")), BadAnswer, "unknown form", 1),
    "sample of three": (
        answer({"resultType": "vector", "result": [{"metric": {}, "value": [0, "1", "2"]}]}),
        BadAnswer,
        "unknown form",
        1,
    ),
    "matrix of words": (
        answer({"resultType": "matrix", "result": [{"metric": {}, "values": ["xy"]}]}),
        BadAnswer,
        "unknown form",
        1,
    ),
    "redirect": (status(302, headers={"Location": "/login?next=x"}), BadAnswer, "redirects to /login", 1),
    "not gzip": (status(200, "plain", {"Content-Encoding": "gzip"}), BadAnswer, "cannot be decoded", 1),
    "not HTTP": (speak_ssh, BackendUnavailable, "", 4),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_error(name: str) -> None:
    behaviour, kind, part, requests_sent = FAULTS[name]
    with FaultyServer(behaviour) as server, source(server.url, token=Secret(TOKEN)) as prometheus:
        with pytest.raises(kind) as caught:
            prometheus.query("up", AT)
        shown = f"{caught.value} {caught.value.hint}"
        assert part in shown
        assert str(caught.value).startswith(f"Prometheus at {server.url}: ")
        assert (caught.value.backend, caught.value.url) == ("prometheus", server.url)
        assert caught.value.exit_code == (EXIT_USAGE if kind is QueryRejected else EXIT_BACKEND)
        assert TOKEN not in shown
        assert len(server.requests) == prometheus.queries == requests_sent


def test_a_refused_connection_is_retried_with_growing_waits() -> None:
    sleeps = Sleeps()
    with source(refused_url(), sleeps) as prometheus, pytest.raises(BackendUnavailable) as caught:
        prometheus.query("up", AT)
    assert "connection refused (tried 4 times)" in str(caught.value)
    assert "--prometheus" in caught.value.hint
    assert sleeps == [0.5, 1.0, 2.0]


def test_a_name_that_does_not_resolve() -> None:
    with (
        source("http://prometheus.invalid:9090", retries=0) as prometheus,
        pytest.raises(BackendUnavailable, match="the name of the host cannot be resolved"),
    ):
        prometheus.query("up", AT)


def test_what_passes_is_survived() -> None:
    sleeps = Sleeps()
    with (
        FaultyServer(status(502), hang_up, status(504), OK) as server,
        source(server.url, sleeps) as prometheus,
    ):
        assert prometheus.query("up", AT)[0]["value"][1] == "1"
        assert len(server.requests) == prometheus.queries == 4
        assert len(sleeps) == 3


def test_without_retries_one_request_is_sent() -> None:
    with FaultyServer(status(502), OK) as server, source(server.url, retries=0) as prometheus:
        with pytest.raises(BackendUnavailable):
            prometheus.query("up", AT)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "wait"),
    [("7", 7.0), (email.utils.formatdate(1e9 + 9, usegmt=True), 9.0), ("0", 0.5), ("soon", 0.5)],
)
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(code: int, header: str, wait: float) -> None:
    sleeps = Sleeps()
    limited = status(code, headers={"Retry-After": header})
    with FaultyServer(limited, OK) as server, source(server.url, sleeps) as prometheus:
        prometheus.query("up", AT)
    assert sleeps == [wait]


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    sleeps = Sleeps()
    limited = status(429, headers={"Retry-After": "3600"})
    with (
        FaultyServer(limited, OK) as server,
        source(server.url, sleeps) as prometheus,
        pytest.raises(BackendRateLimit, match="asks to wait 3600 s"),
    ):
        prometheus.query("up", AT)
    assert sleeps == []


@pytest.mark.parametrize(
    "behaviour",
    [
        slow(30, OK),
        dripping_headers(),
        dripping(b'{"status":'),
        dripping(b'{"status":"success","data":{"resultType":"vector","result":[]}}', length=None),
    ],
    ids=["slow headers", "dripping headers", "dripping body", "dripping body of unknown length"],
)
def test_a_slow_answer_is_cut_off_and_asked_for_once_more(behaviour: Behaviour) -> None:
    started = time.monotonic()
    with FaultyServer(behaviour) as server, source(server.url, timeout=0.2) as prometheus:
        with pytest.raises(BackendTimeout, match=r"\(tried 2 times\)") as caught:
            prometheus.query("up", AT)
        assert len(server.requests) == 2
    assert "0.2 s" in str(caught.value) or "in time" in str(caught.value)
    assert time.monotonic() - started < 25  # the servers are silent for longer


def test_one_slow_answer_is_survived() -> None:
    with FaultyServer(dripping(b"{"), OK) as server, source(server.url, timeout=1) as prometheus:
        assert prometheus.query("up", AT)


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    huge = answer(vector(*range(2000)))
    with FaultyServer(huge) as server, source(server.url, max_bytes=10_000) as prometheus:
        with pytest.raises(BackendLimit, match="larger than 10,000 bytes"):
            prometheus.query("up", AT)
        assert len(server.requests) == 1


def test_credentials_are_not_carried_to_where_a_redirect_points() -> None:
    secrets = {"X-Scope-OrgID": Secret("tenant-secret")}
    with FaultyServer(OK) as elsewhere:
        for code in (301, 302, 303, 307, 308):
            target = f"{elsewhere.url.replace('http://', 'http://me:hunter22@')}/api/v1/query?sig={TOKEN}"
            with (
                FaultyServer(status(code, headers={"Location": target})) as server,
                source(server.url, token=Secret(TOKEN), headers=secrets) as prometheus,
                pytest.raises(BadAnswer) as caught,
            ):
                prometheus.query("up", AT)
            assert "redirects to http://***@127.0.0.1" in str(caught.value)
            assert "hunter22" not in str(caught.value)
            assert TOKEN not in str(caught.value)
        assert elsewhere.requests == []


def test_the_server_receives_token_and_headers_and_nothing_shows_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    tenant = "tenant-secret"
    echo = error(400, "bad_data", f"bad header Authorization: Bearer {TOKEN} for {tenant}")
    with (
        FaultyServer(echo) as server,
        source(server.url, token=Secret(TOKEN), headers={"X-Scope-OrgID": Secret(tenant)}) as prometheus,
    ):
        with pytest.raises(QueryRejected) as caught:
            prometheus.query("up", AT)
        received = server.requests[0].headers
        shown = f"{caught.value} {caught.value!r} {caught.value.hint} {vars(prometheus)} {caplog.text}"
    assert received["Authorization"] == f"Bearer {TOKEN}"
    assert received["X-Scope-OrgID"] == tenant
    assert received["User-Agent"].startswith("sloctl/")
    assert "Bearer *** for ***" in str(caught.value)
    assert TOKEN not in shown
    assert tenant not in shown


def test_basic_authentication() -> None:
    with FaultyServer(OK) as server:
        basic = PrometheusSettings(server.url, username="me", password=Secret("hunter22"))
        with Prometheus(basic) as prometheus:
            prometheus.query("up", AT)
        assert server.requests[0].headers["Authorization"] == "Basic bWU6aHVudGVyMjI="


def test_a_token_file_is_read_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    with FaultyServer(OK) as server:
        environ = {"SLOCTL_PROMETHEUS_URL": server.url, "SLOCTL_PROMETHEUS_TOKEN_FILE": str(file)}
        with Prometheus(PrometheusSettings.load(environ)) as prometheus:
            prometheus.query("up", AT)
            file.write_text("second")
            prometheus.query("up", AT)
        assert [r.headers["Authorization"] for r in server.requests] == ["Bearer first", "Bearer second"]


def test_a_netrc_file_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter22\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with FaultyServer(OK) as server:
        with source(server.url, token=Secret(TOKEN)) as prometheus:
            prometheus.query("up", AT)
        with source(server.url) as prometheus:
            prometheus.query("up", AT)
        assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"
        assert "Authorization" not in server.requests[1].headers


def test_a_query_travels_in_the_body() -> None:
    expr = "up or " * 20_000 + "up"
    with FaultyServer(OK) as server, source(server.url, timeout=30) as prometheus:
        prometheus.query(expr, AT)
        received = server.requests[0]
    assert (received.method, received.path, received.query) == ("POST", QUERY, "")
    assert received.form["query"] == expr
    assert received.form["time"] == "1709294400.000"
    assert received.form["timeout"] == "27000ms"


def test_where_only_get_may_pass_get_is_used() -> None:
    with FaultyServer(status(405), OK) as server, source(server.url) as prometheus:
        assert prometheus.query("up", AT)
        assert prometheus.query("down", AT)
        assert [(r.method, r.form["query"]) for r in server.requests] == [
            ("POST", "up"),
            ("GET", "up"),
            ("GET", "down"),
        ]


def test_not_a_number_passes_through() -> None:
    with FaultyServer(answer(vector("NaN", "+Inf", "-Inf", "2"))) as server, source(server.url) as prometheus:
        assert [one["value"][1] for one in prometheus.query("up", AT)] == ["NaN", "+Inf", "-Inf", "2"]


def test_a_scalar_becomes_a_vector() -> None:
    with (
        FaultyServer(answer({"resultType": "scalar", "result": [1, "2"]})) as server,
        source(server.url) as prometheus,
    ):
        assert prometheus.query("scalar(up)", AT) == [{"metric": {}, "value": (1, "2")}]


def test_warnings_are_collected_once() -> None:
    partial = answer(vector(1), warnings=["store eu2 is down\n"], infos=["no _total"], isPartial=True)
    with FaultyServer(partial, partial, OK) as server, source(server.url) as prometheus:
        for _ in range(3):
            prometheus.query("up", AT)
        assert prometheus.warnings == (
            "store eu2 is down",
            "no _total",
            "the answer is partial: a storage node did not answer",
        )


def test_each_answer_is_judged_by_itself() -> None:
    """The second partial answer is as partial as the first, and the third is whole."""
    partial = answer(vector(1), warnings=["store eu2 is down\n"], infos=["no _total"], isPartial=True)
    with FaultyServer(partial, partial, OK) as server, source(server.url) as prometheus:
        found = [prometheus.query("up", AT) for _ in range(3)]
    assert [doubts(item) for item in found] == [("store eu2 is down", PARTIAL)] * 2 + [()]
    assert [remarks(item) for item in found] == [("no _total",)] * 2 + [()]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"warnings": "not a list"}, ("not a list",)),
        ({"isPartial": "true"}, (PARTIAL,)),
        ({"isPartial": False, "warnings": None}, ()),
    ],
)
def test_what_is_said_in_another_form_is_heard_too(more: dict[str, Any], said: tuple[str, ...]) -> None:
    with FaultyServer(answer(vector(1), **more)) as server, source(server.url) as prometheus:
        assert doubts(prometheus.query("up", AT)) == said


def test_a_range_is_in_doubt_if_one_of_its_parts_is() -> None:
    whole, partial = (
        answer({"resultType": "matrix", "result": []}),
        answer({"resultType": "matrix", "result": []}, isPartial=True),
    )
    with FaultyServer(whole, partial, whole) as server, source(server.url, max_points=1) as prometheus:
        start = AT - timedelta(minutes=2)
        assert doubts(prometheus.query_range("up", start, AT, timedelta(minutes=1))) == (PARTIAL,)


def test_what_a_server_says_is_shown_short_and_on_one_line() -> None:
    nasty = error(400, "bad_data", "\x1b[2Jparse\r\nerror" + "!" * 10_000)
    with (
        FaultyServer(nasty) as server,
        source(server.url) as prometheus,
        pytest.raises(QueryRejected) as caught,
    ):
        prometheus.query("up\n+ down", AT)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert caught.value.hint == "the query was: up + down"


def by_query(answers: dict[str, Behaviour]) -> Behaviour:
    return lambda handler: answers[handler.received.form["query"]](handler)


def test_many_queries_run_in_parallel_and_keep_their_names() -> None:
    barrier = threading.Barrier(4, timeout=10)
    values = {"a": 1, "b": 2, "c": 3, "d": 4}

    def meet(value: int) -> Behaviour:
        # Each answer waits until all four requests are here: in sequence this would never end.
        return lambda handler: (barrier.wait(), answer(vector(value))(handler))[1]

    with (
        FaultyServer(by_query({name: meet(value) for name, value in values.items()})) as server,
        source(server.url) as prometheus,
    ):
        answers = prometheus.query_many({f"query {name}": name for name in values}, AT)
    assert list(answers) == ["query a", "query b", "query c", "query d"]
    assert [answers[f"query {name}"][0]["value"][1] for name in values] == ["1", "2", "3", "4"]


def test_the_first_error_of_many_ends_the_others() -> None:
    queries = {f"q{n}": f"q{n}" for n in range(100)}
    script = by_query(dict.fromkeys(queries, OK) | {"q1": error(400, "bad_data", "parse error")})
    with FaultyServer(script) as server, source(server.url, concurrency=2) as prometheus:
        with pytest.raises(QueryRejected) as caught:
            prometheus.query_many(queries, AT)
        assert caught.value.hint == "the query was: q1"
    assert len(server.requests) < 100


def test_no_queries_ask_nothing() -> None:
    with source(refused_url()) as prometheus:
        assert prometheus.query_many({}, AT) == {}
        assert prometheus.queries == 0


def test_an_interruption_ends_parallel_queries_at_once() -> None:
    started = time.monotonic()
    queries = {f"q{n}": f"q{n}" for n in range(20)}
    arrived = threading.Event()

    def stall(handler: Handler) -> None:
        arrived.set()
        slow(60, OK)(handler)

    with FaultyServer(stall) as server, interruptible():
        interrupting = threading.Thread(target=_interrupt_main, args=(arrived,))
        with pytest.raises(KeyboardInterrupt), source(server.url, timeout=60) as prometheus:
            interrupting.start()
            prometheus.query_many(queries, AT)
        interrupting.join()
        assert len(server.requests) <= 4
    assert time.monotonic() - started < 50  # the server stalls for longer


def _interrupt_main(arrived: threading.Event) -> None:
    arrived.wait(10)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def test_closing_ends_what_is_in_flight_and_waiting() -> None:
    """The retry's wait is a real one here: closing must end it as well."""
    caught: list[BaseException] = []
    with FaultyServer(status(429, headers={"Retry-After": "50"})) as server:
        prometheus = Prometheus(PrometheusSettings(server.url))

        def ask() -> None:
            try:
                prometheus.query("up", AT)
            except BackendError as error:
                caught.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        while not server.requests:
            time.sleep(0.01)
        prometheus.close()
        thread.join(10)
        assert not thread.is_alive()
        prometheus.close()
        with pytest.raises(BackendUnavailable, match="interrupted"):
            prometheus.query("up", AT)
    assert isinstance(caught[0], BackendError)


@pytest.mark.parametrize(
    "call",
    [
        lambda p, at: p.query("up", at),
        lambda p, at: p.query_many({"a": "up"}, at),
        lambda p, at: p.query_range("up", at, AT, timedelta(minutes=1)),
        lambda p, at: p.query_range("up", AT, at, timedelta(minutes=1)),
        lambda p, at: p.samples_read("up", at),
        lambda p, at: p.series("up", start=at),
    ],
)
def test_a_time_without_a_zone_is_refused(call: Callable[[Prometheus, datetime], object]) -> None:
    with source(refused_url()) as prometheus:
        with pytest.raises(ValueError, match="without a zone"):
            call(prometheus, datetime(2024, 3, 1))  # noqa: DTZ001
        assert prometheus.queries == 0


def ranged(limit: int) -> Behaviour:
    """Answers a range with a sample per instant, or refuses if it has more than ``limit`` of them."""

    def behave(handler: Handler) -> None:
        form = handler.received.form
        start, end, step = (round(float(form[name]) * 1000) for name in ("start", "end", "step"))
        instants = range(start, end + 1, step)
        if len(instants) > limit:
            error(422, "execution", TOO_MANY)(handler)
            return
        values = [[instant / 1000, str(instant)] for instant in instants]
        answer({"resultType": "matrix", "result": [{"metric": {"a": "b"}, "values": values}]})(handler)

    return behave


@pytest.mark.parametrize("points", [1, 2, 7, 8, 9, 20])
@pytest.mark.parametrize("limit", [1, 3, 8])
def test_a_range_with_too_many_samples_is_halved_without_loss(points: int, limit: int) -> None:
    step = timedelta(seconds=1, milliseconds=500)
    with FaultyServer(ranged(limit)) as server, source(server.url, max_points=8) as prometheus:
        (series,) = prometheus.query_range("up", AT, AT + (points - 1) * step, step)
    expected = [round(AT.timestamp() * 1000) + n * 1500 for n in range(points)]
    assert [int(value) for _, value in series["values"]] == expected


def test_a_range_that_takes_too_long_is_halved() -> None:
    slow_query = error(503, "timeout", "query timed out")
    part = answer({"resultType": "matrix", "result": []})
    with FaultyServer(slow_query, part) as server, source(server.url) as prometheus:
        prometheus.query_range("up", AT, AT + timedelta(minutes=1), timedelta(seconds=30))
        assert len(server.requests) == 3


def test_a_server_that_limits_requests_is_not_asked_in_halves() -> None:
    with FaultyServer(status(429)) as server, source(server.url, retries=2) as prometheus:
        with pytest.raises(BackendRateLimit):
            prometheus.query_range("up", AT, AT + timedelta(hours=1), timedelta(seconds=1))
        assert len(server.requests) == 3


def test_what_a_server_asks_to_wait_holds_for_the_questions_that_follow() -> None:
    sleeps = Sleeps()
    limited = status(429, "slow down", headers={"Retry-After": "3600"})
    with FaultyServer(limited, OK) as server, source(server.url, sleeps) as prometheus:
        for _ in range(2):
            with pytest.raises(BackendRateLimit, match=r"slow down \(it asks to wait 3\d\d\d s\)"):
                prometheus.query("up", AT)
        assert len(server.requests) == 1
    limited = status(429, headers={"Retry-After": "50"})
    with FaultyServer(limited, OK) as server, source(server.url, sleeps, retries=0) as prometheus:
        with pytest.raises(BackendRateLimit):
            prometheus.query("up", AT)
        assert prometheus.query("up", AT)
    (waited,) = sleeps
    assert 40 < waited <= 50


BOMB = b"[" + b"0," * 2**22 + b"0]"
"""Eight megabytes, of which gzip makes eight thousand bytes."""


@pytest.mark.parametrize("times", [1, 2])
def test_a_compressed_answer_is_bounded_by_what_comes_of_it(times: int) -> None:
    body = BOMB
    for _ in range(times):
        body = gzip.compress(body)
    packed = status(200, body, {"Content-Encoding": ", ".join(["gzip"] * times)})
    with FaultyServer(packed) as server, source(server.url, max_bytes=3 * 2**20) as prometheus:
        tracemalloc.start()
        try:
            with pytest.raises(BackendLimit, match="larger than 3,145,728 bytes") as caught:
                prometheus.query("up", AT)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert "fewer series" in caught.value.hint
    assert peak < 7 * 2**20, "the parts that were read, and the one that was too much"


def test_an_answer_of_too_many_values_is_not_decoded() -> None:
    body = (
        b'{"status":"success","data":{"resultType":"vector","result":['
        + b"[]," * (MAX_VALUES // 2)
        + b"[]]}}"
    )
    packed = status(200, gzip.compress(body, 1), {"Content-Encoding": "gzip"})
    with FaultyServer(packed) as server, source(server.url, max_bytes=2**30) as prometheus:
        with pytest.raises(BackendLimit, match="more than 4,000,000 values") as caught:
            prometheus.query("up", AT)
        assert "fewer series" in caught.value.hint
        assert len(server.requests) == 1


def test_the_answers_to_one_question_are_bounded_together() -> None:
    found = answer({"resultType": "vector", "result": [{"metric": {}, "value": [1, "2"]}] * 100})
    with (
        FaultyServer(found) as server,
        source(server.url, concurrency=1) as prometheus,
        one_question(1000),
    ):
        prometheus.query("a", AT)
        with pytest.raises(TooMuchTogether, match="together"):
            prometheus.query_many({"b": "b"}, AT)


def test_an_answer_that_takes_too_long_to_read_is_too_late() -> None:
    settings = PrometheusSettings("http://127.0.0.1:1", timeout=0.05)

    def judge(_reply: Reply) -> bool:
        over = time.monotonic() + settings.timeout
        while time.monotonic() <= over:
            pass
        return True

    with FaultyServer(OK) as server:
        settings = replace(settings, url=server.url)
        session = HttpSession(settings, sleep=None, max_bytes=1000)
        with pytest.raises(BackendTimeout, match=r"could not be read within 0\.05 s"):
            session.ask("GET", "/", judge)
        session.close()


def test_halving_ends() -> None:
    with FaultyServer(ranged(0)) as server, source(server.url) as prometheus:
        with pytest.raises(BackendLimit):
            prometheus.query_range("up", AT, AT + timedelta(hours=1), timedelta(seconds=1))
        assert len(server.requests) == MAX_HALVINGS + 1


def test_an_answer_that_repeats_a_neighbours_sample_counts_it_once() -> None:
    def part(*times: int) -> Behaviour:
        values = [[t, "1"] for t in times]
        return answer({"resultType": "matrix", "result": [{"metric": {}, "values": values}]})

    with (
        FaultyServer(part(0, 60), part(60, 120)) as server,
        source(server.url, max_points=2, concurrency=1) as prometheus,
    ):
        start = datetime.fromtimestamp(0, UTC)
        (series,) = prometheus.query_range("up", start, start + timedelta(minutes=3), timedelta(minutes=1))
    assert [t for t, _ in series["values"]] == [0, 60, 120]


def test_ready_asks_once() -> None:
    with FaultyServer(NOT_READY, OK) as server, source(server.url) as prometheus:
        assert not prometheus.ready()
        assert len(server.requests) == 1
        assert prometheus.ready()
    with FaultyServer(status(401)) as server, source(server.url) as prometheus, pytest.raises(BackendRefused):
        prometheus.ready()


def test_a_server_without_statistics_says_so() -> None:
    with (
        FaultyServer(OK) as server,
        source(server.url) as prometheus,
        pytest.raises(BadAnswer, match="does not count"),
    ):
        prometheus.samples_read("up", AT)


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.rules(),
        lambda p: p.build_info(),
        lambda p: p.alertmanagers(),
        lambda p: p.series("up"),
        lambda p: p.metric_names("up"),
        lambda p: p.query_range("up", AT, AT, timedelta(minutes=1)),
    ],
    ids=["rules", "build_info", "alertmanagers", "series", "metric_names", "query_range"],
)
@pytest.mark.parametrize(
    "data", [None, 7, "x", [7], [[]]], ids=["null", "number", "text", "list of numbers", "list of lists"]
)
def test_each_endpoint_checks_its_form(call: Callable[[Prometheus], object], data: object) -> None:
    with (
        FaultyServer(answer(data)) as server,
        source(server.url) as prometheus,
        pytest.raises(BadAnswer, match="unknown form"),
    ):
        call(prometheus)


def test_a_range_that_is_answered_with_a_vector_is_a_bad_answer() -> None:
    with FaultyServer(OK) as server, source(server.url) as prometheus, pytest.raises(BadAnswer):
        prometheus.query_range("up", AT, AT, timedelta(minutes=1))


def test_a_label_is_one_part_of_an_address_whatever_it_is() -> None:
    with FaultyServer(answer(["a"])) as server, source(server.url) as prometheus:
        assert prometheus.label_values("../admin/tsdb") == ["a"]
        assert server.requests[-1].path == "/api/v1/label/U___2e__2e__2f_admin_2f_tsdb/values"
        with pytest.raises(ValueError, match="a label has a name"):
            prometheus.label_values("")


def test_every_exception_of_requests_has_a_meaning() -> None:
    """Fails when a new version of requests brings an exception that nobody thought about."""
    classes = {
        item
        for _, item in inspect.getmembers(requests.exceptions, inspect.isclass)
        if issubclass(item, Exception)
        and not issubclass(item, Warning)
        and item.__module__.startswith("requests")
    }
    assert len(classes) >= 20
    assert {item.__name__ for item in classes if item not in FOREIGN} == set()
    for item in classes:
        raised = item("x", "y", 0) if issubclass(item, json.JSONDecodeError) else item("x")
        failure = convert(raised, PROMETHEUS)
        assert isinstance(failure, Failure)
        assert issubclass(failure.kind, BackendError)


def test_silence_within_an_answer_is_no_broken_connection() -> None:
    below = urllib3.exceptions.ReadTimeoutError(urllib3.HTTPConnectionPool("a"), "/", "Read timed out.")
    failure = convert(requests.exceptions.ConnectionError(below), PROMETHEUS)
    assert (failure.kind, failure.again) == (BackendTimeout, "once")


def test_a_proxy_is_used_and_its_password_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with FaultyServer(OK, dripping(b"{")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://me:hunter22@"))
        monkeypatch.delenv("http_proxy", raising=False)
        with source("http://prometheus.example.org:9090", timeout=1, retries=0) as prometheus:
            assert prometheus.query("up", AT)
            with pytest.raises(BackendTimeout):
                prometheus.query("up", AT)
        assert proxy.requests[0].headers["Host"] == "prometheus.example.org:9090"
        assert "Authorization" not in proxy.requests[0].headers
    with (
        source("http://prometheus.example.org:9090", retries=0) as prometheus,
        pytest.raises(
            BackendUnavailable, match="no connection through the proxy: connection refused"
        ) as caught,
    ):
        prometheus.query("up", AT)
    assert "hunter22" not in f"{caught.value} {caught.value.hint}"


def test_the_adapter_imports_no_frames() -> None:
    code = "import sys, sloctl.backends.prometheus.client; print([m for m in ('pandas', 'numpy') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        == "[]\n"
    )
