"""Tags that come as lists of keys and values: the few that are needed, read once for each value.

This module must not know how formats write a value: they give a function for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from sloctl.backends.traces import documents
from sloctl.backends.traces.columns import Said, Value, code_of, text

CODES = ("http.status_code", "http.response.status_code")
GRPC_CODES = ("grpc.status_code", "rpc.grpc.status_code")
PEERS = ("peer.service", "upstream_cluster.name", "upstream_cluster")
STATUS = "otel.status_code"
FLAGS = "response_flags"
DETAILS = "response_code_details"
RETRY = "retry.count"
KIND = "span.kind"

RawTags: TypeAlias = tuple[tuple[str, bytes], ...]
"""Tags of a span that are wanted: keys, and values as they were written."""


class Tags:
    """Reads tags; ``wanted`` are the keys to collect, ``value`` turns the JSON of a value into the value.

    ``value`` may raise what is in ``documents.FAILURES``: such a value counts as none.
    """

    def __init__(self, attempt_tags: Sequence[str], value: Callable[[bytes], Value]) -> None:
        self._attempt_tags = tuple(attempt_tags)
        self.wanted = frozenset(
            (*CODES, *GRPC_CODES, *PEERS, *attempt_tags, STATUS, FLAGS, DETAILS, RETRY, KIND, "error")
        )
        self._value = value

    def said(
        self, found: RawTags, *, service: str | None, operation: str | None, kind: str | None, failed: bool
    ) -> Said:
        """What a span says by its tags and by the fields that are given; ``kind`` None means the tag of that name."""
        texts = {key: self.text(raw) for key, raw in reversed(found)}
        get = texts.get
        error = "true" if failed or get(STATUS) == "ERROR" else None
        if "error" in texts:
            error = error or texts["error"] or "true"
        return Said(
            kind=get(KIND, "").lower() if kind is None else kind,
            service=service,
            operation=operation,
            remote=_first(texts, PEERS),
            code=code_of(_first(texts, CODES), _first(texts, GRPC_CODES)),
            flags=get(FLAGS),
            error=error,
            details=get(DETAILS),
            shared=None,
            retry=get(RETRY),
            attempts=_first(texts, self._attempt_tags),
        )

    def text(self, raw: bytes) -> str:
        """A value's text, "" where it cannot be read."""
        try:
            return text(self._value(raw))
        except documents.FAILURES:
            return ""


def _first(texts: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((texts[key] for key in keys if texts.get(key)), None)
