"""Names and numbers as people read them, the same in every form of a report.

Names come from servers and files: :func:`plain` takes control characters out of them.
"""

from __future__ import annotations

import math
import re

NOTHING = "–"


def plain(text: str) -> str:
    """``text`` without control characters (a terminal obeys them) and without bidirectional overrides."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def percent(share: float | None, digits: int = 3) -> str:
    """A share of 0…1 in percent; never rounded up to 100 when something failed."""
    if share is None or not math.isfinite(share):
        return NOTHING
    text = f"{share * 100:.{digits}f}"
    if share < 1 and float(text) >= 100:
        text = "99" + ("." + "9" * digits if digits else "")
    return f"{text} %"


def digits_for(objective: float) -> int:
    """Digits behind the point that tell an SLI from its objective (percent): one more than it has nines."""
    return max(3, len(f"{objective:.10g}".partition(".")[2]) + 2)


def budget_share(share: float | None) -> str:
    """A share of the error budget in percent, rounded down: what is not all there is never shown as 100.

    A digit behind the point up to 1,000 %.
    """
    if share is None or not math.isfinite(share):
        return NOTHING
    if abs(share) >= 10:
        return f"{math.floor(share * 100):,} %"
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f} %"


def spent_share(share: float | None) -> str:
    """What is spent of the error budget: with what :func:`budget_share` shows as left, it is all of it."""
    if share is None or not math.isfinite(share):
        return NOTHING
    if abs(1 - share) >= 10:
        return f"{100 - math.floor((1 - share) * 100):,} %"
    return f"{(1000 - math.floor((1 - share) * 1000 + 1e-9)) / 10:,.1f} %"


def rate(value: float | None) -> str:
    """A burn rate; a slow burn is not shown as none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if 0 < value < 0.01:
        return "<0.01"
    return "0" if value == 0 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def count(value: float) -> str:
    """A number of events; a part of one is not shown as none."""
    return "<1" if 0 < value < 1 else f"{value:,.0f}"


FORMULA = "=+-@'"
"""What a spreadsheet takes for a formula's beginning, or for the mark of a text."""
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]|\\(?=u[0-9a-f]{4})")


def cell(text: str) -> str:
    """A text as a cell of CSV has it: no formula, and without characters that a terminal obeys."""
    if text[:1] and text[0] in FORMULA:
        text = f"'{text}"
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
