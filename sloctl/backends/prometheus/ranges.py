"""Cuts a range query into parts that a server accepts, and puts the answers together again.

All parts lie on the step grid of the whole range, so the parts' samples are those of the undivided query:
none twice, none lost. Times are whole milliseconds, Prometheus's own unit. This module knows no connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sloctl.backends.protocols import Series

MAX_POINTS = 11_000
"""Points per series that Prometheus answers at most (``web/api/v1/api.go``: "maximum resolution of 11,000")."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class RangePoints:
    """The instants ``start``, ``start + step``, …, ``points`` of them; all in milliseconds."""

    start: int
    step: int
    points: int

    @classmethod
    def of(cls, start: datetime, end: datetime, step: timedelta) -> RangePoints:
        """The instants from ``start`` to ``end``, both included; raises ``ValueError`` if there are none."""
        first, last = milliseconds(start), milliseconds(end)
        if step <= timedelta(0) or step % _MILLISECOND:
            raise ValueError(f"a step is a positive number of whole milliseconds, not {step}")
        if last < first:
            raise ValueError("a range cannot end before it starts")
        size = step // _MILLISECOND
        return cls(first, size, (last - first) // size + 1)

    @property
    def end(self) -> int:
        """The last instant."""
        return self.start + (self.points - 1) * self.step

    def parts(self, size: int = MAX_POINTS) -> list[RangePoints]:
        """The same instants in grids of at most ``size`` points."""
        return [self.part(done, min(done + size, self.points)) for done in range(0, self.points, size)]

    def part(self, first: int, last: int) -> RangePoints:
        """The instants after the first ``first`` ones, up to the one numbered ``last`` (from 1)."""
        return RangePoints(self.start + first * self.step, self.step, last - first)


def milliseconds(at: datetime) -> int:
    """Unix time in milliseconds; raises ``ValueError`` for a time without a zone."""
    if at.tzinfo is None or at.utcoffset() is None:
        raise ValueError("a time without a zone means another instant on each machine")
    return ((at - _EPOCH) // _MICROSECOND + 500) // 1000


def instant(value: int) -> datetime:
    """The time that is so many milliseconds of Unix time."""
    return _EPOCH + value * _MILLISECOND


def seconds_text(value: int) -> str:
    """Milliseconds as the API takes them: decimal seconds, exactly."""
    return f"{'-' if value < 0 else ''}{abs(value) // 1000}.{abs(value) % 1000:03d}"


def merge(answers: Iterable[Sequence[Series]]) -> list[Series]:
    """One series per label set, from the answers to consecutive parts; sorted by labels, as Prometheus does."""
    merged: dict[tuple[tuple[str, str], ...], Series] = {}
    for answer in answers:
        for series in answer:
            key = tuple(sorted(series["metric"].items()))
            known = merged.setdefault(key, {"metric": series["metric"], "values": []})["values"]
            values = series["values"]
            # A server that moves a part onto a grid of its own may repeat its neighbour's last sample.
            skip = 0
            while known and skip < len(values) and values[skip][0] <= known[-1][0]:
                skip += 1
            known.extend(values[skip:] if skip else values)
    return [merged[key] for key in sorted(merged)]
