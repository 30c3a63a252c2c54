"""Rules and queries on engines besides the Prometheus on PATH; see docs/engines.md for what was found on which."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import monotonic, sleep
from typing import Any, get_args

import numpy as np
import pytest

from alert_rules import manifest
from jobs import preflight
from jobs.recording import record
from jobs.reports import slo_report
from sloctl import promql, spec
from sloctl.artefacts.openmetrics import SampledSeries
from sloctl.backends.answers import doubts
from sloctl.backends.prometheus.client import Prometheus
from sloctl.demo.remote_write import write_block
from sloctl.demo.server import PrometheusServer
from sloctl.errors import PartialAnswer
from sloctl.guardrails.shared.samples import histograms
from sloctl.ledger.store import open_ledger
from sloctl.model import Histograms, Mesh, SloSet
from sloctl.model.durations import parse_duration
from sloctl.naming import BAD_GRID, BAD_TILE, TOTAL_GRID, TOTAL_TILE
from sloctl.settings.backends import PrometheusSettings
from sloctl.settings.secret import Secret
from tests.support.engines import find_engine, running_thanos, running_victoria_metrics
from tests.support.faulty_server import FaultyServer, status
from tests.support.promtool import Inputs, evaluate, rule_texts, slo
from tests.support.real_meshes import CASES, MINUTES, MeshCase
from tests.support.real_meshes_served import (
    AT,
    NAMES,
    kept,
    ledger_report,
    raw_report,
    reported,
    scraped,
    slo_set,
)
from tests.support.rule_cases import ONLY_3, PROVED, ROOT, generated, is_test, proved, write
from tests.support.yaml_text import read_yaml

__all__ = [
    "kept",
    "ledger_report",
    "raw_report",
    "reported",
    "slo_set",
]  # fixtures, which ask the source below
ALL = os.environ.get("SLOCTL_ENGINES") == "all"
"""Whether everything is tried (make engines), or what takes seconds."""
GRID_ALERT = re.compile("Ticket3d|Stopped")
"""Alerts on sums of the grid of five minutes."""


def for_vmalert(case: str) -> dict[str, Any]:
    """The files of a golden case as they are for vmalert."""
    text = (ROOT / case / "slo.yaml").read_text(encoding="utf-8")
    if "engine:" not in text:
        text = text.replace(
            "sources:\n", "sources:\n  prometheus: {url: http://vm:8428, engine: victoriametrics}\n"
        )
    assert "engine: " in text
    slo_set = spec.load([Path("-")], stdin=io.BytesIO(text.encode()))
    return {path: read_yaml(text) for path, text in manifest.generate(slo_set, "prometheus")}


def without_values(files: dict[str, Any]) -> None:
    """Take away texts that tell a value: a step later it is another one."""
    telling: dict[str, set[str]] = {}
    for document in files.values():
        for group in document.get("groups", ()):
            for rule in group["rules"]:
                texts = rule.get("annotations", {})
                names = {name for name, text in texts.items() if "$value" in text or "query " in text}
                telling.setdefault(rule.get("alert", ""), set()).update(names)
                for name in names:
                    del texts[name]
    for document in files.values():
        for test in document.get("tests", ()):
            for check in test["alert_rule_test"]:
                for expected in check["exp_alerts"]:
                    for name in telling[check["alertname"]]:
                        expected["exp_annotations"].pop(name, None)


def minute(check: Any) -> int:
    """When a check of a generated test is made."""
    return (parse_duration(check["eval_time"]) or 0) // 60


def a_step_later(document: Any) -> None:
    """Make a generated test one that vmalert passes: what a rule recorded is there for the next evaluation.

    An alert so fires one step later than with Prometheus, and ends one step later; it never fires earlier.
    """
    for test in document["tests"]:
        fired: set[str] = set()
        for check in sorted(test["alert_rule_test"], key=minute):
            name, fires = check["alertname"], bool(check["exp_alerts"])
            if fires != (name in fired):
                later = 5 if GRID_ALERT.search(name) else 1
                check["eval_time"] = f"{minute(check) + later}m"
            if fires:
                fired.add(name)


def tried(files: dict[str, str]) -> list[str]:
    """The unit tests among some files, or the shortest of them."""
    tests = [name for name in files if is_test(name)]
    return tests if ALL else [min(tests, key=lambda name: len(files[name]))]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["remote", "remote-stopped", "guardrails"] if ALL else ["remote"])
def test_alerts_fire_in_vmalert(case: str, tmp_path: Path) -> None:
    program = find_engine("vmalert-tool")
    files = for_vmalert(case)
    without_values(files)
    for document in files.values():
        if "tests" in document:
            a_step_later(document)
    texts = {path: json.dumps(document) for path, document in files.items()}
    write(tmp_path, texts)
    for path in (tmp_path / name for name in tried(texts)):
        command = [str(program), "unittest", "--disableAlertgroupLabel", f"--files={path.name}"]
        done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(PROVED | ONLY_3) if ALL else ["remote"])
def test_alerts_fire_in_prometheus_3(case: str, tmp_path: Path) -> None:
    program = find_engine("promtool")
    write(tmp_path, generated(case))
    for path in tried({path: generated(case)[path] for path in proved(case)}):
        command = [str(program), "test", "rules", Path(path).name]
        folder = (tmp_path / path).parent
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def as_histograms(raw: Mapping[str, str]) -> dict[str, str]:
    """Counters of requests as native histograms with one bound, which those that failed are over."""
    found = {}
    for name, values in raw.items():
        histogram = name.replace("istio_requests_total", "istio_request_duration_milliseconds")
        within = 0 if 'response_code="200"' in name else 1
        found[histogram] = values if histogram == name else histograms(values, [Decimal(300)], within)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tiles", [False, True] if ALL else [False])
@pytest.mark.parametrize("case", CASES if ALL else ["a merged scrape lacks Envoy's part for six minutes"])
def test_native_histograms_count_what_counters_would(
    case: str, monkeypatch: pytest.MonkeyPatch, *, tiles: bool
) -> None:
    monkeypatch.setenv("PATH", str(find_engine("promtool").parent), prepend=os.pathsep)
    step, mesh, wanted = 1 if tiles else 5, Mesh(histograms="native"), CASES[case]
    one = slo("latency", {"threshold": "300ms"}, policy=None, mesh=mesh)
    raw = promql.events(one, mesh, 60 * step)
    exprs = [*((BAD_TILE, TOTAL_TILE) if tiles else (BAD_GRID, TOTAL_GRID)), raw["good"], raw["total"]]
    minutes = range(step, MINUTES + 1, step)
    [found] = evaluate(
        rule_texts(one, mesh=mesh),
        [
            Inputs(
                as_histograms(wanted.raw),
                [(expr, f"{minute}m") for expr in exprs for minute in minutes],
                "30s",
            )
        ],
        evaluation_interval=f"{step}m",
    )
    values = [answer[0][1] if answer else 0.0 for answer in found]
    length = len(minutes)
    bad, total, raw_good, raw_total = (sum(values[at : at + length]) for at in range(0, 4 * length, length))
    assert bad == wanted.bad == raw_total - raw_good
    assert total == raw_total and wanted.total in (None, total)


MEASURED = """
# TYPE istio_request_duration_milliseconds histogram
istio_request_duration_milliseconds_bucket{LABELS,le="250"} 7
istio_request_duration_milliseconds_bucket{LABELS,le="500"} 9
istio_request_duration_milliseconds_bucket{LABELS,le="+Inf"} 9
istio_request_duration_milliseconds_sum{LABELS} 900
istio_request_duration_milliseconds_count{LABELS} 9
""".replace(
    "LABELS", 'reporter="source",destination_service_namespace="shop",destination_service_name="checkout"'
)


@pytest.mark.slow
def test_a_preflight_knows_histograms_that_prometheus_converted(tmp_path: Path) -> None:
    with FaultyServer(status(200, MEASURED)) as exporter:
        job = {
            "job_name": "proxies",
            "static_configs": [{"targets": [exporter.url.removeprefix("http://")]}],
            "fallback_scrape_protocol": "PrometheusText0.0.4",
            "convert_classic_histograms_to_nhcb": True,
        }
        with (
            PrometheusServer(
                tmp_path,
                program=find_engine("prometheus"),
                scrape_configs=[job],
                scrape_interval="200ms",
            ) as server,
            Prometheus(PrometheusSettings(url=server.url)) as metrics,
        ):
            count = "count(istio_request_duration_milliseconds)"
            deadline = monotonic() + 60
            while not metrics.query(count, datetime.now(UTC)) and monotonic() < deadline:
                sleep(0.05)
            now = datetime.now(UTC)
            for form in get_args(Histograms):
                mesh = Mesh(histograms=form)
                one = slo("latency", {"threshold": "250ms"}, mesh=mesh)
                codes = {
                    item.code for item in preflight.run(metrics, SloSet("shop", (one,), mesh=mesh), now).found
                }
                assert ("other-histograms" in codes) == (form == "classic")
                assert not {"no-metric", "no-namespace", "no-service", "server-warning"} & codes
            answer = metrics.query("istio_request_duration_milliseconds", now)
            assert (list(answer), len(doubts(answer))) == ([], 1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A VictoriaMetrics that scraped all cases of real meshes."""
    with (
        running_victoria_metrics(tmp_path_factory.mktemp("victoria-metrics"), scraped()) as url,
        Prometheus(PrometheusSettings(url=url, timeout=120)) as metrics,
    ):
        yield metrics


@pytest.mark.xdist_group("victoria-metrics")
@pytest.mark.slow
@pytest.mark.parametrize("where", ["reported", "kept"])
def test_victoria_metrics_counts_what_is_true(where: str, request: pytest.FixtureRequest) -> None:
    counts = request.getfixturevalue(where)

    def found(case: MeshCase) -> tuple[float, float | None]:
        bad, total = counts[NAMES[case.name]]
        return bad, None if case.total is None else total

    assert {case.name: found(case) for case in CASES.values()} == {
        case.name: (case.bad, case.total) for case in CASES.values()
    }


@pytest.mark.xdist_group("victoria-metrics")
@pytest.mark.slow
def test_victoria_metrics_answers_for_the_times_that_are_asked_for(source: Prometheus) -> None:
    """By default it moves a range of more than 50 points to multiples of its step, to find it in its cache again."""
    start, step = AT - timedelta(seconds=2 * 3600 + 37), timedelta(minutes=1)
    [one] = source.query_range('sum(up{job="other"})', start, start + 60 * step, step)
    asked = [start.timestamp() + 60 * number for number in range(61)]
    assert [time for time, _ in one["values"]] == asked


@pytest.mark.xdist_group("victoria-metrics")
@pytest.mark.slow
def test_a_preflight_knows_victoria_metrics(source: Prometheus, slo_set: SloSet) -> None:
    codes = {item.code for item in preflight.run(source, slo_set, AT).found}
    assert "other-engine" in codes and "old-server" not in codes


@dataclass
class Replicas:
    """Two servers of Prometheus that scraped the same, and Thanos over both, told which label differs, or not."""

    servers: tuple[PrometheusServer, PrometheusServer]
    told: Prometheus
    untold: Prometheus


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    find_engine("thanos")
    with ExitStack() as stack:
        servers = []
        for name in ("a", "b"):
            folder = tmp_path / name
            # A sample in a hundred is missing in one of them: whoever takes turns between both sees it in the other.
            kept = [
                SampledSeries(one.labels, one.timestamps[lost], one.values[lost])
                for number, one in enumerate(scraped())
                if len(lost := np.flatnonzero((np.arange(len(one.timestamps)) + number) % 100 != ord(name)))
            ]
            write_block(kept, folder / "data")
            config = json.dumps({"global": {"external_labels": {"replica": name}}})
            servers.append(stack.enter_context(PrometheusServer(folder, config=config)))
        urls = [server.url for server in servers]
        found = []
        for name, flags in (("told", ["--query.replica-label=replica"]), ("untold", [])):
            url = stack.enter_context(running_thanos(tmp_path / name, urls, *flags))
            found.append(stack.enter_context(Prometheus(PrometheusSettings(url=url, timeout=120))))
        yield Replicas((servers[0], servers[1]), *found)


@pytest.mark.skipif(not ALL, reason="takes 40 s: make engines")
@pytest.mark.slow
def test_thanos_counts_replicas_once_where_it_is_told_of_them(
    replicas: Replicas, slo_set: SloSet, tmp_path: Path
) -> None:
    cases = {NAMES[case.name]: case for case in CASES.values()}

    def events(source: Prometheus) -> dict[str, tuple[float, float]]:
        report = slo_report.build(source, slo_set, AT, "raw")
        return {item.namespace: (item.bad, item.total) for item in report.slos}

    def codes(source: Prometheus) -> set[str]:
        return {item.code for item in preflight.run(source, slo_set, AT).found}

    truth = {name: (case.bad, case.total) for name, case in cases.items() if case.total is not None}
    counted = events(replicas.told)
    assert {name: counted[name] for name in truth} == truth
    assert "replicas" not in codes(replicas.told) and "old-server" not in codes(replicas.told)
    doubled = events(replicas.untold)
    once, twice = (sum(total for _, total in counts.values()) for counts in (counted, doubled))
    assert twice == pytest.approx(2 * once, rel=0.001)
    assert "replicas" in codes(replicas.untold)

    # With one of them gone, what the other one has is no whole, and nothing is recorded of it.
    replicas.servers[1].stop()
    answer = replicas.told.query("up", AT)
    assert answer and doubts(answer)
    with open_ledger(Secret(f"sqlite:///{tmp_path / 'ledger.db'}")) as ledger, pytest.raises(PartialAnswer):
        record.run(replicas.told, slo_set, ledger, AT)
