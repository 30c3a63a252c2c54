"""Panels that show data, as Grafana 11 writes them."""

from __future__ import annotations

from collections.abc import Sequence

import attr
from grafanalib import core

from dashboards.grafana.base import Current, Json, compact, fields


@fields
class TimeSeries(Current, core.TimeSeries):  # type: ignore[misc]
    """Values over time."""

    kind = "timeseries"

    def to_json_data(self) -> Json:
        """The panel as Grafana 11 writes it."""
        custom = compact(
            {
                "drawStyle": self.drawStyle,
                "lineWidth": self.lineWidth,
                "lineInterpolation": self.lineInterpolation,
                "fillOpacity": self.fillOpacity,
                "gradientMode": self.gradientMode,
                "spanNulls": self.spanNulls,
                "insertNulls": False,
                "showPoints": self.showPoints,
                "pointSize": self.pointSize,
                "stacking": self.stacking or {"mode": "none", "group": "A"},
                "axisPlacement": self.axisPlacement,
                "axisLabel": self.axisLabel,
                "axisSoftMin": self.axisSoftMin,
                "axisSoftMax": self.axisSoftMax,
                "scaleDistribution": {"type": self.scaleDistributionType},
                "thresholdsStyle": {"mode": self.thresholdsStyleMode},
                "hideFrom": {"legend": False, "tooltip": False, "viz": False},
            }
        )
        options = {
            "legend": {
                "displayMode": self.legendDisplayMode,
                "placement": self.legendPlacement,
                "showLegend": True,
                "calcs": self.legendCalcs,
            },
            "tooltip": {"mode": self.tooltipMode, "sort": self.tooltipSort},
        }
        return self.shaped(options, custom)


def _reduced(calc: str) -> Json:
    return {"calcs": [calc], "fields": "", "values": False}


@fields
class Stat(Current, core.Stat):  # type: ignore[misc]
    """One number, or one for each series."""

    kind = "stat"

    def to_json_data(self) -> Json:
        """The panel as Grafana 11 writes it."""
        return self.shaped(
            {
                "colorMode": self.colorStyle,
                "graphMode": self.graphMode,
                "justifyMode": self.alignment,
                "orientation": self.orientation,
                "reduceOptions": _reduced(self.reduceCalc),
                "textMode": self.textMode,
                "wideLayout": True,
                "showPercentChange": False,
            }
        )

    colorStyle: str = attr.ib(default="value")


@fields
class BarGauge(Current, core.BarGauge):  # type: ignore[misc]
    """A bar for each series."""

    kind = "bargauge"

    def to_json_data(self) -> Json:
        """The panel as Grafana 11 writes it."""
        return self.shaped(
            {
                "displayMode": self.displayMode,
                "orientation": self.orientation,
                "reduceOptions": _reduced(self.calc),
                "showUnfilled": True,
                "valueMode": "color",
                "namePlacement": "auto",
                "sizing": "auto",
                "minVizHeight": 16,
                "minVizWidth": 8,
                "maxVizHeight": 300,
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            }
        )


@fields
class Table(Current, core.Table):  # type: ignore[misc]
    """Rows of labels and values."""

    kind = "table"
    sortedBy: Sequence[tuple[str, bool]] = attr.ib(factory=list)

    def to_json_data(self) -> Json:
        """The panel as Grafana 11 writes it."""
        custom = {
            "align": self.align,
            "cellOptions": {"type": "auto"},
            "filterable": self.filterable,
            "inspect": False,
        }
        options = {
            "showHeader": self.showHeader,
            "cellHeight": "sm",
            "sortBy": [{"displayName": name, "desc": descending} for name, descending in self.sortedBy],
            "footer": {"show": False, "reducer": ["sum"], "countRows": False},
        }
        return self.shaped(options, custom)


@fields
class StateTimeline(Current, core.StateTimeline):  # type: ignore[misc]
    """What state each series was in over time."""

    kind = "state-timeline"

    def to_json_data(self) -> Json:
        """The panel as Grafana 11 writes it."""
        custom = {
            "fillOpacity": self.fillOpacity,
            "lineWidth": self.lineWidth,
            "spanNulls": False,
            "insertNulls": False,
            "hideFrom": {"legend": False, "tooltip": False, "viz": False},
        }
        options = {
            "alignValue": self.alignValue,
            "mergeValues": self.mergeValues,
            "rowHeight": self.rowHeight,
            "showValue": self.showValue,
            "legend": {
                "displayMode": self.legendDisplayMode,
                "placement": self.legendPlacement,
                "showLegend": True,
                "calcs": [],
            },
            "tooltip": {"mode": self.tooltipMode, "sort": "none"},
        }
        return self.shaped(options, custom)


@fields
class Heatmap(Current, core.Heatmap):  # type: ignore[misc]
    """How often values fell into each bucket of a histogram over time; ``unit`` is that of the buckets."""

    kind = "heatmap"

    def to_json_data(self) -> Json:
        """The panel as Grafana 11 writes it."""
        options = {
            "calculate": False,
            "cellGap": 1,
            "cellValues": {"unit": "short"},
            "color": {
                "mode": "scheme",
                "scheme": "Blues",
                "fill": "blue",
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": False,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": self.unit},
        }
        custom = {
            "hideFrom": {"legend": False, "tooltip": False, "viz": False},
            "scaleDistribution": {"type": "linear"},
        }
        return self.shaped(options, custom)


@fields
class Traces(Current, core.Panel):  # type: ignore[misc]
    """The waterfall of one trace."""

    kind = "traces"

    def to_json_data(self) -> Json:
        """The panel as Grafana 11 writes it."""
        return self.shaped({})
