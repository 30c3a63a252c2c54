"""A policy on recorded events: when each of its lines would have fired, as Prometheus evaluates the rules.

Lines with windows of up to six hours are evaluated every minute on tiles, longer ones every five minutes on the grid,
as their rules are. Where tiles are read follows from the grid: a line can hold only in a step in which the most that
its window may have of bad events, and the least of all, burn fast enough. What the ledger has is in steps of five
minutes, and so are its verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from jobs.backtest.history import Events, History, Values
from jobs.budgets.collected import holds
from sloctl.model import FINE_LIMIT, GRID, AlertPolicy, BurnWindow, SeriesKey, Slo
from sloctl.model.policies import EventGate
from sloctl.promql.recorded import COARSE_YOUTH

DAY = 86400
ROUNDING = 1e-9
Mask = NDArray[np.bool_]
Held = tuple[NDArray[np.int64], Values, Values]
"""The instants at which a condition held (Unix seconds), with bad events and burn rate of its long window then."""
Found = dict[tuple[int, BurnWindow], list[Held]]
"""By row of the grid and line of the policy."""


@dataclass(frozen=True, slots=True)
class Firing:
    """An alert of a line that fired from ``start`` to ``end`` (Unix seconds; ``end`` is its first step without).

    ``bad`` are the bad events of its long window when it began to fire, ``burn`` is their burn rate.
    """

    slo: Slo
    key: SeriesKey
    line: BurnWindow
    start: int
    end: int
    bad: float
    burn: float


def replay(
    history: History, grid: Events, slos: Mapping[str, tuple[Slo, AlertPolicy]], since: int
) -> list[Firing]:
    """The alerts that fired at ``since`` or later. ``slos`` maps recorded definitions to what is evaluated on them.

    ``grid`` begins earlier by the longest window at least.
    """
    found: Found = {}
    rows_of: dict[str, list[int]] = {}
    for row, key in enumerate(grid.keys):
        rows_of.setdefault(key[0], []).append(row)
    wanted = np.zeros((len(grid.keys), grid.steps), bool)
    for slo_id, (slo, policy) in slos.items():
        rows = np.array(rows_of.get(slo_id, ()), dtype=np.int64)
        for line in policy.windows if len(rows) else ():
            if line.long <= FINE_LIMIT:
                wanted[rows] |= _possible(slo, policy, line, grid, rows)
                continue
            for row in map(int, rows):
                found.setdefault((row, line), []).append(_held(slo, policy, line, grid, row, grid, row))
    wanted[:, : max(0, (since - grid.start - FINE_LIMIT) // GRID)] = False
    for first in range(0, grid.steps, DAY // GRID):
        part = wanted[:, first : first + DAY // GRID]
        today = [int(row) for row in np.flatnonzero(part.any(axis=1))]
        if today:
            _on_tiles(found, history, grid, slos, today, (first, first + part.shape[1]))
    out = []
    for (row, line), parts in found.items():
        slo, _ = slos[grid.keys[row][0]]
        times, bad, burn = (np.concatenate([part[number] for part in parts]) for number in range(3))
        step = GRID if line.long > FINE_LIMIT else history.fine
        if len(times):
            out += _episodes(slo, grid.keys[row], line, (times, bad, burn), step)
    return sorted(
        (one for one in out if one.end > since),
        key=lambda one: (one.start, one.slo.name, one.key, one.line.long),
    )


def _on_tiles(
    found: Found,
    history: History,
    grid: Events,
    slos: Mapping[str, tuple[Slo, AlertPolicy]],
    rows: Sequence[int],
    steps: tuple[int, int],
) -> None:
    """Add when the shorter lines of some rows held in some steps of the grid."""
    start, end = (grid.start + step * GRID for step in steps)
    begin = max(grid.start, start - FINE_LIMIT)
    tiles = history.tiles(begin, end, [grid.keys[row] for row in rows])
    places = {key: row for row, key in enumerate(tiles.keys)}
    for row in rows:
        key = grid.keys[row]
        slo, policy = slos[key[0]]
        for line in policy.windows if key in places else ():
            if line.long <= FINE_LIMIT:
                times, bad, burn = _held(slo, policy, line, tiles, places[key], grid, row)
                new = times > start
                found.setdefault((row, line), []).append((times[new], bad[new], burn[new]))


def last(values: Values, steps: int) -> Values:
    """The sum of the last steps up to each, along the last axis."""
    summed = np.cumsum(values, axis=-1)
    summed[..., steps:] -= summed[..., :-steps].copy()
    return summed


def _windows(line: BurnWindow, step: int) -> tuple[int, int]:
    return max(1, line.long // step), max(1, ceil(line.short / step))


def _possible(slo: Slo, policy: AlertPolicy, line: BurnWindow, grid: Events, rows: NDArray[np.int64]) -> Mask:
    """The grid's steps in which a line may hold: at any minute, and wherever in it the rules were evaluated."""
    steps = line.long // GRID
    bad = last(grid.bad[rows], steps + 3)
    bad = np.concatenate([bad[:, 1:], bad[:, -1:]], axis=1)  # one step more to either side
    total = last(grid.total[rows], max(1, steps - 2))
    total = (
        np.concatenate([np.zeros((len(rows), 1)), total[:, :-1]], axis=1)
        if steps > 2
        else np.zeros_like(total)
    )
    factor, gate = float(policy.scaled(line, slo.window.seconds)), policy.gate(line, slo.window.seconds)
    burn = np.divide(bad, total * float(slo.budget), out=np.full_like(bad, np.inf), where=total > 0)
    if isinstance(gate, EventGate):
        return (burn > factor) & (bad >= gate.bad)
    with np.errstate(divide="ignore"):
        each = np.minimum(np.log(burn / float(gate.allowed)), float(gate.most))
    return (burn > factor) & (bad > 0) & (bad * np.where(bad > 0, each, 0.0) >= float(gate.needed))


def _held(
    slo: Slo, policy: AlertPolicy, line: BurnWindow, events: Events, row: int, grid: Events, grid_row: int
) -> Held:
    """When the condition of a line holds: looked at closely where both windows burn fast enough."""
    factor = float(policy.scaled(line, slo.window.seconds)) * float(slo.budget)
    windows = [
        (last(events.bad[row], steps), last(events.total[row], steps))
        for steps in _windows(line, events.step)
    ]
    fast = _seasoned(line, events, row, grid, grid_row)
    for bad, total in windows:
        fast &= (total > 0) & (bad > factor * (1 - ROUNDING) * total)

    def of(window: tuple[Values, Values], place: int) -> tuple[float, float]:
        return float(window[0][place]), float(window[1][place])

    at = [
        place
        for place in map(int, np.flatnonzero(fast))
        if holds(slo, policy, line, of(windows[0], place), of(windows[1], place))
    ]
    bad, total = (values[at] for values in windows[0])
    return (
        events.start + (np.array(at, dtype=np.int64) + 1) * events.step,
        bad,
        bad / total / float(slo.budget),
    )


def _seasoned(line: BurnWindow, events: Events, row: int, grid: Events, grid_row: int) -> Mask:
    """Where the long window has a step that was recorded at least the short window's length ago."""
    ends = events.start + (np.arange(events.steps) + 1) * events.step
    of, of_row = (grid, grid_row) if line.short >= COARSE_YOUTH else (events, row)
    recorded = np.concatenate([[0], np.cumsum(of.there[of_row])])

    def until(times: NDArray[np.int64]) -> NDArray[np.int64]:
        found: NDArray[np.int64] = recorded[np.clip((times - of.start) // of.step, 0, of.steps)]
        return found

    result: Mask = until(ends - line.short) > until(ends - line.long)
    return result


def _episodes(slo: Slo, key: SeriesKey, line: BurnWindow, held: Held, step: int) -> list[Firing]:
    """The alerts of a line, of the instants at which its condition held: it fires once it has held for long enough."""
    times, bad, burn = held
    breaks = np.flatnonzero(np.diff(times) > step) + 1
    out = []
    for part in np.split(np.arange(len(times)), breaks):
        begins = int(times[part[0]])
        fires = np.flatnonzero(times[part] - begins >= line.for_)
        if len(fires):
            at = part[fires[0]]
            end = int(times[part[-1]]) + step
            out.append(Firing(slo, key, line, int(times[at]), end, float(bad[at]), float(burn[at])))
    return out


def episodes(firings: Sequence[Firing], severity: str = "page", joining: int = 300) -> list[list[Firing]]:
    """Alerts of a severity as somebody is told of them: those of one service that overlap, or nearly, are one."""
    by_service: dict[tuple[str, str], list[Firing]] = {}
    for one in firings:
        if one.line.severity == severity:
            by_service.setdefault(one.key[1:], []).append(one)
    out: list[list[Firing]] = []
    for mine in by_service.values():
        end = -1
        for one in sorted(mine, key=lambda item: item.start):
            if one.start > end + joining or end < 0:
                out.append([])
            out[-1].append(one)
            end = max(end, one.end)
    return sorted(out, key=lambda item: (item[0].start, item[0].key))
