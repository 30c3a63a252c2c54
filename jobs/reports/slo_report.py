"""The jobs ``report`` and ``burn_rate``: budgets and burn rates now, of every SLO and service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from jobs import sidecar_restarts
from jobs.budgets import budget_history, choice, stopped, targets
from jobs.budgets.choice import BudgetOrigin
from jobs.budgets.collected import Collected, burn_windows, period_end, period_seconds, recorded_of
from jobs.reports import guardrails
from sloctl import budget, naming
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource, Progress, silent
from sloctl.budget import EventCounts
from sloctl.errors import BackendError
from sloctl.ledger.protocol import MICRO, Bucket, Ledger
from sloctl.model import GRID, SeriesKey, Slo, SloSet
from sloctl.model.durations import duration, rfc3339
from sloctl.report.data import (
    PARTIAL,
    SCRAPE_GAP,
    Finding,
    PartialBudget,
    Quality,
    Report,
    SideComparison,
    SloStatus,
    partial_findings,
    recorded_text,
)
from sloctl.report.health import EdgeAmplification

if TYPE_CHECKING:
    from sloctl.backends.spans import TraceSource


ORIGINS: dict[str, BudgetOrigin] = {"auto": "auto", "ledger": "ledger", "rules": "rules", "raw": "raw"}
PARTLY_READ = "raw-partly-read"
SHOWN_GAP = 60
"""Seconds of a gap that are worth a finding."""
MOST_EVENTS = 1e18
"""More than any counter has counted."""
SIDE_DIFFERENCE = 0.001
"""Client and server success that differ by more than this share are worth a finding."""


def _status(slo: Slo, key: SeriesKey, data: Collected, at: datetime) -> SloStatus:
    bad, total = _plausible(*data.period.get(key, (0.0, 0.0)))
    share = float(slo.budget)
    recorded = _recorded(slo, key, data, at)
    partial = _partial(slo, key, (bad, total), recorded, data, at)
    spent = None if partial else budget.spent(bad, total, share)
    remaining = None if spent is None else 1 - spent
    rates: dict[str, float | None] = {}
    for window in burn_windows(slo):
        events = _plausible(*data.burn.get(window, {}).get(key, (0.0, 0.0)))
        rates[duration(window)] = budget.spent(*events, share)
    # Replicas of Prometheus that nobody deduplicates give each alert more than once.
    alerts = tuple(sorted(set(data.alerts.get(key, ()))))
    ends = None
    if remaining is not None:
        ends = budget.exhausted_at(at, remaining, rates.get("1h") or 0.0, slo.window.seconds)
    if ends and (renewed := period_end(slo, at)) and ends >= renewed:
        ends = None
    sides = data.sides.get(key)
    success = budget.ratio(total - bad, total)
    return SloStatus(
        slo=slo.name,
        service=key[2],
        namespace=key[1],
        objective=float(slo.objective),
        window=slo.window.text,
        status=budget.status(remaining, alerting=bool(alerts), partial=partial is not None),
        sli=success,
        sli_interval=budget.wilson_interval(total - bad, total),
        good=total - bad,
        bad=bad,
        total=total,
        spent=spent,
        remaining=remaining,
        burn_rates=rates,
        exhausted_at=ends,
        alerts=alerts,
        quality=Quality(_gaps(slo, key, data, at), data.excluded.get(key, 0.0), recorded),
        sides=SideComparison(*(budget.ratio(whole - wrong, whole) for wrong, whole in sides))
        if sides
        else None,
        owner=slo.owner,
        source=data.origins.get(slo.id, "rules"),
        doubts=_doubts(slo, key, data, at),
        partial=partial,
    )


def _recorded(slo: Slo, key: SeriesKey, data: Collected, at: datetime) -> float | None:
    """How much of an SLO's window is recorded, in seconds; None if that is all of it.

    A gap of more than half of it is time of which no more is known than of that before the first record.
    """
    recorded = recorded_of(slo, at, data)
    since = period_seconds(slo, at) if recorded is None else recorded
    gaps = _gaps(slo, key, data, at)
    return max(0.0, since - gaps) if gaps > since / 2 else recorded


def _partial(
    slo: Slo, key: SeriesKey, events: EventCounts, recorded: float | None, data: Collected, at: datetime
) -> PartialBudget | None:
    """What the recorded part of the window would mean, where it leaves the budget open; else None."""
    alike = budget.spent(*events, float(slo.budget))
    if alike is None or recorded is None:
        return None
    period = period_seconds(slo, at)
    peak = data.peak.get(key, 0.0) / GRID
    if not budget.undecided(
        *events, float(slo.budget), recorded=recorded, missing=period - recorded, peak=peak
    ):
        return None
    return PartialBudget(alike, alike * recorded / period)


def _doubts(slo: Slo, key: SeriesKey, data: Collected, at: datetime) -> tuple[str, ...]:
    """The codes of the findings for which an SLO's numbers may be wrong."""
    partial = [PARTIAL] if any(slo.id in ids for ids in data.unsure.values()) else []
    disputed = ["replicas-disagree"] if key in data.disputed else []
    blind = ["sli-blind"] if key in data.blind else []
    wrong = ["implausible-events"] if _implausible(*data.period.get(key, (0.0, 0.0))) else []
    unread = [data.unread[slo.id]] if slo.id in data.unread else []
    hidden = [SCRAPE_GAP] if _may_hide_the_end(slo, key, data, at) else []
    return (*partial, *disputed, *blind, *wrong, *unread, *hidden)


def _may_hide_the_end(slo: Slo, key: SeriesKey, data: Collected, at: datetime) -> bool:
    """Whether a budget that does not seem exhausted may be, by what nobody observed."""
    bad, total = _plausible(*data.period.get(key, (0.0, 0.0)))
    gaps = _gaps(slo, key, data, at)
    if gaps < SHOWN_GAP or not total:
        return False
    spent, (_, worst) = budget.spent(bad, total, float(slo.budget)), _bounds(slo, key, bad, total, gaps, data)
    return spent is not None and spent < 1 <= worst


def _bounds(
    slo: Slo, key: SeriesKey, bad: float, total: float, gaps: float, data: Collected
) -> tuple[float, float]:
    """What is spent, if all that was not observed (at the traffic of the peak) was good, and if all of it was bad."""
    unseen = _unseen(gaps, key, data)
    best, worst = (budget.spent(wrong, total + unseen, float(slo.budget)) for wrong in (bad, bad + unseen))
    return best or 0.0, worst or 0.0


def _unseen(gaps: float, key: SeriesKey, data: Collected) -> float:
    """Events of so many seconds at the traffic of the peak; none where that is not known."""
    unseen = gaps / GRID * data.peak.get(key, 0.0)
    return unseen if 0 < unseen < MOST_EVENTS else 0.0


def _plausible(bad: float, total: float) -> EventCounts:
    """Events within their bounds, which a user's own expressions may not heed; none if they are no numbers."""
    if not (abs(bad) < MOST_EVENTS and 0 < total < MOST_EVENTS):
        return 0.0, 0.0
    return min(max(bad, 0.0), total), total


def _implausible(bad: float, total: float) -> bool:
    """Whether these events cannot be, and :func:`_plausible` makes others of them."""
    return not 0 <= bad <= total * (1 + 1e-9) < MOST_EVENTS


def _gaps(slo: Slo, key: SeriesKey, data: Collected, at: datetime) -> float:
    seconds = data.gaps.get(key, 0.0)
    return min(max(seconds, 0.0), float(period_seconds(slo, at))) if isfinite(seconds) else 0.0


def _findings(slo: Slo, key: SeriesKey, item: SloStatus, data: Collected) -> list[Finding]:
    scope = {"slo": item.slo, "namespace": item.namespace, "service": item.service}
    found = []
    if not item.total and slo.id not in data.unread:
        text = f"{item.name}: no events in the window; the objective is neither met nor missed"
        found.append(Finding("warning", "no-data", text, scope))
    bad, total = data.period.get(key, (0.0, 0.0))
    if _implausible(bad, total):
        counted = f"{bad:,.6g} bad of {total:,.6g}" if isfinite(bad + total) else "this number of"
        text = f"{item.name}: {counted} events cannot be; does the SLI's total count all of its events, each once?"
        found.append(Finding("error", "implausible-events", text, scope))
    if item.quality.gaps >= SHOWN_GAP and item.total:
        found.append(Finding("warning", "scrape-gap", _gap_text(slo, key, item, data), scope))
    if key in data.carried:
        found.append(Finding("info", "counted-late", _carried_text(item.name, data.carried[key]), scope))
    if key in data.disputed:
        buckets = f"{data.disputed[key]} recorded bucket{'s' if data.disputed[key] > 1 else ''}"
        text = (
            f"{item.name}: {buckets} had fewer good or bad events when read again: replicas of Prometheus disagree; "
            "sloctl ledger show has both numbers"
        )
        found.append(Finding("warning", "replicas-disagree", text, scope))
    if item.sides and item.sides.client is not None and item.sides.server is not None:
        difference = item.sides.client - item.sides.server
        if difference > SIDE_DIFFERENCE:
            text = (
                f"{item.name}: clients saw {item.sides.client:.3%} succeed but servers only {item.sides.server:.3%}: "
                "retries hide failures"
            )
            found.append(Finding("info", "retries-hide-failures", text, scope))
    return found


def _unsure(slo_set: SloSet, data: Collected) -> list[Finding]:
    """That answers were partial, and whose numbers may lack events therefore."""
    found = []
    for said, ids in data.unsure.items():
        one = len(ids) == 1
        of = next(iter(ids)) if one else f"{len(ids)} of {len(slo_set.slos)} SLOs"
        text = f"Prometheus: {said}: events of {of} may be missing, and what is said of them is in doubt"
        scope = {naming.SLO_ID: next(iter(ids))} if one else {naming.SLO_SET: slo_set.name}
        found.append(Finding("warning", "partial-answer", text, scope))
    return found


_LONGER = {
    "rules": "sloctl backfill writes what rules would have recorded before, and --source raw reads the counters of "
    "that time, as far back as Prometheus has them",
    "raw": "Prometheus has no counters from before: it is new, or forgets sooner (its retention)",
    "ledger": "the job slis adds what Prometheus has of the time before, and cannot add more",
}
"""What there is to do or to know where less than a window is recorded, by where it was read."""


def _part_recorded(slo_set: SloSet, items: Sequence[SloStatus]) -> list[Finding]:
    """That less than the window of some budgets is recorded, what that would mean, and how to have more."""
    part = [item for item in items if item.quality.recorded is not None]
    if not part:
        return []
    unclear = [item.partial for item in part if item.partial]
    text = (
        f"of {len(part):,} of {len(items):,} budgets less than the window is recorded: {recorded_text(part)}"
    )
    if unclear:
        alike, good = sum(1 for of in unclear if of.alike >= 1), sum(1 for of in unclear if of.good >= 1)
        text += (
            f"; what is left of {len(unclear):,} is open: if all of their windows were like this, {alike:,} would be "
            f"exhausted, and if the rest had as many requests and no failure, {good:,}"
        )
    sources = dict.fromkeys(item.source for item in part if PARTLY_READ not in item.doubts)
    text += "".join(f"; {_LONGER[where]}" for where in sources)
    return [Finding("warning", "partial-period", text, {naming.SLO_SET: slo_set.name})]


def _gap_text(slo: Slo, key: SeriesKey, item: SloStatus, data: Collected) -> str:
    """What may be missing: from no bad event to bad events only, in the time that is not known."""
    gaps = item.quality.gaps
    time = duration(round(gaps / 60) * 60)
    unread = ", or not read" if slo.id in data.unread else ""
    text = f"{item.name}: nothing is known of {time} (no scrapes, or no rules evaluated{unread})"
    if not (unseen := _unseen(gaps, key, data)):
        return text
    best, worst = _bounds(slo, key, item.bad, item.total, gaps, data)
    return (
        f"{text}; if traffic stayed below its peak, at most {unseen:,.0f} events are unseen, and between {best:.1%} "
        f"and {worst:.1%} of the budget is spent"
    )


def _carried_text(name: str, buckets: Sequence[Bucket]) -> str:
    """When events happened that were counted later, as their counters could not be read."""
    most = max(buckets, key=lambda bucket: (bucket.bad, bucket.total))
    total, bad = most.total / MICRO, most.bad / MICRO
    more = len(buckets) - 1
    others = (
        f"; so were those of {more} more bucket{'s' if more > 1 else ''} (sloctl ledger show)" if more else ""
    )
    return (
        f"{name}: {total:,.6g} events ({bad:,.6g} bad) of {rfc3339(most.since)} to {rfc3339(most.end)} were counted at "
        f"{rfc3339(most.end)}, when their counters could be read again{others}"
    )


def _keys(slo_set: SloSet, data: Collected) -> list[tuple[Slo, SeriesKey]]:
    """Every SLO and service to report: those with data, and the named ones without.

    A service that a named SLO overrides since some time still has events of the ``*`` SLO from before.
    """
    by_id = {slo.id: slo for slo in slo_set.slos}
    seen = {
        key
        for counts in (data.period, *data.burn.values())
        for key in counts
        if key[0] in by_id and key[2] not in by_id[key[0]].overridden
    }
    named = {(slo.id, slo.namespace, slo.service) for slo in slo_set.slos if not slo.wildcard}
    rows = [(by_id[key[0]], key) for key in seen | named]
    return sorted(rows, key=lambda row: (row[1][1], row[1][2], row[0].name))


MANY_VALUES = 500
"""Values of a label with a budget of their own, from which on nobody looks at each."""


def _many_values(slo_set: SloSet, items: Sequence[SloStatus]) -> Iterator[Finding]:
    """SLOs of so many values of a label that it is hardly the one that was meant."""
    counts = Counter((item.slo, item.namespace) for item in items)
    for slo in slo_set.slos:
        if slo.per and (count := counts[slo.name, slo.namespace]) > MANY_VALUES:
            text = (
                f"{slo.namespace}/* {slo.name}: '{slo.per}' has {count} values, each with a budget, rules' series and "
                f"alerts of its own; over {MANY_VALUES} it is hardly a label that people look after: match some of them"
            )
            yield Finding("warning", "many-values", text, {"slo": slo.name, "namespace": slo.namespace})


def _stopped(
    findings: Callable[[MetricSource, SloSet, datetime, Collected], list[Finding]],
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    data: Collected,
) -> list[Finding]:
    """What has no events any more; a server that fails here has said so before, or limits what may be read."""
    try:
        return findings(source, slo_set, at, data)
    except BackendError as error:
        text = f"whether traffic stopped could not be read: {error}"
        return [Finding("info", "pauses-not-read", text)]


def _read_traces(
    traces: TraceSource, slo_set: SloSet, at: datetime, counted: list[EdgeAmplification], out: list[Finding]
) -> list[EdgeAmplification]:
    """Edges as traces have them; without them the report still says what it has to say."""
    from jobs import retry_amplification

    try:
        found = retry_amplification.recent(traces, slo_set, at, lambda: counted or None)
    except BackendError as error:
        out.append(Finding("warning", "traces-not-read", f"the traces could not be read: {error}"))
        return []
    out += found.findings
    return found.amplification


def build(
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    origin: BudgetOrigin = "auto",
    *,
    history: bool = False,
    traces: TraceSource | None = None,
    ledger: Ledger | None = None,
    progress: Progress = silent,
) -> Report:
    """The report at ``at`` (aware).

    ``origin``: ``ledger`` reads the ledger, ``rules`` recorded series, ``raw`` evaluates the counters; ``auto`` takes
    for each SLO the ledger if it is up to date, else recorded series if there are any, else raw counters. With
    ``history``, each SLO has what its plots are drawn from; with ``traces``, retries are also counted from those of the
    last half hour.
    Raises ``BackendError``.
    """
    heard = source = Heard(source)
    data = choice.collect(source, slo_set, at, origin, ledger, history=history, progress=progress)
    findings = [*data.findings, *_unsure(slo_set, data), *_stopped(stopped.blind, source, slo_set, at, data)]
    items = []
    for slo, key in _keys(slo_set, data):
        item = _status(slo, key, data, at)
        drawn = budget_history.of_budget(data.buckets, slo, key, (item.bad, item.total), at)
        items.append(replace(item, history=drawn) if drawn else item)
        findings += _findings(slo, key, item, data)
    for slo in slo_set.slos:
        if slo.wildcard and slo.id not in data.unread and not any(key[0] == slo.id for key in data.period):
            nothing = (
                f"no '{slo.per}' has any events"
                if slo.per
                else "no service of the namespace has any requests"
            )
            text = f"{slo.namespace}/* {slo.name}: {nothing}"
            findings.append(
                Finding("warning", "no-data", text, {"slo": slo.name, "namespace": slo.namespace})
            )
    findings += _many_values(slo_set, items)
    findings += _stopped(stopped.findings, source, slo_set, at, data)
    findings += _part_recorded(slo_set, items)
    books = set(data.origins.values())
    if books - {"ledger"}:
        findings += targets.findings(source, slo_set, at)
    report = Report(
        slo_set.name, at, "ledger" if books == {"ledger"} else "prometheus", tuple(items), tuple(findings)
    )
    try:
        report = _with_health(report, source, slo_set, recorded=data.recorded, traces=traces)
    except BackendError as error:
        if "ledger" not in books and not data.unread:
            raise
        text = f"Prometheus could not be asked for the mesh's health: {error}"
        report = replace(report, findings=(*report.findings, Finding("warning", "prometheus-not-read", text)))
    remarks = [Finding("warning", "backend-warning", f"Prometheus: {text}") for text in heard.remarks]
    return replace(report, findings=(*report.findings, *remarks))


def _with_health(
    report: Report, source: MetricSource, slo_set: SloSet, *, recorded: bool, traces: TraceSource | None
) -> Report:
    """The report with what it says of the mesh besides budgets."""
    findings = list(report.findings)
    verdicts, more = guardrails.run(source, slo_set, report.at, recorded=recorded)
    findings += more
    asked = Heard(source)
    edges = guardrails.amplification(asked, slo_set, report.at, recorded=recorded)
    findings += partial_findings(
        asked.doubts, "requests and attempts may be missing", {"section": "retry_amplification"}
    )
    asked = Heard(source)
    restarts = sidecar_restarts.rows_for_report(asked, slo_set, report.at)
    findings += partial_findings(asked.doubts, "restarts may be missing", {"section": "sidecar_restarts"})
    if traces is not None:
        edges = [*edges, *_read_traces(traces, slo_set, report.at, edges, findings)]
    return replace(
        report,
        findings=tuple(findings),
        guardrails=tuple(verdicts),
        retry_amplification=tuple(edges),
        sidecar_restarts=restarts,
    )


def run(source: MetricSource, slo_set: SloSet, at: datetime) -> Report:
    """The report at ``at``, from which :func:`rows` takes the burn rates. Raises ``BackendError``."""
    return build(source, slo_set, at)


def burn_rate_rows(report: Report) -> list[dict[str, Any]]:
    """One row per SLO, service and window; the burn rate is None without events."""
    return [
        {
            "slo": item.slo,
            "namespace": item.namespace,
            "service": item.service,
            "window": window,
            "burn_rate": None if rate is None else round(rate, 4),
        }
        for item in report.slos
        for window, rate in item.burn_rates.items()
    ]
