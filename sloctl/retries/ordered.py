"""Spans in order, each once, with ids and services as numbers, and which of them are Envoy's router spans.

Owns what identifies a span, which spans are one that came twice, how its service is called, what is a namespace, and
the reading of ``router <cluster> egress``; must not know which span caused which, nor what becomes of attempts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sloctl.backends.spans import COLUMNS, KINDS
from sloctl.retries.numbering import Array, distinct, first_of, marked, occurrences, pairs, text_codes

_CLIENT, _SERVER = KINDS.index("client"), KINDS.index("server")
_MESSAGES = (KINDS.index("producer"), KINDS.index("consumer"))
_IDENTITY = "trace_high trace_low span parent kind service operation start router retry".split()
"""The columns in which a span that came twice is the same, and another is not."""


@dataclass(frozen=True, slots=True)
class OrderedSpans:
    """Spans in the order of trace, start and id. A row is a span, and later steps mean spans by the numbers of rows.

    ``frame`` has the columns of ``sloctl.backends.spans.COLUMNS``. By row: ``trace`` (int64, 0, 1, …), ``start``,
    ``duration`` (int64, ns since 1970; ns or -1), ``service`` (int64, a number into ``services``, which are sorted
    and have ``""``), ``own_id`` and ``parent_id`` (int64, numbers below ``ids`` for pairs of a trace and a span's
    id, -1 for none).

    What the reporter says that it is, by row (bool, at most one holds): ``client`` and ``server``, a client's and a
    server's half of a call, and ``router``, a span of Envoy's router; ``messages`` and ``kindless`` for producers and
    consumers, and for no kind at all, whether ``router`` or not.

    ``namespaces`` are those that Istio's tags and the names of clusters say.

    ``duplicates`` counts spans that came again, ``own_parents`` those that named themselves as their parents.
    """

    frame: pd.DataFrame
    trace: Array
    start: Array
    duration: Array
    service: Array
    services: Sequence[str]
    namespaces: frozenset[str]
    own_id: Array
    parent_id: Array
    ids: int
    client: Array
    server: Array
    router: Array
    messages: Array
    kindless: Array
    duplicates: int
    own_parents: int

    def __len__(self) -> int:
        return len(self.trace)

    def column(self, name: str) -> Any:
        """A column of ``frame`` as an array."""
        return self.frame[name].to_numpy()

    def coded(self, name: str) -> tuple[Array, list[str]]:
        """A column of texts as numbers, and the text for each."""
        return text_codes(self.frame[name])

    def at(self, ids: Array, rows: Array) -> Array:
        """Numbers for pairs of an id and the service of a row."""
        return ids * len(self.services) + self.service[rows]


def in_order(frame: pd.DataFrame, others: Iterable[str] = ()) -> OrderedSpans:
    """Put a frame of spans (``sloctl.backends.spans.COLUMNS``) in order, and number what identifies them.

    ``others`` are services that have no spans here, and numbers all the same. Raises ``ValueError`` where a column is
    missing. Spans that came twice (same trace, id, parent, kind, reporter, name and start) are here once, with the
    longest duration.
    """
    if missing := [name for name in COLUMNS if name not in frame]:
        raise ValueError(f"not a frame of spans: {', '.join(missing)} missing")
    spans, trace = _each_once(_with_whole_ids(frame))
    namespaces = _namespaces(spans)
    service, services = _services(spans, namespaces, others)
    own_id, parent_id = _ids(spans, trace)
    itself = (parent_id >= 0) & (parent_id == own_id)
    kind = spans["kind"].cat.codes.to_numpy()
    router = spans["router"].to_numpy(dtype=bool)
    return OrderedSpans(
        frame=spans,
        trace=trace,
        start=_instants(spans),
        duration=spans["duration"].to_numpy(),
        service=service,
        services=services,
        namespaces=namespaces,
        own_id=own_id,
        parent_id=np.where(itself, -1, parent_id),
        ids=int(max(own_id.max(initial=-1), parent_id.max(initial=-1))) + 1,
        client=(kind == _CLIENT) & ~router,
        server=(kind == _SERVER) & ~router,
        router=router,
        messages=np.isin(kind, _MESSAGES),
        kindless=kind == 0,
        duplicates=len(frame) - len(spans),
        own_parents=int(itself.sum()),
    )


def _with_whole_ids(frame: pd.DataFrame) -> pd.DataFrame:
    """Traces whose ids some reporters cut to 64 bits get the other half, where just one has that low half."""
    high = frame["trace_high"].to_numpy()
    short = high == 0
    if short.all() or not short.any():
        return frame
    whole = frame.loc[~short, ["trace_low", "trace_high"]].drop_duplicates()
    known = whole.drop_duplicates("trace_low", keep=False).set_index("trace_low")["trace_high"]
    found = known.reindex(frame["trace_low"], fill_value=0).to_numpy()
    return frame.assign(trace_high=np.where(short, found, high))


def _each_once(frame: pd.DataFrame) -> tuple[pd.DataFrame, Array]:
    """The spans in order, without those that came again; and the trace of each."""
    low = frame["trace_low"].to_numpy()
    trace = pairs(frame["trace_high"].to_numpy(), low) if frame["trace_high"].any() else distinct(low)
    start, span = _instants(frame), frame["span"].to_numpy()
    order = np.lexsort((-frame["duration"].to_numpy(), span, start, trace))
    as_before = (np.diff(trace[order]) == 0) & (np.diff(start[order]) == 0)
    as_before &= span[order][1:] == span[order][:-1]
    if as_before.any():
        second = np.flatnonzero(as_before) + 1
        tied = np.union1d(second - 1, second)
        again = frame.iloc[order[tied]].duplicated(_IDENTITY).to_numpy()
        order = np.delete(order, tied[again])
    return frame.iloc[order], trace[order]


def namespace_of(cluster: str) -> str:
    """``shop`` of Istio's ``outbound|8080||cart.shop.svc.cluster.local``; ``""`` for other names."""
    labels = cluster.rpartition("|")[2].split(".")
    return labels[1] if cluster.count("|") == 3 and len(labels) > 2 and labels[2] == "svc" else ""


def _namespaces(spans: pd.DataFrame) -> frozenset[str]:
    """What Istio's tags and clusters say to be a namespace."""
    said = {str(text) for text in spans["namespace"].cat.categories}
    peers = {str(text) for text in spans["remote"].cat.categories}
    clusters = {cluster_of(str(text)) for text in spans["operation"].cat.categories}
    return frozenset((said | {namespace_of(text) for text in peers | clusters}) - {""})


def _services(
    spans: pd.DataFrame, namespaces: frozenset[str], others: Iterable[str]
) -> tuple[Array, list[str]]:
    """Services as numbers; ``cart`` is ``cart.shop`` where just one service of that name has a namespace."""
    codes, names = text_codes(spans["service"])
    used = [names[code] for code in np.unique(codes)]
    longer: dict[str, list[str]] = {}
    for name in used:
        head, _, namespace = name.rpartition(".")
        if namespace in namespaces:
            longer.setdefault(head, []).append(name)
    alias = {name: longer[name][0] for name in used if len(longer.get(name, ())) == 1}
    targets = [alias.get(name, name) for name in names]
    services = sorted({*targets, *others, ""})
    number = {name: index for index, name in enumerate(services)}
    return np.array([number[name] for name in targets], dtype=np.int64)[codes], services


def _ids(spans: pd.DataFrame, trace: Array) -> tuple[Array, Array]:
    """Each span's id and its parent's as numbers that are the same for the same id in the same trace."""
    ids = np.concatenate([spans["span"].to_numpy(), spans["parent"].to_numpy()])
    numbers = pairs(np.concatenate([trace, trace]), ids)
    numbers[ids == 0] = -1
    return numbers[: len(trace)], numbers[len(trace) :]


def _instants(spans: pd.DataFrame) -> Array:
    """The starts of spans, in nanoseconds since 1970."""
    return np.asarray(pd.DatetimeIndex(spans["start"]).as_unit("ns").asi8)


class ServerSpans:
    """Servers' spans by id and service; with shared ids there are several, one for each attempt."""

    def __init__(self, spans: OrderedSpans) -> None:
        rows = np.flatnonzero(spans.server & (spans.own_id >= 0))
        self._spans, self._total = spans, max(len(spans), 1)
        self._sorted = np.sort(spans.at(spans.own_id[rows], rows) * self._total + rows)
        self._known = marked(spans.own_id[rows], spans.ids)

    def has(self, ids: Array, rows: Array) -> Array:
        """Whether there is one under the id, of the row's service; for each pair."""
        return self._latest(ids, rows, np.zeros(len(ids), dtype=np.int64)) >= 0

    def several(self, ids: Array, rows: Array) -> Array:
        """Whether there is more than one under the id, of the row's service; for each pair."""
        begin = self._spans.at(ids, rows) * self._total
        return np.searchsorted(self._sorted, begin + self._total) - np.searchsorted(self._sorted, begin) > 1

    def running(self, ids: Array, rows: Array) -> Array:
        """Under each id, of the row's service, that which precedes the row most closely, else the first, else -1.

        Rows are in the order of time, so that of several attempts this is the one that was running.
        """
        return self._latest(ids, rows, rows)

    def _latest(self, ids: Array, rows: Array, before: Array) -> Array:
        latest = np.full(len(ids), -1, dtype=np.int64)
        asked = np.flatnonzero(self._known[ids])
        if not len(asked):
            return latest
        wanted = self._spans.at(ids[asked], rows[asked])
        after = np.searchsorted(self._sorted, wanted * self._total + before[asked])
        for candidate in (after, after - 1):
            inside = np.clip(candidate, 0, len(self._sorted) - 1)
            hit = (self._sorted[inside] // self._total == wanted) & (inside == candidate)
            latest[asked[hit]] = self._sorted[inside[hit]] % self._total
        return latest


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
    operation, operations = spans.coded("operation")
    envoys = _begin_with(operations, "router ")[operation]
    unnamed = np.flatnonzero(spans.router & envoys & ~says_inbound & ~says_outbound)
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
