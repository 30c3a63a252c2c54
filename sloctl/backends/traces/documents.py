"""What decoders of JSON documents share: reading piece by piece, so that a bad piece does not lose the rest.

This module must not know what the pieces mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from sloctl.errors import BadAnswer

CHUNK = 256
"""How many pieces are decoded at once: enough to make calls cheap, few enough to hold."""
AT_ONCE = 8 << 20
"""Documents up to this size, in bytes, are decoded in one go if all is well in them: that is quickest."""
RAW = msgspec.json.Decoder(msgspec.Raw)
RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])
NOTHING = msgspec.Raw(b"")
"""The default of fields that are read later: ``Raw | None`` would be None alone to msgspec."""
_T = TypeVar("_T")
FAILURES = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError)
"""What decoding raises, whatever the bytes are."""


@contextmanager
def reading(backend: str, url: str) -> Iterator[None]:
    """Raises ``BadAnswer`` where a document cannot be read; ``backend`` and ``url`` say whose it was."""
    try:
        yield
    except RecursionError as error:
        raise BadAnswer("the answer is nested too deeply", backend=backend, url=url) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(f"the answer is not what it should be: {error}", backend=backend, url=url) from error


def first(body: bytes | msgspec.Raw) -> bytes:
    """The first byte of a document that is not white space, b"" if there is none."""
    return bytes(memoryview(body)[:64]).lstrip(b" \t\r\n")[:1] or bytes(body).lstrip(b" \t\r\n")[:1]


def at_once(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[_T]) -> _T | None:
    """A document in one go; None where it is too large for that, or not all is well in it."""
    if memoryview(body).nbytes > AT_ONCE:
        return None
    try:
        return decoder.decode(body)
    except FAILURES:
        return None


def split(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    """The documents of a body: itself, or its lines where each of several is one. Raises ``msgspec.DecodeError``."""
    try:
        return [RAW.decode(body)]
    except msgspec.DecodeError:
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        first_line, *rest = lines
        try:
            documents = [RAW.decode(first_line)]
        except msgspec.DecodeError:
            documents = []
        if not documents:
            raise
        return [*documents, *map(RAW.decode, rest)]


def structs(
    pieces: Sequence[msgspec.Raw],
    one: msgspec.json.Decoder[_T],
    many: msgspec.json.Decoder[list[_T]],
    reject: Callable[[str], None],
) -> list[_T]:
    """Pieces of a document as objects; those that cannot be read are given to ``reject`` with the reason."""
    try:
        return many.decode(b"[" + b",".join(pieces) + b"]")
    except FAILURES:
        found = []
        for piece in pieces:
            try:
                found.append(one.decode(piece))
            except FAILURES as error:
                reject(why(error))
        return found


def why(error: Exception) -> str:
    """Why a piece cannot be read, in a few words that stay the same."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not isinstance(error, msgspec.ValidationError):
        return "not readable"
    return "a field is not what it should be" if "at `$" in str(error) else "not an object"
