"""What it takes to read spans: JSON in memory to a frame, by format, against the loop that one writes first.

``python -m benchmarks.bench_spans 1000000`` does it with a million spans; the files take 5 GB then.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks import measure
from benchmarks.synthetic_spans import FORMATS, PAGE, SERVICES, write, write_lines

SPANS = 200_000


def main(counts: Sequence[int] = (SPANS // 10, SPANS), *, runs: int = 3) -> None:
    measure.title("Spans")
    print(
        f"Documents of {PAGE} traces of ten spans each, {SERVICES} services, the tags of Istio's proxies; one "
        "process for each run. CPU time from JSON in memory to the frame; peak memory is the whole process's, with "
        "pandas and one document, as they are read one by one.\n"
    )
    heads = (
        "format",
        "spans",
        "MB of JSON",
        "spans a second",
        "plain loop",
        "×",
        "peak memory",
        "plain loop",
    )
    measure.table(heads, [_row(format_, count, runs) for count in counts for format_ in FORMATS])
    print("\nFiles with a span on each line (Zipkin), or a trace:\n")
    measure.table(heads, [_row(format_, count, runs, "-lines") for count in counts for format_ in FORMATS])


def _row(format_: str, count: int, runs: int, lines: str = "") -> list[str]:
    with tempfile.TemporaryDirectory(prefix="bench-spans-") as folder:
        path = Path(folder) / "spans.jsonl"
        (write_lines if lines else write)(format_, count, path)
        # In turn, so that what else the machine does falls on both.
        found: dict[str, list[tuple[float, float]]] = {"sloctl": [], "plain": []}
        for _ in range(runs):
            for how, values in found.items():
                values.append(_run(how + lines, format_, path, count))
        size = path.stat().st_size
    (ours, peak), (plain, plain_peak) = (
        tuple(median(column) for column in zip(*values, strict=True)) for values in found.values()
    )
    return [
        format_,
        f"{count:,}",
        f"{size / 1e6:,.0f}",
        f"{count / ours:,.0f}",
        f"{count / plain:,.0f}",
        f"{plain / ours:.1f}",
        measure.megabytes(peak),
        measure.megabytes(plain_peak),
    ]


def _run(how: str, format_: str, path: Path, count: int) -> tuple[float, float]:
    command = [measure.PYTHON, "-m", "benchmarks.read_spans", how, format_, str(path)]
    cost = measure.run(command, runs=1)
    rows, seconds = cost.stdout.split()
    if int(rows) != count:
        raise RuntimeError(f"{how} found {rows} of {count} spans of {format_}")
    return float(seconds), cost.peak


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or (SPANS // 10, SPANS))
