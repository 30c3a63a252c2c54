"""Which label sets an expression gives, from those of the selectors in it; values are left aside.

A filter (``> 0``) keeps everything, so the result is an upper bound; the label sets are exact otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeAlias

from sloctl.model import Matcher
from sloctl.promql.parsing import COMPARISONS, Aggregate, Binary, Call, Expr, Literal, Select, Subquery

LabelSet: TypeAlias = frozenset[tuple[str, str]]
Lookup: TypeAlias = Callable[[Select], Iterable[LabelSet]]

_KEEP_ALL = ("topk", "bottomk")
_SCALARS = frozenset({"time", "scalar", "pi"})
_ONE = frozenset({"vector"})


def labels(values: dict[str, str]) -> LabelSet:
    """A label set; empty values and the metric's name are not part of it."""
    return frozenset((key, value) for key, value in values.items() if value and key != "__name__")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.DOTALL)


def matches(found: LabelSet, matchers: Iterable[Matcher]) -> bool:
    """Whether a label set is one that some matchers select."""
    values = dict(found)
    for matcher in matchers:
        value = values.get(matcher.label, "")
        if matcher.op in ("=", "!="):
            same = value == matcher.value
        else:
            same = _compiled(matcher.value).fullmatch(value) is not None
        if same != (matcher.op in ("=", "=~")):
            return False
    return True


def evaluate(node: Expr, lookup: Lookup) -> set[LabelSet] | None:
    """The label sets of an expression; None for a number or a text."""
    match node:
        case Literal():
            return None
        case Select():
            return set(lookup(node))
        case Subquery():
            return evaluate(node.expr, lookup)
        case Aggregate():
            return _aggregate(node, lookup)
        case Call():
            return _call(node, lookup)
    return _binary(node, lookup)


def _aggregate(node: Aggregate, lookup: Lookup) -> set[LabelSet]:
    inner = evaluate(node.expr, lookup) or set()
    if node.operator in _KEEP_ALL:
        return inner
    return {_without(item, node.labels) if node.without else _only(item, node.labels) for item in inner}


def _call(node: Call, lookup: Lookup) -> set[LabelSet] | None:
    if node.function in _SCALARS:
        return None
    if node.function in _ONE:
        return {frozenset()}
    if node.function.startswith("absent"):
        return set()
    inner: set[LabelSet] = set()
    for argument in node.args:
        found = evaluate(argument, lookup)
        if found is not None:
            inner = found
            break
    if node.function == "label_replace":
        return {_replaced(item, node) for item in inner}
    if node.function == "histogram_quantile":
        inner = next((f for a in node.args if (f := evaluate(a, lookup)) is not None), set())
        return {_without(item, ("le",)) for item in inner}
    return inner


def _replaced(item: LabelSet, node: Call) -> LabelSet:
    new, replacement, source, pattern = (
        str(argument.value) if isinstance(argument, Literal) else "" for argument in node.args[1:5]
    )
    found = _compiled(pattern).fullmatch(dict(item).get(source, ""))
    if found is None:
        return item
    value = re.sub(
        r"\$(?:\$|\{?(\w+)\}?)", lambda m: "$" if m[1] is None else _group(found, m[1]), replacement
    )
    return labels({**dict(item), new: value})


def _group(found: re.Match[str], name: str) -> str:
    try:
        return found[int(name) if name.isdigit() else name] or ""
    except IndexError:
        return ""


def _binary(node: Binary, lookup: Lookup) -> set[LabelSet] | None:
    left, right = evaluate(node.left, lookup), evaluate(node.right, lookup)
    if left is None or right is None:
        return right if left is None else left

    def key(item: LabelSet) -> LabelSet:
        if node.on is not None:
            return _only(item, node.on)
        return _without(item, node.ignoring or ())

    keys = {key(item) for item in (left if node.group == "right" else right)}
    match node.operator:
        case "and":
            return {item for item in left if key(item) in keys}
        case "unless":
            return {item for item in left if key(item) not in keys}
        case "or":
            first = {key(item) for item in left}
            return left | {item for item in right if key(item) not in first}
    if node.group:
        many, one = (left, right) if node.group == "left" else (right, left)
        extra = {key(item): dict(item) for item in one}
        return {
            labels({**dict(item), **{name: extra[key(item)].get(name, "") for name in node.include}})
            for item in many
            if key(item) in keys
        }
    kept = {item for item in left if key(item) in keys}
    if node.operator in COMPARISONS and not node.returns_bool:
        return kept
    return {key(item) for item in kept}


def _only(item: LabelSet, names: Iterable[str]) -> LabelSet:
    wanted = set(names)
    return frozenset(pair for pair in item if pair[0] in wanted)


def _without(item: LabelSet, names: Iterable[str]) -> LabelSet:
    unwanted = set(names)
    return frozenset(pair for pair in item if pair[0] not in unwanted)
