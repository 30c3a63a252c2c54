"""All tables on a terminal: through rich, or as plain columns; piped output has no colour and every column."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len

from sloctl.model.durations import number
from sloctl.report import markdown
from sloctl.report.data import Report
from sloctl.report.numbers import NOTHING, plain
from sloctl.settings.variables import environment

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

STYLES = {
    "exhausted": "bold red",
    "violated": "bold red",
    "at risk": "yellow",
    "partial": "dim",
    "ok": "green",
    "no data": "dim",
}
SEVERITY_STYLES = {"error": "red", "warning": "yellow"}
_LEFT = {"service", "SLO", "alerts", "status", "window", "namespace", "time", "slo", "guardrail", "where"} | {
    "source",
    "destination",
    "workload",
    "reasons",
    "cause",
    "period",
}
_MAY_WRAP = {
    "service",
    "SLO",
    "alerts",
    "slo",
    "where",
    "source",
    "destination",
    "workload",
    "reasons",
    "cause",
}
_GAP = 2
_SHORTEST = 8
"""Characters of a folded name in a line at least."""

ESSENTIAL = ("status", "service", "SLO", "budget left")
"""What a report shows however narrow the terminal is."""
_ALERT = re.compile(r"\w*BudgetBurn(Page|Ticket)(\w+)")


def console(width: int = 0) -> Console:
    """Where results are printed; rich itself heeds NO_COLOR. A pipe is at least ``width`` columns wide."""
    from rich.console import Console

    if sys.stdout is None or not sys.stdout.isatty():
        return Console(file=sys.stdout, highlight=False, width=max(width, 80))
    return Console(highlight=False)


def _piped() -> bool:
    """Whether results are plain text: then rich, which is slow to import, has nothing to do."""
    forced = {"FORCE_COLOR", "TTY_COMPATIBLE"} & environment().keys()
    return not forced and (sys.stdout is None or not sys.stdout.isatty())


def print_table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], widths: Mapping[str, int] | None = None
) -> None:
    """A table of plain cells, with states in colour; names are folded where the terminal is too narrow.

    ``widths`` fixes those of some columns.
    """
    if _piped():
        right = {number for number, title in enumerate(titles) if title not in _LEFT}
        click.echo("\n".join(columns([titles, *rows], right=right)))
        return
    out = console(_width(titles, rows))
    if not widths and _least(titles, rows) > out.width:
        for cells in rows:
            _print(out, _listed(titles, cells))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(
            title,
            justify="left" if title in _LEFT else "right",
            overflow="fold",
            no_wrap=title not in _MAY_WRAP,
            width=widths.get(title) if widths else None,
        )
    for cells in rows:
        table.add_row(*(_cell(title, cell) for title, cell in zip(titles, cells, strict=True)))
    _print(out, table)


def _least(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The width below which a table hides its names: folded to a few characters, or to none."""
    wide = {title: max(map(cell_len, column)) for title, *column in zip(titles, titles, *rows, strict=True)}
    return sum(
        min(size, _SHORTEST) if title in _MAY_WRAP else size for title, size in wide.items()
    ) + _GAP * (len(wide) - 1)


def _listed(titles: Sequence[str], cells: Sequence[str]) -> Text:
    """A row where there is no room for a table: each cell with its title."""
    from rich.text import Text

    named = zip(titles, cells, strict=True)
    pairs = (Text.assemble((f"{title} ", "bold"), _cell(title, cell)) for title, cell in named)
    return Text("- ").append_text(Text(", ").join(pairs))


def columns(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), widths: Mapping[int, int] | None = None
) -> list[str]:
    """The lines of rows, their titles among them if they have any: columns as wide as their cells.

    For what is copied from a terminal, such as ids: nothing is folded or left out, however narrow it is. ``right`` are
    the columns of numbers; ``widths`` fixes those of some columns.
    """
    wide = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for index, width in (widths or {}).items():
        wide[index] = width
    return [_line(row, wide, right).rstrip() for row in rows]


def _line(row: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    cells = []
    for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
        blanks = " " * (width - cell_len(cell))
        cells.append(blanks + cell if index in right else cell + blanks)
    return (" " * _GAP).join(cells)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of plain rows, which all have the keys of the first one; there is one at least."""
    print_table(list(rows[0]), [[_value(value) for value in row.values()] for row in rows])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(round(value, 6)) if math.isfinite(value) else NOTHING
    if isinstance(value, list):
        return " ".join(_value(item) for item in value) or NOTHING
    if isinstance(value, dict):
        items = ", ".join(f"{name} {_value(item)}" for name, item in value.items())
        return plain(items) or NOTHING
    return NOTHING if value is None else plain(str(value))


def _print(out: Console, what: RenderableType) -> None:
    """Print without the blanks that rich fills lines with."""
    with out.capture() as captured:
        out.print(what)
    click.echo("\n".join(line.rstrip() for line in captured.get().split("\n")), nl=False)


def _cell(title: str, cell: str) -> Text:
    from rich.text import Text

    return Text(cell, style=STYLES.get(cell.removesuffix(markdown.IN_DOUBT), "") if title == "status" else "")


def print_report(report: Report) -> None:
    """The report: a table that fits the terminal, the worst first, then the findings.

    A narrow terminal gets the columns that matter most, and is told which are missing.
    """
    windows = markdown.columns(report)
    sources = markdown.mixed(report)
    titles = markdown.header(windows, sources=sources)
    rows = [markdown.row(item, windows, sources=sources) for item in markdown.ordered(report)]
    shown = titles
    widths: dict[str, int] = {}
    if not _piped() and (out := console()).is_terminal and _width(titles, rows) > out.width:
        alerts = titles.index("alerts")
        rows = [[*row[:alerts], _short(row[alerts]), *row[alerts + 1 :]] for row in rows]
        shown, widths = _fitting(titles, rows, windows, out.width, part=bool(markdown.part_recorded(report)))
    kept = [titles.index(title) for title in shown]
    say(markdown.summary(report), "bold")
    print_table(shown, [[row[index] for index in kept] for row in rows], widths)
    for title, columns, cells in markdown.tables(report):
        say("")
        say(title, "bold")
        print_table(columns, cells)
    for finding in markdown.brief(report):
        say(markdown.finding_line(finding), SEVERITY_STYLES.get(finding.severity, ""))
    if hidden := [title for title in titles if title not in shown]:
        say(f"Not shown, for want of room: {', '.join(hidden)} (see --format json)", "dim")


def say(text: str, style: str = "") -> None:
    """A line of results; a pipe gets it unbroken."""
    if _piped():
        click.echo(text.rstrip())
        return
    from rich.text import Text

    _print(console(cell_len(text)), Text(text, style=style))


def _short(alerts: str) -> str:
    """Names that sloctl gives to alerts, without what the row says already."""
    return _ALERT.sub(lambda match: f"{match[1].lower()}-{match[2]}", alerts)


def _fitting(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    windows: Sequence[str],
    width: int,
    *,
    part: bool,
) -> tuple[list[str], dict[str, int]]:
    """The columns that fit, chosen by importance, in the table's order; and how wide the folded ones are."""
    burn = [f"burn {window}" for window in windows]
    hour = [title for title in burn if title == "burn 1h"]
    order = [
        *(["window"] if part else []),
        "source",
        "alerts",
        *hour,
        "SLI",
        "runs out (UTC)",
        *burn,
        "objective",
        "bad",
        "events",
        "window",
    ]
    columns = dict(zip(titles, zip(*rows, strict=True), strict=True)) if rows else {}
    full = {title: max(map(cell_len, (title, *columns.get(title, ())))) for title in titles}
    words = max(
        (cell_len(part) for cell in columns.get("alerts", ()) for part in cell.split(", ")), default=0
    )
    least = {"service": max(16, width * 3 // 10), "SLO": max(12, width // 5), "alerts": words + 1}
    sizes = {title: min(size, least.get(title, size)) for title, size in full.items()}
    room = width - sum(sizes[title] + _GAP for title in ESSENTIAL) + _GAP
    chosen = set(ESSENTIAL)
    for title in [*(title for title in order if title in titles), *titles]:
        nothing = set(columns.get(title, ())) == {NOTHING}
        if title not in chosen and not nothing and sizes[title] + _GAP <= room:
            chosen.add(title)
            room -= sizes[title] + _GAP
    for title in ("alerts", "service", "SLO"):
        more = min(full[title] - sizes[title], max(room, 0)) if title in chosen else 0
        sizes[title] += more
        room -= more
    # Too narrow even for what is essential: the names give way.
    sizes["service"] = max(8, sizes["service"] + min(room, 0))
    return [title for title in titles if title in chosen], {
        title: sizes[title] for title in _MAY_WRAP & chosen
    }


def _width(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(max(map(cell_len, column)) + _GAP for column in zip(titles, *rows, strict=True))
