"""Mappings, lists and alternatives of fields: how each is read, and its JSON Schema.

A table of :class:`Field` objects is the one description of the file: the loader, the JSON Schema and the
reference all come from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sloctl.spec.fields.reader import SECRET_WORDS, Reader, closest, kind_words, last, nearest
from sloctl.spec.fields.scalars import Json
from sloctl.spec.yaml.tree import MAPPING, Node
from sloctl.spec.yaml.wording import shown


class Type(Protocol):
    """What a value must be."""

    @property
    def words(self) -> str:
        """What it must be, for messages and the reference."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        """The value; None, with the problems noted, if it cannot be used."""

    def schema(self, defs: Json) -> Json:
        """JSON Schema of the value; shared parts go to ``defs``."""


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a mapping. ``doc`` is its text in the reference, ``default`` what holds without it."""

    key: str
    type: Type
    doc: str
    required: bool = False
    default: str = ""
    examples: tuple[object, ...] = ()


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
PLACES: dict[str, str] = {}
"""Where each key of the file belongs (for hints); filled by the tables."""


@dataclass(frozen=True, slots=True)
class Object:
    """A mapping with known keys.

    ``one_of``: of each group of keys exactly one must be there. ``needs``: a key that only goes with another.
    """

    name: str
    fields: tuple[Field, ...]
    doc: str = ""
    example: str = ""
    one_of: tuple[tuple[str, ...], ...] = ()
    needs: Mapping[str, str] = field(default_factory=dict)
    words: str = "a mapping"
    unknown: str = UNKNOWN

    def read(self, node: Node, path: str, reader: Reader) -> Block | None:
        """The mapping as a ``Block``; None only if it is no mapping at all."""
        if not is_mapping(node, path, reader, self.words):
            return None
        block = Block(node, path)
        entries = node.entries
        if not entries.keys() <= {item.key for item in self.fields}:
            self._unknown(block, reader)
        for item in self.fields:
            key = item.key
            value = entries.get(key)
            if value is None:
                if item.required and key not in block.meant:
                    hint = f"it is {item.type.words}".replace("`", "'")
                    reader.add(node, block.child(key), "missing-key", f"'{key}' is missing", hint)
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
        known = {item.key for item in self.fields}
        for key, node in block.node.keys.items():
            if key in known:
                continue
            if SECRET_WORDS.fullmatch(key):
                reader.add(
                    node,
                    block.child(key),
                    "inline-secret",
                    f"{shown(key, 30)} does not belong in an SLO file: credentials come from the environment",
                    secret_hint(block.path),
                )
                continue
            hint = nearest(key, known)
            if (meant := closest(key, known - block.node.entries.keys())) is not None:
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
