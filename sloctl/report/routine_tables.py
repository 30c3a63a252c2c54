"""A routine's tables as people read them, for every form of a report."""

from __future__ import annotations

import math

from sloctl.model.calendar import MONTHS, CalendarPeriod
from sloctl.model.durations import duration
from sloctl.report.numbers import NOTHING, budget_share, count, percent, plain, rate, spent_share
from sloctl.report.routine import CellValue, Routine, RoutineColumn, RoutineSection

NOUNS = {"daily": "Daily", "weekly": "Weekly", "monthly": "Monthly"}
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def period_text(period: CalendarPeriod) -> str:
    """The days of a period: ``1 Mar 2026 (Europe/Paris)``, ``23 Feb – 1 Mar 2026 (UTC)``, ``Feb 2026 (UTC)``."""
    first, last = period.first_day, period.last_day
    shown = f"{last.day} {MONTHS[last.month - 1]} {last.year}"
    if period.unit == "month":
        shown = f"{MONTHS[first.month - 1]} {first.year}"
    elif period.unit == "week":
        year = f" {first.year}" if first.year != last.year else ""
        shown = f"{first.day} {MONTHS[first.month - 1]}{year} – {shown}"
    return f"{shown} ({period.timezone})"


def title(routine: Routine) -> str:
    """``Weekly report, 23 Feb – 1 Mar 2026 (UTC)``."""
    return f"{NOUNS[routine.kind]} report, {period_text(routine.period)}"


def cell(value: CellValue, column: RoutineColumn, currency: str = "") -> str:
    """A value as people read it; texts without control characters."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, str):
        return value.replace("T", " ").removesuffix("Z") if column.unit == "time" else plain(value)
    if not math.isfinite(value):
        return NOTHING
    if column.unit == "budget":
        return budget_share(value) if column.name == "left" else spent_share(value)
    if column.unit == "ratio":
        return percent(value)
    if column.unit == "rate":
        return rate(value)
    if column.unit == "seconds":
        return duration(round(value / 60) * 60) if value >= 60 else f"{value:.0f}s"
    if column.unit == "money":
        return f"{value:,.2f} {currency}".rstrip()
    if column.unit == "bytes":
        power = min(len(_BYTES) - 1, max(0, int(math.log(value, 1024)))) if value >= 1 else 0
        return f"{value / 1024**power:,.3g} {_BYTES[power]}"
    return f"{value:,.3g}" if column.unit == "cores" else count(value)


def table(section: RoutineSection) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of a section."""
    rows = [
        [cell(value, column, section.currency) for value, column in zip(row, section.columns, strict=True)]
        for row in section.rows
    ]
    return [column.title for column in section.columns], rows


def tables(routine: Routine) -> list[tuple[str, list[str], list[list[str]]]]:
    """Every section with its period in the title; what is said without rows, or beneath them, is a row too."""
    found = []
    for section in routine.sections:
        titles, rows = table(section)
        said = section.note if rows else section.empty
        if said:
            rows = [*rows, [plain(said), *("" for _ in titles[1:])]]
        found.append((f"{section.title}, {period_text(routine.period)}", titles, rows))
    return found
