"""``sloctl completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from sloctl.cli.main import cli


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    For bash:  source <(sloctl completion bash)
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "sloctl", "_SLOCTL_COMPLETE").source())
