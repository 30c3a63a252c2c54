"""The routines that reports serve: what a day, a week or a month was like, as data and in the report's JSON form.

A routine covers the last complete local day, ISO week or month. This module must not know where the numbers come from,
nor how they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sloctl.model import Job, calendar
from sloctl.model.calendar import CalendarPeriod, CalendarUnit
from sloctl.model.durations import rfc3339
from sloctl.model.job_names import ROUTINES, RoutineKind

ROUTINE_KINDS: dict[str, RoutineKind] = {kind: kind for kind in ROUTINES}

ColumnUnit = Literal["text", "count", "ratio", "budget", "rate", "seconds", "cores", "bytes", "money", "time"]
"""What a column holds: ``ratio`` and ``budget`` are shares (1 is all), ``rate`` is per second or per pod and day,
``money`` is in the section's currency, ``time`` is RFC 3339."""

ROUTINE_UNITS: dict[RoutineKind, CalendarUnit] = {"daily": "day", "weekly": "week", "monthly": "month"}
"""What the periods of routines are."""
_KINDS = {unit: kind for kind, unit in ROUTINE_UNITS.items()}

CellValue = str | float | None
MOST = 200
"""Rows of a section."""


def last_period(kind: RoutineKind, at: datetime, timezone: str = "UTC") -> CalendarPeriod:
    """What a routine at ``at`` (aware) is about: the last complete period. One that ends at ``at`` is complete."""
    return calendar.last_complete(ROUTINE_UNITS[kind], timezone, at)


def of_schedule(cron: str) -> RoutineKind:
    """The routine that a cron line suggests: a fixed day of the week is weekly, of the month monthly, else daily."""
    fields = cron.split()
    if len(fields) == 5 and fields[4].isalnum() and fields[2] == "*":
        return "weekly"
    if len(fields) == 5 and fields[2].isalnum():
        return "monthly"
    return "daily"


def of_job(job: Job) -> RoutineKind:
    """The routine of a job: the one it names, or the one that its schedule suggests."""
    return ROUTINE_KINDS[job.routine] if job.routine else of_schedule(job.cron)


@dataclass(frozen=True, slots=True)
class RoutineColumn:
    """A column of a section: ``name`` in JSON, ``title`` for people."""

    name: str
    title: str
    unit: ColumnUnit = "text"


@dataclass(frozen=True, slots=True)
class RoutineSection:
    """A table of a routine, the worst first. ``empty`` is what no rows mean; ``note`` is said beneath.

    ``rest`` are the rows that are too many to be shown.
    """

    name: str
    title: str
    columns: tuple[RoutineColumn, ...]
    rows: tuple[tuple[CellValue, ...], ...] = ()
    empty: str = ""
    note: str = ""
    currency: str = ""
    rest: tuple[tuple[CellValue, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.rows) > MOST:
            object.__setattr__(self, "rest", (*self.rows[MOST:], *self.rest))
            object.__setattr__(self, "rows", self.rows[:MOST])

    def of(self, wanted: Callable[[Mapping[str, CellValue]], bool]) -> RoutineSection:
        """The section with some of its rows, which are given by the names of columns."""
        names = [column.name for column in self.columns]
        rows = tuple(row for row in (*self.rows, *self.rest) if wanted(dict(zip(names, row, strict=True))))
        return replace(
            self, rows=rows, rest=(), note="" if len(rows) < len(self.rows) + len(self.rest) else self.note
        )


@dataclass(frozen=True, slots=True)
class Routine:
    """What a period was like."""

    period: CalendarPeriod
    sections: tuple[RoutineSection, ...] = ()

    @property
    def kind(self) -> RoutineKind:
        """How often there is such a routine."""
        return _KINDS[self.period.unit]

    def section(self, name: str) -> RoutineSection | None:
        """The section of a name, if the routine has it."""
        return next((section for section in self.sections if section.name == name), None)


def to_json(routine: Routine) -> dict[str, Any]:
    """The object ``routine`` of the report's JSON form."""
    period = routine.period
    return {
        "kind": routine.kind,
        "period": period.label,
        "start": rfc3339(period.start),
        "end": rfc3339(period.end),
        "timezone": period.timezone,
        "sections": [
            {
                "name": section.name,
                "columns": [{"name": column.name, "unit": column.unit} for column in section.columns],
                "rows": [
                    {column.name: value for column, value in zip(section.columns, row, strict=True)}
                    for row in section.rows
                ],
                "currency": section.currency,
                "note": section.note,
            }
            for section in routine.sections
        ],
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of that object."""
    text = {"type": "string"}
    moment = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
    cell = {"anyOf": [text, {"type": "number"}, {"type": "null"}]}
    units = [*"text count ratio budget rate seconds cores bytes money time".split()]
    section = _object(
        {
            "name": text,
            "columns": {"type": "array", "items": _object({"name": text, "unit": {"enum": units}})},
            "rows": {"type": "array", "items": {"type": "object", "additionalProperties": cell}},
            "currency": text,
            "note": text,
        }
    )
    return _object(
        {
            "kind": {"enum": list(ROUTINE_KINDS)},
            "period": text,
            "start": moment,
            "end": moment,
            "timezone": text,
            "sections": {"type": "array", "items": section},
        }
    ) | {"description": "a day, a week or a month; only in reports that were asked for one"}
