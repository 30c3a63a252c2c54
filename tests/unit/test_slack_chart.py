"""The chart: a PNG of a size, the same bytes for the same report, no warning whatever the names."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from sloctl.posting.slack import chart
from sloctl.report.data import Report
from tests.support.slack_reports import AT, report, slo


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
def test_any_name_without_a_warning(name: str) -> None:
    """Warnings are errors in these tests; a missing glyph would be one."""
    for kind in ("daily", "weekly"):
        made = replace(report(0, kind), slos=(slo(name, name, 0.05), slo(name, "other", 0.5)))
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
        "shop/service-2 availability 60.0 %; shop/service-4 availability 99.0 %."
    )
    text = chart.alt_text(report(40, "weekly"))
    assert text.startswith("How the worst error budgets burned down; left at the end: shop/service-0")
    assert text.endswith("and 27 more with more left.") and len(text) <= 2000
    assert (
        len(chart.alt_text(replace(report(0), slos=tuple(slo("x" * 900, str(n)) for n in range(9))))) <= 2000
    )


def test_matplotlibs_global_state_is_left_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    chart.png(report())
    assert dict(matplotlib.rcParams) == before
