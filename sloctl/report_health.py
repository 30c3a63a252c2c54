"""What a report says of the mesh's health besides budgets: verdicts of guardrails, amplification by edge."""

from __future__ import annotations

from dataclasses import dataclass
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
