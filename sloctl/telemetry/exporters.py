"""The way out: the numbers of :mod:`sloctl.telemetry.numbers` beside the SDK's own, to Prometheus and by OTLP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import (
    Gauge,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ScopeMetrics,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from sloctl import extras
from sloctl.telemetry import own_metrics
from sloctl.telemetry.numbers import Numbers

SCOPE = InstrumentationScope("sloctl")


class Endpoint:
    """What ``/metrics`` answers."""

    def __init__(self, numbers: Numbers) -> None:
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self.reader = PrometheusMetricReader(scope_info_enabled=False, registry=self._registry)
        self._registry.register(_Collector(numbers))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Body and content type, OpenMetrics where ``accept`` asks for it."""
        encode, content_type = choose_encoder(accept)
        with self._lock:  # the reader keeps what it collected in a list without one
            return encode(self._registry), content_type


class _Collector(Collector):
    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The numbers as families."""
        for name, samples in self._numbers.read().items():
            own = own_metrics.BY_NAME[name]
            names = sorted(own.labels)
            family = GaugeMetricFamily(name, own.meaning, labels=names)
            for labels, value in samples.items():
                given = dict(labels)
                family.add_metric([given.get(label, "") for label in names], value)
            yield family


class WithNumbers(MetricExporter):
    """An exporter that also gets the numbers; for OTLP, or another one in tests."""

    def __init__(self, numbers: Numbers, inner: MetricExporter | None = None) -> None:
        self._inner = inner or _otlp()
        super().__init__(
            preferred_temporality=self._inner._preferred_temporality,
            preferred_aggregation=self._inner._preferred_aggregation,
        )
        self._numbers = numbers

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """See the base class."""
        first, *others = metrics_data.resource_metrics
        mine = ScopeMetrics(SCOPE, _metrics(self._numbers), "")
        extended = replace(first, scope_metrics=[*first.scope_metrics, mine])
        return self._inner.export(MetricsData([extended, *others]), timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """See the base class."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """See the base class."""
        self._inner.shutdown(timeout_millis, **kwargs)


def _otlp() -> MetricExporter:
    with extras.needed("otel", "sending metrics by OTLP"):
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    return OTLPMetricExporter()


def _metrics(numbers: Numbers) -> list[Metric]:
    now = time.time_ns()
    return [
        Metric(
            name,
            own_metrics.BY_NAME[name].meaning,
            "",
            Gauge([NumberDataPoint(dict(labels), None, now, value) for labels, value in samples.items()]),  # type: ignore[arg-type]
        )
        for name, samples in numbers.read().items()
    ]
