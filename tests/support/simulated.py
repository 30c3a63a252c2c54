"""A Prometheus of known events: answers the queries that sloctl asks, in memory or over HTTP.

It recognises queries by their text, which it takes from the places that build them, and computes the answers from
:class:`Flow` objects. A query that it does not know is an ``AssertionError``: nothing is answered by accident.
What PromQL makes of real counters is tested on real servers elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import compress
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jobs.reports import guardrails
from sloctl import naming, promql
from sloctl.backends.answers import doubts, judged, remarks
from sloctl.backends.protocols import MetricSource, Series
from sloctl.errors import BackendLimit
from sloctl.guardrails import restarts
from sloctl.guardrails.plans import plans
from sloctl.model import GRID, TILE, CounterSli, Slo, SloSet
from sloctl.model.durations import parse_duration
from sloctl.promql import targets
from tests.support.faulty_server import Behaviour, Handler, answer, error

_STEADY = re.compile(
    r'max_over_time\(\(\n  sum by [^\0]*service=~"([^"]*)"[^\0]*\n\)\[(\w+):5m\](?: offset (\w+))?\)'
)
_OF_SET = re.compile(
    r"(sum|max) by \(slo_id, namespace, service\) "
    r"\(\1_over_time\((\S+)\{slo_set=\"([^\"]*)\"\}\[(\d+)ms\](?: offset (\S+))?\)\)"
)
Instants: TypeAlias = NDArray[np.float64]
"""Unix seconds, or a value for each of them."""
_MS = re.compile(r"\[(\d+)ms\]")
_SCRAPED = re.compile(r"group\(last_over_time\(up(?:\{[^{}]*\})?\[(\d+)ms\]\)\)")
_RANGE = re.compile(r"\[(\w+)\]")


def unjoined(expr: str) -> list[tuple[str, str]]:
    """The expressions that ``promql.together`` made one query of, with their names; none for another query."""
    begin, end, mark = "label_replace(\n", "\n)", f',\n  "{promql.PART}", "'
    found = []
    for piece in (expr + "\nor\n").split(f"{end}\nor\n")[:-1]:
        inner, there, name = piece.removeprefix(begin).rpartition(mark)
        if not (there and piece.startswith(begin) and name.endswith('", "", ""')):
            return []
        lines = (line.removeprefix("  ") for line in inner.split("\n"))
        found.append((name.removesuffix('", "", ""'), "\n".join(lines)))
    return found


@dataclass(frozen=True)
class Flow:
    """Events of one SLO and service at a steady rate from ``start`` to ``end`` (Unix seconds), per minute."""

    slo_id: str
    namespace: str
    service: str
    start: float
    end: float
    total: float
    bad: float = 0.0

    def between(self, start: float, end: float) -> tuple[float, float]:
        minutes = max(0.0, min(end, self.end) - max(start, self.start)) / 60
        return self.bad * minutes, self.total * minutes

    def until(self, ends: Instants, seconds: int) -> tuple[Instants, Instants]:
        """The same for as many seconds before each of ``ends``."""
        shared = np.minimum(ends, self.end) - np.maximum(ends - seconds, self.start)
        minutes = np.maximum(0.0, shared) / 60
        return self.bad * minutes, self.total * minutes

    @property
    def labels(self) -> dict[str, str]:
        names = {naming.SLO_ID: self.slo_id, naming.NAMESPACE: self.namespace, naming.SERVICE: self.service}
        return {name: value for name, value in names.items() if value}


_Meaning: TypeAlias = tuple[list[Flow], dict[str, str], str, float, bool]
"""What a series of a raw query says: flows, labels, kind of events, window, whether as the other side saw them."""


@dataclass
class Simulated:
    """A ``MetricSource``. ``recorded`` is when rules were evaluated, ``pauses`` when they were not."""

    slo_set: SloSet
    flows: list[Flow] = field(default_factory=list)
    recorded: tuple[float, float] = (0.0, float("inf"))
    pauses: list[tuple[float, float]] = field(default_factory=list)
    loaded: dict[str, float] = field(default_factory=dict)
    """Per definition: since when its rules are loaded, if later than ``recorded``."""
    failing: dict[str, float] = field(default_factory=dict)
    """Per definition: since when its rules of total and bad events fail."""
    failing_bad: dict[str, float] = field(default_factory=dict)
    """Per definition: since when its rule of bad events fails."""
    down: list[tuple[float, float]] = field(default_factory=list)
    """When Prometheus itself was not there, and nothing was scraped."""
    scrape_gaps: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Per service: from when to when its targets could not be scraped."""
    sides: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Per service: (bad, total) a minute as the other side of the mesh saw them."""
    alerts: list[tuple[Flow, str]] = field(default_factory=list)
    alert_rules: bool = True
    largest_window: float = float("inf")
    """Seconds: a longer range in a query is refused."""
    most_points: float = float("inf")
    """A range query of recorded events with more points is refused."""
    reporters: dict[str, str] = field(default_factory=dict)
    """Per service: the reporter that counts it besides those that its SLO reads."""
    unmeasured: frozenset[str] = frozenset()
    """Services whose requests go on without their latency."""
    health: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)
    """What guardrails measure: by recorded series, labels and value."""
    override: Callable[[str], list[Series] | None] = lambda _query: None
    warnings: Sequence[str] = ()
    """What each answer has beside its data."""
    warned: Callable[[str], Sequence[str]] = lambda _query: ()
    """What the answers to some queries have beside their data."""
    asked: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    """The queries that were asked as parts of others."""
    _known: dict[str, list[_Meaning]] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        return len(self.asked)

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self.query(expr, at) for name, expr in queries.items()}

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        assert at.tzinfo is not None
        self.asked.append(expr)
        return self._together(expr, lambda part: self._query(part, at))

    def _together(self, expr: str, ask: Callable[[str], Sequence[Series]]) -> Sequence[Series]:
        """The answer to a query, or to each of those that are one, with the label that tells them apart."""
        if targets.POD in expr:
            ask = self._scraping
        parts = unjoined(expr)
        if not parts:
            return ask(expr)
        self.parts += [part for _, part in parts]
        answers = [(name, ask(part)) for name, part in parts]
        found = [
            {**item, "metric": {**item["metric"], promql.PART: name}}
            for name, series in answers
            for item in series
        ]
        said = [text for _, series in answers for text in (*doubts(series), *remarks(series))]
        return judged(found, dict.fromkeys(said))

    def _scraping(self, part: str) -> Sequence[Series]:
        """Every target is scraped once, and has an ``up``."""
        return judged((), [*self.warnings, *self.warned(part)])

    def _query(self, expr: str, at: datetime) -> Sequence[Series]:
        if (made_up := self.override(expr)) is not None:
            return made_up
        now = at.timestamp()
        found = ({"metric": labels, "value": [now, repr(value)]} for labels, value in self._answer(expr, now))
        return self._judged(expr, found)

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        self.asked.append(expr)
        return self._together(expr, lambda part: self._query_range(part, start, end, step))

    def _query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        if (made_up := self.override(expr)) is not None:
            return made_up
        if _OF_SET.fullmatch(expr) and (end - start) / step + 1 > self.most_points:
            raise BackendLimit("too many samples", backend="prometheus", url="http://simulated")
        found: dict[tuple[tuple[str, str], ...], list[list[object]]] = {}
        times = [start.timestamp()]
        while times[-1] + step.total_seconds() <= end.timestamp():
            times.append(times[-1] + step.total_seconds())
        if match := _OF_SET.fullmatch(expr):
            for labels, time, value in self._sums(match, times):
                found.setdefault(tuple(sorted(labels.items())), []).append([time, repr(value)])
        else:
            for time in times:
                for labels, value in self._stepwise(expr, time):
                    found.setdefault(tuple(sorted(labels.items())), []).append([time, repr(value)])
        return self._judged(expr, ({"metric": dict(key), "values": values} for key, values in found.items()))

    def _judged(self, expr: str, series: Iterable[Series]) -> Sequence[Series]:
        return judged(series, [*self.warnings, *self.warned(expr)])

    def _answer(self, expr: str, now: float) -> Iterator[tuple[dict[str, str], float]]:
        name = self.slo_set.name
        policies = [slo for slo in self.slo_set.slos if slo.policy]
        if any(form.fullmatch(expr) for form in (_OF_SET, _SCRAPED, _STEADY)):
            yield from self._stepwise(expr, now)
        elif expr == promql.last_instant(name):
            yield from self._last_instant(now)
        elif expr.startswith(f"max by ({naming.SLO_ID}) (count_over_time({naming.OBJECTIVE}"):
            yield from self._evaluations((int(_MS.findall(expr)[0]) + 1) / 1000, now)
        elif expr == promql.firing(name):
            for flow, alert in self.alerts:
                yield flow.labels | {"alertname": alert, "alertstate": "firing"}, 1.0
        elif policies and expr == promql.evaluated(policies):
            if self.alert_rules:
                yield {}, 1.0
        elif expr.startswith(("sum by (reporter, ", "sum by (slo_scope")):
            yield from self._reporters(expr) if "(reporter, " in expr[:20] else self._other_side(expr, now)
        elif (record := self._guardrail(expr)) is not None:
            yield from self.health.get(record, ())
        else:
            yield from self._raw(expr, now, "label_replace")

    def _last_instant(self, now: float) -> Iterator[tuple[dict[str, str], float]]:
        last = now // GRID * GRID
        if self._evaluated(last):
            for slo_id in {flow.slo_id for flow in self.flows if flow.start <= last}:
                if all(
                    self._records(slo_id, metric, last) for metric in (naming.TOTAL_GRID, naming.BAD_GRID)
                ):
                    yield {naming.SLO_ID: slo_id}, last

    def _records(self, slo_id: str, metric: str, instant: float) -> bool:
        return bool(self._recorded_at(slo_id, metric, np.array([instant]))[0])

    def _recorded_at(self, slo_id: str, metric: str, instants: Instants) -> NDArray[np.bool_]:
        """Whether the rule of a metric records something of a definition then."""
        fails = self.failing.get(slo_id, float("inf"))
        if metric in (naming.BAD_GRID, naming.BAD_TILE):
            fails = min(fails, self.failing_bad.get(slo_id, float("inf")))
        loaded = self.loaded.get(slo_id, 0.0)
        return self._evaluated_at(instants) & (loaded <= instants) & (instants < fails)

    def _evaluations(self, seconds: float, now: float) -> Iterator[tuple[dict[str, str], float]]:
        if seconds > self.largest_window:
            raise BackendLimit("too many samples", backend="prometheus", url="http://simulated")
        instants = np.arange(int((now - seconds) // GRID + 1) * GRID, int(now) + 1, GRID, dtype=float)
        evaluated = instants[self._evaluated_at(instants)]
        for slo in self.slo_set.slos:
            if times := np.count_nonzero(evaluated >= self.loaded.get(slo.id, 0.0)):
                yield {naming.SLO_ID: slo.id}, float(times)

    def _reporters(self, expr: str) -> Iterator[tuple[dict[str, str], float]]:
        """Who else counts the services that a query names."""
        [names] = re.findall(r'destination_service_name=~"([^"]*)"', expr)
        services = names.split("|")
        known = {promql.other_reporters(slo, self.slo_set.mesh, services) for slo in self.slo_set.slos}
        assert expr in known, f"not a query that the simulation knows:\n{expr}"
        for service in services:
            if service in self.reporters:
                yield {"reporter": self.reporters[service], "destination_service_name": service}, 1.0

    def _guardrail(self, expr: str) -> str | None:
        """The series that a query of a guardrail means, recorded or computed; None for other queries."""
        for plan in plans(self.slo_set):
            for signal in plan.signals:
                for recorded in (True, False):
                    if expr == guardrails.signal_query(self.slo_set, signal, recorded=recorded):
                        return signal.record
        for guardrail in self.slo_set.guardrails:
            if guardrail.preset == "sidecar-restarts":
                known = {restarts.by_reason: "restarts by reason", restarts.mean_pods: "mean pods"}
                for build, name in known.items():
                    if expr == build(self.slo_set, guardrail, 86400):
                        return name
        return None

    def _stepwise(self, expr: str, time: float) -> Iterator[tuple[dict[str, str], float]]:
        if match := _SCRAPED.fullmatch(expr):
            begun = time - float(match[1]) / 1000
            if not any(start <= begun and time <= end for start, end in self.down):
                yield {}, 1.0
            return
        for slo in self.slo_set.slos if naming.OBJECTIVE in expr else ():
            if expr == promql.recorded(naming.OBJECTIVE, slo):
                if self._evaluated(time // GRID * GRID) and time >= self.loaded.get(slo.id, 0.0):
                    yield {}, 0.999
                return
        if match := _OF_SET.fullmatch(expr):
            yield from ((labels, value) for labels, _, value in self._sums(match, [time]))
        elif match := _STEADY.fullmatch(expr):
            yield from self._steady_peaks(expr, match, time)
        else:
            yield from self._raw(expr, time, "")

    def _evaluated(self, instant: float) -> bool:
        return bool(self._evaluated_at(np.array([instant]))[0])

    def _evaluated_at(self, instants: Instants) -> NDArray[np.bool_]:
        there = (self.recorded[0] <= instants) & (instants <= self.recorded[1])
        for start, end in [*self.pauses, *self.down]:
            there &= ~((start < instants) & (instants <= end))
        return there

    def _sums(
        self, match: re.Match[str], times: Sequence[float]
    ) -> Iterator[tuple[dict[str, str], float, float]]:
        """Labels, time and value of each sum, or greatest value, over the window before each of ``times``."""
        operator, metric, name, milliseconds, offset = match.groups()
        assert name == self.slo_set.name
        window = (int(milliseconds) + 1) // 1000
        if window > self.largest_window:
            raise BackendLimit("too many samples", backend="prometheus", url="http://simulated")
        earlier = parse_duration(offset) or 0 if offset else 0
        step = TILE if metric in (naming.TOTAL_TILE, naming.BAD_TILE) else GRID
        parts = [
            (time, int((time - earlier - window) // step + 1), int((time - earlier) // step) + 1)
            for time in times
        ]
        begin, end = min(part[1] for part in parts), max(part[2] for part in parts)
        instants = np.arange(begin, end, dtype=float) * step
        for flows in self._grouped(self.flows):
            there = self._recorded_at(flows[0].slo_id, metric, instants) & (instants >= flows[0].start)
            if not there.any():
                continue
            known = there.tolist()
            values = self._values(metric, flows, instants, step).tolist()
            for time, first, last in parts:
                a, b = first - begin, last - begin
                if found := list(compress(values[a:b], known[a:b])):
                    yield flows[0].labels, time, sum(found) if operator == "sum" else max(found)

    def _steady_peaks(
        self, expr: str, match: re.Match[str], now: float
    ) -> Iterator[tuple[dict[str, str], float]]:
        services, length, shift = match.groups()
        names = services.replace("\\\\", "\\").split("|")
        window, offset = parse_duration(length) or 0, parse_duration(shift) or 0 if shift else 0
        assert expr == promql.steady_peaks(
            self.slo_set.name, [name.replace("\\", "") for name in names], window, offset=offset
        )
        if window > self.largest_window:
            raise BackendLimit("too many samples", backend="prometheus", url="http://simulated")
        last = int((now - offset) // GRID)
        for flows in self._grouped(flow for flow in self.flows if flow.service in names):
            instants = np.arange(last - window // GRID, last + 1, dtype=float) * GRID
            steady = self._recorded_at(flows[0].slo_id, naming.TOTAL_GRID, instants)
            steady &= self._values(naming.GAP_GRID, flows, instants, GRID) < 60
            steps = instants[1:][steady[1:] & steady[:-1] & (instants[1:] >= flows[0].start)]
            if steps.size:
                yield flows[0].labels, float(self._values(naming.TOTAL_GRID, flows, steps, GRID).max())

    @staticmethod
    def _grouped(flows: Iterable[Flow]) -> list[list[Flow]]:
        """The flows of each SLO and service, the earliest first: their events add up."""
        groups: dict[tuple[str, str, str], list[Flow]] = {}
        for flow in sorted(flows, key=lambda flow: flow.start):
            groups.setdefault((flow.slo_id, flow.namespace, flow.service), []).append(flow)
        return list(groups.values())

    def _value(self, metric: str, flows: Sequence[Flow], instant: float, step: int) -> float:
        return float(self._values(metric, flows, np.array([instant]), step)[0])

    def _values(self, metric: str, flows: Sequence[Flow], instants: Instants, step: int) -> Instants:
        """What a recorded series of some flows has at each instant, of ``step`` seconds."""
        if metric == naming.GAP_GRID:
            start, end = self.scrape_gaps.get(flows[0].service, (0.0, 0.0))
            unseen: Instants = np.minimum(end, instants) - np.maximum(start, instants - step)
            return unseen.clip(0.0)
        kind = 0 if metric in (naming.BAD_GRID, naming.BAD_TILE) else 1
        values = np.zeros_like(instants)
        for flow in flows:
            values += flow.until(instants, step)[kind]
        return values

    def _seen_by_others(self, flow: Flow, start: float, end: float) -> tuple[float, float]:
        bad, total = self.sides[flow.service]
        return replace(flow, bad=bad, total=total).between(start, end)

    def _other_side(self, expr: str, now: float) -> Iterator[tuple[dict[str, str], float]]:
        window = int(re.findall(r"\[(\d+)ms\]", expr)[0]) + 1
        if window / 1000 > self.largest_window:
            raise BackendLimit("too many samples", backend="prometheus", url="http://simulated")
        by_id = {slo.id: slo for slo in self.slo_set.slos}
        for flow in self.flows:
            slo = by_id.get(flow.slo_id)
            if slo is None or flow.service not in self.sides:
                continue
            if not isinstance(slo.sli, CounterSli) or not slo.sli.other_side:
                continue
            for number, kind in enumerate(("bad", "total")):
                parts = getattr(slo.sli.other_side, kind)
                read = promql.base_of_set(self.slo_set.name, slo.sli.other_side, parts, window // 1000)
                if expr == read:
                    labels = flow.labels | {naming.SCOPE: slo.scope}
                    yield labels, self._seen_by_others(flow, now - window / 1000, now)[number]

    def _raw(self, expr: str, now: float, wrapped: str) -> Iterator[tuple[dict[str, str], float]]:
        """Events from raw counters: of one SLO, or of a union in which each carries its SLO's id."""
        if expr in {promql.unmeasured(slo, self.slo_set.mesh) for slo in self.slo_set.slos}:
            for service in self.unmeasured:
                yield {"destination_service_namespace": "shop", "destination_service_name": service}, 1.0
            return
        for flows, labels, kind, window, theirs in self._meaning(expr, wrapped):
            if now <= flows[0].start:
                continue
            if kind == "gap":
                yield labels, self._value(naming.GAP_GRID, flows, now, GRID)
                continue
            if kind == "unsteady":
                if self._value(naming.GAP_GRID, flows, now, int(window)) > 0:
                    yield {}, 1.0
                    return
                continue
            if kind == "largest":
                ends = range(int(now) - int(window) + GRID, int(now) + 1, GRID)
                yield labels, max(sum(flow.between(end - GRID, end)[1] for flow in flows) for end in ends)
                continue
            count = self._seen_by_others if theirs else Flow.between
            counts = [count(flow, now - window, now) for flow in flows]
            bad, total = (sum(numbers) for numbers in zip(*counts, strict=True))
            yield labels, {"bad": bad, "total": total, "good": total - bad}[kind]

    def _meaning(self, expr: str, wrapped: str) -> list[_Meaning]:
        if expr in self._known:
            return self._known[expr]
        found: list[_Meaning] = []
        known = False
        for slo in self.slo_set.slos:
            groups = self._grouped([flow for flow in self.flows if flow.slo_id == slo.id])
            if expr == promql.gap_rule(slo, self.slo_set.mesh):
                known = True
                found += [(flows, self._own(slo, flows[0]), "gap", GRID, False) for flows in groups]
            for length in {parse_duration(text) or 0 for text in re.findall(r"\[([0-9a-z]+)[\]:]", expr)}:
                others = {
                    "unsteady": promql.unsteady(slo, self.slo_set.mesh, length),
                    "largest": promql.largest_step(slo, self.slo_set.mesh, length),
                }
                for name in (name for name, text in others.items() if expr == text):
                    known = True
                    found += [
                        (flows, self._own(slo, flows[0]), name, float(length), False) for flows in groups
                    ]
            for kind, text, window in self._events_of(slo, expr, other_side=True):
                if expr == text:
                    known = True
                    seen = [flows for flows in groups if flows[0].service in self.sides]
                    found += [(flows, self._own(slo, flows[0]), kind, window, True) for flows in seen]
            for kind, text, window in self._events_of(slo, expr):
                marked = promql.labelled(text, naming.SLO_ID, slo.id)
                if expr == text or (wrapped and marked in expr):
                    known = True
                    more = {} if expr == text else {naming.SLO_ID: slo.id}
                    found += [
                        (flows, self._own(slo, flows[0]) | more, kind, window, False) for flows in groups
                    ]
        assert known, f"not a query that the simulation knows:\n{expr}"
        self._known[expr] = found
        return found

    def _events_of(
        self, slo: Slo, expr: str, *, other_side: bool = False
    ) -> Iterator[tuple[str, str, float]]:
        if other_side and not (isinstance(slo.sli, CounterSli) and slo.sli.other_side):
            return
        for text in {*_RANGE.findall(expr)}:
            window = int(text[:-2]) / 1000 if text.endswith("ms") else parse_duration(text)
            texts = promql.events(slo, self.slo_set.mesh, window or 1, other_side=other_side)
            for kind, known in texts.items():
                yield kind, known, float(window or 1)

    def _own(self, slo: Slo, flow: Flow) -> dict[str, str]:
        return {"namespace": flow.namespace, "service": flow.service} if slo.wildcard else {}


def serve(source: MetricSource, other: Callable[[str], Behaviour | None] = lambda _query: None) -> Behaviour:
    """The simulation behind HTTP; ``other`` may answer some queries otherwise."""

    def behave(handler: Handler) -> None:
        form = handler.received.form
        if (behaviour := other(form["query"])) is not None:
            behaviour(handler)
            return
        try:
            if handler.received.path.endswith("/query_range"):
                start, end = (
                    datetime.fromtimestamp(float(form[key])).astimezone() for key in ("start", "end")
                )
                step = timedelta(seconds=float(form["step"]))
                found = source.query_range(form["query"], start, end, step)
                data = {"resultType": "matrix", "result": found}
            else:
                at = datetime.fromtimestamp(float(form["time"])).astimezone()
                found = source.query(form["query"], at)
                data = {"resultType": "vector", "result": found}
        except BackendLimit:
            error(422, "execution", "query processing would load too many samples into memory")(handler)
        except AssertionError as unknown:
            error(400, "bad_data", str(unknown))(handler)
        else:
            answer(data, warnings=[*doubts(found), *remarks(found)])(handler)

    return behave
