"""What is posted, and where it waits until it is there: protocols and plain data, never the adapters behind them.

A post is made once and stored whole, so that whoever delivers it later delivers exactly what was made. Its ``key``
names what it says (set, routine, period, channel): no two posts have the same. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sloctl.model import SloSet
from sloctl.report.data import Report

LEASE = 300.0
"""Seconds for which an entry is held after each step; longer than any request takes."""
LONGEST_PAUSE = 86400.0
"""Seconds from one attempt to the next, at most: what waits longer was put off by a clock that was set back since."""
NEVER_FORGOTTEN = 10_000
"""Posts of which it is remembered that they were sent, whatever the clock says: the newest ones."""
State = Literal["pending", "sent", "dead"]
STATES: tuple[State, ...] = ("pending", "sent", "dead")

DeliveryProgress = dict[str, Any]
"""Which steps of a delivery are done; JSON."""


@dataclass(frozen=True, slots=True)
class Post:
    """A report to post. ``payload`` is JSON of the notifier's own; ``image`` is a PNG, or nothing."""

    set_name: str
    key: str
    kind: str
    channel: str
    payload: str
    image: bytes = b""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A post in the outbox. ``due`` is when it may be tried next, ``attempts`` how often it was."""

    post: Post
    id: int
    state: State
    progress: DeliveryProgress = field(default_factory=dict)
    created: float = 0.0
    due: float = 0.0
    attempts: int = 0
    error: str = ""
    ended: float | None = None


class LeaseLost(Exception):
    """Another process took over the entry, because this one did not say for long that it lives."""


class Outbox(Protocol):
    """Where posts wait. Errors are ``sloctl.errors.BackendError`` with ``backend`` "ledger".

    Every method is one transaction; safe to use from several threads and processes.
    """

    def owner(self) -> str:
        """A name for a round of deliveries, which no other has."""

    def enqueue(self, post: Post, now: float) -> bool:
        """Put a post in; False, and nothing changes, if one with its key is there or was sent."""

    def claim(
        self, owner: str, now: float, lease: float, *, set_name: str = "", forced: bool = False
    ) -> OutboxEntry | None:
        """The entry that is due longest, for ``owner`` alone for ``lease`` seconds; None if none is due.

        An entry that somebody holds is not given again, unless it is known that they are gone. ``forced`` gives
        pending ones before they are due, except those that this owner has had in hand already.
        """

    def save(self, entry_id: int, owner: str, progress: Mapping[str, Any], now: float, lease: float) -> None:
        """Keep what is done, and hold the entry for ``lease`` seconds from now on. Raises :class:`LeaseLost`."""

    def sent(self, entry_id: int, owner: str, now: float, note: str = "") -> None:
        """It is delivered. Raises :class:`LeaseLost`."""

    def postpone(self, entry_id: int, owner: str, due: float, error: str, *, failed: bool = True) -> None:
        """Try again at ``due``; with ``failed``, another attempt is counted. Raises :class:`LeaseLost`."""

    def give_up(self, entry_id: int, owner: str, now: float, error: str) -> None:
        """It cannot be delivered, unless a person does something. Raises :class:`LeaseLost`."""

    def entries(self, set_name: str = "", states: Sequence[State] = ()) -> Sequence[OutboxEntry]:
        """All entries, oldest first, without their images; of one set and in some states, if given."""

    def revive(self, key: str, now: float) -> bool:
        """Have a dead or waiting entry tried again from now on; False if there is none."""

    def drop(self, key: str, now: float) -> bool:
        """Remove an entry that nobody holds, whatever its state; False if there is none."""

    def forget(self, before: float) -> int:
        """Remove what was sent before a time, but for the newest :data:`NEVER_FORGOTTEN` posts; how many."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The post is there. ``notes`` are what a person should know, such as a chart that was left out."""

    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Postponed:
    """Not yet. ``after`` seconds is what the server asks for; ``failed`` is false for a planned pause."""

    reason: str
    after: float | None = None
    failed: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Never, unless a person does something: ``hint`` says what."""

    reason: str
    hint: str = ""


DeliveryOutcome = Delivered | Postponed | Refused


class Notifier(Protocol):
    """Makes and delivers posts of one kind."""

    def compose(self, report: Report, slo_set: SloSet, key: str) -> Post:
        """The post of a report, whole."""

    def deliver(self, entry: OutboxEntry, save: Callable[[DeliveryProgress], None]) -> DeliveryOutcome:
        """Take the steps that are still to be taken; ``save`` is called before and after each, and may raise.

        Whatever happens between, another call with the progress saved last goes on from there.
        """
