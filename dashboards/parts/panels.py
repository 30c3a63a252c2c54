"""Panels in the house style: each says what it shows, in which unit, and what it means when there is nothing.

``series`` are (legend, PromQL) pairs. ``nothing`` is shown in place of no data: it says why there may be none. Texts
are constants of this package; what comes from a file or a label reaches a panel through its data only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Literal

from dashboards.grafana import (
    BarGauge,
    Heatmap,
    Json,
    Query,
    Stat,
    StateTimeline,
    Table,
    Text,
    TimeSeries,
    core,
)

Steps = Sequence[tuple[float | None, str]]
"""(from, colour) pairs; the first is for everything below the second."""
GOOD, WARN, BAD, PLAIN = "green", "orange", "red", "text"
SHARE = "percentunit"


def steps(bad: float, warn: float | None = None, side: Literal["max", "min"] = "max") -> Steps:
    """Colours for a value that should stay below ``bad`` (``side="max"``), or above it."""
    if side == "max":
        middle = [(warn, WARN)] if warn is not None else []
        return [(None, GOOD), *middle, (bad, BAD)]
    if warn is not None:
        return [(None, BAD), (bad, WARN), (warn, GOOD)]
    return [(None, BAD), (bad, GOOD)]


def _queries(series: Sequence[tuple[str, str]], **more: Any) -> list[Query]:
    return [
        Query(refId=ascii_uppercase[index], expr=expr, legendFormat=legend, **more)
        for index, (legend, expr) in enumerate(series)
    ]


def graph(
    title: str,
    description: str,
    series: Sequence[tuple[str, str]],
    *,
    unit: str,
    nothing: str,
    low: float | None = 0,
    high: float | None = None,
    limits: Steps = (),
    style: Literal["lines", "bars", "area"] = "lines",
    places: int | None = None,
    least: str = "1m",
    span: int = 12,
    height: int = 8,
    exemplars: str = "",
    since: str | None = None,
    data_links: Sequence[Json] = (),
    links: Sequence[Json] = (),
) -> TimeSeries:
    """Values over time. ``limits`` are drawn as dashed lines, ``least`` is the least step between two points.

    ``bars`` and ``area`` are stacked: what is drawn adds up to a whole. ``exemplars`` is a selector of raw
    buckets whose exemplars are drawn beside the lines.
    """
    targets = _queries(series, interval=least)
    if exemplars:
        # Reads next to nothing (a sample that is a second old at most, and above all numbers), but names the series.
        expr = f"last_over_time({exemplars}[1s]) > Inf"
        targets.append(Query(refId="Exemplars", expr=expr, exemplar=True, interval=least))
    stacked = style != "lines"
    return TimeSeries(
        title=title,
        description=description,
        targets=targets,
        unit=unit,
        noValue=nothing,
        low=low,
        high=high,
        places=places,
        colorMode="palette-classic",
        steps=list(limits) or [(None, GOOD)],
        thresholdsStyleMode="dashed" if limits else "off",
        drawStyle="bars" if style == "bars" else "line",
        lineWidth=0 if style == "bars" else 1,
        fillOpacity={"lines": 0, "bars": 80, "area": 30}[style],
        stacking={"mode": "normal" if stacked else "none", "group": "A"},
        showPoints="auto",
        legendDisplayMode="table" if len(targets) > 1 or "{{" in series[0][0] else "list",
        legendPlacement="bottom",
        legendCalcs=["max", "lastNotNull"],
        tooltipMode="multi",
        tooltipSort="desc",
        interval=least,
        timeFrom=since,
        span=span,
        height=height,
        dataLinks=list(data_links),
        links=list(links),
    )


def dashed(panel: TimeSeries, names: str, color: str) -> TimeSeries:
    """The panel with the series that a regular expression (``/^…/``) names as dashed lines of one colour."""
    panel.overrides.append(
        {
            "matcher": {"id": "byRegexp", "options": names},
            "properties": [
                {"id": "color", "value": {"mode": "fixed", "fixedColor": color}},
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [10, 10]}},
            ],
        }
    )
    return panel


def stat(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str,
    nothing: str,
    colors: Steps = ((None, PLAIN),),
    places: int | None = None,
    legend: str = "",
    span: int = 4,
    height: int = 4,
    mappings: Sequence[Json] = (),
    data_links: Sequence[Json] = (),
    links: Sequence[Json] = (),
) -> Stat:
    """One number now, or one for each series, named by ``legend``."""
    return Stat(
        title=title,
        description=description,
        targets=_queries([(legend, expr)], instant=True),
        unit=unit,
        noValue=nothing,
        places=places,
        steps=list(colors),
        graphMode="none",
        reduceCalc="lastNotNull",
        textMode="value_and_name" if legend else "value",
        mappings=list(mappings),
        span=span,
        height=height,
        dataLinks=list(data_links),
        links=list(links),
    )


def bars(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str,
    nothing: str,
    legend: str,
    colors: Steps = ((None, GOOD),),
    low: float = 0,
    high: float | None = None,
    places: int | None = None,
    span: int = 12,
    height: int = 8,
    data_links: Sequence[Json] = (),
) -> BarGauge:
    """A bar for each series, now."""
    return BarGauge(
        title=title,
        description=description,
        targets=_queries([(legend, expr)], instant=True),
        unit=unit,
        noValue=nothing,
        low=low,
        high=high,
        places=places,
        steps=list(colors),
        calc="lastNotNull",
        displayMode="basic",
        orientation="horizontal",
        span=span,
        height=height,
        dataLinks=list(data_links),
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of values: an instant query whose labels are those of the table's rows."""

    title: str
    expr: str
    unit: str = "short"
    places: int | None = None
    colors: Steps = field(default_factory=tuple)


def table(
    title: str,
    description: str,
    columns: Sequence[Column],
    *,
    labels: Sequence[str],
    nothing: str,
    sort: tuple[str, bool] | None = None,
    links: Mapping[str, Sequence[Json]] | None = None,
    span: int = 24,
    height: int = 9,
) -> Table:
    """A row for each set of ``labels``, which the columns share; ``links`` are followed from a label's cells.

    ``sort`` names a column and says whether its largest values come first.
    """
    many = len(columns) > 1
    fields = {f"Value #{ascii_uppercase[index]}" if many else "Value": c for index, c in enumerate(columns)}
    overrides = [_override(column) for column in columns]
    for label, found in (links or {}).items():
        overrides.append(_properties(label, {"links": list(found)}))
    order = {name: index for index, name in enumerate((*labels, *fields))}
    organize = {
        "id": "organize",
        "options": {
            "excludeByName": {"Time": True, "__name__": True},
            "indexByName": order,
            "renameByName": {name: column.title for name, column in fields.items()},
        },
    }
    return Table(
        title=title,
        description=description,
        targets=_queries([("", column.expr) for column in columns], instant=True, format="table"),
        transformations=[{"id": "merge", "options": {}}] * many + [organize],
        noValue=nothing,
        overrides=overrides,
        sortedBy=[sort] if sort else [],
        filterable=True,
        unit="short",
        span=span,
        height=height,
    )


def _properties(name: str, properties: Mapping[str, Any]) -> Json:
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def _override(column: Column) -> Json:
    properties: Json = {"unit": column.unit}
    if column.places is not None:
        properties["decimals"] = column.places
    if column.colors:
        colors = [{"color": color, "value": value} for value, color in column.colors]
        properties["thresholds"] = {"mode": "absolute", "steps": colors}
        properties["custom.cellOptions"] = {"type": "color-text"}
    return _properties(column.title, properties)


def states(
    title: str,
    description: str,
    series: Sequence[tuple[str, str]],
    *,
    nothing: str,
    meanings: Mapping[str, tuple[str, str]],
    least: str = "1m",
    span: int = 24,
    height: int = 8,
    links: Sequence[Json] = (),
) -> StateTimeline:
    """What state each series was in; ``meanings`` has the text and the colour of each value."""
    options = {value: {"text": text, "color": color} for value, (text, color) in meanings.items()}
    return StateTimeline(
        title=title,
        description=description,
        targets=_queries(series, interval=least),
        noValue=nothing,
        unit="none",
        mappings=[{"type": "value", "options": options}],
        steps=[(None, PLAIN)],
        interval=least,
        tooltipMode="single",
        span=span,
        height=height,
        links=list(links),
    )


def heatmap(
    title: str, description: str, expr: str, *, unit: str, nothing: str, least: str = "1m", span: int = 12
) -> Heatmap:
    """How often values fell into each bucket; ``expr`` gives cumulative buckets by ``le``, or native histograms."""
    legend = "{{le}}" if "(le)" in expr else ""
    query = Query(refId="A", expr=expr, legendFormat=legend, format="heatmap", interval=least)
    return Heatmap(
        title=title,
        description=description,
        targets=[query],
        unit=unit,
        noValue=nothing,
        interval=least,
        span=span,
        height=8,
    )


def text(title: str, content: str, *, span: int = 24, height: int = 3) -> Text:
    """Markdown."""
    return Text(title=title, content=content, mode=core.TEXT_MODE_MARKDOWN, span=span, height=height)
