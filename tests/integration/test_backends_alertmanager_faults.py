"""The Alertmanager adapter against a server that misbehaves: errors, retries, and never a second silence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sloctl.backends.alertmanager.client import Alertmanager
from sloctl.backends.silences import ensure, wanted
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
from sloctl.model import Matcher
from sloctl.settings.backends import AlertmanagerSettings
from sloctl.settings.secret import Secret
from tests.support.command_line import in_process, interrupted, sloctl
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

NOW = datetime(2026, 3, 1, 12, 0, 0, 123000, tzinfo=UTC)
TOKEN = "s3cr3t-t0ken"
SILENCE = wanted([Matcher("service", "=", "checkout")], NOW, 600, "ci", "deploy", "42")
CREATED = as_json({"silenceID": "abc"})
NONE = as_json([])
LIST = "/api/v2/silences"


def adapter(
    url: str, sleeps: Sleeps | None = None, *, timeout: float = 5, retries: int = 3, max_bytes: int = 10**6
) -> Alertmanager:
    settings = AlertmanagerSettings(url, timeout=timeout, retries=retries, token=Secret(TOKEN))
    sleep = Sleeps() if sleeps is None else sleeps
    return Alertmanager(settings, sleep=sleep, now=lambda: 1e9, jitter=lambda: 1.0, max_bytes=max_bytes)


def stored(**changes: Any) -> dict[str, Any]:
    """``SILENCE`` as the server lists it."""
    return {
        "id": "abc",
        "status": {"state": "active"},
        "updatedAt": "2026-03-01T12:00:01.000Z",
        "startsAt": "2026-03-01T12:00:01.000Z",
        "endsAt": "2026-03-01T12:10:00.123Z",
        "createdBy": "ci",
        "comment": "deploy [sloctl deploy=42]",
        "matchers": [{"name": "service", "value": "checkout", "isRegex": False, "isEqual": True}],
        **changes,
    }


def by_method(get: Behaviour, post: Behaviour) -> Behaviour:
    def behave(handler: Handler) -> None:
        (get if handler.received.method == "GET" else post)(handler)

    return behave


class Shelf:
    """Keeps what is posted, as Alertmanager does; ``faults`` befall the first posts, before or after storing."""

    def __init__(self, *faults: tuple[str, Behaviour]) -> None:
        self.kept: list[dict[str, Any]] = []
        self.posts = 0
        self._faults = list(faults)

    def __call__(self, handler: Handler) -> None:
        if handler.received.method == "GET":
            as_json(self.kept)(handler)
            return
        self.posts += 1
        when, fault = self._faults.pop(0) if self._faults else ("", CREATED)
        if when == "before":
            fault(handler)
            return
        body = json.loads(handler.received.body)
        self.kept.append({**stored(), **body, "id": f"id-{self.posts}"})
        (fault if when else as_json({"silenceID": f"id-{self.posts}"}))(handler)


FAULTS: dict[str, tuple[Behaviour, type[BackendError], str, int]] = {
    # name: (behaviour, error, part of the message or hint, requests sent for a list with three retries)
    "hang up": (hang_up, BackendUnavailable, "hung up without an answer", 4),
    "half an answer": (cut_off(b"[", 500), BackendUnavailable, "broke within the answer", 4),
    "500": (as_json("boom", 500), BackendUnavailable, "HTTP status 500: boom", 1),
    "502": (page(502, "Bad Gateway"), BackendUnavailable, 'an HTML page "Bad Gateway" (tried 4 times)', 4),
    "503": (status(503), BackendUnavailable, "HTTP status 503", 4),
    "504": (status(504), BackendUnavailable, "HTTP status 504", 4),
    "429": (status(429, "slow down"), BackendRateLimit, "slow down", 4),
    "400": (as_json("bad matcher format", 400), QueryRejected, "rejected: bad matcher format", 1),
    "422": (as_json({"code": 602, "message": "comment is required"}, 422), QueryRejected, "comment is", 1),
    "400 of a proxy": (page(400, "Bad Request"), BadAnswer, 'an HTML page "Bad Request"', 1),
    "401": (status(401, "no"), BackendRefused, "SLOCTL_ALERTMANAGER_TOKEN_FILE", 1),
    "403": (page(403, "Forbidden"), BackendRefused, "access denied (403)", 1),
    "404": (status(404, "404 page not found"), BadAnswer, "is the address right?", 1),
    "404 of a gateway": (as_json({"message": "no route"}, 404), BadAnswer, "no route", 1),
    "HTML 200": (page(200), BadAnswer, 'an HTML page "Sign in"', 1),
    "plain text": (status(200, "hello"), BadAnswer, "hello", 1),
    "empty": (status(200), BadAnswer, "an empty answer", 1),
    "truncated": (status(200, '[{"id":"a","status":{"st'), BadAnswer, "ends in the middle", 1),
    "not UTF-8": (status(200, b'["\xff"]'), BadAnswer, "not JSON", 1),
    "deep": (status(200, "[" * 100_000), BadAnswer, "not JSON", 1),
    "object": (as_json({"silences": []}), BadAnswer, "unknown form", 1),
    "null": (as_json(None), BadAnswer, "unknown form", 1),
    "numbers": (as_json([7]), BadAnswer, "unknown form", 1),
    "no state": (as_json([stored(status={})]), BadAnswer, "unknown form", 1),
    "a number for a comment": (as_json([stored(comment=7)]), BadAnswer, "unknown form", 1),
    "no time": (as_json([stored(endsAt="soon")]), BadAnswer, "unknown form", 1),
    "a time without zone": (as_json([stored(endsAt="2026-03-01T12:00:00")]), BadAnswer, "unknown form", 1),
    "odd matchers": (as_json([stored(matchers={"service": "x"})]), BadAnswer, "unknown form", 1),
    "a word for a flag": (
        as_json([stored(matchers=[{"name": "a", "value": "b", "isRegex": "no"}])]),
        BadAnswer,
        "unknown form",
        1,
    ),
    "redirect": (status(302, headers={"Location": "/login?next=x"}), BadAnswer, "redirects to /login", 1),
    "not gzip": (status(200, "plain", {"Content-Encoding": "gzip"}), BadAnswer, "cannot be decoded", 1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_has_its_error(name: str) -> None:
    behaviour, kind, part, requests_sent = FAULTS[name]
    with FaultyServer(behaviour) as server, adapter(server.url) as alertmanager:
        with pytest.raises(kind) as caught:
            alertmanager.silences()
        shown = f"{caught.value} {caught.value.hint}"
        assert part in shown
        assert str(caught.value).startswith(f"Alertmanager at {server.url}: ")
        assert (caught.value.backend, caught.value.url) == ("alertmanager", server.url)
        assert caught.value.exit_code == (EXIT_USAGE if kind is QueryRejected else EXIT_BACKEND)
        assert TOKEN not in shown
        assert "PROMETHEUS" not in shown.upper()
        assert len(server.requests) == alertmanager.queries == requests_sent
        assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "call",
    [
        lambda a: a.silences(),
        lambda a: a.status(),
        lambda a: a.alerts(),
        lambda a: a.post(SILENCE),
        lambda a: a.expire("abc"),
    ],
    ids=["silences", "status", "alerts", "post", "expire"],
)
@pytest.mark.parametrize(
    "behaviour", [page(200), status(302, headers={"Location": "https://sso.example.org"}), status(401)]
)
def test_a_login_page_is_never_taken_for_an_answer(
    call: Callable[[Alertmanager], object], behaviour: Behaviour
) -> None:
    with FaultyServer(behaviour) as server, adapter(server.url) as alertmanager:
        with pytest.raises((BadAnswer, BackendRefused)):
            call(alertmanager)
        assert len(server.requests) == 1


@pytest.mark.parametrize("data", [None, 7, "x", [], {}, {"silenceID": ""}, {"silenceID": 7}])
def test_an_answer_to_a_creation_has_an_id(data: object) -> None:
    with FaultyServer(as_json(data)) as server, adapter(server.url) as alertmanager:
        with pytest.raises(BadAnswer, match="unknown form"):
            alertmanager.post(SILENCE)
        assert len(server.requests) == 1


def test_a_refused_connection() -> None:
    sleeps = Sleeps()
    with adapter(refused_url(), sleeps) as alertmanager, pytest.raises(BackendUnavailable) as caught:
        alertmanager.silences()
    assert "connection refused (tried 4 times)" in str(caught.value)
    assert "--alertmanager" in caught.value.hint
    assert sleeps == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(code: int) -> None:
    sleeps = Sleeps()
    with (
        FaultyServer(status(code, headers={"Retry-After": "7"}), NONE) as server,
        adapter(server.url, sleeps) as alertmanager,
    ):
        assert alertmanager.silences() == []
    assert sleeps == [7.0]


@pytest.mark.parametrize(
    "behaviour",
    [slow(30, NONE), dripping_headers(), dripping(b"["), dripping(b"[]", length=None)],
    ids=["slow headers", "dripping headers", "dripping body", "dripping body of unknown length"],
)
def test_a_slow_answer_is_cut_off(behaviour: Behaviour) -> None:
    started = time.monotonic()
    with (
        FaultyServer(behaviour) as server,
        adapter(server.url, timeout=0.2) as alertmanager,
        pytest.raises(BackendTimeout) as caught,
    ):
        alertmanager.silences()
    assert time.monotonic() - started < 25  # the servers are silent for longer
    assert "SLOCTL_ALERTMANAGER_TIMEOUT" in caught.value.hint or "in time" in str(caught.value)


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    huge = as_json([stored(comment="x" * 1000)] * 100)
    with FaultyServer(huge) as server, adapter(server.url, max_bytes=10_000) as alertmanager:
        with pytest.raises(BackendLimit, match="larger than 10,000 bytes"):
            alertmanager.silences()
        assert len(server.requests) == 1


def test_credentials_are_not_carried_to_where_a_redirect_points() -> None:
    with FaultyServer(CREATED) as elsewhere:
        for code in (301, 302, 303, 307, 308):
            moved = status(code, headers={"Location": f"{elsewhere.url}/x?token={TOKEN}"})
            with (
                FaultyServer(moved) as server,
                adapter(server.url) as alertmanager,
                pytest.raises(BadAnswer) as caught,
            ):
                alertmanager.post(SILENCE)
            assert TOKEN not in str(caught.value)
            assert "--alertmanager" in caught.value.hint
        assert elsewhere.requests == []


LOST = {
    "hang up": hang_up,
    "half an answer": cut_off(b'{"silenceID"', 100),
    "502": page(502),
    "504": status(504),
    "slow": slow(30, CREATED),
}


@pytest.mark.parametrize("name", LOST)
@pytest.mark.parametrize("deploy", ["42", ""])
def test_a_silence_whose_answer_was_lost_is_found_and_not_made_twice(name: str, deploy: str) -> None:
    silence = wanted(SILENCE.matchers, NOW, 600, "ci", "deploy", deploy)
    shelf = Shelf(("after", LOST[name]))
    with FaultyServer(shelf) as server, adapter(server.url, timeout=0.5) as alertmanager:
        assert alertmanager.post(silence) == "id-1"
    assert len(shelf.kept) == shelf.posts == 1


@pytest.mark.parametrize("name", LOST)
def test_a_silence_that_was_not_stored_is_sent_again(name: str) -> None:
    shelf = Shelf(("before", LOST[name]))
    with FaultyServer(shelf) as server, adapter(server.url, timeout=0.5) as alertmanager:
        assert alertmanager.post(SILENCE) == "id-2"
    assert len(shelf.kept) == 1
    assert shelf.posts == 2


def test_an_equal_silence_of_another_moment_is_not_taken_for_the_lost_one() -> None:
    shelf = Shelf(("before", hang_up))
    shelf.kept = [
        stored(endsAt="2026-03-01T12:10:00.124Z"),
        stored(comment="deploy [sloctl deploy=43]"),
        stored(createdBy="someone"),
        stored(status={"state": "expired"}),
        stored(matchers=[{"name": "service", "value": "checkout", "isRegex": True, "isEqual": True}]),
    ]
    with FaultyServer(shelf) as server, adapter(server.url) as alertmanager:
        assert alertmanager.post(SILENCE) == "id-2"


def test_an_internal_error_does_not_send_a_creation_again() -> None:
    shelf = Shelf(("before", as_json("disk full", 500)))
    with (
        FaultyServer(shelf) as server,
        adapter(server.url) as alertmanager,
        pytest.raises(BackendUnavailable, match="disk full"),
    ):
        alertmanager.post(SILENCE)
    assert shelf.posts == 1


def test_a_member_of_a_cluster_that_has_not_heard_of_it_gets_no_second_one() -> None:
    with (
        FaultyServer(by_method(NONE, CREATED)) as server,
        adapter(server.url) as alertmanager,
    ):
        assert ensure(alertmanager, SILENCE, 14400).silence.id == "abc"
        assert [request.method for request in server.requests] == ["GET", "POST", "GET"]


def test_what_is_sent() -> None:
    with FaultyServer(CREATED) as server, adapter(server.url) as alertmanager:
        assert alertmanager.post(SILENCE) == "abc"
        (request,) = server.requests
    assert (request.method, request.path) == ("POST", LIST)
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {
        "matchers": [{"name": "service", "value": "checkout", "isEqual": True, "isRegex": False}],
        "startsAt": "2026-03-01T11:50:00.123Z",
        "endsAt": "2026-03-01T12:10:00.123Z",
        "createdBy": "ci",
        "comment": "deploy [sloctl deploy=42]",
    }


def test_a_silence_of_an_old_server_has_no_flag_for_inequality() -> None:
    old = stored(matchers=[{"name": "service", "value": "checkout", "isRegex": False}])
    with FaultyServer(as_json([old])) as server, adapter(server.url) as alertmanager:
        (silence,) = alertmanager.silences()
    assert silence.matchers == SILENCE.matchers
    assert (silence.deploy_id, silence.said, silence.ends) == ("42", "deploy", NOW + timedelta(minutes=10))


# --- the command line

FILE = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - {name: availability, service: checkout, namespace: shop, objective: 99.9, sli: {preset: availability}}
"""
COMMANDS: dict[str, tuple[str, ...]] = {
    "create": ("--service", "checkout", "--for", "5m", "--comment", "x", "--deploy-id", "42"),
    "list": ("list",),
    "expire": ("expire", "--deploy-id", "42"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "run"
    inner.mkdir()
    (inner / "slo.yaml").write_text(FILE)
    return inner


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", ["hang up", "500", "503", "401", "HTML 200", "truncated", "numbers"])
def test_each_command_says_what_is_wrong_with_the_server(folder: Path, command: str, fault: str) -> None:
    env = {"SLOCTL_ALERTMANAGER_RETRIES": "0", "SLOCTL_ALERTMANAGER_TOKEN": TOKEN}
    with FaultyServer(FAULTS[fault][0]) as server:
        arguments = (*COMMANDS[command], "-f", "slo.yaml", "--alertmanager", server.url)
        outcome = in_process("silence", *arguments, folder=folder, env=env)
    assert (outcome.code, outcome.stdout) == (3, "")
    assert outcome.stderr.startswith(f"sloctl: error: Alertmanager at {server.url}: ")
    assert TOKEN not in outcome.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_ends_a_command_at_once(folder: Path, command: str) -> None:
    with FaultyServer(slow(60, NONE)) as server:
        arguments = ("silence", *COMMANDS[command], "--alertmanager", server.url)
        outcome = interrupted(*arguments, folder=folder, when=lambda: server.requests)
    assert (outcome.code, outcome.stdout) == (130, "")
    assert outcome.stderr.strip() == "sloctl: interrupted"


def test_a_message_of_the_server_cannot_command_the_terminal(folder: Path) -> None:
    with FaultyServer(as_json("\x1b[2Jgone\x07", 400)) as server:
        outcome = sloctl("silence", "list", "--alertmanager", server.url, folder=folder)
    assert outcome.code == 2
    assert "\x1b" not in outcome.stderr
    assert "gone" in outcome.stderr
