"""Ids of traces and spans, in bulk: hexadecimal or base64 text to unsigned integers.

Hexadecimal ids may lack leading zeros, as older Jaeger writes them. Base64 holds the 8 or 16 bytes of an id, as
protobuf's JSON does. This module must not know which format asked.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence

import numpy as np

from sloctl.traces.frame import Array

_HEX = re.compile(r"[0-9a-fA-F]+")
_NO_PARENT = {12: "AAAAAAAAAAA=", 24: "A" * 22 + "=="}


def numbers(texts: Sequence[str | None], size: int) -> tuple[Array, Array]:
    """Ids of ``size`` bytes (8 or 16) as unsigned integers, and which of them are no ids.

    The first array is of shape (ids, size / 8), ``uint64``, the high half first; ``None`` and ``""`` become 0, which is
    an id for none. The second is of shape (ids), ``bool``. Whatever the texts are, nothing is raised.
    """
    count, words = len(texts), size // 8
    filler = _NO_PARENT.get(len(next(filter(None, texts), "")), "0")
    given = [text or filler for text in texts]
    raw = _base64(given, size) if filler in _NO_PARENT.values() else _hexadecimal(given, size)
    if raw is not None:
        return np.frombuffer(raw, dtype=">u8").astype(np.uint64).reshape(count, words), np.zeros(count, bool)
    values = np.zeros((count, words), np.uint64)
    bad = np.zeros(count, bool)
    for row, text in enumerate(texts):
        value = number(text, size) if text else 0
        if value is None:
            bad[row] = True
        else:
            values[row] = [(value >> 64 * word) & 0xFFFF_FFFF_FFFF_FFFF for word in reversed(range(words))]
    return values, bad


def number(text: str, size: int) -> int | None:
    """One id of at most ``size`` bytes as a number, or None if the text is no such id."""
    if _HEX.fullmatch(text):
        return int(text, 16) if len(text) <= 2 * size else None
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    if len(bare) not in (11, 22) or not bare.isascii():
        return None
    try:
        raw = binascii.a2b_base64(bare + "=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error:
        return None
    return int.from_bytes(raw, "big") if len(raw) <= size else None


def _hexadecimal(texts: list[str], size: int) -> bytes | None:
    digits = 2 * size
    lengths = set(map(len, texts))
    if lengths and max(lengths) > digits:
        return None
    if lengths != {digits}:
        texts = [text.rjust(digits, "0") for text in texts]
    try:
        raw = bytes.fromhex("".join(texts))
    except ValueError:
        return None
    # fromhex skips white space: then bytes are missing.
    return raw if len(raw) == size * len(texts) else None


def _base64(texts: list[str], size: int) -> bytes | None:
    length, padding = (12, 1) if size == 8 else (24, 2)
    joined = "".join(texts)
    if set(map(len, texts)) != {length} or not joined.isascii():
        return None
    letters = np.frombuffer(joined.encode(), dtype=np.uint8).reshape(-1, length) == ord("=")
    if letters[:, :-padding].any() or not letters[:, -padding:].all():
        return None
    try:
        raw = binascii.a2b_base64(joined.replace("=", "A"), strict_mode=True)
    except binascii.Error:
        return None
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, size + padding)[:, :size].tobytes()
