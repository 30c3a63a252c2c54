"""``sloctl runbooks``."""

from __future__ import annotations

import difflib
import re
import textwrap
from pathlib import Path

import click

from sloctl.cli.context import Context, load, pass_context
from sloctl.errors import EXIT_OK, UsageError


@click.command("runbooks")
@click.argument("alert", required=False)
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for all pages."
)
@click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE", help="SLO file, for links to its dashboards."
)
@click.option("--service", default="", help="The alert's service, filled in.")
@click.option("--namespace", default="", help="Its namespace, filled in.")
@pass_context
def command(
    context: Context,
    alert: str | None,
    output: Path | None,
    files: tuple[str, ...],
    service: str,
    namespace: str,
) -> int:
    """Print the runbook of ALERT, or write those of all alerts to a folder; without either, list them.

    The folder may be a wiki's, or what a ConfigMap is made from (kubectl create configmap --from-file). Where its pages
    are then read is sources.runbooks of the SLO file: alerts and dashboards link there.
    """
    from alert_rules import runbooks

    for option, value in (("--service", service), ("--namespace", namespace)):
        if value and not re.fullmatch(runbooks.NAME, value):
            raise UsageError(f"{option}: {value!r} is not a name", hint="letters, digits, '-', '_' and '.'")
    if alert is not None and output is not None:
        raise UsageError("what is wanted is ALERT, or -o DIR for all of them")
    slo_set = load(context, files) if files else None
    names = {"service": service, "namespace": namespace}
    if alert is not None:
        file = runbooks.file_of(alert)
        if not file:
            known = {one.lower(): one for one in runbooks.alerts()}
            near = difflib.get_close_matches(alert.lower(), known, 1, 0.8)
            hint = f"did you mean {known[near[0]]}?" if near else "sloctl runbooks  lists them"
            raise UsageError(f"{alert!r} is not an alert with a runbook of sloctl's", hint=hint)
        click.echo(runbooks.page(file, names, slo_set), nl=False)
        return EXIT_OK
    if output is None:
        meanings = runbooks.meanings()
        width = max(map(len, meanings))
        for name, meaning in meanings.items():
            click.echo(f"{name:<{width}}  {textwrap.shorten(meaning, 118 - width, placeholder=' …')}")
        return EXIT_OK
    from sloctl.artefacts import atomic

    output.mkdir(parents=True, exist_ok=True)
    for file in runbooks.names():
        atomic.write(output / file, runbooks.page(file, names, slo_set))
    context.say(
        f"{output}: {len(runbooks.names())} pages; name their address in sources.runbooks of the SLO file"
    )
    return EXIT_OK
