"""The service dashboard, for a service's owners: its promises, its traffic, its latency, its callers, its mesh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dashboards.boards.budget import LEFT
from dashboards.grafana import Dashboard
from dashboards.parts import annotation, causes, containers, health, latency, overview, traffic, variables
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.links import field, panel_link, runbook, to_board, to_traces, variable
from dashboards.parts.panels import SHARE, Column, graph, steps, table
from dashboards.parts.series import ONE_NAMESPACE, ONE_SERVICE, SHOWN, Subject
from sloctl import naming
from sloctl.model.durations import duration

WHERE = (ONE_NAMESPACE, ONE_SERVICE)
TRAFFIC = "service:error_traffic:increase5m"
ERRORS = "service:errors:ratio5m"
BY_EDGE = ("source_namespace", "source")


def build(subject: Subject) -> Dashboard:
    """The dashboard; variables ``namespace`` and ``service``."""
    slo_set = subject.slo_set
    metrics = [naming.TOTAL_GRID]
    if subject.records(TRAFFIC):
        metrics.append(TRAFFIC)
    known = latency.known(subject)
    links = []
    for failed, title in ((True, "Failed traces"), (False, "All traces")):
        found = to_traces(slo_set, title, variable("service"), variable("namespace"), failed=failed)
        links += [panel_link(link) for link in found]
    slow = latency.slow_traces(subject, variable("service"), variable("namespace"))
    links += [panel_link(link) for link in slow]
    return dashboard(
        slo_set,
        "service",
        f"{slo_set.name} / Service",
        "One service: does it keep its promises, and if not, what fails, for whom, and since when.",
        [
            Section("Promises", list(_promises(subject))),
            Section("Requests and failures", list(_requests(subject))),
            Section("Latency", list(_latency(subject))),
            Section("Who calls it", list(_callers(subject))),
            Section("Its containers", list(containers.of_service(subject)) if known else []),
            Section("TCP", list(containers.tcp(subject, WHERE)) if known else [], collapsed=True),
            Section("The mesh around it", list(health.of_service(subject, WHERE))),
        ],
        variables=[
            *variables.sources(subject),
            *variables.one_place(subject, metrics),
            *([containers.workload(subject, WHERE)] if known else []),
        ],
        annotations=[*annotation.deploys(subject, WHERE), annotation.alerts(subject, *WHERE)],
        links=links,
        since="now-6h",
    )


def _promises(subject: Subject) -> Iterator[Any]:
    slo_set = subject.slo_set
    labels = (naming.SLO,)
    by = f"by ({', '.join(labels)})"
    columns = []
    if subject.records(naming.REMAINING):
        left = f"min {by} ({subject.latest(naming.REMAINING, *WHERE)})"
        columns.append(Column("budget left", left, SHARE, 1, LEFT))
    columns.append(Column("good in the time shown", subject.good_share(WHERE, labels, SHOWN), SHARE, 3))
    for window in subject.burn_windows:
        burn = f"max {by} ({subject.latest(naming.burn_rate(window), *WHERE)})"
        columns.append(Column(f"burn {duration(window)}", burn, "none", 2, steps(6, 1)))
    columns.append(Column("failing now", overview.failing_now(subject, WHERE, labels), SHARE, 2))
    to_budget = to_board(
        slo_set,
        "budget",
        "The budget of this SLO",
        slo=field(naming.SLO),
        namespace=variable("namespace"),
        service=variable("service"),
    )
    yield table(
        "SLOs of this service",
        "A row for each SLO; click its name for the budget. Burn rates: how many times too fast the budget "
        "burns. Failing now: the share of the last five minutes that was bad.",
        columns,
        labels=labels,
        links={naming.SLO: to_budget},
        nothing="no events of an SLO of this service in the time shown",
        span=16,
        height=7,
    )
    yield table(
        "Alerts that fire",
        "Alerts of this service, whoever gets them.",
        [Column("firing", f"count by (alertname, severity) ({subject.firing(*WHERE)})")],
        labels=("alertname", "severity"),
        nothing="no alert of this service fires",
        span=8,
        height=7,
    )
    yield graph(
        "SLI of each SLO",
        "Good events over all events of each step. Where nothing is drawn, there were no events.",
        [("{{slo}}", subject.good_share(WHERE, (naming.SLO,)))],
        unit=SHARE,
        low=None,
        high=1,
        places=3,
        nothing="no events of an SLO of this service in the time shown",
        least="5m",
        span=24,
    )


def _requests(subject: Subject) -> Iterator[Any]:
    nothing = "no requests to this service in the time shown"
    place = naming.IDENTITY
    if traffic.known(subject, traffic.CODE):
        by_code = traffic.rate(subject, WHERE, (*place, traffic.CODE))
        yield graph(
            "Requests by response code",
            "Requests a second as clients see them, after retries. Code 0: no response.",
            [(f"{{{{{traffic.CODE}}}}}", f"sum by ({traffic.CODE}) ({by_code})")],
            unit="reqps",
            style="area",
            nothing=nothing,
        )
        names = {"source": "clients, after retries", "destination": "servers, every attempt"}
        yield graph(
            "Failed requests",
            "The share of 5xx and of requests without a response, as each side sees it: where clients see less than "
            "servers, retries hide failures.",
            [
                (names.get(side, side), traffic.failed_share(subject, side, WHERE))
                for side in traffic.sides(subject)
            ],
            unit=SHARE,
            nothing=nothing,
            limits=_limit(subject),
            links=runbook(subject.slo_set, "ServiceErrorsHigh"),
        )
    elif subject.records(ERRORS):
        yield graph(
            "Failed requests",
            "The share of requests that failed over five minutes, as clients see it.",
            [("failed", subject.series(ERRORS, *WHERE))],
            unit=SHARE,
            nothing=nothing,
            limits=_limit(subject),
            links=runbook(subject.slo_set, "ServiceErrorsHigh"),
        )
    if subject.records(naming.BAD_CAUSES):
        yield causes.over_time(
            subject,
            "Bad events by code and flags",
            "What the SLOs of this service count as bad, by SLO, response code and Envoy's response flags.",
            WHERE,
            (naming.SLO, *causes.CODES),
        )
        yield causes.over_time(
            subject,
            "Bad events by version",
            "The version that answered; unknown if none did.",
            WHERE,
            causes.VERSION,
        )


def _limit(subject: Subject) -> list[tuple[float | None, str]]:
    if "service-errors" not in subject.guardrails:
        return []
    return [(None, "green"), (subject.limit("service-errors") / 100, "red")]


def _latency(subject: Subject) -> Iterator[Any]:
    if not latency.known(subject):
        return
    watched = "service-latency" in subject.guardrails
    yield latency.over_time(
        subject,
        "Latency",
        WHERE,
        limits=[(None, "green"), (subject.limit("service-latency"), "red")] if watched else (),
        links=runbook(subject.slo_set, "ServiceLatencyHigh") if watched else [],
    )
    yield latency.bands(subject, WHERE)
    yield from latency.whose(subject, WHERE, (naming.SLO, *latency.CAUSES), span=24)


def _callers(subject: Subject) -> Iterator[Any]:
    if subject.records(naming.EDGE_REQUESTS, "edge:retry_amplification:ratio30m"):
        where = WHERE
        by = f"by ({', '.join(BY_EDGE)})"
        yield table(
            "Clients",
            "Who called in the last half hour: requests, attempts that reached the service, and attempts per request. "
            "Between 0.96 and 1.04 is the scrapes' imprecision.",
            [
                Column("requests", f"sum {by} ({subject.series(naming.EDGE_REQUESTS, *where)})", "short", 0),
                Column("attempts", f"sum {by} ({subject.series(naming.EDGE_ATTEMPTS, *where)})", "short", 0),
                Column(
                    "attempts per request",
                    f"max {by} ({subject.series('edge:retry_amplification:ratio30m', *where)})",
                    "none",
                    2,
                    steps(subject.limit("retry-amplification")),
                ),
            ],
            labels=BY_EDGE,
            sort=("requests", True),
            nothing="nobody in the mesh called this service in the last half hour",
            span=12,
        )
    if subject.has_failures:
        yield causes.most_frequent(
            subject,
            "Whose requests fail",
            "Bad events in the time shown, by the client that saw them; slow requests stand with latency.",
            (*WHERE, *subject.failed),
            (naming.SLO, *naming.CALLERS),
            20,
            span=12,
        )
