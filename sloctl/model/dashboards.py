"""Which dashboards there are, where they go, and what sidecars are reckoned at: plain data, a part of the model."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

KINDS = (
    "executive",
    "oncall",
    "service",
    "budget",
    "mesh",
    "retries",
    "sidecars",
    "control-plane",
    "debug",
)
"""Every kind of dashboard."""

DashboardObjects = Literal["configmap", "grafana-operator"]


SIDECAR_GUARDRAILS = frozenset({"sidecar-restarts", "sidecar-resources"})
"""The guardrails of which any makes the dashboard ``sidecars``; without one it is not generated."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What an hour of a CPU core and of a GiB of memory costs: about a cloud's on-demand price, by default."""

    core_hour: Decimal = Decimal("0.031")
    gib_hour: Decimal = Decimal("0.0042")
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    """How dashboards are delivered.

    ``objects`` are the Kubernetes objects that they are written as. ``labels`` are those that Grafana's sidecar
    watches, ``instances`` those of the Grafana objects that the Grafana operator gives the dashboards to.
    """

    folder: str = "SLOs"
    objects: DashboardObjects = "configmap"
    labels: tuple[tuple[str, str], ...] = (("grafana_dashboard", "1"),)
    instances: tuple[tuple[str, str], ...] = (("dashboards", "grafana"),)
    leave_out: tuple[str, ...] = ()
    costs: Costs = Costs()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are generated."""
        return tuple(kind for kind in KINDS if kind not in self.leave_out)
