"""SLOs of OpenSLO (``openslo/v1``, ``openslo/v1alpha``) and of Nobl9's dialect (``n9/v1alpha``).

An SLO has one or more objectives, each of which is an SLO here. What it refers to may stand in other documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import get_args

from sloctl.errors import Problem
from sloctl.model import AlertSeverity, BurnWindow, CalendarWindow
from sloctl.model.calendar import MONDAY, Weekday
from sloctl.model.durations import duration, parse_duration
from sloctl.promql import counts
from sloctl.spec.fields import checks
from sloctl.spec.fields.values import position
from sloctl.spec.foreign.drafts import Draft, View, burn_window, shown
from sloctl.spec.foreign.indicators import Place, count
from sloctl.spec.foreign.queries import NoQuery, bare, counted, fixed_ranges, tree, windowed

_DAYS = {"Minute": 60, "Hour": 3600, "Day": 86400, "Week": 604800}
_LETTERS = {"m": "Minute", "h": "Hour", "d": "Day", "w": "Week", "M": "Month", "Q": "Quarter", "Y": "Year"}
_CALENDAR = {"Week": "week", "Month": "month", "Quarter": "quarter", "Year": "year"}
_ROLLING = {"Month": 30, "Quarter": 90, "Year": 365}
_REASONS = {
    "displayName": "an SLO here has one name",
    "compositeWeight": "an SLO here has one SLI",
    "project": "sets of SLOs are files here",
    "attachments": "an SLO here has a 'runbook' and a 'dashboard'",
    "timeSliceTarget": "budgets here count events, not slices of time",
    "timeSliceWindow": "budgets here count events, not slices of time",
}
_PAGES = ("page", "critical", "high")
_COUNTED = "SLIs here count events: good or bad ones, of all"


@dataclass(slots=True)
class Catalogue:
    """What SLOs refer to, by its name: SLIs, alert policies and their conditions; and services' owners."""

    found: dict[tuple[str, str], View] = field(default_factory=dict)
    used: set[tuple[str, str]] = field(default_factory=set)
    sources: dict[str, str] = field(default_factory=dict)
    """Types of data sources by name."""

    def add(self, document: View) -> None:
        """Remember a document, if it is one that SLOs refer to."""
        metadata = document.view("metadata")
        name = metadata.text("name") if metadata is not None else ""
        if document.text("kind") == "DataSource":
            spec = document.view("spec")
            self.sources.setdefault(name, spec.text("type") if spec is not None else "")
            return
        self.found.setdefault((document.text("kind"), name), document)

    def get(self, kind: str, name: str) -> View | None:
        """The document of this kind and name."""
        self.used.add((kind, name))
        return self.found.get((kind, name))

    def leftovers(self) -> Iterator[Problem]:
        """What is in these documents and was not read."""
        for key, document in self.found.items():
            if key not in self.used:
                text = f"no SLO that was read refers to the {key[0]} '{shown(key[1])}'"
                yield Problem(position(document.node), "warning", "import-left-out", "kind", text)
                continue
            document.skip("apiVersion", "kind", "metadata")
            for name, node, path in document.leftovers():
                text = f"'{path}': {_REASONS.get(name, 'nothing in an SLO file of sloctl says this')}"
                yield Problem(position(node), "warning", "import-left-out", path, text)


def drafts(document: View, catalogue: Catalogue, seconds: int) -> list[Draft]:
    """The SLOs of a document of the kind SLO; ``seconds`` is the window of one that says none."""
    document.skip("apiVersion", "kind")
    metadata, spec = document.view("metadata"), document.view("spec")
    if metadata is None or spec is None or not metadata.text("name"):
        document.wrong((), "needs 'metadata.name' and 'spec'")
        return []
    found: list[Draft] = []
    metadata.skip("displayName")
    objectives = spec.views("objectives")
    if not objectives:
        spec.wrong(("objectives",), "holds no objective")
    indicator = _indicator(spec, catalogue)
    for index, objective in enumerate(objectives):
        name = metadata.text("name")
        if len(objectives) > 1:
            name += f"-{objective.text('name', 'displayName') or index + 1}"
        tool = "Nobl9" if document.text("apiVersion").startswith("n9/") else "OpenSLO"
        draft = Draft(document, f"{tool}'s {shown(name)}")
        draft.call(name, metadata.at("name"))
        draft.serve(spec.text("service") or name, spec.at("service"))
        draft.describe(spec.text("description"), spec.at("description"))
        draft.label(metadata.mapping("labels"), metadata.at("labels"))
        draft.annotate(metadata.mapping("annotations"), metadata.at("annotations"))
        _target(draft, objective)
        _window(draft, spec, seconds)
        _sli(draft, spec, objective, indicator, catalogue)
        _alerts(draft, spec, catalogue)
        objective.skip("displayName", "name", "primary")
        found.append(draft)
    if found:
        written = next((draft for draft in found if draft.refused is None), found[0])
        written.leave_the_rest(document, _REASONS)
    return found


def _indicator(spec: View, catalogue: Catalogue) -> View | None:
    """The SLI of an SLO: its own, or the one that it refers to."""
    own = spec.view("indicator")
    if own is not None:
        own.skip("metadata")
        inner = own.view("spec")
        return inner if inner is not None else own
    name = spec.text("indicatorRef")
    found = catalogue.get("SLI", name) if name else None
    spec_of = found.view("spec") if found is not None else None
    if spec_of is not None:
        spec_of.skip("description")
    return spec_of


def _target(draft: Draft, objective: View) -> None:
    target, percent = objective.number("target"), objective.number("targetPercent")
    if target is None and percent is None:
        objective.wrong(("target",), "is missing")
    draft.objective = percent if target is None else target * 100


def _window(draft: Draft, spec: View, seconds: int) -> None:
    windows = spec.views("timeWindow", "timeWindows")
    draft.seconds, draft.window = seconds, duration(seconds)
    at = spec.at("timeWindow", "timeWindows")
    if not windows:
        draft.leave(at, f"it says no window: {draft.window} is written", "--window sets another")
        return
    if len(windows) > 1:
        draft.refuse(at, "it has several windows", "write an SLO for each of them")
    window = windows[0]
    said, number = window.text("duration"), window.number("count")
    amount, unit = (
        (said[:-1], _LETTERS.get(said[-1], "")) if said else (str(number or ""), window.text("unit"))
    )
    calendar = window.view("calendar")
    rolling = window.flag("isRolling", without=calendar is None)
    if not amount.isdecimal() or len(amount) > 6 or int(amount) == 0:
        window.wrong(("duration", "count"), "is no duration of a window", "write it like 28d")
    elif rolling and unit in (*_DAYS, *_ROLLING):
        size = _DAYS.get(unit) or _ROLLING[unit] * 86400
        draft.seconds = int(amount) * size
        draft.window = duration(draft.seconds)
        if unit in _ROLLING:
            draft.leave(
                at, f"a rolling {unit.lower()} is {draft.window} here: rolling windows have one length"
            )
    elif not rolling and unit in _CALENDAR and int(amount) == 1:
        _calendar(draft, calendar, _CALENDAR[unit], at)
    else:
        what = said or f"{amount} {unit}"
        hint = "a week, month, quarter or year of the calendar, or a rolling window"
        draft.refuse(at, f"no window here is {what[:20]} {'rolling' if rolling else 'of the calendar'}", hint)


def _calendar(draft: Draft, calendar: View | None, unit: str, at: Place) -> None:
    zone = calendar.text("timeZone") if calendar is not None else ""
    start = calendar.text("startTime") if calendar is not None else ""
    if zone and checks.timezone(zone) is not None:
        draft.refuse(at, f"there is no time zone '{shown(zone)}'", "an IANA name such as Europe/Paris")
        return
    starts = _week_starts(start) if unit == "week" else ""
    draft.window = (unit, zone or "UTC", *((starts,) if starts not in ("", MONDAY) else ()))
    draft.seconds = CalendarWindow(unit).seconds  # type: ignore[arg-type]
    where = calendar.at("startTime") if calendar is not None else at
    first = {
        "week": "its first day",
        "month": "the 1st",
        "quarter": "the 1st of a quarter",
        "year": "1 January",
    }
    if not _begins(unit, start):
        draft.leave(
            where, f"the start {shown(start) or '(none)'}: a {unit} begins on {first[unit]} at 00:00 here"
        )


def _week_starts(start: str) -> str:
    """The weekday of a window's first beginning; "" where that is no time."""
    try:
        return str(get_args(Weekday)[datetime.fromisoformat(start).weekday()])
    except ValueError:
        return ""


def _begins(unit: str, start: str) -> bool:
    """Whether a window that began then is a unit of the calendar."""
    try:
        begin = datetime.fromisoformat(start)
    except ValueError:
        return False
    if (begin.hour, begin.minute, begin.second) != (0, 0, 0):
        return False
    if unit == "week":
        return True
    return begin.day == 1 and (
        unit == "month" or begin.month in ((1, 4, 7, 10) if unit == "quarter" else (1,))
    )


def _sli(draft: Draft, spec: View, objective: View, indicator: View | None, catalogue: Catalogue) -> None:
    method = spec.text("budgetingMethod")
    if method and method != "Occurrences":
        text = f"its budget counts slices of time ({shown(method)}), and budgets here count events"
        draft.refuse(spec.at("budgetingMethod"), text, "with 'Occurrences' it can be written")
    for key in ("indicator", "indicatorRef"):
        if objective.has(key):
            objective.skip(key)
            draft.refuse(objective.at(key), "it is composite", "write an SLO for each of its indicators")
    own = objective.view("ratioMetrics", "countMetrics")
    if own is not None:
        objective.skip("value")
        if indicator is not None:
            indicator.skip("metricSource")  # where Nobl9 asks
        _ratio(draft, own, catalogue)
    elif indicator is None:
        name = spec.text("indicatorRef")
        hint = "give the file with it too" if name else ""
        text = f"its SLI '{shown(name)}' is in none of the files" if name else "it has no SLI that is read"
        draft.refuse(spec.at("indicatorRef", "indicator"), text, hint)
    elif (ratio := indicator.view("ratioMetric")) is not None:
        objective.skip("op", "value")
        _ratio(draft, ratio, catalogue)
    else:
        indicator.skip(*indicator.node.entries)
        kind = next((key for key in ("thresholdMetric", "rawMetric") if indicator.has(key)), "")
        objective.skip("op", "value", "rawMetric")
        what = f"a {kind} says whether a value is good, and counts nothing" if kind else "it counts nothing"
        hint = "of a gauge, write sli.samples with the comparison" if kind else _COUNTED
        draft.refuse(indicator.at(kind) if kind else indicator.at(), what, hint)
    objective.skip("op")


def _ratio(draft: Draft, ratio: View, catalogue: Catalogue) -> None:
    counter = ratio.flag("counter", "incremental")
    if ratio.has("raw"):
        ratio.skip(*ratio.node.entries)
        draft.refuse(ratio.at("raw"), "it is a ratio already", _COUNTED)
        return
    events: dict[str, str] = {}
    ranges: set[str] = set()
    for part in ("bad", "good", "total"):
        source = ratio.view(part)
        if source is None:
            continue
        if part == "good" and "bad" in events:
            ratio.skip("good")
            draft.leave(ratio.at("good"), "'good' beside 'bad': what is not bad is good here")
            continue
        try:
            events[part], fixed = _query(source, counter, catalogue)
            ranges |= fixed
        except NoQuery as error:
            for rest in ("good", "total"):
                ratio.skip(rest)
            draft.refuse(ratio.at(part), str(error), _COUNTED)
            return
    if "total" not in events or len(events) != 2:
        draft.refuse(ratio.at(), "it needs 'total', and 'good' or 'bad'", _COUNTED)
        return
    at = ratio.at("bad", "good")
    if len(ranges) > 1:
        text = f"its expressions look at different ranges, {' and '.join(sorted(ranges))}, which are one window here"
        draft.refuse(at, text, "write the same range in all of them")
        return
    count(draft, events, at)


def _query(source: View, counter: bool, catalogue: Catalogue) -> tuple[str, set[str]]:
    """The expression of one number of events, and the fixed ranges that it had. Raises NoQuery."""
    inner = source.view("metricSource") or source
    kind = inner.text("type", "source", "queryType") or catalogue.sources.get(
        inner.text("metricSourceRef"), ""
    )
    inner.skip("metricSourceRef", "source", "queryType", "type")
    spec = inner.view("spec") or inner
    prometheus = spec.view("prometheus")
    if prometheus is not None:
        kind, spec = "prometheus", prometheus
    text = spec.text("promql", "query")
    if not text or (kind and kind.lower() not in ("prometheus", "promql", "thanos", "mimir")):
        spec.skip(*spec.node.entries)
        named = ", ".join(map(shown, [kind] if kind else spec.node.entries))
        raise NoQuery(f"its events are not counted in Prometheus ({named})")
    if not bare(text):
        return windowed(text, fixed=True), fixed_ranges(text)
    if not counter:
        raise NoQuery("it does not say that its query is of counters (counter: true)")
    if counts(tree(windowed(text))):
        return windowed(text), set()
    return counted(text), set()


def _alerts(draft: Draft, spec: View, catalogue: Catalogue) -> None:
    at = spec.at("alertPolicies")
    lines: list[BurnWindow] = []
    for policy, name in _policies(spec, catalogue):
        if policy is None:
            draft.leave(at, f"the alert policy '{shown(name)}' is in none of the files", "give its file too")
            continue
        lines += _lines(draft, policy, catalogue)
    draft.alert(lines, at)
    if draft.alerting == "none":
        draft.remarks.append("no alerts: it names no policy that can be said here; alerting: mesh has some")


def _policies(spec: View, catalogue: Catalogue) -> Iterator[tuple[View | None, str]]:
    node = spec.at("alertPolicies")[0]
    if node.kind == "list" and any(item.kind == "mapping" for item in node.items):
        for inner in spec.views("alertPolicies"):
            name = inner.text("alertPolicyRef")
            yield (catalogue.get("AlertPolicy", name) if name else inner), name
        return
    for name in spec.texts("alertPolicies"):
        yield catalogue.get("AlertPolicy", name), name


def _lines(draft: Draft, policy: View, catalogue: Catalogue) -> Iterator[BurnWindow]:
    spec = policy.view("spec")
    policy.skip("apiVersion", "kind", "metadata")
    if spec is None:
        return
    spec.skip("description", "alertWhenResolved", "alertWhenBreaching")
    severity = spec.text("severity")
    if spec.flag("alertWhenNoData"):
        hint = "alerting: {…, traffic_stopped: ticket} tells of traffic that stays away"
        draft.leave(spec.at("alertWhenNoData"), "an alert where there is no data", hint)
    for key in ("notificationTargets", "alertMethods"):
        if spec.has(key):
            text = "who is told of alerts: names of targets"
            draft.leave(
                spec.at(key), text, "'notifications' of an SLO file has receivers, by severity and owner"
            )
        spec.skip(key)
    for condition in spec.views("conditions"):
        condition.skip("kind", "metadata")
        name = condition.text("conditionRef")
        found = catalogue.get("AlertCondition", name) if name else condition
        inner = found.view("spec") if found is not None else None
        if inner is None and found is condition and not name:
            inner = condition  # Nobl9 writes it in place
        if inner is None:
            draft.leave(spec.at("conditions"), f"the alert condition '{shown(name)}' is in none of the files")
            continue
        line = _line(draft, inner, inner.text("severity") or severity)
        if line is not None:
            yield line


def _line(draft: Draft, condition: View, severity: str) -> BurnWindow | None:
    inner = condition.view("condition") or condition
    kind = inner.text("kind", "measurement")
    if kind == "burnrate" and (op := inner.text("op")) in ("lt", "lte"):
        draft.leave(
            inner.at("op"), f"'{op}' of an alert condition: alerts fire above a burn rate, not below it"
        )
    burning = kind in ("burnrate", "averageBurnRate")
    factor = inner.number("threshold", "value") if burning else None
    long = parse_duration(inner.text("lookbackWindow", "alertingWindow"))
    lasting = parse_duration(inner.text("alertAfter", "lastsFor") or "0s")
    inner.skip(*inner.node.entries)
    if factor is None or factor <= 0 or long is None or long < 120:
        text = f"an alert condition ({shown(kind) or 'none'}) that is no burn rate over a window of time"
        draft.leave(inner.at(), text, "alerting: mesh, or lines of your own")
        return None
    level: AlertSeverity = "page" if severity.lower() in _PAGES else "ticket"
    draft.remarks.append(
        "alerts also look at a twelfth of their windows, so that they end soon after the burn"
    )
    if severity.lower() != level:
        draft.remarks.append(f"alerts of severity {shown(severity) or '(none)'} are {level}s")
    step = 300 if long > 12 * 6 * 3600 else 60
    short = max(60, long // 12 // step * step)
    return burn_window(level, factor, long, short, lasting or 0, draft.seconds)
