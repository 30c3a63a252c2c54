"""Which expressions of own events are taken, which are refused and with what remedy, and what they are made into."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from sloctl import promql, spec
from sloctl.errors import Problem
from sloctl.model import ExprSli, Mesh
from sloctl.promql.own_events import normalised, operands, terms
from sloctl.promql.parsing import selectors
from tests.support.promtool import slo

HEAD = """
apiVersion: sloctl/v1
kind: MeshSLOs
metadata: {name: shop}
defaults: {owner: team-shop, runbook: "https://runbooks.example.org/{slo}"}
slos:
  - name: queue-age
    service: billing
    objective: 99
    sli:
      events:
        total: rate(jobs_total[$window])
        bad: |-
"""
LINE = HEAD.count("\n")
"""The line of the key ``bad``."""

TAKEN = [
    "rate(late[$window])",
    "increase(late[$window])",
    'sum(rate(late{queue=~"a|b",le="250"}[$window]))',
    "sum by () (rate(late[$window]))",
    "sum(rate(late[$window])) + sum(rate(lost[$window]))",
    "sum(rate(late[$window]) + rate(lost[$window]))",
    "sum by (queue) (rate(late[$window])) + ignoring (x) rate(lost[$window])",
    "sum(rate(jobs_count[$window])) - sum(rate(jobs_bucket{le=\"250\"}[$window]))",
    "rate(jobs_count[$window]) - ignoring (le) rate(jobs_bucket{le=\"250\"}[$window])",
    "sum by (pod) (rate(all[$window])) - on (pod) sum by (pod) (rate(good[$window]))",
    "clamp_min(sum by (pod) (rate(all[$window])) - sum by (pod) (rate(good[$window])), 0)",
    "rate(late[$window]) * 2",
    "0.5 * rate(late[$window])",
    "rate(late_milli[$window]) / 1000",
    "rate(late[$window]) * on (pod) group_left () weight",
    "sum by (pod) (rate(late[$window])) * on (pod) group_left () weight",
    "rate(late[$window]) or vector(0)",
    "rate(late[$window]) or rate(lost[$window])",
    "(sum(rate(all[$window])) - (sum(rate(good[$window])) or vector(0)))",
    "rate(late[$window]) and on (pod) (up == 1)",
    "rate(late[$window]) unless on (pod) maintenance > 0",
    "max without (replica) (rate(late[$window]))",
    "sum(avg without (replica) (rate(late[$window])))",
    'label_replace(rate(late[$window]), "a", "$1", "b", "(.*)")',
    "sort(rate(late[$window]))",
]  # fmt: skip

COMPARED = "a counter of their own, or with a bound of a histogram"
ADDED = "add the events up"
EACH = "write rate(metric[$window]) for each counter"
REFUSED = {
    "rate(x[$window]) > 10": ("'>' compares", COMPARED),
    "rate(x[$window]) > bool 10": ("'>' compares", COMPARED),
    "10 <= rate(x[$window])": ("'<=' compares", COMPARED),
    "rate(x[$window]) == 0": ("'==' compares", COMPARED),
    "sum(rate(x[$window]) > 10)": ("'>' compares", COMPARED),
    "rate(x[$window]) != rate(y[$window])": ("'!=' compares", COMPARED),
    "rate(x[$window]) and (rate(y[$window]) > 5)": ("'>' compares", COMPARED),
    "(rate(x[$window]) > 5) or rate(y[$window])": ("'>' compares", COMPARED),
    "rate(x[$window]) * (rate(x[$window]) > bool 5)": ("'*' of what", "may be added"),
    "count(rate(x[$window]))": ("count() says how many series", ADDED),
    "count by (pod) (rate(x[$window]))": ("count() says how many series", ADDED),
    'count_values("v", rate(x[$window]))': ("count_values() says", ADDED),
    "quantile(0.9, rate(x[$window]))": ("quantile() says one of the series", ADDED),
    "group(rate(x[$window]))": ("group() says that there are series", ADDED),
    "stddev(rate(x[$window]))": ("stddev() says how series differ", ADDED),
    "topk(3, rate(x[$window]))": ("topk() says some of the series", ADDED),
    "-rate(x[$window])": ("a negative number of events", "subtract them"),
    "-1 * rate(x[$window])": ("a negative number of events", "subtract them"),
    "rate(x[$window]) / -2": ("a negative number of events", "subtract them"),
    "-sum(rate(x[$window]))": ("a negative number of events", "subtract them"),
    "rate(y[$window]) + -rate(x[$window])": ("a negative number of events", "subtract them"),
    "x + rate(x[$window])": ("'+' puts a value that is not counted", EACH),
    "rate(x[$window]) + x": ("'+' puts a value that is not counted", EACH),
    "rate(x[$window]) - x": ("'-' puts a value that is not counted", EACH),
    "rate(x[$window]) + 1": ("'+' puts a number", EACH),
    "1 - rate(x[$window])": ("'-' puts a number", EACH),
    "rate(x[$window]) or x": ("'or' puts a value that is not counted", EACH),
    "rate(x[$window]) or vector(1)": ("'or' puts a number", EACH),
    "up and rate(x[$window])": ("'and' puts a value that is not counted", EACH),
    "rate(x[$window]) * rate(y[$window])": ("'*' of what", "may be added"),
    "rate(x[$window]) / rate(y[$window])": ("'/' of what", "may be added"),
    "1 / rate(x[$window])": ("'/' of what", "may be added"),
    "rate(x[$window]) ^ 2": ("'^' of what", "may be added"),
    "rate(x[$window]) % 2": ("'%' of what", "may be added"),
    "histogram_count(rate(x[$window]))": ("histogram_count() reads a native histogram", "metric_count[$window]"),
    "sum(histogram_count(rate(x[$window])))": ("histogram_count() reads", "metric_count[$window]"),
    "histogram_quantile(0.9, rate(x[$window]))": ("histogram_quantile() reads", "metric_count[$window]"),
    "sum by (pod) (rate(x[$window]))": ("'by (pod)' has no effect", "an SLO for each of them"),
    "sum without (pod) (rate(x[$window]))": ("'without (pod)' has no effect", "an SLO for each of them"),
    "sum(sum by (pod, queue) (rate(x[$window])))": ("'by (pod, queue)' has no effect", "leave out 'by'"),
    "2 * sum by (pod) (rate(x[$window]))": ("'by (pod)' has no effect", "leave out 'by'"),
    "clamp_max(rate(x[$window]), 5)": ("clamp_max() cuts", "clamp_min(…, 0)"),
    "clamp_min(rate(x[$window]), 5)": ("clamp_min() cuts", "clamp_min(…, 0)"),
    "round(rate(x[$window]))": ("round() of what", "leave out round()"),
    "abs(rate(x[$window]) - rate(y[$window]))": ("abs() of what", "leave out abs()"),
    "sqrt(rate(x[$window]))": ("sqrt() of what", "leave out sqrt()"),
    "absent(rate(x[$window]))": ("absent() of what", "leave out absent()"),
    "vector(scalar(rate(x[$window])))": ("vector() of what", "leave out vector()"),
}  # fmt: skip


def loaded(bad: str) -> tuple[ExprSli | None, list[Problem]]:
    text = HEAD + "".join(f"          {line}\n" for line in bad.splitlines())
    if "increase" in bad:
        text = text.replace("rate(jobs_total", "increase(jobs_total")
    slo_set, problems = spec.check([Path("-")], stdin=io.BytesIO(text.encode()))
    sli = slo_set.slos[0].sli if slo_set else None
    assert sli is None or isinstance(sli, ExprSli)
    return sli, list(problems)


@pytest.mark.parametrize("bad", TAKEN)
def test_what_counts_is_taken(bad: str) -> None:
    sli, problems = loaded(bad)
    assert sli is not None and sli.bad == bad, [problem.message for problem in problems]
    for kind in promql.events(replace(slo(), sli=sli), Mesh(), 300).values():
        assert selectors(kind)


@pytest.mark.parametrize("bad", REFUSED)
def test_what_is_no_number_of_events_is_refused_with_a_remedy(bad: str) -> None:
    message, hint = REFUSED[bad]
    sli, [problem] = loaded(bad)
    assert sli is None
    assert problem.code == "promql-events"
    assert (problem.position.line, problem.field) == (LINE, "slos[0].sli.events.bad")
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    "bad",
    [
        "(" * 1500 + "rate(late[$window])" + ")" * 1500,
        "rate(late[$window])" + " + a" * 900,
        "-" * 3000 + "rate(late[$window])",
        "sum(" * 600 + "rate(late[$window])" + ")" * 600,
    ],
    ids=["brackets", "terms", "signs", "sums"],
)
def test_what_is_nested_too_deep_is_said_to_be(bad: str) -> None:
    sli, [problem] = loaded(bad)
    assert sli is None
    assert (problem.code, problem.position.line) == ("promql-syntax", LINE)
    assert "256 levels" in problem.message


def test_as_many_terms_as_an_expression_has_room_for_are_taken() -> None:
    sli, problems = loaded(" + ".join(f'rate(a{{l="{number % 10}"}}[$window])' for number in range(130)))
    assert sli is not None, [problem.message for problem in problems]


@pytest.mark.parametrize("key", ["total", "good", "bad"])
def test_each_of_the_expressions_is_looked_at(key: str) -> None:
    other = {"total": "bad", "good": "total", "bad": "total"}[key]
    text = HEAD[: HEAD.index("        total:")]
    text += f"        {other}: rate(jobs_total[$window])\n        {key}: count(rate(x[$window]))\n"
    _, problems = spec.check([Path("-")], stdin=io.BytesIO(text.encode()))
    [problem] = problems
    assert problem.field == f"slos[0].sli.events.{key}"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('x{le="250"}', r'x{le=~"250|250\\.0"}'),
        ('x{le="250.0"}', r'x{le=~"250|250\\.0"}'),
        ("x{a='b', le = '250' }", r"""x{a='b', le=~"250|250\\.0" }"""),
        ('x{le!="250"}', r'x{le!~"250|250\\.0"}'),
        (r'x{le=~"100|250\\.0|\\+Inf"}', r'x{le=~"100|100\\.0|250|250\\.0|\\+Inf"}'),
        ('x{le!~"100|250"}', r'x{le!~"100|100\\.0|250|250\\.0"}'),
        ('x{le="+Inf"}', 'x{le="+Inf"}'),
        ('x{le="0.5"}', 'x{le="0.5"}'),
        ('x{le="1e+06"}', 'x{le="1e+06"}'),
        ('x{le=~"2.*"}', 'x{le=~"2.*"}'),
        ('x{le=~"(1|2)50"}', 'x{le=~"(1|2)50"}'),
        ('x{file="250",handle="1"}', 'x{file="250",handle="1"}'),
        (r'x{a="le=\"250\"",b="{le="}', r'x{a="le=\"250\"",b="{le="}'),
        ("le", "le"),
    ],
)
def test_bounds_match_as_either_prometheus_writes_them(written: str, read: str) -> None:
    assert normalised(written) == read
    assert normalised(read) == read


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("rate(a[$window]) + rate(b[$window])", ["rate(a[$window])", "rate(b[$window])"]),
        ("sum(rate(a[$window]) + (rate(b[$window])))", ["rate(a[$window])", "(rate(b[$window]))"]),
        ('(sum(rate(a{x=")+("}[$window])))+rate(b[$window])', ['(sum(rate(a{x=")+("}[$window])))', "rate(b[$window])"]),
        ("rate(a[$window]) + on (x) rate(b[$window])", ["rate(a[$window])", "rate(b[$window])"]),
        ("rate(a[$window])", ["rate(a[$window])"]),
        ("sum(rate(a[$window])) - sum(rate(b[$window]))", ["sum(rate(a[$window])) - sum(rate(b[$window]))"]),
        ("rate(a[$window]) + rate(b[$window]) - rate(c[$window])",) * 2,
        ("rate(a[$window]) + on (x) group_left () rate(b[$window])",) * 2,
    ],
)  # fmt: skip
def test_terms_of_a_sum(expr: str, expected: list[str] | str) -> None:
    assert terms(expr) == ([expected] if isinstance(expected, str) else expected)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("rate(a[$window]) + rate(b[$window])", ()),
        ("rate(a[$window]) * 2", ()),
        ('rate(a{x="-"}[$window])', ()),
        ("rate(a[$window]) - rate(b[$window])", (("a",), ("b",))),
        ("sum(rate(a[$window])) - sum(rate(b[$window]) or rate(c[$window]))", (("a",), ("b", "c"))),
        ("rate(a[$window]) - (rate(b[$window]) or vector(0))", (("a",),)),
        ("rate(z[$window]) + (rate(a[$window]) - rate(b[$window]))", (("a",), ("b",))),
        ("rate(a[$window]) - rate(b[$window]) - rate(c[$window])", (("a",), ("b",), ("c",))),
        ("rate(a[$window]) * on (pod) group_left () weight", (("weight",),)),
        ('rate(a[$window]) - rate({__name__=~"b|c",x!="y"}[$window])', (("a",), ('{__name__=~"b|c",x!="y"}',))),
    ],
)  # fmt: skip
def test_what_must_be_there(expr: str, expected: tuple[tuple[str, ...], ...]) -> None:
    assert operands(expr) == expected
