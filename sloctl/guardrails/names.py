"""Alerts of the guardrails that other parts speak of by name: who is told of them, and what they make moot."""

from __future__ import annotations

ISTIOD_DOWN = "IstiodDown"
"""A page of ``control-plane``: no istiod answers."""
GATEWAY_DOWN = "GatewayDown"
"""A page of ``gateway-errors``: a gateway has no ready replica; its label ``service`` is the gateway's workload."""
MESH_TELEMETRY_LOST = "MeshTelemetryLost"
"""A page of ``telemetry-gap``: no proxy's metrics arrive."""
WATCHDOG = "Watchdog"
"""The alert of ``watchdog``, which always fires and has the severity ``none``."""
