"""The trace source behind ClickHouse: the table that the OpenTelemetry Collector's ClickHouse exporter writes.

Table: https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/exporter/clickhouseexporter, with
attributes as ``Map`` or ``JSON``. Spans come as rows of 56 bytes: ids, times, and a hash of what they say; what each
hash stands for is fetched once. Names and tags are never part of a query's text. ClickHouse says how many spans there
are, and where those are more than are held, gives whole traces by a hash of their ids. This module must not know what
is made of spans.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import ceil
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec
import numpy as np
import pandas as pd

from sloctl.backends.http import decoding
from sloctl.backends.http.answers import Failure, Reply, TooLarge, by_status, say
from sloctl.backends.spans import FEWEST, KINDS, Array, Counted, Spans, empty
from sloctl.backends.traces import clickhouse_calls as calls
from sloctl.backends.traces import columns
from sloctl.backends.traces.judge import judge
from sloctl.backends.traces.reader import SECOND, TraceClient, nanoseconds
from sloctl.backends.traces.sampling import LARGE
from sloctl.errors import (
    BackendError,
    BackendLimit,
    BackendRateLimit,
    BackendRefused,
    BackendTimeout,
    BadAnswer,
    QueryRejected,
)
from sloctl.settings.servers import TRACES

T = TypeVar("T")
TABLE = "otel_traces"
"""What the exporter calls its table unless told otherwise."""
AROUND = 600 * SECOND
"""So long before and after a time spans are looked for that belong to traces of it."""
SAYINGS = 200_000
"""So many different things may be said by spans: services, operations, tags."""
_ROW = np.dtype(
    [(name, "<u8") for name in ("high", "low", "span", "parent")]
    + [("start", "<i8"), ("duration", "<i8"), ("said", "<u8")]
)
_CALLS = np.dtype([(name, "<u8") for name in ("key", "client", "server", "name", "count", "sum", "squares")])
_NOTHING = columns.Said(**dict.fromkeys(columns.Said._fields, None) | {"kind": ""})  # type: ignore[arg-type]
_ANY = (1 << 63) - 1
MEANINGS = 5000
"""So many names may be said to mean a service in one query."""
_KIND_OF = {name: kind for kind in KINDS if kind for name in (kind, f"span_kind_{kind}")}
_ERRORS = ("Error", "STATUS_CODE_ERROR")
_EXCEPTION = re.compile(rb"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)
_TAIL = 1 << 14
_NO_SETTINGS, _NO_TABLE, _NO_COLUMN, _TOO_MANY = (164, 452), (60, 81), (16, 47), (202,)
_TOO_LARGE = (158, 241, 307, 396)
_TIMED_OUT = (159, 160, 209)
_REFUSED = (192, 193, 194, 497, 516)


_MODES = ("timeout", "read", "result", "group_by", "sort", "set", "distinct", "transfer", "join")
_WHOLE = {f"{name}_overflow_mode": "throw" for name in _MODES} | dict.fromkeys(
    ("skip_unavailable_shards", "limit", "offset"), "0"
)
"""Settings with which an answer is whole or an error; a user's profile may have others, which cut it short."""


class _ReadOnly(Exception):
    """The user may not set limits of a query."""


class _Meta(msgspec.Struct):
    name: str
    type: str


class _Table(msgspec.Struct):
    meta: list[_Meta]
    data: list[list[Any]]
    rows: int


_table = msgspec.json.Decoder(_Table)


@dataclass(frozen=True, slots=True)
class _Query:
    """What is asked about: a time in nanoseconds, services, and one of so many traces, up to so many spans each."""

    first: int
    last: int
    services: tuple[str, ...]
    one_in: int = 1
    largest: int = 0

    @property
    def params(self) -> dict[str, str]:
        """As ClickHouse is given them."""
        return {
            "first": str(self.first),
            "last": str(self.last),
            "services": _array(self.services),
            "sample": str((1 << 64) // self.one_in - 1),
            "largest": str(self.largest),
            "around": str(AROUND),
        }

    @property
    def halved(self) -> _Query:
        """Of every other trace."""
        return replace(self, one_in=2 * self.one_in)


@dataclass(frozen=True, slots=True)
class _Totals:
    """How many traces and spans there are; ``large`` traces are too large to be held beside others."""

    spans: int
    large: int
    large_spans: int
    invalid: int


@dataclass(frozen=True, slots=True)
class _Sayings:
    """What spans say by its hash, and services' hashes by name."""

    texts: Mapping[int, columns.Said]
    services: Mapping[str, int]

    @property
    def answering(self) -> frozenset[str]:
        """The services that report servers' spans."""
        every = columns.sayings_of(list(self.texts.values()), np.arange(len(self.texts)))
        servers = every[(every["kind"] == "server") & ~every["router"]]
        return frozenset(str(name) for name in servers["service"].unique())

    @property
    def has_two_names(self) -> bool:
        """Whether a service may be ``cart`` and ``cart.shop``: where ``shop`` may be a namespace, analyses tell."""
        longer = [name for name in self.services if name.rpartition(".")[0] in self.services]
        labels = {
            label
            for said in self.texts.values()
            for text in (said.namespace, said.remote, said.host, said.operation)
            if isinstance(text, str)
            for label in text.split(".")
        }
        return any(name.rpartition(".")[2] in labels for name in longer)

    def sayings(self, hashes: Array) -> pd.DataFrame:
        """What is said, by hash; nothing where that is 0. Raises ``ValueError`` for a hash that is not known."""
        place = {said: number for number, said in enumerate(self.texts)} | {0: len(self.texts)}
        numbers = np.array([place.get(said, -1) for said in hashes.tolist()], np.int64)
        if (numbers < 0).any():
            raise ValueError("spans came meanwhile that say something new")
        return columns.sayings_of([*self.texts.values(), _NOTHING], numbers)

    def frame(self, rows: Array) -> tuple[pd.DataFrame, dict[str, int]]:
        """The frame of spans, and how many say what is not known, by reason."""
        hashes = np.array(list(self.texts), np.uint64)
        order = np.argsort(hashes)
        number, known = np.zeros(len(rows), np.int64), np.zeros(len(rows), bool)
        if len(order):
            place = np.searchsorted(hashes, rows["said"], sorter=order)
            number = order[np.minimum(place, len(order) - 1)]
            known = hashes[number] == rows["said"]
        lost = int((~known).sum())
        rows, number = rows[known], number[known]
        ids = [np.ascontiguousarray(rows[name]) for name in ("high", "low", "span", "parent")]
        times = [np.ascontiguousarray(rows["start"]), np.maximum(rows["duration"], -1)]
        frame = columns.frame_of((*ids, *times, number), list(self.texts.values()))
        return frame, {"its text was gone by the time that it was asked for": lost} if lost else {}


class ClickHouse(TraceClient):
    """One ClickHouse; ``table`` is ``table`` or ``database.table``, ``ui`` where its traces are shown, if anywhere."""

    def __init__(self, *args: Any, table: str = TABLE, **options: Any) -> None:
        super().__init__(*args, **options)
        self._name = table or TABLE
        self._table = ".".join(f"`{part}`" for part in self._name.split("."))
        self._limits = True
        self._tags = columns.Tags(self._attempt_tags, lambda raw: raw.decode(errors="replace"))
        self._tags_sql = ""

    def services(self, start: datetime, end: datetime) -> Sequence[str]:
        """The services that have spans of that time."""
        sql = f"SELECT DISTINCT ServiceName FROM {self._table} WHERE {_WITHIN} AND ServiceName != '' LIMIT {SAYINGS}"  # noqa: S608
        times = {"first": str(nanoseconds(start)), "last": str(nanoseconds(end)), "around": "0"}
        return sorted({str(name) for (name,) in self._rows(sql, times, 1)})

    def link(self, trace_id: str) -> str:
        """The trace in the pages that the SLO file names; ClickHouse has none."""
        return f"{self._ui}/trace/{quote(trace_id, safe='')}" if self._ui else ""

    def spans(self, start: datetime, end: datetime, services: Sequence[str] = ()) -> Spans:
        """All spans of the traces that began in [``start``, ``end``), those within ten minutes around that.

        With ``services``, of the traces that one of them reported a span of. A trace began as
        ``sloctl.backends.traces.gather.Collector`` says.
        """
        first, last = nanoseconds(start), nanoseconds(end)
        if first >= last:
            return Spans(empty())
        query = _Query(first, last, tuple(dict.fromkeys(services)), largest=self._max_spans // LARGE)
        totals = self._totals(query)
        counted: Counted | None = None
        lost: tuple[str, ...] = ()
        if totals.spans > self._max_spans:
            try:
                counted = self._counted(query)
            except (BackendLimit, BackendTimeout, QueryRejected) as error:
                lost = (f"ClickHouse did not count the calls of all traces: {error}",)
            most = self._max_spans - 3 * self._max_spans // 4 if counted else self._max_spans
            while (totals.spans - totals.large_spans) // query.one_in > most and query.one_in < FEWEST:
                query = query.halved
        else:
            query = replace(query, largest=self._max_spans)
        while (found := self._sample(query)) is None:
            query = query.halved
        frame, rejected = found
        lost += self._cut_short()
        if totals.invalid:
            rejected = {**rejected, "ids are not valid": totals.invalid}
        frame, duplicates = columns.deduplicate(frame)
        if query.one_in > 1 and totals.large:
            plural = "" if totals.large == 1 else "s"
            lost += (f"{totals.large:,} trace{plural} of more than {query.largest:,} spans left out",)
        return Spans(frame, rejected, duplicates, lost, query.one_in, counted)

    def _sample(self, query: _Query) -> tuple[pd.DataFrame, dict[str, int]] | None:
        """The spans of a query, and how many could not be read, by reason; None if they are too many."""
        try:
            rows = self._spans(query, self._traces_of(query))
            said = self._sayings(query)
        except BackendError as error:
            if query.one_in < FEWEST and isinstance(error, TooLarge):
                return None
            raise
        if query.one_in < FEWEST and (len(rows) > self._max_spans or len(said.texts) > SAYINGS):
            return None
        return said.frame(rows)

    def counted(self, start: datetime, end: datetime, services: Sequence[str] = ()) -> Counted | None:
        """The calls of plain traces, and the spans of all others; None where that cannot be.

        Traces are those of :meth:`spans`. Too many things that spans say, and services of two names, are for analyses.
        """
        return self._counted(_Query(nanoseconds(start), nanoseconds(end), tuple(dict.fromkeys(services))))

    def _counted(self, query: _Query) -> Counted | None:
        query = replace(query, largest=_ANY)
        while True:
            rows = self._calls(query, {})
            odd = int(rows["sum"][(rows["key"] == 0) & (rows["client"] == calls.ODD)].sum())
            most = 3 * self._max_spans // 4
            if odd <= most:
                break
            while odd > most:
                query, odd = query.halved, odd // 2
        spans = self._spans(query, calls.odd(self._span_rows(), _BEGAN))
        said = self._sayings(query)
        others, lost = said.frame(spans)
        if lost or len(said.texts) > SAYINGS or len(spans) > self._max_spans or said.has_two_names:
            return None
        try:
            return self._as_counted(query, rows, said, columns.deduplicate(others)[0])
        except ValueError:
            return None

    def _as_counted(self, query: _Query, rows: Array, said: _Sayings, others: pd.DataFrame) -> Counted:
        def meaning(names: Mapping[int, int]) -> Counted:
            if len(names) > MEANINGS:
                raise ValueError(f"{len(names):,} names mean services, of at most {MEANINGS:,}")
            try:
                again = self._calls(query, names)
            except BackendError as error:
                raise ValueError(f"calls could not be counted again: {error}") from error
            return self._as_counted(query, again, said, others)

        total = {int(row["client"]): row for row in rows[rows["key"] == 0]}
        none = np.zeros(1, _CALLS)[0]
        plain = total.get(calls.PLAIN, none)
        told = rows[rows["key"] != 0]
        spread = told[(told["client"] == 0) & (told["server"] == 0)]
        told = told[(told["client"] != 0) | (told["server"] != 0)]
        return Counted(
            client=said.sayings(told["client"]),
            server=said.sayings(told["server"]),
            count=told["count"].astype(np.int64),
            key=np.ascontiguousarray(told["key"]),
            name=np.ascontiguousarray(told["name"]),
            spread=pd.DataFrame(
                {
                    "key": spread["key"],
                    "traces": spread["count"].astype(np.int64),
                    "squares": spread["squares"].astype(np.int64),
                }
            ),
            others=others,
            services=said.services,
            answering=said.answering,
            totals={
                "traces": int(plain["count"]),
                "spans": int(plain["sum"]),
                "skewed": int(total.get(calls.SKEWED, none)["sum"]),
                "missing_parents": int(total.get(calls.MISSING, none)["sum"]),
            },
            one_in=query.one_in,
            meaning=meaning,
        )

    def _calls(self, query: _Query, names: Mapping[int, int]) -> Array:
        sql = f"{calls.calls(self._span_rows(), _BEGAN, names)} FORMAT RowBinary"
        return self._ask(sql, query.params, lambda body: np.frombuffer(body, _CALLS))

    def _span_rows(self) -> str:
        tags = self._attributes()
        inner = (
            f"SELECT Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, StatusCode, Duration, "  # noqa: S608
            f"{tags} AS tags FROM {self._table} WHERE {_WITHIN} AND {_VALID} AND {_SAMPLED}"
        )
        said = "sipHash64(ServiceName, SpanName, SpanKind, StatusCode, tags)"
        spans = calls.span_columns(said, lambda key: f"tags[{_text(key)}]", self._attempt_tags, _id)
        return f"SELECT {spans}, {_ROOT} AS root, has({{services:Array(String)}}, ServiceName) AS named FROM ({inner})"  # noqa: S608

    def _totals(self, query: _Query) -> _Totals:
        sql = (
            "SELECT sum(size), countIf(size > {largest:UInt64}), sumIf(size, size > {largest:UInt64}), "  # noqa: S608
            f"(SELECT count() FROM {self._table} WHERE {_WITHIN} AND NOT {_VALID}) "
            f"FROM ({self._traces()})"
        )
        [row] = self._rows(sql, query.params, 4)
        return _Totals(*(_count(value) for value in row))

    def _spans(self, query: _Query, traces: str) -> Array:
        sql = (
            f"SELECT {_id('left(TraceId, 16)')}, {_LOW}, {_id('SpanId')}, {_id('ParentSpanId')}, "
            f"toUnixTimestamp64Nano(Timestamp), toInt64(Duration), {self._said()} {self._of(traces)} "
            f"LIMIT {self._max_spans + 1} FORMAT RowBinary"
        )
        return self._ask(sql, query.params, lambda body: np.frombuffer(body, _ROW))

    def _sayings(self, query: _Query) -> _Sayings:
        """What spans say, by its hash."""
        sql = (
            f"SELECT toString({self._said()}) AS said, toString(any(sipHash64(ServiceName))), any(ServiceName), "
            f"any(SpanName), any(SpanKind), any(StatusCode), any({self._attributes()}) "
            f"{self._of(self._traces_of(query))} GROUP BY said LIMIT {SAYINGS + 1}"
        )
        texts, services = {}, {}
        for said, number, service, name, kind, status, tags in self._rows(sql, query.params, 7):
            services[columns.text(str(service))] = int(number)
            texts[int(said)] = columns.shortened(
                self._tags.said_in(
                    {str(key): columns.text(value) for key, value in tags.items()},
                    service=str(service),
                    operation=str(name),
                    kind=_KIND_OF.get(str(kind).lower(), ""),
                    failed=status in _ERRORS,
                )
            )
        return _Sayings(texts, services)

    def _of(self, traces: str) -> str:
        """The spans of traces by the low halves of their ids."""
        return f"FROM {self._table} WHERE {_WITHIN} AND {_VALID} AND {_SAMPLED} AND {_LOW} IN ({traces})"

    def _traces_of(self, query: _Query) -> str:
        return f"SELECT low FROM ({self._traces()}) WHERE size <= {{largest:UInt64}}"  # noqa: S608

    def _traces(self) -> str:
        """The traces that began in the time of a query, and are of its sample, with their sizes."""
        return (
            f"SELECT low, count() AS size FROM (SELECT {_LOW} AS low, toUnixTimestamp64Nano(Timestamp) AS start, "  # noqa: S608
            f"{_ROOT} AS root, has({{services:Array(String)}}, ServiceName) AS named "
            f"FROM {self._table} WHERE {_WITHIN} AND {_VALID} AND {_SAMPLED}) GROUP BY low HAVING {_BEGAN}"
        )

    def _said(self) -> str:
        return f"sipHash64(ServiceName, SpanName, SpanKind, StatusCode, {self._attributes()})"

    def _attributes(self) -> str:
        """The attributes that are wanted, as a map of texts; the column is a ``Map`` or ``JSON``."""
        if not self._tags_sql:
            sql = f"SELECT Timestamp, TraceId, SpanAttributes FROM {self._table} LIMIT 0 FORMAT JSONCompact"  # noqa: S608
            kind = self._ask(sql, {}, lambda body: decoding.decode(body, _table)).meta[-1].type
            wanted = sorted(self._tags.wanted)
            if kind.startswith("Map("):
                self._tags_sql = (
                    f"mapFilter((k, v) -> k IN ({', '.join(map(_text, wanted))}), SpanAttributes)"
                )
            elif kind.startswith(("JSON", "Object(")):
                pairs = (f"{_text(name)}, toString(SpanAttributes.{_path(name)})" for name in wanted)
                self._tags_sql = f"mapFilter((k, v) -> v != '', map({', '.join(pairs)}))"
            else:
                raise BadAnswer(
                    f"ClickHouse at {self.url}: the table {self._name} has attributes of type {kind}; the collector's "
                    "exporter writes a Map or JSON",
                    backend=TRACES.name,
                    url=self.url,
                    hint="name the exporter's table in sources.traces.table",
                )
        return self._tags_sql

    def _rows(self, sql: str, params: Mapping[str, str], width: int) -> list[list[Any]]:
        return self._ask(f"{sql} FORMAT JSONCompact", params, partial(_rows_of, width=width))

    def _cut_short(self) -> tuple[str, ...]:
        """That answers may lack rows without a word, of a user who may not set that they do not."""
        if self._limits:
            return ()
        sql = "SELECT name, value FROM system.settings WHERE has({names:Array(String)}, name)"
        rows = self._rows(sql, {"names": _array(_WHOLE)}, 2)
        others = sorted(f"{name} = {value}" for name, value in rows if str(value) != _WHOLE.get(str(name)))
        return (f"ClickHouse may leave out rows: the user has {', '.join(others)}",) if others else ()

    def _ask(self, sql: str, params: Mapping[str, str], read: Callable[[bytes], T]) -> T:
        given: dict[str, Any] = {f"param_{name}": text for name, text in params.items()}
        # The answer is held back until it is whole: an error then has a status, and is no end of an answer.
        given |= {"wait_end_of_query": 1}
        while True:
            limits = {"max_execution_time": ceil(self._settings.timeout), **_WHOLE} if self._limits else {}
            ask = partial(self._session.ask, "POST", "/", partial(_judge, read, self._name))
            try:
                return ask(params=given | limits, form=sql.encode())
            except _ReadOnly as error:
                if not self._limits:
                    raise BadAnswer(
                        f"ClickHouse at {self.url}: {error}", backend=TRACES.name, url=self.url
                    ) from None
                self._limits = False


def _judge(read: Callable[[bytes], T], table: str, reply: Reply) -> T:
    """What ``read`` makes of an answer. Raises ``Failure``, or ``_ReadOnly``."""
    code, said = _exception(reply)
    if code:
        raise _failure(code, say(said, reply.secrets), table, reply)
    return judge(read, reply)


def _exception(reply: Reply) -> tuple[int, str]:
    """The number and the text of an exception, which may also stand at the end of an answer that began well."""
    found = _EXCEPTION.search(reply.body[-_TAIL:])
    named = reply.headers.get("X-ClickHouse-Exception-Code", "")
    if reply.fine and not named and (found is None or _is_whole(reply.body)):
        return 0, ""
    code = int(named) if named.isdecimal() else int(found[1]) if found else 0
    text = found[2] if found else reply.body[-_TAIL:]
    return code, text.decode("utf-8", "replace")


def _is_whole(body: bytes) -> bool:
    """Whether it is JSON: what looks like an exception there is a name."""
    return body[:1] == b"{" and not decoding.fault(body)


def _failure(code: int, said: str, table: str, reply: Reply) -> Exception:
    if code in _NO_SETTINGS:
        return _ReadOnly(said)
    if code in _REFUSED:
        return Failure(BackendRefused, f"access denied ({code}): {said}", TRACES.login_hint)
    if code in _TOO_LARGE:
        return Failure(TooLarge, f"too much at once ({code}): {said}", TRACES.smaller)
    if code in _TIMED_OUT:
        hint = f"raise the time-out ({TRACES.prefix}TIMEOUT), or ask for a shorter time"
        return Failure(BackendTimeout, f"not finished in time ({code}): {said}", hint)
    if code in _TOO_MANY:
        return Failure(BackendRateLimit, f"too many queries ({code}): {said}", TRACES.calmer, again="yes")
    if code in _NO_TABLE:
        hint = "name the exporter's table in sources.traces.table, as database.table"
        return Failure(BadAnswer, f"there is no table {table} ({code}): {said}", hint)
    if code in _NO_COLUMN:
        hint = "name the table of the collector's exporter in sources.traces.table"
        return Failure(BadAnswer, f"the table {table} is not one of spans ({code}): {said}", hint)
    if reply.status >= 500 and reply.status != 500:
        return by_status(reply, TRACES, said)
    return Failure(QueryRejected, f"the query is rejected ({code}): {said}")


def _rows_of(body: bytes, width: int) -> list[list[Any]]:
    answer = decoding.decode(body, _table)
    if answer.rows != len(answer.data) or any(len(row) != width for row in answer.data):
        raise ValueError("rows are missing")
    return answer.data


def _count(value: Any) -> int:
    """A number, which may be quoted, as ClickHouse does with those of 64 bits."""
    number = int(value)
    if number < 0:
        raise ValueError("no count")
    return number


def _id(text: str) -> str:
    """Hexadecimal digits as a number; "" is 0."""
    return f"reinterpretAsUInt64(reverse(unhex({text})))"


_BEGAN = (
    "(empty({services:Array(String)}) OR max(named)) "
    "AND if(max(root), minIf(start, root), min(start)) >= {first:Int64} "
    "AND if(max(root), minIf(start, root), min(start)) < {last:Int64}"
)
_LOW = _id("right(TraceId, 16)")
_ROOT = "ParentSpanId IN ('', '0000000000000000')"
_WITHIN = (
    "Timestamp >= fromUnixTimestamp64Nano({first:Int64} - {around:Int64}) "
    "AND Timestamp < fromUnixTimestamp64Nano({last:Int64} + {around:Int64})"
)
_VALID = (
    "(length(TraceId) = 32 AND length(SpanId) = 16 AND length(ParentSpanId) IN (0, 16) "
    "AND SpanId != '0000000000000000')"
)


def _hash(low: str) -> str:
    """The hash of ``sloctl.backends.spans.mixed`` in SQL, where whole numbers of 64 bits wrap around."""
    mixed = f"({low} + 0x9E3779B97F4A7C15)"
    for shift, factor in ((30, "0xBF58476D1CE4E5B9"), (27, "0x94D049BB133111EB")):
        mixed = f"(bitXor({mixed}, bitShiftRight({mixed}, {shift})) * {factor})"
    return f"bitXor({mixed}, bitShiftRight({mixed}, 31))"


_SAMPLED = f"{_hash(_LOW)} <= {{sample:UInt64}}"


def _text(text: str) -> str:
    """A text in SQL: of tags' names only, which come from here or from the SLO file."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _path(name: str) -> str:
    parts = (part.replace("\\", "\\\\").replace("`", "\\`") for part in name.split("."))
    return ".".join(f"`{part}`" for part in parts)


def _array(texts: Iterable[str]) -> str:
    return "[" + ", ".join(map(_text, texts)) + "]"
