"""A preflight as JSON objects: an interface (docs/preflight.md)."""

from __future__ import annotations

from typing import Any

from jobs.preflight.cost import Cost
from jobs.preflight.run import Preflight


def as_objects(preflight: Preflight) -> dict[str, Any]:
    """``findings`` and ``cost`` of the JSON form."""
    return {
        "findings": [
            {
                "severity": item.severity,
                "code": item.code,
                "message": item.message,
                "hint": item.hint,
                "snippet": item.snippet,
                "about": list(item.about),
            }
            for item in preflight.found
        ],
        "cost": None if preflight.cost is None else _cost_object(preflight.cost),
    }


def _cost_object(cost: Cost) -> dict[str, Any]:
    return {
        "samples_per_second": round(cost.samples_per_second, 3),
        "series": cost.series,
        "groups": [
            {
                "file": group.file,
                "group": group.group,
                "interval": group.interval,
                "rules": group.rules,
                "samples": round(group.samples),
                "series": group.series,
            }
            for group in cost.groups
        ],
        "costliest": [
            {"group": rule.group, "rule": rule.rule, "samples": round(rule.samples), "series": rule.series}
            for rule in cost.costliest
        ],
    }
