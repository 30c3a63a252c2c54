"""``sloctl generate``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sloctl.cli import completing, progress
from sloctl.cli.context import (
    Context,
    Input,
    files_option,
    linted,
    load_with_sources,
    mesh_option,
    pass_context,
)
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, UsageError

if TYPE_CHECKING:
    from sloctl.artefacts.folder import Difference
    from sloctl.artefacts.objects import Format
    from sloctl.mesh import Result
    from sloctl.model import SloSet
    from sloctl.spec import Source

SECTIONS = {
    "rules": "alert_rules",
    "dashboards": "dashboards",
    "jobs": "jobs",
    "alertmanager": "alertmanager",
}
"""What ``--only`` may name, and the folder that it fills."""
MAX_NAMES = 50
"""Files that ``--check`` names before its diff."""


@click.command("generate")
@files_option
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Output folder."
)
@click.option(
    "--only",
    metavar="KINDS",
    shell_complete=completing.names(list(SECTIONS), commas=True),
    help=f"Only these, comma-separated: {', '.join(SECTIONS)}.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["operator", "prometheus", "victoriametrics"]),
    default="operator",
    show_default=True,
    help="Kubernetes objects, for operators and Grafana's sidecar; or files as Prometheus, Grafana, "
    "Alertmanager and cron read them; or objects with rules for VictoriaMetrics' operator.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing; exit 1 with the files and a diff if the folder is not up to date.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Overwrite what was edited by hand, or comes from another SLO file of the same name.",
)
@click.option(
    "--proofs/--no-proofs",
    default=True,
    help="With or without the promtool tests of the alerts, which are most of the files.",
)
@mesh_option
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    output: Path,
    only: str | None,
    form: Format,
    check: bool,
    proofs: bool,
    force: bool,
    manifests: tuple[str, ...],
) -> int:
    """Write rules, alerts and their promtool unit tests, dashboards, jobs, and Alertmanager's configuration.

    The latter is made of the section notifications, where the file has one. Jobs are the section jobs as CronJobs (or
    as a Deployment of the scheduler) with all that these need, or as a crontab with --format prometheus.

    With --mesh, dashboards have what the mesh's configuration allows beside what is measured.

    Same file, same bytes, on any machine and day. Files that sloctl did not write are never touched, and those that
    were edited since only with --force.
    """
    from sloctl.artefacts import folder as artefacts

    kinds = [kind.strip() for kind in only.split(",")] if only is not None else list(SECTIONS)
    for kind in kinds:
        if kind not in SECTIONS:
            raise UsageError(
                f"--only: {kind!r} is not something to generate", hint=f"choose from {', '.join(SECTIONS)}"
            )
    slo_set, sources = load_with_sources(context, files)
    if only is not None and "alertmanager" in kinds and slo_set.notifications is None:
        raise UsageError(
            "--only alertmanager: the SLO file has no section 'notifications'",
            hint="say there who is told of which alerts (docs/slo-file.md), or leave 'alertmanager' out",
        )
    if only is not None and "jobs" in kinds and not slo_set.jobs:
        raise UsageError(
            "--only jobs: the SLO file has no section 'jobs'",
            hint="say there what runs when (docs/slo-file.md), or leave 'jobs' out",
        )
    if form == "victoriametrics" and "rules" in kinds and slo_set.sources.chained:
        raise UsageError(
            "--format victoriametrics: the SLO file's rules are for Prometheus, and in vmalert their alerts never fire",
            hint="say 'sources: {prometheus: {engine: victoriametrics}}' in the file",
        )
    configured = linted(manifests) if manifests else None
    if configured is not None and configured.problems:
        Input(manifests).show(configured.problems)
        raise UsageError(
            "--mesh: what cannot be read cannot stand on a dashboard", hint="see  sloctl lint-mesh"
        )
    generated = chain.from_iterable(
        of_kind(kind, slo_set, form, sources, configured, proofs=proofs) for kind in dict.fromkeys(kinds)
    )
    sections = {SECTIONS[kind] for kind in kinds}
    paths = () if "-" in files else tuple(map(Path, files))
    if check:
        with progress.shown(context, "generating"):
            difference = artefacts.check(
                output, generated, owner=slo_set.name, sections=sections, sources=paths, force=force
            )
        return _told(context, output, difference)
    with progress.shown(context, "generating"):
        result = artefacts.write(
            output, generated, owner=slo_set.name, sections=sections, sources=paths, force=force
        )
    for name in result.restored:
        context.say(f"sloctl: warning: {output / name} was changed by hand: overwritten")
    for name in result.kept:
        context.say(f"sloctl: warning: {output / name} is no longer generated but was changed by hand: kept")
    files_written = f"{len(result.written)} file{'s' if len(result.written) != 1 else ''} written"
    counts = f"{files_written}, {len(result.unchanged)} unchanged, {len(result.removed)} removed"
    context.say(f"{output}: {counts}")
    return EXIT_OK


def _told(context: Context, output: Path, difference: Difference) -> int:
    """Say what ``--check`` found; returns the exit code."""
    if not difference.files:
        context.say(f"{output} is up to date")
        return EXIT_OK
    names = list(difference.files.items())
    for name, change in names[:MAX_NAMES]:
        context.say(f"{output / name}: {change}")
    if len(names) > MAX_NAMES:
        context.say(f"... and {len(names) - MAX_NAMES} more files")
    with contextlib.suppress(BrokenPipeError):
        click.echo(difference.diff, nl=False)
    context.say(f"{output} is not up to date: run  sloctl generate  without --check")
    return EXIT_PROBLEMS


def of_kind(
    kind: str,
    slo_set: SloSet,
    form: Format,
    sources: tuple[Source, ...],
    configured: Result | None = None,
    *,
    proofs: bool,
) -> Iterator[tuple[str, str]]:
    """The artefacts of a kind; only what is asked for is imported."""
    if kind == "rules":
        from alert_rules import manifest

        return manifest.generate(slo_set, form, proofs=proofs)
    form = "prometheus" if form == "prometheus" else "operator"
    if kind == "dashboards":
        from dashboards import manifest as dashboards

        return dashboards.generate(slo_set, form, configured)
    if kind == "alertmanager":
        from alert_rules.alertmanager import configuration

        return configuration.generate(slo_set, form)
    from jobs import manifests

    return manifests.generate(slo_set, form, sources)
