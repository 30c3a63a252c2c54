"""The kinds of text that a field may hold: how each is read, and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sloctl.spec.fields.reader import Complaint, Reader, kind_words, last, nearest
from sloctl.spec.yaml.tree import SCALAR, Node
from sloctl.spec.yaml.wording import CONTROL, CONTROL_IN_LINES, shown

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
