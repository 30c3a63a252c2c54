"""Texts in Slack's markup and its limits: what comes from outside is shown as it is, and can do nothing.

Names and sentences from servers and files appear in two ways only: as a code span or block of mrkdwn, in which
nothing but its own backticks and ``& < >`` has a meaning, or as plain text, which has no markup. So no label pings a
channel, makes a link or an emoji, or changes what stands beside it.
https://docs.slack.dev/messaging/formatting-message-text
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sloctl.report.numbers import plain

HEADER = 150
SECTION = 3000
ELEMENTS = 10
BLOCKS = 50
ALT = 2000
BACKTICK = "\u02cb"
"""What stands for a backtick: a modifier letter that looks the same and marks nothing."""

SlackBlock = dict[str, Any]


def cut(text: str, most: int) -> str:
    """At most ``most`` characters, with an ellipsis in place of what is left out."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def escape(text: str) -> str:
    """For text between marks: control characters and bidirectional overrides taken out, entities for the rest.

    An invisible word joiner behind ``@`` keeps old clients from finding a mention.
    """
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return safe.replace("@", "@\u2060")


def code(text: str, most: int = 120) -> str:
    """A name as a code span of mrkdwn; an empty one is a dash."""
    shown = cut(plain(text).strip().replace("`", BACKTICK), most) or "–"
    return f"`{escape(shown)}`"


def whole_lines(lines: Sequence[str], most: int, rest: str) -> str:
    """As many of ``lines`` as fit into ``most`` characters, and how many more there are: ``… and 37 {rest}``."""
    kept: list[str] = []
    size = 0
    for number, line in enumerate(lines):
        last = number == len(lines) - 1
        room = most - (0 if last else len(_more(len(lines), rest)) + 1)
        if size + len(line) > room:
            break
        kept.append(line)
        size += len(line) + 1
    if len(kept) < len(lines):
        kept.append(_more(len(lines) - len(kept), rest))
    return "\n".join(kept)


def _more(number: int, rest: str) -> str:
    return f"… and {number:,} {rest}".rstrip()


def header(text: str) -> SlackBlock:
    """A title; plain text."""
    return {"type": "header", "text": words(text, HEADER)}


def words(text: str, most: int) -> SlackBlock:
    """A plain text object, in which nothing is markup; never empty."""
    return {"type": "plain_text", "text": cut(_lines(text), most) or "–", "emoji": False}


def _lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.split("\n")).strip()


def marked(text: str) -> SlackBlock:
    """A mrkdwn object of text whose foreign parts are escaped; Slack adds no links or mentions of its own."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def section(text: str) -> SlackBlock:
    """A paragraph of mrkdwn; the caller keeps to :data:`SECTION`."""
    return {"type": "section", "text": marked(text)}


def paragraph(text: str) -> SlackBlock:
    """A paragraph of plain text."""
    return {"type": "section", "text": words(text, SECTION)}


def small(*elements: SlackBlock) -> SlackBlock:
    """A line of small print."""
    return {"type": "context", "elements": list(elements[:ELEMENTS])}


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], rest: str, most: int = SECTION) -> SlackBlock:
    """A table in a code block: columns aligned, cells cut, rows that do not fit folded into a last line."""
    cells = [[cut(plain(cell).strip().replace("`", BACKTICK), 48) for cell in row] for row in (titles, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    lines = []
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        lines.append(escape(line))
    body = whole_lines(lines, most - 8, rest)
    return section(f"```\n{body}\n```")
