"""Writes a report as Markdown, and its numbers as people read them.

Names come from servers and files: :func:`plain` takes control characters out of them, :func:`markdown_cell`
keeps them from being read as markup. What people read is sorted with the worst first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sloctl.model.durations import duration, rfc3339
from sloctl.report import health, routine_tables
from sloctl.report.data import Finding, Report, SloStatus, recorded_text
from sloctl.report.health import ConfiguredRetries, EdgeAmplification, GuardrailStatus, SidecarRestarts
from sloctl.report.numbers import NOTHING, budget_share, count, digits_for, percent, plain, rate

STATUS_WORDS = {
    "exhausted": "exhausted",
    "at_risk": "at risk",
    "partial": "partial",
    "no_data": "no data",
    "ok": "ok",
}
"""States as people read them, the worst first."""
IN_DOUBT = " (?)"
"""Stands behind the state of a budget whose numbers may be wrong: a finding says why."""
SEVERITIES = ("error", "warning", "info")
RETRIED = 1.05
"""Attempts per request from which an edge is shown; less is the scrapes' own imprecision."""
SHOWN = 10
"""Rows of the tables of retries and restarts."""
GUARDRAIL_HEADER = ("status", "guardrail", "where", "value", "limit")
EDGE_HEADER = ("source", "destination", "requests (30m)", "attempts", "attempts per request", "counted by")

CONFIGURED_HEADER = ("source", "destination", "configured up to", "seen", "requests/s", "if it fails", "path")
DEFAULT_TRIES = 3
"""Istio's: a call that has no more along its path is not worth a row."""
CONFIGURED = "Retries: configured and seen"


def json_text(data: Any) -> str:
    """JSON in ASCII, so that no terminal obeys what it holds; numbers that JSON does not know are null."""
    return json.dumps(_finite(data), indent=2, allow_nan=False)


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def columns(report: Report) -> list[str]:
    """The windows of burn rates that any SLO has, shortest first."""
    sizes = {"m": 60, "h": 3600, "d": 86400}
    found = {window for item in report.slos for window in item.burn_rates}

    def seconds(text: str) -> int:
        return sum(int(number) * sizes.get(unit, 1) for number, unit in re.findall(r"(\d+)([a-z])", text))

    return sorted(found, key=seconds)


def ordered(report: Report) -> list[SloStatus]:
    """The SLOs, those first that need attention: by state, of what is not exhausted by alerts, then by what is left."""
    states = list(STATUS_WORDS)

    def key(item: SloStatus) -> tuple[int, int, float]:
        left = 1 - item.partial.alike if item.partial else item.remaining
        alerts = 0 if item.status == "exhausted" else -len(item.alerts)
        return states.index(item.status), alerts, math.inf if left is None else left

    return sorted(report.slos, key=key)


def mixed(report: Report) -> bool:
    """Whether the numbers of the budgets are not all from one source, so that each row has to say its own."""
    return len({item.source for item in report.slos}) > 1


def header(windows: Sequence[str], *, sources: bool = False) -> list[str]:
    """The titles of :func:`row`'s cells; with ``sources``, one more."""
    burn = (f"burn {window}" for window in windows)
    return [
        *("status", "service", "SLO", "budget left", "SLI", "objective", *burn, "alerts", "runs out (UTC)"),
        *("window", "events", "bad", "95 % interval"),
        *(["source"] if sources else []),
    ]


def state(item: SloStatus) -> str:
    """An SLO's state in words, with a mark where its numbers may be wrong."""
    return STATUS_WORDS[item.status] + (IN_DOUBT if item.doubts else "")


def left(item: SloStatus) -> str:
    """What is left of a budget; where that is open, if all of its window was alike, and if the rest was good."""
    if item.partial is None:
        return budget_share(item.remaining)
    alike, good = budget_share(1 - item.partial.alike), budget_share(1 - item.partial.good)
    return good if alike == good else f"{alike.removesuffix(' %')} … {good}"


def part_recorded(report: Report) -> str:
    """What has to be said on top of a report: of how many budgets less than the window is recorded; or nothing."""
    part = [item for item in report.slos if item.quality.recorded is not None]
    if not part:
        return ""
    of = "all budgets" if len(part) == len(report.slos) else f"{len(part):,} of {len(report.slos):,} budgets"
    return f"{plain(recorded_text(part))} is recorded for {of}"


def row(item: SloStatus, windows: Sequence[str], *, sources: bool = False) -> list[str]:
    """One SLO's cells, as :func:`header` names them."""
    digits = digits_for(item.objective)
    interval = NOTHING
    if item.sli_interval:
        low, high = (percent(bound, digits) for bound in item.sli_interval)
        interval = f"{low.removesuffix(' %')} … {high}"
    return [
        state(item),
        plain(item.place),
        plain(item.slo),
        left(item),
        percent(item.sli, digits),
        f"{item.objective:.10g} %",
        *(rate(item.burn_rates.get(window)) for window in windows),
        ", ".join(plain(alert) for alert in item.alerts) or NOTHING,
        item.exhausted_at.strftime("%Y-%m-%d %H:%M") if item.exhausted_at else NOTHING,
        plain(item.of_window),
        count(item.total),
        count(item.bad),
        interval,
        *([item.source] if sources else []),
    ]


def measured(value: float | None, unit: str) -> str:
    """A guardrail's value as people read it."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if unit == "ratio":
        return percent(value, 2)
    if unit == "seconds":
        return f"{value:,.3g} s" if value < 120 else duration(round(value))
    return f"{value:,.4g}"


def guardrail_row(item: GuardrailStatus) -> list[str]:
    """One verdict's cells: state, guardrail, where, value, limit."""
    sign = "≤" if item.side == "max" else "≥"
    return [
        item.status.replace("_", " "),
        item.name,
        plain(" ".join(f"{name}={value}" for name, value in item.scope.items())) or NOTHING,
        measured(item.value, item.unit),
        f"{sign} {measured(item.limit, item.unit)}",
    ]


def shown_guardrails(report: Report) -> list[GuardrailStatus]:
    """Those that people need to see: violations, missing data, and of what is fine the one nearest its limit."""
    shown = [item for item in report.guardrails if item.status != "ok"]
    bad = {item.name for item in shown}
    best: dict[str, GuardrailStatus] = {}
    for item in report.guardrails:
        if item.status == "ok" and item.name not in bad and item.value is not None:
            other = best.get(item.name)
            nearer = (
                other is None or other.value is None or (item.value > other.value) == (item.side == "max")
            )
            best[item.name] = item if nearer else other or item
    return [*shown, *best.values()]


def shown_edges(report: Report) -> list[EdgeAmplification]:
    """The edges on which requests are retried, those first that add most load."""
    retried = [edge for edge in report.retry_amplification if (edge.amplification or 0) >= RETRIED]
    return sorted(retried, key=lambda edge: edge.requests - edge.attempts)


def edge_row(edge: EdgeAmplification) -> list[str]:
    """One edge's cells, as :data:`EDGE_HEADER` names them."""
    numbers = (count(edge.requests), count(edge.attempts), rate(edge.amplification))
    return [plain(edge.source), plain(edge.destination), *numbers, edge.origin]


def shown_configured(report: Report) -> list[ConfiguredRetries]:
    """The calls that retry, or may multiply what fails, the worst first."""
    some = (
        item
        for item in report.configured_retries or ()
        if item.along_path > DEFAULT_TRIES or (item.amplification or 0) >= RETRIED
    )
    return sorted(some, key=lambda item: (-item.along_path, -(item.amplification or 0), item.source))


def configured_row(item: ConfiguredRetries) -> list[str]:
    """One call's cells, as :data:`CONFIGURED_HEADER` names them."""
    allowed = f"{item.along_path}x" + (f" ({item.tries}x here)" if item.along_path > item.tries else "")
    seen = "-" if item.amplification is None else f"{item.amplification:.3g}x"
    now, then = (
        "-" if number is None else f"{number:.3g}" for number in (item.requests_per_second, item.if_it_fails)
    )
    cells = [item.source, item.destination, allowed, seen, now, then, " → ".join(item.path)]
    return [plain(cell) for cell in cells]


def restart_rows(rows: Sequence[SidecarRestarts]) -> list[list[str]]:
    """The cells of workloads whose proxies restarted."""
    return [[plain(cell) for cell in row] for row in health.text_rows(rows)]


def tables(report: Report) -> list[tuple[str, list[str], list[list[str]]]]:
    """What is said besides budgets, of a routine's period first: title, titles of the columns, rows."""
    found: list[tuple[str, list[str], list[list[str]]]] = []
    if report.routine:
        found += routine_tables.tables(report.routine)
    if report.guardrails:
        rows = [guardrail_row(item) for item in shown_guardrails(report)]
        found.append(("Guardrails", list(GUARDRAIL_HEADER), rows))
    retried = shown_edges(report)
    if retried:
        found.append(("Retries", list(EDGE_HEADER), [edge_row(edge) for edge in retried[:SHOWN]]))
    if configured := shown_configured(report):
        rows = [configured_row(item) for item in configured[:SHOWN]]
        found.append((CONFIGURED, list(CONFIGURED_HEADER), rows))
    if report.sidecar_restarts:
        rows = restart_rows(report.sidecar_restarts[:SHOWN])
        found.append(("Restarts of proxies (1d)", list(health.HEADERS), rows))
    return found


def summary(report: Report) -> str:
    """One line that counts the states, the worst first, and says if less than the windows is recorded."""
    words, whole = [], (*report.slos, *report.left_out)
    for status, word in STATUS_WORDS.items():
        if number := sum(1 for item in whole if item.status == status):
            words.append(f"{number} {word}")
    stated = f"{plain(report.set_name)} at {rfc3339(report.at)}: {', '.join(words) or 'no SLOs'}"
    worst = f"shown are the worst {len(report.slos):,} of {len(whole):,}" if report.left_out else ""
    return "; ".join(filter(None, (stated, worst, part_recorded(report))))


def top(report: Report, number: int) -> Report:
    """The report with its worst budgets only, and a finding that there are more."""
    if len(report.slos) <= number:
        return report
    worst = set(map(id, ordered(report)[:number]))
    rest = tuple(item for item in report.slos if id(item) not in worst)
    found = report.of(lambda item: id(item) in worst)
    more = Finding("info", "rows-left-out", f"{len(rest):,} more budgets are not shown: --top {number}")
    return replace(found, findings=(*found.findings, more), guardrails=report.guardrails, left_out=rest)


_FEW = 3
"""Findings of a kind that are shown one by one wherever they are."""


def findings(report: Report) -> list[Finding]:
    """The findings, the gravest first; of those that tables say too, or that are of many edges, one has a count."""
    return _folded(report.findings, _said_elsewhere)


def brief(report: Report) -> list[Finding]:
    """The findings for a terminal or a channel: what many SLOs have in common is one line there.

    An outage of Prometheus makes a gap of every SLO; each with its bounds is in the other forms.
    """
    gaps = [item for item in report.findings if item.code == "scrape-gap"]
    if len(gaps) <= _FEW:
        return _folded(report.findings, lambda _: True)
    longest = max(item.quality.gaps for item in report.slos)
    text = (
        f"of {len(gaps)} SLOs some time is not known, up to {duration(round(longest / 60) * 60)}; what that may hide "
        "of each is in the forms markdown, html and json"
    )
    told = Finding("warning", "scrape-gap", text)
    one = [told if item is gaps[0] else item for item in report.findings if item not in gaps[1:]]
    return _folded(one, lambda _: True)


def _said_elsewhere(code: str) -> bool:
    """Whether findings of a kind are of many edges between services, or say what a table says too."""
    return code.startswith(("retry-", "trace-gap", "no-data"))


def _folded(items: Sequence[Finding], many: Callable[[str], bool]) -> list[Finding]:
    """Sorted by severity, with one in place of those of a kind that are more than a few, if their code says so."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for item in items:
        kinds.setdefault((item.severity, item.code), []).append(item)
    found = [
        told
        for (_, code), alike in kinds.items()
        for told in ([_fold(alike)] if len(alike) > _FEW and many(code) else alike)
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _fold(alike: Sequence[Finding]) -> Finding:
    where = "the form json" if _said_elsewhere(alike[0].code) else "the forms markdown, html and json"
    more = f"; {len(alike) - 1:,} more like it are in {where}"
    return replace(alike[0], message=alike[0].message + more, scope={})


def markdown_cell(text: str) -> str:
    """A text that Markdown shows as it is, in a table's cell."""
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+!|~@])", r"\\\1", plain(text))
    # "://" and "www." would become links.
    escaped = escaped.replace("&", "&amp;").replace("://", "\\://").replace("www.", "www\\.")
    # GitHub and GitLab look for people and issues in what is rendered, where no backslash is left.
    return re.sub(r"([@#!~$%](?=\w)|&amp;(?=\d))", "\\1\N{ZERO WIDTH SPACE}", escaped)


def finding_line(finding: Finding) -> str:
    """A finding on one line."""
    return f"{finding.severity}: {plain(finding.message)} [{finding.code}]"


def _markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; titles are our own words, cells may hold anything."""
    head = ["| " + " | ".join(titles) + " |", "|" + "|".join(" --- " for _ in titles) + "|"]
    return head + ["| " + " | ".join(markdown_cell(cell) for cell in cells) + " |" for cells in rows]


def markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    windows = columns(report)
    lines = [f"# Error budgets: {markdown_cell(summary(report))}", ""]
    sources = mixed(report)
    rows = [row(item, windows, sources=sources) for item in ordered(report)]
    lines += _markdown_table(header(windows, sources=sources), rows)
    for title, titles, rows in tables(report):
        lines += ["", f"## {title}", "", *_markdown_table(titles, rows)]
    if report.findings:
        lines += ["", "## Findings", ""]
        lines += [f"- {markdown_cell(finding_line(finding))}" for finding in findings(report)]
    return "\n".join(lines) + "\n"
