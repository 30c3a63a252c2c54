"""Logical calls and their attempts, from spans as any setting of the tracer leaves them.

Owns what counts as one call, and what as one more attempt at it; must not know of rates, paths or verdicts.
``docs/retries.md`` says for each setting what is counted, and what cannot be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sloctl.retries.keys import Array, pairs, text_codes
from sloctl.retries.links import CLIENT, ROUTER, SERVER, Links, anchors, column, link
from sloctl.retries.servers import name_servers

METHODS = ("attempt-count", "router-spans", "shared-id", "child-of-client", "server-spans")
"""How the attempts of a call were counted, the most reliable first."""

_BY_ROUTER, _UNDER_CLIENT, _UNDER_ID, _LONE, _SAME_ID, _ORPHAN, _DIRECT, _ROOT = range(8)
_TAG, _ROUTER, _SHARED, _CHILD, _SERVER = range(len(METHODS))
_NEVER_SENT = frozenset({"NR", "UH", "NC"})
"""Envoy's flags for no route, no healthy host and no cluster: nothing left the proxy."""


@dataclass(frozen=True, slots=True)
class CallTable:
    """What spans say of calls between services.

    ``calls`` has a row for each logical call: ``trace_high``, ``trace_low`` (uint64); ``client``, ``server``,
    ``operation``, ``code``, ``method`` (category; ``client`` is ``""`` where unknown); ``attempts`` (int64, those
    that were sent; 0 for a call that never left its proxy), ``seen`` (int64, attempts with a span of their own, rows
    of ``attempts``), ``failed`` (bool, the outcome), ``start`` (UTC), ``duration`` (int64 ns, -1 if unknown),
    ``orphan`` (bool: a parent is named that is not in the data), ``root`` (bool: nobody called, so this is no edge),
    ``parent`` (int64, the attempt that made the call, or -1) and ``entry`` (int64, the row of ``entries`` it began
    at, or -1 below another call).

    ``attempts``: ``call`` (int64), ``index`` (int64, 0 for the first), ``start``, ``duration`` (int64 ns, -1),
    ``failed`` (bool), ``code`` (category), ``gap`` (float64 ns since the end of the one before; NaN for the first).

    ``entries`` is where traces begin: ``service``, ``operation`` (category), ``requests`` (int64).

    ``counts``: ``spans``, ``traces``, ``duplicates``, ``async``, ``cycles``, ``skewed`` (spans that start before their
    parent), ``missing_parents``, ``orphans`` (calls), ``unsent`` (calls), ``same_ids`` (router spans under the id of
    their connection manager), ``merged`` (router spans of calls that share one id), ``mixed`` (attempts that share
    their id with a router span).
    """

    calls: pd.DataFrame
    attempts: pd.DataFrame
    entries: pd.DataFrame
    counts: Mapping[str, int]


def calls(frame: pd.DataFrame) -> CallTable:
    """Group spans (``sloctl.backends.spans.COLUMNS``) into logical calls; raises ``ValueError`` for another frame.

    A call is failed if its span says error, has no response (code ``0``) or a status of 500 and above.
    """
    links = link(frame)
    rows, server_rows, item_kind, base, service, item_logical = _items(links)
    number, first = _numbered(item_kind, base, service)
    size, total = len(first), len(links.key)
    kind, logical = item_kind[first], item_logical[first]
    observed = np.flatnonzero(item_kind != _LONE)
    failed = _failed(links)
    tried = _attempts_table(links, number[observed], rows[observed])
    seen = np.bincount(tried["call"], minlength=size)
    attempts, tagged = _attempt_counts(links, kind, logical, number, rows, seen, size)
    method = np.select(
        [
            tagged,
            kind == _BY_ROUTER,
            np.isin(kind, (_UNDER_ID, _SAME_ID)),
            np.isin(kind, (_UNDER_CLIENT, _LONE)),
        ],
        [_TAG, _ROUTER, _SHARED, _CHILD],
        _SERVER,
    )
    last = np.full(size, -1, dtype=np.int64)
    last[tried["call"]] = tried["row"]
    own = (logical >= 0) & (kind != _DIRECT)
    final = np.where(own, logical, np.where(last >= 0, last, rows[first]))
    start, duration = _spent(final, links, own, tried, size)

    attempt_of = _attempt_of(links, tried)
    top = np.where(logical >= 0, anchors(links.up, attempt_of >= 0)[logical], -1)
    parent = np.where(top >= 0, attempt_of[top], -1)
    unknown = links.services.index("")
    client = np.where(logical >= 0, links.service[logical], unknown)
    client = np.where(kind == _BY_ROUTER, links.service[rows[first]], client)
    server, names = name_servers(links, number, rows, server_rows, first, logical, client)
    root = kind == _ROOT
    top = np.where(root, rows[first], top)
    entry, entries = _entries(links, parent, top, root, server, names)
    table = pd.DataFrame(
        {
            "trace_high": column(links, "trace_high")[final],
            "trace_low": column(links, "trace_low")[final],
            "client": _category(client, names),
            "server": _category(server, names),
            "operation": _operation(links, number, server_rows, logical, size),
            "method": _category(method, METHODS),
            "attempts": attempts,
            "seen": seen,
            "failed": failed[final],
            "code": _category(*_taken(links, "code", final)),
            "start": _times(start),
            "duration": duration,
            "orphan": np.isin(kind, (_ORPHAN, _SAME_ID)) & (client == unknown),
            "root": root,
            "parent": parent,
            "entry": entry,
        }
    )
    row = tried["row"]
    by_call = pd.DataFrame(
        {
            "call": tried["call"],
            "index": tried["index"],
            "start": _times(links.start[row]),
            "duration": links.duration[row],
            "failed": failed[row],
            "code": _category(*_taken(links, "code", row)),
            "gap": tried["gap"],
        }
    )
    by_router = links.by_id & (links.role[links.caller] == ROUTER)
    counts = {
        "spans": total,
        "traces": int((np.diff(links.trace, prepend=-1) != 0).sum()),
        **links.counts,
        "orphans": int(table["orphan"].sum()),
        "unsent": int((attempts == 0).sum()),
        "mixed": int(by_router.sum()),
    }
    return CallTable(table, by_call, entries, counts)


def _attempt_of(links: Links, tried: Mapping[str, Array]) -> Array:
    """For each span that is an attempt's arrival its row among attempts, else -1."""
    of_row = np.full(len(links.key) + 1, -1, dtype=np.int64)
    of_row[tried["row"]] = np.arange(len(tried["row"]))
    reached = np.where(links.arrives, of_row[:-1], -1)
    routed = np.flatnonzero(links.arrives & (links.caller >= 0))
    routed = routed[links.role[links.caller[routed]] == ROUTER]
    reached[routed] = of_row[links.caller[routed]]
    return reached


def _taken(links: Links, name: str, rows: Array) -> tuple[Array, list[str]]:
    codes, names = text_codes(links.spans[name])
    return codes[rows], names


def _times(nanoseconds: Array) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(nanoseconds.view("datetime64[ns]")).tz_localize("UTC")


def _items(links: Links) -> tuple[Array, ...]:
    """What calls are made of: row, server's row or -1, kind, what groups them (two columns), and the caller's row."""
    role, caller, key = links.role, links.caller, links.key
    has_routers = np.zeros(
        int(max(links.key.max(initial=-1), links.parent_key.max(initial=-1))) + 2, dtype=bool
    )
    has_routers[links.group[links.group >= 0]] = True
    routes = has_routers[key] & (key >= 0) & np.isin(role, (CLIENT, SERVER))
    router = np.flatnonzero(role == ROUTER)
    reached = np.full(len(key), -1, dtype=np.int64)
    arrivals = np.flatnonzero(links.arrives)
    known = arrivals[caller[arrivals] >= 0]
    reached[caller[known[::-1]]] = known[::-1]

    by_client = known[(role[caller[known]] == CLIENT) & ~routes[caller[known]]]
    answered = reached >= 0
    lone = np.flatnonzero((role == CLIENT) & ~answered & ~routes & ~links.wrapper)
    rest = arrivals[caller[arrivals] < 0]
    shares = _shares_id(links, rest)
    above = links.up[rest]
    kind = np.select([shares, above >= 0, links.parent_key[rest] >= 0], [_SAME_ID, _DIRECT, _ORPHAN], _ROOT)
    base = np.select([shares, kind == _ORPHAN], [key[rest], links.parent_key[rest]], rest)
    groups = pairs(np.where(links.group[router] >= 0, links.group[router], -2 - router), links.turn[router])
    parts = [
        (router, reached[router], np.full(len(router), _BY_ROUTER), groups, links.service[router], links.up[router]),
        (
            by_client, by_client, np.where(links.by_id[by_client], _UNDER_ID, _UNDER_CLIENT),
            caller[by_client], links.service[by_client], caller[by_client],
        ),
        (lone, np.full(len(lone), -1), np.full(len(lone), _LONE), lone, np.full(len(lone), -1), lone),
        (rest, rest, kind, base, links.service[rest], above),
    ]  # fmt: skip
    return tuple(np.concatenate(arrays).astype(np.int64) for arrays in zip(*parts, strict=True))


def _shares_id(links: Links, rows: Array) -> Array:
    """Servers' spans whose client's half is missing, under an id that they share with it, or with one another."""
    server = links.role[rows] == SERVER
    name = pairs(links.key[rows], links.service[rows])
    several = np.bincount(name[server], minlength=int(name.max(initial=-1)) + 1) > 1
    shared = column(links, "shared")[rows] & (links.parent_key[rows] >= 0)
    return np.asarray(server & (links.key[rows] >= 0) & (several[name] | shared))


def _numbered(kind: Array, base: Array, service: Array) -> tuple[Array, Array]:
    """Each item's call, and each call's first item."""
    same = np.where(kind == _UNDER_ID, _UNDER_CLIENT, kind)
    number = pairs(pairs(same, base), service)
    first = np.full(int(number.max(initial=-1)) + 1, -1, dtype=np.int64)
    first[number[::-1]] = np.arange(len(number))[::-1]
    return number, first


def _failed(links: Links) -> Array:
    codes, names = text_codes(links.spans["code"])
    bad = np.array([name == "0" or (len(name) == 3 and name[0] == "5") for name in names], dtype=bool)
    return np.asarray(column(links, "error") | bad[codes])


def _attempts_table(links: Links, call: Array, row: Array) -> dict[str, Array]:
    """Attempts by call, in the order of time (by the client's clock where it reported them)."""
    order = np.lexsort((row, call))
    call, row = call[order], row[order]
    size = len(call)
    begins = np.ones(size, dtype=bool)
    begins[1:] = call[1:] != call[:-1]
    index = np.arange(size) - np.flatnonzero(begins)[np.cumsum(begins) - 1] if size else np.arange(0)
    start, duration = links.start[row], links.duration[row]
    gap = np.full(size, np.nan)
    gap[1:] = np.where(begins[1:] | (duration[:-1] < 0), np.nan, start[1:] - start[:-1] - duration[:-1])
    return {"call": call, "row": row, "index": index, "gap": gap}


def _attempt_counts(
    links: Links, kind: Array, logical: Array, number: Array, rows: Array, seen: Array, size: int
) -> tuple[Array, Array]:
    """How many attempts were sent for each call, and whether a tag says so."""
    overflow, tag = column(links, "overflow"), column(links, "attempts").astype(np.int64)
    router = kind[number] == _BY_ROUTER
    over = np.bincount(number[router], overflow[rows[router]], minlength=size).astype(np.int64)
    has = logical >= 0
    merged = np.bincount(number[router], links.turn[rows[router]], minlength=size) > 0
    over = np.where(has & ~merged, np.maximum(over, overflow[logical]), over)
    said = np.where(has, tag[logical], -1)
    if router.any():
        highest = np.full(size, -1, dtype=np.int64)
        np.maximum.at(highest, number[router], tag[rows[router]])
        said = np.where(merged, -1, np.maximum(said, highest))
    # A client's span that split over two services has one tag for both.
    shares = np.bincount(logical[has & (kind != _BY_ROUTER)], minlength=len(tag) + 1)[logical]
    tagged = (said >= 1) & ((kind == _BY_ROUTER) | (has & (shares == 1) & (kind != _DIRECT)))
    flags, texts = text_codes(links.spans["flags"])
    unsent = np.array([not _NEVER_SENT.isdisjoint(text.split(",")) for text in texts], dtype=bool)[flags]
    lone = (kind == _LONE) & ~unsent[logical] & (over == 0)
    counted = np.where(kind == _BY_ROUTER, seen - over, seen + lone)
    # Without a healthy host the tag says 1 both for a call that never left and for one whose retry did not.
    said = np.where((said == 1) & has & unsent[logical], np.minimum(seen, 1), said)
    return np.maximum(np.where(tagged, said - over, counted), 0), tagged


def _spent(
    final: Array, links: Links, own: Array, tried: Mapping[str, Array], size: int
) -> tuple[Array, Array]:
    """Start and duration of calls: the caller's, else from the first attempt's start to the last one's end."""
    begin, duration = links.start[final].copy(), links.duration[final].copy()
    call, row = tried["call"], tried["row"]
    ends = np.full(size, np.iinfo(np.int64).min)
    starts = np.full(size, np.iinfo(np.int64).max)
    np.maximum.at(ends, call, links.start[row] + np.maximum(links.duration[row], 0))
    np.minimum.at(starts, call, links.start[row])
    derived = ~own & (ends >= starts)
    begin[derived] = starts[derived]
    duration[derived] = (ends - starts)[derived]
    return begin, duration


def _entries(
    links: Links, parent: Array, top: Array, root: Array, server: Array, names: Sequence[str]
) -> tuple[Array, pd.DataFrame]:
    """Where calls without a calling attempt began, and how many requests began at each such place.

    A trace begins at a server's span that nobody called, at another span without a parent, or unknown, where the
    parent is missing.
    """
    operation, operations = text_codes(links.spans["operation"])
    unknown = (names.index(""), operations.index(""))
    below = parent >= 0
    known = top >= 0
    begins = np.where(root, server, np.where(known, links.service[top], unknown[0]))
    named = np.where(known, operation[top], unknown[1])
    base = np.where(~below & ~root & known, top, -1)
    roots = np.flatnonzero((links.up < 0) & ~links.arrives & (links.role != ROUTER))
    begun = np.zeros(len(links.key), dtype=bool)
    begun[base[base >= 0]] = True
    lonely = roots[~begun[roots]]
    started = np.flatnonzero(begun)
    own = ~below & ((base < 0) | root)
    service = np.concatenate([begins[own], links.service[started], links.service[lonely]])
    called = np.concatenate([named[own], operation[started], operation[lonely]])
    wide = len(operations)
    place, count = np.unique(service * wide + called, return_counts=True)
    entry = np.where(below, -1, np.searchsorted(place, begins * wide + named))
    table = pd.DataFrame(
        {
            "service": _category(place // wide, names),
            "operation": _category(place % wide, operations),
            "requests": count.astype(np.int64),
        }
    )
    return entry, table


def _operation(
    links: Links, number: Array, server_rows: Array, logical: Array, size: int
) -> pd.Categorical[Any]:
    """What the server calls it, else what the client does."""
    codes, names = text_codes(links.spans["operation"])
    found = np.where(logical >= 0, codes[logical], names.index(""))
    known = server_rows >= 0
    found[number[known][::-1]] = codes[server_rows[known][::-1]]
    return _category(found, names)


def _category(codes: Array, names: Sequence[str]) -> pd.Categorical[Any]:
    dtype: pd.CategoricalDtype[Any] = pd.CategoricalDtype(list(names))
    return pd.Categorical.from_codes(codes, dtype=dtype)
