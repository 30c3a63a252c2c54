"""What a dashboard of your own needs: the same panels, variables and layout that sloctl's dashboards are made of.

``docs/dashboards.md`` shows how. What stands in ``__all__`` here stays as it is within a major version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dashboards.lint.checks import Problem, lint
from dashboards.manifest import boards, encode, encoded
from dashboards.parts.layout import Section, dashboard, placed
from dashboards.parts.panels import Column, bars, graph, heatmap, stat, states, steps, table, text
from dashboards.parts.series import Subject
from dashboards.parts.variables import namespaces, services, sources
from sloctl import spec
from sloctl.errors import UsageError
from sloctl.model import SloSet

__all__ = [
    "Column",
    "Problem",
    "Section",
    "Subject",
    "bars",
    "boards",
    "dashboard",
    "encoded",
    "graph",
    "heatmap",
    "lint",
    "load",
    "namespaces",
    "placed",
    "services",
    "sources",
    "stat",
    "states",
    "steps",
    "table",
    "text",
    "write",
]


def load(*paths: Path | str) -> SloSet:
    """The SLO set of some files or folders. Raises InvalidFile for what is wrong with them."""
    return spec.load([Path(path) for path in paths])


def write(board: Any, folder: Path | str) -> Path:
    """Write a dashboard as ``<uid>.json`` below ``folder``, and give the path.

    Raises UsageError for what :func:`lint` finds wrong with it; nothing is written then.
    """
    data = encoded(board)
    if problems := lint(data):
        found = "; ".join(str(problem) for problem in problems[:5])
        raise UsageError(
            f"the dashboard {data['title']!r} has {len(problems)} problems: {found}",
            hint="dashboards.lint says what each of them means",
        )
    path = Path(folder) / f"{data['uid']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(encode(data), encoding="utf-8")
    return path
