"""What it costs to start: ``sloctl --help`` and commands on a small file, against a bare interpreter."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import measure
from benchmarks.synthetic import slo_file

SLOS = 10


def main(runs: int = 15) -> None:
    measure.title("Starting")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        file = Path(name) / "slo.yaml"
        file.write_text(slo_file(SLOS), encoding="utf-8")
        commands = {
            "`python -c pass`": [measure.PYTHON, "-c", "pass"],
            "`python -c 'import click'`": [measure.PYTHON, "-c", "import click"],
            "`python -c 'import yaml, click'`": [measure.PYTHON, "-c", "import yaml, click"],
            "`sloctl --help`": [*measure.SLOCTL, "--help"],
            "`sloctl --version`": [*measure.SLOCTL, "--version"],
            f"`sloctl validate`, {SLOS} SLOs": [*measure.SLOCTL, "validate", "-f", str(file)],
            f"`sloctl generate --only rules --check`, {SLOS} SLOs": _generated(file),
        }
        costs = {text: measure.run(command, runs=runs) for text, command in commands.items()}
    bare = costs["`python -c pass`"]
    measure.table(
        ("command", "time", "CPU", "above bare Python", "CPU, × bare Python", "peak memory"),
        [
            (
                text,
                measure.seconds(cost.wall),
                measure.seconds(cost.cpu),
                f"+{measure.seconds(cost.cpu - bare.cpu)}",
                f"{cost.cpu / bare.cpu:.1f}",
                measure.megabytes(cost.peak),
            )
            for text, cost in costs.items()
        ],
    )
    print(f"\nMedians of {runs} whole processes; the fourth column is CPU time.")


def _generated(file: Path) -> list[str]:
    command = [
        *measure.SLOCTL,
        "generate",
        "-f",
        str(file),
        "-o",
        str(file.parent / "out"),
        "--only",
        "rules",
    ]
    measure.run(command, runs=1)
    return [*command, "--check"]


if __name__ == "__main__":
    main()
