"""The kinds of single values that a field may have: how each is read, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from sloctl.spec.reader import Complaint, Reader, kind_words, last, nearest
from sloctl.spec.tree import SCALAR, Node, shown
from sloctl.windows import number, parse_duration

Json = dict[str, Any]
Check = Callable[[str], Complaint | None]

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
CONTROL_IN_LINES = re.compile(CONTROL.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f"))

_IMPLICIT = {
    "bool": "a truth value",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "null": "nothing",
    "merge": "a merge key",
    "value": "a default value",
}


def _is_scalar(node: Node, path: str, reader: Reader, words: str) -> bool:
    if node.kind == SCALAR:
        return True
    reader.add(node, path, "wrong-type", f"{last(path)} must be {words}, not {kind_words(node)}")
    return False


def _text(node: Node, path: str, reader: Reader, words: str, *, secret: bool = False) -> str | None:
    """A scalar's text, unless it is no scalar or YAML would make something else of it."""
    if not _is_scalar(node, path, reader, words):
        return None
    kind = node.implicit
    if not kind:
        return node.text
    quoted = "" if secret else f': "{node.text[:60]}"'
    if kind == "null":
        reader.add(node, path, "no-value", f"{last(path)} has no value", f"it must be {words}")
    else:
        what = _IMPLICIT.get(kind, kind)
        said = "this" if secret else node.text[:60]
        reader.add(
            node,
            path,
            "yaml-value",
            f"{last(path)} must be {words}, but YAML reads {said} as {what}",
            f"put it in quotes{quoted}",
        )
    return None


@dataclass(frozen=True, slots=True)
class Text:
    """Text of a form: ``pattern`` must match all of it, and ``checks`` look at what a pattern cannot say."""

    words: str
    pattern: str = ""
    hint: str = ""
    max_length: int = 253
    lines: bool = False
    checks: tuple[Check, ...] = ()
    secret: bool = False

    def read(self, node: Node, path: str, reader: Reader) -> str | None:
        """The text; None, with the problems noted, if it cannot be used."""
        text = _text(node, path, reader, self.words, secret=self.secret)
        if text is None:
            return None
        complaint = self._complaint(text, path)
        if complaint is None:
            for check in self.checks:
                if (complaint := check(text)) is not None:
                    break
        if complaint is not None:
            reader.complain(node, path, complaint)
            return None
        return text

    def _complaint(self, text: str, path: str) -> Complaint | None:
        name = last(path)
        if not text:
            return Complaint("bad-value", f"{name} is empty", self.hint or f"write {self.words}")
        if len(text) > self.max_length:
            return Complaint(
                "bad-value",
                f"{name} is too long: {len(text)} characters, at most {self.max_length} are allowed",
            )
        control = (CONTROL_IN_LINES if self.lines else CONTROL).search(text)
        if control:
            message = f"{name} has the control character U+{ord(control[0]):04X}"
            return Complaint("control-character", message, "remove it")
        if self.pattern and not re.fullmatch(self.pattern, text):
            value = "" if self.secret else f", not {shown(text)}"
            return Complaint("bad-value", f"{name} must be {self.words}{value}", self.hint)
        return None

    def schema(self, defs: Json) -> Json:
        """JSON Schema of the text."""
        found: Json = {"type": "string", "minLength": 1, "maxLength": self.max_length}
        if self.pattern:
            found["pattern"] = f"^(?:{self.pattern})$"
        return found


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    values: tuple[str, ...]

    @property
    def words(self) -> str:
        """The choice as messages and the reference show it."""
        if len(self.values) == 1:
            return f"`{self.values[0]}`"
        return ", ".join(f"`{value}`" for value in self.values[:-1]) + f" or `{self.values[-1]}`"

    def read(self, node: Node, path: str, reader: Reader) -> str | None:
        """The word; None, with the problem noted, if it is another one."""
        text = _text(node, path, reader, self.words.replace("`", ""))
        if text is None or text in self.values:
            return text
        reader.add(
            node, path, "bad-value", f"{last(path)} cannot be {shown(text)}", nearest(text, self.values)
        )
        return None

    def schema(self, defs: Json) -> Json:
        """JSON Schema: an enumeration."""
        return {"enum": list(self.values)}


@dataclass(frozen=True, slots=True)
class Exact:
    """A number that is read exactly, between two bounds."""

    words: str
    above: Decimal
    below: Decimal
    decimals: int = 6
    hint: str = ""
    inclusive: bool = False

    def read(self, node: Node, path: str, reader: Reader) -> Decimal | None:
        """The number as a ``Decimal``; None, with the problem noted, if it is none or out of bounds."""
        if not _is_scalar(node, path, reader, self.words):
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
        if not re.fullmatch(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?", text):
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


def _json_number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between two bounds, both included."""

    minimum: int
    maximum: int

    @property
    def words(self) -> str:
        """The number as messages and the reference show it."""
        return f"a whole number from {self.minimum} to {self.maximum}"

    def read(self, node: Node, path: str, reader: Reader) -> int | None:
        """The number; None, with the problem noted, if it is none or out of bounds."""
        if not _is_scalar(node, path, reader, self.words):
            return None
        digits = re.fullmatch(r"0|[1-9][0-9]{0,17}", node.text)
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


class Span(NamedTuple):
    """A duration: its length and how it was written."""

    seconds: int
    text: str


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration such as ``30d`` or ``1h30m``, between two bounds and in whole steps."""

    minimum: int
    maximum: int
    step: int
    example: str

    @property
    def words(self) -> str:
        """The duration as messages and the reference show it."""
        return f"a duration such as {self.example}"

    def read(self, node: Node, path: str, reader: Reader) -> Span | None:
        """Seconds and text; None, with the problem noted, if it is no duration or not an allowed one."""
        if not _is_scalar(node, path, reader, self.words):
            return None
        text, name = node.text, last(path)
        seconds = parse_duration(text) if not node.implicit else None
        if seconds is None:
            reader.add(node, path, *self._not_a_duration(node, name))
        elif not self.minimum <= seconds <= self.maximum:
            bounds = f"from {_span(self.minimum)} to {_span(self.maximum)}"
            reader.add(node, path, "duration-range", f"{name} must be {bounds}, not {text}")
        elif seconds % self.step:
            below = seconds - seconds % self.step
            near = [_span(s) for s in (below, below + self.step) if self.minimum <= s <= self.maximum]
            message = f"{name} must be a multiple of {_span(self.step)}, and {text} is not"
            reader.add(node, path, "duration-step", message, f"use {' or '.join(near)}")
        else:
            return Span(seconds, text)
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


DURATION_PATTERN = "^(?=[0-9])(?:[0-9]+w)?(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?$"


def _span(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


@dataclass(frozen=True, slots=True)
class Loose:
    """A value that may be written as a number or as text, and is kept as written."""

    words: str
    pattern: str
    hint: str
    forms: tuple[tuple[str, object], ...]

    def read(self, node: Node, path: str, reader: Reader) -> str | None:
        """The text as written; None, with the problem noted, if it has another form."""
        if not _is_scalar(node, path, reader, self.words):
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


__all__ = [
    "CONTROL",
    "Check",
    "Choice",
    "Duration",
    "Exact",
    "Json",
    "Loose",
    "Span",
    "Text",
    "Whole",
    "number",
]
