"""What the benchmarks are made of; ``make bench-smoke`` runs them, at the smallest size."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import bench_guardrails, measure, read_spans, synthetic_spans
from benchmarks.synthetic import slo_file
from sloctl import spec
from sloctl.guardrails.plans import BUILDERS

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_can_be_started(name: str) -> None:
    assert callable(importlib.import_module(f"benchmarks.bench_{name}").main)


def test_benchmarks_are_known_by_their_names() -> None:
    command = [sys.executable, "-m", "benchmarks", "nothing"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == f"no such benchmark: nothing; there are: {', '.join(NAMES)}\n"


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


def test_the_benchmark_of_guardrails_names_each_of_them() -> None:
    text = bench_guardrails.SLO_FILE + bench_guardrails.scopes(24) + bench_guardrails.GUARDRAILS
    slo_set = bench_guardrails.loaded(text)

    assert len(slo_set.slos) == 3
    # The jobs of a file are no part of the mesh.
    assert {guardrail.preset for guardrail in slo_set.guardrails} == set(BUILDERS) - {"jobs"}
    assert set(bench_guardrails.by_hand()) == set(BUILDERS) - {"jobs", "watchdog"}
    assert set(bench_guardrails.rules(slo_set)) == set(BUILDERS) - {"jobs"} | {bench_guardrails.ONCE}


@pytest.mark.parametrize("format_", synthetic_spans.FORMATS)
def test_both_ways_of_reading_spans_find_the_same(tmp_path: Path, format_: str) -> None:
    synthetic_spans.write(format_, 1000, tmp_path / "spans.jsonl")
    lines = (tmp_path / "spans.jsonl").read_bytes().splitlines()
    ours, plain = read_spans.sloctl(format_, lines), read_spans.plain(format_, lines)

    assert len(ours) == 1000
    for column in ours:
        assert list(ours[column]) == list(plain[column]), column
