"""PromQL read back: an expression as a tree of plain data, and the selectors in it.

This module owns the parser, with the checks of an SLO file's own expressions. It must not know what an expression
is for. The parser is imported when there is something to parse: it is not needed to write rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sloctl.model import Matcher

_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_STRING_OR_LONG = re.compile(
    r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`[^`]*`|(?<![\w.])(?P<ms>\d{10,})ms\b'
)
"""Texts, in which nothing is a duration, and durations of 32 bits of milliseconds or more (over 11 days)."""
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Select:
    """A selector; ``range`` and ``offset`` are seconds, ``range`` is 0 for an instant selector."""

    metric: str
    matchers: tuple[Matcher, ...] = ()
    range: float = 0.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Subquery:
    """An expression over a range, in seconds; a step of 0 is the server's evaluation interval."""

    expr: Expr
    range: float
    step: float
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments."""

    function: str
    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregation by ``labels``, or over everything but them (``without``); ``param`` is topk's number."""

    operator: str
    expr: Expr
    labels: tuple[str, ...] = ()
    without: bool = False
    param: Expr | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """Two sides and what joins them: on some labels, ignoring some, or (neither) on all.

    ``group`` is the side that has many series to one of the other; it keeps its labels, and gets ``include``.
    """

    operator: str
    left: Expr
    right: Expr
    on: tuple[str, ...] | None = None
    ignoring: tuple[str, ...] | None = None
    group: str = ""
    include: tuple[str, ...] = ()
    returns_bool: bool = False


@dataclass(frozen=True, slots=True)
class Literal:
    """A number or a text."""

    value: float | str


Expr: TypeAlias = Select | Subquery | Call | Aggregate | Binary | Literal


@dataclass(frozen=True, slots=True)
class Read:
    """A selector as an expression reads it: ``subqueries`` are (range, step) in seconds, the outermost first."""

    select: Select
    subqueries: tuple[tuple[float, float], ...] = ()


def parse(expr: str) -> Expr:
    """The tree of an expression. Raises ValueError where it is not PromQL."""
    import promql_parser

    return _node(promql_parser.parse(_STRING_OR_LONG.sub(_divided, expr)))


def reads(node: Expr, subqueries: tuple[tuple[float, float], ...] = ()) -> Iterator[Read]:
    """Every selector of an expression, as often as it stands there."""
    if isinstance(node, Select):
        yield Read(node, subqueries)
    elif isinstance(node, Subquery):
        yield from reads(node.expr, (*subqueries, (node.range, node.step)))
    else:
        for child in children(node):
            yield from reads(child, subqueries)


def selectors(expr: str) -> Sequence[Read]:
    """Every selector of the text of an expression. Raises ValueError where it is not PromQL."""
    return tuple(reads(parse(expr)))


def children(node: Expr) -> tuple[Expr, ...]:
    """What an expression is made of, one level down."""
    match node:
        case Subquery():
            return (node.expr,)
        case Call():
            return node.args
        case Aggregate():
            return (node.expr,) if node.param is None else (node.expr, node.param)
        case Binary():
            return node.left, node.right
    return ()


def labels_named(node: Expr) -> set[str]:
    """The labels that an expression groups, joins or renames by; not those that it matches or leaves out."""
    found: set[str] = set()
    match node:
        case Aggregate(without=False):
            found |= set(node.labels)
        case Binary():
            found |= {*(node.on or ()), *node.include}
        case Call(function="label_replace", args=(_, _, _, Literal(value=str(source)), _)):
            found |= {source} - {""}
    return found.union(*(labels_named(child) for child in children(node)))


def _divided(found: re.Match[str]) -> str:
    """A long duration in days and milliseconds: the parser has 32 bits for a number of milliseconds."""
    if found["ms"] is None:
        return found[0]
    days, rest = divmod(int(found["ms"]), 86_400_000)
    return f"{days}d{rest}ms" if rest else f"{days}d"


def _node(tree: Any) -> Expr:
    match type(tree).__name__:
        case "ParenExpr":
            return _node(tree.expr)
        case "UnaryExpr":
            return Binary("*", Literal(-1.0), _node(tree.expr))
        case "NumberLiteral" | "StringLiteral":
            return Literal(tree.val)
        case "VectorSelector":
            return _select(tree, 0.0)
        case "MatrixSelector":
            return _select(tree.vector_selector, tree.range.total_seconds())
        case "SubqueryExpr":
            step = tree.step.total_seconds() if tree.step else 0.0
            return Subquery(_node(tree.expr), tree.range.total_seconds(), step, _seconds(tree.offset))
        case "Call":
            return Call(tree.func.name, tuple(_node(argument) for argument in tree.args))
        case "AggregateExpr":
            return _aggregate(tree)
        case "BinaryExpr":
            return _binary(tree)
    raise ValueError(f"unknown form of PromQL: {type(tree).__name__}")


def _seconds(offset: Any) -> float:
    return float(offset.total_seconds()) if offset else 0.0


def _select(tree: Any, seconds: float) -> Select:
    matchers = [
        Matcher(item.name, _OPERATORS[str(item.op).rpartition(".")[2]], item.value)
        for item in tree.matchers.matchers
    ]
    name = tree.name or next((m.value for m in matchers if (m.label, m.op) == ("__name__", "=")), "")
    kept = tuple(m for m in matchers if not (m.label == "__name__" and m.op == "="))
    return Select(name, kept, seconds, _seconds(tree.offset))


def _aggregate(tree: Any) -> Aggregate:
    modifier = tree.modifier
    without = modifier is not None and str(modifier.type).endswith("Without")
    labels = tuple(modifier.labels) if modifier is not None else ()
    param = None if tree.param is None else _node(tree.param)
    return Aggregate(str(tree.op), _node(tree.expr), labels, without, param)


def _binary(tree: Any) -> Binary:
    left, right, modifier = _node(tree.lhs), _node(tree.rhs), tree.modifier
    operator = str(tree.op)
    if modifier is None:
        return Binary(operator, left, right)
    on = ignoring = None
    if modifier.matching is not None:
        labels = tuple(modifier.matching.labels)
        on, ignoring = (labels, None) if str(modifier.matching.type).endswith("Include") else (None, labels)
    card = str(modifier.card).rpartition(".")[2]
    group = {"ManyToOne": "left", "OneToMany": "right"}.get(card, "")
    include = tuple(modifier.group_labels or ())
    return Binary(operator, left, right, on, ignoring, group, include, bool(modifier.return_bool))
