"""Single values of a field: texts, numbers, durations: how each is read, and its JSON Schema.

A :class:`Reader` collects problems while nodes are read, and words them alike. Knows places, not meanings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sloctl.errors import Position, Problem, Severity
from sloctl.model.durations import duration, number, parse_duration
from sloctl.spec.yaml.tree import LIST, MAPPING, SCALAR, Node
from sloctl.spec.yaml.wording import CONTROL, CONTROL_IN_LINES, shown

SECRET_WORDS = re.compile(
    r"pass(word|wd|phrase)?|.*token.*|.*secret.*|authorization|bearer|basic_?auth|api_?key|credentials?|"
    r"headers?|webhook(_?url)?|(routing|service|integration)_?key|(slack_)?api_?url",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with a value, without its place."""

    code: str
    message: str
    hint: str = ""


def position(node: Node) -> Position:
    """Where a node stands."""
    return Position(node.file, node.line, node.column)


def last(path: str) -> str:
    """How a message names the field at ``path``: ``'objective'``, or ``item 2 of 'codes'``."""
    match = re.search(r"([^.\[\]]+)(?:\[(\d+)\])?$", path)
    if match is None:
        return "the document"
    return f"item {int(match[2]) + 1} of '{match[1]}'" if match[2] else f"'{match[1]}'"


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, whatever its case."""
    folded = {name.lower(): name for name in sorted(known)}
    close = difflib.get_close_matches(word[:80].lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word that was probably meant, or all of them if they are few."""
    if (close := closest(word, known)) is not None:
        return f"did you mean '{close}'?"
    names = sorted(known)
    return f"known here: {', '.join(names)}" if len(names) <= 16 else ""


def kind_words(node: Node) -> str:
    """What a node is, for 'must be …, not …'."""
    return {MAPPING: "a mapping", LIST: "a list"}.get(node.kind, "text")


class Reader:
    """The problems found so far in any number of files."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.judged: set[int] = set()
        """The ids of nodes of which everything has been said."""

    def add(
        self, node: Node, path: str, code: str, message: str, hint: str = "", *, severity: Severity = "error"
    ) -> None:
        """Note a problem at a node; the value of a variable is not shown."""
        if id(node) in self.judged:
            return
        if node.written:
            for value in node.filled:
                message, hint = _without(message, value, 3), _without(hint, value, 30)
            hint = f"{hint} (it says {node.written})" if hint else f"it says {node.written}"
        self.problems.append(Problem(position(node), severity, code, path, message, hint))

    def complain(self, node: Node, path: str, complaint: Complaint) -> None:
        """Note a complaint at a node."""
        self.add(node, path, complaint.code, complaint.message, complaint.hint)

    @property
    def failed(self) -> bool:
        """Whether any problem so far is an error."""
        return any(problem.severity == "error" for problem in self.problems)


def _without(said: str, value: str, least: int) -> str:
    """A message without a value that it may quote, or ``least`` characters or more of its beginning."""
    for length in range(len(value), min(least, len(value)) - 1, -1):
        if value[:length] in said:
            return said.replace(value[:length], "…").replace("……", "…")
    return said


Json = dict[str, Any]
Check = Callable[[str], Complaint | None]

_IMPLICIT = {
    "bool": "a truth value",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "null": "nothing",
    "merge": "a merge key",
    "value": "a default value",
}


def is_scalar(node: Node, path: str, reader: Reader, words: str) -> bool:
    """Whether the node is a single value; notes a problem if not."""
    if node.kind == SCALAR:
        return True
    reader.add(node, path, "wrong-type", f"{last(path)} must be {words}, not {kind_words(node)}")
    return False


def _implicit(node: Node, path: str, reader: Reader, words: str, hint: str, *, secret: bool = False) -> None:
    """Complain about plain text that YAML makes something else of."""
    kind = node.implicit
    if kind == "null":
        reader.add(node, path, "no-value", f"{last(path)} has no value", f"it must be {words}")
        return
    said = "this" if secret else node.text[:60]
    message = f"{last(path)} must be {words}, but YAML reads {said} as {_IMPLICIT.get(kind, kind)}"
    reader.add(node, path, "yaml-value", message, hint)


class Plain:
    """What values have in common that the model holds as they are read."""

    __slots__ = ()

    def build(self, found: Any, reader: Reader) -> Any:
        """The value as it was read."""
        return found

    def shown(self, default: Any) -> str:
        """A default as it is written."""
        return str(default)


@dataclass(frozen=True, slots=True)
class Text(Plain):
    """Text of a form: ``pattern`` must match all of it, and ``checks`` look at what a pattern cannot say.

    The model holds what ``make`` makes of it.
    """

    words: str
    pattern: str = ""
    hint: str = ""
    max_length: int = 253
    lines: bool = False
    checks: tuple[Check, ...] = ()
    secret: bool = False
    make: Callable[[str], Any] = str

    def read(self, node: Node, path: str, reader: Reader) -> str | None:
        """The text; None, with the problems noted, if it cannot be used."""
        if not is_scalar(node, path, reader, self.words):
            return None
        text = node.text
        complaint = self._complaint(text, path)
        if node.implicit:
            quotes = "put it in quotes" + ("" if self.secret else f': "{text[:60]}"')
            hint = quotes if complaint is None else self.hint or f"write {self.words}"
            _implicit(node, path, reader, self.words, hint, secret=self.secret)
            return None
        if complaint is None:
            for check in self.checks:
                if (complaint := check(text)) is not None:
                    break
        if complaint is not None:
            reader.complain(node, path, complaint)
            return None
        return text

    def _complaint(self, text: str, path: str) -> Complaint | None:
        if not text:
            return Complaint("bad-value", f"{last(path)} is empty", self.hint or f"write {self.words}")
        if len(text) > self.max_length:
            message = f"is too long: {len(text)} characters, at most {self.max_length} are allowed"
            return Complaint("bad-value", f"{last(path)} {message}")
        control = (CONTROL_IN_LINES if self.lines else CONTROL).search(text)
        if control:
            message = f"{last(path)} has the control character U+{ord(control[0]):04X}"
            return Complaint("control-character", message, "remove it")
        if self.pattern and not re.fullmatch(self.pattern, text):
            value = "" if self.secret else f", not {shown(text)}"
            return Complaint("bad-value", f"{last(path)} must be {self.words}{value}", self.hint)
        return None

    def schema(self, defs: Json) -> Json:
        """JSON Schema of the text."""
        found: Json = {"type": "string", "minLength": 1, "maxLength": self.max_length}
        if self.pattern:
            found["pattern"] = f"^(?:{self.pattern})$"
        return found

    def build(self, found: str, reader: Reader) -> Any:
        """What is made of the text."""
        return self.make(found)


@dataclass(frozen=True, slots=True)
class Choice(Plain):
    """One of a few words; ``same`` has the word that the model holds for another one."""

    values: tuple[str, ...]
    called: str = ""
    same: Mapping[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The choice as messages and the reference show it."""
        if self.called:
            return self.called
        if len(self.values) == 1:
            return f"`{self.values[0]}`"
        return ", ".join(f"`{value}`" for value in self.values[:-1]) + f" or `{self.values[-1]}`"

    def read(self, node: Node, path: str, reader: Reader) -> str | None:
        """The word; None, with the problem noted, if it is another one."""
        words = self.words.replace("`", "")
        if not is_scalar(node, path, reader, words):
            return None
        text = node.text
        if text in self.values and not node.implicit:
            return text
        hint = nearest(text, self.values)
        if node.implicit:
            _implicit(
                node, path, reader, words, f'put it in quotes: "{text}"' if text in self.values else hint
            )
        else:
            reader.add(node, path, "bad-value", f"{last(path)} cannot be {shown(text)}", hint)
        return None

    def schema(self, defs: Json) -> Json:
        """JSON Schema: an enumeration."""
        return {"enum": list(self.values)}

    def build(self, found: str, reader: Reader) -> str:
        """The word, or the one that is the same."""
        return self.same.get(found, found)


@dataclass(frozen=True, slots=True)
class Loose(Plain):
    """A value that may be written as a number or as text, and is kept as written."""

    words: str
    pattern: str
    hint: str
    forms: tuple[tuple[str, object], ...]

    def read(self, node: Node, path: str, reader: Reader) -> str | None:
        """The text as written; None, with the problem noted, if it has another form."""
        if not is_scalar(node, path, reader, self.words):
            return None
        if node.empty:
            reader.add(node, path, "no-value", f"{last(path)} has no value", f"it must be {self.words}")
        elif re.fullmatch(self.pattern, node.text):
            return node.text
        else:
            message = f"{last(path)} must be {self.words}, not {shown(node.text)}"
            reader.add(node, path, "bad-value", message, self.hint)
        return None

    def schema(self, defs: Json) -> Json:
        """JSON Schema: a number, or text of the form."""
        return {"anyOf": [dict(self.forms), {"type": "string", "pattern": f"^(?:{self.pattern})$"}]}


@dataclass(frozen=True, slots=True)
class Exact(Plain):
    """A number that is read exactly, between two bounds."""

    words: str
    above: Decimal
    below: Decimal
    decimals: int = 6
    hint: str = ""
    inclusive: bool = False

    def read(self, node: Node, path: str, reader: Reader) -> Decimal | None:
        """The number as a ``Decimal``; None, with the problem noted, if it is none or out of bounds."""
        if not is_scalar(node, path, reader, self.words):
            return None
        complaint = self._complaint(node, path)
        if complaint is not None:
            reader.complain(node, path, complaint)
            return None
        return Decimal(node.text)

    def _complaint(self, node: Node, path: str) -> Complaint | None:
        name, text = last(path), node.text
        if node.empty:
            return Complaint("no-value", f"{name} has no value", f"it must be {self.words}")
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?(e-[0-9]{1,2})?", text):
            return self._no_number(node, name)
        if not node.plain:
            return Complaint("wrong-type", f"{name} must be a number, not text", "remove the quotes")
        value = Decimal(text)
        low = value < self.above if self.inclusive else value <= self.above
        high = value > self.below if self.inclusive else value >= self.below
        if low or high:
            return Complaint("bad-value", f"{name} must be {self.words}, not {text}", self.hint)
        if -int(value.normalize().as_tuple().exponent) > self.decimals:
            return Complaint("too-precise", f"{name} has more than {self.decimals} decimals")
        return None

    def _no_number(self, node: Node, name: str) -> Complaint:
        text = node.text
        if node.plain and node.implicit == "int" and ":" in text:
            return Complaint(
                "wrong-type", f"{name} must be {self.words}", "YAML reads a:b as base 60: use a '.'"
            )
        if text.endswith("%") and re.fullmatch(r"[0-9.]+ ?%", text):
            return Complaint(
                "wrong-type", f"{name} must be {self.words}", f"write {text[:-1].strip()}, without '%'"
            )
        if re.fullmatch(r"[0-9]+,[0-9]+", text):
            return Complaint("wrong-type", f"{name} must be {self.words}", f"write {text.replace(',', '.')}")
        if node.implicit in ("int", "float"):
            message = f"{name} must be {self.words}, not {shown(text)}"
            return Complaint("yaml-value", message, "write plain digits, such as 99.9")
        return Complaint("wrong-type", f"{name} must be {self.words}, not {shown(text)}", self.hint)

    def schema(self, defs: Json) -> Json:
        """JSON Schema: a number with its bounds."""
        low, high = ("minimum", "maximum") if self.inclusive else ("exclusiveMinimum", "exclusiveMaximum")
        return {"type": "number", low: _json_number(self.above), high: _json_number(self.below)}

    def shown(self, default: Decimal) -> str:
        """A default, in plain digits."""
        return number(default)


def _json_number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


@dataclass(frozen=True, slots=True)
class Whole(Plain):
    """A whole number between two bounds, both included."""

    minimum: int
    maximum: int

    @property
    def words(self) -> str:
        """The number as messages and the reference show it."""
        return f"a whole number from {self.minimum} to {self.maximum}"

    def read(self, node: Node, path: str, reader: Reader) -> int | None:
        """The number; None, with the problem noted, if it is none or out of bounds."""
        if not is_scalar(node, path, reader, self.words):
            return None
        digits = re.fullmatch(r"0|-?[1-9][0-9]{0,17}", node.text)
        if digits and node.plain and self.minimum <= int(node.text) <= self.maximum:
            return int(node.text)
        if digits and node.plain:
            reader.add(node, path, "bad-value", f"{last(path)} must be {self.words}, not {node.text}")
        elif digits:
            reader.add(
                node, path, "wrong-type", f"{last(path)} must be a number, not text", "remove the quotes"
            )
        elif node.implicit == "int":
            message = f"{last(path)} must be {self.words}, not {shown(node.text)}"
            reader.add(node, path, "yaml-value", message, "write plain digits")
        else:
            message = f"{last(path)} must be {self.words}, not {shown(node.text)}"
            reader.add(node, path, "wrong-type", message)
        return None

    def schema(self, defs: Json) -> Json:
        """JSON Schema: an integer with its bounds."""
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


class WrittenDuration(NamedTuple):
    """A duration: its length and how it was written."""

    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Duration(Plain):
    """A duration such as ``30d`` or ``1h30m``, between two bounds and in whole steps."""

    minimum: int
    maximum: int
    step: int
    example: str

    @property
    def words(self) -> str:
        """The duration as messages and the reference show it."""
        return f"a duration such as {self.example}"

    def read(self, node: Node, path: str, reader: Reader) -> WrittenDuration | None:
        """Seconds and text; None, with the problem noted, if it is no duration or not an allowed one."""
        if not is_scalar(node, path, reader, self.words):
            return None
        text, name = node.text, last(path)
        seconds = parse_duration(text) if not node.implicit else None
        if seconds is None:
            reader.add(node, path, *self._not_a_duration(node, name))
        elif not self.minimum <= seconds <= self.maximum:
            bounds = f"from {duration(self.minimum)} to {duration(self.maximum)}"
            reader.add(node, path, "duration-range", f"{name} must be {bounds}, not {text}")
        elif seconds % self.step:
            below = seconds - seconds % self.step
            near = [duration(s) for s in (below, below + self.step) if self.minimum <= s <= self.maximum]
            message = f"{name} must be a multiple of {duration(self.step)}, and {text} is not"
            reader.add(node, path, "duration-step", message, f"use {' or '.join(near)}")
        else:
            return WrittenDuration(seconds, text)
        return None

    def _not_a_duration(self, node: Node, name: str) -> tuple[str, str, str]:
        text = node.text
        if node.empty:
            return "no-value", f"{name} has no value", f"it must be {self.words}"
        message = f"{name} must be {self.words}, not {shown(text)}"
        if node.implicit == "int" and ":" in text:
            return "wrong-type", message, "YAML reads a:b as base 60: write 1m30s or 1h30m"
        if text.isascii() and text.isdigit():
            return "wrong-type", message, f"add a unit: {text[:9]}s, {text[:9]}m, {text[:9]}h or {text[:9]}d"
        if re.fullmatch(r"[0-9]+(mo|M|months?|y|years?|q)", text):
            return (
                "bad-value",
                message,
                "months and quarters are calendar windows, or count the days: 30d, 90d",
            )
        return "bad-value", message, "units are w, d, h, m and s, the largest first: 1h30m"

    def schema(self, defs: Json) -> Json:
        """JSON Schema: text of the form of a duration."""
        return {"type": "string", "maxLength": 32, "pattern": DURATION_PATTERN}

    def build(self, found: WrittenDuration, reader: Reader) -> int:
        """Seconds."""
        return found.seconds

    def shown(self, default: int) -> str:
        """A default in seconds as a duration: as the example has it, if it is the same."""
        return self.example if parse_duration(self.example) == default else duration(default)


DURATION_PATTERN = "^(?=[0-9])(?:[0-9]+w)?(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?$"


_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Moment(Plain):
    """A point in time with its offset from UTC, with or without quotes."""

    words: str = "a time with its offset from UTC"

    def read(self, node: Node, path: str, reader: Reader) -> datetime | None:
        """The time in UTC; None, with the problem noted, if it is none."""
        if not is_scalar(node, path, reader, self.words):
            return None
        text = node.text
        if _RFC3339.fullmatch(text):
            try:
                return datetime.fromisoformat(text.upper().replace("Z", "+00:00")).astimezone(UTC)
            except (ValueError, OverflowError):
                pass
        if node.empty:
            reader.add(node, path, "no-value", f"{last(path)} has no value", f"it must be {self.words}")
            return None
        message = f"{last(path)} must be {self.words}, not {shown(text)}"
        reader.add(
            node, path, "bad-value", message, "write 2026-03-01T02:00:00Z or 2026-03-01T03:00:00+01:00"
        )
        return None

    def schema(self, defs: Json) -> Json:
        """JSON Schema: RFC 3339."""
        return {"type": "string", "format": "date-time"}
