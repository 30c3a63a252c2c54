"""How long the requests of an SLO take, and what changed meanwhile, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sloctl.report.data import Mark

QUANTILES = (0.5, 0.95, 0.99)
Quantiles = tuple[float | None, ...]
"""Of :data:`QUANTILES`, in milliseconds; None without requests."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Requests of one caller, version or operation in the last hour: how many, and their quantiles."""

    what: str
    name: str
    requests: float
    quantiles: Quantiles


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of an SLO's requests.

    ``latency`` has the quantiles by the part of time that they are of, in words; ``slow`` has the slowest of each kind.
    ``longest`` is the last bound of the histogram (milliseconds): what takes longer is there as that.
    ``changes`` are versions and configurations that came meanwhile. ``doubts`` is what a server said of data that is
    missing.
    """

    latency: tuple[tuple[str, Quantiles], ...] = ()
    slow: tuple[Slow, ...] = ()
    threshold: float | None = None
    longest: float | None = None
    changes: tuple[Mark, ...] = ()
    doubts: tuple[str, ...] = ()


def to_json(found: Observed) -> Mapping[str, Any]:
    """The JSON form of the latency."""

    def of(quantiles: Quantiles) -> dict[str, float | None]:
        return {
            f"p{round(100 * share)}_ms": None if value is None else round(value, 3)
            for share, value in zip(QUANTILES, quantiles, strict=True)
        }

    return {
        "threshold_ms": found.threshold,
        "longest_ms": found.longest,
        "windows": [{"window": words} | of(quantiles) for words, quantiles in found.latency],
        "slow": [
            {"what": one.what, "name": one.name, "requests": round(one.requests, 3)} | of(one.quantiles)
            for one in found.slow
        ],
    }
