"""Counts events from raw counters, to the last one.

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
which its target is first scraped. Stale markers do not hide the sample before the window (a failed scrape writes
them for every series of its target), because range selectors pass over them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sloctl import naming
from sloctl.model import GRID, LOOKBACK, CounterSli, Matcher, Mesh, Selector, Slo
from sloctl.model.durations import duration
from sloctl.promql import flags
from sloctl.promql.own_events import all_there, normalised, operands, terms
from sloctl.promql.services import services
from sloctl.promql.syntax import indent, labelled, regex_quote, selector

SEEN = "1h:5m"
"""How a target is remembered that had a series of an SLI; a subquery reads one sample per step, not all."""


def increments(series: str, window: float, mesh: Mesh, *, ranged: bool = False) -> str:
    """Events that each matching counter counted in the last ``window`` seconds (see the module's text).

    ``series`` is a selector; the result has its labels, without the metric's name. ``ranged`` is for queries over a
    range, where ``timestamp()`` costs older Prometheus ten times as much as all the rest: staleness stands for it
    there, which says the same unless Prometheus and a container both restart within the window in which the
    container's target is first scraped.
    """
    w, reach = duration(window), duration(LOOKBACK)
    now = f"last_over_time({series}[{w}])"
    before = f"last_over_time({series}[{reach}] offset {w})"
    peak = f"max_over_time({series}[{w}])"
    least = f"min_over_time({series}[{w}])"
    on = ", ".join(mesh.target_labels)
    up = selector("up", mesh.matchers)
    reset = f"(resets({series}[{w}]) > 0)"
    # The target is new, but was scraped before it had the series. A series that is missing from the last scrape
    # does not count: its target was scraped without it after it ended, and it may be old.
    fewer = (
        f"((count_over_time({series}[{w}]) unless {before})\n"
        f"    < on ({on}) group_left () max by ({on}) (sum_over_time({up}[{w}])))"
    )
    if ranged:
        begun = f"({series} and {fewer})"
    else:
        last = f"max by ({on}) (timestamp({up}))"
        begun = f"((timestamp({series}) and {fewer})\n    >= on ({on}) group_left () {last})"
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


def scope(slo: Slo, sli: CounterSli, *, overridden: bool = True) -> tuple[Matcher, ...]:
    """Matchers that keep the series of the SLO's service, or of the services of its namespace less the overridden."""
    matchers = [Matcher(sli.namespace_label, "=", slo.namespace)] if slo.namespace else []
    if not slo.wildcard:
        matchers.append(Matcher(sli.service_label, "=", slo.service))
    else:
        matchers.append(services(sli.service_label, slo.overridden if overridden else ()))
    return tuple(matchers)


def full_selector(slo: Slo, sli: CounterSli, part: Selector, mesh: Mesh) -> str:
    """One of an SLI's selectors with the SLO's scope and the mesh's own matchers."""
    return selector(part.metric, (*part.matchers, *scope(slo, sli), *mesh.matchers))


def _identified(
    slo: Slo,
    sli: CounterSli,
    per_series: str,
    keep: Sequence[str] = (),
    operator: str = "sum",
    flag: str = "",
) -> str:
    """Aggregate per-series values to one per service (and per value of the labels ``keep``).

    A wildcard's result has the labels ``namespace`` and ``service``; a named service's gets them from its rule.
    With ``flag``, a pattern of :func:`flags.kept`, it also has the flag that this finds.
    """
    if not slo.wildcard and not flag:
        by = f"by ({', '.join(keep)}) " if keep else ""
        return f"{operator} {by}(\n{indent(per_series)}\n)"
    place = (sli.namespace_label, sli.service_label) if slo.wildcard else ()
    raw = ", ".join((*place, *keep, *((flags.LABEL,) if flag else ())))
    text = f"{operator} by ({raw}) (\n{indent(per_series)}\n)"
    if flag:
        text, keep = flags.one_of(text, flag), (*keep, naming.FLAG)
    if not slo.wildcard:
        return f"sum by ({', '.join(keep)}) (\n{indent(text)}\n)"
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


def base_rule(family: Sequence[Slo], mesh: Mesh, window: int, *, ranged: bool = False) -> str:
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
        family[0],
        sli,
        increments(series, window, mesh, ranged=ranged),
        naming.FAMILY_LABELS[naming.family(sli)],
        flag=flags.kept(parts),
    )


def base_labels(family: Sequence[Slo]) -> tuple[str, ...]:
    """The labels besides the service's that :func:`base_rule` leaves."""
    sli = _counter(family[0])
    looks = flags.kept(part for member in family for part in _parts(_counter(member)))
    return (*naming.FAMILY_LABELS[naming.family(sli)], *((naming.FLAG,) if looks else ()))


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
    calls = [(match[1], normalised(match[2].strip())) for match in _RANGE_CALL.finditer(expr)]
    return calls, _RANGE_CALL.sub("vector(1)", expr)


def user_expression(expr: str, window: float, mesh: Mesh, *, ranged: bool = False) -> str:
    """A user's expression as events in the last ``window`` seconds, counted as :func:`increments` counts."""
    texts = [
        _RANGE_CALL.sub(
            lambda match: (
                f"(\n{indent(increments(normalised(match[2].strip()), window, mesh, ranged=ranged))}\n)"
            ),
            term,
        )
        for term in terms(expr)
    ]
    sums = [f"sum (\n{indent(text)}\n)" for text in texts]
    if len(sums) == 1:
        return sums[0]
    # A term without series has counted nothing, and must not take the others with it.
    apart = "\nor\n".join(labelled(text, "term", str(number)) for number, text in enumerate(sums))
    return f"sum (\n{indent(apart)}\n)"


def events(
    slo: Slo, mesh: Mesh, window: float, *, other_side: bool = False, ranged: bool = False
) -> dict[str, str]:
    """Raw expressions for the events of the last ``window`` seconds: ``total`` and either ``bad`` or ``good``.

    A wildcard's result has the labels ``namespace`` and ``service``, a named service's has none. Bad or good
    events may be missing where none happened yet.
    """
    if not isinstance(slo.sli, CounterSli):
        texts = {"total": slo.sli.total, "bad": slo.sli.bad, "good": slo.sli.good}
        found = {
            kind: user_expression(text, window, mesh, ranged=ranged) for kind, text in texts.items() if text
        }
        # Bad events that cannot be told are not zero: then there are no events at all.
        found["total"] = all_there(found["total"], operands(slo.sli.bad), duration(window + LOOKBACK))
        return found
    sli = slo.sli.other_side if other_side else slo.sli
    if sli is None:
        raise ValueError(f"{slo.id} has one side only")
    kinds = {"total": sli.total, "bad": sli.bad, "good": sli.good}
    return {
        kind: _identified(slo, sli, _counted(slo, sli, parts, mesh, window, ranged=ranged))
        for kind, parts in kinds.items()
        if parts
    }


def _counted(
    slo: Slo, sli: CounterSli, parts: Sequence[Selector], mesh: Mesh, window: float, *, ranged: bool
) -> str:
    """What the counters of any of some parts of an SLI counted in the last ``window`` seconds."""
    selectors = (full_selector(slo, sli, part, mesh) for part in parts)
    return "\nor\n".join(increments(series, window, mesh, ranged=ranged) for series in selectors)


def causes_rule(slo: Slo, mesh: Mesh, window: int, *, ranged: bool = False) -> str:
    """Bad events of the last ``window`` seconds by what tells their causes apart; "" where nothing does.

    They add up to the bad events. A latency SLO has none: what is slow is the rest of two counts.
    """
    if not isinstance(slo.sli, CounterSli) or not slo.sli.bad:
        return ""
    counted = _counted(slo, slo.sli, slo.sli.bad, mesh, window, ranged=ranged)
    return f"{_identified(slo, slo.sli, counted, naming.causes(slo.sli))} > 0"


def gap_rule(slo: Slo, mesh: Mesh) -> str:
    """Seconds of the last grid step in which the SLO's targets could not be scraped (mean over the targets).

    Counts the targets that had a series of the SLI within the hour before. 0 to 300; missing without an SLI.
    """
    on = ", ".join(mesh.target_labels)
    up = selector("up", mesh.matchers)
    failed = f"* on ({on}) group_left ()\n  (1 - max by ({on}) (avg_over_time({up}[{duration(GRID)}])))"
    if not isinstance(slo.sli, CounterSli):
        seen = " or ".join(f"last_over_time({call[1]}[{SEEN}])" for call in range_calls(slo.sli.total)[0])
        return f"{GRID} * avg (\n  group by ({on}) ({seen})\n{failed}\n)"
    sli = slo.sli
    seen = " or ".join(f"last_over_time({full_selector(slo, sli, part, mesh)}[{SEEN}])" for part in sli.total)
    labels = f"{sli.namespace_label}, {sli.service_label}, {on}" if slo.wildcard else on
    return (
        f"{GRID} * {_identified(slo, sli, f'group by ({labels}) ({seen}){chr(10)}{failed}', operator='avg')}"
    )
