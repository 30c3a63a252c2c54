"""Plays a world on a grid of ticks: how many events each counter of each pod counts in each tick.

Every edge draws from a random stream of its own, seeded by its name, so that a service added to a world
changes no other. Knows Istio's labels; knows nothing about scrapes, time stamps or files.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sloctl.demo.flows import Flow, flow_labels, outcomes
from sloctl.demo.latency import Histograms
from sloctl.demo.pods import Labels, Target, gaps, generations, kube_target, target
from sloctl.demo.truth import CountArray, CountKind, Side
from sloctl.demo.world import OUTSIDE, BatchJob, Edge, Grid, Quiet, Service, World, traffic

REQUESTS = "istio_requests_total"
Small = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Counter:
    """One counter: its labels with ``__name__`` but without its target's, and the events of each tick.

    A ``lazy`` one, as all of Istio's, is not exposed before its first event. It is there only while
    ``life`` (first and last instant).
    """

    target: Target
    labels: Labels
    events: Small
    lazy: bool = True
    life: tuple[float, float] = (-np.inf, np.inf)


class Simulation:
    """The events of a world on a grid.

    ``counters`` and ``targets`` are what the pods expose, ``counts`` the truth per (service, side) and kind,
    each of shape (ticks,).
    """

    def __init__(self, world: World, grid: Grid) -> None:
        self.world = world
        self.grid = grid
        self.counts: dict[tuple[str, Side], dict[CountKind, CountArray]] = {}
        self.targets: list[Target] = []
        self._counters: dict[tuple[Target, Labels], Counter] = {}
        self._pods = {service.name: generations(world, service) for service in world.services}
        self._traffic = traffic(world, grid.ends - grid.step / 2)
        self._histograms = {
            service.name: Histograms(world, service, grid) for service in world.services if service.latency
        }
        for service in world.services:
            self.targets += [pod for generation in self._pods[service.name] for pod in generation.pods]
        for edge in world.edges:
            self._play(edge)
        for batch in world.batches:
            self._play_batch(batch)
        if world.kube_state:
            self._play_kube_state()

    @property
    def counters(self) -> list[Counter]:
        """Every counter that can be exposed."""
        return list(self._counters.values())

    def _random(self, *names: str) -> np.random.Generator:
        key = zlib.crc32("/".join(names).encode())
        start = round(self.grid.start * 1000)
        return np.random.default_rng([self.world.seed, key, start & 0xFFFFFFFF, start < 0])

    def _requests(self, name: str, rps: float, random: np.random.Generator) -> CountArray:
        rates = self._traffic * (rps * self.grid.step)
        for event in self.world.events:
            if isinstance(event, Quiet) and event.service == name:
                rates[self.grid.span(event.start, event.end)] = 0.0
        return random.poisson(rates).astype(np.int64)

    def _play(self, edge: Edge) -> None:
        random = self._random(edge.client, edge.server)
        server = self.world.service(edge.server)
        requests = self._requests(edge.server, edge.rps, random)
        for flow in outcomes(self.world, self.grid, server, requests, random):
            if flow.side == "source" and edge.client == OUTSIDE:
                continue
            for kind in flow.kinds:
                self._add_truth(server.name, flow.side, kind, flow.events)
            self._spread(edge, server, flow, random)

    def _add_truth(self, service: str, side: Side, kind: CountKind, events: CountArray) -> None:
        kinds = self.counts.setdefault((service, side), {})
        if kind in kinds:
            kinds[kind] += events
        else:
            kinds[kind] = events.astype(np.int64)

    def _spread(self, edge: Edge, server: Service, flow: Flow, random: np.random.Generator) -> None:
        """Give a flow's events to the pods that reported them, and draw their latencies."""
        client = None if edge.client == OUTSIDE else self.world.service(edge.client)
        for serving in self._pods[server.name]:
            labels = flow_labels(client, serving, flow)
            reporters = [serving] if flow.side == "destination" or client is None else self._pods[client.name]
            for reporting in reporters:
                ticks = self.grid.span(max(serving.start, reporting.start), min(serving.end, reporting.end))
                if not flow.events[ticks].any():
                    continue
                shares = _split(flow.events[ticks], len(reporting.pods), random)
                for pod, events in zip(reporting.pods, shares, strict=True):
                    self._add(pod, (("__name__", REQUESTS), *labels), ticks, events)
                    if server.name in self._histograms:
                        self._time(server, flow.side, pod, labels, ticks, events, random)

    def _time(
        self,
        server: Service,
        side: Side,
        pod: Target,
        labels: Labels,
        ticks: slice,
        events: CountArray,
        random: np.random.Generator,
    ) -> None:
        drawn = self._histograms[server.name].draw(ticks, events, random)
        for suffix, values in drawn.series.items():
            self._add(pod, (*suffix, *labels), ticks, values)
        slow = np.zeros(self.grid.count, dtype=np.int64)
        slow[ticks] = drawn.slow
        self._add_truth(server.name, side, "slow", slow)

    def _add(self, pod: Target, labels: Labels, ticks: slice, events: CountArray) -> None:
        counter = self._counters.get((pod, labels))
        if counter is None:
            counter = Counter(pod, labels, np.zeros(self.grid.count, dtype=np.int32))
            self._counters[pod, labels] = counter
        counter.events[ticks] += events.astype(np.int32)

    def _play_batch(self, batch: BatchJob) -> None:
        random = self._random("batch", batch.service, batch.job)
        service = self.world.service(batch.service)
        pod = dict(self._pods[service.name][0].pods[0].labels)
        address = pod["instance"].rpartition(":")[0]
        place = target(
            batch.job,
            f"{address}:9090",
            service.namespace,
            pod["pod"],
            gaps=gaps(self.world, service.name),
        )
        self.targets.append(place)
        jobs = self._requests(service.name, batch.per_second, random)
        late = random.binomial(jobs, batch.late_share).astype(np.int64)
        everything = slice(0, self.grid.count)
        self._add(place, (("__name__", "jobs_total"),), everything, jobs)
        self._add(place, (("__name__", "jobs_late_total"),), everything, late)
        self._add_truth(service.name, "jobs", "total", jobs)
        self._add_truth(service.name, "jobs", "bad", late)

    def _play_kube_state(self) -> None:
        place = kube_target()
        self.targets.append(place)
        for pods in self._pods.values():
            for pod in (pod for generation in pods for pod in generation.pods):
                names = dict(pod.labels)
                labels = (
                    ("container", "istio-proxy"),
                    ("namespace", names["namespace"]),
                    ("pod", names["pod"]),
                )
                restarts = np.zeros(self.grid.count, dtype=np.int32)
                for at in pod.restarts:
                    tick = int(np.searchsorted(self.grid.ends, at, side="right"))
                    if self.grid.start < at and tick < self.grid.count:
                        restarts[tick] += 1
                named = (("__name__", "kube_pod_container_status_restarts_total"), *labels)
                life = (pod.first, pod.last)
                self._counters[place, named] = Counter(place, named, restarts, lazy=False, life=life)
                if restarts.any():
                    first = np.zeros(self.grid.count, dtype=np.int32)
                    first[int(np.argmax(restarts > 0))] = 1
                    reason: Labels = (
                        ("__name__", "kube_pod_container_status_last_terminated_reason"),
                        *labels,
                        ("reason", "OOMKilled"),
                    )
                    self._counters[place, reason] = Counter(place, reason, first, life=life)


def restarts(world: World) -> list[tuple[Service, Target, float]]:
    """Every restart of a sidecar in place: (service, pod, instant relative to the end)."""
    return [
        (service, pod, at)
        for service in world.services
        for generation in generations(world, service)
        for pod in generation.pods
        for at in pod.restarts
    ]


def hidden(world: World) -> list[tuple[str, Side, float, float]]:
    """What the scrape gaps hide: (service, side, start, end), relative to the end.

    A gap of a workload hides its own side of what it serves, and the clients' side of what it calls.
    """
    found: set[tuple[str, Side, float, float]] = set()
    for edge in world.edges:
        found |= {(edge.server, "destination", *gap) for gap in gaps(world, edge.server)}
        found |= {(edge.server, "source", *gap) for gap in gaps(world, edge.client)}
    for batch in world.batches:
        found |= {(batch.service, "jobs", *gap) for gap in gaps(world, batch.service)}
    return sorted(found)


def _split(events: CountArray, parts: int, random: np.random.Generator) -> list[CountArray]:
    """Give each event to one of ``parts`` pods, all alike."""
    shares: list[CountArray] = []
    left = events
    for remaining in range(parts, 1, -1):
        share = random.binomial(left, 1 / remaining).astype(np.int64)
        shares.append(share)
        left = left - share
    return [*shares, left]
