"""``sloctl validate``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from sloctl.cli import progress
from sloctl.cli.composition import Overrides, Servers
from sloctl.cli.context import Context, files_option, now, parse_time, pass_context, read
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, EXIT_USAGE, UsageError
from sloctl.settings.variables import environment

if TYPE_CHECKING:
    from jobs.preflight import Preflight
    from jobs.preflight.cost import Cost
    from sloctl.cli.context import Input
    from sloctl.errors import Problem
    from sloctl.model import SloSet


@click.command("validate")
@files_option
@click.option(
    "--prometheus",
    "url",
    metavar="URL",
    help="Also ask this server whether the rules can work: metrics, labels, services, cost.",
)
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30.")
@click.option(
    "--at",
    metavar="TIME",
    help="Ask as of a past time: RFC 3339 (2026-03-01T12:00:00Z), Unix seconds, or an age such as 2h.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print what was found; the JSON form is an interface.",
)
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    at: str | None,
    form: str,
) -> int:
    """Check SLO files and name every problem at once: place, message, remedy.

    With --prometheus, also ask the server which of the metrics, labels and services that the rules read are there, what
    to switch on for those that are not, and how many samples the rules will read.

    Exits with 2 if a file has an error, with 1 if an SLO or an alert cannot work on that server, with 3 if the server
    cannot be asked; warnings do not fail.
    """
    from sloctl import spec
    from sloctl.cli.context import Input

    if url is None:
        for option, value in (("--at", at), ("--timeout", timeout)):
            if value is not None:
                raise UsageError(f"{option} is for --prometheus", hint="without it, no server is asked")
    time = parse_time(at, now())
    given = Input(files)
    slo_set, problems = spec.check_sources(read(context, given), environment())
    with suppress(BrokenPipeError):
        if form == "text":
            _show(context, given, slo_set, problems)
    if slo_set is None or url is None:
        preflight = None
    else:
        from jobs.preflight import run

        servers = Servers(slo_set.sources, Overrides(prometheus=url, timeout=timeout), context.warn)
        with servers.prometheus() as source, progress.shown(context, "asking Prometheus"):
            preflight = run(source, slo_set, time)
            context.detail(f"{source.queries} requests to Prometheus")
    with suppress(BrokenPipeError):
        if form == "json":
            click.echo(_json(problems, preflight, asked=url is not None), nl=False)
        elif preflight is not None:
            click.echo(preflight_text(preflight), nl=False)
            context.say(_summary(preflight))
    if slo_set is None:
        return EXIT_USAGE
    return EXIT_PROBLEMS if preflight is not None and preflight.fails else EXIT_OK


def _show(context: Context, given: Input, slo_set: SloSet | None, problems: list[Problem]) -> None:
    click.echo(given.render(problems), nl=False)
    if slo_set is not None:
        valued = sum(1 for slo in slo_set.slos if slo.per)
        wildcards = sum(1 for slo in slo_set.slos if slo.wildcard) - valued
        named = len(slo_set.slos) - wildcards - valued
        by_label = f", {valued} of each value of a label" if valued else ""
        watched = len(slo_set.guardrails)
        guarded = f", {watched} guardrail{'s' if watched != 1 else ''}" if watched else ""
        promised = "1 SLO of a named service" if named == 1 else f"{named} SLOs of named services"
        context.say(f"{slo_set.name}: {promised}, {wildcards} of whole namespaces{by_label}{guarded}: valid")
    else:
        errors = sum(1 for problem in problems if problem.severity == "error")
        warnings = len(problems) - errors
        context.say(
            f"{errors} error{'s' if errors != 1 else ''}, {warnings} warning{'s' if warnings != 1 else ''}"
        )


def _json(problems: list[Problem], preflight: Preflight | None, *, asked: bool) -> str:
    """A list of problems; where a server was to be asked, an object with them, its findings and the cost."""
    from sloctl import spec

    if not asked:
        return spec.render_json(problems)
    from jobs.preflight import render

    found = {"findings": [], "cost": None} if preflight is None else render.as_objects(preflight)
    return json.dumps({"problems": spec.as_objects(problems), **found}, indent=2) + "\n"


def _summary(preflight: Preflight) -> str:
    counts = {
        level: sum(1 for item in preflight.found if item.severity == level) for level in ("error", "warning")
    }
    words = [f"{count} {level}{'s' if count != 1 else ''}" for level, count in counts.items()]
    return f"on this server: {', '.join(words)}"


def preflight_text(preflight: Preflight) -> str:
    """Findings, then the cost. A snippet is shown once, with the first finding that has it."""
    return "".join(f"{line}\n" for line in (*_findings(preflight), *_cost(preflight.cost)))


def _findings(preflight: Preflight) -> Iterator[str]:
    shown: set[str] = set()
    for item in preflight.found:
        yield f"{item.severity}: {item.message} [{item.code}]"
        if item.hint:
            yield f"  hint: {item.hint}" + (" (as above)" if item.snippet in shown else "")
        if item.snippet and item.snippet not in shown:
            yield from (f"    {line}" for line in item.snippet.rstrip("\n").split("\n"))
        shown |= {item.snippet} - {""}


def _cost(cost: Cost | None) -> Iterator[str]:
    if cost is None:
        return
    from sloctl.cli.tables import columns

    rules = sum(group.rules for group in cost.groups)
    yield (
        f"cost: {rules} rules in {len(cost.groups)} groups read {_count(cost.samples_per_second)} samples a second "
        f"and write {_count(cost.series)} series"
    )
    for group in cost.groups:
        yield (
            f"  {group.file} {group.group}: {group.rules} rules every {group.interval}s, "
            f"{_count(group.samples)} samples, {_count(group.series)} series"
        )
    yield "  costliest rules, samples in one evaluation:"
    rows = [(_count(rule.samples), f"{rule.rule} ({rule.group})") for rule in cost.costliest]
    yield from (f"    {line}" for line in columns(rows, right={0}, widths={0: 12}))


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"
