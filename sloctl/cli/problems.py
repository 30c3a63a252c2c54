"""Shows problems of SLO files on stderr."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sloctl.model import Problem


def show(problems: Sequence[Problem], *, err: bool = True) -> None:
    """One block per problem, with its hint."""
    from sloctl.spec.problems import render_text

    click.echo(render_text(problems), err=err, nl=False)
