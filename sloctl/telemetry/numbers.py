"""The numbers that hold until they are given anew: of jobs, and of what they computed last.

They are no instruments of OpenTelemetry: its SDK never forgets a set of labels that it has seen, so that services that
come and go would fill it up (2,000 sets of a metric), and one that is gone would be shown for ever.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from sloctl.telemetry import own_metrics
from sloctl.telemetry.protocol import Number

LIMIT = 20_000
"""Series of one metric that results may have."""
LabelPairs = tuple[tuple[str, str], ...]
Samples = dict[str, dict[LabelPairs, float]]
"""Values by metric and labels."""


class Numbers:
    """Safe to use from several threads; ``now`` is the time, aware."""

    def __init__(self, now: Callable[[], datetime], *, limit: int = LIMIT) -> None:
        self.now, self._limit = now, limit
        self._lock = threading.Lock()
        self._held: Samples = {}
        self._since: dict[str, dict[LabelPairs, datetime]] = {}
        self._results: dict[str, tuple[datetime, Samples]] = {}

    def set(self, name: str, labels: Mapping[str, str], value: float | None) -> None:
        """A number that holds from now on; None: it is not known any more."""
        with self._lock:
            every = self._held.setdefault(name, {})
            every.pop(_key(labels), None)
            if value is not None:
                every[_key(labels)] = value

    def age(self, name: str, labels: Mapping[str, str], since: datetime | None) -> None:
        """A number of seconds that grows; None: it is not known."""
        with self._lock:
            every = self._since.setdefault(name, {})
            every.pop(_key(labels), None)
            if since is not None:
                every[_key(labels)] = since

    def publish(self, owner: str, numbers: Iterable[Number], until: datetime) -> None:
        """The numbers of a result, in place of the owner's last ones."""
        found: Samples = {}
        for number in numbers:
            if math.isfinite(number.value):
                found.setdefault(number.name, {})[_key(number.labels)] = number.value
        with self._lock:
            # What two owners say, the last one says.
            self._results.pop(owner, None)
            self._results[owner] = (until, found)

    def read(self) -> Samples:
        """All that holds now; every list in the order of its labels."""
        with self._lock:
            now = self.now()
            self._results = {
                owner: (until, found) for owner, (until, found) in self._results.items() if now < until
            }
            every = {name: dict(samples) for name, samples in self._held.items()}
            for name, ages in self._since.items():
                every[name] = {labels: (now - since).total_seconds() for labels, since in ages.items()}
            for _, found in self._results.values():
                for name, samples in found.items():
                    every.setdefault(name, {}).update(samples)
        dropped = 0
        for name, samples in every.items():
            dropped += max(0, len(samples) - self._limit)
            every[name] = dict(sorted(samples.items())[: self._limit])
        every[own_metrics.SERIES_DROPPED] = {(): float(dropped)}
        return {name: every[name] for name in sorted(every) if every[name]}


def _key(labels: Mapping[str, str]) -> LabelPairs:
    return tuple(sorted(labels.items()))
