"""Collects spans as decoders read them and makes the frame: the one place where fields become columns.

What becomes of which field:

| column | Zipkin | Jaeger | OTLP |
|---|---|---|---|
| trace_high, trace_low | traceId | traceID | traceId |
| span | id | spanID | spanId |
| parent | parentId | first CHILD_OF, else FOLLOWS_FROM, of the same trace; else parentSpanID | parentSpanId |
| kind | kind | span.kind | kind, by name or number |
| service | localEndpoint.serviceName | process.serviceName | service.name of the resource |
| operation | name | operationName | name |
| remote, the first there is | remoteEndpoint.serviceName, P, of clients H | P, of clients H | P, of clients H |
| namespace | istio.namespace | the same | the same |
| proxy | component is "proxy" | the same | the same |
| messaging | messaging.system | the same | the same |
| code | C | C | C |
| flags | response_flags, "-" as "" | the same | the same |
| error | a tag error but "false", or otel.status_code ERROR, or S | the same | the same, or status.code 2 |
| overflow | response_code_details with "overflow" | the same | the same |
| shared | shared | never | never |
| router | client and the operation starts with "router ", or R and it starts with "Attempt." | the same | the same |
| retry, the first there is | R | R | R |
| attempts | the first there is of the tags that are asked for | the same | the same |
| start | timestamp, µs | startTime, µs | startTimeUnixNano |
| duration | duration, µs | duration, µs | endTimeUnixNano less the start |

P is peer.service, upstream_cluster.name, upstream_cluster; H is server.address, net.peer.name, db.system.name,
db.system. C is http.status_code or http.response.status_code, in digits; where these say 200 or nothing, what
grpc.status_code, rpc.grpc.status_code or rpc.response.status_code say besides, by name: HTTP's 0 is no response, gRPC's
is OK. R is retry.count, http.request.resend_count, http.resend_count, previous-rpc-attempts. gRPC's "Attempt." is a
client's span, and its "Recv." a server's, whatever their kinds. S is a code from 500 to 599, or that of a gRPC server's
own error, on a client or server span. Jaeger has no flag for shared: a client's and a server's half
have the same id, and neither is ``shared``.
A number that a tag cannot hold (retry, attempts) is -1. A span whose end lies before its start (the clock was set back)
is kept with a duration of -1, for it happened. A span without a start, or with ids or times that cannot be, is
rejected. This module must not know how formats are written.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from sloctl.backends.spans import COLUMNS, KINDS, Spans, empty
from sloctl.backends.traces import documents
from sloctl.backends.traces.sampling import Sample
from sloctl.promql.presets import GRPC_CODES as GRPC_NUMBERS
from sloctl.promql.presets import GRPC_SERVER_ERRORS

Value: TypeAlias = str | int | float | bool | None


class Said(NamedTuple):
    """What a span says besides its ids and times: few different ones among many spans, so each is looked at once."""

    kind: str
    service: Value
    operation: Value
    remote: Value
    host: Value
    namespace: Value
    component: Value
    messaging: Value
    code: Value
    flags: Value
    error: Value
    details: Value
    shared: bool | None
    retry: Value
    attempts: Value


_LAST = np.iinfo(np.int64).max
BATCH = 8192
"""So many rows are turned into columns at once."""
REMEMBERED = 100_000
"""How many numbers are kept by what decoders know them by."""
MAX_SPANS = 1_000_000
"""So many spans are held at most: some 0.7 GB when they are analysed. If there are more, whole traces are left out."""
_SPAN = 100
"""Bytes of a span in columns; texts are weighed in spans, too."""
_TEXT, _FEW = 60, 4096
"""Bytes of a text in memory, beside its characters; and of those that every frame has."""
LONGEST = 1024
"""Characters of a text that are kept."""


class Columns:
    """Rows of spans as decoders find them, turned into columns every :data:`BATCH` rows.

    ``unit`` is the nanoseconds in a unit of the rows' times; ``ends`` says that rows have an end, not a duration.
    Decoders extend the lists, all by the same length: ids as text, the numbers of what spans say (:meth:`number`), and
    times. (Lists of texts and numbers cost Python's garbage collector nothing; a tuple for each row would.) They
    look into ``known`` before they work out what a span says, and :meth:`remember` it. Spans of traces that are not of
    the ``sample`` are left out, those that came before it was halved by :meth:`thin`.
    """

    def __init__(self, *, unit: int, ends: bool = False, sample: Sample | None = None) -> None:
        self._clear()
        self._sample = sample or Sample()
        self.rejected: dict[str, int] = {}
        self._unit = unit
        self._ends = ends
        self._said: dict[Said, int] = {}
        self._rows = self._text = 0
        self.known: dict[object, int] = {}
        self._parts: list[tuple[Array, ...]] = []

    def reject(self, reason: str, count: int = 1) -> None:
        """Count spans that cannot be used."""
        if count:
            self.rejected[reason] = self.rejected.get(reason, 0) + count

    def number(self, said: Said) -> int:
        """The number by which rows refer to what spans say."""
        before = len(self._said)
        found = self._said.setdefault(said, before)
        if found == before:
            self._text += sum(_TEXT + len(one) for one in said if isinstance(one, str)) + _SPAN
        return found

    def remember(self, key: object, said: Said) -> int:
        """The number of what spans say; ``known`` has it by ``key`` until there are too many."""
        if len(self.known) >= REMEMBERED:
            self.known.clear()
        if (short := shortened(said)) is not said:
            return self.number(short)
        number = self.known[key] = self.number(said)
        return number

    @property
    def weight(self) -> int:
        """How much is held, in spans: rows, or the texts of what they say if those are more."""
        return max(self._rows, (self._text - _FEW) // _SPAN)

    def thin(self, most: int | None = None) -> None:
        """Hold no more than spans of the sample's traces, and what they say; those of over ``most`` spans leave it."""
        arrays = self._joined()
        if most is not None:
            self._sample.leave_out(arrays[1], most)
        *others, said = self._of_sample(arrays)
        used = np.zeros(len(self._said), bool)
        used[said] = True
        self._parts = [(*others, (np.cumsum(used, dtype=np.int32) - 1)[said])]
        self._rows = len(said)
        kept = [one for one, is_used in zip(self._said, used.tolist(), strict=True) if is_used]
        self._said, self._text = {}, 0
        self.known.clear()
        for one in kept:
            self.number(one)

    def _joined(self) -> tuple[Array, ...]:
        self.flush()
        if not self._parts:
            return tuple(np.zeros(0, dtype) for dtype in (np.uint64,) * 4 + (np.int64, np.int64, np.int32))
        if len(self._parts) > 1:
            self._parts = [tuple(np.concatenate(parts) for parts in zip(*self._parts, strict=True))]
        return self._parts[0]

    def _of_sample(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        keep = self._sample.keeps(arrays[1])
        return arrays if keep.all() else tuple(array[keep] for array in arrays)

    def added(self) -> None:
        """To be called after rows were added: turns them into columns when there are enough."""
        if len(self.said) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Turn the rows that have been added into columns; rows that cannot be used are counted."""
        if not self.said:
            return
        trace, bad_trace = numbers(self.trace, 16)
        span, bad_span = numbers(self.span, 8)
        parent, bad_parent = numbers(self.parent, 8)
        start, bad_start = _times(self.start, self._unit)
        length, bad_length = _times(self.length, self._unit)
        said = np.array(self.said, np.int32)
        self._clear()
        if self._ends:
            length = np.where((length > 0) & (length >= start), length - start, -1)
        keep = np.ones(len(start), bool)
        for reason, bad in (
            ("trace id is not valid", bad_trace),
            ("no trace id", ~trace.any(axis=1)),
            ("span id is not valid", bad_span),
            ("no span id", span[:, 0] == 0),
            ("parent id is not valid", bad_parent),
            ("no start time", (start <= 0) & ~bad_start & (start > -2)),
            ("time out of range", bad_start | (start <= 0)),
            ("duration out of range", bad_length | (length > _LAST - np.maximum(start, 0))),
        ):
            self.reject(reason, int((bad & keep).sum()))
            keep &= ~bad
        arrays: tuple[Array, ...]
        arrays = (trace[:, 0], trace[:, 1], span[:, 0], parent[:, 0], start, np.maximum(length, -1), said)
        arrays = self._of_sample(arrays if keep.all() else tuple(array[keep] for array in arrays))
        self._rows += len(arrays[0])
        self._parts.append(arrays)

    def _clear(self) -> None:
        self.trace: list[str | None] = []
        self.span: list[str | None] = []
        self.parent: list[str | None] = []
        self.said: list[int] = []
        self.start: list[Value] = []
        self.length: list[Value] = []

    def spans(self) -> Spans:
        """All rows that can be used, and the count of those that cannot."""
        frame = frame_of(self._joined(), list(self._said))
        return Spans(frame, dict(self.rejected), one_in=self._sample.one_in)


def frame_of(columns: Sequence[Array], said: Sequence[Said]) -> pd.DataFrame:
    """A frame of spans of its columns: both halves of a trace's id, span, parent, start and duration in nanoseconds.

    The last column says by row which of ``said`` it says.
    """
    high, low, span, parent, start, duration, number = columns
    data: dict[str, Any] = {
        "trace_high": high.astype(np.uint64),
        "trace_low": low.astype(np.uint64),
        "span": span.astype(np.uint64),
        "parent": parent.astype(np.uint64),
        "start": pd.DatetimeIndex(start.view("datetime64[ns]")).tz_localize("UTC"),
        "duration": duration.astype(np.int64),
        **_expanded([_meant(one) for one in said], number),
    }
    return pd.DataFrame({name: data[name] for name in COLUMNS})


def shortened(said: Said) -> Said:
    """What a span says, no text longer than :data:`LONGEST`."""
    if not any(isinstance(one, str) and len(one) > LONGEST for one in said):
        return said
    return Said(*(_cut(one) if isinstance(one, str) else one for one in said))  # type: ignore[arg-type]


def sayings_of(said: Sequence[Said], number: Array) -> pd.DataFrame:
    """The columns of what spans say, a row for each of ``number`` into ``said``."""
    return pd.DataFrame(_expanded([_meant(one) for one in said], number))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def weight(frame: pd.DataFrame) -> int:
    """How much a frame takes, in spans: its rows, or the texts of its categories if those are more."""
    categories = (frame[name].cat.categories for name, dtype in COLUMNS.items() if dtype == "category")
    texts = sum(_TEXT + len(text) for names in categories for text in names)
    return max(len(frame), (texts - _FEW) // _SPAN)


def text(value: Value) -> str:
    """A tag's value as text: whole numbers without a fraction, truth as JSON writes it, no NUL."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if float(value).is_integer() else str(value)


_GRPC_NAMES = {number: name for name, number in GRPC_NUMBERS.items()}
_GRPC_FAILED = frozenset(_GRPC_NAMES[number] for number in GRPC_SERVER_ERRORS)


def code_of(http: Value, grpc: Value) -> Value:
    """HTTP's status, or gRPC's by name if that is all, or says more: a gRPC failure travels in HTTP's 200."""
    said = text(grpc)
    if not said:
        return http
    name = _GRPC_NAMES.get(said, said.upper() if said.upper() in GRPC_NUMBERS else said)
    status = text(http)
    return http if status not in ("", "200") or (status == "200" and name == "OK") else name


def small(value: str) -> int:
    """A count that fits into the columns ``retry`` and ``attempts``, or -1; a header is a list of one."""
    value = value.strip('[]" ')
    return (
        int(value) if value.isascii() and value.isdigit() and len(value) <= 5 and int(value) < 32768 else -1
    )


_MEANT = (
    "kind", "service", "operation", "remote", "namespace", "proxy", "messaging", "code", "flags",
    "error", "overflow", "shared", "router", "retry", "attempts",
)  # fmt: skip


def _meant(said: Said) -> tuple[str | bool | int, ...]:
    """What a span says, as the columns of :data:`_MEANT` have it."""
    kind = said.kind if said.kind in KINDS else ""
    operation, code, flags, error = map(text, (said.operation, said.code, said.flags, said.error))
    retry, name = small(text(said.retry)), operation.lower()
    attempt = retry >= 0 and name.startswith("attempt.")
    if attempt:
        kind = "client"
    elif kind in ("", "internal") and name.startswith("recv."):
        kind = "server"
    failed = (len(code) == 3 and code.isdecimal() and code[0] == "5") or code in _GRPC_FAILED
    return (
        kind,
        text(said.service),
        operation,
        text(said.remote) or (text(said.host) if kind == "client" else ""),
        text(said.namespace),
        text(said.component) == "proxy",
        bool(text(said.messaging)),
        code,
        "" if flags == "-" else flags,
        error not in ("", "false") or (failed and kind in ("client", "server")),
        "overflow" in text(said.details),
        bool(said.shared),
        attempt or (kind == "client" and operation.startswith("router ")),
        retry,
        small(text(said.attempts)),
    )


def _expanded(meant: Sequence[tuple[Any, ...]], said: Array) -> dict[str, Any]:
    """The columns of :data:`_MEANT`, a row for each number in ``said``."""
    columns = zip(*meant, strict=True) if meant else [()] * len(_MEANT)
    found: dict[str, Any] = {}
    for name, values in zip(_MEANT, columns, strict=True):
        if COLUMNS[name] == "category":
            names = {kind: number for number, kind in enumerate(KINDS)} if name == "kind" else {}
            table = np.array([names.setdefault(value, len(names)) for value in values], np.int32)
            found[name] = categorical(table[said], names)
        else:
            found[name] = np.array(values, COLUMNS[name])[said]
    return found


def _times(values: Sequence[Value], unit: int) -> tuple[Array, Array]:
    """Nanoseconds, -1 where there is none; and which of the values are no times, or beyond the year 2262."""
    try:
        found = np.array([-1 if value is None else int(value) for value in values], np.int64)
        bad = (found > _LAST // unit) | (found < -_LAST // unit)
    except (TypeError, ValueError, OverflowError):
        parsed = [_time(value, unit) for value in values]
        bad = np.array([one is None for one in parsed])
        found = np.array([one if one is not None else 0 for one in parsed], np.int64)
    found = np.where(bad, 0, found)
    return np.where(found > 0, found * unit, np.maximum(found, -2)), bad


def _time(value: Value, unit: int) -> int | None:
    try:
        if isinstance(value, str) and not value.isascii():
            return None
        if value is None or value == "":
            return -1
        whole = value if isinstance(value, int) else int(value) if str(value).isdigit() else int(float(value))
    except (ValueError, OverflowError):
        return None
    return whole if abs(whole) <= _LAST // unit else None


_HEX = re.compile(r"[0-9a-fA-F]+")
_NO_PARENT = {12: "AAAAAAAAAAA=", 24: "A" * 22 + "=="}


def numbers(texts: Sequence[str | None], size: int) -> tuple[Array, Array]:
    """Ids of ``size`` bytes (8 or 16) as unsigned integers, and which of them are no ids.

    The first array is of shape (ids, size / 8), ``uint64``, the high half first; ``None`` and ``""`` become 0, which is
    an id for none. The second is of shape (ids), ``bool``. Whatever the texts are, nothing is raised.
    """
    count, words = len(texts), size // 8
    filler = _NO_PARENT.get(len(next(filter(None, texts), "")), "0")
    given = [text or filler for text in texts]
    raw = _base64(given, size) if filler in _NO_PARENT.values() else _hexadecimal(given, size)
    if raw is not None:
        return np.frombuffer(raw, dtype=">u8").astype(np.uint64).reshape(count, words), np.zeros(count, bool)
    values = np.zeros((count, words), np.uint64)
    bad = np.zeros(count, bool)
    for row, text in enumerate(texts):
        value = number(text, size) if text else 0
        if value is None:
            bad[row] = True
        else:
            values[row] = [(value >> 64 * word) & 0xFFFF_FFFF_FFFF_FFFF for word in reversed(range(words))]
    return values, bad


def number(text: str, size: int) -> int | None:
    """One id of at most ``size`` bytes as a number, or None if the text is no such id."""
    if _HEX.fullmatch(text):
        return int(text, 16) if len(text) <= 2 * size else None
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    if len(bare) not in (11, 22) or not bare.isascii():
        return None
    try:
        raw = binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error:
        return None
    return int.from_bytes(raw, "big") if len(raw) <= size else None


def _hexadecimal(texts: list[str], size: int) -> bytes | None:
    digits = 2 * size
    lengths = set(map(len, texts))
    if lengths and max(lengths) > digits:
        return None
    if lengths != {digits}:
        texts = [text.rjust(digits, "0") for text in texts]
    try:
        raw = bytes.fromhex("".join(texts))
    except ValueError:
        return None
    # fromhex skips white space: then bytes are missing.
    return raw if len(raw) == size * len(texts) else None


def _base64(texts: list[str], size: int) -> bytes | None:
    length, padding = (12, 1) if size == 8 else (24, 2)
    joined = "".join(texts)
    if set(map(len, texts)) != {length} or not joined.isascii():
        return None
    letters = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(-1, length) == ord("=")
    if letters[:, :-padding].any() or not letters[:, -padding:].all():
        return None
    try:
        raw = binascii.a2b_base64(joined.replace("=", "A"), strict_mode=True)
    except binascii.Error:
        return None
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, size + padding)[:, :size].tobytes()


CODES = ("http.status_code", "http.response.status_code")
GRPC_CODES = ("grpc.status_code", "rpc.grpc.status_code", "rpc.response.status_code")
HOSTS = ("server.address", "net.peer.name", "db.system.name", "db.system")
NAMESPACE = "istio.namespace"
COMPONENT = "component"
MESSAGING = "messaging.system"
PEERS = ("peer.service", "upstream_cluster.name", "upstream_cluster")
STATUS = "otel.status_code"
FLAGS = "response_flags"
DETAILS = "response_code_details"
RETRIES = ("retry.count", "http.request.resend_count", "http.resend_count", "previous-rpc-attempts")
KIND = "span.kind"

RawTags: TypeAlias = tuple[tuple[str, bytes], ...]
"""Tags of a span that are wanted: keys, and values as they were written."""


class Tags:
    """Reads tags; ``wanted`` are the keys to collect, ``value`` turns the JSON of a value into the value.

    ``value`` may raise what is in ``documents.FAILURES``: such a value counts as none.
    """

    def __init__(self, attempt_tags: Sequence[str], value: Callable[[bytes], Value]) -> None:
        self._attempt_tags = tuple(attempt_tags)
        self.wanted = frozenset(
            (
                *(*CODES, *GRPC_CODES, *PEERS, *HOSTS, *RETRIES, *attempt_tags),
                *(STATUS, FLAGS, DETAILS, KIND, NAMESPACE, COMPONENT, MESSAGING, "error"),
            )
        )
        self._value = value

    def said(
        self, found: RawTags, *, service: str | None, operation: str | None, kind: str | None, failed: bool
    ) -> Said:
        """What a span says by its tags and by the fields that are given; ``kind`` None means the tag of that name."""
        texts = {key: self.text(raw) for key, raw in reversed(found)}
        return self.said_in(texts, service=service, operation=operation, kind=kind, failed=failed)

    def said_in(
        self,
        texts: Mapping[str, str],
        *,
        service: str | None,
        operation: str | None,
        kind: str | None,
        failed: bool,
    ) -> Said:
        """As :meth:`said`, of tags whose values are texts."""
        get = texts.get
        error = "true" if failed or get(STATUS) == "ERROR" else None
        if "error" in texts:
            error = error or texts["error"] or "true"
        return Said(
            kind=get(KIND, "").lower() if kind is None else kind,
            service=service,
            operation=operation,
            remote=_first(texts, PEERS),
            host=_first(texts, HOSTS),
            namespace=get(NAMESPACE),
            component=get(COMPONENT),
            messaging=get(MESSAGING),
            code=code_of(_first(texts, CODES), _first(texts, GRPC_CODES)),
            flags=get(FLAGS),
            error=error,
            details=get(DETAILS),
            shared=None,
            retry=_first(texts, RETRIES),
            attempts=_first(texts, self._attempt_tags),
        )

    def text(self, raw: bytes) -> str:
        """A value's text, "" where it cannot be read."""
        try:
            return text(self._value(raw))
        except documents.FAILURES:
            return ""


def _first(texts: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((texts[key] for key in keys if texts.get(key)), None)


Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
_IDENTITY = ["trace_high", "trace_low", "span", "parent", "kind", "service", "shared", "start"]


def concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows of frames of spans, numbered anew, with the union of their categories."""
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return empty()
    if len(frames) == 1:
        return frames[0].reset_index(drop=True)
    data: dict[str, Any] = {}
    for name, dtype in COLUMNS.items():
        columns = [frame[name] for frame in frames]
        data[name] = _union(columns) if dtype == "category" else pd.concat(columns, ignore_index=True)
    return pd.DataFrame(data)


def merge(parts: Sequence[Spans]) -> Spans:
    """One ``Spans`` of many, pages of one sample for example, with their counts added up.

    Duplicates stay: see ``deduplicate``.
    """
    rejected: dict[str, int] = {}
    for part in parts:
        for reason, count in part.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + count
    incomplete = dict.fromkeys(sentence for part in parts for sentence in part.incomplete)
    return Spans(
        concat([part.frame for part in parts]),
        rejected,
        sum(part.duplicates for part in parts),
        tuple(incomplete),
        max((part.one_in for part in parts), default=1),
    )


def deduplicate(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The frame without spans that were reported more than once, and how many rows that removed.

    Rows are one span if trace, id, parent, kind, service, ``shared`` and start are the same; of these, the longest
    stays, for reporters that send a span twice send the unfinished one first. So a client's and a server's half under
    one id both stay, and so do retries that share an id, because they start at different times. Two attempts of one
    call that begin within the same unit of the clock at the same service, sharing an id, would be taken for one.
    """
    if len(frame) < 2:
        return frame, 0
    mixed = np.zeros(len(frame), np.uint64)
    start = pd.DatetimeIndex(frame["start"]).asi8.view(np.uint64)
    with np.errstate(over="ignore"):
        for values in (frame["trace_low"].to_numpy(), frame["span"].to_numpy(), start):
            mixed = (mixed ^ values) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
    order = np.argsort(mixed)
    same = mixed[order][1:] == mixed[order][:-1]
    if not same.any():
        return frame, 0
    maybe = np.zeros(len(frame), bool)
    maybe[order[1:][same]] = True
    maybe[order[:-1][same]] = True
    longest = frame.loc[maybe].sort_values("duration", ascending=False, kind="stable")
    twice = longest.index[longest.duplicated(_IDENTITY)]
    return frame.drop(index=twice).reset_index(drop=True), len(twice)


def categorical(codes: Array, names: Iterable[str]) -> pd.Categorical[Any]:
    """A column of text: ``names`` are its categories, each once, and ``codes`` are their numbers, a row each."""
    dtype = pd.CategoricalDtype(pd.Index(list(names), dtype="str"))
    return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)


def _union(columns: Sequence[pd.Series[Any]]) -> pd.Categorical[Any]:
    known: dict[str, int] = {}
    codes = []
    for column in columns:
        table = [known.setdefault(name, len(known)) for name in column.cat.categories]
        codes.append(np.array(table, np.int32)[column.cat.codes.to_numpy()])
    return categorical(np.concatenate(codes), known)
