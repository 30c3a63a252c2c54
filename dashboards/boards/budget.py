"""The budget dashboard: everything about one SLO of one service, chosen by variables."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.grafana import Dashboard, Json, TimeSeries
from dashboards.parts import annotation, causes, latency, variables
from dashboards.parts.layout import Section, dashboard
from dashboards.parts.links import panel_link, runbook, to_board, to_traces, variable
from dashboards.parts.panels import BAD, GOOD, SHARE, WARN, Steps, dashed, graph, stat, steps
from dashboards.parts.series import ONE_NAMESPACE, ONE_SERVICE, SHOWN, STEP, Subject
from sloctl import naming, promql
from sloctl.model import BurnWindow, Matcher, RollingWindow, Slo
from sloctl.model.durations import duration, number
from sloctl.promql import incident

WHERE = (variables.SLO, ONE_NAMESPACE, ONE_SERVICE)
LEFT: Steps = [(None, BAD), (0, WARN), (0.1, GOOD)]
"""Colours of what is left of a budget."""
AT_RISK = 0.1
"""The share of the budget below which a report calls it at risk."""
HOUR = 3600
CALENDAR = "a calendar window has no fixed length in PromQL: see the report"


def build(subject: Subject) -> Dashboard:
    """The dashboard; variables ``slo``, ``namespace`` and ``service``."""
    slo_set = subject.slo_set
    place = {"namespace": variable("namespace"), "service": variable("service")}
    links = [
        *to_board(slo_set, "service", "This service", **place),
        *to_traces(slo_set, "Failed traces", place["service"], place["namespace"]),
        *latency.slow_traces(subject, place["service"], place["namespace"]),
        *_runbooks(subject),
    ]
    return dashboard(
        slo_set,
        "budget",
        f"{slo_set.name} / Error budget",
        "One SLO of one service: what is left of its budget, how fast it burns, and what burned it.",
        [
            Section("Now", list(_now(subject))),
            Section("The budget over the period", list(_budget(subject))),
            Section("Burn rates and what alerts", list(_burn(subject))),
            Section("What is bad", list(_causes(subject))),
            Section("Latency", list(_latency(subject))),
            Section("Quality of the numbers", [_gaps(subject)], collapsed=True),
        ],
        variables=[*variables.sources(subject), *variables.one_slo(subject)],
        annotations=[*annotation.deploys(subject, WHERE[1:]), annotation.alerts(subject, *WHERE)],
        links=[panel_link(link) for link in links],
        since="now-7d",
        refresh="5m",
    )


def _constant(subject: Subject, metric: str) -> str:
    """The objective or the budget of the SLO: its own, else that of all services of the namespace."""
    own, everybody = (
        f"max({subject.latest(metric, variables.SLO, ONE_NAMESPACE, Matcher(naming.SERVICE, '=', service))})"
        for service in ("$service", "*")
    )
    return f"({own} or {everybody})"


def _now(subject: Subject) -> Iterator[object]:
    total, bad = (
        f"sum({subject.latest(metric, *WHERE)})" if subject.records(metric) else ""
        for metric in (naming.PERIOD_TOTAL, naming.PERIOD_BAD)
    )
    if total:
        yield stat(
            "Budget left",
            "Share of the period's error budget that is left; below 0 % it is overspent. A ratio of sums of events.",
            f"min({subject.latest(naming.REMAINING, *WHERE)})",
            unit=SHARE,
            places=1,
            colors=LEFT,
            nothing=f"no events in the period; {CALENDAR}",
        )
        yield stat(
            "SLI over the period",
            "Good events over all events of the SLO's window.",
            f"1 - {bad} / ({total} > 0)",
            unit=SHARE,
            places=3,
            nothing=f"no events in the period; {CALENDAR}",
        )
    yield stat(
        "Objective",
        "What the SLI is held against.",
        _constant(subject, naming.OBJECTIVE),
        unit=SHARE,
        places=3,
        nothing="no rule records it: are the rules loaded?",
    )
    if subject.burn_windows:
        window = HOUR if HOUR in subject.burn_windows else subject.burn_windows[0]
        yield stat(
            f"Burn rate over {duration(window)}",
            "How many times too fast the budget burns: at 1 it lasts exactly one period.",
            f"max({subject.latest(naming.burn_rate(window), *WHERE)})",
            unit="none",
            places=2,
            colors=steps(6, 1),
            nothing="no events in that time",
        )
    yield stat(
        "Failing now",
        "The share of the last five minutes' events that is bad: slow, of a latency SLO.",
        subject.bad_share(WHERE, (), duration(incident.NOW), fine=True),
        unit=SHARE,
        places=2,
        nothing="no events in the last five minutes",
    )
    if total:
        lately = f"sum(sum_over_time({subject.series(naming.BAD_TILE, *WHERE)}[1h]))"
        yield stat(
            "Lasts, at the last hour's rate",
            "The bad events that the budget still allows, over those of the last hour.",
            f"clamp_min({_constant(subject, naming.BUDGET)} * {total} - {bad}, 0)\n/ ({lately} > 0) * {HOUR}",
            unit="s",
            colors=[(None, BAD), (86400, WARN), (7 * 86400, GOOD)],
            nothing="no bad event in the last hour",
        )
    yield stat(
        "Bad events in the time shown",
        "Events that the SLI counts as bad.",
        f"sum(sum_over_time({subject.series(naming.BAD_GRID, *WHERE)}[{SHOWN}]))",
        unit="short",
        nothing="no events",
    )


def _budget(subject: Subject) -> Iterator[object]:
    if subject.records(naming.REMAINING):
        periods = [s.window.seconds for s in subject.slo_set.slos if isinstance(s.window, RollingWindow)]
        yield graph(
            "Budget left over the period",
            "What was left at each moment, of the window that ended then: it also rises, as old failures leave the "
            "window. At the dashed lines it is at risk (10 %) and spent (0 %).",
            [("left", f"min({subject.latest(naming.REMAINING, *WHERE)})")],
            unit=SHARE,
            low=None,
            high=1,
            limits=[(None, BAD), (0, WARN), (AT_RISK, GOOD)],
            nothing=f"no events in the period; {CALENDAR}",
            least="5m",
            since=duration(max(periods)),
        )
        yield graph(
            "Budget spent",
            "The share of the whole period's budget that each step of the graph spent: what stands out is what it was "
            "lost to.",
            [
                (
                    "spent",
                    f"sum(sum_over_time({subject.series(naming.BAD_GRID, *WHERE)}[{STEP}]))\n"
                    f"/ ({_constant(subject, naming.BUDGET)}\n"
                    f"  * sum({subject.latest(naming.PERIOD_TOTAL, *WHERE)}) > 0)",
                )
            ],
            unit=SHARE,
            style="bars",
            nothing=f"no events in the period; {CALENDAR}",
            least="5m",
        )
    yield graph(
        "SLI and objective",
        "Good events over all events of each step, and the objective. Where nothing is drawn, there were no events.",
        [
            ("SLI", subject.good_share(WHERE, ())),
            ("objective", _constant(subject, naming.OBJECTIVE)),
        ],
        unit=SHARE,
        low=None,
        high=1,
        places=3,
        nothing="no events in the time shown",
        least="5m",
    )
    yield graph(
        "Events",
        "All events and the bad ones among them, per second.",
        [
            ("all", f"sum(avg_over_time({subject.series(naming.TOTAL_GRID, *WHERE)}[{STEP}])) / 300"),
            ("bad", f"sum(avg_over_time({subject.series(naming.BAD_GRID, *WHERE)}[{STEP}])) / 300"),
        ],
        unit="cps",
        nothing="no events in the time shown",
        least="5m",
    )


def _lines(subject: Subject) -> dict[tuple[int, int], dict[tuple[str, str], list[Slo]]]:
    """The alert policies' pairs of windows, and for each the SLOs by (severity, factor)."""
    found: dict[tuple[int, int], dict[tuple[str, str], list[Slo]]] = {}

    def factor(slo: Slo, line: BurnWindow) -> str:
        assert slo.policy
        return number(slo.policy.scaled(line, slo.window.seconds))

    for slo in subject.slo_set.slos:
        for line in slo.policy.windows if slo.policy else ():
            pair = found.setdefault((line.long, line.short), {})
            pair.setdefault((line.severity, factor(slo, line)), []).append(slo)
    return found


def _burn(subject: Subject) -> Iterator[TimeSeries]:
    for (long, short), policies in sorted(_lines(subject).items()):
        windows = sorted({long, short}, reverse=True)
        series = [(duration(w), f"max({subject.latest(naming.burn_rate(w), *WHERE)})") for w in windows]
        widest = max(policies, key=lambda key: len(policies[key]))
        for (severity, factor), slos in sorted(policies.items()):
            where: tuple[Matcher, ...] = ()
            if len(policies) > 1:
                others = [slo.id for key, members in policies.items() if key != widest for slo in members]
                chosen = [slo.id for slo in slos] if (severity, factor) != widest else others
                pattern = "|".join(promql.regex_quote(slo_id) for slo_id in chosen)
                where = (Matcher(naming.SLO_ID, "!~" if chosen is others else "=~", pattern),)
            there = subject.latest(naming.burn_rate(long), *WHERE, *where)
            series.append((f"{severity} above {factor}", f"max(0 * {there} + {factor})"))
        severities = " and ".join(sorted({severity for severity, _ in policies}))
        panel = graph(
            f"{duration(long)} and {duration(short)}: {severities}",
            f"An alert fires while both burn rates, over {duration(long)} and over {duration(short)}, are above "
            "the dashed line.",
            series,
            unit="none",
            places=2,
            nothing="no events in these windows",
            least="1m",
            span=8,
            links=runbook(subject.slo_set, "BudgetBurn"),
        )
        yield dashed(dashed(panel, "/^page above/", "red"), "/^ticket above/", "orange")


def _causes(subject: Subject) -> Iterator[object]:
    if not subject.records(naming.BAD_CAUSES):
        return
    nothing = causes.NOTHING
    by = {"response code and flags": causes.CODES, "source": causes.ENDS, "version": causes.VERSION}
    for what, labels in by.items():
        yield causes.over_time(
            subject,
            f"Bad events by {what}",
            "Bad events of each step; they add up to all bad events. Of a latency SLO, they are slow requests. Of a "
            "gateway's SLO, the source is the service that it called.",
            WHERE,
            labels,
            nothing=nothing,
            span=8,
        )
    yield causes.most_frequent(
        subject,
        "What burned the budget in the time shown",
        "Bad events by all that tells their causes apart, the most frequent first.",
        WHERE,
        (*naming.CAUSE_LABELS, *causes.ENDS),
        50,
        places=None,
        nothing=nothing,
    )


def _latency(subject: Subject) -> Iterator[object]:
    if latency.known(subject):
        yield latency.over_time(
            subject,
            "Latency of the service",
            WHERE[1:],
            links=runbook(subject.slo_set, "LatencyBudgetBurn") if latency.thresholds(subject) else [],
            span=24,
        )


def _gaps(subject: Subject) -> TimeSeries:
    return graph(
        "Time without scrapes",
        "Seconds of each step in which the targets behind the SLO could not be scraped (mean over the targets): what "
        "happened meanwhile is not known, and costs no budget.",
        [("unknown", f"sum(sum_over_time({subject.series(naming.GAP_GRID, *WHERE)}[{STEP}]))")],
        unit="s",
        nothing="no targets in the time shown",
        least="5m",
        span=24,
    )


def _runbooks(subject: Subject) -> Iterator[Json]:
    """The file's own runbooks, if they are few, and sloctl's."""
    templates = dict.fromkeys(slo.runbook for slo in subject.slo_set.slos if slo.runbook)
    for template in list(templates)[:3]:
        url = template
        for name in ("slo", "service", "namespace"):
            url = url.replace(f"{{{name}}}", variable(name))
        url = url.replace("{set}", subject.slo_set.name).replace("{alert}", "BudgetBurn")
        names = sorted({slo.name for slo in subject.slo_set.slos if slo.runbook == template})
        title = "Runbook" if len(templates) == 1 else f"Runbook: {', '.join(names[:3])}"
        yield {"title": title, "url": url, "targetBlank": True}
    yield from runbook(subject.slo_set, "BudgetBurn")
