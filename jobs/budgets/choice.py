"""Where the budget of each SLO is read from: the ledger, what the rules recorded, or raw counters.

Chosen for each SLO by itself. Rules that are new, fail or were never loaded, and a ledger that lags behind, say nothing
of it: they must not be read as a service without requests, nor make those be read elsewhere of which they do know.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from jobs.budgets import budget_history, from_rules
from jobs.budgets.collected import Collected, key_of, period_seconds
from jobs.budgets.maintenance import seconds_within
from jobs.budgets.open_bucket import open_bucket
from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource, Progress, silent
from sloctl.errors import BackendError, BackendLimit, BackendTimeout
from sloctl.ledger.protocol import Interval, Ledger
from sloctl.model import GRID, Slo, SloSet
from sloctl.model.durations import duration
from sloctl.model.ledger import LedgerSettings
from sloctl.report.data import BudgetSource, Finding

BudgetOrigin = Literal["auto", "rules", "raw", "ledger"]
YOUNG = 3600
"""Seconds: rules that have recorded for less say less than raw counters do."""


@dataclass(slots=True)
class _Rules:
    """What the rules have of some SLOs: the last instants, and how often they were evaluated within the window."""

    instants: dict[str, float] = field(default_factory=dict)
    evaluations: dict[str, int] = field(default_factory=dict)

    def seconds(self, slo: Slo, at: datetime) -> float:
        """How much of an SLO's window is recorded; all of it where that is not known."""
        known = self.evaluations.get(slo.id)
        return period_seconds(slo, at) if known is None else known * GRID


def collect(
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    origin: BudgetOrigin,
    ledger: Ledger | None,
    *,
    history: bool = False,
    progress: Progress = silent,
) -> Collected:
    """Everything a report needs of every SLO, each from where ``origin`` says; ``auto`` chooses.

    Raises ``BackendError`` if nothing can be read; what cannot be read of some SLOs is a finding then.
    """
    out = Collected()
    from_books = _ledger_ids(ledger, slo_set, at, origin, out) if ledger is not None else set()
    if ledger is not None and origin == "auto" and from_books:
        from_books -= _known_better(source, ledger, _part(slo_set, from_books), at, out)
    if ledger is not None and from_books:
        from jobs.budgets import from_ledger

        part = _part(slo_set, from_books)
        _take(out, from_ledger.collect(ledger, source, part, at, history=history), part, "ledger")
    rest = _part(slo_set, {slo.id for slo in slo_set.slos} - from_books)
    if rest.slos:
        try:
            _of_prometheus(source, rest, at, origin, out, history=history, progress=progress)
        except BackendError as error:
            if not from_books:
                raise
            _unread(out, rest.slos, "prometheus-not-read")
            text = f"{_named(rest.slos)}: not in the ledger, and Prometheus could not be asked: {error}"
            scope = {naming.SLO_SET: slo_set.name}
            out.findings.append(Finding("warning", "prometheus-not-read", text, scope))
    _say_mixed(slo_set, out)
    return out


def _part(slo_set: SloSet, ids: Collection[str]) -> SloSet:
    """The set with some of its SLOs."""
    return replace(slo_set, slos=tuple(slo for slo in slo_set.slos if slo.id in ids))


def _take(out: Collected, more: Collected, part: SloSet, where: BudgetSource) -> None:
    """Add what was read of a part of the set."""
    out.add(more, part.slos)
    out.origins |= dict.fromkeys((slo.id for slo in part.slos), where)


def _ledger_ids(
    ledger: Ledger, slo_set: SloSet, at: datetime, origin: BudgetOrigin, out: Collected
) -> set[str]:
    """The SLOs that are read from the ledger: all if it is asked for, else those that are up to date in it."""
    ids = {slo.id for slo in slo_set.slos}
    if origin != "auto":
        return ids if origin == "ledger" else set()
    from jobs.budgets import from_ledger
    from jobs.recording.reread import settle_of

    try:
        lags = from_ledger.lags(ledger, slo_set, at)
        waiting = max(0, settle_of(ledger, slo_set, at) - LedgerSettings().settle)
    except BackendError as error:
        out.findings.append(Finding("warning", "ledger-not-read", f"budgets are Prometheus's: {error}"))
        return set()
    late = {slo_id: lag for slo_id, lag in lags.items() if lag > from_ledger.BEHIND + waiting}
    if late:
        ago = duration(round(max(late.values()) / 60) * 60)
        of = "" if len(late) == len(ids) else f" of {len(late)} of {len(ids)} SLOs"
        text = f"the ledger{of} ends {ago} ago: budgets are Prometheus's; does the job slis run?"
        out.findings.append(Finding("warning", "ledger-behind", text))
    return set(lags) - set(late)


def _known_better(
    source: MetricSource, ledger: Ledger, slo_set: SloSet, at: datetime, out: Collected
) -> set[str]:
    """The SLOs of which the ledger has less than the window, young or with holes, and what rules recorded has more."""
    try:
        held = _held(ledger, slo_set, at)
        part = _part(slo_set, {id_ for id_, (seconds, whole) in held.items() if seconds < whole - 2 * GRID})
        if not part.slos:
            return set()
        rules = _Rules(evaluations=from_rules.evaluations(source, part, at)[1])
    except BackendError:
        return set()  # whoever reads on says what is wrong
    recorded = {slo.id: min(rules.seconds(slo, at), held[slo.id][1]) for slo in part.slos}
    better = [
        slo for slo in part.slos
        if slo.id in rules.evaluations and recorded[slo.id] > held[slo.id][0] + 2 * GRID
    ]  # fmt: skip
    if better:
        worst = max(better, key=lambda slo: recorded[slo.id] - held[slo.id][0])
        text = (
            f"the ledger has less of the window than what rules recorded ({worst.id}: "
            f"{duration(held[worst.id][0])} of {worst.window.text}, and {duration(int(recorded[worst.id]))}), for "
            f"{len(better)} of {len(slo_set.slos)} SLOs: their budgets are Prometheus's; "
            "--source ledger reads it all the same"
        )
        out.findings.append(Finding("info", "ledger-young", text, {naming.SLO_SET: slo_set.name}))
    return {slo.id for slo in better}


def _held(ledger: Ledger, slo_set: SloSet, at: datetime) -> dict[str, tuple[int, int]]:
    """How many seconds of its window the ledger has of each SLO, and how many there are."""
    from jobs.budgets import from_ledger

    newest = ledger.newest(slo_set.name)
    intervals: dict[Interval, list[str]] = {}
    for slo in slo_set.slos:
        if slo.id in newest:
            interval = from_ledger.period_interval(slo, at, newest[slo.id])
            intervals.setdefault(interval, []).append(slo.id)
    return {
        id_: (end - start - seconds_within(missing, start, end), end - start)
        for (start, end), ids in intervals.items()
        for id_, missing in ledger.missing(slo_set.name, ids, start, end).items()
    }


def _of_prometheus(
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    origin: BudgetOrigin,
    out: Collected,
    *,
    history: bool,
    progress: Progress,
) -> None:
    """What Prometheus knows, from rules or from raw counters. Raises ``BackendError``."""
    heard = Heard(source)
    rules = _Rules()
    recent: Collection[str] = ()
    if origin != "raw":
        rules.instants = from_rules.last_instants(heard, slo_set, at)
        recent, rules.evaluations = from_rules.evaluations(heard, slo_set, at)
    ids = {slo.id for slo in slo_set.slos}
    if origin == "rules":
        by_rules = ids
    elif origin == "raw":
        by_rules = set()
    else:
        by_rules = _recorded(heard, slo_set, at, rules, recent, out)
    out.doubt(heard.doubts, slo_set.slos)
    if by_rules:
        part = _part(slo_set, by_rules)
        data = from_rules.collect(source, part, at, rules.instants, rules.evaluations)
        if history:
            _read_history(source, part, at, data)
        data.findings += _rule_findings(part, rules.instants)
        if origin == "auto":
            by_rules -= _silent(part, at, rules, data)
        if origin == "rules":
            eventful = {key[0] for key, (_, total) in data.period.items() if total > 0}
            data.unread |= dict.fromkeys(eventful - set(recent), "not-recorded")
        _take(out, data, _part(slo_set, by_rules), "rules")
    if by_raw := ids - by_rules:
        part = _part(slo_set, by_raw)
        from jobs.budgets import from_counters  # pandas, which reading recorded series does not need

        alone = len(by_raw) == len(ids)
        raw = from_counters.collect(source, part, at, history=history, alone=alone, progress=progress)
        _take(out, raw, part, "raw")
        if rules.instants:
            _add_firing(source, part, at, out)


def _recorded(
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    rules: _Rules,
    recent: Collection[str],
    out: Collected,
) -> set[str]:
    """The SLOs whose rules are to be believed; findings say why others are not."""
    slos = {slo.id: slo for slo in slo_set.slos}
    if not recent and not rules.instants:
        text = "the rules are not loaded: computed from raw counters, which is slower; alerts are as they would be"
        out.findings.append(Finding("warning", "rules-not-loaded", text))
        return set()
    # Evaluated, and nothing recorded: there are no requests, or the rule fails, or was changed and is out of place.
    quiet = {slo_id: slos[slo_id] for slo_id in set(recent) - set(rules.instants)}
    since = dict.fromkeys(quiet, at.timestamp() - from_rules.STALE)
    try:
        events = open_bucket(source, slo_set, quiet, since, at)
    except (BackendLimit, BackendTimeout):
        events = {}
    failing = {key[0] for key, (_, total) in events.items() if total > 0}
    gone = set(slos) - set(recent) - set(rules.instants)
    known = set(slos) - failing - gone
    young = {
        slo_id
        for slo_id in known
        if rules.seconds(slos[slo_id], at) < min(YOUNG, period_seconds(slos[slo_id], at))
    }
    scope = {naming.SLO_SET: slo_set.name}
    if failing or gone:
        late = duration(from_rules.STALE)
        named = _named([slos[slo_id] for slo_id in failing | gone])
        text = (
            f"nothing was recorded in the last {late} for {len(failing | gone)} of {len(slos)} SLOs, so that they are "
            f"computed from raw counters: {named}"
        )
        out.findings.append(Finding("warning", "not-recorded", text, scope))
    if young:
        text = (
            f"the rules of {len(young)} of {len(slos)} SLOs have recorded for less than {duration(YOUNG)}, so that "
            f"they are computed from raw counters: {_named([slos[slo_id] for slo_id in young])}"
        )
        out.findings.append(Finding("info", "rules-young", text, scope))
    return known - young


def _silent(part: SloSet, at: datetime, rules: _Rules, data: Collected) -> set[str]:
    """Those of which rules that are younger than the window recorded no event: raw counters may have some."""
    eventful = {key[0] for key, (_, total) in data.period.items() if total > 0}
    return {
        slo.id
        for slo in part.slos
        if slo.id not in eventful and rules.seconds(slo, at) < period_seconds(slo, at) - 2 * GRID
    }


def _unread(out: Collected, slos: Sequence[Slo], code: str) -> None:
    out.unread |= {slo.id: code for slo in slos}
    out.origins |= dict.fromkeys((slo.id for slo in slos), "raw")


def _add_firing(source: MetricSource, part: SloSet, at: datetime, out: Collected) -> None:
    """The alerts that fire, of SLOs whose numbers the rules do not give: rules may well fire that are young."""
    ids = {slo.id for slo in part.slos}
    heard = Heard(source)
    for item in heard.query(promql.firing(part.name), at):
        key = key_of(item["metric"])
        name = item["metric"].get("alertname", "")
        if key[0] in ids and name not in out.alerts.setdefault(key, []):
            out.alerts[key].append(name)
    out.doubt(heard.doubts, part.slos)


def _read_history(source: MetricSource, slo_set: SloSet, at: datetime, out: Collected) -> None:
    """Read the buckets that plots are drawn from; without them the report still says what it has to say."""
    try:
        out.buckets = budget_history.read(source, slo_set, at)
    except BackendError as error:
        text = f"the history of the budgets could not be read, so it is not drawn: {error}"
        out.findings.append(Finding("warning", "history-not-read", text))


def _rule_findings(slo_set: SloSet, instants: dict[str, float]) -> list[Finding]:
    stale = [slo for slo in slo_set.slos if slo.id not in instants and not slo.wildcard]
    if not stale:
        return []
    late = duration(from_rules.STALE)
    text = f"nothing was recorded in the last {late} for {len(stale)} of {len(slo_set.slos)} SLOs: {_named(stale)}"
    return [Finding("warning", "not-recorded", text)]


def _say_mixed(slo_set: SloSet, out: Collected) -> None:
    """That not all budgets are from one place, and what that means."""
    numbers = {
        where: sum(1 for found in out.origins.values() if found == where)
        for where in ("ledger", "rules", "raw")
    }
    used = [where for where, number in numbers.items() if number]
    if len(used) < 2:
        return
    names = {"ledger": "the ledger", "rules": "what rules recorded", "raw": "raw counters"}
    parts = ", ".join(f"{numbers[where]} from {names[where]}" for where in used)
    text = f"the budgets are not all from one source ({parts}); each row says which, and all count the same events"
    out.findings.append(Finding("info", "mixed-sources", text, {naming.SLO_SET: slo_set.name}))


def _named(slos: Sequence[Slo]) -> str:
    ids = sorted(slo.id for slo in slos)
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
