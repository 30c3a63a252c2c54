"""A drawing of text, lines and bars: SVG to look into, PNG to send.

Text is drawn with the fonts in this folder and no others, so that the same drawing gives the same bytes on every
machine. This module must not know what is drawn.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape

import resvg_py

from sloctl.posting.slack import font

WIDTH, HEIGHT = 1200, 600
FAMILY = "DejaVu Sans"

Point = tuple[float, float]


def drawable(text: str) -> str:
    """Code points of what the font has no sign for, and of texts from right to left."""
    known = font.widths()
    return "".join(
        char
        if char in known and unicodedata.bidirectional(char) not in ("R", "AL", "AN")
        else f"U+{ord(char):04X} "
        for char in text
    )


def fitting(text: str, size: float, width: float) -> str:
    """As much of a text as is drawn in a width, with an ellipsis if that is not all."""
    text = drawable(text)
    if font.width(text, size) <= width:
        return text
    while text and font.width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


class Drawing:
    """Marks on white paper, in the order in which they are made; places are pixels from the top left corner."""

    def __init__(self) -> None:
        self._marks: list[str] = []

    def text(
        self, at: Point, text: str, size: float, colour: str, *, anchor: str = "start", bold: bool = False
    ) -> None:
        """A text whose ``anchor`` (start, middle, end) and half the height of its letters are at a place."""
        weight = ' font-weight="bold"' if bold else ""
        self._marks.append(
            f'<text x="{at[0]:.1f}" y="{at[1] + 0.36 * size:.1f}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}>{escape(text, quote=False)}</text>'
        )

    def line(self, points: Sequence[Point], colour: str, width: float, dashes: str = "") -> None:
        """A line through points; ``dashes`` are lengths of strokes and gaps, in turn."""
        style = f' stroke-dasharray="{dashes}"' if dashes else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._marks.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}" '
            f'stroke-linejoin="round"{style}/>'
        )

    def bar(self, at: Point, width: float, height: float, colour: str) -> None:
        """A filled rectangle; ``at`` is its top left corner."""
        self._marks.append(
            f'<rect x="{at[0]:.1f}" y="{at[1]:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )

    def svg(self) -> str:
        """The drawing as SVG."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="{FAMILY}">'
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>{"".join(self._marks)}</svg>'
        )


def png(svg: str) -> bytes:
    """A drawing as PNG."""
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg, skip_system_fonts=True, font_files=[str(font.REGULAR), str(font.BOLD)]
        )
    )
