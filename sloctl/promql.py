"""Every PromQL expression that sloctl writes, built once for rules, dashboards and jobs alike.

It must not know where an expression goes. Windows are seconds.

Counting events
---------------
``rate`` and ``increase`` extrapolate (up to 16 % off over a few scrapes) and never see what a counter held
when it first appeared. :func:`increments` instead subtracts the last sample before a window from the last
sample in it, so that the increments of adjoining windows add up to the counter, and takes four cases apart:

1. the counter has a sample before the window and did not restart: the difference;
2. it restarted: what it gained up to the restart, plus what it counted since;
3. it had no sample before the window, and its target was not being scraped either: the difference within the
   window only, for nobody can say how much of the first value is new (a scrape gap, a Prometheus restart, a
   target added today);
4. it had none although its **target was scraped without it**: it started from zero.

Every case is a lower bound of the true count; all but 3 are exact unless a counter restarts more than once in
a window, outgrows there what it held before it restarted, or restarts or fails its last scrape in the window in
which its target is first scraped. Stale markers do not hide the sample before the
window (a failed scrape writes them for every series of its target), because range selectors pass over them.
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
SEEN = "1h:5m"
"""How a target is remembered that had a series of an SLI; a subquery reads one sample per step, not all."""
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

    Samples of a grid of step ``s`` within ``n·s`` seconds less a millisecond are exactly ``n``, whether a
    range includes its left end (Prometheus 2) or not (Prometheus 3).
    """
    return f"{seconds * 1000 - 1}ms"


def increments(series: str, window: float, mesh: Mesh) -> str:
    """Events that each matching counter counted in the last ``window`` seconds (see the module's text).

    ``series`` is a selector; the result has its labels, without the metric's name.
    """
    w, reach = naming.duration(window), naming.duration(LOOKBACK)
    now = f"last_over_time({series}[{w}])"
    before = f"last_over_time({series}[{reach}] offset {w})"
    peak = f"max_over_time({series}[{w}])"
    least = f"min_over_time({series}[{w}])"
    on = ", ".join(mesh.target_labels)
    up = selector("up", mesh.matchers)
    reset = f"(resets({series}[{w}]) > 0)"
    # The target is new, but was scraped before it had the series. A series that is stale by now does not count: its
    # target was scraped without it after it ended, and it may be old. (Comparing timestamps would say the same, at
    # ten times the cost over a range.)
    begun = (
        f"({series} and ((count_over_time({series}[{w}]) unless {before})\n"
        f"    < on ({on}) group_left () max by ({on}) (sum_over_time({up}[{w}]))))"
    )
    # The rare cases start from sets that are empty as a rule, at which Prometheus stops at once: few of the
    # operators ever see all series.
    return (
        f"  ({now} - {before} * ({before} <= bool {least}) unless {reset})\n"
        f"or\n"
        f"  ({now} and {reset})\n"
        f"  + clamp_min(({peak} and {reset}) - {before}, 0) * (({peak} and {reset}) > bool {now})\n"
        f"or\n"
        f"  ({now} unless {before}\n"
        f"    unless on ({on}) (max_over_time({up}[{reach}] offset {w}) > 0)\n"
        f"    unless {reset}\n"
        f"    unless {begun})\n"
        f"  - {least}\n"
        f"or\n"
        f"  ({now} unless {before})"
    )


def indent(text: str, spaces: int = 2) -> str:
    """``text`` with every line moved right."""
    pad = " " * spaces
    return "\n".join(pad + line for line in text.split("\n"))


def scope(slo: Slo, sli: CounterSli, *, overridden: bool = True) -> tuple[Matcher, ...]:
    """Matchers that keep the series of the SLO's service, or of its namespace less the overridden services."""
    matchers = [Matcher(sli.namespace_label, "=", slo.namespace)] if slo.namespace else []
    if not slo.wildcard:
        matchers.append(Matcher(sli.service_label, "=", slo.service))
    elif overridden:
        matchers += _without(sli.service_label, slo.overridden)
    return tuple(matchers)


def _without(label: str, names: Sequence[str]) -> list[Matcher]:
    if len(names) <= 1:
        return [Matcher(label, "!=", name) for name in names]
    return [Matcher(label, "!~", "|".join(regex_quote(name) for name in names))]


def full_selector(slo: Slo, sli: CounterSli, part: Selector, mesh: Mesh) -> str:
    """One of an SLI's selectors with the SLO's scope and the mesh's own matchers."""
    return selector(part.metric, (*part.matchers, *scope(slo, sli), *mesh.matchers))


def _identified(
    slo: Slo, sli: CounterSli, per_series: str, keep: Sequence[str] = (), operator: str = "sum"
) -> str:
    """Aggregate per-series values to one per service (and per value of the labels ``keep``).

    A wildcard's result has the labels ``namespace`` and ``service``; a named service's gets them from its rule.
    """
    if not slo.wildcard:
        by = f"by ({', '.join(keep)}) " if keep else ""
        return f"{operator} {by}(\n{indent(per_series)}\n)"
    raw = ", ".join((sli.namespace_label, sli.service_label, *keep))
    text = f"{operator} by ({raw}) (\n{indent(per_series)}\n)"
    for label, source in ((naming.NAMESPACE, sli.namespace_label), (naming.SERVICE, sli.service_label)):
        text = f'label_replace(\n{indent(text)},\n  "{label}", "$1", "{source}", "(.*)"\n)'
    return f"sum by ({', '.join((*naming.IDENTITY, *keep))}) (\n{indent(text)}\n)"


def base_families(slos: Sequence[Slo]) -> dict[str, list[Slo]]:
    """The families of raw counters that some SLOs of one scope read, with the SLOs that read them."""
    families: dict[str, list[Slo]] = {}
    for slo in slos:
        if isinstance(slo.sli, CounterSli):
            families.setdefault(naming.family(slo.sli), []).append(slo)
    return families


def base_rule(family: Sequence[Slo], mesh: Mesh, window: int) -> str:
    """Events of one family of counters per service, in the detail that its SLOs tell apart.

    Raw series are read here and nowhere else: once per scope and step, whatever the number of SLOs.
    """
    sli = _counter(family[0])
    parts = [part for member in family for part in _parts(_counter(member))]
    kept = [
        matcher
        for label in ("reporter", "le")
        if (matcher := _any_of(label, [m for part in parts for m in part.matchers if m.label == label]))
    ]
    where = scope(family[0], sli, overridden=False)
    series = selector(parts[0].metric, (*kept, *where, *mesh.matchers))
    return _identified(
        family[0], sli, increments(series, window, mesh), naming.FAMILY_LABELS[naming.family(sli)]
    )


def _any_of(label: str, matchers: Sequence[Matcher]) -> Matcher | None:
    """One matcher for what any of some positive matchers of a label accepts."""
    if len({(m.op, m.value) for m in matchers}) <= 1:
        return matchers[0] if matchers else None
    patterns = {regex_quote(m.value) if m.op == "=" else m.value for m in matchers}
    return Matcher(label, "=~", "|".join(sorted(patterns)))


def _counter(slo: Slo) -> CounterSli:
    assert isinstance(slo.sli, CounterSli)
    return slo.sli


def _parts(sli: CounterSli) -> tuple[Selector, ...]:
    other = (*sli.other_side.total, *sli.other_side.bad, *sli.other_side.good) if sli.other_side else ()
    return (*sli.total, *sli.bad, *sli.good, *other)


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


def user_expression(expr: str, window: float, mesh: Mesh) -> str:
    """A user's expression as events in the last ``window`` seconds, counted as :func:`increments` counts."""
    text = _RANGE_CALL.sub(
        lambda match: f"(\n{indent(increments(match[2].strip(), window, mesh))}\n)", expr.strip()
    )
    return f"sum (\n{indent(text)}\n)"


def events(slo: Slo, mesh: Mesh, window: float, *, other_side: bool = False) -> dict[str, str]:
    """Raw expressions for the events of the last ``window`` seconds: ``total`` and either ``bad`` or ``good``.

    A wildcard's result has the labels ``namespace`` and ``service``, a named service's has none. Bad or good
    events may be missing where none happened yet.
    """
    if not isinstance(slo.sli, CounterSli):
        texts = {"total": slo.sli.total, "bad": slo.sli.bad, "good": slo.sli.good}
        return {kind: user_expression(text, window, mesh) for kind, text in texts.items() if text}
    sli = slo.sli.other_side if other_side else slo.sli
    if sli is None:
        raise ValueError(f"{slo.id} has one side only")
    kinds = {"total": sli.total, "bad": sli.bad, "good": sli.good}
    return {
        kind: _identified(
            slo,
            sli,
            "\nor\n".join(increments(full_selector(slo, sli, part, mesh), window, mesh) for part in parts),
        )
        for kind, parts in kinds.items()
        if parts
    }


def labelled(expr: str, label: str, value: str) -> str:
    """``expr`` with one more label on every series."""
    return f'label_replace(\n{indent(expr)},\n  "{label}", {quote(value.replace("$", "$$"))}, "", ""\n)'


def union(exprs: Iterable[str], limit: int = 100_000) -> list[str]:
    """Queries of at most about ``limit`` characters that together have the series of all ``exprs``."""
    queries: list[str] = []
    for expr in exprs:
        if queries and len(queries[-1]) + len(expr) < limit:
            queries[-1] += f"\nor\n{expr}"
        else:
            queries.append(expr)
    return queries


def of_set(metric: str, set_name: str, window: int, *, offset: int = 0, operator: str = "sum") -> str:
    """A recorded metric summed over a window (seconds) for every SLO of a set, by SLO and service."""
    series = selector(metric, (Matcher(naming.SLO_SET, "=", set_name),))
    shift = f" offset {naming.duration(offset)}" if offset else ""
    by = ", ".join((naming.SLO_ID, *naming.IDENTITY))
    return f"{operator} by ({by}) ({operator}_over_time({series}[{milliseconds(window)}]{shift}))"


def last_instant(set_name: str) -> str:
    """Unix time of the last budget-grid instant of every SLO of a set."""
    series = selector(naming.TOTAL_GRID, (Matcher(naming.SLO_SET, "=", set_name),))
    late = f"max_over_time(timestamp({series})[{naming.duration(2 * GRID + TILE)}:{naming.duration(TILE)}])"
    return f"max by ({naming.SLO_ID}) (timestamp({series}) or {late})"


def firing(set_name: str) -> str:
    """The alerts of a set that fire."""
    matchers = (Matcher("alertstate", "=", "firing"), Matcher(naming.SLO_SET, "=", set_name))
    return selector("ALERTS", matchers)


def evaluated(slos: Sequence[Slo]) -> str:
    """Something if Prometheus evaluated the rules of some SLOs with a policy in the last minutes, else nothing."""
    windows = sorted({line.short for slo in slos if slo.policy for line in slo.policy.windows})
    matcher = (Matcher(naming.SLO_SET, "=", slos[0].set_name),)
    return " or ".join(f"count({selector(naming.burn_rate(window), matcher)})" for window in windows)


def base_of_set(set_name: str, family: str, parts: Sequence[Selector], window: int) -> str:
    """Recorded base events of a set over a window (seconds), by scope and service."""
    metric = naming.base_metric(family, GRID)
    by = ", ".join((naming.SCOPE, *naming.IDENTITY))
    series = " or ".join(
        f"sum_over_time({selector(metric, (Matcher(naming.SLO_SET, '=', set_name), *part.matchers))}"
        f"[{milliseconds(window)}])"
        for part in parts
    )
    return f"sum by ({by}) ({series})"


def recorded(metric: str, slo: Slo) -> str:
    """The selector of a recorded series of one definition (all of its services)."""
    return selector(metric, (Matcher(naming.SLO_ID, "=", slo.id),))


def _just_recorded(series: str) -> str:
    """What a rule earlier in the group recorded at this very instant.

    An instant selector would look back five minutes: after a restart, Prometheus has written no stale markers,
    and the last events before it would be counted again for series that have none now.
    """
    return f"last_over_time({series}[1s])"


def _recorded_events(slo: Slo, sli: CounterSli, parts: Sequence[Selector], window: int) -> str:
    metric = naming.base_metric(naming.family(sli), window)
    where = [Matcher(naming.SCOPE, "=", slo.scope)]
    if slo.wildcard:
        where += _without(naming.SERVICE, slo.overridden)
    series = "\nor\n".join(_just_recorded(selector(metric, (*where, *part.matchers))) for part in parts)
    by = f"sum by ({', '.join(naming.IDENTITY)})"
    return f"{by} ({series})" if len(parts) == 1 else f"{by} (\n{indent(series)}\n)"


def recorded_events(slo: Slo, mesh: Mesh, window: int, *, other_side: bool = False) -> dict[str, str]:
    """As :func:`events`, but over the series that :func:`base_rule` recorded (raw for a user's expressions)."""
    if not isinstance(slo.sli, CounterSli):
        return events(slo, mesh, window)
    sli = slo.sli.other_side if other_side else slo.sli
    if sli is None:
        raise ValueError(f"{slo.id} has one side only")
    kinds = {"total": sli.total, "bad": sli.bad, "good": sli.good}
    return {kind: _recorded_events(slo, sli, parts, window) for kind, parts in kinds.items() if parts}


def _join(slo: Slo) -> str:
    return f"on ({', '.join(naming.IDENTITY)})" if isinstance(slo.sli, CounterSli) else "on ()"


def total_rule(slo: Slo, mesh: Mesh, window: int) -> str:
    """What is recorded as the total events of a grid step."""
    return recorded_events(slo, mesh, window)["total"]


def bad_rule(slo: Slo, mesh: Mesh, window: int) -> str:
    """What is recorded as the bad events of a grid step, just after the total events.

    No bad series is no bad event as long as there is a total. No good series next to a total is different: the
    histogram lacks the bound, so nothing is known and nothing is recorded.
    """
    parts = recorded_events(slo, mesh, window)
    series = _just_recorded(recorded(naming.TOTAL_TILE if window == TILE else naming.TOTAL_GRID, slo))
    if "bad" in parts:
        return f"{parts['bad']}\nor {_join(slo)}\n  0 * {series}"
    return f"clamp_min(\n  {series}\n- {_join(slo)}\n{indent(parts['good'])},\n  0\n)"


def gap_rule(slo: Slo, mesh: Mesh) -> str:
    """Seconds of the last grid step in which the SLO's targets could not be scraped (mean over the targets).

    Counts the targets that had a series of the SLI within the hour before. 0 to 300; missing without an SLI.
    """
    on = ", ".join(mesh.target_labels)
    up = selector("up", mesh.matchers)
    failed = (
        f"* on ({on}) group_left ()\n  (1 - max by ({on}) (avg_over_time({up}[{naming.duration(GRID)}])))"
    )
    if not isinstance(slo.sli, CounterSli):
        seen = " or ".join(f"last_over_time({call[1]}[{SEEN}])" for call in range_calls(slo.sli.total)[0])
        return f"{GRID} * avg (\n  group by ({on}) ({seen})\n{failed}\n)"
    sli = slo.sli
    seen = " or ".join(f"last_over_time({full_selector(slo, sli, part, mesh)}[{SEEN}])" for part in sli.total)
    labels = f"{sli.namespace_label}, {sli.service_label}, {on}" if slo.wildcard else on
    return (
        f"{GRID} * {_identified(slo, sli, f'group by ({labels}) ({seen}){chr(10)}{failed}', operator='avg')}"
    )


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
    """Burn rate over a window: bad over total events, divided by the budget; missing without events."""
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
