"""``sloctl init``."""

from __future__ import annotations

from pathlib import Path

import click

from sloctl.cli.context import Context, pass_context
from sloctl.errors import UsageError


@click.command("init")
@click.argument("path", default="slo.yaml", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@pass_context
def command(context: Context, path: Path, force: bool) -> None:
    """Write a commented starter SLO file to PATH (slo.yaml); - writes to stdout."""
    from sloctl import spec

    text = spec.starter()
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    from sloctl.artefacts import atomic

    if not force and (path.exists() or path.is_symlink()):
        raise UsageError(f"{path} exists", hint="give another name, or --force to overwrite it")
    atomic.write(path, text)
    context.say(
        f"wrote {path}; next: edit it, then  sloctl validate -f {path}  and  sloctl generate -f {path} -o out"
    )
