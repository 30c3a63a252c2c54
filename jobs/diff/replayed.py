"""Two sets on the same past: what each would have paged for, and what is left of each budget.

Alerts are those of :mod:`jobs.backtest`, so that a side is what ``sloctl backtest`` says of its file. Budgets leave out
the file's maintenance, as the ledger does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from jobs import backtest
from jobs.backtest import told
from jobs.backtest.judged import OF_FILE, Backtest, Incident, Replayed
from jobs.backtest.replay import Firing
from jobs.budgets.maintenance import Excused
from jobs.diff.compared import Comparison, title
from sloctl import naming
from sloctl.ledger.protocol import MutedInterval
from sloctl.model import GRID, RollingWindow, SeriesKey, Slo, SloSet
from sloctl.model.calendar import containing

JOINING = 300
"""Seconds between two pages that are one, as in a backtest."""
Read = Callable[[SloSet], backtest.History]


@dataclass(frozen=True, slots=True)
class Budget:
    """What is spent of one budget, as a share of it (None: no events), and how much of its window is recorded."""

    slo: Slo
    spent: float | None
    recorded: float


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its service, owner, alerts, and when it began and ended (Unix seconds)."""

    namespace: str
    service: str
    owner: str
    alerts: tuple[str, ...]
    start: int
    end: int

    @property
    def where(self) -> str:
        """Its service as people write it."""
        return naming.place(self.namespace, self.service)


@dataclass(frozen=True)
class Side:
    """What one set would have done, and its budgets. ``unknown`` are SLOs of which the replay can say nothing.

    ``partial``: it is in doubt whether all was read.
    """

    backtest: Backtest
    budgets: dict[SeriesKey, Budget]
    unknown: tuple[str, ...] = ()
    partial: bool = False

    @property
    def replayed(self) -> Replayed:
        """The policies of the file, replayed."""
        return self.backtest.policies[0]

    @property
    def pages(self) -> tuple[Page, ...]:
        """What would have paged."""
        return tuple(map(_page, self.replayed.pages))


@dataclass(frozen=True)
class Replay:
    """Both sets from ``start`` to ``end`` (Unix seconds); None is a set without SLOs.

    ``gained`` and ``lost`` are the pages that only one side has: none of the other overlaps, of the same service.
    ``undecided`` are those of which nobody can say that, for an SLO of the service has no record on the other side.
    """

    start: int
    end: int
    before: Side | None
    after: Side | None
    gained: tuple[Page, ...]
    lost: tuple[Page, ...]
    undecided: tuple[Page, ...]
    doubts: tuple[str, ...]


def window(of: Sequence[SloSet]) -> int:
    """Seconds of the longest window of some sets."""
    return max((slo.window.seconds for one in of for slo in one.slos), default=30 * 86400)


def replay(
    read: Read,
    found: Comparison,
    start: int,
    end: int,
    *,
    incidents: Sequence[Incident] = (),
    muted: Sequence[MutedInterval] = (),
) -> Replay:
    """Replay both sides; ``read`` gives the history of a set. Raises ``BackendError``."""
    start, end = start // GRID * GRID, end // GRID * GRID
    doubts: list[str] = []
    if any(one.ledger.silences != "none" for one in (found.old, found.new)) and not muted:
        doubts.append(
            "silences that excuse are not known here: budgets leave out the maintenance of the file alone"
        )

    def counted(slo: Slo, key: SeriesKey) -> bool:
        return (slo.id, "", "") not in found.recounted and key not in found.recounted

    before = _side(read, found.old, (start, end), incidents, muted, lambda _slo, _key: True)
    after = _side(read, found.new, (start, end), incidents, muted, counted)
    of_both = [_doubts(side) if side else [] for side in (before, after)]
    for text in dict.fromkeys((*of_both[0], *of_both[1])):
        where = [name for name, of in zip(("before", "after"), of_both, strict=True) if text in of]
        doubts.append(f"{' and '.join(where)}: {text}")
    gained, open_ = _only(after, before, found.old)
    lost, more = _only(before, after, found.new)
    return Replay(start, end, before, after, gained, lost, (*more, *open_), tuple(doubts))


def _side(
    read: Read,
    slo_set: SloSet,
    span: tuple[int, int],
    incidents: Sequence[Incident],
    muted: Sequence[MutedInterval],
    wanted: Callable[[Slo, SeriesKey], bool],
) -> Side | None:
    if not slo_set.slos:
        return None
    history = read(slo_set)
    found = backtest.run(history, slo_set, *span, policies=(OF_FILE,), incidents=incidents, wanted=wanted)
    known = {key[0] for key in found.seen}
    unknown = tuple(
        f"{title(slo)}: other events than it counts are recorded of it"
        for slo in slo_set.slos
        if slo.id not in known and not wanted(slo, (slo.id, slo.namespace, slo.service))
    )
    budgets = dict(_budgets(found, slo_set, muted))
    return Side(replace(found, grid=None), budgets, unknown, bool(history.doubts))


def _doubts(side: Side) -> list[str]:
    return [*side.unknown, *told.doubts(side.backtest)]


def _budgets(
    found: Backtest, slo_set: SloSet, muted: Sequence[MutedInterval]
) -> list[tuple[SeriesKey, Budget]]:
    grid = found.grid
    if grid is None:
        return []
    excused = Excused(slo_set, muted, grid.start, found.end)
    out = []
    for row, key in enumerate(grid.keys):
        slo = found.slos[key[0]]
        begin = _begin(slo, found.end)
        first = max(0, (begin - grid.start) // GRID)
        total, bad = grid.total[row].copy(), grid.bad[row].copy()
        for start, end in excused.intervals(key):
            steps = slice(max(0, (start - grid.start) // GRID), max(0, (end - grid.start) // GRID))
            total[steps] = bad[steps] = 0
        whole, failed = float(total[first:].sum()), float(bad[first:].sum())
        recorded = float(grid.there[row, first:].sum()) / max(1, (found.end - begin) // GRID)
        spent = failed / (whole * float(slo.budget)) if whole > 0 else None
        out.append((key, Budget(slo, spent, recorded)))
    return out


def _begin(slo: Slo, end: int) -> int:
    """When the window began that ends at ``end``."""
    if isinstance(slo.window, RollingWindow):
        return end - slo.window.seconds
    at = datetime.fromtimestamp(end, UTC)
    return int(containing(slo.window.unit, slo.window.timezone, at, slo.window.starts).start.timestamp())


def _page(parts: tuple[Firing, ...]) -> Page:
    first = parts[0]
    names = dict.fromkeys(naming.alert_name(one.slo, one.line) for one in parts)
    owners = dict.fromkeys(one.slo.owner for one in parts)
    end = max(one.end for one in parts)
    return Page(first.key[1], first.key[2], next(iter(owners)), tuple(names), first.start, end)


def _only(
    side: Side | None, other: Side | None, slo_set: SloSet
) -> tuple[tuple[Page, ...], tuple[Page, ...]]:
    """The pages of a side that overlap none of the other's, of the same service; and those of them that are undecided.

    ``slo_set`` is the other side's.
    """
    by_service: dict[str, list[Page]] = {}
    for one in other.pages if other else ():
        by_service.setdefault(one.where, []).append(one)
    alone = [
        one
        for one in (side.pages if side else ())
        if not any(
            one.start <= page.end + JOINING and page.start <= one.end + JOINING
            for page in by_service.get(one.where, ())
        )
    ]
    seen = other.backtest.seen if other else {}
    unknown = {
        (one.namespace, one.service)
        for one in alone
        for slo in slo_set.slos
        if slo.namespace == one.namespace
        and (slo.service == one.service or (slo.wildcard and one.service not in slo.overridden))
        and (slo.id, one.namespace, one.service) not in seen
    }
    parts: tuple[list[Page], list[Page]] = ([], [])
    for one in alone:
        parts[(one.namespace, one.service) in unknown].append(one)
    return tuple(parts[0]), tuple(parts[1])
