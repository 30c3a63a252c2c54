"""Finds what is wrong with a dashboard before anybody looks at it: with ours, and with those that users wrote.

It reads the JSON of a dashboard, and knows Grafana 10 to 12. It must not know how ours are made.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.lint import queries
from dashboards.lint.variables import (
    Json,
    LintMessages,
    declared,
    has_several,
    references,
    unknown,
    unused,
    without_references,
)

COLUMNS = 24
OLDEST_SCHEMA = 39
"""Of Grafana 10.4; older dashboards are migrated in every browser that opens them."""
LONGEST_UID = 40

TYPES = frozenset(
    """timeseries stat bargauge gauge table state-timeline status-history heatmap histogram barchart piechart text row
    traces logs nodeGraph alertlist dashlist""".split()
)
SUCCESSORS = {
    "graph": "timeseries",
    "graph-old": "timeseries",
    "singlestat": "stat",
    "grafana-singlestat-panel": "stat",
    "table-old": "table",
    "grafana-piechart-panel": "piechart",
    "grafana-worldmap-panel": "a current type",
    "heatmap-new": "heatmap",
}
OLD_FIELDS = {
    "text": ("content", "mode"),
    "heatmap": (
        "dataFormat",
        "yAxis",
        "xAxis",
        "cards",
        "color",
        "heatmap",
        "highlightCards",
        "yBucketBound",
    ),
    "table": ("styles", "columns", "sort", "transform", "fontSize", "scroll", "showHeader"),
}
"""Fields at a panel's top level that only older forms of its type have."""
OLD_EVERYWHERE = (
    "span nullPointMode aliasColors seriesOverrides yaxes xaxis steppedLine valueName sparkline gauge colors alert "
    "displayMode orientation reduceCalc"
).split()
MEASURED = frozenset(
    {
        "timeseries",
        "stat",
        "bargauge",
        "gauge",
        "heatmap",
        "histogram",
        "barchart",
        "piechart",
        "status-history",
    }
)
"""Types that show numbers with the unit of their panel."""
PLAIN = frozenset({"row", "text"})


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong: ``where`` is a panel's title and number, or ``dashboard``; ``message`` says the remedy, too."""

    where: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.code}: {self.message}"


def lint(dashboard: Json, *, metrics: Container[str] | None = None) -> list[Problem]:
    """The problems of a dashboard, in the order in which it has them; ``metrics`` are the names that may be read.

    - ``uid``: the UID is missing, longer than 40 characters, or not made of letters, digits, ``-`` and ``_``.
    - ``schema-version``: the schema is older than 39, or not given.
    - ``time``: the time range that is shown at first is missing.
    - ``refresh``: it is not said how often the dashboard asks anew (an empty text is: never).
    - ``no-title``: the dashboard or a panel has no title.
    - ``no-description``: a panel (other than a row or a text) does not say what it shows.
    - ``no-unit``: a panel's numbers, or a column of values of a table, have no unit.
    - ``no-novalue``: a panel does not say what it means when there is nothing (``noValue``).
    - ``deprecated-panel``: a panel's type, or its form, is not one that Grafana still has.
    - ``duplicate-id``: a panel has no number, or one that another panel has.
    - ``overlap``: panels overlap, or stand outside of the 24 columns.
    - ``duplicate-ref``: two queries of a panel have the same refId, or one has none.
    - ``data-source``: a panel, a query, an annotation or a variable is bound to one data source.
    - ``unknown-variable``: a variable is used and not declared.
    - ``unused-variable``: a variable is declared and not used.
    - ``unsafe-variable``: a variable that may have several values is not matched by ``=~`` or ``!~``, or one of a
      single value is (Grafana escapes regular expressions only for the former); or a link passes on several values
      in a form that nothing reads.
    - ``bad-link``: a link leads nowhere: it is no path and no http(s) address, or is not percent-encoded.
    - ``promql``: an expression cannot be read.
    - ``unknown-metric``: an expression reads what is not among ``metrics``.
    - ``raw-long-range``: raw samples are read over a long time, or in a subquery: that overloads a server, and is what
      recorded series (their names have a colon; and ``ALERTS``) are for.
    """
    variables = declared(dashboard)
    problems = [Problem("dashboard", *found) for found in _of_dashboard(dashboard, variables, metrics)]
    numbers: set[Any] = set()
    for panel in panels(dashboard):
        where = f"{panel.get('title') or panel.get('type') or 'panel'} ({panel.get('id')})"
        problems += [Problem(where, *found) for found in _of_panel(panel, numbers, variables, metrics)]
    return problems


def panels(dashboard: Json) -> Iterator[Json]:
    """Every panel, with the rows and what is inside them."""
    for panel in dashboard.get("panels") or []:
        yield panel
        yield from panels(panel)


def links(part: Any) -> Iterator[Json]:
    """Every link of a dashboard or a panel, with those of its fields; not those of panels inside."""
    yield from part.get("links") or []
    config = part.get("fieldConfig") or {}
    yield from (config.get("defaults") or {}).get("links") or []
    for override in config.get("overrides") or []:
        for item in override.get("properties") or []:
            if item.get("id") == "links":
                yield from item.get("value") or []


def _of_dashboard(
    dashboard: Json, variables: dict[str, Json], metrics: Container[str] | None
) -> LintMessages:
    yield from _head(dashboard)
    yield from _overlaps(dashboard.get("panels") or [])
    yield from unknown(dashboard, variables, ("panels",))
    yield from unused(dashboard)
    for annotation in (dashboard.get("annotations") or {}).get("list") or []:
        yield from queries.annotation_problems(annotation, variables, metrics)
    for variable in variables.values():
        yield from queries.variable_problems(variable, variables, metrics)
    for link in links(dashboard):
        yield from _link(link, variables)


def _head(dashboard: Json) -> LintMessages:
    uid = dashboard.get("uid") or ""
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST_UID}}}", str(uid)):
        yield (
            "uid",
            f"the UID {uid!r} is not 1 to {LONGEST_UID} letters, digits, '-' and '_': links need one that stays",
        )
    version = dashboard.get("schemaVersion")
    if not isinstance(version, int) or version < OLDEST_SCHEMA:
        yield (
            "schema-version",
            f"schemaVersion is {version!r}: save it from a Grafana that writes {OLDEST_SCHEMA} or later",
        )
    time = dashboard.get("time") or {}
    if not time.get("from") or not time.get("to"):
        yield "time", 'the time range is missing: write "time": {"from": "now-6h", "to": "now"}'
    if not isinstance(dashboard.get("refresh"), str):
        yield "refresh", 'it is not said how often to ask anew: write "refresh": "1m", or "" for never'
    if not dashboard.get("title"):
        yield "no-title", "the dashboard has no title: give it one"


def _of_panel(
    panel: Json, numbers: set[Any], variables: dict[str, Json], metrics: Container[str] | None
) -> LintMessages:
    if panel.get("id") is None or panel["id"] in numbers:
        yield (
            "duplicate-id",
            f"the number {panel.get('id')} is not this panel's alone: give it one of its own",
        )
    numbers.add(panel.get("id"))
    if not panel.get("title"):
        yield "no-title", "the panel has no title: give it one"
    yield from _type(panel)
    yield from _overlaps(panel.get("panels") or [])
    yield from unknown(panel, variables, ("panels",))
    if panel.get("type") not in PLAIN:
        if not panel.get("description"):
            yield "no-description", "the panel does not say what it shows: give it a description"
        defaults = (panel.get("fieldConfig") or {}).get("defaults") or {}
        if panel.get("targets") and not defaults.get("noValue"):
            yield "no-novalue", "say in fieldConfig.defaults.noValue what it means when there is nothing"
        yield from _units(panel, defaults)
        yield from queries.target_problems(panel, variables, metrics)
    for link in links(panel):
        yield from _link(link, variables)


def _type(panel: Json) -> LintMessages:
    kind = str(panel.get("type") or "")
    if kind not in TYPES:
        instead = SUCCESSORS.get(kind, "one of " + ", ".join(sorted(TYPES)))
        yield "deprecated-panel", f"Grafana has no panel {kind!r}, or will not keep it: use {instead}"
        return
    old = [name for name in (*OLD_FIELDS.get(kind, ()), *OLD_EVERYWHERE) if name in panel]
    custom = ((panel.get("fieldConfig") or {}).get("defaults") or {}).get("custom") or {}
    if kind == "table" and "displayMode" in custom:
        old.append("fieldConfig.defaults.custom.displayMode")
    if old:
        yield (
            "deprecated-panel",
            f"{', '.join(old)}: an older form of {kind}; save the panel from a current Grafana",
        )


def _overlaps(level: Sequence[Json]) -> LintMessages:
    placed: list[tuple[str, int, int, int, int]] = []
    for panel in level:
        grid, title = panel.get("gridPos") or {}, str(panel.get("title") or panel.get("id"))
        x, y, w, h = (value if isinstance(value := grid.get(key), int) else -1 for key in "xywh")
        if x < 0 or y < 0 or w < 1 or h < 1 or x + w > COLUMNS:
            yield "overlap", f"{title!r} is not within the {COLUMNS} columns: correct its gridPos"
            continue
        for other, left, top, wide, high in placed:
            if x < left + wide and left < x + w and y < top + high and top < y + h:
                yield "overlap", f"{title!r} overlaps {other!r}: correct the gridPos of one of them"
        placed.append((title, x, y, w, h))


def _units(panel: Json, defaults: Json) -> LintMessages:
    kind = panel.get("type")
    if kind in MEASURED:
        axis = (panel.get("options") or {}).get("yAxis") or {}
        if not (axis.get("unit") if kind == "heatmap" else defaults.get("unit")):
            place = "options.yAxis.unit" if kind == "heatmap" else "fieldConfig.defaults.unit"
            yield "no-unit", f"say in {place} what its numbers are ('none', if nothing)"
    elif kind == "table":
        overrides = (panel.get("fieldConfig") or {}).get("overrides") or []
        for names, ref in _columns(panel):
            if not any(_formats(override, names, ref) for override in overrides):
                yield (
                    "no-unit",
                    f"the column {names[-1]!r} has no unit: add an override with one ('none', if nothing)",
                )


def _columns(panel: Json) -> Iterator[tuple[list[str], str]]:
    """The columns of values of a table: all names that each of them has, the last one shown, and its refId."""
    shown = [target for target in panel.get("targets") or [] if "expr" in target and not target.get("hide")]
    for target in shown:
        names = ["Value" if len(shown) == 1 else f"Value #{target.get('refId')}"]
        left_out = False
        for step in panel.get("transformations") or []:
            options = step.get("options") or {}
            left_out = left_out or bool((options.get("excludeByName") or {}).get(names[-1]))
            names.append((options.get("renameByName") or {}).get(names[-1]) or names[-1])
        if not left_out:
            yield names, str(target.get("refId"))


def _formats(override: Json, names: Sequence[str], ref: str) -> bool:
    """Whether an override gives a column of values its unit."""
    if not any(item.get("id") == "unit" and item.get("value") for item in override.get("properties") or []):
        return False
    matcher = override.get("matcher") or {}
    kind, wanted = matcher.get("id"), matcher.get("options")
    if kind == "byRegexp":
        return any(re.search(str(wanted).strip("/"), name) for name in names[-1:])
    if kind == "byNames":
        return names[-1] in ((wanted or {}).get("names") or [])
    return (kind, wanted) in {
        ("byType", "number"),
        ("byFrameRefID", ref),
        *(("byName", name) for name in names),
    }


def _link(link: Json, variables: dict[str, Json]) -> LintMessages:
    if link.get("type") == "dashboards":
        return
    url, title = str(link.get("url") or ""), link.get("title")
    bare = without_references(url)
    if not re.match(r"https?://[^/]|/(?!/)", url):
        yield "bad-link", f"the link {title!r} leads to {url!r}: begin it with '/', 'http://' or 'https://'"
    elif found := re.search(r"[\s\"'<>{}]", bare):
        yield "bad-link", f"the link {title!r} has {found[0]!r} in it: percent-encode all but its variables"
    elif re.search(r"%24%7B|\$%7B|%24\{", url, re.IGNORECASE):
        yield (
            "bad-link",
            f"the link {title!r} has a percent-encoded variable, which Grafana does not fill in: write ${{x}}",
        )
    for reference in references(url):
        if has_several(variables.get(reference.name, {})) and reference.format != "queryparam":
            yield (
                "unsafe-variable",
                f"the link {title!r} has ${reference.name} in it, which may have several values: to another dashboard "
                f"write ${{{reference.name}:queryparam}} in place of var-{reference.name}=…; elsewhere, take a label "
                "of what was clicked",
            )
