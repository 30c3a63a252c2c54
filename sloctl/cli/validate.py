"""``sloctl validate``."""

from __future__ import annotations

import click

from sloctl.cli.context import Context, files_option, pass_context
from sloctl.errors import EXIT_OK, EXIT_USAGE


@click.command("validate")
@files_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print the problems; the JSON form is an interface.",
)
@pass_context
def command(context: Context, files: tuple[str, ...], form: str) -> int:
    """Check SLO files and name every problem at once: place, message, remedy.

    Exits with 2 if there is an error; warnings do not fail.
    """
    from sloctl import spec
    from sloctl.cli.problems import Input

    given = Input(files)
    slo_set, problems = spec.check(given.paths, stdin=given.stdin)
    if form == "json":
        click.echo(spec.render_json(problems), nl=False)
    else:
        click.echo(given.render(problems), nl=False)
        if slo_set is not None:
            wildcards = sum(1 for slo in slo_set.slos if slo.wildcard)
            named = len(slo_set.slos) - wildcards
            context.say(
                f"{slo_set.name}: {named} SLOs of named services, {wildcards} of whole namespaces: valid"
            )
        else:
            errors = sum(1 for problem in problems if problem.severity == "error")
            context.say(f"{errors} error{'s' if errors != 1 else ''}, {len(problems) - errors} warnings")
    return EXIT_OK if slo_set is not None else EXIT_USAGE
