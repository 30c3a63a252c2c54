"""Pages of the documentation: their text, and the tables in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def table(page: Path, first_title: str) -> list[dict[str, str]]:
    """The rows of the table whose first title is this one, by title; code marks are taken off."""
    lines = text_of(page).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first_title} |"))
    titles = cells(lines[start])
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(titles, cells(line), strict=True)))
    assert rows
    return rows


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
