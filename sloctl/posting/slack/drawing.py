"""A drawing of text, lines and bars: SVG to look into, PNG to send.

Text is drawn with the fonts in this folder and no others, so that the same drawing gives the same bytes on every
machine. Which characters a font has and how wide they are is read from it
(https://learn.microsoft.com/typography/opentype/spec/otff). This module must not know what is drawn.
"""

from __future__ import annotations

import struct
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from pathlib import Path

import resvg_py

FOLDER = Path(__file__).parent / "fonts"
REGULAR, BOLD = FOLDER / "DejaVuSans.ttf", FOLDER / "DejaVuSans-Bold.ttf"


@cache
def widths(file: Path = REGULAR) -> dict[str, float]:
    """The characters of a font, and how far each moves on, as a share of the font's size."""
    data = file.read_bytes()
    tables = {}
    for number in range(struct.unpack_from(">H", data, 4)[0]):
        name, _, offset, _ = struct.unpack_from(">4sLLL", data, 12 + 16 * number)
        tables[name] = offset
    units = struct.unpack_from(">H", data, tables[b"head"] + 18)[0]
    count = struct.unpack_from(">H", data, tables[b"hhea"] + 34)[0]
    # Glyphs beyond the last entry are as wide as it.
    advances = struct.unpack_from(">" + "Hh" * count, data, tables[b"hmtx"])[::2]
    return {
        chr(code): advances[min(glyph, count - 1)] / units for code, glyph in _glyphs(data, tables[b"cmap"])
    }


def text_width(text: str, size: float) -> float:
    """How wide a text is in a size, without kerning."""
    known = widths()
    return size * sum(known.get(char, 1.0) for char in text)


def _glyphs(data: bytes, cmap: int) -> Iterator[tuple[int, int]]:
    """Code points of the basic plane with the numbers of their glyphs: a ``cmap`` of format 4."""
    for number in range(struct.unpack_from(">H", data, cmap + 2)[0]):
        place = cmap + struct.unpack_from(">L", data, cmap + 4 + 8 * number + 4)[0]
        if struct.unpack_from(">H", data, place)[0] == 4:
            break
    count = struct.unpack_from(">H", data, place + 6)[0] // 2
    ends, starts, deltas, offsets = (
        place + 14,
        place + 16 + 2 * count,
        place + 16 + 4 * count,
        place + 16 + 6 * count,
    )
    for number in range(count):
        end, start, delta, offset = (
            struct.unpack_from(">H", data, table + 2 * number)[0] for table in (ends, starts, deltas, offsets)
        )
        for code in range(start, min(end, 0xFFFE) + 1):
            glyph = code
            if offset:
                glyph = struct.unpack_from(">H", data, offsets + 2 * number + offset + 2 * (code - start))[0]
                if not glyph:
                    continue
            yield code, (glyph + delta) % 0x10000


WIDTH, HEIGHT = 1200, 600
FAMILY = "DejaVu Sans"

Point = tuple[float, float]


def drawable(text: str) -> str:
    """Code points of what the font has no sign for, and of texts from right to left."""
    known = widths()
    return "".join(
        char
        if char in known and unicodedata.bidirectional(char) not in ("R", "AL", "AN")
        else f"U+{ord(char):04X} "
        for char in text
    )


def fitting(text: str, size: float, width: float) -> str:
    """As much of a text as is drawn in a width, with an ellipsis if that is not all."""
    text = drawable(text)
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}…", size) > width:
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
        resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True, font_files=[str(REGULAR), str(BOLD)])
    )
