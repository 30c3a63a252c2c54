"""What shows attempts: router spans, arrivals at other services, and clients' spans that nobody answered.

Owns the ways in which a span shows an attempt or a call. Must not know which of them are at the same request, nor how
many were sent.
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


def evidence_of(links: Links) -> Evidence:
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
