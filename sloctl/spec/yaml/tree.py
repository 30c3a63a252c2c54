"""YAML text as a tree of nodes that know where they stand, and what is wrong with text that is no YAML.

Built from YAML events rather than from PyYAML's own objects: nothing is converted (``99.9`` stays text, never a float),
nothing recurses, and aliases are counted before they are expanded. What PyYAML says is put into the words of someone
who wrote an SLO file. Knows nothing of SLOs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

import yaml
from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from sloctl.errors import Position, Problem
from sloctl.spec.yaml.wording import shown

# What YAML does not allow, and the line breaks and marks that editors do not show.
_CONTROL = re.compile(
    r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)

_QUOTE = "put values that contain ': ' in quotes, and check the indentation"
_STAR = ("a plain value cannot start with '*' or '&'", 'put it in quotes: "*"')
_BRACKET = (
    "a bracket or brace that opens here is not closed, or lacks a ','",
    "close it, or put text with brackets in quotes",
)

# A part of what the parser says: our words and a hint.
_MESSAGES: dict[str, tuple[str, str]] = {
    "cannot start any token": (
        "this character cannot start a value",
        "put the value in quotes; indent with spaces, not tabs",
    ),
    "expected alphabetic or numeric character": _STAR,
    "mapping values are not allowed": ("a ':' stands where no key can be", _QUOTE),
    "sequence entries are not allowed": (
        "a list cannot start here",
        "put its first '- …' on a line of its own",
    ),
    "could not find expected ':'": ("this key has no ':'", "write 'key: value', and check the quotes above"),
    "unexpected end of stream": ("this quotation mark is not closed before the end of the file", "close it"),
    "unexpected document indicator": (
        "this quotation mark is not closed before the next document",
        "close it",
    ),
    "unknown escape character": (
        "unknown escape in double quotes",
        "use single quotes to mean the backslash",
    ),
    "invalid Unicode character": ("this escape is no character", "use single quotes to mean the backslash"),
    "expected key": (
        "a key was expected here",
        "check the indentation, and the brackets and quotes before it",
    ),
    "expected '-' indicator": ("a list item ('- …') was expected here", "check the indentation"),
    "expected <block end>": ("this does not fit what is above it", "check the indentation"),
    "expected ',' or": _BRACKET,
    "expected node content": _BRACKET,
    "tab character": ("a tab cannot indent", "use spaces"),
    "<document start>": ("a new document starts with '---'", "remove the '...', or write '---' after it"),
}
_AT_ITS_START = re.compile(
    "while (scanning an? (quoted scalar|alias|anchor)|parsing a flow (sequence|mapping|node))"
)


def problem_at(file: str, line: int, column: int, code: str, message: str, hint: str = "") -> Problem:
    """An error at a place, outside of any known field."""
    return Problem(Position(file, line, column), "error", code, "", message, hint)


def syntax_problem(error: Exception, file: str, text: str, opened: tuple[int, int] | None) -> Problem:
    """A YAML error as a problem at its mark. Never quotes the text: it might be a secret.

    ``opened`` is the place of the innermost bracket that is not closed yet.
    """
    line, column, said = 1, 1, "not YAML"
    if isinstance(error, MarkedYAMLError):
        said = error.problem or said
        at_start = _AT_ITS_START.fullmatch(error.context or "")
        mark = (at_start and error.context_mark) or error.problem_mark or error.context_mark
        if mark is not None:
            line, column = mark.line + 1, mark.column + 1
            lines = text.split("\n")
            if line > len(lines):
                line, column = len(lines), len(lines[-1]) + 1
    for part, (message, hint) in _MESSAGES.items():
        if part in said:
            if message == _BRACKET[0] and opened is not None:
                line, column = opened
            return problem_at(file, line, column, "yaml-syntax", message, hint)
    said = re.sub(r",? (but )?(found|got|for) .*", "", said)
    return problem_at(file, line, column, "yaml-syntax", f"not valid YAML: {said}")


def forbidden_character(text: str, file: str) -> Problem | None:
    """The first character that YAML does not allow in a file, if there is one."""
    match = _CONTROL.search(text)
    if match is None:
        return None
    line = text.count("\n", 0, match.start()) + 1
    column = match.start() - (text.rfind("\n", 0, match.start()) + 1) + 1
    return problem_at(
        file,
        line,
        column,
        "control-character",
        f"control character U+{ord(match[0]):04X} in the text",
        "remove it",
    )


MAX_NODES: Final = 500_000
MAX_EXPANDED: Final = 100_000
MAX_DEPTH: Final = 50

MAPPING: Final = "mapping"
LIST: Final = "list"
SCALAR: Final = "scalar"
NodeKind = Literal["mapping", "list", "scalar"]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAGS = {
    "mapping": ("tag:yaml.org,2002:map",),
    "list": ("tag:yaml.org,2002:seq",),
    "scalar": ("tag:yaml.org,2002:str", "!"),
}
_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers
_ANY_RESOLVERS = _RESOLVERS.get(None, [])


class Node:
    """One value of a file; ``file``, ``line`` and ``column`` (from 1) say where it starts.

    A scalar holds its ``text``, and ``plain`` tells that it was written without quotes. A mapping holds
    ``entries`` by key and the ``keys``' own nodes. A list holds ``items``. ``size`` counts the nodes in it,
    ``height`` its levels. ``written`` is the text of the file where variables were ``filled`` in, and ``patched``
    tells that an overlay put the node where it is.
    """

    __slots__ = (
        "column",
        "entries",
        "file",
        "filled",
        "height",
        "items",
        "keys",
        "kind",
        "line",
        "patched",
        "plain",
        "size",
        "text",
        "written",
    )

    def __init__(self, kind: NodeKind, file: str, line: int, column: int) -> None:
        self.kind = kind
        self.file = file
        self.line = line
        self.column = column
        self.text = ""
        self.plain = False
        self.written = ""
        self.filled: tuple[str, ...] = ()
        self.patched = False
        self.size = 1
        self.height = 1
        self.entries: dict[str, Node] = {} if kind == MAPPING else _NOTHING
        self.keys: dict[str, Node] = {} if kind == MAPPING else _NOTHING
        self.items: list[Node] = [] if kind == LIST else _NO_ITEMS

    def same(self, other: Node) -> bool:
        """Whether both say the same, wherever they stand and in whatever order their keys are."""
        if self.kind != other.kind:
            return False
        if self.kind == SCALAR:
            return self.text == other.text and self.implicit == other.implicit
        if self.kind == LIST:
            return len(self.items) == len(other.items) and all(
                mine.same(theirs) for mine, theirs in zip(self.items, other.items, strict=True)
            )
        return self.entries.keys() == other.entries.keys() and all(
            value.same(other.entries[key]) for key, value in self.entries.items()
        )

    def copy(self) -> Node:
        """A node of its own, whose parts are the same."""
        copy = Node(self.kind, self.file, self.line, self.column)
        for name in ("text", "plain", "size", "height", "written", "filled", "patched"):
            setattr(copy, name, getattr(self, name))
        if self.kind == MAPPING:
            copy.entries, copy.keys = dict(self.entries), dict(self.keys)
        elif self.kind == LIST:
            copy.items = list(self.items)
        return copy

    @property
    def implicit(self) -> str:
        """What YAML 1.1 makes of a plain scalar: bool, int, float, null, timestamp, …; empty for text."""
        if not self.plain:
            return ""
        for tag, pattern in (*_RESOLVERS.get(self.text[:1], ()), *_ANY_RESOLVERS):
            if pattern.match(self.text):
                return str(tag).rpartition(":")[2]
        return ""

    @property
    def empty(self) -> bool:
        """Whether there is no value at all (``key:``, ``~``, ``null``)."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


# Shared by all nodes that have none, and never changed: most nodes are scalars.
_NOTHING: dict[str, Node] = {}
_NO_ITEMS: list[Node] = []


class _Stop(Exception):
    """Parsing this file cannot go on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class _Builder:
    """Turns the events of one file into documents; collects what is wrong in ``problems``."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        self.count = 0
        self.expanded = 0
        self.stack: list[_Open] = []
        self.anchors: dict[str, Node | None] = {}
        """The node of each anchor of the document; None while it is being read."""

    def documents(self, text: str) -> Iterator[Node]:
        """Yield each document's root; raises ``_Stop`` where the text is not YAML that sloctl reads."""
        for event in yaml.parse(text, Loader=_Loader):
            node = self._complete(event)
            if node is None:
                continue
            if self.stack:
                self._add(self.stack[-1], node)
            else:
                yield node

    def _complete(self, event: Event) -> Node | None:
        """The node that an event completes: a scalar, an alias, or a collection that ends."""
        if isinstance(event, ScalarEvent):
            node = self._node(event)
            return node if event.anchor is None else self._anchored(event.anchor, node)
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if isinstance(event, CollectionStartEvent):
            self._open(event)
        elif isinstance(event, CollectionEndEvent):
            return self._close()
        elif isinstance(event, DocumentStartEvent):
            self.anchors = {}
        return None

    def _anchored(self, anchor: str | None, node: Node) -> Node:
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def _open(self, event: CollectionStartEvent) -> None:
        node = self._node(event)
        if len(self.stack) >= MAX_DEPTH:
            raise self._stop(node, "depth", f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Open(node, event))

    def _close(self) -> Node:
        done = self.stack.pop()
        if done.node.kind == MAPPING:
            self._merge(done)
        return self._anchored(done.anchor, done.node)

    def _stop(self, node: Node, code: str, message: str, hint: str = "") -> _Stop:
        return _Stop(problem_at(self.file, node.line, node.column, code, message, hint))

    def _error(self, node: Node, code: str, message: str, hint: str = "") -> None:
        self.problems.append(problem_at(self.file, node.line, node.column, code, message, hint))

    def _start(self, kind: NodeKind, event: NodeEvent) -> Node:
        mark = event.start_mark
        if mark is None:  # PyYAML's parsers always set it; its types do not say so
            return Node(kind, self.file, 1, 1)
        return Node(kind, self.file, mark.line + 1, mark.column + 1)

    def _node(self, event: NodeEvent) -> Node:
        kind: NodeKind = SCALAR
        if isinstance(event, MappingStartEvent):
            kind = MAPPING
        elif isinstance(event, SequenceStartEvent):
            kind = LIST
        node = self._start(kind, event)
        self.count += 1
        if self.count > MAX_NODES:
            raise self._stop(node, "too-large", f"more than {MAX_NODES} values in one file", "split the file")
        tag = getattr(event, "tag", None)
        if isinstance(event, ScalarEvent):
            node.text = event.value
            node.plain = event.implicit[0] and tag is None
        if tag is not None and tag not in _TAGS[kind]:
            message = "YAML tags are not allowed here"
            self._error(node, "yaml-tag", message, "remove the word that starts with '!'")
        return node

    def _alias(self, event: AliasEvent) -> Node:
        here = self._start(SCALAR, event)
        if event.anchor not in self.anchors:
            raise self._stop(
                here,
                "yaml-alias",
                "this alias names no anchor above it",
                "a plain value cannot start with '*': put it in quotes",
            )
        target = self.anchors[event.anchor]
        if target is None:
            raise self._stop(here, "yaml-alias", "this alias contains itself", "write the value out")
        if len(self.stack) + target.height > MAX_DEPTH:
            raise self._stop(here, "depth", f"nested deeper than {MAX_DEPTH} levels")
        self.expanded += target.size
        if self.expanded > MAX_EXPANDED:
            raise self._stop(
                here,
                "yaml-alias",
                f"aliases expand to more than {MAX_EXPANDED} values",
                "write the values out",
            )
        return target

    def _add(self, parent: _Open, node: Node) -> None:
        parent.node.size += node.size
        parent.node.height = max(parent.node.height, node.height + 1)
        if parent.node.kind == LIST:
            parent.node.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            key, parent.key = parent.key, None
            if key.kind != SCALAR:
                self._error(key, "yaml-key", "a key must be plain text", "put braces that are text in quotes")
            elif key.plain and key.text == "<<":
                parent.merges.append((key, node))
            elif key.text in parent.node.keys:
                first = parent.node.keys[key.text].line
                self._error(
                    key,
                    "duplicate-key",
                    f"key {shown(key.text)} appears twice",
                    f"it is also in line {first}",
                )
            else:
                parent.node.keys[key.text] = key
                parent.node.entries[key.text] = node

    def _merge(self, done: _Open) -> None:
        """Apply ``<<`` keys: what is written in the mapping itself wins, then the first source."""
        for key, value in done.merges:
            for source in value.items if value.kind == LIST else [value]:
                if source.kind != MAPPING:
                    self._error(
                        key, "yaml-merge", "'<<' merges mappings only", "write '<<: *name-of-a-mapping'"
                    )
                    continue
                for name, entry in source.entries.items():
                    done.node.entries.setdefault(name, entry)
                    done.node.keys.setdefault(name, source.keys[name])


class _Open:
    """A mapping or list that is being read."""

    __slots__ = ("anchor", "flow", "key", "merges", "node")

    def __init__(self, node: Node, event: NodeEvent) -> None:
        self.node = node
        self.anchor = event.anchor
        self.flow = bool(getattr(event, "flow_style", False))
        self.key: Node | None = None
        self.merges: list[tuple[Node, Node]] = []


def parse(text: str, file: str, problems: list[Problem]) -> list[Node] | None:
    """The documents of a YAML text; None if it cannot be read to its end (then ``problems`` says why)."""
    builder = _Builder(file, problems)
    try:
        return list(builder.documents(text))
    except _Stop as stop:
        problems.append(stop.problem)
    except (yaml.YAMLError, RecursionError) as error:
        bracket = next((level.node for level in reversed(builder.stack) if level.flow), None)
        opened = (bracket.line, bracket.column) if bracket is not None else None
        problems.append(syntax_problem(error, file, text, opened))
    return None
