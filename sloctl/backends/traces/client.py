"""Which reader belongs to which trace backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sloctl.backends.spans import attempt_tags
from sloctl.backends.traces.clickhouse import ClickHouse
from sloctl.backends.traces.jaeger import Jaeger
from sloctl.backends.traces.reader import TraceClient
from sloctl.backends.traces.tempo import Tempo
from sloctl.backends.traces.zipkin import Zipkin
from sloctl.errors import UsageError
from sloctl.settings.backends import TracesSettings

READERS: Mapping[str, type[TraceClient]] = {
    "zipkin": Zipkin,
    "jaeger": Jaeger,
    "tempo": Tempo,
    "clickhouse": ClickHouse,
}
"""By the kinds that ``sources.traces.backend`` may have."""


def open_traces(
    settings: TracesSettings,
    backend: str,
    *,
    attempt_tag: str = "",
    ui: str = "",
    grafana: str = "",
    table: str = "",
    **options: Any,
) -> TraceClient:
    """The trace source of a kind (``zipkin``, ``jaeger``, …), to be closed, or used as a context manager.

    ``attempt_tag`` is the tag that carries x-envoy-attempt-count here; well-known ones are looked at after it. ``ui``
    is where people look at traces: by default the backend itself, for Tempo ``grafana``, for ClickHouse nowhere;
    ``table`` is where ClickHouse has them. ``options`` are those of ``TraceClient``. Sends nothing. Raises
    ``UsageError`` for another kind.
    """
    if backend not in READERS:
        raise UsageError(f"{backend!r} is no trace backend", hint=f"known are {', '.join(READERS)}")
    pages = ui or {"tempo": grafana, "clickhouse": ""}.get(backend, settings.url)
    if backend == "clickhouse":
        options["table"] = table
    return READERS[backend](settings, attempt_tags=attempt_tags(attempt_tag), ui=pages, **options)
