"""``sloctl schedule`` as a process: signals, a second one beside it, a Prometheus that comes and goes, telemetry."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sloctl import spec
from tests.support.command_line import sloctl
from tests.support.faulty_server import Behaviour, FaultyServer, Handler, refused_url
from tests.support.scheduled import Collector, attributes, eventually, scheduled, slo_file
from tests.support.simulated import Flow, Simulated, serve

pytestmark = pytest.mark.slow
LABELS = 'slo_set="shop",sloctl_job="burn_rate"'


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[FaultyServer]:
    path = slo_file(tmp_path, "http://127.0.0.1:1", "name: burn_rate, every: 1m")
    slo_set = spec.load([path])
    start = time.time() - 40 * 86400
    flow = Flow(slo_set.slos[0].id, "shop", "checkout", start, start + 10**9, total=600, bad=0.3)
    with FaultyServer(serve(Simulated(slo_set, [flow]))) as server:
        slo_file(tmp_path, server.url, "name: burn_rate, every: 1m")
        yield server


def test_what_a_job_computed_is_there_as_metrics_and_sigterm_ends_all(
    tmp_path: Path, prometheus: FaultyServer
) -> None:
    with scheduled(tmp_path, "--ledger", "ledger.db") as process:
        eventually(lambda: process.value(f"sloctl_job_last_success_timestamp_seconds{{{LABELS}}}"))
        at = 'namespace="shop",service="checkout",slo="availability",slo_set="shop"'
        assert process.value(f"sloctl_sli_ratio{{{at}}}") == pytest.approx(0.9995)
        assert process.value(f"sloctl_error_budget_remaining_ratio{{{at}}}") == pytest.approx(0.5, abs=1e-6)
        assert process.value(f'sloctl_burn_rate{{{at},window="1h"}}') == pytest.approx(0.5)
        assert process.value(f'sloctl_job_runs_total{{outcome="succeeded",{LABELS}}}') == 1
        status, body = process.get("/readyz")
        assert status == 200 and '"status": "ready"' in body
        assert process.get("/healthz") == (200, "ok\n")
        assert process.get("/nothing")[0] == 404
        assert process.end() == 0
    assert process.noise == []
    assert [line for line in process.lines if line["level"] not in ("info", "warning")] == []
    done = next(line for line in process.lines if "succeeded in" in line["message"])
    assert re.fullmatch("[0-9a-f]{32}", done["trace_id"]) and done["run"] and done["slo_set"] == "shop"


def test_the_next_process_knows_what_the_last_one_did(tmp_path: Path, prometheus: FaultyServer) -> None:
    with scheduled(tmp_path, "--ledger", "ledger.db") as process:
        first = eventually(lambda: process.value(f"sloctl_job_last_success_timestamp_seconds{{{LABELS}}}"))
        assert process.end() == 0
    slo_file(tmp_path, refused_url(), "name: burn_rate, cron: '0 0 1 1 *'")
    began = time.time()
    with scheduled(tmp_path, "--ledger", "ledger.db") as process:
        # It listens before it has asked the ledger; the job itself runs once a year.
        eventually(lambda: process.get("/readyz")[0] == 200)
        known = process.value(f"sloctl_job_last_success_timestamp_seconds{{{LABELS}}}")
        assert known is not None
        # The first process may have run the job once more before it ended.
        assert first - 0.001 <= known < began
        assert process.end() == 0


def held_back(free: threading.Event, reached: threading.Event, then: Behaviour) -> Behaviour:
    def behave(handler: Handler) -> None:
        reached.set()
        free.wait(60)
        then(handler)

    return behave


@pytest.mark.parametrize("drain", ["20", "0.2"])
def test_sigterm_in_the_middle_of_a_run(tmp_path: Path, drain: str) -> None:
    path = slo_file(tmp_path, "http://127.0.0.1:1", "name: burn_rate, every: 1m")
    free, reached = threading.Event(), threading.Event()
    behave = serve(Simulated(spec.load([path])))
    with FaultyServer(held_back(free, reached, behave)) as server:
        slo_file(tmp_path, server.url, "name: burn_rate, every: 1m")
        with scheduled(tmp_path, "--ledger", "ledger.db", "--drain", drain) as process:
            assert reached.wait(40)
            process.process.send_signal(signal.SIGTERM)
            eventually(lambda: process.get("/readyz")[0] == 503 or process.process.poll() is not None)
            if drain == "20":
                free.set()
            began = time.monotonic()
            assert process.process.wait(40) == 0
            assert time.monotonic() - began < 35  # the server holds the run back for longer
            free.set()
    outcome = "succeeded in" if drain == "20" else "failed: "
    assert any(text.startswith(outcome) for text in process.messages("burn_rate"))
    assert process.noise == []
    # No lock is left: another process may run the job at once.
    assert sloctl("run", "burn_rate", "-f", "slo.yaml", folder=tmp_path).code == 3


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    free, reached = threading.Event(), threading.Event()
    with FaultyServer(held_back(free, reached, lambda handler: None)) as server:
        slo_file(tmp_path, server.url, "name: burn_rate, every: 1m")
        with scheduled(tmp_path, "--ledger", "ledger.db", "--drain", "60") as process:
            assert reached.wait(40)
            process.process.send_signal(signal.SIGINT)
            eventually(lambda: any("no further runs" in text for text in process.messages()))
            assert process.end(signal.SIGTERM) == 143
            free.set()


def test_a_prometheus_that_comes_back_is_asked_again(tmp_path: Path, prometheus: FaultyServer) -> None:
    slo_file(tmp_path, refused_url(), "name: burn_rate, every: 1m")
    with scheduled(tmp_path, "--ledger", "ledger.db") as process:
        failed = 'sloctl_job_errors_total{cause="unavailable",' + LABELS + "}"
        eventually(lambda: process.value(failed))
        assert process.get("/readyz")[0] == 200
        assert process.get("/healthz")[0] == 200
        # The file now names one that answers, and the job's next run is at the next minute.
        slo_file(tmp_path, prometheus.url, "name: burn_rate, every: 1m")
        process.process.send_signal(signal.SIGHUP)
        eventually(lambda: "the changed SLO file is used from now on" in process.messages())
        eventually(lambda: process.value(f"sloctl_job_last_success_timestamp_seconds{{{LABELS}}}"), 90)
        eventually(lambda: process.value(f"sloctl_job_last_run_failed{{{LABELS}}}") == 0)
        assert process.end() == 0


def test_a_file_that_is_broken_is_not_used_and_live_pages_say_so(
    tmp_path: Path, prometheus: FaultyServer
) -> None:
    whole = (tmp_path / "slo.yaml").read_text()
    pages = ("--pages", "127.0.0.1:0", "--every", "10s")
    with scheduled(tmp_path, "--ledger", "none", *pages, env={"SLOCTL_SERVE_TOKEN": "readers"}) as process:
        eventually(lambda: process.messages("burn_rate"))
        (said,) = [line for line in process.messages() if line.startswith("live pages are at ")]
        shown = said.split()[-1]

        def asked() -> str:
            request = urllib.request.Request(f"{shown}/", headers={"authorization": "Bearer readers"})
            try:
                return str(urllib.request.urlopen(request, timeout=10).read().decode())
            except urllib.error.HTTPError as error:
                assert error.code == 503
                return ""

        eventually(lambda: "checkout" in asked())
        assert process.get("/")[0] == 404  # metrics have no pages, and pages no metrics
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{shown}/metrics")
        (tmp_path / "slo.yaml").write_text(whole.replace("99.9", "199"))
        process.process.send_signal(signal.SIGHUP)
        eventually(lambda: process.value('sloctl_slo_file_reload_failed{slo_set="shop"}') == 1)
        assert '"burn_rate"' in process.get("/readyz")[1]
        assert "The changed SLO file is not used" in asked()
        (tmp_path / "slo.yaml").write_text(whole + "  - {name: report, cron: '0 9 * * 1'}\n")
        process.process.send_signal(signal.SIGHUP)
        eventually(lambda: process.value('sloctl_slo_file_reload_failed{slo_set="shop"}') == 0)
        assert '"report"' in process.get("/readyz")[1]
        assert "is not used" not in asked()
        assert process.end() == 0
    (broken,) = [line for line in process.lines if line["level"] == "error"]
    assert "slo.yaml:" in broken["message"]


def test_two_of_them_run_each_job_once(tmp_path: Path, prometheus: FaultyServer) -> None:
    slo_file(tmp_path, prometheus.url, "name: burn_rate, every: 1m", "name: report, every: 1m")
    with (
        scheduled(tmp_path, "--ledger", "ledger.db") as one,
        scheduled(tmp_path, "--ledger", "ledger.db") as two,
    ):
        both = (one, two)

        def finished() -> bool:
            return all(
                any(text.startswith(("succeeded", "skipped")) for text in process.messages(job))
                for process in both
                for job in ("burn_rate", "report")
            )

        eventually(finished, 100)
        for job in ("burn_rate", "report"):
            runs = [
                datetime.fromisoformat(line["time"]).astimezone(UTC).timestamp() // 60
                for process in both
                for line in list(process.lines)
                if line.get("sloctl_job") == job and line["message"].startswith("succeeded")
            ]
            # The first run was for an instant before either began.
            assert 1 <= len(runs) <= len(set(runs)) + 1
        assert one.end() == 0
        assert two.end() == 0
    assert one.noise == two.noise == []


def test_spans_and_metrics_reach_a_collector(tmp_path: Path, prometheus: FaultyServer) -> None:
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "team=sre"}
        with scheduled(tmp_path, "--ledger", "none", "--listen", "none", env=env) as process:
            eventually(lambda: any(text.startswith("succeeded") for text in process.messages("burn_rate")))
            assert process.end() == 0
        spans = {span.span_id: span for span in collector.spans()}
        (run,) = [span for span in spans.values() if span.name == "job burn_rate"]
        queries = [span for span in spans.values() if span.name == "query prometheus"]
        posts = [span for span in spans.values() if span.name == "POST"]
        assert len(queries) == len(posts) == len(prometheus.requests)
        for query in queries:
            assert query.parent_span_id == run.span_id
            assert len(attributes(query)["db.query.text"]) <= 200
            assert re.fullmatch("[0-9a-f]{16}", attributes(query)["sloctl.query.digest"])
        for post in posts:
            assert spans[post.parent_span_id].name == "query prometheus"
            told = attributes(post)
            assert told["http.request.method"] == "POST" and told["http.response.status_code"] == 200
            assert told["server.address"] == "127.0.0.1" and told["http.request.resend_count"] == 0
        assert {span.trace_id for span in spans.values()} == {run.trace_id}
        logged = next(line for line in process.lines if line["message"].startswith("succeeded"))
        assert logged["trace_id"] == run.trace_id.hex()
        resource = {
            a.key: a.value.string_value for a in collector.traces[0].resource_spans[0].resource.attributes
        }
        assert resource["service.name"] == "sloctl" and resource["team"] == "sre"
        assert resource["sloctl.slo_set"] == "shop"
        gauges = collector.gauges()
        (point,) = gauges["sloctl_sli_ratio"]
        assert point[1] == pytest.approx(0.9995)
        assert point[0] == {
            "slo_set": "shop", "namespace": "shop", "service": "checkout", "slo": "availability",
        }  # fmt: skip
        assert "sloctl_job_last_success_timestamp_seconds" in gauges


@pytest.mark.parametrize("collector", ["dead", "slow", "none"])
def test_one_run_tells_a_collector_and_does_not_wait_for_one(
    tmp_path: Path, prometheus: FaultyServer, collector: str
) -> None:
    with Collector() as real:
        if collector == "slow":
            real.free.clear()
        url = refused_url() if collector == "dead" else real.url
        secret = "s3cr3t-token"
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url.replace("//", f"//user:{secret}@")}
        began = time.monotonic()
        done = sloctl(
            "run", "burn_rate", "-f", "slo.yaml", folder=tmp_path, env=env if collector != "none" else {}
        )
        took = time.monotonic() - began
        assert done.code == 0
        assert "availability" in done.stdout
        assert secret not in done.stderr
        if collector == "none":
            assert done.stderr == ""
        if collector == "slow":
            assert "telemetry could not be sent" in done.stderr
        assert took < 35  # the slow one answers later
    if collector == "slow":
        return
    with Collector() as working:
        done = sloctl(
            "run", "burn_rate", "-f", "slo.yaml", folder=tmp_path,
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": working.url, "OTEL_TRACES_SAMPLER": "always_off"},
        )  # fmt: skip
        assert done.stderr == "" and done.code == 0
        assert working.spans() == []
        assert working.gauges()["sloctl_burn_rate"]
        disabled = {"OTEL_EXPORTER_OTLP_ENDPOINT": working.url, "OTEL_SDK_DISABLED": "true"}
        count = len(working.metrics)
        assert sloctl("run", "burn_rate", "-f", "slo.yaml", folder=tmp_path, env=disabled).code == 0
        assert len(working.metrics) == count


def test_wrong_usage_is_said_before_anything_begins(tmp_path: Path) -> None:
    slo_file(tmp_path, "http://127.0.0.1:1", "name: slis, every: 5m")
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        port = taken.getsockname()[1]
        done = sloctl("schedule", "-f", "slo.yaml", "--listen", f"127.0.0.1:{port}", folder=tmp_path)
    assert done.code == 2 and f"--listen 127.0.0.1:{port}: Address already in use" in done.stderr
    for listen in ("9464", "x:y", "127.0.0.1:99999"):
        assert sloctl("schedule", "-f", "slo.yaml", "--listen", listen, folder=tmp_path).code == 2
    path = tmp_path / "slo.yaml"
    path.write_text(path.read_text().partition("jobs:")[0])
    done = sloctl("schedule", "-f", "slo.yaml", folder=tmp_path)
    assert done.code == 2 and "schedules no jobs" in done.stderr and "hint" in done.stderr


def test_a_report_is_told_to_a_collector_too(tmp_path: Path, prometheus: FaultyServer) -> None:
    with Collector() as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        done = sloctl("report", "-f", "slo.yaml", "--ledger", "none", folder=tmp_path, env=env)
        assert done.code == 0 and "checkout" in done.stdout
        (report,) = [span for span in collector.spans() if span.name == "report"]
        queries = [span for span in collector.spans() if span.name == "query prometheus"]
        assert len(queries) == len(prometheus.requests)
        assert {span.parent_span_id for span in queries} == {report.span_id}
        assert collector.gauges()["sloctl_error_budget_remaining_ratio"]


def test_a_ledger_that_is_down_stops_what_writes_to_it_only(tmp_path: Path, prometheus: FaultyServer) -> None:
    slo_file(tmp_path, prometheus.url, "name: slis, every: 5m", "name: burn_rate, every: 1m")
    port = refused_url().rpartition(":")[2]
    env = {"SLOCTL_LEDGER_URL": f"postgresql://sloctl:s3cr3t-word@127.0.0.1:{port}/sloctl"}
    with scheduled(tmp_path, env=env) as process:
        eventually(lambda: any(text.startswith("succeeded") for text in process.messages("burn_rate")))
        eventually(lambda: any(text.startswith("failed") for text in process.messages("slis")))
        status, body = process.get("/readyz")
        assert status == 503 and "ledger" in body
        assert process.get("/healthz")[0] == 200
        assert process.value('sloctl_ledger_up{slo_set="shop"}') == 0
        assert "s3cr3t" not in body + str(process.lines) + process.get("/metrics")[1]
        assert process.end() == 0
    assert process.noise == []
