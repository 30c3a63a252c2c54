"""The verdict on a canary: what each SLO shows, what else speaks against it, and what leaves it open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf, log
from typing import Literal

import numpy as np

from jobs.canary.observed import Asked, Observed, Seen
from jobs.canary.sequential import dispersion, evidence, interval, steps_needed
from sloctl.model.durations import duration
from sloctl.model.release import CanaryPolicy
from sloctl.report.numbers import percent

Verdict = Literal["promote", "wait", "rollback", "inconclusive"]
Shows = Literal["worse", "costs", "fine", "open"]
OUTAGE = 14.0
"""Burn rate of the baseline in the last steps from which on nothing is promoted: both versions fail."""
LAST = 5
MOST_SILENT = 0.25
"""What of the steps may be silent."""
NAMELESS = 3
MOST_NAMELESS = 0.1
"""Bad events of no version that are overlooked: a few, or a small share of all."""


@dataclass(frozen=True)
class Compared:
    """What one SLO shows. Shares are 0…1; ``more`` is how much more of the canary fails, ``low`` and ``high`` its
    confidence sequence.

    ``cost`` is what its failures beyond the baseline's are of the budget of the whole window, of which ``estimated``
    says that its events are reckoned from this traffic. ``needed`` is how many seconds it takes to know more; None
    where it is known, infinite where it takes forever. ``at`` is when it was shown to be worse.
    """

    seen: Seen
    shows: Shows
    margin: float
    canary: float
    baseline: float
    more: float
    low: float
    high: float
    dispersion: float
    cost: float
    estimated: bool
    needed: float | None
    at: datetime | None = None

    @property
    def name(self) -> str:
        """The SLO's name."""
        return self.seen.slo.name


@dataclass(frozen=True)
class Judged:
    """The verdict. ``reasons`` say what drove it, ``doubts`` why it is not certain."""

    observed: Observed
    policy: CanaryPolicy
    verdict: Verdict
    slos: tuple[Compared, ...] = ()
    reasons: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def asked(self) -> Asked:
        """What was compared."""
        return self.observed.asked


def judge(observed: Observed, policy: CanaryPolicy, *, over: bool = False) -> Judged:
    """Judge a canary by all that was seen; once its time is ``over``, what is still open is inconclusive."""
    asked = observed.asked
    open_: Verdict = "inconclusive" if over else "wait"
    if absent := _absent(observed):
        return Judged(observed, policy, "inconclusive", (), absent, observed.doubts)
    alpha = float(1 - policy.confidence / 100)
    slos = tuple(_compared(one, observed, policy, alpha, len(observed.slos)) for one in observed.slos)
    if observed.doubts:
        text = "answers of Prometheus are in doubt: what is missing may be of one version alone"
        return Judged(observed, policy, "inconclusive", slos, (text,), observed.doubts)
    harm = tuple(_harm(one, asked, policy) for one in slos if one.shows in ("worse", "costs"))
    if harm:
        return Judged(observed, policy, "rollback", slos, harm)
    against = (*_against(observed, slos), *_restarted(observed))
    unsure = tuple(_unsure(one, asked) for one in slos if one.shows == "open")
    if against or unsure:
        return Judged(observed, policy, open_, slos, (*against, *unsure))
    text = f"it is not worse than {asked.baseline} by more than the margin, as {_all(slos)}"
    return Judged(observed, policy, "promote", slos, (text,))


def unreachable(asked: Asked, policy: CanaryPolicy, at: datetime, why: str) -> Judged:
    """The verdict where Prometheus could not be asked."""
    return Judged(Observed(asked, at, at), policy, "inconclusive", (), (why,))


def _all(slos: Sequence[Compared]) -> str:
    names = ", ".join(one.name for one in slos)
    return f"{names} show{'s' if len(slos) == 1 else ''}"


def _absent(observed: Observed) -> tuple[str, ...]:
    asked = observed.asked
    missing = [name for name in (asked.canary, asked.baseline) if name not in observed.versions]
    if not missing and observed.slos:
        return ()
    if not missing:
        return (f"{asked.canary} had no traffic yet",)
    seen = ", ".join(observed.versions[:8]) or "none"
    return tuple(f"{name} had no traffic ({asked.label} has been: {seen})" for name in missing)


def _compared(seen: Seen, observed: Observed, policy: CanaryPolicy, alpha: float, number: int) -> Compared:
    strata, slo = seen.strata, seen.slo
    margin = float(slo.budget if policy.margin is None else policy.margin / 100)
    canary, baseline = (
        (float(bad.sum() / total.sum()) if total.sum() else 0.0)
        for bad, total in ((strata.canary_bad, strata.canary), (strata.baseline_bad, strata.baseline))
    )
    cost, estimated = _cost(seen, observed)
    # Of several SLOs any may roll back: together they do so falsely no more often than one.
    enough = log(number / alpha)
    worse = evidence(strata, margin, worse=True) >= enough
    costly = cost > float(policy.budget) / 100 and bool((evidence(strata, 0.0, worse=True) >= enough).any())
    told = not seen.unbound
    fine = told and bool(evidence(strata, margin, worse=False, late=False)[-1] >= -log(alpha))
    low, high = interval(strata, alpha)
    worse, costly = worse & told, costly and told
    shows: Shows = "worse" if worse.any() else "costs" if costly else "fine" if fine else "open"
    at = None
    if worse.any():
        at = observed.start + timedelta(seconds=observed.asked.step * (int(np.argmax(worse)) + 1))
    needed = steps_needed(strata, margin, alpha) * observed.asked.step if shows == "open" else None
    return Compared(
        seen, shows, margin, canary, baseline, canary - baseline, low, high,
        float(dispersion(strata)[-1]), cost, estimated, needed, at,
    )  # fmt: skip


def _cost(seen: Seen, observed: Observed) -> tuple[float, bool]:
    """What of the whole window's budget the canary's failures beyond the baseline's are; whether that is reckoned."""
    strata = seen.strata
    share = np.divide(
        strata.baseline_bad, strata.baseline, out=np.zeros_like(strata.baseline), where=strata.baseline > 0
    )
    excess = max(0.0, float((strata.canary_bad - share * strata.canary).sum()))
    seconds = (observed.end - observed.start).total_seconds()
    events = seen.traffic[1] * seen.slo.window.seconds / seconds if seen.window is None else seen.window
    return (excess / (events * float(seen.slo.budget)) if events else 0.0), seen.window is None


def _harm(one: Compared, asked: Asked, policy: CanaryPolicy) -> str:
    what = "more is slow" if one.seen.slo.counts_good else "more fails"
    if one.shows == "worse" and one.more <= one.margin:
        return (
            f"{one.name}: since some time {what} than of {asked.baseline} by over {percent(one.margin, 2)} "
            f"({percent(one.more, 2)} of the whole time)"
        )
    if one.shows == "worse":
        return (
            f"{one.name}: {percent(one.more, 2)} {what} than of {asked.baseline}, "
            f"and {percent(one.margin, 2)} may"
        )
    return (
        f"{one.name}: it has cost {percent(one.cost, 1)} of the budget of {one.seen.slo.window.text}, "
        f"and {percent(float(policy.budget) / 100, 1)} may"
    )


def _against(observed: Observed, slos: Sequence[Compared]) -> tuple[str, ...]:
    """What forbids to promote whatever the comparison shows."""
    found = []
    asked = observed.asked
    for one in slos:
        strata = one.seen.strata
        at = np.flatnonzero(strata.baseline > 0)[-LAST:]
        bad, total = strata.baseline_bad[at].sum(), strata.baseline[at].sum()
        if total and bad / total >= OUTAGE * float(one.seen.slo.budget):
            found.append(
                f"{one.name}: {percent(float(bad / total), 1)} of {asked.baseline} fails too, lately: that is not "
                f"{asked.canary}'s fault, and no time to promote it"
            )
        all_bad = strata.canary_bad.sum() + strata.baseline_bad.sum() + one.seen.nameless
        if one.seen.nameless > max(NAMELESS, MOST_NAMELESS * all_bad):
            found.append(
                f"{one.name}: {one.seen.nameless:,.0f} failures have no {asked.label}: calls that reached nobody "
                f"may have been {asked.canary}'s"
            )
        found += _not_compared(one, asked)
        steps = len(strata.canary)
        if one.seen.silent > MOST_SILENT * steps:
            found.append(f"{one.name}: nothing was read in {one.seen.silent} of {steps} steps")
    return tuple(found)


def _not_compared(one: Compared, asked: Asked) -> list[str]:
    """What the canary did while there was nothing to compare it with, and that it does nothing now."""
    found = []
    events, bad = one.seen.alone
    if events > MOST_SILENT * (events + one.seen.strata.canary.sum()) or bad > max(
        NAMELESS, one.margin * events
    ):
        found.append(
            f"{one.name}: {events:,.0f} requests of {asked.canary}, of which {bad:,.0f} failed, came while "
            f"{asked.baseline} had none: they are not compared"
        )
    if not one.seen.strata.canary[-LAST:].any():
        found.append(f"{one.name}: in the last {LAST} steps no request of both versions was seen")
    return found


def _restarted(observed: Observed) -> tuple[str, ...]:
    """Pods of the canary that restart more than those of the baseline."""
    known = observed.restarts or {}
    canary, pods = known.get(observed.asked.canary, (0.0, 1.0))
    baseline, others = known.get(observed.asked.baseline, (0.0, 1.0))
    if canary <= 0 or canary / pods <= baseline / others:
        return ()
    return (
        f"containers of {observed.asked.canary} restarted {canary:.0f} times in {pods:.0f} pods, "
        f"those of {observed.asked.baseline} {baseline:.0f} times in {others:.0f}",
    )


def _unsure(one: Compared, asked: Asked) -> str:
    if one.seen.unbound:
        names = " and ".join(one.seen.unbound)
        return (
            f"{one.name}: the histogram of {names} lacks the bound of the threshold: nothing tells how many of its "
            "requests were fast (are its proxies' buckets others?)"
        )
    if one.needed is None or one.needed == inf or one.needed > 86400:
        return f"{one.name}: at this traffic a difference of {percent(one.margin, 2)} cannot be seen within a day"
    minutes = duration(max(60, round(one.needed / 60) * 60))
    return (
        f"{one.name}: needs {minutes} more at this rate to see that it is not {percent(one.margin, 2)} worse, "
        "if it is not"
    )
