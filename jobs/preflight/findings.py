"""What a preflight finds, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

FindingSeverity = Literal["error", "warning", "info"]
_ORDER = {"error": 0, "warning": 1, "info": 2}

CODES: dict[str, tuple[FindingSeverity, ...]] = {
    "no-data": ("error",),
    "no-metric": ("error", "warning"),
    "no-start-time": ("info",),
    "optional-metric": ("error", "warning"),
    "not-yet": ("info",),
    "mesh-matchers": ("error",),
    "no-match": ("warning",),
    "no-namespace": ("error",),
    "no-service": ("error",),
    "filter-label": ("error",),
    "wrong-side": ("error",),
    "no-bound": ("error",),
    "other-histograms": ("error", "warning"),
    "interpolated": ("info",),
    "no-events": ("warning",),
    "renamed-label": ("error",),
    "no-label": ("warning",),
    "target-labels": ("error", "warning"),
    "scraped-twice": ("error",),
    "scrape-interval": ("error", "warning"),
    "old-server": ("warning",),
    "quoted-names": ("error",),
    "retention": ("warning",),
    "rules-differ": ("warning",),
    "rule-fails": ("warning",),
    "rules-loaded": ("info",),
    "rules-not-loaded": ("info",),
    "not-told": ("info",),
    "server-warning": ("warning",),
    "server-info": ("info",),
    "other-engine": ("warning",),
    "long-rule": ("warning",),
    "replicas": ("error",),
    "enforced-label": ("warning",),
    "rules-silent": ("warning",),
    "rules-live": ("info",),
    "no-cost": ("info",),
}
"""Every code of a finding, with its severities."""


@dataclass(frozen=True, slots=True)
class PreflightFinding:
    """A finding: ``hint`` is what to do, ``snippet`` configuration to apply, ``about`` the SLOs and alerts meant.

    An error is something that keeps an SLO or an alert from working.
    """

    severity: FindingSeverity
    code: str
    message: str
    hint: str = ""
    snippet: str = ""
    about: tuple[str, ...] = ()


def ordered(found: Iterable[PreflightFinding]) -> tuple[PreflightFinding, ...]:
    """Each finding once, errors first."""
    return tuple(sorted(dict.fromkeys(found), key=lambda item: _ORDER[item.severity]))


def named(names: Iterable[str], limit: int = 6) -> str:
    """A list of names as a sentence has it."""
    items = list(dict.fromkeys(names))
    shown = ", ".join(items[:limit])
    return f"{shown} and {len(items) - limit} more" if len(items) > limit else shown
