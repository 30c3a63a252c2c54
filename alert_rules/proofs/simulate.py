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
from math import log

from sloctl.model import FINE_LIMIT, BurnWindow
from sloctl.model.policies import EventGate, Gate

MARGIN = 1e-4
"""How far, relatively, a burn rate must stay from its threshold for rounding not to matter."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Events per minute: ``clean`` minutes without errors, ``faulty`` with, ``after`` without again.

    Before that, the series are there for ``idle`` minutes, and after it for ``silent`` ones, and count nothing.
    """

    events: int
    bad: int
    clean: int
    faulty: int
    after: int
    idle: int = 0
    silent: int = 0


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
    total, bad = [0] * (traffic.idle + 1), [0] * (traffic.idle + 1)  # cumulative
    for minute in range(1, minutes + 1):
        faulty = traffic.clean < minute <= traffic.clean + traffic.faulty
        total.append(total[-1] + traffic.events)
        bad.append(bad[-1] + (traffic.bad if faulty else 0))
    if window > FINE_LIMIT:  # sums of the last five minutes, taken every minute
        total = _cumulated(total)
        bad = _cumulated(bad)
    span = window // 60
    rates, totals, bads = [], [], []
    for minute in range(len(total)):
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


def _enough(gate: Gate, bad: float, total: float, budget: Decimal) -> bool:
    """Whether a gate is open: by numbers of events, or by Chernoff's bound of what chance gives."""
    if isinstance(gate, EventGate):
        return total >= gate.events and bad >= gate.bad
    expected = total * float(budget * gate.allowed)
    return bad >= 2 and bad > expected and bad * (log(bad / expected) - 1) + expected >= float(gate.needed)


@lru_cache(maxsize=4096)
def active(
    traffic: Traffic, window: BurnWindow, factor: Decimal, budget: Decimal, gate: Gate
) -> tuple[tuple[bool, ...], tuple[float, ...], bool]:
    """Per minute: does the alert fire; the long window's burn rate; and is rounding sure not to matter."""
    long, totals, bads = _burn(traffic, window.long, budget)
    short, _, _ = _burn(traffic, window.short, budget)
    limit = float(factor)
    fires, since, sure = [], -1, True
    for minute, (a, b) in enumerate(zip(long, short, strict=True)):
        sure = sure and all(abs(rate - limit) > MARGIN * limit for rate in (a, b))
        recorded = minute * 60 >= window.short
        if not (recorded and a > limit and b > limit and _enough(gate, bads[minute], totals[minute], budget)):
            since = -1
        elif since < 0:
            since = minute
        fires.append(since >= 0 and (minute - since) * 60 >= window.for_)
    return tuple(fires), tuple(long), sure


@dataclass(frozen=True, slots=True)
class Moment:
    """What is to be told of an incident at a minute: see :class:`alert_rules.incident_texts.Said`.

    ``recent`` are the bad events that the grid recorded in the last ten minutes.
    """

    share: float | None
    per_second: float
    since: float | None
    left: float | None
    lasts: float | None
    recent: int


@lru_cache(maxsize=4096)
def moment(
    traffic: Traffic, minute: int, window: BurnWindow, factor: Decimal, period: int, budget: Decimal
) -> Moment:
    """What recorded series tell at a minute of an incident; ``period`` is the budget's in seconds.

    What is summed from the five-minute grid is a minute behind for alerts of the finer one, which come first.
    """
    _, totals, bads = _burn(traffic, 300, budget)
    share = bads[minute] / totals[minute] if totals[minute] else None
    rates, events, _ = _burn(traffic, window.short, budget)
    step, grid = max(1, window.long // 72 // 60), minute - (1 if window.long <= FINE_LIMIT else 0)
    first = max(0, minute - window.long // 60)
    calm = [m for m in range(first, minute + 1) if m % step == 0 and events[m] and rates[m] <= float(factor)]
    spent, counted, _ = _burn(traffic, max(period, FINE_LIMIT + 1), budget)
    left = 1 - spent[grid] if grid >= 0 and counted[grid] else None
    lasts = left * period / rates[minute] if left is not None and left > 0 and rates[minute] else None
    recent = sum(bads[m] for m in range(max(0, minute - 9), grid + 1))
    return Moment(share, bads[minute] / 300, float(calm[-1] * 60) if calm else None, left, lasts, recent)


def _events_per_minute(budget: Decimal) -> int:
    return 1_000_000 if budget >= Decimal("0.0001") else 1_000_000_000


def _least(gate: Gate) -> EventGate:
    """The events that every minute of a proof holds at least, so that the gate is open in all of them."""
    return gate if isinstance(gate, EventGate) else EventGate(0, 0)


@lru_cache(maxsize=4096)
def incident(
    window: BurnWindow, factor: Decimal, budget: Decimal, gate: Gate, *, few: bool = False
) -> ErrorBurst | None:
    """A burst at twice the factor or more (or a total outage, if that is less) and the minutes of alert and resolution.

    It begins when the short window's length is recorded. None if no such burst fires within days of simulated time.
    With ``few``, it is an outage of as few events a minute as the gate allows.
    """
    events = _least(gate).events or 1 if few else _events_per_minute(budget) + _least(gate).events
    youth = -(-window.short // 60)
    for attempt in range(12):
        times = Decimal("2.1") + Decimal("0.03") * attempt + youth // 60
        ratio = Decimal(1) if few else min(Decimal(1), times * factor * budget)
        room = int(min(Decimal(20), 240 * (ratio / budget - factor) / factor))
        found = _burst(events, ratio, max(room, youth, 2) + attempt, (window, factor, budget, gate))
        if found:
            return found
    return None


def _burst(
    events: int, ratio: Decimal, clean: int, policy: tuple[BurnWindow, Decimal, Decimal, Gate]
) -> ErrorBurst | None:
    """The incident of one burst; None if it does not fire, or where rounding might decide."""
    bad = max(int(ratio * events), _least(policy[3]).bad)
    fires, _, _ = active(Traffic(events, bad, clean, 4000, 0), *policy)
    if True not in fires:
        return None
    first = fires.index(True)
    for after in (20, 120, 1380):
        traffic = Traffic(events, bad, clean, first - clean + 5, after)
        fires, rates, sure = active(traffic, *policy)
        if not fires[-1]:
            resolved = max(minute for minute, firing in enumerate(fires) if firing) + 1
            short = replace(traffic, after=resolved - clean - traffic.faulty + 1)
            return ErrorBurst(short, first, resolved, rates[first]) if sure and _clear(rates[first]) else None
    return None


def _clear(rate: float) -> bool:
    """Whether all agree on a rate's first decimal."""
    return abs(rate * 10 % 1 - 0.5) > 0.01


def just_below(window: BurnWindow, factor: Decimal, budget: Decimal, gate: Gate) -> Traffic:
    """Errors for half an hour at 95 % of the burn rate that the alert waits for: it must never fire."""
    events = _events_per_minute(budget) + _least(gate).events
    return Traffic(
        events, int(Decimal("0.95") * factor * budget * events), 0, 30, 0, idle=-(-window.short // 60)
    )


def young(window: BurnWindow, factor: Decimal, budget: Decimal, gate: Gate) -> ErrorBurst | None:
    """A service that fails from its first minute: the alert waits until its short window's length is recorded.

    None where something else keeps the alert silent then.
    """
    wait = -(-window.short // 60) + window.for_ // 60
    events = _events_per_minute(budget) + _least(gate).events
    traffic = Traffic(events, events, 0, wait + 1, 0)
    fires, rates, sure = active(traffic, window, factor, budget, gate)
    if not (sure and _clear(rates[wait]) and fires[wait] and not fires[wait - 1]):
        return None
    return ErrorBurst(traffic, wait, wait + 1, rates[wait])


@lru_cache(maxsize=4096)
def diluted(window: BurnWindow, factor: Decimal, budget: Decimal, gate: Gate) -> ErrorBurst | None:
    """Failures soon after the beginning: the alert waits until its short window's length is recorded, and fires then.

    It resolves as soon as good events dilute the failures in the long window to the factor, while the short one still
    has them all. So one test proves both, and for short windows of hours, tests are what promtool takes long for.
    """
    wait = -(-window.short // 60) + window.for_ // 60
    events = _events_per_minute(budget) + _least(gate).events
    failures = factor * budget * events * (wait + Decimal("10.5"))
    clean, faulty = 20, int(failures / events) + 2
    traffic = Traffic(events, int(failures / faulty), clean, faulty, wait + 16 - clean - faulty)
    if window.long < window.short + 1200 or traffic.after <= 16:
        return None
    fires, rates, sure = active(traffic, window, factor, budget, gate)
    firing = [minute for minute, fired in enumerate(fires) if fired]
    if not (sure and firing and firing[0] == wait and _clear(rates[wait])) or fires[-1]:
        return None
    return ErrorBurst(traffic, wait, firing[-1] + 1, rates[wait])


def quiet(
    window: BurnWindow, factor: Decimal, budget: Decimal, gate: Gate
) -> Iterator[tuple[str, Traffic, float | None]]:
    """One minute of traffic that burns fast enough: what of it holds the alert, and its burn rate where it fires.

    On too few (what?) events the gate alone must hold the alert; on one failure more, evidence is enough. Nothing for
    gates that cannot decide, and for windows of the five-minute grid, whose events promtool counts five times.
    """
    if window.long > FINE_LIMIT:
        return
    idle = -(-window.short // 60)
    if isinstance(gate, EventGate):
        if gate.events - 1 >= max(gate.bad, 1):
            yield "too few events", Traffic(gate.events - 1, gate.events - 1, 0, 1, 0, idle), None
        if gate.bad > 1 and gate.bad - 1 > factor * budget * max(gate.events, gate.bad):
            yield "too few bad events", Traffic(max(gate.events, gate.bad), gate.bad - 1, 0, 1, 0, idle), None
        return
    least = next((count for count in range(2, 10_000) if _enough(gate, count, count, budget)), 0)
    if not least:
        return
    few, one_more = (Traffic(count, count, 0, 1, 0, idle) for count in (least - 1, least))
    yield ("one failure" if least == 2 else f"{least - 1} failures"), few, None
    fires, rates, sure = active(one_more, window, factor, budget, gate)
    if fires[-1] and sure and _clear(rates[-1]):
        yield f"{least} failures", one_more, rates[-1]
