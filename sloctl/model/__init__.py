"""What the SLO file means: plain immutable data, a module for each of its subjects.

It must not know how a file is read, how PromQL looks, or where data comes from. What nearly everybody needs can be
imported from here.
"""

from sloctl.model.policies import AlertPolicy, AlertSeverity, BurnWindow
from sloctl.model.slo import (
    FINE_LIMIT,
    GRID,
    LONGEST_SILENCE,
    LOOKBACK,
    NOWHERE,
    TILE,
    CalendarUnit,
    CalendarWindow,
    CounterSli,
    ExprSli,
    Guardrail,
    Job,
    Matcher,
    Mesh,
    MeshMode,
    Objects,
    RollingWindow,
    Selector,
    SeriesKey,
    Sli,
    Slo,
    SloSet,
    Sources,
    Window,
)

__all__ = [
    "FINE_LIMIT",
    "GRID",
    "LONGEST_SILENCE",
    "LOOKBACK",
    "NOWHERE",
    "TILE",
    "AlertPolicy",
    "AlertSeverity",
    "BurnWindow",
    "CalendarUnit",
    "CalendarWindow",
    "CounterSli",
    "ExprSli",
    "Guardrail",
    "Job",
    "Matcher",
    "Mesh",
    "MeshMode",
    "Objects",
    "RollingWindow",
    "Selector",
    "SeriesKey",
    "Sli",
    "Slo",
    "SloSet",
    "Sources",
    "Window",
]
