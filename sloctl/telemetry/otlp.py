"""The way out by OTLP over HTTP, with the numbers of :mod:`sloctl.telemetry.numbers` beside the SDK's own.

Apart from the other exporters because only those import it whose environment names a collector.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

from sloctl.telemetry.exporters import extended
from sloctl.telemetry.numbers import Numbers


class OtlpMetrics(OTLPMetricExporter):
    """An exporter of the SDK's, as the environment configures it, that also exports ``numbers``."""

    def __init__(self, numbers: Numbers) -> None:
        super().__init__()
        self.numbers = numbers

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """See the base class."""
        return super().export(extended(metrics_data, self.numbers), timeout_millis, **kwargs)
