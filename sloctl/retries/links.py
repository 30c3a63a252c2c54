"""Spans put in order and tied to their parents: who called whom, in arrays.

Owns the reading of ids, parent links, kinds and Envoy's router spans; must not know what is counted from them, nor
where spans come from. No step loops over spans: a million of them take about two seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sloctl.backends.spans import COLUMNS, KINDS
from sloctl.retries.keys import Array, Servers, direct, distinct, first_of, member, pairs, text_codes

OTHER, CLIENT, SERVER, ROUTER = range(4)
"""Roles: within a service; a client's half of a call; a server's; one attempt, spawned by the caller's router."""

_CLIENT_KIND, _SERVER_KIND = KINDS.index("client"), KINDS.index("server")
_ASYNC = (KINDS.index("producer"), KINDS.index("consumer"))
_DAMAGE = ("duplicates", "async", "cycles", "skewed", "missing_parents", "same_ids", "merged")


@dataclass(frozen=True, slots=True)
class Links:
    """Spans in the order of trace, start and id; every array has one entry a span, rows are numbers into them.

    ``caller`` is the client's or router's row that a row answers, -1 where there is none; ``up`` the row that caused
    it, -1 at a root. ``key`` and ``parent_key`` number the pairs of trace and id, -1 for none. ``group`` numbers
    what a router span hangs under, and ``turn`` the request within it where several share that id. ``arrives`` marks
    what is one attempt's arrival at another service, ``by_id`` those that carry the id of their client's half,
    ``wrapper`` an application's client span around that of its proxy.
    """

    spans: pd.DataFrame
    trace: Array
    start: Array
    duration: Array
    service: Array
    services: Sequence[str]
    role: Array
    key: Array
    parent_key: Array
    group: Array
    turn: Array
    caller: Array
    up: Array
    arrives: Array
    by_id: Array
    wrapper: Array
    counts: dict[str, int]


def link(frame: pd.DataFrame) -> Links:
    """Tie the spans of a frame (``sloctl.backends.spans.COLUMNS``) to their parents.

    Raises ``ValueError`` where a column is missing. Spans that came twice (same trace, id, parent, kind, reporter,
    name and start) are here once, with the longest duration.
    """
    if missing := [name for name in COLUMNS if name not in frame]:
        raise ValueError(f"not a frame of spans: {', '.join(missing)} missing")
    counts = dict.fromkeys(_DAMAGE, 0)
    spans, trace = _ordered(frame, counts)
    rows = len(spans)
    service, services = _services(spans)
    kind = spans["kind"].cat.codes.to_numpy().astype(np.int64)
    key, parent_key = _keys(spans, trace)
    own_parent = (parent_key >= 0) & (parent_key == key)
    counts["cycles"] += int(own_parent.sum())
    parent_key = np.where(own_parent, -1, parent_key)
    counts["async"] = int(np.isin(kind, _ASYNC).sum())

    role = np.full(rows, OTHER, dtype=np.int8)
    role[kind == _CLIENT_KIND] = CLIENT
    role[kind == _SERVER_KIND] = SERVER
    router = spans["router"].to_numpy(dtype=bool)
    role[router] = ROUTER
    keys = int(max(key.max(initial=-1), parent_key.max(initial=-1)) + 1)
    servers = Servers(np.flatnonzero(role == SERVER), key, service, keys, len(services), rows)
    same_id = np.zeros(rows, dtype=bool)
    same_id[router] = servers.has(key[router], service[router])
    role[router & _inbound(spans, role, key, parent_key, service, same_id, keys)] = OTHER
    outbound = role == ROUTER
    same_id &= outbound
    counts["same_ids"] = int(same_id.sum())
    group = np.where(outbound, np.where(same_id, key, parent_key), -1)

    turn = _turns(spans, group, service, servers)
    counts["merged"] = int((turn > 0).sum())
    links = _resolve(role, kind, key, parent_key, group, same_id, service, servers, keys, spans)
    up, caller, arrives, by_id, wrapper = links
    start = instants(spans)
    counts["cycles"] += _cut_cycles(up, trace)
    has = up >= 0
    counts["skewed"] = int((start[has] < start[up[has]]).sum())
    counts["missing_parents"] = int(
        ((parent_key >= 0) & ~direct(np.flatnonzero(key >= 0), key, keys, parent_key)[1]).sum()
    )
    duration = spans["duration"].to_numpy()
    return Links(
        spans, trace, start, duration, service, services, role, key, parent_key, group,
        turn, caller, up, arrives, by_id, wrapper, counts,
    )  # fmt: skip


def _ordered(frame: pd.DataFrame, counts: dict[str, int]) -> tuple[pd.DataFrame, Array]:
    low = frame["trace_low"].to_numpy()
    trace = pairs(frame["trace_high"].to_numpy(), low) if frame["trace_high"].any() else distinct(low)
    start, span = instants(frame), frame["span"].to_numpy()
    order = np.lexsort((-frame["duration"].to_numpy(), span, start, trace))
    same = np.flatnonzero(
        (np.diff(trace[order]) == 0) & (np.diff(start[order]) == 0) & (span[order][1:] == span[order][:-1])
    )
    if len(same):
        tied = np.union1d(same, same + 1)
        part = frame.iloc[order[tied]]
        identity = [
            "trace_high",
            "trace_low",
            "span",
            "parent",
            "kind",
            "service",
            "operation",
            "start",
            "router",
        ]
        again = part.duplicated([*identity, "retry"]).to_numpy()
        counts["duplicates"] = int(again.sum())
        order = np.delete(order, tied[again])
    return frame.iloc[order], trace[order]


def _services(spans: pd.DataFrame) -> tuple[Array, list[str]]:
    """Services as numbers; ``cart`` is ``cart.shop`` where just one service of that name has a namespace."""
    codes, names = text_codes(spans["service"])
    used = [names[code] for code in np.unique(codes)]
    longer: dict[str, list[str]] = {}
    for name in used:
        head, dot, _ = name.partition(".")
        if dot:
            longer.setdefault(head, []).append(name)
    alias = {name: longer[name][0] for name in used if len(longer.get(name, ())) == 1}
    targets = [alias.get(name, name) for name in names]
    services = sorted(set(targets) | {""})
    number = {name: index for index, name in enumerate(services)}
    return np.array([number[name] for name in targets], dtype=np.int64)[codes], services


def _keys(spans: pd.DataFrame, trace: Array) -> tuple[Array, Array]:
    ids = np.concatenate([spans["span"].to_numpy(), spans["parent"].to_numpy()])
    keys = pairs(np.concatenate([trace, trace]), ids)
    keys[ids == 0] = -1
    return keys[: len(trace)], keys[len(trace) :]


def _inbound(
    spans: pd.DataFrame, role: Array, key: Array, parent_key: Array, service: Array, same_id: Array, keys: int
) -> Array:
    """Router spans of a proxy before its own application: no attempt at another service.

    Istio's clusters say it by name. Others are judged by name and service together: by what hangs below them, and
    where nothing does, by whether their connection manager was called by another service.
    """
    router = role == ROUTER
    verdict = np.zeros(len(role), dtype=bool)
    if not router.any():
        return verdict
    remote, remotes = text_codes(spans["remote"])
    operation, operations = text_codes(spans["operation"])
    said = [
        _starts(remotes, "inbound|")[remote] | _starts(operations, "router inbound|")[operation],
        _starts(remotes, "outbound|")[remote] | _starts(operations, "router outbound|")[operation],
    ]
    verdict[router & said[0]] = True
    open_ = router & ~said[0] & ~said[1]
    rows = np.flatnonzero(open_)
    if not len(rows):
        return verdict
    number = int(service.max()) + 1
    server = np.flatnonzero(role == SERVER)
    below = np.flatnonzero(parent_key >= 0)
    own = key[rows] * number + service[rows]
    inside = same_id[rows] | np.isin(own, parent_key[below] * number + service[below])
    reached = np.zeros(keys + 1, dtype=np.int64)
    for column in (key, parent_key):
        reached += np.bincount(column[server][column[server] >= 0], minlength=keys + 1)
    at_home = member(
        own, np.concatenate([column[server] * number + service[server] for column in (key, parent_key)])
    )
    outside = reached[key[rows]] > at_home
    name = pairs(service[rows], operation[rows])
    votes = np.bincount(name, outside) - np.bincount(name, inside & ~outside)
    manager, known = direct(server, key, keys, np.where(same_id[rows], key[rows], parent_key[rows]))
    client = np.flatnonzero(router | (role == CLIENT))
    above, called = direct(client, key, keys, np.where(known, parent_key[manager], -1))
    called &= service[above] != service[rows]
    verdict[rows] = np.where(votes[name] == 0, called, votes[name] < 0)
    return verdict


def _turns(spans: pd.DataFrame, group: Array, service: Array, servers: Servers) -> Array:
    """Of router spans under an id that several connection managers have: the request, from 1; of others 0.

    With shared contexts all calls of one request have the id that came with it. Attempts after the first say so
    (retry.count): requests to one cluster are told apart by their first attempts. Where they overlap in time, which
    attempt belongs to which is a guess, and their numbers are not.
    """
    turn = np.zeros(len(group), dtype=np.int64)
    rows = np.flatnonzero(group >= 0)
    rows = rows[servers.several(group[rows], service[rows])]
    if len(rows):
        cluster = spans["operation"].cat.codes.to_numpy()[rows]
        name = pairs(pairs(group[rows], service[rows]), cluster)
        first = spans["retry"].to_numpy()[rows] <= 0
        turn[rows] = pairs(name, pd.Series(first).groupby(name).cumsum().to_numpy()) + 1
    return turn


def _starts(texts: Sequence[str], prefix: str) -> Array:
    return np.array([text.startswith(prefix) for text in texts], dtype=bool)


def _resolve(
    role: Array, kind: Array, key: Array, parent_key: Array, group: Array, same_id: Array,
    service: Array, servers: Servers, keys: int, spans: pd.DataFrame,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    rows = np.arange(len(role))
    calls_out = np.flatnonzero((role == CLIENT) | (role == ROUTER))
    first = first_of(rows[key >= 0], key, keys)
    callers = first_of(calls_out, key, keys)
    manages = np.zeros(keys + 1, dtype=bool)
    manages[group[group >= 0]] = True

    is_server = role == SERVER
    own = np.where(is_server, callers[key], -1)
    own[(own >= 0) & (service[own] == service) & same_id[own]] = -1
    # A server's span under the id of another of its service has its client's half elsewhere, or nowhere.
    wanted = np.where(role == ROUTER, group, parent_key)
    home = servers.latest(wanted, service, rows)
    home[home == rows] = -1
    by_parent = np.where(role == ROUTER, -1, callers[parent_key])
    by_parent[by_parent == rows] = -1
    manager = is_server & manages[key] & (key >= 0)

    up = np.where(home >= 0, home, by_parent)
    up = np.where((up < 0) & (role == ROUTER), callers[group], up)
    up = np.where(up < 0, first[parent_key], up)
    up = np.where(own >= 0, own, up)
    up[up == rows] = -1
    elsewhere = (up >= 0) & (service[up] != service)
    to_caller = (up >= 0) & np.isin(role[up], (CLIENT, ROUTER))

    by_id = own >= 0
    inner, outer = _within_another(rows[by_id], key, service, spans)
    by_id[inner] = False
    up[inner] = outer
    elsewhere[inner] = to_caller[inner] = False
    told = is_server & (by_id | ((own < 0) & (home < 0) & (elsewhere | (to_caller & ~manager) | (up < 0))))
    # Proxies without a server's span of their own; elsewhere such a span says that the server's was lost.
    answers = np.zeros(int(service.max(initial=0)) + 1, dtype=bool)
    answers[service[is_server]] = True
    mute = elsewhere & ~answers[service] & ~direct(np.flatnonzero(is_server), key, keys, parent_key)[1]
    dual = (role == CLIENT) & to_caller & mute & (home < 0)
    silent = (role == OTHER) & (kind == 0) & mute
    local = np.flatnonzero(silent & to_caller)
    silent[local[pd.Series(pairs(up[local], service[local])).duplicated().to_numpy()]] = False
    arrives = told | dual | silent
    caller = np.where(arrives & to_caller, up, -1)
    wrapped = ((role == CLIENT) | manager) & to_caller & ~arrives & ~elsewhere
    wrapper = np.zeros(len(rows), dtype=bool)
    wrapper[up[wrapped]] = True
    return up, caller, arrives, by_id, wrapper


def _within_another(rows: Array, key: Array, service: Array, spans: pd.DataFrame) -> tuple[Array, Array]:
    """Of servers' spans under one id: the application's, inside one of its own proxy and by another name; and that."""
    number = int(service.max(initial=0)) + 1
    name = key[rows] * number + service[rows]
    order = np.argsort(name, kind="stable")
    name, rows = name[order], rows[order]
    many = np.zeros(len(rows), dtype=bool)
    many[1:] = name[1:] == name[:-1]
    many[:-1] |= many[1:]
    rows, name = rows[many], name[many]
    if not len(rows):
        return rows, rows
    start = instants(spans)[rows]
    end = start + np.maximum(spans["duration"].to_numpy()[rows], 0)
    operation = spans["operation"].cat.codes.to_numpy()[rows]
    begins = np.concatenate([[True], name[1:] != name[:-1]])
    leader = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    last = pd.Series(end).groupby(leader).cummax().groupby(leader).shift(1, fill_value=np.iinfo(np.int64).min)
    inside = ~begins & (end <= last.to_numpy()) & (operation != operation[leader])
    outer = np.maximum.accumulate(np.where(inside, 0, np.arange(len(rows))))
    return rows[inside], rows[outer[inside]]


def _cut_cycles(up: Array, trace: Array) -> int:
    """Take the parents from spans that are their own ancestors, in place; how many there were."""
    longest = int(np.bincount(trace).max(initial=0)) if len(trace) else 0
    reached, steps = np.append(up, -1), 1
    while steps <= longest and (reached >= 0).any():
        reached, steps = reached[reached], steps * 2
    circular = np.unique(reached[reached >= 0])
    up[circular] = -1
    return len(circular)


def anchors(up: Array, stop: Array) -> Array:
    """For each row itself where ``stop`` holds, else the nearest row above for which it does, else its root."""
    rows = np.arange(len(up))
    target = np.where(stop | (up < 0), rows, up)
    while True:
        following = target[target]
        if (following == target).all():
            return target
        target = following


def instants(spans: pd.DataFrame) -> Array:
    """The starts of spans, in nanoseconds since 1970."""
    return np.asarray(pd.DatetimeIndex(spans["start"]).as_unit("ns").asi8)


def column(links: Links, name: str) -> Any:
    """A column of the spans as an array, in the order of ``links``."""
    return links.spans[name].to_numpy()
