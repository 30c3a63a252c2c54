"""Logical calls and their attempts: the attempts at each call in order, and how many were sent.

Owns what counts as one more attempt at a call, by tags and otherwise. It must not know who called whom, nor rates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sloctl.retries.evidence import (
    BY_ROUTER,
    DIRECT,
    ROOT,
    SAME_ID,
    UNANSWERED,
    UNDER_CLIENT,
    UNDER_ID,
    Evidence,
    evidence_of,
)
from sloctl.retries.grouping import Grouped, numbers_of_arrivals, resent, same_call
from sloctl.retries.links import Links
from sloctl.retries.numbering import Array, distinct


@dataclass(frozen=True, slots=True)
class LogicalCalls:
    """Logical calls, a row each, in the order of their first evidence; and the evidence of each.

    ``call`` (int64) has the row of the call for each row of ``evidence``. By call: ``span``, ``way`` and ``caller``
    (int64) as its earliest evidence has them, ``last`` (int64) the caller's span of its last try, which is another one
    where the application tried again, and ``undecided`` (bool): whether it is a call at all, or an attempt at the one
    before.
    """

    evidence: Evidence
    call: Array
    span: Array
    way: Array
    caller: Array
    last: Array
    undecided: Array

    def __len__(self) -> int:
        return len(self.span)


def logical_calls(links: Links) -> LogicalCalls:
    """Find what shows attempts, and which of them are at the same logical call of a proxy or a client."""
    evidence = evidence_of(links)
    return _calls(evidence, same_call(links, evidence))


def with_resent(links: Links, calls: LogicalCalls) -> tuple[LogicalCalls, Array]:
    """Calls, those that an application sent again as one; and which of these each of ``calls`` is part of."""
    part_of = distinct(resent(links, calls.span, calls.way, calls.caller))
    doubted = np.bincount(part_of, calls.undecided) > 0
    return _calls(calls.evidence, Grouped(part_of[calls.call], doubted[part_of[calls.call]])), part_of


def _calls(evidence: Evidence, grouped: Grouped) -> LogicalCalls:
    call = grouped.call
    size = int(call.max(initial=-1)) + 1
    order = np.argsort(evidence.span, kind="stable")[::-1]
    first = np.full(size, -1, dtype=np.int64)
    first[call[order]] = order
    last, undecided = evidence.caller[first].copy(), np.zeros(size, dtype=bool)
    np.maximum.at(last, call, evidence.caller)
    undecided[call] = grouped.undecided
    return LogicalCalls(
        evidence, call, evidence.span[first], evidence.way[first], evidence.caller[first], last, undecided
    )


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
    """The evidence of calls that is an attempt, in order; of several tries, also those that nobody answered."""
    tries = np.bincount(calls.call, minlength=len(calls))
    shown = np.flatnonzero((calls.evidence.way != UNANSWERED) | (tries > 1)[calls.call])
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


def sent_attempts(links: Links, calls: LogicalCalls) -> SentAttempts:
    """How many attempts were sent for each call of a proxy or a client.

    That is what a tag says, else as many as are seen, and one for a client's span that is unanswered; less those that
    overflowed in their proxy.
    """
    shown = calls.evidence.way != UNANSWERED
    seen = np.bincount(calls.call[shown], minlength=len(calls))
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


def all_sent(links: Links, parts: SentAttempts, part_of: Array, calls: LogicalCalls) -> SentAttempts:
    """How many attempts were sent for calls of which others are parts (``part_of``, int64): those of all parts.

    An arrival that says to be the third attempt says that there were three.
    """
    count = np.zeros(len(calls), dtype=np.int64)
    np.add.at(count, part_of, parts.count)
    method = np.full(len(calls), len(METHODS), dtype=np.int64)
    np.minimum.at(method, part_of, parts.method)
    tried = np.bincount(part_of, minlength=len(calls)) > 1
    answer = calls.evidence.answer
    direct = (answer >= 0) & (calls.evidence.way != BY_ROUTER)
    said = np.full(len(calls), -1, dtype=np.int64)
    np.maximum.at(said, calls.call[direct], numbers_of_arrivals(links.spans)[answer[direct]])
    told = (said >= 1) & (calls.way != ROOT) & (method != _TAG)
    return SentAttempts(np.where(told, np.maximum(count, said), count), np.where(told | tried, _TAG, method))


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
