"""Reads, checks and builds: the steps from paths to a set of SLOs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from sloctl.errors import InvalidFile, Problem, UsageError
from sloctl.model import SloSet
from sloctl.spec.fields.shapes import Block
from sloctl.spec.fields.values import Reader
from sloctl.spec.sections.file import FILE, build, is_empty
from sloctl.spec.yaml import files, mistaken, tree
from sloctl.spec.yaml.files import Source
from sloctl.spec.yaml.tree import problem_at


def load(paths: Sequence[Path], *, stdin: IO[bytes] | None = None) -> SloSet:
    """The SLOs of some files and folders; ``Path("-")`` reads ``stdin``. Warnings ride in ``SloSet.warnings``.

    Raises ``InvalidFile`` with every problem, and ``UsageError`` if a path cannot be read.
    """
    return load_sources(read(paths, stdin=stdin))


def read(
    paths: Sequence[Path], *, stdin: IO[bytes] | None = None, left: list[Source] | None = None
) -> tuple[Source, ...]:
    """The files that some paths mean, as they are: what was read once can be loaded, and handed on.

    Files of a folder that have nothing to do with SLOs go to ``left``. Raises ``UsageError`` if a path cannot be read,
    or a folder has no other files.
    """
    found = [_judged(source) for source in files.read(paths, stdin)]
    alone = [source for source in found if source.left]
    if len(alone) == len(found):
        why = "; ".join(f"{source.name}: {source.left}" for source in alone[:5])
        raise UsageError(
            "there is no SLO file in the folder", hint=f"left alone: {why}{'; …' * (len(alone) > 5)}"
        )
    if left is not None:
        left += alone
    return tuple(source for source in found if not source.left)


def _judged(source: Source) -> Source:
    """A file of a folder, with what it is if that has nothing to do with SLOs."""
    if not source.found or source.left or not isinstance(text := files.decode(source), str):
        return source
    return replace(
        source, left=mistaken.left_alone(source.name, text, template=files.chart_template(source.name))
    )


def load_sources(sources: Sequence[Source]) -> SloSet:
    """The SLOs of files that were read. Raises ``InvalidFile`` with every problem."""
    slo_set, problems = check_sources(sources)
    if slo_set is None:
        raise InvalidFile(problems)
    return slo_set


def check(paths: Sequence[Path], *, stdin: IO[bytes] | None = None) -> tuple[SloSet | None, list[Problem]]:
    """The SLOs (None if there are errors) and all problems, sorted by place.

    Raises ``UsageError`` if a path cannot be read.
    """
    return check_sources(read(paths, stdin=stdin))


def check_sources(sources: Sequence[Source]) -> tuple[SloSet | None, list[Problem]]:
    """The same of files that were read."""
    reader = Reader()
    documents: list[Block] = []
    complete = True
    for source in sources:
        blocks = _documents(source, reader)
        complete = complete and blocks is not None
        documents += blocks or []
    slo_set = build(documents, reader, complete=complete) if documents else None
    found = reader.problems
    for source in sources:
        if isinstance(text := files.decode(source), str):
            found = mistaken.explained(found, source.name, text)
    problems = _sorted(found)
    if slo_set is not None:
        slo_set = replace(slo_set, warnings=tuple(problems))
    return slo_set, problems


def _documents(source: Source, reader: Reader) -> list[Block] | None:
    text = files.decode(source)
    if isinstance(text, Problem):
        reader.problems.append(text)
        return None
    roots = tree.parse(text, source.name, reader.problems)
    if roots is None:
        return None
    roots = [root for root in roots if not is_empty(root)]
    if not roots:
        hint = "'sloctl init' writes a first one"
        reader.problems.append(problem_at(source.name, 1, 1, "empty-file", "the file is empty", hint))
        return None
    if others := [problem for root in roots if (problem := mistaken.other_format(root))]:
        reader.problems += others
        return None
    blocks = [FILE.read(root, "", reader) for root in roots]
    return [block for block in blocks if block is not None] if None not in blocks else None


def _sorted(problems: Sequence[Problem]) -> list[Problem]:
    """By place; what an alias repeats is said once."""
    seen: dict[tuple[object, ...], Problem] = {}
    for problem in problems:
        seen.setdefault((problem.position, problem.code, problem.message), problem)
    return sorted(seen.values(), key=lambda problem: (problem.position, problem.severity, problem.field))
