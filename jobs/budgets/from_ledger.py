"""Reads budgets from the ledger: events of every window, however long Prometheus remembers.

What the ledger does not have comes from Prometheus where it can be asked: the bucket that is still open, the burn
rates' finer grid, what both sides saw, and which alerts fire. Without Prometheus the budgets are still there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from jobs.budgets import from_rules
from jobs.budgets.collected import Collected, burn_windows, lines, period_start, wants_peak, would_fire_all
from jobs.budgets.lineage import Books, Lineage, changed
from jobs.budgets.maintenance import Excused, seconds_within
from jobs.budgets.open_bucket import open_bucket
from jobs.recording.reread import LOOK_BACK
from sloctl import naming
from sloctl.backends.answers import Heard
from sloctl.backends.protocols import MetricSource
from sloctl.budget import EventCounts
from sloctl.errors import BackendError
from sloctl.ledger.protocol import MICRO, Interval, Ledger, Sums
from sloctl.model import GRID, RollingWindow, SeriesKey, Slo, SloSet
from sloctl.model.durations import duration
from sloctl.report.data import Finding
from sloctl.report.history import width_for

BEHIND = 4 * GRID
"""Seconds by which the ledger may lag behind before reports look elsewhere, if they may."""
OPEN = 3600
"""The longest time after the last bucket that is read from raw counters for a report."""


def lags(ledger: Ledger, slo_set: SloSet, at: datetime) -> dict[str, float]:
    """Seconds since the end of the newest bucket, of each SLO that has one. Raises ``BackendError``."""
    newest = ledger.newest(slo_set.name)
    return {slo.id: at.timestamp() - newest[slo.id] for slo in slo_set.slos if slo.id in newest}


def period_interval(slo: Slo, at: datetime, newest: int) -> Interval:
    """The buckets of an SLO's window at ``at``, of those up to ``newest``.

    A rolling window has as many buckets as it is long, up to the newest; a calendar window all since it began.
    """
    end = min(int(at.timestamp()) // GRID * GRID, newest)
    if isinstance(slo.window, RollingWindow):
        return end - slo.window.seconds // GRID * GRID, end
    start = -(-int(period_start(slo, at).timestamp()) // GRID) * GRID
    return start, max(start, end)


def counts(sums: Sums) -> EventCounts:
    """(bad, total) events."""
    return sums.bad / MICRO, sums.total / MICRO


def collect(
    ledger: Ledger,
    source: MetricSource | None,
    slo_set: SloSet,
    at: datetime,
    *,
    history: bool = False,
) -> Collected:
    """Everything a report needs. ``source`` is for what the ledger does not have; None leaves it out.

    Raises ``BackendError`` for the ledger; what cannot be read from ``source`` becomes a finding.
    """
    out = Collected()
    books = Books(ledger, slo_set)
    newest = books.newest()
    slos = {slo.id: slo for slo in slo_set.slos}
    intervals = {id_: period_interval(slo, at, newest[id_]) for id_, slo in slos.items() if id_ in newest}
    _periods(books, intervals, out)
    _gaps(ledger, books, slo_set, intervals, out)
    _disputes(ledger, slo_set, intervals, out)
    _carried(books, intervals, out)
    distinct = _distinct(intervals)
    moved = {
        key for interval in distinct for key in books.moved(interval) if intervals.get(key[0]) == interval
    }
    out.findings += changed(moved, slo_set)
    for slo in slo_set.slos:
        if slo.id not in newest:
            text = f"{slo.id}: the ledger has no bucket of it; run  sloctl run slis"
            out.findings.append(Finding("warning", "not-in-ledger", text, {naming.SLO_ID: slo.id}))
    if history:
        _history(books, intervals, out)
    late = _late(slo_set, newest, at, out)
    instants = _from_prometheus(
        source, slo_set, at, {id_: newest[id_] for id_ in newest if id_ not in late}, out
    )
    _burn(books, slo_set, newest, at, instants, out)
    out.recorded = bool(instants)
    if not instants:
        _seasoned(books, slo_set, newest, out)
        would_fire_all(slo_set.slos, out)
    if intervals and any(wants_peak(slo, at, out) for slo in slo_set.slos):
        first, last = min(a for a, _ in intervals.values()), max(b for _, b in intervals.values())
        out.peak = {key: most / MICRO for key, most in books.peaks((first, last)).items()}
    return out


def _distinct(intervals: Mapping[str, Interval]) -> list[Interval]:
    return sorted({interval for interval in intervals.values() if interval[1] > interval[0]})


def _periods(books: Books, intervals: Mapping[str, Interval], out: Collected) -> None:
    distinct = _distinct(intervals)
    for interval, sums in zip(distinct, books.sums(distinct), strict=True):
        for key, item in sums.items():
            if intervals.get(key[0]) == interval:
                out.period[key] = counts(item)
                out.gaps[key] = float(item.gap)


def _gaps(
    ledger: Ledger, books: Books, slo_set: SloSet, intervals: Mapping[str, Interval], out: Collected
) -> None:
    """Add what is not recorded, and say what is left out by agreement."""
    if not intervals:
        return
    first, last = min(a for a, _ in intervals.values()), max(b for _, b in intervals.values())
    missing: dict[str, Sequence[Interval]] = {}
    for interval in _distinct(intervals):
        missing |= ledger.missing(
            slo_set.name, sorted(id_ for id_ in intervals if intervals[id_] == interval), *interval
        )
    for key in books.paired():
        if not books.is_wild(key) and key[0] in intervals:
            missing[key[0]] = books.missing(key, intervals[key[0]])
    oldest = {slo.id: begun for slo in slo_set.slos if (begun := books.oldest_of(slo)) is not None}
    excused = Excused(slo_set, ledger.muted(slo_set.name), first, last)
    open_: dict[str, int] = {}
    for slo_id, (start, end) in intervals.items():
        begun = max(start, oldest.get(slo_id, end))
        open_[slo_id] = seconds_within(missing.get(slo_id, ()), begun, end)
    for key in out.period:
        out.gaps[key] = out.gaps.get(key, 0.0) + open_.get(key[0], 0)
        out.excluded[key] = float(seconds_within(excused.intervals(key), *intervals[key[0]]))
    if any(open_.values()):
        text = (
            f"the ledger lacks up to {duration(max(open_.values()))} of the windows: runs were missed for longer than "
            "Prometheus had the counters; --source rules reads what rules recorded, if that is more"
        )
        out.findings.append(Finding("warning", "ledger-gap", text, {naming.SLO_SET: slo_set.name}))
    out.since |= {id_: float(begun) for id_, begun in oldest.items() if id_ in intervals}


def _carried(books: Books, intervals: Mapping[str, Interval], out: Collected) -> None:
    """Note the buckets of the windows that have events from before them."""
    for interval in _distinct(intervals):
        some = books.carried(interval).items()
        out.carried |= {key: buckets for key, buckets in some if intervals.get(key[0]) == interval}


def _disputes(ledger: Ledger, slo_set: SloSet, intervals: Mapping[str, Interval], out: Collected) -> None:
    """Mark budgets in whose windows looking back found another truth, which would change them by over a hundredth."""
    budgets = {slo.id: float(slo.budget) for slo in slo_set.slos}
    since = min((start for start, _ in intervals.values()), default=0)
    latest = {
        (item.slo_id, item.namespace, item.service, item.end): item
        for item in ledger.repairs(slo_set.name, float(since))
        if item.made_by == LOOK_BACK or item.outcome == "repaired"
    }
    lost: dict[SeriesKey, list[float]] = {}
    lineage = Lineage(slo_set)
    for item in latest.values():
        key = lineage.current((item.slo_id, item.namespace, item.service))
        start, end = intervals.get(key[0], (0, 0)) if key else (0, 0)
        if key and item.outcome == "kept" and start < item.end <= end:
            amounts = lost.setdefault(key, [0.0, 0.0, 0.0])
            bad = abs(item.new[1] - item.old[1]) / MICRO
            amounts[0] += abs(item.new[0] - item.old[0]) / MICRO
            amounts[1] += bad
            amounts[2] += 1
    for service, (total, bad, buckets) in lost.items():
        whole = out.period.get(service, (0.0, 0.0))[1]
        if total > whole / 100 or bad > whole * budgets[service[0]] / 100:
            out.disputed[service] = round(buckets)


def _history(books: Books, intervals: Mapping[str, Interval], out: Collected) -> None:
    """The windows in buckets for plots, numbered from the newest."""
    for start, end in _distinct(intervals):
        width = width_for(end - start)
        edges = list(range(end, start, -width))
        parts = [(max(start, edge - width), edge) for edge in edges]
        users = {id_ for id_, interval in intervals.items() if interval == (start, end)}
        for number, sums in enumerate(books.sums(parts)):
            for key, item in sums.items():
                if key[0] in users and item.total:
                    out.buckets.setdefault(key, {})[number] = counts(item)


def _from_prometheus(
    source: MetricSource | None, slo_set: SloSet, at: datetime, newest: Mapping[str, int], out: Collected
) -> dict[str, float]:
    """Fill in what only Prometheus knows; the instants of its rules, if it has any."""
    if source is None:
        return {}
    heard = source = Heard(source)
    try:
        instants = from_rules.last_instants(source, slo_set, at)
        _open_buckets(source, slo_set, at, newest, out)
        if instants:
            from_rules.add_burn_rates(source, slo_set, at, out)
            from_rules.add_sides(source, slo_set, at, out)
            from_rules.add_alerts(source, slo_set, at, out)
    except BackendError as error:
        text = f"Prometheus could not be asked, so that what is newer than the ledger is missing: {error}"
        out.findings.append(Finding("warning", "prometheus-not-read", text))
        return {}
    finally:
        out.doubt(heard.doubts, slo_set.slos)
    return instants


def _open_buckets(
    source: MetricSource, slo_set: SloSet, at: datetime, newest: Mapping[str, int], out: Collected
) -> None:
    """Add the events since the last bucket, unless they are excused or that is long ago."""
    now = at.timestamp()
    slos = {slo.id: slo for slo in slo_set.slos if slo.id in newest}
    since = {id_: float(min(newest[id_], int(now))) for id_ in slos}
    excused = Excused(slo_set, (), int(now) - OPEN, int(now) + 1)
    for key, (bad, total) in open_bucket(source, slo_set, slos, since, at).items():
        if seconds_within(excused.intervals(key), int(since[key[0]]), int(now)):
            continue
        before = out.period.get(key, (0.0, 0.0))
        out.period[key] = (before[0] + bad, before[1] + total)


def _late(slo_set: SloSet, newest: Mapping[str, int], at: datetime, out: Collected) -> set[str]:
    """The definitions of which so much is missing at the end that it is not read, which leaves them in doubt."""
    now = at.timestamp()
    late = {slo.id for slo in slo_set.slos if slo.id in newest and now - newest[slo.id] > OPEN}
    if late:
        worst = max(now - newest[id_] for id_ in late)
        text = f"the ledger of {len(late)} SLOs ends {duration(round(worst / 60) * 60)} ago; what came after is missing"
        out.findings.append(Finding("warning", "ledger-behind", text, {naming.SLO_SET: slo_set.name}))
        out.unread |= dict.fromkeys(late, "ledger-behind")
    return late


def _burn(
    books: Books,
    slo_set: SloSet,
    newest: Mapping[str, int],
    at: datetime,
    instants: Mapping[str, float],
    out: Collected,
) -> None:
    """Burn windows from buckets, of SLOs of which the rules record nothing."""
    slos = [slo for slo in slo_set.slos if slo.id in newest and slo.id not in instants]
    ids = {slo.id for slo in slos}
    windows = {w for slo in slos for w in burn_windows(slo)}
    intervals: dict[tuple[int, int], Interval] = {}
    for window in windows:
        for end in {newest[slo_id] for slo_id in ids}:
            last = min(end, int(at.timestamp()) // GRID * GRID)
            if at.timestamp() - last <= max(OPEN, window / 2):
                intervals[window, end] = (last - max(GRID, window // GRID * GRID), last)
    keys: Sequence[tuple[int, int]] = sorted(intervals)
    for (window, end), sums in zip(keys, books.sums([intervals[key] for key in keys]), strict=True):
        into = out.burn.setdefault(window, {})
        into |= {key: counts(item) for key, item in sums.items() if key[0] in ids and newest[key[0]] == end}


def _seasoned(books: Books, slo_set: SloSet, newest: Mapping[str, int], out: Collected) -> None:
    """What has events that are old enough to be judged by: what the ledger sums has nothing where nothing happened."""
    spans: dict[tuple[tuple[int, int], int], Interval] = {}
    for line in lines(slo_set.slos):
        long, short = (max(GRID, window // GRID * GRID) for window in line)
        for end in set(newest.values()):
            spans[line, end] = (end - max(long, short + GRID), end - short)
    keys = list(spans)
    for (line, end), sums in zip(keys, books.sums([spans[key] for key in keys]), strict=True):
        found = {key for key in sums if key[2] and newest.get(key[0]) == end}
        out.seasoned.setdefault(line, set()).update(found)
