"""Where budgets are read from, on a real Prometheus: rules that record, rules that fail, and counters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.reports import slo_report
from sloctl import naming
from sloctl.backends.prometheus.client import Prometheus
from sloctl.settings.backends import PrometheusSettings
from tests.support.command_line import Outcome, in_process
from tests.support.prometheus_fixture import MISSING, running_prometheus
from tests.support.shop_slos import slos, text

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.xdist_group("budget-sources"),
]
END = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp())
HOURS = 3
START = END - HOURS * 3600
LINE = (
    "- {{name: availability, service: {0}, namespace: shop, objective: 99, window: 7d, alerting: none, "
    "sli: {{preset: availability}}}}"
)
SET = slos(*(LINE.format(name) for name in ("cart", "checkout", "orders")))
IDS = {slo.service: slo.id for slo in SET.slos}


def counters(*pods: str, start: int = START, down: range = range(0)) -> Iterator[str]:
    """Ten good requests and one bad in each half a minute, of each pod, all of which are scraped but while ``down``."""
    names = [(slo.service, pod) for slo in SET.slos for pod in pods or ("a",)]
    yield "# TYPE up gauge"
    for service, pod in names:
        for at in (at for at in range(start, END + 1, 30) if at not in down):
            yield f'up{{job="mesh",instance="{service}",pod="{service}-{pod}"}} 1 {at}'
    yield "# TYPE istio_requests counter"
    for service, pod in names:
        for code, each in (("200", 10), ("503", 1)):
            labels = (
                f'reporter="source",destination_service_name="{service}",destination_service_namespace="shop",'
                f'response_code="{code}",response_flags="-",job="mesh",instance="{service}",pod="{service}-{pod}"'
            )
            for number, at in enumerate(range(start, END + 1, 30)):
                if at in down:
                    continue
                yield f"istio_requests_total{{{labels}}} {number * each} {at}"


def recorded() -> Iterator[str]:
    """What rules recorded: of cart all, of checkout no bad events (that rule fails), of orders nothing at all."""
    values = {naming.OBJECTIVE: 0.99, naming.TOTAL_GRID: 110.0, naming.BAD_GRID: 10.0}
    has = {
        "cart": set(values),
        "checkout": {naming.OBJECTIVE, naming.TOTAL_GRID},
        "orders": {naming.OBJECTIVE},
    }
    for metric, value in values.items():
        yield f"# TYPE {metric} gauge"
        for service, names in has.items():
            if metric in names:
                labels = f'slo_id="{IDS[service]}",slo_set="shop",namespace="shop",service="{service}"'
                for at in range(START + 300, END + 1, 300):
                    yield f"{metric}{{{labels}}} {value} {at}"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    samples = "\n".join((*counters(), *recorded(), "# EOF", ""))
    folder: Path = tmp_path_factory.mktemp("sources")
    with running_prometheus(folder, samples) as url, Prometheus(PrometheusSettings(url)) as client:
        yield client


def test_each_slo_is_read_from_where_it_is_known(source: Prometheus) -> None:
    """The same events, whichever way: 11 in each half a minute, of which one is bad."""
    report = slo_report.build(source, SET, datetime.fromtimestamp(END, UTC))
    buckets = HOURS * 12
    assert {item.service: (item.source, round(item.total), round(item.bad)) for item in report.slos} == {
        "cart": ("rules", buckets * 110, buckets * 10),
        "checkout": ("raw", buckets * 110, buckets * 10),
        "orders": ("raw", buckets * 110, buckets * 10),
    }
    codes = {finding.code for finding in report.findings}
    assert {"mixed-sources", "not-recorded"} <= codes
    assert "no-data" not in codes


def slo_file(folder: Path) -> None:
    (folder / "slo.yaml").write_text(text(*(LINE.format(name) for name in IDS)))


def run(folder: Path, url: str, *command: str) -> Outcome:
    return in_process(*command, "-f", "slo.yaml", "--prometheus", url, "--ledger", "ledger.db", folder=folder)


@pytest.mark.parametrize("minutes", [40, 120])
def test_what_nobody_scraped_is_bridged_for_an_hour_by_ledgers_and_raw_reports_alike(
    tmp_path: Path, minutes: int
) -> None:
    """A window of six hours would bridge any gap in it."""
    folder = tmp_path / "run"
    folder.mkdir()
    slo_file(folder)
    begin, begun = END - 12 * 3600, END - 8 * 3600
    samples = (*counters(start=begin, down=range(begun, begun + minutes * 60)), "# EOF", "")
    with running_prometheus(tmp_path, "\n".join(samples)) as url:
        recorded = run(folder, url, "run", "slis", "--at", str(END))
        assert recorded.code == 0, recorded.stderr
        ways = {
            way: json.loads(
                run(folder, url, "report", "--source", way, "--at", str(END), "--format", "json").stdout
            )
            for way in ("ledger", "raw")
        }
    lost = 0 if minutes <= 60 else minutes * 2 + 1  # half minutes, with that up to the first scrape
    events = {way: {item["events"]["total"] for item in document["slos"]} for way, document in ways.items()}
    assert events == {way: {11 * (12 * 120 - lost)} for way in ways}


def test_late_samples_are_repaired_and_a_replica_that_lacks_some_is_found_out(tmp_path: Path) -> None:
    """One server has the pods ``a`` alone, the other all: the pods ``b`` were written to it late."""
    folder = tmp_path / "run"
    folder.mkdir()
    slo_file(folder)
    servers = []
    with ExitStack() as stack:
        for name, pods in (("few", "a"), ("all", "ab")):
            (tmp_path / name).mkdir()
            samples = "\n".join((*counters(*pods), "# EOF", ""))
            servers.append(stack.enter_context(running_prometheus(tmp_path / name, samples)))
        few, every = servers
        span = ("--from", str(END - 3600), "--to", str(END - 600))
        recorded = run(folder, few, "run", "slis", "--at", str(END))
        repaired = run(folder, every, "ledger", "reread", *span, "--author", "ann", "--format", "json")
        again = run(folder, every, "ledger", "reread", *span)
        kept = run(folder, few, "ledger", "reread", *span, "--format", "json")
    assert recorded.code == 0, recorded.stderr
    assert (repaired.code, again.code, kept.code) == (0, 0, 1), repaired.stderr + again.stderr + kept.stderr
    rows = json.loads(repaired.stdout)
    events = {(row["total"], row["bad"], row["read_total"], row["read_bad"]) for row in rows}
    assert (len(rows), events) == (3 * 10, {(110.0, 10.0, 220.0, 20.0)})
    assert "0 repaired, 0 kept" in again.stderr
    assert {row["outcome"] for row in json.loads(kept.stdout)} == {"kept"}
    shown = in_process("ledger", "show", "--ledger", "ledger.db", "--format", "json", folder=folder)
    journal = json.loads(shown.stdout)["repairs"]
    assert {(row["outcome"], row["made_by"]) for row in journal} == {("repaired", "ann"), ("kept", "sloctl")}
    table = in_process("ledger", "show", "--ledger", "ledger.db", folder=folder).stdout
    assert "20 of 220" in table and "more before these" not in table.partition("read again")[0]
    verified = in_process("ledger", "verify", "--ledger", "ledger.db", folder=folder)
    assert verified.code == 0, verified.stdout
