"""Windows of budgets: rolling, or a unit of the calendar."""

from __future__ import annotations

from typing import get_args

from sloctl.model import CalendarUnit, CalendarWindow, RollingWindow, Window
from sloctl.spec.fields.containers import Either
from sloctl.spec.fields.quantities import Duration, WrittenDuration
from sloctl.spec.fields.reader import Reader
from sloctl.spec.fields.scalars import Choice
from sloctl.spec.fields.shapes import Block, Field, Section
from sloctl.spec.sections.common import DAY, TIMEZONE, YEAR

CALENDAR = Section(
    "calendarWindow",
    model=CalendarWindow,
    doc="The current week, month, quarter or year.",
    fields=(
        Field(
            "calendar",
            Choice(get_args(CalendarUnit)),
            "The unit; weeks start on Monday.",
            required=True,
            fills="unit",
        ),
        Field("timezone", TIMEZONE, "Where midnight is.", examples=("Europe/Paris",)),
    ),
)
WINDOW = Either(Duration(3600, YEAR, 300, "30d"), CALENDAR)

MONTH = 30 * DAY
DEFAULT_WINDOW = RollingWindow(MONTH, "30d")


def window(value: WrittenDuration | Block, reader: Reader) -> Window | None:
    """The window that a file says; None if a part of it was unusable."""
    if isinstance(value, WrittenDuration):
        return RollingWindow(value.seconds, value.text)
    return None if value.broken("timezone") else CALENDAR.build(value, reader)
