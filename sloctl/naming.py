"""Every name that sloctl gives to something: recorded series, labels, alerts, groups, files.

Nothing else spells these names, so that rules, dashboards and jobs mean the same series.
"""

from __future__ import annotations

import hashlib
import re

from sloctl.model import BurnWindow, Slo

SLO_ID = "slo_id"
SLO_SET = "slo_set"
SLO = "slo"
SERVICE = "service"
NAMESPACE = "namespace"
IDENTITY = (NAMESPACE, SERVICE)

TOTAL_GRID = "slo:total_events:increase5m"
BAD_GRID = "slo:bad_events:increase5m"
GAP_GRID = "slo:scrape_gap_seconds:increase5m"
TOTAL_TILE = "slo:total_events:increase1m"
BAD_TILE = "slo:bad_events:increase1m"
OBJECTIVE = "slo:objective:ratio"
BUDGET = "slo:error_budget:ratio"
PERIOD_TOTAL = "slo:period_total_events:sum"
PERIOD_BAD = "slo:period_bad_events:sum"
REMAINING = "slo:error_budget_remaining:ratio"

RESERVED_LABELS = frozenset(
    {
        SLO_ID,
        SLO_SET,
        SLO,
        SERVICE,
        NAMESPACE,
        "severity",
        "owner",
        "long_window",
        "short_window",
        "alertname",
    }
    | {"job", "instance", "pod", "le", "__name__"}
)
"""Labels that sloctl sets or joins on; a file may not set them."""

_UNITS = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def duration(seconds: int) -> str:
    """A Prometheus duration as a person writes it: 3600 → ``1h``, 5400 → ``1h30m``, 30 days → ``30d``."""
    if seconds == 0:
        return "0s"
    parts = []
    for unit, size in _UNITS[1:]:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def burn_rate(window: int) -> str:
    """The recorded burn rate over a window of ``window`` seconds."""
    return f"slo:burn_rate:{duration(window)}"


def alert(window: BurnWindow) -> str:
    """The name of the alert of one policy line."""
    return f"SLOBudgetBurn{window.severity.title()}{duration(window.long).title()}"


def slug(text: str) -> str:
    """A file or object name part: lower case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def rule_file(set_name: str, namespace: str, service: str) -> str:
    """The stem of the rule file (and PrometheusRule name) of a service's SLOs; at most 63 characters."""
    scope = "all-services" if service == "*" else service
    stem = "-".join(slug(part) for part in (set_name, namespace, scope) if part)
    plain = "-".join(part for part in (set_name, namespace, scope) if part)
    if stem == plain and len(stem) <= 63 and service != "all-services":
        return stem
    return f"{stem[:54].rstrip('-')}-{digest(set_name, namespace, service)[:8]}"


def group(slo: Slo, kind: str) -> str:
    """A rule group's name, unique in the set."""
    parts = (slo.set_name, slo.namespace, "all" if slo.wildcard else slo.service, slo.name, kind)
    return "-".join(part for part in parts if part)


def dashboard_uid(set_name: str, dashboard: str) -> str:
    """A stable Grafana UID (at most 40 characters)."""
    uid = f"sloctl-{slug(set_name)}-{dashboard}"
    return uid if len(uid) <= 40 else f"sloctl-{digest(set_name)[:12]}-{dashboard}"


def digest(*parts: str) -> str:
    """A stable hexadecimal digest of some texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
