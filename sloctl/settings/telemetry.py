"""Where telemetry of sloctl itself goes, from OpenTelemetry's own variables.

The SDK reads most of them itself (headers, time-outs, certificates, samplers, resource attributes); this module only
says which exporters there are to be, so that nothing of the SDK is imported where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from sloctl.settings.variables import Variables


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Which signals are exported by OTLP over HTTP; ``warnings`` are for the caller to show once."""

    traces: bool = False
    metrics: bool = False
    disabled: bool = False
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """What the environment asks for; without an endpoint nothing is exported."""
        get = Variables("OTEL_", environ).get

        def exported(signal: str) -> bool:
            named = get(f"{signal}_EXPORTER").lower()
            endpoint = get(f"EXPORTER_OTLP_{signal}_ENDPOINT") or get("EXPORTER_OTLP_ENDPOINT")
            return bool(endpoint) and named in ("", "otlp")

        if get("SDK_DISABLED").lower() == "true":
            return cls(disabled=True)
        traces, metrics = exported("TRACES"), exported("METRICS")
        protocols = {get(f"EXPORTER_OTLP_{part}PROTOCOL").lower() for part in ("", "TRACES_", "METRICS_")}
        warnings = []
        if (traces or metrics) and protocols - {"", "http/protobuf"}:
            warnings.append("telemetry is sent as http/protobuf, whatever OTEL_EXPORTER_OTLP_PROTOCOL says")
        return cls(traces, metrics, warnings=tuple(warnings))
