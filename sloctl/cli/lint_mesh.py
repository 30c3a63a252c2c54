"""``sloctl lint-mesh``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sloctl.cli import completing
from sloctl.cli.context import (
    Context,
    Input,
    load,
    manifests_of,
    named_files_option,
    now,
    parse_time,
    pass_context,
    source_options,
)
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, EXIT_USAGE, UsageError

if TYPE_CHECKING:
    from sloctl.mesh import Traffic

SEVERE = {
    "error": ("error",),
    "warning": ("error", "warning"),
    "note": ("error", "warning", "note"),
    "never": (),
}
"""What fails, by --fail-on."""
LEAST, MOST = 600, 7 * 86400


@click.command("lint-mesh")
@click.argument("paths", nargs=-1, required=True, metavar="FILE...", shell_complete=completing.files)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="How to print it: github annotates a workflow, sarif is for code scanning.",
)
@click.option(
    "--fail-on",
    type=click.Choice([*SEVERE]),
    default="warning",
    show_default=True,
    help="Exit with 1 for findings of this severity, or a worse one.",
)
@click.option("--ignore", "ignored", multiple=True, metavar="CODE", help="Leave these findings out.")
@click.option(
    "-n", "--namespace", default="default", show_default=True, help="Of objects that name no namespace."
)
@click.option(
    "--root-namespace", "root", default="istio-system", show_default=True, help="The mesh's own namespace."
)
@source_options
@click.option(
    "--last",
    metavar="DURATION",
    default="1h",
    show_default=True,
    help="With --prometheus: the traffic of this time, 10m to 7d.",
)
@named_files_option
@pass_context
def command(
    context: Context,
    paths: tuple[str, ...],
    form: str,
    fail_on: str,
    ignored: tuple[str, ...],
    namespace: str,
    root: str,
    url: str | None,
    timeout: float | None,
    at: str | None,
    last: str,
    files: tuple[str, ...],
) -> int:
    """Find in the mesh's configuration what burns error budgets.

    FILE is a file of Istio's or the Gateway API's objects (YAML, JSON, what kubectl get -o yaml prints), a folder of
    them, or - for stdin. Other objects are skipped; Services and Deployments among them say which hosts there are. No
    cluster is needed. With --prometheus, calls, versions and attempts of the last hour are held against it; -f names an
    SLO file for what it says of that server and of the mesh.

    Exits with 1 if something was found, with 2 if a file cannot be read or is a template, with 3 if the server cannot
    be asked.
    """
    from sloctl.mesh import CODES, lint, rendering
    from sloctl.spec.fields.values import nearest

    for code in ignored:
        if code not in CODES:
            raise UsageError(f"--ignore: there is no code {code[:60]!r}", hint=nearest(code, CODES))
    given = Input(paths)
    sources = manifests_of(given)
    traffic = _traffic(context, files, url, timeout, at, last)
    result = lint(sources, namespace=namespace, root=root, ignore=ignored, traffic=traffic)
    if result.problems and form in ("text", "sarif"):
        given.show(result.problems)
    text = rendering.text_of(result, form)
    if text:
        click.echo(text)
    context.say(rendering.summary(result))
    if not result.objects and not result.problems:
        raise UsageError(
            "there is no object of Istio or the Gateway API here", hint="name the folder that holds them"
        )
    fails = any(item.severity in SEVERE[fail_on] for item in result.findings)
    return EXIT_USAGE if result.problems else EXIT_PROBLEMS if fails else EXIT_OK


def _traffic(
    context: Context, files: Sequence[str], url: str | None, timeout: float | None, at: str | None, last: str
) -> Traffic | None:
    """What Prometheus counted; None where it is not to be asked. Raises UsageError, BackendError."""
    from jobs import mesh_traffic
    from sloctl.cli import progress
    from sloctl.cli.composition import Overrides, Servers
    from sloctl.model import Mesh, Sources
    from sloctl.model.durations import parse_duration

    if url is None and not files:
        for option, value in (("--at", at), ("--timeout", timeout)):
            if value is not None:
                raise UsageError(f"{option} is for --prometheus", hint="without it, no server is asked")
        return None
    seconds = parse_duration(last)
    if seconds is None or not LEAST <= seconds <= MOST:
        raise UsageError(f"--last: {last[:40]!r} is not a duration of 10m to 7d", hint="write  --last 1h")
    time = parse_time(at, now())
    slo_set = load(context, files) if files else None
    servers = Servers(
        slo_set.sources if slo_set else Sources(), Overrides(prometheus=url, timeout=timeout), context.warn
    )
    with servers.prometheus() as source, progress.shown(context, "asking Prometheus"):
        return mesh_traffic.read(source, slo_set.mesh if slo_set else Mesh(), time, seconds)
