"""Durations, numbers as people write them, and the alert policies that ship with sloctl."""

from __future__ import annotations

import re
from decimal import Decimal

from sloctl.model import AlertPolicy, BurnWindow

_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SIZES = (604800, 86400, 3600, 60, 1)
MAX_DURATION = 10 * 365 * 86400
H, M, D = 3600, 60, 86400


def parse_duration(text: str) -> int | None:
    """Seconds of a duration such as ``30d`` or ``1h30m``; None if it is not one (or is over ten years)."""
    match = _DURATION.fullmatch(text)
    if not text or len(text) > 32 or not match:
        return None
    seconds = sum(int(count) * size for count, size in zip(match.groups(), _SIZES, strict=True) if count)
    return seconds if seconds <= MAX_DURATION else None


def parse_milliseconds(text: str) -> Decimal | None:
    """Milliseconds of a latency such as ``250ms``, ``0.5ms`` or ``2.5s``; None if it is not one."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s)", text)
    if not match:
        return None
    return Decimal(match[1]) * (1000 if match[2] == "s" else 1)


def number(value: Decimal | float) -> str:
    """A number without rounding noise or exponent: ``0.001``, ``14``, ``0.9995``."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    text = format(exact.normalize(), "f")
    return "0" if text in ("-0", "") else text


def _window(severity: str, factor: str, long: int, short: int, for_: int = 0) -> BurnWindow:
    assert severity in ("page", "ticket")
    return BurnWindow("page" if severity == "page" else "ticket", Decimal(factor), long, short, for_)


POLICIES: dict[str, AlertPolicy] = {
    # Pages at 14 x for critical burns and at 4 x when it lasts, tickets at 1 x: the guidance for meshes.
    "mesh": AlertPolicy(
        "mesh",
        (
            _window("page", "14", 1 * H, 5 * M),
            _window("page", "4", 6 * H, 30 * M, 5 * M),
            _window("ticket", "1", 3 * D, 6 * H),
        ),
    ),
    # Google, The Site Reliability Workbook, chapter 5, table 5-8.
    "sre-workbook": AlertPolicy(
        "sre-workbook",
        (
            _window("page", "14.4", 1 * H, 5 * M),
            _window("page", "6", 6 * H, 30 * M),
            _window("ticket", "3", 1 * D, 2 * H),
            _window("ticket", "1", 3 * D, 6 * H),
        ),
    ),
}
