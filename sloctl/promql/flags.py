"""Envoy's response flags that decide what became of a request, and how base events keep them.

Envoy lists them with commas (``UF,URX``; ``-`` for none). Most say why there was no answer, which the response code
says already. Here are those that tell more than it does: that an answer was cut, and that nobody waited for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sloctl import naming
from sloctl.model import Matcher, Selector
from sloctl.promql.syntax import quote

LABEL = "response_flags"

CUT = {
    "UC": "the service's connection ended",
    "UR": "the service reset the stream",
    "LR": "the proxy reset the stream to the service",
    "UT": "the request's timeout passed",
    "UPE": "the service broke the protocol",
    "UMSDR": "the stream to the service lasted longer than it may",
    "OM": "the proxy ended it for lack of memory",
}
"""Flags of an answer that broke off, with what happened (Envoy, "Access logging", ``%RESPONSE_FLAGS%``). Where it had
not begun, the proxy answers 5xx by itself; where it had, the code is what the service began with: 200.

Not among them are ``SI`` (idle for too long), for it does not say who stalled, the service that writes or the caller
that reads, and Istio sets no such timeout; ``DT`` (the connection reached its age), which is planned; ``DC``, ``DR``
and ``DPE``, which are the caller's; ``UF``, ``UH``, ``UO``, ``NR`` and others with which no service answers; ``DI``,
``FI``, ``RL``, ``UAEX`` and ``RLSE``, for the code says what became of the request.
"""
HANG_UP = {
    "DC": "the caller's connection ended",
    "DR": "the caller reset the stream, which is HTTP/2's way to say it",
}
"""Flags of a caller that did not wait; alone, for with another one something else went wrong too."""

_CUT = f"(?:.+,)?(?:{'|'.join(CUT)})(?:,.+)?"
_HANG_UP = "|".join(HANG_UP)
WAS_CUT, WAS_NOT_CUT = Matcher(LABEL, "=~", _CUT), Matcher(LABEL, "!~", _CUT)
HUNG_UP, DID_NOT_HANG_UP = Matcher(LABEL, "=~", _HANG_UP), Matcher(LABEL, "!~", _HANG_UP)

_FLAG_OF = {_CUT: f"(?:.+,)?({'|'.join(CUT)})(?:,.+)?", _HANG_UP: f"({_HANG_UP})"}
"""What matchers look for, with the flag itself as a group."""


def kept(parts: Iterable[Selector]) -> str:
    """A pattern of two groups, one of which is the flag that any of some selectors look for; "" if none does.

    Base events keep that one flag and no others: combinations of them are many, and nobody tells them apart.
    """
    looked_for = {m.value for part in parts for m in part.matchers if m.label == LABEL}
    return "|".join(group for pattern, group in _FLAG_OF.items() if pattern in looked_for)


def one_of(expr: str, pattern: str) -> str:
    """``expr`` with the flag of :func:`kept`'s pattern as the label :data:`~sloctl.naming.FLAG`, where it has one."""
    return f'label_replace({expr}, "{naming.FLAG}", "$1$2", "{LABEL}", {quote(pattern)})'


def recorded(part: Selector) -> Selector:
    """A selector of raw series as one of base events, which have one flag instead of all."""
    matchers = (replace(m, label=naming.FLAG) if m.label == LABEL else m for m in part.matchers)
    return replace(part, matchers=tuple(matchers))
