"""Collects problems while nodes are read, and words them alike. Knows places, not meanings."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sloctl.errors import Position, Problem, Severity
from sloctl.spec.yaml.tree import LIST, MAPPING, Node

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

    def add(
        self, node: Node, path: str, code: str, message: str, hint: str = "", *, severity: Severity = "error"
    ) -> None:
        """Note a problem at a node."""
        self.problems.append(Problem(position(node), severity, code, path, message, hint))

    def complain(self, node: Node, path: str, complaint: Complaint) -> None:
        """Note a complaint at a node."""
        self.add(node, path, complaint.code, complaint.message, complaint.hint)

    @property
    def failed(self) -> bool:
        """Whether any problem so far is an error."""
        return any(problem.severity == "error" for problem in self.problems)
