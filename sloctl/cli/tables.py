"""Tables on a terminal, through rich; piped output has no colour and no cut-off columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sloctl import report_text
from sloctl.report import Report

STYLES = {"exhausted": "bold red", "at risk": "yellow", "ok": "green", "no data": "dim"}
_LEFT = {"service", "SLO", "alerts", "status", "window", "namespace", "time"}
PIPE_WIDTH = 400


def console() -> Console:
    """Where results are printed; rich itself heeds NO_COLOR."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(file=sys.stdout, highlight=False, width=width, soft_wrap=False)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of plain cells; the last column is coloured where it is a state."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="left" if title in _LEFT else "right", overflow="fold")
    for cells in rows:
        last = Text(cells[-1], style=STYLES.get(cells[-1], ""))
        table.add_row(*(Text(cell) for cell in cells[:-1]), last)
    console().print(table)


def print_report(report: Report) -> None:
    """The report: a table that fits the terminal, then the findings.

    A narrow terminal gets fewer columns; pipes and files get all.
    """
    windows = report_text.columns(report)
    titles = report_text.header(windows)
    rows = [report_text.row(item, windows) for item in report.slos]
    out = console()
    dropped = [
        "95 % interval",
        "exhausted (UTC)",
        "window",
        "events",
        *(f"burn {w}" for w in windows[3:]),
        "alerts",
    ]
    while out.width < _width(titles, rows) and dropped:
        name = dropped.pop(0)
        if name in titles:
            index = titles.index(name)
            titles = titles[:index] + titles[index + 1 :]
            rows = [row[:index] + row[index + 1 :] for row in rows]
    out.print(Text(report_text.summary(report), style="bold"))
    print_table(titles, rows)
    for finding in report.findings:
        style = {"error": "red", "warning": "yellow"}.get(finding.severity, "")
        out.print(Text(report_text.finding_line(finding), style=style))


def _width(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return sum(max(len(cell) for cell in column) + 2 for column in zip(titles, *rows, strict=True))
