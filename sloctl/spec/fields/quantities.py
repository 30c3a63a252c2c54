"""Numbers and durations: how each is read exactly, and its JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from sloctl.model.durations import duration, number, parse_duration
from sloctl.spec.fields.reader import Complaint, Reader, last
from sloctl.spec.fields.scalars import Json, Plain, is_scalar
from sloctl.spec.yaml.tree import Node
from sloctl.spec.yaml.wording import shown


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
        if not re.fullmatch(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?", text):
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
