"""Addresses of what people look at of one SLO: its dashboard, its traces, its runbook.

Names and times are given as texts: those of an alert are templates, those of a report what they are.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from sloctl import naming
from sloctl.model.durations import number
from sloctl.model.slo import CounterSli, Slo, SloSet, Sources

TIMES = "from={from}&to=now"
"""The time range of a link to a dashboard of ours."""


def dashboard(slo_set: SloSet, slo: Slo) -> str:
    """Where the SLO's budget is drawn, with placeholders: its own link, else the dashboard in the file's Grafana."""
    if slo.dashboard:
        return slo.dashboard
    if not slo_set.sources.grafana or "budget" not in slo_set.dashboards.kinds:
        return ""
    uid = naming.dashboard_uid(slo_set.name, "budget")
    query = "var-slo={slo}&var-namespace={namespace}&var-service={service}"
    return f"{slo_set.sources.grafana.rstrip('/')}/d/{uid}?{query}&{TIMES}"


def runbook(slo_set: SloSet, alert: str) -> str:
    """The address of the page of sloctl's own runbooks for an alert; "" where the file does not say where they are."""
    return f"{slo_set.sources.runbooks}/{naming.runbook_page(alert)}" if slo_set.sources.runbooks else ""


def burn_page(slo: Slo) -> str:
    """The name of the page of sloctl's own runbooks for a budget that burns."""
    slow = isinstance(slo.sli, CounterSli) and slo.sli.threshold is not None
    return naming.LATENCY_BURN if slow else naming.BUDGET_BURN


def explanation(slo_set: SloSet, slo: Slo, service: str, at: str, *, long: bool = False) -> str:
    """The live page that explains an alert of the SLO; "" where the file does not say where live pages are.

    Where failures begin, at Unix time ``at``, and of a ``long`` time; of what is slow, or no request, the SLO's own
    page. ``service`` needs no escape in a link.
    """
    if not slo_set.sources.pages:
        return ""
    if burn_page(slo) == naming.LATENCY_BURN or not isinstance(slo.sli, CounterSli):
        namespace, name = (quote(text, safe="") for text in (slo.namespace or "-", slo.name))
        return f"{slo_set.sources.pages.rstrip('/')}/slo/{namespace}/{service}/{name}"
    last = "6h" if long else "1h"
    return failures(slo_set.sources, quote(slo.namespace, safe=""), service, last, at)


def failures(sources: Sources, namespace: str, service: str, last: str, at: str) -> str:
    """The live page of where failures of a service begin, of the ``last`` time before ``at`` (Unix time).

    The names need no escape in a link. The file says where live pages are.
    """
    where = f"namespace={namespace}&" if namespace else ""
    return f"{sources.pages.rstrip('/')}/explain?{where}service={service}&last={last}&at={at}"


def traces(sources: Sources, slo: Slo, service: str, start: str, end: str) -> str:
    """Where people look at failing or slow traces of the service; "" where the file does not say.

    ``service`` needs no escape in a query; ``start`` and ``end`` are milliseconds of Unix time. Istio's proxies call
    themselves ``<service>.<namespace>`` in traces.
    """
    pages = sources.traces_ui or (sources.grafana if sources.traces_shown == "tempo" else sources.traces)
    if not (pages and sources.traces_shown and isinstance(slo.sli, CounterSli)):
        return ""
    pages, threshold = pages.rstrip("/"), slo.sli.threshold
    name = f"{service}.{quote(slo.namespace, safe='')}"
    if sources.traces_shown == "tempo":
        which = "status = error" if threshold is None else f"duration > {number(threshold)}ms"
        query = {
            "refId": "A",
            "datasource": {"type": "tempo", "uid": "tempo"},
            "queryType": "traceql",
            "query": f'{{ resource.service.name = "NAME" && {which} }}',
        }
        pane = {"datasource": "tempo", "queries": [query], "range": {"from": "FROM", "to": "now"}}
        text = quote(json.dumps({"traces": pane}, separators=(",", ":")), safe="")
        text = text.replace("NAME", name).replace("FROM", start)
        return f"{pages}/explore?schemaVersion=1&panes={text}"
    if sources.traces_shown == "jaeger":
        which = "tags=%7B%22error%22%3A%22true%22%7D"
        which = which if threshold is None else f"minDuration={number(threshold)}ms"
        times = f"start={start}000&end={end}000"  # microseconds
        return f"{pages}/search?service={name}&{which}&limit=20&lookback=custom&{times}"
    which = "annotationQuery=error" if threshold is None else f"minDuration={number(threshold * 1000)}us"
    times = f"startTs={start}&endTs={end}"
    return (
        f"{pages.removesuffix('/zipkin')}/zipkin/?serviceName={name}&{which}&limit=20&lookback=range&{times}"
    )
