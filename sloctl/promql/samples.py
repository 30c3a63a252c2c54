"""Counts the samples of gauges: all of them, and those that compare as an SLO says.

Time is cut into slots of :attr:`~sloctl.model.SampleSli.every`, which are the same whatever window is asked for, so
that adjoining windows add up. A slot has the last sample in it, and none where there was no scrape: that is neither
good nor bad. A sample that is no number (NaN) is none either. What is slow to be scraped is stored late, under the time
at which its scrape began, so everything is counted :attr:`~sloctl.model.SampleSli.late` seconds after it was.
"""

from __future__ import annotations

from dataclasses import replace

from sloctl.model import GRID, Mesh, SampleSli
from sloctl.model.durations import duration
from sloctl.promql.syntax import indent, milliseconds, names, selector

_ANY = ">= -Inf"
"""What every number is."""


def samples(sli: SampleSli, window: float, gauge: str) -> dict[str, str]:
    """The samples of the last ``window`` seconds by series, ``total`` and either ``good`` or ``bad``.

    ``gauge`` selects the series, here and below.

    Where there is no sample there is nothing; where there are some, none that is good (or bad) is zero.
    """
    last = f"last_over_time({gauge}[{milliseconds(sli.every)}])"
    over = f"[{milliseconds(window)}:{duration(sli.every)}] offset {duration(sli.late)}"

    def number(comparison: str) -> str:
        operator, _, bound = comparison.partition(" ")
        return f"sum_over_time((\n  {last} {operator} bool {bound}\n){over})"

    parts = {"total": _ANY, "good": sli.good, "bad": sli.bad}
    return {kind: number(comparison) for kind, comparison in parts.items() if comparison}


def _missing(sli: SampleSli, mesh: Mesh, window: float, seen: str, gauge: str) -> str:
    """Share of the scraped slots of a window that had no sample, by series; ``seen`` is the range that remembers these.

    How many samples there should be says ``up``, which has one of each scrape. What is remembered may be no number.
    """
    on, up = names(mesh.target_labels), selector("up", mesh.matchers)
    scraped = samples(replace(sli, good="", bad=""), window, up)["total"]
    return (
        f"1 - ({samples(sli, window, gauge)['total']}\n"
        f"  or 0 * (last_over_time({gauge}[{seen}]) >= bool -Inf))\n"
        f"/ on ({on}) group_left ()\n"
        f"  max by ({on}) ({scraped})"
    )


def without_sample(sli: SampleSli, mesh: Mesh, seen: str, gauge: str) -> str:
    """Share of the last grid step without a sample, by series of targets that were scraped."""
    return f"clamp_min(\n{indent(_missing(sli, mesh, GRID, seen, gauge))},\n  0\n)"


def incomplete(sli: SampleSli, mesh: Mesh, window: float, memory: int, gauge: str) -> str:
    """Something if samples are missing in a window (seconds), else nothing.

    Series are remembered for ``memory`` seconds before it.
    """
    return f"group (\n{indent(_missing(sli, mesh, window, duration(window + memory), gauge))}\n  > 0)"
