"""``sloctl explain``."""

from __future__ import annotations

import json
from dataclasses import replace

import click

from sloctl.cli import completing, progress
from sloctl.cli.composition import Overrides, Servers
from sloctl.cli.context import (
    Context,
    files_option,
    format_option,
    linted,
    load,
    mesh_option,
    now,
    parse_time,
    pass_context,
    place_options,
    source_options,
)
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, UsageError

LEAST, MOST = 600, 6 * 3600


@click.command("explain")
@files_option
@source_options
@click.option(
    "--service",
    metavar="NAME",
    shell_complete=completing.of_file("service"),
    help="Where the failures of this service begin, cart or shop/cart; without it, those of all services.",
)
@click.option(
    "--namespace",
    metavar="NAME",
    shell_complete=completing.of_file("namespace"),
    help="Only services of this namespace; where their failures begin may be elsewhere.",
)
@click.option(
    "--last",
    metavar="DURATION",
    default="1h",
    show_default=True,
    help="What fails within this time; 10m to 6h. Three times as far back is looked to know what is usual.",
)
@mesh_option
@format_option()
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    at: str | None,
    service: str | None,
    namespace: str | None,
    last: str,
    form: str,
    manifests: tuple[str, ...],
) -> int:
    """Say where failures begin: from what fails along its calls to the services that fail by themselves.

    Since when, how, which version or pod, what changed by then, who else suffers, what is in doubt. It reads Istio's
    request counters; "nothing fails" is an answer.
    """
    from jobs import origins
    from jobs.origins import told
    from sloctl.model.durations import parse_duration

    seconds = parse_duration(last)
    if seconds is None or not LEAST <= seconds <= MOST:
        raise UsageError(f"--last: {last!r} is not a duration of 10m to 6h", hint="write  --last 1h")
    slo_set = load(context, files)
    if manifests:
        linted(manifests)  # what is wrong with them is said before anything is asked
    time = parse_time(at, now())
    where, name = place_options(service, namespace)
    with (
        Servers(
            slo_set.sources, Overrides(prometheus=url, timeout=timeout), context.warn
        ).prometheus() as source,
        progress.shown(context, "asking Prometheus"),
    ):
        found = origins.run(source, slo_set, time, int(seconds), namespace=where, service=name)
        if manifests:
            from jobs import mesh_traffic

            result = linted(manifests, mesh_traffic.read(source, slo_set.mesh, time, int(seconds)))
            found = replace(
                found,
                configured=tuple(mesh_traffic.configured(result)),
                doubts=(*found.doubts, *mesh_traffic.doubts(result)),
            )
    if form == "json":
        click.echo(json.dumps(told.as_object(found), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(told.lines(found, service or where)))
    return EXIT_OK if found.known else EXIT_PROBLEMS
