"""Rows of panels to a dashboard: where each panel stands, and the number that it is known by.

A panel's number comes from the titles of its row and its own: it stays the same whatever is added around it, so that
links to a panel (``viewPanel=…``) keep working.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import attr

from dashboards.grafana import GRAFANA, WIDTH, Dashboard, Json, Row, core
from dashboards.parts.series import CLUSTER
from sloctl import naming
from sloctl.model import SloSet

TAG = "sloctl"
"""A tag of every generated dashboard."""
HEIGHT = 8
"""Rows of Grafana's grid that a panel is high, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its panels, from left to right; a collapsed one asks for no data until it is opened."""

    title: str
    panels: Sequence[Any]
    collapsed: bool = False


def set_tag(set_name: str) -> str:
    """The tag that the dashboards of a set share: they link to each other by it."""
    return f"{TAG}:{set_name}"


def dashboard(
    slo_set: SloSet,
    kind: str,
    title: str,
    description: str,
    sections: Iterable[Section],
    *,
    variables: Sequence[Any] = (),
    annotations: Sequence[Json] = (),
    links: Sequence[Json] = (),
    since: str = "now-6h",
    refresh: str = "1m",
) -> Dashboard:
    """A dashboard of a set; sections without panels are left out, and a choice of clusters that nothing reads.

    ``kind`` makes the UID (:func:`sloctl.naming.dashboard_uid`). Raises ValueError for two panels of one title in a
    section.
    """
    built_in = {
        "builtIn": 1,
        "datasource": GRAFANA,
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "name": "Annotations & Alerts",
        "type": "dashboard",
    }
    panels = placed([section for section in sections if section.panels])
    rest = [panels, list(annotations), [item for item in variables if item.name != CLUSTER]]
    return Dashboard(
        title=title,
        description=description,
        uid=naming.dashboard_uid(slo_set.name, kind),
        tags=[TAG, set_tag(slo_set.name), kind],
        panels=panels,
        templating=core.Templating(
            list=[item for item in variables if item.name != CLUSTER or _reads(CLUSTER, rest)]
        ),
        annotations=core.Annotations(list=[built_in, *annotations]),
        links=[_others(slo_set), *links],
        time=core.Time(since, "now"),
        refresh=refresh,
        timezone="browser",
        graphTooltip=core.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        editable=False,
        version=1,
    )


def _reads(variable: str, parts: Sequence[Any]) -> bool:
    return f"${variable}" in json.dumps(parts, default=lambda part: part.to_json_data())


def _others(slo_set: SloSet) -> Json:
    return {
        "type": "dashboards",
        "title": f"{slo_set.name}: dashboards",
        "icon": "external link",
        "tooltip": "",
        "url": "",
        "tags": [set_tag(slo_set.name)],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def placed(sections: Sequence[Section]) -> list[Any]:
    """The panels of all sections with their headings, numbers and places on the grid, from the top down."""
    used: set[int] = set()
    out: list[Any] = []
    top = 0
    for section in sections:
        titles = [panel.title for panel in section.panels]
        if len(set(titles)) < len(titles):
            raise ValueError(f"two panels of section {section.title!r} have the same title")
        panels, bottom = _flow(section, top + 1, used)
        out.append(
            Row(
                title=section.title,
                collapsed=section.collapsed,
                id=_number(used, section.title),
                gridPos=_place(0, top, WIDTH, 1),
                panels=panels if section.collapsed else [],
            )
        )
        if not section.collapsed:
            out += panels
        # What is inside a collapsed row takes no room until it is opened.
        top = top + 1 if section.collapsed else bottom
    return out


def _flow(section: Section, top: int, used: set[int]) -> tuple[list[Any], int]:
    """A section's panels side by side, in lines; and where the next section begins."""
    panels = []
    left = line = 0
    for panel in section.panels:
        width, height = panel.span or WIDTH // 2, panel.height or HEIGHT
        if left + width > WIDTH:
            top, left, line = top + line, 0, 0
        number = _number(used, section.title, panel.title)
        panels.append(attr.evolve(panel, id=number, gridPos=_place(left, top, width, height)))
        left, line = left + width, max(line, height)
    return panels, top + line


def _place(x: int, y: int, w: int, h: int) -> core.GridPos:
    return core.GridPos(h=h, w=w, x=x, y=y)


def _number(used: set[int], *titles: str) -> int:
    """A number below 10⁷ for the titles that none of ``used`` is; it is used now."""
    attempt = 0
    while (number := 1 + int(naming.digest(*titles, str(attempt)), 16) % 9_999_999) in used:
        attempt += 1
    used.add(number)
    return number
