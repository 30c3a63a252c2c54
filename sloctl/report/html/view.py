"""What the page says, as plain texts and plots; the template arranges them.

Every number is written by :mod:`sloctl.report.markdown`, so that no form of the report says it otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sloctl.model.durations import duration
from sloctl.report import health, markdown, routine_tables
from sloctl.report.data import Report, SloStatus
from sloctl.report.history import MOST_BUCKETS
from sloctl.report.html import charts
from sloctl.report.html.charts import Chart
from sloctl.report.markdown import STATUS_WORDS
from sloctl.report.numbers import NOTHING, count, digits_for, percent, plain, spent_share

SIGNS = {"exhausted": "✕", "at_risk": "!", "partial": "…", "no_data": "?", "ok": "✓"}
"""What tells states apart besides words and colours."""
SOURCES = {"prometheus": "Prometheus", "ledger": "the ledger"}
_RARE = {"window", "events", "bad", "95 % interval"}
OWNER, WEEK = "owner", "spent in 7d"
PLAIN = 100
"""Up to so many SLOs stand in the page as they are; of more, these have rows, and the rest is packed."""
WORST = 25
"""How many of more are drawn in the page as it is."""
_TEXTS = {"status", "service", "SLO", OWNER, "alerts", "guardrail", "where", "source", "destination"} | {
    "namespace",
    "workload",
    "reasons",
}
_ADDRESSES = ("https://", "http://")
_MOST_AREAS = 1000
"""Areas of all plots together: they are most of the page's size."""


@dataclass(frozen=True, slots=True)
class Grain:
    """How fine plots are: areas that say what is beneath them, and buckets, at most."""

    areas: int
    buckets: int


_PACKED = Grain(8, 45)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. ``kind`` is ``text`` or ``number``; a rare one is for wide windows only."""

    title: str
    kind: str
    rare: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """One SLO: its row of the table, its numbers, its plots; ``missing`` says why there are none."""

    ident: str
    status: str
    name: str
    place: str
    slo: str
    cells: tuple[str, ...]
    bar: float | None
    spark: str
    facts: tuple[tuple[str, str], ...]
    burns: tuple[tuple[str, str], ...]
    plots: tuple[Chart, ...]
    bands: tuple[tuple[str, float, float], ...]
    """What happened meanwhile: what it is, where it begins in a plot and how wide it is."""
    marks: tuple[str, ...]
    causes: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]
    drawn: str
    missing: str
    word: str
    """Its state in words."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table about the mesh's health; without rows ``empty`` says why, ``note`` what it leaves out."""

    ident: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """All that the page says."""

    name: str
    at: str
    source: str
    headline: str
    worst: str
    counts: tuple[tuple[str, str, str, int], ...]
    """Of each state: its code, sign, word and number of SLOs."""
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    plain: int
    """How many of the sections stand in the page as they are."""
    owners: tuple[str, ...]
    tables: tuple[Table, ...]
    findings: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What all rows of a page have in common: titles, burn windows, and what has to be said in each."""

    titles: tuple[str, ...]
    windows: tuple[str, ...]
    mixed: bool
    owned: bool
    failed: bool

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the table."""
        rare = _RARE | _rare_burns(self.windows)
        return tuple(Column(title, _kind(title), title in rare) for title in self.titles)


def frame(report: Report) -> Frame:
    """What the rows of a report have in common."""
    windows = markdown.columns(report)
    mixed = markdown.mixed(report)
    owned = any(item.owner for item in report.slos)
    return Frame(
        tuple(_with(markdown.header(windows, sources=mixed), OWNER if owned else None, WEEK)),
        tuple(windows),
        mixed,
        owned,
        any(finding.code == "history-not-read" for finding in report.findings),
    )


def status_counts(report: Report) -> dict[str, int]:
    """How many SLOs there are in each state, the worst first."""
    return {status: sum(1 for item in report.slos if item.status == status) for status in STATUS_WORDS}


def page_view(report: Report) -> Page:
    """The page of a report."""
    common = frame(report)
    ordered = markdown.ordered(report)
    taken: set[str] = set()
    number = len(ordered) if len(ordered) <= PLAIN else WORST
    areas = min(charts.AREAS, max(8, _MOST_AREAS // max(1, number)))
    sections = tuple(
        section(
            item,
            common,
            _ident(item, taken),
            Grain(areas, MOST_BUCKETS) if place < number else _PACKED,
        )
        for place, item in enumerate(ordered)
    )
    numbers = status_counts(report)
    return Page(
        name=plain(report.set_name),
        at=f"{report.at:%Y-%m-%d %H:%M} UTC",
        source="several sources" if common.mixed else SOURCES[report.source],
        headline=headline(numbers, markdown.part_recorded(report)),
        worst=next((status for status in STATUS_WORDS if numbers[status]), "no_data"),
        counts=tuple((status, SIGNS[status], word, numbers[status]) for status, word in STATUS_WORDS.items()),
        columns=common.columns,
        sections=sections,
        plain=number,
        owners=tuple(sorted({plain(item.owner) for item in ordered if item.owner})),
        tables=(*_routine(report), *health_tables(report)),
        findings=findings_of(report),
    )


def health_tables(report: Report) -> tuple[Table, ...]:
    """What the report says of the mesh's health."""
    configured = () if report.configured_retries is None else (_configured(report),)
    return _guardrails(report), _retries(report), *configured, _restarts(report)


def findings_of(report: Report) -> tuple[tuple[str, str, str], ...]:
    """Severity, message and code of each finding, the gravest first."""
    return tuple(
        (finding.severity, plain(finding.message), finding.code) for finding in markdown.findings(report)
    )


def _with(cells: Sequence[str], owner: str | None, week: str) -> list[str]:
    """The cells of the other forms with the page's own: the owner, and what was spent in a week."""
    found = list(cells)
    found.insert(4, week)
    return found if owner is None else [*found[:3], owner, *found[3:]]


def _routine(report: Report) -> list[Table]:
    """The sections of the report's routine."""
    if report.routine is None:
        return []
    found = []
    for section in report.routine.sections:
        titles, rows = routine_tables.table(section)
        columns = tuple(
            Column(title, "text" if column.unit in ("text", "time") else "number")
            for title, column in zip(titles, section.columns, strict=True)
        )
        title = f"{section.title}, {routine_tables.period_text(report.routine.period)}"
        cells = tuple(tuple(row) for row in rows)
        found.append(Table(f"routine-{section.name}", title, columns, cells, section.empty, section.note))
    return found


def _kind(title: str) -> str:
    return "text" if title in _TEXTS else "number"


def _rare_burns(windows: Sequence[str]) -> set[str]:
    """Of many burn windows, all but the one hour."""
    return {f"burn {window}" for window in windows if window != "1h"} if len(windows) > 2 else set()


def headline(numbers: dict[str, int], part: str) -> str:
    """The states in the words of the other forms, and what is to be said of all budgets."""
    if not sum(numbers.values()):
        return "The SLO file has no SLO, or none of a service that was seen."
    words = (f"{number:,} {STATUS_WORDS[status]}" for status, number in numbers.items() if number)
    return f"{', '.join(words)}." + (f" {part[0].upper()}{part[1:]}." if part else "")


def _ident(item: SloStatus, taken: set[str]) -> str:
    """An anchor that stays the same from report to report, as long as no two names look alike."""
    words = re.sub(r"[^a-z0-9]+", "-", item.name.lower()).strip("-")[:80]
    base = ident = f"slo-{words}"
    number = 1
    while ident in taken:
        number += 1
        ident = f"{base}-{number}"
    taken.add(ident)
    return ident


def section(item: SloStatus, common: Frame, ident: str, grain: Grain | None) -> Section:
    """One SLO; without ``grain`` its row alone, and no plots."""
    history = item.history
    week = _spent(history.spent_in(charts.WEEK)) if history and item.partial is None else NOTHING
    owner = plain(item.owner) or NOTHING
    cells = _with(
        markdown.row(item, common.windows, sources=common.mixed), owner if common.owned else None, week
    )
    by_title = dict(zip(common.titles, cells, strict=True))
    plots: tuple[Chart, ...] = ()
    drawn = ""
    if history and grain:
        shown = history.coarser(grain.buckets)
        plots = (charts.success(shown, item.objective, grain.areas),)
        if item.partial is None:
            plots = (charts.burn_down(shown, grain.areas), *plots)
        drawn = f"Buckets of {charts.width_text(shown)}, times in UTC."
    return Section(
        ident=ident,
        status=item.status,
        name=plain(item.name),
        place=by_title["service"],
        slo=by_title["SLO"],
        cells=tuple(cells),
        bar=None if item.remaining is None else round(min(max(item.remaining, 0.0), 1.0) * 60, 1),
        spark=charts.spark(history) if history and item.partial is None else "",
        facts=tuple(_facts(item, by_title)),
        burns=tuple(
            (window, by_title[f"burn {window}"]) for window in common.windows if window in item.burn_rates
        ),
        plots=plots,
        bands=charts.bands(history, item.detail.marks) if history else (),
        marks=tuple(charts.mark_text(mark) for mark in reversed(item.detail.marks)),
        causes=tuple(_causes(item)),
        links=tuple((title, plain(url)) for title, url in item.detail.links if url.startswith(_ADDRESSES)),
        drawn=drawn,
        missing="" if plots else _missing(item, common.failed),
        word=markdown.state(item),
    )


def _spent(share: float | None) -> str:
    """A share of the budget; a little is not shown as nothing."""
    if share is None:
        return NOTHING
    return "<0.1 %" if 0 < share < 0.001 else spent_share(share)


def _causes(item: SloStatus) -> Iterator[tuple[str, str]]:
    """What failed, and how many events of it; the last is what is not told apart."""
    known = [(text, bad) for text, bad in item.detail.causes if bad >= 0.5]
    rest = item.bad - sum(bad for _, bad in known)
    if known and rest >= max(0.5, 0.001 * item.bad):
        known.append(("all others", rest))
    for text, bad in known:
        yield (
            plain(text),
            f"{count(bad)} ({percent(min(1.0, bad / item.bad), 1)})" if item.bad else count(bad),
        )


def _missing(item: SloStatus, failed: bool) -> str:
    if not item.total:
        return "No events in the window: there is nothing to draw."
    if failed:
        return "The history could not be read, so it is not drawn; see the findings."
    return "There is no history that adds up to these events, so none is drawn."


def _facts(item: SloStatus, by_title: dict[str, str]) -> list[tuple[str, str]]:
    digits = digits_for(item.objective)
    allowed = item.total * (100 - item.objective) / 100
    facts = [
        (title, by_title[title]) for title in ("budget left", "SLI", "95 % interval", "objective", "window")
    ]
    facts += [("events", by_title["events"]), ("bad", by_title["bad"])]
    facts.append(("may be bad", count(allowed) if item.total else NOTHING))
    facts += [("runs out (UTC)", by_title["runs out (UTC)"]), ("alerts", by_title["alerts"])]
    if item.sides:
        facts.append(("clients saw succeed", percent(item.sides.client, digits)))
        facts.append(("servers saw succeed", percent(item.sides.server, digits)))
    facts.append(("gaps", _length(item.quality.gaps)))
    if item.quality.excluded:
        facts.append(("excluded", _length(item.quality.excluded)))
    facts.append(("source", item.source))
    if item.doubts:
        facts.append(("in doubt, see the findings", ", ".join(plain(code) for code in item.doubts)))
    facts.append(("owner", plain(item.owner) or NOTHING))
    return facts


def _length(seconds: float) -> str:
    return duration(round(seconds)) if seconds >= 1 else "none" if seconds <= 0 else "<1s"


def _columns(titles: Sequence[str]) -> tuple[Column, ...]:
    return tuple(Column(title, _kind(title)) for title in titles)


def _guardrails(report: Report) -> Table:
    shown = markdown.shown_guardrails(report)
    note = ""
    if len(shown) < len(report.guardrails):
        note = (
            f"{len(shown)} of {len(report.guardrails)} verdicts: those that are violated or without data, and of each "
            "other guardrail the one nearest its limit."
        )
    return Table(
        "guardrails",
        "Guardrails",
        _columns(markdown.GUARDRAIL_HEADER),
        tuple(tuple(markdown.guardrail_row(item)) for item in shown),
        "No guardrail in the SLO file gives a verdict.",
        note,
    )


def _measured(report: Report, guardrail: str) -> bool | None:
    """Whether a guardrail measured anything; None where the SLO file has no such guardrail."""
    values = [item.value for item in report.guardrails if item.name == guardrail]
    return any(value is not None for value in values) if values else None


_EDGES = 50
"""Rows of the table of retries."""


def _retries(report: Report) -> Table:
    shown = markdown.shown_edges(report)
    limit = f"{markdown.RETRIED:g} attempts per request"
    edges = len(report.retry_amplification)
    most = f": the {_EDGES} of {len(shown):,} that add most load" if len(shown) > _EDGES else ""
    if edges:
        empty = f"No edge has {limit} or more: {edges} were measured over the last 30 minutes."
    elif _measured(report, "retry-amplification") is None:
        empty = "The SLO file has no guardrail retry-amplification, so attempts are not counted."
    else:
        empty = "No data: no edge had requests that both sides count."
    return Table(
        "retries",
        "Retries",
        _columns(markdown.EDGE_HEADER),
        tuple(tuple(markdown.edge_row(edge)) for edge in shown[:_EDGES]),
        empty,
        f"Edges with {limit} or more, of {edges} that were measured{most}.",
    )


def _configured(report: Report) -> Table:
    shown = markdown.shown_configured(report)
    return Table(
        "configured-retries",
        markdown.CONFIGURED,
        _columns(markdown.CONFIGURED_HEADER),
        tuple(tuple(markdown.configured_row(item)) for item in shown[:_EDGES]),
        f"No call is configured for more than {markdown.DEFAULT_TRIES} tries along its path, and none retries.",
        "How often one request may be sent at most, by the mesh's configuration, and attempts per request as measured.",
    )


def _restarts(report: Report) -> Table:
    empty = {
        None: "The SLO file has no guardrail sidecar-restarts, so restarts are not counted.",
        False: "No data: no restarts of proxies could be measured.",
        True: "No proxy restarted in the last day.",
    }[_measured(report, "sidecar-restarts")]
    return Table(
        "restarts",
        "Restarts of proxies (1d)",
        _columns(health.HEADERS),
        tuple(tuple(cells) for cells in markdown.restart_rows(report.sidecar_restarts)),
        empty,
        "In the last day.",
    )
