"""What panels match, group, join and show by are labels that the series have which they read.

The labels of a recorded series follow from its rules' expressions (:mod:`tests.support.boards`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from dashboards.lint.checks import links, panels
from dashboards.lint.queries import asks_prometheus, variable_expression
from dashboards.lint.variables import declared, filled, strings
from tests.support.boards import CASES, Json, Labels, boards_of, label_problems, labels, parse, series, union

KNOWN: dict[str, Labels] = {
    "requests": frozenset({"source", "service", "code"}),
    "slo:bad:increase5m": frozenset({"service"}),
    "anything": None,
}
OF_TABLES = ("Time", "__name__", "Value")


def tree(expr: str, board: Json) -> Any:
    """An expression with numbers in place of the board's text boxes, which hold prices."""
    for name, variable in declared(board).items():
        if variable["type"] == "textbox":
            expr = expr.replace(f"${name}", "1")
    return parse(next(filled(expr)))


def expressions(board: Json) -> Iterator[tuple[str, str]]:
    """Every PromQL expression of a dashboard, with where it stands."""
    for panel in panels(board):
        for target in panel.get("targets", ()):
            if "expr" in target:
                yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        if "expr" in annotation:
            yield annotation["name"], annotation["expr"]
    variables = declared(board)
    for name, variable in variables.items():
        if variable["type"] == "query" and asks_prometheus(variable["datasource"], variables):
            yield f"${name}", variable_expression(variable["query"]) or ""


@pytest.mark.parametrize("case", CASES)
def test_series_have_the_labels_that_panels_read_them_by(case: str) -> None:
    known = series(case)
    found = set()
    for kind, board in boards_of(case).items():
        for where, expr in expressions(board):
            if "__name__" not in expr:
                found |= {
                    f"{kind}: {where}: {problem}" for problem in label_problems(tree(expr, board), known)
                }
    assert found == set()


def shown(panel: Json, board: Json, case: str) -> Labels:
    """The labels of what a panel's queries give."""
    exprs = [target["expr"] for target in panel.get("targets", ()) if "expr" in target]
    return union(labels(tree(expr, board), series(case)) for expr in exprs)


def named(panel: Json) -> set[str]:
    """The labels that a panel shows: in legends, in links and in a table's columns."""
    legends = [target.get("legendFormat", "") for target in panel.get("targets", ())]
    found = {label for legend in legends for label in re.findall(r"\{\{(\w+)\}\}", legend)}
    for url in strings([link["url"] for link in links(panel)]):
        found |= {
            *re.findall(r'__data\.fields\["([^"]+)"\]', url),
            *re.findall(r"__field\.labels\.(\w+)", url),
        }
    renamed = set()
    for step in panel.get("transformations", ()):
        options = step.get("options", {})
        found |= set(options.get("indexByName", ()))
        renamed |= set(options.get("renameByName", {}).values())
    for override in panel.get("fieldConfig", {}).get("overrides", ()):
        if override["matcher"]["id"] == "byName":
            found.add(override["matcher"]["options"])
    found |= {item["displayName"] for item in panel.get("options", {}).get("sortBy", ())}
    return {name for name in found - renamed if not name.startswith(OF_TABLES)}


@pytest.mark.parametrize("case", CASES)
def test_what_is_shown_by_has_these_labels(case: str) -> None:
    found = set()
    for kind, board in boards_of(case).items():
        for panel in panels(board):
            given = shown(panel, board, case)
            if given is not None:
                found |= {f"{kind}: {panel['title']}: {label}" for label in named(panel) - given}
    assert found == set()


def test_something_is_shown_by_labels() -> None:
    board = boards_of("guardrails")["oncall"]
    assert {"severity", "alertname", "slo"} <= set().union(*(named(panel) for panel in panels(board)))


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("requests", "source service code"),
        ("sum(requests)", ""),
        ("sum by (service, pod) (requests)", "service"),
        ("sum without (code) (requests)", "source service"),
        ("topk(3, requests)", "source service code"),
        ("rate(requests[5m])", "source service code"),
        ("sum by (x) (anything)", "x"),
        ('label_replace(slo:bad:increase5m, "a", "$1", "service", "(.*)")', "service a"),
        ("requests * on (service) group_left (team) slo:bad:increase5m", "source service code team"),
        ("requests / on (service) slo:bad:increase5m", "service"),
        ("requests / ignoring (code) requests", "source service"),
        ("1 - requests", "source service code"),
        ("slo:bad:increase5m > 0 * 5", "service"),
        ("slo:bad:increase5m or requests", "source service code"),
        ("slo:bad:increase5m and on () requests", "service"),
        ('absent(requests{code="5"})', "code"),
    ],
)
def test_labels_of_an_expression(expr: str, expected: str) -> None:
    assert labels(parse(expr), KNOWN) == frozenset(expected.split())


@pytest.mark.parametrize(
    ("expr", "problem"),
    [
        ('requests{pod="x"}', "requests has no pod"),
        ("sum by (pod) (requests)", "groups by pod"),
        ("sum by (code) (rate(slo:bad:increase5m[5m]))", "groups by code"),
        ("sum by (code) (sum by (service) (requests))", "groups by code"),
        ("requests / on (pod) slo:bad:increase5m", "joins on pod"),
        ("requests / on (code) slo:bad:increase5m", "joins on code"),
        ("requests / on (service) slo:bad:increase5m", None),
        ('sum by (pod) (anything{a="b"})', None),
    ],
)
def test_a_label_that_is_not_there_is_noticed(expr: str, problem: str | None) -> None:
    assert label_problems(parse(expr), KNOWN) == ({problem} if problem else set())
