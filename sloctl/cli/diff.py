"""``sloctl diff``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sloctl.cli import backtest, completing, generate, progress
from sloctl.cli.composition import LedgerAccess, Overrides, Servers
from sloctl.cli.context import (
    Context,
    F,
    Input,
    ledger_option,
    now,
    output_option,
    parse_time,
    pass_context,
    printable,
    read,
)
from sloctl.errors import EXIT_BACKEND, EXIT_OK, EXIT_PROBLEMS, BackendError, InvalidFile, UsageError
from sloctl.settings.variables import environment

if TYPE_CHECKING:
    from datetime import datetime

    from jobs.diff import Comparison
    from jobs.diff.told import Found
    from sloctl.ledger.protocol import MutedInterval
    from sloctl.model import SloSet
    from sloctl.spec import Source

NOTHING = "/dev/null"
"""A side that has no SLOs, as git writes it: of a file that is new, or gone."""


def _more(side: str) -> Callable[[F], F]:
    return click.option(
        f"--{side}",
        f"more_{side}",
        multiple=True,
        metavar="FILE",
        shell_complete=completing.files,
        help=f"One more file or folder of the {side} side, such as an overlay. May be given more than once.",
    )


@click.command("diff")
@click.argument("old", metavar="OLD", shell_complete=completing.files)
@click.argument("new", metavar="NEW", shell_complete=completing.files)
@_more("old")
@_more("new")
@click.option(
    "--prometheus",
    "url",
    metavar="URL",
    help="Also ask this server what the rules cost, and replay what it has recorded. Without it, no server is asked.",
)
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30.")
@ledger_option
@click.option(
    "--source",
    "origin",
    type=click.Choice(["rules", "ledger"]),
    help="Replay what the rules recorded, to the minute (with --prometheus that is the default), or the ledger, to "
    "five minutes.",
)
@click.option(
    "--from",
    "start",
    metavar="TIME",
    help="Since when to replay: RFC 3339, Unix seconds, or an age such as 30d. Default: the longest window of both.",
)
@click.option("--to", "end", metavar="TIME", help="The end of that time; default now.")
@click.option(
    "--incidents",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Known incidents as CSV, as sloctl backtest reads them: which of them either side tells of.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How to print it; markdown is a comment for a pull or merge request, the JSON form is an interface.",
)
@output_option
@click.option("--exit-code", "judge", is_flag=True, help="Exit 1 if anything changes, as git diff does.")
@pass_context
def command(
    context: Context,
    old: str,
    new: str,
    more_old: tuple[str, ...],
    more_new: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    ledger_url: str | None,
    origin: str | None,
    start: str | None,
    end: str | None,
    incidents: Path | None,
    form: str,
    output: Path | None,
    judge: bool,
) -> int:
    """Say in words what a change of SLO files means: SLOs, guardrails, alerts and objects that come, go or change.

    OLD and NEW are SLO files or folders; one of them may be - for stdin, and /dev/null has no SLOs, as an OLD file
    that is empty.

    Exit code 0: compared; 1: with --exit-code, something changes; 2: a file is wrong; 3: the history cannot be read,
    and the rest is printed all the same.
    """
    from jobs.diff import comment, told

    origin = origin or ("rules" if url is not None else None)
    if origin is None:
        for option, value in (
            ("--from", start),
            ("--to", end),
            ("--incidents", incidents),
            ("--timeout", timeout),
        ):
            if value is not None:
                raise UsageError(
                    f"{option} is for a replay of the past",
                    hint="name where it is recorded: --prometheus URL, or --source ledger",
                )
    if origin == "rules" and url is None:
        raise UsageError("--source rules is for --prometheus", hint="--prometheus http://prometheus:9090")
    found = _found(context, (old, *more_old), (new, *more_new))
    code = EXIT_OK
    if origin is not None:
        found, code = _with_history(
            context,
            found,
            origin,
            Overrides(prometheus=url, timeout=timeout),
            ledger_url,
            (start, end),
            incidents,
        )
    if form == "json":
        text = json.dumps(told.as_object(found), indent=2, ensure_ascii=False)
    else:
        text = "\n".join(told.lines(found)) if form == "text" else comment.comment(found).rstrip("\n")
    context.give(text, output, printable(told.headline(found.comparison)))
    return code or (EXIT_PROBLEMS if judge and found.comparison.changes else EXIT_OK)


def _found(context: Context, old: tuple[str, ...], new: tuple[str, ...]) -> Found:
    """What changes, without asking a server. Raises InvalidFile, UsageError."""
    from jobs.diff import compare
    from jobs.diff.told import Found
    from jobs.preflight import cost

    if "-" in old and "-" in new:
        raise UsageError(
            "only one side can be read from standard input", hint="write the other one to a file"
        )
    sides = [_load(context, names, side) for names, side in ((old, "old"), (new, "new"))]
    if sides[0] is None and sides[1] is None:
        raise UsageError(f"both sides are {NOTHING}", hint="name an SLO file")
    (before, _), (after, sources) = (side or _nothing(sides) for side in sides)
    doubts: list[str] = []
    with progress.shown(context, "generating"):
        objects = _objects([before if sides[0] else None, after if sides[1] else None], sources, doubts)
        comparison = compare(before, after, objects, doubts)
        return Found(comparison, (cost.size(before), cost.size(after)))


def _load(context: Context, names: tuple[str, ...], side: str) -> tuple[SloSet, tuple[Source, ...]] | None:
    """The set of a side, and its files; None if it has none. Raises InvalidFile, UsageError.

    An old side of empty files has none: that is what ``git show`` leaves of a file that is new. Standard input that is
    empty is more likely a branch that is not there.
    """
    from sloctl import spec

    if set(names) == {NOTHING}:
        return None
    given = Input(names)
    sources = read(context, given)
    if side == "old" and "-" not in names and not any(source.content.strip() for source in sources):
        return None
    try:
        return spec.load_sources(sources, environment()), sources
    except InvalidFile as error:
        given.show(error.problems)
        raise


def _nothing(sides: list[tuple[SloSet, tuple[Source, ...]] | None]) -> tuple[SloSet, tuple[Source, ...]]:
    """A set without anything, of the name of the one that there is."""
    from sloctl.model import SloSet

    (there,) = (side for side in sides if side is not None)
    of = there[0]
    return replace(SloSet(of.name, ()), labels=of.labels, mesh=of.mesh, sources=of.sources), there[1]


def _objects(
    sides: Sequence[SloSet | None], sources: tuple[Source, ...], doubts: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """What is generated of each side, by path, for an operator; what one side cannot have is compared of neither.

    ``sources`` are the same of both sides: the ConfigMap of the files, which has every comment, is no change.
    """
    out: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for kind in generate.SECTIONS:
        try:
            found = [_generated(kind, slo_set, sources) if slo_set else {} for slo_set in sides]
        except UsageError as error:
            doubts.append(f"the objects of {kind} were not compared: they cannot be generated: {error}")
            continue
        for into, objects in zip(out, found, strict=True):
            into |= objects
    return out


def _generated(kind: str, slo_set: SloSet, sources: tuple[Source, ...]) -> dict[str, str]:
    vm = kind == "rules" and slo_set.sources.engine == "victoriametrics"
    return dict(
        generate.of_kind(kind, slo_set, "victoriametrics" if vm else "operator", sources, proofs=False)
    )


def _with_history(
    context: Context,
    found: Found,
    origin: str,
    overrides: Overrides,
    ledger_url: str | None,
    span: tuple[str | None, str | None],
    incidents: Path | None,
) -> tuple[Found, int]:
    """The same with what happened, and the exit code. Raises UsageError."""
    from jobs import diff
    from jobs.backtest import History, LedgerHistory, RecordedHistory
    from jobs.diff.replayed import window

    here, comparison = now(), found.comparison
    first, last = _span(comparison, span, here, window((comparison.old, comparison.new)))
    known = backtest.known_incidents(incidents, here) if incidents is not None else []
    times = (int(first.timestamp()), int(last.timestamp()))
    with ExitStack() as stack:
        doubts: list[str] = []
        try:
            if overrides.prometheus is not None:
                servers = Servers(comparison.new.sources, overrides, context.warn)
                source = stack.enter_context(servers.prometheus())
                found = _with_cost(found, source, last)
            moved = stack.enter_context(progress.shown(context, "reading what is recorded"))
            muted: Sequence[MutedInterval] = ()
            if origin == "ledger":
                ledger = stack.enter_context(LedgerAccess(ledger_url)).get_existing()
                muted = ledger.muted(comparison.new.name)

            def history(slo_set: SloSet) -> History:
                if origin == "ledger":
                    return LedgerHistory(ledger, slo_set)
                return RecordedHistory(source, slo_set, moved)

            replayed = diff.replay(history, comparison, *times, incidents=known, muted=muted)
        except BackendError as error:
            context.say(f"sloctl: error: {printable(str(error))}")
            doubts.append(f"the history was not read: {error}")
            return replace(found, doubts=(*found.doubts, *doubts)), EXIT_BACKEND
    return replace(found, replay=replayed), EXIT_OK


def _with_cost(found: Found, source: object, at: datetime) -> Found:
    """The same with what the rules cost on a server. Raises BackendError."""
    from jobs.preflight import cost
    from sloctl.errors import BackendLimit, QueryRejected

    both = (found.comparison.old, found.comparison.new)
    try:
        costs = [cost.ask(source, slo_set, at) for slo_set in both]  # type: ignore[arg-type]
    except (BackendLimit, QueryRejected) as error:
        text = f"what the rules cost is not known: the server refuses to evaluate them once: {error}"
        return replace(found, doubts=(*found.doubts, text))
    before, after = costs
    if before is None or after is None:
        text = "what the rules cost is not known: the server has no metrics that they read"
        return replace(found, doubts=(*found.doubts, text))
    return replace(found, costs=(before, after))


def _span(
    found: Comparison, span: tuple[str | None, str | None], here: datetime, seconds: int
) -> tuple[datetime, datetime]:
    last = parse_time(span[1], here, "--to")
    first = (
        parse_time(span[0], here, "--from")
        if span[0]
        else last - min(timedelta(seconds=seconds), backtest.MOST)
    )
    if last - first < timedelta(minutes=10) or last - first > backtest.MOST:
        raise UsageError("--from must be 10 minutes to 400 days before --to", hint="write  --from 30d")
    return first, last
