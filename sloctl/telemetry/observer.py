"""The observer behind OpenTelemetry's SDK: spans, counters and histograms, and where they go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.metrics import Counter, Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode

from sloctl import __version__, extras
from sloctl.errors import SloctlError
from sloctl.settings.telemetry import TelemetrySettings
from sloctl.telemetry import own_metrics
from sloctl.telemetry.exporters import Endpoint
from sloctl.telemetry.numbers import Numbers
from sloctl.telemetry.protocol import Attribute, Attributes, Number, Span, cause

LOG = logging.getLogger(__name__)
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Seconds: the bounds of all histograms."""


class Telemetry:
    """A ``sloctl.telemetry.protocol.Observer``; a context manager that sends what is left at its end.

    ``endpoint``: whether there is to be a ``/metrics``. ``now`` is the time (aware). The exporters are for tests.
    """

    def __init__(
        self,
        slo_set: str,
        settings: TelemetrySettings,
        *,
        now: Callable[[], datetime],
        endpoint: bool = False,
        span_exporter: SpanExporter | None = None,
        metric_exporter: Callable[[Numbers], MetricExporter] | None = None,
        patience: float = 3.0,
    ) -> None:
        self._patience = patience
        self.numbers = Numbers(now)
        self._endpoint = Endpoint(self.numbers) if endpoint else None
        resource = _resource(slo_set)
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        if span_exporter is not None:
            self._tracers.add_span_processor(SimpleSpanProcessor(span_exporter))
        elif settings.traces:
            with extras.needed("otel", "sending spans by OTLP"):
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            self._tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        readers: list[MetricReader] = [self._endpoint.reader] if self._endpoint else []
        if metric_exporter is None and settings.metrics:
            with extras.needed("otel", "sending metrics by OTLP"):
                from sloctl.telemetry.otlp import OtlpMetrics

            metric_exporter = OtlpMetrics
        if metric_exporter is not None:
            readers.append(PeriodicExportingMetricReader(metric_exporter(self.numbers)))
        self._meters = MeterProvider(readers, resource, shutdown_on_exit=False)
        self._tracer = self._tracers.get_tracer("sloctl", __version__)
        meter = self._meters.get_meter("sloctl", __version__)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for own in own_metrics.EVERY:
            if own.kind == "counter":
                self._counters[own.name] = meter.create_counter(own.name, "", own.meaning)
            elif own.kind == "histogram":
                self._histograms[own.name] = meter.create_histogram(
                    own.name, "s", own.meaning, explicit_bucket_boundaries_advisory=BOUNDS
                )
        # Also what makes the SDK export at all before anything is counted.
        meter.create_up_down_counter(
            own_metrics.BUILD, "", own_metrics.BY_NAME[own_metrics.BUILD].meaning
        ).add(1, {"version": __version__})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> bool:
        """Send what is left, for a few seconds at most; whether that was done. May be called twice."""

        def end() -> None:
            self._tracers.shutdown()
            self._meters.shutdown(timeout_millis=self._patience * 1000)

        # Exporters wait for a collector that is not there as long as their own time-outs say.
        ending = threading.Thread(target=end, name="sloctl-telemetry-end", daemon=True)
        ending.start()
        ending.join(self._patience)
        if ending.is_alive():
            LOG.warning("the collector did not take all telemetry within %g s", self._patience)
        return not ending.is_alive()

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body of ``/metrics`` and its content type."""
        if self._endpoint is None:
            raise ValueError("there is no endpoint")
        return self._endpoint.render(accept)

    @contextmanager
    def span(
        self, name: str, attributes: Attributes | None = None, *, client: bool = False
    ) -> Iterator[Span]:
        """See :class:`sloctl.telemetry.protocol.Observer`."""
        kind = SpanKind.CLIENT if client else SpanKind.INTERNAL
        # The SDK's own record of an exception has the texts of what caused it, which may repeat credentials.
        with self._tracer.start_as_current_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            made = _Span(span)
            try:
                yield made
            except BaseException as error:
                if not made.failed:
                    made.fail(cause(error), str(error) if isinstance(error, SloctlError) else "")
                raise

    def count(self, name: str, **labels: str) -> None:
        """See :class:`sloctl.telemetry.protocol.Observer`."""
        self._counters[name].add(1, labels)

    def time(self, name: str, seconds: float, **labels: str) -> None:
        """See :class:`sloctl.telemetry.protocol.Observer`."""
        self._histograms[name].record(seconds, labels)

    def gauge(self, name: str, value: float | None, **labels: str) -> None:
        """See :class:`sloctl.telemetry.protocol.Observer`."""
        self.numbers.set(name, labels, value)

    def age(self, name: str, since: datetime | None, **labels: str) -> None:
        """See :class:`sloctl.telemetry.protocol.Observer`."""
        self.numbers.age(name, labels, since)

    def publish(self, owner: str, numbers: Iterable[Number], until: datetime) -> None:
        """See :class:`sloctl.telemetry.protocol.Observer`."""
        self.numbers.publish(owner, numbers, until)


class _Span:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.failed = False

    def set(self, name: str, value: Attribute) -> None:
        """See :class:`sloctl.telemetry.protocol.Span`."""
        self._span.set_attribute(name, value)

    def fail(self, kind: str, message: str = "") -> None:
        """See :class:`sloctl.telemetry.protocol.Span`."""
        self.failed = True
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR, message or kind))


def _resource(slo_set: str) -> Resource:
    given = Resource.create()
    own: Mapping[str, str] = {"service.version": __version__, "sloctl.slo_set": slo_set}
    if str(given.attributes.get("service.name", "")).startswith("unknown_service"):
        own = {"service.name": "sloctl", **own}
    return given.merge(Resource(own))


def trace_ids() -> tuple[str, str]:
    """Ids of trace and span of what runs here, in hexadecimal; empty outside of any."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return "", ""
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)
