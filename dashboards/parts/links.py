"""Ways from a panel: to the other dashboards of the set, to traces, to runbooks, to an alert.

Links stay inside Grafana (``/d/…``, ``/explore``) wherever they can; variables and labels in them are percent-encoded.
"""

from __future__ import annotations

import json
from decimal import Decimal
from urllib.parse import quote

from dashboards.grafana import Json
from sloctl import naming
from sloctl.model import SloSet
from sloctl.model.durations import number

KEEP = "${__url_time_range}&var-datasource=${datasource:percentencode}"
"""The time that is shown, and the data source."""
TRACES = "traces"
"""The variable that chooses the data source of traces."""


def field(label: str) -> str:
    """A label of the row or the series that a link is followed from."""
    return f'${{__data.fields["{label}"]:percentencode}}'


def variable(name: str) -> str:
    """A variable of the dashboard that a link stands on."""
    return f"${{{name}:percentencode}}"


def to_board(slo_set: SloSet, kind: str, title: str, **variables: str) -> list[Json]:
    """A link to a dashboard of the set, with values of its variables (already encoded); none if it is left out."""
    if kind not in slo_set.dashboards.kinds:
        return []
    given = "".join(f"&var-{name}={value}" for name, value in variables.items())
    url = f"/d/{naming.dashboard_uid(slo_set.name, kind)}?{KEEP}{given}"
    return [{"title": title, "url": url, "targetBlank": False}]


def panel_link(link: Json) -> Json:
    """A link of a value as one of a panel or a dashboard: the same three keys, and what Grafana adds to them."""
    return {
        "type": "link",
        "icon": "external link",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "tooltip": "",
        **link,
    }


def runbook(slo_set: SloSet, *alerts: str) -> list[Json]:
    """Links to the runbooks of some of sloctl's own alerts; none where the file does not say where they are."""
    base = slo_set.sources.runbooks
    pages = ((alert, f"{base}/{naming.runbook_page(alert)}") for alert in alerts if base)
    return [{"title": f"Runbook: {alert}", "url": url, "targetBlank": True} for alert, url in pages]


def to_traces(
    slo_set: SloSet,
    title: str,
    service: str,
    namespace: str,
    *,
    failed: bool = True,
    over: Decimal | None = None,
) -> list[Json]:
    """A link to Explore with the traces of a service; none if the file names no trace backend.

    ``over``: those alone that took longer (milliseconds); none with Zipkin, whose data source cannot look for them.

    ``service`` and ``namespace`` are :func:`field` or :func:`variable`. Istio's proxies call themselves
    ``<service>.<namespace>`` in traces.
    """
    backend = slo_set.sources.traces_shown
    if not backend or (over is not None and backend == "zipkin"):
        return []
    name = f"{service}.{namespace}"
    query: Json = {"refId": "A", "datasource": {"type": backend, "uid": f"${{{TRACES}}}"}}
    if backend == "tempo":
        which = " && status = error" if failed else ""
        which += "" if over is None else f" && duration > {number(over)}ms"
        query |= {
            "queryType": "traceql",
            "query": f'{{ resource.service.name = "{name}"{which} }}',
            "limit": 20,
        }
    elif backend == "jaeger":
        query |= {"queryType": "search", "service": name, "tags": "error=true" if failed else "", "limit": 20}
        query |= {} if over is None else {"minDuration": f"{number(over)}ms"}
    else:
        # Grafana's Zipkin data source takes the id of a trace, and lets people choose one by service.
        query |= {"queryType": "traceID", "query": ""}
    pane = {
        "datasource": f"${{{TRACES}}}",
        "queries": [query],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    text = json.dumps({"traces": pane}, separators=(",", ":"))
    # What Grafana fills in must stay as it is; it encodes labels itself.
    url = f"/explore?schemaVersion=1&panes={_encode(text)}"
    return [{"title": title, "url": url, "targetBlank": True}]


def _encode(text: str) -> str:
    """``text`` percent-encoded but for its ``${…}``."""
    out, rest = "", text
    while (start := rest.find("${")) >= 0:
        end = rest.index("}", start) + 1
        out += quote(rest[:start], safe="") + rest[start:end].replace('\\"', '"')
        rest = rest[end:]
    return out + quote(rest, safe="")
