"""The lint of dashboards: each code is found where it should be, and nothing is found on the generated ones."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.lint.checks import TYPES, links, lint, panels
from tests.support.boards import CASES, Json, boards_of, series

Change = Callable[[Json], object]
EXPR = "sum(rate(istio_requests_total[$__rate_interval]))"
UID = {"uid": "${datasource}"}
SOURCE = {"type": "prometheus", **UID}


def board() -> Json:
    """A dashboard free of problems: one of ours, and a row with two panels. One service is chosen, or many jobs."""
    found = copy.deepcopy(boards_of("guardrails")["service"])
    add_variable(name="jobs", multi=True)(found)
    found["panels"] += [
        {
            "id": 1,
            "type": "row",
            "title": "More",
            "collapsed": True,
            "gridPos": {"h": 1, "w": 24, "x": 0, "y": 1000},
            "panels": [
                graph(2, "One", x=0),
                graph(3, "Two", x=12, expr='sum(up{job=~"$jobs"})'),
            ],
        }
    ]
    return found


def graph(number: int, title: str, *, x: int, expr: str = EXPR) -> Json:
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": "Requests a second.",
        "datasource": dict(SOURCE),
        "gridPos": {"h": 8, "w": 12, "x": x, "y": 1001},
        "targets": [{"refId": "A", "datasource": dict(SOURCE), "expr": expr}],
        "fieldConfig": {"defaults": {"unit": "reqps", "noValue": "no requests"}, "overrides": []},
        "options": {},
    }


def one(found: Json, kind: str) -> Json:
    return next(panel for panel in panels(found) if panel["type"] == kind)


def inner(found: Json) -> Json:
    return next(panel for panel in panels(found) if panel["title"] == "One")


def ask(expr: str) -> Change:
    return lambda found: inner(found)["targets"][0].update(expr=expr)


def linked(url: str) -> Change:
    return lambda found: inner(found).update(links=[{"title": "x", "url": url}])


def variable(found: Json, name: str) -> Json:
    return next(item for item in found["templating"]["list"] if item["name"] == name)


def add_variable(**more: Any) -> Change:
    return lambda found: found["templating"]["list"].append(
        {"name": "more", "type": "query", "datasource": SOURCE, "query": "label_values(up, job)", **more}
    )


def both(*changes: Change) -> Change:
    return lambda found: [change(found) for change in changes]


def old_table(found: Json) -> None:
    one(found, "table")["fieldConfig"]["defaults"]["custom"]["displayMode"] = "color-text"


def drop_units_of_columns(found: Json) -> None:
    for override in one(found, "table")["fieldConfig"]["overrides"]:
        override["properties"] = [item for item in override["properties"] if item["id"] != "unit"]


BROKEN: list[tuple[str, Change]] = [
    ("uid", lambda found: found.pop("uid")),
    ("uid", lambda found: found.update(uid="x" * 41)),
    ("uid", lambda found: found.update(uid="a/b")),
    ("schema-version", lambda found: found.update(schemaVersion=38)),
    ("schema-version", lambda found: found.pop("schemaVersion")),
    ("time", lambda found: found.pop("time")),
    ("time", lambda found: found["time"].pop("to")),
    ("refresh", lambda found: found.pop("refresh")),
    ("no-title", lambda found: found.update(title="")),
    ("no-title", lambda found: inner(found).pop("title") and None),
    ("no-title", lambda found: one(found, "row").update(title="")),
    ("no-description", lambda found: inner(found).pop("description")),
    ("no-unit", lambda found: inner(found)["fieldConfig"]["defaults"].pop("unit")),
    ("no-unit", lambda found: one(found, "heatmap")["options"]["yAxis"].pop("unit")),
    ("no-unit", drop_units_of_columns),
    ("no-novalue", lambda found: inner(found)["fieldConfig"]["defaults"].pop("noValue")),
    ("no-novalue", lambda found: one(found, "table")["fieldConfig"]["defaults"].update(noValue="")),
    ("deprecated-panel", lambda found: inner(found).update(type="graph")),
    ("deprecated-panel", lambda found: inner(found).update(type="my-own-panel")),
    ("deprecated-panel", lambda found: inner(found).update(yaxes=[])),
    ("deprecated-panel", lambda found: one(found, "heatmap").update(dataFormat="tsbuckets")),
    ("deprecated-panel", lambda found: inner(found).update(type="text", content="x", options={})),
    ("deprecated-panel", old_table),
    ("duplicate-id", lambda found: inner(found).update(id=3)),
    ("duplicate-id", lambda found: inner(found).pop("id")),
    ("overlap", lambda found: inner(found)["gridPos"].update(x=6)),
    ("overlap", lambda found: inner(found)["gridPos"].update(w=25)),
    ("overlap", lambda found: inner(found).pop("gridPos")),
    ("overlap", lambda found: one(found, "row")["gridPos"].update(h=3)),
    ("duplicate-ref", lambda found: inner(found)["targets"].append(inner(found)["targets"][0])),
    ("duplicate-ref", lambda found: inner(found)["targets"][0].pop("refId")),
    ("data-source", lambda found: inner(found).update(datasource={"type": "prometheus", "uid": "P1"})),
    ("data-source", lambda found: inner(found).update(datasource="Prometheus")),
    ("data-source", lambda found: inner(found).pop("datasource")),
    ("data-source", lambda found: inner(found)["targets"][0].update(datasource={"uid": "P1"})),
    ("data-source", lambda found: inner(found)["targets"][0].update(datasource={"uid": "${service}"})),
    ("data-source", lambda found: inner(found)["targets"][0].update(datasource={"type": "loki", **UID})),
    ("data-source", lambda found: variable(found, "service").update(datasource={"uid": "P1"})),
    ("data-source", lambda found: found["annotations"]["list"][-1].update(datasource={"uid": "P1"})),
    ("unknown-variable", lambda found: inner(found).update(title="One of $cluster")),
    ("unknown-variable", ask('sum(up{job="$cluster"})')),
    ("unknown-variable", ask('sum(up{job="${cluster:regex}"})')),
    ("unknown-variable", ask("sum(rate(istio_requests_total[$__rate_intervall]))")),
    ("unknown-variable", linked("/d/x?var-job=[[cluster]]")),
    ("unknown-variable", lambda found: inner(found)["targets"][0].update(legendFormat="$job")),
    (
        "unknown-variable",
        lambda found: variable(found, "service").update(query="label_values(up{a='$b'}, job)"),
    ),
    ("unused-variable", add_variable()),
    ("unused-variable", add_variable(query='label_values(up{job=~"$more"}, job)', multi=True)),
    ("unsafe-variable", ask('sum(up{job=~"$service"})')),
    ("unsafe-variable", ask('sum(up{job!~"a|${service}"})')),
    ("unsafe-variable", ask('sum(up{job="$jobs"})')),
    ("unsafe-variable", ask('sum(up{job!="[[jobs]]"})')),
    ("unsafe-variable", lambda found: variable(found, "jobs").update(multi=False, includeAll=False)),
    ("unsafe-variable", lambda found: variable(found, "service").update(includeAll=True)),
    ("unsafe-variable", linked("/d/x?var-jobs=${jobs:percentencode}")),
    ("bad-link", linked("d/x")),
    ("bad-link", linked("")),
    ("bad-link", linked("javascript:alert(1)")),
    ("bad-link", linked("//example.org/x")),
    ("bad-link", linked("/explore?left={}")),
    ("bad-link", linked("/explore?x=a b")),
    ("bad-link", linked('/explore?x="a"')),
    ("bad-link", linked("/explore?x=%24%7Bservice%7D")),
    ("bad-link", lambda found: found["links"].append({"type": "link", "title": "x", "url": "x"})),
    ("bad-link", lambda found: inner(found)["fieldConfig"]["defaults"].update(links=[{"url": "x"}])),
    ("promql", ask("sum(up")),
    ("promql", ask("")),
    ("promql", ask("rate(up)")),
    ("promql", lambda found: variable(found, "service").update(query="label_values(up{, job)")),
    ("promql", lambda found: variable(found, "service").update(query="up")),
    ("promql", lambda found: found["annotations"]["list"][-1].update(expr="ALERTS{")),
    ("unknown-metric", ask("sum(istio_request_total)")),
    ("unknown-metric", ask('sum({__name__=~"up|istio_request_total"})')),
    ("unknown-metric", lambda found: variable(found, "service").update(query="label_values(slo:x, job)")),
    ("raw-long-range", ask("sum(increase(istio_requests_total[$__range]))")),
    ("raw-long-range", ask("sum(increase(istio_requests_total[${__range_s}s]))")),
    ("raw-long-range", ask("sum(increase(istio_requests_total[$__interval]))")),
    ("raw-long-range", ask("sum(increase(istio_requests_total[2h]))")),
    ("raw-long-range", ask("max_over_time(sum(rate(istio_requests_total[5m]))[1h:])")),
]
RIGHT: list[Change] = [
    lambda found: None,
    ask("sum(increase(istio_requests_total[1h]))"),
    ask("sum(increase(istio_requests_total[1h] offset $__interval))"),
    ask("sum(sum_over_time(slo:bad_events:increase5m[$__range]))"),
    ask("max_over_time(sum(slo:bad_events:increase5m)[$__range:5m])"),
    ask('count_over_time(ALERTS{alertstate="firing"}[$__range])'),
    ask('sum(up{job=~"a|${service:regex}"})'),
    ask('sum(up{job=~"$jobs", instance="$service"})'),
    ask('{__name__=~"up|ALERTS"}'),
    ask('label_replace(up, "a", "$1", "job", "(.*)")'),
    both(add_variable(type="custom", query="1,5"), ask("topk($more, up)")),
    both(add_variable(type="custom", query="a|b"), ask('up{job=~"$more"}')),
    both(add_variable(type="interval", query="1m,1h"), ask("rate(istio_requests_total[$more])")),
    both(add_variable(type="custom", query="job,pod"), ask("sum by ($more) (up)")),
    both(add_variable(query="query_result(sum(up))"), ask('up{job="$more"}')),
    both(add_variable(query={"query": "label_names()"}), ask('up{job="$more"}')),
    both(add_variable(), lambda found: inner(found).update(repeat="more")),
    both(add_variable(type="adhoc")),
    linked("/d/x?${jobs:queryparam}&${__url_time_range}"),
    linked('https://example.org/${__data.fields["a b"]:percentencode}'),
    lambda found: inner(found).update(title="Costs $5 in ${__interval}"),
    lambda found: found.update(refresh=""),
    lambda found: inner(found)["targets"][0].pop("datasource"),
]


def problems(change: Change) -> list[Any]:
    found = board()
    change(found)
    before = copy.deepcopy(found)
    problems = lint(found, metrics=series("guardrails"))
    assert found == before
    return problems


@pytest.mark.parametrize(("code", "change"), BROKEN)
def test_a_problem_is_found_and_no_other(code: str, change: Change) -> None:
    found = problems(change)
    assert {problem.code for problem in found} == {code}, [str(problem) for problem in found]
    for problem in found:
        assert problem.where and re.search(r"[:;,.] |say in", problem.message), "the message names no remedy"


@pytest.mark.parametrize("change", RIGHT)
def test_what_is_right_is_not_complained_about(change: Change) -> None:
    assert [str(problem) for problem in problems(change)] == []


def test_every_code_is_explained_and_tested() -> None:
    explained = re.findall(r"^    - ``([a-z-]+)``:", lint.__doc__ or "", re.MULTILINE)
    assert sorted(explained) == sorted({code for code, _ in BROKEN})


def test_a_problem_says_where_it_is() -> None:
    (panel,) = problems(ask("sum(up"))
    assert panel.where == "One (2)"
    assert str(panel).startswith("One (2): promql: 'sum(up' cannot be read")
    (whole,) = problems(lambda found: found.update(schemaVersion=1))
    assert whole.where == "dashboard"


@pytest.mark.parametrize("dashboard", [{}, {"panels": [{}], "templating": {"list": [{}]}}, {"panels": None}])
def test_what_is_hardly_a_dashboard_is_judged_as_well(dashboard: Json) -> None:
    assert {"uid", "time", "schema-version"} <= {problem.code for problem in lint(dashboard)}


def test_without_metrics_any_may_be_read() -> None:
    found = board()
    ask("sum(whatever)")(found)
    assert lint(found) == []


@pytest.mark.parametrize("case", CASES)
def test_generated_dashboards_have_no_problems(case: str) -> None:
    found = {
        kind: [str(p) for p in lint(board, metrics=series(case))] for kind, board in boards_of(case).items()
    }
    assert {kind: problems for kind, problems in found.items() if problems} == {}


def test_the_cases_have_what_is_checked() -> None:
    every = [board for case in CASES for board in boards_of(case).values()]
    types = {panel["type"] for found in every for panel in panels(found)}
    assert types >= {"timeseries", "stat", "bargauge", "table", "heatmap", "state-timeline", "text", "row"}
    assert types <= TYPES
    assert sum(len(list(links(panel))) for found in every for panel in panels(found)) > 100
