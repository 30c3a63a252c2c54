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
| remote, the first there is | remoteEndpoint.serviceName, P | P | P |
| code, the first there is | C | C | C |
| flags | response_flags, "-" as "" | the same | the same |
| error | a tag error but "false", or otel.status_code ERROR, or S | the same | the same, or status.code 2 |
| overflow | response_code_details with "overflow" | the same | the same |
| shared | shared | never | never |
| router | client and the operation starts with "router " | the same | the same |
| retry | retry.count | the same | the same |
| attempts | the first there is of the tags that are asked for | the same | the same |
| start | timestamp, µs | startTime, µs | startTimeUnixNano |
| duration | duration, µs | duration, µs | endTimeUnixNano less the start |

P is peer.service, upstream_cluster.name, upstream_cluster. C is http.status_code, http.response.status_code,
grpc.status_code, rpc.grpc.status_code. S is a code from 500 to 599 on a client or server span. Jaeger has no flag for
shared: its query service gives each server span an id of its own, under the client's; where that did not happen, both
rows have the same id and neither is ``shared``. A number that a tag cannot hold (retry, attempts) is -1. A span whose
end lies before its start (the clock was set back) is kept with a duration of -1, for it happened. A span without a
start, or with ids or times that cannot be, is rejected. This module must not know how formats are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from sloctl.spans import COLUMNS, KINDS, Spans
from sloctl.traces import ids
from sloctl.traces.frame import Array, categorical

Value: TypeAlias = str | int | float | bool | None
# trace, span, parent, kind, service, operation, remote, code, flags, error, details, shared, retry, attempts,
# start, and duration or end
Row: TypeAlias = tuple[
    str | None, str | None, str | None, str, Value, Value, Value, Value, Value, Value, Value, bool | None, Value,
    Value, Value, Value,
]  # fmt: skip
_LAST = np.iinfo(np.int64).max
_CODED = slice(3, 14)
_CODED_NAMES = (
    "kind", "service", "operation", "remote", "code", "flags", "error", "details", "shared", "retry", "attempts",
)  # fmt: skip
BATCH = 8192
"""After so many rows decoders call :meth:`Columns.flush`."""


class _Codes(dict[Value, int]):
    """Numbers values in the order in which they appear."""

    def __missing__(self, value: Value) -> int:
        self[value] = number = len(self)
        return number


class Columns:
    """Rows of spans as decoders find them, turned into columns every :data:`BATCH` rows.

    ``unit`` is the nanoseconds in a unit of the rows' times; ``ends`` says that rows have an end, not a duration.
    """

    def __init__(self, *, unit: int, ends: bool = False) -> None:
        self.rows: list[Row] = []
        self.rejected: dict[str, int] = {}
        self._unit = unit
        self._ends = ends
        self._codes = [_Codes() for _ in _CODED_NAMES]
        self._parts: list[tuple[Array, ...]] = []

    def reject(self, reason: str, count: int = 1) -> None:
        """Count spans that cannot be used."""
        if count:
            self.rejected[reason] = self.rejected.get(reason, 0) + count

    def flush(self) -> None:
        """Turn the rows that have been added into columns; rows that cannot be used are counted."""
        if not self.rows:
            return
        raw = list(zip(*self.rows, strict=True))
        self.rows = []
        trace, bad_trace = ids.numbers(raw[0], 16)
        span, bad_span = ids.numbers(raw[1], 8)
        parent, bad_parent = ids.numbers(raw[2], 8)
        start, bad_start = _times(raw[14], self._unit)
        length, bad_length = _times(raw[15], self._unit)
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
        coded = [
            np.fromiter(map(codes.__getitem__, values), np.int32, len(values))
            for codes, values in zip(self._codes, raw[_CODED], strict=True)
        ]
        arrays = (trace[:, 0], trace[:, 1], span[:, 0], parent[:, 0], start, np.maximum(length, -1), *coded)
        self._parts.append(arrays if keep.all() else tuple(array[keep] for array in arrays))

    def spans(self) -> Spans:
        """All rows that can be used, and the count of those that cannot."""
        self.flush()
        if self._parts:
            arrays = [np.concatenate(parts) for parts in zip(*self._parts, strict=True)]
        else:
            arrays = [np.zeros(0, np.int64)] * (6 + len(_CODED_NAMES))
        self._parts = [tuple(arrays)]
        high, low, span, parent, start, duration = arrays[:6]
        code_of = dict(zip(_CODED_NAMES, zip(arrays[6:], self._codes, strict=True), strict=True))

        def each(name: str, make: Callable[[str], Any], dtype: Any) -> Array:
            numbers, codes = code_of[name]
            found: Array = np.fromiter(map(make, map(text, codes)), dtype, len(codes))
            return found[numbers]  # type: ignore[no-any-return]

        categories = {
            name: _categorical(*code_of[name]) for name in ("service", "operation", "remote", "code")
        }
        categories["flags"] = _categorical(
            *code_of["flags"], make=lambda flags: "" if flags == "-" else flags
        )
        kind = each("kind", lambda name: KINDS.index(name) if name in KINDS else 0, np.int8)
        called = np.isin(kind, [KINDS.index("client"), KINDS.index("server")])
        router = each("operation", lambda name: name.startswith("router "), bool)
        data: dict[str, Any] = {
            "trace_high": high.astype(np.uint64),
            "trace_low": low.astype(np.uint64),
            "span": span.astype(np.uint64),
            "parent": parent.astype(np.uint64),
            "kind": pd.Categorical.from_codes(kind, dtype=pd.CategoricalDtype(list(KINDS))),
            **categories,
            "error": each("error", lambda said: said not in ("", "false"), bool)
            | (
                called
                & each("code", lambda code: len(code) == 3 and code.isdecimal() and code[0] == "5", bool)
            ),
            "overflow": each("details", lambda details: "overflow" in details, bool),
            "shared": each("shared", lambda said: said == "true", bool),
            "router": router & (kind == KINDS.index("client")),
            "retry": each("retry", small, np.int16),
            "attempts": each("attempts", small, np.int16),
            "start": pd.DatetimeIndex(start.view("datetime64[ns]")).tz_localize("UTC"),
            "duration": duration.astype(np.int64),
        }
        return Spans(pd.DataFrame({name: data[name] for name in COLUMNS}), dict(self.rejected))


def text(value: Value) -> str:
    """A tag's value as text: whole numbers without a fraction, truth as JSON writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if float(value).is_integer() else str(value)


def small(value: str) -> int:
    """A count that fits into the columns ``retry`` and ``attempts``, or -1."""
    return (
        int(value) if value.isascii() and value.isdigit() and len(value) <= 5 and int(value) < 32768 else -1
    )


def _categorical(
    numbers: Array, codes: Iterable[Value], make: Callable[[str], str] = str
) -> pd.Categorical[Any]:
    merged: dict[str, int] = {}
    table = [merged.setdefault(make(text(value)), len(merged)) for value in codes]
    return categorical(np.array(table, np.int32)[numbers], merged)


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
