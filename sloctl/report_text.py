"""Writes a report as Markdown, and its numbers as people read them.

Names come from servers and files: :func:`plain` takes control characters out of them, :func:`markdown_cell`
keeps them from being read as markup.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sloctl.report import Finding, Report, SloStatus, timestamp

STATUS_WORDS = {"ok": "ok", "at_risk": "at risk", "exhausted": "exhausted", "no_data": "no data"}
NOTHING = "–"


def plain(text: str) -> str:
    """``text`` without control characters (a terminal obeys them) and without bidirectional overrides."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def percent(share: float | None, digits: int = 3) -> str:
    """A share of 0…1 in percent; never rounded up to 100 when something failed."""
    if share is None:
        return NOTHING
    text = f"{share * 100:.{digits}f}"
    if share < 1 and float(text) == 100:
        text = f"{int(share * 100 * 10**digits) / 10**digits:.{digits}f}"
    return f"{text} %"


def budget_share(share: float | None) -> str:
    """A share of the error budget in percent, with a digit behind the point up to 1,000 %."""
    if share is None:
        return NOTHING
    return f"{share * 100:.1f} %" if abs(share) < 10 else f"{share * 100:,.0f} %"


def rate(value: float | None) -> str:
    """A burn rate."""
    if value is None:
        return NOTHING
    return "0" if value == 0 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def count(value: float) -> str:
    """A number of events."""
    return f"{value:,.0f}"


def columns(report: Report) -> list[str]:
    """The windows of burn rates that any SLO has, shortest first."""
    sizes = {"m": 60, "h": 3600, "d": 86400}
    found = {window for item in report.slos for window in item.burn_rates}

    def seconds(text: str) -> int:
        return sum(int(number) * sizes.get(unit, 1) for number, unit in re.findall(r"(\d+)([a-z])", text))

    return sorted(found, key=seconds)


HEADER = ("service", "SLO", "objective", "window", "SLI", "95 % interval", "events", "bad", "budget left")


def row(item: SloStatus, windows: Sequence[str]) -> list[str]:
    """One SLO's cells: :data:`HEADER`, a burn rate per window, exhaustion, alerts, status."""
    place = f"{item.namespace}/{item.service}" if item.namespace else item.service
    low_high = item.sli_interval
    return [
        plain(place),
        plain(item.slo),
        f"{item.objective:g} %",
        item.window,
        percent(item.sli),
        f"{percent(low_high[0])[:-2]} … {percent(low_high[1])}" if low_high else NOTHING,
        count(item.total),
        count(item.bad),
        budget_share(item.remaining),
        *(rate(item.burn_rates.get(window)) for window in windows),
        item.exhausted_at.strftime("%Y-%m-%d %H:%M") if item.exhausted_at else NOTHING,
        ", ".join(plain(alert) for alert in item.alerts) or NOTHING,
        STATUS_WORDS[item.status],
    ]


def header(windows: Sequence[str]) -> list[str]:
    """The titles of :func:`row`'s cells."""
    return [*HEADER, *(f"burn {window}" for window in windows), "exhausted (UTC)", "alerts", "status"]


def summary(report: Report) -> str:
    """One line that counts the states."""
    words = []
    for status, word in STATUS_WORDS.items():
        if number := sum(1 for item in report.slos if item.status == status):
            words.append(f"{number} {word}")
    return f"{report.set_name} at {timestamp(report.at)}: {', '.join(words) or 'no SLOs'}"


def markdown_cell(text: str) -> str:
    """A text that Markdown shows as it is, in a table's cell."""
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+!|~@])", r"\\\1", plain(text))
    return escaped.replace("&", "&amp;")


def finding_line(finding: Finding) -> str:
    """A finding on one line."""
    return f"{finding.severity}: {plain(finding.message)} [{finding.code}]"


def markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    windows = columns(report)
    titles = header(windows)
    lines = [f"# Error budgets: {markdown_cell(summary(report))}", ""]
    lines.append("| " + " | ".join(titles) + " |")
    lines.append("|" + "|".join(" --- " for _ in titles) + "|")
    for item in report.slos:
        lines.append("| " + " | ".join(markdown_cell(cell) for cell in row(item, windows)) + " |")
    if report.findings:
        lines += ["", "## Findings", ""]
        lines += [f"- {markdown_cell(finding_line(finding))}" for finding in report.findings]
    return "\n".join(lines) + "\n"
