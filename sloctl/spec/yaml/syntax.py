"""What PyYAML says about text that is not YAML, in the words of someone who wrote an SLO file."""

from __future__ import annotations

import re

from yaml.error import MarkedYAMLError

from sloctl.errors import Position, Problem

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
