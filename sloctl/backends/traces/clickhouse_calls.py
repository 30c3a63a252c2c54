"""SQL that counts the calls of plain traces, and finds those that are not plain.

A trace is plain if nothing in it is a matter of judgement: each span has an id of its own, is a client's, a server's or
inside a service, and says nothing of retries, messages, overflow or Envoy's routers; each client's span has one
server's span below it or none, or those of a proxy that it went through; each server's span is below a client's, inside
another one of its service, without a parent, or the only one below a parent that is missing. Then a client's span is a
request with one attempt, whatever the clocks say. All else is for ``sloctl.retries`` to decide, from the spans.

The spans of a trace are put in order so that each stands before those below it: nothing is joined, and what a trace
needs grows with its spans. This module must not know which table is read, nor over which connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sloctl.backends.traces.columns import DETAILS, FLAGS, HOSTS, MESSAGING, PEERS, RETRIES

MOST = 5000
"""A trace of more spans is not counted in SQL."""
PLAIN, ODD, SKEWED, MISSING = 1, 2, 3, 4
"""Rows of totals: traces that are plain, those that are not, spans before their parents, parents that are missing."""

_SERVER, _CLIENT, _NONE = 1, 2, 4
_ANSWERED, _UNANSWERED, _ORPHAN, _BAD = 1, 2, 3, 9


def calls(spans: str, having: str, resolved: Mapping[int, int]) -> str:
    """Counts by key, client's saying, server's saying and name of who did not answer; all are hashes, 0 for none.

    Columns: these four, then the count, the sum and the sum of squares. Rows without sayings have the count of traces
    with calls of that key, and the squares of how many; rows of key 0 are totals, see above. ``spans`` is what
    :func:`spans` gives, ``having`` chooses traces; ``resolved`` says which service (by its hash) is meant by names.
    """
    names, services = list(resolved), list(resolved.values())
    meant = (
        f"transform(t.6, {_numbers(names)}, {_numbers(services)}, toUInt64(0))" if names else "toUInt64(0)"
    )
    server = f"if(t.1 = {_UNANSWERED}, {meant}, t.3)"
    key = f"sipHash64(t.2, {server}, if({server} = 0, t.6, 0))"
    zero = "toUInt64(0)"
    name = f"if(t.1 = {_UNANSWERED}, t.6, {zero})"
    totals = ", ".join(
        f"({zero}, toUInt64({kind}), {zero}, {zero}, toUInt64({value}))"
        for kind, value in ((f"if(bad, {ODD}, {PLAIN})", "size"), (SKEWED, "skewed"), (MISSING, "missing"))
    )
    judged = (
        "SELECT size, bad, if(bad, 0, skewed) AS skewed, if(bad, 0, missing) AS missing, "  # noqa: S608
        f"arrayMap(t -> ({key}, t.4, t.5, {name}, {zero}), "
        f"if(bad, [], arrayFilter(t -> t.1 IN ({_ANSWERED}, {_UNANSWERED}, {_ORPHAN}), c))) AS told "
        f"FROM ({traces(spans, having)})"
    )
    keys = f"SELECT *, arraySort(arrayMap(t -> t.1, told)) AS ks FROM ({judged})"  # noqa: S608
    first = (
        f"SELECT *, arrayFilter((i, k, p) -> k != p, arrayEnumerate(ks), ks, arrayResize(arrayPushFront(ks, {zero}), "  # noqa: S608
        f"length(ks))) AS first FROM ({keys})"
    )
    runs = (
        f"SELECT told, [{totals}] AS totals, arrayMap((i, j) -> (ks[i], {zero}, {zero}, {zero}, toUInt64(j - i)), "  # noqa: S608
        "first, arrayResize(arrayPushBack(arrayPopFront(first), length(ks) + 1), length(first))) AS runs "
        f"FROM ({first})"
    )
    return (
        f"SELECT e.1, e.2, e.3, e.4, count(), sum(e.5), sum(e.5 * e.5) FROM ({runs}) "  # noqa: S608
        "ARRAY JOIN arrayConcat(told, runs, totals) AS e GROUP BY e.1, e.2, e.3, e.4"
    )


def odd(spans: str, having: str) -> str:
    """The low halves of the ids of traces that are not plain."""
    return f"SELECT low FROM ({traces(spans, having)}) WHERE bad"  # noqa: S608


def traces(spans: str, having: str) -> str:
    """Traces: ``low``, ``size``, ``bad`` unless they are plain, ``skewed``, ``missing``, and ``c``, what spans show.

    ``c`` has by span: in which way it shows a call, the services of client and server, their sayings, and the name.
    """
    span = "kind, service, start, length, said, name"
    grouped = (
        f"SELECT low, count() AS size, max(odd) OR min(high) != max(high) OR count() > {MOST} AS strange, "  # noqa: S608
        f"groupArray((id, toUInt8(0), {span})) AS own, groupArrayIf((up, toUInt8(1), {span}), up != 0) AS below "
        f"FROM ({spans}) GROUP BY low HAVING {having}"
    )
    rows = (
        "SELECT low, size, strange, "  # noqa: S608
        "arraySort(x -> (x.1, x.2, x.3), if(strange, [], arrayConcat(own, below))) AS r "
        f"FROM ({grouped})"
    )
    beside = (
        "SELECT low, size, strange, r, arrayFill(x -> x.2 = 0, r) AS f, arrayResize(arrayPopFront(r), length(r)) AS n, "  # noqa: S608
        f"arrayResize(arrayPopFront(arrayPopFront(r)), length(r)) AS m FROM ({rows})"
    )
    zero = "toUInt64(0)"
    ends = (
        f"multiIf(x.2 = 1, {zero}, x.4), multiIf(x.2 = 1, x.4, n.1 = x.1 AND n.3 = {_SERVER}, n.4, {zero}), "
        f"multiIf(x.2 = 1, {zero}, x.7), multiIf(x.2 = 1, x.7, n.1 = x.1 AND n.3 = {_SERVER}, n.7, {zero}), x.8"
    )
    return (
        f"SELECT low, size, arrayMap((x, s, n, m) -> ({_way()}, {ends}), r, f, n, m) AS c, "  # noqa: S608
        f"strange OR arrayExists(e -> e.1 = {_BAD}, c) AS bad, "
        "arrayCount((x, s) -> x.2 = 1 AND s.1 = x.1 AND s.2 = 0 AND x.5 < s.5, r, f) AS skewed, "
        "arrayCount((x, s) -> x.2 = 1 AND (s.1 != x.1 OR s.2 != 0), r, f) AS missing "
        f"FROM ({beside})"
    )


def _way() -> str:
    """How a row shows a call: ``x`` is the row, ``s`` its parent or what is in its place, ``n`` and ``m`` come next."""
    below = f"n.1 = x.1 AND n.3 <= {_CLIENT}"
    more = f"m.1 = x.1 AND m.3 <= {_CLIENT}"
    apart = "x.6 >= 0 AND s.6 >= 0 AND ((x.5 >= s.5 + s.6 AND x.5 > s.5) OR (x.5 + x.6 <= s.5 AND x.5 < s.5))"
    return (
        "toUInt8(multiIf("
        f"x.2 = 0 AND n.1 = x.1 AND n.2 = 0, {_BAD}, "  # an id twice
        f"x.2 = 0 AND x.3 != {_CLIENT}, 0, "
        f"x.2 = 0 AND NOT ({below}), {_UNANSWERED}, "
        f"x.2 = 0 AND {more} AND NOT (n.3 = {_CLIENT} AND m.3 = {_CLIENT}), {_BAD}, "
        f"x.2 = 0, if(n.3 = {_SERVER}, {_ANSWERED}, 0), "
        # From here on rows are below others, first those whose parent is missing.
        f"(s.1 != x.1 OR s.2 != 0) AND x.3 != {_SERVER}, 0, "
        f"(s.1 != x.1 OR s.2 != 0), if(n.1 = x.1 AND n.3 = {_SERVER}, {_BAD}, {_ORPHAN}), "
        f"x.3 = {_SERVER}, multiIf(s.3 = {_CLIENT}, 0, s.3 = {_SERVER} AND s.4 = x.4 AND NOT ({apart}), 0, {_BAD}), "
        f"x.3 = {_CLIENT}, if(s.3 = {_CLIENT} AND s.4 != x.4, {_BAD}, 0), "
        f"x.3 = {_NONE} AND s.4 != x.4, {_BAD}, 0))"
    )


def span_columns(
    said: str, tag: Callable[[str], str], attempt_tags: Sequence[str], number: Callable[[str], str]
) -> str:
    """The columns of a span; ``said`` is the hash of what it says, ``tag`` a tag's value in SQL, ``number`` an id's."""
    peer = ", ".join(f"nullIf({tag(name)}, '')" for name in PEERS)
    host = ", ".join(f"nullIf({tag(name)}, '')" for name in HOSTS)
    kind = "replaceOne(lower(SpanKind), 'span_kind_', '')"
    client = f"{kind} = 'client'"
    name = f"coalesce({peer}, if({client}, coalesce({host}), NULL))"
    known = "'server', 'client', 'internal', 'unspecified', ''"
    strange = [
        f"{kind} NOT IN ({known})",
        "match(lower(SpanName), '^(router |attempt\\\\.|recv\\\\.|sent\\\\.)')",
    ]
    strange += [f"{tag(key)} != ''" for key in (MESSAGING, *RETRIES)]
    strange += [f"{tag(key)} NOT IN ('', '1', '[\"1\"]')" for key in attempt_tags]
    strange += [
        f"{tag(FLAGS)} NOT IN ('', '-')",
        f"position({tag(DETAILS)}, 'overflow') > 0",
        "SpanId = ParentSpanId",
    ]
    kinds = f"{kind} = 'server', {_SERVER}, {client}, {_CLIENT}, {kind} = 'internal', 3, {_NONE}"
    return (
        f"{number('right(TraceId, 16)')} AS low, {number('left(TraceId, 16)')} AS high, "
        f"{number('SpanId')} AS id, {number('ParentSpanId')} AS up, toUInt8(multiIf({kinds})) AS kind, "
        "sipHash64(ServiceName) AS service, toUnixTimestamp64Nano(Timestamp) AS start, toInt64(Duration) AS length, "
        f"{said} AS said, if({name} IS NULL, sipHash64('o', ServiceName, SpanName), "
        f"sipHash64('p', assumeNotNull({name}))) AS name, ({' OR '.join(strange)}) AS odd"
    )


def _numbers(values: Sequence[int]) -> str:
    return "[" + ", ".join(f"toUInt64({value})" for value in values) + "]"
