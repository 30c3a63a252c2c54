"""The reference page of the SLO file (docs/slo-file.md), made from the loader's own tables."""

from __future__ import annotations

import json

from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS
from sloctl.model.durations import duration, number
from sloctl.spec.fields.shapes import Field, Object
from sloctl.spec.reference.codes import CODES
from sloctl.spec.reference.prose import END, INTRODUCTION, SECTIONS
from sloctl.spec.sections import (
    alerting,
    dashboards,
    file,
    guardrails,
    jobs,
    kubernetes,
    ledger,
    maintenance,
    mesh,
    metadata,
    notifications,
    reports,
    slis,
    slos,
    sources,
    windows,
)

_TABLES: dict[str, tuple[Object, ...]] = {
    "The document": (file.FILE,),
    "metadata": (metadata.METADATA, metadata.OBJECTS),
    "mesh": (mesh.MESH, mesh.MATCHER_FORMS),
    "sources": (sources.SOURCES, sources.ADDRESS, sources.TRACES),
    "defaults": (slos.DEFAULTS,),
    "slos": (slos.SLO,),
    "Windows": (windows.CALENDAR,),
    "Presets": tuple(slis.SLI.objects.values()),
    "Events of your own": (slis.SLI.other_object, slis.EVENTS),
    "Alerting": (alerting.POLICY, alerting.BURN_WINDOW),
    "guardrails": (guardrails.GUARDRAIL,),
    "notifications": (
        notifications.NOTIFICATIONS,
        notifications.RECEIVER,
        notifications.RECEIVER_SLACK,
        notifications.RECEIVER_PAGERDUTY,
        notifications.RECEIVER_WEBHOOK,
        notifications.ROUTING_DEFAULT,
        notifications.ROUTING,
    ),
    "dashboards": (dashboards.DASHBOARDS, dashboards.COSTS),
    "jobs": (jobs.JOB,),
    "ledger": (ledger.LEDGER, ledger.KEEP),
    "maintenance": (maintenance.MAINTENANCE,),
    "reports": (reports.REPORTS, reports.SLACK),
    "kubernetes": (
        kubernetes.KUBERNETES,
        kubernetes.LEDGER,
        kubernetes.PROMETHEUS_LOGIN,
        kubernetes.TRACES_LOGIN,
        kubernetes.ALERTMANAGER_LOGIN,
        kubernetes.CERTIFICATES,
        kubernetes.SLACK_LOGIN,
        kubernetes.OTLP,
        kubernetes.RESOURCES,
        kubernetes.TOLERATION,
    ),
}
"""The objects that each section of the page describes; a test holds that none is left out."""


def markdown() -> str:
    """The whole page."""
    parts = [INTRODUCTION.strip()]
    for title, (text, example) in SECTIONS.items():
        parts += [f"## {title}", text.strip()]
        if example:
            parts.append(f"```yaml\n{example.strip()}\n```")
        if title == "guardrails":
            parts.append(_guardrails())
        shapes = _TABLES.get(title, ())
        for shape in shapes:
            if len(shapes) > 1 and shape.doc:
                parts.append(shape.doc)
            parts += _table(shape)
    parts.append(END.strip())
    parts.append("| code | what it stands for |\n|---|---|\n" + _rows(CODES))
    return "\n\n".join(parts) + "\n"


def _rows(codes: dict[str, str]) -> str:
    return "\n".join(f"| `{code}` | {_cell(text)} |" for code, text in codes.items())


def _table(shape: Object) -> list[str]:
    rows = ["| key | value | without it | meaning |", "|---|---|---|---|"]
    for field in shape.fields:
        rows.append(
            f"| `{field.key}` | {_cell(field.type.words)} | {_without(shape, field)} | {_meaning(field)} |"
        )
    return ["\n".join(rows), *(f"Exactly one of {_listed(group)} must be given." for group in shape.one_of)]


def _guardrails() -> str:
    """The guardrails with their default limits and parameters."""
    rows = ["| preset | what is watched | limit | further keys |", "|---|---|---|---|"]
    for kind in GUARDRAIL_PRESETS.values():
        limit = "–"
        if kind.limit:
            unit = {"percent": " %", "duration": "", "number": ""}[kind.limit.unit]
            value = kind.limit.default
            shown = duration(float(value)) if kind.limit.unit == "duration" else number(value)
            limit = f"`{kind.limit.side}`: {shown}{unit}"
        keys = ", ".join(f"`{name}`" for name in sorted(kind.params)) or "–"
        rows.append(f"| `{kind.name}` | {_cell(kind.summary)} | {limit} | {keys} |")
    return "\n".join(rows)


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(f"`{key}`" for key in keys[:-1]) + f" and `{keys[-1]}`"


def _without(shape: Object, field: Field) -> str:
    if field.required:
        return "required"
    if any(field.key in group for group in shape.one_of):
        return "one is required"
    return _cell(shape.without(field)) or "–"


def _meaning(field: Field) -> str:
    if not field.examples:
        return _cell(field.doc)
    examples = ", ".join(f"`{json.dumps(example, ensure_ascii=False)}`" for example in field.examples)
    return f"{_cell(field.doc)} Example{'s' * (len(field.examples) > 1)}: {_cell(examples)}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
