"""What controllers of progressive delivery ask of Prometheus, on demand: how much more of a canary fails, by SLO.

Objects of Argo Rollouts (``AnalysisTemplate``, argoproj.io/v1alpha1) and Flagger (``MetricTemplate``,
flagger.app/v1beta1). Both compare a number with a limit at each look, and know nothing of chance, as ``sloctl canary``
does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from sloctl import naming, promql
from sloctl.artefacts.objects import HEADER, object_metadata
from sloctl.artefacts.yaml import YamlMapping, yaml
from sloctl.errors import Problem
from sloctl.model import GRID, CounterSli, Matcher, Slo, SloSet
from sloctl.model.durations import number
from sloctl.promql.counting import bad_share

PROMETHEUS = "http://prometheus:9090"
"""The address where the file gives none."""
VERSION, WORKLOAD = "destination_version", "destination_workload"
COUNT, FAILURES, UNKNOWN = 6, 1, 2
"""Looks, one every five minutes; those that may fail, and those that may say nothing."""

Written = tuple[str, tuple[Problem, ...], int]
"""The documents, what was left out, and how many SLOs were written."""


def argo_rollouts(slo_set: SloSet) -> Written:
    """An AnalysisTemplate for each SLO, with the arguments ``canary`` and ``baseline``, and ``service`` of ``"*"``."""
    found = [
        _object(
            slo_set,
            ("argoproj.io/v1alpha1", "AnalysisTemplate"),
            name,
            {
                "args": [
                    {"name": argument}
                    for argument in (*(("service",) if slo.wildcard else ()), "canary", "baseline")
                ],
                "metrics": [
                    {
                        "name": slo.name,
                        "interval": "5m",
                        "initialDelay": "5m",
                        "count": COUNT,
                        "failureLimit": FAILURES,
                        "inconclusiveLimit": UNKNOWN,
                        # Without an answer, or one that is no number, neither holds: it is inconclusive.
                        "successCondition": f"len(result) > 0 && result[0] <= {number(margin(slo_set, slo))}",
                        "failureCondition": f"len(result) > 0 && result[0] > {number(margin(slo_set, slo))}",
                        "provider": {
                            "prometheus": {
                                "address": slo_set.sources.prometheus or PROMETHEUS,
                                "query": more_fails(
                                    slo_set,
                                    slo,
                                    "{{args.service}}",
                                    VERSION,
                                    ("{{args.canary}}", "{{args.baseline}}"),
                                ),
                            }
                        },
                    }
                ],
            },
        )
        for name, slo in _named(slo_set)
    ]
    return "".join(found), _left_out(slo_set), len(found)


def flagger(slo_set: SloSet) -> Written:
    """A MetricTemplate for each SLO, in percent; the canary's workload is the target, the baseline's its primary."""
    found = [
        _object(
            slo_set,
            ("flagger.app/v1beta1", "MetricTemplate"),
            name,
            {
                "provider": {"type": "prometheus", "address": slo_set.sources.prometheus or PROMETHEUS},
                "query": "100 * (\n{}\n)".format(
                    more_fails(
                        slo_set, slo, "{{ target }}", WORKLOAD, ("{{ target }}", "{{ target }}-primary")
                    )
                ),
            },
            f"{HEADER}\nA Canary names it with  thresholdRange: {{max: {number(100 * margin(slo_set, slo))}}}",
        )
        for name, slo in _named(slo_set)
    ]
    return "".join(found), _left_out(slo_set), len(found)


def margin(slo_set: SloSet, slo: Slo) -> Decimal:
    """How much more of the canary may fail, 0…1: as the file says, or what the objective lets fail."""
    given = slo_set.release.canary.margin
    return slo.budget if given is None else (given / 100).normalize()


def more_fails(slo_set: SloSet, slo: Slo, service: str, label: str, versions: tuple[str, str]) -> str:
    """How much more of one version fails than of another in five minutes; nothing if one of them has no traffic."""
    one = replace(slo, service=service, overridden=()) if slo.wildcard else slo
    canary, baseline = (bad_share(one, slo_set.mesh, GRID, Matcher(label, "=", value)) for value in versions)
    return promql.dense(f"(\n{promql.indent(canary)}\n) - (\n{promql.indent(baseline)}\n)")


def _compared(slo: Slo) -> bool:
    """Whether the versions of a service can be told apart by an SLO."""
    return isinstance(slo.sli, CounterSli) and naming.family(slo.sli) != "gateway_requests"


def _named(slo_set: SloSet) -> Iterator[tuple[str, Slo]]:
    slos = [slo for slo in slo_set.slos if _compared(slo)]
    names = [
        naming.kubernetes_object(slo_set.name, f"{slo.namespace}-{slo.service}-{slo.name}") for slo in slos
    ]
    several = Counter(names)
    for name, slo in zip(names, slos, strict=True):
        yield (name if several[name] == 1 and not slo.wildcard else naming.with_digest(name, slo.id)), slo


def _left_out(slo_set: SloSet) -> tuple[Problem, ...]:
    return tuple(
        Problem(
            slo.position,
            "warning",
            "export-left-out",
            "slos",
            f"the SLO {slo.name} of {slo.service}: what it counts does not tell versions of a service apart",
        )
        for slo in slo_set.slos
        if not _compared(slo)
    )


def _object(
    slo_set: SloSet, kind: tuple[str, str], name: str, spec: YamlMapping, comment: str = HEADER
) -> str:
    metadata = object_metadata(slo_set, name)
    return "---\n" + yaml(
        {"apiVersion": kind[0], "kind": kind[1], "metadata": metadata, "spec": spec}, comment=comment
    )
