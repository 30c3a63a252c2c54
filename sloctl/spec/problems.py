"""Problems as people and programs read them. Problems are data; this module only renders.

The JSON form is an interface: a list of objects with the keys ``file``, ``line``, ``column`` (from 1),
``severity`` ("error" or "warning"), ``code``, ``field`` (path of the key), ``message`` and ``hint`` (or "").
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sloctl.errors import Position, Problem
from sloctl.spec.yaml.files import MAX_BYTES

_SECRET_LINE = re.compile(
    r"passw|token|secret|authorization|bearer|api_?-?key|credential|header|webhook|xox[a-z]-|hooks\.|"
    r"://[^/\s]*@",
    re.IGNORECASE,
)
_WIDTH = 160
Lines = Callable[[Position], str | None]


def render_text(problems: Iterable[Problem], *, lines: Lines | None = None) -> str:
    """``file:line:column: severity: message [code]``, with the hint below; ``lines`` adds the line itself.

    A line that may hold a secret is never shown.
    """
    out = []
    problems = list(problems)
    secret = {_line(problem) for problem in problems if problem.code == "inline-secret"}
    for problem in problems:
        out.append(f"{problem.position}: {problem.severity}: {problem.message} [{problem.code}]")
        if lines is not None and _line(problem) not in secret:
            out += _excerpt(problem, lines)
        if problem.hint:
            out.append(f"  hint: {problem.hint}")
    return "".join(f"{line}\n" for line in out)


def _line(problem: Problem) -> tuple[str, int]:
    return problem.position.file, problem.position.line


def _excerpt(problem: Problem, lines: Lines) -> list[str]:
    if problem.code in ("inline-secret", "bad-url", "control-character", "encoding"):
        return []
    line = lines(problem.position)
    column = problem.position.column
    if not line or not line.strip() or _SECRET_LINE.search(line):
        return []
    cut = max(0, column - _WIDTH // 2) if len(line) > _WIDTH else 0
    shown = "".join(char if char.isprintable() else " " for char in line[cut : cut + _WIDTH].rstrip())
    return [f"  | {shown}", f"  | {' ' * (column - 1 - cut)}^"]


def source_lines(problems: Sequence[Problem], *, texts: Mapping[str, str] | None = None) -> Lines:
    """Looks up lines of the files that the problems are in; ``texts`` holds those that are no files."""
    cache: dict[str, list[str]] = {name: re.split(r"\r\n?|\n", text) for name, text in (texts or {}).items()}

    def line(position: Position) -> str | None:
        if position.file not in cache:
            try:
                with Path(position.file).open("rb") as file:
                    content = file.read(MAX_BYTES)
            except (OSError, ValueError):
                content = b""
            cache[position.file] = re.split(r"\r\n?|\n", content.decode("utf-8-sig", "replace"))
        found = cache[position.file]
        return found[position.line - 1] if 0 < position.line <= len(found) else None

    return line


def as_objects(problems: Iterable[Problem]) -> list[dict[str, object]]:
    """Problems as JSON objects."""
    return [
        {
            "file": problem.position.file,
            "line": problem.position.line,
            "column": problem.position.column,
            "severity": problem.severity,
            "code": problem.code,
            "field": problem.field,
            "message": problem.message,
            "hint": problem.hint,
        }
        for problem in problems
    ]


def render_json(problems: Iterable[Problem]) -> str:
    """Problems as a JSON list."""
    return json.dumps(as_objects(problems), indent=2) + "\n"
