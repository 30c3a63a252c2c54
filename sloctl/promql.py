"""Every PromQL expression that sloctl writes, built once: rules, dashboards and jobs all call this module.

It must not know where an expression goes. Windows are seconds.

Counting events
---------------
``rate`` and ``increase`` extrapolate (up to 16 % off over a few scrapes) and never see what a counter held
when it first appeared. :func:`increments` instead subtracts the last sample before a window from the last
sample in it, so that the increments of adjoining windows add up to the counter, and takes four cases apart:

1. the counter has a sample before the window and did not restart: the difference;
2. it restarted: what it gained up to the restart, plus what it counted since;
3. it had no sample before the window although its **target was scraped without it**: it started from zero;
4. it had none, and its target was not being scraped: the difference within the window only, for nobody can
   say how much of the first value is new (a scrape gap, a Prometheus restart, a target added today).

Every case is a lower bound of the true count; 1 to 3 are exact unless a counter restarts more than once in
a window. Stale markers do not hide the sample before the window (a failed scrape writes them for every
series of its target), because range selectors pass over them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal

from sloctl import naming
from sloctl.model import (
    FINE_LIMIT,
    GRID,
    LOOKBACK,
    TILE,
    BurnWindow,
    CounterSli,
    Matcher,
    Mesh,
    Selector,
    Slo,
)
from sloctl.windows import number

Labels = Sequence[tuple[str, str]]

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_OPS = frozenset({"=", "!=", "=~", "!~"})


def quote(text: str) -> str:
    """A PromQL string literal for any text (the escapes are Go's)."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif char.isprintable():
            out.append(char)
        elif 0xD800 <= ord(char) <= 0xDFFF:
            out.append("\\ufffd")
        else:
            out.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
    return '"' + "".join(out) + '"'


def regex_quote(text: str) -> str:
    """A regular expression (RE2) that matches exactly ``text``."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def selector(metric: str, matchers: Iterable[Matcher]) -> str:
    """``metric{label="value",…}``; raises ValueError for names that PromQL has no plain form for."""
    if not _METRIC.fullmatch(metric):
        raise ValueError(f"not a metric name: {metric!r}")
    parts = []
    for matcher in matchers:
        if not _LABEL.fullmatch(matcher.label) or matcher.op not in _OPS:
            raise ValueError(f"not a label matcher: {matcher!r}")
        parts.append(f"{matcher.label}{matcher.op}{quote(matcher.value)}")
    return f"{metric}{{{','.join(parts)}}}" if parts else metric


def milliseconds(seconds: int) -> str:
    """``seconds`` less one millisecond, as a PromQL range.

    Samples of a grid of step ``s`` within ``n·s`` seconds less a millisecond are exactly ``n``, whether a range
    includes its left end (Prometheus 2) or not (Prometheus 3).
    """
    return f"{seconds * 1000 - 1}ms"


def increments(series: str, window: int, mesh: Mesh) -> str:
    """Events that each matching counter counted in the last ``window`` seconds (see the module's text).

    ``series`` is a selector; the result has its labels, without the metric's name.
    """
    return _increments(series, naming.duration(window), naming.duration(window + LOOKBACK), mesh)


def _increments(series: str, w: str, reach: str, mesh: Mesh) -> str:
    now = f"last_over_time({series}[{w}])"
    before = f"last_over_time({series}[{naming.duration(LOOKBACK)}] offset {w})"
    peak = f"max_over_time({series}[{w}])"
    on = ", ".join(mesh.target_labels)
    up = selector("up", mesh.matchers)
    return (
        f"  ({now} - {before} >= 0 unless resets({series}[{w}]) > 0)\n"
        f"or\n"
        f"  {now} + clamp_min({peak} - {before}, 0) * ({peak} > bool {now})\n"
        f"or\n"
        f"  ({now} and count_over_time({series}[{w}])\n"
        f"    < on ({on}) group_left () max by ({on}) (sum_over_time({up}[{reach}])))\n"
        f"or\n"
        f"  {now} - min_over_time({series}[{w}])"
    )


def indent(text: str, spaces: int = 2) -> str:
    """``text`` with every line moved right."""
    pad = " " * spaces
    return "\n".join(pad + line for line in text.split("\n"))


def scope(slo: Slo, sli: CounterSli) -> tuple[Matcher, ...]:
    """Matchers that keep the series of the SLO's service, or of its namespace less the overridden services."""
    matchers = [Matcher(sli.namespace_label, "=", slo.namespace)] if slo.namespace else []
    if not slo.wildcard:
        matchers.append(Matcher(sli.service_label, "=", slo.service))
    elif len(slo.overridden) == 1:
        matchers.append(Matcher(sli.service_label, "!=", slo.overridden[0]))
    elif slo.overridden:
        pattern = "|".join(regex_quote(name) for name in slo.overridden)
        matchers.append(Matcher(sli.service_label, "!~", pattern))
    return tuple(matchers)


def full_selector(slo: Slo, sli: CounterSli, part: Selector, mesh: Mesh) -> str:
    """One of an SLI's selectors with the SLO's scope and the mesh's own matchers."""
    return selector(part.metric, (*part.matchers, *scope(slo, sli), *mesh.matchers))


def _identify(slo: Slo, sli: CounterSli, per_series: str, *, operator: str = "sum", keep: str = "") -> str:
    """Aggregate per-series values to one per service, with the labels ``namespace`` and ``service``."""
    extra = f", {keep}" if keep else ""
    if not slo.wildcard:
        by = f" by ({keep})" if keep else ""
        return f"{operator}{by} (\n{indent(per_series)}\n)"
    inner = f"{operator} by ({sli.namespace_label}, {sli.service_label}{extra}) (\n{indent(per_series)}\n)"
    for label, source in ((naming.NAMESPACE, sli.namespace_label), (naming.SERVICE, sli.service_label)):
        inner = f'label_replace(\n{indent(inner)},\n  "{label}", "$1", "{source}", "(.*)"\n)'
    return f"sum by ({naming.NAMESPACE}, {naming.SERVICE}{extra}) (\n{indent(inner)}\n)"


def _counted(slo: Slo, sli: CounterSli, parts: Sequence[Selector], window: int, mesh: Mesh) -> str:
    per_series = "\nor\n".join(
        increments(full_selector(slo, sli, part, mesh), window, mesh) for part in parts
    )
    return _identify(slo, sli, per_series)


_RANGE_CALL = re.compile(
    r"\b(rate|increase)\s*\(\s*"
    r"((?:[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?:\{(?:[^\"'`{}]|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')*\})?)"
    r"\s*\[\s*\$window\s*\]\s*\)"
)


def range_calls(expr: str) -> tuple[list[tuple[str, str]], str]:
    """The ``rate(selector[$window])`` and ``increase(…)`` calls of a user's expression, and what is left.

    Each call is (function, selector); in the rest every call is replaced by ``vector(1)``.
    """
    calls = [(match[1], match[2].strip()) for match in _RANGE_CALL.finditer(expr)]
    return calls, _RANGE_CALL.sub("vector(1)", expr)


def user_expression(expr: str, window: int, mesh: Mesh) -> str:
    """A user's expression as events in the last ``window`` seconds, counted as :func:`increments` counts."""
    text = _RANGE_CALL.sub(
        lambda match: f"(\n{indent(increments(match[2].strip(), window, mesh))}\n)", expr.strip()
    )
    return f"sum (\n{indent(text)}\n)"


def events(slo: Slo, mesh: Mesh, window: int, *, other_side: bool = False) -> dict[str, str]:
    """Expressions for the events of the last ``window`` seconds: ``total`` and either ``bad`` or ``good``.

    A named service's result has no labels, a wildcard's has ``namespace`` and ``service``. Bad or good events
    may be missing where none happened yet.
    """
    if not isinstance(slo.sli, CounterSli):
        texts = {"total": slo.sli.total, "bad": slo.sli.bad, "good": slo.sli.good}
        return {kind: user_expression(text, window, mesh) for kind, text in texts.items() if text}
    sli = slo.sli.other_side if other_side else slo.sli
    if sli is None:
        raise ValueError(f"{slo.id} has one side only")
    parts = {"total": sli.total, "bad": sli.bad, "good": sli.good}
    return {
        kind: _counted(slo, sli, selectors, window, mesh) for kind, selectors in parts.items() if selectors
    }


def recorded(metric: str, slo: Slo) -> str:
    """The selector of a recorded series of one definition (all of its services)."""
    return selector(metric, (Matcher(naming.SLO_ID, "=", slo.id),))


def _join(slo: Slo) -> str:
    return f"on ({', '.join(naming.IDENTITY)})" if slo.wildcard else "on ()"


def total_rule(slo: Slo, mesh: Mesh, window: int) -> str:
    """What is recorded as the total events of a grid step."""
    return events(slo, mesh, window)["total"]


def bad_rule(slo: Slo, mesh: Mesh, window: int, total: str) -> str:
    """What is recorded as the bad events of a grid step; ``total`` is the series recorded just before it.

    No bad series is no bad event as long as there is a total. No good series next to a total is different: the
    histogram lacks the bound, so nothing is known and nothing is recorded.
    """
    parts = events(slo, mesh, window)
    series = recorded(total, slo)
    if "bad" in parts:
        return f"{parts['bad']}\nor {_join(slo)}\n  0 * {series}"
    return f"clamp_min(\n  {series}\n- {_join(slo)}\n{indent(parts['good'])},\n  0\n)"


def gap_rule(slo: Slo, mesh: Mesh) -> str:
    """Seconds of the last grid step in which the SLO's targets could not be scraped (mean over the targets).

    Counts targets that had a series of the SLI within the hour before. 0 … 300; missing where there is no SLI.
    """
    if isinstance(slo.sli, CounterSli):
        parts = [full_selector(slo, slo.sli, part, mesh) for part in slo.sli.total]
    else:
        parts = [call[1] for call in range_calls(slo.sli.total)[0]]
    on = ", ".join(mesh.target_labels)
    seen = " or ".join(f"last_over_time({part}[1h])" for part in parts)
    up = selector("up", mesh.matchers)
    failed = f"(1 - max by ({on}) (avg_over_time({up}[{naming.duration(GRID)}])))"
    if isinstance(slo.sli, CounterSli) and slo.wildcard:
        labels = f"{slo.sli.namespace_label}, {slo.sli.service_label}, {on}"
        per_target = f"group by ({labels}) ({seen})\n* on ({on}) group_left ()\n  {failed}"
        return f"{GRID} * {_identify(slo, slo.sli, per_target, operator='avg')}"
    return f"{GRID} * avg (\n  group by ({on}) ({seen})\n* on ({on}) group_left ()\n  {failed}\n)"


def windowed(metric: str, slo: Slo, window: int) -> str:
    """Sum of recorded events over a window, per service."""
    total = f"sum_over_time({recorded(metric, slo)}[{milliseconds(window)}])"
    return f"sum by ({', '.join(naming.IDENTITY)}) ({total})"


def step_of(window: int) -> int:
    """The grid step (seconds) that a window is summed from."""
    return TILE if window <= FINE_LIMIT else GRID


def tile_metrics(window: int) -> tuple[str, str]:
    """(bad, total): the recorded events that a window is summed from."""
    if step_of(window) == TILE:
        return naming.BAD_TILE, naming.TOTAL_TILE
    return naming.BAD_GRID, naming.TOTAL_GRID


def burn_rate_rule(slo: Slo, window: int) -> str:
    """Burn rate over a window: its ratio of bad to total events, divided by the budget; missing without events."""
    bad, total = tile_metrics(window)
    return f"{windowed(bad, slo, window)}\n/\n  ({windowed(total, slo, window)} > 0)\n/ {number(slo.budget)}"


def period_rule(metric: str, slo: Slo, seconds: int) -> str:
    """Events of the whole period on the budget grid."""
    return windowed(metric, slo, seconds)


def remaining_rule(slo: Slo) -> str:
    """Share of the period's budget that is left: 1 is all of it, negative is overspent."""
    return (
        f"1 - {recorded(naming.PERIOD_BAD, slo)}\n"
        f"/\n"
        f"  ({recorded(naming.PERIOD_TOTAL, slo)} > 0)\n"
        f"/ {number(slo.budget)}"
    )


def alert_rule(slo: Slo, window: BurnWindow, factor: Decimal, min_events: int, min_bad_events: int) -> str:
    """The condition of one policy line: both windows burn faster than ``factor``, on enough events."""
    on = f"on ({', '.join(naming.IDENTITY)})"
    bad, total = tile_metrics(window.long)
    lines = [
        f"{recorded(naming.burn_rate(window.long), slo)} > {number(factor)}",
        f"and {on}\n  {recorded(naming.burn_rate(window.short), slo)} > {number(factor)}",
    ]
    if min_events > 1:
        lines.append(f"and {on}\n  {windowed(total, slo, window.long)} >= {min_events}")
    if min_bad_events > 1:
        lines.append(f"and {on}\n  {windowed(bad, slo, window.long)} >= {min_bad_events}")
    return "\n".join(lines)
