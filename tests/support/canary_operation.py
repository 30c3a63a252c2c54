"""How often ``sloctl canary`` says what, by simulation: the tables of docs/canary.md.

``python -m tests.support.canary_operation`` writes them anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import log
from pathlib import Path

import numpy as np

from jobs.canary.sequential import Strata, evidence

DOC = Path(__file__).parents[2] / "docs/canary.md"
RUNS, LOOKS, SHARE, ENOUGH = 1000, 30, 0.1, log(20)
PATTERNS = {
    "independent": "each request by itself",
    "uneven": "each version's minutes fail at a rate of their own, which varies by 1.5 times its mean",
    "bursts": "nine of ten failures lie in one of twenty minutes, each version's in others",
    "outages": "in one of ten minutes 20 to 100 % of both versions fail",
}
RATES, FAILING, EFFECTS = (60, 600, 6000), (0.0005, 0.005, 0.05), (0.0, 0.01, 0.05)
MARGIN = 0.005


def draw(pattern: str, rate: float, failing: float, more: float, seed: int, runs: int = RUNS) -> Strata:
    """Minutes of two versions, of which the canary has a tenth of the ``rate`` a minute and fails so much ``more``."""
    rng = np.random.default_rng(seed)
    shape = (runs, LOOKS)
    canary, baseline = rng.poisson(rate * SHARE, shape), rng.poisson(rate * (1 - SHARE), shape)
    rates = [np.full(shape, failing + more), np.full(shape, failing)]
    if pattern == "uneven":
        k = 1 / 1.5**2
        rates = [one * rng.gamma(k, 1 / k, shape) for one in rates]
    elif pattern == "bursts":
        rates = [one * np.where(rng.random(shape) < 0.05, 0.9 / 0.05, 0.1 / 0.95) for one in rates]
    elif pattern == "outages":
        down, level = rng.random(shape) < 0.1, rng.uniform(0.2, 1, shape)
        rates = [np.where(down, level, one) for one in rates]
    bad = [rng.binomial(n, np.minimum(1, p)) for n, p in zip((canary, baseline), rates, strict=True)]
    return Strata(*(one.astype(float) for one in (canary, bad[0], baseline, bad[1])))


def share(strata: Strata, margin: float, *, worse: bool = True) -> float:
    """Of how many runs any look says so."""
    return float((evidence(strata, margin, worse=worse, late=worse).max(axis=-1) >= ENOUGH).mean())


def false_rollbacks() -> dict[tuple[str, int], list[float]]:
    """Of versions that fail alike, how many are found worse at all, by :data:`FAILING`."""
    return {
        (pattern, rate): [
            share(draw(pattern, rate, failing, 0, 100 * number + place), 0.0)
            for place, failing in enumerate(FAILING)
        ]
        for number, (pattern, rate) in enumerate((p, r) for p in PATTERNS for r in RATES)
    }


def power() -> dict[tuple[str, int], list[float]]:
    """Of versions that fail so much more, with 0.1 % of the baseline, how many are rolled back or promoted (0 more)."""
    found = {}
    for number, (pattern, rate) in enumerate((p, r) for p in PATTERNS for r in RATES):
        drawn = [draw(pattern, rate, 0.001, more, 7000 + 100 * number + n) for n, more in enumerate(EFFECTS)]
        found[pattern, rate] = [
            share(drawn[0], MARGIN, worse=False),
            *(share(one, MARGIN) for one in drawn[1:]),
        ]
    return found


def percents(row: list[float]) -> str:
    return " | ".join(f"{100 * one:.1f} %" for one in row)


def table(found: Mapping[tuple[str, int], list[float]], head: str) -> str:
    rows = [f"| {pattern} | {rate:,} | {percents(row)} |" for (pattern, rate), row in found.items()]
    return "\n".join((head, f"|{'---|' * (head.count('|') - 1)}", *rows))


TABLES = {
    "false-rollbacks": (
        false_rollbacks,
        "| failures | requests a minute | of 0.05 % failing | of 0.5 % | of 5 % |",
    ),
    "power": (
        power,
        "| failures | requests a minute | promoted, as bad | rolled back, 1 % more fails | 5 % more |",
    ),
}


def documented(name: str) -> list[list[float]]:
    """The shares of a table as the page has them."""
    part = (
        DOC.read_text(encoding="utf-8").split(f"<!-- {name} -->\n", 1)[1].split(f"\n<!-- /{name} -->", 1)[0]
    )
    return [[float(cell) / 100 for cell in re.findall(r"([\d.]+) %", row)] for row in part.splitlines()[2:]]


def main() -> None:
    text = DOC.read_text(encoding="utf-8")
    for name, (simulated, head) in TABLES.items():
        before, rest = text.split(f"<!-- {name} -->\n", 1)
        after = rest.split(f"<!-- /{name} -->", 1)[1]
        text = f"{before}<!-- {name} -->\n{table(simulated(), head)}\n<!-- /{name} -->{after}"
    DOC.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
