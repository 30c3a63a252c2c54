"""The picture of a report: bars of what is left of the budgets, or lines of how the worst ones burned down.

Two to one, light, readable on a phone; colours and marks that also tell apart what a colour-blind reader sees. Drawn
through matplotlib's objects, never through its global state; the same report gives the same bytes.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from datetime import UTC
from functools import cache
from typing import TYPE_CHECKING, Any

from sloctl.posting.slack.mrkdwn import ALT, cut
from sloctl.report.data import Report, SloStatus
from sloctl.report.markdown import ordered
from sloctl.report.numbers import budget_share, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BARS = 10
LINES = 5
NAME = 34
COLOURS = {"exhausted": "#b2182b", "at_risk": "#e08214", "no_data": "#999999", "ok": "#2166ac"}
"""Blue, orange and dark red differ in lightness too."""
STYLES = (
    ("#0072b2", "-"),
    ("#d55e00", "--"),
    ("#009e73", "-."),
    ("#cc79a7", ":"),
    ("#555555", (0, (5, 1, 1, 1))),
)
"""Okabe and Ito's colours, and dashes."""
INK, FAINT = "#222222", "#d9d9d9"
_SETTINGS = {"font.family": ["DejaVu Sans"], "font.size": 12, "text.usetex": False, "text.parse_math": False}


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
    rest = len([item for item in report.slos if item.remaining is not None]) - len(shown)
    parts = [f"{plain(cut(item.name, 90))} {budget_share(item.remaining)}" for item in shown]
    return cut(what + "; ".join(parts) + (f"; and {rest} more with more left" if rest else "") + ".", ALT)


def png(report: Report) -> bytes:
    """The picture, 1200 by 600; nothing if no budget is known."""
    if not worst(report, 1):
        return b""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = _SETTINGS
    with rc_context(settings):
        figure = Figure(figsize=(10, 5), dpi=120, facecolor="white")
        canvas: Any = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.36, 0.13, 0.57, 0.74))
        if drawn_as_lines(report):
            axes.set_position((0.09, 0.30, 0.87, 0.58))
            _lines(axes, [item for item in worst(report, LINES) if item.history])
        else:
            _bars(axes, worst(report, BARS))
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0, colors=INK)
        data = io.BytesIO()
        canvas.print_png(data, metadata={"Software": None})
    return data.getvalue()


def _bars(axes: Axes, items: Sequence[SloStatus]) -> None:
    axes.set_title("Error budget left", color=INK, loc="left", fontsize=14, fontweight="bold")
    shares = [max(-1.0, min(item.remaining or 0.0, 1.0)) for item in items]
    places = range(len(items))
    axes.barh(places, shares, color=[COLOURS[item.status] for item in items], height=0.68)
    axes.set_yticks(places, [_name(item) for item in items])
    axes.invert_yaxis()
    low = -1.0 if min(shares) < -0.05 else 0.0
    axes.set_xlim(low * 1.28, 1.28)
    axes.set_ylim(len(items) - 0.4, -0.6)
    steps = [step / 2 for step in range(int(low * 2), 3)]
    axes.set_xticks(steps, [f"{step:.0%}".replace("%", " %") for step in steps])
    axes.axvline(0, color=INK, linewidth=1)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for place, item, share in zip(places, items, shares, strict=True):
        mark = {"exhausted": "✕ ", "at_risk": "! "}.get(item.status, "")
        text = mark + budget_share(item.remaining)
        side = "left" if share >= 0 else "right"
        axes.text(share + (0.02 if share >= 0 else -0.02), place, text, va="center", ha=side, color=INK)


def _lines(axes: Axes, items: Sequence[SloStatus]) -> None:
    from matplotlib import dates

    axes.set_title("Error budget left over its window", color=INK, loc="left", fontsize=14, fontweight="bold")
    untyped: Any = dates
    low = 0.0
    for item, (colour, style) in zip(items, STYLES, strict=False):
        history = item.history
        assert history is not None
        left = [1.0, *history.left()]
        values = [float("nan") if value is None else max(-1.0, value) for value in left]
        low = min([low, *(value for value in values if value == value)])
        label = f"{_name(item, 44)}  {budget_share(item.remaining)}"
        axes.plot(
            untyped.date2num(history.edges()),
            values,
            color=colour,
            linestyle=style,
            linewidth=2.2,
            label=label,
        )
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_ylim(low - 0.05, 1.05)
    axes.yaxis.set_major_formatter(lambda value, _place: f"{value:.0%}".replace("%", " %"))
    locator = untyped.AutoDateLocator(maxticks=8, tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator, tz=UTC, show_offset=False))
    axes.grid(color=FAINT, linewidth=0.8)
    axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.10), ncols=1, frameon=False, fontsize=11)


def _name(item: SloStatus, most: int = NAME) -> str:
    return cut(_drawable(plain(item.name)), most)


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family="DejaVu Sans"))).get_charmap())


def _drawable(text: str) -> str:
    """Code points of what the font has no sign for, and of texts from right to left, which would need shaping."""
    shown = []
    for char in text:
        known = ord(char) in _glyphs() and unicodedata.bidirectional(char) not in ("R", "AL", "AN")
        shown.append(char if known else f"U+{ord(char):04X} ")
    return "".join(shown)
