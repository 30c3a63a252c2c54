"""A mesh in miniature that reports spans as Envoy's tracers do, and counts what it truly sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from sloctl.backends import spans

BEGIN = 1_700_000_000_000_000_000
US = 1000


@dataclass(frozen=True)
class Tracer:
    """How proxies report: Envoy's settings."""

    shared: bool = False
    spawn: bool = False
    start_child: bool = False
    tag: bool = False
    applications: bool = False  # report a server's and a client's span of their own


TRACERS = {
    "zipkin": Tracer(shared=True),
    "opentelemetry": Tracer(),
    "spawn": Tracer(spawn=True),
    "zipkin-spawn": Tracer(shared=True, spawn=True),
    "start-child": Tracer(start_child=True),
    "zipkin-tag": Tracer(shared=True, tag=True),
    "opentelemetry-tag": Tracer(tag=True),
    "spawn-tag": Tracer(spawn=True, tag=True),
    "opentelemetry-applications": Tracer(applications=True),
    "spawn-applications": Tracer(spawn=True, applications=True),
}
METHOD = {
    "zipkin": "shared-id",
    "opentelemetry": "child-of-client",
    "spawn": "router-spans",
    "zipkin-spawn": "router-spans",
    "start-child": "router-spans",
    "zipkin-tag": "attempt-count",
    "opentelemetry-tag": "attempt-count",
    "spawn-tag": "attempt-count",
    "opentelemetry-applications": "child-of-client",
    "spawn-applications": "router-spans",
}


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A frame of spans from what differs from nothing: ``start`` in nanoseconds."""
    empty = {"trace_high": 0, "parent": 0, "kind": "", "operation": "", "remote": "", "code": "", "flags": ""}
    empty |= {"namespace": "", "retry": -1, "attempts": -1, "duration": -1, "start": BEGIN, "trace_low": 1}
    columns: dict[str, Any] = {}
    for name, dtype in spans.COLUMNS.items():
        values = [row.get(name, empty.get(name, False)) for row in rows]
        if name == "start":
            columns[name] = pd.DatetimeIndex(
                np.array(values, dtype="int64").view("datetime64[ns]")
            ).tz_localize("UTC")
        elif name == "kind":
            columns[name] = pd.Categorical(values, categories=list(spans.KINDS))
        elif dtype == "category":
            columns[name] = pd.Categorical(values, categories=sorted({*values, ""}))
        else:
            columns[name] = np.array(values, dtype=dtype)
    made = pd.DataFrame(columns)
    assert spans.problems(made) == []
    return made


@dataclass
class Mesh:
    """``edges`` maps each service to its calls in order: (callee, tries, deliberate repeats).

    ``failing`` is the chance that an attempt at a service fails for reasons of its own.
    """

    edges: dict[str, list[tuple[str, int, int]]]
    failing: dict[str, float]
    tracer: Tracer
    seed: int = 0
    gateway: Tracer | None = None  # of the entry, where it is set up differently
    rows: list[dict[str, Any]] = field(default_factory=list)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    attempts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.now = BEGIN
        self.trace = 0
        self.ids = 0
        self.entry = ""

    def run(self, entry: str, times: int) -> Mesh:
        self.entry = entry
        for _ in range(times):
            self.trace += 1
            self._serve(entry, None, 0)
        return self

    def frame(self) -> pd.DataFrame:
        return frame(self.rows)

    def _new(self) -> int:
        self.ids += 1
        return self.ids * 0x9E3779B97F4A7C15 % 2**64 or 1

    def _span(self, **values: Any) -> dict[str, Any]:
        self.now += self.random.randrange(1, 50) * US
        row = {"trace_low": self.trace, "trace_high": self.trace % 2, "start": self.now, **values}
        self.rows.append(row)
        return row

    def _end(self, row: dict[str, Any], ok: bool) -> None:
        self.now += self.random.randrange(1, 50) * US
        row["duration"] = self.now - row["start"]
        row["code"], row["error"] = ("200", False) if ok else ("503", True)

    def _serve(self, service: str, above: dict[str, Any] | None, attempt: int) -> bool:
        """One attempt's arrival; the entry of a trace is a gateway, which reports clients' spans only."""
        opened = []
        context = 0
        if above is not None:
            shared = self.tracer.shared
            own = above["span"] if shared else self._new()
            parent = above["parent"] if shared else above["span"]
            name = {"service": service, "operation": f"{service}:8080/*"}
            opened.append(self._span(span=own, parent=parent, kind="server", shared=shared, **name))
            context = own
            if self.tracer.spawn or self.tracer.start_child:
                router = "router inbound|8080|| egress"
                opened.append(
                    self._span(
                        span=self._new(), parent=own, kind="client", router=True, service=service,
                        operation=router, remote="inbound|8080||",
                    )
                )  # fmt: skip
                context = opened[-1]["span"]
            if self.tracer.applications:
                opened.append(
                    self._span(
                        span=self._new(), parent=context, kind="server", service=service, operation="GET"
                    )
                )
                context = opened[-1]["span"]
        ok = self.random.random() >= self.failing.get(service, 0.0)
        for callee, tries, repeats in self.edges.get(service, []):
            for _ in range(repeats):
                ok = self._call(service, callee, tries, context, opened[-1] if opened else None) and ok
        for row in reversed(opened):
            self._end(row, ok)
        return ok

    def _call(self, client: str, server: str, tries: int, context: int, inner: dict[str, Any] | None) -> bool:
        opened = []
        tracer = self.gateway if self.gateway and client == self.entry else self.tracer
        if tracer.applications:
            opened.append(
                self._span(span=self._new(), parent=context, kind="client", service=client, operation="GET")
            )
            context, inner = opened[-1]["span"], None
        cluster = f"outbound|8080||{server}.shop.svc.cluster.local"
        name = {"service": client, "operation": f"{server}:8080/*", "remote": cluster}
        own, parent = self._new(), context
        if tracer.spawn and tracer.shared and inner is not None:
            own, parent = inner["span"], inner["parent"]
        kind = "server" if tracer.spawn else "client"
        outer = self._span(span=own, parent=parent, kind=kind, shared=tracer.spawn and tracer.shared, **name)
        opened.append(outer)
        self.requests[client, server] += 1
        ok = False
        for attempt in range(tries):
            self.attempts[client, server] += 1
            if tracer.tag:
                outer["attempts"] = attempt + 1
            half = outer
            if tracer.spawn or tracer.start_child:
                half = self._span(
                    span=self._new(), parent=own, kind="client", router=True, service=client, remote=cluster,
                    operation=f"router {cluster} egress", retry=attempt if attempt else -1,
                )  # fmt: skip
            ok = self._serve(server, half, attempt)
            if half is not outer:
                self._end(half, ok)
            if ok:
                break
        for row in reversed(opened):
            self._end(row, ok)
        return ok


def chain(
    tracer: Tracer, tries: int, failing: float, times: int, services: str = "abcd", seed: int = 0
) -> Mesh:
    """Services in a row, of which the last fails by itself."""
    edges = {first: [(second, tries, 1)] for first, second in pairwise(services)}
    return Mesh(edges, {services[-1]: failing}, tracer, seed).run(services[0], times)


def anywhere(random: Random, tracer: Tracer, times: int) -> Mesh:
    """A mesh of random shape, tries and failures."""
    names = [f"s{number}" for number in range(random.randrange(2, 7))]
    edges: dict[str, list[tuple[str, int, int]]] = {"gate": [(names[0], random.randrange(1, 4), 1)]}
    for place, name in enumerate(names[:-1]):
        chosen = random.sample(names[place + 1 :], k=min(len(names) - place - 1, random.randrange(0, 3)))
        edges[name] = [(callee, random.randrange(1, 4), random.choice([1, 1, 2])) for callee in chosen]
    failing = {name: random.choice([0.0, 0.1, 0.3, 1.0]) for name in names}
    return Mesh(edges, failing, tracer, random.randrange(2**32)).run("gate", times)
