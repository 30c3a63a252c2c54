"""A Prometheus whose scrapes and events are scripted: it answers what recording asks, from plain Python.

A query that it does not know is an ``AssertionError``. What real PromQL makes of real counters is tested elsewhere.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from sloctl import naming, promql
from sloctl.backends.answers import judged
from sloctl.backends.protocols import Series
from sloctl.errors import BackendUnavailable
from sloctl.model import GRID, CounterSli, Slo, SloSet
from sloctl.model.durations import parse_duration
from tests.support.simulated import unjoined

Answer: TypeAlias = list[tuple[dict[str, str], float]]
"""Labels and value of each series at one instant."""
_PRESENT = re.compile(r"group\(last_over_time\(up(\{.*\})?\[(\w+)\]\)\)")
_EDGE = re.compile(r"(min|max)\(\1_over_time\(\(timestamp\(up(\{.*\})?\)\)\[4m59s:15s\]\)\)")


def steady(total: float = 100, bad: float = 1) -> Callable[[Slo, str, int], Answer]:
    """The same number of events in each bucket: of the SLO's service, of two of a wildcard's."""

    def answer(slo: Slo, kind: str, _end: int) -> Answer:
        services = [slo.service] if not slo.wildcard else ["cart", "orders"]
        value = {"total": total, "bad": bad, "cause": bad, "good": total - bad}.get(kind)
        if value is None:
            return []
        more = {"response_code": "503"} if kind == "cause" else {}
        named = [{"namespace": slo.namespace, "service": name} if slo.wildcard else {} for name in services]
        return [(labels | more, value) for labels in named]

    return answer


@dataclass
class Scripted:
    """A ``MetricSource``: ``scrapes`` are the times of all samples of ``up``, ascending.

    ``events`` gives what an SLO's expression of a kind (total, bad, good, gap, carried, cause) has at the end of a
    bucket.
    ``matched`` are the scrapes of targets with the mesh's labels, if they are not all. Each range query is given to
    ``before``, which may raise.
    """

    slo_set: SloSet
    scrapes: Sequence[float]
    events: Callable[[Slo, str, int], Answer] = field(default_factory=steady)
    matched: Sequence[float] | None = None
    before: Callable[[str], object] = lambda _expr: None
    warnings: list[str] = field(default_factory=list)
    """What each answer has beside its data."""
    warned: Callable[[str, int, int], Sequence[str]] = lambda _expr, _first, _last: ()
    """What answers about a time (Unix seconds) have beside their data."""
    asked: list[str] = field(default_factory=list)

    @property
    def queries(self) -> int:
        return len(self.asked)

    def query_many(self, queries: Mapping[str, str], at: datetime) -> Mapping[str, Sequence[Series]]:
        return {name: self.query(expr, at) for name, expr in queries.items()}

    def query(self, expr: str, at: datetime) -> Sequence[Series]:
        self.asked.append(expr)
        self.before(expr)
        now = at.timestamp()
        value: float | None
        if found := _PRESENT.fullmatch(expr):
            value = 1.0 if self._any(found[1], now, _seconds(found[2])) else None
        elif found := _EDGE.fullmatch(expr):
            value = self._edge(found[1], found[2], now)
        else:
            raise AssertionError(f"not a query that is scripted:\n{expr}")
        result: list[Series] = [] if value is None else [{"metric": {}, "value": [now, repr(value)]}]
        return self._judged(expr, int(now), int(now), result)

    def query_range(self, expr: str, start: datetime, end: datetime, step: timedelta) -> Sequence[Series]:
        self.asked.append(expr)
        self.before(expr)
        first, last, size = int(start.timestamp()), int(end.timestamp()), int(step.total_seconds())
        assert first <= last
        times = range(first, last + 1, size)
        found: dict[tuple[tuple[str, str], ...], list[list[object]]] = {}
        if present := _PRESENT.fullmatch(expr):
            width = _seconds(present[2])
            values = [[time, "1"] for time in times if self._any(present[1], time, width)]
            there: list[Series] = [{"metric": {}, "values": values}] if values else []
            return self._judged(expr, first, last, there)
        texts = {text: (slo, kind) for slo in self.slo_set.slos for kind, text in self._texts(slo)}
        known = [(*texts[part], name) for name, part in unjoined(expr)]
        assert known, f"not a query that is scripted:\n{expr}"
        for slo, kind, name in known:
            for time in times:
                for labels, value in self.events(slo, kind, time):
                    key = tuple(sorted((labels | {naming.SLO_ID: slo.id, promql.PART: name}).items()))
                    found.setdefault(key, []).append([time, repr(value)])
        result: list[Series] = [{"metric": dict(key), "values": values} for key, values in found.items()]
        return self._judged(expr, first, last, result)

    def _judged(self, expr: str, first: int, last: int, series: Sequence[Series]) -> Sequence[Series]:
        return judged(series, [*self.warnings, *self.warned(expr, first, last)])

    def _texts(self, slo: Slo) -> list[tuple[str, str]]:
        mesh = self.slo_set.mesh
        texts = promql.events(slo, mesh, GRID)
        texts |= {"gap": promql.gap_rule(slo, mesh), "carried": promql.carried_rule(slo, mesh)}
        if isinstance(slo.sli, CounterSli) and slo.sli.bad:
            texts["cause"] = promql.causes_rule(slo, mesh, GRID)
        return [(kind, promql.labelled(text, naming.SLO_ID, slo.id)) for kind, text in texts.items()]

    def _times(self, matchers: str | None) -> Sequence[float]:
        return self.matched if matchers and self.matched is not None else self.scrapes

    def _any(self, matchers: str | None, now: float, width: float) -> bool:
        """Whether there is a sample within the last ``width`` seconds, less than those."""
        times = self._times(matchers)
        return bisect_right(times, now) > bisect_right(times, now - width)

    def _edge(self, which: str, matchers: str | None, now: float) -> float | None:
        times = self._times(matchers)
        steps = [step for step in range(int(now) - 299, int(now) + 1) if step % 15 == 0]
        seen = []
        for step in steps:
            place = bisect_right(times, step)
            if place and times[place - 1] > step - 300:
                seen.append(times[place - 1])
        return (min if which == "min" else max)(seen) if seen else None


def unreachable() -> BackendUnavailable:
    return BackendUnavailable("Prometheus: connection refused", backend="prometheus", url="http://scripted")


def _seconds(text: str) -> float:
    return (
        int(text[:-2]) / 1000
        if text.endswith("ms") and text[:-2].isdigit()
        else float(parse_duration(text) or 0)
    )


def scrape_times(
    start: float, end: float, interval: float, down: Sequence[tuple[float, float]] = ()
) -> list[float]:
    """Scrapes every ``interval`` seconds from ``start`` to ``end`` but for those within (from, to] of ``down``."""
    count = int((end - start) // interval)
    times = [start + number * interval for number in range(count + 1)]
    return [time for time in times if not any(a < time <= b for a, b in down)]


def between(times: Sequence[float], start: float, end: float) -> Sequence[float]:
    """The times within (start, end]."""
    return times[bisect_right(times, start) : bisect_right(times, end)]


__all__ = ["Answer", "Scripted", "between", "scrape_times", "steady", "unreachable"]
