"""Expressions of other tools as ours: ranges as ``$window``, counters counted, and Istio's selectors as presets.

A preset stands for an expression only where both count the same events. Whether an expression can be counted at all
says :mod:`sloctl.spec.fields.expressions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from sloctl import promql
from sloctl.model import CounterSli, Matcher, Mesh, Selector
from sloctl.model.durations import number
from sloctl.promql.parsing import Aggregate, Binary, Call, Expr, Literal, Select, children, parse
from sloctl.promql.presets import CODE, DURATION_BUCKET, ENVOY_BUCKETS, PRESETS, REPORTERS, REQUESTS
from sloctl.promql.syntax import names
from sloctl.spec.fields.expressions import too_deep

LONGEST = 4096
"""Characters of an expression of an SLO file; longer ones are refused before they are parsed."""
_STRING = r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`[^`]*`'
_TEXT_OR_BLANK = re.compile(rf"(?P<text>{_STRING})|#[^\n]*|\s+")
_TEMPLATE = re.compile(rf"(?P<text>{_STRING})|\{{\{{\s*\.\s*[wW]indow\s*\}}\}}")
_FIXED = re.compile(rf"(?P<text>{_STRING})|\[\s*[0-9][0-9a-z]*\s*\]")
_WINDOW = re.compile(r"\[\s*\$window\s*\]")
_DURATION_COUNT = DURATION_BUCKET.removesuffix("_bucket") + "_count"
_NAME, _SPACE = "destination_service_name", "destination_service_namespace"
_PLACE = ("reporter", _NAME, _SPACE)
_CODES = ("0", *map(str, range(100, 600)))
_SIMPLE_REGEX = re.compile(r"[0-9.|()\[\]\\d{},*+?^$-]{1,200}")
"""Patterns of response codes, without words: on texts of three characters they cost nothing."""


class NoQuery(Exception):
    """An expression that cannot be taken over; the message says why."""


def windowed(text: str, *, fixed: bool = False) -> str:
    """An expression on one line, without comments, with ``$window`` for Sloth's window and, if told, fixed ranges."""
    if len(text) > LONGEST:
        raise NoQuery(f"the expression has more than {LONGEST} characters")
    text = _TEMPLATE.sub(lambda found: found["text"] or "$window", text)
    if fixed:
        text = _FIXED.sub(lambda found: found["text"] or "[$window]", text)
    return _TEXT_OR_BLANK.sub(lambda found: found["text"] or " ", text).strip()


def fixed_ranges(text: str) -> set[str]:
    """The fixed ranges of an expression, such as ``[5m]``."""
    return {found[0] for found in _FIXED.finditer(text) if found["text"] is None}


def _nodes(text: str) -> Iterator[Expr]:
    ahead = [tree(text)]
    while ahead:
        node = ahead.pop()
        ahead += children(node)
        yield node


def unlike_sums(text: str) -> set[str]:
    """The operators of an expression whose result of a long window is not the sum of those of its parts."""
    aggregates = (node.operator for node in _nodes(text) if isinstance(node, Aggregate))
    return {operator for operator in aggregates if operator in ("max", "min")}


def every_bucket(text: str) -> str:
    """The histogram of an expression of which it names no bound; "" if there is none."""
    selects = (node for node in _nodes(text) if isinstance(node, Select))
    unbound = (
        select.metric
        for select in selects
        if select.metric.endswith("_bucket") and all(matcher.label != "le" for matcher in select.matchers)
    )
    return next(unbound, "")


def counted(text: str) -> str:
    """An expression over counters as they are, with ``rate(…[$window])`` around each selector."""
    return _written(tree(windowed(text, fixed=True)), wrap=True)


def tree(text: str) -> Expr:
    """The tree of an expression with ``$window``, which is a range of five minutes in it. Raises NoQuery."""
    if (complaint := too_deep(text)) is not None:
        raise NoQuery(complaint.message)
    try:
        return parse(_WINDOW.sub("[5m]", text))
    except ValueError as error:
        raise NoQuery(f"not valid PromQL: {' '.join(str(error).split())[:160]}") from None


def split_ratio(text: str) -> dict[str, str]:
    """The two numbers of events of which an expression is the quotient: ``bad / total`` or ``1 - good / total``."""
    node, part = tree(text), "bad"
    if isinstance(node, Binary) and node.operator == "-" and node.left == Literal(1.0):
        node, part = node.right, "good"
    plain = isinstance(node, Binary) and node.operator == "/" and node.on is None and node.ignoring is None
    if not (isinstance(node, Binary) and plain and promql.counts(node.left) and promql.counts(node.right)):
        raise NoQuery("it is a ratio already, and not a quotient of two numbers of events")
    return {part: _written(node.left), "total": _written(node.right)}


def bare(text: str) -> bool:
    """Whether an expression has no range at all: counters as they are."""
    return "[" not in _TEXT_OR_BLANK.sub(" ", text)


def uncounted(text: str) -> str:
    """Sums and differences of counted events as the counters themselves. Raises NoQuery for anything else."""
    node = tree(text)
    if not _sums(node):
        raise NoQuery("its expression is more than sums and differences of counters")
    return _written(node, unwrap=True)


def _sums(node: Expr) -> bool:
    match node:
        case Aggregate(operator="sum", param=None):
            return _sums(node.expr)
        case Binary(operator="+" | "-", on=None, ignoring=None):
            return _sums(node.left) and _sums(node.right)
        case Binary(operator="or", right=Call(function="vector", args=(Literal(value=0.0),))):
            return _sums(node.left)
        case Call(function="rate" | "increase"):
            return True
    return False


def _written(node: Expr, *, wrap: bool = False, unwrap: bool = False) -> str:
    """The text of a tree; with ``wrap``, counters are counted, and with ``unwrap`` what is counted is not."""
    match node:
        case Call(function="rate" | "increase", args=(Select() as select,)) if unwrap:
            return _select(replace(select, range=0.0), wrap)
        case Literal(value=str(text)):
            return promql.quote(text)
        case Literal(value=float(value)):
            return number(value)
        case Select():
            return _select(node, wrap)
        case Call():
            return (
                f"{node.function}({', '.join(_written(arg, wrap=wrap, unwrap=unwrap) for arg in node.args)})"
            )
        case Aggregate():
            grouped = "without" if node.without else "by" if node.labels else ""
            by = f" {grouped} ({names(node.labels)}) " if grouped else ""
            inner = [
                _written(part, wrap=wrap, unwrap=unwrap)
                for part in (node.param, node.expr)
                if part is not None
            ]
            return f"{node.operator}{by}({', '.join(inner)})"
        case Binary():
            return _binary(node, wrap, unwrap)
    raise NoQuery("a subquery cannot be counted exactly")


def _select(node: Select, wrap: bool) -> str:
    if node.offset:
        raise NoQuery("a range that is moved with 'offset' cannot be counted exactly")
    try:
        text = promql.selector(node.metric, node.matchers)
    except ValueError:
        raise NoQuery("a selector needs the plain name of its metric") from None
    if node.range:
        return f"{text}[$window]"
    return f"rate({text}[$window])" if wrap else text


def _binary(node: Binary, wrap: bool, unwrap: bool) -> str:
    sides = [
        f"({text})" if isinstance(side, Binary) else text
        for side in (node.left, node.right)
        for text in (_written(side, wrap=wrap, unwrap=unwrap),)
    ]
    words = [node.operator + (" bool" if node.returns_bool else "")]
    if node.on is not None or node.ignoring is not None:
        named = "on" if node.on is not None else "ignoring"
        words.append(f"{named} ({names(node.on or node.ignoring or ())})")
    if node.group:
        words.append(f"group_{node.group} ({names(node.include)})")
    return " ".join((sides[0], *words, sides[1]))


@dataclass(frozen=True, slots=True)
class Recognised:
    """A preset's section ``sli``, and whose requests it counts."""

    sli: dict[str, object]
    service: str
    namespace: str


def istio(events: dict[str, str], grouping: Sequence[str] = ()) -> Recognised | str:
    """The preset that counts what two expressions count, or why there is none ("" where Istio has no part in it).

    With ``grouping`` there is an SLO for each value of these labels.
    """
    if not any("istio_" in text for text in events.values()):
        return ""
    try:
        trees = {key: tree(text) for key, text in events.items()}
    except NoQuery as error:
        return str(error)
    total = _parts(trees["total"])
    part = "bad" if "bad" in trees else "good"
    node = trees[part]
    rest = isinstance(node, Binary) and node.operator == "-" and part == "bad"
    if isinstance(node, Binary) and rest and total is not None and _parts(node.left) == total:
        part, node = "good", node.right
    of = _parts(node)
    if total is None or of is None:
        return "its expressions are more than sums of counters"
    place = _place(total[0].matchers, grouping)
    whole = next((found for found in _whole(part, set(of), set(total), total[0].matchers)), None)
    if whole is not None:
        return whole
    if isinstance(place, str):
        return place
    side, service, namespace = place
    if len(total) > 1 or len(of) > 1:
        return "no preset counts these selectors together"
    found = _errors(part, of[0], total[0]) or _latency(part, of[0], total[0])
    if found is None:
        return "no preset counts exactly these requests"
    return Recognised(found | ({"side": side} if side != "client" else {}), service, namespace)


def _parts(node: Expr) -> list[Select] | None:
    """The selectors whose events an expression adds up; None if it does anything else."""
    match node:
        case Aggregate(operator="sum", labels=(), without=False, param=None):
            return _parts(node.expr)
        case Binary(operator="+", on=None, ignoring=None):
            left, right = _parts(node.left), _parts(node.right)
            return None if left is None or right is None else [*left, *right]
        case Binary(operator="or", right=Call(function="vector", args=(Literal(value=0.0),))):
            return _parts(node.left)
        case Call(function="rate" | "increase", args=(Select(offset=0.0) as select,)) if select.range:
            return [Select(select.metric, tuple(sorted(set(select.matchers), key=repr)), select.range)]
    return None


def _place(matchers: Sequence[Matcher], grouping: Sequence[str]) -> tuple[str, str, str] | str:
    """Side, service and namespace that matchers of all requests name, if they do no more than that."""
    said = {matcher.label: matcher for matcher in matchers}
    others = sorted(
        {matcher.label for matcher in matchers if matcher.label not in (*_PLACE, "le") or matcher.op != "="}
    )
    if others:
        return f"a preset has no matcher of {', '.join(others)}"
    by_service = _NAME in grouping and {*grouping} <= {_NAME, _SPACE}
    if grouping and not by_service:
        return "no preset has an SLO for each value of these labels"
    if "reporter" not in said:
        return (
            "without a matcher of reporter, a request counts at the client's proxy and again at the server's"
        )
    side = next((name for name, value in REPORTERS.items() if value == said["reporter"].value), "")
    if side not in ("client", "server"):
        return "a preset for waypoints needs mesh.mode: ambient"
    wanted = (_SPACE,) if by_service else (_NAME, _SPACE)
    if missing := [label for label in wanted if label not in said]:
        return f"a preset needs a matcher of {' and '.join(missing)}"
    if by_service and _NAME in said:
        return "it names a service and groups by services"
    return side, "*" if by_service else said[_NAME].value, said[_SPACE].value


def _whole(part: str, of: set[Select], total: set[Select], named: Sequence[Matcher]) -> Iterator[Recognised]:
    """Presets of several selectors, as somebody wrote them out who had read what they count."""
    said = {matcher.label: matcher.value for matcher in named if matcher.op == "="}
    for name in ("availability", "grpc", "gateway"):
        for side in ("client",) if name == "gateway" else ("client", "server"):
            params: dict[str, object] = {} if side == "client" else {"side": side}
            sli = PRESETS[name].build(params, Mesh())
            service, namespace = said.get(sli.service_label, ""), said.get(sli.namespace_label, "")
            if not service or not namespace:
                continue
            built = _built(sli, service, namespace)
            if built == {"bad": of, "total": total} and part == "bad":
                yield Recognised({"preset": name} | params, service, namespace)


def _built(sli: CounterSli, service: str, namespace: str) -> dict[str, set[Select]]:
    place = (
        Matcher(sli.service_label, "=", service),
        Matcher(sli.namespace_label, "=", namespace),
    )

    def selected(parts: Sequence[Selector]) -> set[Select]:
        return {
            Select(part.metric, tuple(sorted({*part.matchers, *place}, key=repr)), 300.0) for part in parts
        }

    return {"bad": selected(sli.bad), "total": selected(sli.total)}


def _extra(part: Select, total: Select) -> list[Matcher] | None:
    """What a selector asks beyond another; None if it does not ask all that the other does."""
    if not {*total.matchers} <= {*part.matchers}:
        return None
    return [matcher for matcher in part.matchers if matcher not in total.matchers]


def _errors(part: str, of: Select, total: Select) -> dict[str, object] | None:
    extra = _extra(of, total)
    if not extra or of.metric != REQUESTS or total.metric != REQUESTS:
        return None
    if any(matcher.label != CODE for matcher in extra):
        return None
    matched = {code for code in _CODES if all(_takes(matcher, code) for matcher in extra)}
    bad = matched if part == "bad" else {*_CODES} - matched
    classes = [digit for digit in "12345" if {f"{digit}{rest:02}" for rest in range(100)} <= bad]
    single = sorted(code for code in bad if code == "0" or code[0] not in classes)
    codes = [f"{digit}xx" for digit in classes] + single
    return {"preset": "errors", "codes": codes} if 0 < len(codes) <= 20 and bad != {*_CODES} else None


def _takes(matcher: Matcher, code: str) -> bool:
    if "~" not in matcher.op:
        return (matcher.value == code) is (matcher.op == "=")
    if not _SIMPLE_REGEX.fullmatch(matcher.value) or "{," in matcher.value:
        return False  # then no code matches at all, and there is no preset
    try:
        return (re.fullmatch(matcher.value, code) is not None) is (matcher.op == "=~")
    except (re.error, OverflowError):
        return False


def _latency(part: str, of: Select, total: Select) -> dict[str, object] | None:
    every = Matcher("le", "=", "+Inf")
    if total.metric == DURATION_BUCKET and every in total.matchers:
        whole = tuple(matcher for matcher in total.matchers if matcher != every)
    elif total.metric == _DURATION_COUNT:
        whole = total.matchers
    else:
        return None
    extra = _extra(of, Select(DURATION_BUCKET, whole))
    if part != "good" or of.metric != DURATION_BUCKET or extra is None or [m.label for m in extra] != ["le"]:
        return None
    bound = _bound(extra[0])
    return {"preset": "latency", "threshold": f"{number(bound)}ms"} if bound in ENVOY_BUCKETS else None


def _bound(matcher: Matcher) -> Decimal | None:
    texts = matcher.value.replace("\\.", ".").split("|") if matcher.op == "=~" else [matcher.value]
    try:
        bounds = {Decimal(text) for text in texts if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text)}
    except InvalidOperation:
        return None
    same = matcher.op in ("=", "=~") and len(bounds) == 1 and len(texts) <= 2
    return next(iter(bounds)) if same and all(re.fullmatch(r"[0-9.]+", text) for text in texts) else None
