"""What a replay means: pages by week and owner, which incidents they tell of and when, and what other SLOs would do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np

from jobs.backtest.history import Events, History, Joined
from jobs.backtest.replay import DAY, Firing, episodes, last, replay
from sloctl.model import GRID, AlertPolicy, SeriesKey, Slo, SloSet
from sloctl.model.durations import rfc3339
from sloctl.model.policies import POLICIES

WEEK = 7 * DAY
WHOLE = 0.98
"""The share of a time that is recorded from which on nothing is said."""
LATE = 1800
"""Seconds after an incident within which a page is still about it."""
OBJECTIVES = tuple(map(Decimal, ("90", "95", "97", "98", "99", "99.5", "99.8", "99.9", "99.95", "99.99")))
OF_FILE = "file"
"""What a policy is called that is each SLO's own."""
ENOUGH = Decimal("0.8")
"""What of a budget an objective that is proposed would have spent at most."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A known incident (Unix seconds), of a service where ``service`` is given; its namespace may be ""."""

    start: int
    end: int
    namespace: str = ""
    service: str = ""
    name: str = ""

    def concerns(self, key: SeriesKey) -> bool:
        """Whether a series may be about it."""
        return self.service in ("", key[2]) and self.namespace in ("", key[1])


@dataclass(frozen=True, slots=True)
class Detected:
    """How an incident was told of: the first page's alert, seconds after its start, and the budget spent by then.

    ``spent`` is a share of the budget of the SLO's whole window.
    """

    incident: Incident
    by: Firing | None = None
    seconds: int = 0
    spent: float = 0.0


@dataclass(frozen=True)
class Replayed:
    """What one policy would have done. ``pages`` are alerts of severity page as a service's people were told.

    Of ``pages``, ``useful`` tell of a known incident.
    """

    name: str
    firings: tuple[Firing, ...]
    pages: tuple[tuple[Firing, ...], ...]
    tickets: tuple[tuple[Firing, ...], ...]
    spent: Mapping[int, float]
    """By firing (its ``id``): the share of the whole window's budget that its long window's bad events are."""
    detected: tuple[Detected, ...] = ()
    useful: int = 0

    @property
    def precision(self) -> float | None:
        """Of the pages, how many tell of a known incident."""
        return self.useful / len(self.pages) if self.pages else None

    @property
    def recall(self) -> float | None:
        """Of the incidents, how many a page tells of."""
        return (
            sum(one.by is not None for one in self.detected) / len(self.detected) if self.detected else None
        )


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An objective that would have lasted: the share of its budget that would have gone, and now."""

    slo: Slo
    key: SeriesKey
    sli: float
    worst: float
    objective: Decimal
    worst_of_it: float


@dataclass(frozen=True)
class Backtest:
    """The replay of some policies from ``start`` to ``end`` (Unix seconds).

    ``seen`` is which share of the time each series has a record of, ``fine`` the seconds of the finest step, ``grid``
    all events that were read, from the longest window before ``start`` on.
    """

    start: int
    end: int
    fine: int
    policies: tuple[Replayed, ...]
    seen: Mapping[SeriesKey, float]
    slos: Mapping[str, Slo]
    suggestions: tuple[Suggestion, ...] = ()
    best: str = ""
    doubts: tuple[str, ...] = ()
    incidents: tuple[Incident, ...] = field(default=())
    grid: Events | None = field(default=None, repr=False, compare=False)

    @property
    def weeks(self) -> float:
        """How long it is."""
        return (self.end - self.start) / WEEK


def run(
    history: History,
    slo_set: SloSet,
    start: int,
    end: int,
    *,
    policies: Sequence[str] = (OF_FILE,),
    incidents: Sequence[Incident] = (),
    wanted: Callable[[Slo, SeriesKey], bool] = lambda _slo, _key: True,
    suggest: bool = False,
) -> Backtest:
    """Replay policies over the time from ``start`` to ``end``. Raises ``BackendError``."""
    start, end = start // GRID * GRID, end // GRID * GRID
    by_id = {slo.id: slo for slo in slo_set.slos}
    history = Joined(history, slo_set)
    chosen = {name: _evaluated(by_id, name) for name in policies}
    longest = max(
        (length for found in chosen.values() for _, policy in found.values() for length in policy.lengths),
        default=DAY,
    )
    grid = history.grid(start - longest, end)
    grid = _kept(grid, [row for row, key in enumerate(grid.keys) if wanted(by_id[key[0]], key)])
    within = [one for one in incidents if one.end > start and one.start < end]
    first = longest // GRID
    events = {
        key: (float(grid.bad[row, first:].sum()), float(grid.total[row, first:].sum()))
        for row, key in enumerate(grid.keys)
    }
    replayed = tuple(
        _judged(name, replay(history, grid, found, start), grid, events, within, (start, end))
        for name, found in chosen.items()
    )
    seen = {key: float(grid.there[row, first:].mean()) for row, key in enumerate(grid.keys)}
    return Backtest(
        start,
        end,
        history.fine,
        replayed,
        seen,
        by_id,
        tuple(_suggestions(grid, by_id, first)) if suggest else (),
        _best(replayed) if suggest else "",
        (
            *history.doubts,
            *_outside(incidents, within, (start, end)),
            *_unrecorded(grid, by_id, wanted, within, start),
        ),
        tuple(within),
        grid,
    )


def _outside(
    incidents: Sequence[Incident], within: Sequence[Incident], span: tuple[int, int]
) -> Iterator[str]:
    """Incidents that are of no time that is replayed: they are neither told of nor missed."""
    kept = set(within)
    others = [one for one in incidents if one not in kept]
    if others:
        named = ", ".join(f"{rfc3339(one.start)} {one.name}".strip() for one in others[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        yield (
            f"{len(others)} of {len(incidents)} incidents are outside of the time from {rfc3339(span[0])} to "
            f"{rfc3339(span[1])}, and left out: {named}{more}"
        )


def _unrecorded(
    grid: Events,
    by_id: Mapping[str, Slo],
    wanted: Callable[[Slo, SeriesKey], bool],
    incidents: Sequence[Incident],
    start: int,
) -> Iterator[str]:
    """Of what nothing is known, and would read as if nothing had happened."""
    known = {key[0] for key in grid.keys}
    for slo in by_id.values():
        key = (slo.id, slo.namespace, slo.service)
        if slo.id not in known and wanted(slo, key):
            yield f"{slo.id.partition(':')[2]}: nothing is recorded of it"
    before = (start - grid.start) // GRID
    young = sum(share < WHOLE for share in grid.there[:, :before].mean(axis=1)) if before else 0
    if young:
        yield (
            f"of {young} of {len(grid.keys)} services less than {WHOLE:.0%} is recorded of the time before, at which "
            "windows look back: what burned already may be told of late"
        )
    for incident in incidents:
        first, last_ = ((time - grid.start) // GRID for time in (incident.start, incident.end))
        rows = [row for row, key in enumerate(grid.keys) if incident.concerns(key)]
        span = grid.there[rows, max(0, first) : max(0, first, last_) + 1]
        share = float(span.mean()) if span.size else 0.0
        if share < WHOLE:
            yield (
                f"the incident of {rfc3339(incident.start)}: {share:.0%} of its time is recorded, so that no page, or "
                "a late one, says nothing of a policy"
            )


def _evaluated(by_id: Mapping[str, Slo], name: str) -> dict[str, tuple[Slo, AlertPolicy]]:
    """What is evaluated on the events of each definition."""
    found = {}
    for slo_id, slo in by_id.items():
        policy = slo.policy if name == OF_FILE else POLICIES[name]
        if policy is not None:
            found[slo_id] = (slo, policy)
    return found


def _kept(events: Events, rows: Sequence[int]) -> Events:
    at = list(rows)
    return replace(
        events,
        keys=[events.keys[row] for row in at],
        total=events.total[at],
        bad=events.bad[at],
        there=events.there[at],
    )


def _judged(
    name: str,
    firings: Sequence[Firing],
    grid: Events,
    events: Mapping[SeriesKey, tuple[float, float]],
    incidents: Sequence[Incident],
    span: tuple[int, int],
) -> Replayed:
    rows = {key: row for row, key in enumerate(grid.keys)}

    def budget(one: Firing) -> float:
        """The bad events that the budget of the whole window allows at the traffic of the replay."""
        return events[one.key][1] / (span[1] - span[0]) * one.slo.window.seconds * float(one.slo.budget)

    pages = tuple(map(tuple, episodes(firings)))
    useful = sum(any(_about(one, incident) for one in page for incident in incidents) for page in pages)
    detected = []
    for incident in incidents:
        about = [one for page in pages for one in page if _about(one, incident)]
        if not about:
            detected.append(Detected(incident))
            continue
        by = min(about, key=lambda one: one.start)
        first, until = (max(0, (time - grid.start) // GRID) for time in (incident.start, by.start))
        bad = float(grid.bad[rows[by.key], first : max(first, until)].sum())
        whole = budget(by)
        detected.append(
            Detected(incident, by, max(0, by.start - incident.start), bad / whole if whole else 0.0)
        )
    spent = {id(one): one.bad / whole if (whole := budget(one)) else 0.0 for one in firings}
    return Replayed(
        name, tuple(firings), pages, tuple(map(tuple, episodes(firings, "ticket"))), spent, tuple(detected), useful
    )  # fmt: skip


def _about(one: Firing, incident: Incident) -> bool:
    return incident.concerns(one.key) and one.end > incident.start and one.start <= incident.end + LATE


def _suggestions(grid: Events, by_id: Mapping[str, Slo], first: int) -> list[Suggestion]:
    """Where the objective would not have lasted, or would have with much to spare: the strictest that would.

    What would have gone is the most of any window in the history, or of all of it if that is shorter.
    """
    out = []
    for row, key in enumerate(grid.keys):
        slo, bad, total = by_id[key[0]], grid.bad[row, first:], grid.total[row, first:]
        if total.sum() <= 0:
            continue
        steps = min(len(bad), slo.window.seconds // GRID)
        share = np.divide(
            last(bad, steps), last(total, steps), out=np.zeros(len(bad)), where=last(total, steps) > 0
        )
        worst = float(share[steps - 1 :].max())
        lasting = [one for one in OBJECTIVES if worst <= float((100 - one) / 100 * ENOUGH)]
        if not lasting or lasting[-1] == slo.objective:
            continue
        worst_now, best = worst / float(slo.budget), lasting[-1]
        if worst_now > 1 or best > slo.objective:
            sli = 1 - float(bad.sum() / total.sum())
            out.append(Suggestion(slo, key, sli, worst_now, best, worst / float((100 - best) / 100)))
    return sorted(out, key=lambda one: -one.worst)


def _best(replayed: Sequence[Replayed]) -> str:
    """The policy that tells of most incidents, of those the one with fewest pages; without incidents the latter."""
    ranked = sorted(replayed, key=lambda one: (-(one.recall or 0.0), len(one.pages), len(one.tickets)))
    return ranked[0].name if ranked else ""
