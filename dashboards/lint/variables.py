"""Variables in the JSON of a dashboard: which are declared, where they are used, what may stand in their place.

It must not know what a panel is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
LintMessages: TypeAlias = Iterator[tuple[str, str]]
"""Problems: a code and a message each."""

_REFERENCE = re.compile(
    r"\$\{(?P<braces>[A-Za-z_]\w*)(?P<rest>[^}]*)\}|\$(?P<plain>[A-Za-z_]\w*)"
    r"|\[\[(?P<brackets>[A-Za-z_]\w*)(?::(?P<old>\w+))?\]\]"
)
_BUILT_IN = re.compile(
    r"__(interval(_ms)?|range(_s|_ms)?|rate_interval(_ms)?|from|to|url_time_range|all|all_variables|data|field|series"
    r"|value|name|calc|time|timezone|cell(_\d+)?|dashboard|org|user)"
)
_LONG = {
    "__interval": "1d",
    "__interval_ms": "86400000",
    "__rate_interval": "4m",
    "__rate_interval_ms": "240000",
    "__range": "7d",
    "__range_s": "604800",
    "__range_ms": "604800000",
    "__from": "1700000000000",
    "__to": "1700604800000",
}
"""What Grafana fills in when somebody looks at a week or more."""
_TEXT_OR_REFERENCE = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)|(?P<reference>\$\{[^}]*\}|\$[A-Za-z_]\w*)"""
)
_MARK = re.compile("\ue000([^:\ue001]*):([^\ue001]*)\ue001")
STAND_IN = "_variable_"
"""In a name: a variable stood there."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A variable where it is used, with its format: ``${name:format}``."""

    name: str
    format: str = ""

    @property
    def built_in(self) -> bool:
        """Whether Grafana knows the variable by itself."""
        return _BUILT_IN.fullmatch(self.name) is not None


def _reference(match: re.Match[str]) -> Reference:
    name = match["braces"] or match["plain"] or match["brackets"]
    form = (match["rest"] or "").rpartition(":")[2] if ":" in (match["rest"] or "") else match["old"]
    return Reference(name, form or "")


def references(text: str) -> Iterator[Reference]:
    """The variables that a text uses."""
    return (_reference(match) for match in _REFERENCE.finditer(text))


def without_references(text: str) -> str:
    """A text without what Grafana fills in."""
    return _REFERENCE.sub("", text)


def strings(part: Any, leave_out: tuple[str, ...] = ()) -> Iterator[str]:
    """Every text in a part of a dashboard, but for those below some keys."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for key, value in part.items():
            if key not in leave_out:
                yield from strings(value, leave_out)
    elif isinstance(part, list):
        for value in part:
            yield from strings(value, leave_out)


def declared(dashboard: Json) -> dict[str, Json]:
    """The variables of a dashboard by name."""
    found = (dashboard.get("templating") or {}).get("list") or []
    return {str(variable.get("name", "")): variable for variable in found}


def has_several(variable: Json) -> bool:
    """Whether a variable may have several values, or All."""
    return bool(variable.get("multi") or variable.get("includeAll"))


def unknown(parts: Any, variables: dict[str, Json], leave_out: tuple[str, ...] = ()) -> LintMessages:
    """Variables that are used and declared nowhere."""
    used = {reference for text in strings(parts, leave_out) for reference in references(text)}
    for name in sorted({reference.name for reference in used if not reference.built_in} - set(variables)):
        yield (
            "unknown-variable",
            f"${name} is not a variable of this dashboard: declare it in templating, or correct its name",
        )


def unused(dashboard: Json) -> LintMessages:
    """Variables that are declared and used by nothing but themselves."""
    variables = declared(dashboard)
    rest = {key: value for key, value in dashboard.items() if key != "templating"}
    for name, variable in variables.items():
        if variable.get("type") in ("adhoc", "groupby"):
            continue
        others = [other for key, other in variables.items() if key != name]
        texts = strings([rest, others])
        if not any(name in (ref.name for ref in references(text)) for text in texts) and not _repeats(
            rest, name
        ):
            yield "unused-variable", f"nothing uses the variable ${name}: use it in a query, or remove it"


def _repeats(part: Any, name: str) -> bool:
    if isinstance(part, dict):
        return part.get("repeat") == name or any(_repeats(value, name) for value in part.values())
    return isinstance(part, list) and any(_repeats(value, name) for value in part)


def filled(expr: str) -> Iterator[str]:
    """PromQL with something in place of its variables, as often as it can be read: try one after the other.

    In texts the variables stay recognizable (:func:`marked`). Elsewhere, Grafana's own become what they are over a
    week; of others it is not known whether they stand for a name or a number.
    """
    names = _filled(expr, STAND_IN)
    yield names
    if STAND_IN in names:
        yield _filled(expr, "")


def _filled(expr: str, stand_in: str) -> str:
    def fill(match: re.Match[str]) -> str:
        if match["text"]:
            return _REFERENCE.sub(_mark, match["text"])
        reference = next(references(match["reference"]), None)
        if reference is None:
            return match[0]
        if reference.built_in:
            return _LONG.get(reference.name, match[0])
        before = expr[: match.start()]
        if before.rfind("[") > before.rfind("]") or re.search(r"\boffset\s+-?$", before):
            return "5m"
        return f"{stand_in}{reference.name}" if stand_in else "1"

    return _TEXT_OR_REFERENCE.sub(fill, expr)


def _mark(match: re.Match[str]) -> str:
    reference = _reference(match)
    return f"\ue000{reference.name}:{reference.format}\ue001"


def marked(text: str) -> Iterator[Reference]:
    """The variables in a text of an expression that was filled in."""
    return (Reference(name, form) for name, form in _MARK.findall(text))
