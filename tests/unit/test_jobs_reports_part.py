"""A part of a budget's window: what is left at its start and end is that of the whole window."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.reports import part, slo_report
from sloctl import naming
from sloctl.backends.answers import Answer
from sloctl.backends.protocols import Series
from sloctl.errors import PartialAnswer
from sloctl.model import SloSet
from sloctl.report.data import SloStatus
from sloctl.report.history import BudgetHistory
from sloctl.report.html import charts
from tests.support.shop_slos import AT, CHECKOUT, NOW, flow, slos
from tests.support.simulated import Simulated


def read(slo_set: SloSet, seconds: int, *, tiles: bool = True) -> tuple[SloStatus, BudgetHistory | None]:
    """Ten events in each bucket; all of them fail in the last of these, and in the third nothing is known."""

    def answers(query: str) -> list[Series] | None:
        if "sum(sum_over_time(" not in query:
            return None
        assert 'slo_id="shop:shop/checkout/availability",namespace="shop",service="checkout"' in query
        minutes = naming.TOTAL_TILE in query or naming.BAD_TILE in query
        if not tiles and minutes:
            return []
        width = 60 if minutes else 300
        times = [NOW - width * number for number in range(seconds // width) if number != 2]
        bad = naming.BAD_TILE in query or naming.BAD_GRID in query
        return [{"metric": {}, "values": [[time, "0" if bad and time != NOW else "10"] for time in times]}]

    source = Simulated(slo_set, [flow(slo_set, 0, "checkout", 10, 0.05)], override=answers)
    (item,) = slo_report.build(source, slo_set, AT, "rules").slos
    return item, part.read(source, slo_set.slos[0], item, AT, seconds)


@pytest.mark.parametrize(("tiles", "width"), [(True, 60), (False, 300)])
def test_a_part_ends_at_what_is_left_and_begins_at_what_was(tiles: bool, width: int) -> None:
    item, found = read(slos(CHECKOUT), 3600, tiles=tiles)
    assert found is not None and (found.width, len(found.buckets)) == (width, 3600 // width)
    assert found.buckets[-1] == (10.0, 10.0) and found.buckets[-3] is None
    assert item.remaining is not None and found.left()[-1] == item.remaining
    spent = 10 / item.total / (1 - item.objective / 100)
    assert found.begins == pytest.approx(item.remaining + spent)
    assert found.left()[0] == pytest.approx(found.begins)
    assert found.spent_in(width) == pytest.approx(spent)


def test_a_part_of_a_partial_answer_is_not_drawn_as_if_it_were_whole() -> None:
    slo_set = slos(CHECKOUT)
    flows = [flow(slo_set, 0, "checkout", 10, 0.05)]
    (item,) = slo_report.build(Simulated(slo_set, flows), slo_set, AT, "rules").slos
    source = Simulated(slo_set, flows, override=lambda _: Answer([], ["a store is away"]))
    with pytest.raises(PartialAnswer):
        part.read(source, slo_set.slos[0], item, AT, 3600)


def test_a_longer_part_than_the_window_is_none() -> None:
    assert read(slos(CHECKOUT), 31 * 86400)[1] is None


def test_a_part_is_drawn_as_large_as_it_is() -> None:
    _, found = read(slos(CHECKOUT), 3600)
    assert found is not None and found.whole is not None
    half = replace(found, buckets=((found.whole.total * found.share / 2, 1e6), *found.buckets[1:]))
    chart = charts.burn_down(half)
    assert (
        "100 %" not in chart.summary and f"to {half.remaining * 100:.1f} %".partition(".")[0] in chart.summary
    )
    heights = {tick.at for tick in chart.y_ticks}
    assert min(heights) >= charts.TOP and max(heights) <= charts.BOTTOM
    small = charts.burn_down(found)
    assert all(charts.TOP <= tick.at <= charts.BOTTOM for tick in small.y_ticks)
