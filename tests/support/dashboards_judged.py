"""What is wrong with the answers that a dashboard got: errors, nothing, numbers that are none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from dashboards.manifest import boards
from sloctl.model import SloSet
from tests.support.grafana import Answer, Json, Load, Query, panels

Key = tuple[str, str, str]
"""The kind of a dashboard, the title of a panel (or the name of an annotation), and the query's letter."""


def kinds(slo_set: SloSet) -> list[str]:
    """The kinds of dashboards that a set gets."""
    return [kind for kind, _ in boards(slo_set)]


def single(board: Json, wanted: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """``wanted`` values of those variables of a dashboard that have one value; the others keep their defaults."""
    names = {v["name"] for v in board["templating"]["list"] if v["type"] == "query" and not v["multi"]}
    return {name: [value] for name, value in wanted.items() if name in names}


def refused(load: Load) -> list[str]:
    """Queries that failed, or gave numbers that are none."""
    return [
        *(f"{_named(a.query)}: {a.error}\n{_told(a.query)}" for a in load.answers if a.error),
        *(f"{_named(a.query)}: {_odd(a)}\n{_told(a.query)}" for a in load.answers if _odd(a)),
    ]


def complaints(kind: str, load: Load, allowed: Mapping[Key, str]) -> list[str]:
    """What is wrong; ``allowed`` are queries that may be empty, with the reason, and must be.

    What is asked for its exemplars may always be empty.
    """
    found = refused(load)
    empty = {(kind, a.query.title, a.query.ref): a.query for a in _empty(load)}
    for key, query in empty.items():
        if key not in allowed:
            found.append(
                f"{_named(query)} returns nothing. If there can be nothing here, add to the list of this test\n"
                f"    {_entry(key)}\notherwise the query or the data are wrong:\n{_told(query)}"
            )
    for key in allowed:
        if key[0] == kind and key not in empty:
            asked = {(a.query.title, a.query.ref) for a in load.answers}
            why = "returns data" if key[1:] in asked else "is not on the dashboard"
            found.append(f"{key[1]} {key[2]} {why}: take it off the list of this test ({_entry(key)})")
    return found


def crowded(board: Json, load: Load) -> list[str]:
    """The titles of panels that are to show one number without a name, and do not."""
    alone = (p for p in panels(board) if p["type"] == "stat" and p["options"]["textMode"] == "value")
    return [panel["title"] for panel in alone if len(load.of(panel["title"]).series) != 1]


def _empty(load: Load) -> Iterator[Answer]:
    return (a for a in load.answers if not a.error and not a.series and not a.query.exemplars)


def _odd(answer: Answer) -> str:
    if any(math.isinf(value) for value in answer.values):
        return "returns infinite values"
    if answer.values and all(map(math.isnan, answer.values)):
        return "returns NaN only"
    return ""


def _entry(key: Key) -> str:
    quoted = ", ".join('"' + part.replace('"', '\\"') + '"' for part in key)
    return f'({quoted}): "why",'


def _named(query: Query) -> str:
    return f"{query.kind} {query.title!r} {query.ref}"


def _told(query: Query) -> str:
    when = f"at {query.end}" if query.instant else f"{query.start} to {query.end} every {query.step:g} s"
    return f"    {when}:\n" + "\n".join(f"      {line}" for line in query.expr.splitlines())
