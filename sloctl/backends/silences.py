"""Silences of planned deploys: whose a silence is, and how one deploy comes to have exactly one.

A silence that sloctl makes ends its comment with a mark, ``[sloctl deploy=ID]``, or ``[sloctl]`` without a
deploy id. Only the last bracket counts, and neither blanks nor brackets may be part of an id: no comment and
no id can pass for the mark of another deploy. This module must not know how silences are stored; times are
aware and of whole milliseconds, as Alertmanager keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from sloctl.model import Matcher

Change = Literal["created", "extended", "unchanged"]
Ended = Literal["expired", "already expired", "unknown"]

_ID = r"[A-Za-z0-9][A-Za-z0-9._:/@#+=~-]{0,127}"
_MARK = re.compile(rf"(?P<said>.*?)\s*\[sloctl(?: deploy=(?P<deploy>{_ID}))?\]\s*", re.DOTALL)
_ROUNDS = 5
_BACKDATE = timedelta(minutes=10)
"""Alertmanager puts its own clock's time in place of a start that is past: no runner's clock matters."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A silence, stored or wanted; a wanted one has neither ``id`` nor ``state``."""

    matchers: tuple[Matcher, ...]
    starts: datetime
    ends: datetime
    author: str
    comment: str
    id: str = ""
    state: str = ""

    @property
    def live(self) -> bool:
        """Whether it mutes, or is going to."""
        return self.state in ("active", "pending")

    @property
    def ours(self) -> bool:
        """Whether sloctl made it."""
        return _MARK.fullmatch(self.comment) is not None

    @property
    def deploy_id(self) -> str:
        """The deploy that it was made for; empty for none."""
        found = _MARK.fullmatch(self.comment)
        return found["deploy"] or "" if found else ""

    @property
    def said(self) -> str:
        """The comment without sloctl's mark."""
        found = _MARK.fullmatch(self.comment)
        return found["said"] if found else self.comment

    def of_set(self, label: str, name: str) -> bool:
        """Whether it is confined to what has this value of a label."""
        return Matcher(label, "=", name) in self.matchers


class SilenceStore(Protocol):
    """Where silences are kept. Errors are ``sloctl.errors.BackendError``."""

    def silences(self) -> Sequence[Silence]:
        """All of them, expired ones included."""

    def post(self, silence: Silence) -> str:
        """Store a new silence, or one with an ``id`` anew; its id from now on."""

    def expire(self, silence_id: str) -> None:
        """End a silence now."""


@dataclass(frozen=True, slots=True)
class Ensured:
    """What there is now. ``limited``: it ends earlier than asked, for it may not last longer as a whole."""

    silence: Silence
    change: Change
    limited: bool = False


def wanted(
    matchers: Sequence[Matcher], now: datetime, seconds: int, author: str, comment: str, deploy_id: str = ""
) -> Silence:
    """A silence from now on, with sloctl's mark; the deploy id must be a :func:`valid_id`."""
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    mark = f"[sloctl deploy={deploy_id}]" if deploy_id else "[sloctl]"
    ends = now + timedelta(seconds=seconds)
    return Silence(tuple(sorted(matchers, key=_key)), now - _BACKDATE, ends, author, f"{comment} {mark}")


def valid_id(deploy_id: str) -> bool:
    """Whether a text may be a deploy id."""
    return re.fullmatch(_ID, deploy_id) is not None


def same_scope(one: Silence, other: Silence) -> bool:
    """Whether two silences match the same alerts by the same matchers, in whatever order."""
    return sorted(one.matchers, key=_key) == sorted(other.matchers, key=_key)


def ensure(store: SilenceStore, silence: Silence, longest: int) -> Ensured:
    """Make a wanted silence so that its deploy has exactly one with these matchers; none is shortened.

    One that is there is extended, but so that it never lasts more than ``longest`` seconds as a whole. Where
    several processes do the same at once, the oldest silence stays and the others expire: each process looks
    again after what it did, until there is nothing left to do. Without a deploy id there is always a new one.
    Raises ``BackendError``.
    """
    if not silence.deploy_id:
        return Ensured(replace(silence, id=store.post(silence), state="active"), "created")
    created = extended = limited = False
    mine = silence
    for _ in range(_ROUNDS):
        twins = _twins(store, silence)
        if not twins:
            if created:  # Another member of the cluster answers, and has not heard of it yet.
                return Ensured(mine, "created")
            mine = replace(silence, id=store.post(silence), state="active")
            created = True
            continue
        kept, *younger = twins
        ends = min(silence.ends, _milliseconds(kept.starts) + timedelta(seconds=longest))
        # Of two that begin together the later end is a matter of milliseconds, and not worth a word.
        limited = silence.ends - max(ends, kept.ends) > timedelta(seconds=1)
        longer = ends > kept.ends
        if longer:
            store.post(replace(kept, ends=ends, author=silence.author, comment=silence.comment))
            extended = True
        for twin in younger:
            store.expire(twin.id)
        if not longer and not younger:
            break
    change: Change = "created" if kept.id == mine.id else "extended" if extended else "unchanged"
    return Ensured(kept, change, limited)


def expire(store: SilenceStore, ids: Sequence[str]) -> Iterator[tuple[str, Ended]]:
    """End silences one after the other; what became of each. Raises ``BackendError``."""
    states = {silence.id: silence.live for silence in store.silences()}
    for silence_id in dict.fromkeys(ids):
        if silence_id not in states:
            yield silence_id, "unknown"
        elif not states[silence_id]:
            yield silence_id, "already expired"
        else:
            store.expire(silence_id)
            yield silence_id, "expired"


def _twins(store: SilenceStore, silence: Silence) -> list[Silence]:
    """The live silences of the same deploy and matchers, the oldest first."""
    found = [
        other
        for other in store.silences()
        if other.live and other.deploy_id == silence.deploy_id and same_scope(other, silence)
    ]
    return sorted(found, key=lambda other: (other.starts, other.id))


def _milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _key(matcher: Matcher) -> tuple[str, str, str]:
    return matcher.label, matcher.op, matcher.value
