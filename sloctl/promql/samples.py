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


def _missing(mesh: Mesh, gauge: str, seen: str, there: str, scraped: str) -> str:
    """Share of the samples that were ``scraped`` and are not ``there``, by series; ``seen`` is the range that remembers
    these, whose last sample may be no number.

    How many there should be says ``up``, which has one of each scrape.
    """
    on = names(mesh.target_labels)
    return (
        f"1 - ({there}\n"
        f"  or 0 * (last_over_time({gauge}[{seen}]) >= bool -Inf))\n"
        f"/ on ({on}) group_left ()\n"
        f"  max by ({on}) ({scraped})"
    )


def without_sample(sli: SampleSli, mesh: Mesh, seen: str, gauge: str) -> str:
    """Share of the last grid step without a sample, by series of targets that were scraped."""
    every = replace(sli, good="", bad="")
    there, scraped = (samples(every, GRID, of)["total"] for of in (gauge, selector("up", mesh.matchers)))
    return f"clamp_min(\n{indent(_missing(mesh, gauge, seen, there, scraped))},\n  0\n)"


def incomplete(sli: SampleSli, mesh: Mesh, window: float, memory: int, gauge: str) -> str:
    """Something if samples are missing in a window (seconds) or are no numbers, else nothing.

    Series are remembered for ``memory`` seconds before it.
    """
    within = f"[{milliseconds(window)}] offset {duration(sli.late)}"
    there, scraped = (f"count_over_time({of}{within})" for of in (gauge, selector("up", mesh.matchers)))
    missing = indent(_missing(mesh, gauge, duration(window + memory), there, scraped))
    all_of = f"sum_over_time({gauge}{within})"
    return f"group (\n{missing}\n  > 0\n  or {all_of} != {all_of})"
