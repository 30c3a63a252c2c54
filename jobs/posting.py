"""Posts reports: into the outbox first, and from there to whom they are for, as often as it takes.

This module knows outbox and notifier as protocols. Whoever runs it (a command, a CronJob, the scheduler) may die at any
moment: the next run goes on from what was saved.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sloctl.model import SloSet
from sloctl.model.durations import duration, rfc3339
from sloctl.posting.protocol import (
    LEASE,
    Delivered,
    LeaseLost,
    Notifier,
    Outbox,
    OutboxEntry,
    Post,
    Postponed,
    Refused,
)
from sloctl.report.data import Report

FIRST_WAIT, LONGEST_WAIT = 60.0, 3600.0
OLDEST = 3 * 86400.0
"""Seconds after which a post is given up."""
KEPT = 400 * 86400.0
"""Seconds for which it is remembered that a post was sent: longer than any period is asked for again."""


@dataclass(slots=True)
class Posted:
    """What a round of deliveries did, by the posts' keys; ``notes`` are what a person should know of each."""

    sent: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many posts became what."""
        return {"sent": len(self.sent), "waiting": len(self.waiting), "dead": len(self.dead)}


class Line(NamedTuple):
    """What became of a post. ``level`` is "", "warning" or "error"; ``arrived``: all the same it is there."""

    level: str
    text: str
    arrived: bool


def lines(posted: Posted) -> list[Line]:
    """What became of each post."""
    found = []
    for key in posted.sent:
        found.append(Line("", f"posted {key}", True))
        found += [Line("warning", f"{key}: {note}", True) for note in posted.notes.get(key, ())]
    found += [Line("warning", f"{key} waits: {reason}", False) for key, reason in posted.waiting.items()]
    return found + [
        Line("error", f"{key} was given up: {reason}", False) for key, reason in posted.dead.items()
    ]


def key_of(report: Report, channel: str, step: int = 0) -> str:
    """What a report's post is called: one for each set, routine, period, owner (if it is one's) and channel.

    A report of no period is one of its time: rounded down to ``step`` seconds, the schedule of its job.
    """
    if report.routine is not None:
        period = report.routine.period
        what = f"{report.routine.kind}/{period.label}/{period.timezone}"
    else:
        seconds = int(report.at.timestamp())
        what = f"now/{rfc3339(seconds - seconds % max(1, step))}"
    whose = f"/owner:{report.owner}" if report.owner else ""
    return f"{report.set_name}/{what}{whose}/slack:{channel}"


def backoff(attempts: int, after: float | None, jitter: float) -> float:
    """Seconds until the next attempt: a minute, doubled up to an hour, less up to a quarter by ``jitter`` (0…1).

    Never less than what the server asks for, which may be longer.
    """
    wait = min(FIRST_WAIT * float(1 << max(0, min(attempts, 10))), LONGEST_WAIT)
    return max(wait * (1 - jitter / 4), after or 0.0)


def deliver(
    outbox: Outbox,
    notifier: Notifier,
    now: Callable[[], float],
    *,
    set_name: str = "",
    forced: bool = False,
    jitter: Callable[[], float] = random.random,
    stop: Callable[[], bool] = lambda: False,
) -> Posted:
    """Try every entry that is due, each once; with ``forced`` also those that wait for their time.

    Raises BackendError where the outbox fails: what was delivered then stays known, or is found again.
    """
    ours, found = outbox.owner(), Posted()
    seen: set[int] = set()
    while not stop():
        entry = outbox.claim(ours, now(), LEASE, set_name=set_name, forced=forced)
        if entry is None or entry.id in seen:
            return found
        seen.add(entry.id)
        # Another process goes on with it, and says what became of it.
        with contextlib.suppress(LeaseLost):
            _one(outbox, notifier, entry, ours, now, jitter, found)
    return found


def _one(
    outbox: Outbox,
    notifier: Notifier,
    entry: OutboxEntry,
    ours: str,
    now: Callable[[], float],
    jitter: Callable[[], float],
    found: Posted,
) -> None:
    def save(progress: Mapping[str, Any]) -> None:
        outbox.save(entry.id, ours, progress, now(), LEASE)

    key = entry.post.key
    outcome = notifier.deliver(entry, save)
    if isinstance(outcome, Delivered):
        outbox.sent(entry.id, ours, now(), "; ".join(outcome.notes))
        found.sent.append(key)
        if outcome.notes:
            found.notes[key] = outcome.notes
    elif isinstance(outcome, Refused):
        reason = f"{outcome.reason} ({outcome.hint})" if outcome.hint else outcome.reason
        outbox.give_up(entry.id, ours, now(), reason)
        found.dead[key] = reason
    else:
        _postpone(outbox, entry, outcome, ours, now(), jitter(), found)


def _postpone(
    outbox: Outbox,
    entry: OutboxEntry,
    outcome: Postponed,
    ours: str,
    now: float,
    jitter: float,
    found: Posted,
) -> None:
    key = entry.post.key
    if outcome.failed:
        wait = backoff(entry.attempts, outcome.after, jitter)
        if now - entry.created > OLDEST:
            reason = f"{outcome.reason}; tried {entry.attempts + 1} times in {duration(round(now - entry.created))}"
            outbox.give_up(entry.id, ours, now, reason)
            found.dead[key] = reason
            return
    else:
        wait = outcome.after or FIRST_WAIT
    outbox.postpone(entry.id, ours, now + wait, outcome.reason, failed=outcome.failed)
    # A planned pause at the end is no reason to worry anybody: the report is there.
    if outcome.failed:
        found.waiting[key] = f"{outcome.reason}; next attempt in {duration(round(wait))}"


def send(
    post: Post,
    outbox: Outbox,
    notifier: Notifier,
    now: Callable[[], float],
    *,
    jitter: Callable[[], float] = random.random,
) -> tuple[bool, Posted]:
    """Put a post into the outbox and deliver what is due; whether it was new. Raises BackendError."""
    new = outbox.enqueue(post, now())
    done = deliver(outbox, notifier, now, set_name=post.set_name, jitter=jitter)
    outbox.forget(now() - KEPT)
    return new, done


def parts(report: Report, slo_set: SloSet) -> list[tuple[Report, str]]:
    """What owners get of a report, each with their channel; who answers for no SLO of the set gets none."""
    known = {slo.owner for slo in slo_set.slos}
    return [(report.of_owner(owner), channel) for owner, channel in slo_set.slack_owners if owner in known]


def post_report(
    report: Report,
    slo_set: SloSet,
    outbox: Outbox,
    notifier: Notifier,
    now: Callable[[], float],
    *,
    step: int = 0,
    jitter: Callable[[], float] = random.random,
) -> tuple[str, bool, Posted]:
    """Post a report, each owner's part to the owner's channel, and what else is due: its key, whether it is new, and
    what became of each.

    ``step`` is the schedule of its job in seconds, for reports of no period. Raises BackendError.
    """
    for part, channel in parts(report, slo_set):
        theirs = replace(slo_set, slack_channel=channel)
        outbox.enqueue(notifier.compose(part, theirs, key_of(part, channel, step)), now())
    post = notifier.compose(report, slo_set, key_of(report, slo_set.slack_channel, step))
    new, done = send(post, outbox, notifier, now, jitter=jitter)
    return post.key, new, done
