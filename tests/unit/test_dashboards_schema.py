"""Generated dashboards against Grafana's own schema, as the classes that Grafana Labs generates from it.

A dashboard is decoded and encoded again: a key that is lost is one that Grafana does not know. What was decoded is held
against the classes' annotations, which decoding itself does not do.
"""

from __future__ import annotations

import copy
import enum
import json
import re
import types
import typing
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from grafana_foundation_sdk.cog import encoder, plugins, runtime
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from dashboards.lint.checks import panels
from tests.support.boards import CASES, Json, boards_of

GAPS = {
    r"annotations\.list\[\]\.(step|useValueForTime|titleFormat|textFormat|tagKeys): unknown key": (
        "fields of Prometheus annotations are its plugin's own; the schema has their expr only"
    ),
    r"templating\.list\[\]\.definition: unknown key": "Grafana writes it for every variable that asks a data source",
    r".*custom\.(spanNulls|insertNulls): unknown key \(state-timeline\)": (
        "the panel's editor offers both, its schema has neither"
    ),
    r".*: unknown panel 'traces'": "no schema of its options was published; ours has none",
    r".*: unknown query to '(jaeger|zipkin)'": "no schema of these queries was published",
}
"""What the schema lacks: patterns of problems, and why the JSON is right all the same."""
UNITS = {value for value in vars(units).values() if isinstance(value, str)}
OWN_UNIT = re.compile(r"(suffix|prefix|time|si|count|currency):.+")


@pytest.fixture(scope="module", autouse=True)
def known_to_the_sdk() -> None:
    plugins.register_default_plugins()


def problems(board: Json) -> list[str]:
    """Where a dashboard is not as the schema says."""
    found = list(decoded(Dashboard, board, "", ""))
    for panel in panels(board):
        kind, where = panel["type"], f"panel {panel['title']!r}"
        if kind != "row" and runtime.panelcfg_config(kind) is None:
            found.append(f"{where}: unknown panel {kind!r}")
        config = panel.get("fieldConfig", {})
        found += [
            f"{where}: unknown unit {unit!r}"
            for unit in used_units(config, panel.get("options", {}))
            if unit not in UNITS and not OWN_UNIT.fullmatch(unit)
        ]
        for override in config.get("overrides", ()):
            for item in override["properties"]:
                defaults = item["value"]
                for key in reversed(item["id"].split(".")):
                    defaults = {key: defaults}
                alone = {"type": kind, "fieldConfig": {"defaults": defaults, "overrides": []}}
                found += decoded(Panel, alone, f"{where}, override", kind)
    return found


def used_units(config: Json, options: Json) -> Iterator[str]:
    yield config.get("defaults", {}).get("unit", "none")
    yield options.get("yAxis", {}).get("unit", "none")
    for override in config.get("overrides", ()):
        yield from (item["value"] for item in override["properties"] if item["id"] == "unit")


def decoded(cls: Any, data: Json, path: str, kind: str) -> Iterator[str]:
    """Problems of plain data as a class of the SDK; ``kind`` is the type of the panel that it is in."""
    try:
        value = cls.from_json(copy.deepcopy(data))
    except (AttributeError, KeyError, TypeError) as error:
        yield f"{path}: cannot be decoded as {cls.__name__}: {error!r}"
        return
    yield from lost(data, json.loads(json.dumps(value, cls=encoder.JSONEncoder)), path, kind)
    yield from checked(value, type(value), path)


def lost(data: Any, again: Any, path: str, kind: str) -> Iterator[str]:
    """What the schema has no place for: keys that are gone after decoding and encoding, and values that changed."""
    if isinstance(data, dict) and isinstance(again, dict):
        kind = data.get("type", kind) if path.endswith("panels[]") else kind
        for key, value in data.items():
            here = f"{path}.{key}".strip(".")
            if key in again:
                yield from lost(value, again[key], here, kind)
            # The SDK leaves out None, which the JSON of a threshold has.
            elif value is not None:
                yield f"{here}: unknown key" + (f" ({kind})" if kind else "")
    elif isinstance(data, list) and isinstance(again, list) and len(data) == len(again):
        for one, other in zip(data, again, strict=True):
            yield from lost(one, other, f"{path}[]", kind)
    elif data != again or type(data) is not type(again):
        yield f"{path}: {data!r} became {again!r}"


@cache
def hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def checked(value: Any, hint: Any, path: str) -> Iterator[str]:
    """Where a decoded value is not of its annotated type."""
    if isinstance(value, runtime.UnknownDataquery):
        yield f"{path}: unknown query to {value.data['datasource']['type']!r}"
    elif hasattr(value, "to_json"):
        yield from checked_object(value, hint, path)
    elif hint in (Any, object):
        return
    elif typing.get_origin(hint) is not None:
        yield from checked_generic(value, hint, path)
    elif hasattr(hint, "from_json") and isinstance(value, dict):
        yield from decoded(hint, value, path, "")
    elif not is_plain(value, hint):
        yield wrong(value, hint, path)


def checked_object(value: Any, hint: Any, path: str) -> Iterator[str]:
    """An object of one of the SDK's classes, with all its fields."""
    if isinstance(hint, type) and hint is not object and not isinstance(value, hint):
        yield wrong(value, hint, path)
    cls: type = type(value)
    for name, inner in hints(cls).items():
        yield from checked(getattr(value, name), inner, f"{path}.{name}".strip("."))


def checked_generic(value: Any, hint: Any, path: str) -> Iterator[str]:
    """A union, a literal, a list or a dictionary."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        branches = [list(checked(value, branch, path)) for branch in arguments]
        if all(branches):
            yield from branches[0]
    elif origin is typing.Literal:
        if value not in arguments:
            yield wrong(value, hint, path)
    elif origin not in (list, dict):
        raise TypeError(f"{path}: {hint} is not known")
    elif not isinstance(value, origin):
        yield wrong(value, hint, path)
    elif origin is list:
        for one in value:
            yield from checked(one, arguments[0], f"{path}[]")
    else:
        for key, one in value.items():
            yield from checked(one, arguments[1], f"{path}.{key}")


def is_plain(value: Any, hint: Any) -> bool:
    """Whether a text, a number, a truth value or one of an enumeration is of its type."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return value in [item.value for item in hint] and not isinstance(value, bool)
    return isinstance(value, bool) == (hint is bool) and isinstance(
        value, (int, float) if hint is float else hint
    )


def wrong(value: Any, hint: Any, path: str) -> str:
    return f"{path}: {value!r} is not {getattr(hint, '__name__', hint)}"


def beyond_gaps(found: list[str]) -> list[str]:
    return [problem for problem in found if not any(re.match(gap, problem) for gap in GAPS)]


@pytest.mark.parametrize("case", CASES)
def test_dashboards_are_as_the_schema_says(case: str) -> None:
    found = {kind: beyond_gaps(problems(board)) for kind, board in boards_of(case).items()}
    assert {kind: wrong for kind, wrong in found.items() if wrong} == {}


@pytest.mark.slow
def test_no_gap_is_dead() -> None:
    every = {problem for case in CASES for board in boards_of(case).values() for problem in problems(board)}
    assert [gap for gap in GAPS if not any(re.match(gap, problem) for problem in every)] == []


def first(board: Json, kind: str) -> Json:
    return next(panel for panel in panels(board) if panel["type"] == kind)


def defaults(board: Json, kind: str) -> Json:
    found: Json = first(board, kind)["fieldConfig"]["defaults"]
    return found


def override(board: Json, name: str, value: Any) -> None:
    first(board, "table")["fieldConfig"]["overrides"][0]["properties"] = [{"id": name, "value": value}]


Change = Callable[[Json], object]
WRONG: list[tuple[str, Change]] = [
    ("graph_tooltip", lambda b: b.update(graphTooltip=3)),
    ("graph_tooltip", lambda b: b.update(graphTooltip="1")),
    ("schema_version", lambda b: b.update(schemaVersion="41")),
    ("editable", lambda b: b.update(editable=1)),
    ("tags", lambda b: b.update(tags=["a", 1])),
    ("liveNew: unknown key", lambda b: b.update(liveNew=True)),
    ("time.from_val", lambda b: b["time"].update({"from": 5})),
    ("links[].type_val", lambda b: b["links"][0].update(type="dashboard")),
    ("unknown key", lambda b: b["links"][0].update(dropdown=True)),
    ("hide", lambda b: b["templating"]["list"][0].update(hide=3)),
    ("refresh", lambda b: b["templating"]["list"][0].update(refresh="1")),
    ("type_val", lambda b: b["templating"]["list"][0].update(type="list")),
    ("icon_color", lambda b: b["annotations"]["list"][0].update(iconColor=None, color="red")),
    ("grid_pos.w", lambda b: first(b, "stat")["gridPos"].update(w="12")),
    ("id_val", lambda b: first(b, "stat").update(id="7")),
    ("unknown panel 'graph'", lambda b: first(b, "stat").update(type="graph")),
    ("links[]", lambda b: first(b, "timeseries").update(links=[{"title": "x", "address": "/"}])),
    ("transformations[]", lambda b: first(b, "table")["transformations"][0].update(id=1)),
    ("expr", lambda b: first(b, "stat")["targets"][0].update(expr=1)),
    ("format_val", lambda b: first(b, "stat")["targets"][0].update(format="heat")),
    ("unknown key", lambda b: first(b, "stat")["targets"][0].update(step=60)),
    ("decimals", lambda b: defaults(b, "stat").update(decimals="1")),
    ("unknown unit 'requests'", lambda b: defaults(b, "stat").update(unit="requests")),
    ("thresholds.mode", lambda b: defaults(b, "stat")["thresholds"].update(mode="relative")),
    ("thresholds.steps[].value", lambda b: defaults(b, "stat")["thresholds"]["steps"][0].update(value="x")),
    ("color.mode", lambda b: defaults(b, "stat")["color"].update(mode="rainbow")),
    ("draw_style", lambda b: defaults(b, "timeseries")["custom"].update(drawStyle="dots")),
    ("line_width", lambda b: defaults(b, "timeseries")["custom"].update(lineWidth="1")),
    ("stacking.mode", lambda b: defaults(b, "timeseries")["custom"]["stacking"].update(mode="on")),
    ("unknown key (timeseries)", lambda b: defaults(b, "timeseries")["custom"].update(lineStyles={})),
    ("legend.placement", lambda b: first(b, "timeseries")["options"]["legend"].update(placement="left")),
    ("legend.calcs", lambda b: first(b, "timeseries")["options"]["legend"].update(calcs="max")),
    ("text_mode", lambda b: first(b, "stat")["options"].update(textMode="both")),
    ("unknown key (stat)", lambda b: first(b, "stat")["options"].update(sparkline=True)),
    (
        "sort_by[].desc",
        lambda b: first(b, "table")["options"].update(sortBy=[{"displayName": "x", "desc": 1}]),
    ),
    ("colour-text", lambda b: defaults(b, "table")["custom"].update(cellOptions={"type": "colour-text"})),
    ("override", lambda b: override(b, "units", "s")),
    ("override", lambda b: override(b, "decimals", "2")),
    ("override", lambda b: override(b, "custom.cellOptions", {"type": "colour"})),
    ("override", lambda b: override(b, "custom.widths", 100)),
    ("override", lambda b: override(b, "links", [{"title": "x", "address": "/"}])),
    ("unknown unit 'sec'", lambda b: override(b, "unit", "sec")),
]


@pytest.mark.parametrize(("expected", "change"), WRONG)
def test_what_the_schema_forbids_is_found(expected: str, change: Change) -> None:
    board = copy.deepcopy(boards_of("guardrails")["oncall"])
    assert beyond_gaps(problems(board)) == []
    change(board)
    assert any(expected in problem for problem in beyond_gaps(problems(board))), problems(board)
