"""Checks PromQL that users write for ``events`` SLIs.

Such an expression is embedded in larger ones, and each ``rate(selector[$window])`` in it is replaced by exact
counting. So it must be complete PromQL by itself, without comments, and every range must be of that form.
``promql_parser`` is imported only when there is an expression to check.
"""

from __future__ import annotations

import re

from sloctl import promql
from sloctl.model import Mesh
from sloctl.spec.fields.values import Complaint

_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`[^`]*`')
_OTHER_VARIABLE = re.compile(r"\$\{?(?:__)?\w+\}?|\{\{[^}]*\}\}")
_FORM = 'write rate(metric{label="value"}[$window])'
PROBE = 300


def check(text: str, mesh: Mesh) -> Complaint | None:
    """What is wrong with an expression, or None."""
    outside = _STRING.sub('""', text)
    if any("$window" in literal for literal in _STRING.findall(text)):
        return Complaint("promql-window", "'$window' stands inside quotes", _FORM)
    if re.search(r"[\"'`]", outside.replace('""', "")):
        return Complaint("promql-syntax", "a quotation mark is not closed", "close it")
    if "#" in outside:
        return Complaint(
            "promql-comment", "comments are not allowed in an expression", "put it in 'description'"
        )
    calls, rest = promql.range_calls(text)
    rest_outside = _STRING.sub('""', rest)
    complaint = _ranges(calls, rest_outside)
    if complaint is not None:
        return complaint
    return _parses(text, rest, calls, mesh)


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
    call = re.search(r"\b(\w+)\s*\(\s*[^()]*\[\s*\$window\s*\](\s*(?:offset|@))?", rest)
    if call is None:
        return "'$window' is not a range of rate() or increase()"
    if call[2]:
        return "a range cannot be moved with 'offset' or '@'"
    if call[1] not in ("rate", "increase"):
        return f"{call[1]}() cannot be counted exactly; only rate() and increase() of a counter can"
    return f"{call[1]}() needs a plain selector and [$window]"


def _parses(text: str, rest: str, calls: list[tuple[str, str]], mesh: Mesh) -> Complaint | None:
    import promql_parser

    plain = re.sub(r"\[\s*\$window\s*\]", "[5m]", text)
    for candidate in (plain, rest, *(f"rate({selector}[5m])" for _, selector in calls)):
        try:
            promql_parser.parse(candidate)
        except ValueError as error:
            said = " ".join(str(error).split())[:200].replace("[5m]", "[$window]")
            return Complaint("promql-syntax", f"not valid PromQL: {said}", _syntax_hint(said))
    try:
        promql_parser.parse(promql.user_expression(text, PROBE, mesh))
    except ValueError:
        message = "the expression must be a vector (it is summed up), not a number or a text"
        return Complaint("promql-type", message, _FORM)
    return None


def _syntax_hint(said: str) -> str:
    if "parenthes" in said or "paren" in said:
        return "count the parentheses"
    if "brace" in said:
        return "count the braces"
    return ""


def functions(text: str) -> set[str]:
    """Which of ``rate`` and ``increase`` the expression counts with."""
    return {name for name, _ in promql.range_calls(text)[0]}


def regex(text: str) -> Complaint | None:
    """A regular expression that Prometheus's engine takes."""
    import promql_parser

    try:
        promql_parser.parse(f"up{{x=~{promql.quote(text)}}}")
    except ValueError:
        hint = "Prometheus uses RE2: no look-around, no back references"
        return Complaint("bad-regex", "this is not a regular expression that Prometheus can use", hint)
    return None
