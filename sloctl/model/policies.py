"""Alert policies: which burn rates over which windows fire an alert, and the two policies that ship with sloctl.

Plain immutable data, a part of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import log
from typing import Literal

AlertSeverity = Literal["page", "ticket"]
StoppedTraffic = Literal["none", "ticket"]
H, M, D = 3600, 60, 86400


@dataclass(frozen=True, slots=True)
class BurnWindow:
    """One line of an alert policy: fire when the burn rate over both windows exceeds ``factor``.

    Windows and ``for_`` are seconds; ``factor`` is stated for a period of 30 days.
    """

    severity: AlertSeverity
    factor: Decimal
    long: int
    short: int
    for_: int = 0


MIN_EVENTS, MIN_BAD_EVENTS = 20, 3
"""What an alert needs in its long window where a file counts events, and does not say how many."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows that failures are no chance: ``bad × (ln(bad / expected) − 1) + expected ≥ needed``.

    ``expected`` is what would have failed at the burn rate ``allowed``. The left side is Chernoff's bound: at that
    rate, as many failures or more are seen with a probability of at most ``exp(−left side)`` (Mitzenmacher and Upfal,
    *Probability and Computing*, theorem 5.4, on the tails of a Poisson variable). With ``burn = bad / expected``, each
    bad event adds ``ln(burn) − 1 + 1 / burn``. No event adds more than half of what is needed: one alone, whose burn
    rate is without bound, shows nothing.
    """

    needed: Decimal
    allowed: Decimal

    @property
    def most(self) -> Decimal:
        """The most that one bad event adds."""
        return self.needed / 2

    def enough(self, bad: float, burn: float) -> bool:
        """Whether ``bad`` events at a burn rate above ``allowed`` are more than chance."""
        above = burn / float(self.allowed)
        return bad * min(log(above) - 1 + 1 / above, float(self.most)) >= float(self.needed)


@dataclass(frozen=True, slots=True)
class Silence:
    """When traffic is said to have stopped: after ``least`` seconds, and ``times`` the longest pause remembered.

    A pause is the time between two steps of the budget grid with events. Pauses of the last ``memory`` seconds count,
    if there are ``steps`` steps with events, the first of them ``age`` seconds ago: of so many pauses at random, the
    next one is three times the longest in one of two thousand cases; and a day has its night.
    """

    least: int = 3600
    times: int = 3
    memory: int = 7 * 86400
    steps: int = 20
    age: int = 86400


SILENCE = Silence()


@dataclass(frozen=True, slots=True)
class EventGate:
    """Numbers of events, and of bad ones, that the long window must hold."""

    events: int
    bad: int


Gate = Evidence | EventGate
"""What an alert needs in its long window besides the burn rate, so that little traffic alerts on no chance."""


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """A multi-window multi-burn-rate policy, with its gate for low traffic.

    An alert must be ``confidence`` percent sure. Where one of ``min_events`` and ``min_bad_events`` is given, it needs
    that many events and bad ones in its long window instead. ``traffic_stopped`` is who is told of traffic that stays
    away.
    """

    name: str
    windows: tuple[BurnWindow, ...]
    min_events: int | None = None
    min_bad_events: int | None = None
    confidence: Decimal = Decimal("99.99")
    traffic_stopped: StoppedTraffic = "none"

    @property
    def lengths(self) -> tuple[int, ...]:
        """The length of every window, in seconds, the shortest first."""
        return tuple(sorted({length for line in self.windows for length in (line.long, line.short)}))

    def scaled(self, window: BurnWindow, period: int) -> Decimal:
        """The burn-rate factor for a period of ``period`` seconds.

        A factor spends the share ``factor × long / 30 d`` of a 30-day budget before it fires; keeping that
        share for another period gives ``factor × period / 30 d`` (SRE workbook, chapter 5, table 5-2).
        """
        return (window.factor * period / (30 * 86400)).normalize()

    def gate(self, window: BurnWindow, period: int) -> Gate:
        """What the alert of a line needs in its long window besides the burn rate.

        The evidence is held against a service that fails as often as its objective allows, or as the line lets pass, if
        that is less. Held against the line's own factor, it would keep an alert silent for long after its burn rate is
        above the factor, however much traffic there is.
        """
        if self.min_events is not None or self.min_bad_events is not None:
            return EventGate(
                MIN_EVENTS if self.min_events is None else self.min_events,
                MIN_BAD_EVENTS if self.min_bad_events is None else self.min_bad_events,
            )
        chance = 1 - self.confidence / 100
        needed = (-chance.ln()).quantize(Decimal("0.0001"))
        return Evidence(needed, min(Decimal(1), self.scaled(window, period)))


def _window(severity: AlertSeverity, factor: str, long: int, short: int, for_: int = 0) -> BurnWindow:
    return BurnWindow(severity, Decimal(factor), long, short, for_)


POLICIES: dict[str, AlertPolicy] = {
    # Pages at 14 x for critical burns and at 4 x when it lasts, tickets at 1 x: the guidance for meshes.
    "mesh": AlertPolicy(
        "mesh",
        (
            _window("page", "14", 1 * H, 5 * M),
            _window("page", "4", 6 * H, 30 * M, 5 * M),
            _window("ticket", "1", 3 * D, 6 * H),
        ),
    ),
    # Google, The Site Reliability Workbook, chapter 5, table 5-8.
    "sre-workbook": AlertPolicy(
        "sre-workbook",
        (
            _window("page", "14.4", 1 * H, 5 * M),
            _window("page", "6", 6 * H, 30 * M),
            _window("ticket", "3", 1 * D, 2 * H),
            _window("ticket", "1", 3 * D, 6 * H),
        ),
    ),
}
