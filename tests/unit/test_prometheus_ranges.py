"""Dividing a range loses no instant and repeats none, whatever the sizes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloctl.backends.prometheus.ranges import RangePoints, instant, merge, milliseconds, seconds_text


@given(st.integers(-(10**12), 2 * 10**12), st.integers(1, 10**7), st.integers(1, 500), st.integers(1, 600))
def test_the_parts_are_the_whole(start: int, step: int, points: int, size: int) -> None:
    grid = RangePoints(start, step, points)
    parts = grid.parts(size)
    instants = [part.start + n * step for part in parts for n in range(part.points)]
    assert instants == [start + n * step for n in range(points)]
    assert all(1 <= part.points <= size for part in parts)
    assert [part.end + step for part in parts[:-1]] == [part.start for part in parts[1:]]
    assert grid.end == instants[-1]


@given(st.integers(-(10**12), 4 * 10**12))
def test_an_instant_and_its_milliseconds_are_the_same_time(value: int) -> None:
    assert milliseconds(instant(value)) == value


def test_a_grid_ends_at_the_last_step_that_is_not_after_its_end() -> None:
    start = datetime(2024, 3, 1, tzinfo=UTC)
    minute = timedelta(minutes=1)
    assert RangePoints.of(start, start, minute).points == 1
    assert RangePoints.of(start, start + 2 * minute, minute).points == 3
    assert RangePoints.of(start, start + 2 * minute - timedelta(milliseconds=1), minute).points == 2


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (datetime(2024, 3, 1, 12, tzinfo=UTC), "1709294400.000"),
        (datetime(2024, 3, 1, 13, tzinfo=timezone(timedelta(hours=1))), "1709294400.000"),
        (datetime(2024, 3, 1, 12, 0, 0, 123456, tzinfo=UTC), "1709294400.123"),
        (datetime(2024, 3, 1, 12, 0, 0, 999600, tzinfo=UTC), "1709294401.000"),
        (datetime(1969, 12, 31, 23, 59, 58, 500000, tzinfo=UTC), "-1.500"),
    ],
)
def test_times_are_written_exactly(at: datetime, text: str) -> None:
    assert seconds_text(milliseconds(at)) == text


def test_series_are_joined_by_their_labels_whatever_order_they_come_in() -> None:
    first = [
        {"metric": {"b": "1"}, "values": [[0, "1"]]},
        {"metric": {"a": "1", "b": "1"}, "values": [[0, "2"]]},
    ]
    second = [
        {"metric": {"b": "1", "a": "1"}, "values": [[60, "3"]]},
        {"metric": {"a": "0"}, "values": [[60, "4"]]},
    ]
    assert merge([first, [], second]) == [
        {"metric": {"a": "0"}, "values": [[60, "4"]]},
        {"metric": {"a": "1", "b": "1"}, "values": [[0, "2"], [60, "3"]]},
        {"metric": {"b": "1"}, "values": [[0, "1"]]},
    ]
    assert first[0]["values"] == [[0, "1"]]
