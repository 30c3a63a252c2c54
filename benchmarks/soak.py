"""A soak of ``sloctl schedule``: ``python -m benchmarks.soak SLO_FILE [SECONDS [FACTOR]]`` against its own Prometheus.

Prints what the process holds at even times. A file whose jobs run each minute, 60 times as fast, has an hour of
schedule in each minute. ``sloctl demo --keep`` starts a Prometheus to run it on.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import tracemalloc
from pathlib import Path

from tests.support.soak import soak


def main(arguments: list[str]) -> None:
    path = Path(arguments[0])
    seconds = float(arguments[1]) if len(arguments) > 1 else 3600.0
    factor = float(arguments[2]) if len(arguments) > 2 else 60.0
    logging.disable(logging.CRITICAL)
    tracemalloc.start()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "slo.yaml"
        copy.write_text(path.read_text())
        found = soak(copy, seconds, factor)
    print(f"{found.runs} runs, {found.failed} failed, {found.scheduled} of schedule")
    for held in found.held:
        print(held)


if __name__ == "__main__":
    main(sys.argv[1:])
