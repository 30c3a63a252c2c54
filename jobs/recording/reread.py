"""Reads recorded buckets again: what came late is repaired, what would be less is kept as it is, and both are said.

Samples that come later than a bucket waits for (remote write, agents that were cut off) are in Prometheus and not in
the ledger. Late samples only add: neither good nor bad events become fewer. A reading with fewer of either is not the
same truth with more in it: Prometheus has forgotten, or this replica of it has missed what another one saw. Such a
reading changes nothing unless somebody asks for it by name. All of it is entered into the ledger's journal, once.

The scheduled job looks back by itself, at buckets of two ages, so that a run costs three buckets in place of one; what
it finds late makes it wait longer from then on, within bounds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from jobs.budgets.lineage import Lineage
from jobs.recording import grid_reading
from jobs.recording.gaps import Observed
from sloctl import naming
from sloctl.backends.answers import Heard, TooMuchTogether
from sloctl.backends.halving import in_halves
from sloctl.backends.protocols import MetricSource
from sloctl.errors import PartialAnswer
from sloctl.ledger.protocol import MICRO, Batch, Bucket, CauseLabels, Interval, Ledger, Repair
from sloctl.model import GRID, SloSet
from sloctl.model.durations import duration, rfc3339
from sloctl.report.data import Finding, partial_findings

LOOK_BACK = "look-back"
"""Who made the entries of the scheduled job."""
FIRST_LOOK = GRID
"""Seconds: how much older buckets are when they are read again for the first time."""
MOST_LOOKS = 12
"""Buckets that a run reads again at each age at most."""
LONGEST_SETTLE = 600
"""Seconds: how long buckets wait at most because of what was late before."""
REMEMBERED = 7 * 86400
"""Seconds: how long it is remembered that something was late."""
LONGEST_CARRIED = 3600
"""Seconds before a bucket of which it has events at most, in whole buckets."""
_HORIZON = 86400
"""Seconds before an interval in which a scrape shows that Prometheus's history goes back so far."""

_BucketKey = tuple[str, str, int]
_Numbers = tuple[int, int, int]
_NOTHING: _Numbers = (0, 0, 0)


@dataclass(slots=True)
class RereadResult:
    """What a second reading found.

    ``repaired`` is in the ledger now, ``kept`` is not; ``skipped`` counts buckets of definitions that are not recorded,
    that the ledger has in sums only, or that Prometheus knows nothing of. ``unsure`` has the definitions whose answers
    were partial, by what was said.
    """

    read: int = 0
    skipped: int = 0
    repaired: list[Repair] = field(default_factory=list)
    kept: list[Repair] = field(default_factory=list)
    unsure: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, other: RereadResult) -> None:
        """Take in what another reading found."""
        self.read += other.read
        self.skipped += other.skipped
        self.repaired += other.repaired
        self.kept += other.kept
        self.unsure |= other.unsure


def settle_of(ledger: Ledger, slo_set: SloSet, at: datetime) -> int:
    """Seconds that buckets wait for late samples: as the file says, and longer where some were late.

    Raises ``BackendError``.
    """
    late = [
        repair.made - repair.end
        for repair in ledger.repairs(slo_set.name, at.timestamp() - REMEMBERED)
        if repair.outcome == "repaired" and repair.made_by == LOOK_BACK
    ]
    learnt = min(max(late, default=0.0), LONGEST_SETTLE)
    return max(slo_set.ledger.settle, round(learnt))


def read_again(
    source: MetricSource,
    slo_set: SloSet,
    ledger: Ledger,
    at: datetime,
    interval: Interval,
    by: str,
    *,
    allow_less: bool = False,
    dry_run: bool = False,
) -> RereadResult:
    """Read an interval of at most a day again, and repair what came late.

    ``allow_less`` takes smaller numbers too; with ``dry_run`` nothing is written. Raises ``BackendError``;
    ``PartialAnswer`` where it is not known what was scraped when.
    """
    out = RereadResult()
    ids = [slo.id for slo in slo_set.slos]
    interval = _with_spans(ledger, slo_set.name, ids, interval)
    recorded = ledger.kept(slo_set.name, ids, interval)
    known = [slo_id for slo_id in ids if recorded[slo_id]]
    size = (interval[1] - interval[0]) // GRID
    out.skipped = sum(size - len(recorded[slo_id]) for slo_id in ids)
    if not known:
        return out
    findings: list[Finding] = []
    strict = Heard(source, strict=True)
    observed = Observed(strict, slo_set, interval, interval[0] - _HORIZON, at, findings)
    part = max(interval[0], observed.begin), min(interval[1], observed.end)
    if part[0] >= part[1]:
        out.skipped += sum(len(recorded[slo_id]) for slo_id in known)
        return out
    reading = in_halves(
        lambda *piece: grid_reading.read(source, slo_set, known, piece),
        grid_reading.joined,
        *part,
        unit=GRID,
        smallest=GRID,
        refusal=TooMuchTogether,
    )
    out.unsure = reading.unsure
    down = observed.gaps(part)
    elsewhere = _Elsewhere(slo_set, ledger, part)
    there = ledger.buckets(slo_set.name, known, part)
    for batch in reading.batches:
        ends = {end for end in recorded[batch.slo_id] if part[0] < end <= part[1]}
        out.skipped += len(recorded[batch.slo_id]) - len(ends)
        out.read += len(ends)
        new = {(b.namespace, b.service, b.end): (b.total, b.bad, b.gap) for b in (*batch.buckets, *down)}
        old = {(b.namespace, b.service, b.end): (b.total, b.bad, b.gap) for b in there[batch.slo_id]}
        carried = {(b.namespace, b.service, b.end): b.carried for b in batch.buckets}
        moved = _moved(there[batch.slo_id], old, new)
        causes = _causes(batch)
        for key in sorted({*new, *old}):
            if (
                key[2] in ends
                and (changed := _compared(old.get(key, _NOTHING), new.get(key, _NOTHING)))
                and not elsewhere(batch.slo_id, key)
            ):
                less = not moved[key] if key in moved else changed == "less"
                repair = Repair(
                    batch.slo_id,
                    *key,
                    old.get(key, _NOTHING),
                    new.get(key, _NOTHING),
                    "kept" if less and not allow_less else "repaired",
                    at.timestamp(),
                    by,
                    causes.get(key, ()),
                    carried.get(key, 0) if new.get(key, _NOTHING)[0] else 0,
                )
                (out.kept if repair.outcome == "kept" else out.repaired).append(repair)
    if not dry_run:
        ledger.amend(slo_set.name, [*out.repaired, *out.kept])
    return out


def _with_spans(ledger: Ledger, set_name: str, ids: Sequence[str], interval: Interval) -> Interval:
    """The interval with all of the time of which buckets in and shortly after it have events.

    What such a bucket had from before it may be where it belongs by now: it is read together, or counts twice.
    """
    around = interval[0], interval[1] + LONGEST_CARRIED
    start, end = interval
    for buckets in ledger.buckets(set_name, ids, around).values():
        for bucket in buckets:
            since = bucket.since // GRID * GRID
            if bucket.carried and since < interval[1]:
                start, end = min(start, since), max(end, bucket.end)
    return start, end


def _moved(
    there: Iterable[Bucket], old: Mapping[_BucketKey, _Numbers], new: Mapping[_BucketKey, _Numbers]
) -> dict[_BucketKey, bool]:
    """Of the buckets between which events moved: whether none was lost by it, neither good nor bad.

    They belong together: a bucket that had events from before it, and those from which it had them.
    """
    found: dict[_BucketKey, bool] = {}
    for bucket in there:
        place, key = (bucket.namespace, bucket.service), (bucket.namespace, bucket.service, bucket.end)
        if not bucket.carried or _compared(old.get(key, _NOTHING), new.get(key, _NOTHING)) != "less":
            continue
        ends = range(bucket.since // GRID * GRID + GRID, bucket.end + 1, GRID)
        before, now = (_sum(numbers.get((*place, end), _NOTHING) for end in ends) for numbers in (old, new))
        whole = _compared(before, now) != "less"
        found |= {(*place, end): whole and found.get((*place, end), True) for end in ends}
    return found


def _sum(numbers: Iterable[_Numbers]) -> _Numbers:
    """Total and bad; that gaps become shorter is no news here."""
    both = list(numbers)
    return sum(total for total, _, _ in both), sum(bad for _, bad, _ in both), 0


class _Elsewhere:
    """Whether events of a service belong to another definition: the SLO of ``*`` and an override that came or went.

    Such a bucket was recorded while another definition counted the service, and is no other truth.
    """

    def __init__(self, slo_set: SloSet, ledger: Ledger, interval: Interval) -> None:
        self._wild = {slo.id: slo for slo in slo_set.slos if slo.wildcard}
        self._lineage = Lineage(slo_set)
        self._ledger, self._set, self._interval = ledger, slo_set.name, interval
        self._known: dict[str, frozenset[int]] = {}

    def __call__(self, slo_id: str, key: _BucketKey) -> bool:
        slo = self._wild.get(slo_id)
        if slo is None or not key[1]:
            return False
        if key[1] in slo.overridden:
            return True
        other = self._lineage.others(slo, key[1])
        if other not in self._known:
            self._known[other] = self._ledger.kept(self._set, [other], self._interval)[other]
        return key[2] in self._known[other]


def _causes(batch: Batch) -> Mapping[_BucketKey, tuple[tuple[CauseLabels, int], ...]]:
    found: dict[_BucketKey, tuple[tuple[CauseLabels, int], ...]] = {}
    for cause in batch.causes:
        key = (cause.namespace, cause.service, cause.end)
        found[key] = (*found.get(key, ()), (cause.labels, cause.bad))
    return found


def _compared(old: _Numbers, new: _Numbers) -> str:
    """ "" if a bucket has the same numbers, "more" if something came late, "less" if it is another truth."""
    rounding = max(MICRO // 1000, old[0] // 10**9)
    changes = (new[0] - old[0] - (new[1] - old[1]), new[1] - old[1])
    if all(abs(change) <= rounding for change in changes) and abs(new[2] - old[2]) <= 1:
        return ""
    return "less" if min(changes) < -rounding or new[2] > old[2] + 1 else "more"


def look_back(
    source: MetricSource,
    slo_set: SloSet,
    ledger: Ledger,
    at: datetime,
    end: int,
    recorded: Sequence[Interval],
) -> RereadResult:
    """Read some buckets again, as many as are new, that were recorded before ``recorded``; none if nothing is new.

    ``end`` is the end of the newest bucket. Raises ``BackendError``.
    """
    out = RereadResult()
    new = sum(stop - start for start, stop in recorded) // GRID
    count = min(new, MOST_LOOKS)
    ages = sorted({min(age, slo_set.ledger.look_back) for age in (FIRST_LOOK, slo_set.ledger.look_back)})
    for age in ages if slo_set.ledger.look_back and count else ():
        last = end - age // GRID * GRID
        interval = last - count * GRID, last
        for part in _without(interval, recorded):
            try:
                out.add(read_again(source, slo_set, ledger, at, part, LOOK_BACK))
            except PartialAnswer as error:
                out.unsure |= {slo.id: (str(error),) for slo in slo_set.slos}
    return out


def _without(interval: Interval, others: Iterable[Interval]) -> list[Interval]:
    """The parts of an interval that others do not touch."""
    parts = [interval]
    for start, stop in others:
        parts = [
            piece
            for a, b in parts
            for piece in ((a, min(b, start)), (max(a, stop), b))
            if piece[0] < piece[1]
        ]
    return sorted(set(parts))


def findings(done: RereadResult, slo_set: SloSet) -> list[Finding]:
    """What a second reading has to say."""
    scope = {naming.SLO_SET: slo_set.name}
    said = dict.fromkeys(text for texts in done.unsure.values() for text in texts)
    found = partial_findings(said, "recorded buckets could not be read again, and stay as they are", scope)
    if done.repaired:
        late = max(repair.made - repair.end for repair in done.repaired)
        total, bad = (
            sum(repair.new[place] - repair.old[place] for repair in done.repaired) / MICRO for place in (0, 1)
        )
        text = (
            f"{len(done.repaired)} recorded buckets of {_of(done.repaired)} had other numbers when they were read "
            f"again, at most {duration(round(late))} after their end: {total:+,.6g} events, {bad:+,.6g} of them bad; "
            "repaired"
        )
        found.append(Finding("info", "late-samples", text, scope))
    if done.kept:
        first = done.kept[0]
        text = (
            f"{len(done.kept)} recorded buckets of {_of(done.kept)} had fewer good or bad events, or a longer gap, "
            f"when they were read again, and stay as they are ({first.service or '*'} at {rfc3339(first.end)}: "
            f"{first.old[1] / MICRO:,.6g} bad of {first.old[0] / MICRO:,.6g}, then {first.new[1] / MICRO:,.6g} of "
            f"{first.new[0] / MICRO:,.6g}): Prometheus has forgotten, or its replicas disagree"
        )
        found.append(Finding("warning", "replicas-disagree", text, scope))
    return found


def _of(repairs: Collection[Repair]) -> str:
    ids = sorted({repair.slo_id for repair in repairs})
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
