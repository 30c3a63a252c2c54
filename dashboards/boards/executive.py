"""The executive dashboard: are promises kept, is it getting better, and where does it hurt most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dashboards.grafana import Dashboard
from dashboards.parts import overview, variables
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.panels import BAD, GOOD, PLAIN, SHARE, WARN, Column, graph, stat, table
from dashboards.parts.series import ANY_NAMESPACE, SHOWN, Subject
from sloctl import naming

WHERE = (ANY_NAMESPACE,)
TOP = 10


def build(subject: Subject) -> Dashboard:
    """The dashboard; variables ``namespace`` and ``owner``."""
    return dashboard(
        subject.slo_set,
        "executive",
        f"{subject.slo_set.name} / Overview",
        "All promises at a glance: how much of what users asked for was good, where budgets stand, what hurts most.",
        [
            Section("Are promises kept?", list(_promises(subject))),
            Section("Is it getting better?", list(_trends(subject))),
            Section("Where does it hurt most?", list(_worst(subject))),
            Section("How fast is the mesh?", list(_latency(subject))),
        ],
        variables=[
            *variables.sources(subject),
            variables.namespaces(subject, [naming.TOTAL_GRID]),
            *variables.owners(subject),
        ],
        since="now-7d",
        refresh="15m",
    )


def _promises(subject: Subject) -> Iterator[Any]:
    yield stat(
        "Good events in the time shown",
        "For each SLO's name, good events over all events of all its services: a ratio of sums, in which a busy "
        "service weighs more than a quiet one.",
        subject.good_share((*WHERE, *subject.owned), (naming.SLO,), SHOWN),
        unit=SHARE,
        places=3,
        legend="{{slo}}",
        colors=[(None, PLAIN)],
        nothing="no events in the time shown",
        span=8,
    )
    yield from overview.counts(subject, WHERE)


def _trends(subject: Subject) -> Iterator[Any]:
    yield graph(
        "Good events by SLO",
        "Good events over all events of each step, for each SLO's name over all its services.",
        [("{{slo}}", subject.good_share((*WHERE, *subject.owned), (naming.SLO,)))],
        unit=SHARE,
        low=None,
        high=1,
        places=3,
        nothing="no events in the time shown",
        least="1h",
    )
    if subject.records(naming.REMAINING):
        left = subject.latest(naming.REMAINING, *WHERE, *subject.owned)
        yield graph(
            "Budgets by what is left",
            "How many SLOs (each of a service) had how much of their budget left.",
            [
                ("spent", f"count({left} <= 0) or 0 * count({left})"),
                ("at risk", f"count(({left} > 0) < 0.1) or 0 * count({left})"),
                ("fine", f"count({left} >= 0.1) or 0 * count({left})"),
            ],
            unit="none",
            style="area",
            places=0,
            nothing="no SLO has events in its period",
            least="1h",
        )


def _worst(subject: Subject) -> Iterator[Any]:
    share = subject.bad_share((*WHERE, *subject.owned), overview.IDENTITY, SHOWN)
    yield table(
        f"Top {TOP} by share of bad events",
        "Where the largest share of events was bad in the time shown. Click a service or an SLO.",
        [
            Column(
                "bad",
                f"topk({TOP},\n  {share}\n  > 0\n)",
                SHARE,
                3,
                [(None, GOOD), (0.005, WARN), (0.05, BAD)],
            ),
        ],
        labels=overview.IDENTITY,
        links=overview.service_links(subject) | {naming.SLO: overview.to_budget(subject)},
        sort=("bad", True),
        nothing="nothing was bad in the time shown",
    )
    yield overview.budgets_table(subject, WHERE)


def _latency(subject: Subject) -> Iterator[Any]:
    metric = "namespace:request_duration_buckets:increase5m"
    if not subject.records(metric):
        return
    buckets = f"sum by ({', '.join(subject.le)}) ({subject.series(metric, *WHERE)})"
    yield graph(
        "Latency of the whole mesh",
        "Quantiles over all requests that clients sent, each over five minutes; interpolated within a bucket of the "
        "histogram.",
        [
            (f"p{percent}", f"histogram_quantile({percent / 100}, {buckets}) / 1000 >= 0")
            for percent in (99, 95, 50)
        ],
        unit="s",
        nothing="no requests in the time shown",
        least="10m",
        span=24,
    )
