"""Checks PromQL that users write for ``events`` SLIs.

Such an expression is embedded in larger ones, and each ``rate(selector[$window])`` in it is replaced by exact
counting. So it must be complete PromQL by itself, without comments, and every range must be of that form. Its value
must be a number of events, for it is evaluated over windows of all lengths and the results are added up.
``promql_parser`` is imported only when there is an expression to check.
"""

from __future__ import annotations

import re

from sloctl import promql
from sloctl.promql.parsing import (
    COMPARISONS,
    Aggregate,
    Binary,
    Call,
    Expr,
    Literal,
    Select,
    children,
    parse,
    reads,
)
from sloctl.spec.fields.values import Complaint

_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`[^`]*`')
_OTHER_VARIABLE = re.compile(r"\$\{?\w+\}?|\{\{[^{}]*+\}\}")
_WINDOW_CALL = re.compile(
    r"\b(\w++)\s*+\((?:[^()\[]|\[(?!\s*\$window\s*\]))*+\[\s*+\$window\s*+\](\s*+(?:offset|@))?"
)
_DEEPEST = 256
_FORM = 'write rate(metric{label="value"}[$window])'


def check(text: str, per: str = "") -> Complaint | None:
    """What is wrong with an expression, or None. With ``per``, its result must have this label."""
    outside = _STRING.sub('""', text)
    if any("$window" in literal for literal in _STRING.findall(text)):
        return Complaint("promql-window", "'$window' stands inside quotes", _FORM)
    if re.search(r"[\"'`]", outside.replace('""', "")):
        return Complaint("promql-syntax", "a quotation mark is not closed", "close it")
    if "#" in outside:
        return Complaint(
            "promql-comment", "comments are not allowed in an expression", "put it in 'description'"
        )
    if (complaint := too_deep(text)) is not None:
        return complaint
    calls, rest = promql.range_calls(text)
    rest_outside = _STRING.sub('""', rest)
    complaint = _ranges(calls, rest_outside)
    if complaint is not None:
        return complaint
    return _parses(text, rest, calls, per)


def _ranges(calls: list[tuple[str, str]], rest: str) -> Complaint | None:
    """Every range is ``[$window]``, directly in ``rate`` or ``increase``, and there is one at least."""
    if variable := _OTHER_VARIABLE.search(rest):
        if variable[0] not in ("$window", "${window}"):
            return Complaint(
                "promql-window", f"unknown variable '{variable[0][:40]}'", "the window is [$window]"
            )
        if variable[0] == "${window}":
            return Complaint("promql-window", "the window is written without braces", "write [$window]")
        return Complaint("promql-window", _where_window(rest), _FORM)
    if bracket := re.search(r"\[[^\]]*\]?", rest):
        if ":" in bracket[0] and not re.fullmatch(r"\[[0-9a-z]+\]", bracket[0]):
            return Complaint("promql-window", "a subquery cannot be counted exactly", _FORM)
        return Complaint(
            "promql-window",
            f"the range {bracket[0][:40]} is fixed, but sloctl evaluates the expression over many windows",
            "write [$window] instead",
        )
    if not calls:
        if re.search(r"\b(rate|increase|irate|delta)\s*\(", rest):
            return Complaint("promql-window", "the range is missing", _FORM)
        return Complaint("promql-window", "nothing is counted over the window", _FORM)
    return None


def _where_window(rest: str) -> str:
    call = _WINDOW_CALL.search(rest)
    if call is None:
        return "'$window' is not a range of rate() or increase()"
    if call[2]:
        return "a range cannot be moved with 'offset' or '@'"
    if call[1] not in ("rate", "increase"):
        return f"{call[1]}() cannot be counted exactly; only rate() and increase() of a counter can"
    return f"{call[1]}() needs a plain selector and [$window]"


def _parses(text: str, rest: str, calls: list[tuple[str, str]], per: str) -> Complaint | None:
    import promql_parser

    plain = re.sub(r"\[\s*\$window\s*\]", "[5m]", text)
    for candidate in (plain, rest, *(f"rate({selector}[5m])" for _, selector in calls)):
        try:
            promql_parser.parse(candidate)
        except ValueError as error:
            said = " ".join(str(error).split())[:200].replace("[5m]", "[$window]")
            return Complaint("promql-syntax", f"not valid PromQL: {said}", _syntax_hint(said))
    try:
        promql_parser.parse(f"sum (\n{plain}\n)")
    except ValueError:
        message = "the expression must be a vector (it is summed up), not a number or a text"
        return Complaint("promql-type", message, _FORM)
    tree = parse(plain)
    return _events(tree, joined=bool(per)) or (_keeps(tree, per) if per else None)


def too_deep(text: str) -> Complaint | None:
    """That an expression has more levels than everything that walks its tree can go down."""
    outside = re.sub(r"\{[^{}]*\}", "", _STRING.sub('""', text))
    deepest = level = 0
    for sign in re.findall(r"[-+*/%^()]|[<>=!]+|\b(?:or|and|unless)\b", outside):
        # An operator stands beside others of its level, and in the tree below them.
        level += -1 if sign == ")" else 1
        deepest = max(deepest, level)
    if deepest <= _DEEPEST:
        return None
    return Complaint(
        "promql-syntax",
        f"the expression has more than {_DEEPEST} levels of brackets and operators",
        "record a part of it by a rule, or write SLOs for its parts",
    )


_NO_SERIES_OF_EVENTS = {
    "count": "how many series there are",
    "count_values": "how many series there are",
    "group": "that there are series",
    "quantile": "one of the series",
    "stddev": "how series differ",
    "stdvar": "how series differ",
    "topk": "some of the series, others in each window",
    "bottomk": "some of the series, others in each window",
    "limitk": "some of the series",
    "limit_ratio": "some of the series",
}
_KEEP_EVENTS = frozenset({"label_replace", "label_join", "sort", "sort_desc"})


def _events(node: Expr, *, joined: bool = False) -> Complaint | None:
    """Whether an expression that counts is a number of events, which may be added up over windows and series.

    ``joined``: its labels are used by the operation that it is in.
    """
    match node:
        case Call(function="rate" | "increase"):
            return None
        case Call():
            return _function(node)
        case Aggregate():
            return _aggregate(node, joined)
        case Binary(operator="and" | "unless"):
            return _only(node.left, node.operator) or _nested(node.right) or _events(node.left, joined=True)
        case Binary(operator="or"):
            return _alternatives(node, joined)
        case Binary():
            return _comparison(node) or _arithmetic(node)
    return _uncounted("this")


def _nested(node: Expr) -> Complaint | None:
    """What stands beside what is counted, as a filter or a factor: only comparisons of what is counted are wrong."""
    if isinstance(node, Binary) and (complaint := _comparison(node)) is not None:
        return complaint
    return next((found for child in children(node) if (found := _nested(child)) is not None), None)


def _comparison(node: Binary) -> Complaint | None:
    if node.operator not in COMPARISONS or not promql.counts(node):
        return None
    return _refused(
        f"'{node.operator}' compares what a window counted, and windows have different lengths: whole windows "
        "would be events or not",
        "count the bad events with a counter of their own, or with a bound of a histogram",
    )


def _function(node: Call) -> Complaint | None:
    name, inner = node.function, node.args[0] if node.args else None
    if inner is None or not promql.counts(node):
        return _uncounted(f"{name}()")
    if name in _KEEP_EVENTS:
        return _events(inner, joined=True)
    if name == "clamp_min" and node.args[1] == Literal(0.0):
        return _events(inner, joined=True)
    if name.startswith("histogram_"):
        return _refused(
            f"{name}() reads a native histogram, whose events cannot be counted exactly",
            'use the counters of the classic one: rate(metric_count[$window]), rate(metric_bucket{le="250"}[$window])',
        )
    if name.startswith("clamp"):
        return _refused(
            f"{name}() cuts what a window counted, and windows have different lengths",
            "only clamp_min(…, 0) is the same for all of them",
        )
    return _refused(f"{name}() of what a window counted is no number of events", f"leave out {name}()")


def _aggregate(node: Aggregate, joined: bool) -> Complaint | None:
    if not promql.counts(node.expr):
        return _uncounted(f"{node.operator}()")
    if node.operator in _NO_SERIES_OF_EVENTS:
        return _refused(
            f"{node.operator}() says {_NO_SERIES_OF_EVENTS[node.operator]}, not how many events there were",
            "add the events up: sum(rate(metric[$window]))",
        )
    if node.operator == "sum" and not joined and (node.labels or node.without):
        how = "without" if node.without else "by"
        return _refused(
            f"'{how} ({', '.join(node.labels)})' has no effect, for the result is summed up: an SLO has one budget",
            f"leave out '{how}', or write an SLO for each of them, with a matcher",
        )
    return _events(node.expr, joined=joined or node.operator != "sum")


def _alternatives(node: Binary, joined: bool) -> Complaint | None:
    both = promql.counts(node.left) and promql.counts(node.right)
    for side in (node.left, node.right):
        if promql.counts(side):
            # Alternatives are told apart by their labels; beside a zero these are of no use.
            if (complaint := _events(side, joined=joined or both)) is not None:
                return complaint
        elif side != Call("vector", (Literal(0.0),)):
            return _only(side, "or")
    return None if promql.counts(node) else _uncounted("'or'")


def _arithmetic(node: Binary) -> Complaint | None:
    left, right = node.left, node.right
    counted = [side for side in (left, right) if promql.counts(side)]
    if node.operator in ("+", "-"):
        if len(counted) == 1:
            return _only(right if counted[0] is left else left, node.operator)
        return _events(left, joined=True) or _events(right, joined=True)
    if node.operator not in ("*", "/") or len(counted) == 2 or (node.operator == "/" and counted == [right]):
        return _refused(
            f"'{node.operator}' of what a window counted is no number of events",
            "events may be added, subtracted, and multiplied with or divided by what is not counted",
        )
    factor = right if counted[0] is left else left
    if _negative(factor):
        return _refused(
            "a negative number of events: there is no such thing",
            "subtract them from all events: rate(total[$window]) - rate(part[$window])",
        )
    return _nested(factor) or _events(counted[0], joined=_joins(factor))


def _joins(factor: Expr) -> bool:
    """Whether a factor has labels, by which it is joined to what is multiplied."""
    return bool(list(reads(factor)))


def _negative(node: Expr) -> bool:
    match node:
        case Literal(value=float(value)):
            return value < 0
        case Binary(operator="*" | "/"):
            return _negative(node.left) is not _negative(node.right)
    return False


def _keeps(node: Expr, per: str) -> Complaint | None:
    """Whether what counts events keeps the label that they are told apart by."""
    match node:
        case Call(function="label_replace" | "label_join", args=(_, Literal(value=name), *_)) if name == per:
            return _dropped(f"{node.function}() changes '{per}'", f"leave '{per}' as the counters have it")
        case Call(function="rate" | "increase"):
            return None
        case Call(args=(inner, *_)) if promql.counts(inner):
            return _keeps(inner, per)
        case Aggregate():
            if (per in node.labels) is node.without:
                how = f"{node.operator}({'…'})"
                return _dropped(
                    f"{how} drops '{per}'", f"write {node.operator} by ({per}) (…), or leave it out"
                )
            return _keeps(node.expr, per)
        case Binary():
            return _joined(node, per)
    return _dropped(
        f"a part of it has no '{per}'", f"count with rate(metric[$window]), of which each has '{per}'"
    )


def _joined(node: Binary, per: str) -> Complaint | None:
    """Whether an operation keeps the label; of ``and``, ``unless`` and factors the other side is only asked."""
    sides = [side for side in (node.left, node.right) if promql.counts(side)]
    if node.operator in ("and", "unless"):
        return _keeps(node.left, per)
    plain = any(not list(reads(side)) for side in (node.left, node.right))
    if node.operator == "or" and len(sides) == 1:
        hint = "leave it out: a value that has no bad events has none"
        return _dropped(f"'or {'…'}' adds what has no '{per}'", hint)
    if not (plain or node.group or node.operator == "or"):
        lost = per not in node.on if node.on is not None else per in (node.ignoring or ())
        if lost:
            return _dropped(f"'{node.operator}' drops '{per}'", f"join on ({per}) too")
    return next((found for side in sides if (found := _keeps(side, per)) is not None), None)


def _dropped(message: str, hint: str) -> Complaint:
    return Complaint("promql-per", message, hint)


def _only(side: Expr, operator: str) -> Complaint | None:
    """That one side of an operator does not count."""
    if promql.counts(side):
        return None
    what = "a number" if not list(reads(side)) else "a value that is not counted over the window"
    return _refused(
        f"'{operator}' puts {what} beside events, the same in a window of a minute and in one of an hour",
        "write rate(metric[$window]) for each counter; without series for a moment it is '… or vector(0)'",
    )


def _uncounted(what: str) -> Complaint:
    return _refused(f"{what} does not count events over the window", _FORM)


def _refused(message: str, hint: str) -> Complaint:
    return Complaint("promql-events", message, hint)


def _syntax_hint(said: str) -> str:
    if "parenthes" in said or "paren" in said:
        return "count the parentheses"
    if "brace" in said:
        return "count the braces"
    return ""


def functions(text: str) -> set[str]:
    """Which of ``rate`` and ``increase`` the expression counts with."""
    return {name for name, _ in promql.range_calls(text)[0]}


def gauge(text: str) -> Complaint | None:
    """What is wrong with the selector of a gauge's series, or None."""
    hint = "write metric{label=\"value\"}; how its samples compare is what 'good' or 'bad' says"
    try:
        if (complaint := too_deep(text)) is not None:
            return complaint
        node = parse(text)
    except ValueError as error:
        said = " ".join(str(error).split())[:200]
        return Complaint("promql-syntax", f"not valid PromQL: {said}", _syntax_hint(said) or hint)
    outside = _STRING.sub("", text)
    if not isinstance(node, Select) or node.range or any(sign in outside for sign in "()#@") or node.offset:
        return Complaint("promql-gauge", "this is no plain selector of a gauge's series", hint)
    if not node.metric or any(matcher.label == "__name__" for matcher in node.matchers):
        return Complaint("promql-gauge", "the selector names no metric", hint)
    return None


def selected(text: str) -> str:
    """A selector as all are written, of one that :func:`gauge` has nothing against."""
    node = parse(text)
    return promql.selector(node.metric, node.matchers) if isinstance(node, Select) else ""


def regex(text: str) -> Complaint | None:
    """A regular expression that Prometheus's engine takes."""
    import promql_parser

    try:
        promql_parser.parse(f"up{{x=~{promql.quote(text)}}}")
    except ValueError:
        hint = "Prometheus uses RE2: no look-around, no back references"
        return Complaint("bad-regex", "this is not a regular expression that Prometheus can use", hint)
    return None
