"""Mappings with known keys, lists, mappings with free keys, alternatives: how each is read, and its JSON Schema.

A table of :class:`Field` objects is the one description of a section. Each key names what it holds and which attribute
of the model it fills; that attribute's type and default are the dataclass's. The loader, the JSON Schema and the
reference all come from the two.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from sloctl.spec.fields.values import (
    SECRET_WORDS,
    Check,
    Complaint,
    Json,
    Reader,
    closest,
    kind_words,
    last,
    nearest,
)
from sloctl.spec.yaml.tree import LIST, MAPPING, SCALAR, Node
from sloctl.spec.yaml.wording import shown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


M = TypeVar("M", bound="DataclassInstance")


class Type(Protocol):
    """What a value must be."""

    @property
    def words(self) -> str:
        """What it must be, for messages and the reference."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        """The value; None, with the problems noted, if it cannot be used."""

    def schema(self, defs: Json) -> Json:
        """JSON Schema of the value; shared parts go to ``defs``."""

    def build(self, found: Any, reader: Reader) -> Any:
        """What the model holds of a value that was read; None if it cannot be used."""

    def shown(self, default: Any) -> str:
        """A default of the model as one would write it in the file."""


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a mapping, and the attribute of the model that it ``fills``: by default that of the same name.

    ``doc`` is its text in the reference. Without the key the attribute's default holds; where that is none, or does not
    say it, ``without`` has the words.
    """

    key: str
    type: Type
    doc: str
    required: bool = False
    without: str = ""
    examples: tuple[object, ...] = ()
    fills: str = ""

    @property
    def attribute(self) -> str:
        """The attribute that it fills."""
        return self.fills or self.key


class Block:
    """A mapping of the file after it was read: the usable values by key, and where they stand."""

    __slots__ = ("meant", "node", "path", "values")

    def __init__(self, node: Node, path: str) -> None:
        self.node = node
        self.path = path
        self.values: dict[str, Any] = {}
        self.meant: set[str] = set()
        """Known keys that unknown ones were probably meant to be: they are not missing."""

    def get(self, key: str) -> Any:
        """The value, or None if it is missing or unusable."""
        return self.values.get(key)

    def items(self, key: str) -> Any:
        """The usable items of a list or mapping; none if it is missing or unusable."""
        return self.values.get(key) or ()

    def has(self, key: str) -> bool:
        """Whether the key stands in the file, usable or not."""
        return key in self.node.entries

    def broken(self, key: str) -> bool:
        """Whether the key stands in the file with a value that is unusable (and was complained about)."""
        return key in self.node.entries and self.values.get(key) is None

    def at(self, key: str) -> Node:
        """The node of the key's value, or else that of the mapping."""
        return self.node.entries.get(key, self.node)

    def child(self, key: str) -> str:
        """The path of a key."""
        return f"{self.path}.{key}" if self.path else key


UNKNOWN = "unknown key"
_GUESSES = 100
"""So many unknown keys of a mapping are guessed at; of more, none is a slip of the pen."""
PLACES: dict[str, str] = {}
"""Where each key of the file belongs (for hints); filled by the tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """A mapping with known keys.

    ``one_of``: of each group of keys exactly one must be there. ``needs``: a key that only goes with another.
    ``model`` is the dataclass of the section that the mapping is a part of, whose attributes its keys fill; without one
    its keys fill nothing by themselves.
    """

    name: str = field(kw_only=False)
    fields: tuple[Field, ...] = field(kw_only=False)
    doc: str = ""
    one_of: tuple[tuple[str, ...], ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    unknown: str = UNKNOWN
    model: type[DataclassInstance] | None = None
    apart: Mapping[str, str] = field(default_factory=dict)
    """Keys and attributes that do not fill each other, with the reason: what the section's own code does for them."""
    keys: frozenset[str] = field(init=False)
    filling: tuple[Field, ...] = field(init=False)
    """The keys that fill attributes of the model."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", frozenset(item.key for item in self.fields))
        filling = tuple(item for item in self.fields if item.key not in self.apart and self.model is not None)
        object.__setattr__(self, "filling", filling)

    @property
    def words(self) -> str:
        """What it must be, for messages and the reference."""
        return "a mapping"

    def read(self, node: Node, path: str, reader: Reader) -> Block | None:
        """The mapping as a ``Block``; None only if it is no mapping at all."""
        if not is_mapping(node, path, reader, self.words):
            return None
        block = Block(node, path)
        entries = node.entries
        if not entries.keys() <= self.keys:
            self._unknown(block, reader)
        for item in self.fields:
            key = item.key
            value = entries.get(key)
            if value is None:
                if item.required and key not in block.meant:
                    hint = f"it is {item.type.words}".replace("`", "'")
                    at = node.keys.get(key, node)  # what an overlay removed, it did there
                    reader.add(at, block.child(key), "missing-key", f"'{key}' is missing", hint)
                continue
            if value.plain and value.empty:
                reader.add(
                    node.keys[key],
                    block.child(key),
                    "no-value",
                    f"'{key}' has no value",
                    "give it one, or remove the key",
                )
                continue
            block.values[key] = item.type.read(value, block.child(key), reader)
        for group in self.one_of:
            self._choose(block, group, reader)
        for key, other in self.needs.items():
            if key in entries and other not in entries:
                message = f"'{key}' goes with '{other}' only"
                reader.add(
                    node.keys[key], block.child(key), "key-conflict", message, f"remove it, or add '{other}'"
                )
        return block

    def _unknown(self, block: Block, reader: Reader) -> None:
        known = self.keys
        free = known - set(block.node.entries)
        unknown = [(key, node) for key, node in block.node.keys.items() if key not in known]
        for number, (key, node) in enumerate(unknown):
            if SECRET_WORDS.fullmatch(key):
                reader.add(
                    node,
                    block.child(key),
                    "inline-secret",
                    f"{shown(key, 30)} does not belong in an SLO file: credentials come from the environment",
                    secret_hint(block.path),
                )
                continue
            hint = nearest(key, known) if number < _GUESSES else ""
            if number < _GUESSES and (meant := closest(key, free)) is not None:
                block.meant.add(meant)
            elif key in PLACES and self.unknown == UNKNOWN:
                hint = f"'{key}' belongs under {PLACES[key]}"
            reader.add(node, block.child(key), "unknown-key", f"{self.unknown} {shown(key)}", hint)

    def _choose(self, block: Block, group: tuple[str, ...], reader: Reader) -> None:
        there = [key for key in group if key in block.node.entries]
        if len(there) == 1:
            return
        names = ", ".join(f"'{key}'" for key in group[:-1]) + f" or '{group[-1]}'"
        if there:
            both = " and ".join(f"'{key}'" for key in there)
            message, hint = f"{both} exclude each other", f"keep one of {names}"
            at = block.node.keys[there[-1]]
        else:
            if block.meant & set(group):
                return
            message, hint, at = f"one of {names} is missing", "", block.node
        reader.add(at, block.path, "key-conflict" if there else "missing-key", message, hint)

    def schema(self, defs: Json) -> Json:
        """A reference to the object's own schema, which goes to ``defs``."""
        if self.name not in defs:
            defs[self.name] = {}
            defs[self.name] = self._own_schema(defs)
        return {"$ref": f"#/$defs/{self.name}"}

    def _own_schema(self, defs: Json) -> Json:
        own: Json = {"type": "object", "additionalProperties": False}
        if self.doc:
            own["description"] = _first_line(self.doc)
        own["properties"] = {item.key: field_schema(item, defs) for item in self.fields}
        required = [item.key for item in self.fields if item.required]
        if required:
            own["required"] = required
        if self.one_of:
            own["allOf"] = [{"oneOf": [{"required": [key]} for key in group]} for group in self.one_of]
        if self.needs:
            own["dependentRequired"] = {key: [other] for key, other in self.needs.items()}
        return own

    def build(self, found: Block, reader: Reader) -> Any:
        """The attributes that the mapping fills in the section around it, by name."""
        return self.attributes(found, reader)

    def attributes(self, block: Block, reader: Reader) -> dict[str, Any]:
        """What the usable keys of a mapping fill: attributes of the model by name."""
        filled: dict[str, Any] = {}
        for item in self.filling:
            found = block.values.get(item.key)
            if found is None or found == []:
                continue
            value = item.type.build(found, reader)
            if isinstance(value, dict):
                filled |= value
            elif value is not None:
                filled[item.attribute] = value
        return filled

    def shown(self, default: Any) -> str:
        """Nothing: the keys' own defaults tell it."""
        return ""

    def without(self, item: Field) -> str:
        """What holds without a key, for the reference: its own words, or else the default of its attribute."""
        if item.without or self.model is None or item not in self.filling:
            return item.without
        default = defaults(self.model).get(item.attribute)
        return "" if default is None or default in ("", ()) else item.type.shown(default)


Rule = Callable[[Block, Reader], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section(Object, Generic[M]):
    """A mapping with known keys that becomes a dataclass of its own, once its rules have been looked at."""

    model: type[M]
    rules: list[Rule] = field(default_factory=list)

    def rule(self, rule: Rule) -> Rule:
        """Add what a table cannot say, as a decorator: what must hold across keys, or within one that was read."""
        self.rules.append(rule)
        return rule

    def build(self, found: Block | None, reader: Reader, **given: Any) -> M | None:
        """The dataclass that a mapping says (None: there is no such mapping), with attributes that are ``given``.

        None if an attribute without default has no usable value.
        """
        values = given
        if found is not None:
            for rule in self.rules:
                rule(found, reader)
            values = self.attributes(found, reader) | given
        make: Callable[..., M] = self.model
        return make(**values) if needed(self.model) <= values.keys() else None


@cache
def defaults(model: type[DataclassInstance]) -> dict[str, Any]:
    """The defaults of a dataclass's attributes, by name."""
    return {
        item.name: item.default
        for item in dataclasses.fields(model)
        if item.default is not dataclasses.MISSING
    }


@cache
def needed(model: type[DataclassInstance]) -> frozenset[str]:
    """The attributes of a dataclass that have no default."""
    return frozenset(item.name for item in dataclasses.fields(model)) - defaults(model).keys()


def secret_hint(path: str) -> str:
    """Where a secret of this part of the file comes from instead."""
    if path.startswith("kubernetes"):
        return "keep it in a Kubernetes Secret, and name that with name/key"
    if path.startswith("notifications"):
        return "keep it in a Kubernetes Secret or a file, and name that with 'secret: name/key'"
    if path.startswith(("reports", "jobs")):
        return "set it in the environment of the command that posts"
    if path.startswith("sources.") and not path.startswith("sources.prometheus"):
        return "set it in the environment of the command that asks this server"
    return "set SLOCTL_PROMETHEUS_TOKEN or SLOCTL_PROMETHEUS_TOKEN_FILE (headers: SLOCTL_PROMETHEUS_HEADERS)"


def field_schema(item: Field, defs: Json) -> Json:
    """A key's type with its documentation."""
    extra: Json = {"description": item.doc.replace("`", "'")}
    if item.examples:
        extra["examples"] = list(item.examples)
    return {**item.type.schema(defs), **extra}


def _first_line(doc: str) -> str:
    text = doc.strip().split("\n")[0].replace("`", "'")
    return re.split(r"(?<=[a-z'%)])\. ", text)[0].rstrip(".")


def is_mapping(node: Node, path: str, reader: Reader, words: str) -> bool:
    """Whether the node is a mapping; notes a problem if not."""
    if node.kind == MAPPING:
        return True
    reader.add(node, path, "wrong-type", f"{last(path)} must be {words}, not {kind_words(node)}")
    return False


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


def _listed(names: Sequence[str], word: str) -> str:
    """``'a', 'b' or 'c'``."""
    *first, last = (f"'{name}'" for name in names)
    return f"{', '.join(first)} {word} {last}"


@dataclass(frozen=True, slots=True)
class Variants:
    """A mapping whose keys depend on the value of one of them (``key``), or on which of ``others`` is there instead."""

    key: str
    objects: Mapping[str, Object]
    others: Mapping[str, Object]
    choice: Type
    words: str

    def read(self, node: Node, path: str, reader: Reader) -> Block | None:
        """The mapping read as the variant that it names."""
        if not is_mapping(node, path, reader, self.words):
            return None
        keys = (self.key, *self.others)
        found = [key for key in keys if key in node.entries]
        if len(found) != 1:
            if found:
                later = max((node.keys[key] for key in found), key=lambda n: (n.line, n.column))
                message = f"{_listed(found, 'and')} exclude each other"
                reader.add(later, path, "key-conflict", message, f"keep one of {_listed(found, 'or')}")
            else:
                reader.add(node, path, "missing-key", f"one of {_listed(keys, 'or')} is missing")
            return Block(node, path)
        if found[0] in self.others:
            return self.others[found[0]].read(node, path, reader)
        chosen = self.choice.read(node.entries[self.key], f"{path}.{self.key}", reader)
        return Block(node, path) if chosen is None else self.objects[chosen].read(node, path, reader)

    def schema(self, defs: Json) -> Json:
        """JSON Schema: exactly one of the variants."""
        return {"oneOf": [shape.schema(defs) for shape in (*self.objects.values(), *self.others.values())]}

    def build(self, found: Block, reader: Reader) -> Block:
        """The mapping itself: what it means depends on the variant."""
        return found

    def shown(self, default: Any) -> str:
        """Nothing: there is no default."""
        return ""
