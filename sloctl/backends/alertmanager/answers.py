"""Judges the answers of Alertmanager's API and turns them into silences and alerts, and silences into JSON.

Pure functions; this module must not know how an answer travelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sloctl.backends.http.answers import Failure, Reply, by_status, parse, refuse_redirect, say
from sloctl.backends.silences import Silence
from sloctl.errors import QueryRejected
from sloctl.model import Matcher
from sloctl.model.durations import rfc3339
from sloctl.settings.kinds import ALERTMANAGER

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
