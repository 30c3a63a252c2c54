"""The guardrails of an SLO file, compiled, and with its SLOs all that its rules record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sloctl import naming
from sloctl.guardrails import (
    certificates,
    control_plane,
    denials,
    envoy,
    gateway,
    mtls,
    own,
    resources,
    restarts,
    retries,
    routing,
    services,
    telemetry,
)
from sloctl.guardrails.shared.kinds import Plan
from sloctl.guardrails.shared.queries import mesh_requests
from sloctl.model import GRID, TILE, Guardrail, SloSet
from sloctl.promql import Recording, recording

BUILDERS: dict[str, Callable[[SloSet, Guardrail], Plan]] = {
    "certificates": certificates.plan,
    "control-plane": control_plane.plan,
    "ejections": envoy.ejections,
    "gateway-errors": gateway.plan,
    "jobs": own.jobs,
    "misroutes": routing.misroutes,
    "mtls": mtls.plan,
    "overflow": envoy.overflow,
    "policy-denials": denials.plan,
    "retry-amplification": retries.plan,
    "service-errors": services.errors,
    "service-latency": services.latency,
    "sidecar-resources": resources.plan,
    "sidecar-restarts": restarts.plan,
    "telemetry-gap": telemetry.plan,
    "watchdog": own.watchdog,
}
"""How each preset is compiled."""


def plans(slo_set: SloSet) -> tuple[Plan, ...]:
    """A plan for each guardrail of the file, in the order of their names."""
    ordered = sorted(slo_set.guardrails, key=lambda guardrail: guardrail.preset)
    return tuple(BUILDERS[g.preset](slo_set, g) for g in ordered if g.preset in BUILDERS)


def base_labels(compiled: Iterable[Plan]) -> tuple[str, ...]:
    """The labels that the mesh's requests are recorded by; none if no guardrail reads requests."""
    return tuple(sorted(frozenset[str]().union(*(plan.base for plan in compiled))))


def recordings(slo_set: SloSet, members: Iterable[Plan], requests: Sequence[Plan]) -> Iterator[Recording]:
    """What rules record of some guardrails, requests in the detail of ``requests``."""
    labels = dict(slo_set.labels) | {naming.SLO_SET: slo_set.name}
    if by := base_labels(requests):
        yield Recording(naming.MESH_REQUESTS, labels, by, lambda: mesh_requests(slo_set, by, TILE), raw=True)
    for signal in {signal.record: signal for plan in members for signal in plan.signals}.values():
        yield Recording(signal.record, labels, None, lambda signal=signal: signal.expr)  # type: ignore[misc]


def recorded(slo_set: SloSet) -> Iterator[Recording]:
    """Every series that the rules of a set record, of its SLOs and of its guardrails."""
    for slos in recording.scopes(slo_set):
        for step in (TILE, GRID):
            yield from recording.of_scope(slo_set, slos, step)
    compiled = plans(slo_set)
    yield from recordings(slo_set, compiled, compiled)
