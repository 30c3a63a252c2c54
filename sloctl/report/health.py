"""What a report says of the mesh's health besides budgets: verdicts, amplification by edge, restarts of proxies.

Data and JSON form. This module must not know where the numbers come from, nor how a report is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

GuardrailState = Literal["ok", "violated", "no_data"]


@dataclass(frozen=True, slots=True)
class GuardrailStatus:
    """A guardrail at one place. ``value`` and ``limit`` are in ``unit`` (``ratio`` is a share of 0…1)."""

    name: str
    scope: dict[str, str]
    value: float | None
    limit: float
    unit: str
    side: Literal["max", "min"] = "max"

    @property
    def status(self) -> GuardrailState:
        """Whether the value keeps the limit; no value is neither."""
        if self.value is None:
            return "no_data"
        kept = self.value <= self.limit if self.side == "max" else self.value >= self.limit
        return "ok" if kept else "violated"


@dataclass(frozen=True, slots=True)
class EdgeAmplification:
    """Attempts per request between two services (``namespace/name``), over the last half hour."""

    source: str
    destination: str
    requests: float
    attempts: float
    amplification: float | None
    origin: Literal["metrics", "traces"]


@dataclass(frozen=True, slots=True)
class ConfiguredRetries:
    """What the mesh's configuration allows of calls that there are, beside what is measured of them.

    ``tries`` is how often a request is sent at most in this hop, ``along_path`` along the worst ``path`` of services.
    Without what was not measured, or only in part, the rest is None: requests a second, attempts per request, and
    requests a second that would reach the destination if it failed.
    """

    source: str
    destination: str
    tries: int
    along_path: int
    path: tuple[str, ...]
    requests_per_second: float | None
    amplification: float | None
    if_it_fails: float | None

    @property
    def text(self) -> str:
        """``shop/cart → shop/stock: configured up to 9x along shop/web → shop/cart → shop/stock, seen 2.7x``."""
        seen = "not measured" if self.amplification is None else f"seen {self.amplification:.3g}x"
        way = f" ({self.tries}x in this hop; {' → '.join(self.path)})" if self.along_path > self.tries else ""
        return f"{self.source} → {self.destination}: configured up to {self.along_path}x{way}, {seen}"


def configured_json(item: ConfiguredRetries) -> dict[str, Any]:
    """A call as the JSON interface has it."""
    return {
        "source": item.source,
        "destination": item.destination,
        "tries": item.tries,
        "tries_along_path": item.along_path,
        "path": list(item.path),
        "requests_per_second": item.requests_per_second,
        "amplification": item.amplification,
        "requests_per_second_if_destination_fails": item.if_it_fails,
    }


def configured_properties() -> dict[str, Any]:
    """JSON Schema of a call's properties."""
    text, count = {"type": "string"}, {"type": "integer", "minimum": 1}
    number = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}]}
    return {
        "source": text,
        "destination": text,
        "tries": count,
        "tries_along_path": count,
        "path": {"type": "array", "items": text},
        "requests_per_second": number,
        "amplification": number,
        "requests_per_second_if_destination_fails": number,
    }


def guardrail_json(item: GuardrailStatus) -> dict[str, Any]:
    """A guardrail as the JSON interface has it."""
    return {
        "name": item.name,
        "scope": item.scope,
        "value": item.value,
        "limit": item.limit,
        "unit": item.unit,
        "status": item.status,
    }


def amplification_json(item: EdgeAmplification) -> dict[str, Any]:
    """An edge as the JSON interface has it."""
    return {
        "source": item.source,
        "destination": item.destination,
        "requests": item.requests,
        "attempts": item.attempts,
        "amplification": item.amplification,
        "origin": item.origin,
    }


def guardrail_properties() -> dict[str, Any]:
    """JSON Schema of a guardrail's properties."""
    text, number = {"type": "string"}, {"type": "number"}
    return {
        "name": text,
        "scope": {"type": "object", "additionalProperties": text},
        "value": {"anyOf": [number, {"type": "null"}]},
        "limit": number,
        "unit": text,
        "status": {"enum": ["ok", "violated", "no_data"]},
    }


def amplification_properties() -> dict[str, Any]:
    """JSON Schema of an edge's properties."""
    text, count = {"type": "string"}, {"type": "number", "minimum": 0}
    return {
        "source": text,
        "destination": text,
        "requests": count,
        "attempts": count,
        "amplification": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "origin": {"enum": ["metrics", "traces"]},
    }


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
