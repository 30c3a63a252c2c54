"""The guardrails of an SLO file, compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterable

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
from sloctl.model import Guardrail, SloSet

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
