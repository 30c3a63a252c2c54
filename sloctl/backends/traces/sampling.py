"""Which traces are kept where there are too many: whole ones, by a hash of their ids.

The hash is of the low 64 bits, so that a trace whose id some reporters cut to these is kept or left out as a whole. It
mixes them: ids may be sequential, and tracers sample by the bits as they are. This module must not know where spans
come from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
MOST = 63
"""So often a sample is halved at most."""
LARGE = 8
"""A trace of more than the 8th part of all that may be held is left out: it would displace all others."""


def mixed(low: Array) -> Array:
    """A hash of the low halves of ids, ``uint64`` both: a step of SplitMix64."""
    with np.errstate(over="ignore"):
        found = low.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))


class Sample:
    """One of ``one_in`` traces (a power of 2), and half as many whenever it is halved.

    What was left out never comes back.
    """

    def __init__(self, one_in: int = 1) -> None:
        self._halvings = one_in.bit_length() - 1
        self._large = np.zeros(0, np.uint64)

    @property
    def one_in(self) -> int:
        """Of so many traces one is kept, but those that are too large."""
        return 1 << self._halvings

    @property
    def large(self) -> int:
        """How many traces were left out for their size."""
        return len(self._large)

    def keeps(self, low: Array) -> Array:
        """Which traces are kept, by the low halves of their ids (``uint64``)."""
        kept = (
            mixed(low) >> np.uint64(64 - self._halvings) == 0 if self._halvings else np.ones(len(low), bool)
        )
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
        while weight() > enough and self._halvings < MOST:
            self._halvings += 1
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
