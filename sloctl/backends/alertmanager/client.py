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
from typing import Any, TypeVar
from urllib.parse import quote

from sloctl.backends.http.answers import Failure, Reply, by_status, parse, refuse_redirect, say
from sloctl.backends.http.session import HttpClient, HttpSession
from sloctl.backends.silences import Silence, same_scope
from sloctl.errors import QueryRejected
from sloctl.model import Matcher
from sloctl.model.durations import rfc3339
from sloctl.settings.backends import AlertmanagerSettings
from sloctl.settings.servers import ALERTMANAGER
from sloctl.telemetry.protocol import NOTHING, Observer

T = TypeVar("T")

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


def judge(read: Callable[[Any], T], reply: Reply, *, empty: bool = False) -> T:
    """What ``read`` makes of the JSON of an answer, which may be ``empty`` where nothing is to be said.

    Raises ``Failure``.
    """
    refuse_redirect(reply, ALERTMANAGER)
    payload, fault = parse(reply.body)
    if reply.fine or (empty and reply.status == 204):
        if empty and not reply.body.strip():
            return read(None)
        if fault:
            raise reply.unusable(fault, ALERTMANAGER)
        try:
            return read(payload)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise reply.unusable("an answer of an unknown form", ALERTMANAGER) from None
    said = say(_message(payload), reply.secrets)
    # Old servers call an unknown silence an internal error.
    unknown = reply.status in (404, 500) and said.startswith("silence ") and said.endswith("not found")
    if (said and reply.status in (400, 422)) or unknown:
        raise Failure(QueryRejected, f"the request is rejected: {said}")
    raise by_status(reply, ALERTMANAGER, said or reply.quote())


def read_silences(payload: Any) -> list[Silence]:
    """The silences of a list."""
    return [_silence(item) for item in _list(payload)]


def read_id(payload: Any) -> str:
    """The id of a silence that was stored."""
    if not payload["silenceID"]:
        raise ValueError("no id")
    return _text(payload["silenceID"])


def read_status(payload: Any) -> dict[str, Any]:
    """The status, which has a version and a cluster."""
    return {**payload, "versionInfo": dict(payload["versionInfo"]), "cluster": dict(payload["cluster"])}


def read_alerts(payload: Any) -> list[Alert]:
    """The alerts of a list."""
    return [_alert(item) for item in _list(payload)]


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


def _silence(item: Any) -> Silence:
    # Servers before 0.22 know no matchers but those for equality.
    matchers = [
        Matcher(_text(m["name"]), _OPS[_flag(m.get("isEqual", True)), _flag(m["isRegex"])], _text(m["value"]))
        for m in _list(item["matchers"])
    ]
    return Silence(
        matchers=tuple(matchers),
        starts=_time(item["startsAt"]),
        ends=_time(item["endsAt"]),
        author=_text(item["createdBy"]),
        comment=_text(item["comment"]),
        id=_text(item["id"]),
        state=_text(item["status"]["state"]),
    )


def _alert(item: Any) -> Alert:
    status = item["status"]
    return Alert(
        labels=_texts(item["labels"]),
        annotations=_texts(item["annotations"]),
        state=_text(status["state"]),
        silenced_by=tuple(map(_text, _list(status["silencedBy"]))),
        inhibited_by=tuple(map(_text, _list(status["inhibitedBy"]))),
        receivers=tuple(_text(receiver["name"]) for receiver in _list(item["receivers"])),
        starts=_time(item["startsAt"]),
        ends=_time(item["endsAt"]),
    )


def _message(payload: Any) -> str:
    """What an error says: a text, or an object that has one."""
    if isinstance(payload, dict):
        payload = payload.get("message") or payload.get("error")
    return payload if isinstance(payload, str) else ""


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("neither true nor false")
    return value


def _texts(value: Any) -> dict[str, str]:
    return {_text(key): _text(item) for key, item in value.items()}


def _time(value: Any) -> datetime:
    time = datetime.fromisoformat(_text(value))
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time.astimezone(UTC)


MAX_BYTES = 64 * 2**20
"""The largest answer that is read, decompressed: a hundred thousand silences."""
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
        max_bytes: int = MAX_BYTES,
        observer: Observer = NOTHING,
    ) -> None:
        session = HttpSession(
            settings, sleep=sleep, now=now, jitter=jitter, max_bytes=max_bytes, observer=observer
        )
        super().__init__(settings, session)

    def silences(self) -> Sequence[Silence]:
        """All silences, in the server's order; expired ones are among them for as long as it keeps them."""
        return self._session.ask("GET", f"{_API}/silences", partial(judge, read_silences))

    def post(self, silence: Silence) -> str:
        """Store a new silence, or one with an ``id`` anew; its id from now on.

        Alertmanager makes another silence of each request. Where an answer was lost, this looks whether the
        silence is there before it sends again.
        """
        return self._session.ask(
            "POST",
            f"{_API}/silences",
            partial(judge, read_id),
            json=write(silence),
            done=lambda: self._stored(silence),
        )

    def expire(self, silence_id: str) -> None:
        """End a silence now; one that has ended stays as it is. Raises ``QueryRejected`` for an unknown one."""
        path = f"{_API}/silence/{quote(silence_id, safe='')}"
        self._session.ask("DELETE", path, partial(judge, lambda _body: True, empty=True))

    def status(self) -> dict[str, Any]:
        """Version, cluster, configuration and uptime, as the server states them."""
        return self._session.ask("GET", f"{_API}/status", partial(judge, read_status))

    def alerts(self) -> Sequence[Alert]:
        """All alerts that the server holds, those that are silenced or inhibited included."""
        return self._session.ask("GET", f"{_API}/alerts", partial(judge, read_alerts))

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
