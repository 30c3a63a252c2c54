"""``sloctl canary``."""

from __future__ import annotations

import json
import re
import time as clock
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sloctl.cli import completing
from sloctl.cli.composition import Overrides, Servers
from sloctl.cli.context import (
    Context,
    Input,
    files_option,
    load,
    manifests_of,
    now,
    parse_time,
    pass_context,
    place_of,
    source_options,
    verdict_options,
)
from sloctl.errors import (
    EXIT_BACKEND,
    EXIT_OK,
    EXIT_PROBLEMS,
    EXIT_WAIT,
    BackendError,
    InvalidFile,
    UsageError,
)

if TYPE_CHECKING:
    from jobs.canary import Asked, Judged
    from sloctl.mesh.objects import Object

CODES = {"promote": EXIT_OK, "rollback": EXIT_PROBLEMS, "inconclusive": EXIT_BACKEND, "wait": EXIT_WAIT}
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,127}")


@click.command("canary")
@files_option
@source_options
@click.option(
    "--service",
    metavar="NAME",
    required=True,
    shell_complete=completing.of_file("service"),
    help="The service of which two versions serve, cart or shop/cart.",
)
@click.option("--baseline", metavar="VERSION", required=True, help="The version that is to be replaced.")
@click.option(
    "--canary", "canary_", metavar="VERSION", required=True, help="The version that is to replace it."
)
@click.option(
    "--by",
    metavar="LABEL",
    default="version",
    show_default=True,
    help="What tells them apart: version, revision, workload, or a label of the counters, such as a pod's hash.",
)
@click.option(
    "--for",
    "lasting",
    metavar="DURATION",
    help="Wait for a verdict this long since its traffic began, 5m to 1d; without it, look once.",
)
@click.option("--once", is_flag=True, help="Look once, although its time (--for) is not over.")
@click.option(
    "--step", metavar="DURATION", default="1m", show_default=True, help="Between two looks; 15s to 10m."
)
@click.option(
    "--since",
    metavar="TIME",
    help="When it began to serve, as --at; without it, when its traffic began within the last day.",
)
@click.option(
    "--patch",
    "configuration",
    multiple=True,
    metavar="FILE",
    shell_complete=completing.files,
    help="Files or folders with the service's VirtualService and DestinationRule, or - for stdin: also print the patch "
    "of weights that the verdict means. Nothing is applied.",
)
@verdict_options
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    at: str | None,
    service: str,
    baseline: str,
    canary_: str,
    by: str,
    lasting: str | None,
    once: bool,
    step: str,
    since: str | None,
    configuration: tuple[str, ...],
    form: str,
    output: Path | None,
) -> int:
    """Compare two versions that serve at the same time: promote the new one, wait, or roll it back?

    By the SLOs of the service, and the margin of the file (release.canary). It may be asked as often as one likes:
    everything is read again from Prometheus. Exit code 0: promote; 1: roll back; 3: nobody can say; 4: wait.
    """
    from jobs import canary
    from jobs.canary import judged, told

    asked = asked_of(service, baseline, canary_, by, _seconds("--step", step, 15, 600))
    duration = timedelta(seconds=_seconds("--for", lasting, 300, 86400)) if lasting is not None else None
    slo_set = load(context, files)
    here = now()
    time = parse_time(at, here)
    began = parse_time(since, time) if since is not None else None
    if began is not None and time - began > timedelta(days=1):
        raise UsageError(f"--since: {since!r} is more than a day before", hint="compare at most one day")
    objects = _objects(configuration, files, asked.namespace or "default", form)
    policy = slo_set.release.canary

    def looked(found: Judged) -> None:
        context.detail(told.lines(found)[0])

    with Servers(
        slo_set.sources, Overrides(prometheus=url, timeout=timeout), context.warn
    ).prometheus() as source:
        if duration is not None and not once and at is None:
            found = canary.watch(
                source, slo_set, asked, duration, since=began, now=now, sleep=clock.sleep, looked=looked
            )
        else:
            try:
                observed = canary.read(source, slo_set, asked, time, began)
                over = duration is not None and bool(observed.slos) and time >= observed.start + duration
                found = canary.judge(observed, policy, over=over)
            except BackendError as error:
                found = judged.unreachable(asked, policy, time, f"Prometheus could not be asked: {error}")
    context.give(_text(found, objects, form), output, told.lines(found)[0])
    return CODES[found.verdict]


def asked_of(service: str, baseline: str, canary: str, by: str, step: int = 60) -> Asked:
    """What is compared. Raises UsageError."""
    from jobs.canary.observed import LABELS, Asked

    namespace, name = place_of(service)
    if not (baseline and canary):
        raise UsageError("--baseline and --canary each name a version")
    if baseline == canary:
        raise UsageError(f"--baseline and --canary are both {canary}")
    if by not in LABELS and not _LABEL.fullmatch(by):
        raise UsageError(f"--by: {by!r} is not a label", hint=f"write {', '.join(LABELS)}, or a label's name")
    return Asked(name, namespace, baseline, canary, LABELS.get(by, by), step)


def _text(found: Judged, objects: list[Object] | None, form: str) -> str:
    """The verdict in a form, with the patch that it means where configuration was given."""
    from jobs.canary import told, weights

    patch = weights.weights(objects, found.asked, found.verdict) if objects is not None else None
    if form == "json":
        more = {"patch": told.patch_object(patch)} if patch else {}
        return json.dumps(told.as_object(found) | more, indent=2, ensure_ascii=False)
    if form == "junit":
        return told.junit(found)
    if form == "github":
        return "\n".join(told.github(found))
    return "\n".join([*told.lines(found), *(told.patch_lines(patch) if patch else [])])


def _objects(
    names: tuple[str, ...], files: tuple[str, ...], namespace: str, form: str
) -> list[Object] | None:
    """The mesh's objects of the files of --patch; None without it. Raises InvalidFile, UsageError."""
    from sloctl.mesh import objects

    if not names:
        return None
    if form not in ("text", "json"):
        raise UsageError(f"--patch is not in the form {form}", hint="--format text or --format json")
    if "-" in names and "-" in files:
        raise UsageError("--patch and -f cannot both read standard input")
    given = Input(names)
    found = objects.read(manifests_of(given), namespace)
    if found.problems:
        given.show(found.problems)
        raise InvalidFile(found.problems)
    return found.objects


def _seconds(option: str, text: str, least: int, most: int) -> int:
    from sloctl.model.durations import duration, parse_duration

    seconds = parse_duration(text)
    if seconds is None or not least <= seconds <= most:
        raise UsageError(f"{option}: {text!r} is not a duration of {duration(least)} to {duration(most)}")
    return seconds
