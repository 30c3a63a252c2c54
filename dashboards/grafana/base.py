"""What all panels share, and queries."""

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
