"""The routines that reports serve: what a day, a week or a month was like, as data and in the report's JSON form.

A routine covers the last complete local day, ISO week or month. This module must not know where the numbers come from,
nor how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sloctl.model import Job
from sloctl.model.durations import rfc3339

Kind = Literal["daily", "weekly", "monthly"]
KINDS: dict[str, Kind] = {"daily": "daily", "weekly": "weekly", "monthly": "monthly"}

Unit = Literal["text", "count", "ratio", "budget", "rate", "seconds", "cores", "bytes", "money", "time"]
"""What a column holds: ``ratio`` and ``budget`` are shares (1 is all), ``rate`` is per second or per pod and day,
``money`` is in the section's currency, ``time`` is RFC 3339."""

Value = str | float | None


@dataclass(frozen=True, slots=True)
class Period:
    """``[start, end)`` in UTC: complete days of ``timezone``. ``label`` is 2026-03-01, 2026-W09 or 2026-02."""

    kind: Kind
    start: datetime
    end: datetime
    timezone: str
    label: str

    @property
    def seconds(self) -> int:
        """Its length; a day on which clocks change has 23 or 25 hours."""
        return round((self.end - self.start).total_seconds())

    @property
    def first_day(self) -> date:
        """The first local day."""
        return self.start.astimezone(ZoneInfo(self.timezone)).date()

    @property
    def last_day(self) -> date:
        """The last local day: the one before that in which the period ends."""
        return (self.end - timedelta(seconds=1)).astimezone(ZoneInfo(self.timezone)).date()


def last_period(kind: Kind, at: datetime, timezone: str = "UTC") -> Period:
    """The last complete period at ``at`` (aware). A period that ends at ``at`` is complete."""
    today = at.astimezone(ZoneInfo(timezone)).date()
    if kind == "daily":
        end = today
        start = end - timedelta(days=1)
        label = start.isoformat()
    elif kind == "weekly":
        end = today - timedelta(days=today.weekday())
        start = end - timedelta(days=7)
        year, week, _ = start.isocalendar()
        label = f"{year}-W{week:02}"
    else:
        end = today.replace(day=1)
        start = (end - timedelta(days=1)).replace(day=1)
        label = f"{start:%Y-%m}"
    return Period(kind, _midnight(start, timezone), _midnight(end, timezone), timezone, label)


def before(period: Period) -> Period:
    """The period before one."""
    return last_period(period.kind, period.start, period.timezone)


def _midnight(day: date, timezone: str) -> datetime:
    """The first instant of a local day: of a midnight that is repeated, the first; of one left out, what follows."""
    return datetime.combine(day, time(0), ZoneInfo(timezone)).astimezone(UTC)


def of_schedule(cron: str) -> Kind:
    """The routine that a cron line suggests: a fixed day of the week is weekly, of the month monthly, else daily."""
    fields = cron.split()
    if len(fields) == 5 and fields[4].isalnum() and fields[2] == "*":
        return "weekly"
    if len(fields) == 5 and fields[2].isalnum():
        return "monthly"
    return "daily"


def of_job(job: Job) -> Kind:
    """The routine of a job: the one it names, or the one that its schedule suggests."""
    return KINDS[job.routine] if job.routine else of_schedule(job.cron)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a section: ``name`` in JSON, ``title`` for people."""

    name: str
    title: str
    unit: Unit = "text"


@dataclass(frozen=True, slots=True)
class Section:
    """A table of a routine, the worst first. ``empty`` is what no rows mean; ``note`` is said beneath."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...] = ()
    empty: str = ""
    note: str = ""
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Routine:
    """What a period was like."""

    period: Period
    sections: tuple[Section, ...] = ()

    def section(self, name: str) -> Section | None:
        """The section of a name, if the routine has it."""
        return next((section for section in self.sections if section.name == name), None)


def to_json(routine: Routine) -> dict[str, Any]:
    """The object ``routine`` of the report's JSON form."""
    period = routine.period
    return {
        "kind": period.kind,
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
            "kind": {"enum": list(KINDS)},
            "period": text,
            "start": moment,
            "end": moment,
            "timezone": text,
            "sections": {"type": "array", "items": section},
        }
    ) | {"description": "a day, a week or a month; only in reports that were asked for one"}
