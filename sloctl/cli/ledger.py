"""``sloctl ledger``: what is recorded, in and out of the database."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sloctl.cli.composition import LedgerAccess
from sloctl.cli.context import (
    Context,
    format_option,
    ledger_option,
    load,
    now,
    parse_time,
    pass_context,
    printable,
    set_name_of,
    set_option,
)
from sloctl.cli.ledger_budgets import budgets, causes
from sloctl.cli.ledger_reread import reread, row
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, UsageError
from sloctl.ledger.protocol import MICRO
from sloctl.model.durations import rfc3339

if TYPE_CHECKING:
    from sloctl.ledger.contents import Contents
    from sloctl.model import SloSet

F = TypeVar("F", bound=Callable[..., Any])

REPAIRS = 20
"""Entries of the journal of repairs that are shown."""
LATE = 20
"""Buckets with events from before them that are shown."""
_form_option = format_option("How to print it; the JSON form is an interface.")


@click.group("ledger")
def command() -> None:
    """See, check, export, import and prune what is recorded.

    The ledger holds good and bad events of every SLO in steps of five minutes. The job slis writes it.
    """


command.add_command(budgets)
command.add_command(causes)
command.add_command(reread)


@command.command("show", short_help="Show what is recorded: since when, until when, with which holes.")
@ledger_option
@set_option
@_form_option
@pass_context
def show(context: Context, ledger_url: str | None, files: tuple[str, ...], form: str) -> int:
    """Show what is recorded of each SLO and service, the last runs of jobs, locks, and reports that wait."""
    from sloctl.ledger import contents

    with LedgerAccess(ledger_url).get_existing() as store:
        found = contents.contents(store, set_name_of(context, files))
        data = shown(store.name, found)
    if form == "json":
        click.echo(json.dumps(data, indent=2))
    else:
        _print(data)
    return EXIT_OK


@command.command("verify", short_help="Check that sums equal their buckets; exits 1 if anything is wrong.")
@ledger_option
@set_option
@_form_option
@pass_context
def verify(context: Context, ledger_url: str | None, files: tuple[str, ...], form: str) -> int:
    """Check that the ledger says one thing only: sums equal their buckets, and every row belongs to something.

    Reads everything, day by day; nobody has to wait for it. Exits 1 if anything is wrong.
    """
    from sloctl.ledger import check

    name = set_name_of(context, files)
    with LedgerAccess(ledger_url).get_existing() as store:
        found = check.verify(store, name, int(now().timestamp()))
        context.detail(f"sloctl: {store.name}")
    with suppress(BrokenPipeError):
        if form == "json":
            rows = [{"table": f.table, "key": f.key, "expected": f.expected, "found": f.found} for f in found]
            click.echo(json.dumps(rows, indent=2))
        else:
            for item in found:
                text = f"{item.table}: {item.key}: expected {item.expected}, found {item.found}"
                click.echo(printable(text))
    if form != "json":
        context.say(f"sloctl: {len(found)} findings" if found else "sloctl: the ledger is consistent")
    return EXIT_PROBLEMS if found else EXIT_OK


def _data_format(function: F) -> F:
    return click.option(
        "--format",
        "form",
        type=click.Choice(["csv", "parquet"]),
        help="Default: what the file's name says, else csv.",
    )(function)


@command.command("export", short_help="Write what is recorded to a file: CSV or Parquet.")
@ledger_option
@set_option
@click.option("-o", "--output", default="-", metavar="FILE", help="The file; - (the default) is stdout.")
@_data_format
@click.option("--from", "start", metavar="TIME", help="Only from this UTC day on.")
@click.option("--to", "end", metavar="TIME", help="Only up to this UTC day.")
@pass_context
def export(
    context: Context,
    ledger_url: str | None,
    files: tuple[str, ...],
    output: str,
    form: str | None,
    start: str | None,
    end: str | None,
) -> int:
    """Write everything that the ledger knows to one file: buckets, sums whose buckets are gone, causes, silences.

    The same ledger gives the same bytes, in SQLite and in PostgreSQL. A file is replaced whole or not at all.
    --from and --to are RFC 3339, Unix seconds, or an age such as 30d, and are widened to whole UTC days.
    """
    from sloctl.ledger.grid import LATEST
    from sloctl.ledger.transfer import files as transfer

    at = now()
    since = int(parse_time(start, at).timestamp()) if start else 0
    until = int(parse_time(end, at).timestamp()) if end else LATEST
    if since >= until:
        raise UsageError("--from is not before --to")
    kind: transfer.Format = "parquet" if (form or transfer.form_of(output)) == "parquet" else "csv"
    if output == "-" and kind == "parquet" and sys.stdout.isatty():
        raise UsageError("a terminal cannot show Parquet", hint="name a file with -o")
    name = set_name_of(context, files)
    with (
        LedgerAccess(ledger_url).get_existing() as store,
        tempfile.TemporaryDirectory(prefix="sloctl-") as folder,
    ):
        path = Path(folder) / "ledger" if output == "-" else Path(output)
        sets = None if name is None else [name]
        count = transfer.export(store, path, kind, sets=sets, since=since, until=until)
        if output == "-":
            stream = sys.stdout.buffer
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    stream.write(block)
            stream.flush()
    context.say(f"sloctl: {count} lines" + ("" if output == "-" else f" in {output}"))
    return EXIT_OK


@command.command("import", short_help="Enter a file that export wrote, as far as it is new.")
@click.argument("file", metavar="FILE")
@ledger_option
@_data_format
@pass_context
def import_(context: Context, file: str, ledger_url: str | None, form: str | None) -> int:
    """Enter what FILE, which export wrote, knows and the ledger does not; - is stdin.

    What is recorded already stays as it is, so that an import may be repeated, and exports of several ledgers may be
    entered one after the other. A file with any mistake is refused as a whole, with line and column.
    """
    from sloctl.ledger.transfer import files

    kind: files.Format = "parquet" if (form or files.form_of(file)) == "parquet" else "csv"
    with (
        LedgerAccess(ledger_url).get_or_make() as store,
        tempfile.TemporaryDirectory(prefix="sloctl-") as folder,
    ):
        path = Path(file)
        if file == "-":
            path = Path(folder) / "stdin"
            with path.open("wb") as copy:
                while block := sys.stdin.buffer.read(1 << 20):
                    copy.write(block)
        done = files.import_file(store, path, kind, name="stdin" if file == "-" else file)
    context.say(
        f"sloctl: {done.buckets} buckets of SLOs are new, of {printable(', '.join(done.sets)) or 'no set'}"
    )
    if done.left:
        context.warn(
            f"{done.left} buckets were left out: the file has them only in sums with others that "
            "the ledger knows"
        )
    return EXIT_OK


@command.command("prune", short_help="Remove what is older than the file says.")
@ledger_option
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="SLO file: its set, its ledger.keep.",
)
@pass_context
def prune(context: Context, ledger_url: str | None, files: tuple[str, ...]) -> int:
    """Remove what is older than the section ledger of the SLO file says; the job slis does so too.

    Sums of hours and days stay exact when their buckets are removed. Ages are reckoned from the set's newest bucket.
    """
    from jobs.recording.record import day_edges
    from sloctl.ledger.protocol import Keep

    slo_set: SloSet = load(context, files)
    at = now()
    keep = Keep(slo_set.ledger.keep_buckets, slo_set.ledger.keep_hours, slo_set.ledger.keep_days)
    with LedgerAccess(ledger_url).get_existing() as store:
        done = store.prune(slo_set.name, keep, int(at.timestamp()), day_edges(slo_set, at))
    context.say(f"sloctl: removed {done.buckets} buckets, {done.hours} hours and {done.days} days")
    return EXIT_OK


def shown(name: str, found: Contents) -> dict[str, Any]:
    """What ``show`` says, as JSON has it."""
    return {
        "ledger": name,
        "bytes": found.size,
        "slos": [
            {
                "set": held.set_name,
                "slo_id": held.slo_id,
                "slo": held.slo,
                "first": rfc3339(held.first),
                "last": rfc3339(held.last),
                "buckets": held.known,
                "missing": held.unknown,
                "services": [
                    {"namespace": key[1], "service": key[2], "gap_seconds": gap, "excluded_seconds": excluded}
                    for key, (gap, excluded) in held.services.items()
                ],
            }
            for held in found.definitions
        ],
        "runs": [
            {
                "set": set_name,
                "job": run.job,
                "outcome": run.outcome,
                "started": rfc3339(run.started),
                "ended": rfc3339(run.ended),
                "message": run.message,
            }
            for set_name, runs in found.runs.items()
            for run in runs.values()
        ],
        "locks": [
            {"name": lock, "holder": holder, "since": rfc3339(since)} for lock, holder, since in found.locks
        ],
        "outbox": [{"set": set_name, **states} for set_name, states in found.outbox.items()],
        "repairs": [
            {"set": set_name, **row(item)} for set_name, items in found.repairs.items() for item in items
        ],
        "counted_late": [
            {
                "set": set_name,
                "slo_id": key[0],
                "namespace": key[1],
                "service": key[2],
                "from": rfc3339(bucket.since),
                "to": rfc3339(bucket.end),
                "bad": bucket.bad / MICRO,
                "total": bucket.total / MICRO,
            }
            for set_name, late in found.carried.items()
            for key, buckets in late.items()
            for bucket in buckets
        ],
    }


def _print(data: dict[str, Any]) -> None:
    click.echo(f"{printable(data['ledger'])}, {data['bytes'] / 1e6:.1f} MB")
    slos = [
        ["set", "SLO", "namespace", "service", "first", "last", "buckets", "missing", "gap s", "excluded s"]
    ]
    for slo in data["slos"]:
        services = slo["services"] or [
            {"namespace": "", "service": "", "gap_seconds": 0, "excluded_seconds": 0}
        ]
        for item in services:
            slos.append(
                [
                    *(slo["set"], slo["slo"], item["namespace"] or "–", item["service"] or "*"),
                    *(slo["first"], slo["last"], str(slo["buckets"]), str(slo["missing"])),
                    *(str(item["gap_seconds"]), str(item["excluded_seconds"])),
                ]
            )
    _table(slos)
    runs = [[run["set"], run["job"], run["outcome"], run["ended"], run["message"]] for run in data["runs"]]
    _table([["set", "job", "outcome", "ended", "message"], *runs])
    _table(
        [
            ["lock", "holder", "since"],
            *([lock["name"], lock["holder"], lock["since"]] for lock in data["locks"]),
        ]
    )
    states = ("pending", "sent", "dead")
    waiting = [[item["set"], *(str(item.get(state, 0)) for state in states)] for item in data["outbox"]]
    _table([["reports of set", *states], *waiting])
    read = [
        [
            *(item["set"], item["time"], item["slo_id"], item["service"], item["outcome"]),
            *(
                f"{item['bad']:,.6g} of {item['total']:,.6g}",
                f"{item['read_bad']:,.6g} of {item['read_total']:,.6g}",
            ),
            *(item["made"], item["made_by"]),
        ]
        for item in data["repairs"][-REPAIRS:]
    ]
    _table(
        [["read again", "bucket", "SLO", "service", "outcome", "bad was", "bad then", "when", "by"], *read]
    )
    if (more := len(data["repairs"]) - REPAIRS) > 0:
        click.echo(f"… and {more} before these (--format json has all)")
    _print_late(data["counted_late"])


def _print_late(items: Sequence[Mapping[str, Any]]) -> None:
    """The newest buckets with events from before them."""
    newest = sorted(items, key=lambda item: (item["to"], item["slo_id"], item["service"]))[-LATE:]
    rows = [
        [
            *(item["set"], item["to"], item["slo_id"], item["service"], item["from"]),
            f"{item['bad']:,.6g} of {item['total']:,.6g}",
        ]
        for item in newest
    ]
    _table([["counted late", "at", "SLO", "service", "of the time since", "bad"], *rows])
    if (more := len(items) - LATE) > 0:
        click.echo(f"… and {more} before these (--format json has all)")


def _table(rows: list[list[str]]) -> None:
    """A blank line and the rows, if there are any below the titles."""
    from sloctl.cli.tables import columns

    if len(rows) > 1:
        click.echo("\n".join(["", *columns([[printable(cell) for cell in row] for row in rows])]))
