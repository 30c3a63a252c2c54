"""What a routine says of budgets (at risk, burning, spent, met or missed, spent on what), and of alerts that fired."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobs.budgets import period_events
from jobs.budgets.period_events import PeriodEvents
from sloctl import budget, naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource
from sloctl.errors import BackendError
from sloctl.ledger.protocol import Ledger
from sloctl.model import SeriesKey, Slo, SloSet
from sloctl.model.calendar import CalendarPeriod, CalendarUnit
from sloctl.model.durations import rfc3339
from sloctl.report.data import Finding, Report, SloStatus, partial_findings
from sloctl.report.routine import CellValue, RoutineColumn, RoutineSection

"""Rows of a section in the report's data."""
_IDENTITY = (RoutineColumn("service", "service"), RoutineColumn("slo", "SLO"))


class RoutineReader:
    """Reads the sections of one routine; what fails becomes a finding."""

    def __init__(
        self,
        source: MetricSource,
        slo_set: SloSet,
        report: Report,
        period: CalendarPeriod,
        ledger: Ledger | None,
    ) -> None:
        self.source: MetricSource = source
        self.slo_set, self.report, self.period, self.ledger = slo_set, report, period, ledger
        self.findings: list[Finding] = []
        self._asked = source
        self._events: dict[str, PeriodEvents] = {}
        self._unsure: dict[str, Sequence[str]] = {}
        self._said: dict[str, None] = {}

    def events(self, period: CalendarPeriod) -> PeriodEvents:
        """The events of a period, read once. Raises BackendError."""
        if period.label not in self._events:
            heard = Heard(self._asked)
            self._events[period.label] = period_events.read(
                heard, self.slo_set, period, self.ledger, self.findings
            )
            self._unsure[period.label] = heard.doubts
        self._said.update(dict.fromkeys(self._unsure.get(period.label, ())))
        return self._events[period.label]

    def earlier(self) -> PeriodEvents:
        """The events of the period before; none if they cannot be read."""
        try:
            return self.events(self.period.before())
        except BackendError as error:
            text = f"the period before could not be read, so nothing is compared with it: {error}"
            self.findings.append(Finding("warning", "routine-not-compared", text))
            self._events[self.period.before().label] = PeriodEvents()
            return PeriodEvents()

    def section(self, name: str, make: Callable[[], RoutineSection]) -> RoutineSection | None:
        """A section, or a finding that says why it is missing."""
        heard = self.source = Heard(self._asked)
        self._said.clear()
        try:
            found = make()
        except BackendError as error:
            text = f"{name.replace('_', ' ')}: could not be read: {error}"
            self.findings.append(Finding("warning", "routine-not-read", text, {"section": name}))
            return None
        said = dict.fromkeys((*heard.doubts, *self._said))
        about = f"{name.replace('_', ' ')}: something may be missing"
        self.findings += partial_findings(said, about, {"section": name})
        return found


def statuses(slo_set: SloSet, report: Report) -> dict[SeriesKey, tuple[Slo, SloStatus]]:
    """The budgets now, by definition and service."""
    by_name: dict[tuple[str, str], list[Slo]] = {}
    for slo in slo_set.slos:
        by_name.setdefault((slo.namespace, slo.name), []).append(slo)
    found = {}
    for item in report.slos:
        named = by_name.get((item.namespace, item.slo), [])
        exact = [slo for slo in named if slo.service == item.service]
        for slo in exact or [slo for slo in named if slo.wildcard]:
            found[slo.id, item.namespace, item.service] = (slo, item)
    return found


def _ordered(report: Report) -> list[SloStatus]:
    left = [item for item in report.slos if item.remaining is not None]
    return sorted(left, key=lambda item: (item.remaining or 0.0, item.name))


def _share(bad: float, slo: Slo, item: SloStatus | None) -> float | None:
    """The share of the window's budget that some bad events are."""
    return None if item is None else budget.spent(bad, item.total, float(slo.budget))


def at_risk(reader: RoutineReader) -> RoutineSection:
    """Budgets that need attention, the least left first."""
    columns = (
        *_IDENTITY,
        RoutineColumn("left", "budget left", "budget"),
        RoutineColumn("spent", "spent in the day", "budget"),
        RoutineColumn("burn", "burn 1h", "rate"),
        RoutineColumn("runs_out", "runs out (UTC)", "time"),
        RoutineColumn("alerts", "alerts"),
    )
    try:
        day = reader.events(reader.period).counts
    except BackendError:
        day = {}  # the section of spenders says so
    known = {id(item): (key, slo) for key, (slo, item) in statuses(reader.slo_set, reader.report).items()}
    rows: list[tuple[CellValue, ...]] = []
    for item in _ordered(reader.report):
        if item.status in ("exhausted", "at_risk"):
            key, slo = known.get(id(item), (None, None))
            spent = _share(day[key][0], slo, item) if key in day and slo else None
            ends = rfc3339(item.exhausted_at) if item.exhausted_at else None
            place = naming.place(item.namespace, item.service)
            burn = item.burn_rates.get("1h")
            rows.append((place, item.slo, item.remaining, spent, burn, ends, ", ".join(item.alerts)))
    return RoutineSection("budgets_at_risk", "Budgets at risk", columns, tuple(rows), "No budget is at risk.")


def burning(report: Report) -> RoutineSection:
    """What burns faster than its budget allows, now or over the last hours."""
    columns = (
        *_IDENTITY,
        RoutineColumn("burn_1h", "burn 1h", "rate"),
        RoutineColumn("burn_6h", "burn 6h", "rate"),
        RoutineColumn("left", "budget left", "budget"),
    )
    found = []
    for item in report.slos:
        hour, hours = item.burn_rates.get("1h"), item.burn_rates.get("6h")
        if max(hour or 0.0, hours or 0.0) > 1:
            found.append((naming.place(item.namespace, item.service), item.slo, hour, hours, item.remaining))
    found.sort(key=lambda row: (-(row[2] or 0.0), -(row[3] or 0.0), row[:2]))
    return RoutineSection(
        "burning", "Burning now", columns, tuple(found), "Nothing burns faster than it may."
    )


def spenders(reader: RoutineReader, *, compared: bool = False) -> RoutineSection:
    """Who spent most of a budget in the period; with ``compared``, beside the period before, and what is left."""
    word = reader.period.unit
    columns = (
        *_IDENTITY,
        RoutineColumn("left", "budget left", "budget"),
        RoutineColumn("spent", f"spent in the {word}", "budget"),
        *((RoutineColumn("before", f"the {word} before", "budget"),) if compared else ()),
        RoutineColumn("bad", "bad", "count"),
        RoutineColumn("events", "events", "count"),
    )
    now, budgets = reader.events(reader.period), statuses(reader.slo_set, reader.report)
    then = reader.earlier().counts if compared else {}
    found: list[tuple[float, tuple[CellValue, ...]]] = []
    for key, (bad, total) in now.counts.items():
        slo, item = budgets.get(key, (None, None))
        if slo is None or item is None or (bad <= 0 and not compared):
            continue
        spent = _share(bad, slo, item)
        earlier = _share(then[key][0], slo, item) if key in then else None
        cells = (
            naming.place(key[1], key[2]),
            slo.name,
            item.remaining,
            spent,
            *((earlier,) if compared else ()),
            bad,
            total,
        )
        found.append((spent or 0.0, cells))
    found.sort(key=lambda row: (-row[0], [str(cell) for cell in row[1][:2]]))
    rows = tuple(cells for _, cells in found)
    empty = "No budget was spent." if now.counts else "No events were recorded in this time."
    name, title = ("budgets", "Budgets") if compared else ("spenders", "Biggest spenders")
    return RoutineSection(name, title, columns, rows, empty)


def alerts(reader: RoutineReader) -> RoutineSection:
    """Alerts that fired in the period, those first that did so longest."""
    columns = (
        RoutineColumn("alert", "alert"),
        RoutineColumn("what", "of"),
        RoutineColumn("severity", "severity"),
        RoutineColumn("times", "times", "count"),
        RoutineColumn("longest", "longest", "seconds"),
        RoutineColumn("total", "in all", "seconds"),
        RoutineColumn("firing", "still firing"),
    )
    rows: list[tuple[CellValue, ...]] = []
    for item in read(reader.source, reader.slo_set, reader.period):
        labels = item.labels
        place = naming.place(labels.get(naming.NAMESPACE, ""), labels.get(naming.SERVICE, ""))
        what = f"{place} {labels.get(naming.SLO) or labels.get(naming.GUARDRAIL, '')}".strip()
        numbers = (float(item.times), item.longest, item.total)
        rows.append(
            (
                labels.get("alertname", ""),
                what,
                labels.get("severity", ""),
                *numbers,
                "yes" if item.firing else "",
            )
        )
    return RoutineSection("alerts", "Alerts fired", columns, tuple(rows), "No alert fired.")


def attainment(reader: RoutineReader) -> RoutineSection:
    """Whether each objective was met in the month, and in the month before."""
    columns = (
        *_IDENTITY,
        RoutineColumn("met", "objective"),
        RoutineColumn("sli", "SLI", "ratio"),
        RoutineColumn("objective", "target", "ratio"),
        RoutineColumn("spent", "budget spent", "budget"),
        RoutineColumn("before_met", "the month before"),
        RoutineColumn("before_sli", "SLI before", "ratio"),
        RoutineColumn("bad", "bad", "count"),
        RoutineColumn("events", "events", "count"),
    )
    now, then = reader.events(reader.period).counts, reader.earlier().counts
    by_id = {slo.id: slo for slo in reader.slo_set.slos}
    found: list[tuple[float, tuple[CellValue, ...]]] = []
    for key in {*now, *then}:
        slo = by_id[key[0]]
        sli, spent, met = _kept(now, key, slo)
        before_sli, _, before_met = _kept(then, key, slo)
        bad, total = now.get(key, (0.0, 0.0))
        named = (naming.place(key[1], key[2]), slo.name)
        cells = (*named, met, sli, float(slo.objective) / 100, spent, before_met, before_sli, bad, total)
        found.append((-1.0 if spent is None else spent, cells))
    found.sort(key=lambda row: (-row[0], [str(cell) for cell in row[1][:2]]))
    known = [cells[2] for _, cells in found if cells[2]]
    note = f"{known.count('met')} of {len(known)} objectives were met." if known else ""
    rows = tuple(cells for _, cells in found)
    return RoutineSection(
        "attainment", "Objectives of the month", columns, rows, "No events were recorded.", note
    )


def _kept(
    counts: Mapping[SeriesKey, tuple[float, float]], key: SeriesKey, slo: Slo
) -> tuple[float | None, float | None, str]:
    """SLI, share of the month's own budget spent, and in a word whether the objective was met."""
    bad, total = counts.get(key, (0.0, 0.0))
    sli, spent = budget.ratio(total - bad, total), budget.spent(bad, total, float(slo.budget))
    return sli, spent, "" if spent is None else "met" if spent <= 1 else "missed"


def causes(reader: RoutineReader) -> RoutineSection:
    """What the budgets were spent on: outcome, caller and version, the costliest first."""
    columns = (
        *_IDENTITY,
        RoutineColumn("cause", "cause"),
        RoutineColumn("caller", "caller, or called"),
        RoutineColumn("version", "version"),
        RoutineColumn("bad", "bad", "count"),
        RoutineColumn("share", "of the SLO's bad events", "ratio"),
        RoutineColumn("spent", "of the budget", "budget"),
    )
    events = reader.events(reader.period)
    found = period_events.causes(reader.source, reader.slo_set, reader.period, reader.ledger, events.booked)
    budgets = statuses(reader.slo_set, reader.report)
    lines: list[tuple[float, tuple[CellValue, ...]]] = []
    for key, causes in found.items():
        slo, item = budgets.get(key, (None, None))
        if slo is None:
            continue
        whole = max(events.counts.get(key, (0.0, 0.0))[0], sum(causes.values()))
        for labels, bad in causes.items():
            spent = _share(bad, slo, item)
            of = budget.ratio(bad, whole)
            cells = (naming.place(key[1], key[2]), slo.name, *cause_words(dict(labels)), bad, of, spent)
            lines.append((spent or 0.0, cells))
    lines.sort(key=lambda line: (-line[0], [str(cell) for cell in line[1][:5]]))
    rows = tuple(cells for _, cells in lines)
    empty = "No budget was spent." if events.counts else "No events were recorded."
    return RoutineSection("causes", "What burned the budget", columns, rows, empty)


def cause_words(labels: Mapping[str, str]) -> tuple[str, str, str]:
    """What failed, who is at the other end, and which version it was."""
    words = []
    if code := labels.get("response_code"):
        words.append("no response" if code == "0" else code)
    if (grpc := labels.get("grpc_response_status")) and grpc != "0":
        words.append(f"grpc {grpc}")
    if (flags := labels.get("response_flags")) and flags != "-":
        words.append(flags)
    ends = [[labels.get(label, "") for label in pair] for pair in (naming.CALLERS, naming.CALLED)]
    other = next((naming.place(*pair) for pair in ends if any(pair)), "")
    return " ".join(words) or "latency, or not told apart", other, labels.get("destination_version", "")


STEPS: dict[CalendarUnit, int] = {"day": 60, "week": 120, "month": 300}
"""Seconds between two looks: a server gives 11,000 of a series. What fires for less than that may be missed."""
BY = ("alertname", "severity", naming.SLO, naming.NAMESPACE, naming.SERVICE, naming.GUARDRAIL)


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert in a period: ``times`` it began, ``longest`` and ``total`` seconds, ``firing`` at the end."""

    labels: dict[str, str]
    times: int
    longest: float
    total: float
    firing: bool


def read(source: MetricSource, slo_set: SloSet, period: CalendarPeriod) -> list[Fired]:
    """The alerts of a set that fired, those first that did so longest. Raises BackendError."""
    step = timedelta(seconds=STEPS[period.unit])
    seen = spells(source, slo_set, (period.start, period.end), step, BY)
    found = []
    for labels, each in seen.items():
        lengths = [end - start for start, end in each]
        still = each[-1][1] >= period.end.timestamp() - step.total_seconds() / 2
        found.append(Fired(dict(labels), len(each), max(lengths), sum(lengths), still))
    return sorted(found, key=lambda item: (-item.total, sorted(item.labels.items())))


def spells(
    source: MetricSource,
    slo_set: SloSet,
    between: tuple[datetime, datetime],
    step: timedelta,
    by: Sequence[str],
) -> dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]:
    """When a set's alerts fired (Unix seconds) by labels, as seen at each ``step``. Raises BackendError."""
    query = f"max by ({', '.join(by)}) ({promql.firing(slo_set.name)})"
    start, end = between
    looks = (end - start) // step
    seen: dict[tuple[tuple[str, str], ...], set[float]] = {}
    for item in source.query_range(query, start + step, start + looks * step, step):
        labels = tuple(sorted((name, value) for name, value in item["metric"].items() if value))
        seen.setdefault(labels, set()).update(float(time) for time, _ in item["values"])
    return {labels: _spells(sorted(times), step.total_seconds()) for labels, times in seen.items() if times}


def _spells(times: list[float], step: float) -> list[tuple[float, float]]:
    """Unbroken runs of looks, each standing for the step before it."""
    found: list[tuple[float, float]] = []
    for time in times:
        if found and time - found[-1][1] <= step * 1.5:
            found[-1] = (found[-1][0], time)
        else:
            found.append((time - step, time))
    return found
