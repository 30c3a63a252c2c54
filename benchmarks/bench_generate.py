"""What ``sloctl generate`` costs for 10 to 5,000 SLOs, against a general YAML dumper on the same documents.

``python -m benchmarks.bench_generate [SLOS…]``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.synthetic import slo_file

SIZES = (10, 100, 1000, 5000)
_DUMP = """
import sys, time, yaml
from pathlib import Path
from sloctl.artefacts import yaml as render
texts = [path.read_text() for path in sorted(Path(sys.argv[1]).rglob("*.yaml"))]
documents = [yaml.load(text, Loader=yaml.CSafeLoader) for text in texts]
for dump in (render.yaml, lambda document: yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)):
    began = time.process_time()
    for document in documents:
        dump(document)
    print(time.process_time() - began)
"""


def main(sizes: Sequence[int] = SIZES, runs: int = 5) -> None:
    measure.title("sloctl generate --only rules --format prometheus")
    bare = measure.run([measure.PYTHON, "-c", "pass"], runs=max(runs, 3))
    measure.table(
        (
            "SLOs",
            "files",
            "written",
            "first run",
            "CPU",
            "peak memory",
            "unchanged",
            "`--check`",
            "CPU, × bare Python",
        ),
        [row for size in sizes for row in _rows(size, runs, bare)],
    )
    print(
        f"\nBare `python -c pass`: {measure.seconds(bare.wall)} (CPU {measure.seconds(bare.cpu)}), "
        f"{measure.megabytes(bare.peak)}. Medians of {runs} whole processes."
    )
    print(f"\n{dumped(max(size for size in sizes if size <= 1000 or size == min(sizes)))}")


def _rows(size: int, runs: int, bare: measure.Cost) -> Iterator[tuple[object, ...]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        command, out = generating(slo_file(size), Path(name))
        first = measure.run(command, runs=runs, before=lambda: shutil.rmtree(out, ignore_errors=True))
        again = measure.run(command, runs=runs)
        check = measure.run([*command, "--check"], runs=runs)
        sizes = written(out)
    yield (
        f"{size:,}",
        f"{len(sizes):,}",
        f"{sum(sizes) / 1e6:.1f} MB",
        measure.seconds(first.wall),
        measure.seconds(first.cpu),
        measure.megabytes(max(first.peak, again.peak, check.peak)),
        measure.seconds(again.wall),
        measure.seconds(check.wall),
        f"{first.cpu / bare.cpu:.1f}",
    )


def generating(text: str, folder: Path) -> tuple[list[str], Path]:
    """The command that generates rules from an SLO file, which is written to ``folder``; and where they will be."""
    file, out = folder / "slo.yaml", folder / "out"
    file.write_text(text, encoding="utf-8")
    return [
        *measure.SLOCTL,
        "generate",
        "-f",
        str(file),
        "-o",
        str(out),
        "--only",
        "rules",
        "--format",
        "prometheus",
    ], out


def written(out: Path) -> list[int]:
    """Bytes of each file that was generated."""
    return [path.stat().st_size for path in out.rglob("*.yaml") if path.is_file()]


def dumped(size: int) -> str:
    """CPU time to write the documents of ``size`` SLOs, with sloctl's writer and with PyYAML's C dumper."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        command, out = generating(slo_file(size), Path(name))
        whole = measure.run(command, runs=1)
        done = measure.run([measure.PYTHON, "-c", _DUMP, str(out)], runs=1)
    ours, theirs = map(float, done.stdout.split())
    return (
        f"The YAML of {size:,} SLOs alone: {measure.seconds(ours)} of CPU time with sloctl's writer, "
        f"{measure.seconds(theirs)} with PyYAML's CSafeDumper ({theirs / ours:.1f} ×); "
        f"all of `sloctl generate` takes {measure.seconds(whole.cpu)} ({whole.cpu / theirs:.2f} of that dumper)."
    )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
