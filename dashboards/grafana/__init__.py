"""grafanalib, brought up to the JSON that Grafana 10 to 12 write themselves: the one place that extends it.

grafanalib 0.7.1 writes some panels as Grafana 6 did (bar gauges, heat maps, the table's ``displayMode``), and fields
that Grafana has dropped (``span``, ``editable``, ``error`` …). The classes here are grafanalib's, with its attributes;
they write today's form and add what grafanalib lacks. Everything else of grafanalib works beside them.
"""

from grafanalib import core

from dashboards.grafana.base import (
    GRAFANA,
    PROMETHEUS,
    WIDTH,
    Dashboard,
    Json,
    OtherQuery,
    Query,
    Row,
    Text,
    Variable,
)
from dashboards.grafana.panels import BarGauge, Heatmap, Stat, StateTimeline, Table, TimeSeries, Traces

__all__ = [
    "GRAFANA",
    "PROMETHEUS",
    "WIDTH",
    "BarGauge",
    "Dashboard",
    "Heatmap",
    "Json",
    "OtherQuery",
    "Query",
    "Row",
    "Stat",
    "StateTimeline",
    "Table",
    "Text",
    "TimeSeries",
    "Traces",
    "Variable",
    "core",
]
