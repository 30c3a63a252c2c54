"""What is to be looked at of each budget besides its numbers, for the page of a report.

Causes of bad events, what happened meanwhile (alerts, maintenance, deploys and other silences), and links out. What
cannot be read is a finding, and the report goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote, urlencode

from jobs.budgets import from_ledger, period_events
from jobs.budgets.collected import key_of, period_seconds
from jobs.budgets.lineage import Books, Lineage
from jobs.budgets.maintenance import Excused
from jobs.budgets.period_events import Causes
from jobs.reports.routine_budgets import cause_words, spells, statuses
from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource
from sloctl.errors import BackendError
from sloctl.ledger.protocol import MICRO, Ledger
from sloctl.model import GRID, Matcher, SeriesKey, Slo, SloSet, links
from sloctl.report.data import Detail, Finding, Mark, Report, SloStatus, partial_findings

MOST_CAUSES = 5
MOST_MARKS = 20
MOST_LOOKS = 10_000
"""A server gives 11,000 samples of a series."""
LOOKED_BACK = timedelta(days=1)
"""The time that a link to traces is of."""
FIRED = ("alertname", naming.SLO_ID, *naming.IDENTITY)

_Budgets = Mapping[SeriesKey, tuple[Slo, SloStatus]]
T = TypeVar("T")


def add(report: Report, source: MetricSource, slo_set: SloSet, ledger: Ledger | None = None) -> Report:
    """The report with the details of each of its budgets."""
    budgets = statuses(slo_set, report)
    findings: list[Finding] = []
    asked = Heard(source)

    def read(what: str, make: Callable[[], dict[SeriesKey, T]]) -> dict[SeriesKey, T]:
        try:
            return make()
        except BackendError as error:
            text = f"{what} could not be read, so that the page does not show them: {error}"
            findings.append(Finding("warning", "details-not-read", text))
            return {}

    causes = read("the causes of bad events", lambda: _causes(asked, slo_set, budgets, report.at, ledger))
    fired = read("alerts of the past", lambda: _fired(asked, slo_set, budgets, report.at))
    agreed = read("silences of the past", lambda: _agreed(slo_set, budgets, report.at, ledger))
    findings += partial_findings(asked.doubts, "causes or past alerts may be missing", {"section": "details"})
    details = {
        id(item): Detail(
            _shown(causes.get(key, {})),
            _latest([*fired.get(key, ()), *agreed.get(key, ())]),
            tuple(links_of(slo_set, slo, item, report.at)),
        )
        for key, (slo, item) in budgets.items()
    }
    items = tuple(replace(item, detail=details.get(id(item), item.detail)) for item in report.slos)
    return replace(report, slos=items, findings=(*report.findings, *findings))


def _causes(
    source: MetricSource, slo_set: SloSet, budgets: _Budgets, at: datetime, ledger: Ledger | None
) -> dict[SeriesKey, dict[str, float]]:
    """Bad events of each window by cause, from where the budget is read; of raw counters nothing is recorded."""
    wanted: dict[tuple[str, int], set[SeriesKey]] = {}
    for key, (slo, item) in budgets.items():
        if item.bad and item.source != "raw":
            wanted.setdefault((item.source, period_seconds(slo, at)), set()).add(key)
    found: dict[SeriesKey, dict[str, float]] = {}
    lineage = Lineage(slo_set)
    books = Books(ledger, slo_set) if ledger is not None else None
    for (where, seconds), keys in wanted.items():
        each: Causes = {}
        if where == "rules":
            each = period_events.recorded_causes(source, slo_set.name, seconds, at)
        elif books is not None:
            newest = books.newest()
            slo = budgets[next(iter(keys))][0]
            interval = from_ledger.period_interval(slo, at, newest.get(slo.id, int(at.timestamp())))
            known = books.causes(interval)
            each = {key: {labels: bad / MICRO for labels, bad in of.items()} for key, of in known.items()}
        for key, of in each.items():
            now = lineage.current(key) if where == "rules" else key
            if now in keys:
                into = found.setdefault(now, {})
                for labels, bad in of.items():
                    text = _text(dict(labels))
                    into[text] = into.get(text, 0.0) + bad
    return found


def _text(labels: Mapping[str, str]) -> str:
    what, other, version = cause_words(labels)
    end = "to" if any(labels.get(label) for label in naming.CALLED) else "from"
    return what + (f", {end} {other}" if other else "") + (f", version {version}" if version else "")


def _shown(causes: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(causes.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_CAUSES])


def _fired(
    source: MetricSource, slo_set: SloSet, budgets: _Budgets, at: datetime
) -> dict[SeriesKey, list[Mark]]:
    """When alerts fired within the longest window, to five minutes or, of long windows, to what a server gives."""
    longest = max((period_seconds(slo, at) for slo, _ in budgets.values()), default=0)
    if not longest:
        return {}
    step = timedelta(seconds=max(GRID, -(-longest // MOST_LOOKS // 60) * 60))
    found: dict[SeriesKey, list[Mark]] = {}
    between = (at - timedelta(seconds=longest), at)
    lineage = Lineage(slo_set)
    for labels, times in spells(source, slo_set, between, step, FIRED).items():
        named = dict(labels)
        if (key := lineage.current(key_of(named))) is not None:
            found.setdefault(key, []).extend(
                Mark(_moment(start), _moment(end), "alert", named.get("alertname", ""))
                for start, end in times
            )
    return found


def _agreed(
    slo_set: SloSet, budgets: _Budgets, at: datetime, ledger: Ledger | None
) -> dict[SeriesKey, list[Mark]]:
    """Maintenance of the file, what the ledger remembers of silences (deploys are among them), and what was said."""
    muted = ledger.muted(slo_set.name) if ledger is not None else ()
    end = int(at.timestamp())
    longest = max((period_seconds(slo, at) for slo, _ in budgets.values()), default=0)
    excused = Excused(slo_set, muted, end - longest, end)
    said = ledger.annotations(slo_set.name, end - longest, end) if ledger is not None else ()
    return {
        key: [
            *(
                Mark(_moment(start), _moment(last), what, name)
                for what, name, start, last in excused.named(key)
            ),
            *(
                Mark(_moment(one.start), _moment(one.end), one.what, f"{one.text} ({one.author})")
                for one in said
                if one.about(key)
            ),
        ]
        for key in budgets
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _latest(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Those that ended last, of alerts and of all else: a deploy an hour hides no alert that still fires."""
    ended = sorted(marks, key=lambda mark: (mark.end, mark.start, mark.name))
    alerts = [mark for mark in ended if mark.what == "alert"][-MOST_MARKS:]
    others = [mark for mark in ended if mark.what != "alert"][-MOST_MARKS:]
    return tuple(sorted((*alerts, *others), key=lambda mark: (mark.start, mark.end, mark.name)))


def links_of(slo_set: SloSet, slo: Slo, item: SloStatus, at: datetime) -> list[tuple[str, str]]:
    """Titles and addresses, of what the file names and of nothing else."""
    names = {"slo": item.slo, "namespace": item.namespace, "service": item.service, "set": slo_set.name}
    start, end = (
        f"{time.timestamp() * 1000:.0f}" for time in (at - timedelta(seconds=period_seconds(slo, at)), at)
    )
    names |= {"alert": item.alerts[0] if item.alerts else "", "from": start}

    def filled(template: str) -> str:
        for name, value in names.items():
            template = template.replace(f"{{{name}}}", quote(value, safe=""))
        return template

    day_ago = f"{(at - LOOKED_BACK).timestamp() * 1000:.0f}"
    traces = links.traces(slo_set.sources, slo, quote(item.service, safe=""), day_ago, end)
    found = [
        ("Dashboard", filled(links.dashboard(slo_set, slo))),
        ("Slow traces" if links.burn_page(slo) == naming.LATENCY_BURN else "Failing traces", traces),
        ("Runbook", filled(slo.runbook) if slo.runbook else links.runbook(slo_set, links.burn_page(slo))),
        ("Query", _query(slo_set, slo, item)),
        ("Alerts", _alerts(slo_set, slo, item)),
    ]
    return [(title, url) for title, url in found if url]


def _alerts(slo_set: SloSet, slo: Slo, item: SloStatus) -> str:
    """The SLO's alerts in Alertmanager's own page, silenced ones too."""
    base = slo_set.sources.alertmanager.rstrip("/")
    which = (
        Matcher(naming.SLO_ID, "=", slo.id),
        Matcher(naming.NAMESPACE, "=", item.namespace),
        Matcher(naming.SERVICE, "=", item.service),
    )
    filters = quote(f"{{{promql.matched(which)}}}", safe="")
    return f"{base}/#/alerts?silenced=true&filter={filters}" if base else ""


def _query(slo_set: SloSet, slo: Slo, item: SloStatus) -> str:
    """The share of bad events as the rules record it, in Prometheus's own page."""
    base = slo_set.sources.prometheus.rstrip("/")
    if not base or item.source == "raw":
        return ""
    which = (
        Matcher(naming.SLO_ID, "=", slo.id),
        Matcher(naming.NAMESPACE, "=", item.namespace),
        Matcher(naming.SERVICE, "=", item.service),
    )
    bad, total = (promql.selector(metric, which) for metric in (naming.BAD_GRID, naming.TOTAL_GRID))
    expr = f"sum_over_time({bad}[1h]) / sum_over_time({total}[1h])"
    page = "/vmui/#/" if slo_set.sources.engine == "victoriametrics" else "/graph"
    return f"{base}{page}?{urlencode({'g0.expr': expr, 'g0.tab': '0', 'g0.range_input': '1d'})}"
