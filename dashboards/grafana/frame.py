"""What panels stand in: rows, texts, variables, the dashboard itself."""

from __future__ import annotations

import attr
from grafanalib import core

from dashboards.grafana.base import PLUGIN_VERSION, PROMETHEUS, SCHEMA_VERSION, Json, compact, fields


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
    """A variable of a dashboard: ``type`` is ``datasource``, ``query`` (to Prometheus) or ``textbox``."""

    description: str = attr.ib(default="")

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
