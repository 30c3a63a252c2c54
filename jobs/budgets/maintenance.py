"""Which time counts in no budget: maintenance of the SLO file, and silences of Alertmanager where the file says so.

Both are widened to whole buckets, so that all of what was agreed on is left out. Reports and the ledger take their
intervals from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from sloctl import naming
from sloctl.backends.silences import Silence
from sloctl.ledger.protocol import Interval, Ledger, MutedInterval
from sloctl.model import GRID, SeriesKey, Slo, SloSet, cron
from sloctl.model.ledger import Maintenance

Excuse = Literal["maintenance", "silence"]


def occurrences(item: Maintenance, start: int, end: int) -> list[Interval]:
    """When the maintenance takes place within (start, end), Unix seconds, ascending.

    When clocks change, a cron line means what it means for jobs: see :func:`sloctl.model.cron.instants`.
    """
    if item.start is not None and item.end is not None:
        intervals = [(int(item.start.timestamp()), int(item.end.timestamp()))]
    else:
        intervals = [(begin, begin + item.seconds) for begin in _begins(item, start - item.seconds, end)]
    return [(max(a, start), min(b, end)) for a, b in intervals if a < end and b > start]


def _begins(item: Maintenance, start: int, end: int) -> list[int]:
    zone = ZoneInfo(item.timezone)
    day = datetime.fromtimestamp(start, zone).date() - timedelta(days=1)
    last = datetime.fromtimestamp(end, zone).date() + timedelta(days=1)
    line = cron.parse(item.cron)
    found = set()
    while day <= last:
        found |= {int(time.timestamp()) for time in cron.instants(line, zone, day)}
        day += timedelta(days=1)
    return sorted(begin for begin in found if start <= begin < end)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Intervals on the grid that together touch all of ``intervals``, ascending and apart."""
    out: list[Interval] = []
    for a, b in sorted((a // GRID * GRID, -(-b // GRID) * GRID) for a, b in intervals if b > a):
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(b, out[-1][1]))
        else:
            out.append((a, b))
    return out


def seconds_within(intervals: Sequence[Interval], start: int, end: int) -> int:
    """How many seconds of (start, end) lie in some intervals that are apart."""
    return sum(max(0, min(b, end) - max(a, start)) for a, b in intervals)


class Excused:
    """The time that counts in no budget, for every SLO and service of a set."""

    def __init__(self, slo_set: SloSet, muted: Sequence[MutedInterval], start: int, end: int) -> None:
        self._slos = {slo.id: slo for slo in slo_set.slos}
        self._maintenance = [(item, occurrences(item, start, end)) for item in slo_set.maintenance]
        self._labels = slo_set.labels
        wanted = slo_set.ledger.silences != "none"
        self._muted = [item for item in muted if wanted and item.start < end and item.end > start]
        self._start, self._end = start, end
        self._known: dict[SeriesKey, list[Interval]] = {}

    def intervals(self, key: SeriesKey) -> list[Interval]:
        """On the grid, ascending and apart; none for an SLO that the file does not have."""
        if key not in self._known:
            self._known[key] = merged((start, end) for _, _, start, end in self.named(key))
        return self._known[key]

    def named(self, key: SeriesKey) -> Iterator[tuple[Excuse, str, int, int]]:
        """What it is of each SLO and service, what the file or the silence calls it, start and end (Unix seconds)."""
        slo = self._slos.get(key[0])
        if slo is None or not (self._maintenance or self._muted):
            return
        for item, intervals in self._maintenance:
            if item.covers(slo.name, key[1], key[2]):
                for start, end in intervals:
                    yield "maintenance", item.name, start, end
        labels = identity(slo, key, self._labels)
        for muted in self._muted:
            if mutes(muted.matchers, labels):
                yield "silence", muted.comment, max(muted.start, self._start), min(muted.end, self._end)


def identity(slo: Slo, key: SeriesKey, labels: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """The labels that all alerts of an SLO of a service have; ``labels`` are those of the set."""
    return (
        dict(labels)
        | dict(slo.labels)
        | {
            naming.SLO_SET: slo.set_name,
            naming.SLO: slo.name,
            naming.SLO_ID: slo.id,
            naming.NAMESPACE: key[1],
            naming.SERVICE: key[2],
            "owner": slo.owner,
        }
    )


def mutes(matchers: Sequence[tuple[str, str, str]], labels: dict[str, str]) -> bool:
    """Whether matchers select all alerts with these labels: none is about a label that differs between them."""
    for label, op, value in matchers:
        if label not in labels:
            return False
        have = labels[label]
        hit = have == value if op in ("=", "!=") else _matches(value, have)
        if hit is None or hit is op.startswith("!"):
            return False
    return True


def _matches(pattern: str, text: str) -> bool | None:
    """Whether an expression of the simple kind matches all of a text; None for any other kind.

    Alternatives of plain text, ``.*`` and ``.+`` are what people write; what is not understood excuses nothing. They
    are not given to Python's engine: eight of ``.*`` would keep it busy for a minute.
    """
    if len(pattern) > 4096:
        return None
    inner = re.fullmatch(r"\^?\(?(?:\?:)?((?:[\w\-:/@ |]|\\[.\-/:]|\.[*+])*)\)?\$?", pattern)
    return None if inner is None else any(_fits(_PARTS.findall(one), text) for one in inner[1].split("|"))


_PARTS = re.compile(r"\.[*+]|\\.|.")


def _fits(parts: Sequence[str], text: str) -> bool:
    """Whether a text is made of some parts: plain characters, escaped ones, ``.*`` and ``.+``."""
    ends = {0}
    for part in parts:
        if part in (".*", ".+"):
            ends = set(range(min(ends) + (part == ".+"), len(text) + 1))
        else:
            ends = {end + 1 for end in ends if text[end : end + 1] == part[-1]}
        if not ends:
            return False
    return len(text) in ends


def muted_intervals(silences: Iterable[Silence], slo_set: SloSet, now: datetime) -> list[MutedInterval]:
    """The silences that excuse, as the file says, up to now: what is still to come may be taken back."""
    mode = slo_set.ledger.silences
    found = []
    for item in silences:
        if mode == "none" or (mode == "deploys" and not item.ours):
            continue
        start, end = int(item.starts.timestamp()), int(min(item.ends, now).timestamp())
        if end > start and item.id:
            matchers = tuple((m.label, m.op, m.value) for m in item.matchers)
            found.append(MutedInterval(item.id, start, end, matchers, item.said))
    return found


def apply(ledger: Ledger, slo_set: SloSet, end: int, muted: Sequence[MutedInterval] | None = None) -> int:
    """Have the ledger leave out what counts in no budget, in all buckets that it keeps; how many changed.

    ``muted`` are silences that Alertmanager knows now; those from before are remembered. What is left out lies within
    what is recorded, so that a clock that was wrong once leaves nothing behind. Raises ``BackendError``.
    """
    if muted:
        ledger.remember(slo_set.name, muted)
    start = end - slo_set.ledger.keep_buckets // GRID * GRID
    oldest, newest = ledger.oldest(slo_set.name), ledger.newest(slo_set.name)
    excused = Excused(slo_set, ledger.muted(slo_set.name), start, end)
    intervals = {}
    for key in ledger.keys(slo_set.name):
        first, last = oldest.get(key[0], end), newest.get(key[0], start)
        found = [(max(a, first), min(b, last)) for a, b in excused.intervals(key)] if key[2] else []
        if kept := [interval for interval in found if interval[0] < interval[1]]:
            intervals[key] = kept
    return ledger.exclude(slo_set.name, intervals, start, end)
