"""The geometry of the plots: where lines, ticks and marks lie, and what they say; the template draws them.

Coordinates are units of the plot's view box, from its top left corner. This module writes no markup.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from sloctl.model.calendar import MONTHS
from sloctl.model.durations import duration
from sloctl.report.data import Mark
from sloctl.report.history import BudgetHistory
from sloctl.report.numbers import budget_share, count, digits_for, percent, plain

WIDTH, HEIGHT = 480, 210
LEFT, RIGHT, TOP, BOTTOM = 62, 468, 12, 182
"""The plot inside the view box; what is outside are the axes' labels."""
AREAS = 30
"""Areas of a plot that say what is beneath them, at most."""
DEEPEST = 8
"""How many error budgets below 100 % the axis of the SLI reaches at most; what is below is marked."""
_STEPS = (
    *(300 * n for n in (1, 3, 6)),
    *(3600 * n for n in (1, 2, 3, 6, 12)),
    *(86400 * n for n in (1, 2, 5, 7)),
)
_MOST_TICKS = 7
_ROOM = 14


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis and its label."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the plot, from ``x`` on, and what it says."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A plot: SVG paths of the line and of a dashed reference, ticks, marks, and what it says in words."""

    title: str
    summary: str
    reference_label: str
    line: str
    reference: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    areas: tuple[Area, ...]
    end: tuple[float, float] | None = None
    overspent: float | None = None
    below: tuple[float, ...] = ()
    """Where the line is lower than the axis reaches."""


def moment(time: datetime, *, minutes: bool = True) -> str:
    """A time in UTC as plots show it: ``3 Feb 14:00``."""
    utc = time.astimezone(UTC)
    day = f"{utc.day} {MONTHS[utc.month - 1]}"
    return f"{day} {utc:%H:%M}" if minutes else day


def nice_step(span: float, most: int) -> float:
    """1, 2 or 5 times a power of ten that divides ``span`` into at most ``most`` parts."""
    least = span / most
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where times and values lie."""

    start: float
    end: float
    low: float
    high: float

    def x(self, time: datetime) -> float:
        share = (time.timestamp() - self.start) / (self.end - self.start)
        return round(LEFT + (RIGHT - LEFT) * share, 1)

    def y(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(BOTTOM - (BOTTOM - TOP) * share, 1)


def _scale(history: BudgetHistory, low: float, high: float) -> _Scale:
    return _Scale(history.start.timestamp(), history.end.timestamp(), low, high)


@lru_cache(maxsize=10_000)
def coordinate(value: float) -> str:
    """A coordinate, as short as SVG allows: ``12``, ``.5``, ``-.5``."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else re.sub(r"^(-?)0\.", r"\1.", text)


def path(points: Sequence[tuple[float, float]]) -> str:
    """An SVG path through points, in steps from one to the next; points on a level stretch are left out."""
    kept = [
        point
        for place, point in enumerate(points)
        if place in (0, len(points) - 1) or not points[place - 1][1] == point[1] == points[place + 1][1]
    ]
    (x, y), *rest = kept
    text, command = f"M{coordinate(x)} {coordinate(y)}", "M"
    for a, b in rest:
        right, down = round(a - x, 1), round(b - y, 1)
        before, command = command, "l" if right and down else "v" if down else "h"
        values = {"l": (right, down), "v": (down,), "h": (right,)}[command]
        first, *more = (coordinate(value) for value in values)
        text += command + first if command != before else first if first.startswith("-") else f" {first}"
        text += "".join(value if value.startswith("-") else f" {value}" for value in more)
        x, y = a, b
    return text


def _time_ticks(scale: _Scale) -> tuple[Tick, ...]:
    span = scale.end - scale.start
    step = next((step for step in _STEPS if span / step <= _MOST_TICKS), 0)
    if not step:
        step = math.ceil(span / _MOST_TICKS / (7 * 86400)) * 7 * 86400
    first = math.ceil(scale.start / step) * step
    ticks = []
    for time in range(first, math.floor(scale.end) + 1, step):
        at = datetime.fromtimestamp(time, UTC)
        x = scale.x(at)
        if LEFT + 8 <= x <= RIGHT - 8:
            ticks.append(Tick(x, moment(at, minutes=False) if step >= 86400 else f"{at:%H:%M}"))
    return tuple(ticks)


def _value_ticks(scale: _Scale, step: float) -> tuple[Tick, ...]:
    """Ticks at the multiples of ``step``, and at the top if its label has room above the next one."""
    digits = max(0, -math.floor(math.log10(step * 100) + 1e-9))
    first, last = math.floor(scale.high / step + 1e-9), math.ceil(scale.low / step - 1e-9)
    # + 0.0: no minus before a zero.
    values = [round(place * step, 12) + 0.0 for place in range(first, last - 1, -1)]
    if scale.y(values[0]) - TOP > _ROOM:
        values.insert(0, scale.high)
    return tuple(Tick(scale.y(value), f"{value * 100:,.{digits}f} %") for value in values)


def _areas(
    history: BudgetHistory, scale: _Scale, most: int, says: Callable[[int, int], str]
) -> tuple[Area, ...]:
    """Neighbouring buckets together; ``says`` gets the numbers of the first and of the one after the last."""
    edges = history.edges()
    size = math.ceil(len(history.buckets) / most)
    found = []
    for first in range(0, len(history.buckets), size):
        after = min(first + size, len(history.buckets))
        x = scale.x(edges[first])
        text = f"{moment(edges[first])} – {moment(edges[after])}: {says(first, after)}"
        found.append(Area(x, round(scale.x(edges[after]) - x, 1), text))
    return tuple(found)


def _stretches(values: Sequence[float | None]) -> list[list[int]]:
    """The numbers of the values that are known, in unbroken runs."""
    found: list[list[int]] = []
    for number, value in enumerate(values):
        if value is None:
            continue
        if found and found[-1][-1] == number - 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def burn_down(history: BudgetHistory, areas: int = AREAS) -> Chart:
    """What is left of the budget over its window; the dashed line is a budget that lasts exactly as long."""
    left, edges = history.left(), history.edges()
    begins = history.begins
    lowest = min((value for value in left if value is not None), default=begins)
    if history.whole is None:
        step = nice_step(1 - min(0.0, lowest), 5)
        low, high = -math.ceil(max(0.0, -lowest) / step - 1e-9) * step, 1.0
    else:  # a part is drawn as large as it is, but for what is next to nothing
        step = nice_step(max(begins - lowest, 0.02), 5)
        low, high = math.floor(lowest / step + 1e-9) * step, math.ceil(begins / step - 1e-9) * step
        low = min(low, high - step)
    scale = _scale(history, low, high)
    line, level, last = [], begins, (0.0, 0.0)
    stretches = _stretches(left)
    begun = edges[stretches[0][0]] if stretches else history.start
    for stretch in stretches:
        points = [(scale.x(edges[stretch[0]]), scale.y(level))]
        for number in stretch:
            level = left[number] or 0.0
            points.append((scale.x(edges[number + 1]), scale.y(level)))
        line.append(path(points))
        last = points[-1]

    drawn = min(
        1.0, (begins - low) / history.pace
    )  # so much of the line at a burn rate of 1 is within the axis
    lasts = history.start + drawn * (history.end - history.start)

    def says(first: int, after: int) -> str:
        known = [(number, item) for number in range(first, after) if (item := history.buckets[number])]
        if not known:
            return "nothing is known"
        bad = sum(item[0] for _, item in known)
        return f"{count(bad)} bad, {budget_share(left[known[-1][0]])} left"

    return Chart(
        title="Error budget left",
        summary=(
            f"From {'100 %' if begins == 1 else budget_share(begins)} at {moment(begun)} to "
            f"{budget_share(history.remaining)} at {moment(history.end)} UTC."
        ),
        reference_label="a budget that lasts exactly this long",
        line="".join(line),
        reference=path(
            [
                (scale.x(history.start), scale.y(begins)),
                (scale.x(lasts), scale.y(begins - drawn * history.pace)),
            ]
        ),
        x_ticks=_time_ticks(scale),
        y_ticks=_value_ticks(scale, step),
        areas=_areas(history, scale, areas, says),
        end=last if line else None,
        overspent=scale.y(min(0.0, high)) if low < 0 else None,
    )


def success(history: BudgetHistory, objective: float, areas: int = AREAS) -> Chart:
    """The SLI over time; the dashed line is the objective (percent). Without events the line is interrupted."""
    values, edges = history.success(), history.edges()
    known = [(value, number) for number, value in enumerate(values) if value is not None]
    lowest, where = min(known, default=(1.0, 0))
    share = history.share
    depth = min(max(2 * share, (1 - lowest) * 1.05), DEEPEST * share, 1.0)
    step = nice_step(depth, 5)
    low = max(0.0, 1 - math.ceil(depth / step - 1e-9) * step)
    scale = _scale(history, low, 1.0)
    digits = digits_for(objective)
    line = []
    for stretch in _stretches(values):
        points = []
        for number in stretch:
            y = scale.y(values[number] or 0.0)
            points += [(scale.x(edges[number]), y), (scale.x(edges[number + 1]), y)]
        line.append(path(points))

    def says(first: int, after: int) -> str:
        items = [item for item in history.buckets[first:after] if item]
        if not items:
            return "nothing is known"
        bad, total = (sum(numbers) for numbers in zip(*items, strict=True))
        return (
            f"{percent(max(0.0, 1 - bad / total), digits)} of {count(total)} events" if total else "no events"
        )

    begin = history.spans()[where]
    text = f"Lowest: {percent(lowest, digits)}, from {moment(begin[0])} to {moment(begin[1])} UTC."
    return Chart(
        title="SLI over time",
        summary=text if known else "No events.",
        reference_label=f"objective {objective:.10g} %",
        line="".join(line),
        reference=f"M{LEFT} {coordinate(scale.y(objective / 100))}H{RIGHT}",
        x_ticks=_time_ticks(scale),
        y_ticks=_value_ticks(scale, step),
        areas=_areas(history, scale, areas, says),
        below=tuple(
            round((scale.x(edges[run[0]]) + scale.x(edges[run[-1] + 1])) / 2, 1)
            for run in _stretches(
                [value if value is not None and value < low - 1e-12 else None for value in values]
            )
        ),
    )


SPARK_WIDTH, SPARK_HEIGHT = 60, 16
WEEK = 7 * 86400
_SPARK = 28


def spark(history: BudgetHistory) -> str:
    """The path of what was left of the budget over the last week, in whole units; "" where nothing is known."""
    since = max(history.start, history.end - timedelta(seconds=WEEK))
    left, edges = history.left(), history.edges()
    points = [
        (edge, value)
        for edge, value in zip(edges, [1.0, *left], strict=True)
        if value is not None and edge >= since
    ]
    if len(points) < 2:
        return ""
    span = (history.end - since).total_seconds()
    values = [value for _, value in points]
    low, high = min(values), max(values)
    depth = max(high - low, 0.25)  # what is little looks little

    def place(at: datetime, value: float) -> tuple[float, float]:
        x = round((at - since).total_seconds() / span * SPARK_WIDTH)
        return float(x), float(round(1 + (high - value) / depth * (SPARK_HEIGHT - 2)))

    last_of = {x: (x, y) for x, y in (place(*point) for point in points)}
    thin = list(last_of.values())
    step = -(-len(thin) // _SPARK)
    return path([*thin[:-1:step], thin[-1]])


def bands(history: BudgetHistory, marks: Sequence[Mark]) -> tuple[tuple[str, float, float], ...]:
    """Where marks lie in a plot: what each is, its beginning and its width, of which something is always to be seen."""
    scale = _scale(history, 0.0, 1.0)
    found = []
    for mark in marks:
        start, end = max(mark.start, history.start), min(mark.end, history.end)
        if start <= end:
            x = scale.x(start)
            found.append((mark.what, min(x, RIGHT - 2.0), round(max(2.0, scale.x(end) - x), 1)))
    return tuple(found)


def mark_text(mark: Mark) -> str:
    """What a mark is, as people read it."""
    lasted = duration(max(60, round((mark.end - mark.start).total_seconds() / 60) * 60))
    return f"{moment(mark.start)}: {mark.what} {plain(mark.name)}".rstrip() + f" ({lasted})"


def width_text(history: BudgetHistory) -> str:
    """The width of a bucket as people say it."""
    minutes = timedelta(seconds=history.width) // timedelta(minutes=1)
    for size, word in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes % size == 0:
            number = minutes // size
            return f"{number} {word}{'' if number == 1 else 's'}"
    raise AssertionError("a minute divides every bucket")
