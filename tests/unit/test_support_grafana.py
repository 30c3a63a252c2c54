"""The stand-in for Grafana fills in queries as Grafana does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.grafana import Choice, View, filled, queries, rounded, seconds

HOUR = 3600.0
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
NOW = 1_700_000_000.0


def board(*panels: dict[str, Any]) -> dict[str, Any]:
    return {"time": {"from": "now-6h", "to": "now"}, "panels": list(panels), "annotations": {"list": []}}


def panel(expr: str, **target: Any) -> dict[str, Any]:
    query = {"refId": "A", "datasource": PROMETHEUS, "expr": expr, **target}
    return {"type": "timeseries", "title": "Panel", "targets": [query]}


def test_durations() -> None:
    assert [seconds(text) for text in ("500ms", "90s", "1h30m", "30d")] == [0.5, 90, 5400, 30 * 86400]
    with pytest.raises(ValueError, match="not a duration"):
        seconds("1 hour")


@pytest.mark.parametrize(
    ("exact", "step"), [(0.75, 1), (18, 20), (50, 60), (504, 600), (1008, 900), (2160, 1800)]
)
def test_intervals_are_rounded(exact: float, step: float) -> None:
    assert rounded(exact) == step


def test_a_step_is_at_least_what_is_asked_for_and_never_makes_too_many_points() -> None:
    view = View(NOW - 6 * HOUR, NOW)
    assert view.step() == 60
    assert view.step("", "5m") == 300
    assert View(NOW - 7 * 24 * HOUR, NOW).step("1m") == 600
    assert View(NOW - 7 * 24 * HOUR, NOW, width=100_000).step("1s") == 60


def test_intervals_and_ranges_are_filled_in() -> None:
    view = View(NOW - 6 * HOUR, NOW)
    text = "x[$__interval] y[${__range}] z[$__rate_interval] $__interval_ms"
    assert filled(text, {}, view, 300, 60) == "x[300s] y[21600s] z[360s] 300000"
    assert filled("[$__rate_interval]", {}, view, 60, 60) == "[240s]"


@pytest.mark.parametrize(
    ("text", "choice", "wanted"),
    [
        ('{a="$x"}', Choice(('say "hi" \\',)), r'{a="say \"hi\" \\"}'),
        ('{a="$x"}', Choice(("a.b",)), '{a="a.b"}'),
        ('{a=~"$x"}', Choice(("a.b",), many=True), r'{a=~"a\\.b"}'),
        ('{a=~"${x}"}', Choice(("a.b", "c|d", "e\\f"), many=True), r'{a=~"(a\\.b|c\\|d|e\\\\f)"}'),
        ('{a=~"$x"}', Choice(("a", "b"), many=True, every=".*"), '{a=~".*"}'),
        ('{a=~"${x:regex}"}', Choice(("a.b", "c"), many=True), r'{a=~"(a\.b|c)"}'),
        ("${x:csv} ${x:pipe}", Choice(("a", "b"), many=True), "a,b a|b"),
        (
            'label_replace(v, "b", "$1", "a", "(.*)$")',
            Choice(()),
            'label_replace(v, "b", "$1", "a", "(.*)$")',
        ),
    ],
)
def test_variables_are_escaped(text: str, choice: Choice, wanted: str) -> None:
    assert filled(text, {"x": choice}, View(0, HOUR), 60, 60) == wanted


def test_a_variable_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"Panel A: there is no variable \$nowhere"):
        queries(board(panel("x[$nowhere]")), View(0, HOUR), {})


def test_a_range_is_aligned_and_an_instant_is_the_end() -> None:
    view = View.of(board(), NOW)
    (drawn,), _ = queries(board(panel("x", interval="5m")), view, {})
    assert (drawn.instant, drawn.start % 300, drawn.end % 300, drawn.step) == (False, 0, 0, 300)
    assert 0 <= NOW - drawn.end < 300
    (now,), _ = queries(board(panel("x", instant=True)), view, {})
    assert (now.instant, now.end) == (True, NOW)


def test_panels_with_a_time_of_their_own() -> None:
    (drawn,), _ = queries(board(panel("x[$__range]") | {"timeFrom": "30d"}), View.of(board(), NOW), {})
    assert drawn.expr == f"x[{30 * 86400}s]"
    assert drawn.step == 1800


def test_collapsed_rows_count_and_other_data_sources_do_not() -> None:
    row = {"type": "row", "title": "Row", "collapsed": True, "panels": [panel("inside")]}
    traces = panel("x", datasource={"type": "tempo", "uid": "t"})
    found, elsewhere = queries(board(row, traces, panel("hidden", hide=True)), View(0, HOUR), {})
    assert [one.expr for one in found] == ["inside"]
    assert elsewhere == 1
