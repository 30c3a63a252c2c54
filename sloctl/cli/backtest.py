"""``sloctl backtest``."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sloctl.cli import progress, report
from sloctl.cli.composition import LedgerAccess, Overrides, Servers
from sloctl.cli.context import (
    Context,
    budget_options,
    files_option,
    format_option,
    ledger_option,
    load,
    now,
    parse_time,
    pass_context,
    place_of,
)
from sloctl.errors import EXIT_OK, EXIT_PROBLEMS, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from jobs.backtest import Backtest, History, Incident
    from sloctl.model import SeriesKey, Slo

MOST = timedelta(days=400)
NAMED = ("start", "end", "service", "name")


@click.command("backtest")
@files_option
@click.option("--prometheus", "url", metavar="URL", help="Overrides sources.prometheus.url of the file.")
@click.option("--timeout", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Per request; default 30.")
@ledger_option
@click.option(
    "--source",
    "origin",
    type=click.Choice(["rules", "ledger"]),
    default="rules",
    show_default=True,
    help="Replay what the rules recorded in Prometheus, to the minute, or the ledger, to five minutes.",
)
@click.option(
    "--from",
    "start",
    metavar="TIME",
    default="30d",
    show_default=True,
    help="Since when: RFC 3339, Unix seconds, or an age such as 30d.",
)
@click.option("--to", "end", metavar="TIME", help="The end of that time; default now.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    help="A policy to replay: file (what each SLO has), mesh or sre-workbook; several times to compare them. "
    "Default: file.",
)
@click.option(
    "--incidents",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Known incidents as CSV: start,end and, if known, service (cart or shop/cart) and name.",
)
@click.option(
    "--suggest", is_flag=True, help="Propose objectives that would have lasted, and say which policy is best."
)
@budget_options
@format_option()
@pass_context
def command(
    context: Context,
    files: tuple[str, ...],
    url: str | None,
    timeout: float | None,
    ledger_url: str | None,
    origin: str,
    start: str,
    end: str | None,
    policies: tuple[str, ...],
    incidents: Path | None,
    suggest: bool,
    services: tuple[str, ...],
    namespace: str | None,
    owner: str | None,
    form: str,
) -> int:
    """Replay alert policies over the past: what would have paged, when, and for how long.

    Exit code 0: replayed; 1: nothing is recorded of that time; 3: a server is not available.
    """
    from jobs import backtest
    from jobs.backtest import judged, told
    from sloctl.model.policies import POLICIES

    slo_set, here = load(context, files), now()
    first, last = parse_time(start, here), parse_time(end, here)
    if last - first < timedelta(minutes=10) or last - first > MOST:
        raise UsageError("--from must be 10 minutes to 400 days before --to", hint="write  --from 30d")
    chosen = policies or (judged.OF_FILE,)
    for name in chosen:
        if name not in (judged.OF_FILE, *POLICIES):
            raise UsageError(
                f"--policy: there is no policy {name!r}",
                hint=f"known: {judged.OF_FILE}, {', '.join(POLICIES)}",
            )
    known = known_incidents(incidents, here) if incidents is not None else []

    def wanted(slo: Slo, key: SeriesKey) -> bool:
        return report.chosen((key[1], key[2], slo.owner), services, namespace, owner)

    def run(history: History) -> Backtest:
        return backtest.run(
            history,
            slo_set,
            int(first.timestamp()),
            int(last.timestamp()),
            policies=tuple(dict.fromkeys(chosen)),
            incidents=known,
            wanted=wanted,
            suggest=suggest,
        )

    if origin == "ledger":
        with LedgerAccess(ledger_url).get_existing() as ledger:
            found = run(backtest.LedgerHistory(ledger, slo_set))
    else:
        servers = Servers(slo_set.sources, Overrides(prometheus=url, timeout=timeout), context.warn)
        with servers.prometheus() as source, progress.shown(context, "reading recorded events") as moved:
            found = run(backtest.RecordedHistory(source, slo_set, moved))
    if form == "json":
        click.echo(json.dumps(told.as_object(found), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(told.lines(found)))
    return EXIT_OK if found.seen else EXIT_PROBLEMS


def known_incidents(path: Path, here: datetime) -> list[Incident]:
    """Known incidents. Raises UsageError that names file and line."""
    from jobs.backtest import Incident

    out = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            columns = rows.fieldnames or ()
            if {*columns} - {*NAMED} or not {"start", "end"} <= {*columns} or len({*columns}) < len(columns):
                raise UsageError(
                    f"{path}:1: the first line does not name the columns",
                    hint=f"write  {','.join(NAMED)}  (service and name may be left out)",
                )
            for row in rows:
                if extra := row.get(None):  # where DictReader puts what is too much
                    raise UsageError(
                        f"{path}:{rows.line_num}: {len(columns) + len(extra)} cells, of {len(columns)} columns",
                        hint="put a cell that has a comma in quotes",
                    )
                try:
                    start, end = (
                        int(parse_time(row[name] or "", here).timestamp()) for name in ("start", "end")
                    )
                except UsageError as error:
                    text = str(error).removeprefix("--at: ")
                    raise UsageError(f"{path}:{rows.line_num}: {text}", hint=error.hint) from error
                if end < start:
                    raise UsageError(f"{path}:{rows.line_num}: 'end' is before 'start'", hint="exchange them")
                said = (row.get("service") or "").strip()
                namespace, service = place_of(said, f"{path}:{rows.line_num}") if said else ("", "")
                out.append(Incident(start, end, namespace, service, row.get("name") or ""))
    except (OSError, UnicodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    return out
