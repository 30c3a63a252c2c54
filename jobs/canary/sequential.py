"""Is more of one version failing than of another? A test that may be looked at after every step.

Counts come in strata: in each step both versions meet the same callers, dependencies and hour, so that what befalls
both alike cancels. For a difference ``margin`` of the shares that fail, let ``a = n_b / N`` and ``b = n_c / N`` be
what of a step's traffic is the baseline's and the canary's. The score is Cochran's and Mantel–Haenszel's,
``S = Σ a·x_c − b·x_b``, and for every ``λ``

    ``exp(λ·S − Σ [E_c·(exp(λ·a) − 1) + E_b·(exp(−λ·b) − 1)])``

has an expectation of at most one if failures are independent (the cumulant of a Poisson variable is that of a binomial
one or more), with ``E`` what fails at the margin. Its mean over several ``λ`` is the mixture sequential probability
ratio test: Ville's inequality says that it ever exceeds ``1/α`` with a probability of at most ``α`` (Robbins, 1970;
Johari, Pekelis and Walsh, *Always valid inference*, 2015; Howard, Ramdas, McAuliffe and Sekhon, *Time-uniform,
nonparametric, nonasymptotic confidence sequences*, 2021). Half of its weight is on what began later, to see a version
that breaks after a while.

Failures come in bursts: then the exponent is divided by the dispersion, the variance of the steps' scores over
that of independent failures, so that a burst counts as one failure. It is estimated, as is what fails of the baseline:
what that does to the error rates is simulated, see docs/canary.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, log

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
"""Events by step; the last axis is time."""

TILTS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.6, 2.5])
"""The ``λ`` of the mixture."""
LEAST_STEPS = 5
"""Steps with traffic of both versions before which nothing is concluded."""
RESTART = 5
"""Steps between two moments at which a version may begin to fail."""


@dataclass(frozen=True)
class Strata:
    """What each version was asked and failed by step; all of one shape."""

    canary: Counts
    canary_bad: Counts
    baseline: Counts
    baseline_bad: Counts

    def __post_init__(self) -> None:
        """Steps in which one version alone had traffic compare nothing."""
        both = (self.canary > 0) & (self.baseline > 0)
        for name in ("canary", "canary_bad", "baseline", "baseline_bad"):
            object.__setattr__(self, name, np.where(both, getattr(self, name), 0.0))

    @property
    def compared(self) -> Counts:
        """How many steps had traffic of both, up to each."""
        return np.cumsum(self.canary > 0, axis=-1)


def _ratio(above: Counts, below: Counts) -> Counts:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def dispersion(strata: Strata) -> Counts:
    """How much more the scores of the steps up to each vary than those of independent failures would; at least 1."""
    whole = strata.canary + strata.baseline
    a, b = _ratio(strata.baseline, whole), _ratio(strata.canary, whole)
    weight = a * strata.canary
    score = a * strata.canary_bad - b * strata.baseline_bad
    moments = [np.cumsum(one, axis=-1) for one in (score, weight, score**2, score * weight, weight**2)]
    effect = _ratio(moments[0], moments[1])
    squares = moments[2] - 2 * effect * moments[3] + effect**2 * moments[4]
    poisson = np.cumsum(a**2 * strata.canary_bad + b**2 * strata.baseline_bad, axis=-1)
    free = np.maximum(strata.compared - 1.0, 1.0)
    found = _ratio(squares * strata.compared / free, poisson)
    # Few steps tell a variance badly, and too little of it does harm.
    return np.maximum(1.0, found * (1 + SMALL / free))


SMALL = 4.0


def evidence(strata: Strata, margin: float, *, worse: bool, late: bool = True) -> Counts:
    """The logarithm of the test's statistic after each step: that the canary is ``worse`` by over a margin, or not.

    Above ``ln(1/α)`` it is shown at the level α, whenever one looks. ``late``: also that it is since some time.
    """
    sign = 1.0 if worse else -1.0
    whole = strata.canary + strata.baseline
    a, b = _ratio(strata.baseline, whole), _ratio(strata.canary, whole)
    failing = strata.canary_bad + strata.baseline_bad
    share = _ratio(failing, whole)
    score = np.cumsum(a * strata.canary_bad - b * strata.baseline_bad, axis=-1)
    allowed = np.cumsum(margin * strata.canary, axis=-1)
    # What failed beyond the margin, of both: the rates at the margin that are nearest to what was seen.
    kept = np.maximum(0.0, 1 - _ratio(allowed, np.cumsum(failing, axis=-1)))[..., None]
    tilts = sign * TILTS
    up, down = np.expm1(a[..., None] * tilts), np.expm1(-b[..., None] * tilts)
    common = np.cumsum(
        share[..., None] * (strata.canary[..., None] * up + strata.baseline[..., None] * down), axis=-2
    )
    added = np.cumsum(margin * strata.canary[..., None] * up, axis=-2)
    spread = dispersion(strata)[..., None]
    steps = score.shape[-1]
    starts = range(0, steps, RESTART) if late else range(1)
    found = np.full(score.shape, -inf)
    for number, start in enumerate(starts):
        weight = (0.5 if late else 1.0) if number == 0 else 0.5 / (number * (number + 1))
        if start:
            gained, common_since, added_since = (
                one[..., start:, :] - one[..., start - 1 : start, :]
                for one in (score[..., None], common, added)
            )
        else:
            gained, common_since, added_since = score[..., None], common, added
        exponent = (tilts * gained - kept[..., start:, :] * common_since - added_since) / spread[
            ..., start:, :
        ]
        top = exponent.max(axis=-1)
        mixed = top + np.log(np.exp(exponent - top[..., None]).mean(axis=-1)) + log(weight)
        found[..., start:] = np.logaddexp(found[..., start:], mixed)
    return np.where(strata.compared >= LEAST_STEPS, found, -inf)


def shown(strata: Strata, margin: float, *, worse: bool, late: bool = False) -> Counts:
    """As :func:`evidence`, of any margin: to be worse by less than nothing is that the other one is not."""
    if margin >= 0:
        return evidence(strata, margin, worse=worse, late=late)
    turned = Strata(strata.baseline, strata.baseline_bad, strata.canary, strata.canary_bad)
    return evidence(turned, -margin, worse=not worse, late=late)


def interval(strata: Strata, alpha: float) -> tuple[float, float]:
    """How much more of the canary fails, at least and at most, each at the level α whenever one looks (−1 … 1)."""
    enough = -log(alpha)
    ends = []
    for worse in (True, False):
        near, far = (-1.0, 1.0) if worse else (1.0, -1.0)  # shown at the near end, not at the far one
        if shown(strata, near, worse=worse)[-1] < enough:
            ends.append(near)
            continue
        for _ in range(24):
            middle = (near + far) / 2
            if shown(strata, middle, worse=worse)[-1] >= enough:
                near = middle
            else:
                far = middle
        ends.append(near)
    return ends[0], ends[1]


def steps_needed(strata: Strata, margin: float, alpha: float) -> float:
    """Steps that it takes from now on, at this traffic, to show that the canary is not worse by a margin, if it is not.

    Infinite where it takes forever.
    """
    compared = float(strata.compared[-1])
    if compared == 0:
        return inf
    canary, baseline = strata.canary.sum() / compared, strata.baseline.sum() / compared
    share = (strata.canary_bad.sum() + strata.baseline_bad.sum()) / (canary + baseline) / compared
    a, b = baseline / (canary + baseline), canary / (canary + baseline)
    kept = max(0.0, 1 - margin * canary / (share * (canary + baseline))) if share else 0.0
    failing = canary * (share * kept + margin) * np.expm1(-a * TILTS)
    failing = failing + baseline * share * kept * np.expm1(b * TILTS)
    gain = float((-failing).max() / dispersion(strata)[-1])
    if gain <= 0:
        return inf
    have = max(float(evidence(strata, margin, worse=False, late=False)[-1]), -log(len(TILTS)))
    whole = (log(len(TILTS)) - log(alpha)) / gain
    return max(LEAST_STEPS - compared, whole - compared, (-log(alpha) - have) / gain, 1.0)
