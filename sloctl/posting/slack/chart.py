"""The picture of a report: bars of what is left of the budgets, or lines of how the worst ones burned down.

Two to one, light, readable on a phone; colours and marks that also tell apart what a colour-blind reader sees. The same
report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from sloctl.model.calendar import MONTHS
from sloctl.posting.slack import drawing
from sloctl.posting.slack.drawing import Drawing, Point
from sloctl.posting.slack.mrkdwn import ALT, cut
from sloctl.report.data import Report, SloStatus
from sloctl.report.history import BudgetHistory
from sloctl.report.markdown import ordered
from sloctl.report.numbers import budget_share, plain

BARS = 10
LINES = 5
COLOURS = {
    "exhausted": "#b2182b",
    "at_risk": "#e08214",
    "partial": "#7570b3",
    "no_data": "#999999",
    "ok": "#2166ac",
}
"""Blue, orange and dark red differ in lightness too."""
STYLES = (
    ("#0072b2", ""),
    ("#d55e00", "14 6"),
    ("#009e73", "24 6 4 6"),
    ("#cc79a7", "4 6"),
    ("#555555", "18 4 4 4 4 4"),
)
"""Okabe and Ito's colours, and dashes."""
INK, FAINT = "#222222", "#d9d9d9"
TITLE, TEXT, LEGEND = 23.0, 20.0, 18.0
"""Sizes of letters."""
_MOST_TICKS = 8


def worst(report: Report, most: int) -> list[SloStatus]:
    """The SLOs that are drawn: those with a budget, the worst first."""
    return [item for item in ordered(report) if item.remaining is not None][:most]


def drawn_as_lines(report: Report) -> bool:
    """Whether lines are drawn: for weeks and months, where the history of the budgets is known."""
    kind = report.routine.kind if report.routine else "daily"
    return kind != "daily" and any(item.history for item in worst(report, LINES))


def alt_text(report: Report) -> str:
    """The picture's numbers in words."""
    lines = drawn_as_lines(report)
    shown = [item for item in worst(report, LINES) if item.history] if lines else worst(report, BARS)
    if not shown:
        return "No budget is known."
    what = "How the worst error budgets burned down; left at the end: " if lines else "Error budget left: "
    known = len([item for item in report.slos if item.remaining is not None])
    rest, unknown = known - len(shown), len(report.slos) - known
    parts = [f"{plain(cut(item.name, 90))} {budget_share(item.remaining)}" for item in shown]
    parts += [f"and {rest} more"] if rest else []
    parts += [f"{unknown} with no budget known"] if unknown else []
    return cut(f"{what}{'; '.join(parts)}.", ALT)


def png(report: Report) -> bytes:
    """The picture, 1200 by 600; nothing if no budget is known."""
    return drawing.png(svg(report)) if worst(report, 1) else b""


def svg(report: Report) -> str:
    """The picture before it is one."""
    made = Drawing()
    if drawn_as_lines(report):
        _lines(made, [(item, item.history) for item in worst(report, LINES) if item.history])
    else:
        _bars(made, worst(report, BARS))
    return made.svg()


def _bars(made: Drawing, items: Sequence[SloStatus]) -> None:
    left, right, top, bottom = 432.0, 1116.0, 78.0, 522.0
    shares = [max(-1.0, min(item.remaining or 0.0, 1.0)) for item in items]
    lowest = -1.0 if min(shares) < -0.05 else 0.0

    def x(share: float) -> float:
        return left + (right - left) * (share - lowest * 1.28) / (1.28 - lowest * 1.28)

    made.text((left, 58), "Error budget left", TITLE, INK, bold=True)
    for half in range(int(lowest * 2), 3):
        made.line([(x(half / 2), top), (x(half / 2), bottom)], FAINT, 1.5)
        made.text((x(half / 2), bottom + 16), _percent(half / 2), TEXT, INK, anchor="middle")
    step = (bottom - top) / len(items)
    for place, (item, share) in enumerate(zip(items, shares, strict=True)):
        middle = top + step * (place + 0.5)
        made.bar(
            (min(x(0), x(share)), middle - 0.34 * step),
            abs(x(share) - x(0)),
            0.68 * step,
            COLOURS[item.status],
        )
        made.text((left - 7, middle), _name(item, TEXT, left - 20), TEXT, INK, anchor="end")
        mark = {"exhausted": "✕ ", "at_risk": "! "}.get(item.status, "")
        # Right of its bar, where nothing else is: left of a deep one are the names.
        made.text(
            (max(x(0), x(share)) + 7, middle), mark + budget_share(item.remaining), TEXT, INK, anchor="start"
        )
    made.line([(left, bottom), (right, bottom)], INK, 1.5)
    made.line([(x(0), top), (x(0), bottom)], INK, 1.7)


def _lines(made: Drawing, items: Sequence[tuple[SloStatus, BudgetHistory]]) -> None:
    left, right, top, bottom = 108.0, 1152.0, 76.0, 416.0
    drawn = [_shares(history) for _, history in items]
    lowest = min(0.0, *(share for points in drawn for _, share in points if share is not None))
    start = min(history.start for _, history in items)
    end = max(history.end for _, history in items)

    def place(time: datetime, share: float) -> Point:
        height = (1.05 - share) / (1.05 - lowest + 0.05)
        return left + (right - left) * ((time - start) / (end - start)), top + (bottom - top) * height

    made.text((left, 53), "Error budget left over its window", TITLE, INK, bold=True)
    tenths = 2 if lowest > -0.7 else 5
    for step in range(int(lowest * 10 / tenths - 1e-9), 10 // tenths + 1):
        share = step * tenths / 10
        y = place(start, share)[1]
        made.line([(left, y), (right, y)], FAINT, 1.3)
        made.text((left - 7, y), _percent(share), TEXT, INK, anchor="end")
    for time, label in _ticks(start, end):
        x = place(time, 0)[0]
        made.line([(x, top), (x, bottom)], FAINT, 1.3)
        made.text((x, bottom + 16), label, TEXT, INK, anchor="middle")
    made.line([place(start, 0), place(end, 0)], INK, 1.7)
    made.line([(left, bottom), (right, bottom)], INK, 1.5)
    for row, ((item, _), points, (colour, dashes)) in enumerate(zip(items, drawn, STYLES, strict=False)):
        for known, stretch in groupby(points, lambda point: point[1] is not None):
            if known:
                made.line([place(time, share or 0.0) for time, share in stretch], colour, 3.6, dashes)
        y = 466 + 27 * row
        made.line([(left - 6, y), (left + 34, y)], colour, 3.6, dashes)
        text = f"{_name(item, LEGEND, 900)}: {budget_share(item.remaining)}"
        made.text((left + 47, y), text, LEGEND, INK)


def _shares(history: BudgetHistory) -> list[tuple[datetime, float | None]]:
    """What was left at each edge of the buckets, not below what is drawn; None where nothing is known."""
    left = [1.0, *history.left()]
    values = [None if share is None else max(-1.0, share) for share in left]
    return list(zip(history.edges(), values, strict=True))


def _ticks(start: datetime, end: datetime) -> Iterator[tuple[datetime, str]]:
    """Round times in UTC, with labels: hours, days, Mondays, or the beginnings of months; eight at most."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    days = (end - start) / timedelta(days=1)
    hours = next((hours for hours in (1, 2, 3, 6, 12) if days * 24 / hours <= _MOST_TICKS), 0)
    step = next((step for step in (1, 2, 7, 14) if days / step <= _MOST_TICKS), 0)
    months = next((months for months in (1, 2, 3, 4, 6) if days / 30 / months <= _MOST_TICKS), 12)
    time = start.replace(minute=0, second=0, microsecond=0)
    while time <= end:
        midnight, day = time.hour == 0, f"{time.day} {MONTHS[time.month - 1]}"
        if hours:
            wanted, label = time.hour % hours == 0, day if midnight else f"{time:%H:%M}"
        elif step:
            # The first day of the calendar is a Monday.
            wanted, label = midnight and (time.toordinal() - 1) % step == 0, day
        else:
            wanted = midnight and time.day == 1 and (time.month - 1) % months == 0
            label = f"{MONTHS[time.month - 1]} {time.year}"
        if wanted and time >= start:
            yield time, label
        time += timedelta(hours=1)


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def _name(item: SloStatus, size: float, width: float) -> str:
    return drawing.fitting(plain(item.name), size, width)
