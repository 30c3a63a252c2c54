"""How the ledger is kept, and what it leaves out of budgets by agreement: plain immutable data, a part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DAY = 86400

Silences = Literal["none", "deploys", "all"]


SETTLE = 60
"""Seconds that a bucket waits for late samples, unless the file says otherwise."""


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Durations are seconds.

    ``keep_buckets`` follows from the longest window of the set where the file does not say it. ``catch_up`` is how far
    back missed buckets are read from Prometheus's history. ``settle`` is how old a bucket is when it is recorded,
    ``look_back`` how old when it is read again for the last time (0: never). ``silences`` says which of Alertmanager's
    silences excuse what they mute.
    """

    keep_buckets: int = 37 * DAY
    keep_hours: int = 400 * DAY
    keep_days: int = 5 * 366 * DAY
    catch_up: int = 31 * DAY
    settle: int = SETTLE
    look_back: int = 3600
    silences: Silences = "none"


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Time that counts in no budget: once from ``start`` to ``end``, or ``seconds`` long at each time of ``cron``.

    Empty ``services``, ``slos`` or ``namespace`` stand for all of them.
    """

    name: str
    start: datetime | None = None
    end: datetime | None = None
    cron: str = ""
    timezone: str = "UTC"
    seconds: int = 0
    namespace: str = ""
    services: tuple[str, ...] = ()
    slos: tuple[str, ...] = ()

    def covers(self, slo: str, namespace: str, service: str) -> bool:
        """Whether it is about an SLO of a service."""
        return (
            (not self.namespace or namespace == self.namespace)
            and (not self.services or service in self.services)
            and (not self.slos or slo in self.slos)
        )
