"""Since when something fails more than it did: the interval of a series of counts that stands out most.

Kulldorff's scan statistic for a binomial rate (Communications in Statistics 26, 1997): of all intervals, the one whose
rate of failures differs most from that of the rest, by the likelihood ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.float64]

SURE = 14.0
"""The logarithm of the likelihood ratio from which on an interval stands out. Of the 16,000 intervals of three hours,
the best reaches 10 by chance; where failures come in bursts, it is divided by how much more they vary."""
LEAST_RATE = 0.001
"""A rise of the share of failures that is smaller than this is nobody's incident."""
LEAST_TIMES = 2.0
EARLIER = 4
"""Intervals that are looked at, one after the other, if they were over before."""
OVERLAP = 3
"""Steps over which counts were smoothed (``jobs.origins.traffic``)."""


@dataclass(frozen=True, slots=True)
class Onset:
    """The interval ``[start, end)`` of a series, in its steps, and the shares of failures in it and outside it.

    ``before`` is None if nothing was asked for outside of the interval: then it has failed all the time. ``known`` says
    whether the series shows when it began: where there were no requests before, it does not.
    """

    start: int
    end: int
    share: float
    before: float | None
    excess: float
    """Failures beyond those that ``before`` would have brought."""
    known: bool = True

    @property
    def dated(self) -> bool:
        """Whether it began within the series, if only with the first requests."""
        return self.start > OVERLAP


def onset(total: Counts, bad: Counts, recent: int = 0, always: float = 0.01) -> Onset | None:
    """The interval in which most failed, of those that reach beyond the step ``recent``; None if nothing stands out.

    ``total`` and ``bad`` have shape (steps,). What fails all the time is an interval too, from the share ``always`` on.
    What stands out and was over before ``recent`` is left out of what is usual.
    """
    asked = np.flatnonzero(total > 0)
    total, bad = total.copy(), bad.copy()
    for _ in range(EARLIER):
        found = _most(total, bad, asked, always)
        if found is None or found.end > recent:
            return found
        over = slice(max(0, found.start - OVERLAP), found.end + OVERLAP)
        total[over] = bad[over] = 0
    return None


def _most(total: Counts, bad: Counts, asked: npt.NDArray[np.intp], always: float) -> Onset | None:
    """``asked`` are the steps with requests."""
    steps, everything, failed = len(total), float(total.sum()), float(bad.sum())
    if steps < 4 or everything <= 0 or failed <= 0:
        return None
    n, b = (np.concatenate(([0.0], np.cumsum(counts))) for counts in (total, np.minimum(bad, total)))
    first, last = np.triu_indices(steps + 1, k=2)
    inside, outside = n[last] - n[first], everything - (n[last] - n[first])
    failing, others = b[last] - b[first], b[-1] - (b[last] - b[first])
    usable = (inside > 0) & (outside > 0)
    high, low = _share(failing, inside), _share(others, outside)
    usable &= (high - low >= LEAST_RATE) & (high >= LEAST_TIMES * low)
    gain = _likelihood(failing, inside) + _likelihood(others, outside) - _likelihood(b[-1:], n[-1:])
    gain = np.where(usable, gain, -np.inf)
    best = int(np.argmax(gain))
    start, end = int(first[best]), int(last[best])
    rest = np.ones(steps, dtype=bool)
    rest[max(0, start - OVERLAP) : end + OVERLAP] = False
    rest &= total > 0
    if gain[best] / dispersion(total[rest], bad[rest]) >= SURE:
        excess = float(failing[best] - low[best] * inside[best])
        known = start - OVERLAP > asked[0]
        return Onset(start, end, float(high[best]), float(low[best]), excess, bool(known))
    share, whole = failed / everything, (int(asked[0]), int(asked[-1]) + 1)
    return Onset(*whole, share, None, failed, known=False) if share >= always else None


def dispersion(total: Counts, bad: Counts) -> float:
    """How many times as much failures vary as independent ones would; 1 at least (Pearson's chi squared)."""
    n, b = (counts[OVERLAP - 1 :: OVERLAP] * OVERLAP for counts in (total, bad))
    if len(n) < 5 or n.sum() <= 0 or b.sum() <= 0:
        return 1.0
    expected = n * min(b.sum() / n.sum(), 0.999)
    share = b.sum() / n.sum()
    seen = expected > 0
    chi = float((((b - expected)[seen] ** 2) / (expected[seen] * max(1 - share, 1e-3))).sum())
    return max(1.0, chi / max(int(seen.sum()) - 1, 1))


def _share(bad: Counts, total: Counts) -> Counts:
    return np.divide(bad, total, out=np.zeros_like(bad), where=total > 0)


def _likelihood(bad: Counts, total: Counts) -> Counts:
    """Of the counts, with the share that is likeliest; its logarithm."""
    share = _share(bad, total)
    good = total - bad
    found: Counts = np.where(bad > 0, bad * np.log(np.where(share > 0, share, 1)), 0)
    found += np.where(good > 0, good * np.log(np.where(share < 1, 1 - share, 1)), 0)
    return found
