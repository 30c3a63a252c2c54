"""Alertmanager's API, version 2: silences, status, alerts; its answers are judged here.

The adapter behind ``sloctl.backends.silences.SilenceStore``. It must not know what a silence is for.
API: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, TypedDict, TypeVar
from urllib.parse import quote

import msgspec

from sloctl.backends.http import decoding
from sloctl.backends.http.answers import Failure, Reply, by_status, refuse_redirect, say
from sloctl.backends.http.session import HttpClient, HttpSession
from sloctl.backends.silences import Silence, same_scope
from sloctl.errors import QueryRejected
from sloctl.model import Matcher
from sloctl.model.durations import rfc3339
from sloctl.settings.backends import AlertmanagerSettings
from sloctl.settings.servers import ALERTMANAGER
from sloctl.telemetry.protocol import NOTHING, Observer

T = TypeVar("T")
U = TypeVar("U")

_OPS = {(True, False): "=", (False, False): "!=", (True, True): "=~", (False, True): "!~"}
"""The operator of a matcher by whether it is for equality, and whether for a regular expression."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that Alertmanager holds; ``state`` is ``active``, ``suppressed`` or ``unprocessed``."""

    labels: dict[str, str]
    annotations: dict[str, str]
    state: str
    silenced_by: tuple[str, ...]
    inhibited_by: tuple[str, ...]
    receivers: tuple[str, ...]
    starts: datetime
    ends: datetime


def judge(decoder: msgspec.json.Decoder[T], reply: Reply, *, empty: T | None = None) -> T:
    """The body of an answer by its schema; ``empty`` is what one without a body, or with no more than null, means.

    Raises ``Failure``.
    """
    refuse_redirect(reply, ALERTMANAGER)
    if empty is not None and (reply.fine or reply.status == 204) and reply.body.strip() in (b"", b"null"):
        return empty
    if reply.fine:
        return reply.decode(decoder, ALERTMANAGER)
    said = say(_message(decoding.said(reply.body)), reply.secrets)
    # Old servers call an unknown silence an internal error.
    unknown = reply.status in (404, 500) and said.startswith("silence ") and said.endswith("not found")
    if (said and reply.status in (400, 422)) or unknown:
        raise Failure(QueryRejected, f"the request is rejected: {said}")
    raise by_status(reply, ALERTMANAGER, said or reply.quote())


_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Matcher(msgspec.Struct, rename="camel"):
    name: str
    value: str
    is_regex: bool
    is_equal: bool = True
    """Servers before 0.22 know no matchers but those for equality."""


class _SilenceStatus(msgspec.Struct):
    state: str


class _Silence(msgspec.Struct, rename="camel"):
    id: str
    matchers: list[_Matcher]
    starts_at: _Time
    ends_at: _Time
    created_by: str
    comment: str
    status: _SilenceStatus


class _AlertStatus(msgspec.Struct, rename="camel"):
    state: str
    silenced_by: list[str]
    inhibited_by: list[str]


class _Receiver(msgspec.Struct):
    name: str


class _Alert(msgspec.Struct, rename="camel"):
    labels: dict[str, str]
    annotations: dict[str, str]
    status: _AlertStatus
    receivers: list[_Receiver]
    starts_at: _Time
    ends_at: _Time


class _Stored(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="silenceID")


class _Status(TypedDict):
    versionInfo: dict[str, Any]
    cluster: dict[str, Any]


_SILENCES = msgspec.json.Decoder(list[_Silence])
_ALERTS = msgspec.json.Decoder(list[_Alert])
_STORED = msgspec.json.Decoder(_Stored)
_STATUS = msgspec.json.Decoder(_Status)
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)


def _many(decoder: msgspec.json.Decoder[list[T]], of: Callable[[T], U], reply: Reply) -> list[U]:
    """What ``of`` makes of each item of a list."""
    return [of(item) for item in judge(decoder, reply)]


def write(silence: Silence) -> dict[str, Any]:
    """The JSON of a silence that is to be stored."""
    ops = {op: key for key, op in _OPS.items()}
    matchers = [
        {"name": m.label, "value": m.value, "isEqual": ops[m.op][0], "isRegex": ops[m.op][1]}
        for m in silence.matchers
    ]
    return {
        **({"id": silence.id} if silence.id else {}),
        "matchers": matchers,
        "startsAt": rfc3339(silence.starts, milliseconds=True),
        "endsAt": rfc3339(silence.ends, milliseconds=True),
        "createdBy": silence.author,
        "comment": silence.comment,
    }


def _silence(item: _Silence) -> Silence:
    return Silence(
        matchers=tuple(Matcher(m.name, _OPS[m.is_equal, m.is_regex], m.value) for m in item.matchers),
        starts=_utc(item.starts_at),
        ends=_utc(item.ends_at),
        author=item.created_by,
        comment=item.comment,
        id=item.id,
        state=item.status.state,
    )


def _alert(item: _Alert) -> Alert:
    return Alert(
        labels=item.labels,
        annotations=item.annotations,
        state=item.status.state,
        silenced_by=tuple(item.status.silenced_by),
        inhibited_by=tuple(item.status.inhibited_by),
        receivers=tuple(receiver.name for receiver in item.receivers),
        starts=_utc(item.starts_at),
        ends=_utc(item.ends_at),
    )


def _utc(time: datetime) -> datetime:
    """The same time in UTC; what lies beyond the years 1 to 9999 there is their end."""
    try:
        return time.astimezone(UTC)
    except OverflowError:
        return (
            datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) if time.year > 1 else datetime(1, 1, 1, tzinfo=UTC)
        )


def _message(payload: Any) -> str:
    """What an error says: a text, or an object that has one."""
    if isinstance(payload, dict):
        payload = payload.get("message") or payload.get("error")
    return payload if isinstance(payload, str) else ""


_API = "/api/v2"


class Alertmanager(HttpClient[AlertmanagerSettings, HttpSession]):
    """One Alertmanager; a context manager that closes its connections.

    Nothing is sent before the first question. Each method raises ``BackendError`` (see ``sloctl.errors``).
    ``observer`` is told of each request. The other keyword arguments are for tests: ``sleep`` (seconds), ``now``
    (Unix seconds), ``jitter`` (0..1), and the largest answer in bytes.
    """

    def __init__(
        self,
        settings: AlertmanagerSettings,
        *,
        sleep: Callable[[float], object] | None = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        max_bytes: int = decoding.MAX_BYTES,
        observer: Observer = NOTHING,
    ) -> None:
        session = HttpSession(
            settings, sleep=sleep, now=now, jitter=jitter, max_bytes=max_bytes, observer=observer
        )
        super().__init__(settings, session)

    def silences(self) -> Sequence[Silence]:
        """All silences, in the server's order; expired ones are among them for as long as it keeps them."""
        return self._session.ask("GET", f"{_API}/silences", partial(_many, _SILENCES, _silence))

    def post(self, silence: Silence) -> str:
        """Store a new silence, or one with an ``id`` anew; its id from now on.

        Alertmanager makes another silence of each request. Where an answer was lost, this looks whether the
        silence is there before it sends again.
        """
        return self._session.ask(
            "POST",
            f"{_API}/silences",
            lambda reply: judge(_STORED, reply).id,
            json=write(silence),
            done=lambda: self._stored(silence),
        )

    def expire(self, silence_id: str) -> None:
        """End a silence now; one that has ended stays as it is. Raises ``QueryRejected`` for an unknown one."""
        path = f"{_API}/silence/{quote(silence_id, safe='')}"
        self._session.ask("DELETE", path, partial(judge, _ANYTHING, empty=msgspec.Raw(b"null")))

    def status(self) -> dict[str, Any]:
        """Version, cluster, configuration and uptime, as the server states them."""
        return dict(self._session.ask("GET", f"{_API}/status", partial(judge, _STATUS)))

    def alerts(self) -> Sequence[Alert]:
        """All alerts that the server holds, those that are silenced or inhibited included."""
        return self._session.ask("GET", f"{_API}/alerts", partial(_many, _ALERTS, _alert))

    def _stored(self, silence: Silence) -> str | None:
        """The id under which a silence was stored, if it was: its end, in milliseconds, tells it from others."""
        for other in self.silences():
            if (
                other.live
                and (other.ends, other.author, other.comment)
                == (silence.ends, silence.author, silence.comment)
                and same_scope(other, silence)
            ):
                return other.id
        return None
