"""Everything together: what fails, where it begins, what is known about that."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from jobs.origins import near, traffic
from jobs.origins.near import Circumstances
from jobs.origins.traffic import STEP, Place
from jobs.origins.walk import Origin, Walk, onsets, suffering, text, walk
from sloctl import naming, promql
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource
from sloctl.model import CounterSli, Matcher, SloSet
from sloctl.model.durations import duration, rfc3339
from sloctl.report.health import ConfiguredRetries

LOOK_BACK = 3
"""How many times as far back as it is asked for calls are read: to know what they were like before."""
MOST = 5
"""Origins that are told about."""
TOGETHER = 5
"""Steps within which services that begin to fail by themselves do so together."""
LEAST = 3
"""Failures that are worth a word."""
MANY = 4
"""How many of them have a cause in common rather than each one of its own."""


@dataclass(frozen=True, slots=True)
class Begins:
    """A place where failures begin, with the services that suffer from it, those that fail most first."""

    origin: Origin
    failures: float
    circumstances: Circumstances
    suffering: tuple[Place, ...]


@dataclass(frozen=True)
class Origins:
    """Where failures of the ``seconds`` before ``at`` begin, the most important first.

    ``asked`` are the services that were asked for, or those that fail. ``common`` is a caller whose calls alone fail,
    whoever it calls; ``together`` the services that begin to fail by themselves at about the same time, if they are
    many: then what they share is to be looked at. ``spent`` is by SLO the share of its budget that went since then.
    ``doubts`` are sentences. Without ``requests`` of what was asked for, nothing is known. ``unseen`` is, where nothing
    fails, from when to when (Unix seconds) nothing could be seen.
    """

    at: datetime
    seconds: int
    calls: traffic.Traffic
    asked: tuple[Walk, ...]
    begins: tuple[Begins, ...]
    requests: bool
    common: Place | None = None
    together: tuple[Place, ...] = ()
    spent: tuple[tuple[str, float], ...] = ()
    doubts: tuple[str, ...] = ()
    unseen: tuple[tuple[float, float], ...] = ()
    configured: tuple[ConfiguredRetries, ...] = ()
    """What the mesh's configuration allows of its calls, where one was given."""

    @property
    def known(self) -> bool:
        """Whether this is an answer: something fails, or nothing does and it would have been seen."""
        return self.requests and (bool(self.asked) or not self.unseen)


def run(
    source: MetricSource,
    slo_set: SloSet,
    at: datetime,
    seconds: int = 3600,
    *,
    namespace: str = "",
    service: str = "",
) -> Origins:
    """Where the failures of a service, or of all, begin. Raises ``BackendError``."""
    heard = Heard(source)
    calls = traffic.read(heard, slo_set.mesh, at, LOOK_BACK * seconds, namespace, service)
    recent = calls.steps - seconds // STEP
    known = onsets(calls, recent)
    walks = [
        found
        for place in calls.services
        if (not service or place[1] == service) and (not namespace or place[0] == namespace)
        if (found := walk(calls, place, recent, known)) is not None
    ]
    walks.sort(key=lambda one: -one.onset.excess)
    merged: dict[tuple[Place, Place | None], tuple[Origin, float]] = {}
    for one in walks:
        for origin in one.origins:
            key, failures = (origin.service, origin.only_from), origin.share * one.onset.excess
            if key not in merged or failures > merged[key][1]:
                merged[key] = origin, failures
    ranked = sorted(merged.values(), key=lambda item: (-item[1], item[0].service))
    common, together = _shared(calls, [origin for origin, _ in ranked])
    begins = tuple(
        Begins(
            origin,
            failures,
            near.circumstances(heard, slo_set, calls, origin, at),
            tuple(suffering(calls, origin, known)),
        )
        for origin, failures in ranked[:MOST]
    )
    requests, unseen = bool(walks), list[tuple[float, float]]()
    if not walks:
        requests, unseen = traffic.requests(heard, slo_set.mesh, at, seconds, namespace, service)
    concerned = {one.service: None for one in walks} | {origin.service: None for origin, _ in ranked}
    doubts = [
        *calls.doubts,
        *(text for one in walks for text in one.doubts),
        *_gaps(calls, list(concerned)),
        *_missed(heard, slo_set, calls, {one.service for one in walks}, at, seconds, (namespace, service)),
        *heard.doubts,
    ]
    if len(ranked) > MOST:
        doubts.append(
            f"{len(ranked) - MOST} more places where failures begin, with fewer failures, are left out"
        )
    return Origins(
        at,
        seconds,
        calls,
        tuple(walks),
        begins,
        requests,
        common,
        together,
        _spent(heard, slo_set, walks, calls, at),
        tuple(dict.fromkeys(doubts)),
        tuple(unseen),
    )


def _gaps(calls: traffic.Traffic, services: Sequence[Place]) -> list[str]:
    """When nothing was recorded of services that fail: what is said to begin then may have begun earlier or later."""
    found: dict[tuple[int, int], list[Place]] = {}
    for service in services:
        for interval in calls.unseen.get(service, ()):
            found.setdefault(interval, []).append(service)
    texts = []
    for (first, last), places in sorted(found.items()):
        names = ", ".join(text(place) for place in places[:3])
        more = f" and {len(places) - 3} more" if len(places) > 3 else ""
        since = f"since {clock(calls.instant(first))}"
        when = since if last >= calls.steps else f"from {since[6:]} to {clock(calls.instant(last))}"
        texts.append(f"nothing is recorded {when} of {names}{more}: failures may have begun or ended then")
    return texts


def _missed(
    source: MetricSource,
    slo_set: SloSet,
    calls: traffic.Traffic,
    told: Collection[Place],
    at: datetime,
    seconds: int,
    asked: Place,
) -> list[str]:
    """Failures that the rules counted and plain ``increase`` does not: between two scrapes, or the first of a kind."""
    slos = {
        slo.id: slo
        for slo in slo_set.slos
        if isinstance(slo.sli, CounterSli) and slo.sli.preset == "availability" and not slo.sli.where
    }
    texts = []
    recorded = source.query(promql.of_set(naming.BAD_GRID, slo_set.name, seconds), at) if slos else ()
    for item in recorded:
        labels, bad = item["metric"], float(item["value"][1])
        namespace, service = (labels.get(name, "") for name in naming.IDENTITY)
        slo = slos.get(labels.get(naming.SLO_ID, ""))
        place = (namespace, service)
        if (
            slo is None
            or place in told
            or asked not in ((a, b) for a in ("", namespace) for b in ("", service))
        ):
            continue
        seen = float(calls.of(place).bad[calls.steps - seconds // STEP :].sum())
        if bad - seen >= max(LEAST, bad / 2):
            texts.append(
                f"the rules counted {bad:,.0f} bad events of {text(place)} {slo.name} in the last "
                f"{duration(seconds)}, of which {seen:,.0f} are seen here: the others came between two scrapes, were "
                "the first of their kind, or have codes that are no failures here"
            )
    return sorted(texts)


def clock(at: float) -> str:
    """A time of the day, to the minute."""
    return rfc3339(round(at / STEP) * STEP)[11:16] + " UTC"


def _shared(calls: traffic.Traffic, origins: Sequence[Origin]) -> tuple[Place | None, tuple[Place, ...]]:
    """What many origins have in common: the one caller of them all, or their time."""
    for caller in {origin.only_from for origin in origins} - {None}:
        if len({origin.service for origin in origins}) >= 2 and all(
            origin.only_from == caller
            or {one for one, called in calls.edges if called == origin.service} == {caller}
            for origin in origins
        ):
            return caller, ()
    known = sorted((origin for origin in origins if origin.onset.known), key=lambda one: one.onset.start)
    for place, first in enumerate(known):
        near_it = [one for one in known[place:] if one.onset.start - first.onset.start <= TOGETHER]
        if len(near_it) >= MANY and len(near_it) * 2 >= len(origins):
            return None, tuple(dict.fromkeys(one.service for one in near_it))
    return None, ()


def _spent(
    source: MetricSource, slo_set: SloSet, walks: Sequence[Walk], calls: traffic.Traffic, at: datetime
) -> tuple[tuple[str, float], ...]:
    """What of each budget of the services went since they fail, as far as it is recorded."""
    found: dict[str, float] = {}
    for one in walks[:MOST]:
        began = datetime.fromtimestamp(calls.instant(one.onset.start), UTC)
        where = [
            Matcher(naming.SLO_SET, "=", slo_set.name),
            *(Matcher(name, "=", value) for name, value in zip(naming.IDENTITY, one.service, strict=True)),
        ]
        series = promql.selector(naming.REMAINING, where)
        expr = f"max by ({naming.SLO_ID}, {naming.SLO}) (last_over_time({series}[11m]))"
        then = {
            item["metric"].get(naming.SLO_ID, ""): item
            for item in source.query(expr, began - timedelta(minutes=5))
        }
        for item in source.query(expr, at):
            before = then.get(item["metric"].get(naming.SLO_ID, ""))
            if before is not None:
                spent = float(before["value"][1]) - float(item["value"][1])
                if spent > 0:
                    found[f"{text(one.service)} {item['metric'].get(naming.SLO, '')}"] = spent
    return tuple(found.items())
