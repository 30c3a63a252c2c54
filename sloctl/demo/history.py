"""The history of a world as Prometheus would have scraped it, and the building of its TSDB.

Turns the engine's events per tick into cumulative counters at scrapes: with late births, restarts, gaps and
the life span of each pod. Knows about time stamps; knows nothing about how the events came to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sloctl.artefacts.openmetrics import Progress, SampledSeries
from sloctl.demo import truth as truths
from sloctl.demo.engine import Counter, Simulation, hidden, restarts
from sloctl.demo.pods import Labels, Target
from sloctl.demo.remote_write import write_block
from sloctl.demo.truth import CountArray, Gap, Restart, Truth
from sloctl.demo.world import Grid, World

GRID = 300
"""A history ends at a multiple of so many seconds."""


@dataclass(frozen=True)
class History:
    """A finished history.

    ``data_dir`` is its TSDB, ``end`` its last instant (Unix seconds, a multiple of 300), ``state`` the last
    values of all counters that are still alive then (by their full, sorted labels), ``samples`` its size.
    """

    world: World
    end: int
    data_dir: Path
    truth: Truth
    state: Mapping[Labels, int] = field(repr=False)
    samples: int = 0

    @property
    def start(self) -> int:
        """The instant (Unix seconds) from which events are known."""
        return self.end - round(self.world.interval * self.world.scrapes)


def build_history(world: World, end: int, directory: Path, progress: Progress | None = None) -> History:
    """Play ``world`` up to ``end`` (Unix seconds) and write its TSDB to ``directory``/data.

    ``directory`` also receives what :func:`load_history` needs. Raises ValueError if ``end`` is not a multiple
    of 300, and what :func:`sloctl.demo.remote_write.write_block` raises.
    """
    if end % GRID:
        raise ValueError(f"{end} is not a multiple of {GRID} seconds")
    directory.mkdir(parents=True, exist_ok=True)
    if progress:
        progress(0.0, "simulating")
    simulation = Simulation(world, history_grid(world))
    truth = _truth(simulation, end)
    everything = list(series(simulation, end))
    samples = write_block(everything, directory / "data", progress=progress)
    state = _state(simulation, everything, end)
    truths.save(truth, directory / "truth.npz")
    text = {
        "end": end,
        "samples": samples,
        "state": [[dict(labels), value] for labels, value in state.items()],
    }
    (directory / "history.json").write_text(json.dumps(text), encoding="utf-8")
    return History(world, end, directory / "data", truth, state, samples)


def load_history(world: World, directory: Path) -> History:
    """Read the history that :func:`build_history` left in ``directory``.

    Raises OSError, ValueError or KeyError if there is none or it is damaged.
    """
    text = json.loads((directory / "history.json").read_text(encoding="utf-8"))
    state = {tuple(sorted(labels.items())): int(value) for labels, value in text["state"]}
    return History(
        world,
        int(text["end"]),
        directory / "data",
        truths.load(directory / "truth.npz"),
        state,
        int(text["samples"]),
    )


def history_grid(world: World) -> Grid:
    """The ticks of the history: each closes at a scrape, the last one just before the end."""
    return Grid(world.last_scrape - world.interval * world.scrapes, world.interval, world.scrapes)


def series(simulation: Simulation, end: int) -> Iterator[SampledSeries]:
    """Every series as scraped, with ``up`` of every target.

    The first scrape is one interval before the first tick closes: it finds the targets without counters.
    """
    scrapes = Scrapes(simulation.grid, end)
    for target in simulation.targets:
        yield scrapes.up(target)
    for counter in simulation.counters:
        yield scrapes.counter(counter)


class Scrapes:
    """The scrapes of a grid: index 0 at its start, index k + 1 at the close of tick k."""

    def __init__(self, grid: Grid, end: int) -> None:
        self._grid = grid
        self._instants = np.concatenate([[grid.start], grid.ends])
        self._stamps = np.round((end + self._instants) * 1000).astype(np.int64)
        self._reached: dict[Target, np.ndarray[tuple[int], np.dtype[np.bool_]]] = {}

    def up(self, target: Target) -> SampledSeries:
        """1 where the target answered, 0 where it did not; nothing outside its life."""
        alive = (self._instants >= target.first) & (self._instants <= target.last)
        labels = {"__name__": "up", **dict(target.labels)}
        return SampledSeries(labels, self._stamps[alive], self.reached(target)[alive].astype(np.int64))

    def reached(self, target: Target) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which scrapes the target answered, shape (ticks + 1,)."""
        known = self._reached.get(target)
        if known is None:
            known = (self._instants >= target.first) & (self._instants <= target.last)
            for start, end in target.gaps:
                known &= ~((self._instants > start) & (self._instants <= end))
            self._reached[target] = known
        return known

    def counter(self, counter: Counter) -> SampledSeries:
        """The counter's values at the scrapes that saw it."""
        values = np.zeros(len(self._instants), dtype=np.int64)
        values[1:] = np.cumsum(counter.events, dtype=np.int64)
        for restart in counter.target.restarts:
            first = int(np.searchsorted(self._instants, restart, side="right"))
            if 0 < first < len(values):
                values[first:] -= values[first - 1]
        seen = self.reached(counter.target) & (values > 0 if counter.lazy else np.True_)
        if np.isfinite(counter.life).any():
            seen &= (self._instants >= counter.life[0]) & (self._instants <= counter.life[1])
        labels = dict((*counter.labels, *counter.target.labels))
        labels.update(counter.labels)  # kube-state-metrics names its own namespaces and pods
        return SampledSeries(labels, self._stamps[seen], values[seen])


def _state(simulation: Simulation, everything: list[SampledSeries], end: int) -> dict[Labels, int]:
    last = round((end + simulation.grid.ends[-1]) * 1000)
    return {
        tuple(sorted(one.labels.items())): int(one.values[-1])
        for one in everything
        if len(one.values) and one.timestamps[-1] == last and one.labels["__name__"] != "up"
    }


def _truth(simulation: Simulation, end: int) -> Truth:
    first = simulation.grid.start
    return Truth(
        scrapes=end + simulation.grid.ends,
        counts={
            place: {kind: _frozen(events) for kind, events in kinds.items()}
            for place, kinds in simulation.counts.items()
        },
        gaps=tuple(
            Gap(service, side, end + start, end + stop)
            for service, side, start, stop in hidden(simulation.world)
            if stop > first
        ),
        restarts=tuple(
            Restart(service.namespace, service.name, dict(pod.labels)["pod"], end + at)
            for service, pod, at in restarts(simulation.world)
            if first < at <= 0
        ),
    )


def _frozen(events: CountArray) -> CountArray:
    events.flags.writeable = False
    return events
