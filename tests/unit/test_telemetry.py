"""Own telemetry: names and labels of /metrics, spans, what is forgotten, what is never said, and the little server."""

from __future__ import annotations

import contextlib
import contextvars
import io
import json
import logging
import re
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as classic

from jobs import retry_amplification
from sloctl import naming
from sloctl.backends.prometheus.client import Prometheus
from sloctl.errors import (
    BackendError,
    BackendLimit,
    BackendRateLimit,
    BackendTimeout,
    BadAnswer,
    InvalidFile,
    QueryRejected,
    UsageError,
)
from sloctl.settings.backends import PrometheusSettings
from sloctl.settings.secret import Secret
from sloctl.settings.telemetry import TelemetrySettings
from sloctl.telemetry import logs, own_metrics, protocol, textfile
from sloctl.telemetry.exporters import extended
from sloctl.telemetry.numbers import Numbers
from sloctl.telemetry.observer import Telemetry, trace_ids
from sloctl.telemetry.own_metrics import Gauge
from sloctl.telemetry.protocol import NOTHING, cause, here
from sloctl.telemetry.web import Pages, Web, health, parse, readiness
from tests.support.faulty_server import FaultyServer, answer, status, vector

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def telemetry(clock: Clock, spans: InMemorySpanExporter) -> Iterator[Telemetry]:
    with Telemetry("shop", TelemetrySettings(), now=clock, endpoint=True, span_exporter=spans) as found:
        yield found


def labels_of(own: own_metrics.Own) -> dict[str, str]:
    return {label: f'a "{label}"\n\\' for label in own.labels}


def fill(telemetry: Telemetry) -> None:
    for own in own_metrics.EVERY:
        if own.kind == "counter":
            telemetry.count(own.name, **labels_of(own))
        elif own.kind == "histogram":
            telemetry.time(own.name, 0.2, **labels_of(own))
        elif own.name == own_metrics.LEDGER_LAG:
            telemetry.age(own.name, NOW, **labels_of(own))
        elif own.name not in (own_metrics.BUILD, own_metrics.SERIES_DROPPED):
            telemetry.gauge(own.name, 1.5, **labels_of(own))


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=1.0.0", "text/plain", ""])
def test_names_kinds_and_labels_are_those_that_are_documented(telemetry: Telemetry, accept: str) -> None:
    fill(telemetry)
    body, content_type = telemetry.render(accept)
    assert content_type.startswith(accept.partition(";")[0] or "text/plain")
    read = openmetrics if accept.startswith("application") else classic
    families = {family.name: family for family in read(body.decode())}
    for own in own_metrics.EVERY:
        family = families[own.name.removesuffix("_total")]
        assert family.type == own.kind
        assert family.documentation == own.meaning
        names = {sample.name for sample in family.samples}
        if own.kind == "histogram":
            assert {f"{own.name}_bucket", f"{own.name}_sum", f"{own.name}_count"} <= names
        else:
            assert own.name in names
        for sample in family.samples:
            if own.name not in (own_metrics.BUILD, own_metrics.SERIES_DROPPED):
                found = {name: value for name, value in sample.labels.items() if name != "le"}
                assert found == labels_of(own)
    ours = {name for name in families if name.startswith("sloctl")}
    assert ours == {own.name.removesuffix("_total") for own in own_metrics.EVERY}
    assert "otel_scope" not in body.decode()


def test_the_same_names_are_in_textfiles() -> None:
    assert {*textfile.METRICS, *retry_amplification.GAUGES} <= set(own_metrics.BY_NAME)
    reserved = {*own_metrics.EVERY[0].labels}
    assert reserved == {naming.SLO_SET, naming.JOB}


def test_the_page_has_the_same_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(sloctl_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    assert rows == [
        (own.name, own.kind, ", ".join(f"`{label}`" for label in own.labels) or "–", own.meaning.rstrip("."))
        for own in own_metrics.EVERY
    ]


def shown(telemetry: Telemetry, name: str) -> dict[str, float]:
    families = classic(telemetry.render("")[0].decode())
    return {
        sample.labels.get(naming.SERVICE, ""): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def sli(service: str, value: float) -> Gauge:
    return Gauge(own_metrics.SLI, {naming.SERVICE: service}, value)


def test_a_service_that_is_gone_is_gone_and_what_is_too_old_too(telemetry: Telemetry, clock: Clock) -> None:
    later = NOW + timedelta(minutes=15)
    telemetry.publish("report", [sli("a", 0.5), sli("b", 0.6), sli("c", float("nan"))], later)
    assert shown(telemetry, own_metrics.SLI) == {"a": 0.5, "b": 0.6}
    telemetry.publish("report", [sli("b", 0.7)], later)
    assert shown(telemetry, own_metrics.SLI) == {"b": 0.7}
    telemetry.publish("burn_rate", [sli("b", 0.8), sli("d", 0.9)], later + timedelta(hours=1))
    assert shown(telemetry, own_metrics.SLI) == {"b": 0.8, "d": 0.9}
    telemetry.publish("report", [sli("b", 0.75)], later)
    assert shown(telemetry, own_metrics.SLI) == {"b": 0.75, "d": 0.9}
    clock.now = later
    assert shown(telemetry, own_metrics.SLI) == {"b": 0.8, "d": 0.9}
    clock.now = later + timedelta(hours=1)
    assert shown(telemetry, own_metrics.SLI) == {}


def test_an_age_grows_until_it_is_not_known(telemetry: Telemetry, clock: Clock) -> None:
    telemetry.age(own_metrics.LEDGER_LAG, NOW - timedelta(seconds=90))
    assert shown(telemetry, own_metrics.LEDGER_LAG) == {"": 90}
    clock.now += timedelta(seconds=10)
    assert shown(telemetry, own_metrics.LEDGER_LAG) == {"": 100}
    telemetry.age(own_metrics.LEDGER_LAG, None)
    assert shown(telemetry, own_metrics.LEDGER_LAG) == {}


def test_there_is_a_most_of_series() -> None:
    numbers = Numbers(lambda: NOW, limit=10)
    numbers.publish("report", [sli(f"s{n:03}", n) for n in range(25)], NOW + timedelta(hours=1))
    found = numbers.read()
    assert len(found[own_metrics.SLI]) == 10
    assert found[own_metrics.SERIES_DROPPED] == {(): 15.0}


def test_ten_thousand_services_that_come_and_go_leave_nothing(telemetry: Telemetry) -> None:
    for round_ in range(20):
        found = [sli(f"service-{round_}-{n}", 1) for n in range(500)]
        telemetry.publish("report", found, NOW + timedelta(hours=1))
        assert len(shown(telemetry, own_metrics.SLI)) == 500


class Kept(MetricExporter):
    def __init__(self, numbers: Numbers) -> None:
        super().__init__(preferred_temporality=None, preferred_aggregation=None)
        self.numbers = numbers
        self.data: list[MetricsData] = []

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 0, **kwargs: object
    ) -> MetricExportResult:
        self.data.append(extended(metrics_data, self.numbers))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 0, **kwargs: object) -> None:
        pass


def test_all_of_it_is_exported_at_the_end(clock: Clock) -> None:
    made: list[Kept] = []

    def exporter(numbers: Numbers) -> Kept:
        made.append(Kept(numbers))
        return made[0]

    with Telemetry("shop", TelemetrySettings(), now=clock, metric_exporter=exporter) as telemetry:
        fill(telemetry)
        telemetry.publish("report", [sli("a", 0.5)], NOW + timedelta(hours=1))
    names = {
        metric.name
        for data in made[0].data
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert names == set(own_metrics.BY_NAME)
    resource = made[0].data[-1].resource_metrics[0].resource.attributes
    assert resource["service.name"] == "sloctl" and resource["sloctl.slo_set"] == "shop"


def test_spans_nest_over_threads_and_say_why_they_failed(
    telemetry: Telemetry, spans: InMemorySpanExporter
) -> None:
    def inner() -> tuple[str, str]:
        with telemetry.span("inner", {"n": 1}, client=True) as span:
            span.set("more", True)
            return trace_ids()

    with telemetry.span("outer"), ThreadPoolExecutor(1) as pool:
        ids = pool.submit(here(inner)).result()
        assert ids[0] == trace_ids()[0] != ""
    assert trace_ids() == ("", "")
    with pytest.raises(BackendTimeout), telemetry.span("fails"):
        raise BackendTimeout("too slow", backend="prometheus", url="x")
    with pytest.raises(KeyError), telemetry.span("breaks"):
        raise KeyError("secret-in-a-bug")
    inner_, outer, fails, breaks = spans.get_finished_spans()
    assert inner_.parent is not None and outer.context is not None
    assert inner_.parent.span_id == outer.context.span_id
    assert inner_.kind is SpanKind.CLIENT and dict(inner_.attributes or {}) == {"n": 1, "more": True}
    assert fails.status.status_code is StatusCode.ERROR and fails.status.description == "too slow"
    assert (fails.attributes or {})["error.type"] == "timeout"
    assert breaks.status.description == "internal"
    assert "secret-in-a-bug" not in breaks.to_json()


def test_queries_and_their_attempts_are_told_without_any_secret(
    telemetry: Telemetry, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "s3cr3t-token"
    with (
        caplog.at_level(logging.DEBUG),
        FaultyServer(status(503, f"no: {secret}"), answer(vector(1)), status(403, secret)) as server,
    ):
        settings = PrometheusSettings(
            server.url, token=Secret(secret), headers={"X-Scope-OrgID": Secret("tenant-42-secret")}, retries=1
        )
        with Prometheus(settings, sleep=lambda seconds: None, observer=telemetry) as prometheus:
            with telemetry.span("job report"):
                prometheus.query_many({"a": f"up{'x' * 300}"}, NOW)
            with pytest.raises(BackendError):
                prometheus.query("up", NOW)
    found = spans.get_finished_spans()
    text = "".join(span.to_json() for span in found) + telemetry.render("")[0].decode() + caplog.text
    assert secret not in text and "tenant-42" not in text
    first, second, query, job, *_ = found
    assert [span.name for span in found] == [
        "POST",
        "POST",
        "query prometheus",
        "job report",
        "POST",
        "query prometheus",
    ]
    told = [dict(span.attributes or {}) for span in (first, second, query)]
    assert told[0]["http.response.status_code"] == 503 and told[0]["error.type"] == "503"
    assert told[1]["http.request.resend_count"] == 1 and "error.type" not in told[1]
    assert told[2]["db.query.text"] == f"up{'x' * 198}" and told[2]["url.path"] == "/api/v1/query"
    assert query.parent is not None and job.context is not None
    assert query.parent.span_id == job.context.span_id
    assert (found[-1].attributes or {})["error.type"] == "refused"
    body = telemetry.render("")[0].decode()
    assert 'sloctl_queries_total{backend="prometheus",outcome="ok"} 1.0' in body
    assert 'sloctl_queries_total{backend="prometheus",outcome="refused"} 1.0' in body
    assert 'sloctl_query_duration_seconds_count{backend="prometheus"} 2.0' in body


def test_errors_are_counted_by_few_words() -> None:
    places = {"backend": "prometheus", "url": "x"}
    assert cause(BackendTimeout("", **places)) == "timeout"
    assert cause(BackendLimit("", **places)) == "limit"
    assert cause(BackendRateLimit("", **places)) == "rate_limit"
    assert cause(BadAnswer("", **places)) == "bad_answer"
    assert cause(QueryRejected("", **places)) == "query_rejected"
    assert cause(BackendError("", **places)) == "error"
    assert cause(UsageError("")) == cause(InvalidFile([])) == "usage"
    assert cause(ValueError("")) == "internal"


def test_nobody_listens_by_default() -> None:
    with NOTHING.span("a", {"b": 1}) as span:
        span.set("c", 1)
        span.fail("d")
    NOTHING.count("x")
    NOTHING.time("x", 1)
    NOTHING.gauge("x", 1)
    NOTHING.age("x", None)
    NOTHING.publish("x", [], NOW)


@pytest.mark.parametrize(
    ("variables", "traces", "metrics", "disabled"),
    [
        ({}, False, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, True, True, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c"}, True, False, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c"}, False, True, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_METRICS_EXPORTER": "none"}, True, False, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"}, False, False, True),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False, False, False),
    ],
)
def test_opentelemetrys_variables_say_what_is_exported(
    variables: dict[str, str], traces: bool, metrics: bool, disabled: bool
) -> None:
    assert TelemetrySettings.load(variables) == TelemetrySettings(traces, metrics, disabled)


def test_another_protocol_is_warned_of() -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    (warning,) = TelemetrySettings.load(env).warnings
    assert "http/protobuf" in warning


# --- log lines


def log(form: logs.Form, call: object) -> str:
    stream = io.StringIO()
    before = logging.getLogger().level
    handler = logs.configure(stream, form)
    try:
        assert callable(call)
        contextvars.copy_context().run(call)
    finally:
        logs.remove(handler)
        logging.getLogger().setLevel(before)
        for name in ("sloctl", "jobs", "apscheduler"):
            logging.getLogger(name).setLevel(logging.NOTSET)
        logging.raiseExceptions = True
    return stream.getvalue()


def test_log_lines_are_whole_whatever_they_say(telemetry: Telemetry) -> None:
    nasty = "a\nb\x1b[31m \x9b red http://user:hunter2@host/ \u2028 é"

    def say() -> None:
        protocol.LOG_FIELDS.set({naming.JOB: "slis", "run": "1"})
        with telemetry.span("job"):
            logging.getLogger("jobs.x").info("%s", nasty)
            logging.getLogger("urllib3").info("chatter")
            try:
                raise ValueError("http://u:hunter2@h") from OSError("http://u:hunter3@h")
            except ValueError as error:
                logging.getLogger("sloctl.y").error("bad", exc_info=error)

    first, second = (json.loads(line) for line in log("json", say).splitlines())
    assert first["message"] == nasty.replace("user:hunter2", "***")
    assert first["sloctl_job"] == "slis" and first["run"] == "1" and first["level"] == "info"
    assert len(first["trace_id"]) == 32 and len(first["span_id"]) == 16
    assert "ValueError: http://***@h" in second["traceback"] and "hunter" not in json.dumps(second)
    line, *trace = log("text", say).splitlines()
    assert "slis: a\ufffdb\ufffd[31m" in line and "trace " in line and "hunter2" not in line
    assert "\x1b" not in line and "\x9b" not in line
    assert trace[0].endswith("]") and "ValueError" in trace[-1]


# --- the server


def ask(web: Web, text: bytes) -> bytes:
    host, _, port = web.address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
        connection.sendall(text)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


PAGES = {
    "/healthz": health(lambda: True),
    "/dead": health(lambda: False),
    "/readyz": readiness(lambda: ["the ledger is down"], lambda: {"slo_set": "shop"}),
    "/metrics": lambda accept: (200, f"accepts {accept}".encode(), "text/plain"),
}


def test_the_server_answers_what_there_is_and_nothing_else() -> None:
    def broken(accept: str) -> tuple[int, bytes, str]:
        raise RuntimeError("secret")

    with Web("127.0.0.1:0", Pages({**PAGES, "/broken": broken})) as web:
        assert ask(web, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert b" 503 " in ask(web, b"GET /dead HTTP/1.0\r\n\r\n")
        ready = ask(web, b"GET /readyz?verbose=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b" 503 " in ready
        assert json.loads(ready.partition(b"\r\n\r\n")[2]) == {
            "status": "not ready", "problems": ["the ledger is down"], "slo_set": "shop",
        }  # fmt: skip
        assert b"accepts text/x" in ask(web, b"GET /metrics HTTP/1.0\r\nAccept: text/x\r\n\r\n")
        head = ask(web, b"HEAD /metrics HTTP/1.0\r\n\r\n")
        assert b" 200 " in head and head.endswith(b"\r\n\r\n")
        assert b" 404 " in ask(web, b"GET /etc/passwd HTTP/1.0\r\n\r\n")
        for method in (b"POST", b"DELETE", b"BREW"):
            refused = ask(web, method + b" /metrics HTTP/1.0\r\n\r\n")
            assert b" 405 " in refused and b"allow: GET, HEAD" in refused
        failed = ask(web, b"GET /broken HTTP/1.0\r\n\r\n")
        assert b" 500 " in failed and b"secret" not in failed and b"Traceback" not in failed
        assert b" 400 " in ask(web, b"nonsense\r\n\r\n")
        assert b" 431 " in ask(web, b"GET /" + b"x" * 70000 + b" HTTP/1.0\r\n\r\n")


SLOW: Mapping[str, tuple[bytes, bytes]] = {
    "says nothing": (b"", b""),
    "drips a header": (b"GET /healthz HTTP/1.1\r\n", b"X-A: 1\r\n"),
    "drips a body": (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "reads nothing": (b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}


@pytest.mark.slow
def test_probes_are_answered_under_300_slow_clients_and_those_are_hung_up_on() -> None:
    before = threading.active_count()
    large = b"x" * 2**23
    pages = {**PAGES, "/large": lambda _accept: (200, large, "text/plain")}
    with Web("127.0.0.1:0", Pages(pages), seconds=1) as web, contextlib.ExitStack() as stack:
        host, _, port = web.address.rpartition(":")
        held: list[tuple[socket.socket, bytes]] = []
        for number in range(300):
            first, more = list(SLOW.values())[number % len(SLOW)]
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(first)
            held.append((connection, more))
        stop = threading.Event()

        def drip() -> None:
            while not stop.wait(0.1):
                for connection, more in held:
                    with contextlib.suppress(OSError):
                        connection.send(more)

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            for _ in range(40):
                assert b" 200 " in ask(web, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            for connection, _ in held:
                connection.settimeout(60)
                with contextlib.suppress(ConnectionError):
                    while connection.recv(2**20):
                        pass
        finally:
            stop.set()
            dripping.join()
    assert threading.active_count() == before


def test_addresses_to_listen_on() -> None:
    assert parse("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert parse(":9464") == ("0.0.0.0", 9464)
    assert parse("[::1]:80") == ("::1", 80)
    for bad in ("9464", "host", "host:port", "h:65536", "h:-1"):
        with pytest.raises(UsageError):
            parse(bad)
    with (
        Web("[::1]:0", Pages(PAGES)) as web,
        urllib.request.urlopen(f"http://{web.address}/healthz") as found,
    ):
        assert found.status == 200
    with Web("127.0.0.1:0", Pages(PAGES)) as web, pytest.raises(UsageError, match="in use"):
        Web(web.address, Pages(PAGES))
