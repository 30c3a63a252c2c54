"""A cron line held against a clock that is read minute by minute."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


def field(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("", "", "") if span == "*" else span.partition("-")
        start = int(first) if first else low
        found |= set(range(start, (int(last or start) if first else high) + 1, int(step or 1)))
    return found


def by_the_clock(line: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """Every minute of real time is looked at, with what clocks show and what they have already shown or skipped."""
    minutes, hours, days, months, weekdays = (
        field(text, *bounds)
        for text, bounds in zip(line.split(), ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6)), strict=True)
    )

    def due(shown: datetime) -> bool:
        return (
            shown.minute in minutes
            and shown.hour in hours
            and shown.day in days
            and shown.month in months
            and shown.isoweekday() % 7 in weekdays
        )

    found, highest = [], None
    now = start - timedelta(hours=3)
    while now < end:
        shown = now.astimezone(zone).replace(tzinfo=None)
        if len(hours) == 24:
            hit = due(shown)
        else:
            # What lies between the latest time that was ever shown and this one is due now, once.
            first = shown if highest is None else highest + MINUTE
            hit = any(due(first + n * MINUTE) for n in range(int((shown - first) / MINUTE) + 1))
        highest = shown if highest is None else max(highest, shown)
        if hit and now >= start:
            found.append(now)
        now += MINUTE
    return found
