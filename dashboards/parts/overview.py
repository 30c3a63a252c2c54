"""Panels about all SLOs at once, which the executive and the on-call dashboard share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dashboards.boards.budget import AT_RISK, LEFT
from dashboards.grafana import Json
from dashboards.parts.links import field, to_board, to_traces
from dashboards.parts.panels import BAD, GOOD, SHARE, WARN, Column, Steps, stat, steps, table
from dashboards.parts.series import ANY_NAMESPACE, SHOWN, Subject, zero_if
from sloctl import naming
from sloctl.model import Matcher
from sloctl.model.durations import duration
from sloctl.promql import incident

IDENTITY = (naming.NAMESPACE, naming.SERVICE, naming.SLO)
FEW: Steps = [(None, GOOD), (1, BAD)]
SOME: Steps = [(None, GOOD), (1, WARN)]
ROWS = 20
"""SLOs in a table of budgets."""


def counts(subject: Subject, where: Sequence[Matcher] = ()) -> list[Any]:
    """How many budgets are spent or at risk, and how many pages and tickets fire; 0 is shown as 0."""
    found: list[Any] = []
    if subject.records(naming.REMAINING):
        left = subject.latest(naming.REMAINING, *where, *subject.owned)
        nothing = "no SLO has events in its period"
        found.append(
            stat(
                "Budgets spent",
                "SLOs (each of a service) that have used up the error budget of their period.",
                zero_if(f"count({left} <= 0)", left),
                unit="none",
                colors=FEW,
                nothing=nothing,
            )
        )
        found.append(
            stat(
                "Budgets at risk",
                "SLOs with less than a tenth of their error budget left.",
                zero_if(f"count(({left} > 0) < {AT_RISK})", left),
                unit="none",
                colors=SOME,
                nothing=nothing,
            )
        )
    for severity, title, colors in (("page", "Pages that fire", FEW), ("ticket", "Tickets that fire", SOME)):
        alerts = subject.firing_of_owner(Matcher("severity", "=", severity), *where)
        found.append(
            stat(
                title,
                f"Alerts of the set with severity {severity}, of budgets and of guardrails.",
                zero_if(f"count({alerts})", subject.latest(naming.OBJECTIVE)),
                unit="none",
                colors=colors,
                nothing="no rule of the set is evaluated: are the rules loaded?",
            )
        )
    return found


def alerts_table(subject: Subject) -> Any:
    """The alerts that fire, with ways to the service and its traces."""
    labels = ("severity", "alertname", naming.NAMESPACE, naming.SERVICE, naming.SLO, "owner")
    return table(
        "Alerts that fire",
        "Every alert of the set that fires now. Click a service for its dashboard, an SLO for its budget.",
        [
            Column(
                "series",
                f"count by ({', '.join(labels)}) ({subject.firing_of_owner(ANY_NAMESPACE)})",
                "none",
                0,
            )
        ],
        labels=labels,
        links=service_links(subject) | {naming.SLO: to_budget(subject)},
        sort=("severity", False),
        nothing="no alert fires",
        height=8,
    )


def to_service(subject: Subject) -> list[Json]:
    """From a row to the dashboard of its service."""
    place = {naming.NAMESPACE: field(naming.NAMESPACE), naming.SERVICE: field(naming.SERVICE)}
    return to_board(subject.slo_set, "service", "This service", **place)


def to_budget(subject: Subject) -> list[Json]:
    """From a row to the budget of its SLO."""
    place = {naming.SLO: field(naming.SLO), naming.NAMESPACE: field(naming.NAMESPACE)}
    return to_board(
        subject.slo_set, "budget", "The budget of this SLO", **place, service=field(naming.SERVICE)
    )


def service_links(subject: Subject) -> dict[str, list[Json]]:
    """From a row's service to its dashboard and to its failed traces."""
    traces = to_traces(subject.slo_set, "Failed traces", field(naming.SERVICE), field(naming.NAMESPACE))
    return {naming.SERVICE: [*to_service(subject), *traces]}


def failing_now(subject: Subject, where: Sequence[Matcher], by: Sequence[str]) -> str:
    """The share of the last five minutes' events that are bad (slow, of a latency SLO): nothing without events."""
    return subject.bad_share(where, by, duration(incident.NOW), fine=True)


def budgets_table(subject: Subject, where: Sequence[Matcher] = ()) -> Any:
    """The SLOs with the least budget left, with their burn rates; of calendar windows the burn rates alone."""
    by = f"by ({', '.join(IDENTITY)})"
    where = (*where, *subject.owned)
    columns = []

    def chosen(expr: str) -> str:
        if subject.records(naming.REMAINING):
            return f"{expr}\nand on ({', '.join(IDENTITY)})\n{worst}"
        return f"topk({ROWS}, {expr})"

    if subject.records(naming.REMAINING):
        worst = f"bottomk({ROWS}, min {by} ({subject.latest(naming.REMAINING, *where)}))"
        columns.append(Column("budget left", worst, SHARE, 1, LEFT))
    for window in subject.burn_windows:
        burn = f"max {by} ({subject.latest(naming.burn_rate(window), *where)})"
        columns.append(Column(f"burn {duration(window)}", chosen(burn), "none", 2, steps(6, 1)))
    if not columns:
        share = f"topk({ROWS}, {subject.bad_share(where, IDENTITY, SHOWN)})"
        columns.append(Column("bad in the time shown", share, SHARE, 3))
    columns.append(Column("failing now", chosen(f"({failing_now(subject, where, IDENTITY)})"), SHARE, 2))
    sort = ("budget left", False) if subject.records(naming.REMAINING) else (columns[0].title, True)
    return table(
        "Budgets and burn rates",
        f"The {ROWS} SLOs with the least budget left. Burn rates: how many times too fast the budget burns, over the "
        "windows of the alerts. Failing now: the share of the last five minutes that was bad. Click a service "
        "or an SLO.",
        columns,
        labels=IDENTITY,
        links=service_links(subject) | {naming.SLO: to_budget(subject)},
        sort=sort,
        nothing="no SLO has events in its period",
        height=10,
    )
