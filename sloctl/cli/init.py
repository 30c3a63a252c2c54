"""``sloctl init``."""

from __future__ import annotations

from pathlib import Path

import click

from sloctl.cli.context import Context, now, parse_time, pass_context, source_options
from sloctl.errors import UsageError


@click.command("init")
@click.argument("path", default="slo.yaml", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
@source_options
@click.option(
    "--name", default="mesh", show_default=True, help="With --prometheus: metadata.name of the file."
)
@click.option(
    "--owner", default="team-platform", show_default=True, help="With --prometheus: whose SLOs they are."
)
@click.option(
    "--grafana", metavar="URL", help="Where people open Grafana: alerts link to their dashboards there."
)
@pass_context
def command(
    context: Context,
    path: Path,
    force: bool,
    url: str | None,
    timeout: float | None,
    at: str | None,
    name: str,
    owner: str,
    grafana: str | None,
) -> None:
    """Write a commented starter SLO file to PATH (slo.yaml); - writes to stdout.

    With --prometheus, it is a proposal for the mesh that this server knows: namespaces and services with requests,
    objectives that the last 30 days (or what there is of them) would have met, with the reasons, latency thresholds
    among the bounds, who counts (clients, servers, waypoints), and guardrails whose metrics are there.
    """
    text = (
        _proposal(context, url, timeout, at, name, owner, grafana or "")
        if url is not None
        else _starter(timeout, at, grafana)
    )
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


def _starter(timeout: float | None, at: str | None, grafana: str | None) -> str:
    from sloctl import spec

    for option, value in (("--at", at), ("--timeout", timeout)):
        if value is not None:
            raise UsageError(f"{option} is for --prometheus", hint="without it, no server is asked")
    return spec.starter() if grafana is None else spec.starter(grafana=grafana)


def _proposal(
    context: Context,
    url: str,
    timeout: float | None,
    at: str | None,
    name: str,
    owner: str,
    grafana: str,
) -> str:
    from jobs.preflight import proposal
    from sloctl.cli import progress
    from sloctl.cli.composition import Overrides, Servers
    from sloctl.model import Sources

    servers = Servers(Sources(), Overrides(prometheus=url, timeout=timeout), context.warn)
    with servers.prometheus() as source, progress.shown(context, "asking Prometheus") as told:
        time = parse_time(at, now())
        return proposal.propose(
            source, time, name=name, owner=owner, prometheus=url, grafana=grafana, progress=told
        )
