"""Looks at a canary again and again until there is a verdict, or its time is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from jobs.canary.judged import Judged, judge, unreachable
from jobs.canary.observed import Asked, read
from sloctl.backends.protocols import MetricSource
from sloctl.errors import BackendError
from sloctl.model import SloSet


def watch(
    source: MetricSource,
    slo_set: SloSet,
    asked: Asked,
    lasting: timedelta,
    *,
    since: datetime | None = None,
    now: Callable[[], datetime],
    sleep: Callable[[float], object],
    looked: Callable[[Judged], object] = lambda _judged: None,
) -> Judged:
    """Look at every step until it is promoted or rolled back, or ``lasting`` is over since its traffic began.

    Without any traffic, ``lasting`` counts from the first look. A look that fails is repeated at the next step; if the
    last one does, the verdict is inconclusive. ``looked`` is told of every look.
    """
    policy = slo_set.release.canary
    begun = now()
    while True:
        at = now()
        try:
            observed = read(source, slo_set, asked, at, since)
            began = observed.start if observed.slos else since or begun
            found = judge(observed, policy, over=at >= began + lasting)
        except BackendError as error:
            began = since or begun
            found = unreachable(asked, policy, at, f"Prometheus could not be asked: {error}")
        looked(found)
        if found.verdict in ("promote", "rollback") or at >= began + lasting:
            return found
        next_step = (at.timestamp() // asked.step + 1) * asked.step
        sleep(next_step - at.timestamp())
