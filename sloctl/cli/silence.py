"""``sloctl silence``: deploy windows in Alertmanager."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sloctl.cli.composition import Overrides, Servers
from sloctl.cli.context import Context, format_option, load, now, pass_context, place_options, printable
from sloctl.errors import EXIT_OK, SloctlError, UsageError
from sloctl.model.durations import rfc3339

if TYPE_CHECKING:
    from sloctl.backends.alertmanager.client import Alertmanager
    from sloctl.backends.silences import Silence
    from sloctl.model import Matcher, SloSet

F = TypeVar("F", bound=Callable[..., Any])


def _once(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> str | None:
    """The value of an option that click would let a second one replace unseen."""
    if len(values) > 1:
        raise click.UsageError(f"{parameter.opts[0]} is given twice; make one silence for each", ctx)
    return values[0] if values else None


def _single(name: str, metavar: str, text: str) -> Callable[[F], F]:
    return click.option(name, multiple=True, callback=_once, metavar=metavar, help=text)


def _server_options(function: F) -> F:
    """Which Alertmanager, and how to print what it says."""
    for option in (
        format_option("How to print it; the JSON form is an interface."),
        click.option(
            "--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 10."
        ),
        click.option(
            "--alertmanager",
            "url",
            metavar="URL",
            help="Overrides sources.alertmanager.url of the file; required without -f.",
        ),
        click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            metavar="FILE",
            help="SLO file, a folder of them, or - for stdin: confines silences to the alerts of its set.",
        ),
    ):
        function = option(function)
    return function


@click.group("silence", invoke_without_command=True, subcommand_metavar="[list|expire ...]")
@_server_options
@_single("--service", "NAME", "Silence the alerts of this service, cart or shop/cart.")
@_single("--namespace", "NAME", "Silence the alerts of this namespace.")
@_single("--slo", "NAME", "Silence the alerts of this SLO.")
@_single("--alert", "NAME", "Silence the alerts of this name.")
@_single("--for", "DURATION", "How long from now: 30m, 1h30m. Required.")
@_single("--comment", "TEXT", "Why: what is deployed. Required.")
@_single("--deploy-id", "ID", "Names the deploy: repeating it extends its silence and makes no second one.")
@_single("--author", "NAME", "Who deploys; default sloctl.")
@pass_context
@click.pass_context
def command(
    ctx: click.Context,
    context: Context,
    /,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    form: str,
    deploy_id: str | None,
    **given: str | None,
) -> int:
    """Silence alerts during a planned deploy, and print the silence's id.

    At least one of --service, --namespace, --slo and --alert says which; with several, all must hold. Values
    are exact names, never patterns. With -f a silence matches the alerts of the file's set only (label
    slo_set), names that the file does not know are refused, and notifications.longest_silence is the longest
    time; without it, 4h.

    With --deploy-id a command may be repeated: the one silence is extended, never shortened, also when two
    jobs run at once.

    sloctl silence list shows silences, sloctl silence expire ends them.
    """
    if ctx.invoked_subcommand is not None:
        options = [p for p in ctx.command.params if isinstance(p, click.Option) and p.expose_value]
        if early := [p.opts[-1] for p in options if ctx.params.get(str(p.name)) not in (None, (), p.default)]:
            name = ctx.invoked_subcommand
            raise click.UsageError(
                f"{early[0]} has no effect before {name}: its options stand behind it", ctx
            )
        return EXIT_OK
    from sloctl.backends import silences
    from sloctl.backends.alertmanager import request

    slo_set = load(context, files) if files else None
    longest = slo_set.longest_silence if slo_set else request.LONGEST
    names = {name: given[name] for name in ("service", "namespace", "slo", "alert")}
    if blank := [name for name, value in names.items() if value is not None and not value.strip()]:
        raise UsageError(f"--{blank[0]} is empty", hint="a variable of the job may be empty")
    if names["service"] and "/" in names["service"]:
        names["namespace"], names["service"] = place_options(names["service"], names["namespace"])
    scope = request.Scope(**{name: value or "" for name, value in names.items()})
    matchers = request.matchers(scope, slo_set)
    for option in ("for", "comment"):
        if given[option] is None:
            raise click.UsageError(f"Missing option '--{option}'.", ctx)
    seconds = request.length(given["for"] or "", longest)
    comment = request.line("--comment", given["comment"] or "")
    author = request.line("--author", "sloctl" if given["author"] is None else given["author"])
    deploy = request.deploy_id(deploy_id)
    if slo_set and len(places := request.places(scope, slo_set)) > 1:
        context.warn(f"{scope.service} is in {', '.join(places)}: its alerts in all of them")
    with _server(context, slo_set, url, timeout) as server:
        silence = silences.wanted(matchers, now(), seconds, author, comment, deploy)
        done = silences.ensure(server, silence, longest)
        context.detail(f"{server.queries} requests to Alertmanager")
    if form == "json":
        _print_json(_as_json(done.silence) | {"change": done.change})
    else:
        click.echo(printable(done.silence.id))
    context.say(f"sloctl: {done.change}, until {rfc3339(done.silence.ends)}: {_match_text(matchers)}")
    if done.limited:
        context.warn("it ends earlier than asked, for it may not last longer as a whole")
    return EXIT_OK


@command.command("list", short_help="Show active and pending silences.")
@_server_options
@click.option("--all", "everything", is_flag=True, help="Also those outside the file's set.")
@pass_context
def list_command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    form: str,
    everything: bool,
) -> int:
    """Show the silences that are active or pending: those of the file's set, or without a file all of them.

    Of the set is what has a matcher for exactly its slo_set label, whoever made it.
    """
    slo_set = load(context, files) if files else None
    with _server(context, slo_set, url, timeout) as server:
        found = [silence for silence in server.silences() if silence.live]
    if slo_set is not None and not everything:
        found = [silence for silence in found if _of_set(silence, slo_set)]
    found.sort(key=lambda silence: (silence.ends, silence.id))
    if form == "json":
        _print_json([_as_json(silence) for silence in found])
    elif found:
        _print_table(found)
    else:
        context.say("sloctl: no silences")
    return EXIT_OK


@command.command("expire", short_help="End silences now, by id or by deploy id.")
@click.argument("ids", nargs=-1, metavar="[ID...]")
@_server_options
@_single("--deploy-id", "ID", "All silences that sloctl made for this deploy; with -f, in the file's set.")
@pass_context
def expire_command(
    context: Context,
    ids: tuple[str, ...],
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    form: str,
    deploy_id: str | None,
) -> int:
    """End silences now, by their IDs or by deploy id, and print the ids of those that were ended.

    One that has ended already is fine. Exits with 1 if an id is unknown.
    """
    from sloctl.backends import silences
    from sloctl.backends.alertmanager import request

    if bool(ids) == (deploy_id is not None):
        raise UsageError("give either ids of silences or --deploy-id", hint="sloctl silence list shows them")
    deploy = request.deploy_id(deploy_id)
    if any(not text.strip() for text in ids):
        raise UsageError("an id is empty", hint="a variable of the job may be empty")
    slo_set = load(context, files) if files else None
    results = []
    with _server(context, slo_set, url, timeout) as server:
        if deploy:
            ids = tuple(
                silence.id
                for silence in server.silences()
                if silence.deploy_id == deploy and (slo_set is None or _of_set(silence, slo_set))
            )
            if not ids:
                raise SloctlError(
                    f"no silence of deploy {deploy} is known",
                    hint="sloctl silence list shows those that are active",
                )
        for silence_id, result in silences.expire(server, [text.strip().lower() for text in ids]):
            results.append({"id": silence_id, "result": result})
            if form == "table" and result == "expired":
                click.echo(printable(silence_id))
            elif result == "already expired":
                context.say(f"sloctl: {printable(silence_id)}: {result}")
    if form == "json":
        _print_json(results)
    if unknown := [printable(item["id"]) for item in results if item["result"] == "unknown"]:
        raise SloctlError(
            f"no silence {', '.join(unknown)} is known",
            hint="sloctl silence list shows those that are active",
        )
    return EXIT_OK


def _server(context: Context, slo_set: SloSet | None, url: str | None, timeout: float | None) -> Alertmanager:
    from sloctl.model import Sources

    sources = slo_set.sources if slo_set else Sources()
    return Servers(sources, Overrides(alertmanager=url, timeout=timeout), context.warn).alertmanager()


def _of_set(silence: Silence, slo_set: SloSet) -> bool:
    from sloctl import naming

    return silence.of_set(naming.SLO_SET, slo_set.name)


def _as_json(silence: Silence) -> dict[str, Any]:
    """A silence as ``--format json`` shows it."""
    return {
        "id": silence.id,
        "state": silence.state,
        "matchers": [{"label": m.label, "op": m.op, "value": m.value} for m in silence.matchers],
        "ends": rfc3339(silence.ends),
        "author": silence.author,
        "comment": silence.said,
        "deploy_id": silence.deploy_id or None,
        "by_sloctl": silence.ours,
    }


def _print_json(data: Any) -> None:
    from sloctl.report.markdown import json_text

    click.echo(json_text(data))


def _print_table(found: Sequence[Silence]) -> None:
    """What may be long stands last."""
    from sloctl.cli.tables import columns

    rows = [["id", "state", "ends (UTC)", "deploy", "author", "matches", "comment"]]
    for silence in found:
        ends = silence.ends.strftime("%Y-%m-%d %H:%M:%S")
        cells = [silence.id, silence.state, ends, silence.deploy_id or "–", silence.author]
        rows.append([printable(cell) for cell in (*cells, _match_text(silence.matchers), silence.said)])
    click.echo("\n".join(columns(rows)))


def _match_text(matchers: Sequence[Matcher]) -> str:
    return ", ".join(f'{printable(m.label)}{m.op}"{printable(m.value)}"' for m in matchers)
