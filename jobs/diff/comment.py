"""A comparison as Markdown for a comment on a pull or merge request: short on top, the rest folded, never too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobs.diff import told
from jobs.diff.replayed import Replay
from jobs.diff.told import Found
from sloctl.report.markdown import markdown_cell
from sloctl.report.numbers import NOTHING

LIMIT = 65_000
"""Bytes that a comment may have: GitHub takes 65,536 characters."""
LONGEST = 300
"""Characters of a text that are shown."""
TOP = 10
"""Rows of a table that is not folded."""
CUT = "`sloctl diff --format json` has all of it"
RESERVED = 400
"""Bytes that are kept for what ends a comment."""


class _Page:
    """Lines, as long as there is room for them."""

    def __init__(self, limit: int) -> None:
        self._lines: list[str] = []
        self._left = limit - RESERVED
        self._cut = 0

    def add(self, *lines: str) -> None:
        """Add lines, all of them or none."""
        size = sum(len(line.encode()) + 1 for line in lines)
        if self._cut or size > self._left:
            self._cut += len(lines)
            return
        self._left -= size
        self._lines += lines

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add a table, row by row; titles are our own words, cells may hold anything."""
        self.add("| " + " | ".join(titles) + " |", "|" + "|".join(" --- " for _ in titles) + "|")
        for cells in rows:
            self.add("| " + " | ".join(map(cell, cells)) + " |")

    def folded(self, title: str, lines: Iterable[str], share: float = 0.3) -> None:
        """Add lines that are shown when they are asked for, in at most this share of the room that is left."""
        shown, rest, size, most = [], 0, 0, (self._left - RESERVED) * share
        for line in lines:
            size += len(line.encode()) + 1
            if size > most:
                rest += 1
            else:
                shown.append(line)
        more = ["", f"… and {rest:,} more lines, which are left out; {CUT}"] if rest else []
        self.add(f"<details><summary>{title}</summary>", "", *shown, *more, "", "</details>", "")

    def text(self) -> str:
        """All of it, and that it was cut."""
        end = [f"**{self._cut:,} more lines are left out**; {CUT}"] if self._cut else []
        return "\n".join([*self._lines, *end]).rstrip("\n") + "\n"


def cell(text: str) -> str:
    """A text that Markdown shows as it is, cut where it is too long."""
    return markdown_cell(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")


def comment(found: Found, limit: int = LIMIT) -> str:
    """The Markdown, in at most ``limit`` bytes."""
    page, comparison = _Page(limit), found.comparison
    page.add(f"### {cell(told.headline(comparison))}", "")
    doubts = found.every_doubt
    if doubts:
        page.add("> **In doubt**", ">", *(f"> - {cell(text)}" for text in doubts[:3]))
        page.add(*([f"> - … and {len(doubts) - 3} more, below"] if len(doubts) > 3 else []), "")
    changes = [change for change in comparison.changes if change.kind != "object"]
    if changes:
        page.table(
            ("what", "how", "its budget's record"),
            (
                (told.name_of(one), next(told.details(one), ""), one.identity or NOTHING)
                for one in changes[:TOP]
            ),
        )
        page.add(*([f"… and {len(changes) - TOP} more, below"] if len(changes) > TOP else []), "")
    replay = found.replay
    if replay is not None:
        page.add(f"On what is recorded from {told.span(replay)}: pages {cell(told.pages_line(replay))}.", "")
        rates = told.rates(replay)
        page.table(("pages a week", "before", "after"), rates[:TOP])
        page.add("")
    if comparison.changes:
        page.add(cell(told.unchanged(comparison)), "")
        page.folded("What the rules cost", (f"- {cell(text)}" for text in told.cost(found)))
    if len(doubts) > 3:
        page.folded(f"All doubts ({len(doubts)})", (f"- {cell(text)}" for text in doubts))
    if replay is not None:
        _history(page, replay)
    if changes:
        page.folded(
            f"What changes ({len(changes)})",
            (
                line
                for one in changes
                for line in (
                    f"- **{cell(told.name_of(one))}**",
                    *(f"  - {cell(text)}" for text in told.details(one)),
                )
            ),
            share=0.9,
        )
    if objects := comparison.of("object"):
        page.folded(
            f"Objects ({len(objects)})",
            (f"- {cell(one.what)} {told.WORDS[one.action]}" for one in objects),
        )
    return page.text()


def _history(page: _Page, replay: Replay) -> None:
    if rows := told.pages(replay):
        page.folded(
            f"Pages lost, gained or not known ({len(rows)})",
            (f"- {what}: {cell(told.page(one))}" for what, one in rows),
        )
    if known := told.incidents(replay):
        page.folded(f"Known incidents ({len(known)})", (f"- {cell(told.incident(*one))}" for one in known))
    if budgets := told.budgets(replay):
        page.folded(
            f"Budgets: what is spent ({len(budgets)})",
            (
                f"- {cell(name)}: {cell(told.budget(one))} → {cell(told.budget(other))}"
                for name, one, other in budgets
            ),
        )
    rates = told.rates(replay)
    if len(rates) > TOP:
        page.folded(
            f"Pages a week of all owners ({len(rates) - 1})",
            (f"- {cell(name)}: {before} → {after}" for name, before, after in rates),
        )
