"""What truly happened in a simulated world, to compare any budget with.

A scrape shows the events before it. So the truth of a window (a, b] between two instants is what the
scrapes up to ``b`` can show less what those up to ``a`` could: the events of the ticks whose closing scrape
lies in (a, b]. No scrape lies on an instant of the 1- or 5-minute grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

CountArray = npt.NDArray[np.int64]
Side = Literal["source", "destination", "jobs"]
CountKind = Literal["total", "bad", "bad_http", "slow"]
KINDS: tuple[CountKind, ...] = ("total", "bad", "bad_http", "slow")


@dataclass(frozen=True, slots=True)
class Gap:
    """Nobody can know what ``service`` counted on ``side`` in (start, end] (Unix seconds)."""

    service: str
    side: Side
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Restart:
    """A sidecar's container restarted in place at ``at`` (Unix seconds)."""

    namespace: str
    service: str
    pod: str
    at: float


@dataclass(frozen=True)
class Truth:
    """Events per service, side and scrape interval.

    ``scrapes`` are the closing scrapes of the ticks (Unix seconds, shape (n,)). ``counts`` maps (service,
    side) to the events of each kind in each tick (shape (n,)): ``total``; ``bad_http`` (5xx, or code 0 for no
    response); ``bad`` (these and gRPC's server errors; late jobs for side "jobs"); ``slow`` (over 250 ms, only
    where there is a histogram). Side "source" counts final outcomes after retries, "destination" attempts.
    """

    scrapes: npt.NDArray[np.float64]
    counts: Mapping[tuple[str, Side], Mapping[CountKind, CountArray]]
    gaps: tuple[Gap, ...] = ()
    restarts: tuple[Restart, ...] = ()

    def events(self, service: str, side: Side, kind: CountKind, after: float, until: float) -> int:
        """Events in the window (after, until], Unix seconds; 0 for what never happened."""
        found = self.counts.get((service, side), {}).get(kind)
        if found is None:
            return 0
        low, high = np.searchsorted(self.scrapes, [after, until], side="right")
        return int(found[low:high].sum())

    def known(self, service: str, side: Side, after: float, until: float) -> bool:
        """Whether no scrape gap hides what was counted in the window (after, until]."""
        margin = float(self.scrapes[1] - self.scrapes[0]) if len(self.scrapes) > 1 else 60.0
        return not any(
            gap.start < until and after < gap.end + margin
            for gap in self.gaps
            if (gap.service, gap.side) == (service, side)
        )

    def services(self) -> Iterator[tuple[str, Side]]:
        """Every (service, side) that counted something."""
        yield from sorted(self.counts)


def save(truth: Truth, path: Path) -> None:
    """Write ``truth`` to an .npz file."""
    arrays: dict[str, npt.NDArray[np.generic]] = {"scrapes": truth.scrapes}
    for (service, side), kinds in truth.counts.items():
        for kind, values in kinds.items():
            arrays[f"count/{service}/{side}/{kind}"] = values.astype(np.int32)
    arrays["gaps"] = np.array([(g.service, g.side, str(g.start), str(g.end)) for g in truth.gaps], dtype=str)
    arrays["restarts"] = np.array(
        [(r.namespace, r.service, r.pod, str(r.at)) for r in truth.restarts], dtype=str
    )
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Truth:
    """Read what :func:`save` wrote; raises OSError, ValueError or KeyError if it is something else."""
    counts: dict[tuple[str, Side], dict[CountKind, CountArray]] = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        for name in arrays.files:
            if name.startswith("count/"):
                _, service, side, kind = name.split("/")
                counts.setdefault((service, side), {})[kind] = arrays[name].astype(np.int64)
        return Truth(
            scrapes=arrays["scrapes"],
            counts=counts,
            gaps=tuple(Gap(s, side, float(a), float(b)) for s, side, a, b in arrays["gaps"].tolist()),
            restarts=tuple(Restart(n, s, p, float(at)) for n, s, p, at in arrays["restarts"].tolist()),
        )
