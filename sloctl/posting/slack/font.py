"""What a TrueType font says of its characters: which ones it has, and how wide they are.

https://learn.microsoft.com/typography/opentype/spec/otff
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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


def width(text: str, size: float) -> float:
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
