"""The attempts of each logical call: those that are seen, in the order of time, and how many were sent.

Owns what is counted, by tags and otherwise; must not know which attempts belong together, nor who called whom.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sloctl.retries.links import Links
from sloctl.retries.logical import (
    BY_ROUTER,
    DIRECT,
    SAME_ID,
    UNANSWERED,
    UNDER_CLIENT,
    UNDER_ID,
    LogicalCalls,
)
from sloctl.retries.numbering import Array

METHODS = ("attempt-count", "router-spans", "shared-id", "child-of-client", "server-spans")
"""How the attempts of a call were counted, the most reliable first."""

_TAG, _ROUTER, _SHARED, _CHILD, _SERVER = range(len(METHODS))
_NEVER_SENT = frozenset({"NR", "UH", "NC"})
"""Envoy's flags for no route, no healthy host and no cluster: nothing left the proxy."""


@dataclass(frozen=True, slots=True)
class SeenAttempts:
    """Attempts that have a span, a row each: by call, and in a call by time (the client's, where it reports them).

    ``call`` (int64) is the row of the logical call, ``span`` (int64) that of the attempt's span among ``Links``,
    ``index`` (int64) is 0 for the first of a call, and ``gap`` (float64, ns) the time since the end of the one before,
    NaN for the first, and if it is not known.
    """

    call: Array
    span: Array
    index: Array
    gap: Array

    def __len__(self) -> int:
        return len(self.call)


@dataclass(frozen=True, slots=True)
class SentAttempts:
    """How many attempts were sent, by call: ``count``, and ``method``, a number into :data:`METHODS` (int64)."""

    count: Array
    method: Array


def seen_attempts(links: Links, calls: LogicalCalls) -> SeenAttempts:
    """The evidence of calls that is an attempt, in order."""
    shown = np.flatnonzero(calls.evidence.way != UNANSWERED)
    call, span = calls.call[shown], calls.evidence.span[shown]
    order = np.lexsort((span, call))
    call, span = call[order], span[order]
    begins = np.ones(len(call), dtype=bool)
    begins[1:] = call[1:] != call[:-1]
    index = np.arange(len(call)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]
    start, duration = links.spans.start[span], links.spans.duration[span]
    pause = start[1:] - start[:-1] - duration[:-1]
    gap = np.full(len(call), np.nan)
    gap[1:] = np.where(begins[1:] | (duration[:-1] < 0), np.nan, pause)
    return SeenAttempts(call, span, index, gap)


def sent_attempts(links: Links, calls: LogicalCalls, seen: Array) -> SentAttempts:
    """How many attempts were sent for each call, of which so many are ``seen`` (int64, by call).

    That is what a tag says, else as many as are seen, and one for a client's span that is unanswered; less those that
    overflowed in their proxy.
    """
    merged = _any_router_span(calls, links.routers.turn > 0)
    overflowed, said = _overflowed(links, calls, merged), _said_by_tag(links, calls, merged)
    tagged = (said >= 1) & _has_tag_of_its_own(links, calls)
    stayed = (calls.caller >= 0) & _never_sent(links)[calls.caller]
    # Without a healthy host the tag says 1 both for a call that never left and for one whose retry did not.
    said = np.where((said == 1) & stayed, np.minimum(seen, 1), said)
    unanswered = (calls.way == UNANSWERED) & ~stayed & (overflowed == 0)
    counted = np.where(calls.way == BY_ROUTER, seen - overflowed, seen + unanswered)
    count = np.maximum(np.where(tagged, said - overflowed, counted), 0)
    return SentAttempts(count, _methods(calls.way, tagged))


def _methods(way: Array, tagged: Array) -> Array:
    by_id, by_client = np.isin(way, (UNDER_ID, SAME_ID)), np.isin(way, (UNDER_CLIENT, UNANSWERED))
    return np.select([tagged, way == BY_ROUTER, by_id, by_client], [_TAG, _ROUTER, _SHARED, _CHILD], _SERVER)


def _router_evidence(calls: LogicalCalls) -> tuple[Array, Array]:
    """The router spans of calls: the call of each, and its row among spans."""
    routers = np.flatnonzero(calls.evidence.way == BY_ROUTER)
    return calls.call[routers], calls.evidence.span[routers]


def _any_router_span(calls: LogicalCalls, holds: Array) -> Array:
    """Calls of which a router span has it; ``holds`` (bool) is by span."""
    call, span = _router_evidence(calls)
    return np.bincount(call, holds[span], minlength=len(calls)) > 0


def _overflowed(links: Links, calls: LogicalCalls, merged: Array) -> Array:
    """How many attempts of each call never left their proxy, by its router spans or the span of the call.

    The call's span is of no use where several calls share its id (``merged``).
    """
    overflow = links.spans.column("overflow")
    call, span = _router_evidence(calls)
    count = np.bincount(call, overflow[span], minlength=len(calls)).astype(np.int64)
    own = (calls.caller >= 0) & ~merged
    return np.where(own, np.maximum(count, overflow[calls.caller]), count)


def _said_by_tag(links: Links, calls: LogicalCalls, merged: Array) -> Array:
    """The highest attempt count in a tag of the call's span or its router spans; -1 for none, or where ``merged``."""
    tag = links.spans.column("attempts").astype(np.int64)
    said = np.where(calls.caller >= 0, tag[calls.caller], -1)
    call, span = _router_evidence(calls)
    np.maximum.at(said, call, tag[span])
    return np.where(merged, -1, said)


def _has_tag_of_its_own(links: Links, calls: LogicalCalls) -> Array:
    """Whether a tag speaks of the call alone: a client's span that split over two services has one tag for both."""
    by_router, known = calls.way == BY_ROUTER, calls.caller >= 0
    of_span = np.bincount(calls.caller[known & ~by_router], minlength=len(links.spans) + 1)
    return np.asarray(by_router | (known & (of_span[calls.caller] == 1) & (calls.way != DIRECT)))


def _never_sent(links: Links) -> Array:
    """Spans whose flags say that nothing left the proxy."""
    flags, texts = links.spans.coded("flags")
    return np.array([not _NEVER_SENT.isdisjoint(text.split(",")) for text in texts], dtype=bool)[flags]
