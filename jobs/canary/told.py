"""A canary's verdict as people and pipelines read it (interfaces: docs/canary.md)."""

from __future__ import annotations

from math import inf
from typing import Any
from xml.etree import ElementTree

from jobs.canary.judged import Compared, Judged
from jobs.canary.weights import Weights
from sloctl.model.durations import duration, rfc3339
from sloctl.report.numbers import percent, plain
from sloctl.spec.annotations import annotation

SCHEMA = "sloctl.canary/v1"
_ALL_OR_NOTHING = 0.999999


def patch_lines(found: Weights) -> list[str]:
    """What would change of weights, and the commands that would do it, a line each."""
    out = ["patch of the weights (nothing is applied)"]
    for one in found.patches:
        out += [*(f"  {move}" for move in one.moves), f"  {one.command}"]
    out += [f"  {text}" for text in found.doubts]
    return [plain(line) for line in out]


def patch_object(found: Weights) -> dict[str, Any]:
    """The key ``patch`` of the JSON form."""
    return {
        "virtual_services": [
            {"namespace": one.namespace, "name": one.name, "operations": list(one.operations)}
            for one in found.patches
        ],
        "doubts": list(found.doubts),
    }


def lines(found: Judged) -> list[str]:
    """The verdict, what drove it and what was seen, a line each, without control characters."""
    asked, seen = found.asked, found.observed
    place = f"{asked.namespace}/{asked.service}" if asked.namespace else asked.service
    lasted = duration((seen.end - seen.start).total_seconds()) if seen.slos else "nothing"
    out = [
        f"{found.verdict}: {place} {asked.canary} against {asked.baseline}, by {lasted} until {rfc3339(seen.end)}",
        *(f"  {text}" for text in found.reasons),
    ]
    if found.slos:
        out.append("seen")
        out += [f"  {_slo(one, asked.baseline)}" for one in found.slos]
        out += [f"  {text}" for text in (_traffic(found), _cost(found), *_beside(found)) if text]
    out += [f"not compared: {text}" for text in seen.left_out]
    out += [f"doubt: {text}" for text in found.doubts]
    return [plain(line) for line in out]


def _slo(one: Compared, baseline: str) -> str:
    what = "slow" if one.seen.slo.counts_good else "failed"
    between = f"{_signed(one.low)} to {_signed(one.high)}"
    bursts = f", in bursts of about {one.dispersion:.0f}" if one.dispersion >= 2 else ""
    return (
        f"{one.name}: {percent(one.canary, 3)} {what}, of {baseline} {percent(one.baseline, 3)}: "
        f"{_signed(one.more)} ({between}){bursts}"
    )


def _signed(share: float) -> str:
    if abs(share) > _ALL_OR_NOTHING:
        return "+100 %" if share > 0 else "-100 %"
    return f"{'+' if share >= 0 else '-'}{percent(abs(share), 2)}"


def _traffic(found: Judged) -> str:
    canary, everything = found.slos[0].seen.traffic
    if not everything:
        return ""
    share = percent(canary / everything, 1)
    return f"{canary:,.0f} of {everything:,.0f} requests, {share} of the traffic"


def _cost(found: Judged) -> str:
    worst = max(found.slos, key=lambda one: one.cost)
    if worst.cost <= 0:
        return ""
    about = ", at this rate of requests" if worst.estimated else ""
    return f"it has cost {percent(worst.cost, 2)} of the budget of {worst.seen.slo.window.text} of {worst.name}{about}"


def _beside(found: Judged) -> list[str]:
    out = []
    for version in (found.asked.canary, found.asked.baseline):
        known = (found.observed.quantiles or {}).get(version)
        if known:
            times = ", ".join(f"p{q * 100:g} {value:,.0f} ms" for q, value in sorted(known.items()))
            out.append(f"latency of {version}: {times}")
    for version in (found.asked.canary, found.asked.baseline):
        if version in (found.observed.restarts or {}):
            restarts, pods = (found.observed.restarts or {})[version]
            out.append(f"restarts of {version}: {restarts:.0f} in {pods:.0f} pod{'' if pods == 1 else 's'}")
    out += _used(found)
    return out


def _used(found: Judged) -> list[str]:
    """What pods used, and of which that is not known."""
    if found.observed.used is None:
        return ["resource use: not known, for the targets that count requests are no pods"]
    out = []
    for version in (found.asked.canary, found.asked.baseline):
        used = found.observed.used.get(version)
        if used is None:
            out.append(f"resource use of {version}: not known, none of its pods was seen")
            continue
        pods = f"in {used.pods} pod{'' if used.pods == 1 else 's'}"
        if used.cores is None and used.memory is None:
            out.append(f"resource use of {version}: not known, its pods have no container metrics ({pods})")
            continue
        cores = "CPU not known" if used.cores is None else f"{used.cores:.3g} cores"
        memory = "memory not known" if used.memory is None else f"{used.memory / 2**20:,.0f} MiB"
        out.append(f"resource use of {version}: {cores}, {memory} a pod, lately, {pods}")
    return out


def as_object(found: Judged) -> dict[str, Any]:
    """The JSON form."""
    asked, seen = found.asked, found.observed
    return {
        "schema": SCHEMA,
        "service": asked.service,
        "namespace": asked.namespace,
        "by": asked.label,
        "canary": asked.canary,
        "baseline": asked.baseline,
        "from": rfc3339(seen.start),
        "to": rfc3339(seen.end),
        "verdict": found.verdict,
        "reasons": list(found.reasons),
        "doubts": list(found.doubts),
        "not_compared": list(seen.left_out),
        "versions": list(seen.versions),
        "policy": {"confidence": float(found.policy.confidence), "budget": float(found.policy.budget)},
        "slos": [
            {
                "slo": one.name,
                "shows": one.shows,
                "since": rfc3339(one.at) if one.at else None,
                "margin": one.margin,
                "canary": {
                    "bad": round(float(one.seen.strata.canary_bad.sum()), 3),
                    "total": round(float(one.seen.strata.canary.sum()), 3),
                    "share": one.canary,
                },
                "baseline": {
                    "bad": round(float(one.seen.strata.baseline_bad.sum()), 3),
                    "total": round(float(one.seen.strata.baseline.sum()), 3),
                    "share": one.baseline,
                },
                "more": one.more,
                "more_interval": [one.low, one.high],
                "dispersion": one.dispersion,
                "budget_cost": one.cost,
                "seconds_needed": None if one.needed in (None, inf) else one.needed,
            }
            for one in found.slos
        ],
        "quantiles_ms": {
            version: {f"p{q * 100:g}": value for q, value in sorted(known.items())}
            for version, known in sorted((seen.quantiles or {}).items())
        },
        "restarts": {
            version: {"restarts": restarts, "pods": pods}
            for version, (restarts, pods) in sorted((seen.restarts or {}).items())
        },
        "resources": {
            version: {"pods": used.pods, "cpu_cores": used.cores, "memory_bytes": used.memory}
            for version, used in sorted((seen.used or {}).items())
        },
    }


def junit(found: Judged) -> str:
    """As a JUnit XML file: a test for each SLO, which fails if it speaks for rolling back; else the verdict is one."""
    asked = found.asked
    place = plain(f"{asked.namespace}/{asked.service}" if asked.namespace else asked.service)
    cases = [(one.name, "failure" if one.shows in ("worse", "costs") else "") for one in found.slos]
    if found.verdict not in ("promote", "rollback"):
        cases.append((found.verdict, "error"))
    suite = ElementTree.Element(
        "testsuite",
        name=plain(f"sloctl canary {asked.canary}"),
        tests=str(len(cases)),
        failures=str(sum(tag == "failure" for _, tag in cases)),
        errors=str(sum(tag == "error" for _, tag in cases)),
        timestamp=rfc3339(found.observed.end),
    )
    for name, tag in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=place, name=plain(name))
        if tag:
            own = [text for text in found.reasons if tag == "error" or text.startswith(f"{name}: ")]
            ElementTree.SubElement(case, tag, message=plain("; ".join(own)))
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)


def github(found: Judged) -> list[str]:
    """As commands of a GitHub workflow, which it shows as annotations."""
    level = {"promote": "notice", "rollback": "error", "wait": "notice", "inconclusive": "error"}[
        found.verdict
    ]
    title = f"{found.verdict} {found.asked.canary}"
    return [annotation(level, text, title=title) for text in (*found.reasons, *found.doubts)]
