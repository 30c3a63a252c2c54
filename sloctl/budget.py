"""Error-budget arithmetic: plain numbers in, plain numbers out.

Ratios are ratios of sums of events, never means of ratios. Zero events give None ("no data"), which is neither
0 nor 1 and never enters arithmetic.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Literal

Status = Literal["ok", "at_risk", "exhausted", "partial", "no_data"]
"""``partial``: so little of the window is recorded that what is left of its budget cannot be said."""

EventCounts = tuple[float, float]
"""(bad, total) events."""

Z95 = 1.959963984540054
"""97.5th percentile of the standard normal distribution: two-sided 95 %."""

AT_RISK_REMAINING = 0.1
"""A budget with less than this share left is at risk even while nothing burns."""

LEAST_RECORDED = 86400
"""Seconds: traffic repeats by the day, so that less of a longer window says nothing of its budget."""


def ratio(part: float, whole: float) -> float | None:
    """``part / whole``; None where there were no events."""
    return part / whole if whole > 0 else None


def wilson_interval(good: float, total: float, z: float = Z95) -> tuple[float, float] | None:
    """The Wilson score interval of the share of good events; None without events.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927). Unlike
    the normal approximation it stays inside 0…1 and is honest for few events and for shares near 1.
    """
    if total <= 0:
        return None
    share = min(max(good / total, 0.0), 1.0)
    z2 = z * z
    # Both sides of the usual fraction times the total: a total may be too small to be divided by.
    centre = share * total + z2 / 2
    spread = z * math.sqrt(share * (1 - share) * total + z2 / 4)
    low = 0.0 if share == 0 else max(0.0, (centre - spread) / (total + z2))
    high = 1.0 if share == 1 else min(1.0, (centre + spread) / (total + z2))
    return low, high


def spent(bad: float, total: float, budget: float) -> float | None:
    """Share of the error budget that is used: 1 is all of it, more is overspent; None without events.

    Of the events of a window, that is the burn rate: how many times faster than sustainable the budget burns (SRE
    workbook, chapter 5).
    ``budget`` is the share of events that may be bad (0.001 for an objective of 99.9 %).
    """
    share = ratio(bad, total)
    return None if share is None else share / budget


def exhausted_at(now: datetime, remaining: float, rate: float, period: int) -> datetime | None:
    """When the budget is used up if it keeps burning at ``rate``; None if it is now, or never within the period.

    A burn rate of 1 spends one budget in ``period`` seconds. In a rolling window old errors also leave, so this
    is the earliest time; after a whole period nothing of today's window is left.
    """
    if remaining <= 0 or rate <= 0:
        return None
    seconds = round(min(remaining / rate, 1.0) * period)
    return now + timedelta(seconds=seconds) if seconds < period else None


def undecided(
    bad: float, total: float, budget: float, *, recorded: float, missing: float, peak: float
) -> bool:
    """Whether the events of a part of a window leave open what is left of its budget.

    ``recorded`` and ``missing`` are seconds of the window, ``peak`` the most events of a second. With a day or more, a
    budget that is in danger if all of the window was like this part is decided only if it is spent even with the peak's
    traffic, all of it good, in the time that is missing.
    """
    if recorded < min(LEAST_RECORDED, recorded + missing):
        return True
    alike, best = spent(bad, total, budget), spent(bad, total + missing * peak, budget)
    return alike is not None and 1 - alike < AT_RISK_REMAINING and (not peak or best is None or best < 1)


def status(remaining: float | None, *, alerting: bool, partial: bool = False) -> Status:
    """One word for a budget; ``partial`` if what is recorded of its window leaves open what is left of it."""
    if partial:
        return "at_risk" if alerting else "partial"
    if remaining is None:
        return "no_data"
    if remaining <= 0:
        return "exhausted"
    return "at_risk" if alerting or remaining < AT_RISK_REMAINING else "ok"
