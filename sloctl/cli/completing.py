"""What a shell completes besides names of commands and options: jobs, kinds of artefacts, services of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def files(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files and folders, which the shell knows."""
    return [CompletionItem(begun, type="file")]


def names(known: Sequence[str], *, commas: bool = False) -> Completer:
    """Some names; with ``commas``, a list of them in one word."""

    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        before, comma, last = begun.rpartition(",") if commas else ("", "", begun)
        given = before.split(",")
        return [
            CompletionItem(f"{before}{comma}{name}")
            for name in known
            if name.startswith(last) and name not in given
        ]

    return complete


def of_file(what: str) -> Completer:
    """The values of an attribute (``service``, ``namespace``, ``owner``, ``name``) of the SLOs of the files that are
    named, or of slo.yaml; none if these cannot be loaded."""

    def complete(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        from sloctl import spec
        from sloctl.errors import SloctlError
        from sloctl.settings.variables import environment

        named = [*(context.params.get("files") or ()), *(context.params.get("paths") or ())] or ["slo.yaml"]
        if "-" in named:
            return []
        try:
            slo_set = spec.load([Path(name) for name in named], environment=environment())
        except SloctlError:
            return []
        found = {str(getattr(slo, what)) for slo in slo_set.slos} - {"", "*"}
        return [CompletionItem(value) for value in sorted(found) if value.startswith(begun)]

    return complete
