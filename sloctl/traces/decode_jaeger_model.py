"""Jaeger's domain model in JSON (base64 ids, times and durations as text) put into the form of its HTTP API.

This form comes from files only, so it is simple and not fast. This module must not know about frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

_NAMES = {"traceId": "traceID", "spanId": "spanID", "processId": "processID", "parentSpanId": "parentSpanID"}
_VALUES = ("vStr", "vInt64", "vBool", "vFloat64")
_UNITS = {"ns": 0.001, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}
_DURATION = re.compile(r"(?:\d{1,20}(?:\.\d{1,20})?(?:ns|us|µs|ms|s|m|h))+")
_PART = re.compile(r"([\d.]+)([a-zµ]+)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_api(body: bytes | msgspec.Raw) -> bytes:
    """A trace or a span of the model as JSON of the API; times are rounded to microseconds.

    What is not understood stays as it is. Raises ``msgspec.DecodeError`` or ``RecursionError`` for what is no JSON.
    """
    document = msgspec.json.decode(body)
    if isinstance(document, dict) and isinstance(document.get("spans"), list):
        document["spans"] = [_span(span) for span in document["spans"]]
        entries = document.pop("processMap", None)
        document["processes"] = {
            entry["processId"]: entry.get("process")
            for entry in (entries if isinstance(entries, list) else [])
            if isinstance(entry, dict) and isinstance(entry.get("processId"), str)
        }
    else:
        document = _span(document)
    return msgspec.json.encode(document)


def _span(span: Any) -> Any:
    if not isinstance(span, dict):
        return span
    found = _renamed(span)
    found["startTime"] = _microseconds(found.get("startTime"))
    found["duration"] = _duration(found.get("duration"))
    for name, change in (("references", _reference), ("tags", _tag)):
        if isinstance(found.get(name), list):
            found[name] = [change(one) if isinstance(one, dict) else one for one in found[name]]
    return {key: found[key] for key in found if key != "logs"}


def _renamed(one: Mapping[str, Any]) -> dict[str, Any]:
    return {_NAMES.get(key, key): value for key, value in one.items()}


def _reference(one: Mapping[str, Any]) -> dict[str, Any]:
    # Protobuf's JSON leaves out what is 0.
    return {"refType": "CHILD_OF"} | _renamed(one)


def _tag(tag: Mapping[str, Any]) -> dict[str, Any]:
    value = next((tag[name] for name in _VALUES if name in tag), tag.get("value"))
    return {"key": tag.get("key"), "value": value}


def _microseconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        at = datetime.fromisoformat(value)
        since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return value
    return since // timedelta(microseconds=1)


def _duration(value: Any) -> Any:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        return value
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
