"""Calls of the mesh by plain ``increase``: who calls whom, and which of it fails.

For what looks at where failures are. Budgets are counted exactly: see :mod:`~sloctl.promql.counting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from sloctl.model import CounterSli, Matcher, Mesh, Selector
from sloctl.promql.flags import LABEL
from sloctl.promql.presets import DURATION, DURATION_BUCKET, PRESETS, REPORTERS, REQUESTS, Side
from sloctl.promql.syntax import names, selector

Kind = Literal["total", "bad", "unreached"]
UNREACHED = "(?:.+,)?(?:UF|UH|UC|UO|NR|NC|LR|UPE|OM)(?:,.+)?"
"""Flags of a call that the service gave no answer to: no connection, none that is healthy, no room, no route."""


def sides(mesh: Mesh) -> tuple[Side, ...]:
    """Who reports calls, the caller's side first."""
    return ("waypoint",) if mesh.mode == "ambient" else ("client", "server")


def selectors(side: Side, mesh: Mesh, kind: Kind, *matchers: Matcher) -> list[Selector]:
    """Disjoint selectors of all calls, of those that SLOs of ``availability`` count as bad, or that reached nobody."""
    sli = PRESETS["availability"].build({"side": "server"} if side == "server" else {}, mesh)
    assert isinstance(sli, CounterSli)
    more = (*mesh.matchers, *matchers)
    if kind == "unreached":
        more = (*more, Matcher(LABEL, "=~", UNREACHED))
    parts = sli.total if kind == "total" else sli.bad
    return [replace(part, matchers=(*part.matchers, *more)) for part in parts]


def summed(parts: Iterable[Selector], by: Sequence[str], window: int) -> str:
    """What disjoint counters gained in a window (seconds), by labels."""
    union = "\nor ".join(f"increase({selector(part.metric, part.matchers)}[{window}s])" for part in parts)
    return f"sum by ({', '.join(by)}) (\n{union}\n)"


def latency(mesh: Mesh, side: Side, by: Sequence[str], window: int) -> dict[str, str]:
    """Milliseconds that calls took together, and how many were timed, by labels: ``latency sum``, ``latency count``."""
    where = (Matcher("reporter", "=", REPORTERS[side]), *mesh.matchers)
    if mesh.histograms == "native":
        whole = summed([Selector(DURATION, where)], by, window)
        return {f"latency {part}": f"histogram_{part}({whole})" for part in ("sum", "count")}
    return {
        f"latency {part}": summed([Selector(f"{DURATION}_{part}", where)], by, window)
        for part in ("sum", "count")
    }


def _timed(mesh: Mesh, side: Side, where: Iterable[Matcher], metric: str, seconds: int, ago: int = 0) -> str:
    series = selector(metric, (Matcher("reporter", "=", REPORTERS[side]), *where, *mesh.matchers))
    return f"increase({series}[{seconds}s]{f' offset {ago}s' if ago else ''})"


def quantile(
    mesh: Mesh,
    side: Side,
    where: Iterable[Matcher],
    share: float,
    by: Sequence[str],
    window: int,
    ago: int = 0,
) -> str:
    """The latency in milliseconds within which a share of some requests was answered in a window (seconds), by labels.

    Interpolated within a bucket of the histogram. The window ended ``ago`` seconds before.
    """
    native = mesh.histograms == "native"
    buckets = _timed(mesh, side, where, DURATION if native else DURATION_BUCKET, window, ago)
    return f"histogram_quantile({share:g}, sum by ({names((*by, *(() if native else ('le',))))}) ({buckets}))"


def timed(mesh: Mesh, side: Side, where: Iterable[Matcher], by: Sequence[str], window: int) -> str:
    """How many requests were timed in a window (seconds), by labels."""
    if mesh.histograms == "native":
        return f"histogram_count(sum by ({names(by)}) ({_timed(mesh, side, where, DURATION, window)}))"
    return f"sum by ({names(by)}) ({_timed(mesh, side, where, f'{DURATION}_count', window)})"


def by_label(mesh: Mesh, side: Side, where: Iterable[Matcher], label: str, window: int) -> str:
    """Some requests of a window (seconds) by a label."""
    return f"sum by ({names((label,))}) ({_timed(mesh, side, where, REQUESTS, window)}) > 0"
