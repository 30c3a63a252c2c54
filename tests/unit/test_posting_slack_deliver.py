"""Delivery to a Slack that loses, delays, doubles, limits and refuses: each message is there once."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from jobs import posting
from sloctl.ledger import outbox
from sloctl.ledger.database import Database
from sloctl.ledger.outbox import DatabaseOutbox
from sloctl.model import SloSet
from sloctl.posting.protocol import LEASE, DeliveryOutcome, DeliveryProgress, LeaseLost, OutboxEntry, Post
from sloctl.posting.slack.api import Slack, Webhook
from sloctl.posting.slack.deliver import SlackNotifier
from sloctl.posting.slack.steps import REPEAT, SETTLE, compose, mark
from sloctl.report.data import Report
from sloctl.settings.secret import Secret
from sloctl.settings.slack import SlackSettings
from tests.support import slack_server
from tests.support.faulty_server import FaultyServer, dripping, hang_up, page, refused_url, status
from tests.support.slack_reports import SLO_SET, report
from tests.support.slack_server import (
    CHANNEL_ID,
    FAULTS,
    SCOPES,
    TOKEN,
    Fault,
    SlackServer,
    delay,
    double,
    http,
    lose_answer,
    lose_request,
    rate_limit,
    reset_answer,
    says,
    truncate,
)

KEY = "shop/weekly/2026-W09/Europe/Paris/slack:#slo-reviews"
START = 1_700_000_000.0
POST = compose(report(), SLO_SET, KEY)
REPLIES = 4
SEEDS = int(os.environ.get("SLOCTL_SLACK_SEEDS", "1"))
"""How many times trouble is drawn anew, for six reports each time (make crash: thirty)."""


@dataclass
class World:
    """An outbox, a Slack, and a clock that moves only when somebody waits."""

    outbox: DatabaseOutbox
    slack: SlackServer
    timeout: float = 5.0
    time: float = START
    slept: list[float] = field(default_factory=list)
    hook: bool = False

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def notifier(self) -> SlackNotifier:
        if self.hook:
            settings = SlackSettings(webhook=Secret(self.slack.hook), timeout=self.timeout)
            return SlackNotifier(Webhook(settings, now=self.now), now=self.now, sleep=self.sleep)
        settings = SlackSettings(Secret(TOKEN), api_url=self.slack.api, timeout=self.timeout)
        return SlackNotifier(Slack(settings, now=self.now), now=self.now, sleep=self.sleep)

    def post(self, post: Post = POST) -> posting.Posted:
        return posting.send(post, self.outbox, self.notifier(), self.now, jitter=lambda: 0.0)[1]

    def deliver(self) -> posting.Posted:
        return posting.deliver(self.outbox, self.notifier(), self.now, jitter=lambda: 0.0)

    def wait(self) -> None:
        """Until the next entry is due."""
        self.time = max(self.time, min(entry.due for entry in self.outbox.entries("", ("pending",))))

    def to_the_end(self, rounds: int = 60) -> None:
        for _ in range(rounds):
            if not self.outbox.entries("", ("pending",)):
                return
            self.wait()
            self.deliver()
        raise AssertionError("it does not end")

    def state(self) -> str:
        (entry,) = self.outbox.entries()
        return entry.state

    def error(self) -> str:
        (entry,) = self.outbox.entries()
        return entry.error

    def arrived_once(self, replies: int = REPLIES) -> None:
        assert self.slack.problems == []
        assert self.state() == "sent", self.error()
        (main,) = self.slack.main()
        assert main["text"].startswith("Weekly SLO report: shop")
        parts = [message["metadata"]["event_payload"]["part"] for message in self.slack.thread(main["ts"])]
        assert parts == [f"reply {number}" for number in range(replies)]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its tables, to be copied."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    Database(Secret(f"sqlite:///{path}")).close()
    return path


@pytest.fixture
def world(tmp_path: Path, empty: Path) -> Iterator[World]:
    shutil.copy(empty, tmp_path / "ledger.db")
    database = Database(Secret(f"sqlite:///{tmp_path / 'ledger.db'}"))
    # What survives a crash of the machine is tested elsewhere.
    event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF").close())
    database.engine.dispose()
    with SlackServer(first_ts=START) as slack:
        yield World(DatabaseOutbox(database), slack)
    database.close()


def test_a_report_is_posted_with_its_chart_and_thread(world: World) -> None:
    done = world.post()
    assert done.sent == [KEY] and not done.notes
    world.arrived_once()
    (main,) = world.slack.main()
    images = [block for block in main["blocks"] if block["type"] == "image"]
    assert len(images) == 1 and "service-0" in images[0]["alt_text"]
    file = world.slack.files[images[0]["slack_file"]["id"]]
    assert file["data"].startswith(b"\x89PNG") and file["alt"] == images[0]["alt_text"]


def test_the_same_report_is_posted_once_however_often_it_is_asked_for(world: World) -> None:
    world.post()
    for _ in range(3):
        new, done = posting.send(POST, world.outbox, world.notifier(), world.now)
        assert not new and not done.sent
    world.arrived_once()


SINGLE = [
    pytest.param(fault, id=f"{number}-{getattr(fault, '__name__', 'fault')}")
    for number, fault in enumerate(FAULTS)
]


@pytest.mark.parametrize("method", [*slack_server.NEEDED])
@pytest.mark.parametrize("fault", SINGLE)
@pytest.mark.slow
def test_one_fault_of_any_kind_in_any_request(world: World, fault: Fault, method: str) -> None:
    world.slack.faulty, world.slack.faults = (method,), [fault]
    if method in ("conversations.history", "conversations.replies", "conversations.list"):
        # They are asked when an answer was lost.
        world.slack.faulty, world.slack.faults = ("chat.postMessage", method), [lose_answer, fault]
    world.post()
    world.to_the_end()
    world.arrived_once()
    assert not world.slack.faults or method == "chat.delete"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.slow
def test_many_faults_by_chance(world: World, seed: int) -> None:
    world.slack.chance, world.slack.seed = 0.4, seed
    world.slack._random.seed(seed)
    world.post()
    world.to_the_end(rounds=200)
    world.slack.chance = 0
    world.arrived_once()


class Killed(BaseException):
    """As SIGKILL: nothing after it is done."""


@pytest.mark.parametrize("step", range(1, 16))
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.slow
def test_a_process_that_dies_between_any_two_steps(world: World, step: int, when: str) -> None:
    notifier, count = world.notifier(), 0

    def save_or_die(keep: Callable[[DeliveryProgress], None]) -> Callable[[DeliveryProgress], None]:
        def save(progress: DeliveryProgress) -> None:
            nonlocal count
            count += 1
            if when == "before" and count == step:
                raise Killed
            keep(progress)
            if when == "after" and count == step:
                raise Killed

        return save

    class Mortal:
        def compose(self, report: Report, slo_set: SloSet, key: str) -> Post:
            return notifier.compose(report, slo_set, key)

        def deliver(self, entry: OutboxEntry, save: Callable[[DeliveryProgress], None]) -> DeliveryOutcome:
            return notifier.deliver(entry, save_or_die(save))

    world.outbox.enqueue(POST, world.time)
    try:
        posting.deliver(world.outbox, Mortal(), world.now)
    except Killed:
        assert world.state() == "pending"
        assert not world.deliver().sent, "its lease still holds"
        world.time += LEASE + 1
    world.deliver()
    world.to_the_end()
    world.arrived_once()
    assert world.slack.deleted == [], "what is there was found, not sent again and removed"


def test_two_at_once(world: World) -> None:
    """Who holds the entry alone may go on; who lost it stops before the next message."""
    world.outbox.enqueue(POST, world.time)
    notifier, other = world.notifier(), world.notifier()
    first = world.outbox.claim("first", world.time, 300)
    assert first is not None
    assert world.outbox.claim("second", world.time, 300) is None

    def overtaken(progress: DeliveryProgress) -> None:
        world.time += 301  # this process was asleep
        done = posting.deliver(world.outbox, other, world.now)
        assert done.sent or world.state() == "sent"
        world.outbox.save(first.id, "first", progress, world.time, 300)

    with pytest.raises(LeaseLost):
        notifier.deliver(first, overtaken)
    world.arrived_once()


def test_waits_as_long_as_slack_asks(world: World) -> None:
    world.slack.faulty, world.slack.faults = ("chat.postMessage",), [rate_limit("7200")]
    done = world.post()
    assert done.waiting == {KEY: "chat.postMessage: Slack limits the rate; next attempt in 2h"}
    world.time += 7199
    assert not world.deliver().sent and len(world.slack.main()) == 0
    world.time += 2
    assert world.deliver().sent == [KEY]
    world.arrived_once()


def test_short_waits_are_waited_for(world: World) -> None:
    world.slack.faulty, world.slack.faults = (
        ("chat.postMessage",),
        [None, rate_limit("2"), None, rate_limit("1")],
    )
    assert world.post().sent == [KEY]
    assert world.slept == [2, 1]
    world.arrived_once()


def test_back_off_doubles_up_to_an_hour() -> None:
    waits = [posting.backoff(attempts, None, 0.0) for attempts in range(9)]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert posting.backoff(0, None, 1.0) == 45 and posting.backoff(99, 5000.0, 0.5) == 5000
    assert posting.backoff(0, 10.0, 0.0) == 60


@pytest.mark.slow
def test_given_up_after_three_days_loudly_and_taken_up_again(world: World) -> None:
    world.slack.faulty, world.slack.faults = ("chat.postMessage",), [http(403, page=True)] * 1000
    world.post()
    world.to_the_end(rounds=200)
    assert world.state() == "dead"
    assert "HTTP 403, not an answer of Slack's API; tried" in world.error() and "times in 3d" in world.error()
    world.slack.faults = []
    assert world.deliver() == posting.Posted()
    assert world.outbox.revive(KEY, world.time)
    world.deliver()
    world.to_the_end()
    world.arrived_once()
    assert not world.outbox.revive(KEY, world.time), "what was sent stays sent"


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("invalid_auth", "the token is not valid"),
        ("channel_not_found", "is the channel's name right?"),
        ("not_in_channel", "/invite @app"),
        ("is_archived", "the channel is archived"),
        ("no_such_thing", "no_such_thing"),
    ],
)
def test_what_time_does_not_heal_is_given_up_at_once(world: World, code: str, hint: str) -> None:
    world.slack.refuse = {"chat.postMessage": code}
    done = world.post()
    assert list(done.dead) == [KEY] and hint in done.dead[KEY] and code in done.dead[KEY]
    assert world.state() == "dead" and world.slack.main() == []
    world.slack.refuse = {}
    world.outbox.revive(KEY, world.time)
    assert world.deliver().sent == [KEY]
    world.arrived_once()


def test_without_the_scope_for_files_the_report_goes_without_its_chart(world: World) -> None:
    world.slack.scopes = SCOPES - {"files:write"}
    done = world.post()
    assert done.notes == {
        KEY: ("the chart was left out: files.getUploadURLExternal: missing_scope (it needs files:write)",)
    }
    world.arrived_once()


def test_a_chart_that_cannot_be_uploaded_for_long_is_left_out(world: World) -> None:
    world.slack.faulty, world.slack.faults = ("files.getUploadURLExternal",), [http(500)] * 9
    world.post()
    world.to_the_end()
    world.arrived_once()
    assert "chart was left out" in world.error()


def test_slack_looks_at_a_file_before_a_message_may_show_it(world: World) -> None:
    world.slack.file_delay = 2
    done = world.post()
    assert done.sent == [KEY], done
    assert world.slept == [2, 4]
    world.arrived_once()
    assert any(block["type"] == "image" for block in world.slack.main()[0]["blocks"])


def test_a_file_that_slack_accepts_at_the_last_attempt_is_shown(world: World) -> None:
    world.slack.file_delay = 3
    done = world.post()
    assert (done.sent, done.notes, world.slept) == ([KEY], {}, [2, 4, 6])
    world.arrived_once()
    assert any(block["type"] == "image" for block in world.slack.main()[0]["blocks"])


def test_a_file_that_slack_never_accepts_is_left_out(world: World) -> None:
    world.slack.file_delay = 99
    done = world.post()
    assert done.sent == [KEY]
    assert done.notes == {KEY: ("the chart was left out: Slack did not accept it in a message",)}
    assert world.slept == [2, 4, 6], "asked again three times"
    world.arrived_once()
    assert not any(block["type"] == "image" for block in world.slack.main()[0]["blocks"])


# --- what may be there already


@pytest.mark.slow
def test_a_request_that_arrives_late_is_removed(world: World) -> None:
    """A message that nobody knew of when it was looked for: at the end it is looked for again."""
    world.timeout = 0.3
    world.slack.faulty, world.slack.faults = ("chat.postMessage",), [delay(3.0, late=True)]
    done = world.post()
    assert "no whole answer in time" in done.waiting[KEY]
    assert world.slack.main() == []
    world.wait()
    assert not world.deliver().waiting  # posted again, for nothing was there
    assert len(world.slack.main()) == 1 and world.state() == "pending"
    deadline = time.monotonic() + 10
    while len(world.slack.main()) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(world.slack.main()) == 2, "now the first one arrives, too"
    assert not world.deliver().sent
    world.time += SETTLE + 1
    assert world.deliver().sent == [KEY]
    world.arrived_once()
    assert world.error() == "a second copy of a message was removed"


def test_a_copy_that_somebody_answered_is_left(world: World) -> None:
    world.slack.faulty, world.slack.faults = ("chat.postMessage",), [double]
    world.slack.refuse = {"conversations.history": "fatal_error"}
    world.post()
    second = world.slack.main()[0]["ts"]
    world.slack._keep(CHANNEL_ID, {"text": "who looks after this?", "thread_ts": second})
    world.slack.refuse = {}
    world.wait()
    world.deliver()
    assert world.state() == "sent" and len(world.slack.main()) == 2
    assert "somebody answered it" in world.error()


def test_a_report_that_somebody_removed_is_not_posted_again(world: World) -> None:
    world.slack.faulty, world.slack.faults = ("chat.postMessage",), [None, rate_limit("100")]
    world.post()
    world.slack.messages.clear()
    world.wait()
    world.deliver()
    assert world.state() == "sent" and world.slack.messages == []
    assert "somebody removed the message" in world.error()


@pytest.mark.parametrize(
    "fault", [lose_request, lose_answer, http(500), http(500, done=True), truncate, reset_answer]
)
@pytest.mark.parametrize("scopes", [SCOPES - {"channels:history"}, SCOPES - {"channels:read"}])
def test_who_may_not_look_repeats_and_says_so(world: World, fault: Fault, scopes: frozenset[str]) -> None:
    world.slack.scopes = scopes
    world.slack.faulty, world.slack.faults = ("chat.postMessage",), [fault]
    world.post()
    world.to_the_end()
    assert world.state() == "sent" and 1 <= len(world.slack.main()) <= 2
    assert world.slack.main()[-1]["text"].startswith(REPEAT)
    assert "missing_scope" in world.error() or "that the token may see" in world.error()


# --- incoming webhooks


@pytest.fixture
def hooked(world: World) -> World:
    world.hook = True
    return world


def test_a_webhook_gets_one_message(hooked: World) -> None:
    assert hooked.post().sent == [KEY]
    (message,) = hooked.slack.main()
    assert hooked.slack.problems == [] and hooked.state() == "sent"
    assert "Restarts of proxies" in str(message["blocks"]) and "metadata" not in message
    assert hooked.post().sent == []
    assert len(hooked.slack.main()) == 1


@pytest.mark.parametrize("fault", [rate_limit("3"), http(400), http(403, page=True), http(404, page=True)])
def test_a_webhook_that_refused_is_asked_again(hooked: World, fault: Fault) -> None:
    hooked.slack.faults = [fault]
    hooked.post()
    hooked.to_the_end()
    (message,) = hooked.slack.main()
    assert REPEAT not in str(message) and hooked.state() == "sent"


@pytest.mark.parametrize(
    "fault",
    [
        lose_request,
        lose_answer,
        http(500),
        http(503, page=True, done=True),
        http(408, done=True),
        reset_answer,
    ],
)
def test_a_webhook_without_an_answer_is_asked_again_and_the_message_says_so(
    hooked: World, fault: Fault
) -> None:
    hooked.slack.faults = [fault]
    hooked.post()
    hooked.to_the_end()
    assert 1 <= len(hooked.slack.main()) <= 2 and hooked.state() == "sent"
    assert hooked.slack.main()[-1]["text"].startswith(REPEAT)
    assert hooked.slack.problems == []


@pytest.mark.parametrize("refusal", [rate_limit("3"), http(404, page=True)])
def test_a_refusal_after_a_lost_answer_leaves_the_next_attempt_a_repetition(
    hooked: World, refusal: Fault
) -> None:
    hooked.slack.faults = [lose_answer, refusal]
    hooked.post()
    hooked.to_the_end()
    first, second = hooked.slack.main()
    assert REPEAT not in str(first) and second["text"].startswith(REPEAT)
    assert hooked.state() == "sent"


def test_a_webhook_that_never_answers_is_not_flooded(hooked: World) -> None:
    hooked.slack.faults = [lose_answer] * 50
    hooked.post()
    hooked.to_the_end()
    assert hooked.state() == "dead" and len(hooked.slack.main()) == 3
    assert "the report may be there 3 times, or not at all" in hooked.error()


def test_a_webhook_that_is_gone(hooked: World) -> None:
    def gone(_slack: SlackServer, handler: Any, _process: Any) -> None:
        status(404, "no_service")(handler)

    hooked.slack.faults = [gone]
    done = hooked.post()
    assert done.dead == {KEY: "Slack refused: no_service (the webhook was removed: make a new one)"}


# --- no Slack at all


@pytest.mark.parametrize("hook", [False, True])
def test_no_connection_is_not_an_attempt_that_may_have_arrived(world: World, hook: bool) -> None:
    world.hook = hook
    settings = SlackSettings(
        None if hook else Secret(TOKEN),
        Secret(f"{refused_url()}/hook") if hook else None,
        api_url=f"{refused_url()}/api/",
        timeout=5,
    )
    backend = Webhook(settings) if hook else Slack(settings)
    notifier = SlackNotifier(backend, now=world.now, sleep=world.sleep)
    done = posting.send(POST, world.outbox, notifier, world.now)[1]
    assert "connection refused" in done.waiting[KEY]
    world.time += 3600
    world.deliver()
    assert world.state() == "sent"
    assert REPEAT not in str(world.slack.main()) and len(world.slack.main()) == 1


def test_answers_that_drip_redirects_portals_and_certificates(world: World, tmp_path: Path) -> None:
    for behaviour, reason in (
        (dripping(b'{"ok": true, '), "no whole answer in time"),
        (page(200), "the answer is not Slack's"),
        (page(403), "HTTP 403, not an answer of Slack's API"),
        (status(302, headers={"Location": "https://example.org/login"}), "HTTP 302, not an answer"),
        (status(200, "[]", kind="application/json"), "the answer is not Slack's"),
        (status(200, b"\xff\xfe", kind="application/json; charset=nonsense"), "the answer is not Slack's"),
    ):
        with FaultyServer(behaviour) as server:
            settings = SlackSettings(Secret(TOKEN), api_url=f"{server.url}/api/", timeout=0.3)
            notifier = SlackNotifier(Slack(settings), now=world.now)
            world.outbox.enqueue(compose(report(), SLO_SET, KEY, chart=False), world.time)
            done = posting.deliver(world.outbox, notifier, world.now, forced=True)
            assert reason in done.waiting[KEY], behaviour
            assert len(server.requests) == 1
        assert TOKEN not in done.waiting[KEY]
    world.time += 4000
    world.deliver()
    world.to_the_end()
    world.arrived_once()


def test_a_certificate_that_nobody_trusts(world: World, tmp_path: Path) -> None:
    import subprocess

    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(cert), *subject], check=True, capture_output=True)
    with FaultyServer(status(200), tls=(str(cert), str(key))) as server:
        settings = SlackSettings(Secret(TOKEN), api_url=f"{server.url}/api/", timeout=5)
        world.outbox.enqueue(POST, world.time)
        done = posting.deliver(world.outbox, SlackNotifier(Slack(settings)), world.now)
        assert "the certificate is not accepted" in done.waiting[KEY]
        assert server.requests == []


def test_the_database_holds_no_secret(world: World, tmp_path: Path) -> None:
    world.slack.faults = [lose_answer, http(500), says("invalid_auth")]
    world.post()
    world.hook = True
    world.post(Post("shop", "other", POST.kind, POST.channel, POST.payload))
    for file in tmp_path.iterdir():
        held = file.read_bytes()
        assert TOKEN.encode() not in held and b"thisisthesecret" not in held and b"/upload/" not in held


def test_old_posts_are_forgotten_and_can_be_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "NEVER_FORGOTTEN", 1)
    world.post()
    world.time += posting.KEPT + 1
    world.post(Post("shop", "other", POST.kind, POST.channel, POST.payload))
    assert [entry.post.key for entry in world.outbox.entries()] == ["other"]
    assert world.outbox.drop("other", world.time) and not world.outbox.drop("other", world.time)
    assert world.outbox.entries() == []


def test_a_clock_set_forward_forgets_no_post(world: World) -> None:
    world.post()
    world.time += 7 * 365 * 86400
    world.post(Post("shop", "other", POST.kind, POST.channel, POST.payload))
    world.time = START + 60
    assert world.post().sent == []
    assert len(world.slack.main()) == 2


def test_what_a_clock_put_off_for_years_is_tried_when_it_is_set_back(world: World) -> None:
    world.time += 7 * 365 * 86400
    world.slack.faulty, world.slack.faults = ("chat.postMessage",), [rate_limit("100000")]
    assert world.post().waiting
    world.time = START
    assert world.deliver().sent == [KEY]
    world.arrived_once()


def test_what_is_held_by_a_clock_that_was_set_back_is_taken_up(world: World) -> None:
    world.outbox.enqueue(POST, world.time)
    assert world.outbox.claim(world.outbox.owner(), START + 7 * 365 * 86400, LEASE) is not None
    assert world.deliver().sent == [KEY], "the process that had it in hand lives on"
    world.arrived_once()


@pytest.mark.parametrize("off", [-30 * 86400, 30 * 86400])
def test_a_message_is_found_by_a_clock_that_is_off(world: World, off: float) -> None:
    world.time += off
    world.slack.faulty, world.slack.faults = ("chat.postMessage",), [lose_answer]
    world.post()
    world.to_the_end()
    world.arrived_once()
    assert world.slack.deleted == []


def test_a_copy_is_removed_however_long_nobody_can_look_for_it(world: World) -> None:
    world.slack.faulty = ("chat.postMessage", "conversations.history")
    world.slack.faults = [None, double, None, None, None, *[http(503)] * 40]
    assert world.post().waiting == {}, "the report is there"
    world.to_the_end()
    world.arrived_once()
    assert world.error() == "a second copy of a message was removed"


class Misfortune:
    """What fails, by chance: every request may fail in every way, or arrive late; every step may be the last."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance, self.share = world, random.Random(seed), 0.35
        self.late: list[Callable[[], Any]] = []
        world.slack.draw = self.fault

    def fault(self) -> Fault | None:
        if self.chance.random() >= self.share:
            return None
        return self.chance.choice((*FAULTS, self.arrives_late))

    def arrives_late(self, _slack: SlackServer, handler: Any, process: Callable[[], Any]) -> None:
        self.late.append(process)
        hang_up(handler)

    def compose(self, report: Report, slo_set: SloSet, key: str) -> Post:
        return compose(report, slo_set, key)

    def deliver(self, entry: OutboxEntry, save: Callable[[DeliveryProgress], None]) -> DeliveryOutcome:
        def save_or_die(progress: DeliveryProgress) -> None:
            if self.chance.random() < 0.04:
                raise Killed
            save(progress)
            if self.chance.random() < 0.04:
                raise Killed

        return self.world.notifier().deliver(entry, save_or_die)

    def round(self) -> None:
        """All that is due; then what was late arrives, and a clock jumps."""
        try:
            posting.deliver(self.world.outbox, self, self.world.now, jitter=lambda: 0.0)
        except Killed:
            self.world.time += LEASE + 1
        while self.late:
            self.late.pop(self.chance.randrange(len(self.late)))()
        if self.share:
            self.world.time += self.chance.choice((0, 0, 0, 0, 0, 0, 0, 0, -7200, 7200))


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.slow
def test_messages_are_never_doubled_by_faults_kills_and_clocks(world: World, seed: int) -> None:
    trouble = Misfortune(world, seed)
    posts = [replace(POST, key=f"shop/daily/{number}/UTC/slack:#slo-reviews") for number in range(6)]
    for post in posts:
        world.outbox.enqueue(post, world.time)
    for number in range(600):
        if not world.outbox.entries("", ("pending",)):
            break
        trouble.share = 0.35 if number < 100 else 0
        trouble.round()
        if world.outbox.entries("", ("pending",)):
            world.wait()
    assert {entry.state for entry in world.outbox.entries()} == {"sent"}
    parts = Counter(
        (message["metadata"]["event_payload"]["key"], message["metadata"]["event_payload"]["part"])
        for message in world.slack.messages
    )
    names = ("main", *(f"reply {number}" for number in range(REPLIES)))
    assert parts == Counter((mark(post.key), name) for post in posts for name in names)


def test_a_webhook_that_was_given_up_is_asked_again_when_somebody_says_so(hooked: World) -> None:
    hooked.slack.faults = [lose_answer] * 3
    hooked.post()
    hooked.to_the_end()
    assert hooked.state() == "dead"
    assert hooked.outbox.revive(KEY, hooked.time)
    assert hooked.deliver().sent == [KEY]
    assert [message["text"].startswith(REPEAT) for message in hooked.slack.main()] == [
        False,
        True,
        True,
        True,
    ]
