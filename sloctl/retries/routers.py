"""Envoy's router spans: which are attempts at another service, and at which request of their proxy.

Owns the reading of ``router <cluster> egress``; must not know what becomes of attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sloctl.retries.numbering import Array, first_of, occurrences, pairs
from sloctl.retries.ordered import OrderedSpans, ServerSpans


@dataclass(frozen=True, slots=True)
class RouterSpans:
    """What router spans stand for, by row of the ordered spans.

    ``outbound`` (bool) marks one attempt at another service. Of these alone, ``manager_id`` (int64) is the id of the
    connection manager's span that it hangs under, -1 for none. ``shares_id`` (bool) says that it has that id itself,
    ``turn`` (int64) at which of the requests under that id it is an attempt, from 1; 0 where there is one request.
    """

    outbound: Array
    manager_id: Array
    shares_id: Array
    turn: Array


def router_spans(spans: OrderedSpans, servers: ServerSpans) -> RouterSpans:
    """Tell attempts at other services among router spans, and the request that each is an attempt at."""
    shares_id = np.zeros(len(spans), dtype=bool)
    routers = np.flatnonzero(spans.router)
    shares_id[routers] = servers.has(spans.own_id[routers], routers)
    outbound = spans.router & ~_inbound(spans, shares_id)
    shares_id &= outbound
    manager_id = np.where(outbound, np.where(shares_id, spans.own_id, spans.parent_id), -1)
    return RouterSpans(outbound, manager_id, shares_id, _turns(spans, manager_id, servers))


def cluster_of(operation: str) -> str:
    """The cluster in the name of a router span, ``router <cluster> egress``; ``""`` for other names."""
    if not operation.startswith("router "):
        return ""
    return operation.removeprefix("router ").removesuffix(" egress")


def _inbound(spans: OrderedSpans, shares_id: Array) -> Array:
    """Router spans of a proxy before its own application: no attempt at another service.

    Istio's clusters say it by name. Others are judged by what hangs below them.
    """
    inbound = np.zeros(len(spans), dtype=bool)
    if not spans.router.any():
        return inbound
    says_inbound, says_outbound = (_names_cluster(spans, prefix) for prefix in ("inbound|", "outbound|"))
    inbound[spans.router & says_inbound] = True
    unnamed = np.flatnonzero(spans.router & ~says_inbound & ~says_outbound)
    if len(unnamed):
        inbound[unnamed] = _inbound_by_neighbours(spans, unnamed, shares_id[unnamed])
    return inbound


def _names_cluster(spans: OrderedSpans, prefix: str) -> Array:
    """Spans whose other end, or whose own name, is a cluster that begins so."""
    remote, remotes = spans.coded("remote")
    operation, operations = spans.coded("operation")
    return np.asarray(
        _begin_with(remotes, prefix)[remote] | _begin_with(operations, f"router {prefix}")[operation]
    )


def _begin_with(texts: Sequence[str], prefix: str) -> Array:
    return np.array([text.startswith(prefix) for text in texts], dtype=bool)


def _inbound_by_neighbours(spans: OrderedSpans, routers: Array, shares_id: Array) -> Array:
    """Of router spans whose clusters say nothing: whether they are inbound.

    All of one service and name are judged together, by what hangs below them: another service's server, or spans of
    the same service. Where nothing does, each goes by whether another service called its connection manager.
    """
    outside = _reaches_another(spans, routers)
    below = np.flatnonzero(spans.parent_id >= 0)
    here = spans.at(spans.own_id[routers], routers)
    inside = shares_id | np.isin(here, spans.at(spans.parent_id[below], below))
    operation, _ = spans.coded("operation")
    kin = pairs(spans.service[routers], operation[routers])
    votes = np.bincount(kin, outside) - np.bincount(kin, inside & ~outside)
    return np.where(votes[kin] == 0, _manager_was_called(spans, routers, shares_id), votes[kin] < 0)


def _reaches_another(spans: OrderedSpans, routers: Array) -> Array:
    """Whether a server's span of another service has the router span's id, as its own or as its parent's."""
    servers = np.flatnonzero(spans.server)
    reached = np.zeros(spans.ids + 1, dtype=np.int64)
    for ids in (spans.own_id[servers], spans.parent_id[servers]):
        reached += np.bincount(ids[ids >= 0], minlength=spans.ids + 1)
    own_servers = np.concatenate([spans.at(ids[servers], servers) for ids in (spans.own_id, spans.parent_id)])
    own = spans.own_id[routers]
    return np.asarray(reached[own] > occurrences(spans.at(own, routers), own_servers))


def _manager_was_called(spans: OrderedSpans, routers: Array, shares_id: Array) -> Array:
    """Whether the parent of the router span's connection manager is a call by another service."""
    server_of = first_of(np.flatnonzero(spans.server), spans.own_id, spans.ids)
    call_of = first_of(np.flatnonzero(spans.router | spans.client), spans.own_id, spans.ids)
    manager = server_of[np.where(shares_id, spans.own_id[routers], spans.parent_id[routers])]
    call = call_of[np.where(manager >= 0, spans.parent_id[manager], -1)]
    return np.asarray((call >= 0) & (spans.service[call] != spans.service[routers]))


def _turns(spans: OrderedSpans, manager_id: Array, servers: ServerSpans) -> Array:
    """Of router spans under an id that several connection managers have: the request, from 1; of others 0.

    With shared contexts all calls of one request have the id that came with it. Attempts after the first say so
    (retry.count): requests to one cluster are told apart by their first attempts. Where they overlap in time, which
    attempt belongs to which is a guess, and their numbers are not.
    """
    turn = np.zeros(len(spans), dtype=np.int64)
    rows = np.flatnonzero(manager_id >= 0)
    rows = rows[servers.several(manager_id[rows], rows)]
    if len(rows):
        cluster = spans.frame["operation"].cat.codes.to_numpy()[rows]
        requests = pairs(pairs(manager_id[rows], spans.service[rows]), cluster)
        first = spans.column("retry")[rows] <= 0
        turn[rows] = pairs(requests, pd.Series(first).groupby(requests).cumsum().to_numpy()) + 1
    return turn
