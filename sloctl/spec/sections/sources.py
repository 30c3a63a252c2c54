"""The section ``sources``: addresses of the servers, and what is to be known of traces."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from sloctl.model import Sources
from sloctl.spec.fields.shapes import Block, Field, Object, Section
from sloctl.spec.fields.values import Choice, Exact, Reader, Text
from sloctl.spec.sections.common import URL

_SERVER = replace(URL, make=lambda url: url.rstrip("/"))


def _url(fills: str) -> Field:
    doc, example = "The address, without credentials.", "http://prometheus:9090"
    return Field("url", _SERVER, doc, required=True, examples=(example,), fills=fills)


def _address(fills: str) -> Object:
    return Object("address", (_url(fills),), doc="A server.", model=Sources)


_SAMPLING = Exact("a percentage above 0, at most 100", Decimal("0.000001"), Decimal(100), inclusive=True)
TRACES = Object(
    "traces",
    model=Sources,
    doc="The server that holds traces.",
    fields=(
        Field(
            "backend",
            Choice(("zipkin", "jaeger", "tempo", "clickhouse")),
            "Its kind; `clickhouse` has the table of the OpenTelemetry Collector's ClickHouse exporter.",
            required=True,
            fills="traces_backend",
        ),
        _url("traces"),
        Field(
            "ui",
            _SERVER,
            "Where people look at traces, for links; for Tempo the address of Grafana.",
            without="`url`; for Tempo `sources.grafana`, for ClickHouse no links",
            examples=("https://zipkin.example.org",),
            fills="traces_ui",
        ),
        Field(
            "table",
            Text(
                "the name of a table, as table or database.table",
                r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?",
                "as the exporter's `database` and `traces_table_name` say",
                128,
            ),
            "Where ClickHouse has the traces; for `clickhouse` only.",
            without="`otel_traces`, in the user's database",
            examples=("otel.otel_traces",),
            fills="traces_table",
        ),
        Field(
            "attempt_tag",
            Text(
                "the name of a tag", r"[^\s\"'{}]{1,128}", "as the mesh's tracing configuration calls it", 128
            ),
            "The spans' tag with the request header `x-envoy-attempt-count`, if the mesh has a custom tag of it.",
            without="`x-envoy-attempt-count`, `envoy.attempt_count`, `attempt_count`, "
            "`http.request.header.x-envoy-attempt-count` or `http.request.header.x_envoy_attempt_count`, where "
            "there is one",
            examples=("attempt",),
        ),
        Field(
            "sampling",
            _SAMPLING,
            "The percentage of requests that are traced (head sampling).",
            without="not known",
            examples=(1,),
        ),
    ),
)
PROMETHEUS = Object(
    "prometheus",
    model=Sources,
    doc="The server that holds metrics.",
    fields=(
        _url("prometheus"),
        Field(
            "engine",
            Choice(("prometheus", "victoriametrics", "remote")),
            "What evaluates the rules: Prometheus, or another ruler that sees what it records at once, as Mimir's; "
            "VictoriaMetrics with vmalert; or any ruler that writes what it records to a remote server, such as a "
            "stateless Thanos Ruler. The latter two get rules that do not read what was recorded at the same instant.",
            without="prometheus",
            examples=("victoriametrics",),
            fills="engine",
        ),
    ),
)
SOURCES = Section(
    "sources",
    model=Sources,
    doc="Addresses of the servers. Credentials come from the environment, never from the file.",
    fields=(
        Field("prometheus", PROMETHEUS, "Where metrics are."),
        Field("traces", TRACES, "Where traces are."),
        Field("alertmanager", _address("alertmanager"), "Where alerts are routed and silenced."),
        Field("grafana", _address("grafana"), "Where dashboards are shown."),
        Field(
            "runbooks",
            _address("runbooks"),
            "Where the pages are kept that `sloctl runbooks -o DIR` writes: alerts and dashboards link there.",
            without="no links; alerts say which command prints their page",
        ),
        Field(
            "pages",
            _address("pages"),
            "Where people reach the live pages (`sloctl serve`): alerts link to what explains them.",
            without="no links",
        ),
    ),
)


@SOURCES.rule
def _only_clickhouse_has_tables(block: Block, reader: Reader) -> None:
    traces: Block | None = block.get("traces")
    if traces is None or not traces.has("table") or traces.get("backend") in (None, "clickhouse"):
        return
    message = f"'table' goes with 'backend: clickhouse' only, and the backend is {traces.get('backend')}"
    reader.add(traces.node.keys["table"], traces.child("table"), "source-parameter", message, "remove it")


ADDRESS = _address("alertmanager")
"""What the reference says of each of them."""
