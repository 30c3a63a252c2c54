"""``sloctl ledger reread``: recorded buckets, read from Prometheus again and repaired."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from sloctl.cli import composition
from sloctl.cli.composition import LedgerAccess, Overrides, Servers
from sloctl.cli.context import (
    Context,
    files_option,
    format_option,
    ledger_option,
    load,
    now,
    parse_time,
    pass_context,
)
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, UsageError
from sloctl.model.durations import rfc3339

if TYPE_CHECKING:
    from jobs.recording.reread import RereadResult
    from sloctl.ledger.protocol import Ledger, Repair
    from sloctl.model import SloSet


@click.command("reread", short_help="Read recorded buckets from Prometheus again, and repair what came late.")
@ledger_option
@files_option
@click.option("--prometheus", "url", metavar="URL", help="Overrides sources.prometheus.url of the file.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30.")
@click.option(
    "--from",
    "start",
    metavar="TIME",
    required=True,
    help="The beginning: RFC 3339, Unix seconds, or an age such as 2h.",
)
@click.option("--to", "end", metavar="TIME", help="The end; default now. Only what is recorded is read.")
@click.option(
    "--author", metavar="NAME", default="sloctl", show_default=True, help="Who does it, for the journal."
)
@click.option(
    "--allow-less",
    is_flag=True,
    help="Also take numbers that are smaller than those recorded: where you know that Prometheus is right.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@format_option()
@pass_context
def reread(
    context: Context,
    ledger_url: str | None,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    start: str,
    end: str | None,
    author: str,
    allow_less: bool,
    dry_run: bool,
    form: str,
) -> int:
    """Read recorded buckets from Prometheus again, and repair those that have more events now.

    Late samples only add. A bucket of which Prometheus now knows fewer good or bad events, or a longer gap, stays as it
    is: it has forgotten, or one of its replicas missed something. Both are entered into the ledger's journal (sloctl
    ledger show), with old and new numbers. Repeating it changes nothing. Exits 1 if a bucket was kept, 3 if an answer
    was partial.
    """
    slo_set = load(context, files)
    at = now()
    since, until = _grid(parse_time(start, at), parse_time(end, at))
    if since >= until:
        raise UsageError("--from is not before --to, by five whole minutes at least")
    with (
        LedgerAccess(ledger_url).get_existing() as store,
        composition.listening(slo_set, context.warn) as observer,
    ):
        servers = Servers(slo_set.sources, Overrides(prometheus=url, timeout=timeout), context.warn, observer)
        with servers.prometheus() as source:
            done = _read(
                source, slo_set, store, at, (since, until), author, allow_less=allow_less, dry_run=dry_run
            )
    rows = [
        row(item) for item in sorted((*done.repaired, *done.kept), key=lambda item: (item.end, item.slo_id))
    ]
    if form == "json":
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        from sloctl.cli import tables

        tables.print_rows(rows)
    would = "would be repaired" if dry_run else "repaired"
    context.say(
        f"sloctl: {done.read} buckets read again, {len(done.repaired)} {would}, {len(done.kept)} kept as they are, "
        f"{done.skipped} skipped (not recorded as buckets, or Prometheus has no history of them)"
    )
    if done.unsure:
        from sloctl.backends.answers import partial_error

        said = dict.fromkeys(text for texts in done.unsure.values() for text in texts)
        raise partial_error(list(said), ", ".join(sorted(done.unsure)[:3]))
    return EXIT_PROBLEMS if done.kept else EXIT_OK


def _read(
    source: Any,
    slo_set: SloSet,
    store: Ledger,
    at: datetime,
    interval: tuple[int, int],
    author: str,
    *,
    allow_less: bool,
    dry_run: bool,
) -> RereadResult:
    """A day at a time, the newest first."""
    from jobs.recording.record import PIECE
    from jobs.recording.reread import RereadResult, read_again

    done = RereadResult()
    since, until = interval
    edges = sorted({since, until, *range(since // PIECE * PIECE + PIECE, until, PIECE)})
    for piece in reversed(list(pairwise(edges))):
        done.add(
            read_again(source, slo_set, store, at, piece, author, allow_less=allow_less, dry_run=dry_run)
        )
    return done


def _grid(start: datetime, end: datetime) -> tuple[int, int]:
    """Whole buckets within a time."""
    from sloctl.model import GRID

    return -(-int(start.timestamp()) // GRID) * GRID, int(end.timestamp()) // GRID * GRID


def row(item: Repair) -> dict[str, Any]:
    """An entry of the journal, as people and programs read it."""
    from sloctl.ledger.protocol import MICRO

    return {
        "time": rfc3339(item.end),
        "slo_id": item.slo_id,
        "namespace": item.namespace,
        "service": item.service or "*",
        "outcome": item.outcome,
        "total": item.old[0] / MICRO,
        "bad": item.old[1] / MICRO,
        "gap": item.old[2],
        "read_total": item.new[0] / MICRO,
        "read_bad": item.new[1] / MICRO,
        "read_gap": item.new[2],
        "made": rfc3339(int(item.made)),
        "made_by": item.made_by,
    }
