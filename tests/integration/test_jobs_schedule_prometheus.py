"""A real Prometheus scrapes ``sloctl schedule``, and its rules say when a job is late."""

from __future__ import annotations

import json
import signal
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from sloctl import spec
from tests.support.command_line import sloctl
from tests.support.faulty_server import FaultyServer
from tests.support.prometheus_fixture import MISSING, running_prometheus
from tests.support.scheduled import eventually, scheduled, slo_file
from tests.support.simulated import Flow, Simulated, serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
CONFIG = """\
global: {{evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: sloctl
    honor_labels: true
    scrape_interval: 1s
    static_configs: [{{targets: ["{target}"]}}]
"""
JOB = '{slo_set="shop",sloctl_job="burn_rate"}'


def asked(url: str, query: str) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"{url}/api/v1/query?query={urllib.parse.quote(query)}") as answer:
        found: list[dict[str, object]] = json.load(answer)["data"]["result"]
    return found


def test_the_alert_on_late_jobs_works_from_end_to_end(tmp_path: Path) -> None:
    path = slo_file(tmp_path, "http://127.0.0.1:1", "name: burn_rate, every: 1m")
    slo_set = spec.load([path])
    start = time.time() - 40 * 86400
    flow = Flow(slo_set.slos[0].id, "shop", "checkout", start, start + 10**9, total=600, bad=0.3)
    with FaultyServer(serve(Simulated(slo_set, [flow]))) as server:
        slo_file(tmp_path, server.url, "name: burn_rate, every: 1m")
        path.write_text(path.read_text() + "guardrails: [{preset: jobs}]\n")
        generated = sloctl(
            "generate", "-f", "slo.yaml", "-o", "out", "--only", "rules", "--format", "prometheus", folder=tmp_path
        )  # fmt: skip
        assert generated.code == 0
        (file,) = (tmp_path / "out" / "alert_rules").glob("*mesh-health*.yaml")
        # The rules as they are, but for their pace: seconds in place of minutes.
        text = file.read_text().replace("interval: 1m", "interval: 1s")
        true = tmp_path / "true.yaml"
        true.write_text(text.replace("alert: JobNotRun", "alert: AsItIs"))
        quick = tmp_path / "quick.yaml"
        for old, new in (
            ("vector(60)", "vector(2)"), ("+ 300", "+ 4"), ("[5m] offset 6m", "[5s] offset 6s"), ("[6m]", "[6s]"),
            ("shop:mesh-jobs", "quick"), ("sloctl_job:", "quick:"),
        ):  # fmt: skip
            assert old in text
            text = text.replace(old, new)
        quick.write_text(text)
        with scheduled(tmp_path, "--ledger", "none") as process:
            config = CONFIG.format(rules=f"{true}, {quick}", target=process.url.removeprefix("http://"))
            (tmp_path / "prometheus").mkdir()
            with running_prometheus(
                tmp_path / "prometheus", "# TYPE x gauge\nx 1 1700000000\n# EOF\n", config=config
            ) as url:
                age = 'quick:age:seconds{slo_set="shop",sloctl_job="burn_rate"}'
                eventually(lambda: asked(url, age))
                (ratio,) = asked(url, "sloctl_sli_ratio")
                labels = ratio["metric"]
                assert isinstance(labels, dict)
                assert labels["namespace"] == "shop" and labels["service"] == "checkout"
                # A job that last succeeded too long ago, of a scheduler that lives: its next run is up to a minute off.
                eventually(
                    lambda: asked(url, f"ALERTS{JOB[:-1]},alertname='JobNotRun',alertstate='firing'}}"), 90
                )
                assert asked(url, "up{job='sloctl'} == 1")
                assert asked(url, "ALERTS{alertname='AsItIs'}") == []
                # The next run ends it.
                eventually(lambda: not asked(url, "ALERTS{alertname='JobNotRun'}"), 90)
                process.process.kill()
                # A scheduler that is gone: nobody says anything any more.
                eventually(lambda: asked(url, "up{job='sloctl'} == 0"))
                eventually(lambda: not asked(url, f"sloctl_job_last_success_timestamp_seconds{JOB}"))
                eventually(
                    lambda: asked(url, f"ALERTS{JOB[:-1]},alertname='JobNotRun',alertstate='firing'}}")
                )
                assert asked(url, "ALERTS{alertname='AsItIs'}") == []


def counted(hours: int) -> str:
    """A service with 60 requests a minute, one of them bad, up to now."""
    now = int(time.time()) // 60 * 60
    target = 'job="istio",instance="a:15090",pod="a"'
    call = (
        f'{target},reporter="source",destination_service_name="checkout",destination_service_namespace="shop",'
        'request_protocol="http"'
    )
    lines = ["# TYPE up gauge"]
    minutes = range(-60 * hours, 1)
    lines += [f"up{{{target}}} 1 {now + 60 * minute}" for minute in minutes]
    lines.append("# TYPE istio_requests counter")
    for code, rate in (("200", 59), ("503", 1)):
        for minute in minutes:
            value = rate * (minute + 60 * hours)
            lines.append(f'istio_requests_total{{{call},response_code="{code}"}} {value} {now + 60 * minute}')
    return "\n".join([*lines, "# EOF\n"])


def test_the_ledger_is_written_and_its_lag_is_known(tmp_path: Path) -> None:
    (tmp_path / "prometheus").mkdir()
    with running_prometheus(tmp_path / "prometheus", counted(3)) as url:
        slo_file(tmp_path, url, "name: slis, every: 5m")
        with scheduled(tmp_path, "--ledger", "ledger.db") as process:
            eventually(lambda: any("buckets recorded" in text for text in process.messages("slis")))
            lag = eventually(lambda: process.value('sloctl_ledger_lag_seconds{slo_set="shop"}'))
            assert 0 < lag < 700
            assert process.value('sloctl_ledger_up{slo_set="shop"}') == 1
            # The next file has a job that reads what was recorded.
            slo_file(tmp_path, url, "name: slis, every: 5m", "name: burn_rate, every: 1m")
            process.process.send_signal(signal.SIGHUP)
            at = 'namespace="shop",service="checkout",slo="availability",slo_set="shop"'
            ratio = eventually(lambda: process.value(f"sloctl_sli_ratio{{{at}}}"))
            assert ratio == pytest.approx(59 / 60, rel=1e-6)
            assert process.end() == 0
    assert [line for line in process.lines if line["level"] == "error"] == []
