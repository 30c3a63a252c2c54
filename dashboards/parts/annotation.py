"""What happened meanwhile, drawn into the graphs: deploys, and alerts that fire."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.grafana import GRAFANA, PROMETHEUS, Json
from dashboards.parts.series import STEP, Subject
from dashboards.parts.traffic import VERSION
from sloctl import naming
from sloctl.guardrails.shared.queries import raw_matchers, sides
from sloctl.model import Matcher
from sloctl.promql.presets import REQUESTS


def told() -> Json:
    """Deploys that CI/CD told Grafana of: annotations with the tag ``deploy``."""
    return {
        "name": "Deploys told by CI/CD",
        "datasource": GRAFANA,
        "enable": True,
        "hide": False,
        "iconColor": "purple",
        "target": {"type": "tags", "tags": ["deploy"], "matchAny": True, "limit": 100},
    }


def deploys(subject: Subject, service: Sequence[Matcher]) -> list[Json]:
    """Deploys of a service: what CI/CD told Grafana, and versions that appear in the mesh's traffic.

    A version has appeared if it answers requests now and did not a step ago, when another one did.
    """
    if not subject.on_mesh and not subject.mesh_labels:
        return [told()]
    if VERSION in subject.mesh_labels:
        series = subject.series(naming.MESH_REQUESTS, *service)
    else:
        *_, server = sides(subject.slo_set)
        series = subject.raw(REQUESTS, *raw_matchers((server, *service)))
    now, before = f"group by ({VERSION}) ({series})", f"group by ({VERSION}) ({series} offset {STEP})"
    seen = {
        "name": "New versions in traffic",
        "datasource": PROMETHEUS,
        "enable": True,
        "hide": False,
        "iconColor": "blue",
        "expr": f"{now}\nunless {before}\nand on () {before}",
        "step": "60s",
        "titleFormat": "New version",
        "textFormat": f"{{{{{VERSION}}}}}",
        "tagKeys": VERSION,
        "useValueForTime": False,
    }
    return [told(), seen]


def alerts(subject: Subject, *matchers: Matcher) -> Json:
    """The set's alerts that fire."""
    return {
        "name": "Alerts",
        "datasource": PROMETHEUS,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": subject.firing(*matchers),
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{namespace}}/{{service}} {{severity}}",
        "tagKeys": "severity",
        "useValueForTime": False,
    }
