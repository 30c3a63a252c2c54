"""The calls of a mesh minute by minute: who calls whom, how often, and how often it fails, from Istio's counters.

The caller's proxy sees what a caller sees: outcomes after retries, and calls that reached nobody. Where the caller has
no proxy, the called one tells. What is read is plain increase: it says where failures are, budgets are counted exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isfinite

import numpy as np
import numpy.typing as npt

from jobs.origins.onset import Counts
from sloctl import naming, promql
from sloctl.backends.protocols import MetricSource, Series
from sloctl.model import Matcher, Mesh, Selector
from sloctl.promql.calls import Kind, selectors, sides, summed
from sloctl.promql.presets import Side

STEP = 60
"""Seconds between two counts."""
REACH = 180
"""Seconds over which the counters are looked at: two scrapes lie within, unless they are far apart."""
MOST = 150
"""Services that are looked at, those that fail most."""
_SERVES = ("destination_workload_namespace", "destination_workload")
EDGE = (*naming.CALLERS, *naming.CALLED)

Place = tuple[str, str]
"""Namespace and name: of a workload that calls, or of a service that is called."""
Edge = tuple[Place, Place]


@dataclass(frozen=True)
class Calls:
    """The calls of one edge: counts of shape (steps,), of which ``unreached`` are bad ones too."""

    total: Counts
    bad: Counts
    unreached: Counts

    def __add__(self, other: Calls) -> Calls:
        return Calls(self.total + other.total, self.bad + other.bad, self.unreached + other.unreached)


@dataclass(frozen=True)
class Traffic:
    """Calls by edge at the instants ``start + STEP``, … (Unix seconds); what each service's workloads are.

    ``attempts`` are what the called proxies saw of an edge. ``unseen`` are by service the steps ``[first, last)`` of
    which nothing is recorded, though there is something from before. ``doubts`` are sentences.
    """

    start: float
    steps: int
    edges: Mapping[Edge, Calls]
    attempts: Mapping[Edge, Counts] = field(default_factory=dict)
    workloads: Mapping[Place, frozenset[Place]] = field(default_factory=dict)
    unseen: Mapping[Place, Sequence[tuple[int, int]]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()

    def of(self, service: Place) -> Calls:
        """All calls of a service."""
        zero = np.zeros(self.steps)
        return sum(
            (calls for (_, called), calls in self.edges.items() if called == service),
            Calls(zero, zero, zero),
        )

    def workloads_of(self, service: Place) -> frozenset[Place]:
        """The workloads of a service; one of its name, where nobody says which they are."""
        return self.workloads.get(service, frozenset({service}))

    def made_by(self, service: Place) -> dict[Place, Calls]:
        """What the workloads of a service call."""
        own = self.workloads_of(service)
        found: dict[Place, Calls] = {}
        for (caller, called), calls in self.edges.items():
            if caller in own and called != service:
                found[called] = found[called] + calls if called in found else calls
        return found

    @property
    def services(self) -> list[Place]:
        """All that are called."""
        return sorted({called for _, called in self.edges})

    def instant(self, step: int) -> float:
        """When a step begins, Unix seconds; what it looks at ends in its middle."""
        return self.start + step * STEP - (REACH - STEP) / 2


def read(
    source: MetricSource, mesh: Mesh, at: datetime, seconds: int, namespace: str = "", service: str = ""
) -> Traffic:
    """The calls of the ``seconds`` before ``at``, those on the way from a service first. Raises ``BackendError``."""
    start = at - timedelta(seconds=seconds)
    steps = seconds // STEP
    found: dict[str, dict[str, dict[Edge, Counts]]] = {}
    doubts: list[str] = []
    failing: Counter[Place] = Counter()
    for side in sides(mesh):
        bad = _counts(source, summed(selectors(side, mesh, "bad"), EDGE, REACH), start, steps, " > 0")
        found[side] = {"bad": bad}
        failing.update({called: float(counts.sum()) for (_, called), counts in bad.items()})
    if not failing:
        return Traffic(start.timestamp(), steps, {})
    names = chosen({edge for of in found.values() for edge in of["bad"]}, failing, namespace, service)
    if len(failing) > MOST:
        doubts.append(f"of {len(failing):,} services with failures, {MOST} are looked at: those with most")
    wanted = "|".join(promql.regex_quote(name) for name in sorted({name for _, name in names}))
    only = Matcher("destination_service_name", "=~", wanted)
    for side in sides(mesh):
        unreached = summed(selectors(side, mesh, "unreached"), EDGE, REACH)
        found[side]["unreached"] = _counts(source, unreached, start, steps, " > 0")
        total = summed(selectors(side, mesh, "total", only), EDGE, REACH)
        found[side]["total"] = _counts(source, total, start, steps, missing=np.nan)
    seen = found[sides(mesh)[0]]
    edges = _edges(seen, steps)
    if "server" in found:
        # A caller without a proxy, or whose proxy does not know what it calls ("unknown", "PassthroughCluster").
        edges = _edges(found["server"], steps) | edges
    attempts = found["server"]["total"] if "server" in found else {}
    scraped: dict[Place, npt.NDArray[np.bool_]] = {}
    for (_, called), calls in edges.items():
        scraped[called] = scraped.get(called, np.zeros(steps, dtype=bool)) | ~np.isnan(calls.total)
    kept = {
        edge: replace(calls, total=np.nan_to_num(calls.total))
        for edge, calls in edges.items()
        if promql.is_service(edge[1][1])
    }
    return Traffic(
        start.timestamp(),
        steps,
        kept,
        {edge: np.nan_to_num(counts) for edge, counts in attempts.items()},
        _workloads(source, mesh, at, seconds, only),
        {service: unseen(of, REACH // STEP) for service, of in scraped.items()},
        tuple(doubts),
    )


def unseen(scraped: npt.NDArray[np.bool_], least: int) -> list[tuple[int, int]]:
    """The steps ``[first, last)``, at least so many, that are not there, after the first that is."""
    edges = np.flatnonzero(np.diff(np.concatenate(([True], scraped, [True])).astype(np.int8)))
    runs = [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
    return [(first, last) for first, last in runs if first > 0 and last - first >= least]


def chosen(edges: Collection[Edge], failing: Counter[Place], namespace: str, service: str) -> list[Place]:
    """The services to look at: what was asked for, what is called from there and fails, then those that fail most.

    A workload is taken for one of a service if its name is the service's, or begins with it and a ``-``.
    """
    found = {
        place: None for place in failing if service and place[1] == service and namespace in ("", place[0])
    }
    called: dict[Place, list[Place]] = {}
    for caller, place in edges:
        called.setdefault(caller, []).append(place)
    ahead = list(found)
    while ahead and len(found) < MOST:
        here = ahead.pop(0)
        for caller, places in called.items():
            if caller[0] == here[0] and (caller[1] == here[1] or caller[1].startswith(f"{here[1]}-")):
                ahead += [place for place in places if place not in found]
                found |= dict.fromkeys(places)
    found |= {place: None for place, _ in failing.most_common()}
    return list(found)[:MOST]


def _edges(found: Mapping[str, Mapping[Edge, Counts]], steps: int) -> dict[Edge, Calls]:
    zero = np.zeros(steps)
    return {
        edge: Calls(total, found["bad"].get(edge, zero), found["unreached"].get(edge, zero))
        for edge, total in found["total"].items()
        if np.nansum(total) > 0
    }


def _counts(
    source: MetricSource,
    expr: str,
    start: datetime,
    steps: int,
    condition: str = "",
    missing: float = 0.0,
) -> dict[Edge, Counts]:
    step = timedelta(seconds=STEP)
    found: dict[Edge, Counts] = {}
    for item in source.query_range(expr + condition, start + step, start + steps * step, step):
        labels = item["metric"]
        caller, called = (
            tuple(labels.get(name, "") for name in names) for names in (naming.CALLERS, naming.CALLED)
        )
        counts = np.full(steps, missing)
        for time, text in item["values"]:
            value, place = float(text), round((float(time) - start.timestamp()) / STEP) - 1
            if isfinite(value) and 0 <= place < steps:
                counts[place] = value * STEP / REACH
        found[(caller[0], caller[1]), (called[0], called[1])] = counts
    return found


def _workloads(
    source: MetricSource, mesh: Mesh, at: datetime, seconds: int, only: Matcher
) -> dict[Place, frozenset[Place]]:
    parts = selectors(sides(mesh)[-1], mesh, "total", only)
    found: dict[Place, set[Place]] = {}
    for item in source.query(f"{summed(parts, (*_SERVES, *naming.CALLED), seconds)} > 0", at):
        labels = item["metric"]
        workload, service = (
            tuple(labels.get(name, "") for name in names) for names in (_SERVES, naming.CALLED)
        )
        if workload[1] not in ("", "unknown"):
            found.setdefault((service[0], service[1]), set()).add((workload[0], workload[1]))
    return {service: frozenset(places) for service, places in found.items()}


KINDS: tuple[Kind, ...] = ("bad", "total")
Apart = Mapping[str, Mapping[str, Sequence[Series]]]
"""By label: series by that label of ``client bad``, ``client total`` and so on."""


def tell_apart(
    source: MetricSource, mesh: Mesh, service: Place, labels: Sequence[str], at: datetime, seconds: int
) -> Apart:
    """Bad and all calls of one service in the ``seconds`` before ``at``, by each of some labels by itself."""
    queries = {
        (label, f"{side} {kind}"): summed(_of(mesh, side, kind, service), (label,), seconds)
        for side in sides(mesh)
        for kind in KINDS
        for label in labels
    }
    found = source.query_many({" ".join(key): expr for key, expr in queries.items()}, at)
    return {
        label: {kind: found[f"{label} {kind}"] for known, kind in queries if known == label}
        for label in labels
    }


def by_label(mesh: Mesh, service: Place, label: str) -> str:
    """Calls of one service by a label, where there are any."""
    return f"{summed(_of(mesh, sides(mesh)[-1], 'total', service), (label,), REACH)} > 0"


def requests(
    source: MetricSource, mesh: Mesh, at: datetime, seconds: int, namespace: str = "", service: str = ""
) -> tuple[bool, list[tuple[float, float]]]:
    """Whether there were any requests at all, or of a namespace or a service of that name.

    And from when to when (Unix seconds) none could be seen, for want of two scrapes that are near each other.
    """
    where = [
        Matcher(label, "=", name)
        for label, name in zip(naming.CALLED, (namespace, service), strict=True)
        if name
    ]
    step, number = timedelta(seconds=REACH), seconds // REACH
    start = at - number * step
    scraped, some = np.zeros(number, dtype=bool), False
    for side in sides(mesh):
        expr = summed(selectors(side, mesh, "total", *where), (), REACH)
        for item in source.query_range(expr, start + step, at, step):
            for time, text in item["values"]:
                place = round((float(time) - start.timestamp()) / REACH) - 1
                if 0 <= place < number:
                    scraped[place], some = True, some or float(text) > 0
    if scraped.any():
        gaps = unseen(scraped, 2)
        return some, [
            (start.timestamp() + first * REACH, start.timestamp() + last * REACH) for first, last in gaps
        ]
    queries = [f"{summed(selectors(side, mesh, 'total', *where), (), seconds)} > 0" for side in sides(mesh)]
    some = any(source.query(expr, at) for expr in queries)
    return some, [(start.timestamp(), at.timestamp())] if some else []


def _of(mesh: Mesh, side: Side, kind: Kind, service: Place) -> list[Selector]:
    return selectors(
        side,
        mesh,
        kind,
        *(Matcher(name, "=", value) for name, value in zip(naming.CALLED, service, strict=True)),
    )
