"""A new version against the one that it is to replace, while both serve: promote it, wait, or roll it back.

:mod:`~jobs.canary.observed` reads what each version was asked and failed, step by step, from Prometheus's history;
:mod:`~jobs.canary.sequential` is the test, :mod:`~jobs.canary.judged` the verdict with its reasons, and
:mod:`~jobs.canary.told` how it is printed. Nothing is recorded: each look reads everything again.
"""

from jobs.canary.judged import Judged, judge
from jobs.canary.observed import Asked, read
from jobs.canary.watch import watch

__all__ = ["Asked", "Judged", "judge", "read", "watch"]
