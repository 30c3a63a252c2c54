"""PromQL as text: literals, selectors, ranges. Nothing here knows of SLOs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from sloctl.model import Matcher

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


_OPS = frozenset({"=", "!=", "=~", "!~"})


@lru_cache(maxsize=4096)
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
    """``metric{label="value",…}``; names that are not plain are quoted, as Prometheus 3 takes them.

    Raises ValueError for what is no matcher, and for no name at all.
    """
    inner = matched(matchers)
    if not metric:
        raise ValueError("not a metric name: ''")
    if not _plain_metric(metric):
        return f"{{{quote(metric)}{f',{inner}' if inner else ''}}}"
    return f"{metric}{{{inner}}}" if inner else metric


def matched(matchers: Iterable[Matcher]) -> str:
    """Matchers as they stand in a selector. Raises ValueError for what is no matcher."""
    return ",".join(_matched(matcher.label, matcher.op, matcher.value) for matcher in matchers)


@lru_cache(maxsize=4096)
def _matched(label: str, op: str, value: str) -> str:
    """One matcher; rules have the same ones again and again."""
    if not label or op not in _OPS:
        raise ValueError(f"not a label matcher: {label!r} {op!r}")
    return f"{names((label,))}{op}{quote(value)}"


@lru_cache(maxsize=1024)
def _plain_metric(name: str) -> bool:
    return _METRIC.fullmatch(name) is not None


def names(labels: Iterable[str]) -> str:
    """A list of labels to group or to join by; those that are not plain are quoted."""
    return ", ".join(label if _LABEL.fullmatch(label) else quote(label) for label in labels)


def quoted(metric: str, labels: Iterable[str]) -> set[str]:
    """The names of a metric and of labels that only Prometheus 3 takes, in quotes."""
    found = {label for label in labels if not _LABEL.fullmatch(label)}
    return found if not metric or _METRIC.fullmatch(metric) else {metric, *found}


def milliseconds(seconds: float) -> str:
    """``seconds`` less one millisecond, as a PromQL range.

    Samples of a grid of step ``s`` within ``n·s`` seconds less a millisecond are exactly ``n``, whether a
    range includes its left end (Prometheus 2) or not (Prometheus 3).
    """
    return f"{round(seconds * 1000) - 1}ms"


def indent(text: str, spaces: int = 2) -> str:
    """``text`` with every line moved right."""
    pad = " " * spaces
    return pad + text.replace("\n", f"\n{pad}")


def labelled(expr: str, label: str, value: str) -> str:
    """``expr`` with one more label on every series."""
    return f'label_replace(\n{indent(expr)},\n  "{label}", {quote(value.replace("$", "$$"))}, "", ""\n)'


PART = "sloctl_part"
"""The label that tells the expressions of one query apart."""


def together(exprs: Mapping[str, str]) -> str:
    """One query that has the series of several expressions, each with its name under the label :data:`PART`.

    What belongs together has to come from one answer: behind a balancer two queries may meet two servers, and total
    events of one with bad events of the other are the truth of neither.
    """
    return "\nor\n".join(labelled(expr, PART, name) for name, expr in exprs.items())


LONGEST = 15_000
"""Bytes of a query: VictoriaMetrics refuses those over 16 KiB (``-search.maxQueryLen``)."""


def dense(expr: str) -> str:
    """A query that is longer than :data:`LONGEST`, without the indentation that people read it by."""
    if len(expr.encode()) <= LONGEST or "`" in expr:  # no other string spans lines
        return expr
    return re.sub(r"\n +", "\n", expr)


def union(exprs: Iterable[str]) -> list[str]:
    """Queries that no server refuses for their length, and that together have the series of all ``exprs``.

    An expression that is longer by itself is a query of its own.
    """
    return [query for query, _ in shared(("", expr) for expr in exprs)]


def shared(exprs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """As :func:`union`, of expressions that have owners: each query with the owners of what it has."""
    queries: list[tuple[str, list[str]]] = []
    for owner, expr in exprs:
        if queries and len(f"{queries[-1][0]}\nor\n{expr}".encode()) <= LONGEST:
            query, owners = queries[-1]
            queries[-1] = f"{query}\nor\n{expr}", [*owners, owner]
        else:
            queries.append((expr, [owner]))
    return queries
