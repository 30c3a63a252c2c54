"""What an alert must do, minute by minute: an independent account of a burn-rate policy.

The promtool tests that ``generate`` writes compare Prometheus with this module, which knows nothing of PromQL:
it counts events per minute and applies the policy's definition. promtool evaluates every group once a minute,
whatever the group's interval, so the five-minute grid appears here as five-minute sums taken every minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

from sloctl.model import FINE_LIMIT, BurnWindow

MARGIN = 1e-4
"""How far, relatively, a burn rate must stay from its threshold for rounding not to matter."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Events per minute: ``clean`` minutes without errors, ``faulty`` with, ``after`` without again."""

    events: int
    bad: int
    clean: int
    faulty: int
    after: int


@dataclass(frozen=True, slots=True)
class ErrorBurst:
    """A burst of errors and what the alert does: minutes since the start of the test."""

    traffic: Traffic
    fires: int
    resolved: int
    value: float


def _burn(traffic: Traffic, window: int, budget: Decimal) -> tuple[list[float], list[int], list[int]]:
    """Burn rate, total and bad events over a window, at every minute."""
    minutes = traffic.clean + traffic.faulty + traffic.after
    total, bad = [0], [0]  # cumulative
    for minute in range(1, minutes + 1):
        faulty = traffic.clean < minute <= traffic.clean + traffic.faulty
        total.append(total[-1] + traffic.events)
        bad.append(bad[-1] + (traffic.bad if faulty else 0))
    if window > FINE_LIMIT:  # sums of the last five minutes, taken every minute
        total = _cumulated(total)
        bad = _cumulated(bad)
    span = window // 60
    rates, totals, bads = [], [], []
    for minute in range(minutes + 1):
        first = max(0, minute - span)
        events, wrong = total[minute] - total[first], bad[minute] - bad[first]
        totals.append(events)
        bads.append(wrong)
        rates.append(wrong / events / float(budget) if events else 0.0)
    return rates, totals, bads


def _cumulated(counter: list[int]) -> list[int]:
    out = [0]
    for minute in range(1, len(counter)):
        out.append(out[-1] + counter[minute] - counter[max(0, minute - 5)])
    return out


@lru_cache(maxsize=4096)
def active(
    traffic: Traffic, window: BurnWindow, factor: Decimal, budget: Decimal, min_events: int, min_bad: int
) -> tuple[tuple[bool, ...], tuple[float, ...], bool]:
    """Per minute: does the alert fire; the long window's burn rate; and is rounding sure not to matter."""
    long, totals, bads = _burn(traffic, window.long, budget)
    short, _, _ = _burn(traffic, window.short, budget)
    limit = float(factor)
    fires, since, sure = [], -1, True
    for minute, (a, b) in enumerate(zip(long, short, strict=True)):
        enough = totals[minute] >= min_events and bads[minute] >= min_bad
        sure = sure and all(abs(rate - limit) > MARGIN * limit for rate in (a, b))
        if not (enough and a > limit and b > limit):
            since = -1
        elif since < 0:
            since = minute
        fires.append(since >= 0 and (minute - since) * 60 >= window.for_)
    return tuple(fires), tuple(long), sure


def _events_per_minute(budget: Decimal) -> int:
    return 1_000_000 if budget >= Decimal("0.0001") else 1_000_000_000


@lru_cache(maxsize=4096)
def incident(
    window: BurnWindow, factor: Decimal, budget: Decimal, min_events: int, min_bad: int
) -> ErrorBurst | None:
    """A burst at about twice the factor (or a total outage, if that is less) and the minutes of alert and resolution.

    None if no such burst fires within a day of simulated time.
    """
    events = _events_per_minute(budget) + min_events
    for attempt in range(12):
        ratio = min(Decimal(1), (Decimal("2.1") + Decimal("0.03") * attempt) * factor * budget)
        room = int(min(Decimal(20), 240 * (ratio / budget - factor) / factor))
        found = _burst(events, ratio, max(room, 2) + attempt, (window, factor, budget, min_events, min_bad))
        if found:
            return found
    return None


def _burst(
    events: int, ratio: Decimal, clean: int, policy: tuple[BurnWindow, Decimal, Decimal, int, int]
) -> ErrorBurst | None:
    """The incident of one burst; None if it does not fire, or where rounding might decide."""
    bad = max(int(ratio * events), policy[4])
    fires, _, _ = active(Traffic(events, bad, clean, 1000, 0), *policy)
    if True not in fires:
        return None
    first = fires.index(True)
    for after in (20, 120, 1380):
        traffic = Traffic(events, bad, clean, first - clean + 5, after)
        fires, rates, sure = active(traffic, *policy)
        if not fires[-1]:
            resolved = max(minute for minute, firing in enumerate(fires) if firing) + 1
            clear = sure and abs(rates[first] * 10 % 1 - 0.5) > 0.01
            short = replace(traffic, after=resolved - clean - traffic.faulty + 1)
            return ErrorBurst(short, first, resolved, rates[first]) if clear else None
    return None


def just_below(factor: Decimal, budget: Decimal, min_events: int) -> Traffic:
    """Errors for half an hour at 95 % of the burn rate that the alert waits for: it must never fire."""
    events = _events_per_minute(budget) + min_events
    return Traffic(events, int(Decimal("0.95") * factor * budget * events), 0, 30, 0)


def quiet(
    window: BurnWindow, factor: Decimal, budget: Decimal, min_events: int, min_bad: int
) -> Iterator[tuple[str, Traffic]]:
    """One minute of traffic that burns fast enough on too few (what?) events: that gate alone must hold the alert.

    Nothing for gates that cannot decide, and for windows of the five-minute grid, whose events promtool counts five
    times.
    """
    if window.long > FINE_LIMIT:
        return
    if min_events - 1 >= max(min_bad, 1):
        yield "events", Traffic(min_events - 1, min_events - 1, 0, 1, 0)
    if min_bad > 1 and min_bad - 1 > factor * budget * max(min_events, min_bad):
        yield "bad events", Traffic(max(min_events, min_bad), min_bad - 1, 0, 1, 0)
