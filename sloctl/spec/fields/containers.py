"""Lists, mappings with free keys, and alternatives of fields: how each is read, and its JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sloctl.spec.fields.reader import Complaint, Reader, kind_words, last
from sloctl.spec.fields.scalars import Check, Json
from sloctl.spec.fields.shapes import Block, Object, Type, is_mapping
from sloctl.spec.yaml.tree import LIST, MAPPING, SCALAR, Node
from sloctl.spec.yaml.wording import shown


@dataclass(frozen=True, slots=True)
class Items:
    """A list of values of one type; values that cannot be used are left out (and complained about).

    The model holds them in the order of the file, or if that says nothing (``unordered``) sorted and each once.
    """

    item: Type
    minimum: int = 1
    maximum: int = 100_000
    unordered: bool = False

    @property
    def words(self) -> str:
        """What it must be, for messages and the reference."""
        return "a list"

    def read(self, node: Node, path: str, reader: Reader) -> list[Any] | None:
        """The usable items, each with its node: ``(node, value)``; None if it is no list."""
        if node.kind != LIST:
            message = f"{last(path)} must be a list, not {kind_words(node)}"
            hint = "put it in brackets" if node.kind == SCALAR else "start each item with '- '"
            reader.add(node, path, "wrong-type", message, hint)
            return None
        if not self.minimum <= len(node.items) <= self.maximum:
            count = (
                f"at least {self.minimum}" if len(node.items) < self.minimum else f"at most {self.maximum}"
            )
            reader.add(node, path, "bad-value", f"{last(path)} needs {count} item{'s' * (self.minimum != 1)}")
        found = []
        for index, item in enumerate(node.items):
            value = self.item.read(item, f"{path}[{index}]", reader)
            if value is not None:
                found.append((item, value))
        return found

    def schema(self, defs: Json) -> Json:
        """JSON Schema: an array."""
        own: Json = {"type": "array", "items": self.item.schema(defs)}
        if self.minimum:
            own["minItems"] = self.minimum
        return {**own, "maxItems": self.maximum}

    def build(self, found: list[Any], reader: Reader) -> tuple[Any, ...]:
        """The items as the model holds them."""
        built = tuple(made for _, value in found if (made := self.item.build(value, reader)) is not None)
        return tuple(sorted({*built})) if self.unordered else built

    def shown(self, default: tuple[Any, ...]) -> str:
        """A default as a list in brackets."""
        return f"[{', '.join(self.item.shown(value) for value in default)}]"


@dataclass(frozen=True, slots=True)
class Named:
    """A mapping whose keys are names of the user's own: labels."""

    key_pattern: str
    key_words: str
    value: Type
    key_check: Check | None = None
    maximum: int = 50
    key_hint: str = "letters, digits and '_', not starting with a digit or '__'"
    minimum: int = 0

    @property
    def words(self) -> str:
        """What it must be, for messages and the reference."""
        return f"a mapping from {self.key_words} to {self.value.words}"

    def read(self, node: Node, path: str, reader: Reader) -> list[tuple[str, Node, Any]] | None:
        """The usable entries: key, node of the value, value; None if it is no mapping."""
        if not is_mapping(node, path, reader, "a mapping"):
            return None
        if len(node.entries) > self.maximum:
            reader.add(node, path, "bad-value", f"{last(path)} has more than {self.maximum} entries")
        if len(node.entries) < self.minimum:
            reader.add(node, path, "bad-value", f"{last(path)} is empty", f"it is {self.words}")
        found = []
        for key, entry in node.entries.items():
            complaint = self._complaint(key)
            if complaint is not None:
                reader.complain(node.keys[key], path, complaint)
                continue
            if entry.plain and entry.empty:
                reader.add(
                    node.keys[key], f"{path}.{key}", "no-value", f"'{key}' has no value", "remove the key"
                )
                continue
            value = self.value.read(entry, f"{path}.{key}", reader)
            if value is not None:
                found.append((key, entry, value))
        return found

    def _complaint(self, key: str) -> Complaint | None:
        if not re.fullmatch(self.key_pattern, key):
            return Complaint("bad-key", f"{shown(key)} is not {self.key_words}", self.key_hint)
        return self.key_check(key) if self.key_check is not None else None

    def schema(self, defs: Json) -> Json:
        """JSON Schema: an object with a pattern for its keys."""
        own: Json = {
            "type": "object",
            "propertyNames": {"pattern": f"^(?:{self.key_pattern})$"},
            "additionalProperties": self.value.schema(defs),
        }
        if self.minimum:
            own["minProperties"] = self.minimum
        return {**own, "maxProperties": self.maximum}

    def build(self, found: list[tuple[str, Node, Any]], reader: Reader) -> tuple[tuple[str, Any], ...]:
        """Pairs of key and value, sorted by key."""
        built = ((key, self.value.build(value, reader)) for key, _, value in found)
        return tuple(sorted((pair for pair in built if pair[1] is not None), key=lambda pair: pair[0]))

    def shown(self, default: tuple[tuple[str, Any], ...]) -> str:
        """A default as a mapping in braces; what YAML might take for something else is in quotes."""
        pairs = (f"{key}: {value if value.isalpha() else json.dumps(value)}" for key, value in default)
        return f"{{{', '.join(pairs)}}}"


@dataclass(frozen=True, slots=True)
class Either:
    """A single value, or else a mapping."""

    scalar: Type
    mapping: Type

    @property
    def words(self) -> str:
        """What it must be, for messages and the reference."""
        return f"{self.scalar.words}, or {self.mapping.words}"

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        """What the matching alternative reads."""
        return (self.mapping if node.kind == MAPPING else self.scalar).read(node, path, reader)

    def schema(self, defs: Json) -> Json:
        """JSON Schema: either of the two."""
        return {"anyOf": [self.scalar.schema(defs), self.mapping.schema(defs)]}

    def build(self, found: Any, reader: Reader) -> Any:
        """What the matching alternative builds."""
        return (self.mapping if isinstance(found, Block) else self.scalar).build(found, reader)

    def shown(self, default: Any) -> str:
        """A default as a single value."""
        return self.scalar.shown(default)


@dataclass(frozen=True, slots=True)
class Variants:
    """A mapping whose keys depend on the value of one of them (``key``), or on another key's presence."""

    key: str
    objects: Mapping[str, Object]
    other: str
    other_object: Object
    choice: Type
    words: str

    def read(self, node: Node, path: str, reader: Reader) -> Block | None:
        """The mapping read as the variant that it names."""
        if not is_mapping(node, path, reader, self.words):
            return None
        has_key, has_other = self.key in node.entries, self.other in node.entries
        if has_key == has_other:
            names = f"'{self.key}' or '{self.other}'"
            if has_key:
                later = max((node.keys[k] for k in (self.key, self.other)), key=lambda n: (n.line, n.column))
                message = f"'{self.key}' and '{self.other}' exclude each other"
                reader.add(later, path, "key-conflict", message, f"keep one of {names}")
            else:
                reader.add(node, path, "missing-key", f"one of {names} is missing")
            return Block(node, path)
        if has_other:
            return self.other_object.read(node, path, reader)
        chosen = self.choice.read(node.entries[self.key], f"{path}.{self.key}", reader)
        return Block(node, path) if chosen is None else self.objects[chosen].read(node, path, reader)

    def schema(self, defs: Json) -> Json:
        """JSON Schema: exactly one of the variants."""
        return {"oneOf": [shape.schema(defs) for shape in (*self.objects.values(), self.other_object)]}

    def build(self, found: Block, reader: Reader) -> Block:
        """The mapping itself: what it means depends on the variant."""
        return found

    def shown(self, default: Any) -> str:
        """Nothing: there is no default."""
        return ""
