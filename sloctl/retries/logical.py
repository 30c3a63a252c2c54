"""Logical calls and their attempts: which spans show one attempt each, which are at the same call, and how many were
sent.

Owns :func:`same_call`, what counts as one call and what as one more attempt at it, by tags and otherwise. It must not
know who called whom, nor rates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sloctl.retries.links import Links
from sloctl.retries.numbering import Array, first_of, marked, pairs

BY_ROUTER, UNDER_CLIENT, UNDER_ID, UNANSWERED, SAME_ID, ORPHAN, DIRECT, ROOT = range(8)
"""How a span shows an attempt, or a call:

- ``BY_ROUTER``: a router span, one for each attempt;
- ``UNDER_CLIENT``: an arrival below the client's span of the call;
- ``UNDER_ID``: an arrival under the id of the client's span;
- ``UNANSWERED``: a client's span of which no attempt is seen, so that it shows a call alone;
- ``SAME_ID``: an arrival whose client's half is missing, under an id that it shares with it or with other arrivals;
- ``ORPHAN``: an arrival whose parent is missing;
- ``DIRECT``: an arrival caused by a span of another service that is no call, as clients without proxies leave it;
- ``ROOT``: an arrival that names no parent: nobody called.
"""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows attempts: a row is one attempt that is seen, or a call that is ``UNANSWERED``. All int64.

    ``span`` is the row of the span among ``Links``, ``answer`` that of the arrival at the other service, -1 if none is
    known (``span`` itself, but for router spans), ``way`` one of those above. ``caller`` is the row of the span which
    stands for the whole call at its client: its client's span, the connection manager's; for ``DIRECT`` the span that
    caused it; -1 if none is known.
    """

    span: Array
    answer: Array
    way: Array
    caller: Array


@dataclass(frozen=True, slots=True)
class LogicalCalls:
    """Logical calls, a row each, in the order of their first evidence; and the evidence of each.

    ``call`` (int64) has the row of the call for each row of ``evidence``. By call: ``span``, ``way`` and ``caller``
    (int64) as its first evidence has them.
    """

    evidence: Evidence
    call: Array
    span: Array
    way: Array
    caller: Array

    def __len__(self) -> int:
        return len(self.span)


def logical_calls(links: Links) -> LogicalCalls:
    """Find what shows attempts, and which of them are at the same logical call."""
    evidence = _evidence(links)
    call = same_call(links, evidence)
    first = first_of(np.arange(len(call)), call, int(call.max(initial=-1)) + 1)[:-1]
    return LogicalCalls(evidence, call, evidence.span[first], evidence.way[first], evidence.caller[first])


def same_call(links: Links, evidence: Evidence) -> Array:
    """The logical call of each row of evidence, as a number: rows with the same number are attempts at one request.

    They are if they are of the same service, and were shown in the same way under the same

    - request of a connection manager, for router spans;
    - client's span, for arrivals below it or under its id (some of either are still one call);
    - id, for arrivals that share one with a client's half that is missing;
    - missing parent, for orphans.

    Everything else is a call of its own.
    """
    spans, routers = links.spans, links.routers
    span, way = evidence.span, evidence.way
    under = span.copy()
    router = span[way == BY_ROUTER]
    manager = np.where(routers.manager_id[router] >= 0, routers.manager_id[router], -2 - router)
    under[way == BY_ROUTER] = pairs(manager, routers.turn[router])
    answers_client = (way == UNDER_CLIENT) | (way == UNDER_ID)
    under[answers_client] = evidence.caller[answers_client]
    under[way == SAME_ID] = spans.own_id[span[way == SAME_ID]]
    under[way == ORPHAN] = spans.parent_id[span[way == ORPHAN]]
    alike = np.where(way == UNDER_ID, UNDER_CLIENT, way)
    return pairs(pairs(alike, under), spans.service[span])


def _evidence(links: Links) -> Evidence:
    """Router spans, then arrivals at clients' spans, then clients' spans without any, then other arrivals.

    Where a call has router spans, arrivals say nothing more, and its connection manager's span is no call besides.
    """
    spans, routers = links.spans, links.routers
    manages = (spans.client | spans.server) & marked(routers.manager_id, spans.ids)[spans.own_id]
    arrivals = np.flatnonzero(links.arrives)
    answers = arrivals[links.caller[arrivals] >= 0]
    answer_of = first_of(answers, links.caller, len(spans))[:-1]

    router = np.flatnonzero(routers.outbound)
    answers_client = answers[(spans.client & ~manages)[links.caller[answers]]]
    way = np.where(links.by_id[answers_client], UNDER_ID, UNDER_CLIENT)
    unanswered = np.flatnonzero(spans.client & (answer_of < 0) & ~manages & ~links.wrapper)
    alone = arrivals[links.caller[arrivals] < 0]
    parts = (
        (router, answer_of[router], np.full(len(router), BY_ROUTER), links.up[router]),
        (answers_client, answers_client, way, links.caller[answers_client]),
        (unanswered, np.full(len(unanswered), -1), np.full(len(unanswered), UNANSWERED), unanswered),
        (alone, alone, _way_without_caller(links, alone), links.up[alone]),
    )
    return Evidence(*(np.concatenate(columns).astype(np.int64) for columns in zip(*parts, strict=True)))


def _way_without_caller(links: Links, arrivals: Array) -> Array:
    """How arrivals show calls whose client's or router's span is not known."""
    same_id = _share_id(links, arrivals)
    names_parent = links.spans.parent_id[arrivals] >= 0
    return np.select([same_id, links.up[arrivals] >= 0, names_parent], [SAME_ID, DIRECT, ORPHAN], ROOT)


def _share_id(links: Links, arrivals: Array) -> Array:
    """Servers' spans whose client's half is missing, under an id that they share with it, or with one another."""
    spans = links.spans
    server, own_id = spans.server[arrivals], spans.own_id[arrivals]
    alike = pairs(own_id, spans.service[arrivals])
    several = np.bincount(alike[server], minlength=int(alike.max(initial=-1)) + 1) > 1
    shared = spans.column("shared")[arrivals] & (spans.parent_id[arrivals] >= 0)
    return np.asarray(server & (own_id >= 0) & (several[alike] | shared))


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
