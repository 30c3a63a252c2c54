"""Writes the budgets of a report as CSV, a row for each; what else a report says is in its other forms.

Names come from servers and files: :func:`sloctl.report.numbers.cell` keeps a spreadsheet from taking one for a formula.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from sloctl.model.durations import rfc3339
from sloctl.report import markdown
from sloctl.report.data import Report, SloStatus
from sloctl.report.numbers import cell

COLUMNS = (
    *("namespace", "service", "slo", "owner", "status", "objective", "window", "recorded_seconds"),
    *("sli", "sli_low", "sli_high", "good", "bad", "total", "budget_spent", "budget_remaining"),
    *("spent_if_alike", "spent_if_good", "exhausted_at", "alerts", "gap_seconds", "excluded_seconds"),
    *("source", "doubts"),
)
"""Before the burn rates, ``burn_rate_5m`` and so on. Ratios are 0…1, the objective is percent; empty is not known."""


def csv_text(report: Report) -> str:
    """The budgets, the worst first. The same report gives the same bytes."""
    windows = markdown.columns(report)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*COLUMNS, *(cell(f"burn_rate_{window}") for window in windows)])
    for item in markdown.ordered(report):
        burns = (item.burn_rates.get(window) for window in windows)
        writer.writerow([*_cells(item), *(_number(rate) for rate in burns)])
    return out.getvalue()


def _cells(item: SloStatus) -> Iterator[str]:
    yield from map(cell, (item.namespace, item.service, item.slo, item.owner, item.status))
    yield _number(item.objective)
    yield cell(item.window)
    low, high = item.sli_interval or (None, None)
    alike, good = (item.partial.alike, item.partial.good) if item.partial else (None, None)
    yield from map(_number, (item.quality.recorded, item.sli, low, high))
    yield from map(_number, (item.good, item.bad, item.total, item.spent, item.remaining, alike, good))
    yield rfc3339(item.exhausted_at) if item.exhausted_at else ""
    yield cell(" ".join(item.alerts))
    yield from map(_number, (item.quality.gaps, item.quality.excluded))
    yield from map(cell, (item.source, " ".join(item.doubts)))


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return str(int(value)) if value == int(value) else repr(value)
