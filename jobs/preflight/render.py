"""A preflight as text and as JSON objects; the JSON form is an interface (docs/preflight.md)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.preflight.cost import Cost
from jobs.preflight.run import Preflight


def text(preflight: Preflight) -> str:
    """Findings, then the cost. A snippet is shown once, with the first finding that has it."""
    return "".join(f"{line}\n" for line in (*_findings(preflight), *_cost(preflight.cost)))


def _findings(preflight: Preflight) -> Iterator[str]:
    shown: set[str] = set()
    for item in preflight.found:
        yield f"{item.severity}: {item.message} [{item.code}]"
        if item.hint:
            yield f"  hint: {item.hint}" + (" (as above)" if item.snippet in shown else "")
        if item.snippet and item.snippet not in shown:
            yield from (f"    {line}" for line in item.snippet.rstrip("\n").split("\n"))
        shown |= {item.snippet} - {""}


def _cost(cost: Cost | None) -> Iterator[str]:
    if cost is None:
        return
    rules = sum(group.rules for group in cost.groups)
    yield (
        f"cost: {rules} rules in {len(cost.groups)} groups read {_count(cost.samples_per_second)} samples a second "
        f"and write {_count(cost.series)} series"
    )
    for group in cost.groups:
        yield (
            f"  {group.file} {group.group}: {group.rules} rules every {group.interval}s, "
            f"{_count(group.samples)} samples, {_count(group.series)} series"
        )
    yield "  costliest rules, samples in one evaluation:"
    for rule in cost.costliest:
        yield f"    {_count(rule.samples):>12}  {rule.rule} ({rule.group})"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


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
