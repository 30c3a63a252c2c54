"""The benchmarks run, at the smallest size; what they measure is not judged here."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from benchmarks import (
    bench_dashboards,
    bench_generate,
    bench_guardrails,
    bench_ledger,
    bench_spans,
    measure,
    read_spans,
    synthetic_spans,
)
from benchmarks.synthetic import slo_file
from dashboards.manifest import BUILDERS as DASHBOARDS
from sloctl import spec
from sloctl.guardrails.plans import BUILDERS


@pytest.mark.parametrize("count", [1, 10, 100])
def test_synthetic_files_are_valid_and_as_large_as_asked_for(count: int) -> None:
    slo_set, problems = spec.check([Path("-")], stdin=io.BytesIO(slo_file(count).encode()))

    assert problems == []
    assert slo_set is not None
    assert len(slo_set.slos) == count
    assert any(slo.wildcard for slo in slo_set.slos)


def test_a_process_is_measured_apart_from_this_one() -> None:
    ballast = bytearray(200_000_000)
    cost = measure.run([measure.PYTHON, "-c", "sum(range(10**6)); print('done')"], runs=1)

    assert cost.stdout == "done\n"
    assert cost.wall > 0
    assert cost.cpu > 0
    assert cost.peak < len(ballast) / 2


def test_a_process_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no such option"):
        measure.run([measure.PYTHON, "-c", "import sys; sys.exit('no such option')"], runs=1)


def test_the_benchmark_of_generate_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    bench_generate.main([10], runs=1)

    printed = capsys.readouterr().out
    assert "| SLOs | files |" in printed
    assert "| 10 | 8 |" in printed
    assert "CSafeDumper" in printed


def test_the_benchmark_of_guardrails_names_each_of_them() -> None:
    text = bench_guardrails.SLO_FILE + bench_guardrails.scopes(24) + bench_guardrails.GUARDRAILS
    slo_set = bench_guardrails.loaded(text)

    assert len(slo_set.slos) == 3
    # The jobs of a file are no part of the mesh.
    assert {guardrail.preset for guardrail in slo_set.guardrails} == set(BUILDERS) - {"jobs"}
    assert set(bench_guardrails.by_hand()) == set(BUILDERS) - {"jobs", "watchdog"}
    assert set(bench_guardrails.rules(slo_set)) == set(BUILDERS) - {"jobs"} | {bench_guardrails.ONCE}


def test_the_benchmark_of_guardrails_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    bench_guardrails.main([3], runs=1, slos=[10])

    printed = capsys.readouterr().out
    assert "3 services, " in printed
    for preset in set(BUILDERS) - {"jobs", "watchdog"}:
        [line] = re.findall(rf"(?m)^\| {preset} \| ([0-9,]+) \|", printed)
        assert int(line.replace(",", "")) > 0, preset
    assert "| from recorded series, with all guardrails |" in printed
    assert "| 10 SLOs and all guardrails |" in printed


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


@pytest.mark.parametrize("format_", synthetic_spans.FORMATS)
def test_both_ways_of_reading_spans_find_the_same(tmp_path: Path, format_: str) -> None:
    synthetic_spans.write(format_, 1000, tmp_path / "spans.jsonl")
    lines = (tmp_path / "spans.jsonl").read_bytes().splitlines()
    ours, plain = read_spans.sloctl(format_, lines), read_spans.plain(format_, lines)

    assert len(ours) == 1000
    for column in ours:
        assert list(ours[column]) == list(plain[column]), column


def test_the_ledger_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    bench_ledger.main(10, days=40, fine=32, runs=1)

    rows = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(("| SQLite", "| PostgreSQL"))
    ]
    assert rows and all(line.count("|") == 10 for line in rows)
