"""Calls between services as frames: who called whom, how it ended, and what caused it.

Owns the columns of :class:`CallTable`, and the names of clients and servers, also where no attempt arrived. Must not
know what counts as one call, nor of rates, paths or verdicts. ``docs/retries.md`` says for each setting of the tracer
what is counted, and what cannot be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from sloctl.backends.spans import Counted
from sloctl.promql.presets import GRPC_CODES, GRPC_SERVER_ERRORS
from sloctl.retries.evidence import BY_ROUTER, DIRECT, ORPHAN, ROOT, SAME_ID
from sloctl.retries.links import Links, anchors, link
from sloctl.retries.logical import (
    METHODS,
    LogicalCalls,
    SeenAttempts,
    all_sent,
    logical_calls,
    seen_attempts,
    sent_attempts,
    with_resent,
)
from sloctl.retries.numbering import Array, distinct, marked, pairs, text_codes
from sloctl.retries.ordered import cluster_of

_COUNTED = {
    "client": "category",
    "server": "category",
    "count": "int64",
    "failed": "bool",
    "attempt_failed": "bool",
    "orphan": "bool",
    "method": "int64",
}
_SPREAD = {"client": "category", "server": "category", "traces": "int64", "squares": "int64"}


def _no_rows(columns: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([], dtype=dtype) for name, dtype in columns.items()})


@dataclass(frozen=True, slots=True)
class CallTable:
    """What spans say of calls between services.

    ``calls`` has a row for each logical call: ``trace_high``, ``trace_low`` (uint64); ``client``, ``server``,
    ``operation``, ``code``, ``method`` (category; ``client`` is ``""`` where unknown); ``attempts`` (int64, those
    that were sent; 0 for a call that never left its proxy), ``seen`` (int64, attempts with a span of their own, rows
    of ``attempts``), ``failed`` (bool, the outcome), ``start`` (UTC), ``duration`` (int64 ns, -1 if unknown),
    ``orphan`` (bool: a parent is named that is not in the data), ``root`` (bool: nobody called, so this is no edge),
    ``undecided`` (bool: it may also be one more attempt at a call before it, so that it counts apart),
    ``parent`` (int64, the attempt that made the call, or -1) and ``entry`` (int64, the row of ``entries`` it began
    at, or -1 below another call).

    ``attempts``: ``call`` (int64), ``index`` (int64, 0 for the first), ``start``, ``duration`` (int64 ns, -1),
    ``failed`` (bool), ``code`` (category), ``gap`` (float64 ns since the end of the one before; NaN for the first).

    ``entries`` is where traces begin: ``service``, ``operation`` (category), ``requests`` (int64).

    ``counts``: ``spans``, ``traces``, ``duplicates``, ``async``, ``cycles``, ``skewed`` (spans that start before their
    parent), ``missing_parents``, ``orphans`` (calls), ``unsent`` (calls), ``same_ids`` (router spans under the id of
    their connection manager), ``merged`` (router spans of calls that share one id), ``mixed`` (attempts that share
    their id with a router span).

    ``namespaces`` are what Istio's tags and the names of its clusters say to be namespaces, as in ``cart.shop``.

    ``counted`` has calls that the source of spans counted, which are in no other frame, a row for each kind:
    ``client``, ``server`` (category), ``count`` (int64, calls of one attempt each), ``failed``, ``attempt_failed``,
    ``orphan`` (bool) and ``method`` (int64, a number into ``METHODS``); ``spread`` says by ``client`` and ``server``
    (category) how many ``traces`` have such calls, and the sum of the ``squares`` of how many each has (int64).
    """

    calls: pd.DataFrame
    attempts: pd.DataFrame
    entries: pd.DataFrame
    counts: Mapping[str, int]
    namespaces: frozenset[str] = frozenset()
    counted: pd.DataFrame = field(default_factory=lambda: _no_rows(_COUNTED))
    spread: pd.DataFrame = field(default_factory=lambda: _no_rows(_SPREAD))


@dataclass(frozen=True, slots=True)
class _Outcomes:
    """How calls ended, by call: the row of the span that says so (``span``), ``start`` and ``duration`` (int64, ns)."""

    span: Array
    start: Array
    duration: Array


@dataclass(frozen=True, slots=True)
class _Origins:
    """What made calls, by call (int64): the row of the attempt (``attempt``), else -1, and that of the span (``span``).

    ``span`` is the arrival of that attempt; without one the root above the call, the call's own span if it is a root
    itself, or -1 where nothing is known.
    """

    attempt: Array
    span: Array


@dataclass(frozen=True, slots=True)
class _Ends:
    """Both ends of calls, by call: ``client`` and ``server`` (int64), numbers into ``names``.

    ``counted_client`` and ``counted_server`` are those of kinds of calls that the source counted.
    """

    client: Array
    server: Array
    names: Sequence[str]
    counted_client: Array
    counted_server: Array


def calls(frame: pd.DataFrame, counted: Counted | None = None) -> CallTable:
    """Group spans (``sloctl.backends.spans.COLUMNS``) into logical calls; raises ``ValueError`` for another frame.

    A call is failed if its span says error, has no response (code ``0``), a status of 500 and above, or a gRPC status
    that is the server's fault. With ``counted``, whose ``others`` are the frame then, calls that the source counted are
    added; ``ValueError`` is raised where they are under too many names.
    """
    links = link(frame) if counted is None else link(frame, counted.services, counted.answering)
    parts = logical_calls(links)
    logical, part_of = with_resent(links, parts)
    attempts = seen_attempts(links, logical)
    seen = np.bincount(attempts.call, minlength=len(logical))
    sent = all_sent(links, sent_attempts(links, parts), part_of, logical)
    outcomes, origins = _outcomes(links, logical, attempts), _origins(links, logical, attempts)
    ends = _ends(links, logical, counted)
    root = logical.way == ROOT
    entry, entries = _entries(links, origins, root, ends)
    failed = _failed(links)
    table = pd.DataFrame(
        {
            "trace_high": links.spans.column("trace_high")[outcomes.span],
            "trace_low": links.spans.column("trace_low")[outcomes.span],
            "client": _category(ends.client, ends.names),
            "server": _category(ends.server, ends.names),
            "operation": _operations(links, logical),
            "method": _category(sent.method, METHODS),
            "attempts": sent.count,
            "seen": seen,
            "failed": failed[outcomes.span],
            "code": _codes(links, outcomes.span),
            "start": _times(outcomes.start),
            "duration": outcomes.duration,
            "orphan": np.isin(logical.way, (ORPHAN, SAME_ID)) & (ends.client == ends.names.index("")),
            "root": root,
            "undecided": logical.undecided & ~root,
            "parent": origins.attempt,
            "entry": entry,
        }
    )
    tried = pd.DataFrame(
        {
            "call": attempts.call,
            "index": attempts.index,
            "start": _times(links.spans.start[attempts.span]),
            "duration": links.spans.duration[attempts.span],
            "failed": failed[attempts.span],
            "code": _codes(links, attempts.span),
            "gap": attempts.gap,
        }
    )
    found = CallTable(table, tried, entries, _counts(links, table), links.spans.namespaces)
    return found if counted is None else _with_counted(found, frame, counted, ends)


def _counts(links: Links, table: pd.DataFrame) -> dict[str, int]:
    return {
        "spans": len(links.spans),
        "traces": int((np.diff(links.spans.trace, prepend=-1) != 0).sum()),
        **links.counts,
        "orphans": int(table["orphan"].sum()),
        "unsent": int((table["attempts"] == 0).sum()),
        "mixed": int((links.by_id & links.routers.outbound[links.caller]).sum()),
    }


def _failed(links: Links) -> Array:
    """Spans that say error, no response, a status of 500 and above, or a gRPC server's own error."""
    code, codes = links.spans.coded("code")
    return _failing(links.spans.column("error"), code, codes)


def _failing(error: Array, code: Array, codes: Sequence[str]) -> Array:
    own = {name for name, number in GRPC_CODES.items() if number in GRPC_SERVER_ERRORS} | {"0"}
    bad = np.array([text in own or (len(text) == 3 and text[0] == "5") for text in codes], dtype=bool)
    return np.asarray(error | bad[code])


def _outcomes(links: Links, logical: LogicalCalls, attempts: SeenAttempts) -> _Outcomes:
    """How calls ended, by the caller's span of the call, else by the attempts.

    Without a span of the call the last attempt's outcome is the call's, which took from the first attempt's start to
    the end of the one that ended last.
    """
    size, spans = len(logical), links.spans
    last = np.full(size, -1, dtype=np.int64)
    last[attempts.call] = attempts.span
    own = (logical.caller >= 0) & (logical.way != DIRECT)
    span = np.where(own, logical.last, np.where(last >= 0, last, logical.span))
    begins, ends = np.full(size, np.iinfo(np.int64).max), np.full(size, np.iinfo(np.int64).min)
    start = spans.start[attempts.span]
    np.minimum.at(begins, attempts.call, start)
    np.maximum.at(ends, attempts.call, start + np.maximum(spans.duration[attempts.span], 0))
    derived = ~own & (ends >= begins)
    first = np.where(own, logical.caller, span)
    waited = np.where(spans.duration[span] >= 0, spans.start[span] - spans.start[first], 0)
    return _Outcomes(
        span,
        start=np.where(derived, begins, spans.start[first]),
        duration=np.where(derived, ends - begins, spans.duration[span] + waited),
    )


def _origins(links: Links, logical: LogicalCalls, attempts: SeenAttempts) -> _Origins:
    """What made calls: the nearest attempt's arrival above the caller's span, else where that began."""
    arrived = _attempt_of_arrival(links, attempts)
    above = anchors(links.up, arrived >= 0)
    span = np.where(logical.caller >= 0, above[logical.caller], -1)
    attempt = np.where(span >= 0, arrived[span], -1)
    return _Origins(attempt, np.where(logical.way == ROOT, logical.span, span))


def _attempt_of_arrival(links: Links, attempts: SeenAttempts) -> Array:
    """For each span that is an attempt's arrival the row of the attempt, that of its router span if it has one."""
    attempt_of = np.full(len(links.spans) + 1, -1, dtype=np.int64)
    attempt_of[attempts.span] = np.arange(len(attempts))
    arrived = np.where(links.arrives, attempt_of[:-1], -1)
    routed = np.flatnonzero((links.caller >= 0) & links.routers.outbound[links.caller])
    arrived[routed] = attempt_of[links.caller[routed]]
    return arrived


def _entries(links: Links, origins: _Origins, root: Array, ends: _Ends) -> tuple[Array, pd.DataFrame]:
    """Where calls that no attempt made began (by call), and how many requests began at each such place.

    A trace begins at a server's span that nobody called (``root``), at another span without a parent, or unknown, where
    the parent is missing. Of several calls below one beginning, that is one request; a beginning without any is one.
    """
    spans = links.spans
    operation, operations = spans.coded("operation")
    known, made = origins.span >= 0, origins.attempt >= 0
    service_of = np.where(known, spans.service[origins.span], ends.names.index(""))
    service_of = np.where(root, ends.server, service_of)
    operation_of = np.where(known, operation[origins.span], operations.index(""))

    below = origins.span[known & ~made & ~root]
    begins = marked(below, len(spans))[:-1]
    begins |= (links.up < 0) & ~links.arrives & ~links.routers.outbound
    alone = ~made & (~known | root)
    service = np.concatenate([service_of[alone], spans.service[begins]])
    called = np.concatenate([operation_of[alone], operation[begins]])
    wide = len(operations)
    numbers, requests = np.unique(service * wide + called, return_counts=True)
    entry = np.where(made, -1, np.searchsorted(numbers, service_of * wide + operation_of))
    table = pd.DataFrame(
        {
            "service": _category(numbers // wide, ends.names),
            "operation": _category(numbers % wide, operations),
            "requests": requests.astype(np.int64),
        }
    )
    return entry, table


def _operations(links: Links, logical: LogicalCalls) -> pd.Categorical[Any]:
    """What the server calls it, else what the client does."""
    operation, operations = links.spans.coded("operation")
    asked = np.where(logical.caller >= 0, operation[logical.caller], operations.index(""))
    answer = _first_answers(logical)
    return _category(np.where(answer >= 0, operation[answer], asked), operations)


def _first_answers(logical: LogicalCalls) -> Array:
    """The span of the first arrival of each call, or -1."""
    first = np.full(len(logical), -1, dtype=np.int64)
    answer = logical.evidence.answer
    known = np.flatnonzero(answer >= 0)[::-1]
    first[logical.call[known]] = answer[known]
    return first


def _ends(links: Links, logical: LogicalCalls, counted: Counted | None) -> _Ends:
    """Which service called, and which service it called.

    The server is the service whose span answered. Where none did, it is the one that answers most often where the same
    name is asked for. Where that never happened, the name is read.
    """
    service, names = links.spans.service, list(links.spans.services)
    client = np.where(logical.caller >= 0, service[logical.caller], names.index(""))
    client = np.where(logical.way == BY_ROUTER, service[logical.span], client)
    answer = _first_answers(logical)
    server = np.where(answer >= 0, service[answer], -1)
    if counted is None and (server >= 0).all():
        none = np.zeros(0, dtype=np.int64)
        return _Ends(client, server, names, none, none)
    asking = _asking_spans(links, logical)
    peer, peers = _peers(links, asking, () if counted is None else counted.client["remote"].cat.categories)
    operation, operations = links.spans.coded("operation")
    if counted is not None:
        known = set(operations)
        operations += [str(text) for text in counted.client["operation"].cat.categories if text not in known]
    operation, weight, size = operation[asking], np.ones(len(client), dtype=np.int64), len(client)
    asks = links.routers.outbound[logical.span] | (logical.caller >= 0)
    if counted is not None:
        number = _numbered(names)
        of_client, of_server = (
            _numbers(side["service"], number) for side in (counted.client, counted.server)
        )
        client, asks = np.concatenate([client, of_client]), np.concatenate([asks, of_client != number[""]])
        server = np.concatenate([server, np.where(counted.name == 0, of_server, -1)])
        peer = np.concatenate([peer, _numbers(counted.client["remote"], _numbered(peers))])
        asked = _numbers(counted.client["operation"], _numbered(operations))
        operation, weight = np.concatenate([operation, asked]), np.concatenate([weight, counted.count])
    # Who has no name for the other end may still have one for what it asks.
    unnamed = peer == peers.index("")
    name = distinct(np.where(unnamed, len(peers) + pairs(client, operation), peer))
    server = np.where(server >= 0, server, _most_often(name, np.where(asks, server, -1), weight)[name])
    names, meant = _meant(peers, names)
    server = np.where(server >= 0, server, meant[peer])
    return _Ends(client[:size], server[:size], names, client[size:], server[size:])


def _numbered(texts: Sequence[str]) -> dict[str, int]:
    return {text: index for index, text in enumerate(texts)}


def _numbers(column: pd.Series[Any], number: Mapping[str, int]) -> Array:
    """Numbers for a categorical column of texts that all have one."""
    codes, texts = text_codes(column)
    return np.array([number.get(text, -1) for text in texts], dtype=np.int64)[codes]


def _with_counted(table: CallTable, frame: pd.DataFrame, counted: Counted, ends: _Ends) -> CallTable:
    """Calls with those that the source counted; asks it anew where calls of one edge have several keys.

    Raises ``ValueError`` where there are too many names for that.
    """
    client, server = ends.counted_client, ends.counted_server
    edge = pairs(client, server)
    by_key = pd.DataFrame({"key": counted.key, "edge": edge}).drop_duplicates()
    several = by_key["edge"].duplicated(keep=False)
    if several.any():
        again = np.isin(edge, by_key["edge"][several]) & (counted.name != 0)
        # Names that mean no service that reports spans mean a number of their own.
        number = {place: counted.services.get(text, place + 1) for place, text in enumerate(ends.names)}
        meant = zip(counted.name[again].tolist(), server[again].tolist(), strict=True)
        return calls(frame, counted.meaning({name: number[place] for name, place in meant}))
    tagged = _said_by(counted.client) | _said_by(counted.server)
    orphan = client == list(ends.names).index("")
    failed, attempt_failed = (_failing_rows(side) for side in (counted.client, counted.server))
    answered = counted.name == 0
    rows = pd.DataFrame(
        {
            "client": _category(client, ends.names),
            "server": _category(server, ends.names),
            "count": counted.count,
            "failed": np.where(orphan, attempt_failed, failed),
            "attempt_failed": np.where(answered, attempt_failed, failed),
            "orphan": orphan,
            "method": np.select(
                [tagged, orphan], [0, METHODS.index("server-spans")], METHODS.index("child-of-client")
            ),
        }
    )
    of_key = pd.DataFrame({"key": counted.key, "client": rows["client"], "server": rows["server"]})
    spread = counted.spread.merge(of_key.drop_duplicates("key"), on="key")[list(_SPREAD)]
    orphans = int(counted.count[orphan].sum())
    more = {**counted.totals, "orphans": orphans}
    counts = {name: number + more.get(name, 0) for name, number in table.counts.items()}
    return replace(table, counts=counts, counted=rows, spread=spread)


def _said_by(side: pd.DataFrame) -> Array:
    return np.asarray(side["attempts"].to_numpy() >= 1)


def _failing_rows(side: pd.DataFrame) -> Array:
    return _failing(side["error"].to_numpy(), *text_codes(side["code"]))


def _asking_spans(links: Links, logical: LogicalCalls) -> Array:
    """The span that names the other end: the first router span of the call, else the caller's, else what there is."""
    own = links.routers.outbound[logical.span] | (logical.caller < 0)
    return np.where(own, logical.span, logical.caller)


def _peers(links: Links, asking: Array, others: Iterable[str]) -> tuple[Array, list[str]]:
    """What spans call the other end (Envoy's cluster), as numbers and their texts; ``""`` if they do not say.

    ``others`` are texts that have numbers besides.
    """
    spans = links.spans
    remote, remotes = spans.coded("remote")
    operation, operations = spans.coded("operation")
    clusters = [cluster_of(text) for text in operations]
    peers = sorted({*remotes, *clusters, *map(str, others)})
    number = {text: index for index, text in enumerate(peers)}
    of_remote = np.array([number[text] for text in remotes], dtype=np.int64)
    of_cluster = np.array([number[text] for text in clusters], dtype=np.int64)
    peer = of_remote[remote[asking]]
    silent = links.routers.outbound[asking] & (peer == number[""])
    return np.where(silent, of_cluster[operation[asking]], peer), peers


def _most_often(name: Array, server: Array, weight: Array) -> Array:
    """For each name the server that most often answers under it, the first of equals; -1 for none."""
    most = np.full(int(name.max(initial=-1)) + 1, -1, dtype=np.int64)
    known = server >= 0
    name, server, weight = name[known], server[known], weight[known]
    if len(name):
        wide = int(server.max()) + 1
        answered, place = np.unique(name * wide + server, return_inverse=True)
        count = np.bincount(place, weight)
        order = np.lexsort((-answered, count))
        most[answered[order] // wide] = answered[order] % wide
    return most


def _meant(peers: Sequence[str], services: Sequence[str]) -> tuple[list[str], Array]:
    """The services, more of them where clients' names for the other end mean others; and which each name means."""
    number = {text: index for index, text in enumerate(services)}
    read = [_read(text, number) for text in peers]
    for text in read:
        number.setdefault(text, len(number))
    return list(number), np.array([number[text] for text in read], dtype=np.int64)


def _read(peer: str, services: Mapping[str, int]) -> str:
    """``outbound|8080||cart.shop.svc.cluster.local`` is ``cart.shop``, or ``cart`` if the mesh has such a service."""
    parts = peer.split("|")
    labels = parts[-1].split(".")
    if len(parts) != 4 and labels[2:3] != ["svc"]:
        return peer
    if len(labels) >= 3 and labels[2] != "svc":
        return parts[3]
    full = ".".join(labels[:2])
    return labels[0] if full not in services and labels[0] in services else full


def _category(numbers: Array, names: Sequence[str]) -> pd.Categorical[Any]:
    dtype: pd.CategoricalDtype[Any] = pd.CategoricalDtype(list(names))
    return pd.Categorical.from_codes(numbers, dtype=dtype)


def _codes(links: Links, rows: Array) -> pd.Categorical[Any]:
    code, codes = links.spans.coded("code")
    return _category(code[rows], codes)


def _times(nanoseconds: Array) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(nanoseconds.view("datetime64[ns]")).tz_localize("UTC")
