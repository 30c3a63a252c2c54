"""How messages show text from a file: short, on one line, without control characters or addresses."""

from __future__ import annotations

import difflib
import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]")
"""Control characters, line separators, direction marks and what is no character: never in a value."""
CONTROL_IN_LINES = re.compile(CONTROL.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f"))
"""The same for text of several lines: tab and line feed are fine."""


def alike(word: str, meant: str) -> bool:
    """Whether a word is nearly another, whatever its case: a slip of the pen."""
    return difflib.SequenceMatcher(None, word[:80].lower(), meant.lower()).ratio() > 0.81


def shown(text: str, limit: int = 60) -> str:
    """Text from a file as a message quotes it; an address, which may hold a secret, loses all but its scheme."""
    text = re.sub(r"://.*", "://…", text[: limit + 10], flags=re.DOTALL)
    text = CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    return f"'{text if len(text) <= limit else text[:limit] + '…'}'"
