"""The budget report as data, and its JSON form (version 1), which is an interface.

This module must not know where the numbers come from, nor how a report is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, get_args

from sloctl import naming
from sloctl.budget import Status
from sloctl.errors import Severity
from sloctl.model.durations import duration, rfc3339
from sloctl.report import health, routine
from sloctl.report.health import (
    ConfiguredRetries,
    EdgeAmplification,
    GuardrailStatus,
    SidecarRestarts,
    amplification_json,
    amplification_properties,
    configured_json,
    configured_properties,
    guardrail_json,
    guardrail_properties,
)
from sloctl.report.history import BudgetHistory
from sloctl.report.routine import Routine

VERSION = 1
BudgetSource = Literal["ledger", "rules", "raw"]
"""Where the numbers of a budget are from: the ledger, what rules recorded, or raw counters."""
SCRAPE_GAP = "scrape-gap"
PARTIAL = "partial-answer"
"""The code of the finding that a server said itself that its answer may lack data."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Seconds of the period whose events are not known, or not counted by agreement.

    ``recorded`` is how much of the window there is a record of, where that is not all of it: it began later.
    """

    gaps: float = 0.0
    excluded: float = 0.0
    recorded: float | None = None


@dataclass(frozen=True, slots=True)
class PartialBudget:
    """What a part of a window would mean for its budget, as shares of it that are spent (1 is all of it).

    ``alike``: if all of the window was like this part; ``good``: if the rest had as many requests, and no failure.
    """

    alike: float
    good: float


@dataclass(frozen=True, slots=True)
class SideComparison:
    """Success as clients saw it (after retries) and as servers saw it (every attempt); 0…1 or None."""

    client: float | None
    server: float | None


MarkKind = Literal[
    "alert", "maintenance", "silence", "deploy", "incident", "note", "override", "version", "configuration"
]


@dataclass(frozen=True, slots=True)
class Mark:
    """What happened meanwhile: an alert that fired, a maintenance, a deploy or another silence, and its name; or what
    somebody said of that time."""

    start: datetime
    end: datetime
    what: MarkKind
    name: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What is to be looked at of one SLO besides its numbers.

    ``causes`` are bad events of the window by what they have in common, the most frequent first; ``links`` are titles
    and addresses.
    """

    causes: tuple[tuple[str, float], ...] = ()
    marks: tuple[Mark, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SloStatus:
    """One SLO of one service now. Ratios are 0…1, ``objective`` is percent, windows are durations as text.

    ``history`` and ``detail`` are for what draws them; the JSON form has neither.
    """

    slo: str
    service: str
    namespace: str
    objective: float
    window: str
    status: Status
    sli: float | None
    sli_interval: tuple[float, float] | None
    good: float
    bad: float
    total: float
    spent: float | None
    remaining: float | None
    burn_rates: dict[str, float | None]
    exhausted_at: datetime | None
    alerts: tuple[str, ...] = ()
    quality: Quality = Quality()
    sides: SideComparison | None = None
    owner: str = ""
    history: BudgetHistory | None = None
    detail: Detail = Detail()
    source: BudgetSource = "rules"
    doubts: tuple[str, ...] = ()
    """Codes of the findings for which these numbers may be wrong."""
    partial: PartialBudget | None = None
    """In place of what is spent and remains, where too little of the window is recorded for that to be said."""

    @property
    def wrong(self) -> tuple[str, ...]:
        """The doubts for which nobody should go by these numbers: all but that a gap may hide bad events."""
        return tuple(code for code in self.doubts if code != SCRAPE_GAP)

    @property
    def name(self) -> str:
        """``namespace/service slo``, as texts show it."""
        return f"{self.place} {self.slo}"

    @property
    def place(self) -> str:
        """``namespace/service``."""
        return naming.place(self.namespace, self.service)

    @property
    def pages(self) -> tuple[str, ...]:
        """Those of its alerts that page."""
        return tuple(
            name for name in self.alerts if name.rpartition(naming.BUDGET_BURN)[2].startswith("Page")
        )

    @property
    def of_window(self) -> str:
        """The window, and how much of it is recorded if that is less: ``10m of 30d``."""
        recorded = self.quality.recorded
        if recorded is None:
            return self.window
        unit = 3600 if recorded >= 2 * 86400 else 60
        return f"{duration(int(recorded // unit * unit)) if recorded >= 60 else 'nothing'} of {self.window}"


def recorded_text(part: Sequence[SloStatus]) -> str:
    """How much is recorded of windows of which it is not all: of the least, and whether there are others."""
    least = min(part, key=lambda item: item.quality.recorded or 0.0).of_window
    if any(item.of_window != least for item in part):
        return f"{least} or more"
    return least if least.startswith("nothing") else f"only {least}"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a reader should know besides the numbers."""

    severity: Severity | Literal["info"]
    code: str
    message: str
    scope: dict[str, str] = field(default_factory=dict)


def partial_findings(said: Iterable[str], about: str, scope: dict[str, str]) -> list[Finding]:
    """That Prometheus said itself of some answers that they may lack data, and what that means."""
    return [Finding("warning", "partial-answer", f"Prometheus: {text}: {about}", scope) for text in said]


@dataclass(frozen=True, slots=True)
class Report:
    """All budgets of one set of SLOs at one time."""

    set_name: str
    at: datetime
    source: Literal["prometheus", "ledger"]
    slos: tuple[SloStatus, ...]
    findings: tuple[Finding, ...] = ()
    guardrails: tuple[GuardrailStatus, ...] = ()
    retry_amplification: tuple[EdgeAmplification, ...] = ()
    sidecar_restarts: tuple[SidecarRestarts, ...] = ()
    routine: Routine | None = None
    left_out: tuple[SloStatus, ...] = ()
    """Budgets that are not among ``slos``, because only the worst were asked for."""
    owner: str = ""
    """Who answers for all of its budgets, if it is of one owner."""
    configured_retries: tuple[ConfiguredRetries, ...] | None = None
    """What the mesh's configuration allows of its calls; None where none was given."""

    def of(self, wanted: Callable[[SloStatus], bool]) -> Report:
        """The report with some of its budgets, and what it found and measured of these or of everything."""
        slos = tuple(item for item in self.slos if wanted(item))
        kept = {(item.namespace, item.service) for item in slos}
        gone = {(item.namespace, item.service) for item in self.slos} - kept

        def there(scope: Mapping[str, str]) -> bool:
            return (scope.get("namespace", ""), scope.get("service", "")) not in gone

        lost = {item.name for item in self.slos} - {item.name for item in slos}
        places = {"/".join(filter(None, place)) for place in gone}
        namespaces = {place[0] for place in gone} - {place[0] for place in kept}

        def row(cells: Mapping[str, routine.CellValue]) -> bool:
            """Whether a row of a routine is of a budget that was not left out, or of nothing that has one."""
            place = str(cells.get("service", cells.get("what", "")))
            return (
                f"{place} {cells.get('slo', '')}".strip() not in lost
                and place.partition(" ")[0] not in places
                and cells.get("namespace") not in namespaces
            )

        told = self.routine
        return replace(
            self,
            slos=slos,
            findings=tuple(found for found in self.findings if there(found.scope)),
            guardrails=tuple(item for item in self.guardrails if there(item.scope)),
            routine=told and replace(told, sections=tuple(section.of(row) for section in told.sections)),
        )

    def of_owner(self, owner: str) -> Report:
        """What an owner answers for."""
        return replace(self.of(lambda item: item.owner == owner), owner=owner)


def _slo(item: SloStatus) -> dict[str, Any]:
    out: dict[str, Any] = {
        "slo": item.slo,
        "service": item.service,
        "namespace": item.namespace,
        "objective": item.objective,
        "window": item.window,
        "status": item.status,
        "sli": item.sli,
        "sli_interval": list(item.sli_interval) if item.sli_interval else None,
        "events": {
            "good": health.count(item.good),
            "bad": health.count(item.bad),
            "total": health.count(item.total),
        },
        "budget": {"spent": item.spent, "remaining": item.remaining},
        "burn_rates": item.burn_rates,
        "exhausted_at": rfc3339(item.exhausted_at) if item.exhausted_at else None,
        "alerts": list(item.alerts),
        "quality": {
            "gaps": health.count(item.quality.gaps),
            "excluded": health.count(item.quality.excluded),
        },
        "source": item.source,
    }
    if item.quality.recorded is not None:
        out["quality"]["recorded"] = health.count(item.quality.recorded)
    if item.partial is not None:
        out["budget"]["partial"] = {"alike": item.partial.alike, "good": item.partial.good}
    if item.sides is not None:
        out["sides"] = {"client": item.sides.client, "server": item.sides.server}
    if item.owner:
        out["owner"] = item.owner
    if item.doubts:
        out["doubts"] = list(item.doubts)
    return out


def finding_json(item: Finding) -> dict[str, Any]:
    """A finding as the JSON interface has it."""
    return {"severity": item.severity, "code": item.code, "message": item.message, "scope": item.scope}


def to_json(report: Report) -> dict[str, Any]:
    """The report as the JSON interface has it; see ``docs/report.schema.json``."""
    data = {
        "version": VERSION,
        "name": report.set_name,
        "at": rfc3339(report.at),
        "source": report.source,
        "slos": [_slo(item) for item in report.slos],
        "guardrails": [guardrail_json(item) for item in report.guardrails],
        "retry_amplification": [amplification_json(item) for item in report.retry_amplification],
        "sidecar_restarts": health.to_json(report.sidecar_restarts),
        "findings": [finding_json(item) for item in report.findings],
    }
    if report.configured_retries is not None:
        data["configured_retries"] = [configured_json(item) for item in report.configured_retries]
    return data if report.routine is None else data | {"routine": routine.to_json(report.routine)}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the report."""
    text = {"type": "string"}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    count = {"type": "number", "minimum": 0}
    number = {"type": "number"}
    time = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
    slo = _object(
        {
            "slo": text,
            "service": text,
            "namespace": text,
            "objective": {
                "type": "number",
                "exclusiveMinimum": 0,
                "exclusiveMaximum": 100,
                "description": "percent",
            },
            "window": text,
            "status": {"enum": list(get_args(Status))},
            "sli": {**_nullable(share), "description": "good events over all events of the window"},
            "sli_interval": _nullable(
                {"type": "array", "prefixItems": [share, share], "minItems": 2, "maxItems": 2}
            )
            | {"description": "Wilson interval of the SLI, 95 %"},
            "events": _object({"good": count, "bad": count, "total": count}),
            "budget": _object(
                {
                    "spent": {
                        **_nullable(count),
                        "description": "share of the budget that is used: 1 is all of it",
                    },
                    "remaining": {**_nullable(number), "description": "1 - spent; negative when overspent"},
                    "partial": _object({"alike": count, "good": count})
                    | {
                        "description": "only where too little of the window is recorded, and both others are null: "
                        "what would be spent if all of it was like the part that is, and if the rest was good"
                    },
                },
                optional=("partial",),
            ),
            "burn_rates": {"type": "object", "additionalProperties": _nullable(count)},
            "exhausted_at": {**_nullable(time), "description": "at the burn rate of the last hour"},
            "alerts": {"type": "array", "items": text},
            "quality": _object({"gaps": count, "excluded": count, "recorded": count}, optional=("recorded",))
            | {"description": "seconds; recorded only where that is less than the window"},
            "source": {"enum": ["ledger", "rules", "raw"], "description": "where these numbers are from"},
            "sides": _object({"client": _nullable(share), "server": _nullable(share)})
            | {"description": "success ratio after retries (client) and of every attempt (server)"},
            "owner": text,
            "doubts": {
                "type": "array",
                "items": text,
                "minItems": 1,
                "description": "codes of the findings for which these numbers may be wrong",
            },
        },
        optional=("sides", "owner", "doubts"),
    )
    labels = {"type": "object", "additionalProperties": text}
    guardrail = _object(guardrail_properties())
    amplification = _object(amplification_properties())
    restarts = health.json_schema()
    finding = _object(
        {"severity": {"enum": ["error", "warning", "info"]}, "code": text, "message": text, "scope": labels}
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sloctl report",
        **_object(
            {
                "version": {"const": VERSION},
                "name": text,
                "at": time,
                "source": {"enum": ["prometheus", "ledger"]},
                "slos": {"type": "array", "items": slo},
                "guardrails": {"type": "array", "items": guardrail},
                "retry_amplification": {"type": "array", "items": amplification},
                "sidecar_restarts": {"type": "array", "items": restarts},
                "findings": {"type": "array", "items": finding},
                "configured_retries": {
                    "type": "array",
                    "items": _object(configured_properties()),
                    "description": "only with --mesh; what was not measured, or of an answer that lacks data, is null",
                },
                "routine": routine.json_schema(),
            },
            optional=("configured_retries", "routine"),
        ),
    }
