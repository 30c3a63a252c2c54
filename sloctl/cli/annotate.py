"""``sloctl annotate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import get_args

import click

from sloctl.cli.composition import LedgerAccess
from sloctl.cli.context import (
    Context,
    format_option,
    ledger_option,
    load,
    named,
    named_files_option,
    now,
    parse_time,
    pass_context,
    place_options,
    printable,
)
from sloctl.errors import EXIT_OK, UsageError
from sloctl.ledger.protocol import LONGEST, Annotation, AnnotationKind
from sloctl.model.durations import rfc3339


@click.command("annotate")
@click.argument("text", required=False)
@named_files_option
@ledger_option
@click.option(
    "--kind",
    type=click.Choice([kind for kind in get_args(AnnotationKind) if kind != "override"]),
    default="note",
    show_default=True,
    help="What it is.",
)
@click.option("--author", metavar="NAME", help="Who says it: a person, or a pipeline. Needed with TEXT.")
@click.option(
    "--at", metavar="TIME", help="When it was, or began; default now. RFC 3339, Unix seconds, or an age: 2h."
)
@click.option("--until", metavar="TIME", help="When it ended, as --at; default: it was a moment.")
@click.option(
    "--service",
    metavar="NAME",
    help="The service that it is of, cart or shop/cart; default: all.",
)
@click.option("--namespace", metavar="NAME", help="The namespace that it is of; default: all.")
@format_option("How to list them; the JSON form is an interface.")
@pass_context
def command(
    context: Context,
    text: str | None,
    files: tuple[str, ...],
    ledger_url: str | None,
    kind: AnnotationKind,
    author: str | None,
    at: str | None,
    until: str | None,
    service: str | None,
    namespace: str | None,
    form: str,
) -> int:
    """Enter TEXT into the ledger's journal: a deploy, an incident or a note, with its time and author.

    It is shown wherever a budget is drawn, and changes no number: what is not to count is maintenance in the SLO file,
    or a silence. The same twice is there once. Without TEXT, lists what there is.
    """
    place, name = place_options(service, namespace)
    slo_set = load(context, named(files))
    if text is None:
        with LedgerAccess(ledger_url).get_existing() as store:
            found = store.annotations(slo_set.name, 0, int(now().timestamp()))
        _show(found, form)
        return EXIT_OK
    if not text.strip() or not (author or "").strip():
        raise UsageError("an annotation has a text and an author", hint="say who says it:  --author NAME")
    time = now()
    start = int(parse_time(at, time).timestamp())
    end = start if until is None else int(parse_time(until, time, "--until").timestamp())
    if end < start:
        raise UsageError("--until is before --at", hint="swap them")
    said = Annotation(start, end, kind, text.strip(), (author or "").strip(), place, name)
    check_length(said.text, "TEXT")
    check_length(said.author, "--author")
    if not any(
        said.about((slo.id, slo.namespace, said.service if slo.wildcard else slo.service))
        for slo in slo_set.slos
    ):
        context.warn("no SLO of the file is of that service, so that it is shown nowhere")
    with LedgerAccess(ledger_url) as ledger:
        new = ledger.get_or_make().annotate(slo_set.name, said)
    context.say(f"{'entered' if new else 'is there already'}: {line(said)}")
    return EXIT_OK


def check_length(text: str, what: str) -> None:
    """Fail for more than a ledger keeps of a text. Raises UsageError."""
    if len(text) > LONGEST:
        hint = "shorten it, or give a link to the rest"
        raise UsageError(f"{what} has {len(text):,} characters, of at most {LONGEST:,}", hint=hint)


def line(said: Annotation) -> str:
    """An annotation in a line."""
    when = rfc3339(said.start) + (f" to {rfc3339(said.end)}" if said.end != said.start else "")
    place = "/".join(filter(None, (said.namespace, said.service))) or "everything"
    return printable(f"{when}  {said.what} of {place}: {said.text} ({said.author})")


def _show(found: Sequence[Annotation], form: str) -> None:
    if form == "json":
        rows = [
            {
                "start": rfc3339(said.start),
                "end": rfc3339(said.end),
                "kind": said.what,
                "text": said.text,
                "author": said.author,
                "namespace": said.namespace,
                "service": said.service,
            }
            for said in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for said in found:
        click.echo(line(said))
