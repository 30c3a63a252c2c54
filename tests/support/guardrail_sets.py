"""An SLO file's model with every guardrail."""

from __future__ import annotations

from decimal import Decimal

from sloctl.guardrails.shared.limits import GUARDRAIL_PRESETS
from sloctl.model import Guardrail, Job, Mesh, MeshMode, SloSet, Sources


def everything(mode: MeshMode, backend: str = "zipkin") -> SloSet:
    """A set with every guardrail and all of their parameters."""
    return SloSet(
        "shop",
        (),
        mesh=Mesh(mode=mode),
        sources=Sources(traces_backend=backend),
        jobs=(Job("slis", every=300), Job("report", cron="0 9 * * 1")),
        guardrails=tuple(
            Guardrail(
                preset=kind.name,
                limit=kind.limit.default if kind.limit else None,
                critical=Decimal(20) if "critical" in kind.params else None,
                owner="team-platform",
                versions=(("checkout", ("v1",)),) if "versions" in kind.params else (),
            )
            for kind in GUARDRAIL_PRESETS.values()
        ),
    )
