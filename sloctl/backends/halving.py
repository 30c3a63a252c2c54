"""What is done where a server refuses a question as too large: it is asked in halves.

A question is about a range of whole numbers ``(first, last]``, such as points or seconds, the oldest first. This module
must not know what is asked, nor of whom.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sloctl.errors import BackendError, BackendLimit

T = TypeVar("T")


def halfway(first: int, last: int, unit: int = 1) -> int:
    """Where a range is cut: in its middle, whole units before its end, so that the older half is the longer one."""
    return last - (last - first) // 2 // unit * unit


def in_halves(
    ask: Callable[[int, int], T],
    join: Callable[[T, T], T],
    first: int,
    last: int,
    *,
    unit: int = 1,
    smallest: int = 1,
    times: int | None = None,
    refusal: type[BackendError] = BackendLimit,
) -> T:
    """The answer about a range; where it is refused, that about its older half joined with that about its newer one.

    Both may be refused and halved again, ``times`` over at most. Raises the ``refusal`` of a part that is not longer
    than ``smallest``.
    """
    try:
        return ask(first, last)
    except refusal:
        if last - first <= smallest or times == 0:
            raise
    middle = halfway(first, last, unit)
    left = None if times is None else times - 1
    older, newer = (
        in_halves(ask, join, *part, unit=unit, smallest=smallest, times=left, refusal=refusal)
        for part in ((first, middle), (middle, last))
    )
    return join(older, newer)
