"""What is wrong with the queries of a dashboard: their PromQL, what it reads, and how variables are matched in it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Any

from dashboards.lint.variables import (
    STAND_IN,
    Json,
    LintMessages,
    Reference,
    filled,
    has_several,
    marked,
    references,
)
from sloctl.model import Matcher
from sloctl.promql.parsing import Read, Select, selectors

BUILT_IN_SOURCES = frozenset({"-- Grafana --", "-- Mixed --", "-- Dashboard --"})
LONGEST_RAW = 3600
"""Seconds of raw samples that a query may read at once."""
RECORDED = frozenset({"ALERTS", "ALERTS_FOR_STATE"})
"""What rules record under names without a colon."""
_LABEL_VALUES = re.compile(r"label_values\((?:(?P<expr>.+),\s*)?[A-Za-z_$][\w${}:]*\s*\)\s*", re.DOTALL)
_QUERY_RESULT = re.compile(r"query_result\((?P<expr>.+)\)\s*", re.DOTALL)
_NO_EXPRESSION = re.compile(r"(label_names|metrics)\(.*\)\s*", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_:][\w:]*")


def source_problems(source: Any, variables: dict[str, Json], what: str) -> LintMessages:
    """What is wrong with a reference to a data source; ``what`` has it."""
    uid = source.get("uid") if isinstance(source, dict) else source
    if not isinstance(uid, str) or not uid:
        yield "data-source", f'{what} names no data source: write {{"uid": "${{datasource}}"}}'
        return
    if uid in BUILT_IN_SOURCES:
        return
    found = list(references(uid))
    chosen = variables.get(found[0].name) if len(found) == 1 and uid.startswith(("$", "[[")) else None
    if chosen is None or chosen.get("type") != "datasource":
        yield (
            "data-source",
            f"{what} is bound to the data source {uid!r}: declare a variable of type datasource and use it, "
            'for example "${datasource}"',
        )
    elif isinstance(source, dict) and source.get("type") not in (None, chosen.get("query")):
        yield (
            "data-source",
            f"{what} wants a data source of type {source['type']!r}, but {uid} chooses one of type "
            f"{chosen.get('query')!r}: use a variable of the right type",
        )


def asks_prometheus(source: Any, variables: dict[str, Json]) -> bool:
    """Whether a data source is a Prometheus, as far as the dashboard says."""
    if isinstance(source, dict) and source.get("type"):
        return bool(source["type"] == "prometheus")
    uid = source.get("uid") if isinstance(source, dict) else source
    names = [reference.name for reference in references(uid or "")]
    return all(variables.get(name, {}).get("query", "prometheus") == "prometheus" for name in names)


def variable_expression(query: Any) -> str | None:
    """The PromQL in a variable's query, or None if there is none in it. Raises ValueError for an unknown form."""
    text = str((query.get("query") if isinstance(query, dict) else query) or "").strip()
    if _NO_EXPRESSION.fullmatch(text):
        return None
    match = _LABEL_VALUES.fullmatch(text) or _QUERY_RESULT.fullmatch(text)
    if match is None:
        raise ValueError("not a query of a variable")
    return match["expr"]


def read(expr: str) -> tuple[Read, ...]:
    """Every selector of an expression with variables. Raises ValueError where it is not PromQL."""
    problem: ValueError | None = None
    for text in filled(expr):
        try:
            return tuple(selectors(text))
        except ValueError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def metric_names(select: Select) -> tuple[str, ...]:
    """The metrics that a selector can read; none if they cannot be told."""
    names = [select.metric] if select.metric else []
    if not names:
        chosen = [m.value for m in select.matchers if m.label == "__name__" and m.op == "=~"]
        names = [name for value in chosen for name in value.removeprefix("(").removesuffix(")").split("|")]
    return tuple(names) if all(_NAME.fullmatch(name) and STAND_IN not in name for name in names) else ()


def expression_problems(
    expr: str, variables: dict[str, Json], metrics: Container[str] | None, *, samples: bool = True
) -> LintMessages:
    """What is wrong with an expression; ``samples`` says whether it reads samples or only what series there are."""
    try:
        found = read(expr)
    except ValueError as error:
        reason = str(error).strip().splitlines() or ["not PromQL"]
        yield "promql", f"{expr!r} cannot be read as PromQL ({reason[0]}): correct the expression"
        return
    for item in found:
        for matcher in item.select.matchers:
            yield from _unsafe(matcher, variables)
        names = metric_names(item.select)
        if metrics is not None:
            for name in names:
                if name not in metrics:
                    yield (
                        "unknown-metric",
                        f"nothing exposes or records {name}: correct the name, or record it",
                    )
        if samples:
            yield from _too_long(item, names)


def _unsafe(matcher: Matcher, variables: dict[str, Json]) -> LintMessages:
    regex = matcher.op in ("=~", "!~")
    for reference in marked(matcher.value):
        variable = variables.get(reference.name)
        if variable is None:
            continue
        shown = f"{matcher.label}{matcher.op} ${reference.name}"
        if has_several(variable) and not regex:
            better = "=~" if matcher.op == "=" else "!~"
            yield "unsafe-variable", f"{shown}: the variable may have several values; match it with {better}"
        elif regex and not has_several(variable) and not _is_pattern(reference, variable):
            yield (
                "unsafe-variable",
                f"{shown}: Grafana does not escape a variable of one value; match it with "
                f"{'=' if matcher.op == '=~' else '!='}, or write ${{{reference.name}:regex}}",
            )


def _is_pattern(reference: Reference, variable: Json) -> bool:
    """Whether a variable is meant as a regular expression: escaped, or its values are the author's own."""
    return reference.format == "regex" or variable.get("type") in ("custom", "constant")


def _too_long(item: Read, names: tuple[str, ...]) -> LintMessages:
    if names and all(":" in name or name in RECORDED for name in names):
        return
    shown = item.select.metric or "a selector without a name"
    if item.subqueries:
        yield (
            "raw-long-range",
            f"{shown} is read in a subquery, which evaluates raw series again and again: record a series and read that",
        )
    elif item.select.range > LONGEST_RAW:
        yield (
            "raw-long-range",
            f"{shown} is a raw metric and is read over the range shown, over $__interval or over more than an hour: "
            "record a series and read that, or use $__rate_interval",
        )


def target_problems(
    panel: Json, variables: dict[str, Json], metrics: Container[str] | None
) -> Iterator[tuple[str, str]]:
    """What is wrong with the queries of a panel."""
    targets = panel.get("targets") or []
    if targets or panel.get("datasource") is not None:
        yield from source_problems(panel.get("datasource"), variables, "the panel")
    seen: set[str] = set()
    for target in targets:
        ref = str(target.get("refId") or "")
        if not ref:
            yield "duplicate-ref", "a query has no refId: give it one of its own (A, B, …)"
        elif ref in seen:
            yield "duplicate-ref", f"two queries have the refId {ref}: give each one of its own"
        seen.add(ref)
        if target.get("datasource") is not None:
            yield from source_problems(target["datasource"], variables, f"query {ref}")
        source = target.get("datasource") or panel.get("datasource")
        if not asks_prometheus(source, variables):
            continue
        if expr := target.get("expr"):
            yield from expression_problems(str(expr), variables, metrics)
        elif "expr" in target:
            yield "promql", f"query {ref} is empty: write an expression, or remove the query"


def annotation_problems(
    annotation: Json, variables: dict[str, Json], metrics: Container[str] | None
) -> LintMessages:
    """What is wrong with an annotation's query."""
    what = f"the annotation {annotation.get('name')!r}"
    yield from source_problems(annotation.get("datasource"), variables, what)
    target = annotation.get("target")
    expr = annotation.get("expr") or (target.get("expr") if isinstance(target, dict) else None)
    if expr and asks_prometheus(annotation.get("datasource"), variables):
        yield from expression_problems(str(expr), variables, metrics)


def variable_problems(
    variable: Json, variables: dict[str, Json], metrics: Container[str] | None
) -> LintMessages:
    """What is wrong with a variable's query."""
    if variable.get("type") != "query":
        return
    yield from source_problems(variable.get("datasource"), variables, f"the variable ${variable.get('name')}")
    if not asks_prometheus(variable.get("datasource"), variables):
        return
    try:
        expr = variable_expression(variable.get("query"))
    except ValueError:
        yield (
            "promql",
            f"the query of ${variable.get('name')} is none that Grafana knows: write label_values(metric, label)",
        )
        return
    if expr:
        yield from expression_problems(
            expr, variables, metrics, samples="query_result" in str(variable["query"])
        )
