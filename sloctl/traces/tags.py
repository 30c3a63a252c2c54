"""Tags that come as lists of keys and values: the few that are needed, read once for each value.

This module must not know how formats write a value: they give a function for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from sloctl.traces.columns import Value, text

CODES = ("http.status_code", "http.response.status_code", "grpc.status_code", "rpc.grpc.status_code")
PEERS = ("peer.service", "upstream_cluster.name", "upstream_cluster")
STATUS = "otel.status_code"
FLAGS = "response_flags"
DETAILS = "response_code_details"
RETRY = "retry.count"
KIND = "span.kind"
_REMEMBERED = 100_000

# remote, code, flags, error, details
Fields: TypeAlias = tuple[str | None, str | None, str | None, str | None, str | None]


class Tags:
    """Reads tags; ``wanted`` are the keys to collect, ``value`` turns the JSON of a value into the value.

    ``value`` may raise ``msgspec.DecodeError`` or ``RecursionError``: such a value counts as none.
    """

    def __init__(self, attempt_tags: Sequence[str], value: Callable[[bytes], Value]) -> None:
        self._attempt_tags = tuple(attempt_tags)
        self.wanted = frozenset((*CODES, *PEERS, *attempt_tags, STATUS, FLAGS, DETAILS, RETRY, KIND, "error"))
        self._texts = _Texts(value)

    def text(self, found: dict[str, msgspec.Raw], key: str) -> str | None:
        """The tag's value as text, None if it is not there."""
        return self._texts[bytes(raw)] if (raw := found.get(key)) is not None else None

    def first(self, found: dict[str, msgspec.Raw], keys: Sequence[str]) -> str | None:
        """The first tag of ``keys`` that is there and says something, as text."""
        for key in keys:
            if (raw := found.get(key)) is not None and (value := self._texts[bytes(raw)]):
                return value
        return None

    def fields(self, found: dict[str, msgspec.Raw]) -> Fields:
        """The remote side, code, flags, error and details."""
        error = None
        if "error" in found:
            error = self.text(found, "error") or "true"
        elif STATUS in found and self.text(found, STATUS) == "ERROR":
            error = "true"
        return (
            self.first(found, PEERS),
            self.first(found, CODES),
            self.text(found, FLAGS),
            error,
            self.text(found, DETAILS),
        )

    def attempts(self, found: dict[str, msgspec.Raw]) -> str | None:
        """The count of attempts, as text."""
        return self.first(found, self._attempt_tags)


class _Texts(dict[bytes, str]):
    def __init__(self, value: Callable[[bytes], Value]) -> None:
        self._value = value

    def __missing__(self, raw: bytes) -> str:
        try:
            found = text(self._value(raw))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, OverflowError):
            found = ""
        if len(self) >= _REMEMBERED:
            self.clear()
        self[raw] = found
        return found
