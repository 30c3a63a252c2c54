"""Alert policies: which burn rates over which windows fire an alert, and the two policies that ship with sloctl.

Plain immutable data, a part of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

AlertSeverity = Literal["page", "ticket"]
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


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """A multi-window multi-burn-rate policy, with its gate for low traffic.

    An alert needs ``min_events`` events and ``min_bad_events`` bad ones in its long window.
    """

    name: str
    windows: tuple[BurnWindow, ...]
    min_events: int = 20
    min_bad_events: int = 3

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
