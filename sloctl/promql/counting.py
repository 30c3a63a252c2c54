"""Counts events from raw counters, to the last one.

``rate`` and ``increase`` extrapolate (up to 16 % off over a few scrapes) and never see what a counter held when it
first appeared. Here the last sample before a window is subtracted from the last sample in it, so that the increments of
adjoining windows add up to the counter. :func:`counted` takes three parts apart, which add up per counter:

``continued``
    What the counter holds now, less what it held before the window or, if it was not there, when it first came.
``restarted``
    What a counter that restarted in the window had reached before: ``continued`` has subtracted it.
``new``
    The first value of a counter that was not there before the window, as far as it is known to be new. It is, if other
    counters of its metric and target went on unbroken while it appeared: then it started from zero. It is too, if its
    target had none of its metric for six hours, and was scraped before, or began within the hour. What counters gained
    while their target could not be scraped is new when they return, up to an hour later.

Where none of this can be shown, a first value counts nothing: a merged scrape may lack Envoy's part, and a relabelling
renames all counters of a target at once. Both would turn whole counters into errors.

Each part is a lower bound of the true count. Together they are exact unless a counter restarts more than once in a
window, outgrows there what it held before, or is first seen together with its target. Stale markers do not hide the
sample before the window (a failed scrape writes them for every series of its target): range selectors pass over them.

Of native histograms :func:`counted_histograms` has the same parts, as histograms of what came in the window. Their
first value and their largest are not to be had: one that is not known to be new counts from the end of the fifth of the
window in which it first came, and one that restarted counts what it holds now.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from types import MappingProxyType

from sloctl import naming
from sloctl.model import GRID, LOOKBACK, CounterSli, Matcher, Mesh, SampleSli, Selector, Slo
from sloctl.model.durations import duration, number
from sloctl.promql import flags
from sloctl.promql.alike import members, told_apart
from sloctl.promql.own_events import all_there, normalised, operands, terms
from sloctl.promql.parsing import Select, parse
from sloctl.promql.samples import incomplete, samples, without_sample
from sloctl.promql.services import services, without
from sloctl.promql.syntax import PART, indent, labelled, matched, names, regex_quote, selector, together

SEEN = "1h:5m"
"""How a target is remembered that had a series of an SLI; a subquery reads one sample per step, not all."""
MEMORY = 3600
"""Seconds before a window within which a counter, or a target, counts as known."""
LONG_AGO = "6h:30m"
"""How a target is remembered that had counters longer ago than that: they come back, and are not new."""
AGENT_START = "istio_agent_process_start_time_seconds"
"""When the agent beside a proxy started, in its own scrape."""
POD_START = "kube_pod_start_time"
"""When a pod started, by kube-state-metrics, which is another target: it is found by the pod's name alone."""
STARTS = frozenset({AGENT_START, POD_START})
"""What shows that the first values of a young target are new; both may be missing."""
LE, INFINITY = "le", "+Inf"
FAMILY_MATCHERS = ("reporter", LE)
"""The labels whose values choose a family's counters; all others tell outcomes apart."""
FIRST_SLOTS = 5
"""Parts of a window in which the first sample of a native histogram is looked for; of most scrapes each has one."""
NO_SIBLINGS: Mapping[str, str] = MappingProxyType({})
"""A metric of which nothing is known but the counters in question: they are each other's siblings."""


def _either(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"({' or '.join(texts)})"


def _each(function: str, series: Sequence[str], past: str) -> str:
    """A function of the past of all series of some selectors, which have none in common."""
    return _either([f"{function}({one}{past})" for one in series])


def counted(
    series: Sequence[str], window: float, mesh: Mesh, siblings: str = "", scopes: Sequence[str] = ()
) -> dict[str, str]:
    """What each matching counter counted in the last ``window`` seconds, in the parts that the module's text names.

    ``series`` are selectors that have no series in common; the results have their labels, without the metric's name.
    ``siblings`` selects the counters whose going on shows that one that is not there is new: of the same metric,
    without what tells outcomes apart; and with the same value of each label of ``scopes``.
    """
    w, reach = f"[{duration(window)}]", f"[{duration(LOOKBACK)}] offset {duration(window)}"
    now, first = _each("last_over_time", series, w), _each("min_over_time", series, w)
    peak, before = _each("max_over_time", series, w), _each("last_over_time", series, reach)
    known = _each("last_over_time", series, f"[{duration(MEMORY)}] offset {duration(window)}")
    samples, on = _each("count_over_time", series, w), names(_keys(mesh, scopes))
    return {
        "continued": f"{now}\n- ({before}\n  or {first})",
        "restarted": f"{peak} > {now} >= {before}\nor {before} > {first}",
        "new": (
            f"({first} - {known} >= 0\n"
            f"  or {first})\n"
            # One that has ended has fewer samples than its target for another reason.
            f"and (({samples} and {_either(series)}\n"
            f"  or 1e9 + {samples}) unless {before}) < on ({on}) group_left () (\n"
            f"{indent(_proof(siblings or series[0], window, mesh, scopes, samples))}\n"
            f")"
        ),
    }


def _keys(mesh: Mesh, scopes: Sequence[str]) -> list[str]:
    """The labels by which counters belong together of which one proves another: of one target, and one scope."""
    return list(dict.fromkeys((*mesh.target_labels, *scopes)))


def _proof(siblings: str, window: float, mesh: Mesh, scopes: Sequence[str], asked: str) -> str:
    """By target, the samples of which a counter that was not there before the window has fewer if it is new.

    They are infinitely many where a sibling went on, under its own name and with a sample of each scrape, or returned
    with the target; and where there was none for six hours, although the target was scraped, or as its process is
    younger. Of a target that was not scraped before, a counter is new that it was once scraped without.

    With ``scopes``, by these labels too: what is known of the target holds for each scope of which it has a counter
    (``asked``, the samples of those that are counted).
    """
    target, up = names(mesh.target_labels), selector("up", mesh.matchers)
    on = names(_keys(mesh, scopes))
    w, reach = duration(window), f"[{duration(LOOKBACK)}] offset {duration(window)}"
    lately = f"last_over_time({siblings}{reach})"
    known = f"last_over_time({siblings}[{duration(MEMORY)}] offset {w})"
    samples = f"count_over_time({siblings}[{w}])"
    young = f"> time() - {number(window + MEMORY)}"
    there = f"[{duration(max(window, LOOKBACK))}]"  # a pod may end before the window does
    began = [f"last_over_time({selector(AGENT_START, mesh.matchers)}{there}) {young}"]
    if "pod" in mesh.target_labels:
        began += [
            f"last_over_time({up}[{w}]) and on (pod) (min by (pod) (last_over_time({POD_START}{there})) {young})"
        ]
    # What is said of a target, of each scope.
    each = f"0 * group by ({on}) ({asked}) + on ({target}) group_left () " if scopes else ""
    opened, closed = ("(", ")") if scopes else ("", "")
    return "\n".join(
        (
            f"Inf + group by ({on}) (",
            f"  {samples} and ({lately}",
            f"    unless {samples} < on ({target}) group_left () sum by ({target}) (sum_over_time({up}[{w}]))",
            f"    or {known} unless on ({on}) {lately})",
            ")",
            f"or ({each}{opened}Inf + group by ({target}) (",
            indent("\nor ".join(began)),
            f"){closed}",
            f"  or {each}(Inf + group by ({target}) (max_over_time({up}{reach}) > 0)",
            f"    or max by ({target}) (sum_over_time({up}[{duration(window + LOOKBACK)}])))",
            f"    unless on ({on}) last_over_time({siblings}[{LONG_AGO}] offset {w})",
            f") unless on ({on}) {known}",
        )
    )


def increments(series: str | Sequence[str], window: float, mesh: Mesh, siblings: str = "") -> str:
    """Events that each matching counter counted in the last ``window`` seconds: the sum of :func:`counted`."""
    parts = counted((series,) if isinstance(series, str) else series, window, mesh, siblings)
    return f"sum without ({PART}) (\n{indent(together(parts))}\n)"


def counted_histograms(
    series: str, window: float, mesh: Mesh, siblings: str = "", scopes: Sequence[str] = ()
) -> dict[str, str]:
    """What each native histogram that a selector matches observed in the last ``window`` seconds, as :func:`counted`.

    What one gained between the last sample before it restarted and the one before the window is not counted.
    """
    w, reach = f"[{duration(window)}]", f"[{duration(LOOKBACK)}] offset {duration(window)}"
    now, before = f"last_over_time({series}{w})", f"last_over_time({series}{reach})"
    known = f"last_over_time({series}[{duration(MEMORY)}] offset {duration(window)})"
    samples, on = f"count_over_time({series}{w})", names(_keys(mesh, scopes))
    slot = ceil(window / FIRST_SLOTS)
    first = "\n  or ".join(
        f"last_over_time({series}[{duration(slot)}]{f' offset {duration(slot * later)}' if later else ''})"
        for later in reversed(range(FIRST_SLOTS))
    )
    # A restart is between two samples, of which the first may lie before the window.
    restarted = f"resets({series}[{duration(window + LOOKBACK)}]) > resets({series}{reach})"
    return {
        "continued": f"{now} - ({before}\n  or {first})\nunless {restarted}",
        "restarted": f"{now}\nand {restarted}",
        "new": (
            f"(({first}) - {known}\n"
            f"  unless histogram_count({first}) < histogram_count({known})\n"
            f"  or {first})\n"
            f"and (({samples} and {series}\n"
            f"  or 1e9 + {samples}) unless {before}) < on ({on}) group_left () (\n"
            f"{indent(_proof(siblings or series, window, mesh, scopes, samples))}\n"
            f")"
        ),
    }


def _observed(histograms: str, le: str, now: str) -> str:
    """How many observations of some histograms are within a bound; ``now`` are the series that they are of.

    None of none are within it, of which the share is no number. A share times its whole is rounded to thousandths: it
    is not the whole number that it was of.
    """
    count = f"histogram_count(\n{indent(histograms)}\n)"
    if le == INFINITY:
        return count
    share = f"histogram_fraction(-Inf, {le},\n{indent(histograms)}\n)"
    within = f"{share}\n* {count},\n0.001"
    return f"round(\n{indent(within)}\n) >= 0\nor 0 * histogram_count({now})"


def _bound(part: Selector) -> str:
    """The bound that a selector of native histograms names, as it is recorded."""
    [text] = [matcher.value for matcher in part.matchers if matcher.label == LE]
    return text.partition("|")[0].replace("\\", "")


def scope(slo: Slo, sli: CounterSli, *, overridden: bool = True) -> tuple[Matcher, ...]:
    """Matchers that keep the series of the SLO's service, or of the services of its namespace less the overridden.

    Where the SLI is of some requests, of these alone.
    """
    all_of = members(slo)
    matchers = [_any_value(sli.namespace_label, [one.namespace for one in all_of])] if slo.namespace else []
    if not slo.wildcard:
        matchers.append(_any_value(sli.service_label, [one.service for one in all_of]))
    else:
        matchers.append(services(sli.service_label, slo.overridden if overridden else ()))
    return (*matchers, *sli.where)


def full_selector(slo: Slo, sli: CounterSli, part: Selector, mesh: Mesh) -> str:
    """One of an SLI's selectors with the SLO's scope and the mesh's own matchers."""
    return selector(part.metric, (*_matched(sli, part), *scope(slo, sli), *mesh.matchers))


def _matched(sli: CounterSli, part: Selector) -> tuple[Matcher, ...]:
    """What a selector asks of raw series: of native histograms no bound."""
    return tuple(m for m in part.matchers if not (sli.native and m.label == LE))


def _family(sli: CounterSli) -> Selector:
    """All counters that an SLI reads, whatever the outcome; of a histogram one for each."""
    [part, *_] = sli.total
    return replace(part, matchers=tuple(m for m in part.matchers if m.label in FAMILY_MATCHERS))


def siblings_of(slo: Slo, sli: CounterSli, mesh: Mesh) -> str:
    """All counters of an SLI's family in the SLO's scope: also those of other requests show that one is new."""
    return _of_family(slo, replace(sli, where=()), mesh)


def _of_family(slo: Slo, sli: CounterSli, mesh: Mesh) -> str:
    family = _family(sli)
    return selector(
        family.metric, (*_matched(sli, family), *scope(slo, sli, overridden=False), *mesh.matchers)
    )


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
    With ``flag``, a pattern of :func:`flags.kept`, it also has the flag that this finds. Members of an ``Alike`` have
    the labels that tell them apart.
    """
    place = _places(slo, sli)
    if not place and not flag:
        by = f"by ({', '.join(keep)}) " if keep else ""
        return f"{operator} {by}(\n{indent(per_series)}\n)"
    raw = ", ".join((*place, *keep, *((flags.LABEL,) if flag else ())))
    text = f"{operator} by ({raw}) (\n{indent(per_series)}\n)"
    if flag:
        text, keep = flags.one_of(text, flag), (*keep, naming.FLAG)
    if not place:
        return f"sum by ({', '.join(keep)}) ({text})"
    for label, source in ((naming.NAMESPACE, sli.namespace_label), (naming.SERVICE, sli.service_label)):
        if source in place:
            text = f'label_replace({text}, "{label}", "$1", "{source}", "(.*)")'
    return f"sum by ({', '.join((*naming.IDENTITY, *keep))}) ({text})"


def _places(slo: Slo, sli: CounterSli) -> tuple[str, ...]:
    """The labels of raw series that say whose an SLO's events are; none where all are of one service."""
    return (sli.namespace_label, sli.service_label) if slo.wildcard else told_apart(slo)


def base_families(slos: Sequence[Slo]) -> list[list[Slo]]:
    """The SLOs of one scope that read the same raw counters: those of a family, and of the same requests of it."""
    families: dict[tuple[str, tuple[Matcher, ...]], list[Slo]] = {}
    for slo in slos:
        if isinstance(slo.sli, CounterSli):
            families.setdefault((naming.family(slo.sli), slo.sli.where), []).append(slo)
    return list(families.values())


def filter_label(sli: CounterSli) -> dict[str, str]:
    """The label that base events of some requests of a service have; those of all have none."""
    return {naming.FILTER: matched(sli.where)} if sli.where else {}


def base_rules(family: Sequence[Slo], mesh: Mesh, window: int) -> list[tuple[dict[str, str], str]]:
    """Events of one family of counters per service, in the detail that its SLOs tell apart: a rule for each part.

    Each has the labels that tell it from the others. Raw series are read here and nowhere else: once per scope and
    step, whatever the number of SLOs.
    """
    sli = _counter(family[0])
    parts = [part for member in family for part in _parts(_counter(member))]
    kept = [
        matcher
        for label in FAMILY_MATCHERS
        if (matcher := _any_of(label, [m for part in parts for m in part.matchers if m.label == label]))
    ]
    where = scope(family[0], sli, overridden=False)
    if sli.native:
        return _base_of_histograms(family[0], sli, parts, mesh, window)
    series = selector(parts[0].metric, (*kept, *where, *mesh.matchers))
    keep, flag = naming.FAMILY_LABELS[naming.family(sli)], flags.kept(parts)
    return [
        ({naming.COUNTED: kind}, _identified(family[0], sli, text, keep, flag=flag))
        for kind, text in counted(
            [series], window, mesh, siblings_of(family[0], sli, mesh) if sli.where else ""
        ).items()
    ]


def _base_of_histograms(
    slo: Slo, sli: CounterSli, parts: Sequence[Selector], mesh: Mesh, window: int
) -> list[tuple[dict[str, str], str]]:
    """As :func:`base_rules`, of native histograms: what is within each bound that an SLO names."""
    series, siblings = _of_family(slo, sli, mesh), siblings_of(slo, sli, mesh)
    keep = [label for label in naming.FAMILY_LABELS[naming.family(sli)] if label != LE]
    now = f"last_over_time({series}[{duration(window)}])"
    return [
        ({LE: le, naming.COUNTED: kind}, _identified(slo, sli, _observed(text, le, now), keep))
        for le in dict.fromkeys(map(_bound, parts))
        for kind, text in counted_histograms(series, window, mesh, siblings).items()
    ]


def base_labels(family: Sequence[Slo]) -> tuple[str, ...]:
    """The labels besides the service's that :func:`base_rules` leaves."""
    sli = _counter(family[0])
    looks = flags.kept(part for member in family for part in _parts(_counter(member)))
    return (*naming.FAMILY_LABELS[naming.family(sli)], *((naming.FLAG,) if looks else ()))


def _any_value(label: str, values: Sequence[str]) -> Matcher:
    """The matcher of a label that has one of some values."""
    different = dict.fromkeys(values)
    if len(different) == 1:
        return Matcher(label, "=", *different)
    return Matcher(label, "=~", "|".join(map(regex_quote, different)))


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
    # No quantifier gives back what it took: else the time grows with the cube of the blanks.
    r"\b(rate|increase)\s*+\(\s*+"
    r"((?:[a-zA-Z_:][a-zA-Z0-9_:]*+)?+\s*+(?:\{(?:[^\"'`{}]|\"(?:\\.|[^\"\\])*+\"|'(?:\\.|[^'\\])*+')*+\})?+)"
    r"\s*+\[\s*+\$window\s*+\]\s*+\)"
)


def range_calls(expr: str) -> tuple[list[tuple[str, str]], str]:
    """The ``rate(selector[$window])`` and ``increase(…)`` calls of a user's expression, and what is left.

    Each call is (function, selector); in the rest every call is replaced by ``vector(1)``.
    """
    calls = [(match[1], normalised(match[2].strip())) for match in _RANGE_CALL.finditer(expr)]
    return calls, _RANGE_CALL.sub("vector(1)", expr)


def user_expression(
    expr: str,
    window: float,
    mesh: Mesh,
    siblings: Mapping[str, str] = NO_SIBLINGS,
    *,
    slo: Slo | None = None,
) -> str:
    """A user's expression as events in the last ``window`` seconds, counted as :func:`increments` counts.

    ``siblings`` has the counters that show whether others of their metric are new, by metric. Of an ``slo`` with a
    label ``per``, the result is by its values.
    """
    by = f"sum by ({slo.per})" if slo is not None and slo.per else "sum"

    def count(call: re.Match[str]) -> str:
        series = normalised(call[2].strip())
        text = increments(valued(slo, series), window, mesh, siblings.get(_metric(series), series))
        return f"(\n{indent(text)}\n)"

    sums = [f"{by} (\n{indent(_RANGE_CALL.sub(count, term))}\n)" for term in terms(expr)]
    if len(sums) == 1:
        return sums[0]
    # A term without series has counted nothing, and must not take the others with it.
    apart = together({str(number): text for number, text in enumerate(sums)})
    return f"{by} (\n{indent(apart)}\n)"


def valued(slo: Slo | None, series: str) -> str:
    """The series of a selector of one's own that have a value of the SLO's label ``per``, less the overridden."""
    if slo is None or not slo.per:
        return series
    more = matched((Matcher(slo.per, "!=", ""), *without(slo.per, slo.overridden)))
    head = series.removesuffix("}").rstrip().removesuffix(",") if series.endswith("}") else f"{series}{{"
    return f"{head}{'' if head.endswith('{') else ','}{more}}}"


def of_values(slo: Slo, per_series: str, operator: str = "sum") -> str:
    """Aggregate values of one's own series to one, or to one of each value of the label ``per``."""
    by = f"{operator} by ({slo.per})" if slo.per else operator
    return called(slo, f"{by} (\n{indent(per_series)}\n)")


def called(slo: Slo, by_value: str) -> str:
    """What there is of each value of the label ``per``, with the value as its service; all else as it is."""
    if not slo.per:
        return by_value
    text = f'label_replace(\n{indent(by_value)},\n  "{naming.SERVICE}", "$1", "{slo.per}", "(?s)(.*)"\n)'
    text = labelled(text, naming.NAMESPACE, slo.namespace)
    return f"sum by ({', '.join(naming.IDENTITY)}) (\n{indent(text)}\n)"


def _metric(series: str) -> str:
    node = parse(series)
    return node.metric if isinstance(node, Select) else ""


def _siblings(total: str) -> dict[str, str]:
    """By metric, what counts all events of it: the selector of a total, if there is one only."""
    found: dict[str, set[str]] = {}
    for _, series in range_calls(total)[0]:
        found.setdefault(_metric(series), set()).add(series)
    return {metric: next(iter(series)) for metric, series in found.items() if metric and len(series) == 1}


def events(slo: Slo, mesh: Mesh, window: float, *, other_side: bool = False) -> dict[str, str]:
    """Raw expressions for the events of the last ``window`` seconds: ``total`` and either ``bad`` or ``good``.

    A wildcard's result has the labels ``namespace`` and ``service``, a named service's has none. Bad or good
    events may be missing where none happened yet.
    """
    if isinstance(slo.sli, SampleSli):
        gauge = valued(slo, slo.sli.gauge)
        return {kind: of_values(slo, text) for kind, text in samples(slo.sli, window, gauge).items()}
    if not isinstance(slo.sli, CounterSli):
        texts = {"total": slo.sli.total, "bad": slo.sli.bad, "good": slo.sli.good}
        siblings = _siblings(slo.sli.total)
        found = {
            kind: user_expression(text, window, mesh, siblings, slo=slo)
            for kind, text in texts.items()
            if text
        }
        # Bad events that cannot be told are not zero: then there are no events at all.
        found["total"] = all_there(
            found["total"], operands(slo.sli.bad), duration(window + LOOKBACK), slo.per
        )
        return {kind: called(slo, text) for kind, text in found.items()}
    sli = slo.sli.other_side if other_side else slo.sli
    if sli is None:
        raise ValueError(f"{slo.id} has one side only")
    kinds = {"total": sli.total, "bad": sli.bad, "good": sli.good}
    return {
        kind: _identified(slo, sli, _events_of(slo, sli, parts, mesh, window))
        for kind, parts in kinds.items()
        if parts
    }


def events_by(slo: Slo, mesh: Mesh, window: float, labels: Sequence[str]) -> str:
    """One query for the events of one service in the last ``window`` seconds by labels of the raw counters.

    Its parts (:data:`~sloctl.promql.syntax.PART`) are ``total`` and either ``bad`` or ``good``.
    """
    sli = _counter(slo)
    kinds = {"total": sli.total, "bad": sli.bad, "good": sli.good}
    return together(
        {
            kind: _identified(slo, sli, _events_of(slo, sli, parts, mesh, window), labels)
            for kind, parts in kinds.items()
            if parts
        }
    )


def bad_share(slo: Slo, mesh: Mesh, window: float, *only: Matcher) -> str:
    """What of one service's events with some labels is bad in the last ``window`` seconds, 0…1; nothing without events.

    No bad event is none; no good one of a histogram is not: then the bound may be missing.
    """
    sli = _counter(slo)
    parts = events(replace(slo, sli=replace(sli, where=(*sli.where, *only))), mesh, window)
    total = f"({parts['total']} > 0)"
    if "bad" in parts:
        return f"({parts['bad']} or vector(0))\n/ {total}"
    return f"1 - {parts['good']}\n/ {total}"


def present(slo: Slo, mesh: Mesh, window: float) -> str:
    """Something for each service of which a counter of all events had a sample in the last ``window`` seconds."""
    sli = _counter(slo)
    selectors = [full_selector(slo, sli, part, mesh) for part in sli.total]
    last = _each("last_over_time", selectors, f"[{duration(window)}]")
    return _identified(slo, sli, f"histogram_count({last})" if sli.native else last, operator="max")


def _events_of(slo: Slo, sli: CounterSli, parts: Sequence[Selector], mesh: Mesh, window: float) -> str:
    """What the counters of any of some parts of an SLI counted in the last ``window`` seconds.

    Where it takes several selectors or long ones to say which, all counters of the family are counted and those kept
    that one selects: each then stands once rather than ten times, in a query that a server refuses over 16 KiB.
    """
    selectors = [full_selector(slo, sli, part, mesh) for part in parts]
    siblings, scopes = siblings_of(slo, sli, mesh), told_apart(slo)
    if sli.native:
        [part], [series] = parts, selectors
        found = together(counted_histograms(series, window, mesh, siblings, scopes))
        return _observed(found, _bound(part), f"last_over_time({series}[{duration(window)}])")
    family = _family(sli)
    within = all(part.metric == family.metric and {*family.matchers} <= {*part.matchers} for part in parts)
    if not within or (len(parts) == 1 and not slo.overridden):
        return together(counted(selectors, window, mesh, siblings, scopes))
    kept = _each("last_over_time", selectors, f"[{duration(window)}]")
    return f"(\n{indent(together(counted([siblings], window, mesh, scopes=scopes)))}\n) and ignoring ({PART})\n  {kept}"


def causes_rule(slo: Slo, mesh: Mesh, window: int) -> str:
    """Bad events of the last ``window`` seconds by what tells their causes apart; "" where nothing does.

    They add up to the bad events. Of a latency SLO, what is slow is the rest of two counts.
    """
    if not isinstance(slo.sli, CounterSli):
        return ""

    def by_cause(sli: CounterSli, parts: Sequence[Selector]) -> str:
        return _identified(slo, sli, _events_of(slo, sli, parts, mesh, window), naming.causes(sli))

    if slo.sli.good:
        total, good = by_cause(slo.sli, slo.sli.total), by_cause(slo.sli, slo.sli.good)
        return f"(\n{indent(total)}\n-\n{indent(good)}\n) > 0"
    return f"{by_cause(slo.sli, slo.sli.bad)} > 0"


def unsteady(slo: Slo, mesh: Mesh, window: float) -> str:
    """Something if a window (seconds) may count otherwise than its steps do, else nothing.

    A counter restarted in it, which a window bears once; a target could not be scraped, came and went, or lacked a
    sibling at some of its scrapes, so that what shows that a counter is new is not what shows it in a step; nobody
    scraped it for a while, which a window bridges however long it is. Samples of gauges count alike: what is missing
    of them is told by step.
    """
    if isinstance(slo.sli, SampleSli):
        return incomplete(slo.sli, mesh, window, MEMORY, valued(slo, slo.sli.gauge))
    if isinstance(slo.sli, CounterSli):
        series = [full_selector(slo, slo.sli, part, mesh) for part in slo.sli.total]
    else:
        calls = [call for text in (slo.sli.total, slo.sli.bad, slo.sli.good) for call in range_calls(text)[0]]
        series = list(dict.fromkeys(selected for _, selected in calls))
    on, up, w = names(mesh.target_labels), selector("up", mesh.matchers), duration(window)
    restarts = _either([f"resets({one}[{duration(window + LOOKBACK)}]) > 0" for one in series])
    samples = _each("count_over_time", series, f"[{w}]")
    known = _each("last_over_time", series, f"[{duration(window + MEMORY)}]")
    return "\nor\n".join(
        (
            f"group ({restarts})",
            f"group (max by ({on}) ({samples}) < sum by ({on}) (sum_over_time({up}[{w}])))",
            f"group ((min_over_time({up}[{w}]) < 1\n"
            f"  or (last_over_time({up}[{w}])\n"
            f"    unless on ({on}) ({up} or last_over_time({up}[{duration(LOOKBACK)}] offset {w})))\n"
            f"  or count_over_time((group by ({on}) ({up}))[{w}:{duration(GRID)}]) < {int(window // GRID)}\n"
            f"  ) and on ({on}) {known})",
        )
    )


def largest_step(slo: Slo, mesh: Mesh, window: int) -> str:
    """The most events that a step of the budget grid had in the last ``window`` seconds, by service; not exact."""
    step = duration(GRID)
    if isinstance(slo.sli, CounterSli):
        series = [full_selector(slo, slo.sli, part, mesh) for part in slo.sli.total]
        increases = _each("increase", series, f"[{step}]")
        events = _identified(slo, slo.sli, f"histogram_count({increases})" if slo.sli.native else increases)
    elif isinstance(slo.sli, SampleSli):
        events = of_values(slo, samples(slo.sli, GRID, valued(slo, slo.sli.gauge))["total"])
    else:
        events = of_values(
            slo,
            _RANGE_CALL.sub(lambda call: f"increase({valued(slo, call[2].strip())}[{step}])", slo.sli.total),
        )
    return f"max_over_time((\n{indent(events)}\n)[{duration(window)}:{step}])"


def gap_rule(slo: Slo, mesh: Mesh) -> str:
    """Seconds of the last grid step in which the SLO's targets could not be scraped (mean over the targets).

    Counts the targets that had a series of the SLI within the hour before. 0 to 300; missing without an SLI. Of gauges
    it is the time without a sample.
    """
    if isinstance(slo.sli, SampleSli):
        gauge = valued(slo, slo.sli.gauge)
        return f"{GRID} * {of_values(slo, without_sample(slo.sli, mesh, SEEN, gauge), 'avg')}"
    on = names(mesh.target_labels)
    up = selector("up", mesh.matchers)
    failed = f"* on ({on}) group_left ()\n  (1 - max by ({on}) (avg_over_time({up}[{duration(GRID)}])))"
    if not isinstance(slo.sli, CounterSli):
        calls = [valued(slo, series) for _, series in range_calls(slo.sli.total)[0]]
        seen = " or ".join(f"last_over_time({series}[{SEEN}])" for series in calls)
        labels = names(dict.fromkeys((*((slo.per,) if slo.per else ()), *mesh.target_labels)))
        return f"{GRID} * {of_values(slo, f'group by ({labels}) ({seen}){chr(10)}{failed}', 'avg')}"
    sli = slo.sli
    seen = " or ".join(f"last_over_time({full_selector(slo, sli, part, mesh)}[{SEEN}])" for part in sli.total)
    labels = names((*_places(slo, sli), *mesh.target_labels))
    return (
        f"{GRID} * {_identified(slo, sli, f'group by ({labels}) ({seen}){chr(10)}{failed}', operator='avg')}"
    )


LONG_DARK = GRID // 2
"""Seconds without a sample, at the beginning of a grid step, that are more than two slow scrapes."""


def carried_rule(slo: Slo, mesh: Mesh) -> str:
    """Seconds before the last grid step of which it has events, too: the longest that a target had no counter.

    Up to an hour. Missing where the counters of all targets were read all the time; "" where nothing is carried.
    """
    if isinstance(slo.sli, SampleSli):
        return ""
    labels = names(mesh.target_labels)
    if isinstance(slo.sli, CounterSli):
        series = [siblings_of(slo, slo.sli, mesh)]
        labels = names((*_places(slo, slo.sli), *mesh.target_labels))
    else:
        calls = dict.fromkeys(selected for _, selected in range_calls(slo.sli.total)[0])
        series = [valued(slo, one) for one in calls]
        labels = names(dict.fromkeys((*((slo.per,) if slo.per else ()), *mesh.target_labels)))
    last = _each(
        "max_over_time", [f"timestamp({one})" for one in series], f"[{SEEN}] offset {duration(GRID)}"
    )
    dark = (
        f"time() - {GRID} - max by ({labels}) ({last})\n"
        f"and on ({labels})\n"
        f"  {_each('last_over_time', series, f'[{duration(GRID)}]')}"
    )
    if not isinstance(slo.sli, CounterSli):
        return f"{of_values(slo, dark, 'max')} >= {LONG_DARK}"
    return f"{_identified(slo, slo.sli, dark, operator='max')} >= {LONG_DARK}"
