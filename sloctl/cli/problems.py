"""Shows problems of SLO files, with the lines that they are in."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import click

from sloctl.errors import Problem


class Input:
    """What the file arguments mean, standard input included, which can be read only once."""

    def __init__(self, names: Sequence[str]) -> None:
        self.paths = [Path(name) for name in names]
        self._content: bytes | None = None
        if "-" in names and sys.stdin is not None:
            from sloctl.spec.yaml.files import MAX_BYTES

            self._content = sys.stdin.buffer.read(MAX_BYTES + 1)

    @property
    def stdin(self) -> IO[bytes] | None:
        """Standard input, to be read from its beginning."""
        return None if self._content is None else io.BytesIO(self._content)

    def render(self, problems: Sequence[Problem]) -> str:
        """One block per problem: place, message, line, hint."""
        from sloctl.spec import render_text, source_lines
        from sloctl.spec.yaml.files import STDIN

        texts = {} if self._content is None else {STDIN: self._content.decode("utf-8-sig", "replace")}
        return render_text(problems, lines=source_lines(problems, texts=texts))

    def show(self, problems: Sequence[Problem]) -> None:
        """The problems on stderr."""
        click.echo(self.render(problems), err=True, nl=False)
