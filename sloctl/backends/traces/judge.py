"""Judges the answers of trace backends: what was read from them, or why there is none and whether to ask again.

Pure functions over status, headers and body; this module must not know how they travelled, nor which format is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from sloctl.backends.http import decoding
from sloctl.backends.http.answers import Failure, Reply, TooLarge, by_status, refuse_redirect, say
from sloctl.errors import BadAnswer, QueryRejected
from sloctl.settings.servers import TRACES

T = TypeVar("T")

_TOO_LARGE = re.compile(
    r"range specified by start and end|(trace|response|message|request) (is )?(too large|larger than|exceeds)"
    r"|max(imum)? (trace |message |response )?size|result window is too large",
    re.IGNORECASE,
)
_UNREADABLE = (
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    RecursionError,
    BadAnswer,
    msgspec.DecodeError,
)


class Gone(Exception):
    """There is nothing of that name (404)."""


def judge(
    read: Callable[[bytes], T], reply: Reply, *, gone: Callable[[str], bool] = lambda _said: False
) -> T:
    """What ``read`` makes of the body of an answer.

    ``gone`` says by the server's message whether a 404 means that what was asked for is not there: then ``Gone`` is
    raised, else ``Failure`` for every answer that is of no use.
    """
    refuse_redirect(reply, TRACES)
    if reply.fine:
        try:
            decoding.check(reply.body)
            return read(decoding.sound(reply.body))
        except decoding.TooManyValues as error:
            raise Failure(
                TooLarge, f"the answer has more than {error.most:,} values", TRACES.smaller
            ) from None
        except _UNREADABLE:
            fault = decoding.fault(reply.body) or "an answer of an unknown form"
        raise reply.unusable(fault, TRACES)
    page = reply.body[:64].lstrip()[:1] == b"<"
    said = "" if page else say(_message(decoding.said(reply.body)), reply.secrets)
    said = said or reply.quote()
    if reply.status == 404 and not page and gone(said):
        raise Gone(said)
    if reply.status == 413 or (reply.status in (400, 422, 500) and _TOO_LARGE.search(said)):
        raise Failure(TooLarge, f"too much at once ({reply.status}): {said}", TRACES.smaller)
    if reply.status in (400, 422) and said and not page and "HTTPS server" not in said:
        raise Failure(QueryRejected, f"the query is rejected: {said}")
    raise by_status(reply, TRACES, said)


def names(value: Any) -> list[str]:
    """A list of names, sorted, each once. Raises ``TypeError`` for anything else."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError("no list of names")
    return sorted({name for name in value if name})


def _message(payload: Any) -> str:
    """What the JSON of an error says, in any of the forms that these backends and gateways have."""
    if isinstance(payload, dict):
        errors = payload.get("errors")
        if isinstance(errors, list) and errors:
            return _message(errors[0])
        for key in ("message", "msg", "error"):
            if said := _message(payload.get(key)):
                return said
    return payload if isinstance(payload, str) else ""
