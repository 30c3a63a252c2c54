"""The outbox on real databases: one post for each key, one owner for each post, whoever else is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from jobs import posting
from sloctl.ledger import locks
from sloctl.ledger.database import Database
from sloctl.ledger.outbox import DatabaseOutbox
from sloctl.posting.protocol import Delivered, DeliveryOutcome, LeaseLost, OutboxEntry, Post, Postponed
from sloctl.settings.secret import Secret

POST = Post("shop", "shop/weekly/2026-W09/UTC/slack:#x", "slack", "#x", '{"a": "ü"}', b"\x89PNG\x00\xff")
LONG = 300.0


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(Secret(url))
    yield opened
    opened.close()


@pytest.fixture
def outbox(database: Database) -> DatabaseOutbox:
    return DatabaseOutbox(database)


@pytest.fixture
def now(database: Database) -> float:
    """The time of the database: leases are reckoned by it."""
    return database.read(locks.clock)


def test_a_post_comes_back_as_it_was(outbox: DatabaseOutbox, now: float) -> None:
    assert outbox.enqueue(POST, now)
    entry = outbox.claim("me", now, LONG)
    assert entry is not None and entry.post == POST and entry.state == "pending" and entry.progress == {}
    outbox.save(entry.id, "me", {"ts": "1.2", "notes": ["ü"]}, now, LONG)
    outbox.postpone(entry.id, "me", now + 60, "later")
    assert outbox.claim("other", now + 59, LONG) is None
    again = outbox.claim("other", now + 60, LONG)
    assert again is not None and again.progress == {"ts": "1.2", "notes": ["ü"]}
    assert (again.attempts, again.error) == (1, "later")
    (listed,) = outbox.entries()
    assert listed.post == replace(POST, image=b"")


def test_a_key_is_there_once_whoever_puts_it_in_at_the_same_moment(
    outbox: DatabaseOutbox, now: float
) -> None:
    with ThreadPoolExecutor(8) as pool:
        posts = [replace(POST, payload=f'{{"n": {number}}}') for number in range(16)]
        assert sum(pool.map(lambda post: outbox.enqueue(post, now), posts)) == 1
    assert len(outbox.entries()) == 1


def test_what_was_sent_keeps_its_key_and_loses_its_texts(
    outbox: DatabaseOutbox, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.enqueue(POST, now)
    entry = outbox.claim("me", now, LONG)
    assert entry is not None
    outbox.sent(entry.id, "me", now, "fine")
    assert not outbox.enqueue(POST, now)
    (left,) = outbox.entries()
    assert (left.state, left.error, left.post.payload) == ("sent", "fine", "{}")
    assert left.ended == pytest.approx(now)
    assert outbox.claim("me", now, LONG, forced=True) is None
    assert outbox.forget(now - 1) == 0 and outbox.forget(now + 1) == 0
    monkeypatch.setattr("sloctl.ledger.outbox.NEVER_FORGOTTEN", 0)
    assert outbox.forget(now - 1) == 0 and outbox.forget(now + 1) == 1
    assert outbox.enqueue(POST, now)


def test_each_post_is_in_one_hand(outbox: DatabaseOutbox, now: float) -> None:
    keys = {f"key {number}" for number in range(24)}
    for key in keys:
        outbox.enqueue(replace(POST, key=key), now)

    def claim_all(number: int) -> list[str]:
        found: list[str] = []
        while entry := outbox.claim(f"owner {number}", now, LONG):
            found.append(entry.post.key)
        return found

    with ThreadPoolExecutor(6) as pool:
        claimed = [key for found in pool.map(claim_all, range(6)) for key in found]
    assert sorted(claimed) == sorted(keys)


def test_who_lost_a_post_can_do_nothing_to_it(outbox: DatabaseOutbox, now: float) -> None:
    outbox.enqueue(POST, now)
    entry = outbox.claim("slow", now, -1.0)
    assert entry is not None
    other = outbox.claim("quick", now, LONG)
    assert other is not None and other.id == entry.id
    acts: tuple[Callable[[], None], ...] = (
        lambda: outbox.save(entry.id, "slow", {}, now, LONG),
        lambda: outbox.sent(entry.id, "slow", now),
        lambda: outbox.postpone(entry.id, "slow", now, "x"),
        lambda: outbox.give_up(entry.id, "slow", now, "x"),
    )
    for act in acts:
        with pytest.raises(LeaseLost):
            act()
    outbox.sent(entry.id, "quick", now)


def test_a_post_of_a_process_that_is_gone_is_free_at_once(outbox: DatabaseOutbox, now: float) -> None:
    """SIGKILL leaves its lease behind; that a process of this machine is gone can be known."""
    script = "from sloctl.ledger import locks; print(locks.new_owner())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    outbox.enqueue(POST, now)
    assert outbox.claim(done.stdout.strip(), now, LONG) is not None
    assert outbox.claim(outbox.owner(), now, LONG) is not None, "the other one is gone"
    assert outbox.claim(outbox.owner(), now, LONG) is None, "this one is not"


def test_forced_gives_each_once_a_round(outbox: DatabaseOutbox, now: float) -> None:
    outbox.enqueue(POST, now)

    class Never:
        calls = 0

        def deliver(self, _entry: OutboxEntry, _save: object) -> DeliveryOutcome:
            self.calls += 1
            return Postponed("no", after=10_000)

    notifier = Never()
    for number in range(1, 4):
        done = posting.deliver(outbox, notifier, lambda: now, forced=True)  # type: ignore[arg-type]
        assert notifier.calls == number and list(done.waiting) == [POST.key]
    posting.deliver(outbox, notifier, lambda: now)  # type: ignore[arg-type]
    assert notifier.calls == 3, "it is not due"


def test_revive_and_drop(outbox: DatabaseOutbox, now: float) -> None:
    for key in ("nope", os.fsdecode(b"\xff")):
        assert not outbox.revive(key, now) and not outbox.drop(key, now)
    outbox.enqueue(POST, now - 500_000)
    entry = outbox.claim("me", now, LONG)
    assert entry is not None
    assert not outbox.drop(POST.key, now) and not outbox.revive(POST.key, now), "it is in somebody's hands"
    outbox.give_up(entry.id, "me", now, "x" * 5000)
    assert outbox.claim("me", now, LONG, forced=True) is None
    (dead,) = outbox.entries("shop", ("dead",))
    assert len(dead.error) == 1000 and dead.ended == pytest.approx(now)
    assert outbox.revive(POST.key, now)
    (alive,) = outbox.entries("shop", ("pending",))
    assert alive.created == pytest.approx(now)
    assert (alive.attempts, alive.ended) == (0, None)
    assert outbox.drop(POST.key, now) and outbox.entries() == []


def test_sets_are_told_apart(outbox: DatabaseOutbox, now: float) -> None:
    outbox.enqueue(POST, now)
    outbox.enqueue(replace(POST, set_name="other", key="other/x"), now)
    assert [entry.post.key for entry in outbox.entries("other")] == ["other/x"]

    class Always:
        def deliver(self, _entry: OutboxEntry, _save: object) -> DeliveryOutcome:
            return Delivered()

    done = posting.deliver(outbox, Always(), lambda: now, set_name="other")  # type: ignore[arg-type]
    assert done.sent == ["other/x"]
