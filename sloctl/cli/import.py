"""``sloctl import``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from sloctl.cli import completing
from sloctl.cli.context import Context, Input, pass_context
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, EXIT_USAGE, UsageError


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="FILE...", shell_complete=completing.files)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write. Default: stdout."
)
@click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
@click.option(
    "--name", default="", help="metadata.name of the set. Default: the service, if all have the same."
)
@click.option(
    "--window",
    default="30d",
    show_default=True,
    metavar="DURATION",
    help="The period of SLOs that say none: Sloth's --default-slo-period.",
)
@pass_context
def command(
    context: Context, paths: tuple[str, ...], output: Path | None, force: bool, name: str, window: str
) -> int:
    """Write the SLO file that stands for files of Sloth, Pyrra, OpenSLO and Nobl9.

    FILE is a file, a folder of them, or - for stdin; a file may have many documents. What selects Istio's requests
    becomes a preset where that counts exactly the same, and events of your own otherwise. What an SLO file cannot say
    is listed on stderr and beside its SLO, with the reason. The result has been loaded: it validates.

    Exits with 0 if everything could be said, with 1 if something was left out or an SLO could not be converted (the
    others are written all the same), with 2 if a file is none of these, or not what its tool takes: then nothing is
    written.
    """
    from sloctl.model.durations import parse_duration
    from sloctl.spec.foreign import convert
    from sloctl.spec.yaml import files

    seconds = parse_duration(window)
    if seconds is None or not 3600 <= seconds <= 366 * 86400 or seconds % 300:
        raise UsageError(
            f"--window: {window[:40]!r} is no window", hint="1h to 366d, in steps of 5m: 28d, for example"
        )
    if output is not None and not force and (output.exists() or output.is_symlink()):
        raise UsageError(f"{output} exists", hint="give another name, or --force to overwrite it")
    given = Input(paths)
    found = files.read(given.paths, given.stdin, missing="check the path of the other tool's file")
    sources = [source for source in found if not source.left]
    imported = convert(sources, name=name, seconds=seconds)
    given.show(imported.problems)
    if imported.invalid:
        return EXIT_USAGE
    if imported.text and output is None:
        click.echo(imported.text, nl=False)
    elif imported.text and output is not None:
        from sloctl.artefacts import atomic

        atomic.write(output, imported.text)
    context.say(_summary(imported.written, [problem.code for problem in imported.problems], output))
    return EXIT_PROBLEMS if imported.problems else EXIT_OK


def _summary(written: int, codes: list[str], output: Path | None) -> str:
    counts = Counter(codes)
    parts = [f"{written} SLO{'s' if written != 1 else ''} converted"]
    if refused := counts["import-refused"]:
        parts.append(f"{refused} not")
    if left := counts["import-left-out"]:
        parts.append(f"{left} thing{'s' if left != 1 else ''} left out")
    if renamed := counts["import-renamed"]:
        parts.append(f"{renamed} renamed")
    if not written:
        return ", ".join(parts) + "; nothing was written"
    return ", ".join(parts) + (f"; wrote {output}" if output is not None else "")
