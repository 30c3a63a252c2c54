"""``sloctl outbox``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from sloctl.cli.composition import LedgerAccess, notifier
from sloctl.cli.context import (
    Context,
    format_option,
    ledger_option,
    pass_context,
    set_name_of,
    set_option,
)
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, UsageError
from sloctl.model.durations import rfc3339

if TYPE_CHECKING:
    from sloctl.ledger.outbox import DatabaseOutbox


@click.group("outbox")
def command() -> None:
    """See, retry and remove reports that were not posted yet.

    A report is put into the outbox before it is posted, and stays there until it is. Every 'sloctl run report', every
    'sloctl report --post' and 'sloctl schedule' deliver what is due.
    """


@command.command("list")
@set_option
@ledger_option
@click.option("--all", "everything", is_flag=True, help="Also those that were sent.")
@format_option()
@pass_context
def list_(
    context: Context, files: tuple[str, ...], ledger_url: str | None, everything: bool, form: str
) -> int:
    """List reports that wait or were given up. Exits 1 if any was given up."""
    from sloctl.posting.protocol import STATES

    name = set_name_of(context, files) or ""
    with LedgerAccess(ledger_url) as access:
        found = access.outbox().entries(
            name, () if everything else tuple(state for state in STATES if state != "sent")
        )
    rows = [
        {
            "report": entry.post.key,
            "state": entry.state,
            "created": rfc3339(entry.created),
            "due": rfc3339(entry.due) if entry.state == "pending" else None,
            "attempts": entry.attempts,
            "error": entry.error,
        }
        for entry in found
    ]
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        from sloctl.cli.tables import print_table
        from sloctl.report.numbers import NOTHING, plain

        cells = [[plain(str(value)) if value else NOTHING for value in row.values()] for row in rows]
        print_table(list(rows[0]), cells)
    else:
        context.say("the outbox is empty")
    return EXIT_PROBLEMS if any(entry.state == "dead" for entry in found) else EXIT_OK


@command.command("retry")
@click.argument("report", nargs=-1, metavar="[REPORT...]")
@set_option
@ledger_option
@pass_context
def retry(context: Context, report: tuple[str, ...], files: tuple[str, ...], ledger_url: str | None) -> int:
    """Deliver what waits now, without waiting for its time, and REPORTs that were given up once more.

    Exits 1 if anything was given up.
    """
    from jobs import posting
    from sloctl.cli.posting import say

    name = set_name_of(context, files) or ""
    with LedgerAccess(ledger_url) as access:
        box = access.outbox()
        _check_set(box, name, report)
        for key in report:
            if not box.revive(key, time.time()):
                raise UsageError(f"no report {key!r} waits or was given up", hint="see 'sloctl outbox list'")
        done = posting.deliver(box, notifier(), time.time, set_name=name, forced=True)
        say(context, done, box)
    return EXIT_PROBLEMS if done.dead else EXIT_OK


@command.command("drop")
@click.argument("report", nargs=-1, required=True, metavar="REPORT...")
@set_option
@ledger_option
@pass_context
def drop(context: Context, report: tuple[str, ...], files: tuple[str, ...], ledger_url: str | None) -> None:
    """Remove REPORTs from the outbox, whatever their state. One that is asked for again is then posted again."""
    name = set_name_of(context, files) or ""
    with LedgerAccess(ledger_url) as access:
        box = access.outbox()
        _check_set(box, name, report)
        for key in report:
            if not box.drop(key, time.time()):
                raise UsageError(
                    f"no report {key!r} is there, or it is being delivered",
                    hint="see 'sloctl outbox list --all'",
                )
            context.say(f"removed {key}")


def _check_set(box: DatabaseOutbox, name: str, keys: Sequence[str]) -> None:
    """Fail for a report of another set than the one that is named, if one is. Raises UsageError."""
    ours = {entry.post.key for entry in box.entries(name)} if name and keys else set(keys)
    for key in keys:
        if key not in ours:
            raise UsageError(
                f"no report {key!r} of the set {name} is there", hint="see 'sloctl outbox list --all'"
            )
