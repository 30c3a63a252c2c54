"""In which order tests run: those that share a costly fixture first, then the slow ones, so that none is left for last.

Processes take groups in this order (``--dist loadgroup --no-loadscope-reorder``). One that takes minutes, and begins
when all others are done, would be what a run of all tests lasts.
"""

from __future__ import annotations

import pytest

LONGEST_FIRST = (
    "demo",  # 30 days of history, and what is there only after minutes of live scrapes
    "incident",  # two minutes of real time
    "mesh",
    "retention",
    "ledger-month",
    "hostile",
    "dashboards",
    "trace servers",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort tests by their group and their marker ``slow``; those that are alike stay in the order of their files."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    group = _group(item)
    if group in LONGEST_FIRST:
        return LONGEST_FIRST.index(group)
    return len(LONGEST_FIRST) + (0 if group or item.get_closest_marker("slow") else 1)


def _group(item: pytest.Item) -> str:
    marker = item.get_closest_marker("xdist_group")
    if marker is None:
        return ""
    return str(marker.args[0] if marker.args else marker.kwargs.get("name", ""))
