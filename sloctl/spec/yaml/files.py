"""Finds and reads SLO files: paths, folders and what these leave out, standard input, encodings and size. Knows no
YAML.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from sloctl.errors import Problem, UsageError
from sloctl.spec.yaml.tree import forbidden_character, problem_at

MAX_BYTES = 10 * 1024 * 1024
SUFFIXES = (".yaml", ".yml")
STDIN = "<stdin>"
MISSING = "check the path; 'sloctl init' writes a first file"
IGNORE = ".sloctlignore"
"""The file of a folder that says which files below it are none of ours: a pattern in each line."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file's name, as messages show it, and its content.

    ``found``: nobody named it, it lies in a folder that was named. ``left`` says why such a file is left alone.
    """

    name: str
    content: bytes
    found: bool = False
    left: str = ""


def read(
    paths: Sequence[Path],
    stdin: IO[bytes] | None,
    suffixes: tuple[str, ...] = SUFFIXES,
    missing: str = MISSING,
) -> Iterator[Source]:
    """Every file that the paths mean, each once: files, folders, and ``-`` for ``stdin``.

    Of a folder, those are read whose names end with one of ``suffixes``. ``missing`` is the remedy for a file that is
    not there.

    Raises ``UsageError`` for what cannot be found or read.
    """
    if not paths:
        raise UsageError("no SLO file given", hint="name a file or a folder, or '-' for standard input")
    seen = set()
    for path in paths:
        if str(path) == "-":
            if STDIN not in seen:
                seen.add(STDIN)
                yield Source(STDIN, _read_stdin(stdin))
            continue
        for file, found, left in _files(path, suffixes):
            real = _real(file)
            if real not in seen:
                seen.add(real)
                yield Source(_name(file), b"" if left else _read_file(file, missing), found, left)


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)  # reading it says why


def _read_stdin(stdin: IO[bytes] | None) -> bytes:
    if stdin is None:
        raise UsageError("there is no standard input to read", hint="name a file or a folder")
    try:
        return stdin.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read standard input: {_why(error)}") from None


def _read_file(path: Path, missing: str = MISSING) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {_name(path)}: {_why(error)}", hint=_hint(error, missing)) from None


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return "not a usable path" if isinstance(error, ValueError) else "it cannot be read"


def _hint(error: Exception, missing: str = MISSING) -> str:
    if isinstance(error, FileNotFoundError):
        return missing
    return "check who may read it" if isinstance(error, PermissionError) else ""


def _name(path: Path) -> str:
    return "".join(char if char.isprintable() else "?" for char in str(path))


def _files(path: Path, suffixes: tuple[str, ...]) -> list[tuple[Path, bool, str]]:
    """The file itself, or all files with such names below the folder in a stable order, without hidden ones.

    With each: whether it was found in a folder, and the pattern by which that leaves it alone.
    """
    try:
        if not path.is_dir():
            return [(path, False, "")]
    except (OSError, ValueError):
        return [(path, False, "")]  # reading it says why
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot read {_name(path)}: {_why(error)}", hint=_hint(error))

    for folder, folders, names in os.walk(path, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(folder) / name
            for name in names
            if not name.startswith(".") and name.lower().endswith(suffixes)
        ]
    if not found:
        named = " or ".join(f"*{suffix}" for suffix in suffixes)
        raise UsageError(f"no {named} file in {_name(path)}", hint="hidden files are not read")
    patterns = _patterns(path / IGNORE)
    ordered = sorted(found, key=lambda file: file.relative_to(path).parts)
    return [(file, True, _ignored(file.relative_to(path), patterns)) for file in ordered]


def _patterns(file: Path) -> list[str]:
    if not file.exists():
        return []
    lines = _read_file(file).decode("utf-8-sig", "replace").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _ignored(file: Path, patterns: Sequence[str]) -> str:
    """The first pattern that a file, or a folder that it is in, matches: by its name, or by its path."""
    parts = file.parts
    for pattern in patterns:
        wanted = pattern.strip("/")
        for depth, name in enumerate(parts, 1):
            if depth == len(parts) and pattern.endswith("/"):
                continue
            inner = "/" in wanted or pattern.startswith("/")
            if fnmatchcase("/".join(parts[:depth]) if inner else name, wanted):
                return f"said to be none of ours ('{pattern}' in {IGNORE})"
    return ""


def chart_template(name: str) -> bool:
    """Whether a file lies in the folder of the templates of a Helm chart."""
    path = Path(name)
    return any(
        folder.name == "templates" and (folder.parent / "Chart.yaml").is_file() for folder in path.parents
    )


def decode(source: Source) -> str | Problem:
    """A file's text, or why it is none."""
    name, content = source.name, source.content
    if len(content) > MAX_BYTES:
        size = MAX_BYTES // 1024 // 1024
        return problem_at(name, 1, 1, "too-large", f"the file is larger than {size} MiB", "split it")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return problem_at(name, 1, 1, "encoding", "the file is UTF-16, not UTF-8", "save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        message = f"the file is not UTF-8: byte 0x{content[error.start]:02x}"
        return problem_at(name, line, column, "encoding", message, "save it as UTF-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return forbidden_character(text, name) or text
