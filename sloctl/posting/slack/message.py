"""A report as messages for Slack: one for the channel, and details for its thread.

The main message says what to look at, within a phone's screen or two. The thread has the tables. Where there can be no
thread (an incoming webhook), a single message has the most important of both. Everything is folded to the limits of
Block Kit; nothing is left out without saying how much.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from sloctl.model import SloSet
from sloctl.model.dashboards import SIDECAR_GUARDRAILS
from sloctl.model.durations import rfc3339
from sloctl.naming import dashboard_uid
from sloctl.posting.slack import mrkdwn
from sloctl.posting.slack.mrkdwn import SlackBlock, code, escape
from sloctl.report import markdown, routine_tables
from sloctl.report.data import Report, SloStatus
from sloctl.report.numbers import digits_for, percent, rate

SHOWN = 8
"""Budgets in the main message."""
LINKED = 100
"""Characters of the longest name in a link to an SLO's budget."""
SINGLE_ROWS = 6
"""Rows of each table where there is no thread."""
THREAD_ROWS = 60
"""Rows of a table in the thread."""
REPLIES = 12
"""Messages of a thread."""
SIGNS = {"exhausted": "\u2715", "at_risk": "!", "partial": "\u2026", "no_data": "?", "ok": "\u2713"}
LOOK = ("exhausted", "at_risk")
MESSAGE = 9000
"""Characters of all blocks of a message: Slack has been seen to post larger ones twice."""


@dataclass(frozen=True, slots=True)
class Message:
    """The text of notifications, and blocks."""

    text: str
    blocks: tuple[SlackBlock, ...]

    def as_json(self) -> dict[str, Any]:
        """As Slack's API takes it."""
        return {"text": self.text, "blocks": list(self.blocks)}


@dataclass(frozen=True, slots=True)
class Messages:
    """``image_at`` is where among the main message's blocks a chart goes; ``single`` stands for all of them."""

    main: Message
    replies: tuple[Message, ...]
    single: Message
    image_at: int
    alt: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it, for the outbox and for people who want to see it."""
        return {
            "main": self.main.as_json(),
            "thread": [reply.as_json() for reply in self.replies],
            "single": self.single.as_json(),
            "image_at": self.image_at,
            "alt_text": self.alt,
        }


def messages(report: Report, slo_set: SloSet, alt: str = "") -> Messages:
    """What is posted of a report. ``alt`` says what its chart shows."""
    head = [mrkdwn.header(_title(report)), mrkdwn.small(mrkdwn.words(_about(report), 300))]
    head.append(mrkdwn.section(_counted(report)))
    urgent = _budgets(report, _dashboard(report.set_name, slo_set, "budget"))
    links = _links(report, slo_set)
    tables = _tables(report)
    found = _findings(report)
    text = _fallback(report)
    pointer = [] if not (tables or found) else [mrkdwn.small(mrkdwn.words("Details are in the thread.", 100))]
    main = Message(text, (*head, *urgent, *links, *pointer))
    replies = [
        Message(escape(mrkdwn.cut(title, 200)), (mrkdwn.header(title), *blocks))
        for title, blocks in ((title, _thread(titles, rows, note)) for title, titles, rows, note in tables)
    ]
    if found:
        replies.append(Message("Findings", (mrkdwn.header("Findings"), *found)))
    if len(replies) > REPLIES:
        rest = len(replies) - REPLIES + 1
        said = f"… and {rest} more tables, which the other forms of this report have."
        replies = [*replies[: REPLIES - 1], Message(said, (mrkdwn.paragraph(said),))]
    return Messages(main, tuple(replies), _single(text, head, urgent, links, tables, found), len(head), alt)


def _title(report: Report) -> str:
    whose = f"{report.set_name}, {report.owner}" if report.owner else report.set_name
    if report.routine is None:
        return f"Error budgets of {whose}"
    return f"{routine_tables.NOUNS[report.routine.kind]} SLO report: {whose}"


def _about(report: Report) -> str:
    stated = "; ".join(filter(None, (f"Budgets as of {rfc3339(report.at)}", markdown.part_recorded(report))))
    if report.routine is None:
        return stated
    return f"{routine_tables.period_text(report.routine.period)}. {stated}"


def _counted(report: Report, bold: str = "*") -> str:
    """How many budgets are in each state, the worst first; those to look at are bold."""
    words = []
    for status, word in markdown.STATUS_WORDS.items():
        if number := sum(1 for item in report.slos if item.status == status):
            shown = f"{number:,} {word}"
            words.append(f"{bold}{shown}{bold}" if status in LOOK else shown)
    return f"Budgets: {', '.join(words) or 'none'}"


def _fallback(report: Report) -> str:
    """What a notification says: the title, and the worst budget. Cut before it is escaped, never within an entity."""
    text = f"{escape(mrkdwn.cut(_title(report), 200))}. {_counted(report, '')}"
    worst = [item for item in markdown.ordered(report) if item.status in LOOK]
    if worst:
        left = markdown.left(worst[0])
        text += f". Worst: {escape(mrkdwn.cut(worst[0].name, 200))}, {left} left"
    return text


def _line(item: SloStatus, budgets: str) -> str:
    parts = [f"{markdown.left(item)} left"]
    if item.quality.recorded is not None:
        parts.append(f"of {code(item.of_window, 80)}")
    if (hour := item.burn_rates.get("1h")) is not None and hour >= 1:
        parts.append(f"burns {rate(hour)} times too fast")
    if item.exhausted_at:
        parts.append(f"runs out {item.exhausted_at:%Y-%m-%d %H:%M} UTC")
    if item.doubts:
        parts.append("these numbers are in doubt")
    if item.alerts:
        more = f" and {len(item.alerts) - 2} more" if len(item.alerts) > 2 else ""
        parts.append(" ".join(code(alert, 80) for alert in item.alerts[:2]) + more)
    return f"{SIGNS[item.status]} {code(item.name, 100)}  {', '.join(parts)}{_to_budget(item, budgets)}"


def _budgets(report: Report, budgets: str) -> list[SlackBlock]:
    worst = [item for item in markdown.ordered(report) if item.status in LOOK]
    if not worst:
        return [] if not report.slos else [mrkdwn.section("No budget is at risk.")]
    lines = [_line(item, budgets) for item in worst[:SHOWN]]
    if len(worst) > SHOWN:
        lines.append(f"… and {len(worst) - SHOWN:,} more at risk")
    return [mrkdwn.section(mrkdwn.whole_lines(lines, mrkdwn.SECTION, "more at risk"))]


def _links(report: Report, slo_set: SloSet) -> list[SlackBlock]:
    """Links to what the file names, and to nothing else."""
    pages = [
        (kind, _dashboard(report.set_name, slo_set, kind)) for kind in ("executive", "budget", "sidecars")
    ]
    shown = [f"<{page}|{kind} dashboard>" for kind, page in pages if page]
    return [mrkdwn.small(mrkdwn.marked("  ·  ".join(shown)))] if shown else []


def _dashboard(set_name: str, slo_set: SloSet, kind: str) -> str:
    """The address of a dashboard; "" where none is generated, or nobody said where."""
    base = slo_set.sources.grafana.rstrip("/")
    made = kind in slo_set.dashboards.kinds
    if kind == "sidecars":
        made = made and not SIDECAR_GUARDRAILS.isdisjoint(item.preset for item in slo_set.guardrails)
    if not made or not base or len(base) > 500 or not base.startswith(("http://", "https://")):
        return ""
    return f"{quote(base, safe=':/[]@%~-._')}/d/{dashboard_uid(set_name, kind)}"


def _to_budget(item: SloStatus, budgets: str) -> str:
    """A link to an SLO's budget, to put behind its line; "" where there is no dashboard of budgets."""
    names = {"slo": item.slo, "namespace": item.namespace, "service": item.service}
    if not budgets or max(map(len, names.values())) > LINKED:
        return ""
    chosen = "&amp;".join(f"var-{key}={quote(value, safe='')}" for key, value in names.items())
    return f"  <{budgets}?{chosen}|budget>".replace("~", "%7E")


SlackTable = tuple[str, list[str], list[list[str]], str]


def _tables(report: Report) -> list[SlackTable]:
    """Every table of the report: the routine's sections first, then all budgets, then the mesh's health."""
    found: list[SlackTable] = []
    if report.routine is not None:
        for section in report.routine.sections:
            titles, rows = routine_tables.table(section)
            note = section.note if rows else section.empty or section.note
            found.append((section.title, titles, rows, note))
    if report.slos:
        sources, part = markdown.mixed(report), bool(markdown.part_recorded(report))
        rows = [_short(item, sources=sources, part=part) for item in markdown.ordered(report)]
        titles = ["budget left", "SLI", "objective", *(["window"] if part else [])]
        titles += [*(["source"] if sources else []), "service", "SLO"]
        found.append(("All budgets", titles, rows, ""))
    for title, titles, rows in markdown.tables(replace(report, routine=None)):
        found.append((title, titles, rows, ""))
    return found


def _short(item: SloStatus, *, sources: bool, part: bool) -> list[str]:
    return [
        markdown.left(item) + (markdown.IN_DOUBT if item.doubts else ""),
        percent(item.sli, digits_for(item.objective)),
        f"{item.objective:.10g} %",
        *([item.of_window] if part else []),
        *([item.source] if sources else []),
        item.place,
        item.slo,
    ]


def _thread(titles: list[str], rows: list[list[str]], note: str, most: int = THREAD_ROWS) -> list[SlackBlock]:
    blocks: list[SlackBlock] = []
    size = 0
    shown = 0
    while shown < min(len(rows), most):
        # As many rows as a block holds; the last block says what is left out of all of them.
        step = _fitting(titles, rows[shown:most])
        final = shown + step >= min(len(rows), most) or size + 2 * mrkdwn.SECTION > MESSAGE
        block = mrkdwn.table(titles, rows[shown : shown + step], "more rows")
        blocks.append(block)
        size += len(block["text"]["text"])
        shown += step
        if final:
            break
    if shown < len(rows):
        blocks.append(mrkdwn.small(mrkdwn.words(f"… and {len(rows) - shown:,} more", 100)))
    if note:
        blocks.append(mrkdwn.paragraph(note))
    return blocks or [mrkdwn.paragraph("Nothing.")]


def _fitting(titles: list[str], rows: list[list[str]]) -> int:
    """How many rows a block holds, at least one: a row is then cut."""
    step = len(rows)
    while (
        step > 1
        and "… and " in mrkdwn.table(titles, rows[:step], "")["text"]["text"].rpartition("\n```")[0][-24:]
    ):
        step = max(1, step * 2 // 3)
    return step


def _findings(report: Report) -> list[SlackBlock]:
    """The findings that a reader should act on; what is only worth knowing is in the other forms."""
    found = [item for item in markdown.brief(report) if item.severity != "info"]
    if not found:
        return []
    lines = [mrkdwn.cut(markdown.finding_line(item), 600) for item in found[:20]]
    if len(found) > len(lines):
        lines.append(f"… and {len(found) - len(lines):,} more")
    return [mrkdwn.paragraph(mrkdwn.whole_lines(lines, mrkdwn.SECTION, "more"))]


def _single(
    text: str,
    head: list[SlackBlock],
    urgent: list[SlackBlock],
    links: list[SlackBlock],
    tables: list[SlackTable],
    found: list[SlackBlock],
) -> Message:
    """One message that stands for all: of each table its first rows, as long as there is room."""
    blocks = [*head, *urgent]
    size = sum(_size(block) for block in (*blocks, *links, *found))
    left_out = 0
    for title, titles, rows, note in tables:
        part: list[SlackBlock] = [mrkdwn.paragraph(title), *_thread(titles, rows, note, SINGLE_ROWS)]
        added = sum(_size(block) for block in part)
        if size + added > MESSAGE or len(blocks) + len(part) > mrkdwn.BLOCKS - 6:
            left_out += 1
            continue
        blocks += part
        size += added
    if left_out:
        said = f"… and {left_out} more tables, which the other forms of this report have."
        blocks.append(mrkdwn.small(mrkdwn.words(said, 200)))
    return Message(text, (*blocks, *found, *links))


def _size(block: SlackBlock) -> int:
    texts = [block.get("text"), *block.get("elements", ())]
    return sum(len(item["text"]) for item in texts if item)
