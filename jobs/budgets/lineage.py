"""Events of a service that first one definition counted and then another: an override of ``*`` that came, or went.

A named SLO takes its service out of the SLO of the same name for ``*``. What was counted before stands under the other
definition: it is the same service's, and one row has both. Where both have recorded the same time (a new definition is
caught up from history), the named one counts, so that nothing counts twice. This module knows which definitions belong
together; they are known by their ids, for one of them may be gone from the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sloctl import naming
from sloctl.ledger.protocol import Bucket, CauseLabels, Interval, Ledger, Sums, by_service
from sloctl.model import SeriesKey, Slo, SloSet
from sloctl.report.data import Finding


class Lineage:
    """Which definition of a set counts a service now, whichever counted it before."""

    def __init__(self, slo_set: SloSet) -> None:
        self._set = slo_set.name
        self._slos = {slo.id: slo for slo in slo_set.slos}
        self._wild = {(slo.namespace, slo.name): slo for slo in slo_set.slos if slo.wildcard}

    def current(self, key: SeriesKey) -> SeriesKey | None:
        """Under which definition events of ``key`` belong now; None if no SLO of the file counts them."""
        slo_id, namespace, service = key
        slo = self._slos.get(slo_id)
        if slo is not None and not (slo.wildcard and service in slo.overridden):
            return key
        if not service:
            return None
        if slo is None:
            name = slo_id.rpartition("/")[2]
            wild = self._wild.get((namespace, name))
            if wild and slo_id == self._named(wild, service) and service not in wild.overridden:
                return wild.id, namespace, service
            if slo_id != self._id(namespace, "*", name):
                return None
        else:
            name = slo.name
        other = self._id(namespace, service, name)
        return (other, namespace, service) if other in self._slos else None

    def others(self, slo: Slo, service: str) -> str:
        """The definition that may have counted a service of an SLO before."""
        return self._named(slo, service) if slo.wildcard else self._id(slo.namespace, "*", slo.name)

    def _named(self, wild: Slo, service: str) -> str:
        return self._id(wild.namespace, service, wild.name)

    def _id(self, namespace: str, service: str, name: str) -> str:
        return f"{self._set}:{namespace}/{service}/{name}"

    def joined(self, values: Mapping[SeriesKey, float]) -> dict[SeriesKey, float]:
        """Sums of what rules recorded, under the definitions of now: no two record one instant of a service."""
        found: dict[SeriesKey, float] = {}
        for key, value in values.items():
            if (now := self.current(key)) is not None:
                found[now] = found.get(now, 0.0) + value
        return found

    def moved(self, values: Mapping[SeriesKey, float]) -> set[SeriesKey]:
        """The keys of now some of whose events another definition counted."""
        found = {self.current(key) for key, value in values.items() if value > 0 and self.current(key) != key}
        return {key for key in found if key is not None}


@dataclass(frozen=True, slots=True)
class _Pair:
    """A service that two definitions have counted: ``now`` is the key of the file's."""

    now: SeriesKey
    named: SeriesKey
    wild: SeriesKey


class Books:
    """The ledger's sums, under the definitions of the file. All methods raise ``BackendError``."""

    def __init__(self, ledger: Ledger, slo_set: SloSet) -> None:
        self._ledger, self._set = ledger, slo_set
        self._lineage = lineage = Lineage(slo_set)
        slos = {slo.id: slo for slo in slo_set.slos}
        known = [key for key in ledger.keys(slo_set.name) if key[2]]
        self._pairs: dict[SeriesKey, _Pair] = {}
        self.keys: set[SeriesKey] = set()
        """Every SLO and service of the file of which anything is recorded."""
        for key in known:
            now = lineage.current(key)
            if now is None:
                continue
            self.keys.add(now)
            if now != key:
                slo = slos[now[0]]
                other = (lineage.others(slo, now[2]), *now[1:])
                self._pairs[now] = _Pair(now, *((other, now) if slo.wildcard else (now, other)))
        self._oldest, self._newest = ledger.oldest(slo_set.name), ledger.newest(slo_set.name)

    def newest(self) -> dict[str, int]:
        """The end of the newest bucket of each SLO of the file; of one that is new, of what counted before it."""
        found = {slo.id: self._newest[slo.id] for slo in self._set.slos if slo.id in self._newest}
        for pair in self._pairs.values():
            if pair.now[0] not in found and pair.wild[0] in self._newest:
                found[pair.now[0]] = self._newest[pair.wild[0]]
        return found

    def oldest(self, key: SeriesKey) -> int | None:
        """The beginning of the oldest bucket that counts events of a service."""
        pair = self._pairs.get(key)
        ids = (key[0],) if pair is None else (pair.named[0], pair.wild[0])
        return min((self._oldest[slo_id] for slo_id in ids if slo_id in self._oldest), default=None)

    def oldest_of(self, slo: Slo) -> int | None:
        """The beginning of the oldest bucket of an SLO, or of what counted before it."""
        keys = [key for key in self._pairs if key[0] == slo.id and not slo.wildcard]
        return self.oldest(keys[0]) if keys else self._oldest.get(slo.id)

    def sums(
        self, intervals: Sequence[Interval], keys: Iterable[SeriesKey] = ()
    ) -> list[dict[SeriesKey, Sums]]:
        """Sums of services over each interval, with the gaps that hold for all; ``keys`` without any too."""
        wanted = list(keys)
        found = [by_service(sums, wanted) for sums in self._ledger.sums(self._set.name, intervals)]
        if not self._pairs:
            return found
        parts = [self._parts(interval) for interval in intervals]
        distinct = sorted({piece for part in parts for pieces in part.values() for piece, _ in pieces})
        sums = dict(zip(distinct, map(by_service, self._ledger.sums(self._set.name, distinct)), strict=True))
        for of, part in zip(found, parts, strict=True):
            for pair in self._pairs.values():
                of.pop(pair.named, None)
                of.pop(pair.wild, None)
                total = Sums()
                for piece, key in part[pair.now]:
                    total += sums[piece].get(key, Sums())
                if total != Sums() or pair.now in wanted:
                    of[pair.now] = total
        return found

    def causes(self, interval: Interval) -> dict[SeriesKey, dict[CauseLabels, int]]:
        """Bad micro-events of an interval by cause."""
        found = {key: dict(each) for key, each in self._ledger.causes(self._set.name, *interval).items()}
        parts = self._parts(interval)
        for pair in self._pairs.values():
            found.pop(pair.named, None)
            found.pop(pair.wild, None)
            into: dict[CauseLabels, int] = {}
            for piece, key in parts[pair.now]:
                for labels, bad in self._ledger.causes(self._set.name, *piece).get(key, {}).items():
                    into[labels] = into.get(labels, 0) + bad
            if into:
                found[pair.now] = into
        return found

    def peaks(self, interval: Interval) -> dict[SeriesKey, int]:
        """The most micro-events in one bucket."""
        found = dict(self._ledger.peaks(self._set.name, *interval))
        for pair in self._pairs.values():
            both = (found.pop(pair.named, 0), found.pop(pair.wild, 0))
            found[pair.now] = max(both)
        return found

    def carried(self, interval: Interval) -> dict[SeriesKey, list[Bucket]]:
        """The buckets with events from before them, by time; of two definitions, the named one's."""
        found: dict[SeriesKey, dict[int, Bucket]] = {}
        for key, buckets in self._ledger.carried(self._set.name, *interval).items():
            now = self._lineage.current(key)
            if now is not None:
                pair = self._pairs.get(now)
                into = found.setdefault(now, {})
                for bucket in buckets:
                    if pair is None or key == pair.named or bucket.end not in into:
                        into[bucket.end] = bucket
        return {key: [into[end] for end in sorted(into)] for key, into in found.items()}

    def missing(self, key: SeriesKey, interval: Interval) -> list[Interval]:
        """What of an interval nothing is recorded of for a service."""
        pair = self._pairs.get(key)
        if pair is None:
            return list(self._ledger.missing(self._set.name, [key[0]], *interval)[key[0]])
        found = self._ledger.missing(self._set.name, [pair.named[0], pair.wild[0]], *interval)
        return _common(found[pair.named[0]], found[pair.wild[0]])

    def is_wild(self, key: SeriesKey) -> bool:
        """Whether it is the SLO of ``*`` that counts a service now which two definitions have counted."""
        return key in self._pairs and self._pairs[key].wild == key

    def paired(self) -> set[SeriesKey]:
        """The services that two definitions have counted."""
        return set(self._pairs)

    def moved(self, interval: Interval) -> set[SeriesKey]:
        """The services of which an interval has events that a definition counted which does so no more."""
        parts = self._parts(interval)
        found = set()
        for now, pieces in parts.items():
            for piece, key in pieces:
                if key != now:
                    (sums,) = self._ledger.sums(self._set.name, [piece])
                    if sums.get(key, Sums()).total:
                        found.add(now)
        return found

    def _parts(self, interval: Interval) -> dict[SeriesKey, list[tuple[Interval, SeriesKey]]]:
        """The pieces of an interval, each with the definition whose numbers count in it."""
        if not self._pairs:
            return {}
        ids = sorted({pair.named[0] for pair in self._pairs.values()})
        missing = self._ledger.missing(self._set.name, ids, *interval)
        found = {}
        for pair in self._pairs.values():
            gone = missing[pair.named[0]]
            own = [(piece, pair.named) for piece in _without(interval, gone)]
            found[pair.now] = sorted([*own, *((piece, pair.wild) for piece in gone)])
        return found


def changed(keys: Iterable[SeriesKey], slo_set: SloSet) -> list[Finding]:
    """That another definition has counted a part of what a row has."""
    slos = {slo.id: slo for slo in slo_set.slos}
    found = []
    for key in sorted(keys):
        slo = slos[key[0]]
        other = "an SLO of its own, which is gone," if slo.wildcard else 'the SLO of "*"'
        place = naming.place(*key[1:])
        text = (
            f"{place} {slo.name}: a part of the window was counted by {other} and is in this budget as well"
        )
        scope = {naming.SLO: slo.name, naming.NAMESPACE: key[1], naming.SERVICE: key[2]}
        found.append(Finding("info", "definition-changed", text, scope))
    return found


def _without(interval: Interval, gone: Sequence[Interval]) -> list[Interval]:
    """What is in an interval and not in others, which are ascending and apart."""
    found = []
    start, end = interval
    for a, b in gone:
        if start < a:
            found.append((start, min(a, end)))
        start = max(start, b)
    if start < end:
        found.append((start, end))
    return found


def _common(some: Sequence[Interval], others: Sequence[Interval]) -> list[Interval]:
    """What two lists of intervals, ascending and apart, both have."""
    found = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return sorted((a, b) for a, b in found if a < b)
