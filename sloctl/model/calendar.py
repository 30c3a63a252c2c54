"""The calendar of a time zone: when its days begin, and its days, ISO weeks, months, quarters and years.

A local day begins with its first instant: of a midnight that clocks repeat, the first; where clocks skip midnight, the
instant after. Instants are aware; those given back are in UTC. This module must not know what periods are for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

CalendarUnit = Literal["day", "week", "month", "quarter", "year"]
UNITS: tuple[CalendarUnit, ...] = ("day", "week", "month", "quarter", "year")
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
MONDAY: Weekday = "monday"
MONTHS = tuple("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
"""What people call the months."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CalendarPeriod:
    """``[start, end)``: a whole ``unit`` of local days; the present one may be cut at the present.

    ``label`` is 2026-03-01, 2026-W09, 2026-02, 2026-Q1 or 2026: labels of a unit sort as their periods do. A week that
    begins on another day than Monday is none of ISO's, and called by its first day.
    """

    unit: CalendarUnit
    start: datetime
    end: datetime
    timezone: str
    label: str
    starts: Weekday = MONDAY

    @property
    def seconds(self) -> int:
        """Its length; a day on which clocks change has 23 or 25 hours."""
        return round((self.end - self.start).total_seconds())

    @property
    def first_day(self) -> date:
        """The first local day."""
        return _local_day(self.start, self.timezone)

    @property
    def last_day(self) -> date:
        """The last local day: the one before that in which the period ends."""
        return _local_day(self.end - datetime.resolution, self.timezone)

    def before(self) -> CalendarPeriod:
        """The period before this one."""
        return containing(self.unit, self.timezone, self.start - datetime.resolution, self.starts)


def containing(unit: CalendarUnit, timezone: str, at: datetime, starts: Weekday = MONDAY) -> CalendarPeriod:
    """The whole period that an instant lies in; ``starts`` is the day on which weeks begin."""
    first = _first_day(unit, _local_day(at, timezone), starts)
    end = midnight(_following(unit, first, starts), timezone)
    while (
        end <= at
    ):  # clocks went back over midnight: the day before comes a second time, and belongs to the new one
        first = _following(unit, first, starts)
        end = midnight(_following(unit, first, starts), timezone)
    return CalendarPeriod(unit, midnight(first, timezone), end, timezone, _label(unit, first, starts), starts)


def last_complete(unit: CalendarUnit, timezone: str, at: datetime) -> CalendarPeriod:
    """The last period that is over at an instant; one that ends at it is."""
    return containing(unit, timezone, at).before()


def periods_to(unit: CalendarUnit, timezone: str, at: datetime, count: int) -> list[CalendarPeriod]:
    """The period that ``at`` lies in, as far as it has come, and those before it: ``count`` in all, oldest first."""
    found = [replace(containing(unit, timezone, at), end=at)]
    while len(found) < count:
        found.append(found[-1].before())
    return found[::-1]


def midnight(day: date, timezone: str) -> datetime:
    """The first instant of a local day."""
    return first_shown(datetime.combine(day, time(0), ZoneInfo(timezone)))


def first_shown(local: datetime) -> datetime:
    """The first instant at which clocks show a local time, or the end of the change that skips it."""
    late, early = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if late <= early:
        return late  # it is there once, or is repeated, and this is the first
    # Of a time that is skipped, fold 0 lies after the change and fold 1 before it (PEP 495).
    old = early.astimezone(local.tzinfo).utcoffset()
    while late - early > datetime.resolution:
        between = early + (late - early) // 2
        if between.astimezone(local.tzinfo).utcoffset() == old:
            early = between
        else:
            late = between
    return late


def days_begin(timezone: str, at: datetime) -> Iterator[int]:
    """The seconds of the UTC day at which local days began in the year before an instant, in each of its months."""
    zone = ZoneInfo(timezone)
    for days in range(0, 366, 30):
        offset = (at - timedelta(days=days)).astimezone(zone).utcoffset() or timedelta()
        yield int(-offset.total_seconds()) % 86400


def _local_day(at: datetime, timezone: str) -> date:
    return at.astimezone(ZoneInfo(timezone)).date()


def _first_day(unit: CalendarUnit, day: date, starts: Weekday) -> date:
    """The first day of the period that a day lies in."""
    if unit == "day":
        return day
    if unit == "week":
        return day - timedelta(days=(day.weekday() - get_args(Weekday).index(starts)) % 7)
    if unit == "month":
        return day.replace(day=1)
    return day.replace(month=(day.month - 1) // 3 * 3 + 1 if unit == "quarter" else 1, day=1)


def _following(unit: CalendarUnit, first: date, starts: Weekday) -> date:
    """The first day of the next period."""
    if unit == "day":
        return first + _DAY
    # Somewhat more than a length lies in the next period, whatever their lengths.
    return _first_day(
        unit, first + timedelta(days={"week": 7, "month": 31, "quarter": 92, "year": 366}[unit]), starts
    )


def _label(unit: CalendarUnit, first: date, starts: Weekday) -> str:
    if unit == "week" and starts != MONDAY:
        return first.isoformat()
    if unit == "week":
        year, week, _ = first.isocalendar()
        return f"{year}-W{week:02}"
    if unit == "quarter":
        return f"{first.year}-Q{(first.month + 2) // 3}"
    return first.isoformat()[: {"day": 10, "month": 7, "year": 4}[unit]]
