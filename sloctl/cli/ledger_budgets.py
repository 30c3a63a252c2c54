"""``sloctl ledger budgets`` and ``sloctl ledger causes``: past periods, and what their budgets were spent on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sloctl.cli import completing
from sloctl.cli.composition import LedgerAccess
from sloctl.cli.context import (
    Context,
    files_option,
    format_option,
    ledger_option,
    load,
    now,
    parse_time,
    pass_context,
    place_of,
)
from sloctl.errors import UsageError

if TYPE_CHECKING:
    from jobs.budgets.attainment import Incident
    from sloctl.model import SloSet

F = TypeVar("F", bound=Callable[..., Any])
UNITS = ("day", "week", "month", "quarter", "year")


def _options(function: F) -> F:
    """Which SLOs, which time, and how to print it."""
    for option in (
        format_option(),
        click.option("--to", "end", metavar="TIME", help="The end of that time; default now."),
        click.option(
            "--from",
            "start",
            metavar="TIME",
            help="One period from this time on, such as an incident: RFC 3339, Unix seconds, or an age such as 2h.",
        ),
        click.option(
            "--timezone", metavar="ZONE", default="UTC", show_default=True, help="Where midnight is."
        ),
        click.option(
            "--slo",
            metavar="NAME",
            shell_complete=completing.of_file("name"),
            help="Only SLOs of this name.",
        ),
        click.option(
            "--service",
            metavar="NAME",
            shell_complete=completing.of_file("service"),
            help="Only this service, cart or shop/cart.",
        ),
        files_option,
        ledger_option,
    ):
        function = option(function)
    return function


def _zone(name: str) -> str:
    from sloctl.spec.fields import checks

    if checks.timezone(name) is not None:
        raise UsageError(f"--timezone: {name!r} is not a time zone", hint="write one like Europe/Paris")
    return name


def _only(
    slo_set: SloSet, slo: str | None, service: str | None
) -> tuple[SloSet, Callable[[dict[str, Any]], bool]]:
    """The set with the SLOs that were asked for, and which rows of them were.

    A namespace's SLO stands for each of its services. Raises UsageError.
    """
    from dataclasses import replace

    place, name = ("", "") if service is None else place_of(service)
    found = tuple(
        item
        for item in slo_set.slos
        if slo in (None, item.name)
        and place in ("", item.namespace)
        and (item.wildcard or name in ("", item.service))
    )
    if not found:
        raise UsageError("the SLO file has no such SLO", hint="look at --slo and --service")
    return replace(
        slo_set, slos=found
    ), lambda row: place in ("", row["namespace"]) and name in ("", row["service"])


def _incident(start: str | None, end: str | None, at: datetime) -> Incident | None:
    from jobs.budgets.attainment import Incident

    if start is None:
        if end is not None:
            raise UsageError("--to goes with --from", hint="say since when")
        return None
    first, last = parse_time(start, at), parse_time(end, at)
    if last <= first:
        raise UsageError("--to must be later than --from", hint="exchange them")
    return Incident(first, last)


@click.command("budgets", short_help="Show what each SLO was in past days, weeks, months, …")
@_options
@click.option(
    "--by",
    "unit",
    type=click.Choice(UNITS),
    default="month",
    show_default=True,
    help="The length of a period.",
)
@click.option(
    "--last", "count", type=click.IntRange(1, 5000), default=12, show_default=True, help="How many periods."
)
@pass_context
def budgets(
    context: Context,
    ledger_url: str | None,
    files: tuple[str, ...],
    service: str | None,
    slo: str | None,
    timezone: str,
    start: str | None,
    end: str | None,
    form: str,
    unit: str,
    count: int,
) -> None:
    """Show what each SLO was in past days, weeks, months, quarters or years, or what an incident cost.

    Each period has a budget of its own: the share of its events that may be bad. With --from, the budget is that of the
    SLO's window around the end of that time: how much of it the incident used.
    """
    from jobs.budgets import attainment
    from sloctl.model.calendar import periods_to

    (slo_set, asked), at = _only(load(context, files), slo, service), now()
    with LedgerAccess(ledger_url).get_existing() as ledger:
        incident = _incident(start, end, at)
        if incident is None:
            wanted = periods_to(unit, _zone(timezone), at.replace(microsecond=0), count)  # type: ignore[arg-type]
            rows = attainment.rows(attainment.read(ledger, slo_set, wanted))
        else:
            rows = attainment.costs(ledger, slo_set, incident)
    _show(context, [row for row in rows if asked(row)], form)


@click.command("causes", short_help="Show what the budgets were spent on: code, caller, version.")
@_options
@pass_context
def causes(
    context: Context,
    ledger_url: str | None,
    files: tuple[str, ...],
    service: str | None,
    slo: str | None,
    timezone: str,
    start: str | None,
    end: str | None,
    form: str,
) -> None:
    """Show what the budgets were spent on: bad events by response code, flags, caller and version, the worst first.

    Of the present month, unless --from says since when.
    """
    from jobs.budgets import attainment
    from sloctl.model.calendar import periods_to

    (slo_set, asked), at = _only(load(context, files), slo, service), now().replace(microsecond=0)
    with LedgerAccess(ledger_url).get_existing() as ledger:
        time = _incident(start, end, at) or periods_to("month", _zone(timezone), at, 1)[0]
        rows = attainment.causes(ledger, slo_set, time)
    _show(context, [row for row in rows if asked(row)], form)


def _show(context: Context, rows: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        from sloctl.report.markdown import json_text

        click.echo(json_text(rows))
    elif rows:
        from sloctl.cli.tables import print_rows

        print_rows([_for_people(row) for row in rows])
    else:
        context.say("sloctl: the ledger has no events of that time")


def _for_people(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the units of a report; JSON has numbers."""
    from sloctl.model.durations import duration, number
    from sloctl.report.numbers import NOTHING, count, digits_for, percent, spent_share

    forms: dict[str, Callable[[Any], str]] = {
        "objective": lambda value: f"{number(value)} %",
        "sli": lambda value: percent(value, digits_for(row["objective"])),
        "share": lambda value: percent(value, 1),
        "budget_spent": spent_share,
        **dict.fromkeys(("gap_seconds", "excluded_seconds"), lambda value: duration(round(value))),
        **dict.fromkeys(("good", "bad", "total", "window_total"), count),
    }
    return {
        name.removesuffix("_seconds").replace("_", " "): (NOTHING if value is None else forms[name](value))
        if name in forms
        else value
        for name, value in row.items()
    }
