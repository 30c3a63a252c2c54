"""The way out: the numbers of :mod:`sloctl.telemetry.numbers` beside the SDK's own, to Prometheus and to exporters."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import Gauge, Metric, MetricsData, NumberDataPoint, ScopeMetrics
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

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


def extended(data: MetricsData, numbers: Numbers) -> MetricsData:
    """What the SDK exports, and the numbers."""
    first, *others = data.resource_metrics
    mine = ScopeMetrics(SCOPE, _metrics(numbers), "")
    return MetricsData([replace(first, scope_metrics=[*first.scope_metrics, mine]), *others])


def _metrics(numbers: Numbers) -> list[Metric]:
    now = int(numbers.now().timestamp() * 1000) * 1_000_000
    return [
        Metric(
            name,
            own_metrics.BY_NAME[name].meaning,
            "",
            Gauge([NumberDataPoint(dict(labels), None, now, value) for labels, value in samples.items()]),  # type: ignore[arg-type]
        )
        for name, samples in numbers.read().items()
    ]
