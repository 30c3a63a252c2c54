"""Which traces are kept where there are too many: whole ones, by a hash of their ids.

This module must not know where spans come from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sloctl.backends.spans import FEWEST, Array, of_sample

LARGE = 8
"""A trace of more than the 8th part of all that may be held is left out: it would displace all others."""


class Sample:
    """One of ``one_in`` traces (a power of 2) but those that are too large, and half as many whenever it is halved.

    What was left out never comes back.
    """

    def __init__(self) -> None:
        self.one_in = 1
        self._large = np.zeros(0, np.uint64)

    @property
    def large(self) -> int:
        """How many traces were left out for their size."""
        return len(self._large)

    def keeps(self, low: Array) -> Array:
        """Which traces are kept, by the low halves of their ids (``uint64``)."""
        kept = of_sample(low, self.one_in)
        return kept & ~np.isin(low, self._large) if len(self._large) else kept

    def bound(self, most: int, weight: Callable[[], int], thin: Callable[[int], None]) -> None:
        """Halve the sample until what is held weighs no more than ``most`` spans.

        ``thin`` is to drop what is not of the sample, after it left traces of more spans than it is told out of it.
        """
        if weight() <= most:
            return
        thin(most // LARGE)
        # Names of what was left out are gone now. Unless that made some room, they would soon be in the way again.
        enough = 3 * most // 4
        while weight() > enough and self.one_in < FEWEST:
            self.one_in *= 2
            thin(most // LARGE)
            enough = most

    def leave_out(self, low: Array, most: int) -> None:
        """Leave traces out that have more than ``most`` rows; ``low`` has the low half of the id of each row."""
        if len(low) > most:
            ids, counts = np.unique(low, return_counts=True)
            self._large = np.union1d(self._large, ids[counts > most])


def too_large(sample: Sample, held: int) -> str:
    """What is said of the traces that were left out of a sample for their size."""
    count = sample.large
    return f"{count:,} trace{'' if count == 1 else 's'} of more than {held // LARGE:,} spans left out"
