"""Which spans are attempts at one request, which are requests of their own, and of which that cannot be told.

Owns :func:`same_call`, what counts as one call, and :func:`resent`, which calls an application sent again. Must not
know how many attempts were sent besides those that are seen, who called whom, nor rates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sloctl.retries.evidence import (
    BY_ROUTER,
    DIRECT,
    ORPHAN,
    SAME_ID,
    UNANSWERED,
    UNDER_CLIENT,
    UNDER_ID,
    Evidence,
)
from sloctl.retries.links import Links, anchors
from sloctl.retries.numbering import Array, first_of, marked, pairs
from sloctl.retries.ordered import OrderedSpans

_SUCCESS, _FAILURE, _UNCLEAR = range(3)
_AGAIN, _OWN, _UNDECIDED = range(3)
_WORTH_ANOTHER_TRY = frozenset(
    (
        "0 408 409 425 429 CANCELLED UNKNOWN DEADLINE_EXCEEDED RESOURCE_EXHAUSTED ABORTED UNIMPLEMENTED INTERNAL "
        "UNAVAILABLE DATA_LOSS"
    ).split()
)
"""Outcomes besides HTTP's 5xx after which proxies and clients try again; what else is no success may be final."""


@dataclass(frozen=True, slots=True)
class Grouped:
    """Evidence by call: the ``call`` of each row (int64, dense, by first row), and whether that is ``undecided``."""

    call: Array
    undecided: Array


def same_call(links: Links, evidence: Evidence) -> Grouped:
    """The logical call of each row of evidence: rows of one call are attempts at one request.

    They may be if they are of the same service, and were shown in the same way under the same

    - request of a connection manager, for router spans: these are;
    - client's span, for arrivals below it or under its id (some of either are still one call);
    - id, for arrivals that share one with a client's half that is missing;
    - missing parent, for orphans.

    Arrivals that say which attempt they are (:func:`numbers_of_arrivals`) go by that, those under a client's span that
    says how many attempts there were are these; what :func:`_steps` says decides of others. Everything else is a call
    of its own.
    """
    spans, rows = links.spans, np.arange(len(evidence.span))
    span, way, caller = evidence.span, evidence.way, evidence.caller
    arrived = np.isin(way, (UNDER_CLIENT, UNDER_ID, SAME_ID, ORPHAN))
    by_client = np.isin(way, (UNDER_CLIENT, UNDER_ID))
    tagged = by_client & (spans.column("attempts")[caller] >= 1)
    proxied = by_client & spans.column("proxy")[caller]
    number = np.where(arrived | (way == DIRECT), numbers_of_arrivals(spans)[span], -1)
    numbered = (number >= 1) & ~tagged
    message = spans.column("messaging")[span] | (by_client & spans.column("messaging")[caller])
    message &= arrived & ~tagged & ~numbered
    judged = arrived & ~tagged & ~numbered & ~message

    operation, _ = spans.coded("operation")
    apart = np.where(judged & ~proxied, operation[span], -1)
    apart = np.where(message, -2 - rows, apart)
    group = pairs(pairs(_shown_under(links, evidence, numbered), spans.service[span]), apart)
    turn, undecided = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=bool)
    _by_number(group, number, span, rows[numbered], turn)
    _by_steps(links, evidence, group, rows[judged], turn, undecided)
    return Grouped(pairs(pairs(group, turn), np.where(numbered, 0, 1)), undecided)


def _shown_under(links: Links, evidence: Evidence, numbered: Array) -> Array:
    """Numbers for what rows of evidence are shown under, and in which way."""
    spans, routers = links.spans, links.routers
    span, way = evidence.span, evidence.way
    under = span.copy()
    router = span[way == BY_ROUTER]
    manager = np.where(routers.manager_id[router] >= 0, routers.manager_id[router], -2 - router)
    under[way == BY_ROUTER] = pairs(manager, routers.turn[router])
    answers = np.isin(way, (UNDER_CLIENT, UNDER_ID)) | (numbered & (way == DIRECT))
    under[answers] = evidence.caller[answers]
    under[way == SAME_ID] = spans.own_id[span[way == SAME_ID]]
    under[way == ORPHAN] = spans.parent_id[span[way == ORPHAN]]
    return pairs(np.where(way == UNDER_ID, UNDER_CLIENT, way), under)


def numbers_of_arrivals(spans: OrderedSpans) -> Array:
    """Which attempt a server's span says that it is, from 1; -1 where it does not say, and for other spans; int64."""
    said = spans.column("attempts").astype(np.int64)
    before = spans.column("retry").astype(np.int64)
    number = np.where(said >= 1, said, np.where(before >= 0, before + 1, -1))
    return np.where(spans.server, number, -1)


def _by_number(group: Array, number: Array, span: Array, rows: Array, turn: Array) -> None:
    """Sets the turn of ``rows`` that say which attempt they are: the n-th of each number is at the n-th request."""
    rows = rows[np.argsort(span[rows], kind="stable")]
    turn[rows] = _rank(pairs(group[rows], number[rows]))


def _rank(number: Array) -> Array:
    """How many of the same number came before."""
    return np.asarray(pd.Series(number).groupby(number).cumcount().to_numpy(), dtype=np.int64)


def _by_steps(
    links: Links, evidence: Evidence, group: Array, rows: Array, turn: Array, undecided: Array
) -> None:
    """Sets the turns of ``rows`` of the same group by what happened from one arrival to the next, in order of time."""
    rows = rows[np.lexsort((evidence.span[rows], group[rows]))]
    if not len(rows):
        return
    begins = np.concatenate([[True], group[rows[1:]] != group[rows[:-1]]])
    step = np.full(len(rows), _OWN)
    step[1:] = np.where(begins[1:], _OWN, _steps(links, evidence, rows))
    leader = np.maximum.accumulate(np.where(step != _AGAIN, np.arange(len(rows)), 0))
    turn[rows], undecided[rows] = leader, (step == _UNDECIDED)[leader]


def _steps(links: Links, evidence: Evidence, rows: Array) -> Array:
    """Of each row but the first whether it is one more attempt after the row before, a request of its own, or unclear.

    A proxy asks again for what it has no answer to, or for what it is redirected to, which is another request.
    Others, clients in applications, may also ask for several pages, or several shards at once: what follows a failure
    is one more attempt, what follows a success is not. An arrival beside one that succeeded is either a part of a
    scatter, or came after a time-out that the server did not notice: a scatter begins together, and ends before
    its client. Below a missing parent, which may be a client's span or not, a failure proves nothing.
    """
    spans = links.spans
    outcome = _outcomes(spans)
    span, way, caller = evidence.span[rows], evidence.way[rows][1:], evidence.caller[rows][1:]
    before, here = span[:-1], span[1:]
    duration, offset = spans.duration[before], spans.start[here] - spans.start[before]
    ended, early = offset >= duration, offset < duration // 2
    by_client = np.isin(way, (UNDER_CLIENT, UNDER_ID))
    left = spans.start[before] + duration > spans.start[caller] + spans.duration[caller]
    left = by_client & ((left & (spans.duration[caller] >= 0)) | (outcome[caller] == _FAILURE))
    code, codes = spans.coded("code")
    redirected = np.array([len(text) == 3 and text[0] == "3" for text in codes], dtype=bool)[code[before]]
    proxied = by_client & spans.column("proxy")[caller]

    own = (outcome[before] == _SUCCESS) & (ended | (early & ~left))
    again = (outcome[before] == _FAILURE) & ~early & (way != ORPHAN)
    own, again = np.where(proxied, redirected, own), np.where(proxied, ~redirected, again)
    return np.select([own, again], [_OWN, _AGAIN], _UNDECIDED)


def _outcomes(spans: OrderedSpans) -> Array:
    """How spans say that they ended, by row."""
    code, codes = spans.coded("code")
    return np.where(spans.column("error"), _FAILURE, np.array([_outcome(text) for text in codes])[code])


def _outcome(code: str) -> int:
    digits = code if len(code) == 3 and code.isdecimal() else ""
    if code == "OK" or digits[:1] in ("1", "2", "3"):
        return _SUCCESS
    return _FAILURE if digits[:1] == "5" or code in _WORTH_ANOTHER_TRY else _UNCLEAR


def resent(links: Links, span: Array, way: Array, caller: Array) -> Array:
    """A number for each call, the same for those that an application sent again: tries at one request.

    Calls are given by the row of their first span, its way and the row of the caller's span. Clients' spans that say
    how many came before them (or whose arrivals do), beside others of the same service, parent and name, follow one
    that says one less and did not succeed.
    """
    first = _first_tries(links)
    alone = np.arange(len(span))
    if first is None:
        return alone
    spans = links.spans
    inside = np.where((links.up >= 0) & links.wrapper[links.up], links.up, -1)
    outermost = anchors(inside, np.zeros(len(spans), dtype=bool))
    by_client = np.isin(way, (BY_ROUTER, UNDER_CLIENT, UNDER_ID, UNANSWERED)) & (caller >= 0)
    own = np.where(by_client, outermost[caller], -1)
    several = marked(first[first != np.arange(len(spans))], len(spans))
    member = by_client & several[np.where(own >= 0, first[own], -1)]
    order = np.argsort(span, kind="stable")
    place = np.zeros(len(span), dtype=np.int64)
    place[order] = _rank(own[order])
    return pairs(np.where(member, first[own], -1), np.where(member, place, alone))


def _first_tries(links: Links) -> Array | None:
    """For each span the first of the tries that it is one of, by row (itself for most); None if there are no others."""
    spans = links.spans
    answer = first_of(np.flatnonzero(links.caller >= 0), links.caller, len(spans))[:-1]
    number = np.where(answer >= 0, numbers_of_arrivals(spans)[answer], -1)
    earlier = spans.column("retry").astype(np.int64)
    earlier = np.where(earlier >= 0, earlier, np.maximum(number - 1, 0))
    if not (spans.client & (earlier > 0)).any():
        return None
    rows = np.flatnonzero(spans.client)
    operation, _ = spans.coded("operation")
    siblings = pairs(
        pairs(spans.trace[rows], spans.parent_id[rows]), pairs(spans.service[rows], operation[rows])
    )
    level = earlier[rows]
    later = np.flatnonzero(level > 0)
    failed = np.flatnonzero(_outcomes(spans)[rows] != _SUCCESS)
    rank = np.concatenate(
        [_rank(pairs(siblings, level))[later], _rank(pairs(siblings[failed], level[failed]))]
    )
    both = np.concatenate([later, failed])
    wanted = np.concatenate([level[later] - 1, level[failed]])
    key = pairs(pairs(siblings[both], wanted), rank)
    found = np.full(len(both) + 1, -1, dtype=np.int64)
    found[key[len(later) :]] = rows[failed]
    before = np.full(len(spans), -1, dtype=np.int64)
    before[rows[later]] = found[key[: len(later)]]
    before = np.where(before < np.arange(len(spans)), before, -1)
    return anchors(before, np.zeros(len(spans), dtype=bool))
