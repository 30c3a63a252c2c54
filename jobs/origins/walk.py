"""From a failing service to where its failures begin.

A service's failures in time are laid against those of the services that it calls: each explains the share that its own
failures, in step with them, are enough for; what none explains is the service's own. Calls that reached nobody are its
own whatever it calls. So on, to services that fail by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from jobs.origins.onset import Counts, Onset, onset
from jobs.origins.traffic import Calls, Place, Traffic

PART = 0.05
"""A share of a service's failures that is smaller than this is not followed."""
OWN = 0.15
"""A share of a service's failures that is left over and smaller than this is nobody's."""
DEPTH = 12
"""How far calls are followed."""
IN_STEP = 0.5
"""The least correlation of two services' failures for one to explain the other's."""


@dataclass(frozen=True, slots=True)
class Link:
    """A call on the way: ``share`` of the failures of ``caller`` are explained by those of what it calls."""

    caller: Place
    called: Place
    share: float
    onset: Onset


@dataclass(frozen=True, slots=True)
class Origin:
    """A service that fails by itself, the way to it, and which share of the failures that were asked for it explains.

    ``unreached`` is the share of its own failures that are calls which reached nobody.
    """

    service: Place
    share: float
    unreached: float
    onset: Onset
    way: tuple[Link, ...] = ()
    only_from: Place | None = None
    """The one caller whose calls of it fail, if others' do not."""


@dataclass(frozen=True)
class Walk:
    """What was found from one service on; ``doubts`` are sentences."""

    service: Place
    onset: Onset
    calls: Calls
    origins: tuple[Origin, ...]
    doubts: tuple[str, ...] = ()

    @property
    def explained(self) -> float:
        """The share of the failures for which an origin was found."""
        return min(1.0, sum(item.share for item in self.origins))


def onsets(traffic: Traffic, recent: int = 0) -> dict[Place, Onset]:
    """Since when each service fails that fails more than usual after the step ``recent``."""
    found = {}
    for service in traffic.services:
        calls = traffic.of(service)
        if (began := onset(calls.total, calls.bad, recent)) is not None:
            found[service] = began
    return found


@dataclass
class _Walker:
    traffic: Traffic
    recent: int
    known: Mapping[Place, Onset]
    doubts: list[str] = field(default_factory=list)

    def follow(self, service: Place, share: float, way: tuple[Link, ...]) -> list[Origin]:
        began, calls = self.known[service], self.traffic.of(service)
        span = slice(began.start, began.end)
        before = began.before or 0.0
        excess = np.clip(calls.bad - before * calls.total, 0, None)
        whole = float(excess[span].sum())
        if whole <= 0:
            return []
        unreached = min(float(calls.unreached[span].sum()) / max(float(calls.bad[span].sum()), 1e-9), 1.0)
        answered = excess * np.clip(
            1 - np.divide(calls.unreached, calls.bad, out=np.zeros_like(excess), where=calls.bad > 0), 0, 1
        )
        seen = {link.caller for link in way} | {service}
        parts = self._parts(service, answered, span, seen) if len(way) < DEPTH else {}
        found: list[Origin] = []
        own = 1.0
        for called, (enough, link_onset) in parts.items():
            part = enough / whole
            own -= part
            if part < PART:
                continue
            link = Link(service, called, part, link_onset)
            found += self.follow(called, share * part, (*way, link))
        own = max(own, 0.0)
        # Counts vary by chance: a rest that is no more than that is nobody's.
        if not found or (own >= OWN and own * whole >= 3 * whole**0.5):
            found.append(
                Origin(
                    service,
                    share * own,
                    min(1.0, unreached / own) if own > 0 else 0.0,
                    began,
                    way,
                    self._only_from(service, span),
                )
            )
        return found

    def _parts(
        self, service: Place, answered: Counts, span: slice, seen: set[Place]
    ) -> dict[Place, tuple[float, Onset]]:
        """For each service that is called and fails in step: how many failures of the caller it explains."""
        candidates: dict[Place, tuple[Counts, Onset]] = {}
        for called, calls in self.traffic.made_by(service).items():
            if called in seen or called not in self.known:
                continue
            began = onset(calls.total, calls.bad, self.recent)
            if began is None:
                continue
            candidates[called] = np.clip(calls.bad - (began.before or 0.0) * calls.total, 0, None), began
        if not candidates or answered[span].sum() <= 0:
            return {}
        names = sorted(candidates)
        weights = shares(answered, [candidates[name][0] for name in names])
        found = {}
        for name, weight in zip(names, weights, strict=True):
            enough = weight * float(candidates[name][0][span].sum())
            if enough > 0:
                found[name] = enough, candidates[name][1]
        total, most = sum(enough for enough, _ in found.values()), float(answered[span].sum())
        if total > most:
            found = {name: (enough * most / total, began) for name, (enough, began) in found.items()}
        together = sum(
            (weights[place] * candidates[name][0] for place, name in enumerate(names)), answered * 0
        )
        if found and correlation(answered, together) < IN_STEP:
            self.doubts.append(
                f"{text(service)} calls services that fail too, but not in step with it: {', '.join(map(text, found))}"
            )
            return {}
        return found

    def _only_from(self, service: Place, span: slice) -> Place | None:
        """The caller that nearly all failures come from, where others call the service and are served."""
        bad = {
            caller: (float(calls.bad[span].sum()), float(calls.total[span].sum()))
            for (caller, called), calls in self.traffic.edges.items()
            if called == service
        }
        failed, all_calls = (sum(counts[place] for counts in bad.values()) for place in (0, 1))
        if len(bad) < 2 or failed <= 0:
            return None
        worst = max(bad, key=lambda caller: bad[caller][0])
        rest_failed, rest = failed - bad[worst][0], all_calls - bad[worst][1]
        enough = rest >= 0.1 * all_calls and rest * bad[worst][0] / bad[worst][1] >= 10
        if enough and rest_failed / rest <= 0.05 * bad[worst][0] / bad[worst][1]:
            return worst
        return None


def walk(
    traffic: Traffic, service: Place, recent: int = 0, known: Mapping[Place, Onset] | None = None
) -> Walk | None:
    """Where the failures of a service begin; None if it does not fail more than usual after the step ``recent``.

    Several walks of the same traffic share ``known``, its :func:`onsets`.
    """
    walker = _Walker(traffic, recent, onsets(traffic, recent) if known is None else known)
    began = walker.known.get(service)
    if began is None:
        return None
    origins: dict[tuple[Place, Place | None], Origin] = {}
    for item in walker.follow(service, 1.0, ()):
        place = item.service, item.only_from
        other = origins.get(place)
        if other is None:
            origins[place] = item
        else:
            wider = max(other, item, key=lambda one: math.prod(link.share for link in one.way))
            origins[place] = replace(wider, share=other.share + item.share)
    ranked = tuple(sorted(origins.values(), key=lambda one: (-one.share, one.service)))
    return Walk(service, began, traffic.of(service), ranked, tuple(dict.fromkeys(walker.doubts)))


def shares(whole: Counts, parts: Sequence[Counts]) -> npt.NDArray[np.float64]:
    """Weights of 0…1 with which ``parts`` add up to ``whole`` as nearly as can be, by least squares.

    Minutes with many failures count for less than in proportion: counts vary as their square roots do.
    """
    scale = 1 / np.sqrt(whole + 1)
    matrix, target = np.stack(parts, axis=1) * scale[:, None], whole * scale
    gram, to = matrix.T @ matrix, matrix.T @ target
    weights = np.zeros(len(parts))
    for _ in range(500):
        before = weights.copy()
        for place in range(len(parts)):
            if gram[place, place] > 0:
                rest = to[place] - gram[place] @ weights + gram[place, place] * weights[place]
                weights[place] = min(1.0, max(0.0, rest / gram[place, place]))
        if np.abs(weights - before).max() < 1e-9:
            break
    return weights


def correlation(one: Counts, other: Counts) -> float:
    """Pearson's; 1 for series that do not vary."""
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / norm if norm > 0 else 1.0


def text(place: Place) -> str:
    """``namespace/name``."""
    return "/".join(part for part in place if part)


def suffering(traffic: Traffic, origin: Origin, known: Mapping[Place, Onset]) -> list[Place]:
    """The services whose calls end at the origin and that fail while it does, those with most failures first."""
    callers: dict[Place, set[Place]] = {}
    for service in traffic.services:
        for called in traffic.made_by(service):
            callers.setdefault(called, set()).add(service)
    first = callers.get(origin.service, set())
    if origin.only_from is not None:
        first = {service for service in first if origin.only_from in traffic.workloads_of(service)}
    found: set[Place] = set()
    edge = first - {origin.service}
    while edge := {
        service
        for service in edge - found
        if (began := known.get(service)) is not None
        and began.start < origin.onset.end
        and origin.onset.start < began.end
    }:
        found |= edge
        edge = {service for called in edge for service in callers.get(called, ())} - {origin.service}
    return sorted(found, key=lambda place: (-float(traffic.of(place).bad.sum()), place))
