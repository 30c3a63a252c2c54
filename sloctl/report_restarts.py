"""Restarts of proxies in a report: the data, its JSON form and its lines of text.

This module must not know where the numbers come from, nor how a report is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

HEADERS = ("namespace", "workload", "pods", "restarts", "per pod and day", "reasons")
"""The titles of :func:`text_rows`."""


@dataclass(frozen=True, slots=True)
class SidecarRestarts:
    """One workload over the last day. ``pods`` is their mean number; ``reasons`` has restarts by reason."""

    namespace: str
    workload: str
    pods: float
    restarts: float
    per_pod_day: float | None
    reasons: dict[str, float] = field(default_factory=dict)


def count(value: float) -> float | int:
    """A count without a needless fraction."""
    return int(value) if value == int(value) else round(value, 6)


def reasons_text(reasons: dict[str, float]) -> str:
    """``OOMKilled 3, Error 1``: the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count(number)}" for reason, number in ordered)


def to_json(rows: Sequence[SidecarRestarts]) -> list[dict[str, Any]]:
    """The list ``sidecar_restarts`` of the report's JSON form."""
    return [
        {
            "namespace": row.namespace,
            "workload": row.workload,
            "pods": count(row.pods),
            "restarts": count(row.restarts),
            "per_pod_day": None if row.per_pod_day is None else round(row.per_pod_day, 6),
            "reasons": {reason: count(number) for reason, number in sorted(row.reasons.items())},
        }
        for row in rows
    ]


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of one element of that list."""
    text = {"type": "string"}
    number = {"type": "number", "minimum": 0}
    properties: dict[str, Any] = {
        "namespace": text,
        "workload": text,
        "pods": {**number, "description": "mean number of pods with a proxy in the last day"},
        "restarts": {**number, "description": "restarts of their proxies in the last day"},
        "per_pod_day": {
            "anyOf": [number, {"type": "null"}],
            "description": "restarts per pod and day; null if the number of pods is not known",
        },
        "reasons": {
            "type": "object",
            "additionalProperties": number,
            "description": "restarts by the reason of each container's last end",
        },
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def text_rows(rows: Sequence[SidecarRestarts]) -> list[tuple[str, ...]]:
    """A line of cells for each row, under :data:`HEADERS`; nothing in them is escaped."""
    return [
        (
            row.namespace,
            row.workload,
            f"{row.pods:.4g}",
            f"{count(row.restarts)}",
            "–" if row.per_pod_day is None else f"{row.per_pod_day:.3g}",
            reasons_text(row.reasons),
        )
        for row in rows
    ]
