"""Reads, checks and builds: the steps from paths to a set of SLOs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from sloctl.errors import InvalidFile, Problem, UsageError
from sloctl.model import SloSet
from sloctl.spec.fields.values import Reader
from sloctl.spec.sections import env, overlay
from sloctl.spec.sections.file import FILE, build, is_empty
from sloctl.spec.yaml import files, mistaken, tree
from sloctl.spec.yaml.files import Source
from sloctl.spec.yaml.tree import Node, problem_at

Environment = Mapping[str, str]
"""The variables that files may have filled in, where they name them."""
_NONE: Environment = {}


def load(
    paths: Sequence[Path], *, stdin: IO[bytes] | None = None, environment: Environment = _NONE
) -> SloSet:
    """The SLOs of some files and folders; ``Path("-")`` reads ``stdin``. Warnings ride in ``SloSet.warnings``.

    Raises ``InvalidFile`` with every problem, and ``UsageError`` if a path cannot be read.
    """
    return load_sources(read(paths, stdin=stdin), environment)


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


def load_sources(sources: Sequence[Source], environment: Environment = _NONE) -> SloSet:
    """The SLOs of files that were read. Raises ``InvalidFile`` with every problem."""
    slo_set, problems = check_sources(sources, environment)
    if slo_set is None:
        raise InvalidFile(problems)
    return slo_set


def check(
    paths: Sequence[Path], *, stdin: IO[bytes] | None = None, environment: Environment = _NONE
) -> tuple[SloSet | None, list[Problem]]:
    """The SLOs (None if there are errors) and all problems, sorted by place.

    Raises ``UsageError`` if a path cannot be read.
    """
    return check_sources(read(paths, stdin=stdin), environment)


def check_sources(
    sources: Sequence[Source], environment: Environment = _NONE
) -> tuple[SloSet | None, list[Problem]]:
    """The same of files that were read."""
    reader = Reader()
    roots: list[Node] = []
    complete = True
    for source in sources:
        found = _documents(source, reader)
        complete = complete and found is not None
        roots += found or []
    variables = env.together([env.fill(root, environment, reader) for root in roots], reader)
    overlays = [root for root in roots if overlay.is_overlay(root)]
    base = [root for root in roots if not overlay.is_overlay(root)]
    if overlays and complete:
        if not base:
            message, hint = (
                "an overlay alone is no SLO file",
                "name the files that it changes too: -f base -f prod.yaml",
            )
            reader.add(overlays[0], "", "overlay-unknown", message, hint)
            return None, _explained(reader.problems, sources, roots)
        base = overlay.apply(FILE, base, overlays, reader)
    env.check_jobs(base, variables, reader)
    blocks = [FILE.read(root, "", reader) for root in base]
    documents = [block for block in blocks if block is not None]
    complete = complete and len(documents) == len(base)
    slo_set = build(documents, reader, complete=complete) if documents else None
    problems = _explained(reader.problems, sources, roots)
    if slo_set is not None:
        slo_set = replace(slo_set, warnings=tuple(problems), variables=tuple(sorted(variables.items())))
    return slo_set, problems


def _explained(found: list[Problem], sources: Sequence[Source], roots: Sequence[Node]) -> list[Problem]:
    named = {root.file for root in roots if "env" in root.entries}
    for source in sources:
        if isinstance(text := files.decode(source), str):
            found = mistaken.explained(found, source.name, text, variables=source.name in named)
    return _sorted(found)


def _documents(source: Source, reader: Reader) -> list[Node] | None:
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
    return roots


def _sorted(problems: Sequence[Problem]) -> list[Problem]:
    """By place; what an alias repeats is said once."""
    seen: dict[tuple[object, ...], Problem] = {}
    for problem in problems:
        seen.setdefault((problem.position, problem.code, problem.message), problem)
    return sorted(seen.values(), key=lambda problem: (problem.position, problem.severity, problem.field))
