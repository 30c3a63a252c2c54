"""Durations, instants and numbers, as people read and write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

_DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SIZES = (604800, 86400, 3600, 60, 1)
MAX_DURATION = 10 * 365 * 86400


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


@lru_cache(maxsize=1024)
def number(value: Decimal | float) -> str:
    """A number without rounding noise or exponent: ``0.001``, ``14``, ``0.9995``."""
    exact = value if isinstance(value, Decimal) else Decimal(repr(value))
    text = format(exact.normalize(), "f")
    return "0" if text in ("-0", "") else text


_UNITS = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


@lru_cache(maxsize=1024)
def duration(seconds: float) -> str:
    """A Prometheus duration as a person writes it: 3600 → ``1h``, 5400 → ``1h30m``, 12.5 → ``12500ms``."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    seconds = int(seconds)
    if seconds == 0:
        return "0s"
    parts = []
    for unit, size in _UNITS[1:]:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def rfc3339(at: datetime | float, *, milliseconds: bool = False) -> str:
    """An instant (aware, or Unix seconds) as RFC 3339 in UTC: ``2026-03-01T12:00:00Z``. What is finer is left out."""
    time = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds' if milliseconds else 'seconds')}Z"
