"""The benchmarks run, at the smallest size (``make bench-smoke``); what they measure is not judged here."""

from __future__ import annotations

import re

import pytest

from benchmarks import (
    bench_alerts,
    bench_dashboards,
    bench_generate,
    bench_guardrails,
    bench_ledger,
    bench_retries,
    bench_scale,
    bench_serve,
    bench_spans,
    synthetic_spans,
)
from dashboards.manifest import BUILDERS as DASHBOARDS
from sloctl.guardrails.plans import BUILDERS
from tests.support.engines import find_engine


def test_the_benchmark_of_generate_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    bench_generate.main([10], runs=1)

    printed = capsys.readouterr().out
    assert "| SLOs | files |" in printed
    assert "| 10 | 8 |" in printed
    assert "CSafeDumper" in printed


def test_the_benchmark_of_guardrails_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    bench_guardrails.main([3], runs=1, slos=[10])

    printed = capsys.readouterr().out
    assert "3 services, " in printed
    for preset in set(BUILDERS) - {"jobs", "watchdog"}:
        [line] = re.findall(rf"(?m)^\| {preset} \| ([0-9,]+) \|", printed)
        assert int(line.replace(",", "")) > 0, preset
    assert "| from recorded series, with all guardrails |" in printed
    assert "| 10 SLOs and all guardrails |" in printed


def test_the_benchmark_of_alerts_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = "quiet: a request a minute, a failure a day"
    bench_alerts.main(days=1, seeds=1, only=("outage of 5 min", quiet))

    printed = capsys.readouterr().out
    assert "| outage of 5 min | ≤ 1 | 1 | 5 | 1 | 5 | 1 | 1 |" in printed
    assert f"| {quiet} | 0 | 0 | 0 | 0 |" in printed


def test_the_benchmark_of_dashboards_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    bench_dashboards.main([3], runs=1)

    printed = capsys.readouterr().out
    assert f"| 3 | {len(DASHBOARDS)} |" in printed
    for kind in DASHBOARDS:
        [line] = re.findall(rf"(?m)^\| {kind} \| [0-9]+[hd] \| [0-9]+ \| ([0-9,]+) \|", printed)
        assert int(line.replace(",", "")) > 0, kind
    for pair in bench_dashboards.PAIRS:
        assert f"| {pair.name} |" in printed


def test_the_benchmark_of_spans_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    bench_spans.main([200], runs=1)

    printed = capsys.readouterr().out
    for format_ in synthetic_spans.FORMATS:
        assert f"| {format_} | 200 |" in printed


def test_the_benchmark_of_live_pages_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    bench_serve.main(10, 3, 0.5)

    printed = capsys.readouterr().out
    for page in bench_serve.PAGES:
        assert f"| {page} |" in printed
    assert re.search(r"(?m)^\| 3 \| [0-9,]+ \| .* \| 0 \|$", printed)


def test_the_ledger_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    bench_ledger.main(10, days=40, fine=32, runs=1)

    rows = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("| SQLite", "| PostgreSQL"))
    ]
    assert rows and all(line.count("|") == 10 for line in rows)


def test_the_benchmark_of_retries_agrees_with_a_loop_and_prints_its_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench_retries.main([1000], runs=1)

    printed = capsys.readouterr().out
    assert re.search(r"(?m)^\| [0-9,]+ \| .* ms \| .* µs \| ", printed)
    for setting in bench_retries.SETTINGS:
        assert f"| {setting} |" in printed


def test_the_benchmark_of_a_large_mesh_prints_a_row_for_each_engine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for program in ("prometheus", "victoria-metrics"):
        find_engine(program)  # skips where it is not

    bench_scale.main(6, 2)

    printed = capsys.readouterr().out
    assert [printed.count(f"\n{engine}: ") for engine in ("prometheus", "victoriametrics")] == [1, 1]
    assert printed.count("| report at a grid instant |") == 3
