"""The alert of an SLO that had events and has none for far longer than usual; only where the file asks for it."""

from __future__ import annotations

from collections.abc import Iterator

from alert_rules import burn_alerts
from alert_rules.groups import StoppedAlert
from sloctl import naming, promql
from sloctl.model import GRID, Slo, SloSet, links
from sloctl.model.durations import duration
from sloctl.model.policies import SILENCE
from sloctl.promql import incident

VALUE_TEMPLATE = "{{ humanizeDuration $value }}"
SHOWN = 12 * 3600
"""Half the seconds that the linked dashboard shows."""
FOR = 2 * GRID
"""Where Prometheus was away, the first steps after it have not counted yet."""


def texts(slo_set: SloSet, slo: Slo) -> dict[str, str]:
    """Summary, description and links."""
    alert = naming.stopped_alert(slo)
    service = burn_alerts.SERVICE_TEMPLATE if slo.wildcard else slo.service
    place = f"{service} in {slo.namespace}" if slo.namespace else service
    out = {
        "summary": f"{service}: SLO {slo.name} has had no events for {VALUE_TEMPLATE}",
        "description": (
            f"SLO {slo.name} of {place} had events, and has none any more: for {SILENCE.times} times as long as in any "
            f"pause of the last {duration(SILENCE.memory)}. Nothing that fails now is in its budget."
        ),
    }
    burn_alerts.add_runbook(out, slo_set, slo, alert, naming.TRAFFIC_STOPPED)
    if where := links.dashboard(slo_set, slo):
        out["dashboard_url"] = burn_alerts.link_of(where, slo, alert, incident.began(SHOWN))
    return out


def rules(slo_set: SloSet, slo: Slo) -> Iterator[StoppedAlert]:
    """The alert, for the group of the budget grid."""
    if slo.policy is None or slo.policy.traffic_stopped == "none":
        return
    identity = burn_alerts.identity_labels(slo_set, slo)
    yield StoppedAlert(
        alert=naming.stopped_alert(slo),
        expr=promql.stopped_rule(slo, chained=slo_set.sources.chained),
        for_=FOR,
        labels=burn_alerts.labels_of(slo_set, slo, identity | {"severity": slo.policy.traffic_stopped}),
        annotations=texts(slo_set, slo),
        slo=slo,
    )
