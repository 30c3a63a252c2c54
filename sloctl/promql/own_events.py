"""Expressions of an SLO file's own events: what they are made of, and what must be there for them to mean anything.

An expression is a sum of what counters counted, so it is looked at as sums, differences and operands; how a counter
counts is not known here. Everything is text in and text out, for the expression goes into larger ones as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache

from sloctl.promql.parsing import Aggregate, Binary, Call, Expr, Literal, Select, children, parse, reads
from sloctl.promql.presets import bucket_pattern
from sloctl.promql.syntax import matched, quote, selector

WINDOW = re.compile(r"\[\s*\$window\s*\]")
_STRING = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
_LE = re.compile(rf"""(?<![\w:"'])(?:le|"le"|'le')\s*(?P<op>=~|!~|!=|=)\s*(?P<value>{_STRING})|{_STRING}""")
_BOUND = re.compile(r"(\d+)(?:\\?\.(\d+))?")
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "^", "atan2"})
_WHOLE = re.compile(r"(?:sum\s*)?\((.*)\)", re.DOTALL)
_JOIN = re.compile(r"^(?:on|ignoring)\s*\([^()]*\)\s*")
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


@lru_cache(maxsize=1024)
def normalised(selector: str) -> str:
    """A selector whose bounds of histograms match as either Prometheus writes them: ``le="250"`` also ``250.0``."""
    return _LE.sub(_normalised_le, selector) if "le" in selector else selector


def _normalised_le(found: re.Match[str]) -> str:
    if found["op"] is None:
        return found[0]
    text = found["value"][1:-1].replace("\\\\", "\\")
    regex = "~" in found["op"]
    if regex and re.search(r"[()\[\]]", text):
        return found[0]
    alternatives = text.split("|") if regex else [text]
    patterns = [_pattern(one) or (one if regex else "") for one in alternatives]
    if "" in patterns or not any("|" in pattern for pattern in patterns):
        return found[0]
    bounds = "|".join(dict.fromkeys("|".join(patterns).split("|")))
    return f"le{found['op'][0] if '!' in found['op'] else '='}~{quote(bounds)}"


def _pattern(bound: str) -> str:
    """What matches a bound either way; "" for what is no plain number."""
    if (found := _BOUND.fullmatch(bound)) is None:
        return ""
    return bucket_pattern(Decimal(f"{found[1]}.{found[2] or 0}").normalize())


def terms(expr: str) -> list[str]:
    """The terms of an expression that adds others up; else the expression alone.

    Prometheus adds what both sides have. Terms are counters' events, all of which are meant, and one that has no
    series yet has counted nothing.
    """
    opened = _opened(expr.strip())
    if "+" not in opened:
        return [expr.strip()]
    found = [_JOIN.sub("", part) for part in _split(opened)]
    if len(list(_terms(_tree(opened)))) != len(found) or len(found) == 1:
        return [expr.strip()]
    return [term for part in found for term in terms(part)]


def _opened(expr: str) -> str:
    """An expression out of brackets, and out of a sum of everything: the result is summed up anyway."""
    while (found := _WHOLE.fullmatch(expr)) and min(_depths(found[1]), default=0) >= 0:
        expr = found[1].strip()
    return expr


def _terms(node: Expr) -> Iterator[Expr]:
    if isinstance(node, Binary) and node.operator == "+" and not node.group:
        yield from _terms(node.left)
        yield node.right
    else:
        yield node


def _depths(expr: str) -> Iterator[int]:
    """How deep in brackets each character is; those of texts are as deep as what is around."""
    depth = 0
    for found in re.finditer(rf"{_STRING}|.", expr, re.DOTALL):
        depth += _BRACKETS.get(found[0], 0)
        yield from [depth] * len(found[0])


def _split(expr: str) -> list[str]:
    """An expression at the plus signs that stand outside of brackets and texts."""
    plain = re.sub(_STRING, lambda found: "_" * len(found[0]), expr)
    signs = [at for at, depth in enumerate(_depths(expr)) if plain[at] == "+" and depth == 0]
    begins, ends = [0, *(at + 1 for at in signs)], [*signs, len(expr)]
    return [expr[begin:end].strip() for begin, end in zip(begins, ends, strict=True)]


def operands(expr: str) -> tuple[tuple[str, ...], ...]:
    """Of each operand that an expression needs to have a value, the selectors of which one must have series.

    Without, Prometheus's answer is nothing, which is not to be taken for "nothing happened". Needed are both sides of a
    difference, and what events are multiplied with. What never is nothing (``… or vector(0)``) is not among them.
    """
    if not re.search(r"[-+*/%^]|atan2", re.sub(_STRING, "", expr)):
        return ()
    found = [group for term in terms(expr) for group in _operands(_tree(term))]
    return tuple(dict.fromkeys(found))


def _operands(node: Expr) -> Iterator[tuple[str, ...]]:
    if isinstance(node, Binary) and node.operator in _ARITHMETIC:
        sides = (node.left, node.right)
        both = all(list(reads(side)) for side in sides)
        for side in sides:
            inner = list(_operands(side))
            needed = both and (node.operator in "+-" or not counts(side))
            yield from inner or ([group] if needed and (group := _present(side)) else [])
        return
    for child in children(node):
        yield from _operands(child)


def counts(node: Expr) -> bool:
    """Whether an expression has a counter over a window in it."""
    return any(read.select.range for read in reads(node))


def _present(node: Expr) -> tuple[str, ...]:
    """Selectors any of which gives an expression a value; none if it has one anyway."""
    if _always(node):
        return ()
    return tuple(dict.fromkeys(_text(read.select) for read in reads(node)))


def _always(node: Expr) -> bool:
    match node:
        case Literal() | Call(function="vector"):
            return True
        case Binary(operator="or"):
            return _always(node.left) or _always(node.right)
        case Binary(operator="and" | "unless") | Select():
            return False
        case Binary():
            return _always(node.left) and _always(node.right)
        case Aggregate():
            return _always(node.expr)
    return bool(children(node)) and all(_always(child) for child in children(node))


def _text(select: Select) -> str:
    return selector(select.metric, select.matchers) if select.metric else f"{{{matched(select.matchers)}}}"


def _tree(expr: str) -> Expr:
    return parse(WINDOW.sub("[5m]", expr))


def all_there(total: str, groups: Sequence[Sequence[str]], reach: str, per: str = "") -> str:
    """``total`` if of each group some series has a sample within ``reach``, else nothing; by the label ``per``."""
    for group in groups:
        seen = " or ".join(f"last_over_time({normalised(text)}[{reach}])" for text in group)
        total = f"{total}\nand on ({per})\n  ({seen})"
    return total
