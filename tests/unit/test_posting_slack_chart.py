"""The chart: what is drawn, a PNG of a size, the same bytes for the same report, whatever the names."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from sloctl.posting.slack import chart, drawing
from sloctl.report.data import Report
from sloctl.report.history import history
from tests.support.slack_reports import AT, report, slo

SVG = "{http://www.w3.org/2000/svg}"


def drawn(made: Report) -> ElementTree.Element:
    return ElementTree.fromstring(chart.svg(made))


def texts(made: Report) -> list[str]:
    return [item.text or "" for item in drawn(made).iter(f"{SVG}text")]


def lines(made: Report) -> list[list[tuple[float, float]]]:
    """The points of the lines that burn down, and of their samples below: what is thick."""
    return [
        [(float(x), float(y)) for x, y in (point.split(",") for point in line.attrib["points"].split())]
        for line in drawn(made).iter(f"{SVG}polyline")
        if line.attrib["stroke-width"] == "3.6"
    ]


def size_of(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize("kind", [None, "daily", "weekly", "monthly"])
@pytest.mark.parametrize("number", [1, 3, 40])
def test_a_png_twice_as_wide_as_high(kind: str, number: int) -> None:
    made = report(number, kind)  # type: ignore[arg-type]
    data = chart.png(made)
    assert size_of(data) == (1200, 600) and len(data) < 200_000
    assert chart.png(made) == data, "the same report, the same bytes"
    assert b"Software" not in data


def test_no_picture_of_nothing() -> None:
    assert chart.png(report(0)) == b""
    nothing = replace(report(0), slos=(slo(remaining=None),))
    assert chart.png(nothing) == b"" and chart.alt_text(nothing) == "No budget is known."


@pytest.mark.parametrize(
    "name",
    [
        "名前" * 30,
        "שלום",
        "مرحبا",
        "$x^2_{",
        "\u202eevil",
        "🦊",
        "e\u0301",
        "x" * 500,
        "%s {0}",
        "\\frac",
        "",
    ],
)
def test_any_name_in_signs_that_the_font_has(name: str) -> None:
    for kind in ("daily", "weekly"):
        made = replace(report(0, kind), slos=(slo(name, name, 0.05), slo(name, "other", 0.5)))
        for text in drawn(made).itertext():
            assert set(text) <= set(drawing.widths())
        assert size_of(chart.png(made)) == (1200, 600)
        assert chart.alt_text(made)


@pytest.mark.parametrize("left", [1.0, 0.0, -0.01, -5.0, -1e6, 1e-9])
def test_any_budget(left: float) -> None:
    for kind in ("daily", "monthly"):
        assert chart.png(
            Report("shop", AT, "prometheus", (slo(remaining=left),), routine=report(0, kind).routine)
        )


def test_the_text_says_the_numbers() -> None:
    assert chart.alt_text(report(5, "daily")) == (
        "Error budget left: shop/service-0 availability -50.0 %; shop/service-1 availability 5.0 %; "
        "shop/service-2 availability 60.0 %; shop/service-4 availability 99.0 %; 1 with no budget known."
    )
    text = chart.alt_text(report(40, "weekly"))
    assert text.startswith("How the worst error budgets burned down; left at the end: shop/service-0")
    assert text.endswith("and 27 more; 8 with no budget known.") and len(text) <= 2000
    assert (
        len(chart.alt_text(replace(report(0), slos=tuple(slo("x" * 900, str(n)) for n in range(9))))) <= 2000
    )


def test_bars_are_as_long_as_what_is_left_and_say_it() -> None:
    shares = (-5.0, -0.5, 0.05, 0.5, 1.0)
    made = replace(
        report(0, None), slos=tuple(slo(service=f"s{n}", remaining=share) for n, share in enumerate(shares))
    )
    said = texts(made)
    assert said[0] == "Error budget left"
    assert said[1:6] == ["-100 %", "-50 %", "0 %", "50 %", "100 %"]
    assert said[6:] == [
        *("shop/s0 availability", "✕ -500.0 %", "shop/s1 availability", "✕ -50.0 %"),
        *(
            "shop/s2 availability",
            "! 5.0 %",
            "shop/s3 availability",
            "50.0 %",
            "shop/s4 availability",
            "100.0 %",
        ),
    ]
    _, *bars = drawn(made).iter(f"{SVG}rect")
    assert [bar.attrib["fill"] for bar in bars] == [
        *(chart.COLOURS["exhausted"], chart.COLOURS["exhausted"], chart.COLOURS["at_risk"]),
        *(chart.COLOURS["ok"], chart.COLOURS["ok"]),
    ]
    whole = float(bars[-1].attrib["width"])
    found = [float(bar.attrib["width"]) / whole for bar in bars]
    assert found == pytest.approx([1.0, 0.5, 0.05, 0.5, 1.0], abs=0.01), "deeper than -100 % is as deep"
    zero = float(bars[-1].attrib["x"])
    assert [float(bar.attrib["x"]) + float(bar.attrib["width"]) for bar in bars[:2]] == pytest.approx(
        [zero, zero]
    )


def test_labels_lie_over_no_name() -> None:
    """Not even where a budget is overspent a hundred times."""
    made = replace(
        report(0, None), slos=tuple(slo("x" * 60, f"s{n}", share) for n, share in enumerate((-99.0, -0.2)))
    )
    _, *bars = drawn(made).iter(f"{SVG}rect")
    zero = float(bars[0].attrib["x"]) + float(bars[0].attrib["width"])
    labels = [item for item in drawn(made).iter(f"{SVG}text") if "✕" in (item.text or "")]
    assert len(labels) == 2
    for label in labels:
        assert label.attrib.get("text-anchor", "start") == "start" and float(label.attrib["x"]) > zero


def test_without_a_spent_budget_the_axis_begins_at_none() -> None:
    assert texts(replace(report(0, None), slos=(slo(remaining=0.3),)))[1:4] == ["0 %", "50 %", "100 %"]


def test_lines_burn_down_to_what_is_left_each_with_dashes_of_its_own() -> None:
    made = report(5, "weekly")
    said = texts(made)
    assert said[0] == "Error budget left over its window"
    assert said[-4:] == [
        *("shop/service-0 availability: -50.0 %", "shop/service-1 availability: 5.0 %"),
        *("shop/service-2 availability: 60.0 %", "shop/service-4 availability: 99.0 %"),
    ]
    assert {"100 %", "0 %", "-40 %"} <= set(said)
    assert [text for text in said if text.endswith(("Feb", "Mar"))] == [
        "2 Feb",
        "9 Feb",
        "16 Feb",
        "23 Feb",
        "2 Mar",
    ]
    burning, samples = lines(made)[::2], lines(made)[1::2]
    assert len(burning) == len(samples) == 4
    for line in burning:
        assert all(before[0] < after[0] and before[1] <= after[1] + 0.2 for before, after in pairwise(line))
    ends = [line[-1][1] for line in burning]
    assert ends == sorted(ends, reverse=True), "less left is lower"
    styles = {
        (line.attrib["stroke"], line.attrib.get("stroke-dasharray", ""))
        for line in drawn(made).iter(f"{SVG}polyline")
        if line.attrib["stroke-width"] == "3.6"
    }
    assert len({colour for colour, _ in styles}) == len({dashes for _, dashes in styles}) == 4


def test_a_line_is_interrupted_where_nothing_is_known() -> None:
    known = {bucket: (0.05, 50.0) for bucket in range(180) if not 60 <= bucket < 90}
    broken = history(known, (7.5, 7500.0), AT, 30 * 86400, 0.001)
    made = replace(report(0, "weekly"), slos=(replace(slo(remaining=0.0), history=broken),))
    before, after, _ = lines(made)
    assert (after[0][0] - before[-1][0]) / (after[-1][0] - before[0][0]) == pytest.approx(31 / 180, abs=0.01)


@pytest.mark.parametrize(
    ("days", "labels"),
    [
        (1 / 4, ["03:00", "04:00", "05:00", "06:00", "07:00", "08:00", "09:00"]),
        (2, ["12:00", "18:00", "1 Mar", "06:00", "12:00", "18:00", "2 Mar", "06:00"]),
        (7, ["24 Feb", "25 Feb", "26 Feb", "27 Feb", "28 Feb", "1 Mar", "2 Mar"]),
        (14, ["18 Feb", "20 Feb", "22 Feb", "24 Feb", "26 Feb", "28 Feb", "2 Mar"]),
        (90, ["8 Dec", "22 Dec", "5 Jan", "19 Jan", "2 Feb", "16 Feb", "2 Mar"]),
        (365, ["May 2025", "Jul 2025", "Sep 2025", "Nov 2025", "Jan 2026", "Mar 2026"]),
    ],
)
def test_times_below_lines_are_round_and_few(days: float, labels: list[str]) -> None:
    seconds = round(days * 86400)
    whole = history({0: (0.5, 1000.0)}, (0.5, 1000.0), AT, seconds, 0.001)
    said = texts(replace(report(0, "weekly"), slos=(replace(slo(), history=whole),)))
    months = ("Dec", "Jan", "Feb", "Mar", "2025", "2026")
    assert [text for text in said if ":00" in text or text.endswith(months)] == labels
    assert whole is not None and whole.end - whole.start == timedelta(seconds=seconds)


@pytest.mark.parametrize("name", ["W" * 60, "i" * 200, "名前" * 9, "a b " * 30])
def test_a_name_stays_in_the_picture(name: str) -> None:
    shown = drawing.fitting(name, 20, 400)
    assert drawing.text_width(shown, 20) <= 400
    assert shown.endswith("…") and drawing.text_width(shown, 20) > 300


def test_the_picture_has_the_colours_that_were_drawn() -> None:
    """The renderer is handed its fonts: there are letters, and none of a system's."""
    blank, written = drawing.Drawing(), drawing.Drawing()
    written.text((100, 100), "Error budget", 23, "#000000", bold=True)
    assert len(drawing.png(written.svg())) > len(drawing.png(blank.svg())) + 500
