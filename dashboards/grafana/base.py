"""What panels stand in (rows, texts, variables, the dashboard itself), what all of them share, and queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import attr
from grafanalib import core

Json = dict[str, Any]

SCHEMA_VERSION = 41
"""Of Grafana 11.6; later ones migrate it when they load it."""
PLUGIN_VERSION = "11.6.0"
"""What panels say they were saved with: without it Grafana would migrate them from its oldest forms."""
WIDTH = 24
"""Columns of Grafana's grid."""
PROMETHEUS: Json = {"type": "prometheus", "uid": "${datasource}"}
"""The data source that the variable ``datasource`` chooses."""
GRAFANA: Json = {"type": "grafana", "uid": "-- Grafana --"}


fields: Any = attr.s
"""As grafanalib's own classes are made; their base is untyped, so that their arguments are not checked."""


def compact(data: Mapping[str, Any]) -> Json:
    """``data`` without the keys that say nothing: None, and empty texts and lists."""
    return {key: value for key, value in data.items() if value is not None and value != "" and value != []}


@fields
class Query(core.Target):  # type: ignore[misc]
    """A query to Prometheus. ``interval`` is the least step between two points (``1m``)."""

    exemplar: bool = attr.ib(default=False)

    def to_json_data(self) -> Json:
        """The query as Grafana 11 writes it."""
        return compact(
            {
                "refId": self.refId,
                "datasource": self.datasource or PROMETHEUS,
                "editorMode": "code",
                "expr": self.expr,
                "format": self.format,
                "interval": self.interval,
                "legendFormat": self.legendFormat or "__auto",
                "instant": self.instant,
                "range": not self.instant,
                "exemplar": self.exemplar,
                "hide": self.hide or None,
            }
        )


@dataclass
class OtherQuery:
    """A query to a data source that grafanalib does not know: ``model`` is what that data source reads."""

    refId: str
    datasource: Json
    model: Json

    def to_json_data(self) -> Json:
        """The query as Grafana writes it."""
        return {"refId": self.refId, "datasource": self.datasource, **self.model}


@fields
class Current:
    """What every panel has besides grafanalib's attributes, and the form that all share.

    ``noValue`` is shown in place of nothing. ``low`` and ``high`` bound the axis, ``steps`` are (from, colour) pairs of
    thresholds, the first without a bound. ``dataLinks`` are followed from a value, ``links`` from the panel.
    """

    kind = ""

    noValue: str = attr.ib(default="")
    low: float | None = attr.ib(default=None)
    high: float | None = attr.ib(default=None)
    places: int | None = attr.ib(default=None)
    steps: Sequence[tuple[float | None, str]] = attr.ib(factory=list)
    dataLinks: list[Json] = attr.ib(factory=list)
    colorMode: str = attr.ib(default="thresholds")
    unit: str = attr.ib(default="")
    mappings: list[Json] = attr.ib(factory=list)
    overrides: list[Json] = attr.ib(factory=list)

    def shaped(self, options: Json, custom: Json | None = None) -> Json:
        """The panel with its type's own ``options`` and ``custom`` field options."""
        panel: Any = self
        defaults = compact(
            {
                "unit": self.unit,
                "decimals": self.places,
                "min": self.low,
                "max": self.high,
                "noValue": self.noValue,
                "color": {"mode": self.colorMode},
                "links": self.dataLinks,
            }
        )
        defaults["mappings"] = self.mappings
        defaults["thresholds"] = {
            "mode": "absolute",
            "steps": [{"color": color, "value": value} for value, color in (self.steps or [(None, "green")])],
        }
        if custom is not None:
            defaults["custom"] = custom
        return compact(
            {
                "id": panel.id,
                "type": self.kind,
                "title": panel.title,
                "description": panel.description,
                "datasource": panel.dataSource or PROMETHEUS,
                "gridPos": panel.gridPos,
                "targets": panel.targets,
                "links": panel.links,
                "interval": panel.interval,
                "timeFrom": panel.timeFrom,
                "maxDataPoints": panel.maxDataPoints if panel.maxDataPoints != 100 else None,
                "transformations": panel.transformations,
                "fieldConfig": {"defaults": defaults, "overrides": self.overrides},
                "options": options,
                "pluginVersion": PLUGIN_VERSION,
            }
        )


@fields
class Text(core.Text):  # type: ignore[misc]
    """Markdown."""

    kind = "text"

    def to_json_data(self) -> Json:
        """The panel as Grafana 11 writes it."""
        return compact(
            {
                "id": self.id,
                "type": self.kind,
                "title": self.title,
                "gridPos": self.gridPos,
                "options": {"mode": "markdown", "content": self.content},
                "pluginVersion": PLUGIN_VERSION,
            }
        )


@fields
class Row(core.RowPanel):  # type: ignore[misc]
    """A row's heading; the panels of a collapsed row stand inside it."""

    kind = "row"

    def to_json_data(self) -> Json:
        """The row as Grafana 11 writes it."""
        return {
            "id": self.id,
            "type": self.kind,
            "title": self.title,
            "collapsed": self.collapsed,
            "gridPos": self.gridPos,
            "panels": self.panels,
        }


@fields
class Variable(core.Template):  # type: ignore[misc]
    """A variable of a dashboard: ``type`` is ``datasource``, ``query`` (to Prometheus), ``textbox`` or ``custom``.

    ``values`` are those of a custom one by their names; the first is chosen.
    """

    description: str = attr.ib(default="")
    values: dict[str, str] = attr.ib(factory=dict)

    def to_json_data(self) -> Json:
        """The variable as Grafana 11 writes it."""
        shown = {"All": "$__all"}
        text = "" if self.default is None else self.default
        current = {"text": text, "value": shown.get(text, text), "selected": bool(text)}
        if self.multi and text:
            current |= {"text": [text], "value": [shown.get(text, text)]}
        out: Json = {
            "name": self.name,
            "type": self.type,
            "label": self.label,
            "description": self.description,
            "hide": self.hide,
            "skipUrlSync": False,
            "current": current,
        }
        if self.type == "query":
            out |= {
                "datasource": self.dataSource or PROMETHEUS,
                "definition": self.query,
                "query": {"qryType": 1, "query": self.query, "refId": "Variable"},
                "refresh": 2,
                "sort": self.sort,
                "regex": self.regex or "",
                "multi": self.multi,
                "includeAll": self.includeAll,
                "allValue": self.allValue,
                "options": [],
            }
        elif self.type == "datasource":
            out |= {"query": self.query, "regex": self.regex or "", "refresh": 1, "options": []}
            out |= {"multi": False, "includeAll": False}
        elif self.type == "custom":
            options = [
                {"text": name, "value": value, "selected": index == 0}
                for index, (name, value) in enumerate(self.values.items())
            ]
            # Grafana takes "name : value" apart at its colon, and the list at commas.
            listed = (f"{name} : {value}".replace(",", "\\,") for name, value in self.values.items())
            out |= {"query": ", ".join(listed), "options": options, "current": options[0]}
            out |= {"multi": False, "includeAll": False}
        else:
            option = {"text": text, "value": text, "selected": True}
            out |= {"query": text, "options": [option], "current": option}
        return {key: value for key, value in out.items() if value is not None}


@fields
class Dashboard(core.Dashboard):  # type: ignore[misc]
    """A dashboard; ``annotations.list`` holds finished annotations."""

    def to_json_data(self) -> Json:
        """The dashboard as Grafana 11 writes it; it has a ``uid`` and no ``id``, which is the server's own."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": self.tags,
            "annotations": {"list": self.annotations.list},
            "editable": self.editable,
            "fiscalYearStartMonth": 0,
            "graphTooltip": self.graphTooltip,
            "links": self.links,
            "liveNow": False,
            "panels": self.panels,
            "refresh": self.refresh,
            "schemaVersion": SCHEMA_VERSION,
            "templating": {"list": self.templating.list},
            "time": {"from": self.time.start, "to": self.time.end},
            "timepicker": {},
            "timezone": self.timezone,
            "version": self.version,
            "weekStart": "",
        }
