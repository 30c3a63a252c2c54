"""A set of SLOs as documents of OpenSLO v1: SLOs with their SLIs, services, and alert policies.

Queries are Prometheus counters as they are (``counter: true``). What OpenSLO cannot say is a problem with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import get_args

from sloctl import naming, promql
from sloctl.errors import Problem
from sloctl.model import CounterSli, ExprSli, Mesh, RollingWindow, SampleSli, Selector, Slo, SloSet
from sloctl.model.calendar import Weekday
from sloctl.model.durations import duration, number
from sloctl.spec.foreign.queries import NoQuery, uncounted
from sloctl.spec.foreign.writing import block, comment

Document = dict[str, object]
_VERSION = "openslo/v1"
_LONGEST_TEXT = 1050
_UNITS = {"week": "1w", "month": "1M", "quarter": "1Q", "year": "1Y"}
_STARTS = {"week": "2024-01-01", "month": "2024-01-01", "quarter": "2024-01-01", "year": "2024-01-01"}
"""A first day of each unit; 1 January 2024 was a Monday."""


def export(slo_set: SloSet) -> tuple[str, tuple[Problem, ...], int]:
    """The text of the documents, what they do not say, and how many SLOs they have."""
    problems: list[Problem] = list(_left_out(slo_set))
    slos: list[Document] = []
    services: dict[str, Document] = {}
    policies: dict[str, Document] = {}
    names: set[str] = set()
    for slo in slo_set.slos:
        try:
            document = _slo(slo, slo_set, policies, names)
        except NoQuery as error:
            message = f"the SLO {slo.name} of {slo.service} is not exported: {error}"
            problems.append(Problem(slo.position, "error", "export-refused", "slos", message))
            continue
        if len(slo.description) > _LONGEST_TEXT:
            message = f"the description of {slo.name}: OpenSLO's have up to {_LONGEST_TEXT} characters"
            problems.append(Problem(slo.position, "warning", "export-left-out", "slos", message))
        slos.append(document)
        name = naming.slug(slo.service)
        services.setdefault(name, _document("Service", {"name": name}, {}))
    lines = [*comment("", f"Written by `sloctl export --openslo` from the set {slo_set.name}.")]
    lines += [line for problem in problems for line in comment("", f"left out: {problem.message}")]
    for document in (*services.values(), *policies.values(), *slos):
        lines += ["---", *block(document, "")]
    return "\n".join(lines) + "\n" if slos else "", tuple(problems), len(slos)


def _left_out(slo_set: SloSet) -> Iterator[Problem]:
    """What of the set is no SLO, and what of all alerts OpenSLO cannot say."""
    sections: Mapping[str, object] = {
        "guardrails": slo_set.guardrails,
        "jobs": slo_set.jobs,
        "maintenance": slo_set.maintenance,
        "notifications": slo_set.notifications,
    }
    at = slo_set.slos[0].position
    for name, value in sections.items():
        if value:
            yield Problem(at, "warning", "export-left-out", name, f"'{name}': OpenSLO has SLOs only")
    if any(slo.policy is not None for slo in slo_set.slos):
        message = "short windows of alerts, and how sure an alert is: a condition of OpenSLO has one window"
        yield Problem(at, "warning", "export-left-out", "alerting", message)


def _document(kind: str, metadata: Document, spec: Document) -> Document:
    return {"apiVersion": _VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _slo(slo: Slo, slo_set: SloSet, policies: dict[str, Document], names: set[str]) -> Document:
    """The document of an SLO; its alert policies are added to ``policies``, its name to ``names``. Raises NoQuery."""
    if slo.wildcard:
        raise NoQuery("it is of every service of its namespace, and an SLO of OpenSLO is of one")
    parts = (slo.namespace, slo.service, slo.name)
    stem = naming.slug("-".join(part for part in parts if part))
    plain = len(stem) <= 63 and stem not in names
    name = stem if plain else naming.with_digest(stem[:50].strip("-"), *parts)
    names.add(name)
    metadata: Document = {"name": name}
    if labels := dict((*slo_set.labels, *slo.labels)) | ({"owner": slo.owner} if slo.owner else {}):
        metadata["labels"] = labels
    links = {key: text for key, text in (("runbook", slo.runbook), ("dashboard", slo.dashboard)) if text}
    if links:
        metadata["annotations"] = links
    ratio = {"counter": True} | {part: _source(query) for part, query in _queries(slo, slo_set.mesh).items()}
    described = slo.description if len(slo.description) <= _LONGEST_TEXT else ""
    spec: Document = {"description": described} if described else {}
    spec |= {
        "service": naming.slug(slo.service),
        "indicator": {"metadata": {"name": name}, "spec": {"ratioMetric": ratio}},
        "timeWindow": [_window(slo)],
        "budgetingMethod": "Occurrences",
        "objectives": [{"displayName": slo.name, "target": (slo.objective / 100).normalize()}],
        "alertPolicies": list(_policies(slo, policies)),
    }
    return _document("SLO", metadata, spec)


def _source(query: str) -> Document:
    return {"metricSource": {"type": "Prometheus", "spec": {"query": query}}}


def _queries(slo: Slo, mesh: Mesh) -> dict[str, str]:
    sli, part = slo.sli, "good" if slo.counts_good else "bad"
    if isinstance(sli, ExprSli):
        return {part: uncounted(sli.good or sli.bad), "total": uncounted(sli.total)}

    if isinstance(sli, SampleSli):
        raise NoQuery("it counts the samples of a gauge, and a query of OpenSLO counts counters")
    if sli.native:
        raise NoQuery("it reads native histograms, and a query of OpenSLO counts counters")

    def added(parts: tuple[Selector, ...], counted: CounterSli) -> list[str]:
        return [f"sum({promql.full_selector(slo, counted, selector, mesh)})" for selector in parts]

    total, of = added(sli.total, sli), added(sli.good or sli.bad, sli)
    # Counters that nothing has counted yet are not there.
    return {part: _added(of, sure=False), "total": _added(total, sure=len(total) == 1)}


def _added(sums: list[str], *, sure: bool) -> str:
    terms = sums if sure else [f"{text} or vector(0)" for text in sums]
    return terms[0] if len(terms) == 1 else " + ".join(f"({term})" for term in terms)


def _window(slo: Slo) -> Document:
    window = slo.window
    if isinstance(window, RollingWindow):
        return {"duration": _one_unit(window.seconds), "isRolling": True}
    later = timedelta(days=get_args(Weekday).index(window.starts))
    start = f"{date.fromisoformat(_STARTS[window.unit]) + later} 00:00:00"
    calendar = {"startTime": start, "timeZone": window.timezone}
    return {"duration": _UNITS[window.unit], "isRolling": False, "calendar": calendar}


def _one_unit(seconds: int) -> str:
    """A duration of OpenSLO, which has one unit."""
    unit, size = next(
        (unit, size) for unit, size in (("d", 86400), ("h", 3600), ("m", 60)) if seconds % size == 0
    )
    return f"{seconds // size}{unit}"


def _policies(slo: Slo, known: dict[str, Document]) -> Iterator[str]:
    """Names of the alert policies of an SLO, of which each has one condition."""
    for line in slo.policy.windows if slo.policy is not None else ():
        factor: Decimal = (
            slo.policy.scaled(line, slo.window.seconds) if slo.policy is not None else line.factor
        )
        lasting = f"-for-{duration(line.for_)}" if line.for_ else ""
        name = naming.slug(f"{line.severity}-{duration(line.long)}-{number(factor)}x{lasting}")
        condition: Document = {"kind": "burnrate", "op": "gte", "threshold": factor}
        condition |= {"lookbackWindow": _one_unit(line.long), "alertAfter": duration(line.for_)}
        spec: Document = {"severity": line.severity, "condition": condition}
        known.setdefault(
            name,
            _document(
                "AlertPolicy",
                {"name": name},
                {
                    "alertWhenBreaching": True,
                    "conditions": [{"kind": "AlertCondition", "metadata": {"name": name}, "spec": spec}],
                    "notificationTargets": [],
                },
            ),
        )
        yield name
