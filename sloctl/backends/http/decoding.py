"""Decodes bodies from outside by a schema, within bounds: what an answer may weigh, in bytes and in values.

Memory grows with the values of a document more than with its bytes: ``[],`` is three bytes, and a list in memory is
sixty. So values are counted before they are made. The bounds are such that what the pods of ``sloctl generate`` may
hold is enough. This module must not know what a document means.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from sloctl.backends.answers import MAX_VALUES

MAX_BYTES = 64 * 2**20
"""The largest answer or document that is read, decompressed."""
WEIGHT = 176
"""Bytes that a value takes at most, with its part of the body: one of a label, or of a span without anything."""

FAILURES = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError, ValueError)
"""What decoding raises, whatever the bytes are."""

T = TypeVar("T")
_VALUES = (b",", b"[", b"{")
_RAW = msgspec.json.Decoder(msgspec.Raw)
_SURROGATES = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


class TooManyValues(ValueError):
    """A document has more values than may be held."""

    def __init__(self, found: int, most: int) -> None:
        super().__init__(f"{found:,} values, of at most {most:,}")
        self.most = most


def values(body: bytes) -> int:
    """How many values a JSON document has, at most: each follows a comma, or begins a list or an object."""
    return sum(map(body.count, _VALUES))


def check(body: bytes, most: int = MAX_VALUES) -> int:
    """How many values a document has, at most. Raises ``TooManyValues``."""
    # No document has more values than bytes, and most are small.
    found = len(body) if len(body) < 1 << 16 else values(body)
    if found > most:
        raise TooManyValues(found, most)
    return found


def sound(body: bytes) -> bytes:
    """The JSON with U+FFFD for halves of surrogate pairs, which some writers escape one by one when they cut text.

    They are no characters: neither databases nor pages can hold them.
    """
    # To look for one byte is quickest, and most documents have none of it.
    if b"\\" not in body or (b"\\ud" not in body and b"\\uD" not in body):
        return body
    return _SURROGATES.sub(lambda found: found[0] if found[1] else b"\\ufffd", body)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A document by its schema. Raises ``TooManyValues``, or what is in :data:`FAILURES`."""
    check(body)
    return decoder.decode(sound(body))


def fault(body: bytes) -> str:
    """Why a body is no JSON; "" if it is."""
    if not body.strip():
        return "an empty answer"
    if body[:64].lstrip()[:1] == b"<":
        return "an HTML page instead of JSON"
    try:
        _RAW.decode(sound(body))
        if not body.isascii():
            body.decode()
    except msgspec.DecodeError as error:
        return "JSON that ends in the middle" if "truncated" in str(error) else "an answer that is not JSON"
    except FAILURES:
        return "an answer that is not JSON"
    return ""


def said(body: bytes) -> Any:
    """The JSON of an error, which is small; None if it is none."""
    if len(body) > 1 << 16:
        return None
    try:
        return msgspec.json.decode(sound(body))
    except FAILURES:
        return None


def clean(texts: dict[str, str]) -> dict[str, str]:
    """Names and texts with U+FFFD for NUL, which neither databases nor pages can hold."""
    if not any("\0" in text for pair in texts.items() for text in pair):
        return texts
    return {name.replace("\0", "\ufffd"): text.replace("\0", "\ufffd") for name, text in texts.items()}
