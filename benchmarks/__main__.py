"""Runs all benchmarks, or those whose names are given: ``python -m benchmarks generate startup``."""

import importlib
import sys
from pathlib import Path

NAMES = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def main(names: list[str]) -> int:
    if unknown := set(names) - set(NAMES):
        print(
            f"no such benchmark: {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}", file=sys.stderr
        )
        return 2
    for name in names or NAMES:
        importlib.import_module(f"benchmarks.bench_{name}").main()
    return 0


sys.exit(main(sys.argv[1:]))
