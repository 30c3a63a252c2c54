"""May this be released now? What a report means to the error budget policy of the file, and how that is told.

Of each SLO: below ``freeze_below`` nothing is released, below ``fixes_below`` fixes are, none but a fix while a page
fires, and as the file says where nobody can say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from xml.etree import ElementTree

from sloctl.model.durations import number, rfc3339
from sloctl.model.release import ReleasePolicy
from sloctl.report.data import Report, SloStatus
from sloctl.report.numbers import budget_share, plain
from sloctl.spec.annotations import annotation

Verdict = Literal["allowed", "refused", "unknown"]
SCHEMA = "sloctl.gate/v1"
_NAME = "is it its name?"
_NO_EVENTS = f"no SLO of it had events: {_NAME}"
UNREAD = "prometheus-not-read"
"""The code of the finding that alerts could not be read."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one SLO says to a release, and why."""

    slo: SloStatus
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Gate:
    """The verdict: refused if any SLO refuses, else unknown if of any nobody can say and the policy refuses that.

    ``missing`` are services that were asked for and have no budget; ``failed`` says why no budget could be read.
    """

    report: Report
    policy: ReleasePolicy
    fix: bool
    judgements: tuple[Judgement, ...]
    missing: tuple[str, ...] = ()
    failed: str = ""

    @property
    def verdict(self) -> Verdict:
        """Of everything together; of no SLO at all nobody can say."""
        found = {item.verdict for item in self.judgements}
        if "refused" in found:
            return "refused"
        unknown = "unknown" in found or not found or bool(self.missing)
        return "unknown" if unknown and self.policy.unknown == "refuse" else "allowed"


def judge(report: Report, policy: ReleasePolicy, *, fix: bool = False, missing: tuple[str, ...] = ()) -> Gate:
    """Judge a release, or a ``fix``, by all budgets of a report; ``missing`` are services that it has none of."""
    unread = next((found.message for found in report.findings if found.code == UNREAD), "")
    judged = tuple(_judged(item, policy, fix, unread) for item in report.slos)
    return Gate(report, policy, fix, judged, missing)


def unread(name: str, at: datetime, policy: ReleasePolicy, why: str, *, fix: bool = False) -> Gate:
    """What nobody can say, because no budget of a set could be read."""
    return Gate(Report(name, at, "prometheus", ()), policy, fix, (), failed=f"no budget could be read: {why}")


def _judged(item: SloStatus, policy: ReleasePolicy, fix: bool, unread: str) -> Judgement:
    if item.pages and policy.pages == "refuse" and not fix:
        return Judgement(item, "refused", f"{', '.join(item.pages)} fires: only a fix is released")
    if item.wrong:
        return Judgement(item, "unknown", f"its numbers are in doubt ({', '.join(item.wrong)})")
    if item.partial is not None:
        return Judgement(item, "unknown", f"too little of its window is recorded ({item.of_window})")
    if item.remaining is None:
        return Judgement(item, "unknown", "no data")
    left = Decimal(repr(item.remaining)) * 100
    said = f"{budget_share(item.remaining)} of the budget is left"
    if left < policy.freeze_below or (left == policy.freeze_below == 0):
        return Judgement(
            item, "refused", f"{said}, less than {number(policy.freeze_below)} %: nothing is released"
        )
    if left < policy.fixes_below and not fix:
        return Judgement(
            item, "refused", f"{said}, less than {number(policy.fixes_below)} %: only a fix is released"
        )
    if unread and policy.pages == "refuse" and not fix:
        return Judgement(item, "unknown", f"whether a page fires is not known: {unread}")
    return Judgement(item, "allowed", said)


def lines(gate: Gate) -> list[str]:
    """The verdict and what speaks against a release, a line each, without control characters."""
    what = "a fix" if gate.fix else "a release"
    against = [item for item in gate.judgements if item.verdict != "allowed"]
    number_of = len(gate.judgements)
    out = [
        f"{gate.verdict}: {what}, by {number_of} SLO{'' if number_of == 1 else 's'} as of {rfc3339(gate.report.at)}"
    ]
    if gate.failed:
        out.append(f"  {gate.failed} [unknown]")
    elif not gate.judgements:
        out.append(f"  no SLO of that service, namespace or owner had events: {_NAME}")
    elif gate.missing:
        out += [f"  {name}: {_NO_EVENTS} [unknown]" for name in gate.missing]
    for item in sorted(
        against, key=lambda one: (one.verdict != "refused", one.slo.remaining or 0.0, one.slo.name)
    ):
        out.append(f"  {item.slo.name}: {item.reason}{'' if item.verdict == 'refused' else ' [unknown]'}")
    return [plain(line) for line in out]


def as_object(gate: Gate) -> dict[str, Any]:
    """The JSON form, an interface: docs/release-gate.md."""
    return {
        "schema": SCHEMA,
        "name": gate.report.set_name,
        "at": rfc3339(gate.report.at),
        "verdict": gate.verdict,
        "fix": gate.fix,
        "policy": {
            "freeze_below": float(gate.policy.freeze_below),
            "fixes_below": float(gate.policy.fixes_below),
            "pages": gate.policy.pages,
            "unknown": gate.policy.unknown,
        },
        "slos": [
            {
                "slo": item.slo.slo,
                "service": item.slo.service,
                "namespace": item.slo.namespace,
                "remaining": item.slo.remaining,
                "alerts": list(item.slo.alerts),
                "verdict": item.verdict,
                "reason": item.reason,
            }
            for item in gate.judgements
        ],
        "missing": list(gate.missing),
    } | ({"failed": gate.failed} if gate.failed else {})


def junit(gate: Gate) -> str:
    """As a JUnit XML file: a test for each SLO, which fails if it refuses and is an error if nobody can say."""
    judged = gate.judgements
    # What is no SLO, and why nobody can say of it.
    others = [(name, _NO_EVENTS) for name in gate.missing]
    others += [("every service", gate.failed)] if gate.failed else []
    unknown = _number(judged, "unknown") + len(others)
    suite = ElementTree.Element(
        "testsuite",
        name=f"sloctl gate {gate.report.set_name}",
        tests=str(len(judged) + len(others)),
        failures=str(_number(judged, "refused")),
        errors=str(unknown if gate.policy.unknown == "refuse" else 0),
        skipped=str(unknown if gate.policy.unknown == "allow" else 0),
        timestamp=rfc3339(gate.report.at),
    )
    tags = {"refused": "failure", "unknown": "error" if gate.policy.unknown == "refuse" else "skipped"}
    for item in judged:
        case = ElementTree.SubElement(
            suite, "testcase", classname=plain(item.slo.place), name=plain(item.slo.slo)
        )
        if item.verdict != "allowed":
            ElementTree.SubElement(case, tags[item.verdict], message=plain(item.reason))
    for name, why in others:
        case = ElementTree.SubElement(suite, "testcase", classname=plain(name), name="any SLO")
        ElementTree.SubElement(case, tags["unknown"], message=plain(why))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def _number(judged: Sequence[Judgement], verdict: Verdict) -> int:
    return sum(item.verdict == verdict for item in judged)


def github(gate: Gate) -> list[str]:
    """As commands of a GitHub workflow, which it shows as annotations."""
    refuses = gate.policy.unknown == "refuse"
    levels = {"refused": "error", "unknown": "error" if refuses else "warning"}
    out = [
        annotation(levels[item.verdict], item.reason, title=item.slo.name)
        for item in gate.judgements
        if item.verdict != "allowed"
    ]
    out += [annotation(levels["unknown"], _NO_EVENTS, title=name) for name in gate.missing]
    out += [annotation(levels["unknown"], gate.failed, title="sloctl gate")] if gate.failed else []
    return out or [annotation("notice" if gate.verdict == "allowed" else "error", lines(gate)[0])]
