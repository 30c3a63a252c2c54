"""Spans tied to what caused them: who called whom.

Owns the reading of parent links: which span stands above which, and which is an attempt's arrival at another service.
Must not know which attempts belong together. No step loops over spans.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sloctl.retries.numbering import Array, first_of, marked, pairs
from sloctl.retries.ordered import OrderedSpans, RouterSpans, ServerSpans, in_order, router_spans


@dataclass(frozen=True, slots=True)
class Links:
    """Which span caused which, by row of ``spans``; rows are int64, and -1 for none.

    ``up`` is the row that caused it, -1 at a root: following it leads to a root, never in a circle. ``arrives`` (bool)
    marks what is one attempt's arrival at another service, ``caller`` the client's or router's row that an arrival
    answers, ``by_id`` (bool) those that carry the id of their client's half, ``wrapper`` (bool) an application's
    client span around that of its proxy.

    ``counts`` has what is wrong with the spans, see :class:`sloctl.retries.CallTable`.
    """

    spans: OrderedSpans
    routers: RouterSpans
    up: Array
    arrives: Array
    caller: Array
    by_id: Array
    wrapper: Array
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Causes:
    """What the ids of each span point to, by row; rows are int64, and -1 for none.

    ``up``: the span that caused it. ``client_half``: of a server's span, the client's or router's span under the same
    id. ``hop``: the server's span of its own service that its parent's id names, the same hop. ``manager`` (bool): a
    server's span of a connection manager, with router spans under its id.
    """

    up: Array
    client_half: Array
    hop: Array
    manager: Array


def link(frame: pd.DataFrame, others: Iterable[str] = (), answering: frozenset[str] = frozenset()) -> Links:
    """Tie the spans of a frame (``sloctl.backends.spans.COLUMNS``) to what caused them.

    ``others`` are services that have no spans here, ``answering`` those that report servers' spans elsewhere. Raises
    ``ValueError`` where a column is missing.
    """
    spans = in_order(frame, others)
    servers = ServerSpans(spans)
    routers = router_spans(spans, servers)
    causes = _causes(spans, routers, servers)
    up = causes.up
    calls_out = (up >= 0) & (spans.client | routers.outbound)[up]
    elsewhere = (up >= 0) & (spans.service[up] != spans.service)
    arrives = _arrivals(spans, causes, calls_out, elsewhere) | _arrivals_without_servers(
        spans, routers, causes, calls_out, elsewhere, answering
    )
    inner = (spans.client | causes.manager) & calls_out & ~arrives & ~elsewhere
    wrapper = np.zeros(len(spans), dtype=bool)
    wrapper[up[inner]] = True
    caller = np.where(arrives & calls_out, up, -1)
    up, circular = _without_circles(up, spans.trace)
    return Links(
        spans=spans,
        routers=routers,
        up=up,
        arrives=arrives,
        caller=caller,
        by_id=causes.client_half >= 0,
        wrapper=wrapper,
        counts=_damage(spans, routers, up, circular),
    )


def _causes(spans: OrderedSpans, routers: RouterSpans, servers: ServerSpans) -> _Causes:
    """The span that caused each: the first that there is of

    - of a server's span, the client's half under the same id,
    - the server's span of the same service that the parent's id names (of a router span, its connection manager),
    - the client's or router's span that it names,
    - any span that it names.

    An application's server span inside that of its own proxy, under the same id, was caused by it.
    """
    rows = np.arange(len(spans))
    call_of = first_of(np.flatnonzero(spans.client | routers.outbound), spans.own_id, spans.ids)
    above = np.where(routers.outbound, routers.manager_id, spans.parent_id)
    hop, call = servers.running(above, rows), call_of[above]
    any_span = first_of(rows, spans.own_id, spans.ids)[spans.parent_id]
    client_half = np.where(spans.server, call_of[spans.own_id], -1)
    # A server's span under the id of another of its service has its client's half elsewhere, or nowhere.
    own_router = (spans.service[client_half] == spans.service) & routers.shares_id[client_half]
    client_half[(client_half >= 0) & own_router] = -1

    up = np.where(call >= 0, call, any_span)
    up = np.where(hop >= 0, hop, up)
    hop, up = _without_false_hops(spans, hop, up, spans.client | routers.outbound)
    up = np.where(client_half >= 0, client_half, up)
    inner, outer = _inside_another(spans, np.flatnonzero(client_half >= 0))
    client_half[inner], up[inner] = -1, outer
    manager = spans.server & marked(routers.manager_id, spans.ids)[spans.own_id]
    return _Causes(up, client_half, hop, manager)


def _without_false_hops(spans: OrderedSpans, hop: Array, up: Array, calls_out: Array) -> tuple[Array, Array]:
    """Hops, and what caused each span, where servers' spans that do not overlap in time are no hop.

    Of attempts that share an id, backends that give each an id of its own put all below the one that they read last:
    that one's client is the client of all. ``calls_out`` (bool) marks clients' and routers' spans.
    """
    rows = np.flatnonzero(spans.server & (hop >= 0))
    outer = hop[rows]
    known = (spans.duration[rows] >= 0) & (spans.duration[outer] >= 0)
    begins, outer_begins = spans.start[rows], spans.start[outer]
    later = (begins >= outer_begins + spans.duration[outer]) & (begins > outer_begins)
    earlier = (begins + spans.duration[rows] <= outer_begins) & (begins < outer_begins)
    beside = np.full(len(spans), -1, dtype=np.int64)
    apart = rows[known & (later | earlier)]
    beside[apart] = hop[apart]
    cause = up[anchors(_without_circles(beside, spans.trace)[0], np.zeros(len(spans), dtype=bool))]
    apart = apart[(cause[apart] >= 0) & calls_out[cause[apart]]]
    hop, up = hop.copy(), up.copy()
    hop[apart], up[apart] = -1, cause[apart]
    return hop, up


def _inside_another(spans: OrderedSpans, rows: Array) -> tuple[Array, Array]:
    """Servers' spans of an application, inside one of its own proxy under the same id and by another name; and that.

    ``rows`` are servers' spans that share their ids with a client's half.
    """
    name = spans.at(spans.own_id[rows], rows)
    order = np.argsort(name, kind="stable")
    name, rows = name[order], rows[order]
    several = np.zeros(len(rows), dtype=bool)
    several[1:] = name[1:] == name[:-1]
    several[:-1] |= several[1:]
    rows, name = rows[several], name[several]
    if not len(rows):
        return rows, rows
    end = spans.start[rows] + np.maximum(spans.duration[rows], 0)
    operation = spans.frame["operation"].cat.codes.to_numpy()[rows]
    begins = np.concatenate([[True], name[1:] != name[:-1]])
    leader = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    last_end = pd.Series(end).groupby(leader).cummax()
    before = last_end.groupby(leader).shift(1, fill_value=np.iinfo(np.int64).min).to_numpy()
    inside = ~begins & (end <= before) & (operation != operation[leader])
    outer = np.maximum.accumulate(np.where(inside, 0, np.arange(len(rows))))
    return rows[inside], rows[outer[inside]]


def _arrivals(spans: OrderedSpans, causes: _Causes, calls_out: Array, elsewhere: Array) -> Array:
    """Servers' spans that are one attempt's arrival: by the id of their client's half, or as the first of their hop.

    The first of a hop is below a client's span, another service's span, or nothing. A connection manager's span is a
    call of its own where a client's span of its own service, the application's, is above it. ``calls_out`` and
    ``elsewhere`` (bool) say of each row whether what caused it is a client's or router's span, and of another service.
    """
    outermost = elsewhere | (calls_out & ~causes.manager) | (causes.up < 0)
    return np.asarray(spans.server & ((causes.client_half >= 0) | ((causes.hop < 0) & outermost)))


def _arrivals_without_servers(
    spans: OrderedSpans,
    routers: RouterSpans,
    causes: _Causes,
    calls_out: Array,
    elsewhere: Array,
    answering: frozenset[str],
) -> Array:
    """Arrivals at services that report no server's span at all.

    Where a service does report some, another kind of span below another service says that the server's was lost. Of
    spans without a kind, several below one client's span are one arrival.
    """
    answers = marked(spans.service[spans.server], len(spans.services))
    answers[:-1] |= np.array([name in answering for name in spans.services], dtype=bool)
    server_of = first_of(np.flatnonzero(spans.server), spans.own_id, spans.ids)
    mute = elsewhere & ~answers[spans.service] & (server_of[spans.parent_id] < 0)
    both_halves = spans.client & calls_out & mute & (causes.hop < 0)
    kindless = spans.kindless & ~routers.outbound & mute
    below = np.flatnonzero(kindless & calls_out)
    again = pd.Series(pairs(causes.up[below], spans.service[below])).duplicated().to_numpy()
    kindless[below[again]] = False
    return np.asarray(both_halves | kindless)


def _without_circles(up: Array, trace: Array) -> tuple[Array, int]:
    """Parents, without those of spans that are their own ancestors; and how many these were."""
    longest = int(np.bincount(trace).max(initial=0)) if len(trace) else 0
    reached, steps = np.append(up, -1), 1
    while steps <= longest and (reached >= 0).any():
        reached, steps = reached[reached], steps * 2
    circular = np.unique(reached[reached >= 0])
    up = up.copy()
    up[circular] = -1
    return up, len(circular)


def _damage(spans: OrderedSpans, routers: RouterSpans, up: Array, circular: int) -> dict[str, int]:
    below = np.flatnonzero(up >= 0)
    there = marked(spans.own_id, spans.ids)[spans.parent_id]
    return {
        "duplicates": spans.duplicates,
        "async": int(spans.messages.sum()),
        "cycles": spans.own_parents + circular,
        "skewed": int((spans.start[below] < spans.start[up[below]]).sum()),
        "missing_parents": int(((spans.parent_id >= 0) & ~there).sum()),
        "same_ids": int(routers.shares_id.sum()),
        "merged": int((routers.turn > 0).sum()),
    }


def anchors(up: Array, stop: Array) -> Array:
    """For each row itself where ``stop`` holds, else the nearest row above for which it does, else its root."""
    rows = np.arange(len(up))
    target = np.where(stop | (up < 0), rows, up)
    while True:
        following = target[target]
        if (following == target).all():
            return target
        target = following
