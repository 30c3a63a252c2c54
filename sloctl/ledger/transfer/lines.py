"""The lines of an export, the same in CSV and Parquet: their columns, and how each is written and read.

It must not know of the database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sloctl.errors import UsageError
from sloctl.ledger.grid import LATEST
from sloctl.ledger.protocol import MICRO
from sloctl.model.durations import rfc3339
from sloctl.report.numbers import FORMULA

KINDS = (
    "coverage",
    "silence",
    "annotation",
    "exclusion",
    "day",
    "hour",
    "bucket",
    "cause_day",
    "cause",
    "end",
)
"""In the order in which a set has them; ``end`` is the last line of a file."""
TEXTS = ("kind", "set", "slo_id", "slo", "namespace", "service")
COLUMNS = (
    *TEXTS,
    *("start", "end", "good", "bad", "total", "gap_seconds", "excluded", "state"),
    *("excluded_bad", "excluded_total", "peak", "carried_seconds", "detail"),
)
_EVENTS = ("end", "bad", "total", "gap_seconds", "carried_seconds", "excluded", "state")
_SUMS = ("end", "bad", "total", "gap_seconds", "excluded", "excluded_bad", "excluded_total", "peak")
_SERIES = ("set", "slo_id", "slo", "namespace", "service")
NEEDED: dict[str, frozenset[str]] = {
    "coverage": frozenset(("set", "slo_id", "slo", "start", "end", "state", "detail")),
    "silence": frozenset(("set", "start", "end", "detail")),
    "annotation": frozenset(("set", "namespace", "service", "start", "end", "detail")),
    "exclusion": frozenset((*_SERIES, "start", "end")),
    "day": frozenset((*_SERIES, *_SUMS, "good")),
    "hour": frozenset((*_SERIES, *_SUMS, "good")),
    "bucket": frozenset((*_SERIES, *_EVENTS, "good")),
    "cause_day": frozenset((*_SERIES, "end", "bad", "detail")),
    "cause": frozenset((*_SERIES, "end", "bad", "detail")),
    "end": frozenset(("detail",)),
}
"""The columns that a line of each kind fills; texts of them may be empty, all other columns are."""
EVENTS = frozenset(("good", "bad", "total", "excluded_bad", "excluded_total", "peak"))
"""Columns of events, which lines hold in micro-events."""
TIMES = frozenset(("start", "end"))
SECONDS = frozenset(("gap_seconds", "carried_seconds", "excluded"))
MOST = 10**22
"""More micro-events than a day can have."""
_RANKS = {kind: rank for rank, kind in enumerate(KINDS)}
_AMOUNT = re.compile(r"(\d{1,16})(?:\.(\d{1,6}))?", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


class Line(NamedTuple):
    """A line: times in Unix seconds, events in micro-events; None is an empty field."""

    kind: str
    set: str = ""
    slo_id: str = ""
    slo: str = ""
    namespace: str = ""
    service: str = ""
    start: int | None = None
    end: int | None = None
    good: int | None = None
    bad: int | None = None
    total: int | None = None
    gap_seconds: int | None = None
    excluded: int | None = None
    state: str = ""
    excluded_bad: int | None = None
    excluded_total: int | None = None
    peak: int | None = None
    carried_seconds: int | None = None
    detail: str = ""

    @property
    def place(self) -> tuple[object, ...]:
        """What lines of an export ascend by."""
        names = (self.slo_id, self.namespace, self.service)
        if self.kind in ("coverage", "exclusion"):
            return self.set, _RANKS[self.kind], *names, self.start
        if self.kind in ("silence", "annotation"):
            return self.set, _RANKS[self.kind], self.start, self.detail, self.namespace, self.service
        return self.set, _RANKS[self.kind], self.end, *names, self.detail


class BadLine(Exception):
    """A field that cannot be: its column, and what is wrong with it."""

    def __init__(self, column: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.column = column
        self.hint = hint


class Writer:
    """Writes times and amounts as text; a time that comes often is made once."""

    def __init__(self) -> None:
        self._times: dict[int, str] = {}

    def fields(self, line: Line) -> list[str]:
        """The fields of a line, in order."""
        return [self._field(name, value) for name, value in zip(COLUMNS, line, strict=True)]

    def _field(self, name: str, value: str | int | None) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if name in TIMES:
            return self.time(value)
        return amount(value) if name in EVENTS else str(value)

    def time(self, value: int) -> str:
        """A time in RFC 3339, UTC."""
        if len(self._times) > 1000:
            self._times.clear()
        text = self._times.get(value)
        if text is None:
            text = self._times[value] = rfc3339(value)
        return text


_SEEN = re.compile(r"\\u([0-9a-f]{4})")


def text_of(cell: str) -> str:
    """The text of a cell that :func:`cell` gave."""
    text = _SEEN.sub(lambda found: chr(int(found[1], 16)), cell)
    return text[1:] if len(text) > 1 and text[0] == "'" and text[1] in FORMULA else text


def amount(micro: int) -> str:
    """Micro-events as events, exactly and without zeros at the end."""
    whole, rest = divmod(micro, MICRO)
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)


class Parser:
    """Makes lines of text. Raises BadLine."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}

    def line(self, fields: Sequence[str]) -> Line:
        """The line that some fields are."""
        if len(fields) != len(COLUMNS):
            raise BadLine("", f"{len(fields)} fields, not {len(COLUMNS)}", "the file may be cut off here")
        kind = fields[0]
        needed = NEEDED.get(kind)
        if needed is None:
            raise BadLine("kind", f"{kind[:40]!r} is none of {', '.join(KINDS)}")
        values: list[str | int | None] = []
        for name, text in zip(COLUMNS, fields, strict=True):
            values.append(kind if name == "kind" else self._value(name, text, name in needed, kind))
        return Line(*values)  # type: ignore[arg-type]

    def _value(self, name: str, text: str, needed: bool, kind: str) -> str | int | None:
        if not needed:
            if text:
                raise BadLine(name, f"must be empty in a line of kind {kind}")
            return None if name in EVENTS or name in TIMES or name in SECONDS else ""
        if name in TIMES:
            return self._time(name, text)
        if name in EVENTS:
            return _amount(name, text)
        if name in SECONDS:
            if not re.fullmatch(r"\d{1,5}", text, re.ASCII):
                raise BadLine(name, f"{text[:40]!r} is no whole number of seconds")
            return int(text)
        if "\0" in text:
            raise BadLine(name, "holds a NUL character, which no database can")
        return text

    def _time(self, name: str, text: str) -> int:
        known = self._times.get(text)
        if known is not None:
            return known
        if len(self._times) > 1000:
            self._times.clear()
        try:
            if not _TIME.fullmatch(text):
                raise ValueError
            value = int(datetime.fromisoformat(text).timestamp())
        except ValueError:
            raise BadLine(name, f"{text[:40]!r} is no time", "write 2026-03-01T12:05:00Z") from None
        if not 0 <= value <= LATEST:
            raise BadLine(name, f"{text[:40]!r} is before 1970")
        self._times[text] = value
        return value


def _amount(name: str, text: str) -> int:
    found = _AMOUNT.fullmatch(text)
    if not found:
        hint = "a number from 0 with up to 6 decimals, without exponent"
        raise BadLine(name, f"{text[:40]!r} is no number of events", hint)
    return int(found[1]) * MICRO + int((found[2] or "").ljust(6, "0"))


def at(name: str, row: int, error: BadLine) -> UsageError:
    """The error of a field, with its place."""
    column = f"{COLUMNS.index(error.column) + 1}: {error.column}" if error.column in COLUMNS else "1"
    return UsageError(f"{name}:{row}:{column}: {error}", hint=error.hint or "nothing was imported")
