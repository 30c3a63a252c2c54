"""``sloctl export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sloctl.cli.context import Context, Input, files_option, load, pass_context
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, UsageError

if TYPE_CHECKING:
    from sloctl.errors import Problem
    from sloctl.model import SloSet


@click.command("export")
@files_option
@click.option("--openslo", is_flag=True, help="As documents of OpenSLO v1.")
@click.option(
    "--sloth-series",
    "sloth",
    is_flag=True,
    help="As a rule file that records Sloth's series (sloth_slo_info and others), for boards that read them.",
)
@click.option(
    "--argo-rollouts", "argo", is_flag=True, help="As AnalysisTemplates of Argo Rollouts, one for each SLO."
)
@click.option("--flagger", is_flag=True, help="As MetricTemplates of Flagger, one for each SLO.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write. Default: stdout."
)
@click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    openslo: bool,
    sloth: bool,
    argo: bool,
    flagger: bool,
    output: Path | None,
    force: bool,
) -> int:
    """Write the SLOs for another tool: --openslo, --sloth-series, --argo-rollouts or --flagger.

    Exits with 0 if everything could be said, with 1 if something was left out (it is listed on stderr), with 2 if the
    SLO file is invalid.
    """
    forms = {_openslo: openslo, _sloth: sloth, _argo: argo, _flagger: flagger}
    wanted = [form for form, asked in forms.items() if asked]
    if len(wanted) != 1:
        raise UsageError(
            "what is wanted is one format", hint="--openslo, --sloth-series, --argo-rollouts or --flagger"
        )
    if output is not None and not force and (output.exists() or output.is_symlink()):
        raise UsageError(f"{output} exists", hint="give another name, or --force to overwrite it")
    if "-" in files:
        raise UsageError("an export is of files, not of standard input", hint="name the file")
    text, problems, written = wanted[0](load(context, files))
    Input(files).show(problems)
    if text and output is None:
        click.echo(text, nl=False)
    elif text and output is not None:
        from sloctl.artefacts import atomic

        atomic.write(output, text)
    context.say(f"{written} SLO{'s' if written != 1 else ''} exported")
    return EXIT_PROBLEMS if problems else EXIT_OK


def _openslo(slo_set: SloSet) -> tuple[str, tuple[Problem, ...], int]:
    from sloctl.spec.foreign.to_openslo import export

    return export(slo_set)


def _sloth(slo_set: SloSet) -> tuple[str, tuple[Problem, ...], int]:
    from alert_rules import manifest, sloth_series

    file, problems = sloth_series.rule_file(slo_set)
    return manifest.prometheus(file) if file.groups else "", problems, len(file.groups)


def _argo(slo_set: SloSet) -> tuple[str, tuple[Problem, ...], int]:
    from alert_rules import analysis

    return analysis.argo_rollouts(slo_set)


def _flagger(slo_set: SloSet) -> tuple[str, tuple[Problem, ...], int]:
    from alert_rules import analysis

    return analysis.flagger(slo_set)
